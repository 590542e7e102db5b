"""What does a training of 20 short epochs suffer when Slack is slow, gone, or out of its mind?

Every contender trains in a process of its own and tells its own Slack on loopback, which misbehaves from the first
request to the last. An epoch is a wait of 0.1 s, as for a device. "loop" is from the body of the first epoch
to the end of the last, as the caller sees it; the time before (the hook's start) and after (to the end of the process)
stands beside it; the start of Python and the imports are in none of them.
"""

from __future__ import annotations

import functools
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Goals, Outcome, keep, last_line, mark, middle, run, table, together, workplace
from notifybot.sandbox.http import Fault
from notifybot.sandbox.server import Sandbox

EPOCHS = 20
EPOCH_S = 0.1
RUNS = 3
BOUND_S = 20.0
EXIT_S = 2.0
_ALWAYS = 10**9

FAULTS: dict[str, Fault | None] = {
    "answers in 300 ms": Fault("delay", seconds=0.3, times=_ALWAYS),
    "refuses": None,  # nobody listens on the port
    "hangs": Fault("hang", times=_ALWAYS),
    "429": Fault("status", status=429, body=b"rate_limited", headers={"Retry-After": "30"}, times=_ALWAYS),
    "500": Fault("status", status=500, times=_ALWAYS),
    "garbage": Fault("garbage", times=_ALWAYS),
}
PEERS = {
    "post": "requests.post",
    "knockknock-epoch": "knockknock, each epoch",
    "knockknock-once": "knockknock, once",
    "tqdm": "tqdm.contrib.slack",
}


@dataclass(frozen=True)
class Trial:
    """One contender's training against one fault."""

    outcome: Outcome
    asked: int  # requests that reached the service

    def seconds(self, first: str, last: str) -> float | None:
        """Seconds between two marks, or None when one was not reached."""
        marks = self.outcome.marks | ({"ended": self.outcome.ended_s} if self.outcome.code is not None else {})
        return marks[last] - marks[first] if first in marks and last in marks else None


def main() -> list[str]:
    """Print a table for each fault; return the goals missed."""
    goals = Goals()
    with workplace() as place:
        folder = Path(place)
        ours = [(fault, turn) for turn in range(RUNS) for fault in ["", *FAULTS]]
        jobs = [functools.partial(_try, folder, "ours" if fault else "alone", fault, turn) for fault, turn in ours]
        trials = dict(zip(ours, together(jobs, 2), strict=True))
        pairs = [(name, fault) for fault in FAULTS for name in PEERS]
        peers = dict(
            zip(pairs, together([functools.partial(_try, folder, *pair, 0) for pair in pairs], 12), strict=True)
        )
    alone_s = middle(_loops(trials["", turn] for turn in range(RUNS)))
    print(f"\nA training of {EPOCHS} epochs × {EPOCH_S} s alone takes {alone_s:.3f} s (median of {RUNS} runs).")
    for fault in FAULTS:
        mine = [trials[fault, turn] for turn in range(RUNS)]
        rows = [_row("notifybot", mine, alone_s)]
        rows += [_row(words, [peers[name, fault]], alone_s) for name, words in PEERS.items()]
        table(f"Slack {fault}", _HEADER, rows)
        _judge(fault, mine, alone_s, goals)
    print(f"  (medians; killed and called blocked after {BOUND_S:.0f} s)")
    return goals.missed


_HEADER = ["", "loop, s", "× alone", "before, s", "after, s", "exit", "result", "requests", "runs", "what happened"]


def _row(words: str, trials: list[Trial], alone_s: float) -> list[object]:
    loop_s, one = middle(_loops(trials)), trials[0]
    blocked = one.outcome.code is None
    code = "blocked" if blocked else one.outcome.code
    kept = all(each.outcome.result for each in trials)
    return [
        words,
        f"{loop_s:.2f}" if loop_s == loop_s else "–",
        f"{loop_s / alone_s:.3f}×" if loop_s == loop_s else "–",
        _span(trials, "ready", "first"),
        _span(trials, "last", "ended"),
        code,
        "kept" if kept else "LOST",
        round(middle(each.asked for each in trials)),
        len(trials),
        _what(one) if not kept else "",
    ]


def _what(trial: Trial) -> str:
    marks = trial.outcome.marks
    where = "after the loop" if "last" in marks else "in the loop" if "first" in marks else "before the first epoch"
    if trial.outcome.code is None:
        return f"blocked {where}"
    return f"crashed {where}: {last_line(trial.outcome.stderr).split(':')[0].rpartition('.')[2][:30]}"


def _span(trials: list[Trial], first: str, last: str) -> str:
    seconds = middle(span for each in trials if (span := each.seconds(first, last)) is not None)
    return f"{seconds:.2f}" if seconds == seconds else "–"


