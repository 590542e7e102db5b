"""`Checkpoints`: saves a training's state at the end of its epochs, and restores it on the next start."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar
from weakref import WeakValueDictionary

from notifybot.checkpoints.directory import CheckpointDirectory
from notifybot.checkpoints.distributed import from_rank_zero, group
from notifybot.checkpoints.errors import Late, Unread, unusable
from notifybot.checkpoints.external import foreign_epoch, newest_foreign
from notifybot.checkpoints.manifest import Manifest, order
from notifybot.checkpoints.naming import loss_of, safe_stem
from notifybot.checkpoints.retention import Retention
from notifybot.checkpoints.run_folder import RunFile, read_card
from notifybot.checkpoints.saver import Saver
from notifybot.checkpoints.serialization import read_payload, write_payload
from notifybot.checkpoints.state import Parts
from notifybot.checkpoints.tiers import HOPELESS, Found, Tiers, first_whole, shown_as, tries
from notifybot.checkpoints.types import Restored, SaveObserver, SavePoint
from notifybot.checkpoints.validation import best_by, check_times, validate_arguments
from notifybot.clock import SYSTEM, Clock
from notifybot.config import load
from notifybot.errors import UsageError, reader_text
from notifybot.files import path_text
from notifybot.runtime import absolute_for_job
from notifybot.store.location import is_remote
from notifybot.types import Checkpoint, Reason

log = logging.getLogger("notifybot")

T = TypeVar("T")

_OWN = "notifybot"  # the payload's part for notifybot's own data
_savers: WeakValueDictionary[Path, Saver] = WeakValueDictionary()  # a cell run again waits for its last save


class Checkpoints:
    """Saves a training's whole state at the end of its epochs, and restores the newest that is proven whole.

        checkpoints = Checkpoints("/content/drive/MyDrive/exp_1", model=model, optimizer=optimizer, monitor="val_loss")
        with notify_epoch(range(30), name="exp_1", checkpoints=checkpoints) as epochs: ...

    Every `every` epochs the state is copied on your thread; another one writes, hashes and syncs the file. Each is
    readable with plain `torch.load(weights_only=True)`. The last `keep_last` and the best `keep_best` by `monitor`
    stay, never fewer than two; nothing else in the folder is ever removed. The name shows the direction of `monitor`
    ("val_acc": more), else `mode` does. A folder on a network mount such as Drive gets its files by way of `local`, a
    folder on this machine's disk, and they are read back before they count.
    `model`, `optimizer`, `scheduler` and `scaler` are each one object, or a list or dict of several, as in a GAN: a
    list is restored in its order, a dict by its names.
    `extra` names further objects with `state_dict` and `load_state_dict`, such as torchdata's StatefulDataLoader; with
    one that saves its position, `every_s` also saves within an epoch, at the next `log` after so many seconds.
    `state` is a small dict of plain values (None, bool, int, float, str; lists, tuples and dicts of them), such as the
    counters of early stopping: it is saved with each checkpoint and restored into the same dict.
    `grace_s` is how long a SIGTERM may be put off to save first, and `patience_s` how long an epoch waits for the save
    before it. `fresh` begins a new run and deletes nothing. If the newest cannot be read, the training does not
    begin; `resume="newest readable"` steps back to the newest that can.
    `keep_settings=True` keeps the program's numbers of optimizer and schedule, not the checkpoint's, or those that are
    named: ("lr", "weight_decay"). The schedule goes on as if it had been the program's from the start.
    Raises UsageError for what cannot work.
    """

    _tiers: Tiers | None = None  # set by `open`
    _run_id = _session = _parent = ""
    _sequence = _uses = 0
    _stuck = False
    card_is_rebuilt = False

    def __init__(
        self,
        folder: str | Path,
        *,
        model: Any,
        optimizer: Any = None,
        scheduler: Any = None,
        scaler: Any = None,
        extra: Mapping[str, Any] | None = None,
        state: dict[Any, Any] | None = None,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
        keep_last: int = 3,
        keep_best: int = 1,
        every: int = 1,
        every_s: float | None = None,
        template: str = "checkpoint_epoch{epoch}_{loss}",
        local: str | Path | None = None,
        grace_s: float = 2.0,
        patience_s: float = 60.0,
        fresh: bool = False,
        resume: Literal["newest", "newest readable"] = "newest",
        keep_settings: bool | str | Iterable[str] = False,
        wandb_artifacts: bool = False,
        clock: Clock = SYSTEM,
    ) -> None:
        validate_arguments(
            folder=folder, local=local, model=model, extra=extra, monitor=monitor, template=template, resume=resume
        )
        self.stateful = any(hasattr(each, "__iter__") for each in (extra or {}).values())
        check_times(every=every, every_s=every_s, grace_s=grace_s, patience_s=patience_s, stateful=self.stateful)
        self.folder = absolute_for_job(folder)
        self.monitor, self.mode = best_by(monitor, mode)
        self.every, self.every_s = every, every_s
        self.grace_s = grace_s
        self.fresh = fresh
        self.wandb_artifacts = wandb_artifacts
        self._steps_back = resume == "newest readable"
        self._template = template
        self._clock = clock
        self._parts = Parts(
            model=model, optimizer=optimizer, scheduler=scheduler, scaler=scaler, extra=extra or {}, state=state,
            keep_settings=keep_settings,
        )  # fmt: skip
        self._retention = Retention(keep_last=keep_last, keep_best=keep_best, monitor=self.monitor, mode=self.mode)
        self._local = local
        self._saver = _savers.setdefault(self.folder, Saver())
        self._patience_s = patience_s

    def __reduce__(self) -> Any:
        """Pickle without the state: a data loader's worker or a deep copy of a callback has no use for it."""
        return CopiedCheckpoints, (self.folder, self.monitor, self.mode)

    def card(self) -> RunFile | None:
        """Card of the run that saves in this folder; None with `fresh` and before a first save. Raises UsageError."""
        if self.fresh:
            return None
        card = self._patiently(self.folder, lambda: read_card(self.folder))
        self.card_is_rebuilt = card is None
        if card is not None:
            return card
        # A lost, torn or uncopied card is no reason to start over: it is rebuilt from the newest checkpoint.
        local = None if self._local is None else absolute_for_job(self._local)
        shelves = [CheckpointDirectory(each) for each in (self.folder, local) if each is not None]
        found = [each for shelf in shelves for each in self._patiently(shelf.folder, shelf.manifests)]
        if not found:
            return None
        newest = max(found, key=order)
        return RunFile(newest.run_id, newest.name, newest.project, newest.session)

    def open(self, run_id: str, session: str, *, state_dir: Path, saves: bool = True) -> None:
        """Begin to work for a run; `saves` is for the one rank that does.

        Raises UsageError for a folder that cannot be used, or a state that cannot be saved.
        """
        self._uses += 1
        self._saver.wait()
        remote = is_remote(self.folder)
        local = _local_of(self.folder, self._local, state_dir) if remote or self._local is not None else None
        for folder in filter(None, (self.folder, local)):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(unusable(folder, error)) from None
        if saves:
            self._parts.check()
        durable = CheckpointDirectory(self.folder, empty_first=remote)
        near = CheckpointDirectory(local) if local else None
        self._tiers = Tiers(durable, near, self._retention, remote or near is not None, self._clock)
        self._tiers.since = session if self.fresh else ""
        self._run_id, self._session = run_id, session
        self._sequence = self._tiers.last_sequence(run_id)
        for shelf in self._tiers.shelves if saves else ():
            self._patiently(shelf.folder, shelf.sweep)

    def unsaved(self) -> list[str] | None:
        """Shapes of trained parameters that no checkpoint will hold; None if there are none.

        An empty list means that the model's own state is empty.
        """
        with contextlib.suppress(Exception):  # an optimizer or a module in name only: the save reports it
            shapes = [str(list(each.shape)) for each in self._parts.unsaved()]
            return shapes if shapes or self._parts.is_empty else None
        return None

    def sums_if_used_again(self) -> list[float]:
        """Sum of each parameter that learns, to see whether any moves; empty at the first use, which needs no check.

        Empty among several processes too: a sum over a sharded parameter waits for the others.
        """
        with contextlib.suppress(Exception):  # sparse, lazy or on the meta device: not checked
            return self._parts.sums() if self._uses > 1 and group() is None else []
        return []

    def begin_anew(self, run_id: str) -> None:
        """Start this run from the beginning: nothing in the folder is used or removed."""
        self._run_id = run_id
        self._opened.since = self._session

    def restore(self, check: Callable[[SavePoint], None] = lambda _: None) -> Restored | None:
        """Load the newest checkpoint that is whole into the objects, the same on every rank; None without one.

        `check` gets its `SavePoint` first and may raise; then nothing is loaded. Raises CheckpointError if the
        checkpoint does not fit the objects or cannot be read now.
        """
        if self.fresh:
            return None
        several = group() is not None
        found = from_rank_zero(lambda: self._newest(durable_only=several))
        if found.manifest is None or found.path is None:
            return self._restore_foreign(found.passed_over, check)
        payload = read_payload(found.path)
        moment = _moment_of(payload, found.manifest)
        check(moment)
        notes = self._parts.restore(payload)
        self._parent = found.manifest.sha256
        return Restored(
            found.path,
            moment,
            found.manifest.saved_at,
            verified=True,
            passed_over=found.passed_over,
            checkpoint=found.checkpoint,
            notes=tuple(notes),
        )

    def hold(self) -> dict[str, Any]:
        """Copy the state now, for a `save` that is decided on later; waits first for a save that still runs. May raise.

        A mount that hangs is not waited for again and again: TimeoutError until it comes back.
        """
        self.await_turn()
        if self._stuck:
            raise Late(Reason("still_writing"))
        return self._parts.capture()

    def await_turn(self) -> None:
        """Wait, with patience, for the save before; the next copy is refused at once where that was in vain."""
        self._stuck = not self._saver.wait(0.0 if self._stuck else self._patience_s)

    def save(self, moment: SavePoint, report: SaveObserver) -> None:
        """Copy the state now and have it written. May raise as `hold`."""
        self.save_held(self.hold(), moment, report)

    def save_held(self, payload: dict[str, Any], moment: SavePoint, report: SaveObserver) -> None:
        """Have a state written that `hold` has copied."""
        payload |= {
            "epoch": moment.epoch,
            "loss": loss_of(moment.metrics, self.monitor, self.mode),
            "metrics": dict(moment.metrics),
        }
        payload[_OWN] = {
            "format": 1,
            "run_id": self._run_id,
            "session": self._session,
            "step": moment.step,
            "story": moment.progress,
            "meter": dict(moment.meter),
            "learning": dict(moment.learning),
        }
        self._sequence += 1
        sequence, saved_at = self._sequence, self._clock.now()
        learnt = self._parts.learnt_in(payload)
        self._saver.submit(lambda: self._write(payload, moment, sequence, saved_at, report, learnt))

    @staticmethod
    def saved_epoch(folder: str | Path, *, local: str | Path | None = None) -> int | None:
        """Return the last finished epoch of the checkpoint that the next start resumes from; None if there is none.

            if (Checkpoints.saved_epoch("exp_1") or 0) >= 5:
                optimizer.add_param_group({"params": unfreeze(model, "backbone")})

        For a program whose objects depend on it: their state must have the same parts when it is restored. Reads
        manifests only; no checkpoint is read or verified. Give `local` as to `Checkpoints`. Raises
        UsageError for a folder that cannot be read.
        """
        durable = absolute_for_job(folder)
        near = _local_of(durable, local, load().state_dir) if is_remote(durable) or local is not None else None
        try:
            card = read_card(durable)
            shelves = [CheckpointDirectory(each) for each in (durable, near) if each is not None]
            found = [each for shelf in shelves for each in shelf.manifests(card.run_id if card is not None else None)]
        except OSError as error:
            raise UsageError(unusable(durable, error)) from None
        return max(found, key=lambda each: (each.finite, order(each))).epoch if found else foreign_epoch(durable)

    @property
    def model(self) -> Any:
        """The model, or one module that holds them all."""
        return self._parts.model

    @property
    def modules(self) -> Mapping[str, Any]:
        """The model and the modules in `extra` by name, without their wrappers."""
        return self._parts.modules

    def begin(self) -> None:
        """Watch the optimizers' first steps until `release`, to prepare memory for the first save."""
        self._parts.watch_first_steps()

    def release(self) -> None:
        """Remove our hooks from the training's objects after the loop. Calling it again does nothing."""
        self._parts.release()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for a save that still runs; True when none does."""
        return self._saver.wait(timeout_s)

    def alongside(self, work: Callable[[], None], timeout_s: float) -> None:
        """Run `work` on the saving thread, which may hang with the folder; wait `timeout_s`. Not while a save runs."""
        if self._saver.wait(0.0):
            self._saver.submit(work)
            self._saver.wait(timeout_s)

    @property
    def latest(self) -> Path | None:
        """The newest checkpoint of this run that is whole, waited for and verified now.

        Raises CheckpointError when it cannot be read.
        """
        self.wait()
        return self._newest().path

    @property
    def best(self) -> Path | None:
        """The best checkpoint of this run by `monitor` that is whole, waited for and verified now.

        Raises CheckpointError when it cannot be read.
        """
        self.wait()
        groups = self._opened.copies(self._run_id).groups
        by_manifest = {(each[0].manifest.session, each[0].manifest.sequence): each for each in groups}
        for manifest in self._retention.ranked(each[0].manifest for each in groups if each[0].manifest.finite):
            whole, _, unread = first_whole(by_manifest[manifest.session, manifest.sequence])
            if whole is not None:
                return whole.path
            if unread and not self._steps_back:
                raise Unread(unread)
        return None

    def _newest(self, *, durable_only: bool = False) -> Found:
        """Return the newest whole checkpoint; with `resume="newest readable"`, unreadable ones are passed over too."""
        found = self._opened.newest(self._run_id, durable_only=durable_only)
        if not found.unread:
            return found
        if self._steps_back and found.manifest is not None:
            return replace(found, passed_over=(*found.unread, *found.passed_over))
        raise Unread(found.unread, "" if found.path is None else found.path.name)

    def _patiently(self, folder: Path, look: Callable[[], T]) -> T:
        """Look into a folder, again and again for a minute. Raises UsageError for one that cannot be used."""
        for last in tries(self._clock):
            try:
                return look()
            except OSError as error:
                if last or errno.errorcode.get(error.errno or 0) in HOPELESS:
                    raise UsageError(unusable(folder, error)) from None
        raise AssertionError  # unreachable: the last try returns or raises

    @property
    def _opened(self) -> Tiers:
        if self._tiers is None:
            raise UsageError(reader_text("checkpoints.checkpoints.not_in_use"))
        return self._tiers

    def _write(
        self,
        payload: dict[str, Any],
        moment: SavePoint,
        sequence: int,
        at: datetime,
        report: SaveObserver,
        learnt: list[Any],
    ) -> None:
        import torch

        usual = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # others cannot be asked
        finite = all(bool(torch.isfinite(each).all()) for each in learnt if getattr(each, "dtype", None) in usual)
        versions = {"python": platform.python_version(), "torch": str(torch.__version__)}

        def manifest(file: str, sha256: str, size_bytes: int) -> Manifest:
            return Manifest(
                file=file, sha256=sha256, size_bytes=size_bytes, run_id=self._run_id, session=self._session,
                sequence=sequence, epoch=moment.epoch, step=moment.step, saved_at=at, metrics=dict(moment.metrics),
                parent=self._parent, name=moment.name, project=moment.project, final=moment.final, finite=finite,
                versions=versions, monitor=self.monitor or "", mode=self.mode if self.monitor else "",
            )  # fmt: skip

        stem = safe_stem(self._template, epoch=moment.label, loss=payload["loss"], metrics=moment.metrics)
        if moment.step:
            stem += f"_step{moment.step}"
        try:
            saved = self._opened.save(stem, partial(write_payload, payload), manifest, report.before_copy)
        except Exception as error:  # noqa: BLE001  torch raises RuntimeError for a full disk; training must go on
            report.not_saved(error)
            return
        self._parent = saved.manifest.sha256
        if saved.spared:
            report.spared([each.reason for each in saved.spared], sum(each.size_bytes for each in saved.spared))
        report.saved(shown_as(saved.path, saved.manifest, saved.tier), whole=saved.not_copied is None)
        if saved.not_copied is not None:
            report.not_copied(saved.not_copied)

    def _restore_foreign(self, passed_over: tuple[Reason, ...], check: Callable[[SavePoint], None]) -> Restored | None:
        path, payload, more = from_rank_zero(lambda: newest_foreign(self.folder))
        passed_over += more
        if path is None:
            return Restored(self.folder, SavePoint(None, {}), None, False, passed_over) if passed_over else None
        moment = SavePoint(payload["epoch"], {})
        check(moment)
        notes = self._parts.restore(payload)
        shown = Checkpoint(path_text(path), moment.epoch, path.stat().st_size)
        return Restored(path, moment, None, False, passed_over, shown, tuple(notes))


def _local_of(folder: Path, local: str | Path | None, state_dir: Path) -> Path:
    """Local folder for files that are then copied to a network mount."""
    if local is not None:
        return absolute_for_job(local)
    unique = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    return state_dir / "checkpoints" / f"{folder.name or 'root'}-{unique}"


def _moment_of(payload: Mapping[str, Any], manifest: Manifest) -> SavePoint:
    own = payload.get(_OWN, {})
    return SavePoint(
        manifest.epoch,
        manifest.metrics,
        step=manifest.step,
        final=manifest.final,
        progress=str(own.get("story", "")),
        meter=own.get("meter", {}),
        learning=own.get("learning", {}),
    )


class _NoState:
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        return


class CopiedCheckpoints(Checkpoints):
    """Empty `Checkpoints`, the result of pickling or copying one: holds, saves and finds nothing."""

    def __init__(self, folder: Path, monitor: str | None, mode: Literal["min", "max"]) -> None:
        super().__init__(folder, model=_NoState(), monitor=monitor, mode=mode, fresh=True)  # no card, nothing restored

    def open(self, run_id: str, session: str, *, state_dir: Path, saves: bool = True) -> None:
        """Raises UsageError: a training that went on without its state being saved would be found out too late."""
        raise UsageError(reader_text("checkpoints.checkpoints.is_a_copy"))

    def save(self, moment: SavePoint, report: SaveObserver) -> None:
        """Saves nothing."""

    def alongside(self, work: Callable[[], None], timeout_s: float) -> None:
        """Does nothing."""

    @property
    def modules(self) -> Mapping[str, Any]:
        """None."""
        return {}

    @property
    def latest(self) -> Path | None:
        """None."""
        return None

    @property
    def best(self) -> Path | None:
        """None."""
        return None
