"""A run as the training code holds it: what happens is told here, and nothing is ever raised back."""

from __future__ import annotations

import copy
import logging
import operator
import os
import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from notifybot.alerts import DEFAULT, AlertRule
from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.errors import ConfigError, UsageError, reader_text
from notifybot.events import CheckpointSaved, EpochFinished, RunEnded, RunStarted, to_json
from notifybot.metric_names import meant_by
from notifybot.notifiers.base import Notifier
from notifybot.rendering.alert_text import session_near_its_end
from notifybot.rendering.text import redacted, redacted_line
from notifybot.runtime import first_word, in_loader_worker, in_notebook, is_one_training, leave_word, rank, speaks
from notifybot.store.location import local_folder
from notifybot.training.alert_monitor import AlertMonitor
from notifybot.training.console_thread import LOG_LINES
from notifybot.training.endings import ENDINGS, Ending
from notifybot.training.guard import failures_line
from notifybot.training.heartbeat import Pulse
from notifybot.training.metrics import Closed, Meter, mute_meter
from notifybot.training.progress import ProgressTracker, first_of, never_logged, stride_of
from notifybot.training.resume import ResumeInfo, RunHistory
from notifybot.training.run_info import (
    TEXT_CHARS,
    TITLE_CHARS,
    ColabSessionLimit,
    checked_id,
    label_of,
    name_of,
    params_of,
    session_after,
    size_of,
    this_host,
)
from notifybot.training.session import Session, launched_otherwise, misses_numbers
from notifybot.training.voice import Voice
from notifybot.types import Checkpoint, Param, Progress, RunRef, Severity, Status, uuid7

log = logging.getLogger("notifybot")

NOTHING = ResumeInfo()
_EXPECTED_EPOCHS = 5
# As gloo and NCCL put it when another process is gone.
_LOST_PEER = re.compile(r"gloo|NCCL|Dist(Backend|Network)Error|connection (closed|reset) by peer", re.IGNORECASE)


