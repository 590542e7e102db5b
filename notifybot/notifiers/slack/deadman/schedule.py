"""Dead man's switch: a pure state machine. Given state and time, it returns the next Slack call.

Slack itself posts the alarm "this run stopped reporting" at a time that every beat moves ahead. The next alarm is
scheduled before the last one is deleted, so a death between the two calls leaves two alarms and never none. All times
are Slack's own, in Unix seconds.

Guarantees, with the default `Margins`:

* The alarm about a dead run is posted 10 to 15 minutes after the death, or up to 15 minutes later if its channel has
  no room (30 alarms in five minutes). In quiet hours in which people want to hear of no loss, it is posted at their
  end. No message is sent about a run that dies before its first alarm stands, some seconds after its start.
* A run that reaches Slack within 4 minutes after a beat was due is never reported dead. If it takes longer, Slack
  ignores the delete or never gets it; the alarm is posted, and corrected in the same thread.
* If Slack refuses an alarm (the bot is not in the channel, a scope is missing), the switch asks again every five
  minutes, and at once after the run's first message got through. Once an alarm stands, the thread gets a message.
* A loop that stands still counts as alive for as long as the watchdog would wait; after that its alarm is posted.
* A run that has ended cancels its alarm once people know how it ended. The alarm stays if they do not: the message
  about the end did not get through before the process was gone, or Slack did not answer in time.

Facts: https://docs.slack.dev/reference/methods/chat.deleteScheduledMessage refuses within 60 s of the time; from 5
minutes before it, it answers `ok` to no effect (https://github.com/slackapi/bolt-js/issues/1857). Hence `cancel_s`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from notifybot.preferences import NEVER, QuietHours

NO_SUCH = "invalid_scheduled_message_id"
_NO_ROOM = "restricted_too_many"
_MOMENTS = {"time_in_past", "time_too_far", "invalid_time"}
_REFUSALS_MOST = 5
_BRAKE_S, _BRAKE_MOST_S = 1.0, 60.0
_DENIED_S = 300.0  # wait before asking again after a refusal
_LANDED_S = 30.0  # a call whose answer was lost has taken effect by then, or never will
_OFF_S = 60.0  # a new alarm further off its intended time is replaced
_REMEMBERED = 32


def after(state: AlarmState, action: Action, outcome: Outcome, now_s: float, margins: Margins) -> AlarmState:
    """Return the state after a call had this outcome at `now_s`."""
    match action:
        case List():
            return _after_list(state, outcome, now_s, margins)
        case ScheduleAlarm(post_at):
            return _after_schedule(state, post_at, outcome, now_s, margins)
        case DeleteAlarm(alarm):
            return _after_delete(state, alarm, outcome, now_s, margins)
        case PostAllClear(voids):
            return _after_say(state, voids, outcome, now_s)
        case Assure():
            again = isinstance(outcome, Failed) and not outcome.ambiguous
            return _braked(state, Call.SAY, outcome, now_s) if again else replace(state, mended=False)
    return state


def _after_list(state: AlarmState, outcome: Outcome, now_s: float, margins: Margins) -> AlarmState:
    if not isinstance(outcome, Listed):
        least_s = _DENIED_S if isinstance(outcome, Denied) and outcome.setup else 0.0
        return _braked(state, Call.LIST, outcome, now_s, least_s)
    state = drop_posted(_freed(state, Call.LIST), now_s)
    # Slack may list as a number what it gave out as "Q" and the number; an own alarm is known by its time as well
    ids = {each.removeprefix("Q") for each in (*(alarm.id for alarm in state.alarms), *state.gone)}
    times = {each.post_at for each in state.alarms if each.own}
    unknown = [each for each in outcome.alarms if each.id.removeprefix("Q") not in ids and each.post_at not in times]
    found = [replace(each, own=each.post_at in state.asked) for each in unknown]
    asked = tuple(each for each in state.asked if each - margins.ahead_s + _LANDED_S > now_s)
    state = replace(state, looked=True, alarms=_ordered((*state.alarms, *found)), asked=asked)
    if asked:  # a call on its way may take effect after this list was read
        brakes = {**state.brakes, Call.LIST: Brake(now_s, now_s + _LANDED_S)}
        state = replace(state, brakes=brakes, looked=state.goal is Goal.GUARD)
    # an alarm whose scheduling was in doubt stands after all: it guards, unless a later one does
    newest = max((each for each in found if each.own), key=lambda each: each.post_at, default=None)
    guard = state.guard
    if state.goal is not Goal.GUARD or newest is None or (guard is not None and guard.post_at >= newest.post_at):
        return state
    beat_at_s = min(newest.post_at - margins.ahead_s - WINDOW_S * state.full, now_s)
    return replace(state, newest=newest.id, beat_at_s=beat_at_s, looked=False, full=0)


def _after_schedule(state: AlarmState, post_at: int, outcome: Outcome, now_s: float, margins: Margins) -> AlarmState:
    match outcome:
        case Scheduled(alarm):
            off_s = abs(alarm.post_at - margins.post_at(now_s, state.full))
            alarms = _ordered((*state.alarms, alarm))
            mended = state.mended or bool(state.denied)
            state = replace(state, alarms=alarms, newest=alarm.id, looked=False, full=0, early=False)
            state = replace(state, denied="", mended=mended)
            if off_s > _OFF_S:  # our clock was wrong, or the process was suspended meanwhile: this one misses its time
                return _braked(replace(state, beat_at_s=-math.inf), Call.SCHEDULE, Failed(), now_s)
            return replace(_freed(state, Call.SCHEDULE), beat_at_s=now_s)
        case Denied(code) if code == _NO_ROOM and state.early and not is_due(state, now_s, margins):
            return replace(state, early=False)  # leave the room to runs without an alarm
        case Denied(code) if code == _NO_ROOM and state.full < WINDOWS_MOST:
            return replace(state, full=state.full + 1)
        case Denied(code, setup):
            hopeless = setup or state.brakes.get(Call.SCHEDULE, Brake()).failures >= _REFUSALS_MOST
            if hopeless and code not in _MOMENTS and code != _NO_ROOM:
                return replace(_braked(state, Call.SCHEDULE, outcome, now_s, _DENIED_S), denied=code, full=0)
            return _braked(replace(state, full=0), Call.SCHEDULE, outcome, now_s)
        case Failed(ambiguous=True):
            asked = (*state.asked, post_at)[-_REMEMBERED:]
            return _braked(replace(state, asked=asked, looked=False), Call.SCHEDULE, outcome, now_s)
    return _braked(state, Call.SCHEDULE, outcome, now_s)


def _after_delete(state: AlarmState, alarm: Alarm, outcome: Outcome, now_s: float, margins: Margins) -> AlarmState:
    left_s = alarm.post_at - now_s
    no_such = isinstance(outcome, Denied) and outcome.code == NO_SUCH
    if not (isinstance(outcome, Done) or no_such):
        if isinstance(outcome, Failed) and outcome.ambiguous:
            tried = tuple(replace(each, tried=True) if each.id == alarm.id else each for each in state.alarms)
            state = replace(state, alarms=tried)
        return _braked(state, Call.DELETE, outcome, now_s)
    others = tuple(each for each in state.alarms if each.id != alarm.id)
    gone = (*state.gone, alarm.id)[-_REMEMBERED:]
    state = replace(_freed(state, Call.DELETE), alarms=others, gone=gone)
    if left_s >= margins.cancel_s:
        return state
    sure = no_such and not alarm.tried and left_s <= margins.refused_s
    return replace(state, voids=(*state.voids, FalseAlarm(alarm.post_at, sure=sure)))


def _after_say(state: AlarmState, voids: tuple[FalseAlarm, ...], outcome: Outcome, now_s: float) -> AlarmState:
    if isinstance(outcome, Failed) and not (outcome.ambiguous and voids[0].tried):
        # a repeat is better than a loss, once
        tried = outcome.ambiguous
        kept = tuple(replace(each, tried=each.tried or tried) if each in voids else each for each in state.voids)
        return _braked(replace(state, voids=kept), Call.SAY, outcome, now_s)
    return replace(_freed(state, Call.SAY), voids=tuple(each for each in state.voids if each not in voids))


def _braked(state: AlarmState, call: Call, outcome: Outcome, now_s: float, least_s: float = 0.0) -> AlarmState:
    """Put the next call of that kind off: 1, 2, 4 … 60 seconds, or as long as Slack says, but `least_s` at least."""
    failures = state.brakes.get(call, Brake()).failures + 1
    wait_s = max(min(_BRAKE_S * 2.0 ** min(failures - 1, 10), _BRAKE_MOST_S), least_s)
    if isinstance(outcome, Failed) and outcome.retry_after_s is not None:
        wait_s = max(wait_s, outcome.retry_after_s)
    return replace(state, brakes={**state.brakes, call: Brake(now_s, now_s + wait_s, failures)})


def _freed(state: AlarmState, call: Call) -> AlarmState:
    return replace(state, brakes={each: brake for each, brake in state.brakes.items() if each is not call})


def _ordered(alarms: tuple[Alarm, ...]) -> tuple[Alarm, ...]:
    return tuple(sorted(alarms, key=lambda each: each.post_at))


@dataclass(frozen=True, slots=True)
class Alarm:
    """A scheduled message about the run. `own`: this session scheduled it. `tried`: a delete's answer was lost.

    `channel_id` is where it waits; empty where nobody said, which is then the run's own channel.
    """

    id: str
    post_at: int
    own: bool = True
    tried: bool = False
    channel_id: str = ""


@dataclass(frozen=True, slots=True)
class FalseAlarm:
    """An alarm about a living run, posted at `post_at`: certainly if `sure`, else perhaps.

    `tried`: an answer to its correction was lost, so that it may have been posted already.
    """

    post_at: int
    sure: bool
    tried: bool = False


class Call(StrEnum):
    """The kinds of call, which Slack limits each by itself."""

    LIST = "list"
    SCHEDULE = "schedule"
    DELETE = "delete"
    SAY = "say"


@dataclass(frozen=True, slots=True)
class List:
    """Read which alarms of the run wait at Slack."""


@dataclass(frozen=True, slots=True)
class ScheduleAlarm:
    """Have an alarm posted at that time."""

    post_at: int


@dataclass(frozen=True, slots=True)
class DeleteAlarm:
    """Delete a scheduled alarm."""

    alarm: Alarm


@dataclass(frozen=True, slots=True)
class PostAllClear:
    """Report that these alarms were false."""

    voids: tuple[FalseAlarm, ...]


@dataclass(frozen=True, slots=True)
class Assure:
    """Report that the alarm stands, after Slack had refused it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Make no call for now."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Make no more calls."""


