"""Checks of the demo: evidence in, a verdict on each thing that was to happen out; and readers of that evidence."""

from __future__ import annotations

import html
import json
import signal
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from notifybot.events import EpochFinished, Event, RunEnded, RunLost, RunRecovered, RunStarted
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import SlackMessage
from notifybot.store.database import Store
from notifybot.store.outbox import Counts
from notifybot.store.schema import deliveries
from notifybot.trackers.jsonl import FILE_NAME
from notifybot.types import DeliveryState, Status

SLACK, KAKAO = "slack", "kakao"
POSTED, EDITED, REPLIED, BROADCAST = "posted", "edited", "replied", "broadcast"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call that a service took. `raw` is all that was sent, `thread` the root message it belongs to."""

    key: str
    at: datetime
    service: str
    how: str
    text: str
    raw: str = ""
    thread: str = ""
    title: str = ""

    @property
    def headline(self) -> str:
        """Its title, or its first line."""
        return self.title or self.text.strip().partition("\n")[0]

    def carries(self, event: Event) -> bool:
        """True when the visible mark of this event is in it."""
        return event.id[-8:] in self.raw


def arrivals_of(sandbox: Sandbox) -> list[Arrival]:
    """Everything that came in so far, oldest first; an edit is an arrival of its own."""
    slack = [each for message in list(sandbox.slack.messages) for each in _slack(message)]
    kakao = [
        Arrival(
            key=f"kakao {number}",
            at=message.at,
            service=KAKAO,
            how=POSTED,
            text=message.text,
            raw=json.dumps(message.template, ensure_ascii=False),
            title=str(message.template.get("content", {}).get("title", "")),
        )
        for number, message in enumerate(list(sandbox.kakao.messages))
    ]
    return sorted(slack + kakao, key=lambda each: each.at)


def _slack(message: SlackMessage) -> list[Arrival]:
    posted = POSTED if message.thread_ts is None else BROADCAST if message.broadcast else REPLIED
    return [
        Arrival(
            key=f"slack {message.ts} {number}",
            at=revision.at,
            service=SLACK,
            how=EDITED if number else posted,
            text=html.unescape(revision.text),
            raw=json.dumps([revision.text, revision.blocks, revision.attachments], ensure_ascii=False),
            thread=message.thread_ts or message.ts,
            title="" if revision.text else _image_title(revision.blocks),
        )
        for number, revision in enumerate(message.revisions)
    ]


def _image_title(blocks: list[dict[str, Any]]) -> str:
    """Return the title of the first image, with a mark; empty without one."""
    titles = [str(block.get("title", {}).get("text", "")) for block in blocks if block.get("type") == "image"]
    return f"🖼 {titles[0]}" if titles else ""


def is_sent(store: Store, event: Event) -> bool:
    """True when every notifier that was to send the event has done so, and there is one."""
    with store.transaction() as connection:
        states = list(connection.execute(select(deliveries.c.state).where(deliveries.c.event_id == event.id)).scalars())
    return bool(states) and set(states) == {DeliveryState.SENT}


_EDITS = 2  # Slack is sent epochs every few seconds, not each one


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was observed. `arrivals` is None where messages went to accounts that the demo cannot look into.

    `sent` holds the ids of the events that every configured notifier has taken.
    """

    epochs: int
    exit_codes: Sequence[int]
    events: Sequence[Event]
    sent: frozenset[str]
    arrivals: Sequence[Arrival] | None
    jsonl: Sequence[int]
    tensorboard: Sequence[int]
    wandb: Sequence[int]
    counts: Sequence[Counts]


@dataclass(frozen=True, slots=True)
class Check:
    """One verdict; `name` is the key of its sentence, `found` what was seen instead when it failed."""

    name: str
    ok: bool
    found: str = ""


def judge(seen: Evidence) -> list[Check]:
    """Return a verdict on each thing that was to happen."""
    codes = ", ".join(map(str, seen.exit_codes)) or "-"
    whole, sent = list(range(seen.epochs)), [each for each in seen.events if each.id in seen.sent]
    if seen.arrivals is None:
        kinds = (RunStarted, RunLost, RunRecovered, RunEnded)
        missing = [each.__name__ for each in kinds if not any(isinstance(event, each) for event in sent)]
        people = [Check("told", not missing, f"missing: {', '.join(missing)}")]
    else:
        people = _in_sandbox(seen, seen.arrivals)
    conserved = bool(seen.counts) and all(each.conserved and not each.dead for each in seen.counts)
    counts = ", ".join(f"{each.put} put, {each.sent} sent, {each.dead} dead" for each in seen.counts)
    return [
        Check("killed", seen.exit_codes[:1] == [-signal.SIGKILL], f"exit codes: {codes}"),
        _resumed(seen),
        *people,
        Check("jsonl", list(seen.jsonl) == whole, f"epochs {list(seen.jsonl)}"),
        Check("tensorboard", list(seen.tensorboard) == whole, f"steps {list(seen.tensorboard)}"),
        Check("wandb", list(seen.wandb) == whole, f"epochs {list(seen.wandb)}"),
        Check("outbox", conserved, counts),
    ]


