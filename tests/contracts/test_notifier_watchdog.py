"""What the way to the watchdog does with every answer, against the real service and over a real socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from notifybot.delivery.relay import WatchdogRelay
from notifybot.errors import DeliveryError, PermanentError, StoreError, TemporaryError
from notifybot.events import Event
from notifybot.notifiers.base import Envelope
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.http import FaultKind, Request, Response, json_response
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.testing import DictMemory, FakeClock
from notifybot.watchdog import tokens
from tests.support.slack_messages import envelope
from tests.support.store_events import RUN, epoch, started

ROOT = Path(__file__).parents[2]
TIMEOUTS_S = (1.0, 1.0)
SERVICE = """
import sys
from pathlib import Path
from typing import Any
from notifybot.store.database import Store
from notifybot.watchdog.service import Watchdog
from notifybot.web.app import create_app
from notifybot.web.server import run

app = create_app(Watchdog(Store.open(Path(sys.argv[1]), patience_s=2.0)))
run(app, "127.0.0.1", 0, ready=lambda url: print(url, flush=True))
"""


class Service:
    """A watchdog as it is served, in a process of its own, with a look into its database."""

    def __init__(self, path: Path) -> None:
        self.store = Store.open(path, patience_s=5.0)
        self.token = tokens.create(self.store, "vision")
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def relay(self, *, token: str = "", direct: bool = False) -> WatchdogRelay:
        return WatchdogRelay(self.url, SecretStr(token or self.token), direct=direct, timeouts_s=(3.0, 10.0))

    def hold(self) -> None:
        """Stop it where it stands, as a machine without memory does."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        self.go_on()
        self._process.kill()
        self._process.communicate()
        self.store.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("watchdog") / "watchdog.db")
    yield service
    service.close()


def mail(event: Event) -> Envelope:
    return envelope(event, DictMemory())


def failure(relay: WatchdogRelay, event: Event) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        relay.send(mail(event))
    return caught.value


# ── The real service ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_event_arrives_with_its_id_and_in_the_tokens_project(service: Service) -> None:
    """The plain case: it stands in the watchdog's own database."""
    event = started()

    service.relay(direct=True).send(mail(event))

    row = runs.get(service.store, RUN.id)
    assert row is not None
    assert (row.project, row.direct) == ("vision", True)
    assert event.id in [each.id for each in runs.events_of(service.store, RUN.id)]


def test_a_repeated_id_is_accepted_and_kept_once(service: Service) -> None:
    """After a lost answer the same event is sent again: that is a success, not a second event."""
    event, relay = epoch(3), service.relay()

    relay.send(mail(event))
    relay.send(mail(event))

    assert [each.id for each in runs.events_of(service.store, RUN.id)].count(event.id) == 1


def test_a_wrong_token_is_permanent_and_says_how_to_get_one(service: Service) -> None:
    """A person must act first; the text names the setting, not the token."""
    error = failure(service.relay(token="nb_canary-not-a-token"), started())

    assert isinstance(error, PermanentError)
    assert error.setup
    assert "NOTIFYBOT_WATCHDOG_TOKEN" in str(error)
    assert "canary" not in str(error)


def test_a_run_that_another_project_has_too_is_taken(service: Service) -> None:
    """Ids are a project's own: "baseline" of one person is nothing to another's."""
    service.relay().send(mail(started()))
    service.relay(token=tokens.create(service.store, "speech")).send(mail(started()))

    with service.store.reading() as connection:
        assert [each.project for each in runs.named(connection, RUN.id)] == ["speech", "vision"]


def test_an_event_that_is_too_large_is_permanent(service: Service) -> None:
    """413: sending the same again is useless."""
    large = started()
    large.params["text"] = "x" * (1024 * 1024)

    error = failure(service.relay(), large)

    assert isinstance(error, PermanentError)
    assert "413" in str(error)


def test_an_event_that_makes_no_sense_is_permanent(service: Service) -> None:
    """422: the watchdog is of another version, or the event is broken."""
    error = failure(service.relay(), started(replace(RUN, id="x" * 201)))

    assert isinstance(error, PermanentError)
    assert error.code == "not-taken"
    assert "run.id: longer than 200 characters" in str(error)


