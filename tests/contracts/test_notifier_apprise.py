"""The notifier's contract, kept by Apprise as far as its yes and no and the line it logs allow, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from notifybot.errors import DeliveryError, PermanentError, TemporaryError
from notifybot.notifiers.apprise import UNEXPLAINED_TRIES, AppriseNotifier
from notifybot.notifiers.base import Notifier
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.http import FaultKind, Request, Response
from notifybot.testing import DictMemory
from tests.support.slack_messages import envelope, lost


class AnyService(Sandbox):
    """Takes everything, as far as no fault was ordered."""

    def answer(self, request: Request) -> Response:
        return Response(200)


@pytest.fixture
def service() -> Iterator[AnyService]:
    opened = AnyService()
    with opened:
        yield opened


@pytest.fixture
def notifier(service: AnyService) -> Notifier:
    return AppriseNotifier(f"{service.url.replace('http', 'json')}/?rto=1&cto=1")


def send(notifier: Notifier) -> None:
    notifier.send(envelope(lost(), DictMemory()))


def failure(notifier: Notifier) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        send(notifier)
    return caught.value


def test_a_message_arrives_once(service: AnyService, notifier: Notifier) -> None:
    """The plain case."""
    send(notifier)

    assert len(service.requests) == 1


def test_its_key_names_the_destination_without_the_address(service: AnyService, notifier: Notifier) -> None:
    """Two addresses are two destinations; the same one is the same after a restart."""
    base = service.url.replace("http", "json")
    other, again = AppriseNotifier(f"{base}/other"), AppriseNotifier(f"{base}/?rto=1&cto=1")

    assert notifier.key != other.key
    assert notifier.key == again.key
    assert notifier.name == notifier.key.split(":")[0] == "apprise"


@pytest.mark.parametrize("status", [408, 425, 429])
def test_what_was_not_processed_is_temporary(service: AnyService, notifier: Notifier, status: int) -> None:
    """The three refusals that ask for the same request again."""
    service.faults.append(Fault("status", status=status))

    error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert not error.ambiguous


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_outage_is_temporary_and_may_have_been_processed(
    service: AnyService, notifier: Notifier, status: int
) -> None:
    """5xx says nothing about what happened to the message."""
    service.faults.append(Fault("status", status=status, body=b"<html>oops</html>"))

    error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert error.ambiguous


@pytest.mark.parametrize(
    ("status", "setup"), [(400, False), (401, True), (403, True), (404, True), (405, True), (410, True), (413, False)]
)
def test_a_refusal_is_final(service: AnyService, notifier: Notifier, status: int, setup: bool) -> None:
    """4xx: the same request would meet the same answer, so it is not tried again; a person is told what to check."""
    service.faults.append(Fault("status", status=status))

    error = failure(notifier)

    assert isinstance(error, PermanentError)
    assert setup is error.setup
    assert str(status) in str(error)
    assert setup is ("NOTIFYBOT_APPRISE_URLS" in str(error))


def test_a_redirect_is_not_followed(service: AnyService, notifier: Notifier) -> None:
    """A message goes to the address of the settings and to no other."""
    service.faults.append(Fault("status", status=302, headers={"Location": f"{service.url}/elsewhere"}))

    error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert error.ambiguous
    assert [request.path for request in service.requests] == ["/"]


@pytest.mark.parametrize("fault", ["hang", "reset_before", "reset_after"])
def test_a_lost_answer_is_temporary_ambiguous_and_not_repeated_by_itself(
    service: AnyService, notifier: Notifier, fault: FaultKind
) -> None:
    """One request a send, whatever the address asks of Apprise."""
    service.faults.append(Fault(fault))

    error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert error.ambiguous
    assert len(service.requests) == 1


def test_an_outage_of_the_network_is_never_given_up_by_the_notifier(service: AnyService, notifier: Notifier) -> None:
    """Nobody listens: however often that happens, the message keeps its place in the outbox."""
    with service.down():
        errors = [failure(notifier) for _ in range(UNEXPLAINED_TRIES * 2)]

    assert {(type(error), getattr(error, "ambiguous", None)) for error in errors} == {(TemporaryError, False)}
    send(notifier)


def test_an_unexplained_no_is_tried_a_few_times(notifier: Notifier, caplog: pytest.LogCaptureFixture) -> None:
    """Without a reason nobody knows whether a later try helps; an end is better than a message that never stops."""
    delivery = envelope(lost(), DictMemory())
    caplog.set_level("CRITICAL", logger="apprise")  # the reason is read from a log that somebody turned off
    down = AppriseNotifier("json://127.0.0.1:9/?cto=1")
    errors: list[Exception] = []

    for attempts in range(UNEXPLAINED_TRIES):
        with pytest.raises(DeliveryError) as caught:
            down.send(replace(delivery, attempts=attempts))
        errors.append(caught.value)

    assert [type(each) for each in errors] == [TemporaryError] * (UNEXPLAINED_TRIES - 1) + [PermanentError]


@pytest.mark.parametrize("wish", ["retry=3&wait=0", "optional=yes"])
def test_the_address_cannot_turn_off_what_delivery_rests_on(service: AnyService, wish: str) -> None:
    """Apprise's own retry would post twice behind the outbox's back; its `optional` would pass failure for success."""
    service.faults.append(Fault("status", status=503))
    notifier = AppriseNotifier(f"{service.url.replace('http', 'json')}/?{wish}")

    error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert len(service.requests) == 1


def test_closing_twice_is_fine(notifier: Notifier) -> None:
    """A notifier is closed by whoever is last, more than once at times."""
    notifier.close()
    notifier.close()
