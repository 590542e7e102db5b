"""The pretended Slack keeps Slack's rules for scheduled messages, and both traps in them.

https://docs.slack.dev/reference/methods/chat.scheduleMessage, …/chat.deleteScheduledMessage and
…/chat.scheduledMessages.list; the trap in deleting: https://github.com/slackapi/bolt-js/issues/1857
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import CHANNEL
from notifybot.testing import FakeClock

CHANNEL_ID = "C0TRAINING"


class Desk:
    """Schedules, deletes and lists as a program would, by seconds from now."""

    def __init__(self, client: WebClient, clock: FakeClock) -> None:
        self._client, self._clock = client, clock

    def schedule(self, in_s: float, text: str = "x", **more: Any) -> str:
        post_at = int(self._clock.now().timestamp() + in_s)
        answer = self._client.chat_scheduleMessage(channel=CHANNEL_ID, post_at=post_at, text=text, **more)
        return str(answer["scheduled_message_id"])

    def delete(self, id: str) -> None:
        self._client.chat_deleteScheduledMessage(channel=CHANNEL_ID, scheduled_message_id=id)

    def listed(self, **arguments: Any) -> list[dict[str, Any]]:
        return list(self._client.chat_scheduledMessages_list(**arguments)["scheduled_messages"])

    def refused(self, in_s: float, **more: Any) -> str:
        with pytest.raises(SlackApiError) as caught:
            self.schedule(in_s, **more)
        return str(caught.value.response["error"])

    def delete_refused(self, id: str) -> str:
        with pytest.raises(SlackApiError) as caught:
            self.delete(id)
        return str(caught.value.response["error"])


@pytest.fixture
def desk(client: WebClient, clock: FakeClock) -> Desk:
    return Desk(client, clock)


def texts(sandbox: Sandbox) -> list[str]:
    return [each.text for each in sandbox.slack.messages]


def test_a_message_is_posted_at_its_time_and_not_before(sandbox: Sandbox, desk: Desk, clock: FakeClock) -> None:
    """It bears that time, whenever anybody looks."""
    desk.schedule(600)
    clock.advance(599)
    assert texts(sandbox) == []

    due_s = clock.now().timestamp() + 1
    clock.advance(5000)

    (message,) = sandbox.slack.messages
    assert message.at.timestamp() == due_s
    assert float(message.ts) == due_s


def test_it_is_posted_where_and_as_it_was_scheduled(
    sandbox: Sandbox, desk: Desk, client: WebClient, clock: FakeClock
) -> None:
    """In the thread, broadcast to the channel; in order with what came later."""
    root = client.chat_postMessage(channel=CHANNEL, text="root")
    desk.schedule(300, "alarm", thread_ts=root["ts"], reply_broadcast=True)
    clock.advance(400)
    client.chat_postMessage(channel=CHANNEL, text="later")

    assert texts(sandbox) == ["root", "alarm", "later"]
    (alarm,) = sandbox.slack.thread(str(root["ts"]))
    assert alarm.broadcast


def test_times_that_cannot_be_are_refused(desk: Desk, client: WebClient) -> None:
    """In the past, beyond 120 days, and no time at all."""
    day_s = 86_400
    assert desk.refused(0) == "time_in_past"
    assert desk.refused(120 * day_s + 60) == "time_too_far"
    desk.schedule(120 * day_s - 60)
    with pytest.raises(SlackApiError, match="invalid_time"):
        client.api_call("chat.scheduleMessage", json={"channel": CHANNEL_ID, "post_at": "soon", "text": "x"})


def test_what_could_not_be_posted_cannot_be_scheduled(
    sandbox: Sandbox, desk: Desk, client: WebClient, clock: FakeClock
) -> None:
    """Nothing to show, a layout that is not one, a thread that is not there, a channel without the bot."""
    post_at = int(clock.now().timestamp()) + 600
    with pytest.raises(SlackApiError, match="no_text"):
        client.api_call("chat.scheduleMessage", json={"channel": CHANNEL_ID, "post_at": post_at})
    assert desk.refused(600, blocks=[{"type": "header"}]).startswith("invalid_blocks")
    assert desk.refused(600, thread_ts="1.0") == "message_not_found"
    sandbox.slack.channels[CHANNEL_ID].member = False
    assert desk.refused(600) == "not_in_channel"


def test_metadata_is_accepted_and_the_message_never_posted(sandbox: Sandbox, desk: Desk, clock: FakeClock) -> None:
    """The first trap, a documented bug."""
    desk.schedule(600, metadata={"event_type": "x", "event_payload": {}})
    assert len(desk.listed()) == 1

    clock.advance(3600)

    assert texts(sandbox) == []
    assert desk.listed() == []


def test_a_window_of_five_minutes_takes_thirty_messages(sandbox: Sandbox, desk: Desk) -> None:
    """Whether deleted ones count is not documented, so they do, until a test says otherwise."""
    ids = [desk.schedule(3600 + second) for second in range(30)]
    assert desk.refused(3630) == "restricted_too_many"
    desk.schedule(3900)
    desk.delete(ids[0])

    assert desk.refused(3630) == "restricted_too_many"
    sandbox.slack.schedule.counts_deleted = False
    desk.schedule(3630)


def test_deleting_in_time_leaves_nothing(sandbox: Sandbox, desk: Desk, clock: FakeClock) -> None:
    """And a second time is refused."""
    id = desk.schedule(900)
    clock.advance(599)
    desk.delete(id)
    assert desk.delete_refused(id) == "invalid_scheduled_message_id"

    clock.advance(3600)

    assert texts(sandbox) == []


def test_deleting_within_five_minutes_is_a_lie(sandbox: Sandbox, desk: Desk, clock: FakeClock) -> None:
    """The second trap: `ok`, gone from the list, refused when deleted again, and posted all the same."""
    id = desk.schedule(900)
    clock.advance(600)
    desk.delete(id)
    assert desk.listed() == []
    assert desk.delete_refused(id) == "invalid_scheduled_message_id"

    clock.advance(300)

    assert texts(sandbox) == ["x"]


@pytest.mark.parametrize("later_s", [840, 900, 2000], ids=["a-minute-before", "now", "posted"])
def test_deleting_is_refused_from_a_minute_before(desk: Desk, clock: FakeClock, later_s: float) -> None:
    id = desk.schedule(900)
    clock.advance(later_s)

    assert desk.delete_refused(id) == "invalid_scheduled_message_id"


def test_the_list_shows_what_waits_in_one_channel(desk: Desk, client: WebClient, clock: FakeClock) -> None:
    """Id, channel, times and text; neither thread nor metadata; none that was posted."""
    id = desk.schedule(900, "mine")
    desk.schedule(100, "first")
    client.chat_scheduleMessage(channel="C0OTHER", post_at=int(clock.now().timestamp()) + 900, text="elsewhere")
    created_s = int(clock.now().timestamp())
    clock.advance(200)

    assert desk.listed(channel=CHANNEL_ID) == [
        {
            "id": id,
            "channel_id": CHANNEL_ID,
            "post_at": created_s + 900,
            "date_created": created_s,
            "text": "mine",
        }
    ]
    assert len(desk.listed()) == 2


def test_the_list_comes_in_pages_and_within_times(desk: Desk, client: WebClient, clock: FakeClock) -> None:
    for number in range(5):
        desk.schedule(1000 * (number + 1), str(number))
    page = client.chat_scheduledMessages_list(channel=CHANNEL_ID, limit=3)
    rest = client.chat_scheduledMessages_list(
        channel=CHANNEL_ID, limit=3, cursor=page["response_metadata"]["next_cursor"]
    )
    now_s = int(clock.now().timestamp())

    assert [each["text"] for answer in (page, rest) for each in answer["scheduled_messages"]] == list("01234")
    assert rest["response_metadata"]["next_cursor"] == ""
    assert [each["text"] for each in desk.listed(oldest=str(now_s + 1500), latest=str(now_s + 3500))] == ["1", "2"]
    with pytest.raises(SlackApiError, match="invalid_cursor"):
        desk.listed(cursor="nowhere")


def test_ids_may_be_listed_as_numbers(sandbox: Sandbox, desk: Desk) -> None:
    """As in the reference's example, while its schema says text."""
    id = desk.schedule(900)
    sandbox.slack.schedule.numeric_ids = True

    (listed,) = desk.listed()
    assert f"Q{listed['id']}" == id


def test_slack_may_be_late(sandbox: Sandbox, desk: Desk, clock: FakeClock) -> None:
    """How late is not documented."""
    sandbox.slack.schedule.late_s = 40
    desk.schedule(600)
    clock.advance(630)
    assert texts(sandbox) == []

    clock.advance(10)

    assert texts(sandbox) == ["x"]


def test_a_method_may_be_called_so_often_a_minute(sandbox: Sandbox, desk: Desk, clock: FakeClock) -> None:
    """Each by itself: https://docs.slack.dev/apis/web-api/rate-limits"""
    sandbox.slack.schedule.per_minute = 2
    desk.schedule(600)
    desk.schedule(600)
    assert desk.refused(600) == "ratelimited"
    desk.listed()

    clock.advance(60)

    desk.schedule(600)


def test_every_answer_says_what_time_it_is_there(client: WebClient, clock: FakeClock) -> None:
    """By the sandbox's clock, refusals included."""
    clock.advance(86_400)
    answer = client.auth_test()
    with pytest.raises(SlackApiError) as caught:
        client.api_call("no.such.method")

    for headers in (answer.headers, caught.value.response.headers):
        moment = parsedate_to_datetime(headers["Date"])
        assert moment == clock.now().replace(microsecond=0)
