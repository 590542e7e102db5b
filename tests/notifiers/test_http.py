"""Connections, counted where they arrive: one for all messages where the client can, and none that is held too long."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from pydantic import SecretStr

from notifybot.clock import SYSTEM
from notifybot.config import Config
from notifybot.delivery.relay import WatchdogRelay
from notifybot.doctor.examine import examine_watchdog
from notifybot.errors import TemporaryError
from notifybot.notifiers.http import session_for
from notifybot.notifiers.kakao.http import FormClient
from notifybot.notifiers.slack import SlackWebhook
from notifybot.notifiers.slack.api import WebApi, opener_for
from notifybot.notifiers.webhook import BODY_S, Webhook
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.http import Request, Response, json_response, text_response
from notifybot.sandbox.slack_state import BOT_TOKEN, WEBHOOK_PATH
from notifybot.testing import DictMemory
from notifybot.training.heartbeat import Heartbeat, Pulse
from tests.support.kakao_messages import envelope as kakao_envelope
from tests.support.kakao_messages import memo
from tests.support.slack_messages import RUN, envelope, lost

MESSAGES = 4


class Services(Sandbox):
    """The sandbox, with a receiver of webhooks that answers in words, and a watchdog that takes every event."""

    body = "thank you"
    asked = threading.Event()

    def answer(self, request: Request) -> Response:
        self.asked.set()
        if request.path == "/hook":
            return text_response(self.body)
        if request.path == "/api/v1/events":
            return json_response({"accepted": 1, "known": 0})
        return super().answer(request)


@pytest.fixture
def services() -> Iterator[Services]:
    opened = Services()
    with opened:
        yield opened


def test_a_netrc_file_takes_the_place_of_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the watchdog's nor Kakao's: `requests` would put the file's password there instead."""
    (tmp_path / "netrc").write_text("default login somebody password canary\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    asked = requests.Request("POST", "https://watchdog.example/", headers={"Authorization": "Bearer ours"})

    with session_for("https://watchdog.example") as session:
        assert session.prepare_request(asked).headers["Authorization"] == "Bearer ours"


def to_webhook(services: Services, notifier: Webhook) -> int:
    """Send a few messages; return over how many connections they went."""
    for _ in range(MESSAGES):
        notifier.send(envelope(lost(), DictMemory()))
    notifier.close()
    assert [each.path for each in services.requests] == ["/hook"] * MESSAGES
    return services.connections


@pytest.mark.parametrize("body", ["", "ok", "x" * 10_000], ids=["empty", "short", "long"])
def test_messages_to_a_webhook_share_a_connection(services: Services, body: str) -> None:
    """What the receiver answers is read, so that the next message needs no handshake."""
    services.body = body

    assert to_webhook(services, Webhook(services.url + "/hook")) == 1


def test_a_refusal_leaves_the_connection_for_the_next_message(services: Services) -> None:
    """A page of words about an error is read like any other answer."""
    services.faults.append(Fault("status", path="/hook", status=503, body=b"busy " * 200))
    notifier = Webhook(services.url + "/hook")
    with contextlib.suppress(Exception):
        notifier.send(envelope(lost(), DictMemory()))

    notifier.send(envelope(lost(), DictMemory()))

    assert (len(services.requests), services.connections) == (2, 1)


def test_an_answer_too_long_to_be_read_costs_its_connection_and_no_message(services: Services) -> None:
    """A receiver that answers with megabytes has the event all the same."""
    services.body = "x" * 1_000_000

    assert to_webhook(services, Webhook(services.url + "/hook")) == MESSAGES


def test_kakao_messages_share_a_connection(services: Services, tmp_path: Path) -> None:
    """One to the login's host and one to the messages' host, which are one machine here."""
    talk = memo(services, tmp_path, SYSTEM)
    for number in range(MESSAGES):
        talk.send(kakao_envelope(event_id=f"event-{number}"))
    talk.close()

    assert len(services.kakao.messages) == MESSAGES
    assert services.connections == 2


def test_events_to_the_watchdog_share_a_connection(services: Services) -> None:
    relay = WatchdogRelay(services.url, SecretStr("nb_canary-not-a-token"), direct=True)
    for _ in range(MESSAGES):
        relay.send(envelope(lost(), DictMemory()))
    relay.close()

    assert (len(services.requests), services.connections) == (MESSAGES, 1)


def test_slack_gets_a_connection_a_message_and_none_is_left_open(services: Services) -> None:
    """slack_sdk sends with urllib, which asks for `Connection: close`: Slack's second a message has room for it."""
    notifier = SlackWebhook(services.url + WEBHOOK_PATH)
    for _ in range(MESSAGES):
        notifier.send(envelope(lost(), DictMemory()))

    assert services.connections == MESSAGES
    assert {each.headers["connection"] for each in services.requests} == {"close"}


# ── Proxies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def by_slack_bot(services: Services) -> None:
    WebApi(BOT_TOKEN, services.url + "/api/").call("auth.test")


def by_slack_webhook(services: Services) -> None:
    SlackWebhook(services.url + WEBHOOK_PATH).send(envelope(lost(), DictMemory()))


def by_slack_upload(services: Services) -> None:
    opener_for(services.url).open(services.url + "/hook", b"png").close()


def by_relay(services: Services) -> None:
    WatchdogRelay(services.url, SecretStr("nb_canary-not-a-token"), direct=True).send(envelope(lost(), DictMemory()))


def by_webhook(services: Services) -> None:
    Webhook(services.url + "/hook").send(envelope(lost(), DictMemory()))


def by_kakao(services: Services) -> None:
    FormClient(services.url).get("/hook")


def by_heartbeat(services: Services) -> None:
    services.asked.clear()
    beat = Heartbeat(services.url, "nb_canary-not-a-token", RUN, lambda: Pulse(None, 0, 0, 0), beat_s=60.0)
    beat.start()
    assert services.asked.wait(20.0)
    beat.stop()


def by_doctor(services: Services) -> None:
    examine_watchdog(Config(watchdog_url=services.url, watchdog_token="nb_canary-not-a-token"))


@pytest.mark.parametrize("spelling", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    "ask",
    [by_slack_bot, by_slack_webhook, by_slack_upload, by_relay, by_webhook, by_kakao, by_heartbeat, by_doctor],
)
def test_this_machine_is_asked_without_a_proxy(
    services: Services, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Services], None], spelling: str
) -> None:
    """A lab's proxy cannot reach our loopback, and whoever sets it seldom names what is to be left out."""
    monkeypatch.setenv(spelling, "http://127.0.0.1:9")  # nobody listens there

    ask(services)

    assert services.requests


