"""Optuna studies as people hear of them, with the real package."""

from __future__ import annotations

import copy
import importlib
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.study import Study
from optuna.trial import Trial

from notifybot.config import load
from notifybot.events import AlertRaised, RunEnded
from notifybot.integrations.optuna import StudyNotes, notify_study
from notifybot.notifiers.base import Envelope
from notifybot.testing import RecordingNotifier
from notifybot.training.endings import ENDINGS, Ending
from notifybot.types import Language, Severity, Status
from tests.support.training_runs import end_runs

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def people() -> Iterator[RecordingNotifier]:
    yield RecordingNotifier()
    end_runs()


def notes_of(
    people: RecordingNotifier, name: str | None = "digits", language: Language = Language.EN, **options: Any
) -> StudyNotes:
    config = load({"lang": language, "tensorboard": "off", "wandb": "off"})
    return notify_study(name, config=config, notifiers=[people], **options)


def told(notes: StudyNotes, people: RecordingNotifier) -> list[AlertRaised]:
    assert notes.run is not None
    notes.run.flush(30)
    found = [each.event for each in people.sent if isinstance(each.event, AlertRaised)]
    return sorted(found, key=lambda event: event.at)  # the result and the end overtake lines that wait


def ending(people: RecordingNotifier) -> RunEnded:
    (ended,) = [each.event for each in people.sent if isinstance(each.event, RunEnded)]
    return ended


def objective(trial: Trial) -> float:
    """Falls with the number; the third is pruned at its second step, the fourth fails."""
    trial.suggest_float("lr", 0.5, 0.5)
    if trial.number == 2:
        trial.report(7.0, step=3)
        raise optuna.TrialPruned
    if trial.number == 3:
        raise ValueError("too high")
    return float(4 - trial.number)


def test_each_trial_is_a_line_and_the_summary_agrees_with_the_study(people: RecordingNotifier) -> None:
    """Pruned and failed trials too; numbers are Optuna's own, which begin at 0."""
    study = optuna.create_study()
    with notes_of(people, monitor="val_loss:min", count=5, study=study) as notes:
        study.optimize(objective, n_trials=5, callbacks=[notes], catch=(ValueError,))

    lines = told(notes, people)
    assert [each.title for each in lines] == [
        "Trial #0 (1/5): val_loss = 4 · best so far",
        "Trial #1 (2/5): val_loss = 3 · best so far",
        "Trial #2 (3/5): pruned at step 3, val_loss = 7 (best 3, #1)",
        "Trial #3 (4/5): failed (best 3, #1)",
        "Trial #4 (5/5): val_loss = 0 · best so far",
        "Study result: best val_loss = 0, #4 (5 trials, 1 pruned, 1 failed)",
    ]
    assert (lines[-1].text, lines[-1].severity, lines[3].severity) == ("lr = 0.5", Severity.SUCCESS, Severity.WARNING)
    assert notes.best is not None
    assert (notes.best.number, notes.best.value) == (study.best_trial.number, study.best_value)
    assert study.user_attrs["notifybot_run_id"] == notes.guest.state()["run_id"]
    last = ending(people)
    assert (last.status, last.progress.done, last.progress.total, last.progress.unit) == (
        Status.FINISHED, 5, 5, "trial",
    )  # fmt: skip
    assert (last.progress.metrics["val_loss"].best, last.progress.metrics["val_loss"].best_epoch) == (0.0, 4)
    assert people.kinds.count("run_started") == 1
    assert "epoch_finished" not in people.kinds


def test_threads_report_one_study(people: RecordingNotifier) -> None:
    """Two trials are over at once, again and again: each is counted once, and the best is the study's."""
    study = optuna.create_study(direction="maximize")
    together = threading.Barrier(2, timeout=60)

    def at_once(trial: Trial) -> float:
        together.wait()
        return float(trial.suggest_float("x", 0, 1))

    with notes_of(people, count=8) as notes:
        study.optimize(at_once, n_trials=8, n_jobs=2, callbacks=[notes])

    assert notes.best is not None
    assert sorted(each.number for each in notes.trials) == list(range(8))
    assert notes.best.value == study.best_value
    assert told(notes, people)[-1].title.startswith("Study result: best value = ")
    assert ending(people).progress.done == 8


