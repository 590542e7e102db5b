"""How long is the way of one epoch's message, in functions and in transactions?

From the end of the loop's body to the last call to Slack's bot, in the sandbox and without a watchdog; the epoch is a
new best, so the run's message is edited and its thread gets a reply. Nothing here is timed.
`python -m benchmarks.delivery_path names` prints the functions as well, in the order in which each is first entered.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from sqlalchemy import Engine, event

from benchmarks.bench import ROOT, Goals, keep, last_line, run, table, workplace

PACKAGE = str(ROOT / "notifybot")
EPOCH_S = 6.0  # Slack is told an epoch every five seconds
SENT_S = 3.0  # by then a message is out, and marked
FUNCTIONS, TRANSACTIONS = 120, 4
_MAIN, _SLACK = "MainThread", "notifybot-slack"
_INLINE = (
    "<listcomp>",
    "<dictcomp>",
    "<setcomp>",
    "<genexpr>",
)  # frames of their own in Python 3.11, not in later ones
_CALLS = ("post", "update")  # of `notifiers/slack/api.py`: what goes to Slack


def main(*, names: bool = False) -> list[str]:
    """Print the table, and the `names` of all functions where asked; return the goals missed."""
    from notifybot.sandbox import Sandbox

    goals = Goals()
    with workplace() as folder, Sandbox() as sandbox:
        settings = {key: value for key, value in sandbox.environment().items() if "SLACK" in key}
        settings = settings | {"NOTIFYBOT_SLACK_WEBHOOK_URL": "", "NOTIFYBOT_PICTURES": "off"}
        outcome = run(["-m", "benchmarks.delivery_path", "walked"], Path(folder), extra=settings)
    if not outcome.result:
        print(f"  failed: {last_line(outcome.stderr)}")
        return ["delivery path: measured"]
    threads = outcome.result
    table(
        "One epoch's message, from the loop's end to Slack's call",
        ["thread", "calls", "functions", "files", "before Slack's last call", "BEGIN IMMEDIATE", "BEGIN"],
        [
            [name, each["calls"], each["functions"], each["files"], each["on_the_way"], each["writes"], each["reads"]]
            for name, each in threads.items()
        ],
        "Functions of notifybot's own, each counted once. The loop's thread: to the next epoch's body.",
    )
    if names:
        for name, each in threads.items():
            print(f"\n{name}", *each["names"], sep="\n  ")
    walks = [threads[name] for name in (_MAIN, _SLACK)]
    way = {name for each in walks for name in each["names"][: each["on_the_way"]]}
    packages = Counter(name.partition("/")[0] if "/" in name else "notifybot" for name in way)
    table(
        "Functions from the loop's end to Slack's call, by package",
        ["package", "functions"],
        [[package, count] for package, count in packages.most_common()],
        "Counted once also where both threads use them.",
    )
    goals.check("functions from the loop's end to Slack's call", len(way), FUNCTIONS)
    goals.check("write transactions of the delivery thread", threads[_SLACK]["writes"], TRANSACTIONS)
    return goals.missed


@dataclass
class Walk:
    """What one thread went through. `on_the_way`: how many functions it knew when Slack was called last."""

    calls: int = 0
    functions: dict[CodeType, None] = field(default_factory=dict)
    on_the_way: int | None = None
    transactions: Counter[str] = field(default_factory=Counter)

    def account(self) -> dict[str, Any]:
        known = len(self.functions)
        return {
            "calls": self.calls,
            "functions": known,
            "files": len({each.co_filename for each in self.functions}),
            "on_the_way": known if self.on_the_way is None else self.on_the_way,
            "writes": self.transactions["BEGIN IMMEDIATE"],
            "reads": self.transactions["BEGIN"],
            "names": [
                f"{Path(each.co_filename).relative_to(PACKAGE).as_posix()}:{each.co_firstlineno} {each.co_qualname}"
                for each in self.functions
            ],
        }


class Walks:
    """Follows threads while it is `on`; `off_main` leaves out the loop's body."""

    def __init__(self) -> None:
        self.on = False
        self.off_main = False
        self.by_thread: dict[str, Walk] = {}

    def take(self, frame: FrameType, what: str, _: Any) -> None:
        """The profiler's callback."""
        code = frame.f_code
        if not self.on or what != "call" or not code.co_filename.startswith(PACKAGE) or code.co_name in _INLINE:
            return
        if (walk := self._walk()) is None:
            return
        walk.calls += 1
        walk.functions[code] = None
        if code.co_name in _CALLS and code.co_filename.endswith("slack/api.py"):
            walk.on_the_way = len(walk.functions)

    def statement(self, text: str) -> None:
        """SQLite's callback, in the thread that asks."""
        if self.on and text.startswith("BEGIN") and (walk := self._walk()) is not None:
            walk.transactions[text] += 1

    def _walk(self) -> Walk | None:
        name = threading.current_thread().name
        return None if self.off_main and name == _MAIN else self.by_thread.setdefault(name, Walk())


def walked(epochs: int = 3) -> None:
    """In the child: train, and follow the last message but one."""
    from notifybot import notify_epoch

    walks = Walks()
    event.listen(Engine, "connect", lambda connection, _: connection.set_trace_callback(walks.statement))
    threading.setprofile(walks.take)
    sys.setprofile(walks.take)
    with notify_epoch(range(epochs), name="path") as loop:
        for number in _followed(loop, walks, epochs):
            loop.log(val_loss=1 / (number + 1))
    sys.setprofile(None)
    keep({name: each.account() for name, each in walks.by_thread.items()})


def _followed(loop: Any, walks: Walks, epochs: int) -> Iterator[int]:
    """The loop's epochs, slow enough that each has a message of its own; the end of the last but one is followed."""
    for number in loop:
        walks.off_main = True
        time.sleep(SENT_S)
        walks.on = False
        yield number
        time.sleep(EPOCH_S - SENT_S)
        walks.off_main, walks.on = False, number == epochs - 2


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["walked"]:
            walked()
        case ["names"]:
            main(names=True)
        case _:
            sys.exit(1 if main() else 0)