Action = List | ScheduleAlarm | DeleteAlarm | PostAllClear | Assure | Wait | Finished


@dataclass(frozen=True, slots=True)
class Listed:
    """The alarms that wait."""

    alarms: tuple[Alarm, ...]


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Slack took the alarm."""

    alarm: Alarm


@dataclass(frozen=True, slots=True)
class Done:
    """The alarm was deleted, or the message posted."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The call failed and may work later. `ambiguous`: it may have worked, and only the answer was lost."""

    retry_after_s: float | None = None
    ambiguous: bool = False


@dataclass(frozen=True, slots=True)
class Denied:
    """Slack refuses, with its reason. `setup`: it will refuse until a person changes the setup."""

    code: str
    setup: bool = False


Outcome = Listed | Scheduled | Done | Failed | Denied


WINDOW_S = 300  # Slack takes 30 scheduled messages of a channel per window
WINDOWS_MOST = 3


@dataclass(frozen=True, slots=True)
class Margins:
    """Seconds: from beat to beat, from a beat to its alarm, the least before an alarm at which a delete surely works,
    the least at which Slack accepts a delete at all, and after an alarm's time until it has certainly been posted.

    An alarm due in the `quiet` hours is posted at their end, and until then moved only every `quiet_beat_s`: its time
    stays the same, and all alarms ever scheduled for that time may count among the 30.
    """

    beat_s: float = 300.0
    ahead_s: float = 900.0
    cancel_s: float = 360.0
    refused_s: float = 60.0
    posting_s: float = 60.0
    quiet: QuietHours = NEVER
    quiet_beat_s: float = 3600.0

    @property
    def late_s(self) -> float:
        """Seconds that a beat may be late without harm."""
        return self.ahead_s - self.beat_s - self.cancel_s

    def post_at(self, now_s: float, windows: int = 0) -> int:
        """Return the posting time of an alarm scheduled now, so many `windows` later because earlier ones are full."""
        return self._awake(self._awake(math.ceil(now_s + self.ahead_s)) + WINDOW_S * windows)

    def _awake(self, post_at: int) -> int:
        moment = datetime.fromtimestamp(post_at, UTC)
        return math.ceil(self.quiet.over_at(moment).timestamp()) if self.quiet.covers(moment) else post_at


