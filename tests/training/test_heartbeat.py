"""Signs of life, told to a server on loopback."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from notifybot.events import LONGEST_PROMISE_S
from notifybot.testing import FakeClock
from notifybot.training.heartbeat import Heartbeat, Pulse
from notifybot.types import RunRef

RUN = RunRef(id="r1", name="resnet", project="lab", session="s1")
TOKEN = "canary-not-a-token"


class Receiver:
    """Takes heartbeats; `answers` are given first (status, body), then 200."""

    def __init__(self) -> None:
        self.beats: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.answers: list[tuple[int, bytes]] = []
        self.heard = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.tokens.append(self.headers["Authorization"])
                receiver.beats.append({"path": self.path, **json.loads(body)})
                status, answer = receiver.answers.pop(0) if receiver.answers else (200, b'{"state": "running"}')
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                receiver.heard.set()

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


class Loop:
    """What the training thread has come to, moved by the test."""

    def __init__(self) -> None:
        self.pulse = Pulse(epoch=None, done=0, steps=0, moves=0)

    def __call__(self) -> Pulse:
        return self.pulse


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        yield opened


def test_a_beat_says_who_lives_and_how_far_it_came(
    receiver: Receiver, session: requests.Session, clock: FakeClock
) -> None:
    loop = Loop()
    heartbeat = Heartbeat(receiver.url + "/", TOKEN, RUN, loop, beat_s=30.0, clock=clock)
    loop.pulse = Pulse(epoch=4, done=5, steps=120, moves=9)
    heartbeat.look()
    clock.advance(12)
    heartbeat.look()
    heartbeat.beat(session)

    assert receiver.tokens == [f"Bearer {TOKEN}"]
    assert receiver.beats == [
        {
            "path": "/api/v1/heartbeats",
            "run": {"id": "r1", "name": "resnet", "project": "lab", "session": "s1"},
            "seq": 1,
            "beat_s": 30.0,
            "epoch": 4,
            "done": 5,
            "steps": 120,
            "progress_age_s": 12.0,
            "next_in_s": None,
        }
    ]
    assert heartbeat.state == "running"


def test_a_loop_that_hangs_shows_where(receiver: Receiver, session: requests.Session, clock: FakeClock) -> None:
    heartbeat = Heartbeat(receiver.url, TOKEN, RUN, Loop(), beat_s=30.0, clock=clock)
    heartbeat.look()
    clock.advance(61)
    heartbeat.look()
    heartbeat.beat(session)

    assert receiver.beats[0]["progress_age_s"] == 61.0
    assert "test_a_loop_that_hangs_shows_where" in receiver.beats[0]["stack"]


def test_a_step_is_a_movement(receiver: Receiver, session: requests.Session, clock: FakeClock) -> None:
    loop = Loop()
    heartbeat = Heartbeat(receiver.url, TOKEN, RUN, loop, beat_s=30.0, clock=clock)
    for steps in (0, 1):
        loop.pulse = Pulse(epoch=0, done=0, steps=steps, moves=0)
        heartbeat.look()
        clock.advance(100)
    heartbeat.beat(session)

    assert receiver.beats[0]["progress_age_s"] == 100.0


def test_a_promise_counts_down_and_ends_with_the_next_epoch(
    receiver: Receiver, session: requests.Session, clock: FakeClock
) -> None:
    loop = Loop()
    heartbeat = Heartbeat(receiver.url, TOKEN, RUN, loop, beat_s=30.0, clock=clock)
    heartbeat.look()
    heartbeat.promise(3600)
    clock.advance(600)
    heartbeat.beat(session)
    loop.pulse = Pulse(epoch=1, done=1, steps=0, moves=1)
    heartbeat.look()
    heartbeat.beat(session)

    assert [beat["next_in_s"] for beat in receiver.beats] == [3000.0, None]


@pytest.mark.parametrize(
    ("seconds", "told_s"),
    [(math.inf, LONGEST_PROMISE_S), (1e300, LONGEST_PROMISE_S), (-1.0, 0.0), (math.nan, None)],
)
def test_no_promise_is_too_long_to_be_told(
    receiver: Receiver, session: requests.Session, clock: FakeClock, seconds: float, told_s: float | None
) -> None:
    """JSON has no infinity: each heartbeat after it would fail, and the run would be told lost."""
    heartbeat = Heartbeat(receiver.url, TOKEN, RUN, Loop(), beat_s=30.0, clock=clock)
    heartbeat.look()
    heartbeat.promise(seconds)
    heartbeat.beat(session)

    assert heartbeat.failures == 0
    assert receiver.beats[0]["next_in_s"] == told_s


@pytest.mark.parametrize(
    "answer", [(500, b""), (401, b"no"), (200, b"not json"), (200, b"[]")], ids=["500", "401", "garbage", "list"]
)
def test_failures_are_counted_and_said_once(
    receiver: Receiver,
    session: requests.Session,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    answer: tuple[int, bytes],
) -> None:
    receiver.answers = [answer, answer]
    heartbeat = Heartbeat(receiver.url, TOKEN, RUN, Loop(), beat_s=30.0, clock=clock)
    with caplog.at_level(logging.WARNING, logger="notifybot"):
        for _ in range(3):
            heartbeat.beat(session)

    assert (heartbeat.beats, heartbeat.failures, heartbeat.state) == (3, 2, "running")
    assert len([record for record in caplog.records if record.name == "notifybot"]) == 1
    assert TOKEN not in caplog.text


def test_that_the_watchdog_answers_again_is_said_once(
    receiver: Receiver, session: requests.Session, clock: FakeClock
) -> None:
    """What waits for it goes then, not with the next probe; an answer after an answer is no news."""
    heard: list[int] = []
    beating = Heartbeat(
        receiver.url, TOKEN, RUN, Loop(), beat_s=30.0, clock=clock, on_back=lambda: heard.append(beating.beats)
    )
    receiver.answers = [(503, b""), (503, b"")]
    for _ in range(4):
        beating.beat(session)

    assert heard == [3]


def test_an_absent_watchdog_costs_nothing_but_a_count(session: requests.Session, clock: FakeClock) -> None:
    heartbeat = Heartbeat("http://127.0.0.1:9", TOKEN, RUN, Loop(), beat_s=30.0, clock=clock)
    heartbeat.beat(session)

    assert heartbeat.failures == 1


def test_the_thread_beats_at_once_and_stops(receiver: Receiver) -> None:
    heartbeat = Heartbeat(receiver.url, TOKEN, RUN, Loop(), beat_s=3600.0)
    heartbeat.start()

    assert receiver.heard.wait(10)
    heartbeat.stop()
    heartbeat.stop()
    for thread in [each for each in threading.enumerate() if each.name == "notifybot-heartbeat"]:
        assert thread.daemon
        thread.join(10)
        assert not thread.is_alive()


def test_that_a_newer_process_has_taken_over_is_said_once(
    receiver: Receiver, session: requests.Session, clock: FakeClock
) -> None:
    """The watchdog answers so to every beat; the process hears it once."""
    heard: list[str] = []
    receiver.answers = [(200, b'{"state": "running"}'), *[(200, b'{"state": "superseded"}')] * 2]
    heartbeat = Heartbeat(
        receiver.url, TOKEN, RUN, Loop(), beat_s=30.0, clock=clock, on_superseded=lambda: heard.append("superseded")
    )
    for _ in range(3):
        heartbeat.beat(session)

    assert heard == ["superseded"]


def test_what_the_notifiers_remember_travels_when_it_has_changed(
    receiver: Receiver, session: requests.Session, clock: FakeClock
) -> None:
    """And again when the beat that carried it did not arrive."""
    place: dict[str, Any] = {}
    receiver.answers = [(200, b'{"state": "running"}'), (503, b"")]
    heartbeat = Heartbeat(
        receiver.url, TOKEN, RUN, Loop(), beat_s=30.0, clock=clock, notifier_state=lambda: dict(place)
    )
    heartbeat.beat(session)
    place["slack:00000000"] = {"value": {"root": "1.5"}, "updated_at": "2026-11-23T03:00:00+00:00"}
    for _ in range(3):
        heartbeat.beat(session)

    assert [beat.get("memories") for beat in receiver.beats] == [None, place, place, None]
