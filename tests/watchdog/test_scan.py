"""The scan: every dead run told once, no living one ever, whatever happens to the watchdog and its clock."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from notifybot.events import RunLost
from notifybot.store import heartbeats
from notifybot.testing import FakeClock
from notifybot.watchdog.rules import Limits
from tests.support.watchdog_runs import PEOPLE, Process, Watchdog


@pytest.fixture
def watchdog(tmp_path: Path, clock: FakeClock) -> Iterator[Watchdog]:
    with Watchdog(tmp_path, clock) as opened:
        yield opened


def fleet(watchdog: Watchdog, number: int, *, beat_s: float = 30.0) -> list[Process]:
    """Running processes, with one transaction for all of them."""
    started = [watchdog.process(f"run-{each}", beat_s=beat_s) for each in range(number)]
    for process in started:
        process.send(process.started())
    watchdog.checker.scan()
    return started


def test_a_silent_run_is_told_lost_once_with_what_it_takes_to_go_on(watchdog: Watchdog) -> None:
    process = watchdog.running()
    process.send(process.epoch())

    (lost,) = watchdog.watch(600)

    assert isinstance(lost, RunLost)
    assert (lost.silent_s, lost.limit_s) == (120, 120)
    assert (lost.run.id, lost.run.session, lost.host) == (process.run.id, process.run.session, process.host)
    assert (lost.progress.done, lost.progress.metrics["loss"].value) == (1, 0.5)
    assert lost.progress.checkpoint is not None
    assert watchdog.deliveries()[-1] == ("run_lost", PEOPLE)
    assert (process.row().status, process.row().incident) == ("lost", 1)


def test_a_living_run_is_never_told(watchdog: Watchdog) -> None:
    assert watchdog.watch(600, watchdog.running()) == []


def test_a_run_without_heartbeats_is_never_told(watchdog: Watchdog) -> None:
    watchdog.running(beat_s=None)

    assert watchdog.watch(600) == []


def test_a_hanging_run_that_dies_is_told_stalled_and_then_lost(watchdog: Watchdog) -> None:
    process = watchdog.running()
    process.send(process.epoch())
    process.beat()
    process.hangs = True
    watchdog.watch(900, process)
    watchdog.watch(300)

    assert watchdog.told() == ["run_stalled", "run_lost"]


def test_a_promise_of_silence_is_honoured_and_then_held_to(watchdog: Watchdog) -> None:
    process = watchdog.running()
    process.beat(next_in_s=1200)

    assert watchdog.watch(1229) == []
    assert [each.kind for each in watchdog.watch(2)] == ["run_lost"]


def test_an_epoch_that_takes_long_by_its_own_measure_is_not_stalled(watchdog: Watchdog) -> None:
    watchdog.limits = Limits(stall_floor_s=100)
    watchdog.begin()
    process = watchdog.running()
    for _ in range(3):
        process.send(process.epoch())  # 60 s each
    process.beat()
    process.hangs = True

    assert watchdog.watch(300, process) == []
    assert [each.kind for each in watchdog.watch(60, process)] == ["run_stalled"]


def test_a_thousand_deaths_are_told_within_five_seconds_of_their_deadlines(watchdog: Watchdog) -> None:
    rng = random.Random(7)
    started = fleet(watchdog, 1000)
    with watchdog.store.transaction() as connection:
        for process in started:  # the last heartbeats of all, spread over four minutes
            last_at = watchdog.clock.now() + timedelta(seconds=rng.uniform(0, 240))
            heartbeats.beat(connection, last_at, heartbeats.Beat(run=process.run, seq=1, beat_s=30.0))
            heartbeats.set_deadline(connection, process.run.key, last_at + timedelta(seconds=120))

    lost = [each for each in watchdog.watch(420) if isinstance(each, RunLost)]

    assert len(lost) == len({each.run.id for each in lost}) == 1000
    assert max(each.silent_s - each.limit_s for each in lost) <= 5
    assert watchdog.deliveries().count(("run_lost", PEOPLE)) == 1000


DAMAGE = {
    "a raising row": "status = 'unheard of'",
    "a promise at the end of time": "next_by = '9999-12-31 23:59:59.999999'",
    "a host of another version": "host = '[]'",
    "torn progress": "progress = '{\"done\": 1'",
    "parameters that are none": "params = '17'",
    "beats of ages": "beat_s = 1e300",
    "epochs of ages": 'progress = \'{"done": 3, "epoch_s": 1e13}\'',
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_row_that_cannot_be_judged_keeps_nobody_else_from_being_told(watchdog: Watchdog, damage: str) -> None:
    fleet(watchdog, 20)
    with watchdog.store.transaction() as connection:
        connection.exec_driver_sql(f"UPDATE runs SET {damage} WHERE id = 'run-7'")

    told = {each.run.id for each in watchdog.watch(200)}

    assert told | {"run-7"} == {f"run-{number}" for number in range(20)}


def test_a_scan_with_one_raising_row_still_tells_the_499_others(
    watchdog: Watchdog, caplog: pytest.LogCaptureFixture
) -> None:
    watchdog.limits = Limits(scan_every_s=60)
    watchdog.begin()
    fleet(watchdog, 500)
    with watchdog.store.transaction() as connection:
        connection.exec_driver_sql("UPDATE runs SET status = 'unheard of' WHERE id = 'run-250'")

    told = watchdog.watch(240)

    assert len({each.run.id for each in told}) == len(told) == 499
    assert watchdog.checker.set_apart == 1
    assert [each.getMessage().partition(" (")[0] for each in caplog.records if each.levelname == "ERROR"] == [
        "run run-250 of vision cannot be judged"
    ]


def test_a_run_that_was_set_apart_is_told_once_it_can_be_judged(watchdog: Watchdog) -> None:
    watchdog.running()
    with watchdog.store.transaction() as connection:
        connection.exec_driver_sql("UPDATE runs SET next_by = '9999-12-31 23:59:59.999999'")
    assert watchdog.watch(300) == []
    with watchdog.store.transaction() as connection:
        connection.exec_driver_sql("UPDATE runs SET next_by = NULL")

    assert [each.kind for each in watchdog.watch(700)] == ["run_lost"]
    assert watchdog.checker.set_apart == 0


def test_a_stored_epoch_of_another_version_does_not_keep_a_run_from_being_judged(watchdog: Watchdog) -> None:
    process = watchdog.running()
    process.send(process.epoch())
    with watchdog.store.transaction() as connection:
        connection.exec_driver_sql("UPDATE events SET body = '{}' WHERE kind = 'epoch_finished'")

    assert [each.kind for each in watchdog.watch(300)] == ["run_lost"]


def test_a_day_of_steady_runs_raises_no_alarm(watchdog: Watchdog) -> None:
    """24 hours at one scan a minute: the rules know no other time than the clock's."""
    watchdog.limits = Limits(scan_every_s=60)
    watchdog.begin()
    steady = fleet(watchdog, 10, beat_s=600)

    assert watchdog.watch(86_400, *steady) == []