@pytest.mark.parametrize(("url", "leads_here"), [("http://127.0.0.1:8700", True), ("https://slack.com/api/", False)])
def test_only_loopback_is_spared_the_proxy(url: str, leads_here: bool) -> None:
    with session_for(url) as session:
        assert session.trust_env is not leads_here


# ── Answers without an end ───────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def receiver(head: bytes, piece: bytes, every_s: float) -> Iterator[tuple[str, list[int]]]:
    """A server that says 200 and then talks until the other side hangs up. Yields its address and the bytes sent."""
    over, sent = threading.Event(), [0]

    def talk(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(head)
            while not over.wait(every_s):
                connection.sendall(piece)
                sent[0] += len(piece)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                talk(listener.accept()[0])

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook", sent
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
UNCOUNTED = b"HTTP/1.1 200 OK\r\n\r\n"


def time_of(send: Callable[[], None]) -> float:
    begun_s = SYSTEM.monotonic()
    send()
    return SYSTEM.monotonic() - begun_s


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        pytest.param(CHUNKED, b"1\r\nx\r\n", id="chunks"),
        pytest.param(COUNTED, b"x", id="counted"),
        pytest.param(UNCOUNTED, b"x", id="uncounted"),
    ],
)
def test_an_answer_a_byte_at_a_time_holds_no_lane(head: bytes, piece: bytes) -> None:
    """Each byte comes within the timeout of a read, all of them never: the deadline is for the whole answer."""
    with receiver(head, piece, 0.05) as (url, _):
        took_s = time_of(lambda: Webhook(url).send(envelope(lost(), DictMemory())))

    assert took_s < BODY_S + 2


def test_an_answer_that_stops_in_the_middle_holds_no_lane() -> None:
    """The next byte is waited for no longer than the answer's own deadline, though a read might take ten seconds."""
    with receiver(COUNTED, b"", 0.05) as (url, _):
        took_s = time_of(lambda: Webhook(url).send(envelope(lost(), DictMemory())))

    assert took_s < BODY_S + 2


def test_an_endless_answer_is_not_taken_into_memory() -> None:
    """It is hung up on after a few pages; what the sockets held by then is all that was sent."""
    with receiver(UNCOUNTED, b"x" * 65536, 0.0) as (url, sent):
        took_s = time_of(lambda: Webhook(url).send(envelope(lost(), DictMemory())))

    assert took_s < BODY_S
    assert sent[0] < 64 * 1024 * 1024


def test_an_endless_answer_on_the_way_to_the_watchdog_is_a_fault_that_passes() -> None:
    """Something in between that talks for ever took no event, and holds no lane."""
    with receiver(UNCOUNTED, b"x", 0.01) as (url, _):
        relay = WatchdogRelay(url, SecretStr("nb_canary-not-a-token"), direct=True, timeouts_s=(1.0, 0.5))

        def send() -> None:
            with pytest.raises(TemporaryError, match="not the watchdog's") as caught:
                relay.send(envelope(lost(), DictMemory()))
            assert caught.value.ambiguous

        assert time_of(send) < 3


@pytest.mark.parametrize("piece", [b"x", b"x" * 65536], ids=["slow", "huge"])
def test_an_endless_answer_of_kakaos_is_a_fault_that_passes(piece: bytes) -> None:
    """A page of some proxy in between: whether Kakao took the message is not known, and the lane goes on."""
    with receiver(UNCOUNTED, piece, 0.01) as (url, _):
        kakao = FormClient(url, timeout_s=(1.0, 0.5))

        def ask() -> None:
            with pytest.raises(TemporaryError, match="no end") as caught:
                kakao.post("/message", {"text": "a"})
            assert caught.value.ambiguous

        assert time_of(ask) < 3
