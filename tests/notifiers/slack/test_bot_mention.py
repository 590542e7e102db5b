"""People are called by a mention: whom the settings name, when a run needs them, where Slack notifies, and once."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from notifybot.config import Config, load
from notifybot.errors import ConfigError
from notifybot.events import AlertRaised, Event
from notifybot.notifiers.base import Notifier
from notifybot.notifiers.slack import SlackBot, SlackWebhook, slack_notifiers
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.testing import DictMemory, FakeClock
from notifybot.types import Language, Notice, RunRef, Severity, Status
from tests.support.slack_messages import (
    RUN,
    alert,
    checkpoint,
    ended,
    envelope,
    epoch,
    lost,
    recovered,
    stalled,
    started,
)

KIM, TEAM = "<@U0123ABCD>", "<!subteam^S0123ABCD>"
HOOK = "https://hooks.slack.com/services/T0/B0/canary-not-a-secret"


@pytest.mark.parametrize(
    ("given", "mention"),
    [
        ("U0123ABCD", KIM),
        ("@U0123ABCD", KIM),
        (KIM, KIM),
        ("<@U0123ABCD|kim>", KIM),
        ("W0123ABCD", "<@W0123ABCD>"),
        ("S0123ABCD", TEAM),
        ("<!subteam^S0123ABCD|@ml team>", TEAM),
        ("here", "<!here>"),
        ("@channel", "<!channel>"),
        ("<!here|here>", "<!here>"),
        (f"{KIM}, S0123ABCD  here", f"{KIM} {TEAM} <!here>"),
        (["U0123ABCD", "U0123ABCD", "here"], f"{KIM} <!here>"),
    ],
)
def test_whom_to_call_is_written_in_many_ways_and_kept_in_slacks(given: object, mention: str) -> None:
    assert load({"slack_mention": given, "slack_webhook_url": HOOK}).slack_mention == mention


@pytest.mark.parametrize(
    "given",
    [
        "@kim", "kim", "kim@example.com", "#training", "C0123ABCD", "<#C0123ABCD>", "u0123abcd", "U0123ABCD kim",
        "<!everyone>", "<https://example.com|kim>", "U77", "<@U0123ABCD", "<@U0123ABCD> <b>", ",,", "U0123ABCD x",
        " ".join(f"U0123ABC{each}" for each in range(6)),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("language", "remedy"), [("en", "Copy member ID"), ("ko", "멤버 ID 복사")])
def test_a_name_or_an_address_is_refused_with_the_way_to_the_id(
    monkeypatch: pytest.MonkeyPatch, given: str, language: str, remedy: str
) -> None:
    monkeypatch.setenv("NOTIFYBOT_SLACK_MENTION", given)

    with pytest.raises(ConfigError, match=remedy) as caught:
        load({"slack_webhook_url": HOOK, "lang": language})

    assert "NOTIFYBOT_SLACK_MENTION" in str(caught.value)
    assert given not in str(caught.value)


def test_a_mention_without_slack_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="slack_mention is set, but needs slack_bot_token or slack_webhook_url"):
        load({"slack_mention": "here"})


# ── When ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def error(**changes: Any) -> AlertRaised:
    return replace(alert(), severity=Severity.ERROR, **changes)


def again(event: Event) -> Event:
    """The same in the run's next session."""
    return replace(event, run=replace(event.run, session="session-2"))


