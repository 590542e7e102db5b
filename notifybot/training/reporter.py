"""What the saving thread does for a run beside each checkpoint, and what it tells."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from typing import Any

from notifybot.checkpoints.checkpoints import Checkpoints
from notifybot.checkpoints.errors import reason_of
from notifybot.checkpoints.run_file import RUNS, Card, read_card, write_card
from notifybot.checkpoints.run_folder import Mirror
from notifybot.errors import CheckpointError, StoreError, said
from notifybot.rendering import alert_text
from notifybot.training.run import Run
from notifybot.training.run_info import launch_of
from notifybot.types import Checkpoint, Notice, Reason, Severity

log = logging.getLogger("notifybot")

_FLUSH_S = 5.0
_PATIENCE_S = 2.0  # for others to let go of the database: no epoch waits for it


class Superseded(CheckpointError):
    """A newer session saves in the folder; the text is its host. React: report and save nothing more."""


class Reporter:
    """`checkpoints.Report` for one run that has started. An incident is told once, and again when it is over."""

    def __init__(self, run: Run, checkpoints: Checkpoints) -> None:
        self._run = run
        self._folder = checkpoints.folder
        self._language = run.config.lang
        self._card: Card | None = None
        self._launch = launch_of(run.params)
        self._memories: Mapping[str, Mapping[str, Any]] = {}
        self._patient = True
        self._failing = False
        self._spares = False
        own = run.session.folder if run.session is not None else None
        self._mirror = None if own is None else Mirror(own, self._folder / RUNS / own.name)

    def before_copy(self) -> None:
        """Bring the trackers' files and the card along, as far as can be. Raises Superseded and nothing else.

        They are side matters: without them the checkpoint is saved as well, and the next one brings them along.
        """
        session = self._run.session
        with self._run.guard("writing the trackers' files"):
            if session is not None and session.trackers is not None:
                session.trackers.flush(_FLUSH_S)
        with self._run.guard("the card beside the checkpoints", loud=(Superseded,)):
            self.put_card()
        with self._run.guard("the trackers' files beside the checkpoints"):
            self.mirror()

    @property
    def mirror(self) -> Callable[[], None]:
        """Brings the trackers' files along, holding nothing of the training's meanwhile. Raises OSError."""
        mirror = self._mirror
        return lambda: None if mirror is None else _copy(mirror)

    def put_card(self) -> None:
        """Say beside the checkpoints whose they are. Raises OSError, and Superseded where a newer session says so."""
        run = self._run
        found = read_card(self._folder)
        if found is not None and found.run_id == run.id and found.session > run.ref.session:
            raise Superseded(found.host)
        if found is not None and found.run_id == run.id and not self._memories:
            self._memories = found.memories
        card = Card(
            run_id=run.id,
            name=run.name,
            project=run.project,
            session=run.ref.session,
            attempt=run.attempt,
            host=platform.node(),
            launch=self._launch,
            memories=self._remembered(),
        )
        if card != self._card:  # on Drive a file that is written again and again may never arrive
            write_card(self._folder, card)
            self._card = card

    @property
    def on_card(self) -> Set[str]:
        """The notifiers whose memories of the run stand on the card."""
        return set() if self._card is None else self._card.memories.keys()

    def _remembered(self) -> Mapping[str, Mapping[str, Any]]:
        """What notifiers know of the run, as far as the database can be asked: else what they knew last.

        A database that was busy for seconds is not waited for again until it answers, and that costs no word: the next
        checkpoint asks again.
        """
        session = self._run.session
        if session is None:
            return {}
        patient, self._patient = self._patient, False
        with self._run.guard("what notifiers remember"), suppress(StoreError), ExitStack() as waiting:
            if patient:
                waiting.enter_context(session.shared.store.patient(_PATIENCE_S))
            self._memories = session.memories(self._run.ref)
            self._patient = True
        return self._memories

    def saved(self, checkpoint: Checkpoint, *, whole: bool) -> None:
        """Tell of a checkpoint, and that all is well again if it was not."""
        self._run.saved(checkpoint)
        if self._failing and whole:
            self._failing = False
            self._alert(alert_text.checkpoint_works_again(), Severity.SUCCESS)

    def spared(self, reasons: Sequence[Reason], size_bytes: int) -> None:
        """Tell once that checkpoints stay which cannot be read."""
        if not self._spares:
            self._spares = True
            self._alert(alert_text.checkpoint_spared(reasons, size_bytes), Severity.WARNING)

    def not_saved(self, error: Exception) -> None:
        """Tell once an incident that nothing could be saved."""
        if isinstance(error, Superseded):
            self._run.retire(*alert_text.session_superseded(str(error), self._language))
        else:
            self._trouble(alert_text.checkpoint_not_saved(reason_of(error)), error)

    def not_copied(self, error: Exception) -> None:
        """Tell once an incident that a checkpoint is on this machine only."""
        if isinstance(error, Superseded):
            self.not_saved(error)
        else:
            self._trouble(alert_text.checkpoint_not_copied(reason_of(error)), error)

    def passed_over(self, damaged: tuple[Reason, ...], used: str | None) -> None:
        """Tell that newer checkpoints are not whole."""
        self._alert(alert_text.checkpoint_damaged(damaged, used), Severity.WARNING)

    def _trouble(self, notice: Notice, error: Exception) -> None:
        self._run.guard.count("a checkpoint", error)
        if not self._failing:
            self._failing = True
            self._alert(notice, Severity.ERROR)

    def _alert(self, notice: Notice, severity: Severity) -> None:
        words = alert_text.notice_words(notice, self._language)
        self._run.report(words.title, words.text, severity, about="checkpoint", notice=notice)


def _copy(mirror: Mirror) -> None:
    for problem in mirror.copy():
        text = said(f"not copied beside the checkpoints: {problem}", f"체크포인트 옆에 복사하지 못했습니다: {problem}")
        log.warning("%s", text)
