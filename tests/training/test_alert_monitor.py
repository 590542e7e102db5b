"""Alerts beside a run: told once and durably, over a resume too, and never at the training's cost."""

from __future__ import annotations

import math
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from notifybot import alerts
from notifybot.alerts import Alert, AlertRule
from notifybot.config import Config, load
from notifybot.errors import UsageError
from notifybot.events import AlertRaised
from notifybot.testing import FakeClock
from notifybot.training.alert_monitor import AlertMonitor
from notifybot.training.endings import Ending
from notifybot.training.progress import ProgressTracker
from notifybot.training.run import Run
from notifybot.training.session import close
from notifybot.types import Language, Progress, Severity, Status
from tests.support.nvml import library, refuse
from tests.support.training_runs import recorded_events

NAN = math.nan


class StandingClock(FakeClock):
    """Waiting on it waits for the event. No two events have the same moment, so that they can be told apart."""

    def now(self) -> datetime:
        self.jump(0.001)
        return super().now()

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        return event.wait(10.0)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load({"state_dir": tmp_path / "state", "runs_dir": tmp_path / "runs", "tensorboard": "off"})


@pytest.fixture
def run(config: Config) -> Iterator[Run]:
    made = Run(run_id="run-1", config=config, notifiers=[], clock=StandingClock())
    made.start(range(9))
    yield made
    made.end(Ending(Status.FINISHED))
    close()


@pytest.fixture
def course() -> ProgressTracker:
    return ProgressTracker(now_s=0.0)


def alarms_of(*rules: AlertRule, folders: Sequence[Path] = (), language: Language = Language.EN) -> AlertMonitor:
    return AlertMonitor(rules, language=language, folders=folders, clock=StandingClock())


def told(run: Run) -> list[AlertRaised]:
    assert run.session is not None
    return [each for each in recorded_events(run) if isinstance(each, AlertRaised)]


def titles(run: Run) -> list[str]:
    return [each.title for each in told(run)]


def epoch(alarms: AlertMonitor, course: ProgressTracker, **values: float) -> None:
    label = 0 if course.last.epoch is None else course.last.epoch + 1
    alarms.epoch_ended(course.finish_epoch(label, values, now_s=float(label))[0])


# ── What is told ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_loss_that_is_no_number_is_told_once_and_when_it_is_over(run: Run, course: ProgressTracker) -> None:
    alarms = alarms_of(*alerts.DEFAULT)
    alarms.begin(run)
    for loss in (1.0, NAN, NAN, 0.5):
        epoch(alarms, course, train_loss=loss)

    began, over = told(run)
    assert (began.title, began.severity) == ("train_loss is NaN", Severity.ERROR)
    assert began.text.startswith("train_loss = NaN (last finite value 1).")
    assert (over.title, over.severity) == ("train_loss is finite again", Severity.SUCCESS)


def test_it_is_told_in_the_language_of_the_messages(run: Run, course: ProgressTracker) -> None:
    alarms = alarms_of(*alerts.DEFAULT, language=Language.KO)
    alarms.begin(run)
    epoch(alarms, course, train_loss=NAN)

    assert titles(run) == ["train_loss 값이 NaN입니다"]


def test_rules_do_not_get_in_each_others_way(run: Run, course: ProgressTracker) -> None:
    alarms = alarms_of(alerts.non_finite(), alerts.target("val_acc", 0.9), alerts.threshold("val_acc", above=0.8))
    alarms.begin(run)
    epoch(alarms, course, train_loss=NAN, val_acc=0.95)

    assert titles(run) == ["train_loss is NaN", "val_acc has reached its target", "val_acc is above 0.8"]


def test_the_monitors_word_tells_a_direction(run: Run, course: ProgressTracker) -> None:
    """Who said `monitor="reward:max"` need not say it twice."""
    alarms = AlertMonitor([alerts.target("reward", 10)], language=Language.EN, monitor="reward:max")
    alarms.begin(run)
    epoch(alarms, course, reward=11.0)

    assert titles(run) == ["reward has reached its target"]


def test_what_makes_no_sense_is_refused_before_the_first_epoch() -> None:
    with pytest.raises(UsageError, match="write 'entropy:min' or 'entropy:max'"):
        alarms_of(alerts.plateau("entropy"))
    with pytest.raises(UsageError, match="takes a list of rules"):
        AlertMonitor("non_finite", language=Language.EN)  # type: ignore[arg-type]


def test_a_metric_that_is_not_logged_is_asked_about_once(run: Run, course: ProgressTracker) -> None:
    alarms = alarms_of(alerts.plateau("val_loss"), alerts.target("val_acc", 0.9), alerts.non_finite())
    alarms.begin(run)
    epoch(alarms, course, val_loss=1.0)
    epoch(alarms, course, val_loss=1.0)

    (event,) = told(run)
    assert event.severity is Severity.WARNING
    assert event.text.startswith("Not logged in the first epoch: val_acc. Logged: val_loss.")


def test_a_metric_known_from_before_is_not_asked_about(run: Run) -> None:
    """A resumed run may validate every fifth epoch."""
    earlier = ProgressTracker(now_s=0.0)
    earlier.finish_epoch(0, {"val_acc": 0.5}, now_s=1.0)
    run._course = ProgressTracker(
        now_s=0.0, earlier=earlier.summary(1.0)
    )  # as `Run.start` does with an earlier session's
    alarms = alarms_of(alerts.target("val_acc", 0.9))
    alarms.begin(run)
    epoch(alarms, run._course, loss=1.0)

    assert titles(run) == []


