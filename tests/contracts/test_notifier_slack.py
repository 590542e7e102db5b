"""What every Slack notifier does with every answer, against the sandbox over a real socket."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime

import pytest

from notifybot.errors import DeliveryError, PermanentError, TemporaryError
from notifybot.notifiers.base import Notifier
from notifybot.notifiers.slack import SlackBot, SlackWebhook
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.http import FaultKind
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL, WEBHOOK_STATUS
from notifybot.testing import DictMemory, FakeClock
from tests.support.slack_messages import envelope, lost

BOTH = pytest.mark.parametrize("notifier", ["bot", "webhook"], indirect=True)


@pytest.fixture
def notifier(request: pytest.FixtureRequest, sandbox: Sandbox, clock: FakeClock) -> Notifier:
    if request.param == "bot":
        return SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/", timeout_s=1, clock=clock)
    return SlackWebhook(sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"], timeout_s=1, clock=clock)


def send(notifier: Notifier) -> None:
    notifier.send(envelope(lost(), DictMemory()))


def failure(notifier: Notifier) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        send(notifier)
    return caught.value


@BOTH
def test_a_message_arrives(sandbox: Sandbox, notifier: Notifier) -> None:
    """The plain case: told, and told once."""
    send(notifier)

    assert sandbox.slack.roots[0].text == "resnet-cifar: run lost, val_acc 0.61"
    assert len(sandbox.slack.roots) == 1


@BOTH
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("date", 90.0, id="http-date"),
        pytest.param("soon", None, id="garbage"),
        pytest.param(None, None, id="absent"),
    ],
)
def test_too_many_requests_is_temporary_and_says_when(
    sandbox: Sandbox, notifier: Notifier, clock: FakeClock, value: str | None, seconds: float | None
) -> None:
    """429 was not processed; both forms of Retry-After are understood, garbage is ignored."""
    if value == "date":
        value = format_datetime(clock.now() + timedelta(seconds=90), usegmt=True)
    sandbox.faults.append(Fault("status", status=429, headers={} if value is None else {"Retry-After": value}))

    error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert seconds == error.retry_after_s
    assert not error.ambiguous


@BOTH
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_outage_is_temporary_and_may_have_been_processed(sandbox: Sandbox, notifier: Notifier, status: int) -> None:
    """5xx says nothing about what happened to the message."""
    sandbox.faults.append(Fault("status", status=status, body=b"<html>oops</html>"))

    error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert error.ambiguous


@BOTH
@pytest.mark.parametrize("status", [408, 425])
def test_a_request_that_did_not_arrive_whole_is_temporary(sandbox: Sandbox, notifier: Notifier, status: int) -> None:
    """The two refusals of HTTP that ask for the same request again."""
    sandbox.faults.append(Fault("status", status=status))

    error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert not error.ambiguous


@BOTH
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 418])
def test_an_unknown_refusal_is_permanent(sandbox: Sandbox, notifier: Notifier, status: int) -> None:
    """4xx without a word that Slack uses: the same request would meet the same answer."""
    sandbox.faults.append(Fault("status", status=status, body=b"<html>no</html>"))

    error = failure(notifier)

    assert isinstance(error, PermanentError)
    assert error.setup is (status in (401, 403, 404, 410))


@BOTH
@pytest.mark.parametrize(
    ("fault", "processed"),
    [
        pytest.param("hang", 0, id="read-timeout"),
        pytest.param("reset_before", 0, id="reset-before-it-was-read"),
        pytest.param("reset_after", 1, id="answer-lost"),
    ],
)
def test_a_lost_answer_is_temporary_ambiguous_and_not_repeated_by_itself(
    sandbox: Sandbox, notifier: Notifier, fault: FaultKind, processed: int
) -> None:
    """One request a send: slack_sdk's own retry would post twice."""
    sandbox.faults.append(Fault(fault))

    error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert error.ambiguous
    assert len(sandbox.requests) == 1
    assert processed == len(sandbox.slack.messages)


@BOTH
def test_a_refused_connection_is_temporary_and_certainly_not_processed(sandbox: Sandbox, notifier: Notifier) -> None:
    """Nobody listens: nothing was sent."""
    with sandbox.down():
        error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert not error.ambiguous


