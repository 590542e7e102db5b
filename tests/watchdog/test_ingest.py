"""What processes report: recorded once, never backward, only for one's own project."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from notifybot.errors import StoreError
from notifybot.store import runs
from notifybot.store.heartbeats import Beat
from notifybot.testing import FakeClock
from notifybot.types import Language, Status, uuid7
from notifybot.watchdog import tokens
from notifybot.watchdog.ingest import AccessDenied, Ingest, Ingested
from notifybot.watchdog.schemas import Batch
from tests.support.watchdog_runs import PEOPLE, Process, Watchdog, route


@pytest.fixture
def watchdog(tmp_path: Path, clock: FakeClock) -> Iterator[Watchdog]:
    with Watchdog(tmp_path, clock) as opened:
        yield opened


def lost(watchdog: Watchdog) -> Process:
    """A process that was told lost three minutes after its first epoch."""
    process = watchdog.running()
    process.send(process.epoch())
    assert [each.kind for each in watchdog.watch(180)] == ["run_lost"]
    return process


def test_an_event_is_recorded_and_told_once_however_often_it_comes(watchdog: Watchdog) -> None:
    process = watchdog.process()
    batch = (process.started(), process.epoch())

    assert process.send(*batch) == Ingested(2, 0)
    assert process.send(*batch) == Ingested(0, 2)
    assert watchdog.deliveries() == [("run_started", PEOPLE), ("epoch_finished", PEOPLE)]


def test_what_the_process_tells_itself_is_only_recorded(watchdog: Watchdog) -> None:
    process = watchdog.process()

    assert process.send(process.started(), direct=True) == Ingested(1, 0)
    assert watchdog.deliveries() == []
    assert process.row().direct


def test_a_batch_is_recorded_whole_or_not_at_all(watchdog: Watchdog) -> None:
    process = watchdog.process()
    with watchdog.store.transaction() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON events WHEN NEW.kind = 'epoch_finished' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )

    with pytest.raises(StoreError):
        process.send(process.started(), process.epoch())
    assert runs.get(watchdog.store, process.run.id) is None


def test_two_projects_may_use_one_run_id(watchdog: Watchdog) -> None:
    """Two people of a lab call their run "baseline": each has a run of their own, watched and told by itself."""
    mine, theirs = watchdog.process("baseline"), watchdog.process("baseline")
    theirs.watchdog = theirs.watchdog.of("speech")
    mine.send(mine.started())
    theirs.send(theirs.started())
    watchdog.checker.scan()
    watchdog.watch(200, mine)

    with watchdog.store.reading() as connection:
        rows = {each.project: each for each in runs.named(connection, "baseline")}
    assert {project: row.status for project, row in rows.items()} == {"vision": "running", "speech": "lost"}
    assert [
        project for project in rows if runs.events_of(watchdog.store, "baseline", project=project, kinds=["run_lost"])
    ] == ["speech"]


@pytest.mark.parametrize("token", [None, "nb_canary-not-a-token"])
def test_nobody_reports_without_a_token(watchdog: Watchdog, token: str | None) -> None:
    process = watchdog.process()

    with pytest.raises(AccessDenied):
        watchdog.ingest.accept_events(token, Batch((process.started(),), direct=False))
    assert runs.get(watchdog.store, process.run.id) is None


def test_a_token_decides_the_project_whatever_an_event_says(watchdog: Watchdog) -> None:
    process = watchdog.process()
    process.send(replace(process.started(), run=replace(process.run, project="somebody else's")))

    assert process.row().project == "vision"
    assert runs.events_of(watchdog.store, process.run.id)[0].run.project == "vision"


def test_a_heartbeat_of_another_project_is_not_this_runs(watchdog: Watchdog) -> None:
    process = watchdog.running()
    watchdog.token = tokens.create(watchdog.store, "speech")

    assert process.beat() == "running"
    with watchdog.store.reading() as connection:
        beats = {each.project: each.beat_seq for each in runs.named(connection, "run-1")}
    assert beats == {"speech": 1, "vision": 0}


def test_a_run_may_be_heard_of_before_its_start(watchdog: Watchdog) -> None:
    process = watchdog.process()

    assert process.beat() == "running"
    assert process.row().deadline_at is not None
    process.send(process.started())
    assert process.beat() == "running"
    assert process.row().host == process.host


@pytest.mark.parametrize("seed", range(40))
def test_reordered_and_replayed_heartbeats_never_move_a_run_backward(watchdog: Watchdog, seed: int) -> None:
    """25 shuffled histories in each of 40 cases: 1,000 in all."""
    rng = random.Random(seed)
    for number in range(25):
        process = watchdog.process(f"run-{number}")
        process.send(process.started())
        before = process.row()
        for seq in rng.choices(range(1, 12), k=12):
            watchdog.clock.advance(rng.uniform(0.1, 2))
            process.beat(seq=seq, age_s=rng.uniform(0, 30))
            after = process.row()
            assert after.beat_seq == max(before.beat_seq, seq)
            assert (after.alive_at == before.alive_at) == (seq <= before.beat_seq)
            assert after.progress_at is not None
            assert before.progress_at is not None
            assert after.progress_at >= before.progress_at
            before = after


@pytest.mark.parametrize("status", [each for each in Status if each.ended])
def test_an_ended_run_is_not_woken_by_a_late_heartbeat(watchdog: Watchdog, status: Status) -> None:
    process = watchdog.running()
    process.send(process.ended(status))

    assert process.beat() == status
    assert process.row().deadline_at is None
    assert watchdog.watch(600) == []


def test_a_newer_process_speaks_for_the_run_and_an_older_one_no_more(watchdog: Watchdog) -> None:
    old = watchdog.running()
    watchdog.clock.advance(5)
    new = watchdog.process()
    new.send(new.started(attempt=2))
    late = old.ended(Status.FAILED)

    assert old.send(late) == Ingested(1, 0, superseded=(old.run.session,))
    assert old.beat() == "superseded"
    assert (new.row().status, new.row().session) == (Status.RUNNING, new.run.session)
    assert new.beat() == "running"


def rivals(watchdog: Watchdog) -> tuple[Process, Process]:
    """A process that goes on although a newer one has taken over its run, a minute ago."""
    old = watchdog.running()
    watchdog.clock.advance(60)
    new = watchdog.process()
    new.send(new.started(attempt=2))
    watchdog.clock.advance(60)
    return old, new


def test_a_superseded_process_changes_nothing_of_the_run(watchdog: Watchdog) -> None:
    """Its epochs, alerts and endings are history; state, progress and deadline are the newer one's."""
    old, new = rivals(watchdog)
    before = new.row()

    for event in (old.epoch(), old.ended(Status.FAILED), old.started(attempt=3)):
        assert old.send(event).superseded == (old.run.session,)

    assert new.row() == before
    assert len(runs.events_of(watchdog.store, new.run.id, kinds=["run_ended"])) == 1