# ── Faults, threads, endings ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_rule_that_raises_is_counted_and_the_others_go_on(run: Run, course: ProgressTracker) -> None:
    """Whatever it raises, UsageError included: after the first epoch nothing of ours reaches the training."""

    def broken(progress: Progress) -> Alert | None:
        raise UsageError("mine")

    alarms = alarms_of(broken, alerts.non_finite(), lambda progress: 1 / 0)  # type: ignore[arg-type, return-value]
    alarms.begin(run)
    epoch(alarms, course, loss=NAN)
    epoch(alarms, course, loss=NAN)

    assert titles(run) == ["loss is NaN"]
    assert run.faults == {"alert_rule broken": 2, "alert_rule <lambda>": 2}


def test_a_rule_of_the_users_own_may_say_anything(run: Run, course: ProgressTracker) -> None:
    """Lines in a title and endless text are brought into bounds; a severity may be a word."""
    alarms = alarms_of(lambda progress: Alert("a\nb" * 900, "red" * 9000, "error"))
    alarms.begin(run)
    epoch(alarms, course, loss=1.0)

    (event,) = told(run)
    assert event.severity is Severity.ERROR
    assert "\n" not in event.title
    assert (len(event.title), len(event.text)) == (200, 4000)


def test_an_alert_is_no_sign_that_the_loop_moves(run: Run, course: ProgressTracker) -> None:
    """Or the watchdog would call a run recovered that still hangs."""
    alarms = alarms_of(alerts.non_finite())
    alarms.begin(run)
    before = run._pulse()
    epoch(alarms, course, loss=NAN)

    assert titles(run) == ["loss is NaN"]
    assert run._pulse() == before


def test_nothing_is_told_of_a_run_that_is_over(run: Run, course: ProgressTracker) -> None:
    alarms = alarms_of(alerts.non_finite())
    alarms.begin(run)
    run.end(Ending(Status.FINISHED))
    epoch(alarms, course, loss=NAN)

    assert titles(run) == []


def test_nothing_is_asked_of_a_run_that_never_began(course: ProgressTracker) -> None:
    """On the other ranks, and in a forked child."""
    alarms = alarms_of(alerts.non_finite(), alerts.low_disk())
    epoch(alarms, course, loss=NAN)
    alarms.look()
    alarms.end()


def test_within_an_epoch_a_sum_that_is_spoilt_is_told_at_once_and_not_again_at_its_end(
    run: Run, course: ProgressTracker
) -> None:
    alarms = alarms_of(alerts.non_finite(), alerts.threshold("loss", above=0))
    alarms.begin(run)
    alarms.values_so_far({})
    alarms.values_so_far({"loss": NAN})
    epoch(alarms, course, loss=NAN)

    assert titles(run) == ["loss is NaN"]


# ── Over a resume ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_open_at_a_kill_is_not_told_again_but_its_end_is(run: Run) -> None:
    earlier = ProgressTracker(now_s=0.0)
    for label, loss in enumerate([1.0, 1.5, 1.5, NAN]):
        earlier.finish_epoch(label, {"val_loss": loss}, now_s=float(label))
    run._course = ProgressTracker(
        now_s=0.0, earlier=earlier.summary(4.0)
    )  # as `Run.start` does with an earlier session's
    alarms = alarms_of(alerts.non_finite(), alerts.plateau("val_loss", patience=2))
    alarms.begin(run)
    for loss in (NAN, 1.5, 0.5, 0.6):
        epoch(alarms, run._course, val_loss=loss)

    assert titles(run) == ["val_loss is finite again", "val_loss improves again"]


def test_a_rule_that_raises_over_the_past_is_counted_too(run: Run) -> None:
    earlier = ProgressTracker(now_s=0.0)
    earlier.finish_epoch(0, {"loss": 1.0}, now_s=1.0)
    run._course = ProgressTracker(now_s=0.0, earlier=earlier.summary(4.0))

    alarms_of(lambda progress: 1 / 0).begin(run)  # type: ignore[arg-type, return-value]

    assert run.faults == {"alert_rule <lambda>": 1}


# ── The machine ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_is_told_once_by_a_thread(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(total=100, free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    alarms = alarms_of(alerts.low_disk(percent=5), folders=[tmp_path / "state", tmp_path / "runs"])
    alarms._run = run  # begun, but for the thread
    alarms.look()
    alarms.look()
    usage.free = 50
    alarms.look()

    assert titles(run) == ["A disk is nearly full", "The disk has room again"]
    assert told(run)[0].text.startswith("1 B of 100 B free at ")
    assert told(run)[0].text.endswith("/state (limit 5 B).")


def test_a_thread_is_started_only_where_a_rule_looks_at_the_machine(run: Run) -> None:
    alarms_of(alerts.non_finite(), alerts.slow_epoch()).begin(run)
    without = names_of_threads()
    alarms = alarms_of(alerts.low_disk(percent=0.001))
    alarms.begin(run)
    with_it = names_of_threads()
    alarms.end()
    alarms.end()

    assert "notifybot-machine" not in without
    assert "notifybot-machine" in with_it


def names_of_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("there", [None, library(nvmlInit=refuse)], ids=["not installed", "no driver"])
def test_without_a_driver_gpu_rules_stay_silent_and_say_so_once(
    there: ModuleType | None, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", there)
    alarms = alarms_of(alerts.gpu_idle(), alerts.gpu_memory())
    alarms._run = run
    alarms.look()
    alarms.look()

    assert titles(run) == []
    assert [
        record.message.partition(",")[0].partition(" stay")[0] for record in caplog.records if "GPU" in record.message
    ]
    assert len([record for record in caplog.records if "GPU" in record.message]) == 1
    assert run.faults == {}
