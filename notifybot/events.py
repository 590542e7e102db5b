"""Events: immutable facts about a run, and the JSON they travel in. NaN and infinity pass as themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, get_args

from notifybot.types import (
    Checkpoint,
    Host,
    Metric,
    ModelSize,
    Notice,
    Param,
    Progress,
    Resumed,
    RunRef,
    Severity,
    Status,
)

# Limits of an event. The hook keeps within them (`within_bounds`); the watchdog refuses an event that does not.
LARGEST_INT = 2**53  # larger integers are rounded in JavaScript and by most readers of JSON
MOST_METRICS = 500
MOST_POINTS = 6_000  # history values of all metrics together: an event stays well below a megabyte
MOST_PARAMS = 200
MOST_ITEMS = 2_000  # of any list or mapping; a mapping's keys count too
LONGEST_TEXT = 65_536  # characters
LONGEST_BEAT_S = 86_400.0
LONGEST_S = 10 * 365 * 86_400.0  # of every duration in an event, named `…_s`
LONGEST_PROMISE_S = LONGEST_S
WIDTHS = {"id": 200, "project": 200, "session": 64, "name": 500}  # of a run's texts, in characters


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fact:
    """Base of all events. `id` is a UUIDv7 made at the source and the idempotency key everywhere."""

    id: str
    run: RunRef
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(_Fact):
    """A process began to work on a run. `attempt` counts its sessions from 1; more than 1 means resumed.

    `beat_s` is the promised time between heartbeats, in seconds; None where none will be sent.
    """

    kind: Literal["run_started"] = "run_started"
    attempt: int = 1
    total: int | None = None
    params: dict[str, Param] = field(default_factory=dict)
    host: Host = field(default_factory=Host)
    progress: Progress = field(default_factory=Progress)
    beat_s: float | None = None
    resumed: Resumed | None = None  # the checkpoint, if restored from one of notifybot's
    model: ModelSize | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochFinished(_Fact):
    """An epoch ended. `new_best` names the watched metric when this epoch's value is the best so far."""

    kind: Literal["epoch_finished"] = "epoch_finished"
    progress: Progress
    new_best: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(_Fact):
    """The user's code, or ours, saved a training state."""

    kind: Literal["checkpoint_saved"] = "checkpoint_saved"
    checkpoint: Checkpoint
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRaised(_Fact):
    """Somebody should look: raised by the user's code, or by us about our delivery or a checkpoint.

    With a `notice`, title and text are its words in the run's language, for readers that do not know its code.
    `held`: beyond the limit of a run's alerts, so it is recorded and no message is sent. `same` and `others` count the
    alerts held since the last one sent: of this title, and of titles never sent.
    """

    kind: Literal["alert_raised"] = "alert_raised"
    title: str
    text: str = ""
    severity: Severity = Severity.WARNING
    about: Literal["", "delivery", "checkpoint"] = ""
    progress: Progress = field(default_factory=Progress)
    notice: Notice | None = None
    held: bool = False
    same: int = 0
    others: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(_Fact):
    """The process reported how its run ended. `error` is "Type: text"; `frames` the last lines of user code, no locals.

    `note` says why it finished early, on purpose. `untold` counts alerts for which no message was sent.
    """

    kind: Literal["run_ended"] = "run_ended"
    status: Status
    progress: Progress = field(default_factory=Progress)
    error: str = ""
    frames: str = ""
    note: str = ""
    notebook: bool | None = None  # as in `Host`
    untold: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStalled(_Fact):
    """The process lives but its loop has not moved for `silent_s` seconds (limit: `limit_s`)."""

    kind: Literal["run_stalled"] = "run_stalled"
    silent_s: float
    limit_s: float
    stack: str = ""
    host: Host = field(default_factory=Host)
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLost(_Fact):
    """Nothing was heard for `silent_s` seconds (limit: `limit_s`): the process died, or its network did."""

    kind: Literal["run_lost"] = "run_lost"
    silent_s: float
    limit_s: float
    host: Host = field(default_factory=Host)
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecovered(_Fact):
    """A run that was reported lost or stalled is back after `away_s` seconds. `was` is "lost" or "stalled"."""

    kind: Literal["run_recovered"] = "run_recovered"
    was: Literal["lost", "stalled"]
    away_s: float
    progress: Progress = field(default_factory=Progress)


Event = RunStarted | EpochFinished | CheckpointSaved | AlertRaised | RunEnded | RunStalled | RunLost | RunRecovered
EVENT_TYPES: tuple[type[Event], ...] = get_args(Event)


