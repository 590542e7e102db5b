"""Value types that every layer shares: frozen data with derived properties only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, get_args
from uuid import UUID

from notifybot.clock import SYSTEM


class Status(StrEnum):
    """Status of a run. `LOST` is never final: a run that reports again is running again."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    LOST = "lost"

    @property
    def ended(self) -> bool:
        """True when the process itself said that it is over."""
        return self in (Status.FINISHED, Status.STOPPED, Status.INTERRUPTED, Status.FAILED)


class Severity(StrEnum):
    """Severity of an event for a person, lowest first."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class Language(StrEnum):
    """Language of messages."""

    KO = "ko"
    EN = "en"


class DeliveryState(StrEnum):
    """State of a delivery. Every delivery is in exactly one, so that the counts add up."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"
    DROPPED = "dropped"


Param = bool | int | float | str | None
"""Stored hyper-parameter; a value of any other type is turned into text before."""

Unit = Literal["epoch", "step", "round", "trial"]  # what a run's progress counts
UNITS: tuple[str, ...] = get_args(Unit)
KeptIn = Literal["", "storage", "backup"]

_BETWEEN = "\x1f"  # an id is printable, so it never holds this separator


def run_key(project: str, run_id: str) -> str:
    """Return a run's key: ids are unique within a project only."""
    return f"{project}{_BETWEEN}{run_id}"


@dataclass(frozen=True, slots=True)
class RunRef:
    """Reference to a run. `session` names one process of it; a resumed run has several."""

    id: str
    name: str
    project: str
    session: str = ""

    @property
    def key(self) -> str:
        return f"{self.project}{_BETWEEN}{self.id}"


@dataclass(frozen=True, slots=True)
class Host:
    """Machine on which a session runs, in the facts that messages show."""

    name: str = ""
    platform: str = ""
    python: str = ""
    device: str = ""
    pid: int = 0
    memory_bytes: int | None = None  # the machine's memory, not the accelerator's
    up_s: float | None = None  # uptime of the machine
    notebook: bool | None = None  # True in a notebook's kernel; None in events of older versions


