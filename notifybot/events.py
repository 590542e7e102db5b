"""Events: immutable facts about a run, and the JSON they travel in. NaN and infinity pass as themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
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
    Tier,
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
    joins: bool = False  # below `notifybot run`, whose start of this run was sent already


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

    With a `notice`, title and text are as it reads in the run's language, for readers that do not know its code.
    `picture` names the file with the alert's own picture, on the machine that raised it.
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
    picture: str = ""
    held: bool = False
    same: int = 0
    others: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(_Fact):
    """The process reported how its run ended. `error` is "Type: text"; `frames` the last lines of user code, no locals.

    `note` says why it finished early, on purpose; `returned` is the value of a function that is the run. `untold`
    counts alerts for which no message was sent.
    """

    kind: Literal["run_ended"] = "run_ended"
    status: Status
    progress: Progress = field(default_factory=Progress)
    error: str = ""
    frames: str = ""
    note: str = ""
    returned: str = ""
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
    if not _is_within(event.progress):
        changes["progress"] = _bounded_progress(event.progress)
    match event:
        case EpochFinished(new_best=str(name)) if len(name) > LONGEST_TEXT or "\x00" in name:
            changes["new_best"] = _text(name)
        case RunStarted():
            if _label(event.total) != event.total:
                changes["total"] = None
            if event.resumed is not None and (resumed := _bounded_resumed(event.resumed)) != event.resumed:
                changes["resumed"] = resumed
            if _span(event.host.up_s) != event.host.up_s:
                changes["host"] = replace(event.host, up_s=None)
            params = dict(list(event.params.items())[:MOST_PARAMS])
            if len(params) < len(event.params) or not all(map(_fits, params.values())):
                changes["params"] = {name: value if _fits(value) else str(value) for name, value in params.items()}
        case CheckpointSaved() if not _fits(event.checkpoint.epoch):
            changes["checkpoint"] = replace(event.checkpoint, epoch=None)
    return replace(event, **changes) if changes else event


def _is_within(progress: Progress) -> bool:
    """True if nothing has to be cut, as of nearly every epoch: looked through in one pass, since the loop waits."""
    longest = MOST_POINTS // max(len(progress.metrics), 1)
    labels = [progress.epoch, progress.total, progress.done]
    if progress.checkpoint is not None:
        labels.append(progress.checkpoint.epoch)
    for name, metric in progress.metrics.items():
        if len(metric.history) > longest or len(name) > LONGEST_TEXT or "\x00" in name:
            return False
        labels.append(metric.best_epoch)
        labels += metric.epochs
        labels += [point[0] for point in (metric.lowest, metric.highest) if point is not None]
    known = [label for label in labels if label is not None]
    spans = (progress.epoch_s, progress.eta_s, progress.elapsed_s)
    return (
        len(progress.metrics) <= MOST_METRICS
        and min(known) >= -LARGEST_INT
        and max(known) <= LARGEST_INT
        and all(0 <= seconds <= LONGEST_S for seconds in spans if seconds is not None)
    )


def _bounded_progress(progress: Progress) -> Progress:
    """Return the first metrics, each with as much history as there is room for, and only the numbers that fit."""
    first = list(progress.metrics.items())[:MOST_METRICS]
    longest = MOST_POINTS // max(len(first), 1)
    metrics = {_text(name): _bounded_metric(metric, longest) for name, metric in first}
    checkpoint = progress.checkpoint
    return replace(
        progress,
        epoch=_label(progress.epoch),
        done=_label(progress.done) or 0,
        total=_label(progress.total),
        metrics=metrics,
        epoch_s=_span(progress.epoch_s),
        elapsed_s=_span(progress.elapsed_s) or 0.0,
        eta_s=_span(progress.eta_s) if _fits(progress.total) else None,
        checkpoint=None if checkpoint is None else replace(checkpoint, epoch=_label(checkpoint.epoch)),
        more=progress.more + len(progress.metrics) - len(metrics),
    )


def _bounded_metric(metric: Metric, longest: int) -> Metric:
    return replace(
        metric,
        history=metric.history[-longest:],
        epochs=metric.epochs[-longest:] if all(map(_fits, metric.epochs)) else (),
        best_epoch=_label(metric.best_epoch),
        lowest=metric.lowest if metric.lowest is None or _fits(metric.lowest[0]) else None,
        highest=metric.highest if metric.highest is None or _fits(metric.highest[0]) else None,
    )


def _bounded_resumed(resumed: Resumed) -> Resumed:
    """Bound a resume's numbers. By a clock that was set back, a checkpoint may be of the future: 0 seconds then."""
    return replace(
        resumed,
        epoch=_label(resumed.epoch),
        next_epoch=_label(resumed.next_epoch),
        since_s=_span(resumed.since_s) or 0.0,
        lost_s=_span(resumed.lost_s),
    )


def _text(text: str) -> str:
    return text.replace("\x00", "�")[:LONGEST_TEXT]  # many databases refuse NUL


def _label(number: int | None) -> int | None:
    return number if _fits(number) else None


def _span(seconds: float | None) -> float | None:
    return seconds if seconds is not None and 0 <= seconds <= LONGEST_S else None


def _fits(value: object) -> bool:
    return not isinstance(value, int) or abs(value) <= LARGEST_INT


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


def in_older_words(event: Event) -> Iterator[Event]:
    """Yield the event as older versions took it, the newest of them first; none where it has no newer word.

    Before a framework's checkpoints were proven, one was only reported; before units, a run counted epochs or nothing.
    """
    saved, progress = getattr(event, "checkpoint", None), event.progress
    changes = dict[str, Any]()
    if saved is not None and saved.tier is Tier.READABLE:
        changes["checkpoint"] = replace(saved, tier=Tier.UNPROVEN)
    if progress.checkpoint is not None and progress.checkpoint.tier is Tier.READABLE:
        progress = replace(progress, checkpoint=replace(progress.checkpoint, tier=Tier.UNPROVEN))
    if changes or progress != event.progress:
        yield replace(event, **changes, progress=progress)
    if progress.unit != "epoch":
        progress = replace(progress, unit="epoch", epoch=None, done=0, total=None, part=None)
        if isinstance(event, RunStarted):
            changes["total"] = None
        yield replace(event, **changes, progress=progress)


def from_json(text: str | bytes) -> Event:
    """Decode what `to_json` wrote. Raises ValueError when the text is no event."""
    event: Event = _adapter().validate_json(text)
    return event
