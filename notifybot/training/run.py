"""A run as the training code holds it: what happens is reported here, and nothing is ever raised back."""

from __future__ import annotations

import copy
import logging
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

from notifybot.alerts import DEFAULT, AlertRule
from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.errors import ConfigError, UsageError, reader_text
from notifybot.events import CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.notifiers.base import Notifier
from notifybot.rendering.alert_text import checkpoint_not_found, notice_words, session_near_its_end
from notifybot.rendering.text import redacted
from notifybot.runtime import in_loader_worker, in_notebook, is_one_training, rank, speaks
from notifybot.trackers.base import Tracker
from notifybot.training.alert_monitor import AlertMonitor, AlertsByCode, raise_alert
from notifybot.training.command_file import announce
from notifybot.training.console_thread import LOG_LINES
from notifybot.training.endings import ENDINGS, Ending, leave_failure, traced_to_rank
from notifybot.training.guard import Guard, failures_line
from notifybot.training.heartbeat import Pulse
from notifybot.training.metrics import Closed, Meter, mute_meter
from notifybot.training.progress import ExpectedMetrics, ProgressTracker, first_of, stride_of
from notifybot.training.resume import ResumeInfo, RunHistory
from notifybot.training.run_info import (
    TEXT_CHARS,
    ColabSessionLimit,
    identity,
    is_there,
    label_of,
    params_of,
    size_of,
    this_host,
)
from notifybot.training.session import Session, launched_otherwise, misses_numbers
from notifybot.types import Checkpoint, Notice, Param, Progress, RunRef, Severity, Status, uuid7

log = logging.getLogger("notifybot")

NOTHING = ResumeInfo()
_EXPECTED_EPOCHS = 5


