"""When a run is late: tables of moments and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from notifybot.store.runs import RunRow
from notifybot.types import Host, Progress, Status
from notifybot.watchdog.rules import Limits, Lost, Stalled, deadline, judge

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
LIMITS = Limits()


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


RUN = RunRow(
    id="r",
    name="resnet",
    project="p",
    session="s",
    status=Status.RUNNING,
    stalled=False,
    attempt=1,
    incident=0,
    direct=False,
    beat_s=30.0,
    beat_seq=1,
    started_at=ago(7200),
    ended_at=None,
    alive_at=ago(5),
    progress_at=ago(5),
    next_by=None,
    deadline_at=None,
    told_at=None,
    stack="",
    last_event_at=None,
    host=Host(),
    progress=Progress(done=3, epoch_s=60.0),
    params={},
)


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        pytest.param(RUN, None, id="heard a moment ago"),
        pytest.param(replace(RUN, alive_at=ago(119)), None, id="one second before the limit"),
        pytest.param(replace(RUN, alive_at=ago(120)), Lost(120, 120), id="four beats silent"),
        pytest.param(replace(RUN, alive_at=ago(59), beat_s=1.0), None, id="quick beats, under the floor"),
        pytest.param(replace(RUN, alive_at=ago(61), beat_s=1.0), Lost(61, 60), id="quick beats, over the floor"),
        pytest.param(replace(RUN, alive_at=ago(9999), beat_s=None), None, id="sends no heartbeats"),
        pytest.param(
            replace(RUN, alive_at=ago(9999), beat_s=None, next_by=ago(31)), Lost(9999, 60), id="broke its promise"
        ),
        pytest.param(
            replace(RUN, alive_at=ago(9999), beat_s=None, next_by=ago(29)), None, id="promise within its grace"
        ),
        pytest.param(replace(RUN, alive_at=ago(900), next_by=ago(-60)), None, id="silence announced"),
        pytest.param(replace(RUN, alive_at=ago(900), next_by=ago(31)), Lost(900, 120), id="announced silence is over"),
        pytest.param(replace(RUN, progress_at=ago(604)), None, id="still, under the floor"),
        pytest.param(replace(RUN, progress_at=ago(605)), Stalled(605, 600), id="still, over the floor"),
        pytest.param(replace(RUN, progress_at=ago(660), alive_at=ago(61)), None, id="still and silent"),
        pytest.param(replace(RUN, progress_at=ago(700), stalled=True), None, id="told stalled already"),
        pytest.param(replace(RUN, progress_at=ago(700), next_by=ago(0)), None, id="standstill announced"),
        pytest.param(
            replace(RUN, progress_at=ago(700), next_by=ago(36)), Stalled(700, 600), id="announced standstill is over"
        ),
        pytest.param(replace(RUN, progress=Progress(), progress_at=ago(3599)), None, id="first epoch, patient"),
        pytest.param(replace(RUN, progress=Progress(), progress_at=ago(3605)), Stalled(3605, 3600), id="hangs at once"),
        pytest.param(replace(RUN, alive_at=ago(700), progress_at=ago(700)), Lost(700, 120), id="lost before stalled"),
        pytest.param(replace(RUN, alive_at=ago(700), stalled=True), Lost(700, 120), id="stalled, then lost"),
        pytest.param(replace(RUN, alive_at=ago(700), status=Status.LOST), None, id="told lost already"),
        *(
            pytest.param(replace(RUN, alive_at=ago(9999), status=each), None, id=f"{each}")
            for each in Status
            if each.ended
        ),
    ],
)  # fmt: skip
def test_a_verdict_follows_from_the_moments_alone(row: RunRow, verdict: object) -> None:
    assert judge(row, NOW, LIMITS) == verdict


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(RUN, ago(5 - 120), id="silence"),
        pytest.param(replace(RUN, progress_at=ago(700)), ago(100), id="stands still already"),
        pytest.param(replace(RUN, beat_s=None), None, id="no heartbeats"),
        pytest.param(replace(RUN, status=Status.LOST), None, id="lost"),
        pytest.param(replace(RUN, status=Status.FINISHED), None, id="finished"),
        pytest.param(replace(RUN, beat_s=None, next_by=ago(-60)), ago(-90), id="a promise alone"),
        pytest.param(
            replace(RUN, stalled=True, progress_at=ago(9999)), ago(5 - 120), id="stalled: only silence counts"
        ),
    ],
)
def test_a_run_is_looked_at_when_the_first_limit_can_be_reached(row: RunRow, expected: datetime | None) -> None:
    assert deadline(row, NOW, LIMITS) == expected


@pytest.mark.parametrize("beat_s", [0.1, 1.0, 15.0, 30.0, 300.0])
def test_a_verdict_falls_at_the_deadline_and_not_before(beat_s: float) -> None:
    row = replace(RUN, beat_s=beat_s)
    due = deadline(row, NOW, LIMITS)

    assert due is not None
    assert judge(row, due - timedelta(milliseconds=1), LIMITS) is None
    assert isinstance(judge(row, due, LIMITS), Lost)


@pytest.mark.parametrize(
    ("limits", "progress", "epochs_s", "limit_s"),
    [
        pytest.param(LIMITS, Progress(done=3, epoch_s=400.0), None, 2000, id="five times the last epoch"),
        pytest.param(LIMITS, Progress(done=3, epoch_s=2.0), [400.0, 390.0, 2.0], 1950, id="the median of the latest"),
        pytest.param(LIMITS, Progress(done=3, epoch_s=400.0), [], 3600, id="a resumed run's first epoch"),
        pytest.param(Limits(stall_epochs=2), Progress(done=3, epoch_s=400.0), None, 800, id="fewer epochs"),
        pytest.param(Limits(stall_floor_s=100), Progress(done=3, epoch_s=2.0), None, 100, id="another floor"),
        pytest.param(Limits(stall_first_s=60), Progress(), None, 60, id="another first epoch"),
    ],
)
def test_a_loop_is_stalled_from_the_limit_on_that_its_own_epochs_give(
    limits: Limits, progress: Progress, epochs_s: Sequence[float] | None, limit_s: float
) -> None:
    due = ago(9000) + timedelta(seconds=limit_s)
    row = replace(RUN, progress=progress, progress_at=ago(9000), alive_at=due)

    assert judge(row, due - timedelta(milliseconds=1), limits, epochs_s=epochs_s) is None
    assert judge(row, due, limits, epochs_s=epochs_s) == Stalled(limit_s, limit_s)


def test_silence_from_before_the_watch_began_is_held_against_nobody() -> None:
    row = replace(RUN, alive_at=ago(900), progress_at=ago(9000))

    assert judge(row, NOW, LIMITS, watching_since=ago(60)) is None
    assert deadline(row, NOW, LIMITS, watching_since=ago(60)) == ago(60 - 120)
    assert judge(row, NOW, LIMITS, watching_since=ago(120)) == Lost(900, 120)


def test_a_sign_of_life_from_the_future_counts_from_when_the_watch_began() -> None:
    """The wall clock was set back by an hour: what was stamped before lies ahead."""
    row = replace(RUN, alive_at=ago(-3600), progress_at=ago(-3600))

    assert judge(row, NOW, LIMITS, watching_since=ago(119)) is None
    assert judge(row, NOW, LIMITS, watching_since=ago(121)) == Lost(121, 120)
