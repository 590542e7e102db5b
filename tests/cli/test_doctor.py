"""`notifybot doctor`: what it prints, as a table and for programs, and with which exit code."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
from rich.console import Console
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.cli.doctor import table
from notifybot.doctor.findings import Finding, Level
from notifybot.i18n import _catalog, localized
from notifybot.sandbox.server import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, WEBHOOK_PATH
from notifybot.types import Language

runner = CliRunner()


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Slack by bot in the sandbox, and nothing else."""
    monkeypatch.setenv("COLUMNS", "200")
    with Sandbox() as opened:
        for name, value in opened.environment().items():
            if "SLACK" in name and "WEBHOOK" not in name:
                monkeypatch.setenv(name, value)
        yield opened


@pytest.mark.parametrize(
    ("language", "told"),
    [("en", "nothing is set up: what happens is printed on the screen"), ("ko", "설정된 알림 수단이 없습니다")],
)
def test_nothing_set_up_is_not_well(language: str, told: str) -> None:
    """A person who believes it would wait for messages in vain: it is said, with what to do, and the exit code is 1."""
    result = runner.invoke(app, ["doctor", "-l", language], env={"COLUMNS": "200"})

    assert result.exit_code == 1, result.output
    for text in (told, "notifybot slack setup", "notifybot kakao login"):
        assert text in result.output
    assert "All is well" not in result.output


def test_as_json_each_finding_has_part_verdict_words_and_remedy(sandbox: Sandbox) -> None:
    sandbox.slack.channels["C0TRAINING"].member = False

    result = runner.invoke(app, ["doctor", "--json", "-l", "ko"])

    assert result.exit_code == 1
    found = [each for each in json.loads(result.output) if each["verdict"] == "wrong"]
    assert found == [
        {
            "part": "Slack",
            "verdict": "wrong",
            "what": "봇이 #training 채널에 없습니다(not_in_channel)",
            "remedy": "그 채널에서 다음과 같이 입력하세요: /invite @notifybot",
        }
    ]


@pytest.mark.parametrize("width", range(60, 121, 7))
def test_no_letter_is_lost_on_a_narrow_terminal(width: int) -> None:
    """A Korean letter is two columns wide, and one that stands over the end of a line belongs on the next."""
    text = "developers.kakao.com의 [앱] → [제품 링크 관리] → [웹 도메인]에 등록하세요 " * 3
    console = Console(width=width, file=io.StringIO())

    console.print(table([Finding("KakaoTalk", Level.OK, localized("doctor.as_it_is", text=text))], Language.KO))

    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in shown
    assert "".join(shown.split()).removeprefix("✓카카오톡") == "".join(text.split())


def test_no_secret_is_shown(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report is what people paste when they ask for help."""
    monkeypatch.setenv("NOTIFYBOT_SLACK_WEBHOOK_URL", sandbox.url + WEBHOOK_PATH)
    for spoil in (None, "invalid_auth"):
        if spoil:
            sandbox.slack.refuse("auth.test", spoil)
        shown = runner.invoke(app, ["doctor"]).output + runner.invoke(app, ["doctor", "--json"]).output
        assert BOT_TOKEN[:8] not in shown
        assert WEBHOOK_PATH not in shown


def test_everything_is_said_in_both_languages() -> None:
    """No text is missing or left in English."""
    english, korean = _catalog("en"), _catalog("ko")
    ours = [key for key in english if key.startswith("doctor.") and key != "doctor.as_it_is"]

    assert len(ours) > 40
    assert [key for key in ours if not english[key]] == []
    assert [key for key in ours if not any("가" <= letter <= "힣" for letter in korean[key])] == []