class Tier(StrEnum):
    """Tier in which a checkpoint is proven whole, by a hash of every byte; a framework's own by its own checksums."""

    UNPROVEN = ""  # reported by the user's code, not verified
    READABLE = "readable"  # written by a framework, and read to its end; notifybot does not resume from it by itself
    LOCAL = "local"  # written and synced on this machine's disk, which may go with the machine
    REMOTE = "remote"  # also in the folder that outlives the machine, such as Drive, and read back there


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Saved training state: one of notifybot's, proven whole in `tier`, or one that code or framework reported.

    `fleeting`: only on the disk of a machine that its service resets, as Colab does.
    """

    path: str
    epoch: int | None = None
    size_bytes: int | None = None
    tier: Tier = Tier.UNPROVEN
    fleeting: bool = False


@dataclass(frozen=True, slots=True)
class Resumed:
    """Checkpoint from which a session resumes: of `epoch` (the last finished one), saved `since_s` seconds ago.

    `lost_s` is the work that is done again, from the checkpoint to the last heartbeat, in seconds; None if that time
    is unknown. `step` counts the steps already done of the epoch after it. `notes` are at most five differences between
    checkpoint and program; `more_notes` counts the rest. `next_epoch` is the label of the first epoch ahead, if it is
    known beforehand.
    """

    epoch: int | None
    path: str
    since_s: float
    lost_s: float | None = None
    step: int = 0
    new_machine: bool = False
    notes: tuple[Reason, ...] = ()
    more_notes: int = 0
    next_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Size of a model: its parameters, those that learn, and the names of its frozen parts (at most 20)."""

    total: int
    trainable: int
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Metric:
    """Metric of an epoch: its value with its history.

    `best` and `best_epoch` are None for metrics without a best: those that are neither monitored nor a validation or
    test metric whose name shows its direction.
    `history` holds the latest values, oldest first, this epoch's last (at most 32), and `epochs` the label of each; it
    is empty in events that versions before it wrote.
    `lowest` and `highest` are the epoch and the value of the least and the greatest finite one of the whole run: either
    may be a best to an alert rule. None in events of older versions, and where no value was finite.
    `minor`: for trackers alone, and in no message, such as a framework's samples per second.
    """

    value: float
    previous: float | None = None
    best: float | None = None
    best_epoch: int | None = None
    history: tuple[float, ...] = ()
    epochs: tuple[int, ...] = ()
    lowest: tuple[int, float] | None = None
    highest: tuple[int, float] | None = None
    minor: bool = False

    def points(self, progress: Progress) -> tuple[tuple[int, float], ...]:
        """The latest values with their epochs, oldest first. Without labels they are those up to the progress's."""
        labels: Sequence[int] = self.epochs
        if len(labels) != len(self.history):
            labels = range(progress.place - len(self.history) + 1, progress.place + 1)
        return tuple(zip(labels, self.history, strict=True))


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run. `epoch` is the user's own label, `done` and `total` count epochs.

    With another `unit`, all three count steps, rounds or trials; a label is then the number of those done, and `part`
    the epochs that the trainer counts beside them, such as 2.31. Durations are seconds, and `epoch_s` those between two
    reports. `eta_s` is None while it is unknown (no total, or no finished epoch). `more` counts metrics
    that were left out here. `kept_in` says where a framework keeps the state by itself, beside any checkpoint: in a
    study's "storage", or in a "backup" that it restores at the next start.
    """

    epoch: int | None = None
    done: int = 0
    total: int | None = None
    metrics: dict[str, Metric] = field(default_factory=dict)
    epoch_s: float | None = None
    elapsed_s: float = 0.0
    eta_s: float | None = None
    checkpoint: Checkpoint | None = None
    more: int = 0
    unit: Unit = "epoch"
    part: float | None = None
    kept_in: KeptIn = ""

    @property
    def place(self) -> int:
        """Position of the run on an axis of epochs: the label, else the count."""
        return self.done if self.epoch is None else self.epoch

    @property
    def shown(self) -> dict[str, Metric]:
        """The metrics that people read: all but the minor ones."""
        return {name: each for name, each in self.metrics.items() if not each.minor}

    @property
    def unit_s(self) -> float | None:
        """Seconds that the last epoch took, or that a step, round or trial takes now; None if not known, or tiny."""
        if self.unit == "epoch":
            return self.epoch_s
        left = (self.total or 0) - self.done
        seconds = self.eta_s / left if self.eta_s and left > 0 else 0.0
        return seconds if seconds >= 0.001 else None


@dataclass(frozen=True, slots=True)
class Reason:
    """Reason why a checkpoint or a message failed, in no language: `rendering.error_text` has the text of its `code`.

    `about` names the thing, such as the checkpoint's file. `values` fill the places of its text.
    """

    code: str
    about: str = ""
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notice:
    """Content of notifybot's own alerts, in no language: `rendering.alert_text` has the text of its `code`.

    `used` names the checkpoint resumed from, or the notifier that did not take a message. `more` counts reasons that
    are not listed.
    """

    code: str
    used: str = ""
    reasons: tuple[Reason, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One line of a metrics table, formatted for reading. Empty text where there is nothing to say."""

    name: str
    value: str
    change: str = ""
    best: str = ""
    spark: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A labelled line of a message, such as "ETA: 12 min"."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Message:
    """Message of one notifier about one event: plain text, not escaped, no markup, not cut for any service.

    `title` is one line. `body` is a few lines. `brief` says it all in at most 200 characters (KakaoTalk's text).
    `headings` are the column names of `rows` in the message's language: name, value, change, best, trend. `more`
    counts metrics without a row.
    `code` is text to show verbatim (a traceback's tail, thread stacks). `event_id` is the same however often
    the message is sent, so a person recognises a repeat.
    """

    event_id: str
    kind: str
    run: RunRef
    at: datetime
    language: Language
    severity: Severity
    title: str
    body: str
    brief: str
    status: str = ""
    headings: tuple[str, str, str, str, str] = ("", "", "", "", "")
    rows: tuple[MetricRow, ...] = ()
    more: int = 0
    facts: tuple[Fact, ...] = ()
    code: str = ""
    link: str | None = None
    epoch: int | None = None
    done: int = 0
    total: int | None = None
    unit: Unit = "epoch"

    @property
    def short_id(self) -> str:
        """The visible mark of the event: the random tail of its id, eight characters."""
        return self.event_id[-8:]


_last = (0, 0)  # milliseconds and random bits of the id before


def uuid7(at_s: float | None = None) -> str:
    """Return a new UUID version 7 (RFC 9562) as text, sortable by creation time: milliseconds and 74 random bits.

    Ids that one thread makes within a millisecond rise, too, by a random step: events are read in the order of their
    ids where their moments are the same. `at_s` is the Unix time in seconds; the machine's clock when left out.
    """
    global _last
    millis = int((SYSTEM.now().timestamp() if at_s is None else at_s) * 1000)
    fresh = int.from_bytes(os.urandom(10), "big") >> 7  # 73 bits, so that there is room for thousands of steps
    millis_before, before = _last
    bits = before + 1 + (fresh >> 13) if millis == millis_before else fresh
    bits = bits if bits < 1 << 74 else fresh
    _last = (millis, bits)
    stamp = (millis & (1 << 48) - 1) << 80 | 0x7 << 76 | 0b10 << 62
    return str(UUID(int=stamp | (bits >> 62 & 0xFFF) << 64 | bits & (1 << 62) - 1))
