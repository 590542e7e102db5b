"""The story as it is told in the terminal, line by line while it happens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from notifybot.clock import SYSTEM
from notifybot.demo.arrivals import KAKAO, SLACK, Arrival
from notifybot.demo.checks import Check
from notifybot.demo.numbers import EpochLine
from notifybot.demo.words import Words

_STYLES = {SLACK: "magenta", KAKAO: "yellow"}
_INDENT = " " * 10


class Screen:
    """Prints each thing once, with the seconds since the beginning before it."""

    def __init__(self, words: Words, console: Console | None = None) -> None:
        self.words = words
        self._console = console or Console(highlight=False)
        self._began_s = SYSTEM.monotonic()
        self._shown: set[str] = set()

    @property
    def spent_s(self) -> float:
        """Seconds since the beginning."""
        return SYSTEM.monotonic() - self._began_s

    def intro(self, text: str) -> None:
        """The headline, and what is going to happen."""
        self._console.print(Text(self.words.title, style="bold"))
        self._console.print(Text(text, style="dim"))
        self._console.print()

    def step(self, text: str, style: str = "bold cyan") -> None:
        """A new turn of the story."""
        self._line(Text(text, style=style))

    def news(self, arrivals: Sequence[Arrival]) -> None:
        """Those messages that were not shown yet."""
        hows = {name: getattr(self.words, name) for name in ("posted", "edited", "replied", "broadcast")}
        for each in arrivals:
            if each.key not in self._shown:
                self._shown.add(each.key)
                name = self.words.kakao if each.service == KAKAO else f"Slack · {hows[each.how]}"
                service = Text(name, style=_STYLES[each.service])
                self._line(Text.assemble("  ", service, "  ", each.headline))

    def epoch(self, line: EpochLine, total: int) -> None:
        """A finished epoch, as the training's own file has it."""
        if f"epoch {line.epoch}" not in self._shown:
            self._shown.add(f"epoch {line.epoch}")
            metrics = "  ".join(f"{name} {value}" for name, value in line.metrics.items())
            said = self.words.epoch.format(epoch=line.epoch, done=line.done, total=total, metrics=metrics)
            self._line(Text(f"  {said}", style="dim"))

    def log_tail(self, path: Path, lines: int = 15) -> None:
        """The end of a process's log, for when it went wrong."""
        self._line(Text(self.words.log_tail.format(name=path.name), style="red"))
        text = path.read_text("utf-8", errors="replace") if path.exists() else ""
        for line in text.splitlines()[-lines:]:
            self._console.print(Text(_INDENT + line, style="dim"))

    def verdict(self, checks: Sequence[Check], logs: Path) -> None:
        """The check list and its sum."""
        self._console.print()
        self._console.print(Text(self.words.checks, style="bold"))
        for each in checks:
            mark = Text("  ✓ ", style="green") if each.ok else Text("  ✗ ", style="bold red")
            found = Text("" if each.ok else f"  ({each.found})", style="red")
            self._console.print(Text.assemble(mark, self.words.check[each.name], found), soft_wrap=True)
        failed = sum(not each.ok for each in checks)
        self._console.print()
        if failed:
            text = self.words.failed.format(count=failed, total=len(checks), logs=logs)
            self._console.print(Text(text, style="bold red"), soft_wrap=True)
        else:
            text = self.words.passed.format(count=len(checks), seconds=self.spent_s)
            self._console.print(Text(text, style="bold green"))

    def openings(self, rows: Sequence[tuple[str, str]]) -> None:
        """What can be opened, one thing a line, each ready to be copied."""
        self._console.print()
        self._console.print(Text(self.words.open, style="bold"))
        width = max(Text(name).cell_len for name, _ in rows)
        for name, what in rows:
            gap = " " * (width - Text(name).cell_len + 2)
            self._console.print(Text.assemble("  ", (name, "dim"), gap, what), soft_wrap=True)

    def _line(self, text: Text) -> None:
        self._console.print(Text.assemble((f"{self.spent_s:6.1f} s  ", "dim"), text), soft_wrap=True)
