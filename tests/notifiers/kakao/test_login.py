"""Signing in is a conversation that a person can finish: each error is explained, and no token is ever shown."""

from __future__ import annotations

import builtins
import json
import logging
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from rich.cells import cell_len

from notifybot.clock import SYSTEM
from notifybot.config import Config, has_own_browser
from notifybot.errors import ConfigError, UsageError
from notifybot.i18n import text as say
from notifybot.notifiers.kakao import KakaoTalk, kakao_notifiers
from notifybot.notifiers.kakao.browser import LoginEnvironment
from notifybot.notifiers.kakao.login import Way, kakao_login, sign_in
from notifybot.notifiers.kakao.token_store import Mode, TokenSet
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.kakao_state import CLIENT_SECRET, REDIRECT_URI, REFRESH_TOKEN, REST_API_KEY, Friend, KakaoFault
from notifybot.testing import FakeClock
from notifybot.types import Language
from tests.support.kakao_messages import envelope
from tests.support.kakao_people import Answer, Typist, pasted, secrets_of, settings, visit

CONSENT = "[카카오 로그인] → [동의항목]"
TALK_MESSAGE = "[접근권한] 카카오톡 메시지 전송 (talk_message)"


def signed_in(config: Config, typist: Typist, clock: FakeClock, mode: Mode | None = Mode.MEMO) -> TokenSet:
    return sign_in(config, LoginEnvironment(typist, clock), mode=mode, way=Way.PASTE)


