"""Epochs put together from the lines of a program that prints steps, epochs, or both."""

from __future__ import annotations

import pytest

from notifybot.command.epochs import Epochs
from notifybot.command.progress_lines import LineReading


def epoch(label: int, *, part: float | None = None, **metrics: float) -> LineReading:
    return LineReading("epoch", label, metrics, part=part)


def step(label: int, **metrics: float) -> LineReading:
    return LineReading("step", label, metrics)


def told(epochs: Epochs, *readings: LineReading, failed: bool = False) -> list[tuple[str, int, dict[str, float]]]:
    over = [*map(epochs.take, readings), epochs.close(failed=failed)]
    return [(each.unit, each.label, dict(each.metrics)) for each in over if each is not None]


def test_the_lines_of_an_epoch_are_one_until_the_next_begins() -> None:
    epochs = Epochs()

    assert epochs.take(epoch(1, loss=0.5)) is None
    assert epochs.take(epoch(1, val_loss=0.6)) is None
    assert epochs.take(epoch(1, loss=0.4)) is None
    assert epochs.take(epoch(2, loss=0.3)) == epoch(1, loss=0.4, val_loss=0.6)
    assert epochs.close() == epoch(2, loss=0.3)
    assert epochs.close() is None


def test_steps_before_the_line_of_an_epoch_are_its_means() -> None:
    """The epoch is over with its line, or its lines: the next step shows it."""
    epochs = Epochs(unit="epoch")
    for reading in (step(100, loss=4.0), step(200, loss=2.0), epoch(1, val_loss=9.0), epoch(1, acc=0.5)):
        assert epochs.take(reading) is None

    assert epochs.take(step(300, loss=1.0)) == epoch(1, loss=3.0, val_loss=9.0, acc=0.5)
    assert told(epochs, epoch(2, val_loss=8.0)) == [("epoch", 2, {"loss": 1.0, "val_loss": 8.0})]


def test_steps_after_the_heading_of_an_epoch_are_its_means() -> None:
    readings = [epoch(1, part=0.0), step(1, loss=4.0), step(2, loss=2.0), epoch(2, part=0.0), step(1, loss=1.0)]

    assert told(Epochs(), *readings) == [("epoch", 1, {"loss": 3.0}), ("epoch", 2, {"loss": 1.0})]


def test_what_an_epochs_own_line_says_counts_more_than_the_means() -> None:
    readings = [step(1, loss=4.0), epoch(1, loss=3.5), step(2, loss=2.0), epoch(2, loss=1.5)]

    assert [values for unit, _, values in told(Epochs(), *readings) if unit == "epoch"] == [
        {"loss": 3.5},
        {"loss": 1.5},
    ]


def test_steps_are_counted_until_an_epoch_is_met_and_are_in_its_means() -> None:
    readings = [step(1, loss=4.0), step(2, loss=2.0), epoch(1, val_loss=9.0), step(3, loss=7.0)]

    assert told(Epochs(), *readings) == [
        ("step", 1, {"loss": 4.0}),
        ("epoch", 1, {"loss": 3.0, "val_loss": 9.0}),
    ]


@pytest.mark.parametrize(("part", "reported"), [(0.5, False), (1.0, True), (None, True)])
def test_of_a_program_that_failed_an_epoch_counts_where_it_was_over(part: float | None, reported: bool) -> None:
    epochs = Epochs()
    epochs.take(epoch(3, part=part, loss=0.5))

    assert epochs.begun == (None if reported else 3)
    assert (epochs.close(failed=True) is not None) is reported


def test_what_came_after_the_last_epoch_is_left() -> None:
    epochs = Epochs()
    assert told(epochs, epoch(1, loss=1.0), step(5, loss=4.0), step(6, loss=2.0)) == [("epoch", 1, {"loss": 1.0})]

    assert epochs.rest() == {"loss": 3.0}
    assert Epochs().rest() == {}
