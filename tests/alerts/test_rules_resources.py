"""Rules about time and the machine: slow epochs, full disks, idle and full GPUs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot import alerts
from notifybot.alerts import AlertRule
from notifybot.alerts.base import Disk, Gpu, Machine, Reading
from notifybot.alerts.evidence import DiskRoom, Duration, GpuRoom, GpuUse
from notifybot.alerts.incidents import Incidents, Transition, incidents_of

GB = 10**9


def incidents(rule: AlertRule) -> Incidents:
    return incidents_of(rule, lambda name: None)


def slow(rule: AlertRule, *durations: float) -> list[tuple[int, str]]:
    open_ones = incidents(rule)
    told = []
    for epoch, epoch_s in enumerate(durations):
        news = open_ones.see(Reading(epoch_s=epoch_s))
        told += [(epoch, "raised")] * len(news.raised) + [(epoch, "cleared")] * len(news.cleared)
    return told


def disk(free_gb: float, path: str = "state", device: int = 1, *, ours: bool = True) -> Disk:
    return Disk(path, device, int(free_gb * GB), 100 * GB, ours)


def at(at_s: float, *gpus: Gpu, disks: tuple[Disk, ...] = ()) -> Reading:
    return Reading(machine=Machine(at_s, disks, gpus))


def gpu(busy: float | None, index: int = 0, used_gb: float = 1.0) -> Gpu:
    return Gpu(index, "T4", busy, int(used_gb * GB), 16 * GB)


# ── Epochs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_slow_epoch_is_told_beside_the_usual_one() -> None:
    open_ones = incidents(alerts.slow_epoch(2))
    for _ in range(3):
        open_ones.see(Reading(epoch_s=60.0))

    assert open_ones.see(Reading(epoch_s=130.0)).raised == (Duration(130.0, 60.0, 2.0),)
    assert open_ones.see(Reading(epoch_s=61.0)).cleared == (Duration(61.0, 60.0, 2.0),)


def test_a_run_that_stays_slow_is_one_incident_however_long() -> None:
    """What is slow does not become usual, or it would be told as over while nothing is."""
    assert slow(alerts.slow_epoch(2), 60, 60, 60, *[200] * 100, 60) == [(3, "raised"), (103, "cleared")]


def test_the_first_epochs_are_only_measured() -> None:
    """The first one compiles kernels and fills caches."""
    assert slow(alerts.slow_epoch(2), 600, 60, 60, 60) == []


def test_a_second_is_not_worth_a_message() -> None:
    assert slow(alerts.slow_epoch(2), 0.1, 0.1, 0.1, 0.9) == []


def test_an_epoch_of_unknown_length_is_passed_over() -> None:
    assert incidents(alerts.slow_epoch()).see(Reading()) == Transition()


# ── Disks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_is_told_with_what_is_left_and_clears_with_some_room_to_spare() -> None:
    """At 5 to 6 percent it is neither told nor over: a disk at its limit would be told over and over."""
    open_ones = incidents(alerts.low_disk(percent=5))
    news = [open_ones.see(at(0, disks=(disk(free),))) for free in (5, 4, 5.5, 4.9, 6)]

    assert [each.raised for each in news] == [(), (DiskRoom("state", 4 * GB, 100 * GB, 5 * GB),), (), (), ()]
    assert [each.cleared for each in news] == [(), (), (), (), (DiskRoom("state", 6 * GB, 100 * GB, 5 * GB),)]


def test_a_disk_may_be_judged_by_what_is_free() -> None:
    open_ones = incidents(alerts.low_disk(free_bytes=10 * GB))

    assert open_ones.see(at(0, disks=(disk(9),))).raised == (DiskRoom("state", 9 * GB, 100 * GB, 10 * GB),)


def test_folders_on_one_disk_are_one_disk() -> None:
    seen = (disk(1, "state"), disk(1, "runs"), disk(2, "drive", device=2))

    raised = incidents(alerts.low_disk()).see(at(0, disks=seen)).raised

    assert [each.path for each in raised if isinstance(each, DiskRoom)] == ["state", "drive"]


def test_a_rule_looks_at_its_own_disks() -> None:
    """The run's folders, or those that it names."""
    seen = (disk(1, "state"), disk(1, "/data", device=2, ours=False))

    ours = incidents(alerts.low_disk()).see(at(0, disks=seen)).raised
    named = incidents(alerts.low_disk("/data")).see(at(0, disks=seen)).raised

    assert [each.path for each in ours if isinstance(each, DiskRoom)] == ["state"]
    assert [each.path for each in named if isinstance(each, DiskRoom)] == ["/data"]


