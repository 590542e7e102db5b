"""Reporting of XGBoost's and LightGBM's rounds: at most once a second, with the true best of all rounds."""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, Unpack

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import reader_list, reader_text
from notifybot.i18n import text
from notifybot.integrations.guest import Guest, GuestCallback, GuestOptions, hook
from notifybot.runtime import is_installed
from notifybot.training.endings import Ending
from notifybot.types import Status

_PACKAGES = ("xgboost", "lightgbm")
if not any(sys.modules.get(each) or is_installed(each) for each in _PACKAGES):
    missing = {"integration": __name__, "module": reader_list(_PACKAGES, "or"), "package": _PACKAGES[0]}
    raise ImportError(reader_text("integrations.guest.framework_is_missing", **missing))

_APART_S = 1.0
_AFTER_RECORDING, _BEFORE_STOPPING = 20, 30  # `order` of LightGBM's own callbacks, lightgbm/callback.py
_FRAMES = 6
Columns = list[tuple[str, list[float]]]  # each metric's values, round after round
_OPEN: weakref.WeakSet[Rounds] = weakref.WeakSet()


def notify_rounds(name: str | None = None, *, total: int | None = None, **options: Unpack[GuestOptions]) -> Rounds:
    """Report a boosting, by a callback of XGBoost or of LightGBM.

        xgboost.train(params, data, 500, evals=[(held_out, "val")], callbacks=[notify_rounds("digits")])
        lightgbm.train(params, data, 500, valid_sets=[held_out], callbacks=[notify_rounds("digits")])

    It goes into the scikit-learn classes and into `cv` as well. Rounds of a millisecond are told of at most once a
    second, and the last one; the best is that of all rounds. `total` is the number of rounds where it cannot be seen.

    LightGBM does not say when it stops early: hold the callback by `with notify_rounds("digits") as notify:` to hear of
    it at once. Otherwise it is told at the end of the cell or the program, or when the next boosting begins. Raises
    ConfigError and UsageError here and nowhere else.
    """
    return Rounds(name, total=total, **options)


class _NotBefore:
    """XGBoost calls `before_iteration`; LightGBM asks whether it is true, and calls such a callback at another time."""

    def __call__(self, model: Any, epoch: int, evals_log: Any) -> bool:
        return False

    def __bool__(self) -> bool:
        return False


