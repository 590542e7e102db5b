"""Parsing of reports: JSON to events and heartbeats, or one sentence on why it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import getitem
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from notifybot.errors import NotifybotError
from notifybot.events import (
    LARGEST_INT,
    LONGEST_BEAT_S,
    LONGEST_S,
    LONGEST_TEXT,
    MOST_ITEMS,
    WIDTHS,
    Event,
    RunEnded,
    RunLost,
    RunRecovered,
    RunStalled,
    RunStarted,
    within_bounds,
)
from notifybot.store.heartbeats import Beat
from notifybot.store.notifier_state import MOST_OWNERS
from notifybot.types import Progress, RunRef

MOST_EVENTS = 500

_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)  # boards without a battery
_NO_SUCH_WORD = frozenset({"enum", "literal_error"})  # pydantic's types of errors
_LARGEST_SEQ = 10**9  # three heartbeats a second for ten years


class PayloadError(NotifybotError):
    """A request's body is not what its address takes. React: correct the client; sending it again is useless."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events as one request brought them. `direct`: the process itself sends messages about them.

    `memories` is what its notifiers remember, by run: where the run's thread is, so that we can reply there too.
    """

    events: tuple[Event, ...]
    direct: bool
    memories: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class _Kept(BaseModel):
    """One notifier's memory of one run, as `store.notifier_state` gives and takes it."""

    value: dict[str, JsonValue]
    updated_at: str


_Memories = Annotated[dict[str, _Kept], Field(max_length=MOST_OWNERS)]


class _Events(BaseModel):
    events: Annotated[list[Annotated[Event, Field(discriminator="kind")]], Field(max_length=MOST_EVENTS)]
    direct: bool = False
    memories: Annotated[dict[str, _Memories], Field(max_length=MOST_EVENTS)] = {}


class _Beat(BaseModel):
    """Ages and spans instead of moments: a client's clock may be hours off, its stopwatch is not."""

    model_config = ConfigDict(allow_inf_nan=False)

    run: RunRef
    seq: Annotated[int, Field(ge=0, le=_LARGEST_SEQ)]
    beat_s: Annotated[float, Field(gt=0, le=LONGEST_BEAT_S)]
    progress_age_s: Annotated[float, Field(ge=0)] | None = None
    next_in_s: Annotated[float, Field(ge=0)] | None = None
    stack: str = ""
    memories: _Memories = {}


_EVENTS: TypeAdapter[_Events] = TypeAdapter(_Events)
_BEAT: TypeAdapter[_Beat] = TypeAdapter(_Beat)


def parse_events(body: bytes) -> Batch:
    """Read `{"events": [...], "direct": bool, "memories": {run: …}}`. Raises PayloadError.

    An ending is not refused for a figure in it, or its run would count as lost: what is beyond the bounds is left out.
    No event is refused for a word that only a newer version knows, such as a checkpoint's new tier.
    """
    batch = _read(_EVENTS, body, amend=_without_new_words)
    events = tuple(_trimmed(each) if isinstance(each, RunEnded) else each for each in batch.events)
    for event in events:
        _check_event(event)
    return Batch(events, batch.direct, {run: _plain(kept) for run, kept in batch.memories.items()})


def parse_beat(body: bytes, now: datetime, promise_max_s: float) -> Beat:
    """Read a heartbeat and convert its times to the watchdog's clock. Raises PayloadError."""
    sent = _read(_BEAT, body)
    _check_run(sent.run)
    _check_values("heartbeat", sent.stack)
    age_s = None if sent.progress_age_s is None else min(sent.progress_age_s, LONGEST_S)
    return Beat(
        run=sent.run,
        seq=sent.seq,
        beat_s=sent.beat_s,
        progress_at=None if age_s is None else now - timedelta(seconds=age_s),
        next_by=now + timedelta(seconds=min(sent.next_in_s, promise_max_s)) if sent.next_in_s else None,
        stack=sent.stack,
        memories=_plain(sent.memories),
    )


def _plain(memories: Mapping[str, _Kept]) -> dict[str, Any]:
    for owner, kept in memories.items():
        _check_values("memories", owner, kept.value, kept.updated_at)
    return {owner: kept.model_dump() for owner, kept in memories.items()}