class Goal(StrEnum):
    """Current purpose of the alarms."""

    GUARD = "guard"
    CLEAR = "clear"  # the run has ended: none may be left
    YIELD = "yield"  # another session has taken over the run: none of this session's may be left


@dataclass(frozen=True, slots=True)
class Brake:
    """Pause of a kind of call, from and until a time in Unix seconds, after so many failures in a row."""

    from_s: float = -math.inf
    until_s: float = -math.inf
    failures: int = 0


@dataclass(frozen=True, slots=True)
class AlarmState:
    """Knowledge about a run's alarms. `alarms` may still be posted; `newest` guards the run, the others are to go.

    `looked`: the list was read for the beat that is due. `asked`: the times of alarms that may have been scheduled
    although the answer was lost. `full`: how many windows had no room. `early`: the next alarm is not to wait for its
    beat. `denied`: why Slack takes no alarm now; it is asked again every few minutes. `mended`: Slack takes alarms
    again, and the message about it is still to be sent.
    """

    alarms: tuple[Alarm, ...] = ()
    newest: str = ""
    beat_at_s: float = -math.inf
    looked: bool = False
    asked: tuple[int, ...] = ()
    full: int = 0
    early: bool = False
    gone: tuple[str, ...] = ()
    voids: tuple[FalseAlarm, ...] = ()
    goal: Goal = Goal.GUARD
    denied: str = ""
    mended: bool = False
    brakes: Mapping[Call, Brake] = field(default_factory=dict)

    def free(self, call: Call, now_s: float) -> bool:
        """True when a call of that kind need not wait."""
        brake = self.brakes.get(call, Brake())
        return not brake.from_s <= now_s < brake.until_s  # before it: the clock was set back since

    @property
    def guard(self) -> Alarm | None:
        """The alarm that guards the run."""
        return next((each for each in self.alarms if each.id == self.newest), None)

    @property
    def clear(self) -> bool:
        """True when no alarm is left that should be gone."""
        return self.goal is not Goal.GUARD and not _targets(self) and (self.looked or self.goal is Goal.YIELD)