def test_that_there_are_two_is_told_once_and_what_the_older_one_says_is_not(watchdog: Watchdog) -> None:
    """Not the older one's epochs and ending: they would overwrite what people see of the newer one."""
    old, _ = rivals(watchdog)
    told = len(watchdog.deliveries())

    old.send(old.epoch())
    old.send(old.epoch(), old.ended())
    old.beat()
    old.beat()

    assert watchdog.deliveries()[told:] == [("alert_raised", PEOPLE)]


def test_a_heartbeat_alone_tells_that_there_are_two(watchdog: Watchdog) -> None:
    """Between two long epochs nothing else is heard of it."""
    old, _ = rivals(watchdog)

    assert watchdog.ingest.accept_heartbeat(watchdog.token, beat_of(old)).recorded
    assert not watchdog.ingest.accept_heartbeat(watchdog.token, beat_of(old)).recorded
    assert watchdog.deliveries()[-1] == ("alert_raised", PEOPLE)


def beat_of(process: Process) -> Beat:
    process.seq += 1
    return Beat(run=process.run, seq=process.seq, beat_s=30.0)


def test_each_older_process_is_told_of(watchdog: Watchdog) -> None:
    """A third machine is news again."""
    old, new = rivals(watchdog)
    old.beat()
    third = watchdog.process()
    third.send(third.started(attempt=3))
    watchdog.clock.advance(60)

    new.beat()

    assert [kind for kind, _ in watchdog.deliveries()].count("alert_raised") == 2


