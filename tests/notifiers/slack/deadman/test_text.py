"""Texts of the dead man's switch: where the run stood, whom to call, and nothing that Slack stumbles over."""

from __future__ import annotations

import re
from typing import Any

import pytest

from notifybot.notifiers.slack.deadman.text import Speech, mark_of, marked_run
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.testing import FakeClock
from notifybot.types import Host, Language
from tests.support.deadman_rig import RUN, SCHEDULE, Rig
from tests.support.slack_messages import progress

KIM = "<@U0123ABCD>"


def called(payload: dict[str, Any]) -> list[str]:
    """Whom Slack notifies of a message: by its own blocks where it has some, else by its text."""
    texts = [each["text"]["text"] for each in payload["blocks"] if each.get("text", {}).get("type") == "mrkdwn"]
    said = " ".join(texts if payload["blocks"] else [payload["text"]])
    return re.findall(r"<[@!](?!date)[^>]+>", said)


@pytest.mark.parametrize("language", Language)
def test_the_alarm_that_slack_posts_by_itself_calls_people_and_its_revocation_does_not(language: Language) -> None:
    speech = Speech(RUN, Host("colab"), Renderer(language), mention=KIM)

    alarm = speech.alarm(progress(3), now_s=1e9, post_at=1_000_000_300)
    void = speech.void(progress(3), now_s=1e9, away_s=60.0, sure=False)

    assert [called(each.arguments()) for each in (alarm.layout, alarm.plain)] == [[KIM], [KIM]]
    assert [called(each.arguments()) for each in (void.layout, void.plain)] == [[], []]
    assert [marked_run(each.text) for each in (alarm.layout, alarm.plain)] == [RUN.id, RUN.id]


@pytest.fixture
def rig(sandbox: Sandbox, clock: FakeClock) -> Rig:
    return Rig(sandbox, clock)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (Language.EN, ("lost after epoch 42/100", "from epoch 41", "Slack posted it by itself")),
        (Language.KO, ("연결 끊김 · 에포크 42/100", "에포크 41", "Slack이 보냈습니다")),
    ],
)
def test_the_alarm_says_where_the_run_stood_and_how_to_go_on(
    sandbox: Sandbox, clock: FakeClock, language: Language, words: tuple[str, ...]
) -> None:
    """Frozen with the last epoch, metrics and checkpoint; in the thread and in the channel."""
    rig = Rig(sandbox, clock, language=language)
    rig.settle()
    clock.advance(901)

    (alarm,) = sandbox.slack.thread(rig.place.root_ts)
    shown = f"{alarm.text} {alarm.blocks}"
    assert all(each in shown for each in (*words, "val_loss", "0.2345"))
    assert mark_of(RUN) in alarm.text
    assert alarm.broadcast


def test_an_alarm_never_carries_metadata(rig: Rig) -> None:
    """Slack accepts it, and then posts nothing: https://docs.slack.dev/reference/methods/chat.scheduleMessage"""
    rig.settle()

    (arguments,) = [arguments for method, arguments in rig.sandbox.slack.calls if method == SCHEDULE]
    assert "metadata" not in arguments
