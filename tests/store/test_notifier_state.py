"""What notifiers remember of a run, taken to another machine and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from notifybot.store.database import Store
from notifybot.store.notifier_state import LARGEST_VALUE, MOST_OWNERS, export_for, import_for
from notifybot.testing import FakeClock
from notifybot.watchdog.schemas import PayloadError, parse_beat, parse_events

SLACK = "slack:0a1b2c3d"
Machine = Callable[[str], Store]


@pytest.fixture
def machine(tmp_path: Path, clock: FakeClock) -> Iterator[Machine]:
    opened: list[Store] = []

    def open_on(name: str) -> Store:
        opened.append(Store.open(tmp_path / f"{name}.db", clock=clock))
        return opened[-1]

    yield open_on
    for store in opened:
        store.close()


def test_a_runs_memories_go_to_another_machine(machine: Machine) -> None:
    """Those of this run only; as plain JSON, since they lie in a file in between."""
    here, there = machine("here"), machine("there")
    here.memory(SLACK).put("run-1", {"root": "1.5", "answered": ["a"]})
    here.memory(SLACK).put("run-2", {"root": "2.5"})
    here.memory(SLACK).put("", {"warned_on": "2026-11-23"})

    carried = json.loads(json.dumps(export_for(here, "run-1")))

    assert import_for(there, "run-1", carried) == 1
    assert there.memory(SLACK).get("run-1") == {"root": "1.5", "answered": ["a"]}
    assert there.memory(SLACK).get("run-2") == there.memory(SLACK).get("") == {}


def test_what_is_of_no_use_elsewhere_stays(machine: Machine) -> None:
    """A tracker's file positions, the relay's own marks."""
    here = machine("here")
    for owner in ("tracker:jsonl", "watchdog:00000000", SLACK):
        here.memory(owner).put("run-1", {"x": 1})

    assert list(export_for(here, "run-1")) == [SLACK]


def test_a_newer_value_is_never_overwritten(machine: Machine, clock: FakeClock) -> None:
    """In either order of arrival, both machines come to remember the later one."""
    here, there = machine("here"), machine("there")
    here.memory(SLACK).put("run-1", {"root": "old"})
    old = export_for(here, "run-1")
    clock.advance(1)
    there.memory(SLACK).put("run-1", {"root": "new"})

    assert import_for(there, "run-1", old) == 0
    assert import_for(here, "run-1", export_for(there, "run-1")) == 1
    assert import_for(here, "run-1", old) == 0

    assert here.memory(SLACK).get("run-1") == there.memory(SLACK).get("run-1") == {"root": "new"}


def test_a_value_as_new_as_ours_changes_nothing(machine: Machine) -> None:
    """Taking in one's own export is nothing."""
    here = machine("here")
    here.memory(SLACK).put("run-1", {"root": "1.5"})

    assert import_for(here, "run-1", export_for(here, "run-1")) == 0


def test_a_clock_that_is_ahead_does_not_win_for_ever(machine: Machine, clock: FakeClock) -> None:
    """A moment in our future counts as now: what we write next is newer."""
    here = machine("here")
    import_for(here, "run-1", {SLACK: {"value": {"root": "ahead"}, "updated_at": "2040-01-01T00:00:00+00:00"}})
    clock.advance(1)
    here.memory(SLACK).put("run-1", {"root": "ours"})
    clock.advance(1)

    stale = {SLACK: {"value": {"root": "stale"}, "updated_at": "2026-11-23T03:00:00+00:00"}}
    assert import_for(here, "run-1", stale) == 0
    assert here.memory(SLACK).get("run-1") == {"root": "ours"}


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(None, id="nothing"),
        pytest.param("text", id="text"),
        pytest.param({"value": {}}, id="no-moment"),
        pytest.param({"value": [1], "updated_at": "2026-11-23T03:00:00+00:00"}, id="a-list"),
        pytest.param({"value": {}, "updated_at": "yesterday"}, id="no-date"),
        pytest.param({"value": {}, "updated_at": 7}, id="a-number"),
        pytest.param({"value": {"x": "x" * LARGEST_VALUE}, "updated_at": "2026-11-23T03:00:00+00:00"}, id="too-large"),
    ],
)
def test_what_is_malformed_is_left_out(machine: Machine, kept: Any) -> None:
    """The file lay on a disk that people and other programs write to: the rest of it counts all the same."""
    here = machine("here")
    good = {"value": {"root": "1.5"}, "updated_at": "2026-11-23T03:00:00"}

    assert import_for(here, "run-1", {"kakao:1": kept, SLACK: good}) == 1
    assert here.memory("kakao:1").get("run-1") == {}


@pytest.mark.parametrize(
    "memories",
    [
        pytest.param([], id="a-list"),
        pytest.param({SLACK: {"value": "text", "updated_at": "now"}}, id="a-text"),
        pytest.param({SLACK: {"value": {}}}, id="no-moment"),
        pytest.param({f"k:{n}": {"value": {}, "updated_at": "x"} for n in range(MOST_OWNERS + 1)}, id="too-many"),
        pytest.param({SLACK: {"value": {"x": "x" * 70_000}, "updated_at": "x"}}, id="too-long"),
        pytest.param({SLACK: {"value": {"x": list(range(3000))}, "updated_at": "x"}}, id="too-wide"),
        pytest.param({SLACK: {"value": {"x": "\x00"}, "updated_at": "x"}}, id="nul"),
    ],
)
def test_memories_of_a_wrong_shape_are_refused_whole(memories: Any, clock: FakeClock) -> None:
    """Bounded like everything that comes in."""
    run = {"id": "run-1", "name": "n", "project": "p", "session": "s"}
    beat = json.dumps({"run": run, "seq": 1, "beat_s": 30, "memories": memories}).encode()
    batch = json.dumps({"events": [], "memories": {"run-1": memories}}).encode()

    with pytest.raises(PayloadError):
        parse_beat(beat, clock.now(), 60.0)
    with pytest.raises(PayloadError):
        parse_events(batch)