def test_a_frozen_service_is_temporary_and_the_event_arrives_once_after_all(service: Service) -> None:
    """Nobody answers in time: it may have arrived. The second try does no harm."""
    event = epoch(5)
    relay = WatchdogRelay(service.url, SecretStr(service.token), direct=False, timeouts_s=TIMEOUTS_S)
    service.hold()
    error = failure(relay, event)
    service.go_on()

    relay.send(mail(event))

    assert isinstance(error, TemporaryError)
    assert error.ambiguous
    assert [each.id for each in runs.events_of(service.store, RUN.id)].count(event.id) == 1


# ── Everything that can stand in between ─────────────────────────────────────────────────────────────────────────────


class Wire(Sandbox):
    """Answers as the watchdog does, unless a fault is ordered."""

    superseded: tuple[str, ...] = ()

    def answer(self, request: Request) -> Response:
        more = {"superseded": list(self.superseded)} if self.superseded else {}
        return json_response({"accepted": 1, "known": 0, **more})


@pytest.fixture
def wire(clock: FakeClock) -> Iterator[Wire]:
    wire = Wire(clock=clock)
    with wire:
        yield wire


@pytest.fixture
def relay(wire: Wire, clock: FakeClock) -> WatchdogRelay:
    return WatchdogRelay(wire.url, SecretStr("nb_canary-not-a-token"), direct=False, clock=clock, timeouts_s=TIMEOUTS_S)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param(lambda _: "7", 7.0, id="seconds"),
        pytest.param(lambda clock: format_datetime(clock.now() + timedelta(seconds=90), usegmt=True), 90.0, id="date"),
        pytest.param(lambda _: "soon", None, id="garbage"),
        pytest.param(lambda _: None, None, id="absent"),
    ],
)
def test_an_outage_is_temporary_and_says_when(
    wire: Wire,
    relay: WatchdogRelay,
    clock: FakeClock,
    status: int,
    value: Callable[[FakeClock], str | None],
    seconds: float | None,
) -> None:
    """Both forms of Retry-After are understood; 429 was not processed, of 5xx nobody knows."""
    after = value(clock)
    headers = {} if after is None else {"Retry-After": after}
    wire.faults.append(Fault("status", status=status, headers=headers))

    error = failure(relay, started())

    assert isinstance(error, TemporaryError)
    assert seconds == error.retry_after_s
    assert error.ambiguous is (status != 429)


@pytest.mark.parametrize("status", [408, 425])
def test_a_request_that_did_not_arrive_whole_is_temporary(wire: Wire, relay: WatchdogRelay, status: int) -> None:
    """Asked for again, and certainly not processed."""
    wire.faults.append(Fault("status", status=status))

    error = failure(relay, started())

    assert isinstance(error, TemporaryError)
    assert not error.ambiguous


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 413, 418, 422])
def test_a_refusal_is_permanent(wire: Wire, relay: WatchdogRelay, status: int) -> None:
    """The same request would meet the same answer; `setup` where the address itself is wrong."""
    wire.faults.append(Fault("status", status=status, body=b"<html>no</html>"))

    error = failure(relay, started())

    assert isinstance(error, PermanentError)
    assert error.setup is (status in (403, 404, 405))
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("hang", id="read-timeout"),
        pytest.param("reset_before", id="reset-before-it-was-read"),
        pytest.param("reset_after", id="answer-lost"),
    ],
)
def test_a_lost_answer_is_temporary_ambiguous_and_not_repeated_by_itself(
    wire: Wire, relay: WatchdogRelay, fault: FaultKind
) -> None:
    """One request a send: the next try is the outbox's business."""
    wire.faults.append(Fault(fault))

    error = failure(relay, started())

    assert isinstance(error, TemporaryError)
    assert error.ambiguous
    assert len(wire.requests) == 1