def test_no_trial_came_to_its_end(people: RecordingNotifier) -> None:
    """`study.best_trial` would raise."""

    def never(trial: Trial) -> float:
        raise optuna.TrialPruned

    study = optuna.create_study()
    with notes_of(people, language=Language.KO, study=study) as notes:
        study.optimize(never, n_trials=2, callbacks=[notes])

    assert [(each.title, each.severity) for each in told(notes, people)] == [
        ("트라이얼 #0: 가지치기했습니다", Severity.INFO),
        ("트라이얼 #1: 가지치기했습니다", Severity.INFO),
        ("스터디 결과: value 값이 없습니다 (트라이얼 2회, 가지치기 2회)", Severity.WARNING),
    ]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # of names for several objectives
def test_several_objectives_have_a_front_and_no_best(people: RecordingNotifier) -> None:
    """Its size is that of the study's own."""
    points = [(2.0, 1.0), (1.0, 1.0), (3.0, 3.0), (2.0, 2.0)]
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.set_metric_names(["ms", "acc"])
    with notes_of(people, study=study) as notes:
        study.optimize(lambda trial: points[trial.number], n_trials=4, callbacks=[notes])

    assert [each.title for each in told(notes, people)] == [
        "Trial #0: ms = 2, acc = 1 · on the Pareto front of 1",
        "Trial #1: ms = 1, acc = 1 · on the Pareto front of 1",
        "Trial #2: ms = 3, acc = 3 · on the Pareto front of 2",
        "Trial #3: ms = 2, acc = 2 · on the Pareto front of 3",
        "Study result: 3 trials on the Pareto front (4 trials)",
    ]
    assert [each.number for each in notes.front] == [each.number for each in study.best_trials]
    assert notes.best is None
    assert told(notes, people)[-1].text.splitlines()[0] == "#1: ms = 1, acc = 1"


def test_a_trial_that_violates_a_constraint_is_not_the_best(people: RecordingNotifier) -> None:
    """Optuna's own best is a trial without a violation."""

    def bound(trial: Trial) -> float:
        trial.set_constraint("memory", float(trial.number == 1))
        return float(2 - trial.number)

    study = optuna.create_study()
    with notes_of(people, tell="best") as notes:
        study.optimize(bound, n_trials=2, callbacks=[notes])

    assert [each.title for each in told(notes, people)] == [
        "Trial #0: value = 2 · best so far",
        "Study result: best value = 2, #0 (2 trials)",
    ]
    assert notes.best is not None
    assert notes.best.number == study.best_trial.number


def test_a_study_that_goes_on_is_the_same_run(people: RecordingNotifier, tmp_path: Path) -> None:
    """Found by the study's attributes in its storage; its earlier trials count, and its best is carried."""
    storage = f"sqlite:///{tmp_path / 'study.db'}"

    def session() -> tuple[Study, StudyNotes]:
        study = optuna.create_study(study_name="digits", storage=storage, load_if_exists=True)
        notes = notes_of(people, None, count=4)
        study.optimize(lambda trial: (1.0, 3.0, 2.0, 0.5)[trial.number], n_trials=2, callbacks=[notes])
        return study, notes

    _, first = session()
    assert first.guest.active
    assert first.run is not None
    assert first.run.progress.kept_in == "storage"
    first.run.end(Ending(Status.INTERRUPTED))
    study, second = session()

    assert second.run is not None
    assert (second.run.id, second.run.name, second.run.attempt) == (first.run.id, "digits", 2)
    assert second.run.status is Status.FINISHED
    assert [each.title for each in told(second, people)][-3:] == [
        "Trial #2 (3/4): value = 2 (best 1, #0)",
        "Trial #3 (4/4): value = 0.5 · best so far",
        "Study result: best value = 0.5, #3 (4 trials)",
    ]
    assert second.run.progress.metrics["value"].best == study.best_value


def test_another_process_that_reports_the_study_is_not_disturbed(people: RecordingNotifier) -> None:
    """Several processes of one machine may work on a study: each is a run of its own."""
    study = optuna.create_study()
    with notes_of(people, study=study) as first:
        pass
    attributes = dict(study.user_attrs["notifybot_process"])
    study.set_user_attr("notifybot_process", attributes | {"pid": os.getppid()})
    with notes_of(people, study=study) as second:
        pass
    study.set_user_attr("notifybot_process", attributes | {"host": "elsewhere", "pid": os.getppid()})
    with notes_of(people, study=study) as third:
        pass

    ids = [each.run.id for each in (first, second, third) if each.run is not None]
    assert [ids[0] == ids[1], ids[1] == ids[2]] == [False, True]


