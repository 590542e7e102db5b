"""What a run says besides its epochs: alerts by any name for their severity, and no checkpoint that is not there."""

from __future__ import annotations

import math
import threading
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import notifybot
from notifybot import Run, notify_epoch
from notifybot.config import load
from notifybot.events import AlertRaised, Event, RunEnded
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.training.endings import Ending
from notifybot.training.session import close
from notifybot.types import Severity, Status
from tests.support.training_runs import recorded_events


def recorded(run: notifybot.Run) -> list[Event]:
    assert run.session is not None
    return recorded_events(run)


class Level(Enum):
    """As `wandb.AlertLevel` is."""

    ERROR = "ERROR"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("warn", Severity.WARNING),
        ("WARN", Severity.WARNING),
        ("ERROR", Severity.ERROR),
        ("critical", Severity.ERROR),
        ("Fatal", Severity.ERROR),
        ("Info", Severity.INFO),
        (" success ", Severity.SUCCESS),
        (Severity.ERROR, Severity.ERROR),
        (Level.ERROR, Severity.ERROR),
        ("urgent", Severity.WARNING),
        (40, Severity.WARNING),
    ],
)  # fmt: skip
def test_an_alert_is_told_whatever_its_severity_is_called(
    settings: dict[str, object], caplog: pytest.LogCaptureFixture, given: Any, meant: Severity
) -> None:
    """W&B says INFO, WARN and ERROR (https://docs.wandb.ai/ref/python/experiments/run/#alert), logging CRITICAL."""
    with notify_epoch(range(1), config=settings) as epochs:
        list(epochs)
        epochs.run.alert("look", severity=given)
        epochs.run.alert("look again", level=given)

    told = [event.severity for event in recorded(epochs.run) if isinstance(event, AlertRaised)]
    assert told == [meant, meant]
    assert epochs.run.faults == {}
    strange = [record for record in caplog.records if "severity" in record.getMessage()]
    assert len(strange) == (given in ("urgent", 40)), "said once, and only of a word that nobody knows"


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_checkpoint_that_is_not_there_is_not_told_as_saved(
    settings: dict[str, object], tmp_path: Path, caplog: pytest.LogCaptureFixture, language: str
) -> None:
    """A save that failed without a word is told, once in a row; the run's last checkpoint is still the one before."""
    saved = tmp_path / "model.pt"
    saved.write_bytes(b"12345")
    gone = tmp_path / "gone" / "foo.pt"
    with notify_epoch(range(1), config=settings | {"lang": language}) as epochs:
        for _ in epochs:
            epochs.log_checkpoint(saved)
            for path in (gone, str(gone), saved / "inside.pt"):
                epochs.log_checkpoint(path)
    alerts = [event for event in recorded(epochs.run) if isinstance(event, AlertRaised)]

    assert len(alerts) == 1
    assert epochs.run.progress.checkpoint is not None
    assert epochs.run.progress.checkpoint.path == str(saved)
    assert [event.kind for event in recorded(epochs.run)].count("checkpoint_saved") == 1
    expected = {"en": ("not found", "it is missing"), "ko": ("찾을 수 없습니다", "파일이 없습니다")}[language]
    assert expected[0] in alerts[0].title
    assert f"{gone}: {expected[1]}" in alerts[0].text
    assert [record.getMessage() for record in caplog.records if str(gone) in record.getMessage()] == [
        f"{alerts[0].title}: {' '.join(alerts[0].text.split())}"
    ]


def test_a_checkpoint_that_is_missing_again_is_told_again(settings: dict[str, object], tmp_path: Path) -> None:
    saved = tmp_path / "model.pt"
    saved.write_bytes(b"12345")
    with notify_epoch(range(1), config=settings) as epochs:
        for _ in epochs:
            for path in (tmp_path / "a.pt", saved, tmp_path / "b.pt"):
                epochs.log_checkpoint(path)

    kinds = [event.kind for event in recorded(epochs.run)]
    assert kinds[1:4] == ["alert_raised", "checkpoint_saved", "alert_raised"]


def test_what_cannot_be_looked_at_is_believed(settings: dict[str, object], tmp_path: Path) -> None:
    """A URL, and a folder of a sharded checkpoint, whose files come later."""
    (tmp_path / "shards").mkdir()
    with notify_epoch(range(1), config=settings) as epochs:
        for _ in epochs:
            epochs.log_checkpoint("s3://bucket/model.pt")
            epochs.log_checkpoint(tmp_path / "shards")

    assert [event.kind for event in recorded(epochs.run)].count("checkpoint_saved") == 2


def test_epochs_that_a_framework_runs_again_replace_those_before(settings: dict[str, object]) -> None:
    """It resumed from an older checkpoint: the first label that it tells shows it."""
    for session, labels in enumerate(([0, 1, 2, 3, 4], [3, 4])):
        with notifybot.notify_run("r", run_id="run-7", config=settings) as run:
            for label in labels:
                sparse = {"val_acc": 1.0 - 0.1 * label - 0.5 * session} if label % 2 == 0 else {}
                run.log_epoch(label, {"val_loss": 1.0 - 0.1 * label + 0.5 * session}, **sparse)
            progress = run.progress

    loss, accuracy = progress.metrics["val_loss"], progress.metrics["val_acc"]
    assert [(epoch, round(value, 3)) for epoch, value in loss.points(progress)] == [
        (0, 1), (1, 0.9), (2, 0.8), (3, 1.2), (4, 1.1),
    ]  # fmt: skip
    assert (loss.best, loss.best_epoch, progress.done) == (0.8, 2, 5)
    assert [epoch for epoch, _ in accuracy.points(progress)] == [0, 2, 4]
    assert (accuracy.best, accuracy.best_epoch) == (1.0, 0)


