"""What must have been observed for the demo to have succeeded. Pure: evidence in, a list of verdicts out."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from notifybot.demo.arrivals import EDITED, KAKAO, SLACK, Arrival
from notifybot.events import EpochFinished, Event, RunEnded, RunLost, RunRecovered, RunStarted
from notifybot.store.outbox import Counts
from notifybot.types import Status

_EDITS = 2  # Slack is told of epochs every few seconds, not of each one


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was observed. `arrivals` is None where messages went to accounts that the demo cannot look into.

    `told` holds the ids of the events that every configured notifier has taken.
    """

    epochs: int
    exit_codes: Sequence[int]
    events: Sequence[Event]
    told: frozenset[str]
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
    """Say of each thing that was to happen whether it did."""
    people = [_told(seen)] if seen.arrivals is None else _in_sandbox(seen, seen.arrivals)
    return [_killed(seen), _resumed(seen), *people, *_numbers(seen), _outbox(seen)]


def _in_sandbox(seen: Evidence, arrivals: Sequence[Arrival]) -> list[Check]:
    slack = [each for each in arrivals if each.service == SLACK]
    roots = {each.thread for each in slack}
    epochs = [each for each in seen.events if isinstance(each, EpochFinished)]
    edits = [each for each in slack if each.how == EDITED and any(each.tells(epoch) for epoch in epochs)]
    code = seen.exit_codes[-1] if seen.exit_codes else None
    ended = [each for each in seen.events if isinstance(each, RunEnded) and each.status is Status.FINISHED]
    return [
        _heard("started", [each for each in seen.events if isinstance(each, RunStarted)][:1], arrivals),
        Check("one_root", len(roots) == 1, f"{len(roots)} threads"),
        Check("edited", len(edits) >= _EDITS, f"{len(edits)} edits"),
        _heard("lost", [each for each in seen.events if isinstance(each, RunLost)], arrivals),
        _heard("recovered", [each for each in seen.events if isinstance(each, RunRecovered)], arrivals),
        _heard("finished", ended, arrivals) if code == 0 else Check("finished", False, f"exit code {code}"),
    ]


def _heard(name: str, events: Sequence[Event], arrivals: Sequence[Arrival]) -> Check:
    """One such event, told by both services."""
    if len(events) != 1:
        return Check(name, False, f"{len(events)} events")
    services = {each.service for each in arrivals if each.tells(events[0])}
    return Check(name, services == {SLACK, KAKAO}, f"told by: {', '.join(sorted(services)) or '-'}")


def _told(seen: Evidence) -> Check:
    kinds = (RunStarted, RunLost, RunRecovered, RunEnded)
    missing = [each.__name__ for each in kinds if not _any_told(seen, each)]
    return Check("told", not missing, f"missing: {', '.join(missing)}")


def _any_told(seen: Evidence, kind: type[Event]) -> bool:
    return any(isinstance(each, kind) and each.id in seen.told for each in seen.events)


def _killed(seen: Evidence) -> Check:
    codes = [str(code) for code in seen.exit_codes]
    return Check("killed", seen.exit_codes[:1] == [-signal.SIGKILL], f"exit codes: {', '.join(codes) or '-'}")


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


def _numbers(seen: Evidence) -> list[Check]:
    whole = list(range(seen.epochs))
    return [
        Check("jsonl", list(seen.jsonl) == whole, f"epochs {list(seen.jsonl)}"),
        Check("tensorboard", list(seen.tensorboard) == whole, f"steps {list(seen.tensorboard)}"),
        Check("wandb", list(seen.wandb) == whole, f"epochs {list(seen.wandb)}"),
    ]


def _outbox(seen: Evidence) -> Check:
    ok = bool(seen.counts) and all(each.conserved and not each.dead for each in seen.counts)
    return Check("outbox", ok, ", ".join(f"{each.put} put, {each.sent} sent, {each.dead} dead" for each in seen.counts))
