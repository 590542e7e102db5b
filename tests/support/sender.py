"""A process that records and delivers until it is killed. Forks one child a round, so that a round is cheap.

Run as `python sender.py FOLDER ROUNDS SEED`. A child acknowledges an event by a line in `acknowledged` after
`record` returned True; its receiver writes a line to `received` for every message it takes. The parent kills each
child with SIGKILL at a random moment, and lets a last one deliver what is left.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from notifybot.delivery.dispatcher import Dispatcher
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.worker import Worker
from notifybot.events import AlertRaised
from notifybot.notifiers.base import Envelope
from notifybot.policy import Pace
from notifybot.rendering import Renderer
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.types import Language, RunRef, uuid7


class Receiver:
    """Takes a message as a service would: it has it for good before it answers."""

    name = "slack"
    key = "slack:00000000"
    pace = Pace()

    def __init__(self, path: Path, answer_s: float) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._answer_s = answer_s

    def send(self, envelope: Envelope) -> None:
        os.write(self._file, f"{envelope.message.event_id}\n".encode())
        time.sleep(self._answer_s)

    def close(self) -> None:
        """Nothing to give back that the process's end does not."""


def work(folder: Path, number: int, renderer: Renderer) -> None:
    """Record an alert every few milliseconds, for ever; deliver beside it."""
    store = Store.open(folder / "notifybot.db")
    outbox = Outbox(store)
    outbox.release_dead()
    receiver = Receiver(folder / "received", 0.002)
    recorder = Recorder(store, [receiver], direct=True)
    worker = Worker(Dispatcher(outbox, [receiver], renderer), recorder)
    worker.start()
    acknowledged = os.open(folder / "acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    run = RunRef(id=f"run-{number}", name="resnet", project="default", session=uuid7())
    while True:
        event = AlertRaised(id=uuid7(), run=run, at=store.clock.now(), title="look")
        if recorder.record(event):
            os.write(acknowledged, f"{event.id}\n".encode())
            worker.wake()
        time.sleep(0.003)


def _wait_for_growth(path: Path) -> None:
    """However slow the machine: the child has acknowledged an event."""
    before = path.stat().st_size if path.exists() else 0
    for _ in range(10_000):
        if path.exists() and path.stat().st_size > before:
            return
        time.sleep(0.001)
    raise TimeoutError("the child acknowledged nothing in ten seconds")


def deliver_the_rest(folder: Path, renderer: Renderer) -> None:
    """What the next start does: free what the dead held, and send."""
    with Store.open(folder / "notifybot.db") as store:
        outbox = Outbox(store)
        outbox.release_dead()
        receiver = Receiver(folder / "received", 0.0)
        dispatcher = Dispatcher(outbox, [receiver], renderer)
        while dispatcher.run_once(receiver.key).value != "idle":
            pass
        assert all(each.conserved and not each.pending for each in outbox.counts().values())


def main(folder: Path, rounds: int, seed: int) -> None:
    """Kill `rounds` children."""
    rng = random.Random(seed)
    renderer = Renderer(Language.EN)
    Store.open(folder / "notifybot.db").close()
    for number in range(rounds):
        child = os.fork()
        if child == 0:
            work(folder, number, renderer)
        if number % 4:  # one in four may die before it has said anything
            _wait_for_growth(folder / "acknowledged")
        time.sleep(rng.uniform(0.0, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    deliver_the_rest(folder, renderer)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
