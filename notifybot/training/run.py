"""A run as the training code holds it: what happens is reported here, and nothing is ever raised back."""

from __future__ import annotations

import copy
import logging
import os
import platform
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from notifybot.alerts import DEFAULT, AlertRule
from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.errors import ConfigError, UsageError, reader_text
from notifybot.events import EpochFinished, RunEnded, RunStarted
from notifybot.i18n import text
from notifybot.notifiers.base import Notifier
from notifybot.rendering.alert_text import session_near_its_end
from notifybot.runtime import in_loader_worker, in_notebook, is_one_training, leave_run, on_other_machine, rank, speaks
from notifybot.store.location import local_folder
from notifybot.trackers.plan import TrackerChoice
from notifybot.training.alert_monitor import AlertMonitor
from notifybot.training.command_file import announce
from notifybot.training.console_thread import LOG_LINES
from notifybot.training.endings import ENDINGS, EXIT_S, Ending, leave_failure, traced_to_rank
from notifybot.training.guard import failures_line
from notifybot.training.heartbeat import Pulse
from notifybot.training.metrics import Closed, Meter, mute_meter
from notifybot.training.progress import ExpectedMetrics, ProgressTracker, StepReports, first_of, stride_of
from notifybot.training.resume import ResumeInfo, RunHistory
from notifybot.training.run_info import (
    ColabSessionLimit,
    identity,
    label_of,
    params_of,
    this_host,
)
from notifybot.training.run_reports import RunReports
from notifybot.training.session import Session
from notifybot.types import Param, Progress, RunRef, Severity, Status, Unit, uuid7

log = logging.getLogger("notifybot")

NOTHING = ResumeInfo()
_EXPECTED_EPOCHS = 5


