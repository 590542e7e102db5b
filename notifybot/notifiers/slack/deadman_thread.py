"""The dead man's switch of one run: a thread that keeps an alarm ahead of the run, and takes it back at the end."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config, Switch
from notifybot.errors import StoreError
from notifybot.events import RunLost, kind_of
from notifybot.model import Host, Progress, RunRef
from notifybot.notifiers.base import Memory
from notifybot.notifiers.slack import SlackBot, slack_notifiers
from notifybot.notifiers.slack.deadman import NO_SUCH, Goal, Margins, State, after, decide, end, expire
from notifybot.notifiers.slack.deadman_calls import (
    Action,
    Delete,
    Denied,
    Failed,
    List,
    Outcome,
    Over,
    Say,
    Schedule,
)
from notifybot.notifiers.slack.deadman_slack import Alarms, SlackAlarms
from notifybot.notifiers.slack.deadman_words import Speech, mark_of
from notifybot.notifiers.slack.thread import RunThread
from notifybot.rendering import Renderer

log = logging.getLogger("notifybot")

_STEP_EVERY_S = 1.0
_LOOK_EVERY_S = 5.0  # as the heartbeat does
_STILL_FLOOR_S, _STILL_FIRST_S, _STILL_EPOCHS = 600.0, 3600.0, 5.0  # as patient as the watchdog


# Asked for the run's progress, and for anything that is equal while its loop has not moved.
Look = Callable[[], tuple[Progress, Hashable]]
Guarded = Callable[[str], AbstractContextManager[object]]


def unguarded(kind: str) -> AbstractContextManager[object]:
    """A section that lets every exception by."""
    return nullcontext(kind)


def patience_s(progress: Progress) -> float:
    """Seconds for which a loop may stand still and is still vouched for."""
    if progress.epoch_s is None:
        return _STILL_FIRST_S
    return max(_STILL_FLOOR_S, _STILL_EPOCHS * progress.epoch_s)


class DeadMan:
    """Keeps an alarm at Slack ahead of a run, from the run's root message on. Raises nothing but what `guard` lets by.

    `look` is asked for a sign of life every five seconds, on this object's own thread; `thread_of` for the run's place
    in Slack. `counts` are the calls that went well, `failures` the others, by kind.
    """

    def __init__(
        self,
        alarms: Alarms,
        speech: Speech,
        look: Look,
        thread_of: Callable[[], RunThread],
        *,
        margins: Margins | None = None,
        clock: Clock = SYSTEM,
        guard: Guarded = unguarded,
    ) -> None:
        self.state = State()
        self.margins = margins or Margins()
        self.counts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._alarms = alarms
        self._speech = speech
        self._look = look
        self._thread_of = thread_of
        self._clock = clock
        self._guard = guard
        self._mark = mark_of(speech.run)
        self._place = RunThread()
        self._progress = Progress()
        self._moves: Hashable = None
        self._moved_s = clock.monotonic()
        self._promised_s = clock.monotonic()
        self._look_at_s = clock.monotonic()
        self._goal = Goal.GUARD
        self._pid = os.getpid()
        self._wake, self._clear, self._over = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live, name="notifybot-deadman", daemon=True)

    def start(self) -> None:
        """Begin. The first alarm is scheduled as soon as the run has its root message."""
        self._thread.start()

    def touch(self, progress: Progress, moves: Hashable) -> None:
        """Take note of a sign of life."""
        self._progress = progress
        if moves != self._moves:
            self._moves, self._moved_s = moves, self._clock.monotonic()

    def promise(self, seconds: float) -> None:
        """Vouch for a loop that stands still, for so long from now on."""
        self._promised_s = self._clock.monotonic() + seconds

    def cancel(self) -> None:
        """The run has ended: take every alarm about it back. Does not wait. Cancelling twice is fine."""
        self._finish(Goal.CLEAR)

    def hand_over(self) -> None:
        """Another session speaks for the run: take back this session's alarms alone. Does not wait."""
        self._finish(Goal.YIELD)

    def flush(self, timeout_s: float) -> bool:
        """Wait, at most so long, until every alarm is taken back; True when it is so. In a forked child: True."""
        if os.getpid() != self._pid or not self._thread.is_alive():
            return True
        return self._clock.wait(self._clear, timeout_s)

    def step(self) -> bool:
        """Make the call that is due, if any; True when one was made, so that the next may be due at once."""
        self._look_around()
        if not self._place.has_root:
            self._find_place()
        now_s = self._alarms.now_s()
        if sure := self._alarms.sure:
            self.state = expire(self.state, now_s)
        if self._goal is not Goal.GUARD:
            self.state = end(self.state, now_s, self.margins, self._goal)
        if not self._place.has_root:  # then nothing can have been scheduled
            self._note(over=self._goal is not Goal.GUARD)
            return False
        action = decide(self.state, now_s, self.margins, vouched=self._vouched(), sure=sure)
        outcome = self._call(action, now_s)
        if outcome is not None:
            self._count(action, outcome)
            self.state = after(self.state, action, outcome, self._alarms.now_s(), self.margins)
        self._note(over=isinstance(action, Over))
        return outcome is not None

    def _live(self) -> None:
        while not self._over.is_set():
            busy = False
            with self._guard("the dead man's switch"):
                busy = self.step()
            if not busy and not self._over.is_set():
                self._clock.wait(self._wake, _STEP_EVERY_S)
                self._wake.clear()

    def _finish(self, goal: Goal) -> None:
        if os.getpid() == self._pid and self._goal is Goal.GUARD:
            self._goal = goal
            self._wake.set()

    def _look_around(self) -> None:
        if self._clock.monotonic() >= self._look_at_s:
            self._look_at_s = self._clock.monotonic() + _LOOK_EVERY_S
            with self._guard("a sign of life"):
                self.touch(*self._look())

    def _vouched(self) -> bool:
        now_s = self._clock.monotonic()
        return now_s < self._promised_s or now_s - self._moved_s <= patience_s(self._progress)

    def _find_place(self) -> None:
        try:
            place = self._thread_of()
        except StoreError:  # a full or locked disk is no reason to fall silent
            return
        if place.has_root:
            self._place = place

    def _call(self, action: Action, now_s: float) -> Outcome | None:
        match action:
            case List():
                return self._alarms.listed(self._place, self._mark)
            case Schedule(post_at):
                self._find_place()  # the root may have been deleted by a person, and posted anew
                said = self._speech.alarm(self._progress, now_s=now_s, post_at=post_at)
                return self._alarms.schedule(self._place, post_at, said)
            case Delete(alarm):
                return self._alarms.delete(self._place, alarm)
            case Say(voids):
                sure = self._goal is Goal.GUARD and any(each.sure for each in voids)
                away_s = now_s - voids[0].post_at + self.margins.ahead_s
                said = self._speech.void(self._progress, now_s=now_s, away_s=away_s, sure=sure)
                return self._alarms.say(self._place, said)
        return None

    def _count(self, action: Action, outcome: Outcome) -> None:
        kind = type(action).__name__.lower()
        why = outcome.code if isinstance(outcome, Denied) else "no answer, or not now"
        if not isinstance(outcome, Failed | Denied) or why == NO_SUCH:  # it is gone, and that was wanted
            self.counts[kind] += 1
            return
        self.failures[kind] += 1
        if self.failures[kind] == 1:
            log.warning("the dead man's switch at Slack: %s failed (%s); further ones are only counted", kind, why)

    def _note(self, *, over: bool) -> None:
        if self.state.denied and self._goal is Goal.GUARD:
            log.warning("no dead man's switch for this run: Slack says %s to a scheduled message", self.state.denied)
            self._goal = Goal.CLEAR
        if over or self.state.clear:
            self._clear.set()
        if over:
            self._over.set()


