"""Why a message was not delivered: every code of every service has words and a way out, in both languages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import reduce
from pathlib import Path

import pytest

from notifybot.errors import PermanentError, TemporaryError
from notifybot.notifiers.kakao.http import _MESSAGE, _SETUP, NO_FRIEND, QUOTA, TEMPORARY
from notifybot.notifiers.slack.api import _AMBIGUOUS, _LAYOUT, _LIMITED, _MUCH_LATER, _ROOT_GONE
from notifybot.redaction import MARK, register
from notifybot.rendering import delivery_reasons, kakao_reasons, program_reasons, slack_reasons
from notifybot.rendering.both import Both
from notifybot.rendering.delivery_reasons import delivery_reason
from notifybot.rendering.error_text import error_line, reason_line
from notifybot.types import Language, Reason

EN, KO = Language.EN, Language.KO
HANGUL = re.compile("[가-힣]")
PACKAGE = Path(delivery_reasons.__file__).parents[1]
MENUS = (
    "카카오톡 메시지 전송", "카카오 서비스 내 친구목록", "카카오 로그인", "리다이렉트 URI", "클라이언트 시크릿",
    "호출 허용 IP 주소", "동의항목", "접근권한", "개인정보", "사용 설정", "플랫폼 키", "REST API 키", "멤버", "앱",
)  # fmt: skip

# All that a message can be refused with: https://docs.slack.dev/reference/methods/chat.postMessage#errors and
# https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors
SETUP_AT_SLACK = """
    invalid_auth not_authed account_inactive token_revoked token_expired invalid_token bad_token not_allowed_token_type
    missing_scope no_permission access_denied accesslimited ekm_access_denied enterprise_is_restricted
    team_access_not_granted two_factor_setup_required is_bot channel_not_found not_in_channel is_archived
    restricted_action restricted_action_read_only_channel messages_tab_disabled posting_to_channel_denied
    posting_to_general_channel_denied team_not_found team_disabled user_not_found action_prohibited no_service
    no_service_id no_active_hooks no_team channel_is_archived is_inactive
""".split()  # noqa: SIM905 - a table, as the documentation has it
# https://developers.kakao.com/docs/ko/rest-api/error-code and …/ko/kakaologin/trouble-shooting
LOGIN_AT_KAKAO = """
    KOE001 KOE002 KOE003 KOE004 KOE005 KOE006 KOE008 KOE009 KOE010 KOE101 KOE201 KOE202 KOE205 KOE237 KOE303 KOE310
    KOE319 KOE320 KOE322
""".split()  # noqa: SIM905
PROGRAMS = {
    "webhook": program_reasons.WEBHOOK,
    "watchdog": program_reasons.WATCHDOG,
    "apprise": program_reasons.APPRISE,
}
TEMPORARY_AT_SLACK = _LIMITED | _AMBIGUOUS | _MUCH_LATER | {"request_timeout"}
REFUSED_AT_SLACK = {*SETUP_AT_SLACK, *_LAYOUT, *_ROOT_GONE}
API_OF_KAKAO = {str(each) for each in (NO_FRIEND, *TEMPORARY, *QUOTA, *_MESSAGE, *_SETUP)}


def tables() -> dict[str, Both]:
    """Every text of the tables, by what it is for."""
    known = slack_reasons.EXPLAINED | slack_reasons._ON_THE_WAY
    found = {f"slack.{code}": each.what for code, each in known.items()}
    found |= {f"slack.{code}: remedy": each.remedy for code, each in known.items() if each.remedy}
    theirs = kakao_reasons.API | kakao_reasons.SIGN_IN
    ours = kakao_reasons._OURS | kakao_reasons._ITSELF | kakao_reasons._OURS_SIGNING_IN
    found |= {f"kakao.{code}": each for code, each in (theirs | ours).items()}
    return found | {f"{name}.{code}": each for name, table in PROGRAMS.items() for code, each in table.items()}


@pytest.mark.parametrize(("name", "both"), tables().items(), ids=tables().keys())
def test_both_languages_say_it_with_the_same_values(name: str, both: Both) -> None:
    """An English text has Hangul in it only where it names what is written so on Kakao's site."""
    assert HANGUL.search(both.ko)
    assert not HANGUL.search(reduce(lambda text, menu: text.replace(menu, ""), MENUS, both.en)), name
    assert sorted(re.findall(r"{(\w+)}", both.en)) == sorted(re.findall(r"{(\w+)}", both.ko))
    assert not both.en.endswith(".")
    assert not both.ko.endswith(".")


