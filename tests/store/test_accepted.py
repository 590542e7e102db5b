"""Notes beside the database of what a receiver has accepted: taken up once, and never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from notifybot.policy import Priority
from notifybot.store import runs
from notifybot.store.accepted import Accepted, Sent, note, take_up
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox, count_lost
from notifybot.testing import FakeClock
from tests.support.store_events import alert


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"owner": "slack:1", "sent": {"delivery": "x"}, "remembered": {}}',
        '{"owner": "slack:1", "sent": null, "remembered": {"run": [{}, "2026-11-29T12:00:00"]}}',
        f'{{"owner": "slack:1", "sent": {{"delivery": {2**70}, "event_id": "", "together": [], "untold": 0}}, '
        '"remembered": {}}',
    ],
)
def test_a_note_that_makes_no_sense_holds_nothing_up(tmp_path: Path, content: str) -> None:
    with Store.open(tmp_path / "a.db") as store:
        note(store, "1", Accepted("slack:1"))
        (tmp_path / "a.accepted" / "1").write_text(content)

        assert take_up(store) == 1
        assert take_up(store) == 0


def test_a_note_that_cannot_be_read_now_is_left_for_later(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db") as store:
        note(store, "1", Accepted("slack:1"))
        place = tmp_path / "a.accepted" / "1"
        place.unlink()
        place.mkdir()

        assert take_up(store) == 0
        assert place.exists()


def test_a_note_taken_up_late_changes_nothing_that_was_remembered_since(tmp_path: Path, clock: FakeClock) -> None:
    """Two that send may read it at once; the slower one comes after the run has gone on."""
    with Store.open(tmp_path / "a.db", clock=clock) as store:
        memory = store.memory("slack:1", "project")
        noted = Accepted("slack:1", remembered={memory.own("run"): ({"root": "1"}, clock.now())})
        note(store, "1", noted)
        take_up(store)
        clock.advance(1)
        memory.put("run", {"root": "1", "answered": ["2"]})
        note(store, "1", noted)

        assert take_up(store) == 1
        assert memory.get("run") == {"root": "1", "answered": ["2"]}


def test_a_note_of_a_digest_counts_all_that_were_told_and_what_was_owned_up_to(tmp_path: Path) -> None:
    key = "slack:1"
    with Store.open(tmp_path / "a.db") as store:
        for number in range(4):
            runs.record(store, alert(str(number)), [(key, Priority.URGENT)])
        with store.transaction() as connection:
            count_lost(connection, [key], 2)
        outbox = Outbox(store)
        first = outbox.claim(key)
        assert first is not None
        sent = Sent(first.id, first.event.id, together=(first.id + 1, first.id + 2), unreported=first.unreported)
        note(store, "1", Accepted(key, sent))
        take_up(store)
        last = outbox.claim(key)

        assert last is not None
        assert (last.id, last.unreported) == (first.id + 3, 0)
        assert outbox.counts()[key].sent == 3


def test_a_note_about_a_database_that_was_begun_anew_since_changes_nothing_there(tmp_path: Path) -> None:
    """The damaged one was set aside, and the numbers of its deliveries are given again."""
    key = "slack:1"
    with Store.open(tmp_path / "a.db") as store:
        runs.record(store, alert(), [(key, Priority.URGENT)])
        note(store, "1", Accepted(key, Sent(1, "of-another-event")))

        assert take_up(store) == 1
        assert Outbox(store).claim(key) is not None


def test_where_nothing_was_noted_nothing_is_looked_at_or_written(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db") as store:
        before = sorted(tmp_path.iterdir())

        assert take_up(store) == 0
        assert sorted(tmp_path.iterdir()) == before
