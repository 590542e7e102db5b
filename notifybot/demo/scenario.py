"""Scenario of the demo: start all processes, kill the training, wait for the loss message, start it again, check."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

from notifybot.checkpoints.directory import CheckpointDirectory
from notifybot.clock import SYSTEM
from notifybot.config import load
from notifybot.delivery.build import people_from
from notifybot.demo.checks import (
    KAKAO,
    SLACK,
    Arrival,
    Check,
    EpochLine,
    Evidence,
    arrivals_of,
    finished_epochs,
    is_sent,
    judge,
    tensorboard_steps,
    wandb_epochs,
)
from notifybot.demo.processes import (
    PROJECT,
    SILENT_S,
    Places,
    ProcessFailed,
    fresh,
    training,
    training_environment,
    training_log,
    watchdog,
    watchdog_environment,
)
from notifybot.demo.report import Page, keep, sender, transcript
from notifybot.errors import UsageError, reader_text
from notifybot.events import RunEnded, RunLost, RunRecovered, kind_of
from notifybot.i18n import text
from notifybot.runtime import environment, is_installed
from notifybot.sandbox import Sandbox
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.types import Language, uuid7
from notifybot.watchdog import logins, tokens

_STYLES = {SLACK: "magenta", KAKAO: "yellow"}
_INDENT = " " * 10


class Screen:
    """Prints each thing once, with the seconds since the beginning before it."""

    def __init__(self, language: Language, console: Console | None = None) -> None:
        self._language = language
        self._console = console or Console(highlight=False)
        self._began_s = SYSTEM.monotonic()
        self._shown: set[str] = set()

    @property
    def spent_s(self) -> float:
        """Seconds since the beginning."""
        return SYSTEM.monotonic() - self._began_s

    def text(self, key: str, /, **values: object) -> str:
        """Return a text of the catalog in the language of the demo."""
        return text(self._language, key, **values)

    def intro(self, text: str) -> None:
        """Print the headline, and what is going to happen."""
        self._console.print(Text(self.text("demo.title"), style="bold"))
        self._console.print(Text(text, style="dim"))
        self._console.print()

    def step(self, key: str, style: str = "bold cyan", **values: object) -> None:
        """Print a new step, of the catalog's text `key`."""
        self._line(Text(self.text(key, **values), style=style))

    def news(self, arrivals: Sequence[Arrival]) -> None:
        """Print the messages that were not shown yet."""
        for each in arrivals:
            if each.key not in self._shown:
                self._shown.add(each.key)
                service = Text(sender(each, self._language), style=_STYLES[each.service])
                self._line(Text.assemble("  ", service, "  ", each.headline))

    def epoch(self, line: EpochLine, total: int) -> None:
        """Print a finished epoch, as recorded in the training's own file."""
        if f"epoch {line.epoch}" not in self._shown:
            self._shown.add(f"epoch {line.epoch}")
            metrics = "  ".join(f"{name} {value}" for name, value in line.metrics.items())
            said = self.text("demo.epoch_line", epoch=line.epoch, done=line.done, total=total, metrics=metrics)
            self._line(Text(f"  {said}", style="dim"))

    def log_tail(self, path: Path, lines: int = 15) -> None:
        """Print the end of a process's log, for a process that failed."""
        self._line(Text(self.text("demo.last_lines_of_log", name=path.name), style="red"))
        log = path.read_text("utf-8", errors="replace") if path.exists() else ""
        for line in log.splitlines()[-lines:]:
            self._console.print(Text(_INDENT + line, style="dim"))

    def verdict(self, checks: Sequence[Check], logs: Path) -> None:
        """Print the check list and its sum."""
        self._console.print()
        self._console.print(Text(self.text("demo.what_was_checked"), style="bold"))
        for each in checks:
            mark = Text("  ✓ ", style="green") if each.ok else Text("  ✗ ", style="bold red")
            found = Text("" if each.ok else f"  ({each.found})", style="red")
            self._console.print(Text.assemble(mark, self.text(f"demo.check.{each.name}"), found), soft_wrap=True)
        failed = sum(not each.ok for each in checks)
        self._console.print()
        if failed:
            sum_up = self.text("demo.checks_failed", count=failed, total=len(checks), logs=logs)
            self._console.print(Text(sum_up, style="bold red"), soft_wrap=True)
        else:
            sum_up = self.text("demo.all_checks_passed", count=len(checks), seconds=self.spent_s)
            self._console.print(Text(sum_up, style="bold green"))

    def openings(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print the files and pages to open, one a line, each ready to be copied."""
        self._console.print()
        self._console.print(Text(self.text("demo.what_to_open"), style="bold"))
        width = max(Text(name).cell_len for name, _ in rows)
        for name, what in rows:
            gap = " " * (width - Text(name).cell_len + 2)
            self._console.print(Text.assemble("  ", (name, "dim"), gap, what), soft_wrap=True)

    def _line(self, text: Text) -> None:
        self._console.print(Text.assemble((f"{self.spent_s:6.1f} s  ", "dim"), text), soft_wrap=True)


FOLDER = Path("demo-output")
_NEEDED = ("torch", "sklearn", "tensorboard", "wandb", "fastapi", "granian", "apscheduler")
_LOOK_EVERY_S = 0.1
_SESSION_S = 240.0
_SENT_WITHIN_S = 60.0
_CURVE = "val_acc"


@dataclass(frozen=True, slots=True)
class Size:
    """Length of the demo. The training is killed within the epoch after `kill_after` whole ones."""

    epochs: int = 12
    kill_after: int = 5
    epoch_s: float = 2.0


def main(real: bool, language: Language, *, folder: Path = FOLDER, size: Size | None = None) -> int:
    """Play the demo and return its exit code: 0 only when every part of the scenario was observed.

    `real` sends to the configured accounts instead of the sandbox. Raises UsageError where that cannot be.
    """
    for package in _NEEDED:
        if not is_installed(package):
            raise ModuleNotFoundError(f"no module named {package!r}", name=package)
    if real and not people_from(load()):
        raise UsageError(reader_text("demo.story.no_account_for_real"))
    screen = Screen(language)
    scenario = Scenario(language, fresh(folder.absolute()), screen, size or Size())
    try:
        return 0 if scenario.play(real=real) else 1
    except ProcessFailed as error:
        screen.log_tail(error.log)
        raise


@dataclass(slots=True)
class Scenario:
    """One play of the demo."""

    language: Language
    places: Places
    screen: Screen
    size: Size
    run_id: str = field(default_factory=uuid7)
    sandbox: Sandbox | None = None
    exit_codes: list[int] = field(default_factory=list)
    _done: int = 0  # epochs, and since when
    _done_s: float = 0.0

    def play(self, *, real: bool) -> bool:
        """Play all of it; True when all checks passed."""
        self.screen.intro(self.screen.text("demo.intro_of_real" if real else "demo.intro"))
        with ExitStack() as stack:
            if not real:
                self.sandbox = stack.enter_context(Sandbox(language=self.language))
                self.screen.step("demo.sandbox_is_at", url=self.sandbox.url)
            store = stack.enter_context(Store.open(self.places.watchdog_db, patience_s=5.0))
            token = tokens.create(store, PROJECT, label="demo")
            sandboxed = None if self.sandbox is None else self.sandbox.environment()
            settings = watchdog_environment(environment(), self.places, self.language, sandboxed)
            url = stack.enter_context(watchdog(self.places, settings, self.places.folder if not real else Path.cwd()))
            self.screen.step("demo.watchdog_is_at", url=logins.link(store, url))
            given = training_environment(environment(), self.places, self.language, url=url, token=token)
            self._first_session(store, given)
            self._second_session(store, given)
            evidence = self._evidence(store)
            self._keep(store, url)
        return self._conclude(evidence)

    def _first_session(self, store: Store, settings: dict[str, str]) -> None:
        """Train until it is killed, then wait for the message that it is lost."""
        after = self.size.kill_after
        self.screen.step("demo.training_begins", epochs=self.size.epochs)
        with training(self.places, settings, 1, self._arguments()) as process:
            self._until(lambda: self._is_half_way() or process.poll() is not None, _SESSION_S)
            if process.poll() is None:
                process.kill()
                epoch = max(after, len(self._epochs()))
                self.screen.step("demo.killed_in_an_epoch", "bold red", epoch=epoch)
            self._ended(process, 1)
        self.places.lose_machine()
        self.screen.step("demo.waiting_for_the_watchdog", seconds=SILENT_S)
        if self._until(lambda: self._is_sent(store, RunLost), _SENT_WITHIN_S):
            self.screen.step("demo.reported_lost")
        else:
            self.screen.step("demo.not_seen", "bold red", seconds=_SENT_WITHIN_S)

    def _is_half_way(self) -> bool:
        """True when `kill_after` epochs are done, the last one is saved on the drive, and the next is half over."""
        epochs, now_s = self._epochs(), SYSTEM.monotonic()
        if len(epochs) != self._done:
            self._done, self._done_s = len(epochs), now_s
        if self._done < self.size.kill_after or now_s - self._done_s < self.size.epoch_s / 2:
            return False
        saved = CheckpointDirectory(self.places.drive).manifests(self.run_id)  # on a slow disk after nearly an epoch
        return bool(saved) and saved[0].epoch == epochs[-1]

    def _second_session(self, store: Store, settings: dict[str, str]) -> None:
        """Start it again, and wait until it has ended and all messages are sent."""
        newest = max(self.places.drive.glob("*.pt"), key=lambda path: path.stat().st_mtime_ns, default=None)
        name = newest.name if newest else "-"
        self.screen.step("demo.goes_on_on_an_empty_disk", checkpoint=name)
        with training(self.places, settings, 2, self._arguments()) as process:
            self._until(lambda: process.poll() is not None, _SESSION_S)
            self._ended(process, 2)
        self._until(lambda: self._is_sent(store, RunRecovered, RunEnded), _SENT_WITHIN_S)
        self.screen.step("demo.training_has_ended")

    def _arguments(self) -> list[str]:
        disk, size = self.places.machine / "disk", self.size
        options = {"run-id": self.run_id, "drive": self.places.drive, "disk": disk}
        options |= {"epochs": size.epochs, "epoch-s": size.epoch_s}
        return [part for name, value in options.items() for part in (f"--{name}", str(value))]

    def _ended(self, process: subprocess.Popen[bytes], number: int) -> None:
        """Note how a session ended; one that failed by itself shows why."""
        if process.poll() is None:
            process.kill()
        code = process.wait()
        self.exit_codes.append(code)
        if code > 0:
            self.screen.log_tail(training_log(self.places, number))

    def _until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Show what comes in until something is so, or the time is over."""
        over_s, never = SYSTEM.monotonic() + timeout_s, threading.Event()
        while not (is_so := done()) and SYSTEM.monotonic() < over_s:
            self._show()
            SYSTEM.wait(never, _LOOK_EVERY_S)
        self._show()
        return is_so

    def _show(self) -> None:
        for each in finished_epochs(self.places.runs):
            self.screen.epoch(each, self.size.epochs)
        self.screen.news(self._arrivals() or [])

    def _epochs(self) -> list[int]:
        return [each.epoch for each in finished_epochs(self.places.runs)]

    def _arrivals(self) -> list[Arrival] | None:
        return None if self.sandbox is None else arrivals_of(self.sandbox)

    def _is_sent(self, store: Store, *kinds: type[RunLost | RunRecovered | RunEnded]) -> bool:
        found = [runs.events_of(store, self.run_id, kinds=[kind_of(each)]) for each in kinds]
        return all(any(is_sent(store, event) for event in events) for events in found)

    def _evidence(self, store: Store) -> Evidence:
        events = runs.events_of(store, self.run_id)
        with Store.open(self.places.training_db, patience_s=5.0) as training_store:
            counts = [*Outbox(training_store).counts().values(), *Outbox(store).counts().values()]
        return Evidence(
            epochs=self.size.epochs,
            exit_codes=self.exit_codes,
            events=events,
            sent=frozenset(each.id for each in events if is_sent(store, each)),
            arrivals=self._arrivals(),
            jsonl=self._epochs(),
            tensorboard=tensorboard_steps(self.places.runs, _CURVE),
            wandb=wandb_epochs(self.places.runs),
            counts=counts,
        )

    def _keep(self, store: Store, url: str) -> None:
        """Write what can be read and opened when nothing runs any more."""
        arrivals = self._arrivals() or []
        events = runs.events_of(store, self.run_id)
        for language in Language:
            sent = arrivals if language is self.language else []
            path = self.places.folder / f"transcript.{language}.md"
            path.write_text(transcript(language, events, sent), "utf-8")
            keep(self._pages(store, url, arrivals, language), self.places.pages)

    def _pages(self, store: Store, url: str, arrivals: list[Arrival], language: Language) -> list[Page]:
        pages = [
            Page(f"{url}/", "runs", language, logins.link(store, url)),
            Page(f"{url}/runs/{self.run_id}", "run", language, logins.link(store, url)),
        ]
        if self.sandbox is None or not arrivals:
            return pages
        root = next((each.thread for each in arrivals if each.thread), "")
        mine = self.sandbox.url
        slack = [Page(f"{mine}/slack", "slack", language), Page(f"{mine}/slack?thread={root}", "thread", language)]
        return [*slack, Page(f"{mine}/phone", "phone", language), *pages]

    def _conclude(self, evidence: Evidence) -> bool:
        checks = judge(evidence)
        self.screen.verdict(checks, self.places.logs)
        shown = Path(FOLDER) if self.places.folder == FOLDER.absolute() else self.places.folder
        pages = shown / "pages"
        rows = {"curves": f"tensorboard --logdir {shown / 'runs'}"}
        if self.sandbox is not None:
            rows["slack"] = str(pages / f"thread.{self.language}.html")
            rows["phone"] = str(pages / f"phone.{self.language}.html")
        rows["watchdog"] = str(pages / f"run.{self.language}.html")
        rows["transcript"] = str(shown / f"transcript.{self.language}.md")
        rows["folder"] = f"{shown}/"
        self.screen.openings([(self.screen.text(f"demo.open.{name}"), what) for name, what in rows.items()])
        return all(each.ok for each in checks)
