"""Checkpoint driver and reporter of one run: save at each epoch's end, wait for the last save, report trouble."""

from __future__ import annotations

import logging
import math
import os
import platform
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from typing import Any

from notifybot.checkpoints.checkpoints import Checkpoints
from notifybot.checkpoints.errors import Late, reason_of
from notifybot.checkpoints.naming import loss_of
from notifybot.checkpoints.run_folder import RUNS, Mirror, RunFile, read_card, write_card
from notifybot.checkpoints.types import SavePoint
from notifybot.clock import SYSTEM
from notifybot.errors import CheckpointError, StoreError, reader_text
from notifybot.events import CheckpointSaved, to_json
from notifybot.files import started
from notifybot.i18n import text
from notifybot.rendering import alert_text
from notifybot.rendering.error_text import reason_line
from notifybot.training.restoring import RestorePlan, learning_in, learning_record
from notifybot.training.run import Run
from notifybot.training.run_info import launch_of
from notifybot.training.signals import SIGNALS, number_of
from notifybot.types import Checkpoint, Notice, Reason, Severity

log = logging.getLogger("notifybot")

_LEAVE_S = 120.0  # the longest wait for the last checkpoint when the loop is left
_STEPS_SAVED_S = 600.0  # between two checkpoints of a loop of steps
_POLITE_S = 1.0  # a wait so short needs no line in the log
_FIRST_MESSAGE_TRIES = 60


