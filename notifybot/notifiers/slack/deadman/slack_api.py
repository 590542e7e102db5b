"""The dead man's switch's calls to Slack, and Slack's clock, read from its answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import PermanentError, TemporaryError
from notifybot.notifiers.slack.api import FAULTS_BEFORE_LESS, TIMEOUT_S, SlackRefused, WebApi, header, is_fault
from notifybot.notifiers.slack.deadman.schedule import Alarm, Denied, Done, Failed, Listed, Outcome, Scheduled
from notifybot.notifiers.slack.deadman.text import Said, marked_run
from notifybot.notifiers.slack.run_thread import RunThread

_PAGES_MOST = 30
_PAGE = 100
_ODD_ANSWER_S = 60.0
_AGREE_S = 5.0
_ID = re.compile(r"[CDG][A-Z0-9]{2,}")  # of a channel, a direct message, a private group; everything else is a name


class ScheduledAlarms(Protocol):
    """Slack calls that the switch needs. No method raises; each call sets the clock to Slack's time."""

    @property
    def sure(self) -> bool: ...

    @property
    def others(self) -> dict[Alarm, str]: ...

    def now_s(self) -> float: ...
    def listed(self, place: RunThread, mark: str) -> Outcome: ...
    def schedule(self, place: RunThread, post_at: int, said: Said) -> Outcome: ...
    def delete(self, place: RunThread, alarm: Alarm) -> Outcome: ...
    def say(self, place: RunThread, said: Said) -> Outcome: ...
    def note(self, place: RunThread, said: Said) -> Outcome: ...


class SlackClock:
    """Slack's time, from the Date of its latest answer on.

    A wall clock may be set, and a monotonic one stands still while a machine sleeps. Where the two no longer agree,
    and before the first answer, the time is not `sure`: any answer makes it so.
    """

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._heard = False
        self._wall_s, self._monotonic_s = clock.now().timestamp(), clock.monotonic()
        self._slack_s = self._wall_s

    def heard(self, date: str | None) -> None:
        """Set the clock by an answer's Date header. Without a readable one, this machine's clock is believed."""
        self._heard = True
        self._wall_s, self._monotonic_s = self._clock.now().timestamp(), self._clock.monotonic()
        try:
            self._slack_s = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            self._slack_s = self._wall_s

    def now_s(self) -> float:
        """The time at Slack, in Unix seconds."""
        return self._slack_s + max(self._elapsed_s())

    @property
    def sure(self) -> bool:
        """True when the time can be relied on."""
        return self._heard and abs(self._elapsed_s()[0] - self._elapsed_s()[1]) <= _AGREE_S

    def _elapsed_s(self) -> tuple[float, float]:
        now_s = self._clock.now().timestamp()
        return now_s - self._wall_s, self._clock.monotonic() - self._monotonic_s


