"""The doctor and KakaoTalk: Kakao itself is asked, no message is used up, and each refusal has its way out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.config import load
from notifybot.doctor import kakao as kakao_doctor
from notifybot.doctor.findings import Finding, Level
from notifybot.notifiers.kakao import Credentials, token_file_of
from notifybot.notifiers.kakao.button_domains import button_sites
from notifybot.notifiers.kakao.quota import Quota
from notifybot.notifiers.kakao.token_store import Account, Mode, TokenFile, TokenSet
from notifybot.sandbox import Fault
from notifybot.sandbox.kakao_state import CLIENT_SECRET, REFRESH_TOKEN, REST_API_KEY, KakaoFault
from notifybot.sandbox.server import Sandbox
from notifybot.testing import FakeClock
from notifybot.types import Language

MEMO = frozenset({"talk_message"})
runner = CliRunner()


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> Iterator[Sandbox]:
    """KakaoTalk in the sandbox, by a configured refresh token, and nothing else."""
    monkeypatch.setenv("COLUMNS", "200")
    with Sandbox(clock=clock) as opened:
        for name, value in opened.environment().items():
            if "KAKAO" in name:
                monkeypatch.setenv(name, value)
        yield opened


def examined(clock: FakeClock) -> list[Finding]:
    return kakao_doctor.examine(load(), clock)


def wrongs(findings: list[Finding]) -> list[Finding]:
    return [each for each in findings if each.verdict is Level.WRONG]


def signed_in(sandbox: Sandbox, clock: FakeClock, *, days: float = 45, account: Account | None = None) -> TokenSet:
    """A login kept in the token file, with an access token that is good for hours."""
    credentials = Credentials(SecretStr(REST_API_KEY), None, SecretStr(REFRESH_TOKEN))
    scopes = account.mode.scopes if account else MEMO
    sandbox.kakao.access_tokens["canary-access"] = sandbox.kakao.grant(frozenset(scopes), 6 * 3600.0)
    tokens = TokenSet(
        credentials.client,
        credentials.seed,
        SecretStr(REFRESH_TOKEN),
        clock.now() + timedelta(days=days),
        SecretStr("canary-access"),
        clock.now() + timedelta(hours=6),
        account,
    )
    assert TokenFile(token_file_of(load()), clock).save(tokens)
    return tokens


# ── What Kakao says ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_login_that_works_is_confirmed_by_kakao(sandbox: Sandbox, clock: FakeClock) -> None:
    """The number of its account, which Kakao alone knows, proves it. No message is used up."""
    found = examined(clock)

    assert wrongs(found) == []
    assert found[0].what.en == f"Kakao knows the login: account {sandbox.kakao.user_id}"
    assert sandbox.kakao.messages == []


def test_a_login_lost_in_a_renewal_is_told_with_its_reason(sandbox: Sandbox) -> None:
    sandbox.kakao.rotates_below_s = 1e9
    sandbox.faults.append(Fault("reset_after", path="/oauth/token"))
    runner.invoke(app, ["doctor"])

    for language, why in (("en", "was cut off before its answer was stored"), ("ko", "응답을 저장하기 전에 중단되어")):
        result = runner.invoke(app, ["doctor", "--json", "-l", language])

        (found,) = [each for each in json.loads(result.output) if each["verdict"] == "wrong"]
        assert "(KOE322)" in found["what"]
        assert why in found["remedy"]
        assert "notifybot kakao login" in found["remedy"]


@pytest.mark.parametrize(
    ("name", "value", "code", "en", "ko"),
    [
        ("REST_API_KEY", "canary-wrong-key", "KOE101", "copy the REST API key", "REST API 키를 복사하세요"),
        ("REFRESH_TOKEN", "canary-dead-token", "KOE322", "sign in again: notifybot kakao login", "다시 로그인하세요"),
        ("CLIENT_SECRET", "canary-wrong-secret", "KOE010", "copy 클라이언트 시크릿", "클라이언트 시크릿을 복사하세요"),
    ],
)
def test_a_login_that_cannot_work_is_told_with_its_code_and_remedy(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, name: str, value: str, code: str, en: str, ko: str
) -> None:
    """A wrong key, a dead refresh token, a wrong secret: said in the reader's language, and the exit code is 1."""
    sandbox.kakao.client_secret = CLIENT_SECRET
    monkeypatch.setenv("NOTIFYBOT_KAKAO_CLIENT_SECRET", CLIENT_SECRET)
    monkeypatch.setenv(f"NOTIFYBOT_KAKAO_{name}", value)

    for language, refused, remedy in (("en", "Kakao refuses", en), ("ko", "카카오가 이 로그인을 거절", ko)):
        result = runner.invoke(app, ["doctor", "--json", "-l", language])

        assert result.exit_code == 1, result.output
        (found,) = [each for each in json.loads(result.output) if each["verdict"] == "wrong"]
        assert refused in found["what"]
        assert f"({code})" in found["what"]
        assert remedy in found["remedy"]
        assert "canary" not in result.output
    assert sandbox.kakao.messages == []