def _loops(trials: Iterable[Trial]) -> list[float]:
    return [span for each in trials if (span := each.seconds("first", "last")) is not None]


def _judge(fault: str, trials: list[Trial], alone_s: float, goals: Goals) -> None:
    goals.check(f"Slack {fault}: loop, times alone", middle(_loops(trials)) / alone_s, 1.02)
    goals.check(f"Slack {fault}: runs without exit code 0 and result", sum(
        1 for each in trials if each.outcome.code != 0 or not each.outcome.result), 0)  # fmt: skip
    after = [each.seconds("last", "ended") or BOUND_S for each in trials]
    goals.check(f"Slack {fault}: loop's end to process's end, s", middle(after), EXIT_S + 0.2)


def _try(folder: Path, name: str, fault: str, turn: int) -> Trial:
    place = folder / f"{name}-{fault.replace(' ', '-')}-{turn}"
    with ExitStack() as stack:
        sandbox = Sandbox()
        order = FAULTS.get(fault)
        if fault and order is None:
            url = f"http://127.0.0.1:{stack.enter_context(_closed_port())}"
        else:
            stack.enter_context(sandbox)
            url = sandbox.url
        if order is not None:
            sandbox.faults.append(Fault(**vars(order)))
        path = sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"].removeprefix(sandbox.url)
        extra = {"NOTIFYBOT_SLACK_WEBHOOK_URL": f"{url}{path}", "BENCHMARK_SLACK_API": f"{url}/api/"}
        outcome = run(["-m", "benchmarks.outage", name], place, extra=extra, bound_s=BOUND_S)
        return Trial(outcome, len(sandbox.requests))


class _closed_port:
    """A port on which nobody listens: bound, so that nobody else can take it meanwhile."""

    def __enter__(self) -> int:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        return int(self._socket.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _train(name: str) -> None:
    url, api = os.environ["NOTIFYBOT_SLACK_WEBHOOK_URL"], os.environ["BENCHMARK_SLACK_API"]
    loss = _TRAININGS[name](url, api)
    keep({"loss": loss})


def _epoch(epoch: int) -> float:
    if epoch == 0:
        mark("first")
    time.sleep(EPOCH_S)
    return 1 / (epoch + 1)


def _alone(url: str, api: str) -> float:
    mark("ready")
    loss = 0.0
    for epoch in range(EPOCHS):
        loss = _epoch(epoch)
    mark("last")
    return loss


def _ours(url: str, api: str) -> float:
    from notifybot import notify_epoch

    mark("ready")
    loss = 0.0
    with notify_epoch(range(EPOCHS), name="outage") as epochs:
        for epoch in epochs:
            loss = _epoch(epoch)
            epochs.log(loss=loss)
        mark("last")
    return loss


def _post(url: str, api: str) -> float:
    import requests

    mark("ready")
    loss = 0.0
    for epoch in range(EPOCHS):
        loss = _epoch(epoch)
        requests.post(url, json={"text": f"epoch {epoch}: loss {loss:.3f}"})  # without a timeout, as it is written
    mark("last")
    return loss


def _knockknock_epoch(url: str, api: str) -> float:
    from knockknock import slack_sender

    told = slack_sender(webhook_url=url, channel="training")(_epoch)
    mark("ready")
    loss = 0.0
    for epoch in range(EPOCHS):
        loss = told(epoch)
    mark("last")
    return loss


def _knockknock_once(url: str, api: str) -> float:
    from knockknock import slack_sender

    def train() -> float:
        loss = 0.0
        for epoch in range(EPOCHS):
            loss = _epoch(epoch)
        mark("last")
        return loss

    told = slack_sender(webhook_url=url, channel="training")(train)
    mark("ready")
    return told()


def _tqdm(url: str, api: str) -> float:
    import tqdm.contrib.slack as bar

    bar.WebClient = functools.partial(bar.WebClient, base_url=api)
    mark("ready")
    loss = 0.0
    epochs = bar.tqdm(range(EPOCHS), token="xoxb-canary-not-a-token", channel="training")
    for epoch in epochs:
        loss = _epoch(epoch)
        epochs.set_postfix(loss=loss)
    mark("last")
    return loss


_TRAININGS: dict[str, Callable[[str, str], float]] = {
    "alone": _alone,
    "ours": _ours,
    "post": _post,
    "knockknock-epoch": _knockknock_epoch,
    "knockknock-once": _knockknock_once,
    "tqdm": _tqdm,
}


if __name__ == "__main__":
    if sys.argv[1:]:
        _train(sys.argv[1])
    else:
        sys.exit(1 if main() else 0)
