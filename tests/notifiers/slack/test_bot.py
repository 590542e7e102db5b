"""Slack by bot: one root message a run, a thread below it, and each told once whatever breaks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from notifybot.config import Config
from notifybot.errors import PermanentError, TemporaryError
from notifybot.events import Event
from notifybot.notifiers.slack import SlackBot, SlackWebhook, slack_notifiers
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL, SlackMessage
from notifybot.testing import DictMemory, FakeClock
from notifybot.types import Status
from tests.support.slack_messages import alert, checkpoint, ended, envelope, epoch, lost, recovered, stalled, started


@pytest.fixture
def memory() -> DictMemory:
    return DictMemory()


@pytest.fixture
def bot(sandbox: Sandbox, clock: FakeClock) -> SlackBot:
    return SlackBot(BOT_TOKEN, f"#{CHANNEL}", api_url=f"{sandbox.url}/api/", timeout_s=1, clock=clock)


def tell(bot: SlackBot, memory: DictMemory, *events: Event) -> None:
    for event in events:
        bot.send(envelope(event, memory))


def only_root(sandbox: Sandbox) -> SlackMessage:
    (root,) = sandbox.slack.roots
    return root


def header(message: SlackMessage) -> str:
    return str(message.blocks[0]["text"]["text"])


def test_a_run_is_one_root_message_and_a_thread(sandbox: Sandbox, bot: SlackBot, memory: DictMemory) -> None:
    """Epochs edit the root; start, new best, checkpoint, alert and ending are replies."""
    tell(bot, memory, started(), epoch(1), epoch(2, new_best="val_acc"), checkpoint(), alert(), epoch(5), ended())

    root = only_root(sandbox)
    replies = sandbox.slack.thread(root.ts)
    assert header(root) == "resnet-cifar: run ended 30/30"
    assert len(root.revisions) == 5  # start, epochs 1, 2 and 5, ending
    assert [each.text for each in replies] == [
        "resnet-cifar: run started, val_acc 0.61",
        "🏆 New best val_acc: 0.6100 · epoch 2",
        "resnet-cifar: checkpoint saved, val_acc 0.61",
        "resnet-cifar: alert raised, val_acc 0.61",
        "resnet-cifar: run ended, val_acc 0.61",
    ]
    assert [each.broadcast for each in replies] == [False, False, False, True, True]


def test_what_people_must_not_miss_is_broadcast(sandbox: Sandbox, bot: SlackBot, memory: DictMemory) -> None:
    """Lost, stalled and recovered runs appear in the channel although they are replies."""
    tell(bot, memory, started(), stalled(40), lost(41), recovered(50))

    replies = sandbox.slack.thread(only_root(sandbox).ts)
    assert [each.broadcast for each in replies] == [False, True, True, True]
    assert header(only_root(sandbox)) == "resnet-cifar: run recovered 12/30"


def test_a_root_born_of_an_ending_is_not_said_twice_in_the_channel(
    sandbox: Sandbox, bot: SlackBot, memory: DictMemory
) -> None:
    """Where the run's first word is that it was lost, the root stands in the channel: its reply stays in the thread."""
    tell(bot, memory, lost())

    (reply,) = sandbox.slack.thread(only_root(sandbox).ts)
    assert not reply.broadcast


def test_an_alert_before_any_state_gets_a_root_that_names_the_run(
    sandbox: Sandbox, bot: SlackBot, memory: DictMemory
) -> None:
    """The alert is a broadcast reply; the root is ready for the states to come."""
    tell(bot, memory, alert(), epoch(1, minutes=1))

    root = only_root(sandbox)
    assert root.revisions[0].blocks[0]["text"]["text"] == "resnet-cifar"
    assert header(root) == "resnet-cifar: epoch finished 1/30"
    assert sandbox.slack.thread(root.ts)[0].broadcast


def test_a_resumed_run_goes_on_in_its_thread(sandbox: Sandbox, bot: SlackBot, memory: DictMemory) -> None:
    """The second session edits the same root, also after an ending."""
    tell(bot, memory, started(), epoch(1), ended(5, status=Status.FAILED), started(60, attempt=2), epoch(2, minutes=61))

    root = only_root(sandbox)
    assert header(root) == "resnet-cifar: epoch finished 2/30"
    assert len(sandbox.slack.thread(root.ts)) == 3


