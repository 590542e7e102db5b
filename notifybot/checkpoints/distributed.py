"""Decisions shared by all ranks of one training: rank 0 chooses, and an error on one rank is raised on all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from notifybot.errors import CheckpointError, reader_text

T = TypeVar("T")


def from_rank_zero(choose: Callable[[], T]) -> T:
    """Return what `choose` returns on rank 0, on every rank; where torch.distributed is not initialised, just call it.

    So all ranks restore the same checkpoint, though a newer one may appear while they look, and only rank 0 reads the
    files to verify them. Every rank must call it, as any collective. When `choose` raises on rank 0, all ranks get a
    CheckpointError with its text.
    """
    ranks = group()
    if ranks is None:
        return choose()
    box: list[Any] = [_outcome(choose) if ranks.get_rank() == 0 else None]
    ranks.broadcast_object_list(box, src=0)
    return _unpacked(box)[0]  # type: ignore[no-any-return]


def on_all_ranks(work: Callable[[], T]) -> list[T]:
    """Do `work` on every rank, wait for all, and return all results by rank on each of them.

    When it raises anywhere, every rank gets a CheckpointError that names the ranks and the texts; a rank that just
    raised would leave the others waiting for it.
    """
    ranks = group()
    if ranks is None:
        return [work()]
    outcomes: list[Any] = [None] * ranks.get_world_size()
    ranks.all_gather_object(outcomes, _outcome(work))
    return _unpacked(outcomes)


def group() -> Any:
    """Return torch.distributed when this process is one of several that it connects, else None."""
    import torch.distributed

    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed if ready and torch.distributed.get_world_size() > 1 else None


def _outcome(work: Callable[[], Any]) -> tuple[Any, str]:
    """Return the result of one rank's work, or the text of its error: both can be pickled."""
    try:
        return work(), ""
    except Exception as error:  # noqa: BLE001  the other ranks wait for this one: they get the error, and all raise
        return None, str(error) or type(error).__name__


def _unpacked(outcomes: list[tuple[Any, str]]) -> list[Any]:
    errors = [(rank, text) for rank, (_, text) in enumerate(outcomes) if text]
    if errors:
        lines = [reader_text("checkpoints.distributed.of_rank", rank=rank, text=text) for rank, text in errors]
        raise CheckpointError("; ".join(lines))
    return [value for value, _ in outcomes]