def wants_dead_man(config: Config, run: RunRef) -> bool:
    """True when the settings ask for it: by default with a bot that is to tell of lost runs, and no watchdog."""
    if config.slack_bot_token is None or config.slack_channel is None or config.slack_deadman is Switch.OFF:
        return False
    chosen = config.notifiers.of(SlackBot.name)
    if not chosen.concerns(run) or (chosen.events is not None and kind_of(RunLost) not in chosen.events):
        return False
    return config.slack_deadman is Switch.ON or config.watchdog_url is None


def dead_man(
    config: Config,
    run: RunRef,
    host: Host,
    *,
    look: Look,
    memory_of: Callable[[str], Memory],
    clock: Clock = SYSTEM,
    guard: Guarded = unguarded,
) -> DeadMan | None:
    """Return the switch that the settings ask for, not yet started. `memory_of`: a notifier's memory by its key."""
    if not wants_dead_man(config, run) or config.slack_bot_token is None:
        return None
    memory = memory_of(slack_notifiers(config)[0].key)
    alarms = SlackAlarms(config.slack_bot_token.get_secret_value(), config.slack_api_url, clock=clock)
    renderer = Renderer(config.notifiers.of(SlackBot.name).lang or config.lang, config.templates_dir)
    speech = Speech(run, host, renderer, config.link_url)
    return DeadMan(alarms, speech, look, lambda: RunThread.from_value(memory.get(run.id)), clock=clock, guard=guard)
