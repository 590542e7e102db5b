"""XGBoost and LightGBM as people hear of them, with the real packages and data of a few rows."""

from __future__ import annotations

import copy
import importlib
import math
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from notifybot import UsageError
from notifybot.config import load
from notifybot.events import EpochFinished, Event, RunEnded, RunStarted
from notifybot.integrations import boosting
from notifybot.integrations.boosting import Rounds, notify_rounds
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.training.endings import ENDINGS, Ending
from notifybot.types import Status
from tests.support.training_runs import end_runs, recorded_events

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(120, 4))
Y = (X[:, 0] + RANDOM.normal(size=120) > 0).astype(int)
X_VAL = RANDOM.normal(size=(60, 4))
Y_VAL = (X_VAL[:, 0] + RANDOM.normal(size=60) > 0).astype(int)
XGB = {"objective": "binary:logistic", "eval_metric": ["error", "logloss"], "max_depth": 2, "nthread": 1}
LGB = {"objective": "binary", "metric": ["auc", "binary_logloss"], "num_leaves": 4, "verbosity": -1, "num_threads": 1}


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    end_runs()


def rounds_of(name: str = "digits", *, clock: Any = None, **options: Any) -> Rounds:
    """Its clock stands still, so that only the first round and the last are reported."""
    config = load({"lang": "en", "tensorboard": "off", "wandb": "off"})
    return Rounds(name, clock=clock or FakeClock(), config=config, notifiers=[RecordingNotifier()], **options)


class EverySecond(FakeClock):
    """A clock by which each round takes a second."""

    def monotonic(self) -> float:
        self.advance(1)
        return super().monotonic()


def recorded(notify: Rounds) -> list[Event]:
    assert notify.run is not None
    assert notify.run.session is not None
    return recorded_events(notify.run)


def reports(notify: Rounds) -> dict[int | None, dict[str, float]]:
    """The values of each report, by the number of rounds that are done."""
    found = [each.progress for each in recorded(notify) if isinstance(each, EpochFinished)]
    assert [each.done for each in found] == [each.epoch for each in found]
    return {each.epoch: {name: metric.value for name, metric in each.metrics.items()} for each in found}


def last(notify: Rounds) -> RunEnded:
    (found,) = [each for each in recorded(notify) if isinstance(each, RunEnded)]
    return found


def xgboost_data() -> tuple[Any, Any]:
    return xgboost.DMatrix(X, Y), xgboost.DMatrix(X_VAL, Y_VAL)


def lightgbm_data() -> tuple[Any, Any]:
    train = lightgbm.Dataset(X, Y)
    return train, lightgbm.Dataset(X_VAL, Y_VAL, reference=train)


# ── Numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_xgboost_is_told_its_own_numbers_and_the_best_of_all_rounds() -> None:
    """Also of those that were not reported, since they take a millisecond."""
    train, val = xgboost_data()
    notify, found = rounds_of(), dict[str, Any]()
    xgboost.train(
        XGB,
        train,
        40,
        evals=[(train, "train"), (val, "val")],
        evals_result=found,
        verbose_eval=False,
        callbacks=[notify],
    )

    own = {f"{data}-{name}": values for data, metrics in found.items() for name, values in metrics.items()}
    assert reports(notify) == {label: {name: own[name][label - 1] for name in own} for label in (1, 40)}
    end = last(notify)
    assert (end.status, end.note, end.progress.unit, end.progress.done, end.progress.total) == (
        Status.FINISHED, "", "round", 40, 40,
    )  # fmt: skip
    best = end.progress.metrics["val-logloss"]
    least = min(own["val-logloss"])
    assert 1 < own["val-logloss"].index(least) + 1 < 40
    assert (best.best, best.best_epoch) == (least, own["val-logloss"].index(least) + 1)
    assert {name: (metric.lowest, metric.highest) for name, metric in end.progress.metrics.items()} == {
        name: tuple((values.index(value) + 1, value) for value in (min(values), max(values)))
        for name, values in own.items()
    }
    (start,) = [each for each in recorded(notify) if isinstance(each, RunStarted)]
    assert (start.params["max_depth"], start.params["objective"]) == (2, "binary:logistic")


