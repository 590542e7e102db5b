"""The dead man's switch of one run: a thread that keeps an alarm ahead of the run and deletes it at the end."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractContextManager, nullcontext

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config, Switch
from notifybot.errors import StoreError
from notifybot.events import Event, RunLost
from notifybot.files import started
from notifybot.notifiers.base import Memory, Notifier
from notifybot.notifiers.slack import SlackBot, slack_notifiers
from notifybot.notifiers.slack.deadman.schedule import (
    NO_SUCH,
    Action,
    AlarmState,
    Assure,
    DeleteAlarm,
    Denied,
    Done,
    Failed,
    Finished,
    Goal,
    List,
    Margins,
    Outcome,
    PostAllClear,
    ScheduleAlarm,
    Wait,
    after,
    decide,
    drop_posted,
    end,
    reschedule_soon,
    retried,
)
from notifybot.notifiers.slack.deadman.slack_api import SlackAlarms
from notifybot.notifiers.slack.deadman.text import Speech, mark_of
from notifybot.notifiers.slack.run_thread import RunThread
from notifybot.policy import severity_of, stall_limit_s, wants
from notifybot.preferences import NEVER, Channels, Preferences, names
from notifybot.rendering import Renderer
from notifybot.store import runs
from notifybot.store.accepted import was_sent
from notifybot.store.database import Store
from notifybot.store.outbox_queries import ENDING
from notifybot.types import Host, Progress, RunRef

log = logging.getLogger("notifybot")

_STEP_EVERY_S = 1.0
_LOOK_EVERY_S = 5.0  # as the heartbeat does
_EPOCHS = 8  # their median is the typical duration, as for the watchdog
_ROOT_S = 3.0  # how long the first alarm waits for the run's thread
_DELIVERY_S, _SOON_S = 5.0, 0.05  # after the end: how long to poll whether it was delivered, and how often
_UNDELIVERED_S = 600.0  # an end not delivered by then is left to the alarm
_NO_CHANNEL = "channel_not_found"

# Asked for the run's progress, and for anything that is equal while its loop has not moved.
Look = Callable[[], tuple[Progress, Hashable]]
Guarded = Callable[[str], AbstractContextManager[object]]


class DeadMan:
    """Keeps an alarm at Slack ahead of a run, from its start on. Raises only what `guard` lets through.

    `look` is asked how far the run is every five seconds at least, on this object's own thread; `thread_of` for the
    run's place in Slack. While it has no root message there, alarms are scheduled in the `channel` itself; without a
    channel, they wait for a root. `apart` is the channel of errors, where that is another one: alarms stand there, each
    by itself, and in the run's own place where Slack does not let them. `over_at` returns when another run ended, in
    Unix seconds, once people know: an alarm that its process had no time to delete is deleted here. `has_said` is true
    for a code of Slack's that the log already names about the run's messages: an alarm refused for the same reason is
    not logged again.
    `counts` are the successful calls, `failures` the others, by kind.
    """

    def __init__(
        self,
        alarms: SlackAlarms,
        speech: Speech,
        look: Look,
        thread_of: Callable[[], RunThread],
        *,
        channel: str = "",
        apart: str = "",
        margins: Margins | None = None,
        over_at: Callable[[str], float | None] = lambda _: None,
        has_said: Callable[[str], bool] = lambda _: False,
        clock: Clock = SYSTEM,
        guard: Guarded = nullcontext,
    ) -> None:
        self.state = AlarmState()
        self.margins = margins or Margins()
        self.counts: Counter[type[Action]] = Counter()
        self.failures: Counter[type[Action]] = Counter()
        self._alarms = alarms
        self._speech = speech
        self._look = look
        self._thread_of = thread_of
        self._clock = clock
        self._guard = guard
        self._mark = mark_of(speech.run)
        self._home, self._apart = RunThread(channel_id=channel), bool(apart)
        self._place = RunThread(channel_id=apart) if apart else self._home
        self._progress = Progress()
        self._epochs_s: deque[float] = deque(maxlen=_EPOCHS)
        self._said, self._said_at = Progress(), RunThread()
        self._over_at = over_at
        self._has_said = has_said
        self._clear_up_at_s = clock.monotonic()
        self._said_denied = False
        self._moves: Hashable = None
        self._began_s = self._moved_s = self._promised_s = self._look_at_s = self._ended_s = clock.monotonic()
        self._end_delivered: Callable[[], bool] | None = None
        self._goal = Goal.GUARD
        self._pid = os.getpid()
        self._wake, self._clear, self._over = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live, name="notifybot-deadman", daemon=True)

    def start(self) -> None:
        """Start the thread. The first alarm is scheduled once the run has a root message, or seconds later without."""
        started(self._thread)  # else the process would end before its alarms are deleted

    def touch(self, progress: Progress, moves: Hashable) -> None:
        """Take note of how far the run is, and of whether its loop has moved."""
        if progress.done != self._progress.done and progress.epoch_s is not None:
            self._epochs_s.append(progress.epoch_s)
        self._progress = progress
        if moves != self._moves:
            self._moves, self._moved_s = moves, self._clock.monotonic()

    def promise(self, seconds: float) -> None:
        """Count a loop that stands still as alive, for so long from now on."""
        self._promised_s = self._clock.monotonic() + seconds

    def ended(self, delivered: Callable[[], bool]) -> None:
        """The run has ended: delete every alarm about it once the end is `delivered`, or need not be. Does not wait.

        Until then the alarm stays, and is moved on for ten minutes at most: when the message about the end does not
        get through, Slack at least says that the run is lost. `delivered` is asked on any thread, and may raise
        StoreError.
        """
        if os.getpid() == self._pid and self._goal is Goal.GUARD:
            self._end_delivered, self._ended_s = delivered, self._clock.monotonic()
            self._wake.set()

    def cancel(self) -> None:
        """The run has ended, and people know: delete every alarm about it. Cancelling twice is fine."""
        self._finish(Goal.CLEAR)

    def hand_over(self) -> None:
        """Another session has taken over the run: delete this session's alarms only. Does not wait."""
        self._finish(Goal.YIELD)

    def let_go(self, timeout_s: float) -> None:
        """End the thread, and leave the alarms to Slack and to the next session. In a forked child nothing happens."""
        if os.getpid() == self._pid and self._thread.is_alive():
            self._over.set()
            self._wake.set()
            self._thread.join(timeout_s)

    def flush(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` until every alarm is deleted; return True if it is. In a forked child: True.

        An end still not delivered after the wait for deliveries keeps its alarm, and is not waited for again.
        """
        if os.getpid() != self._pid or not self._thread.is_alive():
            return True
        if self._goal is Goal.GUARD and self._end_delivered is not None and not self._is_delivered():
            return False
        return self._clock.wait(self._clear, timeout_s)

    def step(self) -> bool:
        """Make the call that is due, if any; True when one was made, so that the next may be due at once."""
        self._look_around()
        now_s, sure = self._alarms.clock.now_s(), self._alarms.clock.sure
        if sure:
            self.state = drop_posted(self.state, now_s)
        if self._goal is Goal.GUARD and self._is_delivered():
            self._goal = Goal.CLEAR
        guards = self._goal is Goal.GUARD
        if not guards:
            self.state = end(self.state, now_s, self.margins, self._goal)
        if not self._place.channel_id:  # then nothing can have been scheduled
            self._note(over=not guards)
        if self._waits:
            return False
        said, now = self._said, self._progress
        if (  # the last alarm lacks what there is by now: the thread, a first epoch, a first checkpoint
            (self._place.root_ts and not self._said_at.root_ts)
            or (said.epoch is None and now.epoch is not None)
            or (said.checkpoint is None and now.checkpoint is not None)
        ):
            self.state = reschedule_soon(self.state)
        action = decide(self.state, now_s, self.margins, is_known_alive=self._is_alive(), sure=sure)
        if isinstance(action, Wait) and guards and self._clears_up():
            return True
        outcome = self._call(action, now_s)
        if outcome is not None:
            self._count(action, outcome)
            refused = isinstance(outcome, Denied) and outcome.code == _NO_CHANNEL and not self._place.root_ts
            if self._apart and isinstance(action, ScheduleAlarm) and isinstance(outcome, Denied) and outcome.setup:
                self._apart, self._place = False, self._home
            elif refused and isinstance(action, ScheduleAlarm):
                self._place = RunThread()  # no such name: the answer to the root's post will have the channel's id
            else:
                self.state = after(self.state, action, outcome, self._alarms.clock.now_s(), self.margins)
        self._note(over=isinstance(action, Finished))
        return outcome is not None

    def _clears_up(self) -> bool:
        """Delete one alarm of a run that has ended, left by an earlier process of this user that had no time for it.

        What was scheduled after the end is left alone: the same run may go on elsewhere.
        """
        if self._clock.monotonic() < self._clear_up_at_s:
            return False
        for alarm, run_id in self._alarms.others.items():
            try:
                over_at = self._over_at(run_id)
            except StoreError:
                continue
            if over_at is not None and alarm.post_at <= over_at + self.margins.ahead_s:
                del self._alarms.others[alarm]  # if this delete fails, the next list shows it again
                self._count(DeleteAlarm(alarm), self._alarms.delete(self._place, alarm))
                return True
        self._clear_up_at_s = self._clock.monotonic() + _LOOK_EVERY_S
        return False

    def _live(self) -> None:
        while not self._over.is_set():
            busy = False
            with self._guard("dead_mans_switch"):
                busy = self.step()
            if not busy and not self._over.is_set():
                self._clock.wait(self._wake, _SOON_S if self._is_in_delivery else _STEP_EVERY_S)
                self._wake.clear()

    def _finish(self, goal: Goal) -> None:
        if os.getpid() == self._pid and self._goal is Goal.GUARD:
            self._goal = goal
            self._wake.set()

    def _look_around(self) -> None:
        due = self._clock.monotonic() >= self._look_at_s
        if not self._place.root_ts and (due or self.state.guard is None):
            self._find_place()
        if due:
            wait_s = _STEP_EVERY_S if self._said.epoch is None else _LOOK_EVERY_S  # its missing details arrive soon
            self._look_at_s = self._clock.monotonic() + wait_s
            self._look_now()

    def _look_now(self) -> None:
        if self._end_delivered is None:  # else the loop is over
            with self._guard("heartbeat"):
                self.touch(*self._look())

    @property
    def _waits(self) -> bool:
        """True while there is nowhere to schedule, a root may come at any moment, or the end is being delivered."""
        if self._goal is not Goal.GUARD:
            return not self._place.channel_id
        if self._end_delivered is not None:
            return self.state.guard is None or self._is_in_delivery
        early = self._clock.monotonic() - self._began_s < _ROOT_S
        return not self._place.channel_id or (early and not self._place.root_ts and not self._apart)

    @property
    def _is_in_delivery(self) -> bool:
        """True while the end may be delivered at any moment, and the process be gone in the next."""
        waits = self._goal is Goal.GUARD and self._end_delivered is not None
        return waits and self._clock.monotonic() - self._ended_s < _DELIVERY_S

    def _is_delivered(self) -> bool:
        try:
            return self._end_delivered is not None and self._end_delivered()
        except StoreError:  # unknown whether people know: the alarm stays
            return False

    def _is_alive(self) -> bool:
        now_s = self._clock.monotonic()
        if self._end_delivered is not None:
            return now_s - self._ended_s <= _UNDELIVERED_S
        return now_s < self._promised_s or now_s - self._moved_s <= stall_limit_s(self._progress, self._epochs_s)

    def _find_place(self) -> None:
        if self._apart:
            return
        try:
            place = self._thread_of()
        except StoreError:  # a full or locked disk is no reason to fall silent
            return
        if place.root_ts:
            self.state = self.state if self._place.root_ts else retried(self.state)
            self._place = place

    def _call(self, action: Action, now_s: float) -> Outcome | None:
        match action:
            case List():
                return self._alarms.listed(RunThread() if self._apart else self._place, self._mark)
            case ScheduleAlarm(post_at):
                self._find_place()  # the root may have been deleted by a person, and posted anew
                self._look_now()
                self._said, self._said_at = self._progress, self._place
                said = self._speech.alarm(self._progress, now_s=now_s, post_at=post_at)
                return self._alarms.schedule(self._place, post_at, said)
            case DeleteAlarm(alarm):
                return self._alarms.delete(self._place, alarm)
            case PostAllClear(voids):
                sure = self._goal is Goal.GUARD and any(each.sure for each in voids)
                away_s = now_s - voids[0].post_at + self.margins.ahead_s
                said = self._speech.void(self._progress, now_s=now_s, away_s=away_s, sure=sure)
                return self._alarms.say(self._place, said)
            case Assure():
                stands = self._speech.stands()
                return self._alarms.say(self._place, stands, broadcast=False) if self._place.root_ts else Done()
        return None

    def _count(self, action: Action, outcome: Outcome) -> None:
        kind = type(action)
        why = outcome.code if isinstance(outcome, Denied) else "no answer, or not now"
        if not isinstance(outcome, Failed | Denied) or why == NO_SUCH:  # it is gone, and that was wanted
            self.counts[kind] += 1
            return
        self.failures[kind] += 1
        log.debug("the dead man's switch at Slack: %s failed (%s)", kind.__name__, why)

    def _note(self, *, over: bool) -> None:
        if self.state.denied and not self._said_denied:
            self._said_denied = True
            if not self._has_said(self.state.denied):
                log.warning("%s", self._speech.refused(self.state.denied))
        if over or self.state.clear:
            self._clear.set()
        if over:
            self._over.set()


def wants_dead_man(config: Config, run: RunRef, clock: Clock = SYSTEM) -> bool:
    """True when the settings ask for it: by default with a bot that sends messages about lost runs, and no watchdog."""
    if config.slack_bot_token is None or config.slack_channel is None or config.slack_deadman is Switch.OFF:
        return False
    if not wants(SlackBot.pace.with_preferences(_chosen(config)), _loss_of(run, clock)):
        return False
    return config.slack_deadman is Switch.ON or config.watchdog_url is None


def dead_man(
    config: Config,
    run: RunRef,
    host: Host,
    *,
    look: Look,
    memory_of: Callable[[str], Memory],
    over_at: Callable[[str], float | None] = lambda _: None,
    has_said: Callable[[str], bool] = lambda _: False,
    clock: Clock = SYSTEM,
    guard: Guarded = nullcontext,
) -> DeadMan | None:
    """Return the switch that the settings ask for, not yet started. `memory_of`: a notifier's memory by its key.

    `has_said`: whether the log says already that the run's messages are refused for a reason of that code.
    """
    if not wants_dead_man(config, run, clock) or config.slack_bot_token is None:
        return None
    memory = memory_of(_key_of(config))
    chosen, mention = _chosen(config), config.slack_mention or ""
    channels = config.slack_channels or Channels()
    home = channels.home_of(run.project, config.slack_channel or "")
    errors = channels.of(severity_of(_loss_of(run, clock))) or ""
    waits = chosen.quiet is not None and not names(chosen.quiet_lets, _loss_of(run, clock))
    return DeadMan(
        SlackAlarms(config.slack_bot_token.get_secret_value(), config.slack_api_url, clock=clock),
        Speech(run, host, Renderer(chosen.lang or config.lang, config.templates_dir), config.link_url, mention),
        look,
        lambda: RunThread.from_value(memory.get(run.id)),
        channel=home,
        apart=errors if errors.removeprefix("#") != home.removeprefix("#") else "",
        margins=Margins(quiet=chosen.quiet if chosen.quiet is not None and waits else NEVER),
        over_at=over_at,
        has_said=lambda code: has_said(f"slack.{code}"),
        clock=clock,
        guard=guard,
    )


def known_end_s(run_id: str, by: Notifier | None, store: Store) -> float | None:
    """Return when a run ended, in Unix seconds, if people know by the bot; None if it goes on or fell silent.

    Where several projects have a run of this id, all of them have to be over. Raises StoreError.
    """
    with store.transaction() as connection:
        rows = runs.named(connection, run_id)
        endings = [each for row in rows for each in runs.events_in(connection, row.key, kinds=[ENDING], limit=1)]
    over = {each.run.session for each in endings if is_delivered(each, by, store)}
    known = bool(rows) and all(row.session in over for row in rows)
    return min(each.at.timestamp() for each in endings) if known else None


def bot_among(notifiers: Iterable[Notifier], config: Config) -> Notifier | None:
    """Return the notifier in use that also sends these messages: the bot. None if it is not in use."""
    key = _key_of(config)
    return next((each for each in notifiers if each.key == key), None)


def is_delivered(ending: Event, by: Notifier | None, store: Store) -> bool:
    """True when people know by the bot how the run ended, or are not to hear of it there. Raises StoreError.

    What the bot remembers of the run counts as well: the picture after the words may take a while.
    """
    if by is None or not wants(by.pace, ending):
        return True
    thread = RunThread.from_value(store.memory(by.key, ending.run.project).get(ending.run.id))
    return ending.id in thread.answered or was_sent(store, ending.id, by.key)


def _key_of(config: Config) -> str:
    return slack_notifiers(config)[0].key


def _chosen(config: Config) -> Preferences:
    return config.notifiers.of(SlackBot.name).or_else(config.every, config.quiet)


def _loss_of(run: RunRef, clock: Clock) -> RunLost:
    return RunLost(id="", run=run, at=clock.now(), silent_s=0.0, limit_s=0.0)