def decide(state: AlarmState, now_s: float, margins: Margins, *, is_known_alive: bool, sure: bool = True) -> Action:
    """Return the one call to make now.

    `is_known_alive`: the training moves, as far as is known. `sure`: `now_s` is Slack's.
    """
    if state.goal is not Goal.GUARD:
        targets = _targets(state)
        if targets and state.free(Call.DELETE, now_s):
            return DeleteAlarm(targets[-1])  # the latest one is the likeliest to be heeded
        if not state.looked and state.goal is Goal.CLEAR and state.free(Call.LIST, now_s):
            return List()
        if state.clear and not state.voids:
            return Finished()
        return _correction(state, now_s, margins) or Wait()
    if not sure:  # any answer carries Slack's time
        return List() if state.free(Call.LIST, now_s) else Wait()
    if state.denied and state.alarms and state.free(Call.DELETE, now_s):
        return DeleteAlarm(state.alarms[-1])  # it cannot be moved, and would be posted about a living run
    early = state.early and len(state.alarms) == 1  # older alarms are deleted first
    if is_known_alive and (early or is_due(state, now_s, margins)):
        if not state.looked and state.free(Call.LIST, now_s):
            return List()
        if state.free(Call.SCHEDULE, now_s):
            return ScheduleAlarm(margins.post_at(now_s, state.full))
    if state.asked and state.free(Call.LIST, now_s):
        return List()
    spare = next((each for each in state.alarms if state.newest and each.id != state.newest), None)
    if spare is not None and state.free(Call.DELETE, now_s):
        return DeleteAlarm(spare)
    if state.mended and state.guard is not None and state.free(Call.SAY, now_s):
        return Assure()
    return (_correction(state, now_s, margins) if is_known_alive else None) or Wait()


