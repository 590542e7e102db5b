"""Restores the newest whole checkpoint before the first epoch and works out which epochs remain."""

from __future__ import annotations

import itertools
import logging
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from notifybot.checkpoints.checkpoints import Checkpoints
from notifybot.checkpoints.compatibility import plain_name
from notifybot.checkpoints.distributed import from_rank_zero
from notifybot.checkpoints.run_folder import RUNS, RunFile
from notifybot.checkpoints.types import Restored, SavePoint
from notifybot.errors import UsageError, reader_text
from notifybot.events import from_json
from notifybot.files import path_text
from notifybot.freezing import Learning, learning_of, model_size, set_learning
from notifybot.i18n import text
from notifybot.rendering.error_text import NOTES
from notifybot.rendering.text import redacted_line
from notifybot.runtime import in_loader_worker, speaks
from notifybot.training.progress import length_of
from notifybot.training.resume import COMPLETED, ResumeInfo
from notifybot.training.run import Run
from notifybot.training.session import launched_otherwise, misses_numbers
from notifybot.types import Progress, Reason, Resumed, uuid7

log = logging.getLogger("notifybot")

_MOST_NOTES = 5
_MOST_NAMES = 2
_MOST_SHAPES = 10
_NOTE_CHARS = 120


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """Restored checkpoint of a run, and the epochs that are left after it."""

    resume: ResumeInfo
    restored: Restored | None = None
    learning: Mapping[str, Learning] = field(default_factory=dict)  # as the program set it before the restore

    def ahead(self, epochs: Iterable[int]) -> Iterable[int]:
        """Return the epochs that are left: those labelled above the restored one."""
        done = None if self.restored is None else self.restored.moment.epoch
        if done is None:
            return epochs
        if isinstance(epochs, range | list | tuple):
            return epochs[_place_after(done, epochs) :]
        return itertools.dropwhile(lambda label: label <= done, epochs)

    def resume_in(self, epochs: Iterable[int]) -> ResumeInfo:
        """Return `resume` with the number of done epochs, if the restored one is among `epochs`.

        That is right for uneven labels too, and for a foreign file, which only gives its epoch.
        """
        label = None if self.restored is None else self.restored.moment.epoch
        if self.restored is None or label is None or not isinstance(epochs, range | list | tuple):
            return self.resume
        place = _place_after(label, epochs)
        if not place or epochs[place - 1] != label:
            return self.resume
        progress = self.resume.progress
        return replace(self.resume, done=progress.done if progress is not None and self.restored.verified else place)

    def complete(self, ahead: Iterable[int], total: int | None) -> bool:
        """True when a restored run has nothing left to do: no epoch is `ahead`, or it was stopped for good.

        A run that was stopped for good continues if `total` is more than it had then.
        """
        if self.restored is None or self.restored.moment.epoch is None:
            return False
        before = self.resume.progress.total if self.resume.progress is not None else None
        reopened = total is not None and before is not None and total > before
        return length_of(ahead) == 0 or (self.final != "" and not reopened)

    @property
    def final(self) -> str:
        """Reason why the run was stopped for good; empty if it was not."""
        return "" if self.restored is None else self.restored.moment.final


def give_trackers_the_missed(run: Run, resume: ResumeInfo) -> None:
    """Give trackers what they missed of a run that is complete and does not start.

    People hear of it where the program was started otherwise than the one that trained.
    """
    ref = run.ref if run.named else replace(run.ref, name=resume.name or run.name)
    if run.is_copy or not speaks(run.config.ranks):
        return
    with run.guard("tracker_replay"):
        if launched_otherwise(resume, run.params) or misses_numbers(run.config, ref, resume):
            session = run.new_session()
            session.make_good(ref, run.params, session.past(ref).with_checkpoint(resume), resume)


