"""Run inside a training loop that a framework drives: the one engine beneath the callbacks of all frameworks.

A framework's hooks come at its own moments: the end of an epoch before its numbers, its checkpoint after it, no end at
all where an exception is raised. So a guest begins late, in the process that trains and after the framework restored
its state; it closes each epoch late, when everybody had the chance to log and to save; and it ends once.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal, NoReturn, Self, TypedDict, TypeVar, cast

from notifybot.alerts import DEFAULT, AlertRule
from notifybot.checkpoints.external import ExternalCheckpoints
from notifybot.config import Config
from notifybot.delivery.build import notifiers_from
from notifybot.errors import UsageError, reader_text
from notifybot.i18n import text
from notifybot.integrations.run_copy import RunCopy, resume_from
from notifybot.notifiers.base import Notifier
from notifybot.rendering.alert_text import checkpoint_changed, checkpoint_unreadable, notice_words
from notifybot.runtime import environment, speaks
from notifybot.trackers import plan_trackers
from notifybot.training.block import SignalScope, as_config, check_given
from notifybot.training.endings import ENDINGS, Ending, ending_of
from notifybot.training.guard import Guard
from notifybot.training.progress import MonitoredMetric
from notifybot.training.resume import ResumeInfo
from notifybot.training.run import Run
from notifybot.training.run_info import checked_id, name_of, params_of
from notifybot.types import UNITS, Notice, Reason, Severity, Status, Unit

Hook = TypeVar("Hook", bound=Callable[..., None])
NOTHING: Mapping[str, Any] = MappingProxyType({})

# For trackers alone: what frameworks log beside the numbers that people wait for.
_MINOR = (
    "*_runtime", "*_per_second", "total_flos", "*num_tokens", "*num_input_tokens_seen", "lr", "lr[-_/]*",
    "learning_rate", "*grad_norm", "*_jit_compilation_time", "*_model_preparation_time",
)  # fmt: skip
_PROOF_S = (
    1.5  # at the end of a training, for the proof of its last checkpoint: a folder has to stand still for a second
)
_ABOVE = 3  # folders: a framework may save in folders of its own below the one that it was given
_LABELS = frozenset({"epoch", "step", "global_step", "iteration"})  # positions, and no metrics


class GuestOptions(TypedDict, total=False):
    """Arguments that the callbacks of all frameworks take besides the run's name: see Guest."""

    project: str | None
    run_id: str | None
    params: object
    monitor: str | None
    unit: Literal["auto", "epoch", "step", "round", "trial"]
    metrics: Iterable[str] | None
    checkpoints: bool
    resume: Literal["auto", "never"]
    trackers: Literal["auto", "off"]
    alerts: Iterable[AlertRule]
    config: Config | Mapping[str, object] | None
    notifiers: Sequence[Notifier] | None