def _in_sandbox(seen: Evidence, arrivals: Sequence[Arrival]) -> list[Check]:
    slack = [each for each in arrivals if each.service == SLACK]
    roots = {each.thread for each in slack}
    epochs = [each for each in seen.events if isinstance(each, EpochFinished)]
    edits = [each for each in slack if each.how == EDITED and any(each.carries(epoch) for epoch in epochs)]
    code = seen.exit_codes[-1] if seen.exit_codes else None
    ended = [each for each in seen.events if isinstance(each, RunEnded) and each.status is Status.FINISHED]

    def arrived(name: str, events: Sequence[Event]) -> Check:
        """There was one such event, and both services were sent it."""
        if len(events) != 1:
            return Check(name, False, f"{len(events)} events")
        services = {each.service for each in arrivals if each.carries(events[0])}
        return Check(name, services == {SLACK, KAKAO}, f"arrived at: {', '.join(sorted(services)) or '-'}")

    return [
        arrived("started", [each for each in seen.events if isinstance(each, RunStarted)][:1]),
        Check("one_root", len(roots) == 1, f"{len(roots)} threads"),
        Check("edited", len(edits) >= _EDITS, f"{len(edits)} edits"),
        arrived("lost", [each for each in seen.events if isinstance(each, RunLost)]),
        arrived("recovered", [each for each in seen.events if isinstance(each, RunRecovered)]),
        arrived("finished", ended) if code == 0 else Check("finished", False, f"exit code {code}"),
    ]


def _resumed(seen: Evidence) -> Check:
    """The second session's first epoch follows the first session's last one, and both have one run id."""
    starts = [each for each in seen.events if isinstance(each, RunStarted)]
    epochs = [each for each in seen.events if isinstance(each, EpochFinished)]
    if [each.attempt for each in starts] != [1, 2] or len({each.run.id for each in seen.events}) != 1:
        return Check("resumed", False, f"{len(starts)} starts")
    before = [each.progress.epoch for each in epochs if each.run.session == starts[0].run.session]
    after = [each.progress.epoch for each in epochs if each.run.session == starts[1].run.session]
    ok = bool(before and after) and before + after == list(range(seen.epochs))
    return Check("resumed", ok, f"epochs {before}, then {after}")


# W&B ships no reader for its offline files: protobuf records in LevelDB's log format, which cuts them into blocks.
# https://github.com/google/leveldb/blob/main/doc/log_format.md
_WANDB_HEADER = struct.Struct("<4sHB")
_BLOCK = 32 * 1024
_PIECE = struct.Struct("<IHB")  # checksum, length, kind
_FULL, _FIRST, _LAST = 1, 2, 4


@dataclass(frozen=True, slots=True)
class EpochLine:
    """A finished epoch in the run's JSON lines. A metric that is no number then is its name, such as "NaN"."""

    epoch: int
    done: int
    metrics: dict[str, str]


def finished_epochs(runs: Path) -> list[EpochLine]:
    """The epochs in the run's JSON lines, in the order of the file. A line that is being written is left out."""
    found: list[EpochLine] = []
    for path in runs.rglob(FILE_NAME):
        whole = path.read_text("utf-8").rpartition("\n")[0]
        for row in map(json.loads, whole.splitlines()):
            if row["kind"] == "epoch_finished":
                metrics = {
                    name: each if isinstance(each, str) else f"{each:.4f}" for name, each in row["metrics"].items()
                }
                found.append(EpochLine(row["epoch"], row["done"], metrics))
    return found


def tensorboard_steps(runs: Path, tag: str) -> list[int]:
    """The steps that TensorBoard shows of a curve, read by its own reader from the files of all sessions."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = sorted({path.parent for path in runs.rglob("events.out.tfevents.*")})
    steps: list[int] = []
    for folder in folders:
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        events.Reload()
        if tag in events.Tags()["scalars"]:
            steps += [each.step for each in events.Scalars(tag)]
    return steps


def wandb_epochs(runs: Path) -> list[int]:
    """The epochs that `wandb sync` would upload, from the files of all sessions, each once."""
    from wandb.proto.wandb_internal_pb2 import Record

    records = [Record.FromString(each) for path in runs.rglob("*.wandb") for each in _records(path.read_bytes())]
    items = [item for record in records if record.HasField("history") for item in record.history.item]
    named = [item for item in items if "epoch" in (item.key, *item.nested_key)]
    return sorted({int(json.loads(item.value_json)) for item in named})


def _records(content: bytes) -> Iterator[bytes]:
    """The whole records of a file, put together from their pieces; a torn end is left out."""
    offset, parts = _WANDB_HEADER.size, b""
    if not content.startswith(b":W&B"):
        return
    while offset + _PIECE.size <= len(content):
        left = _BLOCK - offset % _BLOCK
        if left < _PIECE.size:
            offset += left
            continue
        _, length, kind = _PIECE.unpack_from(content, offset)
        piece = content[offset + _PIECE.size :][:length]
        if kind == 0 or len(piece) < length:
            return
        parts = piece if kind in (_FULL, _FIRST) else parts + piece
        if kind in (_FULL, _LAST):
            yield parts
        offset += _PIECE.size + length
