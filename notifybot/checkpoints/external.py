"""Checkpoints that the user's own code or a framework saved: resumed from if notifybot has saved none, and proven."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

from notifybot.checkpoints.errors import Flawed, reason_of
from notifybot.checkpoints.proof import PROVE_BYTES, Proof, prove, signature
from notifybot.checkpoints.serialization import read_payload
from notifybot.clock import SYSTEM, Clock
from notifybot.errors import CheckpointError, reader_text
from notifybot.files import started
from notifybot.rendering.text import redacted
from notifybot.types import Checkpoint, Reason, Tier

_PREFIX = "checkpoint_epoch"
_PASSED_OVER = frozenset({"cut_short", "empty", "unreadable", "no_dict"})
_SCALAR = "multiarray.scalar"  # NumPy's function that makes a number from its type and bytes
_NUMBERS = "?bhilqBHILQefdgFDG"  # NumPy's types of booleans and numbers


def newest_foreign(folder: Path) -> tuple[Path | None, Mapping[str, Any], tuple[Reason, ...]]:
    """Return the file of the highest epoch, named as by the common recipe `checkpoint_epoch17_0.25.pt`.

    Also its content, and the reasons why others were passed over. Such a file is only checked to be readable by PyTorch
    and to have `model_state_dict` and `epoch`. It may hold NumPy's numbers and argparse's arguments too. Raises
    CheckpointError if it holds anything else or cannot be read now: the user decides whether to start over.
    """
    allowed = _allowed()
    passed_over = []
    for _, path in _by_epoch(folder):
        try:
            payload = read_payload(path, allowed)
        except Flawed as error:
            if error.reason.code not in _PASSED_OVER:
                raise CheckpointError(reader_text("checkpoints.external.or_begin_anew", error=error)) from None
            passed_over.append(reason_of(error, path.name))
            continue
        if isinstance(payload.get("epoch"), Integral) and "model_state_dict" in payload:
            return path, payload | {"epoch": int(payload["epoch"])}, tuple(passed_over)
        passed_over.append(Reason("no_state", path.name))
    return None, {}, tuple(passed_over)


def _allowed() -> list[Any]:
    """Return types that are safe to unpickle: making an instance runs no code, whatever its content."""
    try:
        import numpy
    except ImportError:
        return [argparse.Namespace]
    scalar = numpy.float64(0).__reduce__()[0]
    names = [(scalar, f"numpy.{package}.{_SCALAR}") for package in ("core", "_core")]  # before and since NumPy 2
    kinds = {type(numpy.dtype(each)) for each in _NUMBERS}
    return [argparse.Namespace, *names, numpy.dtype, *kinds]


def foreign_epoch(folder: Path) -> int | None:
    """Return the highest epoch in the names of such files, without reading them."""
    return next((epoch for epoch, _ in _by_epoch(folder)), None)


def _by_epoch(folder: Path) -> list[tuple[int, Path]]:
    """Return the files without a manifest of ours, by the epoch in their names, the highest first."""
    found = []
    for path in folder.glob(f"{_PREFIX}*.pt"):
        digits = path.stem.removeprefix(_PREFIX).partition("_")[0]
        if digits.isdecimal() and not path.with_name(path.name + ".json").exists():
            found.append((int(digits), path))
    return sorted(found, key=lambda each: each[0], reverse=True)


RECORD = "checkpoints.jsonl"  # in the run's own folder: frameworks delete theirs, and publish them
_STEADY_S = 1.0
_PATIENCE_S = 600.0  # a file that still grows then is reported unproven
_PATH_CHARS = 4000
_RECORD_BYTES = 16 * 1024 * 1024
_LOWEST = 19  # the nice value that leaves a core to whoever wants it

Guard = Callable[[str], AbstractContextManager[object]]
Task = tuple[Literal["saved", "restored"], int | None]


class ExternalCheckpoints:
    """Proves checkpoints that others wrote, one after the other on a thread of the lowest priority.

    `report_saved` is called for each once its proof is over: in the tier READABLE where it was proven, UNPROVEN where
    nothing can be proven. `report_damaged` is called instead, once for each path, for one that is cut short or does not
    match its own checksums. `report_changed` is called for one that the training resumes from and that is not what it
    was when it was proven. One that is gone by then, as frameworks keep the newest few, is not reported. What is proven
    is noted in the run's `folder`, and never beside the framework's files.

    Nothing is raised: faults go to `guard`, as of a run. In a forked child nothing happens.
    """

    def __init__(
        self,
        folder: Path | None,
        report_saved: Callable[[Checkpoint], None],
        report_damaged: Callable[[Reason], None],
        *,
        report_changed: Callable[[Reason], None],
        guard: Guard,
        clock: Clock = SYSTEM,
        most_bytes: int = PROVE_BYTES,
    ) -> None:
        self._record = None if folder is None else folder / RECORD
        self._report_saved, self._report_damaged, self._report_changed = report_saved, report_damaged, report_changed
        self._guard, self._clock, self._most_bytes = guard, clock, most_bytes
        self._waiting: dict[str, Task] = {}
        self._damaged: set[str] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._never = threading.Event()
        self._pid = os.getpid()

    def follow(self, path: str | os.PathLike[str], label: int | None = None) -> None:
        """Prove and report a checkpoint that was just saved; `label` is its epoch, or its step.

        Returns at once. One at the same path that still waits for its turn is the same checkpoint.
        """
        self._submit(path, ("saved", label))

    def follow_restored(self, path: str | os.PathLike[str], label: int | None = None) -> None:
        """Compare a checkpoint that the training goes on from with its proof, where there is one of an earlier session.

        Returns at once. One of another epoch or step than was proven is a later one under the same name, such as
        `last.ckpt`: it is not compared.
        """
        self._submit(path, ("restored", label))

    def known(self, path: str | os.PathLike[str]) -> str | None:
        """Return the SHA-256 that was noted last for a path, in this session or an earlier one; None for none."""
        found = self._noted(str(_absolute(path))).get("sha256")
        return found if found and isinstance(found, str) else None

    def _noted(self, place: str) -> dict[str, Any]:
        found = dict[str, Any]()
        with contextlib.suppress(OSError):
            for line in [] if self._record is None else _tail(self._record).splitlines():
                with contextlib.suppress(ValueError):  # the last line may be torn by a power cut
                    values = json.loads(line)
                    if isinstance(values, dict) and values.get("path") == place:
                        found = values
        return found

    def wait(self, timeout_s: float) -> bool:
        """Wait until every proof is over; False if that takes longer."""
        thread = self._thread
        if thread is None or self._pid != os.getpid() or thread is threading.current_thread():
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def _submit(self, path: str | os.PathLike[str], task: Task) -> None:
        if self._pid != os.getpid():  # a forked child: the lock may be held, and the thread is the parent's
            return
        with self._guard("checkpoint"):
            text = os.fspath(path)
            if "://" in text:
                if task[0] == "saved":
                    self._report_saved(Checkpoint(redacted(text, _PATH_CHARS), epoch=task[1]))
                return
            place, alone = str(_absolute(text)), False
            with self._lock:
                before = self._waiting.pop(place, task)
                self._waiting[place] = task if task[0] == "saved" else before
                if self._thread is None:
                    thread = threading.Thread(target=self._work, name="notifybot-proof", daemon=True)
                    self._thread = thread
                    if not started(thread):
                        self._thread, alone = None, True
                        self._waiting.clear()
            if alone and task[0] == "saved":  # no thread can be had: it is reported, and not proven
                self._report(place, task, Proof(False, 0))

    def _work(self) -> None:
        with self._guard("checkpoint"):
            yield_cpu()
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                place = next(iter(self._waiting))
                task = self._waiting.pop(place)
            with self._guard("checkpoint"):
                self._prove(place, task)

    def _prove(self, place: str, task: Task) -> None:
        path = Path(place)
        if task[0] == "restored":
            self._compare(place, task[1])
            return
        try:
            proof = self._steady_proof(path)
        except Flawed as error:
            if place not in self._damaged:
                self._damaged.add(place)
                self._report_damaged(error.reason)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError:  # a mount that fails, or no right to read: it may be whole, and nobody knows
            self._report(place, task, Proof(False, 0))
        else:
            self._damaged.discard(place)
            self._report(place, task, proof)

    def _compare(self, place: str, label: int | None) -> None:
        """Report a checkpoint that is not what it was when it was proven, unless the training writes it anew now."""
        path, noted = Path(place), self._noted(place)
        before, at = self.known(place), noted.get("step")
        if before is None or (None not in (label, at) and label != at):
            return
        with contextlib.suppress(OSError):
            restored, changed = signature(path), None
            try:
                if self._steady_proof(path).sha256 not in ("", before):
                    changed = Reason("content", path.name)
            except Flawed as error:
                changed = error.reason
            if changed is not None and signature(path) == restored:
                self._report_changed(changed)

    def _steady_proof(self, path: Path) -> Proof:
        """Prove a checkpoint once nobody writes to it any more. Raises Flawed and OSError as `prove`.

        A file that proves itself is whole at once. A folder, and a file without checksums, have to stand still first.
        """
        before, until_s = signature(path), self._clock.monotonic() + _PATIENCE_S
        if path.is_file():
            with contextlib.suppress(Flawed):
                proof = prove(path, most_bytes=self._most_bytes)
                if proof.proven and signature(path) == before:
                    return proof
        while self._clock.monotonic() < until_s:
            self._clock.wait(self._never, _STEADY_S)
            after = signature(path)
            if after == before:
                try:
                    proof = prove(path, most_bytes=self._most_bytes)
                except Flawed:
                    self._clock.wait(self._never, _STEADY_S)  # it may be on its way out, file by file
                    if signature(path) == after:
                        raise
                else:
                    if signature(path) == after:
                        return proof
            before = after
        return Proof(False, sum(size for _, size, _ in before))

    def _report(self, place: str, task: Task, proof: Proof) -> None:
        if proof.sha256:
            self._note(place, task[1], proof)
        tier = Tier.READABLE if proof.proven else Tier.UNPROVEN
        size_bytes = proof.size_bytes or None
        self._report_saved(Checkpoint(redacted(place, _PATH_CHARS), epoch=task[1], size_bytes=size_bytes, tier=tier))

    def _note(self, place: str, label: int | None, proof: Proof) -> None:
        if self._record is None:
            return
        noted = {"path": place, "size": proof.size_bytes, "sha256": proof.sha256, "step": label}
        line = json.dumps(noted | {"proven": proof.proven, "at": self._clock.now().isoformat()})
        with self._record.open("ab") as file:
            file.write(f"{line}\n".encode())


def yield_cpu() -> None:
    """Give this thread the lowest priority: on Linux a thread has one of its own; elsewhere nothing changes."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)


def _absolute(path: str | os.PathLike[str]) -> Path:
    """The path as the record names it; a link stays a link, as `last.ckpt` names another file each time."""
    return Path(path).expanduser().absolute()


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _RECORD_BYTES, 0))
        return file.read(_RECORD_BYTES)
