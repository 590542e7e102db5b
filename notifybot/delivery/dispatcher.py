"""One pass over one notifier's deliveries: claim, render, send, mark. No thread, no loop, no data of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum
from random import Random
from typing import TypeVar, assert_never

from notifybot import retry
from notifybot.clock import SYSTEM, Clock
from notifybot.delivery.digest import digest_of
from notifybot.delivery.shaped import left_today, renderer_of, show_state
from notifybot.delivery.words import words_in
from notifybot.errors import PermanentError, StoreError, TemporaryError
from notifybot.events import AlertRaised, EpochFinished, Event
from notifybot.model import Fact, Message, Reason, RunRef, Severity, uuid7
from notifybot.notifiers.base import Envelope, Notifier
from notifybot.policy import KST, Hold, Priority, Refuse, Told, admit, day_start, too_old, wants
from notifybot.rendering import Renderer
from notifybot.rendering.alerts import not_delivered, notice_words
from notifybot.rendering.delivery_reasons import delivery_reason
from notifybot.rendering.reasons import reason_line
from notifybot.store import kept, pruning, runs
from notifybot.store.kept import Kept
from notifybot.store.moved import ClockWatch
from notifybot.store.outbox import Delivery, Outbox
from notifybot.store.reasons import to_text

log = logging.getLogger("notifybot")
Done = TypeVar("Done")

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
    renderer: Renderer
    blocked_until_s: float = 0.0
    failures: list[float] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    paced_until_s: dict[str, float] = field(default_factory=dict)  # of a run whose epoch waits for its turn


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
        link_of: Callable[[RunRef], str | None] = lambda _: None,
    ) -> None:
        self.outbox = outbox
        self._lanes = {each.key: _Lane(each, renderer_of(each, renderer)) for each in notifiers}
        self._language = renderer.language
        self._clock = clock
        self._rng = rng or Random()  # noqa: S311 - jitter, not a secret
        self._link_of = link_of
        self._clock_watch = ClockWatch(outbox.store)

    @property
    def keys(self) -> tuple[str, ...]:
        """The notifiers served."""
        return tuple(self._lanes)

    def run_once(self, key: str) -> Outcome:
        """Handle at most one delivery of a notifier. Raises StoreError when the outbox cannot be read or marked.

        A temporary fault blocks the whole notifier until its next try, so that its messages keep their order.
        """
        lane = self._lanes[key]
        self._clock_watch.look()
        if self._clock.monotonic() < lane.blocked_until_s:
            return Outcome.HELD
        delivery = self.outbox.claim(key, lease_s=LEASE_S, fold=lane.notifier.pace.folds)
        if delivery is None:
            return Outcome.IDLE
        told = self._told(lane, delivery)
        if (told.kept_back or lane.notifier.pace.folds) and kept.let_go_of_start(self.outbox, delivery):
            return Outcome.DROPPED
        verdict = admit(lane.notifier.pace, delivery.event, told, now=self._clock.now())
        match verdict:
            case Hold(kept_back=True):
                kept.keep(self.outbox, delivery, verdict.until, verdict.why)
                return Outcome.HELD
            case Hold():
                if isinstance(delivery.event, EpochFinished):
                    away_s = (verdict.until - self._clock.now()).total_seconds()
                    lane.paced_until_s[delivery.event.run.key] = self._clock.monotonic() + away_s
                self.outbox.mark_retry(delivery, verdict.until, verdict.why, counted=False)
                return Outcome.HELD
            case Refuse():
                self._mark(lambda: self.outbox.mark_dropped(delivery, verdict.why))
                return Outcome.DROPPED
            case None:
                return self._send(lane, delivery, self._gather(lane, delivery) if told.kept_back else None)
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

    def would_wait(self, key: str, event: Event) -> bool:
        """True while an epoch of this run would only be put off: an earlier one waits for the same moment."""
        until_s = self._lanes[key].paced_until_s.get(event.run.key, 0.0)
        return isinstance(event, EpochFinished) and self._clock.monotonic() < until_s

    def close(self) -> None:
        """Close the notifiers."""
        for lane in self._lanes.values():
            lane.notifier.close()

    def _told(self, lane: _Lane, delivery: Delivery) -> Told:
        """What the pace needs to know; a notifier that has no use for a figure is not held up for it."""
        pace, event, key = lane.notifier.pace, delivery.event, delivery.notifier
        left = left_today(lane.notifier)
        counts = pace.step > 1 and isinstance(event, EpochFinished)
        return Told(
            last_news_at=self.outbox.last_news_at(key, event) if pace.gap_after(event) else None,
            last_done=kept.last_done(self.outbox, key, event.run.key) if counts else 0,
            today=self.outbox.sent_since(key, day_start(self._clock.now())) if pace.daily_budget is not None else 0,
            left=left,
            kept_back=(pace.may_keep_back or left is not None) and kept.is_kept(self.outbox, delivery),
        )

    def _gather(self, lane: _Lane, delivery: Delivery) -> Kept:
        return kept.gather(self.outbox, delivery, fold=lane.notifier.pace.folds)

    def _send(self, lane: _Lane, delivery: Delivery, together: Kept | None) -> Outcome:
        """Send a delivery; `together` with others where it was kept back, be it alone in that."""
        try:
            lane.notifier.send(self._envelope(lane, delivery, together))
        except TemporaryError as error:
            return self._later(lane, delivery, together, error)
        except PermanentError as error:
            return self._never(lane, delivery, together, delivery_reason(error))
        except Exception as error:  # a plugin may raise anything; its lane must go on
            log.debug("%s raised while sending", delivery.notifier, exc_info=True)
            why = delivery_reason(error)
            if delivery.attempts + 1 >= _UNEXPECTED_TRIES:
                return self._never(lane, delivery, together, why)
            return self._later(lane, delivery, together, TemporaryError(why.values["text"], ambiguous=True))
        lane.failures.clear()
        lane.blocked_until_s = self._clock.monotonic() + lane.notifier.pace.gap_s
        if together:
            self._mark(lambda: kept.tell(self.outbox, together))
        self._mark(lambda: self.outbox.mark_sent(delivery))
        if together and together.ids:
            self._show(lane, together)
        return Outcome.SENT

    def _show(self, lane: _Lane, together: Kept) -> None:
        """What a notifier shows of the runs has stood still as long as they were kept back."""
        for event in together.states:
            memory = self.outbox.store.memory(lane.notifier.key, event.run.project)
            message = lane.renderer.render(event, link=self._link_of(event.run))
            show_state(lane.notifier, Envelope(event, message, memory))

    def _envelope(self, lane: _Lane, delivery: Delivery, together: Kept | None) -> Envelope:
        event, skipped = delivery.event, delivery.skipped
        if together and together.ids:
            quiet = lane.notifier.pace.chosen.quiet
            zone, now = quiet.zone if quiet else KST, self._clock.now()
            event, skipped = digest_of(event, together, lane.renderer, now=now, zone=zone), 0
        link = self._link_of(delivery.event.run)  # of a digest, the page of one of its runs
        message = lane.renderer.render(event, link=link, skipped=skipped)
        memory = self.outbox.store.memory(delivery.notifier, event.run.project)
        return Envelope(event, _owning_up(message, delivery.untold), memory, delivery.attempts, skipped)

    def _mark(self, mark: Callable[[], Done]) -> Done:
        """Mark a delivery, in a full database after making room: what was sent must not be sent again for that."""
        try:
            return mark()
        except StoreError as error:
            if not (pruning.is_full(error) and pruning.make_room(self.outbox.store)):
                raise
            return mark()

    def _later(self, lane: _Lane, delivery: Delivery, together: Kept | None, error: TemporaryError) -> Outcome:
        now_s, now = self._clock.monotonic(), self._clock.now()
        reason = delivery_reason(error)
        if together is None and too_old(delivery.priority, delivery.created_at, now):
            return self._never(lane, delivery, together, replace(reason, code=f"late/{reason.code}"))
        if not lane.failures:
            waits = words_in(self._language).waits
            log.warning("%s", waits.format(name=lane.notifier.name, why=reason_line(reason, self._language)))
        why = to_text(reason)
        lane.failures = [*lane.failures[-retry.TRIES_AN_HOUR * 2 :], now_s]
        wait = retry.delay_s(lane.failures, now_s, error, self._rng)
        lane.blocked_until_s = now_s + wait
        due_at, counted = now + timedelta(seconds=wait), error.ambiguous
        if together is None:
            self._mark(lambda: self.outbox.mark_retry(delivery, due_at, why, counted=counted))
        else:
            self._mark(lambda: kept.release(self.outbox, together))
            self._mark(lambda: kept.keep(self.outbox, delivery, due_at, why, counted=counted))
        return Outcome.RETRY

    def _never(self, lane: _Lane, delivery: Delivery, together: Kept | None, reason: Reason) -> Outcome:
        why, event = to_text(reason), delivery.event
        lane.failures.clear()
        lane.blocked_until_s = self._clock.monotonic() + lane.notifier.pace.gap_s
        if together:
            self._mark(lambda: kept.bury(self.outbox, together, why))
        if self._mark(lambda: self.outbox.mark_dead(delivery, why)):
            given_up, told = words_in(self._language).given_up, reason_line(reason, self._language)
            log.error("%s", given_up.format(name=lane.notifier.name, kind=event.kind, why=told))
            self._tell_elsewhere(lane, event, reason)
        return Outcome.DEAD

    def _tell_elsewhere(self, lane: _Lane, event: Event, reason: Reason) -> None:
        """A dead letter is told on the other notifiers, once per reason; never a dead letter about a dead letter."""
        others = [each for key, each in self._lanes.items() if key != lane.notifier.key]
        about_delivery = isinstance(event, AlertRaised) and event.about == "delivery"
        if not others or about_delivery or (why := to_text(reason)) in lane.told:
            return
        lane.told.add(why)
        now, notice = self._clock.now(), not_delivered(lane.notifier.name, reason)
        words = notice_words(notice, self._language)
        alert = AlertRaised(
            id=uuid7(now.timestamp()), run=event.run, at=now, title=words.title, text=words.text,
            severity=Severity.WARNING, about="delivery", progress=event.progress, notice=notice,
        )  # fmt: skip
        routes = [(each.notifier.key, Priority.URGENT) for each in others if wants(each.notifier.pace, alert)]
        runs.record(self.outbox.store, alert, routes)


def _owning_up(message: Message, untold: int) -> Message:
    """The message with what was dropped for want of space, which is told with it."""
    if not untold:
        return message
    words = words_in(message.language)
    return replace(message, facts=(*message.facts, Fact(words.left_out, words.count.format(number=untold))))