@pytest.mark.parametrize("code", sorted(REFUSED_AT_SLACK))
def test_every_refusal_of_slack_is_explained_with_a_way_out(code: str) -> None:
    known = slack_reasons.explained(code)

    assert known is not None, f"{code} has no words"
    assert known.remedy is not None, f"{code} has no way out"
    assert known.setup == (code in SETUP_AT_SLACK)
    for language in Language:
        line = reason_line(Reason(f"slack.{code}"), language)
        assert f"({code})" in line
        assert known.remedy.in_(language) in line
        assert "{" not in line


@pytest.mark.parametrize("code", sorted(TEMPORARY_AT_SLACK))
def test_what_slack_may_take_later_is_explained(code: str) -> None:
    known = slack_reasons.explained(code)

    assert known is not None
    assert not known.setup


@pytest.mark.parametrize("code", sorted(API_OF_KAKAO | set(LOGIN_AT_KAKAO)))
def test_every_code_of_kakao_has_words(code: str) -> None:
    assert code in kakao_reasons.API | kakao_reasons.SIGN_IN
    english, korean = (reason_line(Reason(f"kakao.{code}"), language) for language in (EN, KO))

    assert code in english
    assert code in korean
    assert HANGUL.search(korean.removeprefix("카카오톡"))
    assert "{" not in english + korean


@pytest.mark.parametrize("code", sorted({str(each) for each in _SETUP} | {"ip", "no-friend"}))
def test_what_a_person_has_to_mend_at_kakao_says_how(code: str) -> None:
    korean = reason_line(Reason(f"kakao.{code}"), KO)

    assert "주세요" in korean or code in ("-405", "-406"), korean


def test_every_code_of_ours_has_words() -> None:
    """The codes that our own modules give by name."""
    ours = kakao_reasons._OURS | kakao_reasons._ITSELF | kakao_reasons._OURS_SIGNING_IN
    given: dict[str, tuple[Mapping[str, object], str]] = {
        "slack": (slack_reasons._ON_THE_WAY, r"(?:_temporary|permanent)\((?:code or )?\"([a-z-]+)\""),
        "kakao": (ours, r"(?:temporary|permanent|_refused)\((?:error_code if .* else )?\"([a-z-]+)\""),
    }
    for service, (table, pattern) in given.items():
        texts = [path.read_text("utf-8") for path in (PACKAGE / "notifiers" / service).glob("*.py")]
        used = {code for text in texts for code in re.findall(pattern, text)}
        assert used == set(table), service


@pytest.mark.parametrize(
    ("service", "files"),
    [
        ("webhook", ["notifiers/webhook.py"]),
        ("watchdog", ["delivery/relay.py"]),
        ("apprise", ["notifiers/apprise.py"]),
    ],
)
def test_every_code_of_the_other_notifiers_has_words(service: str, files: list[str]) -> None:
    text = "".join((PACKAGE / each).read_text("utf-8") for each in files)
    calls = re.findall(r"(?:temporary_error|permanent_error)\(_?SERVICE, ([^,)]*)", text)

    assert {code for call in calls for code in re.findall(r'"([a-z-]+)"', call)} == set(PROGRAMS[service])
    for code in PROGRAMS[service]:
        assert HANGUL.search(reason_line(Reason(f"{service}.{code}"), KO))


