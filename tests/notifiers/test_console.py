"""The console notifier: compact lines that break neither the terminal nor the training."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import struct
import sys
import termios
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.cells import cell_len
from tqdm import tqdm

from notifybot.clock import SYSTEM
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.notifiers.base import Envelope, Notifier
from notifybot.notifiers.console import ConsoleNotifier, encodable
from notifybot.rendering import Renderer
from notifybot.rendering.format import number
from notifybot.testing import DictMemory
from notifybot.training.console_thread import LogLines
from notifybot.training.loop import Bar
from notifybot.types import Checkpoint, Host, Language, Metric, Progress, Resumed, RunRef, Status, Tier, uuid7

BASE: dict[str, Any] = {
    "id": "01900000-0000-7000-8000-00000000abcd",
    "run": RunRef("0198-run", "resnet", "bootcamp"),
    "at": datetime(2026, 11, 23, 3, tzinfo=UTC),
}
METRICS = {"train_loss": Metric(0.412, 0.433), "val_acc": Metric(0.871, 0.859, 0.871, 3)}
PROGRESS = Progress(3, 3, 30, METRICS, 12.2, 36.0, 324.0)
EPOCH = EpochFinished(**BASE, progress=PROGRESS)
START = RunStarted(**BASE, total=30, params={"lr": 0.1}, host=Host("colab-1", device="Tesla T4"))
RENDERERS = {language: Renderer(language) for language in Language}


class Terminal(io.TextIOWrapper):
    """A terminal of some encoding that remembers what was written."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="\n")

    @property
    def shown(self) -> str:
        self.flush()
        raw = self.buffer
        assert isinstance(raw, io.BytesIO)
        return raw.getvalue().decode(self.encoding)


def envelope(event: Event, language: Language = Language.EN) -> Envelope:
    return Envelope(event, RENDERERS[language].render(event), DictMemory())


def printed(event: Event, language: Language = Language.EN, encoding: str = "utf-8", *, notebook: bool = False) -> str:
    terminal = Terminal(encoding)
    ConsoleNotifier(terminal, notebook=notebook).send(envelope(event, language))
    return terminal.shown


@pytest.mark.parametrize("notebook", [False, True])
def test_an_epoch_is_one_compact_line(notebook: bool) -> None:
    english, korean = (printed(EPOCH, language, notebook=notebook) for language in (Language.EN, Language.KO))

    line = "[resnet] {} 3/30 · train_loss 0.412 (−0.021) · val_acc 0.871 (+0.012) ★ · {}\n"
    assert english == line.format("epoch", "12 s · ETA 5 min")
    assert korean == line.format("에포크", "12초 · 남은 시간 5분")


def test_a_start_is_two_lines_at_most() -> None:
    assert printed(START) == "🚀 resnet started\n30 epochs · colab-1 (Tesla T4)\n"


def test_alerts_and_failures_are_told_in_full_and_other_events_in_one_line() -> None:
    alert = AlertRaised(**BASE, title="loss is NaN", text="first\nsecond")
    failed = RunEnded(**BASE, status=Status.FAILED, error="ValueError: no data", progress=PROGRESS)
    finished = RunEnded(**BASE, status=Status.FINISHED, progress=PROGRESS)
    saved = CheckpointSaved(**BASE, checkpoint=Checkpoint("/tmp/a.pt", 3))

    assert printed(alert) == "⚠️ resnet: loss is NaN\nfirst\nsecond\n"
    assert printed(failed).splitlines()[:2] == ["❌ resnet failed", "ValueError: no data"]
    assert printed(finished) == "✅ resnet finished · 3 epochs in 36 s.\n"
    assert printed(saved) == "💾 resnet · checkpoint saved · epoch 3 · /tmp/a.pt\n"


def test_a_proven_checkpoint_is_one_line_that_says_how_safe_it_is() -> None:
    saved = CheckpointSaved(**BASE, checkpoint=Checkpoint("/tmp/a.pt", 3, tier=Tier.LOCAL, fleeting=True))

    assert printed(saved) == (
        "💾 resnet · checkpoint saved · epoch 3 · "
        "Verified, on the training machine only: a reset takes it along. · /tmp/a.pt\n"
    )