def test_a_secret_among_nested_parameters_reaches_no_place(settings: dict[str, object], tmp_path: Path) -> None:
    """Hydra's and YAML's settings are nested, and hold what services want."""
    secrets = [f"canary{each}canary" for each in range(5)]
    params = {
        "lr": 0.1,
        "wandb": {"project": "p", "api_key": secrets[0]},
        "loggers": [{"name": "slack", "url": f"https://hooks.slack.com/services/T0/B0/{secrets[1]}"}],
        "db": f"postgres://me:{secrets[2]}@host/db",
        "headers": {"Authorization": f"Bearer {secrets[3]}"},
        "args": ["--token", "x", f"--hf-token={secrets[4]}"],
    }
    with notify_epoch(range(1), params=params, config=settings) as epochs:
        list(epochs)
    told = repr(recorded(epochs.run))
    close()

    written = b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())
    assert b"wandb.project" in written
    assert [each for each in secrets if each in told or each.encode() in written] == []


def test_a_run_without_a_thread_of_its_own_goes_on(
    settings: dict[str, object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a limit on processes the loop runs, its record is whole, and messages leave as soon as threads can be had."""
    notifier = RecordingNotifier()
    watched = {**settings, "lang": "en", "watchdog_url": "http://127.0.0.1:9", "watchdog_token": "canary-not-a-token"}

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limited:
        limited.setattr("threading.Thread.start", refused)
        loop = notify_epoch(range(2), name="alone", config=watched, notifiers=[notifier])
        for epoch in loop:
            loop.log(loss=1.0 / (epoch + 1))
    at_the_limit = [each.event.kind for each in notifier.sent]
    with notify_epoch(range(1), name="later", config=watched, notifiers=[notifier]) as later:
        for _ in later:
            later.log(loss=1.0)
        assert later.run.session is not None
        later.run.session.shared.delivery.worker.flush(10.0)

    assert (loop.run.status, loop.run.faults) == (Status.FINISHED, {})
    assert [event.kind for event in recorded(loop.run) if not isinstance(event, AlertRaised)] == [
        "run_started", "epoch_finished", "epoch_finished", "run_ended"
    ]  # fmt: skip
    assert at_the_limit == []
    assert any(isinstance(each.event, RunEnded) and each.event.run.name == "alone" for each in notifier.sent)
    assert "alone finished" in capsys.readouterr().err


def test_a_loop_of_alerts_is_told_once_and_counted_and_all_are_recorded(settings: dict[str, object]) -> None:
    """The notifier hears of the first, and in the ending of how many there were; the run's own file has each."""
    people = RecordingNotifier()

    with notify_epoch(range(30), alerts=[], config=settings, notifiers=[people]) as epochs:
        for epoch in epochs:
            epochs.log(loss=9.0)
            epochs.run.alert("loss is high", f"loss = 9.0 at epoch {epoch}")
    assert epochs.run.session is not None
    epochs.run.session.shared.delivery.worker.flush(10.0)

    alerts = [event for event in recorded(epochs.run) if isinstance(event, AlertRaised)]
    ending = recorded(epochs.run)[-1]
    assert [each.held for each in alerts] == [False] + [True] * 29
    assert isinstance(ending, RunEnded)
    assert ending.untold == 29
    assert people.kinds.count("alert_raised") == 1


class Watch(FakeClock):
    """Moved by the test alone: threads that wait do not move it."""

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        return event.wait(timeout_s)


@pytest.mark.parametrize(
    ("wait", "told"),
    [
        (None, 1),
        (timedelta(minutes=2), 3),
        (120, 3),
        (np.float32(120), 3),
        (0, 5),
        ("a minute", 1),
        (-1, 1),
        (math.nan, 1),
        (True, 1),
        ([60], 1),
    ],
)
def test_a_title_is_told_once_in_the_wait_duration_that_was_asked_for(
    settings: dict[str, object], caplog: pytest.LogCaptureFixture, wait: Any, told: int
) -> None:
    """W&B's own name for it (https://docs.wandb.ai/ref/python/experiments/run/#alert); what is no time is said once."""
    clock = Watch()
    run = Run(name="x", config=load(settings), alerts=(), notifiers=[], clock=clock)
    run.start()

    for _ in range(5):
        run.alert("look", "why", "WARN", wait)
        clock.advance(60)

    assert told == sum(not each.held for each in recorded(run) if isinstance(each, AlertRaised))
    assert run.faults == {}
    strange = [record for record in caplog.records if "wait_duration" in record.getMessage()]
    assert len(strange) == (wait in ("a minute", -1, [60]) or wait is True or wait is math.nan)
    run.end(Ending(Status.FINISHED))


def test_what_we_tell_ourselves_knows_no_limit(settings: dict[str, object]) -> None:
    with notify_epoch(range(1), alerts=[], config=settings, notifiers=[]) as epochs:
        list(epochs)
        for number in range(20):
            epochs.run.report(f"trial {number}")

    assert all(not each.held for each in recorded(epochs.run) if isinstance(each, AlertRaised))
