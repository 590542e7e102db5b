"""The dead man's switch's calls to Slack, and Slack's clock, read from its answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import PermanentError, TemporaryError
from notifybot.notifiers.slack.api import FAULTS_BEFORE_LESS, TIMEOUT_S, SlackRefused, WebApi, header, is_fault
from notifybot.notifiers.slack.deadman.schedule import NO_SUCH, Alarm, Denied, Done, Failed, Listed, Outcome, Scheduled
from notifybot.notifiers.slack.deadman.text import Said, marked_run
from notifybot.notifiers.slack.run_thread import RunThread

_PAGES_MOST = 30
_PAGE = 100
_ODD_ANSWER_S = 60.0
_AGREE_S = 5.0
_ID = re.compile(r"[CDG][A-Z0-9]{2,}")  # of a channel, a direct message, a private group; everything else is a name


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
    """Alarms that wait at the real Slack, or at the sandbox. Each call sets the `clock` to Slack's time.

    Of the methods below none raises.

    A place without a root may have a channel's name for its id: of these methods chat.scheduleMessage alone takes
    names, and answers with the id (https://docs.slack.dev/reference/methods/chat.scheduleMessage).
    """

    def __init__(self, token: str, url: str, *, timeout_s: int = TIMEOUT_S, clock: Clock = SYSTEM) -> None:
        super().__init__(token, url, timeout_s=timeout_s, clock=clock, on_headers=self._set_clock)
        self.clock = SlackClock(clock)
        self._faults = 0  # consecutive faults of Slack at messages: it fails at layouts that it cannot show
        self._ids: dict[str, str] = {}  # channel name -> id
        self.others: dict[Alarm, str] = {}  # other runs' alarms in the latest list -> run id

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
        which = {"channel": alarm.channel_id or self._id_of(place.channel_id)}
        outcome: Outcome = Done()
        for id in (alarm.id, f"Q{alarm.id}") if alarm.id.isdigit() else (alarm.id,):
            form = which | {"scheduled_message_id": id}
            outcome = _outcome(partial(self.call, "chat.deleteScheduledMessage", form, as_form=True))
            if outcome != Denied(NO_SUCH):
                break
        return outcome

    def say(self, place: RunThread, said: Said, *, broadcast: bool = True) -> Outcome:
        """Post in the run's thread, if it has one, and in the channel, now; without `broadcast` in the thread only."""
        return _outcome(lambda: self._sent("chat.postMessage", place, said, broadcast=broadcast))

    def _id_of(self, channel: str) -> str:
        """The channel's id; empty while Slack has not said it."""
        return self._ids.get(channel) or (channel if _ID.fullmatch(channel) else "")

    def _set_clock(self, headers: Mapping[str, object]) -> None:
        self.clock.heard(header(headers, "Date"))

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

    def _sent(
        self, method: str, place: RunThread, said: Said, *, broadcast: bool = True, **more: Any
    ) -> dict[str, Any]:
        """Send as laid out, else in plain words; in the thread, else, where there is none any more, in the channel."""
        more |= {"channel": place.channel_id, "unfurl_links": False, "unfurl_media": False}
        payload = said.plain if self._faults >= FAULTS_BEFORE_LESS else said.layout
        thread = {"thread_ts": place.root_ts, "reply_broadcast": broadcast} if place.root_ts else {}
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
    except PermanentError:  # an HTTP error without a code of Slack's: more likely a proxy's than Slack's
        return Failed(_ODD_ANSWER_S)
    except (AttributeError, KeyError, TypeError, ValueError):  # JSON of another shape than Slack's
        return Failed(_ODD_ANSWER_S, ambiguous=True)
    return Done() if isinstance(result, dict) else result
