"""What counts as observed in the demo, and the evidence for it."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from notifybot.demo.checks import (
    BROADCAST,
    EDITED,
    KAKAO,
    POSTED,
    REPLIED,
    SLACK,
    Arrival,
    Evidence,
    arrivals_of,
    finished_epochs,
    judge,
)
from notifybot.events import EpochFinished, Event, RunEnded, RunLost, RunRecovered, RunStarted
from notifybot.i18n import _catalog
from notifybot.notifiers.base import Envelope
from notifybot.notifiers.slack import SlackBot
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.store.outbox import Counts
from notifybot.testing import DictMemory
from notifybot.types import Language, Metric, Progress, RunRef, Status, uuid7

AT = datetime(2026, 11, 23, 9, tzinfo=UTC)
FIRST, SECOND = (RunRef("run-1", "digits-cnn", "demo", session) for session in ("a", "b"))
EPOCHS = 4


def epoch(number: int, run: RunRef) -> EpochFinished:
    progress = Progress(number, number + 1, EPOCHS, {"val_acc": Metric(0.5 + number / 10)})
    return EpochFinished(id=uuid7(), run=run, at=AT, progress=progress)


EVENTS: list[Event] = [
    RunStarted(id=uuid7(), run=FIRST, at=AT, total=EPOCHS),
    epoch(0, FIRST),
    epoch(1, FIRST),
    RunLost(id=uuid7(), run=FIRST, at=AT, silent_s=6, limit_s=6),
    RunRecovered(id=uuid7(), run=SECOND, at=AT, was="lost", away_s=9),
    RunStarted(id=uuid7(), run=SECOND, at=AT, attempt=2, total=EPOCHS),
    epoch(2, SECOND),
    epoch(3, SECOND),
    RunEnded(id=uuid7(), run=SECOND, at=AT, status=Status.FINISHED),
]


def arrival(number: int, event: Event, service: str, how: str, thread: str = "") -> Arrival:
    return Arrival(f"{service} {number}", AT, service, how, f"{event.kind}\nmore", event.id[-8:], thread)


def arrivals_with(event: Event, number: int) -> list[Arrival]:
    if isinstance(event, EpochFinished):
        return [arrival(number, event, SLACK, EDITED, "1.0")]
    how = REPLIED if number else POSTED
    return [arrival(number, event, SLACK, how, "1.0"), arrival(number, event, KAKAO, POSTED)]


def evidence() -> Evidence:
    """All as it should be."""
    return Evidence(
        epochs=EPOCHS,
        exit_codes=[-signal.SIGKILL, 0],
        events=EVENTS,
        sent=frozenset(each.id for each in EVENTS),
        arrivals=[one for number, each in enumerate(EVENTS) for one in arrivals_with(each, number)],
        jsonl=list(range(EPOCHS)),
        tensorboard=list(range(EPOCHS)),
        wandb=list(range(EPOCHS)),
        counts=[Counts(put=9, sent=7, pending=1, dead=0, dropped=1)],
    )


def failed(seen: Evidence) -> set[str]:
    return {each.name for each in judge(seen) if not each.ok}


# ── Checks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_as_it_should_be_passes() -> None:
    assert failed(evidence()) == set()


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        pytest.param("killed", {"exit_codes": [0, 0]}, id="the first session ended by itself"),
        pytest.param("finished", {"exit_codes": [-9, 1]}, id="the second session failed"),
        pytest.param("jsonl", {"jsonl": [0, 1, 1, 2, 3]}, id="an epoch stands twice in the JSON lines"),
        pytest.param("tensorboard", {"tensorboard": [0, 1, 3]}, id="an epoch is missing in TensorBoard"),
        pytest.param("wandb", {"wandb": []}, id="W&B wrote nothing"),
        pytest.param("outbox", {"counts": []}, id="no outbox"),
        pytest.param("outbox", {"counts": [Counts(3, 2, 0, 0, 0)]}, id="a delivery has vanished"),
        pytest.param("outbox", {"counts": [Counts(3, 2, 0, 1, 0)]}, id="a delivery was given up"),
    ],
)
def test_what_was_not_observed_fails_its_own_check(check: str, changes: dict[str, Any]) -> None:
    assert failed(replace(evidence(), **changes)) == {check}


@pytest.mark.parametrize(
    ("check", "kind"),
    [("started", "run_started"), ("lost", "run_lost"), ("recovered", "run_recovered"), ("finished", "run_ended")],
)
@pytest.mark.parametrize("service", [SLACK, KAKAO])
def test_each_turn_must_arrive_at_both_services(check: str, kind: str, service: str) -> None:
    whole = evidence()
    assert whole.arrivals is not None
    kept = [each for each in whole.arrivals if not (each.service == service and each.headline == kind)]

    assert failed(replace(whole, arrivals=kept)) == {check}


def test_a_loss_sent_twice_fails() -> None:
    again = RunLost(id=uuid7(), run=FIRST, at=AT, silent_s=6, limit_s=6)

    assert failed(replace(evidence(), events=[*EVENTS, again])) == {"lost"}


def test_a_second_thread_fails() -> None:
    whole = evidence()
    assert whole.arrivals is not None
    stray = Arrival("slack x", AT, SLACK, POSTED, "hello", thread="2.0")

    assert failed(replace(whole, arrivals=[*whole.arrivals, stray])) == {"one_root"}


def test_a_second_session_that_begins_anew_fails() -> None:
    anew: list[Event] = [each for each in EVENTS if not isinstance(each, EpochFinished)]
    anew += [epoch(0, FIRST), epoch(1, FIRST), *(epoch(number, SECOND) for number in range(EPOCHS))]

    assert "resumed" in failed(replace(evidence(), events=anew))


def test_with_accounts_of_ones_own_the_deliveries_are_the_evidence() -> None:
    real = replace(evidence(), arrivals=None)

    assert failed(real) == set()
    assert failed(replace(real, sent=frozenset())) == {"told"}


@pytest.mark.parametrize("language", Language)
def test_every_check_has_a_sentence(language: Language) -> None:
    seen = evidence()
    names = {each.name for each in judge(seen)} | {each.name for each in judge(replace(seen, arrivals=None))}

    assert names == {key.removeprefix("demo.check.") for key in _catalog(language) if key.startswith("demo.check.")}


# ── What is read and written ─────────────────────────────────────────────────────────────────────────────────────────


def test_arrivals_hold_every_revision_with_the_mark_of_its_event() -> None:
    """What the sandbox's Slack got is a new message, an edit of it, and replies in one thread."""
    with Sandbox() as sandbox:
        bot, memory = SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/"), DictMemory()
        start, first, lost = EVENTS[0], EVENTS[1], replace(EVENTS[3], at=AT + timedelta(seconds=9))
        for event in (start, replace(first, at=AT + timedelta(seconds=1)), lost):
            bot.send(Envelope(event, Renderer(Language.EN).render(event), memory))
        arrivals = arrivals_of(sandbox)

    assert {each.how for each in arrivals} == {POSTED, REPLIED, EDITED, BROADCAST}
    assert len({each.thread for each in arrivals}) == 1
    assert all(any(each.carries(event) for each in arrivals) for event in (start, first, lost))


def test_epochs_are_read_up_to_the_last_whole_line(tmp_path: Path) -> None:
    whole = {"kind": "epoch_finished", "epoch": 0, "done": 1, "metrics": {"loss": 0.5, "grad": "NaN"}}
    (tmp_path / "metrics.jsonl").write_text(f'{json.dumps({"kind": "run_started"})}\n{json.dumps(whole)}\n{{"ki')

    (found,) = finished_epochs(tmp_path)

    assert (found.epoch, found.metrics) == (0, {"loss": "0.5000", "grad": "NaN"})