def test_lightgbm_is_told_its_own_numbers_and_the_best_of_all_rounds() -> None:
    """LightGBM itself says which way its metrics are good."""
    train, val = lightgbm_data()
    notify, found = rounds_of(), dict[str, Any]()
    lightgbm.train(
        LGB, train, 40, valid_sets=[train, val], valid_names=["train", "val"],
        callbacks=[notify, lightgbm.record_evaluation(found)],
    )  # fmt: skip

    own = {f"{data} {name}": values for data, metrics in found.items() for name, values in metrics.items()}
    assert reports(notify) == {label: {name: own[name][label - 1] for name in own} for label in (1, 40)}
    end = last(notify)
    assert (end.status, end.note, end.progress.done, end.progress.total) == (Status.FINISHED, "", 40, 40)
    best, values = end.progress.metrics["val auc"], own["val auc"]
    assert (best.best, best.best_epoch) == (max(values), values.index(max(values)) + 1)
    (start,) = [each for each in recorded(notify) if isinstance(each, RunStarted)]
    assert start.params["num_leaves"] == 4


def test_slow_rounds_are_reported_each() -> None:
    train, val = xgboost_data()
    notify, found = rounds_of(clock=EverySecond()), dict[str, Any]()
    xgboost.train(XGB, train, 5, evals=[(val, "val")], evals_result=found, verbose_eval=False, callbacks=[notify])

    losses = [values["val-logloss"] for values in reports(notify).values()]
    assert losses == found["val"]["logloss"]


# ── Early stopping ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("first", [True, False])
def test_xgboost_that_stops_early_has_finished_with_its_best_round(first: bool) -> None:
    """Wherever our callback stands: one before it that stops the training keeps the last round from it."""
    train, val = xgboost_data()
    notify, stopping, found = rounds_of(), xgboost.callback.EarlyStopping(rounds=3, save_best=True), dict[str, Any]()
    model = xgboost.train(
        XGB, train, 100, evals=[(val, "val")], evals_result=found, verbose_eval=False,
        callbacks=[notify, stopping] if first else [stopping, notify],
    )  # fmt: skip

    end, losses = last(notify), found["val"]["logloss"]
    assert (end.status, end.progress.done, end.progress.total) == (Status.FINISHED, len(losses), 100)
    assert end.note == f"early stopping, round {model.best_iteration + 1} was the best"
    assert end.progress.metrics["val-logloss"].value == losses[-1]


def stops_early(*callbacks: Any) -> Any:
    train, val = lightgbm_data()
    stopping = lightgbm.early_stopping(3, verbose=False)
    return lightgbm.train(LGB, train, 100, valid_sets=[val], callbacks=[*callbacks, stopping])


def test_lightgbm_that_stops_early_is_known_at_the_end_of_the_block() -> None:
    """No callback hears of it; the model has the best round."""
    with rounds_of() as notify:
        model = stops_early(notify)

    end = last(notify)
    assert (end.status, end.progress.total) == (Status.FINISHED, 100)
    assert model.best_iteration < end.progress.done < 100
    assert end.note == f"early stopping, round {model.best_iteration} was the best"


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("end_of", ["cell", "process", "next"])
def test_lightgbm_that_stops_early_is_known_without_a_block(end_of: str, kept: bool) -> None:
    """Also where the model is gone by then, as it is after a function of the program."""
    notify = rounds_of()
    model = stops_early(notify)
    best = model.best_iteration
    if not kept:
        del model
    assert notify.guest.active

    if end_of == "cell":
        ENDINGS.cell_ended(None)
    elif end_of == "next":
        stops_early(rounds_of("other"))
    else:
        for run in list(ENDINGS._open):
            run.end(Ending(Status.STOPPED, on_purpose=True))

    assert (last(notify).status, last(notify).note) == (Status.FINISHED, f"early stopping, round {best} was the best")


