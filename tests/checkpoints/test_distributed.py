"""Decisions of all ranks, seen by a process that is alone; tests/processes/test_sharded.py has two ranks."""

from __future__ import annotations

import pytest

from notifybot.checkpoints.distributed import from_rank_zero, group, on_all_ranks


def test_a_process_that_is_alone_asks_nobody() -> None:
    """Without torch.distributed a choice is just made, and work done once."""
    done: list[str] = []

    assert group() is None
    assert from_rank_zero(lambda: "the newest") == "the newest"
    assert on_all_ranks(lambda: done.append("work")) == [None]
    assert done == ["work"]


@pytest.mark.parametrize("ask", [from_rank_zero, on_all_ranks])
def test_alone_an_error_keeps_its_type(ask: object) -> None:
    """Nobody else waits for this rank, so nothing is translated."""

    def fails() -> str:
        raise KeyError("model")

    with pytest.raises(KeyError, match="model"):
        ask(fails)  # type: ignore[operator]