def test_a_last_heartbeat_during_the_handover_is_no_second_process(watchdog: Watchdog) -> None:
    """The cell is run again: the old thread's beat may still be on its way."""
    old = watchdog.running()
    watchdog.clock.advance(60)
    new = watchdog.process()
    new.send(new.started(attempt=2))
    watchdog.clock.advance(1)

    assert old.beat() == "superseded"
    assert [kind for kind, _ in watchdog.deliveries()].count("alert_raised") == 0


def test_mail_from_before_the_takeover_is_told_as_ever(watchdog: Watchdog) -> None:
    """A machine comes back and sends what its outbox held: the failure was real, and there are not two."""
    old = watchdog.running()
    failed = old.ended(Status.FAILED)
    watchdog.clock.advance(60)
    new = watchdog.process()
    new.send(new.started(attempt=2))

    assert old.send(failed).superseded == (old.run.session,)
    assert watchdog.deliveries()[-1] == ("run_ended", PEOPLE)
    assert new.row().status is Status.RUNNING


def test_word_of_a_second_process_is_no_sign_of_life_of_the_first(watchdog: Watchdog) -> None:
    """The newer one dies while the older one goes on: it is lost all the same."""
    old, new = rivals(watchdog)

    told = [each.kind for each in watchdog.watch(180, old)]

    assert told == ["run_lost"]
    assert new.row().status is Status.LOST
    old.send(old.epoch())
    assert new.row().status is Status.LOST


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        pytest.param("a", "b", id="words"),
        pytest.param("01a20658-af08-7f6e-a8fa-fae5fc8c602b", "ffffffff-ffff-7fff-bfff-ffffffffffff", id="year-10889"),
    ],
)
def test_a_session_without_a_date_counts_as_older_when_it_sorts_before(
    watchdog: Watchdog, older: str, newer: str
) -> None:
    """Another client may name its sessions as it likes; the order of names decides."""
    old, new = watchdog.process(session=older), watchdog.process(session=newer)
    old.send(old.started())
    new.send(new.started(attempt=2))

    assert old.beat() == "superseded"
    assert watchdog.deliveries()[-1] == ("alert_raised", PEOPLE)


def test_what_people_hear_of_two_processes_is_in_their_language(watchdog: Watchdog) -> None:
    """Korean where the watchdog speaks Korean."""
    watchdog.ingest = Ingest(watchdog.store, limits=watchdog.limits, route=route, language=Language.KO)
    old, _ = rivals(watchdog)
    old.beat()

    (alert,) = runs.events_of(watchdog.store, old.run.id, kinds=["alert_raised"])
    assert getattr(alert, "title", "") == "두 프로세스가 같은 실행을 보고하고 있습니다"


def test_a_superseded_process_does_not_move_the_thread(watchdog: Watchdog) -> None:
    """What its notifiers remember is of its own thread; the newer one's stays."""
    watchdog.ingest = Ingest(watchdog.store, limits=watchdog.limits, route=route, own_keys=[PEOPLE])
    old, new = rivals(watchdog)

    def place(root: str) -> dict[str, dict[str, dict[str, object]]]:
        return {"run-1": {PEOPLE: {"value": {"root": root}, "updated_at": watchdog.clock.now().isoformat()}}}

    watchdog.ingest.accept_events(watchdog.token, Batch((new.epoch(),), direct=True, memories=place("new")))
    watchdog.clock.advance(60)
    watchdog.ingest.accept_events(watchdog.token, Batch((old.epoch(),), direct=True, memories=place("old")))
    watchdog.ingest.accept_heartbeat(watchdog.token, replace(beat_of(old), memories=place("old")["run-1"]))

    assert watchdog.store.memory(PEOPLE, "vision").get("run-1") == {"root": "new"}


