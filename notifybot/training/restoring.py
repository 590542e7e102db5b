"""Before the first epoch: what the checkpoints hold, loaded, and what that means for the run."""

from __future__ import annotations

import itertools
import logging
import platform
from collections.abc import Iterable
from dataclasses import dataclass, replace

from notifybot.checkpoints.card import RUNS, Card
from notifybot.checkpoints.checkpoints import Checkpoints
from notifybot.checkpoints.moment import Restored
from notifybot.events import from_json
from notifybot.model import Progress, Reason, Resumed
from notifybot.rendering.reasons import NOTES
from notifybot.training.past import Resume
from notifybot.training.progress import length_of
from notifybot.training.rank import in_loader_worker, speaks
from notifybot.training.run import Run
from notifybot.training.text import one_line
from notifybot.transfer import model_size

log = logging.getLogger("notifybot")

_MOST_NOTES = 5
_NOTE_CHARS = 120


@dataclass(frozen=True, slots=True)
class Opening:
    """What a run goes on from, and which epochs are left."""

    resume: Resume
    restored: Restored | None = None

    def ahead(self, epochs: Iterable[int]) -> Iterable[int]:
        """The epochs that are left: those labelled above the restored one."""
        done = None if self.restored is None else self.restored.moment.epoch
        if done is None:
            return epochs
        if isinstance(epochs, range | list | tuple):
            return epochs[next((place for place, label in enumerate(epochs) if label > done), len(epochs)) :]
        return itertools.dropwhile(lambda label: label <= done, epochs)

    def complete(self, ahead: Iterable[int]) -> bool:
        """True when a restored run has nothing left to do."""
        return self.restored is not None and self.restored.moment.epoch is not None and length_of(ahead) == 0


def open_checkpoints(run: Run, checkpoints: Checkpoints) -> Opening:
    """Load the newest whole checkpoint into the training's objects, on every rank.

    Raises UsageError for a folder or a state that cannot be used, CheckpointError for one that does not fit.
    """
    if in_loader_worker():
        return Opening(Resume())
    card = checkpoints.card()
    checkpoints.open(run.id, run.ref.session, state_dir=run.config.state_dir, saves=speaks())
    restored = checkpoints.restore()
    resume = Resume(model=model_size(checkpoints.model), artifacts=checkpoints.wandb_artifacts)
    if card is not None and card.run_id == run.id:
        resume = replace(
            resume, attempt=card.attempt, name=card.name, memories=card.memories, folder=checkpoints.folder / RUNS
        )
    if restored is None or (restored.moment.epoch is None and not restored.moment.step):
        return Opening(resume, restored)
    resume = replace(
        resume,
        attempt=max(resume.attempt, 1),
        progress=_progress_of(restored),
        resumed=_resumed(run, restored, card),
        saved_at=restored.saved_at,
    )
    return Opening(resume, restored)


def _progress_of(restored: Restored) -> Progress:
    """How far the run had come, as the checkpoint tells it; from a foreign file only the epoch is known."""
    try:
        return from_json(restored.moment.story).progress
    except ValueError:
        epoch = restored.moment.epoch
        return Progress(epoch=epoch, done=0 if epoch is None else epoch + 1)


def _resumed(run: Run, restored: Restored, card: Card | None) -> Resumed:
    told = [each for each in restored.notes if each.code in NOTES]
    since_s = 0.0 if restored.saved_at is None else (run.now() - restored.saved_at).total_seconds()
    return Resumed(
        epoch=restored.moment.epoch,
        path=str(restored.path),
        since_s=max(since_s, 0.0),
        step=restored.moment.step,
        new_machine=card is not None and card.host not in ("", platform.node()),
        notes=tuple(map(_bounded, told[:_MOST_NOTES])),
        more_notes=max(len(told) - _MOST_NOTES, 0),
    )


def _bounded(note: Reason) -> Reason:
    """As it is stored: short, and without secrets."""
    values = {name: one_line(value, _NOTE_CHARS) for name, value in note.values.items()}
    return replace(note, about=one_line(note.about, _NOTE_CHARS), values=values)
