"""What is wrong, and the way out, is said in the reader's language wherever a person may look for it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from notifybot.cli import app, main
from notifybot.cli.database import database
from notifybot.clock import SYSTEM
from notifybot.config import load
from notifybot.delivery.build import notifiers_from
from notifybot.delivery.dispatcher import Dispatcher, Outcome
from notifybot.notifiers.base import Notifier
from notifybot.policy import Priority
from notifybot.rendering import Renderer
from notifybot.rendering.error_text import explained, kakao_error
from notifybot.sandbox.kakao_state import KakaoFault
from notifybot.sandbox.server import Sandbox
from notifybot.store import dead_letters, runs
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import RecordingNotifier
from notifybot.types import Language
from tests.support.store_events import started

SLACK = ("not_in_channel", "missing_scope", "invalid_auth", "channel_not_found", "token_revoked", "account_inactive")
WEBHOOK = ("no_service", "invalid_token", "channel_is_archived")
KAKAO = ("KOE006", "KOE010", "KOE101", "KOE205", "KOE320", "KOE322", -3, -101, -402)
runner = CliRunner()


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    """Slack by bot and KakaoTalk in the sandbox, on a terminal wide enough for any sentence."""
    monkeypatch.setenv("COLUMNS", "700")
    monkeypatch.setenv("NOTIFYBOT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("NOTIFYBOT_PICTURES", "off")
    with Sandbox() as opened:
        for name, value in opened.environment().items():
            if "SLACK_WEBHOOK" not in name:
                monkeypatch.setenv(name, value)
        yield opened


def remedy_at_slack(code: str, language: Language) -> str:
    known = explained(code)
    assert known is not None
    assert known.remedy is not None
    return known.remedy.in_(language)


def remedy_at_kakao(code: str | int, language: Language) -> str:
    """As it reads for a login to one's own chat, which needs one consent."""
    remedy = kakao_error(str(code), {}, language)
    assert "카카오톡 메시지 전송 (talk_message)" in remedy or code not in (-3, -402, "KOE205")
    return remedy


def buried(name: str, language: Language) -> tuple[int, RecordingNotifier]:
    """Have a notifier refuse a message as a training does; return the letter's number, and who was told instead."""
    config, other = load(), RecordingNotifier("other")
    everyone: list[Notifier] = [each for each in notifiers_from(config, SYSTEM) if each.name == name]
    key = everyone[0].key
    with Store.open(database(config)) as store:
        runs.record(store, started(), [(key, Priority.URGENT)])
        dispatcher = Dispatcher(Outbox(store), [*everyone, other], Renderer(language), rng=Random(7))
        assert dispatcher.run_once(key) is Outcome.DEAD
        assert dispatcher.run_once(other.key) is Outcome.SENT
        (letter,) = dead_letters.find_all(store)
        dispatcher.close()
    return letter.id, other


def told_everywhere(name: str, remedy: str, language: Language, caplog: pytest.LogCaptureFixture) -> None:
    """Look for a remedy at every place that a person may look at."""
    sample = runner.invoke(app, ["test", "-n", name, "-k", "run_ended"])
    with caplog.at_level(logging.WARNING, logger="notifybot"):
        letter, other = buried(name, language)
    places = {
        "notifybot test": sample.output,
        "the log": caplog.text,
        "the other notifier": other.sent[0].message.body,
        "outbox list": runner.invoke(app, ["outbox", "list"]).output,
        "outbox show": runner.invoke(app, ["outbox", "show", str(letter)]).output,
        "outbox list --json": json.loads(runner.invoke(app, ["outbox", "list", "--json"]).output)[0]["error"],
    }

    assert sample.exit_code == 1
    assert [place for place, text in places.items() if remedy not in text] == []


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("code", SLACK)
def test_what_slack_refuses_the_bot_is_told_with_its_remedy(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: str, language: Language
) -> None:
    monkeypatch.setenv("NOTIFYBOT_LANG", language)
    sandbox.slack.refuse("chat.postMessage", code, times=4)

    told_everywhere("slack", remedy_at_slack(code, language), language, caplog)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("code", WEBHOOK)