@pytest.mark.parametrize("down_s", [11, 600, 86_400])
def test_after_its_own_absence_the_watchdog_accuses_nobody_who_comes_back(watchdog: Watchdog, down_s: int) -> None:
    live = fleet(watchdog, 50)
    watchdog.clock.advance(down_s)
    watchdog.begin()

    assert watchdog.watch(600, *live) == []


def test_a_run_that_died_in_the_watchdogs_absence_is_told_one_interval_after(watchdog: Watchdog) -> None:
    live, dead = fleet(watchdog, 2)
    watchdog.clock.advance(600)
    watchdog.begin()

    assert watchdog.watch(119, live) == []
    assert [each.run.id for each in watchdog.watch(5, live)] == [dead.run.id]


def test_a_quick_restart_does_not_put_off_an_alarm(watchdog: Watchdog) -> None:
    watchdog.running()
    watchdog.watch(100)
    watchdog.begin()

    assert [each.kind for each in watchdog.watch(25)] == ["run_lost"]


@pytest.mark.parametrize("seconds", [-3600, 86_400, -30, 60])
def test_a_jump_of_the_wall_clock_raises_no_alarm_and_hides_no_death(
    watchdog: Watchdog, clock: FakeClock, seconds: int
) -> None:
    live, dead = fleet(watchdog, 2)
    watchdog.watch(30, live, dead)
    clock.jump(seconds)

    assert watchdog.watch(115, live) == []
    assert [each.run.id for each in watchdog.watch(15, live)] == [dead.run.id]
    assert watchdog.watch(600, live) == []


def test_a_clock_set_back_while_the_watchdog_was_down_hides_no_death(watchdog: Watchdog, clock: FakeClock) -> None:
    live, dead = fleet(watchdog, 2)
    clock.jump(-3600)
    watchdog.begin()

    assert watchdog.watch(115, live) == []
    assert [each.run.id for each in watchdog.watch(15, live)] == [dead.run.id]


def test_a_frozen_process_wakes_without_a_false_alarm(watchdog: Watchdog) -> None:
    """SIGSTOP for a minute, or a suspended laptop: both clocks go on, nobody listened."""
    live = fleet(watchdog, 5)
    watchdog.watch(90, *live)
    watchdog.clock.advance(60)

    assert watchdog.watch(300, *live) == []


def test_nobody_is_accused_while_heartbeats_cannot_come_in(watchdog: Watchdog) -> None:
    """The scan goes on but the server that takes heartbeats hangs: the silence is ours."""
    watchdog.checker.listening()
    live = fleet(watchdog, 5)

    assert watchdog.watch(600) == []
    watchdog.checker.listening()
    assert watchdog.checker.scan() == []
    for process in live[1:]:
        process.beat()
    for _ in range(118):
        watchdog.checker.listening()
        assert watchdog.watch(1, *live[1:]) == []
    told = []
    for _ in range(5):
        watchdog.checker.listening()
        told += watchdog.watch(1, *live[1:])
    assert [each.run.id for each in told] == [live[0].run.id]


def test_a_run_that_comes_back_between_two_scans_is_not_told(watchdog: Watchdog) -> None:
    process = watchdog.running()
    watchdog.watch(119)
    watchdog.clock.advance(1)
    process.beat()

    assert watchdog.checker.scan() == []


def test_the_age_of_the_last_scan_is_known(watchdog: Watchdog) -> None:
    assert watchdog.checker.age_s() is None
    watchdog.checker.scan()
    watchdog.clock.advance(4)
    assert watchdog.checker.age_s() == 4
