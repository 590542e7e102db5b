"""Why a message was not delivered: every code of every service has words and a way out, in both languages."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import reduce
from pathlib import Path

import pytest

from notifybot.errors import PermanentError, TemporaryError
from notifybot.i18n import _catalog, keys_of
from notifybot.notifiers.kakao.http import _MESSAGE, _SETUP, NO_FRIEND, QUOTA, TEMPORARY
from notifybot.notifiers.slack.api import _AMBIGUOUS, _LAYOUT, _LIMITED, _MUCH_LATER, _ROOT_GONE
from notifybot.redaction import MARK, register
from notifybot.rendering import error_text
from notifybot.rendering.error_text import (
    KAKAO_API,
    KAKAO_CODES,
    KAKAO_SIGN_IN,
    SLACK_CODES,
    delivery_codes,
    delivery_reason,
    error_line,
    explained,
    reason_line,
)
from notifybot.types import Language, Reason

EN, KO = Language.EN, Language.KO
HANGUL = re.compile("[가-힣]")
PACKAGE = Path(error_text.__file__).parents[1]
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
PROGRAMS = {name: keys_of(f"{name}.error.") for name in ("webhook", "watchdog", "apprise")}
TABLES = ("slack.error.", "slack.remedy.", "kakao.error.", *(f"{name}.error." for name in PROGRAMS))
KAKAO_OURS = set(KAKAO_CODES) - {*KAKAO_API, *KAKAO_SIGN_IN}
CODES = r"(?:temporary_error|permanent_error)\(_?(?:SERVICE|service), ([^,)]*)"
ON_THE_WAY = {
    code.strip('"') for code in re.findall(CODES, (PACKAGE / "notifiers/http.py").read_text("utf-8")) if code[0] == '"'
} | {"no-secure-connection"}  # what Kakao's and the webhook's requests have in common
GAP = "같은 종류의 알림은 간격을 두고 보냅니다"
TEMPORARY_AT_SLACK = _LIMITED | _AMBIGUOUS | _MUCH_LATER | {"request_timeout"}
REFUSED_AT_SLACK = {*SETUP_AT_SLACK, *_LAYOUT, *_ROOT_GONE}
API_OF_KAKAO = {str(each) for each in (NO_FRIEND, *TEMPORARY, *QUOTA, *_MESSAGE, *_SETUP)}


@pytest.mark.parametrize("key", [key for key in _catalog(EN) if key.startswith(TABLES)])
def test_both_languages_say_it_with_the_same_values(key: str) -> None:
    """An English text has Hangul in it only where it names what is written so on Kakao's site."""
    english, korean = _catalog(EN)[key], _catalog(KO)[key]

    assert HANGUL.search(korean)
    assert not HANGUL.search(reduce(lambda text, menu: text.replace(menu, ""), MENUS, english)), key
    assert sorted(re.findall(r"{(\w+)}", english)) == sorted(re.findall(r"{(\w+)}", korean))
    assert not english.endswith(".")
    assert not korean.endswith(".")


@pytest.mark.parametrize("language", Language)
def test_every_code_that_is_explained_has_its_text(language: Language) -> None:
    for service, codes in delivery_codes().items():
        for code in codes:
            line = reason_line(Reason(f"{service}.{code}"), language)
            assert line != code
            assert "error." not in line
            assert "remedy." not in line


@pytest.mark.parametrize("code", sorted(REFUSED_AT_SLACK))
def test_every_refusal_of_slack_is_explained_with_a_way_out(code: str) -> None:
    known = explained(code)

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
    known = explained(code)

    assert known is not None
    assert not known.setup


def test_the_codes_of_kakao_with_words_are_those_that_something_is_made_of() -> None:
    assert set(KAKAO_API) == API_OF_KAKAO
    assert set(KAKAO_SIGN_IN) == set(LOGIN_AT_KAKAO)