class Run:
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
        clock: Clock = SYSTEM,
    ) -> None:
        self.ref, self._joins = identity(run_id, name, project or config.project, after=after_session, joins=joins)
        self.params = params_of(params)
        self.config = config
        self.clock = clock
        self.guard = Guard()
        self.status = Status.RUNNING
        self.attempt = 1
        self.named = name is not None  #: by the program, and not after its script
        self.meter = Meter()
        self.open_epoch: int | None = None  # the label of the epoch that the loop is in
        self.session: Session | None = None  # None: not begun, or another process reports
        self.mute = False  # another rank reports this run; the ending is heard of all the same
        self._notifiers = notifiers
        self._ways: dict[str, Any] = {"guard": self.guard, "clock": clock, "console": console}
        self._monitor = monitor
        places = (config.state_dir, config.runs_dir, *folders)
        self._alarms = AlertMonitor(alerts, language=config.lang, monitor=monitor, folders=places, clock=clock)
        self._alerts = AlertsByCode()
        self._course = ProgressTracker(now_s=clock.monotonic(), monitor=monitor)
        self._expected = ExpectedMetrics(self._course.watched or monitor)
        self._epoch_meter = Meter("log_epoch")
        self._meters = (self.meter, self._epoch_meter)
        self._lifetime: ColabSessionLimit | None = None
        self._past = RunHistory()
        self._epochs_here = self._moves = self._looks = 0
        self._loops = self._ended = self._is_copy = self._misses_checkpoint = False

    def __reduce__(self) -> Any:
        """Travel as a mute copy: to other processes with a callback, into a deep copy of what holds it."""
        return _copy_of, (self.ref, self.params, self.config, self.progress, self.status)

    def copied(self) -> Run:
        """A mute copy; itself where it is one."""
        return self if self._is_copy else copy.copy(self)

    @property
    def id(self) -> str:
        """The run's id. Give it as `run_id=` to continue the run in another process."""
        return self.ref.id

    @property
    def name(self) -> str:
        """The name that people read."""
        return self.ref.name

    @property
    def project(self) -> str:
        """The project that the run belongs to."""
        return self.ref.project

    @property
    def active(self) -> bool:
        """True between start and end, in the process that reports the run."""
        return self.session is not None and not self._ended

    @property
    def faults(self) -> dict[str, int]:
        """notifybot's own faults, counted by kind. Empty when all is well."""
        refused = {f"metric {name!r}": count for meter in self._meters for name, count in meter.refused.items()}
        failures = {} if self.session is None or self.session.trackers is None else self.session.trackers.failures
        failed = {f"tracker {name}": count for name, count in failures.items() if count}
        return self.guard.faults | refused | failed

    @property
    def progress(self) -> Progress:
        """Progress of the run: epochs done, metrics, best values, the latest checkpoint."""
        return self._course.summary(self.clock.monotonic())

    def start(self, epochs: object = None, *, total: int | None = None, resume: ResumeInfo = NOTHING) -> None:
        """Begin to report, going on from `resume`. Raises ConfigError for settings that cannot work; later nothing."""
        if self._is_copy:
            return
        if not speaks(self.config.ranks):
            self._stay_mute()
            return
        self._loops = epochs is not None or total is not None
        LOG_LINES.attach()
        with self.guard("opening_run", loud=(ConfigError,)):
            self.session = Session.open(self.config, self._notifiers, **self._ways)
        if self.session is not None:
            ENDINGS.opened(self)
            announce(self.ref)
            with self.guard("starting_run"):
                self._open(self.session, epochs, total, resume)

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

    def _open(self, session: Session, epochs: object, total: int | None, resume: ResumeInfo) -> None:
        known = session.past(self.ref)
        past = known.with_checkpoint(resume)
        first = first_of(epochs)
        if first is not None and resume.progress is None:
            past = replace(past, progress=past.before(first, falls=stride_of(epochs, past.progress or Progress()) < 0))
        self._past = past
        if past.name and not self.named:
            self.ref = replace(self.ref, name=past.name)
        now_s, host = self.clock.monotonic(), this_host()
        self._lifetime = ColabSessionLimit.here(host.up_s, now_s)
        self._course = ProgressTracker(now_s=now_s, earlier=past.progress, monitor=self._monitor)
        self._course.begin(epochs, total=total, now_s=now_s, done=resume.done)
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

    def make_good(self, resume: ResumeInfo) -> None:
        """Give trackers what they missed of this run, which is complete and does not start.

        People hear of it where the program was started otherwise than the one that trained.
        """
        if self._is_copy or not speaks(self.config.ranks):
            return
        ref = self.ref if self.named else replace(self.ref, name=resume.name or self.name)
        with self.guard("tracker_replay"):
            if launched_otherwise(resume, self.params) or misses_numbers(self.config, ref, resume):
                session = Session.open(self.config, self._notifiers, **self._ways)
                session.make_good(ref, self.params, session.past(ref).with_checkpoint(resume), resume)

    def log_epoch(self, epoch: int, metrics: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Report a finished epoch with its means, for loops that we do not drive.

        A whole number may be 1.0. Values that are no numbers are left out, and said once. In the first epoch of the
        run's first session, UsageError is raised where there is no number beside them.
        """
        label = self._label(epoch, "log_epoch")
        self._epoch_meter.log(metrics, **more)
        self._epoch_meter.loud = False
        if not self.active:
            return
        with self.guard("epoch_end"):
            # Epochs may be done once more. A framework that resumed from an older checkpoint shows it by the first
            # label that it reports; a loop that went back, after a NaN or into its next phase, by one below the last.
            past, self._past = self._past, RunHistory()
            last = None if past.progress is None else past.progress.epoch
            before = past.before(label) if last is not None and label <= last else None
            if self._course.go_back(label, before) and self.session is not None and self.session.trackers is not None:
                self.session.trackers.go_back(label)
            self._finish_epoch(label, self._epoch_meter.read(), done=self._course.ordinal(label))

    def plan(self, *, total: int | None = None, first: int | None = None) -> None:
        """Take in how many epochs a loop that we do not drive will have, and the label of its first one."""
        self._course.plan(total=total, first=first)

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
        if self.meter.loud and not self.meter.used and active:
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

    def log_checkpoint(self, path: str | os.PathLike[str], epoch: int | None = None) -> None:
        """Report a checkpoint that your code has saved, where there is one. Works after the run's end too."""
        if self.session is None:
            return
        with self.guard("checkpoint"):
            self._moves += 1
            missed, self._misses_checkpoint = self._misses_checkpoint, not is_there(path)
            if not self._misses_checkpoint:
                at = self.progress.epoch if epoch is None else operator.index(epoch)
                self.saved(Checkpoint(redacted(os.fspath(path), TEXT_CHARS), epoch=at, size_bytes=size_of(path)))
            elif not missed:  # said once in a row
                notice = checkpoint_not_found(os.fspath(path))
                words = notice_words(notice, self.config.lang)
                log.warning("%s: %s", words.title, " ".join(words.text.split()))
                self.report(words.title, words.text, about="checkpoint", notice=notice)

    def saved(self, checkpoint: Checkpoint) -> None:
        """Report a checkpoint. Called by the thread that saved it."""
        with self.guard("checkpoint"):
            self._course.saved(checkpoint)
            self.emit(CheckpointSaved(**self.fact(), checkpoint=checkpoint, progress=self.progress))

    def alert(
        self,
        title: str,
        text: str = "",
        severity: Severity | str = Severity.WARNING,
        wait_duration: float | timedelta | None = None,
        *,
        level: Severity | str | None = None,
    ) -> None:
        """Tell people that they should look, now. Works after the run's end too. Nothing is raised.

        `severity` is info, success, warning or error, in any case; W&B's and logging's words for them do as well, and
        so does W&B's name for it, `level`. One title is sent once in `wait_duration` (seconds, or a timedelta); by
        default once in 10 minutes, whatever numbers are in it. Of each severity, five are sent at once and then one
        every 5 minutes, with a `wait_duration` of 0 too. The others are recorded, and counted in the next one.
        """
        if self.session is not None:
            with self.guard("alert"):
                self._moves += 1
                given = severity if level is None else level
                self._alerts.raise_one(self, title, text, given, wait_duration, now_s=self.clock.monotonic())

    def report(
        self,
        title: str,
        text: str = "",
        severity: Severity = Severity.WARNING,
        *,
        about: Literal["", "checkpoint"] = "",
        notice: Notice | None = None,
    ) -> None:
        """Raise an alert on what we saw ourselves: an incident each, so there is no limit. Works after the end too."""
        if self.session is not None:
            with self.guard("alert"):
                self._moves += 1
                raise_alert(self, title, text, severity, about=about, notice=notice)

    def expect_metric(self, name: str) -> None:
        """The best checkpoint goes by this metric: a warning says so if nobody logs it."""
        self._expected.saves[name] = True

    def expect_next_in(self, seconds: float) -> None:
        """Promise that nothing new will come for so long: the watchdog waits that long before it calls it a stall."""
        if self.active and self.session is not None:
            self.session.promise(seconds)

    def tracker(self, name: str, timeout_s: float) -> Tracker | None:
        """The open tracker of that name, or None."""
        if self.session is None or self.session.trackers is None:
            return None
        with self.guard(f"tracker_handle {name}"):
            return self.session.trackers.get(name, timeout_s)
        return None

    def fact(self) -> dict[str, Any]:
        """Fields that every event of the run carries, made anew: id, run and time."""
        now = self.clock.now()
        return {"id": uuid7(now.timestamp()), "run": self.ref, "at": now}

    def emit(self, event: Event) -> None:
        """Hand an event to all who want it. May be called from any thread."""
        if self.session is not None:
            self.session.emit(event)

    def end(self, ending: Ending, *, instead: bool = False) -> None:
        """Record how the run ended, once; with `instead`, correct what was recorded."""
        session = self.session
        if session is None and self.mute and not self._ended:
            self._ended = True
            with self.guard("report_to_rank_0"):
                leave_failure(ending, self.open_epoch, self.config.state_dir, self.clock.now())
            ENDINGS.ended(self, 0.0)
        if session is None or (self._ended and not instead):
            return
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
        # What was logged since the last epoch's end: in an epoch that `break` ended, or after the loop.
        if (ending.on_purpose or ending.status is Status.FINISHED) and (values := self.meter.read()):
            if label is not None:
                self._finish_epoch(label, values)
            elif last.epoch is not None:
                self._finish_epoch(last.epoch, values, done=last.done)
        if whole:
            self._warn_of_unlogged(after=1)
        last = self._course.last
        note = ending.note if last.total is None or last.done < last.total else ""
        error = ending.error if ending.on_purpose else ending.error_in(label)
        self.emit(
            RunEnded(
                **self.fact(), status=ending.status, progress=self.progress, error=error, frames=ending.frames,
                note=note, notebook=in_notebook(), untold=self._alerts.limit.held,
            )
        )  # fmt: skip

    def _finish_epoch(self, label: int, values: Mapping[str, float], *, done: int | None = None) -> None:
        self._moves += 1
        progress, new_best = self._course.finish_epoch(label, values, now_s=self.clock.monotonic(), done=done)
        if self.session is not None:
            now = self.clock.now()
            event_id = uuid7(now.timestamp())
            self.session.emit(EpochFinished(id=event_id, run=self.ref, at=now, progress=progress, new_best=new_best))
        self._alarms.epoch_ended(progress)
        self._epochs_here += 1
        if self._expected.saves:
            self._warn_of_unlogged(after=_EXPECTED_EPOCHS)
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
            if (last is None or not self._moves) and not self._is_copy:
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
    run._is_copy = True
    return run