class Rounds(GuestCallback):
    """Callback of both packages. It is no XGBoost class, but is registered as one, so that neither needs the other."""

    def __init__(
        self,
        name: str | None = None,
        *,
        total: int | None = None,
        clock: Clock = SYSTEM,
        **options: Unpack[GuestOptions],
    ) -> None:
        self.guest = Guest(name, **options)
        self.before_iteration = _NotBefore()
        self.order = (_AFTER_RECORDING + _BEFORE_STOPPING) // 2  # of the object itself: LightGBM asks for no class's
        self._total, self._clock = total, clock
        self._forget()
        _register()

    def _forget(self) -> None:
        self._reported_s = -math.inf
        self._rows: list[Any] = []  # LightGBM's results that are not reported yet
        self._log: Mapping[str, Mapping[str, list[Any]]] = {}  # XGBoost's own, of all rounds
        self._before = self._done = self._taken = 0  # rounds of an earlier model; of this boosting; of them taken in
        self._ends_at: int | None = None
        self._model: weakref.ref[Any] | None = None
        self._stopper: Any = None

    def __getstate__(self) -> dict[str, Any]:
        kept = ("guest", "before_iteration", "order", "_total")
        return {name: value for name, value in vars(self).items() if name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._clock = SYSTEM
        self._forget()
        _register()

    def _begin(self, *, before: int, total: int | None, params: Any, monitor: str | None = None, **more: Any) -> None:
        for each in [*_OPEN]:
            if each.guest.active and each._stopped_early() is not None:
                each.guest.finish()
        if self.guest.active:  # left by an exception that was caught
            self.guest.end(Ending(Status.FAILED, self.guest.text("caught")))
        self._forget()
        self._before = before
        self._ends_at = self._total if total is None else before + total
        self.guest.judge = self._judge
        self.guest.begin(
            unit="round", total=self._ends_at, first=before + 1, params=_plain(params), monitor=monitor, **more
        )
        _OPEN.add(self)

    # ── XGBoost ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def before_training(self, model: Any) -> Any:
        """XGBoost begins to boost."""
        self._xgboost_begins(model)
        return model

    @hook
    def _xgboost_begins(self, model: Any) -> None:
        caller = _local_variables("xgboost", "num_boost_round")
        ranks: Any = sys.modules.get("xgboost.collective")
        reports = ranks is None or not ranks.is_distributed() or ranks.get_rank() == 0
        total = caller.get("num_boost_round")
        self._begin(before=model.num_boosted_rounds(), total=total, params=caller.get("params"), reports=reports)

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, list[Any]]]) -> None:
        """A round of XGBoost is over; `evals_log` has all rounds. Bare, as it comes for every round."""
        self._done, self._log = epoch + 1, evals_log
        self.guest.moved()
        if self._clock.monotonic() - self._reported_s >= _APART_S:
            self._report_rounds()

    def after_training(self, model: Any) -> Any:
        """XGBoost has ended, early or not."""
        self._xgboost_ends(model)
        return model

    @hook
    def _xgboost_ends(self, model: Any) -> None:
        lengths = [len(values) for metrics in self._log.values() for values in metrics.values()]
        self._done = max([self._done, *lengths])  # a callback before us that stops it keeps its round from us
        best = model.attr("best_iteration")
        early = self._ends_at is not None and self._before + self._done < self._ends_at
        note = self._note(None if best is None else int(best) + 1) if early else ""
        self.guest.finish(note)

    # ── LightGBM ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def __call__(self, env: Any) -> None:
        """A round of LightGBM is over. Bare, as it comes for every round."""
        try:
            if env.iteration == env.begin_iteration:
                self._lightgbm_begins(env)
            self._done = env.iteration - self._before + 1
            self._rows.append(env.evaluation_result_list or ())
            is_last = env.iteration + 1 == env.end_iteration
        except (AttributeError, TypeError) as error:  # of another version
            self.guest.guard.count("framework_hook", error)
            return
        self.guest.moved()
        if is_last:
            self._lightgbm_ends()
        elif self._clock.monotonic() - self._reported_s >= _APART_S:
            self._report_rounds()

    @hook
    def _lightgbm_ends(self) -> None:
        self._report()
        self.guest.finish()

    @hook
    def _lightgbm_begins(self, env: Any) -> None:
        own = getattr(env.model, "_train_data_name", "training")
        ways = {
            _lightgbm_name(each): "max" if each[3] else "min"
            for each in env.evaluation_result_list or ()
            if each[0] not in (own, "training", "train")
        }
        monitor = next((f"{name}:{way}" for name, way in ways.items()), None)
        before = env.begin_iteration
        total = env.end_iteration - before
        self._begin(before=before, total=total, params=env.params, monitor=monitor, unseen_end=True)
        self._model = weakref.ref(env.model)
        callbacks = _local_variables("lightgbm", "callbacks_after_iter").get("callbacks_after_iter", ())
        self._stopper = next((each for each in callbacks if hasattr(each, "stopping_rounds")), None)

    def _stopped_early(self) -> int | None:
        """The best round, from 1, where LightGBM is known to have stopped early; None where it is not."""
        model = None if self._model is None else self._model()
        known = 0 if model is None else int(model.best_iteration)
        if known > 0 or self._stopper is None or not self._stopper.enabled:
            return known if known > 0 else None
        last = self._before + self._done - 1
        return next(
            (best + 1 for best in self._stopper.best_iter if last - best >= self._stopper.stopping_rounds), None
        )

    # ── Both ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    @hook
    def _report_rounds(self) -> None:
        self._report()

    def _report(self) -> None:
        """Report the last round, and take in the best and the worst of those since the report before."""
        run = self.guest.run
        if run is None or self._done <= self._taken:
            return
        self._reported_s = self._clock.monotonic()
        first, last = self._before + self._taken + 1, self._before + self._done
        columns = dict(_xgboost_columns(self._log, self._taken, self._done) or _lightgbm_columns(self._rows))
        for label, between in sorted(_extremes(columns, first).items()):
            run.between(label, between)
        self._taken, self._rows = self._done, []
        values = {name: float(column[-1]) for name, column in columns.items()}
        run.report_epoch(last, values, minor={name for name in values if name.endswith(("-std", "-stdv"))})

    def _note(self, best: int | None) -> str:
        if best is None:
            return self.guest.text("stopped_early")
        return text(self.guest.config.lang, "integrations.boosting.stopped_early", round=best)

    def _judge(self, ending: Ending) -> Ending:
        """The last round is told whatever the ending; one that came by itself before the last round was early."""
        self._report()
        _OPEN.discard(self)
        over = self._ends_at is None or self._before + self._done >= self._ends_at
        if ending.note or ending.status not in (Status.FINISHED, Status.STOPPED):
            return ending
        if over:
            return replace(ending, status=Status.FINISHED) if self._ends_at is not None else ending
        best = self._stopped_early()
        if ending.status is Status.FINISHED or best is not None:
            return replace(ending, status=Status.FINISHED, note=self._note(best))
        return ending


