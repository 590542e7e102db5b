"""What the values of every layer derive from themselves."""

from __future__ import annotations

from uuid import UUID

import pytest

from notifybot.types import Metric, Progress, RunRef, Severity, Status, run_key, uuid7


def test_only_the_process_itself_says_that_it_is_over() -> None:
    ended = {status for status in Status if status.ended}

    assert ended == {Status.FINISHED, Status.STOPPED, Status.INTERRUPTED, Status.FAILED}


def test_an_error_is_the_most_severe() -> None:
    ranks = [severity.rank for severity in (Severity.INFO, Severity.SUCCESS, Severity.WARNING, Severity.ERROR)]

    assert ranks == sorted(set(ranks))


def test_a_runs_key_holds_its_project() -> None:
    """Two projects may use one id; whatever session it is, the run is the same."""
    run = RunRef("r-1", "resnet", "vision", "s-1")

    assert run.key == run_key("vision", "r-1") == RunRef("r-1", "vit", "vision", "s-2").key
    assert run.key != RunRef("r-1", "resnet", "speech", "s-1").key


@pytest.mark.parametrize(
    ("epochs", "progress", "expected"),
    [
        pytest.param((10, 20), Progress(epoch=20, done=2), ((10, 0.5), (20, 0.25)), id="with labels"),
        pytest.param((), Progress(epoch=7, done=3), ((6, 0.5), (7, 0.25)), id="up to the label"),
        pytest.param((), Progress(done=3), ((2, 0.5), (3, 0.25)), id="up to the count"),
    ],
)
def test_every_value_of_a_metric_has_an_epoch(
    epochs: tuple[int, ...], progress: Progress, expected: tuple[tuple[int, float], ...]
) -> None:
    assert Metric(0.25, history=(0.5, 0.25), epochs=epochs).points(progress) == expected


def test_ids_sort_by_the_time_they_were_made_at() -> None:
    ids = [uuid7(second / 1000) for second in (1_700_000_000_000, 1_700_000_000_001, 1_800_000_000_000)]

    assert ids == sorted(ids)
    assert [UUID(each).version for each in ids] == [7, 7, 7]
    assert {UUID(each).variant for each in ids} == {"specified in RFC 4122"}
    assert UUID(ids[0]).int >> 80 == 1_700_000_000_000


def test_two_ids_of_one_moment_differ() -> None:
    assert len({uuid7(1.0) for _ in range(1000)}) == 1000


def test_ids_of_one_moment_sort_by_the_order_they_were_made_in() -> None:
    """A start and an end within a millisecond, or a tick of a coarse clock, are read in that order."""
    ids = [uuid7(moment) for moment in (1.0, 2.0) for _ in range(1000)]

    assert ids == sorted(ids)
    assert all(UUID(each).version == 7 and UUID(each).variant == "specified in RFC 4122" for each in ids)