@BOTH
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="html"),
        pytest.param(b'{"ok": true, "ts": "17', id="truncated-json"),
        pytest.param(b"[1, 2]", id="json-list"),
        pytest.param(b"\xff\xfe\x00", id="no-text"),
        pytest.param(b"Okay", id="almost-ok"),
    ],
)
def test_garbage_is_temporary(sandbox: Sandbox, notifier: Notifier, body: bytes) -> None:
    """A captive portal answers 200 to everything; only Slack's own words are a success."""
    sandbox.faults.append(Fault("garbage", body=body))

    error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert error.ambiguous


@pytest.mark.parametrize("notifier", ["webhook"], indirect=True)
@pytest.mark.parametrize("code", sorted(set(WEBHOOK_STATUS) - {"rollup_error", "too_many_attachments"}))
def test_each_word_of_the_webhook_is_permanent(sandbox: Sandbox, notifier: Notifier, code: str) -> None:
    """Every documented refusal is named in the error; of a layout first the table is given up, then all of it."""
    sandbox.slack.refuse("webhook", code, times=3)

    error = failure(notifier)

    assert isinstance(error, PermanentError)
    assert code in str(error)
    assert error.setup is (WEBHOOK_STATUS[code] != 400 or code == "user_not_found")
    assert len(sandbox.requests) == (3 if code in ("invalid_blocks", "invalid_attachments") else 1)


@pytest.mark.parametrize("notifier", ["webhook"], indirect=True)
def test_a_webhook_outage_in_words_is_temporary(sandbox: Sandbox, notifier: Notifier) -> None:
    """`rollup_error` is Slack's own trouble."""
    sandbox.slack.refuse("webhook", "rollup_error")

    error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert error.ambiguous


@pytest.mark.parametrize("notifier", ["webhook"], indirect=True)
def test_refused_blocks_of_a_webhook_become_words(sandbox: Sandbox, notifier: Notifier) -> None:
    """The same send tries without the table, then without a layout."""
    sandbox.slack.refuse("webhook", "invalid_blocks", times=2)

    send(notifier)

    (message,) = sandbox.slack.messages
    assert message.blocks == []
    assert "val_acc 0.6100" in message.text


@pytest.mark.parametrize("notifier", ["bot"], indirect=True)
@pytest.mark.parametrize(
    ("code", "setup"),
    [
        ("invalid_auth", True),
        ("token_revoked", True),
        ("missing_scope", True),
        ("channel_not_found", True),
        ("not_in_channel", True),
        ("is_archived", True),
        ("restricted_action_read_only_channel", True),
        ("invalid_arguments", False),
        ("no_text", False),
        ("something_new_from_slack", False),
    ],
)
def test_each_refusal_of_the_web_api_is_permanent(sandbox: Sandbox, notifier: Notifier, code: str, setup: bool) -> None:
    """The error names Slack's word; `setup` where a person must change something first."""
    sandbox.slack.refuse("chat.postMessage", code)

    error = failure(notifier)

    assert isinstance(error, PermanentError)
    assert code in str(error)
    assert setup is error.setup


@pytest.mark.parametrize("notifier", ["bot"], indirect=True)
@pytest.mark.parametrize(
    ("code", "ambiguous"),
    [
        ("ratelimited", False),
        ("rate_limited", False),
        ("request_timeout", False),
        ("org_login_required", False),
        ("message_limit_exceeded", False),
        ("internal_error", True),
        ("fatal_error", True),
        ("service_unavailable", True),
    ],
)
def test_each_trouble_of_the_web_api_is_temporary(
    sandbox: Sandbox, notifier: Notifier, code: str, ambiguous: bool
) -> None:
    """`ambiguous` where Slack's documentation says that part may have succeeded."""
    sandbox.slack.refuse("chat.postMessage", code)

    error = failure(notifier)

    assert isinstance(error, TemporaryError)
    assert ambiguous is error.ambiguous


@BOTH
def test_closing_twice_is_fine(notifier: Notifier) -> None:
    """A notifier is closed by whoever is last, more than once at times."""
    notifier.close()
    notifier.close()
