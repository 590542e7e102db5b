"""`notifybot demo --deadman`: a death that Slack tells by itself, in a few seconds."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from notifybot.demo.deadman import DeadmanScenario, main
from notifybot.sandbox import Sandbox
from notifybot.testing import FakeClock
from notifybot.types import Language


@pytest.mark.parametrize(
    ("language", "told"),
    [
        (
            Language.EN,
            (
                "posted by Slack itself",
                "digits lost after epoch 5/12",
                "continues by itself from epoch 5",
                "10 minutes",
            ),
        ),
        (Language.KO, ("Slack이 스스로 보냄", "digits 연결 끊김 · 에포크 5/12", "에포크 5에 이어서", "10분 뒤")),
    ],
)
def test_the_demo_shows_the_death_that_slack_tells(language: Language, told: tuple[str, ...]) -> None:
    """The message is the real one, in the reader's language, with where to go on."""
    shown = io.StringIO()

    assert main(language, Console(file=shown, width=200)) == 0

    assert [each for each in told if each not in shown.getvalue()] == []
    assert "✗" not in shown.getvalue()


def test_the_demo_fails_where_slack_says_nothing(clock: FakeClock) -> None:
    """Its checks look at what was posted, not at what was meant."""
    with Sandbox(clock=clock) as sandbox:
        sandbox.slack.schedule.late_s = 1e6
        scenario = DeadmanScenario(Language.EN, clock, sandbox, Console(file=io.StringIO()))

        assert scenario.play() is False