def test_lightgbm_that_did_not_stop_early_after_all_has_no_note() -> None:
    train, val = lightgbm_data()
    notify = rounds_of()
    stopping = lightgbm.early_stopping(100, verbose=False)
    lightgbm.train(LGB, train, 5, valid_sets=[val], callbacks=[notify, stopping])

    assert (last(notify).status, last(notify).note, last(notify).progress.done) == (Status.FINISHED, "", 5)


# ── Other ways to boost ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")  # by LightGBM 4.7
def test_the_classes_of_scikit_learn_take_it() -> None:
    """With their own numbers; a copy of the estimator, or its pickle, has a callback that has not begun."""
    xgb_notify, lgb_notify = rounds_of(), rounds_of()
    booster = xgboost.XGBClassifier(n_estimators=5, max_depth=2, n_jobs=1, callbacks=[xgb_notify])
    booster.fit(X, Y, eval_set=[(X_VAL, Y_VAL)], verbose=False)
    other = lightgbm.LGBMClassifier(n_estimators=5, num_leaves=4, n_jobs=1, verbosity=-1)
    other.fit(X, Y, eval_set=[(X_VAL, Y_VAL)], callbacks=[lgb_notify])

    own = booster.evals_result()["validation_0"]["logloss"][-1], other.evals_result_["valid_0"]["binary_logloss"][-1]
    told = reports(xgb_notify)[5]["validation_0-logloss"], reports(lgb_notify)[5]["valid_0 binary_logloss"]
    assert told == own
    assert [last(each).progress.total for each in (xgb_notify, lgb_notify)] == [5, 5]

    again = Rounds("digits", config={"tensorboard": "off", "wandb": "off"})
    with again:
        xgboost.XGBClassifier(n_estimators=2, callbacks=[again]).fit(X, Y)
    travelled = pickle.loads(pickle.dumps(copy.deepcopy(again)))
    assert (travelled.run, travelled.guest.name) == (None, "digits")
    xgboost.XGBClassifier(n_estimators=2, callbacks=[travelled]).fit(X, Y)
    assert last(travelled).progress.done == 2


def test_cross_validation_is_told_by_its_means() -> None:
    """The standard deviations go to the trackers alone."""
    xgb_notify, lgb_notify = rounds_of(), rounds_of()
    ours = xgboost.cv(XGB, xgboost_data()[0], 5, nfold=3, as_pandas=False, callbacks=[xgb_notify])
    theirs = lightgbm.cv(LGB, lightgbm_data()[0], 5, nfold=3, callbacks=[lgb_notify])

    told, others = reports(xgb_notify)[5], reports(lgb_notify)[5]
    assert told["test-logloss"] == ours["test-logloss-mean"][-1]
    assert told["test-logloss-std"] == ours["test-logloss-std"][-1]
    assert others["valid binary_logloss"] == theirs["valid binary_logloss-mean"][-1]
    assert others["valid binary_logloss-stdv"] == theirs["valid binary_logloss-stdv"][-1]
    for notify in (xgb_notify, lgb_notify):
        end = last(notify).progress
        assert (end.done, end.total) == (5, 5)
        assert {name for name, each in end.metrics.items() if each.minor} == {
            name for name in end.metrics if name.endswith(("-std", "-stdv"))
        }


def test_rounds_that_are_added_to_a_model_count_on() -> None:
    train, val = xgboost_data()
    xgb_notify, lgb_notify = rounds_of(), rounds_of()
    model = xgboost.train(XGB, train, 3)
    xgboost.train(XGB, train, 4, evals=[(val, "val")], verbose_eval=False, xgb_model=model, callbacks=[xgb_notify])
    booster = lightgbm.train(LGB, lightgbm_data()[0], 3)
    data, held_out = lightgbm_data()
    lightgbm.train(LGB, data, 4, valid_sets=[held_out], init_model=booster, callbacks=[lgb_notify])

    for notify in (xgb_notify, lgb_notify):
        assert list(reports(notify)) == [4, 7]
        assert (last(notify).progress.done, last(notify).progress.total) == (7, 7)


