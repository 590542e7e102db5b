"""KakaoTalk as it is set up from the settings, and what of its secrets can be seen: nothing."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from notifybot.config import Config
from notifybot.errors import ConfigError, DeliveryError, PermanentError
from notifybot.notifiers.kakao import KakaoTalk, kakao_notifiers, token_file_of
from notifybot.notifiers.kakao.http import FormClient
from notifybot.notifiers.kakao.token_store import Account, TokenFile, TokenSet
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.kakao_state import CLIENT_SECRET, REFRESH_TOKEN, REST_API_KEY, KakaoFault
from notifybot.testing import FakeClock
from tests.support.kakao_messages import credentials, envelope, memo


def settings(tmp_path: Path, **changes: Any) -> Config:
    return Config(**{"state_dir": tmp_path, **changes})


def test_without_settings_there_is_no_notifier(tmp_path: Path) -> None:
    assert kakao_notifiers(settings(tmp_path)) == []


def test_settings_make_a_notifier_that_sends(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    config = settings(
        tmp_path,
        kakao_rest_api_key=REST_API_KEY,
        kakao_client_secret=CLIENT_SECRET,
        kakao_refresh_token=REFRESH_TOKEN,
        kakao_api_url=f"{sandbox.url}/kakao/api/",
        kakao_auth_url=f"{sandbox.url}/kakao/auth",
        link_url="https://runs.example/board",
    )

    [notifier] = kakao_notifiers(config, clock=clock)
    notifier.send(envelope())

    [message] = sandbox.kakao.messages
    assert message.template["content"]["link"]["web_url"] == "https://runs.example/board"
    assert (tmp_path / "kakao-token.json").is_file()


def test_a_token_file_takes_the_place_of_the_refresh_token(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    memo(sandbox, tmp_path, clock, token_file=tmp_path / "elsewhere.json").send(envelope())
    config = settings(tmp_path, kakao_rest_api_key=REST_API_KEY, kakao_token_file=tmp_path / "elsewhere.json")

    assert kakao_notifiers(config)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param(
            {"kakao_rest_api_key": REST_API_KEY},
            "holds no login for it; sign in once: notifybot kakao login",
            id="key alone",
        ),
        pytest.param(
            {"kakao_refresh_token": REFRESH_TOKEN}, "kakao_rest_api_key is not, and nobody signed in", id="token alone"
        ),
        pytest.param(
            {"kakao_client_secret": CLIENT_SECRET}, "kakao_rest_api_key is not, and nobody signed in", id="secret alone"
        ),
        pytest.param(
            {"kakao_token_file": "there.json"}, "kakao_rest_api_key is not, and nobody signed in", id="file alone"
        ),
    ],
)
def test_settings_that_are_half_there_are_named_before_anything_runs(
    tmp_path: Path, changes: dict[str, str], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        kakao_notifiers(settings(tmp_path, **changes))


def test_the_key_tells_apps_apart_and_survives_a_new_login(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    one = memo(sandbox, tmp_path, clock)
    same = memo(sandbox, tmp_path, clock, credentials=credentials(refresh_token="kakao-canary-second-login"))
    other = memo(sandbox, tmp_path, clock, credentials=type(credentials())(SecretStr("another-key")))

    assert one.key == same.key != other.key


@pytest.mark.parametrize(
    ("url", "trusts"),
    [
        ("http://127.0.0.1:8123/kakao", False),
        ("http://localhost:8123", False),
        ("http://[::1]:8123", False),
        ("https://kapi.kakao.com", True),
    ],
)
def test_a_proxy_of_the_environment_is_used_but_never_towards_this_machine(url: str, trusts: bool) -> None:
    assert trusts is FormClient(url)._session.trust_env


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://host:port", "kapi.kakao.com", "ftp://kapi.kakao.com", "http://"]
)
def test_a_malformed_address_is_named_when_it_is_used(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, url: str
) -> None:
    with pytest.raises(PermanentError, match="address in the settings is malformed") as caught:
        memo(sandbox, tmp_path, clock, auth_url=url).send(envelope())
    assert caught.value.setup


def test_a_netrc_file_never_takes_the_place_of_the_token(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login netrc-canary password netrc-canary\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    notifier = memo(sandbox, tmp_path, clock)
    for client in (notifier._api._http, notifier._api.tokens._http):
        client._session.trust_env = True
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    notifier.send(envelope())

    sent = [request.headers.get("authorization", "") for request in sandbox.requests]
    assert sent == ["", "Bearer kakao-canary-access-token-1"]


def _echo(sandbox: Sandbox) -> None:
    body = f'{{"msg": "no {REFRESH_TOKEN} {CLIENT_SECRET} kakao-canary-access-token-1", "code": -5}}'
    sandbox.kakao.faults.append(KakaoFault(path="/memo/", status=403, body=body.encode()))


def _login_echo(sandbox: Sandbox) -> None:
    body = f'{{"error": "{REFRESH_TOKEN}", "error_description": "{CLIENT_SECRET}", "error_code": "KOE999"}}'
    sandbox.kakao.faults.append(KakaoFault(path="/oauth/token", status=400, body=body.encode()))


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(lambda sandbox: None, id="success"),
        pytest.param(_echo, id="refused with the secrets repeated"),
        pytest.param(_login_echo, id="login refused with the secrets repeated"),
        pytest.param(lambda sandbox: sandbox.kakao.faults.append(KakaoFault(-401, times=9)), id="401"),
        pytest.param(lambda sandbox: sandbox.kakao.faults.append(KakaoFault("KOE322")), id="dead login"),
        pytest.param(lambda sandbox: sandbox.faults.append(Fault("reset_after", path="/memo/")), id="reset"),
        pytest.param(lambda sandbox: sandbox.faults.append(Fault("reset_before", path="/oauth/")), id="login reset"),
        pytest.param(lambda sandbox: sandbox.faults.append(Fault("hang", path="/memo/")), id="timeout"),
        pytest.param(lambda sandbox: sandbox.faults.append(Fault("garbage", path="/oauth/")), id="garbage"),
        pytest.param(lambda sandbox: sandbox.close(), id="nobody listens"),
    ],
)
def test_no_secret_reaches_a_log_an_error_or_a_repr(
    sandbox: Sandbox,
    tmp_path: Path,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    prepare: Callable[[Sandbox], None],
) -> None:
    caplog.set_level(logging.DEBUG)
    clock.advance(31 * 86400)
    prepare(sandbox)
    notifier = memo(sandbox, tmp_path, clock, timeout_s=(1.0, 1.0))

    failure = attempt(notifier)

    seen = "\n".join([caplog.text, failure, *capfd.readouterr(), *shown(notifier)])
    assert [each for each in secrets_of(sandbox) if each in seen] == []


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_no_secret_reaches_a_tls_or_name_failure(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture, scheme: str
) -> None:
    caplog.set_level(logging.DEBUG)
    base = sandbox.url.replace("http", "https", 1) if scheme == "https" else "http://kakao.invalid"
    notifier = memo(sandbox, tmp_path, clock, auth_url=base, api_url=base)

    failure = attempt(notifier)

    assert failure.startswith("TemporaryError")
    assert [each for each in secrets_of(sandbox) if each in caplog.text + failure] == []


def attempt(notifier: KakaoTalk) -> str:
    """Send, and return all that could be printed of a failure, its causes included."""
    try:
        notifier.send(envelope())
    except DeliveryError as error:
        chained = (error, error.__cause__, error.__context__ if not error.__suppress_context__ else None)
        return "\n".join([type(error).__name__, *map(repr, chained), *traceback.format_exception(error)])
    return ""


def shown(notifier: KakaoTalk) -> list[str]:
    tokens = notifier._api.tokens
    return [
        *map(
            repr,
            (notifier, vars(notifier), vars(notifier._api), tokens, vars(tokens), tokens._current, tokens._credentials),
        )
    ]


def secrets_of(sandbox: Sandbox) -> list[str]:
    world = sandbox.kakao
    return [REST_API_KEY, CLIENT_SECRET, *world.refresh_tokens, *world.access_tokens]


def test_a_notifier_is_not_pickled_with_its_tokens(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    notifier = memo(sandbox, tmp_path, clock)

    for dump in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            dump(notifier)


def test_a_login_is_not_written_over_by_tokens_of_another_app(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock
) -> None:
    """A dry run with the sandbox's variables must not cost the real login."""
    real = TokenSet("0a1b2c3d", "", SecretStr("real-refresh-canary"), account=Account(SecretStr("real-key-canary")))
    assert TokenFile(tmp_path / "kakao-token.json", clock).save(real)
    before = (tmp_path / "kakao-token.json").read_bytes()
    config = settings(
        tmp_path,
        kakao_rest_api_key=REST_API_KEY,
        kakao_client_secret=CLIENT_SECRET,
        kakao_refresh_token=REFRESH_TOKEN,
        kakao_api_url=f"{sandbox.url}/kakao/api/",
        kakao_auth_url=f"{sandbox.url}/kakao/auth",
    )

    [notifier] = kakao_notifiers(config, clock=clock)
    notifier.send(envelope())

    assert (tmp_path / "kakao-token.json").read_bytes() == before
    assert token_file_of(config).is_file()
    assert len(sandbox.kakao.messages) == 1
