"""The steps of the login: what comes back is read in one way, and each refusal has its remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis.strategies import text
from pydantic import SecretStr

from notifybot.i18n import _catalog
from notifybot.i18n import text as say
from notifybot.notifiers.kakao.oauth import SETUP_CODES, App, Attempt, SignInRefused, code_in, remedy
from notifybot.notifiers.kakao.token_store import Mode
from notifybot.rendering.error_text import KAKAO_API, kakao_line
from notifybot.types import Language

CONSENT = "[카카오 로그인] → [동의항목]"
TALK_MESSAGE = "[접근권한] 카카오톡 메시지 전송 (talk_message)"
FRIENDS = "[개인정보] 카카오 서비스 내 친구목록 (friends)"
SCOPES = {
    "talk_message": ("카카오톡 메시지 전송", "talk_message"),
    "friends": ("카카오 서비스 내 친구목록", "friends"),
}
NAMED = ("[접근권한]", "[개인정보]", *(name for name, _ in SCOPES.values()))
PLACE = re.compile(
    r"(\[접근권한\]|\[개인정보\])[:의]* *(카카오톡 메시지 전송|카카오 서비스 내 친구목록) ?\(`?(\w+)`?\)"
)


@pytest.mark.parametrize("code", sorted(SETUP_CODES))
def test_every_remedy_is_there_in_both_languages(code: str) -> None:
    english, korean = (remedy(code, each, redirect_uri="http://r", scopes="s") for each in (Language.EN, Language.KO))

    assert english != korean
    assert "{" not in english + korean
    assert any("가" <= letter <= "힣" for letter in korean)


PAGES = tuple(f"docs/{language}/{page}.md" for language in Language for page in ("kakaotalk", "reference/errors"))


def the_texts_about_consent() -> dict[str, str]:
    """All that names a scope's place or its name on Kakao's site, for either login, in both languages."""
    pages = {name: (Path(__file__).parents[3] / name).read_text() for name in PAGES}
    found = {f"{name}:{at}": line for name, page in pages.items() for at, line in enumerate(page.splitlines(), 1)}
    for language in Language:
        spoken = [key for key in _catalog(language) if key.startswith(("kakao.login.", "kakao.status."))]
        found |= {f"{key} {language}": say(language, key).replace("\n", " ") for key in spoken}
        for mode in Mode:
            scopes = ", ".join(mode.scopes)
            refusals = sorted(SETUP_CODES)  # in one order, as workers that share the tests need
            found |= {f"{code} {mode} {language}": remedy(code, language, scopes=scopes) for code in refusals}
            found |= {f"{code} {mode} {language}": kakao_line(code, {"scopes": scopes}, language) for code in KAKAO_API}
    return {name: text for name, text in found.items() if any(each in text for each in NAMED)}


@pytest.mark.parametrize("text", the_texts_about_consent().values(), ids=the_texts_about_consent().keys())
def test_each_scope_is_looked_for_in_the_section_that_has_it(text: str) -> None:
    """Messages stand under [접근권한], friends under [개인정보]: Kakao's docs/ko/kakaotalk-message/common.

    A section that is named is followed by its scope, by the name that it has there and by Kakao's word for it; and
    where the page is named, no scope goes without its section.
    """
    told = PLACE.findall(text)

    assert set(told) <= {("[접근권한]", *SCOPES["talk_message"]), ("[개인정보]", *SCOPES["friends"])}
    assert len(told) == text.count("[접근권한]") + text.count("[개인정보]")
    if CONSENT in text:
        assert len(told) == sum(text.count(name) for name, _ in SCOPES.values()) > 0


@pytest.mark.parametrize(
    ("code", "mode", "places"),
    [
        ("KOE205", Mode.MEMO, f"{CONSENT} → {TALK_MESSAGE}"),
        ("KOE205", Mode.FRIEND, f"{CONSENT} → {TALK_MESSAGE}, {FRIENDS}"),
        ("-3", Mode.MEMO, f"{CONSENT} → {TALK_MESSAGE}"),
        ("-3", Mode.FRIEND, f"{CONSENT} → {TALK_MESSAGE}, {FRIENDS}"),
    ],
)
@pytest.mark.parametrize("language", list(Language))
def test_the_places_are_those_of_the_scopes_that_are_needed(
    code: str, mode: Mode, places: str, language: Language
) -> None:
    line = kakao_line(code, {"scopes": ", ".join(mode.scopes)}, language)

    assert places in line
    assert line.count("[접근권한]") + line.count("[개인정보]") == len(mode.scopes)


def test_a_code_on_kakaos_own_page_is_read_from_its_address() -> None:
    attempt = Attempt.begin(App(SecretStr("key")), ("talk_message",))

    with pytest.raises(SignInRefused) as caught:
        code_in("https://kauth.kakao.com/oauth/error?error_code=KOE006&client_id=key", attempt)
    assert caught.value.code == "KOE006"


def test_an_address_with_two_codes_is_refused() -> None:
    attempt = Attempt.begin(App(SecretStr("key")), ("talk_message",))

    with pytest.raises(SignInRefused) as caught:
        code_in(f"http://localhost:8765/callback?code=a&code=b&state={attempt.state}", attempt)
    assert caught.value.code == "address"


@given(text())
@example("http://[")
@example("http://h:99999999/?code=a&state=b")
@example("koe006 ")
def test_whatever_is_pasted_is_refused_in_one_way(pasted_text: str) -> None:
    """Without the state nothing is a code, and nothing but a refusal with a remedy comes of it."""
    attempt = Attempt.begin(App(SecretStr("key")), ("talk_message",))

    with pytest.raises(SignInRefused) as caught:
        code_in(pasted_text, attempt)
    assert remedy(caught.value.code, Language.KO)


def test_no_two_attempts_share_a_state() -> None:
    states = {Attempt.begin(App(SecretStr("key")), ("talk_message",)).state for _ in range(100)}

    assert len(states) == 100
    assert min(map(len, states)) >= 32