class SlackAlarms(WebApi):
    """Alarms that wait at the real Slack, or at the sandbox.

    A place without a root may have a channel's name for its id: of these methods chat.scheduleMessage alone takes
    names, and answers with the id (https://docs.slack.dev/reference/methods/chat.scheduleMessage).
    """

    def __init__(self, token: str, url: str, *, timeout_s: int = TIMEOUT_S, clock: Clock = SYSTEM) -> None:
        super().__init__(token, url, timeout_s=timeout_s, clock=clock, on_headers=self._set_clock)
        self._slack_clock = SlackClock(clock)
        self._faults = 0  # consecutive faults of Slack at messages: it fails at layouts that it cannot show
        self._ids: dict[str, str] = {}  # channel name -> id
        self.others: dict[Alarm, str] = {}  # other runs' alarms in the latest list -> run id

    def now_s(self) -> float:
        """The time at Slack, in Unix seconds."""
        return self._slack_clock.now_s()

    @property
    def sure(self) -> bool:
        """True when `now_s` can be relied on."""
        return self._slack_clock.sure

    def listed(self, place: RunThread, mark: str) -> Outcome:
        """Read the alarms that carry `mark`: in the run's channel, or in all while the channel's id is not known."""
        return _outcome(lambda: Listed(tuple(self._marked(self._id_of(place.channel_id), mark))))

    def schedule(self, place: RunThread, post_at: int, said: Said) -> Outcome:
        """Have an alarm posted in the run's thread, if it has one, and in the channel.

        Never with `metadata`: Slack accepts it, and then does not post the message.
        """

        def scheduled() -> Outcome:
            answer = self._sent("chat.scheduleMessage", place, said, post_at=post_at)
            where = self._ids[place.channel_id] = str(answer.get("channel") or place.channel_id)
            id = str(answer["scheduled_message_id"])
            return Scheduled(Alarm(id, int(answer.get("post_at") or post_at), channel_id=where))

        return _outcome(scheduled)

    def delete(self, place: RunThread, alarm: Alarm) -> Outcome:
        """Delete an alarm. Slack's own example lists as a number what is elsewhere "Q" and the number."""
        where = alarm.channel_id or self._id_of(place.channel_id)
        outcome = self._delete(where, alarm.id)
        if outcome == Denied("invalid_scheduled_message_id") and alarm.id.isdigit():
            return self._delete(where, f"Q{alarm.id}")
        return outcome

    def say(self, place: RunThread, said: Said) -> Outcome:
        """Post in the run's thread, if it has one, and in the channel, now."""
        return _outcome(lambda: self._sent("chat.postMessage", place, said))

    def note(self, place: RunThread, said: Said) -> Outcome:
        """Post in the run's thread only, not in the channel."""
        return _outcome(lambda: self._sent("chat.postMessage", place, said, reply_broadcast=False))

    def _delete(self, channel_id: str, id: str) -> Outcome:
        which = {"channel": channel_id, "scheduled_message_id": id}
        return _outcome(lambda: self.call("chat.deleteScheduledMessage", which, as_form=True))

    def _id_of(self, channel: str) -> str:
        """The channel's id; empty while Slack has not said it."""
        return self._ids.get(channel) or (channel if _ID.fullmatch(channel) else "")

    def _set_clock(self, headers: Mapping[str, object]) -> None:
        self._slack_clock.heard(header(headers, "Date"))

    def _marked(self, channel_id: str, mark: str) -> list[Alarm]:
        found: list[Alarm] = []
        self.others = {}
        cursor, where = "", {"channel": channel_id} if channel_id else {}
        for _ in range(_PAGES_MOST):
            page = {"limit": _PAGE, "cursor": cursor, **where}
            answer = self.call("chat.scheduledMessages.list", page, as_form=True)
            for each in answer.get("scheduled_messages") or []:
                whose = marked_run(str(each.get("text") or ""))
                if whose is None:
                    continue
                place = str(each.get("channel_id") or channel_id)
                alarm = Alarm(str(each["id"]), int(each["post_at"]), own=False, channel_id=place)
                if mark in each["text"]:
                    found.append(alarm)
                else:
                    self.others[alarm] = whose
            cursor = str((answer.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor:
                break
        return found

    def _sent(self, method: str, place: RunThread, said: Said, **more: Any) -> dict[str, Any]:
        """Send as laid out, else in plain words; in the thread, else, where there is none any more, in the channel."""
        more |= {"channel": place.channel_id, "unfurl_links": False, "unfurl_media": False}
        payload = said.plain if self._faults >= FAULTS_BEFORE_LESS else said.layout
        thread: dict[str, Any] = {"thread_ts": place.root_ts} if place.root_ts else {}
        if thread:
            thread["reply_broadcast"] = more.pop("reply_broadcast", True)
        while True:
            try:
                return self.call(method, {**payload.arguments(), **thread, **more})
            except TemporaryError as error:
                self._faults += is_fault(error)
                raise
            except SlackRefused as error:
                if error.layout and payload is not said.plain:
                    payload = said.plain
                elif error.root_gone and thread:
                    thread = {}
                else:
                    raise


def _outcome(call: Callable[[], Outcome | dict[str, Any]]) -> Outcome:
    """Make a call and return its outcome as a value. An answer that says no more than `ok` is `Done`."""
    try:
        result = call()
    except SlackRefused as error:
        return Denied(error.code, error.setup)
    except TemporaryError as error:
        return Failed(error.retry_after_s, error.ambiguous)
    except PermanentError:  # an HTTP error without a word of Slack's: more likely a proxy's than Slack's
        return Failed(_ODD_ANSWER_S)
    except (AttributeError, KeyError, TypeError, ValueError):  # JSON of another shape than Slack's
        return Failed(_ODD_ANSWER_S, ambiguous=True)
    return Done() if isinstance(result, dict) else result