def test_a_resumed_process_wakes_an_ended_run_with_its_first_heartbeat(watchdog: Watchdog) -> None:
    old = watchdog.running()
    old.send(old.ended(Status.INTERRUPTED))
    watchdog.clock.advance(5)
    new = watchdog.process()

    assert new.beat() == "running"
    assert new.row().ended_at is None


def test_a_lost_run_that_beats_is_recovered_and_told_so(watchdog: Watchdog) -> None:
    process = lost(watchdog)

    assert process.beat() == "running"
    assert process.beat() == "running"
    assert watchdog.told() == ["run_lost", "run_recovered"]
    recovered = runs.events_of(watchdog.store, process.run.id, kinds=["run_recovered"])[0]
    assert (recovered.was, round(recovered.away_s), recovered.progress.done) == ("lost", 180, 1)  # type: ignore[union-attr]
    assert watchdog.deliveries()[-1] == ("run_recovered", PEOPLE)
    assert process.row().incident == 1


def test_a_lost_run_that_is_started_again_is_recovered(watchdog: Watchdog) -> None:
    lost(watchdog)
    again = watchdog.process()
    again.done = 1

    again.send(again.started(attempt=2))

    assert watchdog.told() == ["run_lost", "run_recovered"]
    assert again.row().status is Status.RUNNING
    assert again.row().deadline_at is not None


def test_a_lost_run_whose_next_process_beats_first_is_recovered_once(watchdog: Watchdog) -> None:
    lost(watchdog)
    again = watchdog.process()

    assert again.beat() == "running"
    again.send(again.started(attempt=2))
    assert watchdog.told() == ["run_lost", "run_recovered"]


def test_mail_from_before_the_loss_is_no_sign_of_life(watchdog: Watchdog) -> None:
    """An outbox is emptied by the next process that starts on the machine, long after its own one died."""
    process = watchdog.running()
    unsent = process.epoch()
    watchdog.watch(180)
    heard_at = process.row().alive_at

    assert process.send(unsent) == Ingested(1, 0)
    assert (process.row().status, process.row().alive_at) == (Status.LOST, heard_at)
    assert watchdog.told() == ["run_lost"]
    assert process.row().progress.done == 1


def test_a_late_ending_settles_a_lost_run_without_a_recovery(watchdog: Watchdog) -> None:
    process = watchdog.running()
    unsent = process.ended()
    watchdog.watch(180)

    process.send(unsent)

    assert process.row().status is Status.FINISHED
    assert watchdog.told() == ["run_lost"]


def test_an_epoch_made_after_the_loss_recovers_the_run(watchdog: Watchdog) -> None:
    process = lost(watchdog)

    process.send(process.epoch())

    assert process.row().status is Status.RUNNING
    assert watchdog.told() == ["run_lost", "run_recovered"]


def test_a_stalled_run_recovers_when_its_loop_moves_not_when_it_merely_beats(watchdog: Watchdog) -> None:
    process = watchdog.running()
    process.send(process.epoch())
    process.beat()
    process.hangs = True

    (stalled,) = watchdog.watch(900, process)
    assert (stalled.kind, getattr(stalled, "stack", "")) == ("run_stalled", "train.py:12 next(loader)")
    assert (process.beat(), process.row().status) == ("stalled", Status.RUNNING)
    process.hangs = False
    assert process.beat() == "running"
    assert watchdog.told() == ["run_stalled", "run_recovered"]


def test_uuid7_sessions_sort_by_their_start() -> None:
    assert uuid7(1_000_000_000) < uuid7(1_000_000_001)