@pytest.mark.parametrize("error", ["message_not_found", "cant_update_message", "edit_window_closed"])
def test_a_root_that_cannot_be_edited_is_posted_anew(
    sandbox: Sandbox, bot: SlackBot, memory: DictMemory, error: str
) -> None:
    """Slack says that the message is gone, not ours or too old: a new root takes over, thread included."""
    tell(bot, memory, started())
    sandbox.slack.refuse("chat.update", error)

    tell(bot, memory, epoch(1), ended())

    _, new = sandbox.slack.roots
    assert header(new) == "resnet-cifar: run ended 30/30"
    assert len(sandbox.slack.thread(new.ts)) == 1


def test_a_reply_to_a_deleted_root_brings_a_new_root(sandbox: Sandbox, bot: SlackBot, memory: DictMemory) -> None:
    """A person deleted the root: Slack lets the next reply stand alone, and those after it are below a new root."""
    tell(bot, memory, started())
    sandbox.slack.delete(only_root(sandbox))

    tell(bot, memory, alert(), checkpoint(), alert(), epoch(7), ended())

    stray, root = sandbox.slack.roots
    assert stray.text == "resnet-cifar: alert raised, val_acc 0.61"
    assert root.now.blocks[0]["text"]["text"] == "resnet-cifar: run ended 30/30", (
        "it goes on to show where the run stands"
    )
    assert [each.text.split(",")[0] for each in sandbox.slack.thread(root.ts)] == [
        "resnet-cifar: checkpoint saved",
        "resnet-cifar: alert raised",
        "resnet-cifar: run ended",
    ]


def test_a_reply_that_stood_alone_is_not_repeated(sandbox: Sandbox, bot: SlackBot) -> None:
    """Slack failed before the new root stood."""

    class Trap(DictMemory):
        def put(self, scope: str, value: dict[str, Any]) -> None:
            super().put(scope, value)
            if value.get("moves") == 1 and not value["root"]:
                sandbox.faults.append(Fault("status", path="chat.postMessage", status=503))

    memory = Trap()
    tell(bot, memory, started())
    sandbox.slack.delete(only_root(sandbox))
    event = alert()
    with pytest.raises(TemporaryError):
        bot.send(envelope(event, memory))

    bot.send(envelope(event, memory))
    bot.send(envelope(event, memory))

    assert [each.text for each in sandbox.slack.roots] == ["resnet-cifar: alert raised, val_acc 0.61", "resnet-cifar"]
    assert sandbox.slack.thread(sandbox.slack.roots[1].ts) == []


def test_new_roots_are_bounded(sandbox: Sandbox, bot: SlackBot, memory: DictMemory) -> None:
    """A server that never says where a reply went looks like one whose roots are deleted: not a root for each reply."""
    tell(bot, memory, started())
    for _ in range(9):
        for each in list(sandbox.slack.roots):
            sandbox.slack.delete(each)
        tell(bot, memory, alert())

    posts = sum(method == "chat.postMessage" for method, _ in sandbox.slack.calls)
    assert posts == 2 + 9 + 3


def test_a_failure_between_root_and_reply_repeats_neither(sandbox: Sandbox, bot: SlackBot, memory: DictMemory) -> None:
    """The root was edited, the reply met a fault: the next try sends the reply alone."""
    tell(bot, memory, started())
    event = ended()
    sandbox.faults.append(Fault("status", path="chat.postMessage", status=503))
    with pytest.raises(TemporaryError):
        bot.send(envelope(event, memory))

    bot.send(envelope(event, memory))
    bot.send(envelope(event, memory))

    root = only_root(sandbox)
    assert len(root.revisions) == 2
    assert [each.text for each in sandbox.slack.thread(root.ts)][1:] == ["resnet-cifar: run ended, val_acc 0.61"]


def test_refused_blocks_are_sent_once_more_as_words(sandbox: Sandbox, bot: SlackBot, memory: DictMemory) -> None:
    """A workspace without table blocks still gets every message, by the same send."""
    sandbox.slack.unknown_blocks = {"table"}

    tell(bot, memory, started(), epoch(1))

    root = only_root(sandbox)
    assert [each["type"] for each in root.blocks if each["type"] in ("header", "table")] == ["header"]
    assert "val_acc · 0.6100 · +0.0100" in str(root.blocks)
    assert len(sandbox.slack.calls) == 2 + 1 + 1, "the start is repeated without its table, and what follows has none"


def test_every_call_says_text_and_blocks_and_parses_nothing(
    sandbox: Sandbox, bot: SlackBot, memory: DictMemory
) -> None:
    """chat.update takes blocks away that are not sent, and would parse text by default."""
    tell(bot, memory, started(), epoch(1), ended())

    for method, arguments in sandbox.slack.calls:
        assert method in ("chat.postMessage", "chat.update")
        assert arguments["text"]
        assert arguments["blocks"]
        assert arguments["parse"] == "none"
        assert "link_names" not in arguments