def test_forty_epochs_with_checkpoints_are_forty_lines_and_a_few() -> None:
    """Where they lie is said once, and again when it changes; each is a mark in the line of the epoch after it."""
    terminal = Terminal("utf-8")
    console = ConsoleNotifier(terminal)
    for epoch in range(40):
        console.send(envelope(replace(EPOCH, progress=replace(PROGRESS, epoch=epoch, done=epoch + 1, total=40))))
        tier = Tier.LOCAL if epoch == 20 else Tier.REMOTE
        saved = Checkpoint("/drive/a.pt", epoch, tier=tier, fleeting=tier is Tier.LOCAL)
        console.send(envelope(CheckpointSaved(**BASE, checkpoint=saved)))
    console.send(envelope(RunEnded(**BASE, status=Status.FINISHED, progress=PROGRESS)))

    lines = terminal.shown.splitlines()
    assert len(lines) == 40 + 2 + 1
    assert [line for line in lines if line.startswith("💾")] == [
        "💾 resnet · checkpoint saved · epoch 0 · Verified, copied to /drive/a.pt",
        "💾 resnet · checkpoint saved · epoch 20 · Verified, on the training machine only: a reset takes it along. "
        "· /drive/a.pt",
    ]
    assert [line.rpartition(" · ")[2] for line in (lines[3], lines[-2], lines[-1])] == [
        "💾 epoch 1",
        "💾 epoch 38",
        "💾 epoch 39",
    ]


