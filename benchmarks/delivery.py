"""What does the outbox carry, in what order, at what cost, and what does a dead notifier cost the others?

Receivers listen on loopback in processes of their own and remember what they heard and when: one answers at once, one
after 300 ms. Two notifiers are asked: the plain webhook, which is told every event, and Slack's, which is held to a
message a second and is told the newest of what waits. A message's CPU time is that of the whole sending process, from
claiming to marking as sent, two commits with fsync and the rendering included.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import requests

from benchmarks.bench import Goals, Outcome, keep, last_line, middle, quantile, run, table, together, workplace
from benchmarks.receiver import HANG_S, Heard, closed, heard, receiver
from notifybot.delivery.dispatcher import Dispatcher
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.worker import Worker
from notifybot.events import EpochFinished, Event, RunEnded, RunStarted
from notifybot.notifiers.base import Envelope, Notifier
from notifybot.notifiers.slack import SlackWebhook
from notifybot.notifiers.webhook import Webhook, payload
from notifybot.rendering import Renderer
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import DictMemory
from notifybot.types import Language, Metric, Progress, RunRef, Status, uuid7

EVENTS, OF_RUNS = 10_000, 4
PART = 1000  # events recorded while nothing is sent, then sent
POSTS = 1000
SLOW_S, SLOW_EVENTS = 0.3, 20
ROUNDS, TOLD, EVERY_S = 3, 150, 0.01
_BOUND_S = 300.0


def main() -> list[str]:
    """Print the tables; return the goals missed."""
    goals = Goals()
    with workplace() as folder:
        jobs = {name: functools.partial(_ask, Path(folder), name) for name in _QUESTIONS}
        outcomes = [*together([jobs["fast"], jobs["slow"]], 2), jobs["beside"]()]  # "slow" waits most of the time
        results = {}
        for name, outcome in zip(_QUESTIONS, outcomes, strict=True):
            if outcome.result is None:
                print(f"\ndelivery, {name}: failed: {last_line(outcome.stderr)}")
                goals.missed.append(f"delivery, {name}: measured")
            else:
                results[name] = outcome.result
    _tell_carried(results.get("fast", {}), results.get("slow", {}), goals)
    _tell_beside(results.get("beside", {}), goals)
    return goals.missed


def _ask(folder: Path, name: str) -> Outcome:
    return run(["-m", "benchmarks.delivery", name], folder / name, bound_s=_BOUND_S)


def _tell_carried(fast: dict[str, Any], slow: dict[str, Any], goals: Goals) -> None:
    ways = fast.get("ways", {}) | slow.get("ways", {})
    rows = []
    for words, each in ways.items():
        rates = [f"{each['events_s']:,.1f}", f"{each['messages_s']:,.1f}"]
        faults = [each["inversions"], each["duplicates"], each["unaccounted"]]
        rows.append([words, f"{each['events']:,}", f"{each['messages']:,}", each["folded"], *rates, *faults])
    table(
        "Events through the outbox, by receiver: answers at once, or after 300 ms",
        ["", "events", "messages", "folded", "events/s", "messages/s", "out of order", "twice", "lost"],
        rows,
        f"One run each. The plain webhook is told every event, of a backlog of {PART:,} at a time; Slack's what is "
        "newest of each training, at most one message a second, while they are recorded. Order: within a training.",
    )
    for fault in ("inversions", "duplicates", "unaccounted"):
        goals.check(f"delivery: {fault}", sum(each[fault] for each in ways.values()), 0)
    if fast:
        _tell_costs(fast)


def _tell_costs(fast: dict[str, Any]) -> None:
    bare = middle(fast["cpu_ms"]["requests.post"])
    table(
        "CPU time of one message, of the whole sending process (ms, median)",
        ["", "ms", "× requests.post", "min–max", "parts"],
        [
            [words, f"{middle(ms):.2f}", f"{middle(ms) / bare:.2f}", f"{min(ms):.2f}–{max(ms):.2f}", len(ms)]
            for words, ms in fast["cpu_ms"].items()
        ],
        f"Parts of {PART:,} messages of the outbox, and of {POSTS // 4} posts of the same size in a loop. Recording an "
        f"event before that takes {fast['record_ms']:.2f} ms, a commit with fsync each (median of {EVENTS // PART}).",
    )


def _tell_beside(results: dict[str, list[dict[str, float]]], goals: Goals) -> None:
    alone_s = middle(each["p99"] for each in results.get("alone", []))
    rows = [
        [words, *(f"{middle(each[key] for each in rounds) * 1000:,.1f}" for key in ("p50", "p99", "most")), len(rounds)]
        for words, rounds in results.items()
    ]
    table(
        f"From recording to arrival at the healthy webhook, {TOLD} events {EVERY_S * 1000:.0f} ms apart (ms, medians)",
        ["a second notifier", "median", "99 %", "most", "runs"],
        rows,
    )
    for words in [each for each in results if each != "alone"]:
        added_s = middle(each["p99"] for each in results[words]) - alone_s
        goals.check(f"delivery beside one that {words}: added to the 99 %, s", added_s, 1.0)
    goals.check("delivery beside a dead one: events that did not arrive", sum(
        each["missing"] for rounds in results.values() for each in rounds), 0)  # fmt: skip


# In the child that sends


def _fast() -> None:
    with receiver(0.0) as url:
        sender = Sender("fast", [Webhook(url)])
        record_ms, cpu_ms = sender.in_parts(_story(EVENTS, OF_RUNS))
        costs = {"notifybot, plain webhook": cpu_ms}
        way = sender.account(heard(url))
        body = json.loads(sender.sample)
        for words, post in (("requests.post", requests.post), ("requests.Session.post", requests.Session().post)):
            costs[words] = _posting(url, post, body)
    keep({"ways": {"plain webhook, at once": way}, "cpu_ms": costs, "record_ms": middle(record_ms)})


def _slow() -> None:
    ways = {}
    with receiver(SLOW_S) as url:
        sender = Sender("slow", [Webhook(url)])
        sender.record(_story(SLOW_EVENTS, 2))
        sender.drain()
        ways["plain webhook, 300 ms"] = sender.account(heard(url))
    with receiver(SLOW_S) as url:
        sender = Sender("folding", [SlackWebhook(url)])
        sender.live(_story(EVENTS, OF_RUNS, ending=True))
        ways["Slack's webhook, 300 ms"] = sender.account(heard(url))
    keep({"ways": ways})


def _posting(url: str, post: Callable[..., requests.Response], body: object) -> list[float]:
    """CPU milliseconds of a post, for each of four parts."""
    parts = []
    for _ in range(4):
        began_s = time.process_time()
        for _ in range(POSTS // 4):
            post(url, json=body).close()
        parts.append((time.process_time() - began_s) * 1000 / (POSTS // 4))
    return parts


def _beside() -> None:
    results: dict[str, list[dict[str, float]]] = defaultdict(list)
    with receiver(0.0) as url, receiver(HANG_S) as hanging, closed() as refusing:
        for number in range(ROUNDS):  # the conditions take turns, so that a slow moment of the machine meets all
            for words, dead in (("alone", None), ("refuses", refusing), ("hangs", hanging)):
                others: list[Notifier] = [] if dead is None else [SlackWebhook(f"{dead}/{number}")]
                sender = Sender(f"{words}-{number}", [Webhook(f"{url}/{words}/{number}"), *others])
                results[words].append(sender.latencies(url))
    keep(results)


class Sender:
    """A recorder, an outbox and a worker in a folder of their own, as a training process has them."""

    def __init__(self, name: str, notifiers: Sequence[Notifier]) -> None:
        self._outbox = Outbox(Store.open(Path(name, "notifybot.db")))
        self._key = notifiers[0].key
        self._recorder = Recorder(self._outbox.store, notifiers, direct=True)
        self._dispatcher = Dispatcher(self._outbox, notifiers, Renderer(Language.EN))
        self._worker = Worker(self._dispatcher, self._recorder)
        self._events: list[Event] = []
        self._recorded_s: dict[str, float] = {}
        self._sending_s = 0.0

    @property
    def sample(self) -> bytes:
        """The body of one message."""
        event = self._events[-1]
        return payload(Envelope(event, Renderer(Language.EN).render(event), DictMemory()))

    def in_parts(self, events: Sequence[Event]) -> tuple[list[float], list[float]]:
        """Record a part, then send it, and so on; return for each part ms an event took, and CPU ms a message did."""
        parts = [events[first : first + PART] for first in range(0, len(events), PART)]
        record_ms, cpu_ms = [], []
        for part in parts:
            began_s = time.monotonic()
            self.record(part)
            record_ms.append((time.monotonic() - began_s) * 1000 / len(part))
            cpu_s = time.process_time()
            self.drain()
            cpu_ms.append((time.process_time() - cpu_s) * 1000 / len(part))
        return record_ms, cpu_ms

    def record(self, events: Sequence[Event]) -> None:
        """Record them all, one after the other, as a training does."""
        self._events += events
        for event in events:
            self._recorded_s[event.id] = time.monotonic()
            self._recorder.record(event)
            self._worker.wake()

    def drain(self) -> None:
        """Send all there is, and end the worker's threads."""
        began_s = time.monotonic()
        self._worker.start()
        if not self._worker.flush(_BOUND_S):
            raise TimeoutError("not all was sent")
        self._worker.stop(10.0)
        self._worker = Worker(self._dispatcher, self._recorder)
        self._sending_s += time.monotonic() - began_s

    def live(self, events: Sequence[Event]) -> None:
        """Record them all while the worker sends, and then what is left."""
        began_s = time.monotonic()
        self._worker.start()
        self.record(events)
        self.drain()
        self._sending_s = time.monotonic() - began_s

    def account(self, arrived: list[Heard]) -> dict[str, float]:
        """What came of the events: how fast, in which order, and whether any came twice or not at all."""
        counts = self._outbox.counts()[self._key]
        place = {event.id: number for number, event in enumerate(self._events)}
        of_run: dict[str, list[int]] = defaultdict(list)
        for each in arrived:
            of_run[self._events[place[each.event_id]].run.id].append(place[each.event_id])
        distinct = len({each.event_id for each in arrived})
        return {
            "events": len(self._events),
            "messages": len(arrived),
            "folded": counts.dropped,
            "events_s": len(self._events) / self._sending_s,
            "messages_s": len(arrived) / self._sending_s,
            "inversions": sum(one > other for order in of_run.values() for one, other in pairwise(order)),
            "duplicates": len(arrived) - distinct,
            "unaccounted": len(self._events) - distinct - counts.dropped,
        }

    def latencies(self, url: str) -> dict[str, float]:
        """Record events at a steady pace; return how long the healthy notifier, the first, took to tell them."""
        self._worker.start()
        for event in _story(TOLD, 1):
            self.record([event])
            time.sleep(EVERY_S)
        ends_s = time.monotonic() + 20
        while len(mine := self._own(heard(url))) < TOLD and time.monotonic() < ends_s:
            time.sleep(0.1)
        self._worker.stop(0.1)  # a dead one's thread ends with the process
        took_s = [each.at_s - self._recorded_s[each.event_id] for each in mine]
        quantiles = {"p50": middle(took_s), "p99": quantile(took_s, 0.99), "most": max(took_s)}
        return {**quantiles, "missing": TOLD - len(took_s)}

    def _own(self, arrived: list[Heard]) -> list[Heard]:
        return [each for each in arrived if each.event_id in self._recorded_s]


