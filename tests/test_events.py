"""Events, their JSON, and their limits."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot.events import (
    EVENT_TYPES,
    KINDS,
    LARGEST_INT,
    LONGEST_S,
    LONGEST_TEXT,
    MOST_METRICS,
    MOST_PARAMS,
    MOST_POINTS,
    CheckpointSaved,
    EpochFinished,
    Event,
    RunStarted,
    from_json,
    kind_of,
    to_json,
    within_bounds,
)
from notifybot.types import Checkpoint, Host, Metric, Progress, Resumed, RunRef

NOON = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
FACT: dict[str, Any] = {"id": "e-1", "run": RunRef("r", "resnet", "vision", "s"), "at": NOON}
HUGE = LARGEST_INT + 1


def epoch(new_best: str | None = None, **progress: Any) -> EpochFinished:
    return EpochFinished(**FACT, progress=Progress(**progress), new_best=new_best)


def started(**fields: Any) -> RunStarted:
    return RunStarted(**FACT, **fields)


def test_every_event_has_a_kind_of_its_own() -> None:
    own = [next(field.default for field in fields(each) if field.name == "kind") for each in EVENT_TYPES]

    assert own == [kind_of(each) for each in EVENT_TYPES] == list(KINDS)
    assert len(set(KINDS)) == len(EVENT_TYPES)


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.lists(st.floats(), min_size=1, max_size=4), max_size=4))
def test_an_event_comes_back_from_json_as_it_was(logged: dict[str, list[float]]) -> None:
    """NaN and infinity too, in JSON that any reader takes."""
    event = epoch(
        epoch=3, done=4, metrics={name: Metric(past[-1], history=tuple(past)) for name, past in logged.items()}
    )

    text = to_json(event)
    back = from_json(text)

    assert (back.id, back.run, back.at, back.kind) == (event.id, event.run, event.at, event.kind)
    assert repr(back.progress) == repr(event.progress)  # NaN equals nothing
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))


def test_what_is_no_event_is_a_value_error() -> None:
    with pytest.raises(ValueError):
        from_json('{"kind": "run_vanished"}')


@pytest.mark.parametrize(
    "event",
    [
        epoch(),
        epoch("val_loss", epoch=LARGEST_INT, total=None, done=5, epoch_s=LONGEST_S, elapsed_s=0.0, eta_s=0.0),
        epoch(metrics={"가" * LONGEST_TEXT: Metric(math.nan, history=(math.nan,) * 32, epochs=tuple(range(32)))}),
        epoch(metrics={str(number): Metric(1.0, history=(1.0,) * 12) for number in range(MOST_METRICS)}),
        started(total=5, params={str(number): number for number in range(MOST_PARAMS)}, host=Host(up_s=60.0)),
        CheckpointSaved(**FACT, checkpoint=Checkpoint("last.pt", epoch=-LARGEST_INT)),
    ],
    ids=["empty", "largest numbers", "longest name", "most metrics", "start", "checkpoint"],
)
def test_an_event_within_the_limits_stays_the_same(event: Event) -> None:
    assert within_bounds(event) is event


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param({"epoch": HUGE, "done": 5}, {"epoch": None, "done": 5}, id="label"),
        pytest.param({"epoch": -HUGE}, {"epoch": None}, id="label below zero"),
        pytest.param({"done": HUGE}, {"done": 0}, id="count"),
        pytest.param({"total": HUGE, "eta_s": 5.0}, {"total": None, "eta_s": None}, id="total"),
        pytest.param({"epoch_s": -1.0}, {"epoch_s": None}, id="an epoch of no time"),
        pytest.param({"epoch_s": math.nan, "eta_s": 1e300}, {"epoch_s": None, "eta_s": None}, id="no durations"),
        pytest.param({"elapsed_s": math.inf}, {"elapsed_s": 0.0}, id="endless"),
        pytest.param(
            {"checkpoint": Checkpoint("a.pt", HUGE)}, {"checkpoint": Checkpoint("a.pt", None)}, id="checkpoint"
        ),
        pytest.param(
            {"metrics": {"a\x00b": Metric(1.0, best=1.0, best_epoch=HUGE, lowest=(HUGE, 1.0), highest=(2, 1.0))}},
            {"metrics": {"a�b": Metric(1.0, best=1.0, best_epoch=None, lowest=None, highest=(2, 1.0))}},
            id="metric",
        ),
        pytest.param(
            {"metrics": {"loss": Metric(1.0, history=(2.0, 1.0), epochs=(HUGE, HUGE + 1))}},
            {"metrics": {"loss": Metric(1.0, history=(2.0, 1.0), epochs=())}},
            id="labels of a metric",
        ),
    ],
)
def test_what_is_too_large_is_left_out(given: dict[str, Any], kept: dict[str, Any]) -> None:
    assert within_bounds(epoch(**given)).progress == Progress(**kept)


def test_of_many_metrics_the_first_are_kept_and_the_others_counted() -> None:
    past = tuple(float(number) for number in range(32))
    metrics = {str(number): Metric(31.0, history=past, epochs=tuple(range(32))) for number in range(MOST_METRICS + 7)}

    kept = within_bounds(epoch(metrics=metrics, more=2)).progress

    assert (list(kept.metrics), kept.more) == ([str(number) for number in range(MOST_METRICS)], 9)
    points = MOST_POINTS // MOST_METRICS
    assert kept.metrics["0"] == Metric(31.0, history=past[-points:], epochs=tuple(range(32))[-points:])


def test_a_name_of_a_new_best_is_cut_as_the_metrics_is() -> None:
    name = "x" * (LONGEST_TEXT + 1)
    event = within_bounds(epoch(name, metrics={name: Metric(1.0)}))

    assert isinstance(event, EpochFinished)
    assert [event.new_best] == list(event.progress.metrics) == [name[:LONGEST_TEXT]]


def test_a_start_keeps_what_fits() -> None:
    params = {"seed": 2**63, "lr": 0.1} | {str(number): number for number in range(MOST_PARAMS)}
    resumed = Resumed(HUGE, "a.pt", since_s=-5.0, lost_s=math.nan, next_epoch=HUGE)

    event = within_bounds(started(total=HUGE, params=params, host=Host(up_s=-1.0), resumed=resumed))

    assert isinstance(event, RunStarted)
    assert (event.total, event.host.up_s, len(event.params)) == (None, None, MOST_PARAMS)
    assert (event.params["seed"], event.params["lr"]) == ("9223372036854775808", 0.1)
    assert event.resumed == Resumed(None, "a.pt", since_s=0.0, lost_s=None, next_epoch=None)


_NUMBERS = st.integers(-(2**60), 2**60) | st.integers(-5, 5)
_PAST = st.lists(_NUMBERS, max_size=5).map(tuple)


@given(
    st.builds(
        Progress,
        epoch=st.none() | _NUMBERS,
        done=_NUMBERS,
        total=st.none() | _NUMBERS,
        epoch_s=st.none() | st.floats(),
        elapsed_s=st.floats(),
        eta_s=st.none() | st.floats(),
        checkpoint=st.none() | st.builds(Checkpoint, st.just("a.pt"), _NUMBERS),
        metrics=st.dictionaries(
            st.text(max_size=3), st.builds(Metric, st.floats(), epochs=_PAST, best_epoch=_NUMBERS), max_size=3
        ),
    )
)
def test_what_was_cut_is_within_the_limits(progress: Progress) -> None:
    kept = within_bounds(replace(epoch(), progress=progress))

    assert within_bounds(kept) is kept
    if kept.progress is not progress:
        assert repr(kept.progress) != repr(progress)


def test_an_event_without_a_unit_counts_epochs_and_fields_of_a_later_version_are_left_out() -> None:
    """A watchdog that is older or newer than the training takes what it knows, and refuses nothing."""
    progress = Progress(epoch=500, done=500, unit="step", part=2.3, metrics={"speed": Metric(9.0, minor=True)})
    event = EpochFinished(id="1", run=RunRef(id="r", name="gpt", project="p"), at=datetime.now(UTC), progress=progress)
    row = json.loads(to_json(event))

    assert from_json(json.dumps(row)) == event
    row["later"] = row["progress"]["later"] = row["progress"]["metrics"]["speed"]["later"] = {"a": 1}
    assert from_json(json.dumps(row)) == event
    for field in ("unit", "part"):
        del row["progress"][field]
    del row["progress"]["metrics"]["speed"]["minor"]
    older = from_json(json.dumps(row))
    assert (older.progress.unit, older.progress.part) == ("epoch", None)
    assert list(older.progress.shown) == ["speed"]