class Guest:
    """Run of a framework's training. One object reports one run after another, as one trainer may train again.

    `params` and `monitor` replace what the framework shows; `metrics` are the names, or patterns such as "eval_*", that
    messages show; `checkpoints=False` reports none; `resume="never"` begins a new run although the framework goes on
    from its own checkpoint. Raises ConfigError and UsageError, here and nowhere else.

    A pickle and a copy are guests that have not begun: frameworks carry their callbacks to other processes.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        project: str | None = None,
        run_id: str | None = None,
        params: object = None,
        monitor: str | None = None,
        unit: Literal["auto", "epoch", "step", "round", "trial"] = "auto",
        metrics: Iterable[str] | None = None,
        checkpoints: bool = True,
        resume: Literal["auto", "never"] = "auto",
        trackers: Literal["auto", "off"] = "auto",
        alerts: Iterable[AlertRule] = DEFAULT,
        config: Config | Mapping[str, object] | None = None,
        notifiers: Sequence[Notifier] | None = None,
    ) -> None:
        self.config = as_config(config)
        check_given(project=project, monitor=monitor, notifiers=notifiers)
        MonitoredMetric(monitor)  # raises where nobody can tell which way is better
        if unit != "auto" and unit not in UNITS:
            raise UsageError(reader_text("training.block.bad_unit", unit=f"{unit!r:.40}", units=", ".join(UNITS)))
        if isinstance(metrics, str):
            raise UsageError(reader_text("integrations.guest.metrics_are_a_list", metrics=metrics))
        self.name = name if name is None else name_of(name)
        self.unit = unit
        self.monitor = monitor
        self.params = None if params is None else params_of(params)
        self.reports_checkpoints = checkpoints
        self._project, self._notifiers, self._alerts = project, notifiers, tuple(alerts)
        self._run_id = None if run_id is None else checked_id(run_id)
        self._metrics = None if metrics is None else tuple(metrics)
        self._resumes, self._trackers = resume != "never", trackers
        if speaks(self.config.ranks):
            _check_services(self.config, given=notifiers is not None)
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in vars(self).items() if name not in _OF_ONE_PROCESS}
        return kept | {"_notifiers": None if self._notifiers is None else list(self._notifiers)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def _forget(self) -> None:
        self.run: Run | None = None
        self.guard = Guard()
        self.judge: Callable[[Ending], Ending] = _as_it_is  #: set before `begin`, where more is known of an ending
        self._scope: SignalScope | None = None
        self._values: dict[str, float] = {}
        self._minor: dict[str, bool] = {}  # by name, looked up once
        self._over: tuple[int, float, float | None] | None = None
        self._runs = 0
        self._lingers = False
        self._copy: RunCopy | None = None
        self._places: tuple[Path, ...] = ()
        self._proofs: ExternalCheckpoints | None = None
        self._found_params: Mapping[str, Any] = NOTHING

    # ── Begin ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def active(self) -> bool:
        """True while a run is open that this process reports."""
        return self.run is not None and self.run.active

    def begin(
        self,
        *,
        total: int | None = None,
        unit: Unit = "epoch",
        first: int | None = None,
        counts_from: int | None = 0,
        found: Mapping[str, Any] | None = None,
        params: object = None,
        monitor: str | None = None,
        own_trackers: Iterable[str] = (),
        reports: bool = True,
        within_call: bool = True,
        unseen_end: bool = False,
        folder: Path | None = None,
        saves_in: Iterable[Path] = (),
        restored: str | os.PathLike[str] | None = None,
    ) -> None:
        """Begin a run, on the process that trains, once the framework has restored its state.

        `first` is the label of what it does next, `counts_from` that of the run's first, if known. `found` is `state()`
        as the framework's own checkpoint had it: that run goes on. `own_trackers` ("wandb", "tensorboard") are those
        that the framework writes to itself. `reports` is False on other ranks than the first, by the framework's word:
        such a run only leaves its failure for the one that reports. `within_call`: the framework trains in one call,
        so that an error which ends a notebook's cell has ended the training; `unseen_end`: so has the cell's end, as no
        hook may show that the call is over. `folder` is where the framework saves: a copy of the run is kept there, by
        which it goes on on another machine. In each of `saves_in` one is kept from its first checkpoint on. `restored`
        is the checkpoint that the framework has its state from: a copy may be beside it, or above.
        """
        if self.run is not None and (self.run.active or self.run.mute):  # left by an exception that was caught
            self.end(Ending(Status.FAILED, self.text("caught")))
        found = found if found and self._resumes else NOTHING
        self._runs += 1
        name = self.name
        if name is not None and self._runs > 1 and not found and self._run_id is None:
            name = f"{name} #{self._runs}"
        if self.params is None:
            with self.guard("framework_settings", loud=()):
                self._found_params = params_of(params)
        off: Any = "off" if self._trackers == "off" else (frozenset(own_trackers) or "auto")
        run = Run(
            name=name, project=self._project, run_id=self._run_id or found.get("run_id"),
            params=self._found_params if self.params is None else self.params,
            monitor=self.monitor or _known(monitor), config=self.config, alerts=self._alerts, notifiers=self._notifiers,
            after_session=str(found.get("session", "")), trackers=off,
        )  # fmt: skip
        self.run, self.guard, self._values, self._over = run, run.guard, {}, None
        self._proofs = None
        with run.guard("starting_run", loud=()):
            self._places = tuple(saves_in)
            places = self._places if folder is None else (folder, *self._places)
            resume = _resume(run, found if reports else NOTHING, places, restored, first, counts_from)
            run.start(total=total, unit=unit, first=first, counts_from=counts_from, resume=resume, reports=reports)
            run.at_end = self._at_end
            self._scope = SignalScope(run)
            self._copy = RunCopy(run, folder) if run.active and (folder is not None or self._places) else None
            if within_call and (run.active or run.mute):
                ENDINGS.ends_with_cell(run, normally=unseen_end)
            if run.active and resume.resumed is not None:
                self._proofs_of(run).follow_restored(resume.resumed.path, resume.resumed.epoch)

    def state(self) -> dict[str, str]:
        """Key that finds this run again, for the framework's own checkpoint. Empty before a run has begun."""
        return {} if self.run is None else {"run_id": self.run.id, "session": self.run.ref.session}

    # ── Progress ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def moved(self) -> None:
        """The training has moved: for every batch, as cheap as can be."""
        if self.run is not None:
            self.run.meter.steps += 1

    def log(self, values: Mapping[str, Any]) -> None:
        """Take numbers for the epoch, or the steps, that will be closed next; what is no number is left out."""
        for name, value in values.items():
            number = as_number(value)
            if number is not None and name not in _LABELS:
                self._values[name] = number

    def epoch_began(self, label: int) -> None:
        """An epoch is under way: a failure in it names it."""
        self.close()
        if self.run is not None:
            self.run.open_epoch = label

    def epoch_over(self, label: int, *, part: float | None = None) -> None:
        """An epoch, or as many steps as the label says, is over, now; it is reported by `close`."""
        if self.run is not None:
            self._over = (label, self.run.clock.monotonic(), part)
            self.run.open_epoch = None

    @property
    def is_over(self) -> bool:
        """True while something is over that `close` will report."""
        return self._over is not None

    @property
    def pending(self) -> AbstractSet[str]:
        """Names that were logged since the report before."""
        return self._values.keys()

    def close(self) -> None:
        """Report what is over, with all that was logged since the report before."""
        if self.run is None or self._over is None:
            return
        (label, at_s, part), self._over = self._over, None
        values, self._values = self._values, {}
        minor = {name for name in values if self._is_minor(name)}
        self.run.report_epoch(label, values, at_s=at_s, part=part, minor=minor)

    def shown(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Numbers among `values` that messages show."""
        numbers = {name: as_number(value) for name, value in values.items() if name not in _LABELS}
        return {name: each for name, each in numbers.items() if each is not None and not self._is_minor(name)}

    def _is_minor(self, name: str) -> bool:
        known = self._minor.get(name)
        if known is None:
            patterns = _MINOR if self._metrics is None else self._metrics
            known = self._minor[name] = any(fnmatchcase(name, each) for each in patterns) is (self._metrics is None)
        return known

    def checkpoint(self, path: str, label: int | None = None) -> None:
        """Report a checkpoint that the framework has saved, after the epoch that it belongs to."""
        self.close()
        if self.run is not None and self.reports_checkpoints:
            self.run.log_checkpoint(path, label)
            self.prove(path, label)
        if self._copy is not None and self.active:
            for each in self._places:
                if each in Path(path).parents:
                    self._copy.keep_in(each)
            self._copy.ask()

    def prove(self, path: str, label: int | None = None) -> None:
        """Have a checkpoint read to its end; of one that was reported already, too, if it was written anew."""
        if self.run is not None and self.reports_checkpoints and self.active:
            self._proofs_of(self.run).follow(path, self.run.progress.epoch if label is None else label)

    def _proofs_of(self, run: Run) -> ExternalCheckpoints:
        """The thread of the lowest priority that reads checkpoints to their end: a damaged one is an alert."""
        if self._proofs is None:

            def alert(notice: Notice) -> None:
                words = notice_words(notice, self.config.lang)
                run.report(words.title, words.text, about="checkpoint", notice=notice)

            def damaged(reason: Reason) -> None:
                alert(checkpoint_unreadable(reason))

            def changed(reason: Reason) -> None:
                alert(checkpoint_changed(reason))

            # It was reported when it was saved: a report of its proof, minutes later, would come after the next one.
            self._proofs = ExternalCheckpoints(
                None if run.session is None else run.session.folder, run.proved, damaged, report_changed=changed,
                guard=functools.partial(run.guard, loud=()), clock=run.clock,
            )  # fmt: skip
        return self._proofs

    def inform(self, title: str, body: str = "", severity: Severity = Severity.INFO) -> None:
        """Tell people of something beside the epochs, such as a test's result; after the run's end, too."""
        if self.run is not None:
            self.run.report(title, body, severity)

    def text(self, key: str, **values: object) -> str:
        """Text of `integrations.guest` in the run's language."""
        return text(self.config.lang, f"integrations.guest.{key}", **values)

    # ── End ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def end(self, ending: Ending) -> None:
        """Close what is over, and record how the run ended, once. A signal that the framework heard has ended it."""
        run, scope = self.run, self._scope
        if run is None or not (run.active or run.mute):
            return
        self.close()
        run.end(ending)
        if self._copy is not None:
            self._copy.finish()
        if scope is not None:
            scope.unwatch()
        self._lingers = run.status is Status.FINISHED

    def _at_end(self, ending: Ending) -> Ending:
        """At every ending, by a signal or at exit too: report what is over, and ask what more is known of it."""
        self.close()
        seen = None if self._scope is None else self._scope.seen
        if seen is not None and ending.status is not Status.FAILED:
            ending = ending_of(None, exhausted=False, signal_seen=seen)
        if self._scope is not None and ending.status is not Status.INTERRUPTED:  # that one may be under way
            self._scope.unwatch()
        return self.judge(ending)

    def linger(self) -> None:
        """After a run that finished: give trackers that are late some seconds; in no section, where signals wait."""
        if self._lingers and self.run is not None:
            self._lingers = False
            if self._proofs is not None:
                self._proofs.wait(_PROOF_S)
            self.run.linger()

    def finish(self, note: str = "") -> None:
        """End the run as finished; early, where a note says why."""
        self.end(Ending(Status.FINISHED, note=note))

    def fail(self, error: BaseException | None, *, else_text: str = "") -> None:
        """End the run by the exception that left the framework's loop; without one, as failed with that text."""
        self.end(Ending(Status.FAILED, else_text) if error is None else ending_of(error, exhausted=False))


_OF_ONE_PROCESS = frozenset({
    "run", "guard", "judge", "_scope", "_values", "_minor", "_over", "_runs", "_lingers", "_copy", "_places",
    "_proofs", "_found_params",
})  # fmt: skip


def hook(method: Hook) -> Hook:
    """Decorate a hook of a callback that has a `guest`: nothing of ours is raised from it, and nothing returned."""

    @functools.wraps(method)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> None:
        guest: Guest = self.guest
        with guest.guard("framework_hook", loud=()):
            method(self, *args, **kwargs)
        guest.linger()

    return cast(Hook, guarded)


class GuestCallback:
    """Part that the callbacks of all frameworks share: `with NotifyCallback("x") as notify:` makes endings exact.

    Without it, an exception that the program itself catches is seen only when the same callback trains again.
    """

    guest: Guest

    @property
    def run(self) -> Run | None:
        """The run that is open, or was last; None before the training."""
        return self.guest.run

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self.guest.guard("run_end", loud=()):
            self.guest.end(ending_of(error, exhausted=error is None))
        self.guest.linger()


class FileWatch:
    """Watch on the files that a framework saves: which of them were written since the last look."""

    def __init__(self, paths: Callable[[], Iterable[str]]) -> None:
        self._paths = paths
        self._seen = self._look()

    def newest(self) -> str | None:
        """The file that was written last, if that was since the last look."""
        before, self._seen = self._seen, self._look()
        fresh = [path for path, mark in self._seen.items() if before.get(path) != mark]
        return max(fresh, key=self._seen.__getitem__, default=None)

    def _look(self) -> dict[str, tuple[int, int, int]]:
        """Marks of each file that is there, which change when it is written anew; the time of writing is the first."""
        marks = {}
        for path in self._paths():
            with suppress(OSError):
                found = os.stat(path)
                marks[path] = found.st_mtime_ns, found.st_size, found.st_ino
        return marks


def raise_missing(error: ModuleNotFoundError, integration: str, module: str, package: str = "") -> NoReturn:
    """Raise ImportError with the line that installs a framework; what the framework itself misses is raised as it is.

    `package` is the name to install, where it is not the module's.
    """
    if error.name != module:
        raise error
    words = {"integration": integration, "module": module, "package": package or module}
    raise ImportError(reader_text("integrations.guest.framework_is_missing", **words)) from error


def _resume(
    run: Run,
    found: Mapping[str, Any],
    places: Iterable[Path],
    restored: str | os.PathLike[str] | None,
    first: int | None,
    counts_from: int | None,
) -> ResumeInfo:
    """Facts about the run before: by the copy that is ahead of the others, and by the restored checkpoint."""
    path = Path(restored).absolute() if restored and "://" not in os.fspath(restored) else None
    told = [ResumeInfo()]
    for each in dict.fromkeys((*places, *(() if path is None else path.parents[:_ABOVE]))) if found else ():
        with run.guard("run_file"):
            told.append(resume_from(each, found, run.project, first))
    resume = max(told, key=lambda info: (info.attempt, 0 if info.progress is None else info.progress.done))
    if path is not None:
        last = None if first is None or first <= (counts_from or 0) else first - 1
        with suppress(OSError):
            resume = resume.restored_from(path, last, run.clock.now())
    return resume


def _as_it_is(ending: Ending) -> Ending:
    return ending


def _check_services(config: Config, *, given: bool) -> None:
    """Raise ConfigError for services that cannot work as they are set up: a framework's hook is too late for it."""
    plan_trackers(config, environment())
    if not given:
        for each in notifiers_from(config):
            each.close()


def _known(monitor: str | None) -> str | None:
    """A framework's own choice of metric, unless its direction is not known: then it is not the user's mistake."""
    try:
        MonitoredMetric(monitor)
    except UsageError:
        return None
    return monitor


def as_number(value: Any) -> float | None:
    """The number that a framework logged: Python's, a tensor or an array of one element; None for all else."""
    if isinstance(value, bool | str | bytes) or value is None:
        return None
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # a text, a list, an array of several
        return None