def open_checkpoints(
    run: Run, checkpoints: Checkpoints, epochs: Iterable[int], *, keeps_id: bool = False
) -> RestorePlan:
    """Load the newest whole checkpoint into the training's objects, on every rank.

    A run that must begin anew becomes another one, unless `keeps_id`: its old checkpoints are not its own any more.
    Raises UsageError for a folder or a state that cannot be used, and, before anything is loaded, for one that is of
    another run which is complete, or whose run came to its end in this same execution; CheckpointError for one that
    does not fit or cannot be read now.
    """
    if in_loader_worker():
        return RestorePlan(ResumeInfo())
    card = checkpoints.card()
    saves = speaks(run.config.ranks)
    checkpoints.open(run.id, run.ref.session, state_dir=run.config.state_dir, saves=saves)
    lacking = checkpoints.unsaved() if saves else None
    if lacking is not None:
        log.warning("%s", _unsaved_line(run.name, lacking))
    learning = learning_in(checkpoints)

    def check(moment: SavePoint) -> None:
        if card is not None and card.run_id == run.id and not keeps_id:
            _check_name(run, card.name, moment)
        if from_rank_zero(lambda: (checkpoints.folder, run.id) in COMPLETED):
            _check_again(run, checkpoints, epochs, moment, same=keeps_id or run.named)

    restored = checkpoints.restore(check)
    if restored is not None:
        notes = _learn_as_saved(checkpoints, learning, restored.moment.learning)
        restored = replace(restored, notes=(*notes, *restored.notes))
    if restored is not None and restored.is_nothing:
        run.ref = replace(run.ref, id=run.id if keeps_id else from_rank_zero(uuid7))
        checkpoints.begin_anew(run.id)
    if checkpoints.card_is_rebuilt and restored is not None and card is not None and card.run_id == run.id:
        line = text(
            run.config.lang, "training.restoring.run_file_is_missing", name=card.name or run.name, run_id=run.id
        )
        log.warning("%s", line)
    resume = ResumeInfo(model=model_size(checkpoints.model), artifacts=checkpoints.wandb_artifacts)
    if card is not None and card.run_id == run.id:
        resume = replace(
            resume,
            attempt=card.attempt,
            name=card.name,
            launch=card.launch,
            memories=card.memories,
            folder=checkpoints.folder / RUNS,
        )
    if restored is None or restored.is_nothing:
        return RestorePlan(resume, restored, learning)
    resume = replace(
        resume,
        attempt=max(resume.attempt, 1),
        progress=replace(_progress_at(restored.moment), checkpoint=restored.checkpoint),  # it names the one before
        resumed=_resumed(run, restored, card),
        saved_at=restored.saved_at,
    )
    return RestorePlan(resume, restored, learning)


def _place_after(label: int, epochs: Sequence[int]) -> int:
    return next((place for place, each in enumerate(epochs) if each > label), len(epochs))


def _check_name(run: Run, before: str, moment: SavePoint) -> None:
    """Raise UsageError for another run in the folder of one that is complete: it would train little or nothing."""
    if not run.named or before in ("", run.name):
        return
    progress = _progress_at(moment)
    if moment.final or (progress.total is not None and progress.done >= progress.total):
        line = reader_text(
            "training.restoring.folder_of_complete_run", before=f"{before!r}", name=f"{run.name!r}", folder=run.name
        )
        raise UsageError(line)
    log.warning("%s", reader_text("training.restoring.continues_other_name", name=run.name, before=before))


def _check_again(run: Run, checkpoints: Checkpoints, epochs: Iterable[int], moment: SavePoint, *, same: bool) -> None:
    """Raise UsageError if the folder's run was just completed, so that some of these epochs would be skipped.

    With the `same` name or id, given by the caller, the run may continue with more epochs than it had. Epochs that are
    no list count as the same again: they can be iterated only once.
    """
    if moment.epoch is None:
        return
    if isinstance(epochs, range | list | tuple) and not moment.final:
        before = _progress_at(moment).total
        more = same and before is not None and len(epochs) > before
        if more or not epochs or epochs[0] > moment.epoch:
            return
    left = f"range({moment.epoch + 1}, …)"
    go_on = "" if moment.final else reader_text("training.restoring.go_on_with_epochs_left", epochs=left)
    folder = checkpoints.folder.name
    raise UsageError(
        reader_text("training.restoring.run_completed_just_now", name=f"{run.name!r}", folder=folder, go_on=go_on)
    )


