"""`notify_run`: a block or a decorator around any code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import notifybot
from notifybot import UsageError, notify_run
from notifybot.events import Event
from notifybot.store import runs
from notifybot.training.session import close
from notifybot.types import Status


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[dict[str, object]]:
    yield {
        "state_dir": str(tmp_path / "state"),
        "runs_dir": str(tmp_path / "runs"),
        "tensorboard": "off",
        "wandb": "off",
    }
    close()


def recorded(run: notifybot.Run) -> list[Event]:
    assert run.session is not None
    return runs.events_of(run.session.shared.store, run.id)


def test_a_block_reports_its_run(settings: dict[str, object]) -> None:
    with notify_run("block", config=settings) as run:
        run.log_epoch(1, {"loss": 1.0}, acc=0.5)
        run.log_epoch(2, loss=0.5)

    events = recorded(run)
    assert [event.kind for event in events] == ["run_started", "epoch_finished", "epoch_finished", "run_ended"]
    assert [(event.progress.epoch, event.progress.done) for event in events[1:3]] == [(1, 1), (2, 2)]
    assert run.status is Status.FINISHED


def test_a_block_that_raises_has_failed(settings: dict[str, object]) -> None:
    with pytest.raises(RuntimeError, match="boom"), notify_run("block", config=settings) as run:
        raise RuntimeError("boom")

    assert run.status is Status.FAILED


def test_a_decorator_keeps_the_function_and_makes_a_run_of_each_call(settings: dict[str, object]) -> None:
    @notify_run("each", config=settings)
    def double(x: int, *, plus: int = 0) -> int:
        """Doubles."""
        return 2 * x + plus

    assert (double(2, plus=1), double(3)) == (5, 6)
    assert (double.__name__, double.__doc__) == ("double", "Doubles.")


def test_a_generator_is_not_decorated() -> None:
    with pytest.raises(UsageError, match="generator"):

        @notify_run("rows")
        def rows() -> Iterator[int]:
            yield 1