@pytest.mark.parametrize(
    ("spoil", "code", "remedy"),
    [
        pytest.param({"linked": False}, "-101", "연결이 끊겼습니다", id="disconnected"),
        pytest.param({"ip_allowed": False}, "-401", "호출 허용 IP 주소를 비우세요", id="address"),
    ],
)
def test_each_refusal_of_the_api_has_a_remedy(
    sandbox: Sandbox, clock: FakeClock, spoil: dict[str, bool], code: str, remedy: str
) -> None:
    """The access token is good, and Kakao refuses all the same."""
    signed_in(sandbox, clock, days=20)
    vars(sandbox.kakao).update(spoil)

    (found,) = wrongs(examined(clock))

    assert f"({code})" in found.what.ko
    assert found.remedy is not None
    assert remedy in found.remedy.ko
    assert found.remedy.en != found.remedy.ko


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (KakaoFault(code="KOE999", path="token"), "KOE999"),
        (KakaoFault(path="oauth/token", status=400, body=b"{}"), "HTTP 400"),
    ],
    ids=["a new code", "no code"],
)
def test_a_refusal_that_nobody_knows_is_named_as_kakao_names_it(
    sandbox: Sandbox, clock: FakeClock, fault: KakaoFault, named: str
) -> None:
    sandbox.kakao.faults.append(fault)

    (found,) = wrongs(examined(clock))

    assert named in found.what.en
    assert "sign-in" not in found.what.en
    assert found.remedy is not None
    assert found.remedy.en != found.remedy.ko


def test_what_the_app_may_not_ask_for_and_what_was_not_ticked_are_told_apart(
    sandbox: Sandbox, clock: FakeClock
) -> None:
    """The one is mended in the console, the other by signing in again."""
    sandbox.kakao.refresh_tokens[REFRESH_TOKEN].scopes = frozenset()
    (unticked,) = wrongs(examined(clock))
    sandbox.kakao.enabled_scopes = {"friends"}
    (off,) = wrongs(examined(clock))

    assert unticked.what.en == "talk_message was not agreed to"
    assert off.what.en == "the app may not ask for talk_message"
    assert off.remedy is not None
    assert "[동의항목]" in off.remedy.en


def test_an_answer_of_another_form_says_nothing_about_scopes(sandbox: Sandbox, clock: FakeClock) -> None:
    """The list's form is documented in part only, so what is not understood is no fault of the person's."""
    sandbox.kakao.faults.append(KakaoFault(path="/scopes", status=200, body=b'{"scopes": {"talk_message": 1}}'))

    assert wrongs(examined(clock)) == []


def test_kakao_out_of_reach_is_told_as_such(sandbox: Sandbox, clock: FakeClock) -> None:
    with sandbox.down():
        (found,) = wrongs(examined(clock))

    assert found.what.ko.startswith("카카오에 물어보지 못했습니다")
    assert found.remedy is not None
    assert "NOTIFYBOT_KAKAO_API_URL" in found.remedy.en


def test_friends_without_a_receiver_and_a_spent_day_are_told(sandbox: Sandbox, clock: FakeClock) -> None:
    account = Account(SecretStr(REST_API_KEY), None, Mode.FRIEND)
    signed_in(sandbox, clock, account=account)
    sandbox.kakao.refresh_tokens[REFRESH_TOKEN].scopes = frozenset(account.mode.scopes)
    (found,) = wrongs(examined(clock))
    assert found.what.en == "no friend is chosen to receive messages"

    signed_in(sandbox, clock)
    client = Credentials(SecretStr(REST_API_KEY)).client
    Quota(token_file_of(load()), clock).use_up(client, ["me"])
    assert "today's 20 messages are sent" in " ".join(each.what.en for each in examined(clock))


# ── Its refresh token ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("days", "verdict", "words"),
    [
        pytest.param(45, Level.OK, "the login holds until", id="fresh"),
        pytest.param(5, Level.NOTE, "the login ends on", id="soon"),
        pytest.param(-1, Level.WRONG, "the login ended on", id="over"),
    ],
)
def test_the_age_of_the_login_is_told(
    sandbox: Sandbox, clock: FakeClock, days: int, verdict: Level, words: str
) -> None:
    """A refresh token lives about 60 days, and only its last month brings a new one."""
    signed_in(sandbox, clock, days=days)

    (found,) = [each for each in examined(clock) if words in each.what.en]

    assert found.verdict is verdict
    assert (found.remedy is None) is (verdict is Level.OK)