def test_every_update_has_new_block_ids(sandbox: Sandbox, bot: SlackBot, memory: DictMemory) -> None:
    """Slack asks for a new block_id with each iteration of a message."""
    tell(bot, memory, started(), epoch(1), epoch(2))

    seen: list[str] = []
    for revision in only_root(sandbox).revisions:
        seen += [block["block_id"] for block in revision.blocks]
        seen += [block["block_id"] for each in revision.attachments for block in each["blocks"]]
    assert len(seen) == len(set(seen))


def test_two_runs_have_a_root_each(sandbox: Sandbox, bot: SlackBot, memory: DictMemory) -> None:
    """Memory is kept by run id."""
    other = started()
    other = replace(other, run=replace(other.run, id="other-run"))

    tell(bot, memory, started(), other)

    assert len(sandbox.slack.roots) == 2


def test_the_bot_that_was_not_invited_says_what_to_do(sandbox: Sandbox, bot: SlackBot, memory: DictMemory) -> None:
    """The error names the command to type in Slack."""
    sandbox.slack.channels["C0TRAINING"].member = False

    with pytest.raises(PermanentError, match="/invite @notifybot") as caught:
        tell(bot, memory, started())

    assert caught.value.setup


def test_settings_choose_the_bot_over_the_webhook(sandbox: Sandbox) -> None:
    """Token and channel make a bot; the webhook alone a webhook; nothing makes nothing."""
    hook = f"{sandbox.url}/services/T0SANDBOX/B0SANDBOX/canary-not-a-webhook-secret"

    both = slack_notifiers(Config(slack_bot_token=BOT_TOKEN, slack_channel=CHANNEL, slack_webhook_url=hook))
    webhook = slack_notifiers(Config(slack_webhook_url=hook))

    assert [type(each) for each in both] == [SlackBot]
    assert [type(each) for each in webhook] == [SlackWebhook]
    assert slack_notifiers(Config()) == []


def test_keys_tell_destinations_apart_and_give_nothing_away() -> None:
    """Same destination, same key; another channel, another key; no secret inside."""
    one, same = SlackBot(BOT_TOKEN, "a"), SlackBot(BOT_TOKEN, "a")
    other = SlackBot(BOT_TOKEN, "b")

    assert one.key == same.key
    assert one.key != other.key
    assert "canary" not in one.key


def test_a_layout_that_slack_fails_at_is_plain_at_the_third_try(
    sandbox: Sandbox, bot: SlackBot, clock: FakeClock, memory: DictMemory
) -> None:
    """Slack answers internal_error to a layout that it cannot show; twice it may as well be a fault of the moment."""
    hook = SlackWebhook(sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"], timeout_s=1, clock=clock)
    for notifier, method in ((bot, "chat.postMessage"), (hook, "webhook")):
        event = started()
        memory.values.clear()
        for attempts in (0, 1):
            sandbox.slack.refuse(method, "internal_error")
            with pytest.raises(TemporaryError):
                notifier.send(replace(envelope(event, memory), attempts=attempts))
        sandbox.slack.refuse(method, "internal_error", times=2)
        with pytest.raises(TemporaryError):
            notifier.send(replace(envelope(event, memory), attempts=2))
        sandbox.slack.refuse(method, "internal_error")
        notifier.send(replace(envelope(event, memory), attempts=3))

        assert sandbox.slack.roots[-1].blocks == []
        assert "resnet" in sandbox.slack.roots[-1].text


def test_what_slack_failed_at_is_left_out_of_the_next_messages(
    sandbox: Sandbox, bot: SlackBot, clock: FakeClock, memory: DictMemory
) -> None:
    """As in October 2025, at each message with a table: waited for once, then left out, and tried again next day."""
    hook = SlackWebhook(sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"], timeout_s=1, clock=clock)
    for notifier, method in ((bot, "chat.postMessage"), (hook, "webhook")):
        sandbox.slack.refuse(method, "internal_error")
        notifier.send(replace(envelope(started(), memory), attempts=2))
        calls = len(sandbox.slack.calls)
        notifier.send(envelope(alert(), memory))
        one_each = len(sandbox.slack.calls) - calls
        said = [each.blocks for each in sandbox.slack.messages[-2:]]
        clock.advance(86_401)
        notifier.send(envelope(ended(), memory))

        assert one_each == 1
        assert ["table" in str(each) for each in said] == [False, False]
        assert all("val_acc · 0.6" in str(each) for each in said)
        assert "table" in str(sandbox.slack.messages[-1].blocks)
        memory.values.clear()