def stored(folder: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((folder / "kakao-token.json").read_text())
    return fields


# ── To oneself ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_but_answers_is_needed_to_send(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    """Key, secret and address typed once: the next training finds the login without a single setting."""
    typist = Typist(["", REST_API_KEY, CLIENT_SECRET, pasted])
    config = settings(sandbox, tmp_path)

    signed_in(config, typist, clock, mode=None)

    [notifier] = kakao_notifiers(config, clock=clock)
    notifier.send(envelope())
    assert [each.receiver for each in sandbox.kakao.messages] == ["me"]
    assert sandbox.kakao.refreshes == 0
    assert stat.S_IMODE((tmp_path / "kakao-token.json").stat().st_mode) == 0o600
    assert stored(tmp_path)["account"] == {
        "rest_api_key": REST_API_KEY,
        "client_secret": CLIENT_SECRET,
        "mode": "memo",
        "receivers": [],
        "user_id": sandbox.kakao.user_id,
    }


def test_keys_are_typed_unseen_and_tokens_never_shown(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    typist = Typist([REST_API_KEY, CLIENT_SECRET, pasted])

    tokens = signed_in(settings(sandbox, tmp_path), typist, clock)

    assert len(typist.asked_secretly) == 2
    assert [each for each in secrets_of(sandbox) if each in f"{typist.text} {caplog.text} {tokens!r}"] == []


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize(
    ("settings_of", "sites"),
    [
        ({"link_url": "https://lab.example.org/runs?x=1"}, "https://lab.example.org"),
        (
            {"watchdog_url": "https://watch.example.org:8443/", "watchdog_token": "nb_canary"},
            "https://watch.example.org:8443",
        ),
        ({"wandb": "on"}, "https://wandb.ai  https://developers.kakao.com"),
        ({"wandb": "off"}, "https://developers.kakao.com"),
    ],
    ids=["page", "watchdog", "wandb", "nothing"],
)
def test_the_sites_to_register_are_named(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, settings_of: dict[str, str], sites: str, language: Language
) -> None:
    """Step 5 says what to type there: a site that is not registered does not open."""
    typist = Typist([REST_API_KEY, CLIENT_SECRET, pasted])

    signed_in(settings(sandbox, tmp_path, lang=language, **settings_of), typist, clock)

    assert f"[웹 도메인]:\n     {sites}\n" in typist.text


def test_the_page_to_open_asks_for_what_the_mode_needs_and_no_more(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock
) -> None:
    typist = Typist([REST_API_KEY, CLIENT_SECRET, pasted])

    signed_in(settings(sandbox, tmp_path), typist, clock)

    query = dict(parse_qsl(urlsplit(typist.address).query))
    assert query.pop("state")
    assert query == {
        "client_id": REST_API_KEY,
        "redirect_uri": "http://localhost:8765/callback",
        "response_type": "code",
        "scope": "talk_message",
    }


@pytest.mark.parametrize("language", list(Language))
def test_the_choice_is_explained_with_how_sure_we_are(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, language: Language
) -> None:
    """What rings is stated by two projects and measured by nobody, says the fact sheet of 2026; so does the tool."""
    typist = Typist(["1", REST_API_KEY, CLIENT_SECRET, pasted])

    signed_in(settings(sandbox, tmp_path, lang=language), typist, clock, mode=None)

    unsure = {Language.EN: "nobody has measured it", Language.KO: "측정한 기록은 없습니다"}
    silent = {Language.EN: "does NOT ring", Language.KO: "소리도 배너도 없이"}
    assert unsure[language] in typist.said[0]
    assert silent[language].lower() in typist.said[0].lower()


def test_the_next_login_knows_the_app(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    """Who signs in again after two months need not look the keys up."""
    config = settings(sandbox, tmp_path)
    signed_in(config, Typist([REST_API_KEY, CLIENT_SECRET, pasted]), clock)
    before = stored(tmp_path)
    again = Typist([pasted])

    signed_in(config, again, clock)

    assert say(Language.EN, "kakao.login.same_app") in again.said
    assert stored(tmp_path)["refresh_token"] != before["refresh_token"]
    assert stored(tmp_path)["account"] == before["account"]


def test_configured_keys_are_not_asked_for(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    config = settings(sandbox, tmp_path, kakao_rest_api_key=REST_API_KEY, kakao_client_secret=CLIENT_SECRET)
    typist = Typist([pasted])

    signed_in(config, typist, clock)

    assert len(typist.asked) == 1


def test_a_login_takes_the_place_of_a_configured_token(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    """The token in the settings may be the dead one for whose sake the person signed in."""
    config = settings(
        sandbox, tmp_path, kakao_rest_api_key=REST_API_KEY, kakao_client_secret=CLIENT_SECRET,
        kakao_refresh_token=REFRESH_TOKEN,
    )  # fmt: skip
    del sandbox.kakao.refresh_tokens[REFRESH_TOKEN]

    signed_in(config, Typist([pasted]), clock)
    clock.advance(7 * 3600)

    [notifier] = kakao_notifiers(config, clock=clock)
    notifier.send(envelope())
    assert len(sandbox.kakao.messages) == 1


def test_what_is_pasted_may_be_wrapped_and_quoted(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    def wrapped(typist: Typist) -> str:
        address = pasted(typist)
        return f' "{address[:30]}\n {address[30:]}" '

    assert signed_in(settings(sandbox, tmp_path), Typist([REST_API_KEY, CLIENT_SECRET, wrapped]), clock).access_token


# ── What goes wrong on the way ───────────────────────────────────────────────────────────────────────────────────────


def _secret_wrong(sandbox: Sandbox) -> list[Answer]:
    return [REST_API_KEY, "", pasted, CLIENT_SECRET]


def _key_wrong(sandbox: Sandbox) -> list[Answer]:
    return ["not-this-app", CLIENT_SECRET, REST_API_KEY, pasted]


def _mended(change: Callable[[Sandbox], None]) -> Callable[[Sandbox], list[Answer]]:
    def answers(sandbox: Sandbox) -> list[Answer]:
        def mend(typist: Typist) -> str:
            change(sandbox)
            return ""

        return [REST_API_KEY, CLIENT_SECRET, mend, pasted]

    return answers


def _login_off(sandbox: Sandbox) -> list[Answer]:
    sandbox.kakao.login_on = False
    return _mended(lambda box: setattr(box.kakao, "login_on", True))(sandbox)


def _scope_off(sandbox: Sandbox) -> list[Answer]:
    sandbox.kakao.enabled_scopes = set()
    return _mended(lambda box: setattr(box.kakao, "enabled_scopes", {"talk_message"}))(sandbox)


def _redirect_unknown(sandbox: Sandbox) -> list[Answer]:
    sandbox.kakao.redirect_uris.clear()
    return _mended(lambda box: box.kakao.redirect_uris.add("http://localhost:8765/callback"))(sandbox)


def _code_used(sandbox: Sandbox) -> list[Answer]:
    def stale(typist: Typist) -> str:
        address = pasted(typist)
        sandbox.kakao.codes.clear()
        return address

    return [REST_API_KEY, CLIENT_SECRET, stale, "", pasted]


def _typed(code: str) -> Callable[[Sandbox], list[Answer]]:
    return lambda sandbox: [REST_API_KEY, CLIENT_SECRET, code, "", pasted]


def _failing(sandbox: Sandbox) -> list[Answer]:
    sandbox.kakao.faults.append(KakaoFault("KOE003", path="/oauth/token"))
    return [REST_API_KEY, CLIENT_SECRET, pasted, "", pasted]


def _denied(sandbox: Sandbox) -> list[Answer]:
    def no(typist: Typist) -> str:
        sandbox.kakao.denies = True
        address = pasted(typist)
        sandbox.kakao.denies = False
        return address

    return [REST_API_KEY, CLIENT_SECRET, no, "", pasted]


def _unticked(sandbox: Sandbox) -> list[Answer]:
    def without(typist: Typist) -> str:
        sandbox.kakao.unticked = {"talk_message"}
        address = pasted(typist)
        sandbox.kakao.unticked = set()
        return address

    return [REST_API_KEY, CLIENT_SECRET, without, "", pasted]


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize(
    ("prepare", "code", "menu"),
    [
        pytest.param(_redirect_unknown, "KOE006", "카카오 로그인 리다이렉트 URI", id="KOE006 redirect URI"),
        pytest.param(_secret_wrong, "KOE010", "[앱] → [플랫폼 키] → [REST API 키]", id="KOE010 secret"),
        pytest.param(_key_wrong, "KOE101", "[앱] → [플랫폼 키] → [REST API 키]", id="KOE101 key"),
        pytest.param(_scope_off, "KOE205", f"{CONSENT} → {TALK_MESSAGE}", id="KOE205 scope"),
        pytest.param(_login_off, "KOE004", "[카카오 로그인] → 사용 설정", id="KOE004 off"),
        pytest.param(_typed("KOE005"), "KOE005", "[앱] → [멤버]", id="KOE005 typed"),
        pytest.param(_typed("koe006"), "KOE006", "http://localhost:8765/callback", id="KOE006 typed small"),
        pytest.param(_code_used, "KOE320", "", id="KOE320 code"),
        pytest.param(_failing, "KOE003", "", id="KOE003 fault"),
        pytest.param(_denied, "", "", id="denied"),
        pytest.param(_unticked, "", "talk_message", id="unticked"),
    ],
)
def test_each_refusal_is_explained_and_then_mended(
    sandbox: Sandbox,
    tmp_path: Path,
    clock: FakeClock,
    language: Language,
    prepare: Callable[[Sandbox], list[Answer]],
    code: str,
    menu: str,
) -> None:
    """Facts: the codes and menus of Kakao's login trouble-shooting and of its site since December 2025."""
    typist = Typist(prepare(sandbox))

    signed_in(settings(sandbox, tmp_path, lang=language), typist, clock)

    explained = [line for line in typist.said if code in line and menu in line and line.startswith(code or "")]
    assert explained
    assert (stored(tmp_path)["account"]["mode"], typist.answers) == ("memo", [])


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        pytest.param("http://localhost:8765/callback?code=abc", "not the whole address", id="no state"),
        pytest.param("http://localhost:8765/callback?code=abc&state=other", "another sign-in", id="another state"),
        pytest.param("abcdefg", "not the whole address", id="code alone"),
        pytest.param("http://[::1", "not the whole address", id="no address"),
        pytest.param("https://accounts.kakao.com/login?continue=x", "Kakao's own page", id="too early"),
        pytest.param("", "not the whole address", id="nothing"),
    ],
)
def test_a_wrong_address_is_asked_for_again_for_the_same_page(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, wrong: str, hint: str
) -> None:
    typist = Typist([REST_API_KEY, CLIENT_SECRET, wrong, pasted])

    signed_in(settings(sandbox, tmp_path), typist, clock)

    assert hint in typist.text
    assert sum(line.count("response_type=code") for line in typist.said) == 1


@pytest.mark.parametrize("stop", ["q", "Q", "ㅂ"])
def test_stopping_changes_nothing(sandbox: Sandbox, tmp_path: Path, clock: FakeClock, stop: str) -> None:
    with pytest.raises(UsageError, match="nothing was changed"):
        signed_in(settings(sandbox, tmp_path), Typist([REST_API_KEY, CLIENT_SECRET, stop]), clock)
    assert not (tmp_path / "kakao-token.json").exists()


def test_a_key_with_a_space_is_asked_for_again(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    typist = Typist(["", "two words", f"'{REST_API_KEY}'", CLIENT_SECRET, pasted])

    signed_in(settings(sandbox, tmp_path), typist, clock)

    assert typist.said.count(say(Language.EN, "kakao.login.not_a_key")) == 2


def test_a_folder_that_cannot_be_written_is_named(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "there").write_text("a file where the folder should be")
    config = settings(sandbox, tmp_path, kakao_token_file=tmp_path / "there" / "token.json")

    with pytest.raises(ConfigError, match="cannot be written"):
        signed_in(config, Typist([REST_API_KEY, CLIENT_SECRET, pasted]), clock)


def test_a_network_that_fails_is_told_and_tried_again(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    def unplugged(typist: Typist) -> str:
        address = pasted(typist)
        sandbox.close()
        return address

    def plugged(typist: Typist) -> str:
        sandbox.open()
        return ""

    typist = Typist([REST_API_KEY, CLIENT_SECRET, unplugged, plugged, pasted])

    signed_in(settings(sandbox, tmp_path), typist, clock)

    assert "Kakao could not be asked: Kakao could not be reached" in typist.said


def test_a_page_that_is_foretold_twice_is_left_to_the_browser(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock
) -> None:
    """Our look ahead has no cookies and may be wrong; the person can still go on."""
    sandbox.faults += [Fault("status", path="/authorize", status=400, body=b"<h1>KOE006</h1>") for _ in range(2)]
    typist = Typist([REST_API_KEY, CLIENT_SECRET, "", pasted])

    signed_in(settings(sandbox, tmp_path), typist, clock)

    assert sum(line.startswith("KOE006") for line in typist.said) == 1


# ── To friends ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def friends(sandbox: Sandbox) -> list[Friend]:
    sandbox.kakao.friends = [
        Friend("uuid-main", "본계정", agreed=False),
        Friend("uuid-b", "나래"),
        Friend("uuid-c", "C"),
    ]
    return sandbox.kakao.friends


def as_account(sandbox: Sandbox, account: str) -> Callable[[Typist], str]:
    def pasted_as(typist: Typist) -> str:
        sandbox.kakao.browser_account = account
        return pasted(typist)

    return pasted_as


def test_the_receiver_agrees_first_and_the_spare_account_sends(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, friends: list[Friend]
) -> None:
    answers: list[Answer] = [REST_API_KEY, CLIENT_SECRET, "n", as_account(sandbox, "uuid-main")]
    typist = Typist([*answers, as_account(sandbox, "me"), "1"])
    config = settings(sandbox, tmp_path)

    signed_in(config, typist, clock, mode=Mode.FRIEND)
    [notifier] = kakao_notifiers(config, clock=clock)
    notifier.send(envelope())

    [message] = sandbox.kakao.messages
    assert (message.receiver, message.pushed) == ("uuid-main", True)
    account = stored(tmp_path)["account"]
    assert account["receivers"] == [{"uuid": "uuid-main", "nickname": "본계정"}]
    assert account["user_id"] == sandbox.kakao.user_id
    assert {"scope": "talk_message,friends", "prompt": "login"}.items() <= dict(
        parse_qsl(urlsplit(typist.address).query)
    ).items()


def test_the_receivers_login_is_ended_and_not_kept(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, friends: list[Friend]
) -> None:
    answers: list[Answer] = [REST_API_KEY, CLIENT_SECRET, "n", as_account(sandbox, "uuid-main")]

    signed_in(settings(sandbox, tmp_path), Typist([*answers, as_account(sandbox, "me"), "1"]), clock, mode=Mode.FRIEND)

    live = [grant.account for grant in sandbox.kakao.access_tokens.values()]
    assert live == ["me"]


def test_one_account_twice_is_noticed(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, friends: list[Friend]
) -> None:
    """A browser picks the account that is signed in; nobody would notice until the phone stays silent."""
    main = as_account(sandbox, "uuid-main")
    typist = Typist([REST_API_KEY, CLIENT_SECRET, "n", main, main, "", as_account(sandbox, "me"), "1"])

    signed_in(settings(sandbox, tmp_path), typist, clock, mode=Mode.FRIEND)

    assert "Both sign-ins came from one account" in typist.text
    assert stored(tmp_path)["account"]["user_id"] == sandbox.kakao.user_id


def test_friends_are_chosen_by_number_until_the_choice_is_one(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, friends: list[Friend]
) -> None:
    typist = Typist([REST_API_KEY, CLIENT_SECRET, "y", pasted, "0", "3", "가", "", "2, 1 2"])

    signed_in(settings(sandbox, tmp_path), typist, clock, mode=Mode.FRIEND)

    assert [each["uuid"] for each in stored(tmp_path)["account"]["receivers"]] == ["uuid-c", "uuid-b"]
    assert typist.said.count("Numbers from 1 to 2 of the list, at most 5.") == 4


def test_an_only_friend_is_the_receiver(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    sandbox.kakao.friends = [Friend("uuid-a", "가온")]

    signed_in(settings(sandbox, tmp_path), Typist([REST_API_KEY, CLIENT_SECRET, "y", pasted]), clock, mode=Mode.FRIEND)

    assert stored(tmp_path)["account"]["receivers"][0]["nickname"] == "가온"


def test_no_friend_is_explained_with_all_that_may_be_missing(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock
) -> None:
    typist = Typist([REST_API_KEY, CLIENT_SECRET, "y", pasted, "q"])

    with pytest.raises(UsageError, match="nothing was changed"):
        signed_in(settings(sandbox, tmp_path), typist, clock, mode=Mode.FRIEND)

    assert "[앱] → [멤버]" in typist.said[-1]


# ── A browser on this machine ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def redirect_uri(sandbox: Sandbox) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://localhost:{probe.getsockname()[1]}/callback"
    sandbox.kakao.redirect_uris.add(uri)
    return uri


def test_a_browser_on_this_machine_needs_no_pasting(sandbox: Sandbox, tmp_path: Path, redirect_uri: str) -> None:
    pages: list[requests.Response] = []

    def browser(address: str) -> None:
        pages.append(requests.get(address, timeout=10))

    typist = Typist([REST_API_KEY, CLIENT_SECRET])
    sign_in(
        settings(sandbox, tmp_path),
        LoginEnvironment(typist, SYSTEM, browser, listen_s=20),
        mode=Mode.MEMO,
        way=Way.BROWSER,
        redirect_uri=redirect_uri,
    )

    assert [page.status_code for page in pages] == [200]
    assert stored(tmp_path)["account"]["mode"] == "memo"


def test_a_browser_that_stays_away_is_waited_for_and_then_pasted(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, redirect_uri: str
) -> None:
    typist = Typist([REST_API_KEY, CLIENT_SECRET, pasted])

    before = clock.monotonic()
    sign_in(
        settings(sandbox, tmp_path), LoginEnvironment(typist, clock, lambda _: None), mode=Mode.MEMO, way=Way.BROWSER,
        redirect_uri=redirect_uri,
    )  # fmt: skip

    assert clock.monotonic() - before == 300
    assert say(Language.EN, "kakao.login.not_heard") in typist.said


def test_ctrl_c_while_waiting_lets_the_person_type_the_code_of_the_page(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, redirect_uri: str
) -> None:
    def interrupted(address: str) -> None:
        raise KeyboardInterrupt

    typist = Typist([REST_API_KEY, CLIENT_SECRET, "KOE205", "", pasted])

    sign_in(
        settings(sandbox, tmp_path), LoginEnvironment(typist, clock, interrupted), mode=Mode.MEMO, way=Way.BROWSER,
        redirect_uri=redirect_uri,
    )  # fmt: skip

    assert any(line.startswith("KOE205: talk_message is not enabled") for line in typist.said)


def test_a_port_that_is_taken_is_no_obstacle(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    taken = f"http://localhost:{urlsplit(sandbox.url).port}/callback"
    sandbox.kakao.redirect_uris.add(taken)
    typist = Typist([REST_API_KEY, CLIENT_SECRET, pasted])

    sign_in(
        settings(sandbox, tmp_path), LoginEnvironment(typist, clock, visit), mode=Mode.MEMO, way=Way.BROWSER,
        redirect_uri=taken,
    )  # fmt: skip

    assert any("is taken" in line for line in typist.said)


def test_a_redirect_uri_elsewhere_is_pasted(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    typist = Typist([REST_API_KEY, CLIENT_SECRET, pasted])

    sign_in(
        settings(sandbox, tmp_path), LoginEnvironment(typist, clock, visit), mode=Mode.MEMO, way=Way.BROWSER,
        redirect_uri=REDIRECT_URI,
    )  # fmt: skip

    assert stored(tmp_path)["account"]


@pytest.mark.parametrize(
    ("environment", "own"),
    [
        pytest.param({"DISPLAY": ":0"}, True, id="desk"),
        pytest.param({"WAYLAND_DISPLAY": "wayland-0"}, True, id="wayland"),
        pytest.param({}, False, id="no screen"),
        pytest.param({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "192.0.2.1 5 192.0.2.2 22"}, False, id="SSH"),
        pytest.param({"DISPLAY": ":0", "COLAB_RELEASE_TAG": "release"}, False, id="Colab"),
    ],
)
def test_a_browser_is_opened_only_where_the_person_sits(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], own: bool
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_TTY", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert has_own_browser() is own


# ── In a notebook ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_notebook_asks_below_the_cell(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []

    def typed(prompt: str = "") -> str:
        shown.append(capsys.readouterr().out)
        page = [line for line in "".join(shown).splitlines() if line.startswith("http")]
        return visit(page[-1])

    monkeypatch.setattr(builtins, "input", typed)
    config = settings(sandbox, tmp_path, kakao_rest_api_key=REST_API_KEY, kakao_client_secret=CLIENT_SECRET)

    kakao_login("memo", config=config)

    assert stored(tmp_path)["account"]["mode"] == "memo"
    assert [each for each in secrets_of(sandbox) if each in "".join(shown) + capsys.readouterr().out] == []


def test_a_mode_that_is_none_is_an_error_that_names_them(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mode sms: choose one of memo, friend"):
        kakao_login("sms", config=settings(sandbox, tmp_path))


def test_the_settings_may_be_a_few_overrides(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "input", lambda _="": "q")

    with pytest.raises(UsageError, match="그만두었습니다"):
        kakao_login("memo", config={"lang": "ko", "kakao_rest_api_key": REST_API_KEY, "kakao_auth_url": sandbox.url})


def test_a_run_without_a_person_says_so(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(prompt: str = "") -> str:
        raise EOFError

    monkeypatch.setattr(builtins, "input", nobody)

    with pytest.raises(UsageError, match="needs a terminal or a notebook"):
        kakao_login("memo", config=settings(sandbox, tmp_path))


def test_a_new_login_is_taken_up_by_a_notifier_that_is_running(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, friends: list[Friend]
) -> None:
    config = settings(sandbox, tmp_path)
    signed_in(config, Typist([REST_API_KEY, CLIENT_SECRET, pasted]), clock)
    [running] = kakao_notifiers(config, clock=clock)
    assert isinstance(running, KakaoTalk)
    running.send(envelope())

    clock.advance(7 * 3600)
    signed_in(config, Typist(["y", pasted, "1"]), clock, mode=Mode.FRIEND)
    running.send(envelope())

    assert [each.receiver for each in sandbox.kakao.messages] == ["me", "uuid-b"]


@pytest.mark.parametrize("answers", [["q"], ["", "ㅂ"], ["", REST_API_KEY, "Q"]], ids=["way", "key", "secret"])
def test_each_question_can_be_left(sandbox: Sandbox, tmp_path: Path, clock: FakeClock, answers: list[str]) -> None:
    """With the key that the last question names, on either keyboard layout; nothing was kept."""
    with pytest.raises(UsageError, match="stopped"):
        signed_in(settings(sandbox, tmp_path), Typist(answers), clock, mode=None)

    assert list(tmp_path.glob("kakao*")) == []


@pytest.mark.parametrize("language", Language)
def test_the_steps_fit_a_terminal(language: Language) -> None:
    """What is laid out in lines does not break in 80 columns, where a Korean letter takes two."""
    filled = {"redirect_uri": REDIRECT_URI, "sites": "https://wandb.ai"}
    steps = (
        say(language, f"kakao.login.{name}", **filled) for name in ("modes", "before", "friend_steps", "paste_how")
    )

    lines = "\n".join(steps).splitlines()

    assert [line for line in lines if cell_len(line) > 80] == []
