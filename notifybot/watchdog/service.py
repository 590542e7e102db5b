"""The watchdog as one object with a lifetime: it takes reports in, looks for late runs, and sends messages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

from notifybot.errors import StoreError, reader_text
from notifybot.events import Event
from notifybot.notifiers.base import Notifier
from notifybot.policy import Priority, priority_of, wants
from notifybot.store import heartbeats, pruning
from notifybot.store.database import Store
from notifybot.types import Language
from notifybot.watchdog import tokens
from notifybot.watchdog.ingest import AccessDenied, Ingest, Ingested, Route
from notifybot.watchdog.rules import Limits
from notifybot.watchdog.scan import Checker
from notifybot.watchdog.scheduler import Job, JobSchedule
from notifybot.watchdog.schemas import parse_beat, parse_events

log = logging.getLogger("notifybot")
Done = TypeVar("Done")

KEEP_DAYS = 90
_SELF_CHECK_EVERY_S = 30.0
_PRUNE_EVERY_S = 3600.0
_LATE_PERIODS = 3
_STUCK_S = 600.0
_STOP_S = 5.0
_ADMITTED_S = 5.0
_MOST_ADMITTED = 1000


class Courier(Protocol):
    """Carries deliveries to people, on threads of its own."""

    def start(self) -> None: ...

    def wake(self) -> None:
        """Look into the outbox: there is something new."""

    def stop(self, timeout_s: float) -> object: ...


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the watchdog does its own work; `faults` says what it does not do."""

    faults: tuple[str, ...]
    scan_age_s: float | None
    outbox_age_s: float | None
    set_apart: int = 0  # runs that could not be judged at their last turn

    @property
    def ok(self) -> bool:
        return not self.faults


class Watchdog:
    """The service without its HTTP side. `courier` carries what is recorded for `notifiers`; None: only record.

    What it has to say by itself is in `language`. `has_notifiers` is False where no message
    goes to anybody.
    """

    def __init__(
        self,
        store: Store,
        *,
        limits: Limits | None = None,
        notifiers: Sequence[Notifier] = (),
        courier: Courier | None = None,
        keep_days: int = KEEP_DAYS,
        language: Language = Language.EN,
    ) -> None:
        self.store = store
        self.limits = limits or Limits()
        self._courier = courier
        self._keep = timedelta(days=keep_days)
        self.has_notifiers = bool(notifiers)
        self._admitted: dict[str, float] = {}
        self._faults_said: set[str] = set()
        route = route_to(notifiers)
        keys = [each.key for each in notifiers]
        self._ingest = Ingest(store, limits=self.limits, route=route, own_keys=keys, language=language)
        self._checker = Checker(store, limits=self.limits, route=route)
        self._schedule = JobSchedule(
            [
                Job("scan", self.limits.scan_every_s, self.scan),
                Job("prune", _PRUNE_EVERY_S, self.prune),
                Job("self-check", _SELF_CHECK_EVERY_S, self.self_check),
            ],
            clock=store.clock,
        )

    def start(self) -> None:
        """Start the scan and the deliveries."""
        if self._courier is not None:
            self._courier.start()
        self._schedule.start()

    def stop(self) -> None:
        """Finish what is being done, then rest. What waits in the outbox goes out after the next start."""
        self._schedule.stop()
        if self._courier is not None:
            self._courier.stop(_STOP_S)

    def admits(self, token: str | None) -> bool:
        """True for a token that may report; one that was taken away may still have its body read for some seconds.

        Raises StoreError.
        """
        digest, now_s = tokens.digest_of(token or ""), self.store.clock.monotonic()
        if now_s < self._admitted.get(digest, 0.0):
            return True
        if tokens.verify(self.store, token) is None:
            return False
        if len(self._admitted) >= _MOST_ADMITTED:
            self._admitted.clear()
        self._admitted[digest] = now_s + _ADMITTED_S
        return True

    def accept_events(self, token: str | None, body: bytes) -> Ingested:
        """Take in a request with events. Raises AccessDenied, PayloadError, StoreError."""
        self._admit(token)
        batch = parse_events(body)
        accepted = self._with_room(lambda: self._ingest.accept_events(token, batch))
        self._wake()
        return accepted

    def accept_heartbeat(self, token: str | None, body: bytes) -> str:
        """Take in a heartbeat and return the run's state. Raises AccessDenied, PayloadError, StoreError."""
        self._admit(token)
        beat = parse_beat(body, self.store.clock.now(), self.limits.promise_max_s)
        heard = self._with_room(lambda: self._ingest.accept_heartbeat(token, beat))
        if heard.recorded:
            self._wake()
        return heard.state

    def scan(self) -> None:
        """Look for late runs and send messages about them."""
        if self._with_room(self._checker.scan):
            self._wake()

    def listening(self) -> None:
        """The HTTP side says that it is taking requests; and the scan is set going again if a clock jump put it off."""
        self._checker.listening()
        self._schedule.catch_up()

    def prune(self) -> int:
        """Forget runs that nobody has heard of for long; return how many."""
        before = self.store.clock.now() - self._keep
        with self.store.transaction() as connection:
            number = heartbeats.forget_before(connection, before)
        self.store.tidy()
        return number

    def self_check(self) -> None:
        """Keep the database file small, and log what goes wrong for long."""
        self.store.tidy()
        if self._checker.age_s() is not None:
            faults = set(self.health().faults)
            for fault in faults - self._faults_said:
                log.error("%s", reader_text("watchdog.service.watchdog", fault=fault))
            self._faults_said = faults

    def health(self) -> Health:
        """Say whether runs are being looked at and messages are going out."""
        scan_age_s = self._checker.age_s()
        try:
            now = self.store.clock.now()
            with self.store.reading() as connection:
                since = heartbeats.oldest_waiting(connection, now)
        except StoreError as error:
            return Health((str(error),), scan_age_s, None)
        outbox_age_s = None if since is None else (now - since).total_seconds()
        late_s = (_LATE_PERIODS + 1) * self.limits.scan_every_s
        faults = [] if self.has_notifiers else [reader_text("watchdog.service.no_notifier")]
        if scan_age_s is None or scan_age_s > late_s:
            faults.append(reader_text("watchdog.service.not_looking"))
        if outbox_age_s is not None and outbox_age_s > _STUCK_S:
            faults.append(reader_text("watchdog.service.message_waits", outbox_age_s=f"{outbox_age_s:.0f}"))
        return Health(tuple(faults), scan_age_s, outbox_age_s, self._checker.set_apart)

    def _with_room(self, work: Callable[[], Done]) -> Done:
        """Run an action that writes; if the database is full, prune the oldest metrics and run it once more."""
        try:
            return work()
        except StoreError as error:
            if not (pruning.is_full(error) and pruning.make_room(self.store)):
                raise
            return work()

    def _admit(self, token: str | None) -> None:
        """Check the token before its body is parsed. It is verified again where it is used."""
        if not self.admits(token):
            raise AccessDenied("this token gives no access")

    def _wake(self) -> None:
        if self._courier is not None:
            self._courier.wake()


def route_to(notifiers: Sequence[Notifier]) -> Route:
    """Send an event to every notifier that wants its kind."""

    def route(event: Event) -> list[tuple[str, Priority]]:
        return [(each.key, priority_of(event)) for each in notifiers if wants(each.pace, event)]

    return route
