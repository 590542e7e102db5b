"""Is this tree slower than another one? `python -m benchmarks.beside ../as-it-was [runs]`

The two are measured in turn, each run beside a floor of its own, so that a slow moment of the machine meets both. The
other tree is a checkout with this folder in it: `git worktree add ../as-it-was COMMIT`. Both run on this Python.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import ROOT, Goals, Outcome, last_line, middle, quantile, run, table, workplace
from notifybot.sandbox.server import Sandbox

RUNS = 5
_MOST = 1.1  # of the other tree's median: within ten per cent


@dataclass(frozen=True)
class _Question:
    """A child to run, what to read of it, and the child whose figure is its floor, where it has not both itself.

    `of_floor` reads that figure, where it is another one than the child's own.
    """

    words: str
    child: tuple[str, ...]
    value: Callable[[Outcome], float]
    floor: tuple[str, ...] = ()
    of_floor: Callable[[Outcome], float] | None = None


def main(other: Path, runs: int = RUNS) -> list[str]:
    """Print the table; return the goals missed."""
    goals = Goals()
    trees = {"as it was": other.resolve(), "now": ROOT}
    ratios: dict[tuple[str, str], list[float]] = {}
    with workplace() as folder:
        for turn in range(runs):
            for question in _QUESTIONS:
                for name in sorted(trees, reverse=bool(turn % 2)):
                    place = Path(folder) / f"{_QUESTIONS.index(question)}-{name.split()[0]}-{turn}"
                    value = _ask(question, trees[name], place)
                    ratios.setdefault((question.words, name), []).append(value)
    rows, compared = [], {}
    for question in _QUESTIONS:
        was, now = (ratios[question.words, name] for name in trees)
        compared[question.words] = middle(now) / middle(was)
        rows.append([question.words, _spread(was), _spread(now), f"{compared[question.words]:.2f}"])
    table(
        f"This tree beside another, each as a multiple of its floor (median, min–max of {runs} runs in turn)",
        ["", *trees, "now ÷ was"],
        rows,
    )
    for words, ratio in compared.items():
        goals.check(f"{words}: now ÷ was", ratio, _MOST)
    return goals.missed


def _ask(question: _Question, tree: Path, place: Path) -> float:
    value = question.value(_child(question.child, tree, place))
    if not question.floor:
        return value
    return value / (question.of_floor or question.value)(_child(question.floor, tree, place / "floor"))


def _child(arguments: tuple[str, ...], tree: Path, place: Path) -> Outcome:
    with Sandbox() as sandbox:
        webhook = sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"]
        extra = {"PYTHONPATH": str(tree), "NOTIFYBOT_SLACK_WEBHOOK_URL": webhook}
        outcome = run(arguments, place, extra=extra, bound_s=120.0)
    if outcome.code != 0:
        sys.exit(f"{' '.join(arguments)} in {tree}: {last_line(outcome.stderr)}")
    return outcome


def _spread(values: list[float]) -> str:
    return f"{middle(values):.2f} ({min(values):.2f}–{max(values):.2f})"


_CPU = "import time; a = time.process_time(); {}; print(time.process_time() - a)"  # what neighbours do counts less
_START = """
from notifybot import notify_epoch
with notify_epoch(range(1), name="startup", progress=False) as epochs: next(iter(epochs))
"""


def _seconds(outcome: Outcome) -> float:
    return float(outcome.stdout.splitlines()[-1])


# A small part of what `benchmarks.delivery` asks: 600 events to a plain webhook that answers at once.
_DELIVER = (
    "import benchmarks.delivery as of\n"
    "of.EVENTS, of.OF_RUNS, of.PART, of.POSTS = 600, 2, 150, 200\n"
    "of._fast()"
)  # fmt: skip
_POST = "requests.Session.post"


def _delivered_ms(outcome: Outcome) -> float:
    return 1000 / float(outcome.result["ways"]["plain webhook, at once"]["messages_s"])


def _cpu_ratio(outcome: Outcome) -> float:
    costs = outcome.result["cpu_ms"]
    return float(middle(costs["notifybot, plain webhook"]) / middle(costs[_POST]))


_QUESTIONS = (
    _Question("CPU of a delivered message ÷ a post in a loop", ("-c", _DELIVER), _cpu_ratio),
    _Question(
        "time of a delivered message ÷ fsynced row",
        ("-c", _DELIVER),
        _delivered_ms,
        ("-m", "benchmarks.epoch_end", "floor"),
        lambda outcome: quantile(outcome.result, 0.5),
    ),
    _Question(
        "end of an epoch, p50 ÷ fsynced row",
        ("-m", "benchmarks.epoch_end", "ours"),
        lambda outcome: quantile(outcome.result, 0.5),
        ("-m", "benchmarks.epoch_end", "floor"),
    ),
    _Question(
        "end of an epoch, p99 ÷ fsynced row's p50",
        ("-m", "benchmarks.epoch_end", "ours"),
        lambda outcome: quantile(outcome.result, 0.99 if len(outcome.result) > 100 else 0.5),
        ("-m", "benchmarks.epoch_end", "floor"),
    ),
    _Question(
        "CPU to a run's first epoch ÷ import requests",
        ("-c", _CPU.format(f"exec({_START!r})")),
        _seconds,
        ("-c", _CPU.format("import requests")),
    ),
    _Question(
        "CPU of import notifybot ÷ import requests",
        ("-c", _CPU.format("import notifybot")),
        _seconds,
        ("-c", _CPU.format("import requests")),
    ),
    _Question(
        "save of 1 M parameters, caller's thread ÷ torch.save",
        ("-m", "benchmarks.checkpoint", "1000000"),
        lambda outcome: middle(outcome.result["held"]["ours"]) / middle(outcome.result["whole"]["torch.save"]),
    ),
    _Question(
        "save of 25 M parameters, whole ÷ torch.save and fsync",
        ("-m", "benchmarks.checkpoint", "25000000"),
        lambda outcome: middle(outcome.result["whole"]["ours"]) / middle(outcome.result["whole"]["fsync"]),
    ),
)


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    sys.exit(1 if main(Path(sys.argv[1]), *map(int, sys.argv[2:3])) else 0)
