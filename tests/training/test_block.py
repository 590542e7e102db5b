"""`notify_run`: a block or a decorator around any code."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import notifybot
from notifybot import UsageError, notify_run
from notifybot.events import Event, RunEnded
from notifybot.notifiers.base import Envelope
from notifybot.testing import RecordingNotifier
from notifybot.types import Status
from tests.support.training_runs import recorded_events


def recorded(run: notifybot.Run) -> list[Event]:
    assert run.session is not None
    return recorded_events(run)


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


def ending_of_call(function: Callable[[], object], settings: dict[str, object]) -> Envelope:
    notifier = RecordingNotifier()
    decorated = notify_run("evaluate", config=settings, notifiers=[notifier])(function)
    if inspect.iscoroutinefunction(decorated):
        asyncio.run(decorated())
    else:
        decorated()
    with notify_run("after", config=settings, notifiers=[notifier]) as run:
        run.flush(10)
    (ending,) = [
        each for each in notifier.sent if isinstance(each.event, RunEnded) and each.event.run.name == "evaluate"
    ]
    return ending


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.91234, "0.9123"),
        (7, "7"),
        (True, "True"),
        (np.float32(0.5), "0.5"),
        ("all\nrows kept", "all rows kept"),
        ({"acc": 0.91234, "rows": 1200}, "acc 0.9123, rows 1200"),
        ((0.5, "b"), "0.5, b"),
        ({"api_key": "canary-of-a-key", "n": 1}, "api_key [redacted], n 1"),
        ("word " * 80, ("word " * 80)[:299] + "…"),
        (None, None),
        (object(), None),
        ({"model": object(), "acc": 0.5}, None),
        ([[0.1, 0.2]], None),
        (list(range(11)), None),
        ("", None),
    ],
)
def test_a_decorated_functions_plain_value_is_in_the_message_of_its_end(
    settings: dict[str, object], value: object, expected: str | None
) -> None:
    ending = ending_of_call(lambda: value, {**settings, "lang": "en"})

    lines = [line for line in ending.message.body.splitlines() if line.startswith("Returned")]
    assert lines == ([] if expected is None else [f"Returned: {expected}"])


def test_so_is_that_of_an_async_one_in_korean(settings: dict[str, object]) -> None:
    async def evaluate() -> dict[str, float]:
        return {"정확도": 0.75}

    message = ending_of_call(evaluate, {**settings, "lang": "ko"}).message

    assert "반환값: 정확도 0.75" in message.body
    assert "반환값: 정확도 0.75" in message.brief


def test_a_value_that_cannot_be_read_harms_nothing(settings: dict[str, object]) -> None:
    class Broken(float):
        def __float__(self) -> float:
            raise RuntimeError("the user's own")

    value = Broken(1.0)

    assert notify_run("evaluate", config=settings)(lambda: value)() is value


def test_a_generator_is_not_decorated() -> None:
    with pytest.raises(UsageError, match="generator"):

        @notify_run("rows")
        def rows() -> Iterator[int]:
            yield 1