@pytest.mark.parametrize("code", sorted(API_OF_KAKAO | set(LOGIN_AT_KAKAO)))
def test_every_code_of_kakao_has_words(code: str) -> None:
    english, korean = (reason_line(Reason(f"kakao.{code}"), language) for language in (EN, KO))

    assert code in english
    assert code in korean
    assert HANGUL.search(korean.removeprefix("카카오톡"))
    assert "{" not in english + korean


@pytest.mark.parametrize("code", sorted({str(each) for each in _SETUP} | {"ip", "no-friend"}))
def test_what_a_person_has_to_mend_at_kakao_says_how(code: str) -> None:
    korean = reason_line(Reason(f"kakao.{code}"), KO)

    assert "하세요" in korean or code in ("ip", "no-friend", "-406", "-504", "-530"), korean
    assert korean.count("세요") > 0


def test_every_code_of_ours_has_words() -> None:
    """The codes that our own modules give by name."""
    given: dict[str, tuple[Collection[str], str]] = {
        "slack": (error_text._ON_THE_WAY, r"(?:_error\(SERVICE, (?:code or )?| code = )\"([a-z-]+)\""),
        "kakao": (KAKAO_OURS, r"(?:temporary|permanent|_refused)\((?:error_code if .* else )?\"([a-z-]+)\""),
    }
    for service, (table, pattern) in given.items():
        texts = [path.read_text("utf-8") for path in (PACKAGE / "notifiers" / service).glob("*.py")]
        used = {code for text in texts for code in re.findall(pattern, text)}
        used |= ON_THE_WAY if service == "kakao" else set()
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
    given = {code for call in re.findall(CODES, text) for code in re.findall(r'"([a-z-]+)"', call)}
    if service == "webhook":
        given |= ON_THE_WAY - {"no-secure-connection"} | set(re.findall(r'no_tls="([a-z-]+)"', text))

    assert given == set(PROGRAMS[service])
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
    for kept in (Reason("kept/held.quiet_hours"), Reason("kept/noted", values={"text": "quiet hours"})):
        assert reason_line(kept, EN) == "kept back: quiet hours"
        assert reason_line(kept, KO) == "모아 두었습니다: 방해 금지 시간"
    renewal = reason_line(Reason("kakao.renewal/no-answer"), KO)
    assert renewal == "카카오 로그인을 갱신하지 못했습니다: 카카오가 제시간에 응답하지 않았습니다"


@pytest.mark.parametrize(
    ("note", "code", "english", "korean"),
    [
        ("quiet hours", "quiet_hours", "quiet hours", "방해 금지 시간"),
        ("daily budget", "daily_budget", "daily budget", "오늘 건수 소진"),
        ("one message of this kind per gap", "gap", "one message of this kind per gap", GAP),
        ("told every 5 epochs", "every_epochs", "told every 5 epochs", "5에포크마다 알립니다"),
        ("folded into a newer one", "folded", "folded into a newer one", "더 새로운 알림에 합쳤습니다"),
        ("told together with others", "in_digest", "told together with others", "다른 알림과 함께 보냈습니다"),
        ("its run has ended", "run_ended", "its run has ended", "실행이 이미 끝났습니다"),
        ("dropped by hand", "dropped_by_hand", "dropped by hand", "직접 뺐습니다"),
        ("its event cannot be read", "unreadable", "its event cannot be read", "이벤트를 읽을 수 없습니다"),
        ("no space", "no_space", "no space", "저장 공간이 부족합니다"),
    ],
)  # fmt: skip
def test_what_the_outbox_notes_is_said_in_both_languages(note: str, code: str, english: str, korean: str) -> None:
    """By its code, and the English sentence that an earlier version noted."""
    noted, coded = Reason("noted", values={"text": note}), Reason(f"held.{code}", values={"epochs": "5"})

    assert [reason_line(noted, EN), reason_line(coded, EN)] == [english, english]
    assert [reason_line(noted, KO), reason_line(coded, KO)] == [korean, korean]


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

    for code in (*SLACK_CODES, "a_new_word"):
        service, _, said = reason_line(Reason(f"slack.{code}", values=values), language).partition(": ")
        first = re.split("; |[.] ", said)[0]
        assert service == "Slack"
        assert service not in first
