"""The notifier's contract, kept by the plain webhook: success, every refusal, and every way a network can fail."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime

import pytest

from notifybot.errors import DeliveryError, PermanentError, TemporaryError
from notifybot.notifiers.base import Notifier
from notifybot.notifiers.webhook import Webhook
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.http import FaultKind, Request, Response
from notifybot.sandbox.webhook import PATH, SECRET, WebhookService
from notifybot.testing import DictMemory, FakeClock
from tests.support.slack_messages import envelope, lost


class Receiver(Sandbox):
    """The sandbox's socket and faults, with the receiver of webhooks behind them."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.webhook = WebhookService(clock)

    def answer(self, request: Request) -> Response:
        return self.webhook.handle(request) or super().answer(request)


@pytest.fixture
def receiver(clock: FakeClock) -> Iterator[Receiver]:
    opened = Receiver(clock)
    with opened:
        yield opened


@pytest.fixture
def notifier(receiver: Receiver, clock: FakeClock) -> Iterator[Webhook]:
    opened = Webhook(receiver.url + PATH, SECRET, clock=clock, timeouts_s=(1.0, 1.0))
    yield opened
    opened.close()
    opened.close()


def send(notifier: Notifier) -> None:
    notifier.send(envelope(lost(), DictMemory()))


def failure(notifier: Notifier) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        send(notifier)
    return caught.value


def test_it_is_a_notifier_that_folds_nothing(notifier: Webhook) -> None:
    """A program wants every event; the key names the destination without giving it away."""
    as_notifier: Notifier = notifier

    assert "webhook" == as_notifier.name == as_notifier.key.split(":")[0]
    assert not as_notifier.pace.folds


def test_an_event_arrives_once_and_verified(receiver: Receiver, notifier: Webhook) -> None:
    """The plain case: told, told once, and believed."""
    send(notifier)

    (message,) = receiver.webhook.messages
    assert (receiver.webhook.refused, message.repeat) == ([], False)
    assert message.payload["type"] == "run_lost"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("date", 90.0, id="http-date"),
        pytest.param("soon", None, id="garbage"),
        pytest.param(None, None, id="absent"),
    ],
)
def test_too_many_requests_is_temporary_and_says_when(
    receiver: Receiver, notifier: Webhook, clock: FakeClock, value: str | None, seconds: float | None
) -> None:
    """429 was not processed; both forms of Retry-After are understood, garbage is ignored."""
    if value == "date":
        value = format_datetime(clock.now() + timedelta(seconds=90), usegmt=True)
    receiver.faults.append(Fault("status", status=429, headers={} if value is None else {"Retry-After": value}))

    error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert (seconds, False) == (error.retry_after_s, error.ambiguous)


@pytest.mark.parametrize(("status", "ambiguous"), [(408, False), (425, False), (500, True), (502, True), (503, True)])
def test_an_outage_is_temporary(receiver: Receiver, notifier: Webhook, status: int, ambiguous: bool) -> None:
    """5xx says nothing about what happened to the event; 408 and 425 ask for it again."""
    receiver.faults.append(Fault("status", status=status, headers={"Retry-After": "3"}))

    error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert (3.0, ambiguous) == (error.retry_after_s, error.ambiguous)


@pytest.mark.parametrize(
    ("status", "setup"),
    [(400, False), (401, True), (403, True), (404, True), (405, True), (410, True), (413, False), (422, False)],
)
def test_a_refusal_is_final(receiver: Receiver, notifier: Webhook, status: int, setup: bool) -> None:
    """4xx: the same request would meet the same answer. 410 means that the receiver wants no more."""
    receiver.faults.append(Fault("status", status=status))

    error = failure(notifier)

    assert isinstance(error, PermanentError)
    assert setup is error.setup
    assert str(status) in str(error)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("status", "expected"),
    [(301, PermanentError), (308, PermanentError), (302, TemporaryError), (303, TemporaryError), (307, TemporaryError)],
)
def test_a_redirect_is_not_followed(
    receiver: Receiver, notifier: Webhook, status: int, expected: type[DeliveryError]
) -> None:
    """What moved for good is a setting to correct; anything else may be a log-in page on the way."""
    receiver.faults.append(Fault("status", status=status, headers={"Location": f"{receiver.url}/elsewhere"}))

    error = failure(notifier)

    assert isinstance(error, expected)
    assert [request.path for request in receiver.requests] == [PATH]


@pytest.mark.parametrize(
    ("fault", "processed"),
    [
        pytest.param("hang", 0, id="read-timeout"),
        pytest.param("reset_before", 0, id="reset-before-it-was-read"),
        pytest.param("reset_after", 1, id="answer-lost"),
    ],
)
def test_a_lost_answer_is_temporary_and_the_repeat_is_known_as_one(
    receiver: Receiver, notifier: Webhook, fault: FaultKind, processed: int
) -> None:
    """One request a send; the next try carries the same id and a signature of its own."""
    receiver.faults.append(Fault(fault))
    delivery = envelope(lost(), DictMemory())

    with pytest.raises(TemporaryError) as caught:
        notifier.send(delivery)
    assert caught.value.ambiguous
    assert len(receiver.requests) == 1
    notifier.send(delivery)

    assert [False, True][: processed + 1] == [each.repeat for each in receiver.webhook.messages]


def test_a_refused_connection_is_temporary_and_certainly_not_processed(receiver: Receiver, notifier: Webhook) -> None:
    """Nobody listens: nothing was sent."""
    with receiver.down():
        error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert not error.ambiguous


def test_any_success_is_one_whatever_its_body(receiver: Receiver, notifier: Webhook) -> None:
    """The specification asks for 2xx and nothing else."""
    receiver.faults.append(Fault("garbage", body=b"\xff" * 100_000))

    send(notifier)

    assert len(receiver.requests) == 1