# ── GPUs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_idle_gpu_is_told_only_after_the_whole_time() -> None:
    open_ones = incidents(alerts.gpu_idle(percent=10, minutes=1))
    news = [open_ones.see(at(at_s, gpu(2.0))).raised for at_s in (0, 15, 30, 45, 60, 75)]

    assert news == [(), (), (), (), (GpuUse("GPU 0 (T4)", 2.0, 10.0, 60),), ()]
    assert open_ones.see(at(90, gpu(90.0))).cleared == (GpuUse("GPU 0 (T4)", 19.6, 10.0, 60),)


def test_a_pause_within_the_time_is_no_idleness() -> None:
    """Validation on the processor, or a checkpoint, takes less than the mean down."""
    open_ones = incidents(alerts.gpu_idle(percent=10, minutes=1))

    assert all(open_ones.see(at(15 * look, gpu(0.0 if look % 2 else 60.0))).raised == () for look in range(20))


def test_the_busiest_gpu_counts() -> None:
    """A run that uses one of eight is not idle."""
    open_ones = incidents(alerts.gpu_idle(percent=10, minutes=1))

    assert all(open_ones.see(at(60 * look, gpu(0.0), gpu(95.0, index=1))).raised == () for look in range(5))


def test_a_gpu_that_does_not_tell_is_no_idle_one() -> None:
    open_ones = incidents(alerts.gpu_idle(percent=10, minutes=1))

    assert all(open_ones.see(at(60 * look, gpu(None))) == Transition() for look in range(5))
    assert open_ones.see(at(300)) == Transition()


def test_each_gpu_with_full_memory_is_told() -> None:
    open_ones = incidents(alerts.gpu_memory(percent=50))
    first = open_ones.see(at(0, gpu(1.0, used_gb=8), gpu(1.0, index=1, used_gb=7)))
    second = open_ones.see(at(15, gpu(1.0, used_gb=8), gpu(1.0, index=1, used_gb=9)))
    third = open_ones.see(at(30, gpu(1.0, used_gb=1), gpu(1.0, index=1, used_gb=9)))

    assert first == Transition(raised=(GpuRoom("GPU 0 (T4)", 8 * GB, 16 * GB, 50.0),))
    assert second == Transition(raised=(GpuRoom("GPU 1 (T4)", 9 * GB, 16 * GB, 50.0),))
    assert third == Transition(cleared=(GpuRoom("GPU 0 (T4)", 1 * GB, 16 * GB, 50.0),))


@given(
    st.sampled_from([alerts.low_disk(percent=50), alerts.gpu_memory(percent=50), alerts.gpu_idle(minutes=1)]),
    st.lists(
        st.tuples(
            st.floats(0, 120),
            st.lists(st.builds(disk, st.floats(0, 100), st.sampled_from(["a", "b"])), max_size=2),
            st.lists(st.builds(gpu, st.none() | st.floats(0, 100), st.integers(0, 1), st.floats(0, 16)), max_size=2),
        ),
        max_size=40,
    ),
)
def test_whatever_is_seen_beginnings_and_ends_take_turns(
    rule: AlertRule, looks: list[tuple[float, list[Disk], list[Gpu]]]
) -> None:
    """For any machine, also one whose disks and GPUs come and go."""
    open_ones, now_s = incidents(rule), 0.0
    open_subjects: set[str] = set()
    for passed_s, disks, gpus in looks:
        now_s += passed_s
        news = open_ones.see(at(now_s, *gpus, disks=tuple(disks)))
        raised, cleared = ({subject(each) for each in some} for some in (news.raised, news.cleared))

        assert not raised & open_subjects
        assert cleared <= open_subjects
        open_subjects = (open_subjects | raised) - cleared


def subject(evidence: object) -> str:
    return str(getattr(evidence, "path", getattr(evidence, "gpu", "") if isinstance(evidence, GpuRoom) else ""))


@pytest.mark.parametrize("rule", [alerts.low_disk(), alerts.gpu_idle(), alerts.gpu_memory()])
def test_an_epoch_tells_nothing_of_the_machine(rule: AlertRule) -> None:
    assert incidents(rule).see(Reading({"loss": float("nan")}, 60.0)) == Transition()