_Amend = Callable[[bytes, ValidationError], bytes]


def _read(adapter: TypeAdapter[Any], body: bytes, *, amend: _Amend | None = None) -> Any:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        if amend is not None and (amended := amend(body, error)) != body:
            return _read(adapter, amended)
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:100]
        raise PayloadError(f"{place or 'body'}: {first['msg'][:200]}") from None


def _without_new_words(body: bytes, error: ValidationError) -> bytes:
    """Return the body without the words that only a newer version knows: the default of their field stands instead.

    A unit that is not known is taken for steps, since its counts are no epochs.
    """
    sent = json.loads(body) if any(each["type"] in _NO_SUCH_WORD for each in error.errors()) else {}
    for each in error.errors(include_url=False, include_context=False):
        if each["type"] in _NO_SUCH_WORD and isinstance(each["input"], str):
            _, place, _, *way, name = each["loc"]  # "events", its number, its kind, and the way within it
            holder = reduce(getitem, way, sent["events"][place])
            holder.pop(name, None)
            if name == "unit":
                holder[name] = "step"
    return json.dumps(sent).encode() if sent else body


def _trimmed(ending: RunEnded) -> RunEnded:
    error, frames = (text.replace("\x00", "") for text in (ending.error, ending.frames))
    progress = within_bounds(ending).progress
    try:
        _check_values("", progress)
    except PayloadError:
        progress = Progress()  # the run's progress is known from its epochs
    return replace(ending, error=error[:LONGEST_TEXT], frames=frames[-LONGEST_TEXT:], progress=progress)


def _check_event(event: Event) -> None:
    if isinstance(event, RunLost | RunStalled | RunRecovered):
        raise PayloadError(f"{event.kind}: only the watchdog itself says so")
    if isinstance(event, RunEnded) and not event.status.ended:
        raise PayloadError(f"run_ended.status: {event.status.value} is no ending")
    if not (0 < len(event.id) <= 64 and event.id.isascii() and event.id.isprintable()):
        raise PayloadError("event.id: must be 1 to 64 printable ASCII characters")
    _check_run(event.run)
    if event.at.tzinfo is None:
        raise PayloadError("at: must carry a time zone, such as a final Z")
    if not _EARLIEST <= event.at < _LATEST:
        raise PayloadError("at: must lie between the years 1970 and 2200")
    if isinstance(event, RunStarted) and event.beat_s is not None and not 0 < event.beat_s <= LONGEST_BEAT_S:
        raise PayloadError(f"beat_s: must be more than 0 and at most {LONGEST_BEAT_S:.0f} seconds")
    _check_values(event.kind, event)


def _check_run(run: RunRef) -> None:
    if not run.id.strip():
        raise PayloadError("run.id: must not be empty")
    for name, width in WIDTHS.items():
        if len(getattr(run, name)) > width:
            raise PayloadError(f"run.{name}: longer than {width} characters")
    if not (run.id + run.session).isprintable():
        raise PayloadError("run.id and run.session: must be printable")


def _check_values(place: str, *values: object) -> None:
    """Bound every text, number and list, however deep; NaN and infinity are numbers here."""
    for value in values:
        match value:
            case str() if len(value) > LONGEST_TEXT or "\x00" in value:
                raise PayloadError(f"{place}: a text is longer than {LONGEST_TEXT} characters or holds a NUL")
            case int() if abs(value) > LARGEST_INT:
                raise PayloadError(f"{place}: a whole number is larger than 2 to the 53rd")
            case _:
                _check_values(place, *_parts(place, value))


def _parts(place: str, value: object) -> Iterable[object]:
    if is_dataclass(value):
        found = {each.name: getattr(value, each.name) for each in fields(value)}
        for name, part in found.items():
            if name.endswith("_s") and part is not None and not 0 <= part <= LONGEST_S:
                raise PayloadError(f"{place}.{name}: must be a number of seconds, from 0 to {LONGEST_S:.0f}")
        return found.values()
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if not isinstance(value, list | tuple):
        return ()
    if len(value) > MOST_ITEMS:
        raise PayloadError(f"{place}: a list is longer than {MOST_ITEMS} entries")
    return value