def _unsaved_line(name: str, shapes: Sequence[str]) -> str:
    """Return a warning on trained parameters that no checkpoint will hold; without shapes, on an empty model state."""
    if not shapes:
        return reader_text("training.restoring.model_state_is_empty", name=name)
    shown = ", ".join(shapes[:_MOST_SHAPES]) + (" …" if len(shapes) > _MOST_SHAPES else "")
    return reader_text("training.restoring.parameters_in_no_checkpoint", name=name, count=len(shapes), shapes=shown)


def learning_in(checkpoints: Checkpoints) -> dict[str, Learning]:
    """Return the learning flags of each module, by its name."""
    return {name: learning_of(module, plain_name) for name, module in checkpoints.modules.items()}


def learning_record(began: Mapping[str, Learning], now: Mapping[str, Learning]) -> dict[str, Any]:
    """Return the learning flags at the program's start and now, in the form stored in a checkpoint."""
    return {name: {"start": _plain(began[name]), "saved": _plain(now[name])} for name in now if name in began}


def _learn_as_saved(checkpoints: Checkpoints, began: Mapping[str, Learning], record: object) -> Iterator[Reason]:
    """Restore the saved learning flags if the program's flags at its start are the same as then.

    Other flags at the start were changed on purpose, or set as saved by the program itself: they are kept, and
    differences are noted.
    """
    for name, module in checkpoints.modules.items():
        start, saved = _learning_from(record, name, "start"), _learning_from(record, name, "saved")
        if start is None or saved is None or saved == began[name]:
            continue
        if start == began[name]:
            set_learning(module, saved, plain_name)
        else:
            yield from _otherwise(name, saved, began[name])


def _otherwise(name: str, saved: Learning, here: Learning) -> Iterator[Reason]:
    for code, names in (
        ("frozen_here", here.frozen - saved.frozen),
        ("learns_here", saved.frozen - here.frozen),
        ("held_here", here.held - saved.held),
        ("moves_here", saved.held - here.held),
    ):
        if names:
            first, more = sorted(names)[:_MOST_NAMES], len(names) - _MOST_NAMES
            listed = ", ".join(first) + (f" … +{more}" if more > 0 else "")
            yield Reason(code, name, {"count": str(len(names)), "names": listed})


def _plain(learning: Learning) -> dict[str, list[str]]:
    return {"frozen": sorted(learning.frozen), "held": sorted(learning.held)}


def _learning_from(record: Any, name: str, when: str) -> Learning | None:
    """Return learning flags from a checkpoint; None if another version or program wrote something else."""
    try:
        there = record[name][when]
        return Learning(frozenset(there["frozen"]), frozenset(there["held"]))
    except (KeyError, TypeError):
        return None


def _progress_at(moment: SavePoint) -> Progress:
    try:
        return from_json(moment.progress).progress
    except ValueError:
        return Progress(epoch=moment.epoch, done=0 if moment.epoch is None else moment.epoch + 1)


def _resumed(run: Run, restored: Restored, card: RunFile | None) -> Resumed:
    notes = [each for each in restored.notes if each.code in NOTES]
    since_s = 0.0 if restored.saved_at is None else (run.clock.now() - restored.saved_at).total_seconds()
    return Resumed(
        epoch=restored.moment.epoch,
        path=path_text(restored.path),
        since_s=max(since_s, 0.0),
        step=restored.moment.step,
        new_machine=card is not None and card.host not in ("", platform.node()),
        notes=tuple(map(_bounded, notes[:_MOST_NOTES])),
        more_notes=max(len(notes) - _MOST_NOTES, 0),
    )


def _bounded(note: Reason) -> Reason:
    """Return a note cut to the stored length, without secrets."""
    values = {name: redacted_line(value, _NOTE_CHARS) for name, value in note.values.items()}
    return replace(note, about=redacted_line(note.about, _NOTE_CHARS), values=values)
