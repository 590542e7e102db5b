"""One pass over one notifier's deliveries: claim, render, send, mark. No thread, no loop, no data of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum
from random import Random
from typing import assert_never

from notifybot import retry
from notifybot.clock import SYSTEM, Clock
from notifybot.delivery.words import words_in
from notifybot.errors import PermanentError, StoreError, TemporaryError
from notifybot.events import AlertRaised, Event
from notifybot.model import Fact, Message, Severity, uuid7
from notifybot.notifiers.base import Envelope, Notifier
from notifybot.policy import Hold, Priority, Refuse, admit, day_start, is_news, too_old
from notifybot.redaction import redact
from notifybot.rendering import Renderer
from notifybot.store import pruning, runs
from notifybot.store.outbox import Delivery, Outbox

log = logging.getLogger("notifybot")

LEASE_S = 120.0  # longer than the slowest send: KakaoTalk may refresh, resend and fall back, 15 s each
_UNEXPECTED_TRIES = 5


class Outcome(Enum):
    """What one pass did."""

    IDLE = "idle"
    SENT = "sent"
    HELD = "held"
    RETRY = "retry"
    DEAD = "dead"
    DROPPED = "dropped"


@dataclass(slots=True)
class _Lane:
    """What a process remembers of one notifier between passes: when it may be tried again."""

    notifier: Notifier
    blocked_until_s: float = 0.0
    failures: list[float] = field(default_factory=list)
    told: set[str] = field(default_factory=set)


class Dispatcher:
    """Sends what the outbox holds, for the notifiers it is given. Several processes may do so on one outbox."""

    def __init__(
        self,
        outbox: Outbox,
        notifiers: Iterable[Notifier],
        renderer: Renderer,
        *,
        clock: Clock = SYSTEM,
        rng: Random | None = None,
        link_of: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self.outbox = outbox
        self._lanes = {each.key: _Lane(each) for each in notifiers}
        self._renderer = renderer
        self._clock = clock
        self._rng = rng or Random()  # noqa: S311 - jitter, not a secret
        self._link_of = link_of

    @property
    def keys(self) -> tuple[str, ...]:
        """The notifiers served."""
        return tuple(self._lanes)

    def run_once(self, key: str) -> Outcome:
        """Handle at most one delivery of a notifier. Raises StoreError when the outbox cannot be read or marked.

        A temporary fault blocks the whole notifier until its next try, so that its messages keep their order.
        """
        lane = self._lanes[key]
        if self._clock.monotonic() < lane.blocked_until_s:
            return Outcome.HELD
        delivery = self.outbox.claim(key, lease_s=LEASE_S, fold=lane.notifier.pace.folds)
        if delivery is None:
            return Outcome.IDLE
        verdict = self._admit(lane, delivery)
        match verdict:
            case Hold():
                self.outbox.mark_retry(delivery, verdict.until, verdict.why, counted=False)
                return Outcome.HELD
            case Refuse():
                self._mark(lambda: self.outbox.mark_dropped(delivery, verdict.why))
                return Outcome.DROPPED
            case None:
                return self._send(lane, delivery)
            case _:
                assert_never(verdict)

    def wait_s(self, key: str) -> float | None:
        """Seconds until this notifier may have work again; None when nothing waits. Raises StoreError."""
        due = self.outbox.next_due(key)
        if due is None:
            return None
        blocked = self._lanes[key].blocked_until_s - self._clock.monotonic()
        return max((due - self._clock.now()).total_seconds(), blocked, 0.0)

    def stuck(self, key: str) -> bool:
        """True while a fault keeps this notifier from being tried: waiting for it is no use now."""
        return bool(self._lanes[key].failures)

    def close(self) -> None:
        """Close the notifiers."""
        for lane in self._lanes.values():
            lane.notifier.close()

    def _admit(self, lane: _Lane, delivery: Delivery) -> Hold | Refuse | None:
        pace, now = lane.notifier.pace, self._clock.now()
        last = sent = None
        if pace.progress_gap_s and is_news(delivery.event):
            last = self.outbox.last_news_at(delivery.notifier, delivery.event)
        if pace.daily_budget is not None:
            sent = self.outbox.sent_since(delivery.notifier, day_start(now))
        return admit(pace, delivery.priority, now=now, last_news_at=last, sent_today=sent or 0)

    def _send(self, lane: _Lane, delivery: Delivery) -> Outcome:
        event = delivery.event
        message = self._message(delivery)
        memory = self.outbox.store.memory(delivery.notifier)
        envelope = Envelope(event, message, memory, delivery.attempts, delivery.skipped)
        try:
            lane.notifier.send(envelope)
        except TemporaryError as error:
            return self._later(lane, delivery, error)
        except PermanentError as error:
            return self._never(lane, delivery, redact(str(error)))
        except Exception as error:  # a plugin may raise anything; its lane must go on
            log.debug("%s raised while sending", delivery.notifier, exc_info=True)
            text = redact(f"{type(error).__name__}: {error}")
            if delivery.attempts + 1 >= _UNEXPECTED_TRIES:
                return self._never(lane, delivery, text)
            return self._later(lane, delivery, TemporaryError(text, ambiguous=True))
        lane.failures.clear()
        lane.blocked_until_s = self._clock.monotonic() + lane.notifier.pace.gap_s
        self._mark(lambda: self.outbox.mark_sent(delivery))
        return Outcome.SENT

    def _message(self, delivery: Delivery) -> Message:
        """The message about an event; what was dropped for want of space or budget is told with it."""
        event = delivery.event
        message = self._renderer.render(event, link=self._link_of(event.run.id), skipped=delivery.skipped)
        if not delivery.untold:
            return message
        words = words_in(message.language)
        left_out = Fact(words.left_out, words.count.format(number=delivery.untold))
        return replace(message, facts=(*message.facts, left_out))

    def _mark(self, mark: Callable[[], bool]) -> bool:
        """Mark a delivery, in a full database after making room: what was sent must not be sent again for that."""
        try:
            return mark()
        except StoreError as error:
            if not (pruning.is_full(error) and pruning.make_room(self.outbox.store)):
                raise
            return mark()

    def _later(self, lane: _Lane, delivery: Delivery, error: TemporaryError) -> Outcome:
        now_s, now = self._clock.monotonic(), self._clock.now()
        if too_old(delivery.priority, delivery.created_at, now):
            return self._never(lane, delivery, f"not delivered within a day: {redact(str(error))}")
        if not lane.failures:
            log.warning("%s cannot be reached now, messages wait: %s", lane.notifier.name, redact(str(error)))
        lane.failures = [*lane.failures[-retry.TRIES_AN_HOUR * 2 :], now_s]
        wait = retry.delay_s(lane.failures, now_s, error, self._rng)
        lane.blocked_until_s = now_s + wait
        due_at, why = now + timedelta(seconds=wait), redact(str(error))
        self._mark(lambda: self.outbox.mark_retry(delivery, due_at, why, counted=error.ambiguous))
        return Outcome.RETRY

    def _never(self, lane: _Lane, delivery: Delivery, why: str) -> Outcome:
        lane.failures.clear()
        lane.blocked_until_s = self._clock.monotonic() + lane.notifier.pace.gap_s
        if self._mark(lambda: self.outbox.mark_dead(delivery, why)):
            log.error("%s did not take a message (%s): %s", lane.notifier.name, delivery.event.kind, why)
            self._tell_elsewhere(lane, delivery.event, why)
        return Outcome.DEAD

    def _tell_elsewhere(self, lane: _Lane, event: Event, why: str) -> None:
        """A dead letter is told on the other notifiers, once per reason; never a dead letter about a dead letter."""
        others = [key for key in self._lanes if key != lane.notifier.key]
        about_delivery = isinstance(event, AlertRaised) and event.about == "delivery"
        if not others or about_delivery or why in lane.told:
            return
        lane.told.add(why)
        now, words = self._clock.now(), words_in(self._renderer.language)
        alert = AlertRaised(
            id=uuid7(now.timestamp()), run=event.run, at=now, title=words.not_taken.format(name=lane.notifier.name),
            text=why, severity=Severity.WARNING, about="delivery", progress=event.progress,
        )  # fmt: skip
        runs.record(self.outbox.store, alert, [(key, Priority.URGENT) for key in others])