def test_a_dead_refresh_token_is_seen_while_an_access_token_still_works(sandbox: Sandbox, clock: FakeClock) -> None:
    """Else all is well for hours, and the training falls silent at night."""
    signed_in(sandbox, clock)
    sandbox.kakao.refresh_tokens.clear()

    (found,) = wrongs(examined(clock))

    assert "(KOE322)" in found.what.en


def test_a_refresh_token_in_its_last_month_is_not_exchanged_for_looking(sandbox: Sandbox, clock: FakeClock) -> None:
    """Each use brings another one then: as long as an access token holds, that proves enough."""
    before = signed_in(sandbox, clock, days=20)

    assert wrongs(examined(clock)) == []

    assert sandbox.kakao.refreshes == 0
    stored = TokenFile(token_file_of(load()), clock).load()
    assert stored is not None
    assert stored.refresh_token == before.refresh_token


def test_what_kakao_issues_meanwhile_is_kept(sandbox: Sandbox, clock: FakeClock) -> None:
    """An access token that has ended has to be renewed to know anything; what that brings is on disk afterwards."""
    signed_in(sandbox, clock)
    clock.advance(7 * 3600)

    assert wrongs(examined(clock)) == []

    stored = TokenFile(token_file_of(load()), clock).load()
    assert stored is not None
    assert stored.access_token is not None
    assert stored.access_token.get_secret_value() in sandbox.kakao.access_tokens
    assert sandbox.kakao.refreshes == 1


def test_a_login_that_could_not_be_kept_is_not_renewed(
    sandbox: Sandbox, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A new refresh token that no disk takes would be lost, and with it the login."""
    (tmp_path / "taken").write_text("x")
    monkeypatch.setenv("NOTIFYBOT_KAKAO_TOKEN_FILE", str(tmp_path / "taken" / "token.json"))

    (found,) = examined(clock)

    assert found.verdict is Level.WRONG
    assert "could not be kept" in found.what.en
    assert sandbox.requests == []


# ── Half a set-up ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "told"),
    [("REST_API_KEY", "로그인한 적이 없습니다"), ("REFRESH_TOKEN", "NOTIFYBOT_KAKAO_REST_API_KEY가 없고")],
)
def test_half_a_setup_is_told_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock, name: str, told: str
) -> None:
    """In the reader's language, too."""
    monkeypatch.setenv(f"NOTIFYBOT_KAKAO_{name}", "canary-half")

    (found,) = examined(clock)

    assert found.verdict is Level.WRONG
    assert found.remedy is not None
    assert told in found.what.ko
    assert "notifybot kakao login" in found.remedy.in_(Language.KO)


# ── Where its buttons lead ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "what", "remedy"),
    [
        ({"LINK_URL": "https://lab.example.org/runs?x=1"}, "opens https://lab.example.org", "[웹 도메인]"),
        ({"LINK_URL": "http://127.0.0.1:8700/"}, "http://127.0.0.1:8700, which a phone does not", "LINK_URL"),
        ({"LINK_URL": "http://gpu-07:8700/"}, "http://gpu-07:8700, which a phone does not", "LINK_URL"),
        ({"WANDB": "on"}, "opens https://wandb.ai, https://developers.kakao.com", "[웹 도메인]"),
        ({"WANDB": "off"}, "has no page of yours", "NOTIFYBOT_LINK_URL"),
    ],
    ids=["page", "this machine", "local name", "wandb", "nothing"],
)
def test_the_site_to_register_is_named(
    sandbox: Sandbox,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    what: str,
    remedy: str,
) -> None:
    """Kakao opens registered sites alone and tells nobody which they are, so it is a note on what to check."""
    for name, value in settings.items():
        monkeypatch.setenv(f"NOTIFYBOT_{name}", value)

    found = examined(clock)[-1]

    assert found.verdict is Level.NOTE
    assert what in found.what.en
    assert found.remedy is not None
    assert remedy in found.remedy.en
    assert remedy in found.remedy.ko


def test_the_watchdogs_site_is_the_one_to_register(
    sandbox: Sandbox, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A button leads to the run's page there; an address that was set wins, as in the message."""
    config = load({"watchdog_url": "https://watch.example.org:8443/x", "watchdog_token": "nb_canary"})
    assert button_sites(config) == ("https://watch.example.org:8443",)

    config = load(
        {"watchdog_url": "https://watch.example.org", "watchdog_token": "nb_canary", "link_url": "https://a.b"}
    )
    assert button_sites(config) == ("https://a.b",)

    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.lab.example/")
    assert button_sites(load({"wandb": "on"}))[0] == "https://wandb.lab.example"


def test_no_secret_of_the_login_is_shown(sandbox: Sandbox, clock: FakeClock) -> None:
    """A report is what people paste when they ask for help."""
    signed_in(sandbox, clock)

    shown = str([replace(each) for each in examined(clock)])

    for secret in (REST_API_KEY, REFRESH_TOKEN, "canary"):
        assert secret not in shown