def test_without_evaluation_the_rounds_alone_are_told() -> None:
    xgb_notify, lgb_notify = rounds_of(), rounds_of()
    xgboost.train(XGB, xgboost_data()[0], 3, callbacks=[xgb_notify])
    lightgbm.train(LGB, lightgbm_data()[0], 3, callbacks=[lgb_notify])

    for notify in (xgb_notify, lgb_notify):
        assert reports(notify) == {1: {}, 3: {}}
        assert last(notify).status is Status.FINISHED


# ── Endings ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_exception_is_the_ending_and_the_last_round_is_told() -> None:
    """Raised by a callback of the program's own, in both."""

    class Breaks(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            if epoch == 2:
                raise ValueError("no more")
            return False

    def breaks(env: Any) -> None:
        if env.iteration == 2:
            raise ValueError("no more")

    train, val = xgboost_data()
    with pytest.raises(ValueError, match="no more"), rounds_of() as xgb_notify:
        xgboost.train(XGB, train, 9, evals=[(val, "val")], verbose_eval=False, callbacks=[xgb_notify, Breaks()])
    data, held_out = lightgbm_data()
    with pytest.raises(ValueError, match="no more"), rounds_of() as lgb_notify:
        lightgbm.train(LGB, data, 9, valid_sets=[held_out], callbacks=[lgb_notify, breaks])

    assert (last(xgb_notify).status, last(xgb_notify).error, last(xgb_notify).progress.done) == (
        Status.FAILED, "ValueError: no more", 3,
    )  # fmt: skip
    assert (last(lgb_notify).status, last(lgb_notify).progress.done) == (Status.FAILED, 2)  # `breaks` comes before us


def test_a_boosting_that_was_left_is_not_called_early_stopping() -> None:
    notify = rounds_of()
    data, held_out = lightgbm_data()

    def breaks(env: Any) -> None:
        if env.iteration == 2:
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        lightgbm.train(LGB, data, 9, valid_sets=[held_out], callbacks=[notify, breaks])
    first = notify.run
    stops_early(notify)

    assert first is not None
    assert (first.status, first.progress.done) == (Status.FAILED, 2)


def test_reporting_that_fails_fails_no_round() -> None:
    notify = rounds_of()
    broken: Any = None
    assert notify.before_training(broken) is None
    assert not notify.before_iteration(broken, 0, {})
    notify(broken)
    notify.after_iteration(broken, 0, broken)

    assert notify.after_training(broken) is None
    assert notify.guest.guard.faults


def test_a_total_that_cannot_be_seen_may_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both packages' functions are looked at for it, which another version may have changed."""
    monkeypatch.setattr(boosting, "_FRAMES", 0)
    train, val = xgboost_data()
    notify, unknown = rounds_of(total=3), rounds_of()
    for each in (notify, unknown):
        xgboost.train(XGB, train, 3, evals=[(val, "val")], verbose_eval=False, callbacks=[each])

    assert [last(each).progress.total for each in (notify, unknown)] == [3, None]
    assert [last(each).status for each in (notify, unknown)] == [Status.FINISHED] * 2


def test_a_wrong_setting_is_refused_before_the_first_round() -> None:
    with pytest.raises(UsageError, match="novelty:max"):
        notify_rounds("digits", monitor="novelty")


def test_where_both_packages_are_missing_the_install_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "notifybot.integrations.boosting")
    for each in ("xgboost", "lightgbm"):
        monkeypatch.setitem(sys.modules, each, None)

    with pytest.raises(ImportError, match="pip install xgboost"):
        importlib.import_module("notifybot.integrations.boosting")


def test_a_round_costs_no_more_than_microseconds() -> None:
    """Ten thousand rounds within a second are two reports; nothing is computed for those between until then."""
    notify = rounds_of()
    log = {"val": {"loss": list[float]()}}
    train, _ = xgboost_data()
    notify.before_training(xgboost.Booster(XGB, [train]))
    for place in range(10_000):
        log["val"]["loss"].append(math.cos(place))
        notify.after_iteration(None, place, log)
    notify.guest.finish()

    assert list(reports(notify)) == [1, 10_000]
    best = last(notify).progress.metrics["val-loss"]
    assert best.best == min(log["val"]["loss"])