class CheckpointDriver:
    """Saves the state of one started run. Raises nothing: a failure is reported to people instead."""

    def __init__(self, run: Run, checkpoints: Checkpoints, opening: RestorePlan) -> None:
        self._run = run
        self._checkpoints = checkpoints
        self._reporter = CheckpointReporter(run, checkpoints)
        self.final = ""
        self._held: dict[str, Any] | None = None
        self._unsaved: tuple[int, Mapping[str, float]] | None = None
        self._steps_before = 0
        self._steps_restored = 0
        self._every, self._every_s = checkpoints.every, checkpoints.every_s
        self._next_s = run.clock.monotonic() + (checkpoints.every_s or 0.0)
        self._due = False
        self._deadly: int | None = None
        self._timer: threading.Timer | None = None
        self._learning = opening.learning
        self._left = threading.Event()
        self._follower = threading.Thread(
            target=_follow_first_messages, args=(weakref.ref(self), self._left), name="notifybot-card", daemon=True
        )
        self._sums = checkpoints.sums_if_used_again()
        self._take_up(opening)
        if checkpoints.monitor is not None:
            run.expect_metric(checkpoints.monitor)
        checkpoints.begin()

    def go_by_steps(self) -> None:
        """The loop goes by steps: save by time where nobody chose after how many, since each of them is too often."""
        if self._every == 1:
            self._every = sys.maxsize
            self._every_s = self._every_s or _STEPS_SAVED_S
            self._next_s = self._run.clock.monotonic() + self._every_s

    def epoch_began(self) -> None:
        """Count the steps of a new epoch from here."""
        self._steps_before = self._run.meter.steps - self._steps_restored
        self._steps_restored = 0

    def epoch_ended(self, label: int, values: Mapping[str, float]) -> None:
        """Save if this epoch's end is due for it, or if a signal waits for a save; then act on the signal."""
        if not self._run.active:
            return
        sums, self._sums = self._sums, []
        if sums and sums == self._checkpoints.sums_if_used_again():  # a notebook's cell may have made a new model
            log.warning("%s", reader_text("training.checkpointing.model_did_not_change", name=self._run.name))
        self._unsaved = (label, values)
        if self._deadly is not None or self._due or self._run.progress.done % self._every == 0:
            self._due = False
            self.save_epoch()
        if self._deadly is not None:
            self._leave(self._deadly)

    def is_due(self, step: int, now_s: float) -> bool:
        """True when a loop of steps is to save after this one: by their number, by the time, or for a signal."""
        if self._every_s is not None and now_s >= self._next_s:
            self._next_s, self._due = now_s + self._every_s, True
        return self._due or self._deadly is not None or step % self._every == 0

    def stepped(self) -> None:
        """Save within the epoch, after a logged step, if it is due or if a signal waits for a save."""
        if not self._run.active:
            return
        every_s = self._checkpoints.every_s
        if self._deadly is not None:
            self._save_step()
            self._leave(self._deadly)
        elif every_s is not None and self._run.clock.monotonic() >= self._next_s:
            self._save_step()
            self._next_s = self._run.clock.monotonic() + every_s

    def save_epoch(self) -> None:
        """Save the last finished epoch, unless it is saved already."""
        if self._unsaved is None or not self._run.active:
            return
        label, values = self._unsaved
        self._unsaved = None
        held, self._held = self._held, None
        self._save(lambda: SavePoint(label, values, label=label, final=self.final, **self._marks()), held)

    def left(self) -> None:
        """Copy the state when the loop is left, before it is known whether by `break` or by an error."""
        run = self._run
        logged = run.open_epoch is not None and run.meter.steps > self._steps_before
        if run.active and (logged or self._unsaved is not None):
            with run.guard("state_copy"):  # a failure is reported when the save tries again
                self._held = self._checkpoints.hold()

    def left_on_purpose(self) -> None:
        """Save the epoch that ended when the loop's own code left it, if it is reported as an epoch.

        Nothing is saved after a loss that is NaN or infinite: that is why the loop was left.
        """
        if not self._is_ours:
            return
        if (closed := self._run.close_epoch()) is not None:
            self._unsaved = closed
        if self._unsaved is None:
            return
        loss = loss_of(self._unsaved[1], self._checkpoints.monitor, self._checkpoints.mode)
        if loss is not None and not math.isfinite(loss):
            line = text(
                self._run.config.lang,
                "training.checkpointing.left_with_bad_loss",
                name=self._run.name,
                epoch=self._unsaved[0],
            )
            log.warning("%s", line)
            self._unsaved = self._held = None
        self.save_epoch()

    def await_last(self) -> None:
        """Wait until all checkpoints are written, at most two minutes, after the loop was left."""
        if not self._is_ours:
            return
        self._checkpoints.release()
        self._left.set()
        if self._follower.is_alive():  # or it might drop the last reference to a tensor at the process's end
            self._follower.join(_POLITE_S)
        if self._timer is not None:
            self._timer.cancel()
        if not self._run.active or self._checkpoints.wait(_POLITE_S):
            return
        log.warning("%s", reader_text("training.checkpointing.waiting_for_last", seconds=f"{_LEAVE_S:.0f}"))
        if not self._checkpoints.wait(_LEAVE_S):
            self._reporter.not_saved(Late(Reason("not_written", values={"seconds": f"{_LEAVE_S:.0f}"})))

    def ended(self) -> None:
        """Copy the last lines of the closed trackers after the run's end was reported; wait at most a second."""
        if not self._is_ours:
            return
        guard, mirror = self._run.guard, self._reporter.mirror  # all that the copying thread holds: no model

        def copy_last() -> None:
            with guard("last_copy"):
                _copy(mirror)

        self._checkpoints.alongside(copy_last, _POLITE_S)

    def put_off(self, number: int) -> bool:
        """True when a deadly signal may wait until a state is saved; `grace_s` bounds that.

        A warning signal waits for the next moment at which the state is whole, however long that takes: its sender,
        such as SLURM, ends the process in time.
        """
        grace_s = self._checkpoints.grace_s
        if number == number_of(self._run.config.save_signal) and self._run.open_epoch is not None:
            self._deadly = self._deadly or number
            return True
        if self._timer is not None or not grace_s:
            return False
        is_open, left_s = self._run.open_epoch is not None, self._run.epoch_left_s()
        comes_soon = self._checkpoints.stateful or (left_s is not None and left_s < grace_s)
        if not (is_open and comes_soon):  # no moment at which the state is whole can be expected in time
            self._checkpoints.wait(grace_s)
            return False
        timer = threading.Timer(grace_s, os.kill, (os.getpid(), number))  # a second signal is not put off
        timer.daemon = True
        if not started(timer):  # without the timer nothing would bound the wait
            return False
        self._timer, self._deadly = timer, number
        return True

    @property
    def _is_ours(self) -> bool:
        """False in a forked child: folder, thread and messages are the parent's, which works on."""
        return self._run.session is not None

    @property
    def looks_at_steps(self) -> bool:
        """True when `stepped` is to be called at every step."""
        return self._checkpoints.every_s is not None or (self._deadly is not None and self._checkpoints.stateful)

    def _take_up(self, opening: RestorePlan) -> None:
        """Write the card, resume within an epoch if saved so, and report what was passed over."""
        self._put_card()
        if self._run.session is not None and self._run.session.shared.delivery.notifiers:
            started(self._follower)
        restored = opening.restored
        if restored is None:
            return
        self._run.meter.resume(restored.moment.meter)
        self._steps_restored = restored.moment.step
        if restored.passed_over:
            self._reporter.passed_over(restored.passed_over, restored.path.name if opening.resume.resumed else None)
        for note in restored.notes:
            lang = self._run.config.lang
            line = reason_line(note, lang)
            log.warning("%s", text(lang, "training.checkpointing.restored", file=restored.path.name, note=line))

    def _ask_for_messages(self) -> bool:
        """Update the card when notifiers have new state, such as the Slack thread; False when the run is over."""
        session = self._run.session
        if not self._run.active or session is None:
            return False
        with self._run.guard("run_file"), suppress(StoreError):  # a busy database is asked again in a moment
            if not session.memories(self._run.ref).keys() <= self._reporter.on_card:
                self._checkpoints.alongside(self._put_card, _POLITE_S)
        return True

    def _put_card(self) -> None:
        with self._run.guard("run_file"):
            self._reporter.put_card()

    def _save_step(self) -> None:
        run = self._run
        self._save(
            lambda: SavePoint(
                run.progress.epoch,
                {},
                label=run.open_epoch,
                step=run.meter.steps - self._steps_before,
                **self._marks(),
                meter=run.meter.snapshot(),
            )
        )

    def _marks(self) -> dict[str, Any]:
        """Fields that identify the run in a checkpoint (name, project), its progress, and what learns in it."""
        run = self._run
        saved = CheckpointSaved(**run.fact(), checkpoint=Checkpoint(""), progress=run.progress)
        learning = learning_record(self._learning, learning_in(self._checkpoints))
        return {"name": run.name, "project": run.project, "progress": to_json(saved), "learning": learning}

    def _save(self, moment: Callable[[], SavePoint], held: dict[str, Any] | None = None) -> None:
        try:
            if held is None:
                self._checkpoints.await_turn()  # outside the section below: no signal may wait a minute for this
            with self._run.guard("checkpoint", loud=(Exception,)):  # signals wait until the save is handed over
                if held is None:
                    self._checkpoints.save(moment(), self._reporter)
                else:
                    self._checkpoints.save_held(held, moment(), self._reporter)
        except Exception as error:  # noqa: BLE001  no memory for the copy, or a state that cannot be copied
            self._reporter.not_saved(error)

    def _leave(self, number: int) -> None:
        """Act on the signal that was put off, now that the state is saved."""
        if self._timer is not None:
            self._timer.cancel()
        self._checkpoints.wait(self._checkpoints.grace_s)
        SIGNALS.die(number)