def test_the_number_is_optuna_s_own_behind_a_trial_that_was_killed(people: RecordingNotifier) -> None:
    """It is left as running: of the fourth trial, #3 with three that are over, place and number would look alike."""
    study = optuna.create_study()
    with notes_of(people, count=5, study=study) as notes:
        study.ask()
        study.optimize(lambda trial: 1.0, n_trials=2, callbacks=[notes])

    assert [each.title for each in told(notes, people)][:2] == [
        "Trial #1 (1/5): value = 1 · best so far",
        "Trial #2 (2/5): value = 1 (best 1, #1)",
    ]


def test_an_objective_that_raises_has_failed_the_run(people: RecordingNotifier) -> None:
    """In the first trial too, of which no callback is called, and without the study being known."""

    def raises(trial: Trial) -> float:
        raise ValueError("no data")

    study = optuna.create_study()
    with pytest.raises(ValueError, match="no data"), notes_of(people, study=study) as notes:
        study.optimize(raises, n_trials=2, callbacks=[notes])
    assert notes.run is not None
    notes.run.flush(30)
    assert (ending(people).status, ending(people).error) == (Status.FAILED, "ValueError: no data")

    others = RecordingNotifier()
    with pytest.raises(ValueError, match="no data"), notes_of(others) as unknowing:
        study.optimize(raises, n_trials=2, callbacks=[unknowing])
    assert unknowing.run is not None
    unknowing.run.flush(30)
    assert others.kinds == ["run_started", "alert_raised", "run_ended"]
    assert ending(others).status is Status.FAILED


@pytest.mark.parametrize("last", ["cell", "process"])
def test_without_a_block_the_end_of_the_cell_or_process_is_the_end(last: str, people: RecordingNotifier) -> None:
    """A study that was cut short of its count was left early."""
    study = optuna.create_study()
    notes, short = notes_of(people), notes_of(people, count=9)
    study.optimize(lambda trial: 1.0, n_trials=1, callbacks=[notes])
    optuna.create_study().optimize(lambda trial: 1.0, n_trials=1, callbacks=[short])
    assert notes.run is not None
    assert short.run is not None
    assert (notes.guest.active, short.guest.active) == (True, True)

    if last == "cell":
        ENDINGS.cell_ended(None)
    else:
        for run in list(ENDINGS._open):
            run.end(Ending(Status.STOPPED, on_purpose=True))

    assert [notes.run.status, short.run.status] == [Status.FINISHED, Status.STOPPED]
    assert [each.title for each in told(notes, people)][-1] == "Study result: best value = 1, #0 (1 trial)"


@pytest.mark.parametrize("known", [True, False])
def test_a_block_in_which_no_trial_was_heard_of_says_what_to_write(
    known: bool, people: RecordingNotifier, caplog: pytest.LogCaptureFixture
) -> None:
    study = optuna.create_study()
    with notes_of(people, study=study if known else None):
        study.optimize(lambda trial: 1.0, n_trials=1)

    assert "Write study.optimize(…, callbacks=[notes])" in caplog.text


class BusyNotifier(RecordingNotifier):
    """Takes its first message once the study is over, as a service that takes one a second."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()

    def send(self, envelope: Envelope) -> None:
        self.free.wait(30)
        super().send(envelope)


def test_the_result_and_the_end_overtake_trials_that_wait() -> None:
    """A program waits two seconds at its end: Slack would take the run for lost if its end was unsent then."""
    busy = BusyNotifier()
    study = optuna.create_study()
    with notes_of(busy, study=study, count=5) as notes:
        study.optimize(lambda trial: 1.0, n_trials=5, callbacks=[notes])
    busy.free.set()
    assert notes.run is not None
    notes.run.flush(30)

    assert busy.kinds == ["run_started", "alert_raised", "run_ended", *["alert_raised"] * 5]
    first = busy.sent[1].event
    assert isinstance(first, AlertRaised)
    assert first.title.startswith("Study result")


def test_reporting_that_fails_fails_no_trial(people: RecordingNotifier) -> None:
    study = optuna.create_study()
    notes = notes_of(people)
    broken: Any = None
    notes(broken, broken)

    study.optimize(lambda trial: 1.0, n_trials=1, callbacks=[notes])
    assert notes.best is not None


def test_a_copy_has_not_begun(people: RecordingNotifier) -> None:
    study = optuna.create_study()
    with notes_of(people, study=study) as notes:
        other = pickle.loads(pickle.dumps(copy.deepcopy(notify_study("digits", study=study))))
        study.optimize(lambda trial: 1.0, n_trials=1, callbacks=[notes])

    assert (other.run, other.trials) == (None, [])


def test_where_optuna_is_missing_its_install_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "notifybot.integrations.optuna")
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(ImportError, match="pip install optuna"):
        importlib.import_module("notifybot.integrations.optuna")
