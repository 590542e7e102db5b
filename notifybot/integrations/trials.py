"""Reporting of several trainings that belong together: a search's trials, the folds of a cross-validation.

People get a line for each that is over, and one summary: the best with its parameters, or the folds' mean.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from types import TracebackType
from typing import Any, Literal, Self

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.errors import UsageError, reader_text
from notifybot.i18n import text
from notifybot.integrations.guest import Guest, GuestCallback, as_number
from notifybot.metric_names import Direction, monitored
from notifybot.notifiers.base import Notifier
from notifybot.rendering.format import number as figure
from notifybot.training.endings import Ending
from notifybot.training.progress import MonitoredMetric
from notifybot.training.run_info import params_of
from notifybot.types import Language, Param, Severity

Tell = Literal["all", "best"]
Kind = Literal["result", "study", "sweep", "folds"]

_AT_ONCE = 10  # lines; then one in _APART_S
_APART_S = 60.0
_FRONT_LINES = 5  # trials of a Pareto front that the summary shows


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial or fold that is over. `value` is of the watched metric, None without one.

    `number` is what people call it by. `values` are those of a search with several objectives. A trial that was
    `pruned`, `failed` or is not `feasible` (it violates a constraint) is never the best.
    """

    number: int
    params: dict[str, Param] = field(default_factory=dict)
    value: float | None = None
    error: str = ""
    url: str = ""
    values: tuple[float, ...] = ()
    failed: bool = False
    pruned: bool = False
    pruned_at: int | None = None
    feasible: bool = True

    @property
    def counts(self) -> bool:
        """True for a trial that came to its end with a value that compares with others'."""
        known = self.values or (() if self.value is None else (self.value,))
        whole = self.feasible and not (self.failed or self.pruned)
        return whole and bool(known) and not any(math.isnan(each) for each in known)


@dataclass
class OpenTrial:
    """A trial that is under way: set its `value` when it is known; `params` may be added to."""

    params: dict[str, Any]
    value: Any = None


def notify_trials(
    name: str,
    *,
    monitor: str,
    count: int | None = None,
    tell: Tell = "all",
    project: str | None = None,
    run_id: str | None = None,
    params: object = None,
    config: Config | Mapping[str, object] | None = None,
    notifiers: Sequence[Notifier] | None = None,
) -> Trials:
    """Report a search of any kind: a line for each trial, and one summary with the best one's parameters.

        with notify_trials("digits", monitor="val_acc", count=2) as trials:
            for lr in (0.1, 0.01):
                with trials.one({"lr": lr}) as trial:
                    trial.value = train(lr)

    `monitor` names the metric by which trials compare, with its direction where the name does not say it, such as
    "novelty:max". `count` is the number of trials, where it is known. With `tell="best"` people hear only of a trial
    that is the best so far or failed, and of the end. Raises ConfigError and UsageError before the first trial.
    """
    return Trials(
        name, monitor=monitor, count=count, tell=tell, project=project, run_id=run_id, params=params, config=config,
        notifiers=notifiers,
    )  # fmt: skip


def notify_folds(
    name: str,
    *,
    monitor: str,
    count: int | None = None,
    project: str | None = None,
    run_id: str | None = None,
    params: object = None,
    config: Config | Mapping[str, object] | None = None,
    notifiers: Sequence[Notifier] | None = None,
) -> Trials:
    """Report a cross-validation: a line for each fold, and at the end the mean of their values.

        with notify_folds("5-fold", monitor="val_acc", count=5) as folds:
            for train_set, val_set in splits:
                with folds.one() as fold:
                    fold.value = train(train_set, val_set)

    The summary has the mean and the standard deviation as NumPy's `std` computes it, the least and the greatest value.
    `monitor` is the name of the metric; a direction is not needed. Errors are as of `notify_trials`.
    """
    return Trials(
        name, monitor=monitor, count=count, project=project, run_id=run_id, params=params, config=config,
        notifiers=notifiers, kind="folds",
    )  # fmt: skip


