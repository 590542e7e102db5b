"""Events to a watchdog of a version before this one: a word that it does not know costs a run neither start nor end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from notifybot.delivery.relay import WatchdogRelay
from notifybot.errors import PermanentError
from notifybot.events import CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.sandbox import Sandbox
from notifybot.sandbox.http import Request, Response
from notifybot.testing import DictMemory
from notifybot.types import Checkpoint, Metric, Progress, RunRef, Status, Tier
from tests.support.slack_messages import envelope

FACT: dict[str, Any] = {
    "id": "e-1",
    "run": RunRef("r", "resnet", "vision", "s"),
    "at": datetime(2026, 11, 23, 3, 0, tzinfo=UTC),
}
SAVED = Checkpoint("checkpoint-500", epoch=500, tier=Tier.READABLE)
STEPS = Progress(
    epoch=500, done=500, total=2000, unit="step", part=0.5, metrics={"loss": Metric(0.5)}, checkpoint=SAVED
)


class OlderWatchdog(Sandbox):
    """It checks words as pydantic does, by lists that are shorter than ours, and knows no other fields."""

    tiers, units = frozenset({"", "local", "remote"}), frozenset({"epoch"})

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[dict[str, Any]] = []

    def answer(self, request: Request) -> Response:
        for event in json.loads(request.body)["events"]:
            progress = event["progress"]
            saved = [each for each in (event.get("checkpoint"), progress["checkpoint"]) if each]
            if progress["unit"] not in self.units or not self.tiers.issuperset(each["tier"] for each in saved):
                return said(422, error="events.0.progress: Input should be another word")
            self.taken.append(event)
        return said(200, accepted=1, known=0)


def said(status: int, **values: object) -> Response:
    return Response(status, json.dumps(values).encode(), {"Content-Type": "application/json"})


@pytest.fixture
def older() -> Iterator[OlderWatchdog]:
    watchdog = OlderWatchdog()
    with watchdog:
        yield watchdog


def send(watchdog: OlderWatchdog, event: Event) -> None:
    relay = WatchdogRelay(watchdog.url, SecretStr("token"), direct=True, timeouts_s=(2.0, 5.0))
    try:
        relay.send(envelope(event, DictMemory()))
    finally:
        relay.close()


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(RunStarted(**FACT, progress=STEPS, total=2000), id="start"),
        pytest.param(EpochFinished(**FACT, progress=STEPS), id="epoch"),
        pytest.param(CheckpointSaved(**FACT, checkpoint=SAVED, progress=STEPS), id="checkpoint"),
        pytest.param(RunEnded(**FACT, status=Status.FINISHED, progress=STEPS), id="end"),
    ],
)
def test_an_older_watchdog_takes_each_event_of_a_run_by_steps(older: OlderWatchdog, event: Event) -> None:
    send(older, event)

    (taken,) = older.taken
    assert (taken["id"], taken["kind"], taken.get("total")) == (event.id, event.kind, None)
    assert taken["progress"]["metrics"]["loss"]["value"] == 0.5
    assert (taken["progress"]["epoch"], taken["progress"]["done"], taken["progress"]["total"]) == (None, 0, None)


def test_a_watchdog_that_knows_steps_is_told_them_although_a_tier_is_new_to_it(older: OlderWatchdog) -> None:
    older.units = frozenset({"epoch", "step"})

    send(older, EpochFinished(**FACT, progress=STEPS))

    (taken,) = older.taken
    assert (taken["progress"]["unit"], taken["progress"]["done"]) == ("step", 500)
    assert taken["progress"]["checkpoint"]["tier"] == ""


def test_an_event_that_no_version_takes_is_refused_with_the_first_reason(older: OlderWatchdog) -> None:
    older.units = frozenset()

    with pytest.raises(PermanentError, match="another word"):
        send(older, EpochFinished(**FACT, progress=STEPS))

    assert len(older.requests) == 3


def test_an_event_without_a_newer_word_is_sent_once(older: OlderWatchdog) -> None:
    older.units = frozenset()

    with pytest.raises(PermanentError):
        send(older, EpochFinished(**FACT, progress=replace(STEPS, unit="epoch", checkpoint=None)))

    assert len(older.requests) == 1