class Screen:
    """A real terminal of some columns, and what was written on it."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._own, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.stream = os.fdopen(theirs, "w", encoding="utf-8")
        self.lines: list[str] = []

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        os.close(self._own)

    def show(self, console: ConsoleNotifier, event: Event, language: Language) -> None:
        console.send(envelope(event, language))
        self.stream.write("END\n")  # a terminal gives what was written in pieces
        self.stream.flush()
        written = b""
        while not written.endswith(b"END\r\n"):
            written += os.read(self._own, 65_536)
        self.lines += [line for line in written.removesuffix(b"END\r\n").decode().splitlines() if line]

    @property
    def rows(self) -> int:
        return sum(-(-cell_len(line) // self._columns) for line in self.lines)


def story_of(epochs: int, names: Sequence[str] = ("train_loss", "val_loss", "val_acc")) -> list[Event]:
    """A run that saves each epoch, with values of four digits that each moved."""
    events: list[Event] = [START]
    for epoch in range(epochs):
        metrics = {name: Metric(0.4123 + epoch, 0.3333, 0.4123 + epoch, epoch) for name in names}
        progress = Progress(epoch, epoch + 1, epochs, metrics, 72.2, 36.0, 4000.0)
        saved = Checkpoint(f"/drive/resnet/checkpoint_epoch{epoch}.pt", epoch, 44_802_131, Tier.REMOTE)
        events.append(EpochFinished(**BASE, progress=progress))
        events.append(CheckpointSaved(**BASE, checkpoint=saved, progress=progress))
    return [*events, RunEnded(**BASE, status=Status.FINISHED, progress=progress)]


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("language", Language)
def test_an_epoch_takes_one_row_of_a_terminal_and_keeps_its_values(columns: int, language: Language) -> None:
    with Screen(columns) as screen:
        console = ConsoleNotifier(screen.stream)
        for event in story_of(40):
            screen.show(console, event, language)

        values = [line for line in screen.lines if "val_acc" in line]
        assert screen.rows <= 50
        assert len(values) == 40
        for epoch, line in enumerate(values):
            value = number(0.4123 + epoch)
            assert f"train_loss {value} ★ · val_loss {value} ★ · val_acc {value} ★" in line
            assert f" {epoch} ({epoch + 1}/40) · " in line


@pytest.mark.parametrize(("language", "epoch"), [(Language.EN, "epoch"), (Language.KO, "에포크")])
@pytest.mark.parametrize("many", [0, 1, 4, 8])
def test_a_line_takes_no_row_for_what_can_be_left_out_and_loses_no_value(
    language: Language, epoch: str, many: int
) -> None:
    """Where not even the values fit into one row, they go on in the next."""
    names = [f"metric_{each}" for each in range(many)]
    bare = f"{epoch} 2 (3/3)" + "".join(f" · {name} 2.412 ★" for name in names)
    for columns in range(2, 230, 19):
        with Screen(columns) as screen:
            console = ConsoleNotifier(screen.stream)
            for event in story_of(3, names)[1:-2]:
                screen.show(console, event, language)

        assert [name for name in names if f" · {name} 2.412" not in screen.lines[-1]] == []
        assert -(-cell_len(screen.lines[-1]) // columns) <= -(-cell_len(bare) // (columns - 1))


def test_lines_below_each_other_say_the_same_things_until_the_terminal_is_another() -> None:
    """One that needs more room leaves out more, and so do those after it."""
    wide = replace(PROGRESS, metrics={"train_loss": Metric(0.412, 0.433), "val_accuracy_of_a_task": Metric(0.5, 0.1)})
    with Screen(70) as screen:
        console = ConsoleNotifier(screen.stream)
        for progress in (PROGRESS, wide, PROGRESS):
            screen.show(console, replace(EPOCH, progress=progress), Language.EN)
        fcntl.ioctl(screen.stream, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
        screen.show(console, EPOCH, Language.EN)

        assert screen.lines == [
            "[resnet] epoch 3/30 · train_loss 0.412 · val_acc 0.871 ★ · ETA 5 min",
            "epoch 3/30 · train_loss 0.412 · val_accuracy_of_a_task 0.5",
            "epoch 3/30 · train_loss 0.412 · val_acc 0.871 ★",
            "[resnet] epoch 3/30 · train_loss 0.412 (−0.021) · val_acc 0.871 (+0.012) ★ · 12 s · ETA 5 min",
        ]


def test_a_resumed_start_says_what_was_lost() -> None:
    resumed = RunStarted(**BASE, attempt=2, total=30, progress=PROGRESS, resumed=Resumed(3, "a.pt", 900.0, 720.0))

    assert printed(resumed) == "🚀 resnet resumed from epoch 3\n12 min were lost; epoch 4 is next.\n"


def test_a_narrow_terminal_gets_what_it_can_show() -> None:
    assert printed(EPOCH, encoding="ascii").startswith(
        "[resnet] epoch 3/30 | train_loss 0.412 (-0.021) | val_acc 0.871"
    )
    assert printed(START, encoding="ascii").startswith("resnet started\n")
    assert "[resnet] 에포크 3/30" in printed(EPOCH, Language.KO, encoding="cp949")
    assert "[resnet] ???" in printed(EPOCH, Language.KO, encoding="ascii")


def test_a_terminal_without_the_mark_of_a_checkpoint_gets_no_rest_of_it() -> None:
    assert encodable("epoch 3/30 · val_acc 0.871 ★ · 💾", Terminal("ascii")) == "epoch 3/30 | val_acc 0.871 *"


def test_a_bar_of_tqdm_stays_whole() -> None:
    terminal = io.StringIO()
    with tqdm(range(3), file=terminal, ascii=True, mininterval=0) as bar:
        bar.update()
        ConsoleNotifier(terminal).send(envelope(START))

    assert "\r" in terminal.getvalue().partition("🚀")[0][-80:]  # the bar was wiped from the line first
    assert "🚀 resnet started\n" in terminal.getvalue()


def test_without_tqdm_lines_are_written_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tqdm")

    assert printed(START).startswith("🚀 resnet started\n")


def test_output_goes_to_standard_error_and_in_a_notebook_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleNotifier().send(envelope(START))
    assert capsys.readouterr().out == ""

    ConsoleNotifier(notebook=True).send(envelope(START))
    assert capsys.readouterr().err == ""


class BrokenPipe(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_closed_or_broken_stream_costs_the_line_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", None)

    for console in (ConsoleNotifier(closed), ConsoleNotifier(BrokenPipe()), ConsoleNotifier()):
        console.send(envelope(START))
        console.close()
        assert console.lost == 1


def test_what_a_full_disk_refuses_is_gone_and_does_not_come_back_at_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python flushes its streams when it ends, and makes the exit code 120 of what it cannot write then."""
    console = ConsoleNotifier()
    with open("/dev/full", "w", buffering=1, encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "__stderr__", stream)
        monkeypatch.setattr(logging.getLogger(), "handlers", [])

        console.send(envelope(EPOCH))
        LogLines().emit(logging.makeLogRecord({"msg": "a warning", "levelno": logging.WARNING}))

        stream.flush()  # raises where anything is left

    assert console.lost == 1


