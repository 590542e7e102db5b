"""The values that every layer shares. Frozen data, no behaviour beyond reading themselves."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from notifybot.clock import SYSTEM


class Status(StrEnum):
    """Where a run stands. `LOST` is never final: a run that reports again is running again."""

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
    """How much a person should care, lowest first."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class Language(StrEnum):
    """The languages people are told in."""

    KO = "ko"
    EN = "en"


class DeliveryState(StrEnum):
    """Every delivery is in exactly one of these, which is why the ledger adds up."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"
    DROPPED = "dropped"


Param = bool | int | float | str | None
"""A hyper-parameter as it is stored: anything else is turned into text where it enters."""


def run_key(project: str, run_id: str) -> str:
    """The one word for a run: ids are its project's own. An id is printable, so that it never holds the separator."""
    return f"{project}\x1f{run_id}"


@dataclass(frozen=True, slots=True)
class RunRef:
    """Which run an event is about. `session` names one process of it; a resumed run has several."""

    id: str
    name: str
    project: str
    session: str = ""

    @property
    def key(self) -> str:
        return run_key(self.project, self.id)


@dataclass(frozen=True, slots=True)
class Host:
    """The machine a session runs on, as far as it is worth telling a person."""

    name: str = ""
    platform: str = ""
    python: str = ""
    device: str = ""
    pid: int = 0
    memory_bytes: int | None = None  # of the machine, not of its accelerator
    up_s: float | None = None  # how long the machine has been up
    notebook: bool | None = None  # whether it is a notebook's cell that trains; None: an older version did not say


class Tier(StrEnum):
    """Where a checkpoint is proven whole, by a hash of every byte."""

    UNPROVEN = ""  # told by the user's code; nobody looked into it
    LOCAL = "local"  # written and synced on this machine's disk, which may go with the machine
    REMOTE = "remote"  # also in the folder that outlives the machine, such as Drive, and read back there


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved training state: ours, proven whole where `tier` says, or one that the user's code told us of.

    `fleeting`: on a machine alone that its service resets, as Colab does, with all that its disk holds.
    """

    path: str
    epoch: int | None = None
    size_bytes: int | None = None
    tier: Tier = Tier.UNPROVEN
    fleeting: bool = False


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a session goes on from: the checkpoint of `epoch` (the last finished one), saved `since_s` seconds ago.

    `lost_s` is the work that is done again, from the checkpoint to the last sign of life, in seconds; None where
    nobody knows when that was. `step` counts the steps already done of the epoch after it. `notes` say what is another
    than the program has it, at most five; `more_notes` counts the rest. `next_epoch` is the label of the first epoch
    ahead, where it can be seen beforehand.
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
    """How many parameters a model has, how many of them learn, and which parts are frozen (at most 20 names)."""

    total: int
    trainable: int
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of an epoch beside its past.

    `best` and `best_epoch` are None where no best is told: of a metric that is neither monitored nor a validation or
    test metric whose name tells whether less or more is better.
    `history` holds the latest values, oldest first, this epoch's last (at most 32), and `epochs` the label of each; it
    is empty in events that versions before it wrote.
    `lowest` and `highest` are the epoch and the value of the least and the greatest finite one of the whole run: either
    may be a best to an alert rule. None in events of older versions, and where no value was finite.
    """

    value: float
    previous: float | None = None
    best: float | None = None
    best_epoch: int | None = None
    history: tuple[float, ...] = ()
    epochs: tuple[int, ...] = ()
    lowest: tuple[int, float] | None = None
    highest: tuple[int, float] | None = None

    def points(self, last: int) -> tuple[tuple[int, float], ...]:
        """The latest values with their epochs, oldest first. Without labels they are the epochs up to `last`."""
        whole = len(self.epochs) == len(self.history)
        labels = self.epochs if whole else range(last - len(self.history) + 1, last + 1)
        return tuple(zip(labels, self.history, strict=True))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come. `epoch` is the user's own label, `done` and `total` count epochs.

    Durations are seconds. `eta_s` is None while nothing is known (no total, or no finished epoch). `more` counts
    metrics beyond those that are here.
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

    @property
    def place(self) -> int:
        """Where the run is on an axis of epochs: the label, else the count."""
        return self.done if self.epoch is None else self.epoch


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a checkpoint or a message could not be handled, in no language: `rendering.reasons` has words for its `code`.

    `about` names the thing, such as the checkpoint's file. `values` fill in the words.
    """

    code: str
    about: str = ""
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notice:
    """What an alert of ours says, in no language: `rendering.alerts` has words for its `code`.

    `used` names the checkpoint that is gone on from, or the notifier that did not take a message. `more` counts
    reasons beyond those that are listed.
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
    """What one notifier is to say about one event: plain text, nothing escaped, no markup, nothing cut for a service.

    `title` is one line. `body` is a few lines. `brief` says it all in at most 200 characters (KakaoTalk's text).
    `headings` are the column names of `rows` in the message's language: name, value, change, best, trend. `more`
    counts metrics without a row.
    `code` is text to show verbatim (a traceback's tail, thread stacks). `event_id` is the same however often
    the message is sent, so a person can tell a repeat.
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

    @property
    def short_id(self) -> str:
        """The visible mark of the event: the random tail of its id, eight characters."""
        return self.event_id[-8:]


def uuid7(at_s: float | None = None) -> str:
    """Return a new UUID version 7 (RFC 9562) as text: sortable by creation time, 74 random bits.

    `at_s` is the Unix time in seconds; the machine's clock when left out.
    """
    millis = int((SYSTEM.now().timestamp() if at_s is None else at_s) * 1000)
    random = int.from_bytes(os.urandom(10), "big")
    stamp = (millis & (1 << 48) - 1) << 80 | 0x7 << 76 | 0b10 << 62
    return str(UUID(int=stamp | (random >> 62 & 0xFFF) << 64 | random & (1 << 62) - 1))