def kind_of(event_type: type[Event]) -> str:
    """The word for an event in tables, JSON and template names: `RunStarted` is "run_started"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", event_type.__name__).lower()


def within_bounds(event: Event) -> Event:
    """Return the event cut to the limits of the watchdog; the same object if it is within them.

    A label that is too large is left out: the epochs' count stands for it, as it does for loops without labels.
    """
    changes: dict[str, Any] = {}
    progress = _bounded_progress(event.progress)
    if progress is not event.progress:
        changes["progress"] = progress
    match event:
        case RunStarted():
            if not _fits(event.total):
                changes["total"] = None
            if event.resumed is not None and (resumed := _bounded_resumed(event.resumed)) != event.resumed:
                changes["resumed"] = resumed
            if not _is_span(event.host.up_s):
                changes["host"] = replace(event.host, up_s=None)
            params = dict(list(event.params.items())[:MOST_PARAMS])
            if len(params) < len(event.params) or not all(map(_fits, params.values())):
                changes["params"] = {name: value if _fits(value) else str(value) for name, value in params.items()}
        case EpochFinished() if event.new_best is not None and not _is_text(event.new_best):
            changes["new_best"] = _text(event.new_best)
        case CheckpointSaved() if not _fits(event.checkpoint.epoch):
            changes["checkpoint"] = replace(event.checkpoint, epoch=None)
    return replace(event, **changes) if changes else event


def _bounded_resumed(resumed: Resumed) -> Resumed:
    """Bound a resume's numbers. By a clock that was set back, a checkpoint may be of the future: 0 seconds then."""
    return replace(
        resumed,
        epoch=resumed.epoch if _fits(resumed.epoch) else None,
        next_epoch=resumed.next_epoch if _fits(resumed.next_epoch) else None,
        since_s=resumed.since_s if _is_span(resumed.since_s) else 0.0,
        lost_s=resumed.lost_s if _is_span(resumed.lost_s) else None,
    )


def _bounded_progress(progress: Progress) -> Progress:
    changes: dict[str, Any] = {}
    if not _fits(progress.epoch):
        changes["epoch"] = None
    if not _fits(progress.total):
        changes |= {"total": None, "eta_s": None}
    if not _fits(progress.done):
        changes["done"] = 0
    changes |= {name: None for name in ("epoch_s", "eta_s") if not _is_span(getattr(progress, name))}
    if not _is_span(progress.elapsed_s):
        changes["elapsed_s"] = 0.0
    if progress.checkpoint is not None and not _fits(progress.checkpoint.epoch):
        changes["checkpoint"] = replace(progress.checkpoint, epoch=None)
    metrics = _bounded_metrics(progress.metrics)
    if metrics is not progress.metrics:
        changes |= {"metrics": metrics, "more": progress.more + len(progress.metrics) - len(metrics)}
    return replace(progress, **changes) if changes else progress


def _bounded_metrics(metrics: Mapping[str, Metric]) -> Mapping[str, Metric]:
    """Return the first metrics, each with as much history as there is room for."""
    longest = MOST_POINTS // max(min(len(metrics), MOST_METRICS), 1)
    fine = len(metrics) <= MOST_METRICS and all(
        len(each.history) <= longest
        and _fits(each.best_epoch)
        and _all_fit(each.epochs)
        and _is_text(name)
        and _is_point(each.lowest)
        and _is_point(each.highest)
        for name, each in metrics.items()
    )
    if fine:
        return metrics
    return {_text(name): _bounded(metric, longest) for name, metric in list(metrics.items())[:MOST_METRICS]}


def _bounded(metric: Metric, longest: int) -> Metric:
    best_epoch = metric.best_epoch if _fits(metric.best_epoch) else None
    epochs = metric.epochs[-longest:] if _all_fit(metric.epochs) else ()
    return replace(
        metric,
        history=metric.history[-longest:],
        epochs=epochs,
        best_epoch=best_epoch,
        lowest=metric.lowest if _is_point(metric.lowest) else None,
        highest=metric.highest if _is_point(metric.highest) else None,
    )


def _is_point(point: tuple[int, float] | None) -> bool:
    return point is None or _fits(point[0])


def _is_text(text: str) -> bool:
    return len(text) <= LONGEST_TEXT and "\x00" not in text


def _text(text: str) -> str:
    return text.replace("\x00", "�")[:LONGEST_TEXT]  # many databases refuse NUL


def _is_span(seconds: float | None) -> bool:
    return seconds is None or 0 <= seconds <= LONGEST_S


def _fits(value: object) -> bool:
    return not isinstance(value, int) or abs(value) <= LARGEST_INT


def _all_fit(numbers: Sequence[int]) -> bool:
    """`_fits` of each; asked of every metric's past at the end of each epoch."""
    return not numbers or (_fits(min(numbers)) and _fits(max(numbers)))


KINDS: tuple[str, ...] = tuple(kind_of(each) for each in EVENT_TYPES)
EPOCH_FINISHED = kind_of(EpochFinished)


@cache
def _adapter() -> Any:
    from pydantic import ConfigDict, Field, TypeAdapter  # takes 30 ms, not on `import notifybot`

    tagged = Annotated[Event, Field(discriminator="kind")]
    return TypeAdapter(tagged, config=ConfigDict(ser_json_inf_nan="strings"))


def to_json(event: Event) -> str:
    """Encode an event. Non-finite floats become the strings "NaN", "Infinity", "-Infinity": valid JSON anywhere."""
    encode: Callable[..., bytes] = _adapter().dump_json
    return encode(event).decode()


def from_json(text: str | bytes) -> Event:
    """Decode what `to_json` wrote. Raises ValueError when the text is no event."""
    event: Event = _adapter().validate_json(text)
    return event