def test_a_warning_leaves_a_bar_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's last resort would write into it."""
    terminal = Terminal("utf-8")
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = tqdm(total=3, file=terminal, ascii=True, ncols=40, mininterval=0)
    for name in ("", "notifybot"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
    lines = LogLines()
    lines.attach()
    lines.attach()
    logging.getLogger("notifybot").warning("a warning")
    logging.getLogger("notifybot").removeHandler(lines)
    bar.close()

    assert terminal.shown.count("a warning") == 1
    assert "\ra warning\n" in terminal.shown or "\r \ra warning\n" in terminal.shown.replace(" " * 39, " ")


def test_a_program_that_logs_by_itself_gets_our_warnings_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    terminal = Terminal("utf-8")
    monkeypatch.setattr(sys, "stderr", terminal)
    lines = LogLines()
    lines.attach()
    logging.getLogger("notifybot").warning("a warning")
    logging.getLogger("notifybot").removeHandler(lines)

    assert [record.getMessage() for record in caplog.records] == ["a warning"]
    assert terminal.shown == ""


def test_without_a_stream_nothing_is_said_and_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under pythonw there is neither standard output nor standard error."""
    monkeypatch.setattr(sys, "stderr", None)
    bar = Bar("resnet", total=3, done=0)
    bar.advance({"loss": 0.5})
    bar.close()
    LogLines().emit(logging.makeLogRecord({"msg": "a warning", "levelno": logging.WARNING}))
    console = ConsoleNotifier()
    console.send(envelope(EPOCH))

    assert console.lost == 1


def test_the_bar_shows_its_metrics_on_a_small_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two values with their names fit into 80 columns beside a name of ten letters."""
    terminal = Terminal("utf-8")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda _: (80, 24))
    bar = Bar("digits-cnn", total=10, done=0)
    bar.advance({"train_loss": 0.1481, "val_acc": 0.9415})
    bar.close()

    assert "train_loss=0.1481, val_acc=0.9415]" in terminal.shown


def test_it_is_a_notifier() -> None:
    console: Notifier = ConsoleNotifier(io.StringIO())

    assert (console.name, console.key, console.pace.progress_gap_s) == ("console", "console:00000000", 0)


def test_an_outline_prints_the_same_epoch_line_as_a_whole_message() -> None:
    """The console words an epoch itself, so the cheap rendering must lose nothing there."""
    renderer, event, lines = Renderer(Language.EN), outlined_epoch(), []
    for message in (renderer.render(event), renderer.render_summary(event)):
        stream = io.StringIO()
        ConsoleNotifier(stream).send(Envelope(event, message, DictMemory()))
        lines.append(stream.getvalue())

    assert "train_loss 0.5" in lines[0]
    assert lines[0] == lines[1]


def outlined_epoch() -> EpochFinished:
    progress = Progress(
        epoch=2, done=3, total=9, metrics={"train_loss": Metric(0.5, previous=0.75)}, epoch_s=2, eta_s=12
    )
    return EpochFinished(id=uuid7(), run=RunRef("r", "resnet", "p"), at=SYSTEM.now(), progress=progress)


@pytest.mark.parametrize("total", [None, 0, 10**12, 2**53, sys.maxsize, 10**30])
@pytest.mark.parametrize("language", Language)
def test_a_number_of_epochs_that_nobody_reaches_is_no_total(total: int | None, language: Language) -> None:
    """`range(sys.maxsize)` and `itertools.count()`: neither a count of that many, nor a time left."""
    eta_s = None if total is None else total * 1.5
    progress = Progress(epoch=7, done=8, total=total, metrics=PROGRESS.metrics, epoch_s=1.5, eta_s=eta_s)
    common = BASE | {"progress": progress}
    events: list[Event] = [
        RunStarted(**common, total=total),
        EpochFinished(**common),
        CheckpointSaved(**common, checkpoint=Checkpoint("a.pt")),
        AlertRaised(**common, title="look"),
        RunEnded(**common, status=Status.STOPPED),
    ]

    for event in events:
        message = Renderer(language).render(event)
        facts = [f"{each.label} {each.value}" for each in message.facts]
        told = [printed(event, language), message.title, message.body, message.brief, *facts]
        assert [each for each in told if "000000" in each or "9007" in each or "9223" in each] == []
        assert [each for each in told if each.rstrip().endswith(("ETA", "남은 시간")) or "ETA  " in each] == []
        assert not message.total