def notifier_at(sandbox: Sandbox, clock: FakeClock, kind: str, mention: str = KIM) -> Notifier:
    if kind == "bot":
        return SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/", timeout_s=1, clock=clock, mention=mention)
    return SlackWebhook(sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"], clock=clock, mention=mention)


def called(payload: dict[str, Any]) -> list[str]:
    """Whom Slack notifies of a message: by its own blocks where it has some, else by its text."""
    texts = [each["text"]["text"] for each in payload["blocks"] if each.get("text", {}).get("type") == "mrkdwn"]
    said = " ".join(texts if payload["blocks"] else [payload["text"]])
    return re.findall(r"<[@!](?!date)[^>]+>", said)


def calls(sandbox: Sandbox) -> list[str]:
    """All who were notified; an edit notifies nobody."""
    return [each for method, payload in sandbox.slack.calls if method != "chat.update" for each in called(payload)]


@pytest.mark.parametrize("kind", ["bot", "webhook"])
@pytest.mark.parametrize(
    ("events", "times"),
    [
        pytest.param([ended(status=Status.FAILED)], 1, id="failed"),
        pytest.param([lost()], 1, id="lost"),
        pytest.param([stalled()], 1, id="stalled"),
        pytest.param([error(), error()], 2, id="two errors"),
        pytest.param([error(), ended(status=Status.FAILED)], 2, id="an error, and then it failed"),
        pytest.param([error(about="delivery")], 1, id="a digest of the night"),
        pytest.param([ended(status=each) for each in (Status.FINISHED, Status.STOPPED)], 0, id="ended well"),
        pytest.param([ended(status=Status.INTERRUPTED)], 0, id="interrupted"),
        pytest.param([epoch(3, new_best="val_acc"), checkpoint(), alert(), recovered()], 0, id="news"),
        pytest.param([error(about="delivery", notice=Notice("not_delivered", "kakao"))], 0, id="about delivery"),
        pytest.param([stalled(), lost(), ended(60, status=Status.FAILED)], 1, id="one incident"),
        pytest.param([stalled(), recovered(), stalled(60)], 2, id="it hung, came back, and hangs again"),
        pytest.param([lost(), again(started(50)), again(lost(60))], 2, id="lost again after a restart"),
    ],
)
def test_people_are_called_when_a_run_needs_them_once_an_incident(
    sandbox: Sandbox, clock: FakeClock, kind: str, events: list[Event], times: int
) -> None:
    notifier, memory = notifier_at(sandbox, clock, kind), DictMemory()

    for event in (started(), *events):
        notifier.send(envelope(event, memory))

    assert calls(sandbox) == [KIM] * times
    if times:
        assert KIM in next(each.text for each in sandbox.slack.messages if KIM in str(each.now)), "on the lock screen"


@pytest.mark.parametrize("kind", ["bot", "webhook"])
def test_people_are_called_in_plain_words_too_and_only_by_the_message_that_is_taken(
    sandbox: Sandbox, clock: FakeClock, kind: str
) -> None:
    notifier, memory = notifier_at(sandbox, clock, kind, f"{KIM} {TEAM}"), DictMemory()
    notifier.send(envelope(started(), memory))
    sandbox.slack.unknown_blocks = {"section", "rich_text", "header"}

    notifier.send(envelope(ended(status=Status.FAILED), memory))

    last = sandbox.slack.messages[-1]
    assert last.blocks == []
    assert re.findall("<[^>]+>", last.text) == [KIM, TEAM]
    assert sum("<@U" in str(each.now) for each in sandbox.slack.messages) == 1


@pytest.mark.parametrize("kind", ["bot", "webhook"])
@pytest.mark.parametrize("mention", ["", KIM])
def test_other_peoples_text_calls_nobody(sandbox: Sandbox, clock: FakeClock, kind: str, mention: str) -> None:
    """A run's name, an alert and an exception that hold mentions, beside one of ours or none."""
    hostile = f"{TEAM} <!channel> <@U0000EVIL>"
    notifier, memory = notifier_at(sandbox, clock, kind, mention), DictMemory()
    run = replace(RUN, name=hostile)
    for event in (
        replace(error(), run=run, title=hostile, text=hostile),
        replace(ended(status=Status.FAILED), run=run, error=hostile, frames=hostile),
    ):
        said = Renderer(Language.EN).render(event)
        notifier.send(replace(envelope(event, memory), message=said))

    assert calls(sandbox) == [mention] * 2 if mention else calls(sandbox) == []
    assert "<@U0000EVIL>" not in " ".join(each.text for each in sandbox.slack.messages)


def test_the_settings_reach_the_bot_and_the_webhook(sandbox: Sandbox) -> None:
    urls = {"slack_api_url": f"{sandbox.url}/api/"}
    hook = sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"]
    bot = {"slack_bot_token": BOT_TOKEN, "slack_channel": CHANNEL}
    for settings in ({**urls, **bot}, {**urls, "slack_webhook_url": hook}):
        (notifier,) = slack_notifiers(Config(slack_mention="U0123ABCD", **settings))
        failed = replace(ended(status=Status.FAILED), run=RunRef("r", "r", "p", str(len(settings))))
        notifier.send(envelope(failed, DictMemory()))

    assert calls(sandbox) == [KIM, KIM]