def test_what_slack_refuses_a_webhook_is_told_with_its_remedy(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: str, language: Language
) -> None:
    monkeypatch.setenv("NOTIFYBOT_LANG", language)
    for name in ("NOTIFYBOT_SLACK_BOT_TOKEN", "NOTIFYBOT_SLACK_CHANNEL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("NOTIFYBOT_SLACK_WEBHOOK_URL", sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"])
    sandbox.slack.refuse("webhook", code, times=4)

    told_everywhere("slack", remedy_at_slack(code, language), language, caplog)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("code", KAKAO)
def test_what_kakao_refuses_is_told_with_its_remedy(
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: str | int,
    language: Language,
) -> None:
    monkeypatch.setenv("NOTIFYBOT_LANG", language)
    sandbox.kakao.faults.append(KakaoFault(code, path="" if isinstance(code, str) else "/memo/", times=9))

    told_everywhere("kakao", remedy_at_kakao(code, language), language, caplog)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("code", ["KOE010", "KOE101", "KOE322", -101])
def test_kakao_status_says_the_remedy_in_the_readers_language(
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: str | int,
    language: Language,
) -> None:
    monkeypatch.setenv("NOTIFYBOT_LANG", language)
    monkeypatch.setattr(sys, "argv", ["notifybot", "kakao", "status"])
    sandbox.kakao.faults.append(KakaoFault(code, times=9))

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    assert remedy_at_kakao(code, language) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("language", "named"), [("en", "lacks the scope chat:write"), ("ko", "chat:write 권한이 없습니다")]
)
def test_the_scope_and_the_channel_that_slack_names_are_told(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, language: str, named: str
) -> None:
    """Slack says in `needed` what is missing: https://docs.slack.dev/reference/methods/chat.postMessage#errors"""
    monkeypatch.setenv("NOTIFYBOT_LANG", language)
    sandbox.slack.scopes.discard("chat:write")
    lacks = runner.invoke(app, ["test", "-n", "slack", "-k", "run_ended"])
    sandbox.slack.scopes.add("chat:write")
    sandbox.slack.refuse("chat.postMessage", "not_in_channel")
    away = runner.invoke(app, ["test", "-n", "slack", "-k", "run_ended"])

    assert named in lacks.output
    assert "#training" in away.output


def test_the_other_notifier_is_told_in_its_own_language(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored is in no language: the process that tells it may speak another than the one that failed."""
    monkeypatch.setenv("NOTIFYBOT_LANG", "en")
    sandbox.slack.refuse("chat.postMessage", "not_in_channel")

    _, other = buried("slack", Language.EN)

    korean = Renderer(Language.KO).render(other.sent[0].event)
    assert "did not take a message" in other.sent[0].message.title
    assert "slack에 알림을 보내지 못했습니다" in korean.title
    assert remedy_at_slack("not_in_channel", Language.KO) in korean.body


def test_a_letter_is_read_in_the_language_of_the_one_who_looks(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFYBOT_LANG", "en")
    sandbox.slack.refuse("chat.postMessage", "not_in_channel")
    letter, _ = buried("slack", Language.EN)

    for language in Language:
        monkeypatch.setenv("NOTIFYBOT_LANG", language)
        shown = runner.invoke(app, ["outbox", "show", str(letter)]).output
        assert remedy_at_slack("not_in_channel", language) in shown
        assert json.loads(runner.invoke(app, ["outbox", "list", "--json"]).output)[0]["code"] == "slack.not_in_channel"


@pytest.mark.parametrize("language", Language)
def test_a_remedy_is_whole_on_a_narrow_terminal(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, language: Language
) -> None:
    """Rich cuts a cell of Korean that does not fit, where it may not break a word."""
    monkeypatch.setenv("NOTIFYBOT_LANG", language)
    sandbox.slack.refuse("chat.postMessage", "missing_scope")
    letter, _ = buried("slack", language)
    monkeypatch.setenv("COLUMNS", "78")
    expected = "".join(remedy_at_slack("missing_scope", language).split())

    for arguments in (["list"], ["show", str(letter)]):
        lines = runner.invoke(app, ["outbox", *arguments]).output.splitlines()
        reasons = [line.rstrip("│ ").rpartition("│")[2] for line in lines]
        assert expected in "".join("".join(reasons).split()), arguments