def _follow_first_messages(driver: weakref.ref[CheckpointDriver], left: threading.Event) -> None:
    """Put each notifier's first message on the card soon, not only with the next checkpoint: that may be hours away.

    For the first minute only: Drive may never finish uploading a file that is rewritten all the time. The driver is not
    held meanwhile, as that would hold the user's model, and PyTorch aborts a process that ends while another thread
    releases a tensor.
    """
    for _ in range(_FIRST_MESSAGE_TRIES):
        held = driver()
        if held is None or not held._ask_for_messages():
            return
        del held
        if SYSTEM.wait(left, _POLITE_S):
            return


_FLUSH_S = 5.0
_PATIENCE_S = 2.0  # the saving thread waits so long for a locked database; no epoch does


class Superseded(CheckpointError):
    """A newer session saves in the folder; the text is its host. React: report and save nothing more."""


class CheckpointReporter:
    """`SaveObserver` of one started run. Reports each incident once, and once more when it is over."""

    def __init__(self, run: Run, checkpoints: Checkpoints) -> None:
        self._run = run
        self._folder = checkpoints.folder
        self._language = run.config.lang
        self._card: RunFile | None = None
        self._launch = launch_of(run.params)
        self._memories: Mapping[str, Mapping[str, Any]] = {}
        self._patient = True
        self._failing = False
        self._spares = False
        own = run.session.folder if run.session is not None else None
        self.mirror = None if own is None else Mirror(own, self._folder / RUNS / own.name)

    def before_copy(self) -> None:
        """Copy the trackers' files and write the card. Raises Superseded and nothing else.

        Other failures are only logged: the checkpoint is saved without them, and the next save tries again.
        """
        session = self._run.session
        with self._run.guard("tracker_files"):
            if session is not None and session.trackers is not None:
                session.trackers.flush(_FLUSH_S)
        with self._run.guard("run_file", loud=(Superseded,)):
            self.put_card()
        with self._run.guard("copy_of_tracker_files"):
            _copy(self.mirror)

    def put_card(self) -> None:
        """Write the run's card beside its checkpoints. Raises OSError; Superseded if a newer session saves here."""
        run = self._run
        found = read_card(self._folder)
        if found is not None and found.run_id == run.id and found.session > run.ref.session:
            raise Superseded(found.host)
        if found is not None and found.run_id == run.id and not self._memories:
            self._memories = found.memories
        card = RunFile(
            run_id=run.id,
            name=run.name,
            project=run.project,
            session=run.ref.session,
            attempt=run.attempt,
            host=platform.node(),
            launch=self._launch,
            memories=self._remembered(),
        )
        if card != self._card:  # Drive may never finish uploading a file that is rewritten all the time
            write_card(self._folder, card)
            self._card = card

    @property
    def on_card(self) -> Set[str]:
        """Names of the notifiers that have state of this run on the card."""
        return set() if self._card is None else self._card.memories.keys()

    def _remembered(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the notifiers' state for this run from the database; if that is busy, the state read last.

        After one wait of two seconds that failed, later calls do not wait until the database answers again; nothing
        is logged for that, as the next checkpoint asks again.
        """
        session = self._run.session
        if session is None:
            return {}
        patient, self._patient = self._patient, False
        with self._run.guard("notifier_memory"), suppress(StoreError), ExitStack() as waiting:
            if patient:
                waiting.enter_context(session.shared.store.patient(_PATIENCE_S))
            self._memories = session.memories(self._run.ref)
            self._patient = True
        return self._memories

    def saved(self, checkpoint: Checkpoint, *, whole: bool) -> None:
        """Report a checkpoint, and after a failure that saving works again."""
        self._run.saved(checkpoint)
        if self._failing and whole:
            self._failing = False
            self._alert(alert_text.checkpoint_works_again(), Severity.SUCCESS)

    def spared(self, reasons: Sequence[Reason], size_bytes: int) -> None:
        """Report once that unreadable checkpoints are not removed."""
        if not self._spares:
            self._spares = True
            self._alert(alert_text.checkpoint_spared(reasons, size_bytes), Severity.WARNING)

    def not_saved(self, error: Exception) -> None:
        """Report once per incident that nothing could be saved."""
        if isinstance(error, Superseded):
            self._run.retire(*alert_text.session_superseded(str(error), self._language))
        else:
            self._trouble(alert_text.checkpoint_not_saved(reason_of(error)), error)

    def not_copied(self, error: Exception) -> None:
        """Report once per incident that a checkpoint is on this machine only."""
        if isinstance(error, Superseded):
            self.not_saved(error)
        else:
            self._trouble(alert_text.checkpoint_not_copied(reason_of(error)), error)

    def passed_over(self, damaged: tuple[Reason, ...], used: str | None) -> None:
        """Report that newer checkpoints are damaged and were passed over."""
        self._alert(alert_text.checkpoint_damaged(damaged, used), Severity.WARNING)

    def _trouble(self, notice: Notice, error: Exception) -> None:
        self._run.guard.count("checkpoint", error)
        if not self._failing:
            self._failing = True
            self._alert(notice, Severity.ERROR)

    def _alert(self, notice: Notice, severity: Severity) -> None:
        words = alert_text.notice_words(notice, self._language)
        self._run.report(words.title, words.text, severity, about="checkpoint", notice=notice)


def _copy(mirror: Mirror | None) -> None:
    """Copy the trackers' files. Raises OSError."""
    for problem in () if mirror is None else mirror.copy():
        line = reader_text("training.checkpointing.not_copied", problem=problem)
        log.warning("%s", line)