class Run(Voice):
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
        clock: Clock = SYSTEM,
    ) -> None:
        ref = _ref(run_id, name=name, project=project or config.project, after=after_session)
        super().__init__(ref, clock)
        self.params = params_of(params)
        self.config = config
        self.attempt = 1
        self.meter = Meter()
        self._named = name is not None
        self._notifiers = notifiers
        self._monitor = monitor
        places = (config.state_dir, config.runs_dir, *folders)
        self._alarms = AlertMonitor(alerts, language=config.lang, monitor=monitor, folders=places, clock=clock)
        self._course = ProgressTracker(now_s=clock.monotonic(), monitor=monitor)
        # The metrics that the best goes by and nobody has logged yet, with whether a checkpoint depends on it.
        self._expected: dict[str, bool] = {} if monitor is None else {self._course.watched or monitor: False}
        self._epochs_here = 0
        self._epoch_meter = Meter("log_epoch")
        self._meters = (self.meter, self._epoch_meter)
        self._lifetime: ColabSessionLimit | None = None
        self.open_epoch: int | None = None  # the label of the epoch that the loop is in
        self._loops = False
        self._looks = 0
        self._past = RunHistory()
        self.mute = False  # another rank reports this run; the ending is heard of all the same
        self._is_copy = False

    def __reduce__(self) -> Any:
        """Travel as a mute copy: to other processes with a callback, into a deep copy of what holds it."""
        return _copy_of, (self._ref, self.params, self.config, self.progress, self.status)

    def copied(self) -> Run:
        """A mute copy; itself where it is one."""
        return self if self._is_copy else copy.copy(self)

    @property
    def named(self) -> bool:
        """True when the program gave the name."""
        return self._named

    @property
    def faults(self) -> dict[str, int]:
        """notifybot's own faults, counted by kind. Empty when all is well."""
        refused = {f"metric {name!r}": count for meter in self._meters for name, count in meter.refused.items()}
        trackers = self.session.trackers if self.session is not None else None
        failures = {} if trackers is None else trackers.failures
        failed = {f"tracker {name}": count for name, count in failures.items() if count}
        return self.guard.faults | refused | failed

    @property
    def progress(self) -> Progress:
        """Progress of the run: epochs done, metrics, best values, the latest checkpoint."""
        return self._course.summary(self._clock.monotonic())

    def start(self, epochs: object = None, *, total: int | None = None, resume: ResumeInfo = NOTHING) -> None:
        """Begin to report, going on from `resume`. Raises ConfigError for settings that cannot work; later nothing."""
        if self._is_copy:
            return
        if not speaks(self.config.ranks):
            self._mute_session()
            self._stay_mute()
            return
        self._loops = epochs is not None or total is not None
        LOG_LINES.attach()
        with self.guard("opening_run", loud=(ConfigError,)):
            self.session = Session.open(self.config, self._notifiers, guard=self.guard, clock=self._clock)
        if self.session is not None:
            ENDINGS.opened(self)
            with self.guard("starting_run"):
                self._open(self.session, epochs, total, resume)

    def make_good(self, resume: ResumeInfo) -> None:
        """Give trackers what they missed of this run, which is complete and does not start.

        People hear of it where the program was started otherwise than the one that trained.
        """
        if self._is_copy or not speaks(self.config.ranks):
            return
        ref = self._ref if self._named else replace(self._ref, name=resume.name or self.name)
        with self.guard("tracker_replay"):
            if launched_otherwise(resume, self.params) or misses_numbers(self.config, ref, resume):
                session = Session.open(self.config, self._notifiers, guard=self.guard, clock=self._clock)
                session.make_good(ref, self.params, session.past(ref).with_checkpoint(resume), resume)

    def renew(self, run_id: str) -> None:
        """Become another run, before it starts."""
        self._ref = replace(self._ref, id=run_id)

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
            self._go_back_to(label)
            self._finish_epoch(label, self._epoch_meter.read(), done=self._course.ordinal(label))

    def _go_back_to(self, label: int) -> None:
        """Void what was told of epochs that are done once more.

        A framework that resumed from an older checkpoint shows it by the first label that it tells; a loop that went
        back, after a NaN or into its next phase, by a label below the last one.
        """
        past, self._past = self._past, RunHistory()
        last = None if past.progress is None else past.progress.epoch
        before = past.before(label) if last is not None and label <= last else None
        if self._course.go_back(label, before) and self.session is not None:
            self.session.go_back(label)

    def log_checkpoint(self, path: str | os.PathLike[str], epoch: int | None = None) -> None:
        """Report a checkpoint that your code has saved, where there is one. Works after the run's end too."""
        if self.session is None:
            return
        with self.guard("checkpoint"):
            self._moves += 1
            if not self._finds(path, self.config.lang):
                return
            checkpoint = Checkpoint(
                path=redacted(os.fspath(path), TEXT_CHARS),
                epoch=self.progress.epoch if epoch is None else operator.index(epoch),
                size_bytes=size_of(path),
            )
            self.saved(checkpoint)

    def saved(self, checkpoint: Checkpoint) -> None:
        """Tell of a checkpoint. Called by the thread that saved it."""
        with self.guard("checkpoint"):
            self._course.saved(checkpoint)
            self.emit(CheckpointSaved(**self.fact(), checkpoint=checkpoint, progress=self.progress))

    def story(self) -> str:
        """Progress of the run as JSON text that travels in a checkpoint."""
        return to_json(CheckpointSaved(**self.fact(), checkpoint=Checkpoint(""), progress=self.progress))

    def epoch_left_s(self) -> float | None:
        """Seconds until the open epoch should end, by those before it; None while nothing is known."""
        return self._course.epoch_left_s(self._clock.monotonic())

    def begin_epoch(self, epoch: object) -> None:
        """The loop goes into an epoch. Raises UsageError when the run's first label is no whole number."""
        self.open_epoch = epoch if type(epoch) is int else self._label(epoch)
        self._moves += 1
        if self.meter.closed is not None:
            self.meter.open()
        self._course.begin_epoch(self._clock.monotonic())

    def expect_metric(self, name: str | None) -> None:
        """The best checkpoint goes by this metric: it is told when nobody logs it."""
        if name is not None:
            self._expected[name] = True

    def finish_open_epoch(self) -> dict[str, float]:
        """The loop has come round: read the epoch's means, tell them, and return them."""
        label, self.open_epoch = self.open_epoch, None
        values: dict[str, float] = {}
        if self.meter.loud and not self.meter.used and self.active:
            log.warning("%s", reader_text("training.run.nothing_logged", name=self.name))
        self.meter.loud = False
        if self.active and label is not None:
            with self.guard("epoch_end"):
                values = self.meter.read()
                self._finish_epoch(label, values)
        return values

    def close_epoch(self) -> tuple[int, Mapping[str, float]] | None:
        """The loop was left by its own code: tell the open epoch by what was logged in it; None where nothing was."""
        label = self.open_epoch
        if label is None or not self.active:
            return None
        with self.guard("epoch_end"):
            if values := self.meter.read():
                self.open_epoch = None
                self._finish_epoch(label, values)
                return label, values
        return None

    def end(self, ending: Ending, *, instead: bool = False) -> None:
        """Record how the run ended, once; with `instead`, correct what was recorded."""
        session = self.session
        if session is None:
            self._end_mute(ending)
            return
        if self._ended and not instead:
            return
        spent_s = 0.0
        with self.guard("run_end"):
            self._tell_end(self._with_other_ranks(ending))
        self._ended = True  # not before: whom a Ctrl-C cuts short is told at exit
        self.meter.close(Closed.AFTER)
        self._alarms.end()
        with self.guard("run_end"):
            spent_s = session.close(ending.status)
            if self.faults:
                log.warning("%s", failures_line(self.name, self.faults))
        ENDINGS.ended(self, spent_s)

    def forget_after_fork(self) -> None:
        """In a forked child: the run is the parent's, and nothing is done here."""
        super().forget_after_fork()
        self.mute = False

    def linger(self) -> None:
        """After a normal end: give trackers that are late up to 10 seconds in all. A signal or Ctrl-C ends it."""
        if self.session is not None and self._ended:
            self.session.linger()

    def retire(self, title: str = "", text: str = "") -> None:
        """A newer session speaks for the run from now on: say so, unless the watchdog does, and report nothing more."""
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

    def _stay_mute(self) -> None:
        """Report nothing, but listen for this rank's own failure: rank 0 is only terminated for it."""
        if in_loader_worker():
            return
        self.mute = True
        ENDINGS.opened(self)
        if not is_one_training():
            log.warning("%s", reader_text("training.run.only_rank_0_reports", name=self.name, rank=rank()))

    def _end_mute(self, ending: Ending) -> None:
        if not self.mute or self._ended:
            return
        self._ended = True
        with self.guard("report_to_rank_0"):
            if ending.status is Status.FAILED:
                error = _placed(ending.error, self.open_epoch)
                leave_word(local_folder(self.config.state_dir), error, ending.frames, self.now())
        ENDINGS.ended(self, 0.0)

    def _with_other_ranks(self, ending: Ending) -> Ending:
        """The error that ended the training: a rank that failed has this one terminated, or its connections closed."""
        terminated = ending.status is Status.INTERRUPTED and ending.error == signal.SIGTERM.name
        if not (terminated or (ending.status is Status.FAILED and _LOST_PEER.search(ending.error))):
            return ending
        with self.guard("reports_of_ranks"):
            word = first_word(local_folder(self.config.state_dir), self.now())
            if word is not None:
                self.open_epoch = None  # the word says in which epoch that rank was
                return Ending(Status.FAILED, f"rank {word.rank}: {word.error}", word.frames)
        return ending

    def _tell_end(self, ending: Ending) -> None:
        self.status = ending.status
        error, label = ending.error, self.open_epoch
        whole = self._epochs_here > 0 and ending.status in (Status.FINISHED, Status.STOPPED)
        if whole and label is None:  # what comes now belongs to the run, and to no checkpoint any more
            self._look_for_expected(after=1, of_checkpoints=True)
        self._finish_last_epoch(ending)
        if whole:
            self._look_for_expected(after=1)
        last = self._course.last
        note = ending.note if last.total is None or last.done < last.total else ""
        if error and not ending.on_purpose:
            error = _placed(error, label)
        self.emit(
            RunEnded(
                **self.fact(),
                status=ending.status,
                progress=self.progress,
                error=error,
                frames=ending.frames,
                note=note,
                notebook=in_notebook(),
                untold=self._limit.held,
            )
        )

    def _finish_last_epoch(self, ending: Ending) -> None:
        """Tell what was logged since the last epoch's end: by an epoch that `break` ended, or after the loop."""
        label, self.open_epoch = self.open_epoch, None
        last = self._course.last
        if not (ending.on_purpose or ending.status is Status.FINISHED) or not (values := self.meter.read()):
            return
        if label is not None:
            self._finish_epoch(label, values)
        elif last.epoch is not None:
            self._finish_epoch(last.epoch, values, done=last.done)

    def _finish_epoch(self, label: int, values: Mapping[str, float], *, done: int | None = None) -> None:
        self._moves += 1
        progress, new_best = self._course.finish_epoch(label, values, now_s=self._clock.monotonic(), done=done)
        self.emit(EpochFinished(**self.fact(), progress=progress, new_best=new_best))
        self._alarms.epoch_ended(progress)
        self._epochs_here += 1
        self._look_for_expected(after=_EXPECTED_EPOCHS)
        if self._lifetime is not None and (near := self._lifetime.near_its_end(self.now_s())):
            words = session_near_its_end(*near, self.config.lang)
            self.report(words.title, words.text, Severity.INFO)

    def _look_for_expected(self, *, after: int, of_checkpoints: bool = False) -> None:
        """Say once of a monitored metric that it is in none of at least `after` epochs; at once if it is misspelt.

        Validation may come every few epochs only. `of_checkpoints`: look for those alone that a checkpoint goes by.
        """
        if not self._expected:
            return
        with self.guard("monitor"):
            known = self.progress.metrics
            for name, saves in list(self._expected.items()):
                if of_checkpoints and not saves:
                    continue
                meant = meant_by(name, known)
                if name in known:
                    del self._expected[name]
                elif meant is not None or self._epochs_here >= after:
                    del self._expected[name]
                    log.warning("%s", never_logged(name, self._epochs_here, list(known), meant, saves=saves))

    def _mute_session(self) -> None:
        """Let no value be loud from now on."""
        for meter in self._meters:
            meter.loud = False

    def _label(self, epoch: object, call: str = "notify_epoch") -> int:
        try:
            return label_of(epoch, call)
        except UsageError as error:
            last = self._course.last.epoch if self.open_epoch is None else self.open_epoch
            if (last is None or not self._moves) and not self._is_copy:
                raise
            self.guard.count("epoch_label", error)
            return 0 if last is None else last + 1

    def _open(self, session: Session, epochs: object, total: int | None, resume: ResumeInfo) -> None:
        known = session.past(self._ref)
        past = known.with_checkpoint(resume)
        first = first_of(epochs)
        if first is not None and resume.progress is None:
            past = replace(past, progress=past.before(first, falls=stride_of(epochs, past.progress or Progress()) < 0))
        self._past = past
        if past.name and not self._named:
            self._ref = RunRef(self.id, past.name, self.project, self._ref.session)
        now_s = self._clock.monotonic()
        self._course = ProgressTracker(now_s=now_s, earlier=past.progress, monitor=self._monitor)
        self._course.begin(epochs, total=total, now_s=now_s, done=resume.done)
        self.attempt = past.attempt + 1
        if past.progress is not None:
            self._mute_session()
        with self.guard("notifier_memory"):
            session.remember(self._ref, resume.memories)
        with self.guard("trackers"):
            self._track(session, past, resume)
        host = this_host()
        self._lifetime = ColabSessionLimit.here(host.up_s, now_s)
        self.emit(
            RunStarted(
                **self.fact(),
                attempt=self.attempt,
                total=self.progress.total,
                params=self.params,
                host=host,
                progress=self.progress,
                beat_s=session.beat_s,
                resumed=known.resumed_by(resume, first),
                model=resume.model,
            )
        )
        with self.guard("alert_rules"):
            self._alarms.begin(self)
        with self.guard("dead_mans_switch"):
            session.start_dead_man_switch(self._ref, this_host(), lambda: (self.progress, self._pulse()))
        session.beat(self._ref, self._pulse, self.retire)

    def _track(self, session: Session, past: RunHistory, resume: ResumeInfo) -> None:
        first = self._course.first_label
        if first is None and resume.progress is not None and resume.progress.epoch is not None:
            first = resume.progress.epoch + 1
        session.track(
            self._ref,
            self.params,
            past,
            purge_from=first if past.attempt else None,
            on_trouble=lambda name, text: self.report(text),
            resume=resume,
            monitor=self._course.watched,
        )

    def _pulse(self) -> Pulse:
        self._alarms.values_so_far(self.meter.non_finite_sums())  # the heartbeat's thread comes by every five seconds
        last = self._course.last
        self._looks += not (self._loops or last.epoch is not None)  # a block without epochs moves as long as it lives
        return Pulse(epoch=last.epoch, done=last.done, steps=self.meter.steps + self._looks, moves=self._moves)


def _copy_of(ref: RunRef, params: Mapping[str, Param], config: Config, progress: Progress, status: Status) -> Run:
    """A run that knows how far it was and does nothing: the original is in another process, or beside it."""
    run = Run(name=ref.name, project=ref.project, run_id=ref.id, config=config, alerts=())
    run._ref, run.params, run.status = ref, dict(params), status
    run._course = ProgressTracker(now_s=run.now_s(), earlier=progress)
    run.meter, run._epoch_meter = run._meters = mute_meter(), mute_meter()
    run._is_copy = True
    return run


def _ref(run_id: str | None, *, name: str | None, project: str, after: str) -> RunRef:
    """Which run, and a new session of it that is later than `after`."""
    return RunRef(
        id=uuid7() if run_id is None else checked_id(run_id),
        name=name_of(name),
        project=redacted_line(project, TITLE_CHARS),
        session=session_after(after),
    )


def _placed(error: str, epoch: int | None) -> str:
    """An error with the epoch that was open when it came, if one was."""
    return error if epoch is None else f"{error} [epoch {epoch}]"
