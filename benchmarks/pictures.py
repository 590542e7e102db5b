"""Does a training step slow down while learning curves are drawn and sent, one for every epoch?

Two things could slow it: the interpreter that trains is held up, or the cores are. They are told apart: the same
picture is also drawn for a process that has nothing to do with the training.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.bench import Goals, keep, last_line, middle, quantile, run, table, workplace

RUNS = 3
ROUNDS = 4  # of an epoch of each kind, in one process: the machine's mood is the same for all
EPOCH_S = 5.0
GAP_S = 60.0  # a run has a picture a minute at most: the benchmark has twelve times as many
PAST = 200  # epochs before, that every picture shows
_WORDS = {
    "off": "a message for each epoch",
    "beside": "the same, and a stranger draws its picture",
    "on": "a message and its picture for each epoch",
}


def main() -> list[str]:
    """Print the table; return the goals missed."""
    from notifybot.sandbox import Sandbox

    goals = Goals()
    results: list[dict[str, Any]] = []
    pictures: list[int] = []
    with workplace() as folder:
        for number in range(RUNS):
            with Sandbox() as sandbox:
                outcome = run(["-m", "benchmarks.pictures", sandbox.url], Path(folder) / str(number), bound_s=240.0)
                pictures.append(len(sandbox.slack.shared))
            if not outcome.result:
                print(f"  failed: {last_line(outcome.stderr)}")
                return ["pictures: a run failed"]
            results.append(outcome.result)
    table(
        f"One step of a small network on one CPU thread, epochs of {EPOCH_S} s, Slack on loopback (ms)",
        ["", "median", "mean", "99 %", "CPU of the message", "epochs"],
        [_row(name, [each for result in results for each in result[name]]) for name in _WORDS],
        f"Pictures that arrived: {pictures} of {ROUNDS} a run. Every number is the median over the epochs; "
        f"the means of two epochs without a picture differ by {_noise(results):.1%}.",
    )
    ratio = _ratio(results, "on", "beside", "median")
    goals.check("a step with a picture, times one with a stranger's (medians)", ratio, 1.02)
    held = middle(each["cpu"] for result in results for each in result["on"]) / (1000 * EPOCH_S)
    goals.check("share of an epoch for which its message and picture can hold the interpreter", held, 0.02)
    a_minute = 1 + (_ratio(results, "on", "off", "mean") - 1) * EPOCH_S / GAP_S
    goals.check("steps with a picture a minute, times those without (means)", a_minute, 1.02)
    goals.check("pictures that arrived in a run", middle(pictures), ROUNDS, at_least=True)
    return goals.missed


def _ratio(results: list[dict[str, Any]], one: str, other: str, which: str) -> float:
    """The middle of the ratios of neighbours: what disturbs one pair does not decide."""
    pairs = [pair for each in results for pair in zip(each[one], each[other], strict=True)]
    return middle(first[which] / second[which] for first, second in pairs)


def _noise(results: list[dict[str, Any]]) -> float:
    pairs = [(one["mean"], other["mean"]) for each in results for one, other in pairwise(each["off"])]
    return middle(abs(one / other - 1) for one, other in pairs)


def _row(name: str, epochs: list[dict[str, float]]) -> list[object]:
    return [
        _WORDS[name],
        *(f"{middle(each[key] for each in epochs):.3f}" for key in ("median", "mean", "p99", "cpu")),
        len(epochs),
    ]


def train(url: str) -> None:
    """In a child: train, with pictures in some epochs; keep how long the steps took."""
    step = _network()
    tell = _desk(url)
    stranger = subprocess.Popen([sys.executable, "-m", "benchmarks.pictures"], stdin=subprocess.PIPE, text=True)
    told: dict[str, list[dict[str, float]]] = {name: [] for name in _WORDS}
    _epoch(step, lambda: None)  # what only the first steps pay
    for number in range(ROUNDS):
        for name in list(_WORDS) if number % 2 == 0 else list(_WORDS)[::-1]:  # what drifts hits all of them
            told[name].append(_epoch(step, lambda name=name: tell(name, stranger)))
    stranger.communicate()
    keep(told)


def _order(stranger: subprocess.Popen[str]) -> None:
    if stranger.stdin is not None:
        stranger.stdin.write("a picture\n")
        stranger.stdin.flush()


def draw_for_nobody() -> None:
    """In another child: draw what is drawn for the training, whenever a line comes in."""
    from notifybot.delivery.chart_renderer import ChartRenderer
    from notifybot.types import Language

    painter = ChartRenderer(Path("notifybot.db").absolute(), Language.EN)
    painter.warm_up()
    for _ in sys.stdin:
        drawing = painter.begin(_finished(PAST))
        if drawing is not None:
            drawing.wait()
    painter.close()


def _epoch(step: Callable[[], object], tell: Callable[[], None]) -> dict[str, float]:
    """Train for a while, as a delivery thread tells of the epoch before."""
    cpu_s: list[float] = []

    def timed() -> None:
        began_s = time.thread_time()
        tell()
        cpu_s.append(time.thread_time() - began_s)

    teller = threading.Thread(target=timed, daemon=True)
    teller.start()
    steps_s: list[float] = []
    until_s = time.perf_counter() + EPOCH_S
    while (began_s := time.perf_counter()) < until_s:
        step()
        steps_s.append(time.perf_counter() - began_s)
    teller.join()
    return {
        "median": 1000 * middle(steps_s),
        "mean": 1000 * sum(steps_s) / len(steps_s),
        "p99": 1000 * quantile(steps_s, 0.99),
        "cpu": 1000 * sum(cpu_s),  # of the thread that tells: it cannot hold the interpreter for longer
    }


def _network() -> Callable[[], object]:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    inputs, labels = torch.randn(128, 256), torch.randint(0, 10, (128,))

    def step() -> None:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()

    return step


def _desk(url: str) -> Callable[[str, subprocess.Popen[str]], None]:
    """A bot that tells of the next epoch: "on" with a picture, else without."""
    from notifybot.delivery.chart_renderer import ChartRenderer
    from notifybot.notifiers.base import Envelope
    from notifybot.notifiers.slack import SlackBot
    from notifybot.notifiers.slack import pictures as slack_pictures
    from notifybot.rendering import Renderer
    from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
    from notifybot.store import runs
    from notifybot.store.database import Store
    from notifybot.types import Language

    slack_pictures.GAP_S = 0.0  # else epochs this short would share a picture
    store, renderer = Store.open(Path("notifybot.db")), Renderer(Language.EN)
    artist = ChartRenderer(store.path, Language.EN)
    bots = {
        "on": SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{url}/api/", artist=artist),
        "off": SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{url}/api/"),
    }
    done = PAST
    for number in range(1, PAST + 1):
        runs.record(store, _finished(number))
    memory = store.memory("slack:bench")

    def tell(name: str, stranger: subprocess.Popen[str]) -> None:
        nonlocal done
        done += 1
        event = _finished(done)
        runs.record(store, event)
        if name == "beside":
            _order(stranger)
        bots["on" if name == "on" else "off"].send(Envelope(event, renderer.render(event), memory))

    return tell


def _finished(done: int) -> Any:
    from notifybot.clock import SYSTEM
    from notifybot.events import EpochFinished
    from notifybot.types import Metric, Progress, RunRef, uuid7

    metrics = {name: Metric(1 / done, history=(1 / done,) * 32) for name in ("train_loss", "val_loss", "val_acc")}
    progress = Progress(epoch=done, done=done, metrics=metrics)
    run_ref = RunRef("run", "pictures", "bench", "a")
    return EpochFinished(id=uuid7(), run=run_ref, at=SYSTEM.now(), progress=progress, new_best="val_acc")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train(sys.argv[1])
    else:
        draw_for_nobody()