def _story(count: int, of_runs: int, *, ending: bool = False) -> list[Event]:
    """So many events of so many trainings that go on side by side, each as rich as of three metrics."""
    told: list[Event] = []
    for number in range(count):
        run_number, epoch = number % of_runs, number // of_runs
        ref, now = RunRef(f"run-{run_number}", f"resnet-{run_number}", "bench"), datetime.now(UTC)
        metrics = {name: Metric(1 / (epoch + 1), 1 / max(epoch, 1)) for name in ("loss", "val_loss", "acc")}
        progress = Progress(epoch, epoch + 1, count // of_runs, metrics, epoch_s=1.0, elapsed_s=float(epoch))
        if epoch == 0:
            told.append(RunStarted(id=uuid7(), run=ref, at=now, progress=Progress()))
        elif ending and number >= count - of_runs:
            told.append(RunEnded(id=uuid7(), run=ref, at=now, status=Status.FINISHED, progress=progress))
        else:
            told.append(EpochFinished(id=uuid7(), run=ref, at=now, progress=progress))
    return told


_QUESTIONS: dict[str, Callable[[], None]] = {"fast": _fast, "slow": _slow, "beside": _beside}


if __name__ == "__main__":
    match sys.argv[1:]:
        case [name]:
            _QUESTIONS[name]()
        case _:
            sys.exit(1 if main() else 0)