class Run(RunReports):
    """One training execution. Made by `notify_epoch` and `notify_run`, not by hand.

    On other ranks than 0, in DataLoader workers and in forked children it does nothing, without a word; so does a copy
    of it, be it pickled or deep.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        project: str | None = None,
        run_id: str | None = None,
        params: object = None,
        monitor: str | None = None,
        config: Config,
        alerts: Iterable[AlertRule] = DEFAULT,
        folders: Iterable[os.PathLike[str]] = (),
        notifiers: Sequence[Notifier] | None = None,
        after_session: str = "",
        joins: bool = False,
        console: bool = True,
        trackers: TrackerChoice = "auto",
        clock: Clock = SYSTEM,
    ) -> None:
        ref, self._joins = identity(
            run_id, name, project or config.project, after=after_session, joins=joins, state_dir=config.state_dir
        )

        super().__init__(ref, config, clock, monitor)
        self.params = params_of(params)
        self.status = Status.RUNNING
        self.attempt = 1
        self.named = name is not None  #: by the program, and not after its script
        self.meter = Meter()
        self.open_epoch: int | None = None  # the label of the epoch that the loop is in
        self.mute = False  # another rank reports this run; the ending is heard of all the same
        self._notifiers = notifiers
        self._ways: dict[str, Any] = {"guard": self.guard, "clock": clock, "console": console, "trackers": trackers}
        self._monitor = monitor
        places = (config.state_dir, config.runs_dir, *folders)
        self._alarms = AlertMonitor(alerts, language=config.lang, monitor=monitor, folders=places, clock=clock)
        self._expected = ExpectedMetrics(self._course.watched or monitor)
        self._epoch_meter = Meter("log_epoch")
        self._meters = (self.meter, self._epoch_meter)
        self._lifetime: ColabSessionLimit | None = None
        self._past = RunHistory()
        self._epochs_here = self._looks = 0
        self._steps: StepReports | None = None
        self._loops = self._drives = self._logs = self.is_copy = False

    def __reduce__(self) -> Any:
        """Travel as a mute copy: to other processes with a callback, into a deep copy of what holds it."""
        return _copy_of, (self.ref, self.params, self.config, self.progress, self.status)

    def copied(self) -> Run:
        """A mute copy; itself where it is one."""
        return self if self.is_copy else copy.copy(self)

    @property
    def faults(self) -> dict[str, int]:
        """notifybot's own faults, counted by kind. Empty when all is well."""
        refused = {f"metric {name!r}": count for meter in self._meters for name, count in meter.refused.items()}
        failures = {} if self.session is None or self.session.trackers is None else self.session.trackers.failures
        failed = {f"tracker {name}": count for name, count in failures.items() if count}
        return self.guard.faults | refused | failed

    def start(
        self,
        epochs: object = None,
        *,
        total: int | None = None,
        unit: Unit = "epoch",
        first: int | None = None,
        counts_from: int | None = None,
        resume: ResumeInfo = NOTHING,
        reports: bool = True,
    ) -> None:
        """Begin to report, going on from `resume`. Raises ConfigError for settings that cannot work; later nothing.

        A framework that has the loop says what it counts (`unit`), the label of the first that it is going to do, and
        the label with which it begins to count; what earlier sessions reported from `first` on is void. By its word
        another rank `reports` the run, as far as this process may.
        """
        if self.is_copy:
            return
        if not speaks(self.config.ranks) or not (reports or self.config.ranks == "each"):
            self._stay_mute()
            return
        self._drives = epochs is not None
        self._loops = self._drives or total is not None or first is not None
        LOG_LINES.attach()
        with self.guard("opening_run", loud=(ConfigError,)):
            self.session = self.new_session()
        if self.session is not None:
            ENDINGS.opened(self)
            announce(self.ref)
            with self.guard("reports_of_ranks"):
                leave_run(local_folder(self.config.state_dir), self.id, self.project)
            with self.guard("starting_run"):
                ahead = {"total": total, "unit": unit, "first": first, "counts_from": counts_from}
                self._open(self.session, epochs, ahead, resume)

    def new_session(self) -> Session:
        """Open database, delivery and trackers for a run of these settings. Raises ConfigError and StoreError."""
        return Session.open(self.config, self._notifiers, **self._ways)

    def _stay_mute(self) -> None:
        """Report nothing, but listen for this rank's own failure: rank 0 is only terminated for it."""
        for meter in self._meters:
            meter.loud = False
        if in_loader_worker():
            return
        self.mute = True
        ENDINGS.opened(self)
        if not is_one_training():
            log.warning("%s", reader_text("training.run.only_rank_0_reports", name=self.name, rank=rank()))

    def _open(self, session: Session, epochs: object, ahead: dict[str, Any], resume: ResumeInfo) -> None:
        known = session.past(self.ref)
        if resume.is_copy and known.progress is not None and known.attempt >= resume.attempt:
            resume = replace(resume, progress=None)  # a copy elsewhere may be behind what this machine knows
        past = known.with_checkpoint(resume)
        first = ahead["first"] if epochs is None else first_of(epochs)
        if first is not None and resume.progress is None:
            past = replace(past, progress=past.before(first, falls=stride_of(epochs, past.progress or Progress()) < 0))
        self._past = past
        if past.name and not self.named:
            self.ref = replace(self.ref, name=past.name)
        now_s, host = self.clock.monotonic(), this_host()
        self._lifetime = ColabSessionLimit.here(host.up_s, now_s)
        self._course = ProgressTracker(now_s=now_s, earlier=past.progress, monitor=self._monitor)
        self._course.begin(epochs, now_s=now_s, done=resume.done, **ahead)
        joins = self._joins == self.id and past.attempt > 0
        self.attempt = past.attempt + (not joins)
        if past.progress is not None:
            for meter in self._meters:
                meter.loud = False
        with self.guard("notifier_memory"):
            session.remember(self.ref, resume.memories)
        with self.guard("trackers"):
            begins_at = self._course.first_label
            if begins_at is None and resume.progress is not None and resume.progress.epoch is not None:
                begins_at = resume.progress.epoch + 1
            session.track(
                self.ref, self.params, past, purge_from=begins_at if past.attempt else None,
                on_trouble=lambda name, text: self.report(text), resume=resume, monitor=self._course.watched,
            )  # fmt: skip
        self.emit(
            RunStarted(
                **self.fact(), attempt=self.attempt, total=self.progress.total, params=self.params, host=host,
                progress=self.progress, beat_s=session.beat_s, resumed=known.resumed_by(resume, first),
                model=resume.model, joins=joins,
            )
        )  # fmt: skip
        with self.guard("alert_rules"):
            self._alarms.begin(self)
        with self.guard("dead_mans_switch"):
            session.start_dead_man_switch(self.ref, host, lambda: (self.progress, self._pulse()))
        session.beat(self.ref, self._pulse, self.retire)

    def log(self, mapping: Mapping[str, Any] | None = None, /, *, n: float = 1.0, **more: Any) -> None:
        """Average values over the open epoch, as `epochs.log` does: `run.log(loss=loss)`, each for `n` samples.

        Where no loop of ours runs, they belong to the next `log_epoch`, after the last one to that.
        """
        self._logs = True
        (self.meter if self._drives else self._epoch_meter).log(mapping, n=n, **more)

    def log_epoch(self, epoch: int, metrics: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Report a finished epoch with its means, for loops that we do not drive.

        A whole number may be 1.0. Values that are no numbers are left out, and said once. In the first epoch of the
        run's first session, UsageError is raised where there is no number beside them.
        """
        label = self._label(epoch, "log_epoch")
        self._epoch_meter.log(metrics, **more)
        self._epoch_meter.loud = False
        if self.active:
            with self.guard("epoch_end"):
                self.report_epoch(label, self._epoch_meter.read())

    def log_step(
        self, step: int, metrics: Mapping[str, Any] | None = None, /, *, total: int | None = None, **more: Any
    ) -> None:
        """Report that a step is done, for loops that count steps: `run.log_step(500, loss=0.21)`, as often as you like.

        The run counts steps from then on, up to `total`. What is logged within a second is averaged and reported once,
        a validation metric at once; in a run that counts epochs it is the open epoch's. Errors are as of `log_epoch`.
        """
        label = self._label(step, "log_step")
        if self._steps is None:
            if total is not None and not hasattr(total, "__index__"):
                raise UsageError(reader_text("training.block.bad_total", total=type(total).__name__))
            self._steps = StepReports(self.clock)
        if self._steps.are_of(self._course.last, looping=self.open_epoch is not None):
            self._epoch_meter.log(metrics, **more)
            self._epoch_meter.loud = False
            if self.active:
                self._moves += 1
                with self.guard("epoch_end"):
                    self.plan(total=total, unit="step")
                    names = {**metrics, **more} if isinstance(metrics, Mapping) else more
                    if self._steps.is_due(label, self._course.last.total, tuple(names)):
                        self.report_epoch(label, self._epoch_meter.read())
        else:
            (self.meter if self.open_epoch is not None else self._epoch_meter).log(metrics, **more)

    def report_epoch(
        self,
        label: int,
        values: Mapping[str, float],
        *,
        at_s: float | None = None,
        part: float | None = None,
        minor: Collection[str] = (),
    ) -> None:
        """Report an epoch, or as many steps as its label says, of a loop that we do not drive. It may raise.

        `at_s`: when it was over, where that was before now. `minor`: names that no message is to show.
        """
        if not self.active:
            return
        if self._logs:  # by the user's own code below a framework's loop; what the framework reports comes first
            values = self._epoch_meter.read() | dict(values)
        # Epochs may be done once more. A framework that resumed from an older checkpoint shows it by the first label
        # that it reports; a loop that went back, after a NaN or into its next phase, by one below the last.
        past, self._past = self._past, RunHistory()
        last = None if past.progress is None else past.progress.epoch
        before = past.before(label) if last is not None and label <= last else None
        if self._course.go_back(label, before) and self.session is not None and self.session.trackers is not None:
            self.session.trackers.go_back(label)
        done = self._course.ordinal(label)
        self._finish_epoch(label, values, done=done, at_s=at_s, part=part, minor=minor)

    def plan(self, *, total: int | None = None, first: int | None = None, unit: Unit | None = None) -> None:
        """Take in how many epochs a loop that we do not drive will have, and the label of its first one."""
        self._course.plan(total=total, first=first, unit=unit)

    def epoch_left_s(self) -> float | None:
        """Seconds until the open epoch should end, by those before it; None while nothing is known."""
        return self._course.epoch_left_s(self.clock.monotonic())

    def begin_epoch(self, epoch: object) -> None:
        """The loop goes into an epoch. Raises UsageError when the run's first label is no whole number."""
        self.open_epoch = epoch if type(epoch) is int else self._label(epoch)
        self._moves += 1
        if self.meter.closed is not None:
            self.meter.open()
        self._course.epoch_began_s = self.clock.monotonic()  # the time since the last epoch does not count

    def finish_open_epoch(self) -> dict[str, float]:
        """The loop has come round: read the epoch's means, report them, and return them."""
        label, self.open_epoch = self.open_epoch, None
        values: dict[str, float] = {}
        active = self.session is not None and not self._ended
        if self.meter.loud and not self.meter.used and active and self._course.last.unit == "epoch":
            log.warning("%s", reader_text("training.run.nothing_logged", name=self.name))
        self.meter.loud = False
        if active and label is not None:
            with self.guard("epoch_end"):
                values = self.meter.read()
                self._finish_epoch(label, values)
        return values

    def close_epoch(self) -> tuple[int, Mapping[str, float]] | None:
        """The loop was left by its own code: report the open epoch by what was logged in it; None where nothing was."""
        label = self.open_epoch
        if label is None or not self.active:
            return None
        with self.guard("epoch_end"):
            if values := self.meter.read():
                self.open_epoch = None
                self._finish_epoch(label, values)
                return label, values
        return None

    def expect_metric(self, name: str) -> None:
        """The best checkpoint goes by this metric: a warning says so if nobody logs it."""
        self._expected.saves[name] = True

    def expect_next_in(self, seconds: float) -> None:
        """Promise that nothing new will come for so long: the watchdog waits that long before it calls it a stall."""
        if self.active and self.session is not None:
            self.session.promise(seconds)

    def end(self, ending: Ending, *, instead: bool = False) -> None:
        """Record how the run ended, once; with `instead`, correct what was recorded."""
        session = self.session
        if session is None and self.mute and not self._ended:
            self._ended = True
            with self.guard("report_to_rank_0"):
                leave_failure(ending, self.open_epoch, self.config.state_dir, self.clock.now())
                if ending.status is Status.FAILED and on_other_machine():
                    self._alert_of_rank(ending)
            ENDINGS.ended(self, 0.0)
        if session is None or (self._ended and not instead):
            return
        if self.at_end is not None:
            at_end, self.at_end = self.at_end, None
            with self.guard("run_end"):
                ending = at_end(ending)
        spent_s, first = 0.0, ending
        with self.guard("run_end"):
            with self.guard("reports_of_ranks"):
                first = traced_to_rank(ending, self.config.state_dir, self.clock.now())
            if first is not ending:
                self.open_epoch = None  # the error says in which epoch that rank was
            self._record_end(first)
        self._ended = True  # not before: an ending that a Ctrl-C cuts short is recorded at exit
        self.meter.close(Closed.AFTER)
        self._alarms.end()
        with self.guard("run_end"):
            spent_s = session.close(ending.status)
            if self.faults:
                log.warning("%s", failures_line(self.name, self.faults))
        ENDINGS.ended(self, spent_s)

    def _alert_of_rank(self, ending: Ending) -> None:
        """Send this rank's failure by itself: rank 0 is on another machine, and cannot read it."""
        self.session = self.new_session()
        given = {"rank": rank(), "host": platform.node(), "error": ending.error_in(self.open_epoch)}
        self.report(text(self.config.lang, "training.run.rank_failed", **given), ending.frames, Severity.ERROR)
        self.flush(EXIT_S)
        self.session.speaker.close()

    def linger(self) -> None:
        """After a normal end: give trackers that are late up to 10 seconds in all. A signal or Ctrl-C ends it."""
        if self.session is not None and self._ended:
            self.session.linger()

    def flush(self, timeout_s: float) -> None:
        """Wait before the process ends until all is sent, at most so long."""
        if self.session is not None:
            with self.guard("last_delivery"):
                self.session.flush(timeout_s)

    def forget_after_fork(self) -> None:
        """In a forked child: the run is the parent's, and nothing is done here."""
        self.session, self.mute = None, False

    def retire(self, title: str = "", text: str = "") -> None:
        """A newer session reports the run from now on: say so, unless the watchdog does, and report nothing more."""
        if self.session is None or self._ended:
            return
        if title:
            self.report(title, text, about="checkpoint")
        self._ended = True
        self.meter.close(Closed.AFTER)
        with self.guard("run_end"):
            if self.session.dead_man is not None:
                self.session.dead_man.hand_over()  # the newer session's alarm stays
            self.session.close(Status.INTERRUPTED)
        ENDINGS.ended(self, 0.0)

    def _record_end(self, ending: Ending) -> None:
        self.status = ending.status
        label, self.open_epoch = self.open_epoch, None
        whole = self._epochs_here > 0 and ending.status in (Status.FINISHED, Status.STOPPED)
        if whole and label is None:  # what comes now belongs to the run, and to no checkpoint any more
            self._warn_of_unlogged(after=1, of_checkpoints=True)
        last = self._course.last
        # What was logged since the last epoch's end: in an epoch that `break` ended, or after the loop; steps of the
        # last second.
        if self._steps is not None and (pending := self._steps.pending) is not None:
            self.report_epoch(pending, self._epoch_meter.read())
            last = self._course.last
        if (ending.on_purpose or ending.status is Status.FINISHED) and (values := self.meter.read()):
            if label is not None:
                self._finish_epoch(label, values)
            elif last.epoch is not None:
                self._finish_epoch(last.epoch, values, done=last.done)
        if (
            self._logs
            and not self._drives
            and ending.status is Status.FINISHED
            and (values := self._epoch_meter.read())
        ):
            if last.epoch is None:
                log.warning("%s", reader_text("training.run.logged_in_no_epoch", name=self.name))
            else:
                self._finish_epoch(last.epoch, values, done=last.done)
        if whole:
            self._warn_of_unlogged(after=1)
        last = self._course.last
        note = ending.note if last.total is None or last.done < last.total else ""
        error = ending.error if ending.on_purpose else ending.error_in(label, self._course.last.unit)
        self.emit(
            RunEnded(
                **self.fact(), status=ending.status, progress=self.progress, error=error, frames=ending.frames,
                note=note, returned=ending.returned, notebook=in_notebook(), untold=self._alerts.limit.held,
            )
        )  # fmt: skip

    def _finish_epoch(
        self,
        label: int,
        values: Mapping[str, float],
        *,
        done: int | None = None,
        at_s: float | None = None,
        **more: Any,
    ) -> None:
        self._moves += 1
        now_s = self.clock.monotonic() if at_s is None else at_s
        progress, new_best = self._course.finish_epoch(label, values, now_s=now_s, done=done, **more)
        if self.session is not None:
            now = self.clock.now()
            event_id = uuid7(now.timestamp())
            self.session.emit(EpochFinished(id=event_id, run=self.ref, at=now, progress=progress, new_best=new_best))
        self._alarms.epoch_ended(progress)
        self._epochs_here += 1
        if self._expected.saves:
            # steps are reported each second: only at the end is it known what was in none of them
            self._warn_of_unlogged(after=_EXPECTED_EPOCHS if progress.unit == "epoch" else sys.maxsize)
        if self._lifetime is not None and (near := self._lifetime.near_its_end(self.clock.monotonic())):
            words = session_near_its_end(*near, self.config.lang)
            self.report(words.title, words.text, Severity.INFO)

    def _warn_of_unlogged(self, *, after: int, of_checkpoints: bool = False) -> None:
        with self.guard("monitor"):
            known, epochs = list(self.progress.metrics), self._epochs_here
            for line in self._expected.overdue(known, epochs, after=after, of_checkpoints=of_checkpoints):
                log.warning("%s", line)

    def _label(self, epoch: object, call: str = "notify_epoch") -> int:
        try:
            return label_of(epoch, call)
        except UsageError as error:
            last = self._course.last.epoch if self.open_epoch is None else self.open_epoch
            if (last is None or not self._moves) and not self.is_copy:
                raise
            self.guard.count("epoch_label", error)
            return 0 if last is None else last + 1

    def _pulse(self) -> Pulse:
        self._alarms.values_so_far(self.meter.non_finite_sums())  # the heartbeat's thread comes by every five seconds
        last = self._course.last
        self._looks += not (self._loops or last.epoch is not None)  # a block without epochs moves as long as it lives
        return Pulse(epoch=last.epoch, done=last.done, steps=self.meter.steps + self._looks, moves=self._moves)


def _copy_of(ref: RunRef, params: Mapping[str, Param], config: Config, progress: Progress, status: Status) -> Run:
    """A run that knows how far it was and does nothing: the original is in another process, or beside it."""
    run = Run(name=ref.name, project=ref.project, run_id=ref.id, config=config, alerts=())
    run.ref, run.params, run.status = ref, dict(params), status
    run._course = ProgressTracker(now_s=run.clock.monotonic(), earlier=progress)
    run.meter, run._epoch_meter = run._meters = mute_meter(), mute_meter()
    run.is_copy = True
    return run
