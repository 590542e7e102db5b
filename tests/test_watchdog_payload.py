"""What may come in, and what is said about the rest."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot import notify_epoch
from notifybot.events import MOST_METRICS, EpochFinished, Event, RunEnded, RunStarted, to_json, within_bounds
from notifybot.model import Metric, Progress, RunRef, uuid7
from notifybot.store import runs
from notifybot.training import shared
from notifybot.watchdog.payload import PayloadError, parse_beat, parse_events
from notifybot.web.guard import MOST_BYTES

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
RUN = {"id": "r", "name": "n", "project": "p", "session": "s"}
EPOCH: dict[str, Any] = {
    "kind": "epoch_finished",
    "id": "e-1",
    "run": RUN,
    "at": "2026-11-23T03:00:00Z",
    "progress": {"done": 1, "metrics": {"loss": {"value": 0.5}}},
}
BEAT: dict[str, Any] = {"run": RUN, "seq": 1, "beat_s": 30}


def body(**changes: Any) -> bytes:
    return json.dumps({"events": [EPOCH | changes]}).encode()


def beat_body(**changes: Any) -> bytes:
    return json.dumps(BEAT | changes).encode()


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", '"NaN"', '"Infinity"', "1e999", "0.25"])
def test_a_metric_may_be_any_number_there_is(number: str) -> None:
    text = body().replace(b"0.5", number.encode())
    (event,) = parse_events(text).events

    assert isinstance(event, EpochFinished)
    value, expected = event.progress.metrics["loss"].value, float(number.strip('"'))
    assert value == expected or (math.isnan(value) and math.isnan(expected))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param(b"", "body", id="nothing"),
        pytest.param(b"\xff\xfe", "body", id="no text"),
        pytest.param(b"[" * 100_000, "body", id="deep"),
        pytest.param(b'{"events": 1}', "events", id="no list"),
        pytest.param(b'{"events": [{}]}', "events.0", id="no event"),
        pytest.param(json.dumps({"events": [EPOCH] * 501}).encode(), "events", id="too many"),
        pytest.param(body(kind="run_vanished"), "events.0", id="unknown kind"),
        pytest.param(body(id=""), "event.id", id="empty id"),
        pytest.param(body(id="x" * 65), "event.id", id="long id"),
        pytest.param(body(id="a\nb"), "event.id", id="id of two lines"),
        pytest.param(body(run=RUN | {"id": "  "}), "run.id", id="empty run id"),
        pytest.param(body(run=RUN | {"id": "a\x00b"}), "run.id and run.session", id="NUL in run id"),
        pytest.param(body(run=RUN | {"name": "가" * 501}), "run.name", id="long name"),
        pytest.param(body(run=RUN | {"session": "s" * 65}), "run.session", id="long session"),
        pytest.param(body(at="2026-11-23T03:00:00"), "at", id="no time zone"),
        pytest.param(body(at="0001-01-01T00:00:00+14:00"), "at", id="before the calendar"),
        pytest.param(body(at="9999-12-31T23:59:59-14:00"), "at", id="after the calendar"),
        pytest.param(body(at=1e300), "events.0.epoch_finished.at", id="endless number of seconds"),
        pytest.param(body(progress={"done": 2**60}), "epoch_finished", id="huge number"),
        pytest.param(body(progress={"checkpoint": {"path": "x" * 65_537}}), "epoch_finished", id="huge text"),
        pytest.param(
            body(progress={"metrics": {str(n): {"value": 1} for n in range(2001)}}), "epoch_finished", id="many metrics"
        ),
        pytest.param(body().replace(b'"n"', b'"\\ud800"'), "body", id="half a character"),
    ],
)
def test_what_is_no_event_is_refused_with_its_place(text: bytes, place: str) -> None:
    with pytest.raises(PayloadError) as caught:
        parse_events(text)
    assert str(caught.value).startswith(place + (":" if place != "events.0.epoch_finished.at" else ""))
    assert len(str(caught.value)) < 320


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"seq": -1}, id="negative number"),
        pytest.param({"seq": 2**60}, id="huge number"),
        pytest.param({"beat_s": 0}, id="no interval"),
        pytest.param({"beat_s": math.nan}, id="NaN interval"),
        pytest.param({"beat_s": math.inf}, id="endless interval"),
        pytest.param({"beat_s": 90_000}, id="more than a day"),
        pytest.param({"progress_age_s": -1}, id="moves in the future"),
        pytest.param({"next_in_s": math.inf}, id="endless promise"),
        pytest.param({"run": RUN | {"id": ""}}, id="no run"),
        pytest.param({"stack": "x" * 65_537}, id="huge stack"),
    ],
)
def test_what_is_no_heartbeat_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PayloadError):
        parse_beat(beat_body(**changes), NOW, 86_400)


def test_a_heartbeat_is_placed_on_our_clock() -> None:
    beat = parse_beat(beat_body(progress_age_s=12.5, next_in_s=600, epoch=3, steps=17), NOW, 86_400)

    assert beat.progress_at == NOW - timedelta(seconds=12.5)
    assert beat.next_by == NOW + timedelta(seconds=600)


@pytest.mark.parametrize(("next_in_s", "ahead_s"), [(None, None), (0, None), (1e300, 86_400)])
def test_a_promise_reaches_so_far_and_no_further(next_in_s: float | None, ahead_s: float | None) -> None:
    beat = parse_beat(beat_body(next_in_s=next_in_s, progress_age_s=1e300), NOW, 86_400)

    assert beat.next_by == (None if ahead_s is None else NOW + timedelta(seconds=ahead_s))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(place=st.sampled_from([*EPOCH]), value=_JSON)
def test_anything_is_an_event_or_refused(place: str, value: Any) -> None:
    with contextlib.suppress(PayloadError):
        parse_events(json.dumps({"events": [EPOCH | {place: value}]}).encode())


@given(place=st.sampled_from([*BEAT, "progress_age_s", "next_in_s", "stack"]), value=_JSON)
def test_anything_is_a_heartbeat_or_refused(place: str, value: Any) -> None:
    with contextlib.suppress(PayloadError):
        parse_beat(json.dumps(BEAT | {place: value}).encode(), NOW, 86_400)


def hook_events(epochs: Iterable[int], params: object = None, **metrics: float) -> list[Event]:
    """Three epochs of a run as the hook records them."""
    settings = {"tensorboard": "off", "wandb": "off"}
    try:
        with notify_epoch(epochs, params=params, config=settings, notifiers=[], progress=False) as loop:
            for _ in itertools.islice(loop, 3):
                loop.log(metrics)
            session = loop.run.session
            assert session is not None
        return runs.events_of(session.shared.store, loop.run.id)
    finally:
        shared.close()


@pytest.mark.parametrize(
    ("epochs", "params", "metrics"),
    [
        pytest.param(range(sys.maxsize), None, {"loss": 1.0}, id="no end in sight"),
        pytest.param([time.time_ns() + each for each in range(9)], None, {"loss": 1.0}, id="labels of nanoseconds"),
        pytest.param(range(3), {"seed": 13837088293746928374}, {"loss": 1.0}, id="a seed of 64 bits"),
        pytest.param(range(3), None, {f"norm/layer.{each}": 1.0 for each in range(1200)}, id="a norm per parameter"),
        pytest.param(range(3), {f"p{each}": 10**each for each in range(400)}, {"loss": 1.0}, id="400 parameters"),
    ],
)
def test_what_the_hook_records_is_taken(epochs: Iterable[int], params: object, metrics: dict[str, float]) -> None:
    """A figure never costs an ending: a run whose end is refused would be told lost."""
    told = hook_events(epochs, params, **metrics)

    bodies = [f'{{"events":[{to_json(event)}]}}'.encode() for event in told]
    assert [each.kind for body in bodies for each in parse_events(body).events] == [event.kind for event in told]
    assert isinstance(told[-1], RunEnded)


def test_what_is_beyond_the_bounds_is_told_as_far_as_it_goes() -> None:
    started, *_, ended = hook_events(
        [2**60, 2**61, 2**62, 2**63], {"seed": 2**63}, **{f"m{n}": 1.0 for n in range(700)}
    )

    assert isinstance(started, RunStarted)
    assert (started.total, started.params) == (4, {"seed": "9223372036854775808"})
    assert (ended.progress.epoch, ended.progress.done) == (None, 3)
    assert (len(ended.progress.metrics), ended.progress.more) == (MOST_METRICS, 700 - MOST_METRICS)


def test_the_largest_event_fits_in_a_request() -> None:
    past = tuple(-1.2345678901234567e-300 for _ in range(32))
    metrics = {f"{'이름' * 98}{n:04}": Metric(past[0], past[0], past[0], 2**53, past) for n in range(2000)}
    run = RunRef(id="r" * 200, name="n" * 500, project="p" * 200, session="s" * 64)
    event = EpochFinished(id=uuid7(), run=run, at=NOW, progress=Progress(epoch=2**53, metrics=metrics))

    body = f'{{"events":[{to_json(within_bounds(event))}]}}'.encode()

    assert len(body) < MOST_BYTES
    parse_events(body)