class Trials(GuestCallback):
    """Trials that are being reported: hold it with `with`, and each trial with `one`. Any thread may report one."""

    def __init__(
        self,
        name: str | None,
        *,
        monitor: str,
        count: int | None = None,
        tell: Tell = "all",
        project: str | None = None,
        run_id: str | None = None,
        params: object = None,
        config: Config | Mapping[str, object] | None = None,
        notifiers: Sequence[Notifier] | None = None,
        kind: Kind = "result",
        clock: Clock = SYSTEM,
    ) -> None:
        # Without rules, which look for what is wrong with a training, and without trackers: it has no curve.
        self.guest = Guest(
            name, project=project, run_id=run_id, params=params, config=config, notifiers=notifiers, alerts=(),
            trackers="off",
        )  # fmt: skip
        if tell not in ("all", "best"):
            raise UsageError(reader_text("integrations.trials.bad_tell"))
        self.count, self._tell, self._kind, self._clock = count, tell, kind, clock
        watch = MonitoredMetric(monitor) if kind in ("result", "sweep") else None
        metric = monitored(monitor)[0]
        self.compare_by([metric], [None if watch is None else watch.direction])
        self._lock = threading.RLock()
        self._forget()

    def compare_by(self, names: Sequence[str], directions: Sequence[Direction | None]) -> None:
        """Compare trials by these values from now on: by none, by one with its direction, or by several."""
        self.names, self._directions = tuple(names), tuple(directions)
        self.metric, direction = ", ".join(names), directions[0] if len(names) == 1 else None
        self.guest.monitor = None if direction is None else f"{self.metric}:{direction.value}"

    def _forget(self) -> None:
        self.trials: list[Trial] = []
        self.front: list[Trial] = []  #: of several objectives: the trials that no other one is better than in all
        self.best: Trial | None = None  #: the best trial so far, the earliest of equals; None while none has a value
        self._said_at_s, self._budget, self._unsaid = self._clock.monotonic(), float(_AT_ONCE), 0

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.RLock()
        self._forget()

    # ── Begin and end ────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, found: Mapping[str, Any] | None = None, *, unseen_end: bool = False) -> None:
        """Begin the run, going on from `found`."""
        self._forget()
        self.guest.judge = self._judge
        self.guest.begin(total=self.count, unit="trial", found=found, unseen_end=unseen_end)

    def __enter__(self) -> Self:
        with self.guest.guard("starting_run"):
            self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and self.guest.run is None:  # the first trial failed before anybody heard of it
            with self.guest.guard("starting_run", loud=()):
                self.begin()
        super().__exit__(kind, error, traceback)

    def _judge(self, ending: Ending) -> Ending:
        """Tell the summary before the run's ending, whatever that is."""
        if self.guest.run is not None:
            with self._lock:
                title, body = self.summary()
                found = self.best is not None or self.front or self._of_folds()
                self.guest.run.report(title, body, Severity.SUCCESS if found else Severity.WARNING)
        return ending

    # ── One trial ────────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def one(self, params: object = None) -> Iterator[OpenTrial]:
        """Hold one trial with its parameters, and set its `value` in the block. What it raises is raised.

        An exception by which libraries give a trial up, such as Optuna's TrialPruned, is no failure.
        """
        if self.guest.run is None:
            raise UsageError(reader_text("integrations.trials.trials_run_inside_the_block"))
        trial = OpenTrial(dict(params_of(params)))
        error: BaseException | None = None
        try:
            yield trial
        except BaseException as raised:
            error = raised
            raise
        finally:
            with self.guest.guard("trial", loud=()), self._lock:
                self.report(_closed(trial, len(self.trials) + 1, error))

    def report(self, trial: Trial) -> None:
        """Take in a trial that is over, and say so, unless it is no news or lines come too fast."""
        with self._lock:
            self.take_in(trial)
            self.say(trial)

    def take_in(self, trial: Trial) -> None:
        """Count a trial that is over, and compare it, without a word."""
        self.trials.append(trial)
        if trial.counts and trial.values:
            if not any(self._beats(each, trial) for each in self.front):
                self.front = [*(each for each in self.front if not self._beats(trial, each)), trial]
        elif trial.counts and trial.value is not None and self._directions[0] is not None:
            best = None if self.best is None else self.best.value
            is_more = best is None or (trial.value > best) is (self._directions[0] is Direction.MAX)
            if best is None or (trial.value != best and is_more):
                self.best = trial
        if self.guest.run is not None:
            compared = trial.counts and trial.value is not None and self._directions[0] is not None
            values = {self.metric: trial.value} if compared and trial.value is not None else {}
            self.guest.run.count(trial.number, values, done=len(self.trials))

    def _beats(self, one: Trial, other: Trial) -> bool:
        """True where a trial is no worse in any objective, and better in one."""
        signs = [-1.0 if each is Direction.MAX else 1.0 for each in self._directions]
        gaps = [sign * (its - others) for sign, its, others in zip(signs, one.values, other.values, strict=True)]
        return all(gap <= 0 for gap in gaps) and any(gap < 0 for gap in gaps)

    def _is_on_front(self, trial: Trial) -> bool:
        return any(each is trial for each in self.front)

    def say(self, trial: Trial) -> None:
        """Tell people of a trial, if it is news to them.

        Of trials that take a second each there are ten lines, and then one in a minute that counts those left out.
        """
        if self._tell == "best" and not (trial.failed or trial is self.best or self._is_on_front(trial)):
            return
        now_s = self._clock.monotonic()
        self._budget = min(self._budget + (now_s - self._said_at_s) / _APART_S, float(_AT_ONCE))
        self._said_at_s = now_s
        if self._budget < 1:
            self._unsaid += 1
            return
        self._budget -= 1
        title, body = self.line_of(trial)
        if self._unsaid:
            left_out = text(self._language, f"integrations.trials.{self._noun}_left_out", number=self._unsaid)
            body, self._unsaid = "\n".join(filter(None, (body, left_out))), 0
        assert self.guest.run is not None
        self.guest.run.report(title, body, Severity.WARNING if trial.failed else Severity.INFO)

    # ── What people read ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _language(self) -> Language:
        return self.guest.config.lang

    @property
    def _noun(self) -> str:
        return "folds" if self._kind == "folds" else "trials"

    def _words(self, key: str, **values: object) -> str:
        return text(self._language, f"integrations.trials.{key}", **values)

    def line_of(self, trial: Trial) -> tuple[str, str]:
        """Return the title and the text for one trial that is over."""
        place = len(self.trials)
        which = f"{place}/{self.count}" if self.count and place <= self.count else str(place)
        if trial.number != place or self._kind == "study":  # Optuna's own number, whatever the place
            which = f"#{trial.number} ({which})" if "/" in which else f"#{trial.number}"
        outcome = self._outcome(trial)
        if self.best is trial:
            outcome = self._words("best_so_far", outcome=outcome)
        elif self._is_on_front(trial):
            outcome = self._words("on_the_front", outcome=outcome, number=len(self.front))
        elif self.best is not None and self.best.value is not None:
            outcome = self._words(
                "best_is_another", outcome=outcome, best=figure(self.best.value), number=self.best.number
            )
        key = "fold" if self._kind == "folds" else "trial"
        return self._words(key, which=which, outcome=outcome), _lines(trial.params)

    def _outcome(self, trial: Trial) -> str:
        value = self._value_of(trial)
        if trial.failed:
            failed = self._words("failed", error=trial.error) if trial.error else self._words("failed_without_a_word")
            return f"{failed}, {value}" if value else failed
        if trial.pruned:
            at = trial.pruned_at
            pruned = self._words("pruned") if at is None else self._words("pruned_at", step=at)
            return f"{pruned}, {value}" if value else pruned
        value = value or self._words("no_value", metric=self.metric)
        return value if trial.feasible else self._words("infeasible", outcome=value)

    def _value_of(self, trial: Trial) -> str:
        if trial.values:
            return ", ".join(f"{name} = {figure(each)}" for name, each in zip(self.names, trial.values, strict=True))
        return "" if trial.value is None else f"{self.metric} = {figure(trial.value)}"

    def summary(self) -> tuple[str, str]:
        """Return the title and the text for all trials."""
        what, counted = self._words(f"what.{self._kind}"), self._counted()
        if known := self._of_folds():
            mean = fmean(known)
            spread = math.sqrt(fmean([(each - mean) ** 2 for each in known]))
            values = {"metric": self.metric, "mean": figure(mean), "spread": figure(spread, 2), "folds": counted}
            title = self._words("folds_mean", what=what, **values)
            return title, self._words("folds_range", least=figure(min(known)), most=figure(max(known)))
        if self.front:
            number = len(self.front)
            key = "one_on_front" if number == 1 else "front"
            shown = [self._front_line(each) for each in self.front[:_FRONT_LINES]]
            more = [f"… +{number - _FRONT_LINES}"] if number > _FRONT_LINES else []
            return self._words(key, what=what, number=number, trials=counted), "\n".join([*shown, *more])
        if self.best is None or self.best.value is None:
            why = self._words("no_value", metric=self.metric)
            return self._words("result_without_value", what=what, why=why, trials=counted), ""
        best = {"metric": self.metric, "best": figure(self.best.value), "number": self.best.number}
        title = self._words("best_of_all", what=what, trials=counted, **best)
        return title, "\n".join(filter(None, (_lines(self.best.params), self.best.url)))

    def _of_folds(self) -> list[float]:
        """The values of all that came to their ends, NaN included, if it is a cross-validation."""
        if self._kind != "folds":
            return []
        return [each.value for each in self.trials if each.value is not None and not (each.failed or each.pruned)]

    def _front_line(self, trial: Trial) -> str:
        params = ", ".join(_pairs(trial.params))
        return f"#{trial.number}: {self._value_of(trial)}" + (f" · {params}" if params else "")

    def _counted(self) -> str:
        noun, number = self._noun, len(self.trials)
        counted = self._words(f"one_{noun[:-1]}" if number == 1 else noun, number=number)
        for key, times in (
            ("and_pruned", sum(each.pruned for each in self.trials)),
            ("and_failed", sum(each.failed for each in self.trials)),
        ):
            if times:
                counted = self._words(key, trials=counted, number=times)
        return counted


_GIVEN_UP = frozenset({"TrialPruned", "TaskCancelledError"})


def _closed(trial: OpenTrial, number: int, error: BaseException | None) -> Trial:
    pruned = error is not None and bool(_GIVEN_UP & {each.__name__ for each in type(error).__mro__})
    failed = error is not None and not pruned
    name = type(error).__name__ if failed else ""
    return Trial(number, params_of(trial.params), as_number(trial.value), name, failed=failed, pruned=pruned)


def _pairs(params: Mapping[str, Param]) -> list[str]:
    """Each parameter as Python would read it: people copy them into code. W&B's own begin with "_"."""
    shown = {name: value for name, value in params.items() if not name.startswith("_")}
    return [f"{name} = {f'{value:.6g}' if isinstance(value, float) else value}" for name, value in shown.items()]


def _lines(params: Mapping[str, Param]) -> str:
    return "\n".join(_pairs(params))
