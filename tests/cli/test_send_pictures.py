"""`notifybot test` tries pictures too, and says what keeps them away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.config import load
from notifybot.delivery.build import notifiers_from
from notifybot.delivery.subscription import picture_error, takes_pictures
from notifybot.notifiers.kakao.notifier import NotTaken
from notifybot.sandbox.kakao_state import KakaoFault
from notifybot.sandbox.server import Sandbox
from notifybot.types import Language

runner = CliRunner()


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Slack by bot and KakaoTalk in the sandbox, on a terminal wide enough for any sentence."""
    monkeypatch.setenv("COLUMNS", "400")
    with Sandbox() as opened:
        for name, value in opened.environment().items():
            if "WEBHOOK" not in name:
                monkeypatch.setenv(name, value)
        yield opened


def rows(output: str) -> list[list[str]]:
    """The cells of the table that was printed."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line.startswith("│")]


def test_a_picture_goes_to_slack_and_to_kakao(sandbox: Sandbox) -> None:
    """One real curve each, drawn from the sample; a row below the message says that it arrived."""
    done = runner.invoke(app, ["test", "-k", "run_ended"])

    assert done.exit_code == 0, done.output
    assert rows(done.output) == [
        ["slack", "run_ended", "sent"],
        ["", "└ its picture", "sent"],
        ["kakao", "run_ended", "sent"],
        ["", "└ its picture", "sent"],
    ]
    assert [each.body[:4] for each in sandbox.slack.shared] == [b"\x89PNG"]
    assert "image_url" in sandbox.kakao.messages[0].template["content"]


@pytest.mark.parametrize(("language", "sent"), [("en", "sent"), ("ko", "전송됨")])
def test_a_missing_scope_of_slacks_is_named(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, language: str, sent: str
) -> None:
    """The text arrives; the row of the picture names the scope and where to add it, and the exit code is 1."""
    monkeypatch.setenv("NOTIFYBOT_LANG", language)
    sandbox.slack.scopes.discard("files:write")

    done = runner.invoke(app, ["test", "-n", "slack", "-k", "run_ended"])

    assert done.exit_code == 1
    (told, pictured) = rows(done.output)
    assert told == ["slack", "run_ended", sent]
    assert "files:write" in pictured[2]
    assert "api.slack.com/apps" in pictured[2]
    assert ("권한" in pictured[2]) is (language == "ko")


@pytest.mark.parametrize(("language", "word"), [("en", "agreed"), ("ko", "동의")])
def test_what_kakao_wants_for_a_picture_is_named(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, language: str, word: str
) -> None:
    """Kakao refuses the upload alone; the message went without it."""
    monkeypatch.setenv("NOTIFYBOT_LANG", language)
    sandbox.kakao.faults.append(KakaoFault(-402, path="/image/upload"))

    done = runner.invoke(app, ["test", "-n", "kakao", "-k", "run_ended"])

    assert done.exit_code == 1
    (_, pictured) = rows(done.output)
    assert "talk_message" in pictured[2]
    assert word in pictured[2]
    assert len(sandbox.kakao.messages) == 1


@pytest.mark.parametrize(("language", "word"), [("en", "are off"), ("ko", "꺼져")])
def test_pictures_that_are_off_are_said_to_be(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, language: str, word: str
) -> None:
    """Nothing is drawn or uploaded, and that is no fault."""
    monkeypatch.setenv("NOTIFYBOT_LANG", language)
    monkeypatch.setenv("NOTIFYBOT_PICTURES", "off")

    done = runner.invoke(app, ["test", "-k", "run_ended"])

    assert done.exit_code == 0
    assert word in done.output.splitlines()[-1]
    assert "NOTIFYBOT_PICTURES" in done.output
    assert sandbox.slack.shared == []


def test_a_message_that_deserves_no_picture_has_no_row_for_one(sandbox: Sandbox) -> None:
    done = runner.invoke(app, ["test", "-n", "slack", "-k", "run_lost"])

    assert (done.exit_code, rows(done.output)) == (0, [["slack", "run_lost", "sent"]])


def test_a_notifier_that_people_shaped_tells_of_its_picture_too(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen settings stand around the notifier, and what it says comes through; a webhook has nothing to say."""
    monkeypatch.setenv("NOTIFYBOT_QUIET", "23:00-08:00 Asia/Seoul")
    monkeypatch.setenv("NOTIFYBOT_WEBHOOK_URL", f"{sandbox.url}/hook")

    slack, kakao, webhook = notifiers_from(load())

    assert [takes_pictures(each) for each in (slack, kakao, webhook)] == [True, True, False]
    assert [picture_error(each) for each in (slack, kakao, webhook)] == [None, None, None]


@pytest.mark.parametrize("reason", [NotTaken(code, "why") for code in (-3, -402, -5, -602, -911, -1)] + [
    NotTaken(), NotTaken(-2, with_message=True), NotTaken(None, "why")
])  # fmt: skip
def test_every_reason_of_kakaos_has_words_in_both_languages(reason: NotTaken) -> None:
    """They are not the same words twice, and nothing is left to fill in."""
    english, korean = reason.in_(Language.EN), reason.in_(Language.KO)

    assert english != korean
    assert not {"{", "}"} & {*english, *korean}