def test_the_channel_and_the_scope_are_named_where_slack_says_them() -> None:
    lacks, away = Reason("slack.missing_scope", values={"needed": "files:write"}), {"channel": "training"}

    assert "lacks the scope files:write (missing_scope)" in reason_line(lacks, EN)
    assert "봇에 files:write 권한이 없습니다(missing_scope)" in reason_line(lacks, KO)
    assert "the bot is not in #training (not_in_channel)" in reason_line(Reason("slack.not_in_channel", "", away), EN)
    assert "봇이 #training 채널에 없습니다" in reason_line(Reason("slack.not_in_channel", "", away), KO)
    assert "봇이 채널에 없습니다" in reason_line(Reason("slack.not_in_channel"), KO)


@pytest.mark.parametrize("language", Language)
def test_a_word_that_nobody_knows_is_shown_with_where_to_look(language: Language) -> None:
    values = {"method": "chat.postMessage"}

    assert "brand_new" in reason_line(Reason("slack.brand_new", "", values), language)
    assert "docs.slack.dev" in reason_line(Reason("slack.brand_new", "", values), language)
    assert "-9999" in reason_line(Reason("kakao.-9999"), language)
    assert "KOE999" in reason_line(Reason("kakao.KOE999", "", {"named": "KOE999, HTTP 400"}), language)
    assert reason_line(Reason("carrier_pigeon.lost"), language) == "carrier_pigeon.lost"


def test_what_values_hold_is_data() -> None:
    """A service may answer anything."""
    odd = Reason("slack.not_in_channel", values={"channel": "{kind.__class__}"})

    assert "#{kind.__class__}" in reason_line(odd, EN)


def test_an_error_without_a_code_keeps_its_own_words() -> None:
    """A plugin's, or Apprise's: a wrong translation is worse than none."""
    assert error_line(PermanentError("the pigeon is lost"), KO) == "the pigeon is lost"
    assert reason_line(delivery_reason(ValueError("what?")), KO) == "ValueError: what?"


def test_what_came_of_it_is_told_with_the_reason() -> None:
    late = Reason("late/slack.no-answer")

    assert reason_line(late, EN) == "not delivered within a day: Slack: no answer in time"
    assert reason_line(late, KO) == "하루 안에 전달하지 못했습니다: Slack: 제시간에 응답이 오지 않았습니다"
    assert reason_line(Reason("kept/noted", values={"text": "quiet hours"}), KO) == "모아 두었습니다: 방해 금지 시간"
    renewal = reason_line(Reason("kakao.renewal/no-answer"), KO)
    assert renewal == "카카오 로그인을 갱신하지 못했습니다: 카카오가 제시간에 응답하지 않았습니다"


def test_what_the_outbox_notes_is_said_in_korean_too() -> None:
    """The notes are constants of the modules that write them."""
    written = "".join((PACKAGE / name).read_text("utf-8") for name in (
        "policy.py", "store/outbox_queries.py", "store/held.py", "store/dead_letters.py",
    ))  # fmt: skip
    for note, korean in delivery_reasons._IN_KOREAN.items():
        assert f'"{note}"' in written
        assert reason_line(Reason("noted", values={"text": note}), KO) == korean
        assert reason_line(Reason("noted", values={"text": note}), EN) == note
    assert reason_line(Reason("noted", values={"text": "told every 5 epochs"}), KO) == "5에포크마다 알립니다"


def test_no_secret_is_in_a_reason_that_is_kept() -> None:
    register(["canary-of-a-token-42"])
    error = TemporaryError("x", service="slack", code="broken", values={"kind": "canary-of-a-token-42"})

    reason = delivery_reason(error)

    assert reason.code == "slack.broken"
    assert MARK in reason.values["kind"]
    assert "canary" not in reason.values["kind"]


@pytest.mark.parametrize("language", Language)
def test_a_line_that_names_its_service_first_does_not_name_it_twice(language: Language) -> None:
    """As "Slack: Slack does not find #training" did."""
    values = {"channel": "training", "kind": "OSError", "status": "503", "method": "chat.postMessage"}

    for code in (*slack_reasons.EXPLAINED, *slack_reasons._ON_THE_WAY, "a_new_word"):
        service, _, said = slack_reasons.slack_line(code, values, language).partition(": ")
        first = re.split("; |[.] ", said)[0]
        assert service == "Slack"
        assert service not in first
