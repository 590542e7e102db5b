"""What is known about a run's alarms after a call came to its outcome. Pure, as `deadman` is."""

from __future__ import annotations

import math
from dataclasses import replace

from notifybot.notifiers.slack.deadman.schedule import (
    WINDOW_S,
    WINDOWS_MOST,
    Brake,
    Goal,
    Margins,
    State,
    expire,
    is_due,
)
from notifybot.notifiers.slack.deadman_calls import (
    Action,
    Alarm,
    Assure,
    Call,
    Delete,
    Denied,
    Done,
    Failed,
    List,
    Listed,
    Outcome,
    Say,
    Schedule,
    Scheduled,
    Void,
)

NO_SUCH = "invalid_scheduled_message_id"
_NO_ROOM = "restricted_too_many"
_MOMENTS = {"time_in_past", "time_too_far", "invalid_time"}
_REFUSALS_MOST = 5
_BRAKE_S, _BRAKE_MOST_S = 1.0, 60.0
_DENIED_S = 300.0  # until a refusal is mended, perhaps
_LANDED_S = 30.0  # a call whose answer is lost has happened by then, or never does
_OFF_S = 60.0  # a new alarm may be so far off its time before it is replaced
_REMEMBERED = 32


def after(state: State, action: Action, outcome: Outcome, now_s: float, margins: Margins) -> State:
    """What is known once a call came to its outcome, at `now_s`."""
    match action:
        case List():
            return _after_list(state, outcome, now_s, margins)
        case Schedule(post_at):
            return _after_schedule(state, post_at, outcome, now_s, margins)
        case Delete(alarm):
            return _after_delete(state, alarm, outcome, now_s, margins)
        case Say(voids):
            return _after_say(state, voids, outcome, now_s)
        case Assure():
            again = isinstance(outcome, Failed) and not outcome.ambiguous
            return _braked(state, Call.SAY, outcome, now_s) if again else replace(state, mended=False)
    return state


def _after_list(state: State, outcome: Outcome, now_s: float, margins: Margins) -> State:
    if not isinstance(outcome, Listed):
        least_s = _DENIED_S if isinstance(outcome, Denied) and outcome.setup else 0.0
        return _braked(state, Call.LIST, outcome, now_s, least_s)
    state = expire(_freed(state, Call.LIST), now_s)
    found = [replace(each, own=each.post_at in state.asked) for each in outcome.alarms if not _known(state, each)]
    asked = tuple(each for each in state.asked if each - margins.ahead_s + _LANDED_S > now_s)
    state = replace(state, looked=True, alarms=_ordered((*state.alarms, *found)), asked=asked)
    if asked:  # what is on its way may land after this look
        brakes = {**state.brakes, Call.LIST: Brake(now_s, now_s + _LANDED_S)}
        state = replace(state, brakes=brakes, looked=state.goal is Goal.GUARD)
    landed = [each for each in found if each.own]
    return _adopted(state, landed, now_s, margins) if state.goal is Goal.GUARD else state


def _known(state: State, listed: Alarm) -> bool:
    """Slack may list as a number what it gave out as "Q" and the number; an own alarm is known by its time as well."""
    ids = {each.id.removeprefix("Q") for each in state.alarms} | {each.removeprefix("Q") for each in state.gone}
    return listed.id.removeprefix("Q") in ids or listed.post_at in {each.post_at for each in state.alarms if each.own}


def _adopted(state: State, landed: list[Alarm], now_s: float, margins: Margins) -> State:
    """An alarm whose scheduling was in doubt stands after all: it guards, unless a later one does."""
    newest = max(landed, key=lambda each: each.post_at, default=None)
    guard = state.guard
    if newest is None or (guard is not None and guard.post_at >= newest.post_at):
        return state
    beat_at_s = min(newest.post_at - margins.ahead_s - WINDOW_S * state.full, now_s)
    return replace(state, newest=newest.id, beat_at_s=beat_at_s, looked=False, full=0)


def _after_schedule(state: State, post_at: int, outcome: Outcome, now_s: float, margins: Margins) -> State:
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
            return replace(state, early=False)  # the room is for those who have no alarm yet
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


def _after_delete(state: State, alarm: Alarm, outcome: Outcome, now_s: float, margins: Margins) -> State:
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
    return replace(state, voids=(*state.voids, Void(alarm.post_at, sure=sure)))


def _after_say(state: State, voids: tuple[Void, ...], outcome: Outcome, now_s: float) -> State:
    again = isinstance(outcome, Failed) and not (outcome.ambiguous and voids[0].told)
    if again:  # a repeat is better than a loss, once
        unsure = isinstance(outcome, Failed) and outcome.ambiguous
        kept = tuple(replace(each, told=each.told or unsure) if each in voids else each for each in state.voids)
        return _braked(replace(state, voids=kept), Call.SAY, outcome, now_s)
    left = tuple(each for each in state.voids if each not in voids)
    return replace(_freed(state, Call.SAY), voids=left)


def _braked(state: State, call: Call, outcome: Outcome, now_s: float, least_s: float = 0.0) -> State:
    """Put the next call of that kind off: 1, 2, 4 … 60 seconds, or as long as Slack says, but `least_s` at least."""
    failures = state.brakes.get(call, Brake()).failures + 1
    wait_s = max(min(_BRAKE_S * 2.0 ** min(failures - 1, 10), _BRAKE_MOST_S), least_s)
    if isinstance(outcome, Failed) and outcome.retry_after_s is not None:
        wait_s = max(wait_s, outcome.retry_after_s)
    return replace(state, brakes={**state.brakes, call: Brake(now_s, now_s + wait_s, failures)})


def _freed(state: State, call: Call) -> State:
    return replace(state, brakes={each: brake for each, brake in state.brakes.items() if each is not call})


def _ordered(alarms: tuple[Alarm, ...]) -> tuple[Alarm, ...]:
    return tuple(sorted(alarms, key=lambda each: each.post_at))