def _register() -> None:
    """Make `Rounds` a callback to XGBoost, where it is loaded, or is the one of the two that is there."""
    if not any(sys.modules.get(each) for each in _PACKAGES):
        import_module(next(each for each in _PACKAGES if is_installed(each)))
    callbacks: Any = sys.modules.get("xgboost.callback")
    if callbacks is not None:
        callbacks.TrainingCallback.register(Rounds)


def _local_variables(package: str, name: str) -> Mapping[str, Any]:
    """The local variables of the package's function that calls us and has this one; none where it is another version.

    Neither package tells its callbacks the number of rounds, or whether it will stop early. They are read, not changed.
    """
    frame = sys._getframe(1)
    for _ in range(_FRAMES):
        above = frame.f_back
        if above is None:
            break
        frame = above
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == package and name in frame.f_code.co_varnames:
            return frame.f_locals
    return {}


def _plain(params: Any) -> dict[str, Any]:
    """The settings that were given; without those left at None, and the data and functions among them."""
    known = dict(params) if params else {}
    return {str(name): value for name, value in known.items() if isinstance(value, bool | int | float | str)}


def _lightgbm_name(result: Any) -> str:
    return f"{result[0]} {result[1]}"


def _lightgbm_columns(rows: Sequence[Sequence[Any]]) -> Columns:
    """The values of each metric in these rounds, the last one's at the end."""
    columns: Columns = []
    for results in zip(*rows, strict=False):
        name = _lightgbm_name(results[-1])
        columns.append((name, [each[2] for each in results]))
        if len(results[-1]) > 4 and results[-1][4] is not None:
            columns.append((f"{name}-stdv", [each[4] for each in results]))
    return columns


def _xgboost_columns(log: Mapping[str, Mapping[str, list[Any]]], begin: int, end: int) -> Columns:
    columns: Columns = []
    for data, metrics in log.items():
        for metric, values in metrics.items():
            column = values[begin:end]
            if column and isinstance(column[0], tuple):
                columns.append((f"{data}-{metric}-std", [std for _, std in column]))
                column = [mean for mean, _ in column]
            if column:
                columns.append((f"{data}-{metric}", column))
    return columns


def _extremes(columns: Mapping[str, Sequence[float]], first: int) -> dict[int, dict[str, float]]:
    """The rounds before the last in which a metric was least or greatest, with these values alone."""
    found: dict[int, dict[str, float]] = {}
    for name, column in columns.items():
        known = column[:-1]
        if not math.isfinite(sum(known)):
            known = [each for each in known if math.isfinite(each)]
        for value in {min(known), max(known)} if known else ():
            found.setdefault(first + column.index(value), {})[name] = float(value)
    return found
