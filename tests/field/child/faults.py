"""Faults that notifybot once had, put back into a process, so that the judge can be seen to find them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn


def put_back(name: str) -> None:
    """Put one fault back. Call it before the training begins."""
    FAULTS[name]()


def hook_leaves_while_called() -> None:
    """Ours was removed while PyTorch went through an optimizer's hooks."""
    from notifybot.checkpoints.state import _FirstStep

    whole = _FirstStep.__call__

    def call(self: Any, optimizer: Any, *given: object) -> None:
        whole(self, optimizer, *given)
        self._handle.remove()

    _FirstStep.__call__ = call  # type: ignore[method-assign]


def tensors_by_address() -> None:
    """A tensor was recognised by where it lay, and what lay there next was taken for it."""
    from notifybot.checkpoints.buffers import Buffers, readable

    def keep(self: Any, at: str, tensor: Any) -> Any:
        tensor = readable(at, tensor)
        same = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if same not in self._seen:
            buffer = self._used[at] = tensor.clone()
            self._seen[same] = (buffer, buffer)
        return self._seen[same][0]

    Buffers.keep = keep  # type: ignore[method-assign]
    Buffers.part_done = lambda self, lasting=(): None  # type: ignore[method-assign]


def epochs_iterate_once() -> None:
    """A second `iter` was an error, before the first value as well."""
    from notifybot.training.loop import EpochLoop

    whole = EpochLoop.__iter__
    seen: list[int] = []

    def iterate(self: Any) -> Any:
        if id(self) in seen:
            raise RuntimeError("these epochs were iterated already")
        seen.append(id(self))
        return whole(self)

    EpochLoop.__iter__ = iterate  # type: ignore[method-assign]


def late_values_raise() -> None:
    """A name's first value raised when it was no number, in the hundredth epoch too."""
    from notifybot.training.metrics import Meter

    whole = Meter._log_carefully

    def log(self: Any, values: Mapping[str, Any], first: str | None, n: float) -> None:
        self.loud = True
        whole(self, values, first, n)

    Meter._log_carefully = log  # type: ignore[method-assign]


def ranks_by_variables() -> None:
    """Every process of `mp.spawn` was the first: the group was not asked."""
    from notifybot import runtime

    runtime._group_rank = lambda: None


def pruned_is_failed() -> None:
    """A trial that was pruned was told as a failure."""
    from notifybot.training import endings

    endings._STOPS = frozenset()


def flags_are_forgotten() -> None:
    """A continued run learnt with the parameters of its beginning."""
    from notifybot.training import restoring

    restoring.set_learning = lambda *given: None  # type: ignore[attr-defined]


def generators_move_on() -> None:
    """A loader drew from a generator that had been put back before."""
    import torch

    from notifybot.checkpoints.state import Parts

    whole = Parts.restore

    def restore(self: Any, payload: Mapping[str, Any]) -> Any:
        notes = whole(self, payload)
        for part in self._parts:
            generator = getattr(part.value, "_generator", None) or getattr(part.value, "generator", None)
            if isinstance(generator, torch.Generator):
                torch.randint(10, (1,), generator=generator)
        return notes

    Parts.restore = restore  # type: ignore[method-assign]


def database_costs_a_save() -> None:
    """A database that was busy kept a checkpoint from being written."""
    from notifybot.errors import StoreError
    from notifybot.training.checkpointing import CheckpointReporter

    def busy(self: Any) -> NoReturn:
        raise StoreError("the database is busy with another thread")

    CheckpointReporter._remembered = busy  # type: ignore[method-assign]


def epochs_are_counted_by_one() -> None:
    """Labels in steps of a hundred were taken for a hundred epochs each when a run was continued."""
    from notifybot.training import progress

    whole = progress.ProgressTracker.begin

    def begin(self: Any, epochs: object, **given: Any) -> None:
        whole(self, epochs, **{**given, "done": None})

    progress.stride_of = lambda *given: 1
    progress.ProgressTracker.begin = begin  # type: ignore[method-assign]


def copies_are_not_mute() -> None:
    """A loop could not be pickled, and so not be held by what a DataLoader sends to its workers."""
    from notifybot.training.loop import EpochLoop
    from notifybot.training.run import Run

    del EpochLoop.__reduce__
    del Run.__reduce__


FAULTS: Mapping[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        hook_leaves_while_called, tensors_by_address, epochs_iterate_once, late_values_raise, ranks_by_variables,
        pruned_is_failed, flags_are_forgotten, generators_move_on, database_costs_a_save, epochs_are_counted_by_one,
        copies_are_not_mute,
    )
}  # fmt: skip
