"""What may come in, and what is said about the rest."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from notifybot import notify_epoch
from notifybot.errors import UsageError
from notifybot.events import (
    MOST_METRICS,
    AlertRaised,
    CheckpointSaved,
    EpochFinished,
    Event,
    RunEnded,
    RunStarted,
    to_json,
    within_bounds,
)
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.training.session import close
from notifybot.types import Checkpoint, Metric, Progress, RunRef, uuid7
from notifybot.watchdog import tokens
from notifybot.watchdog.schemas import PayloadError, parse_beat, parse_events
from notifybot.watchdog.service import Watchdog
from notifybot.web.middleware import MOST_BYTES

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
        pytest.param(body(progress={"epoch_s": 1e13}), "epoch_finished.epoch_s", id="an epoch of ages"),
        pytest.param(body(progress={"eta_s": -1}), "epoch_finished.eta_s", id="an end in the past"),
        pytest.param(body(progress={"elapsed_s": math.nan}), "epoch_finished.elapsed_s", id="no number of seconds"),
        pytest.param(body(progress={"elapsed_s": math.inf}), "epoch_finished.elapsed_s", id="endless"),
        pytest.param(body(kind="run_started", host={"up_s": 1e13}), "run_started.up_s", id="up for ages"),
        pytest.param(body(kind="run_ended", status="running"), "run_ended.status", id="an ending that is none"),
        pytest.param(body(kind="run_ended", status="lost"), "run_ended.status", id="an ending from outside"),
        pytest.param(body(kind="run_lost", silent_s=1, limit_s=1), "run_lost", id="the watchdog's own word: lost"),
        pytest.param(body(kind="run_stalled", silent_s=1, limit_s=1), "run_stalled", id="its own: stalled"),
        pytest.param(body(kind="run_recovered", was="lost", away_s=1), "run_recovered", id="its own: recovered"),
        pytest.param(body().replace(b'"n"', b'"\\ud800"'), "body", id="half a character"),
    ],
)
def test_what_is_no_event_is_refused_with_its_place(text: bytes, place: str) -> None:
    with pytest.raises(PayloadError) as caught:
        parse_events(text)
    assert str(caught.value).startswith(place + (":" if place != "events.0.epoch_finished.at" else ""))
    assert len(str(caught.value)) < 320


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        pytest.param(body(progress={"unit": "token", "done": 1500, "total": 20_000}), "step", id="unit"),
        pytest.param(body(progress={"checkpoint": {"path": "a.pt", "tier": "signed"}}), "", id="tier"),
        pytest.param(body(kind="checkpoint_saved", checkpoint={"path": "a.pt", "tier": "signed"}), "", id="saved"),
        pytest.param(body(kind="alert_raised", title="look", severity="notice"), "warning", id="severity"),
        pytest.param(body(kind="alert_raised", title="look", about="cost"), "", id="about"),
        pytest.param(body(novelty={"a": 1}, progress={"novelty": 1}), "epoch", id="fields"),
    ],
)
def test_a_word_that_only_a_newer_version_knows_costs_no_event(sent: bytes, word: str) -> None:
    """A start or an ending that is refused would leave a run unwatched, or lost for good."""
    (event,) = parse_events(sent).events

    match event:
        case AlertRaised():
            assert word in (event.severity, event.about)
        case CheckpointSaved():
            assert event.checkpoint == Checkpoint("a.pt")
        case _:
            assert word in (event.progress.unit, event.progress.checkpoint and event.progress.checkpoint.tier)
            assert event.progress.unit == "epoch" or (event.progress.done, event.progress.total) == (1500, 20_000)


def test_of_many_events_the_new_words_go_and_the_rest_stays() -> None:
    known, unknown = EPOCH | {"id": "e-2"}, EPOCH | {"progress": {"unit": "token", "metrics": {"unit": {"value": 1}}}}

    events = parse_events(json.dumps({"events": [unknown, known]}).encode()).events

    assert [(each.id, each.progress.unit, [*each.progress.metrics]) for each in events] == [
        ("e-1", "step", ["unit"]),
        ("e-2", "epoch", ["loss"]),
    ]


def test_an_ending_of_a_kind_that_is_not_known_is_refused() -> None:
    """Nothing can stand for it: told as finished, it might be a lie."""
    with pytest.raises(PayloadError, match="status"):
        parse_events(body(kind="run_ended", status="evicted"))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"seq": -1}, id="negative number"),
        pytest.param({"seq": 2**60}, id="huge number"),
        pytest.param({"seq": 2**53 - 1}, id="a number after which no other could come"),
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


def hook_events(
    epochs: Iterable[int], params: object, metrics: Mapping[str, float], *, name: str | None = None, note: str = ""
) -> list[Event]:
    """Three epochs of a run as the hook records them; with a note it is told, and the run dies of it."""
    config, session = {"tensorboard": "off", "wandb": "off"}, None
    try:
        with (
            contextlib.suppress(RuntimeError, UsageError),
            notify_epoch(epochs, name=name, params=params, config=config, notifiers=[], progress=False) as loop,
        ):
            for _ in itertools.islice(loop, 3):
                session = loop.run.session
                loop.log(metrics)
            if note:
                loop.run.alert(note, note)
                raise RuntimeError(note)
        return runs.events_of(session.shared.store, loop.run.id) if session else []
    finally:
        close()


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
    told = hook_events(epochs, params, metrics)

    bodies = [f'{{"events":[{to_json(event)}]}}'.encode() for event in told]
    assert [each.kind for body in bodies for each in parse_events(body).events] == [event.kind for event in told]
    assert isinstance(told[-1], RunEnded)


def test_what_is_beyond_the_bounds_is_told_as_far_as_it_goes() -> None:
    started, *_, ended = hook_events([2**60, 2**61, 2**62, 2**63], {"seed": 2**63}, {f"m{n}": 1.0 for n in range(700)})

    assert isinstance(started, RunStarted)
    assert (started.total, started.params) == (4, {"seed": "9223372036854775808"})
    assert (ended.progress.epoch, ended.progress.done) == (None, 3)
    assert (len(ended.progress.metrics), ended.progress.more) == (MOST_METRICS, 700 - MOST_METRICS)


def test_the_largest_event_fits_in_a_request() -> None:
    past = tuple(-1.2345678901234567e-300 for _ in range(32))
    far = (2**53, past[0])
    metric = Metric(past[0], past[0], past[0], 2**53, past, (2**53,) * len(past), lowest=far, highest=far)
    metrics = {f"{'이름' * 98}{n:04}": metric for n in range(2000)}
    run = RunRef(id="r" * 200, name="n" * 500, project="p" * 200, session="s" * 64)
    event = EpochFinished(id=uuid7(), run=run, at=NOW, progress=Progress(epoch=2**53, metrics=metrics))

    body = f'{{"events":[{to_json(within_bounds(event))}]}}'.encode()

    assert len(body) < MOST_BYTES
    parse_events(body)


ENDING = EPOCH | {"kind": "run_ended", "status": "finished"}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"progress": {"done": 2**60}}, id="huge number"),
        pytest.param({"progress": {"elapsed_s": 1e300, "epoch_s": math.nan, "eta_s": -5}}, id="spans"),
        pytest.param({"progress": {"metrics": {str(n): {"value": 1} for n in range(3000)}}}, id="many metrics"),
        pytest.param({"progress": {"metrics": {"x" * 70_000: {"value": 1}}}}, id="a long name"),
        pytest.param({"progress": {"checkpoint": {"path": "x" * 70_000}}}, id="a long path"),
        pytest.param({"error": "x\x00" * 70_000, "frames": "x" * 70_000}, id="a long error"),
        pytest.param({"at": "1970-01-01T00:00:07Z"}, id="a clock without a battery"),
    ],
)
def test_an_ending_is_never_refused_for_a_figure_in_it(changes: dict[str, Any]) -> None:
    (event,) = parse_events(json.dumps({"events": [ENDING | changes]}).encode()).events

    assert isinstance(event, RunEnded)
    assert event.status == "finished"
    assert json.loads(to_json(event))["id"] == "e-1"
    parse_events(f'{{"events":[{to_json(event)}]}}'.encode())


NUMBERS = st.floats() | st.integers(-(2**70), 2**70) | st.just(sys.maxsize)
WORDS = st.text(max_size=30) | st.sampled_from(
    ["x" * 70_000, "가" * 600, "a\x00b", "\ud800", "../\\<b>&", "\u202e", "  "]
)
LABELS = st.sampled_from(
    [
        range(sys.maxsize),
        range(3),
        range(2**62, 2**62 + 3),
        [time.time_ns() + each for each in range(3)],
        [-(2**63), 2**64, 5],
    ]
)


@settings(
    max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(data=st.data(), epochs=LABELS, number=st.integers(0, 3000), word=WORDS, name=WORDS)
def test_the_service_takes_whatever_the_hook_records(
    data: st.DataObject, epochs: Iterable[int], number: int, word: str, name: str
) -> None:
    """From the loop through the relay's encoding into the service: nothing of a run is ever refused."""
    params = data.draw(st.dictionaries(WORDS, NUMBERS | WORDS | st.none() | st.booleans(), max_size=4))
    value = data.draw(st.floats())
    metrics = {f"norm/layer.{each}": value for each in range(number)} | {"loss": value, f"m {word[:150]}": 1.0}
    told = hook_events(epochs, params, metrics, name=name, note=word)
    assume(told)  # a name of nothing is no name: the training does not start

    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "watchdog.db", patience_s=5.0) as store:
        token, watchdog = tokens.create(store, "vision"), Watchdog(store)
        taken = [watchdog.accept_events(token, f'{{"events":[{to_json(each)}]}}'.encode()).accepted for each in told]
        with store.reading() as connection:
            (row,) = runs.board(connection).rows
    assert len(taken) >= 2
    assert taken == [1] * len(told)
    assert row.status.ended