def is_due(state: AlarmState, now_s: float, margins: Margins) -> bool:
    """True when the alarm is to be moved."""
    guard = state.guard
    if guard is None or guard.post_at - state.beat_at_s <= margins.ahead_s + WINDOW_S * (WINDOWS_MOST + 1):
        return now_s >= state.beat_at_s + margins.beat_s
    # it waits for the end of quiet hours
    soon = guard.post_at - now_s <= margins.ahead_s - margins.beat_s
    return soon or now_s >= state.beat_at_s + margins.quiet_beat_s


def reschedule_soon(state: AlarmState) -> AlarmState:
    """Schedule the next alarm before its beat, because the text of the current one is out of date."""
    return replace(state, early=True) if state.guard is not None else state


def retried(state: AlarmState) -> AlarmState:
    """Ask again at once for a refused alarm: a message of the run got through, so the cause may be mended."""
    held = {Call.LIST, Call.SCHEDULE}
    kept = {call: brake for call, brake in state.brakes.items() if call not in held}
    return replace(state, brakes=kept) if state.denied else state


def _targets(state: AlarmState) -> list[Alarm]:
    return [each for each in state.alarms if each.own or state.goal is Goal.CLEAR]


def _correction(state: AlarmState, now_s: float, margins: Margins) -> PostAllClear | None:
    """One message for all alarms that were posted by now, or may have been. Not before the run is guarded again."""
    due = tuple(each for each in state.voids if each.post_at + margins.posting_s <= now_s)
    well = state.free(Call.SAY, now_s) and Call.SCHEDULE not in state.brakes
    return PostAllClear(due) if due and well else None


def drop_posted(state: AlarmState, now_s: float) -> AlarmState:
    """Drop alarms whose time has come: they can no longer be deleted, only corrected by a message."""
    past = [each for each in state.alarms if each.post_at <= now_s]
    lost = [each for each in state.asked if each <= now_s]  # perhaps scheduled, perhaps never
    if not past and not lost:
        return state
    voids = [FalseAlarm(each.post_at, sure=not each.tried) for each in past]
    voids += [FalseAlarm(each, sure=False) for each in lost]
    alarms = tuple(each for each in state.alarms if each not in past)
    asked = tuple(each for each in state.asked if each not in lost)
    state = replace(state, alarms=alarms, asked=asked, voids=(*state.voids, *voids))
    if any(each.id == state.newest for each in past):
        state = replace(state, newest="", beat_at_s=-math.inf, looked=False)
    return state


def end(state: AlarmState, now_s: float, margins: Margins, goal: Goal = Goal.CLEAR) -> AlarmState:
    """The run is over, or another session's. Alarms posted until now need no word: the run's end says more."""
    if state.goal is not Goal.GUARD:
        return state
    coming = tuple(
        FalseAlarm(each.post_at, sure=False) for each in state.voids if each.post_at + margins.posting_s > now_s
    )
    nothing = bool(state.denied) and not state.alarms and not state.asked  # and Slack would not let us look
    return replace(state, goal=goal, looked=nothing, voids=coming if goal is Goal.CLEAR else (), brakes={})