def test_a_refused_connection_is_temporary_and_certainly_not_processed(wire: Wire, relay: WatchdogRelay) -> None:
    """Nobody listens: nothing was sent."""
    with wire.down():
        error = failure(relay, started())

    assert isinstance(error, TemporaryError)
    assert not error.ambiguous


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="html"),
        pytest.param(b'{"accepted": 1, "kno', id="truncated-json"),
        pytest.param(b"[1, 2]", id="json-list"),
        pytest.param(b'{"ok": true}', id="other-json"),
        pytest.param(b"\xff\xfe\x00", id="no-text"),
    ],
)
def test_garbage_is_temporary(wire: Wire, relay: WatchdogRelay, body: bytes) -> None:
    """A captive portal answers 200 to everything; only the watchdog's own words are a success."""
    wire.faults.append(Fault("garbage", body=body))

    error = failure(relay, started())

    assert isinstance(error, TemporaryError)
    assert error.ambiguous


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_temporary(wire: Wire, relay: WatchdogRelay, status: int) -> None:
    """A log-in page on the way must not get the token, nor cost the event."""
    wire.faults.append(Fault("status", status=status, headers={"Location": f"{wire.url}/elsewhere"}))

    error = failure(relay, started())

    assert isinstance(error, TemporaryError)
    assert [each.path for each in wire.requests] == ["/api/v1/events"]


def test_after_a_dropped_connection_the_same_relay_goes_on(wire: Wire, relay: WatchdogRelay) -> None:
    """The kept connection of an hour ago is dead: a new one is made without a failure."""
    relay.send(mail(started()))
    with wire.down():
        pass

    relay.send(mail(epoch(1)))

    assert len(wire.requests) == 2


def test_no_error_carries_the_token_or_the_address(wire: Wire, relay: WatchdogRelay) -> None:
    """An address may hold a secret path."""
    with wire.down():
        told = failure(relay, started())

    assert "canary" not in str(told)
    assert "127.0.0.1" not in str(told)
    assert told.__cause__ is None
    assert told.__suppress_context__


def test_a_run_that_a_newer_process_reports_is_said_so_once(wire: Wire, clock: FakeClock) -> None:
    """With its session: a process that sends what a dead one left behind is not meant itself."""
    heard: list[str] = []
    relay = WatchdogRelay(
        wire.url, SecretStr("nb_canary-not-a-token"), direct=False, clock=clock, timeouts_s=TIMEOUTS_S,
        on_superseded=lambda run: heard.append(run.session),
    )  # fmt: skip
    relay.send(mail(started()))
    wire.superseded = (RUN.session,)

    for run in (RUN, RUN, replace(RUN, session="s2")):
        relay.send(mail(epoch(1, run)))

    assert heard == [RUN.session]


def test_what_the_own_notifiers_remember_travels_when_it_has_changed(wire: Wire, clock: FakeClock) -> None:
    """And travels again when the watchdog did not take it."""
    place: dict[str, Any] = {}
    relay = WatchdogRelay(
        wire.url, SecretStr("nb_canary-not-a-token"), direct=True, clock=clock, timeouts_s=TIMEOUTS_S,
        notifier_state=lambda _: place,
    )  # fmt: skip
    relay.send(mail(started()))
    place["slack:00000000"] = {"value": {"root": "1.5"}, "updated_at": "2026-11-23T03:00:00+00:00"}
    wire.faults.append(Fault("status", status=503))
    failure(relay, epoch(1))

    relay.send(mail(epoch(1)))
    relay.send(mail(epoch(2)))

    bodies = [json.loads(each.body) for each in wire.requests]
    assert ["memories" in each for each in bodies] == [False, True, True, False]
    assert bodies[2]["memories"] == {RUN.id: place}


def test_a_store_that_is_busy_does_not_keep_an_event_back(wire: Wire, clock: FakeClock) -> None:
    """The place goes with the next one."""

    def busy(_: str) -> dict[str, Any]:
        raise StoreError("the database is busy")

    relay = WatchdogRelay(
        wire.url,
        SecretStr("nb_canary-not-a-token"),
        direct=True,
        clock=clock,
        timeouts_s=TIMEOUTS_S,
        notifier_state=busy,
    )

    relay.send(mail(started()))

    assert "memories" not in json.loads(wire.requests[0].body)


def test_closing_twice_is_fine(relay: WatchdogRelay) -> None:
    relay.close()
    relay.close()
