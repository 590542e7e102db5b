"""`notifybot kakao`: sign in, see how the login stands, choose friends, sign out; nothing secret on the screen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from rich.cells import cell_len
from typer.main import get_group
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.clock import SYSTEM
from notifybot.errors import ConfigError
from notifybot.notifiers.kakao.http import FormClient
from notifybot.notifiers.kakao.oauth import REDIRECT_URI, App, Attempt, code_in, tokens_for
from notifybot.notifiers.kakao.quota import Quota
from notifybot.notifiers.kakao.token_store import Account, Mode, Receiver, TokenFile, TokenSet, issued
from notifybot.sandbox import Sandbox
from notifybot.sandbox.kakao_state import CLIENT_SECRET, REFRESH_TOKEN, REST_API_KEY, Friend, KakaoFault
from tests.support.kakao_messages import credentials
from tests.support.kakao_people import secrets_of, visit

runner = CliRunner()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "kakao-token.json"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.setenv("COLUMNS", "200")
    with Sandbox() as opened:
        opened.kakao.client_secret = CLIENT_SECRET
        opened.kakao.friends = [Friend("uuid-a", "가온"), Friend("uuid-b", "나래")]
        monkeypatch.setenv("NOTIFYBOT_KAKAO_API_URL", f"{opened.url}/kakao/api")
        monkeypatch.setenv("NOTIFYBOT_KAKAO_AUTH_URL", f"{opened.url}/kakao/auth")
        yield opened


def signed_in(sandbox: Sandbox, path: Path, mode: Mode = Mode.MEMO) -> None:
    """What a login leaves behind, made without the conversation."""
    attempt = Attempt.begin(App(SecretStr(REST_API_KEY), SecretStr(CLIENT_SECRET)), mode.scopes)
    auth = FormClient(f"{sandbox.url}/kakao/auth")
    code = code_in(visit(attempt.address(f"{sandbox.url}/kakao/auth")), attempt)
    receivers = (Receiver("uuid-a", "가온"),) if mode is Mode.FRIEND else ()
    account = Account(SecretStr(REST_API_KEY), SecretStr(CLIENT_SECRET), mode, receivers, sandbox.kakao.user_id)
    empty = TokenSet(credentials().client, "", SecretStr(""), account=account)
    assert TokenFile(path, SYSTEM).save(issued(empty, tokens_for(auth, attempt, code), SYSTEM.now()))
    auth.close()


def seen(*line: str, **environment: str) -> tuple[int, str]:
    done = runner.invoke(app, ["kakao", *line], env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_a_whole_login_at_a_pipe_with_every_question_in_the_open_but_no_token(
    sandbox: Sandbox, token_file: Path
) -> None:
    """The console script itself: key, secret, and the pasted address of the page that fails to load."""
    line = [sys.executable, "-u", "-m", "notifybot", "kakao", "login", "--mode", "memo", "--way", "paste"]
    job = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert job.stdin is not None
    assert job.stdout is not None
    job.stdin.write(f"{REST_API_KEY}\n{CLIENT_SECRET}\n")
    job.stdin.flush()
    shown: list[str] = []
    for text in job.stdout:
        shown.append(text)
        if text.startswith("http"):
            break

    rest, _ = job.communicate(f"{visit(shown[-1].strip())}\n", timeout=60)

    output = "".join(shown) + rest
    assert job.returncode == 0
    assert f"Kept in {token_file}" in output
    assert [each for each in secrets_of(sandbox) if each in output] == []
    assert json.loads(token_file.read_text())["account"]["mode"] == "memo"


def test_nobody_to_answer_is_an_error_in_one_line(sandbox: Sandbox) -> None:
    line = [sys.executable, "-m", "notifybot", "kakao", "login"]

    done = subprocess.run(line, input="", capture_output=True, text=True, timeout=60, env=dict(os.environ))

    assert done.returncode == 2
    assert done.stderr == "notifybot: nobody answered: the sign-in needs a terminal or a notebook to ask in\n"


@pytest.mark.parametrize(
    ("option", "value", "choices"), [("--mode", "sms", "memo, friend"), ("--way", "x", "auto, browser, paste")]
)
def test_an_unknown_choice_names_the_known_ones(sandbox: Sandbox, option: str, value: str, choices: str) -> None:
    done = runner.invoke(app, ["kakao", "login", option, value])

    assert choices in str(done.exception)


def test_status_says_who_which_mode_how_long_and_how_many(sandbox: Sandbox, token_file: Path) -> None:
    signed_in(sandbox, token_file)
    quota = Quota(token_file, SYSTEM)
    for _ in range(3):
        quota.take(credentials().client, ("me",))

    code, output = seen("status")

    assert code == 0
    assert str(sandbox.kakao.user_id) in output
    assert "memo: to yourself, silent" in output
    assert "in 59 days" in output
    assert "17" in output.split("Left today")[1].splitlines()[0]
    assert [each for each in secrets_of(sandbox) if each in output] == []


def test_status_in_friend_mode_names_the_receivers_in_korean(sandbox: Sandbox, token_file: Path) -> None:
    signed_in(sandbox, token_file, Mode.FRIEND)

    code, output = seen("status", NOTIFYBOT_LANG="ko")

    assert (code, "가온" in output, "울릴 것으로 예상하나 측정한 기록은 없습니다" in output) == (0, True, True)


def test_status_of_a_configured_token_admits_what_it_does_not_know(sandbox: Sandbox) -> None:
    configured = {
        "NOTIFYBOT_KAKAO_REST_API_KEY": REST_API_KEY,
        "NOTIFYBOT_KAKAO_CLIENT_SECRET": CLIENT_SECRET,
        "NOTIFYBOT_KAKAO_REFRESH_TOKEN": REFRESH_TOKEN,
    }

    code, output = seen("status", **configured)

    assert (code, "not told by Kakao yet" in output) == (0, True)


def test_status_without_a_login_says_how_to_sign_in(sandbox: Sandbox) -> None:
    assert seen("status") == (1, "Nobody is signed in: notifybot kakao login\n")


def test_status_of_a_dead_login_says_to_sign_in_again(sandbox: Sandbox, token_file: Path) -> None:
    signed_in(sandbox, token_file)
    sandbox.kakao.access_tokens.clear()
    sandbox.kakao.refresh_tokens.clear()

    line = [sys.executable, "-m", "notifybot", "kakao", "status"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, env=dict(os.environ))

    assert done.returncode == 2
    assert "KOE322" in done.stderr
    assert "notifybot kakao login" in done.stderr


def test_friends_are_listed_with_numbers_and_the_chosen_marked(sandbox: Sandbox, token_file: Path) -> None:
    signed_in(sandbox, token_file, Mode.FRIEND)

    code, output = seen("friends")

    chosen = {line.split("│")[2].strip(): "✓" in line for line in output.splitlines() if "│" in line}
    assert (code, chosen) == (0, {"가온": True, "나래": False})


def test_other_friends_can_be_chosen_without_a_new_login(sandbox: Sandbox, token_file: Path) -> None:
    signed_in(sandbox, token_file, Mode.FRIEND)
    before = json.loads(token_file.read_text())

    code, _ = seen("friends", "--choose", "2")

    after = json.loads(token_file.read_text())
    assert (code, after["account"]["receivers"]) == (0, [{"uuid": "uuid-b", "nickname": "나래"}])
    assert {**after, "account": 0} == {**before, "account": 0}


@pytest.mark.parametrize("numbers", ["3", "0", "a"])
def test_a_choice_that_is_none_changes_nothing(sandbox: Sandbox, token_file: Path, numbers: str) -> None:
    signed_in(sandbox, token_file, Mode.FRIEND)
    before = token_file.read_text()

    done = runner.invoke(app, ["kakao", "friends", "--choose", numbers])

    assert "Numbers from 1 to 2" in str(done.exception)
    assert token_file.read_text() == before


def test_no_friends_are_explained(sandbox: Sandbox, token_file: Path) -> None:
    signed_in(sandbox, token_file, Mode.FRIEND)
    sandbox.kakao.friends.clear()

    code, output = seen("friends")

    assert (code, "[앱] → [멤버]" in output) == (1, True)


def test_friends_are_no_matter_of_memo_mode(sandbox: Sandbox, token_file: Path) -> None:
    signed_in(sandbox, token_file)

    assert "--mode friend" in str(runner.invoke(app, ["kakao", "friends"]).exception)


def test_logout_ends_the_token_and_forgets_the_login(sandbox: Sandbox, token_file: Path) -> None:
    signed_in(sandbox, token_file)

    code, output = seen("logout")

    assert (code, output.startswith("Signed out: the token file is deleted.")) == (0, True)
    assert not token_file.exists()
    assert sandbox.kakao.access_tokens == {}
    assert seen("logout") == (0, "Nobody was signed in.\n")


def test_logout_without_a_network_still_forgets_the_login(sandbox: Sandbox, token_file: Path) -> None:
    signed_in(sandbox, token_file)
    sandbox.close()

    code, output = seen("logout")

    assert (code, token_file.exists(), "Kakao could not be asked" in output) == (0, False, True)


def test_disconnecting_ends_every_token_and_is_all_or_nothing(sandbox: Sandbox, token_file: Path) -> None:
    signed_in(sandbox, token_file)
    sandbox.kakao.faults.append(KakaoFault(-1, path="/unlink"))

    assert runner.invoke(app, ["kakao", "logout", "--disconnect"]).exit_code != 0
    assert token_file.exists()
    assert seen("logout", "--disconnect")[0] == 0
    assert (token_file.exists(), sandbox.kakao.refresh_tokens) == (False, {})


def test_logout_warns_of_a_token_that_is_still_configured(sandbox: Sandbox) -> None:
    configured = {
        "NOTIFYBOT_KAKAO_REST_API_KEY": REST_API_KEY,
        "NOTIFYBOT_KAKAO_CLIENT_SECRET": CLIENT_SECRET,
        "NOTIFYBOT_KAKAO_REFRESH_TOKEN": REFRESH_TOKEN,
    }

    assert "NOTIFYBOT_KAKAO_REFRESH_TOKEN is still set" in seen("logout", **configured)[1]


def test_every_command_explains_itself() -> None:
    for name in ("login", "status", "friends", "logout"):
        assert runner.invoke(app, ["kakao", name, "--help"]).exit_code == 0


@pytest.mark.parametrize("language", ["en", "ko"])
def test_how_the_login_stands_fits_a_terminal_of_80_columns(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    """Rich cuts a line of Korean whose last letter stands over the end, unless it is told to fold."""
    monkeypatch.setenv("COLUMNS", "80")
    given = {"REST_API_KEY": REST_API_KEY, "CLIENT_SECRET": CLIENT_SECRET, "REFRESH_TOKEN": REFRESH_TOKEN}

    code, shown = seen(
        "status", NOTIFYBOT_LANG=language, **{f"NOTIFYBOT_KAKAO_{key}": each for key, each in given.items()}
    )

    assert (code, "…" in shown) == (0, False)
    [line] = [line for line in shown.splitlines() if re.search(r"\b60(?: days|일)", line)]
    assert line.rstrip().endswith(")")
    assert max(map(cell_len, shown.splitlines())) <= 80


def test_the_sandbox_leaves_the_port_of_the_sign_in_free() -> None:
    """Both run side by side in a first try."""
    sandbox = next(each for each in get_group(app).commands.values() if each.name == "sandbox")
    [port] = [each for each in sandbox.params if each.name == "port"]

    assert urlsplit(REDIRECT_URI).port not in (port.default, None)


# ── A token that another program keeps ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def theirs(tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Kakao's token answer as tutorials have people keep it, named as our token file."""
    path = tmp_path / "kakao_code.json"
    path.write_text(json.dumps({"access_token": "a" * 40, "token_type": "bearer", "refresh_token": REFRESH_TOKEN}))
    monkeypatch.setenv("NOTIFYBOT_KAKAO_TOKEN_FILE", str(path))
    monkeypatch.setenv("NOTIFYBOT_KAKAO_REST_API_KEY", REST_API_KEY)
    monkeypatch.setenv("NOTIFYBOT_KAKAO_CLIENT_SECRET", CLIENT_SECRET)
    return path


@pytest.mark.parametrize(
    ("language", "told"), [("en", "is taken over into kakao_code-notifybot.json"), ("ko", "카카오 로그인을 가져와")]
)
def test_the_token_of_another_program_serves_and_its_file_stays(
    theirs: Path, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, language: str, told: str
) -> None:
    """What Kakao issues from then on is kept beside it; that is said once."""
    before = theirs.read_bytes()

    outcomes = [seen("status", NOTIFYBOT_LANG=language) for _ in range(2)]

    assert [code for code, _ in outcomes] == [0, 0]
    assert "kakao_code-notifybot.json" in outcomes[0][1]
    assert (theirs.read_bytes(), sandbox.kakao.refreshes) == (before, 1)
    assert sorted(each.name for each in theirs.parent.glob("kakao*.json*")) == [
        "kakao_code-notifybot.json", "kakao_code-notifybot.json.lock", "kakao_code.json",
    ]  # fmt: skip
    assert [told in each.message for each in caplog.records if each.levelname == "WARNING"] == [True]


def test_a_token_that_the_other_program_got_anew_is_taken_over_too(theirs: Path, sandbox: Sandbox) -> None:
    seen("status")
    sandbox.kakao.refresh_tokens["their-new-token"] = sandbox.kakao.refresh_tokens.pop(REFRESH_TOKEN)
    sandbox.kakao.access_tokens.clear()
    theirs.write_text(json.dumps({"refresh_token": "their-new-token"}))

    assert seen("status")[0] == 0


def test_a_login_of_ours_goes_before_the_token_of_another_program(theirs: Path, sandbox: Sandbox) -> None:
    """Signing out leaves their token, which would serve again: that is said."""
    signed_in(sandbox, theirs.with_name("kakao_code-notifybot.json"), Mode.FRIEND)

    status, shown = seen("status")
    code, signed_out = seen("logout")

    assert (status, code, sandbox.kakao.refreshes) == (0, 0, 0)
    assert "가온" in shown
    assert f"{theirs} of another program still holds a login" in signed_out
    assert theirs.exists()


@pytest.mark.parametrize(
    "text",
    ["{}", '{"access_token": "a"}', '{"refresh_token": 5}', '{"refresh_token": "한글"}', "[1]", "refresh_token=a"],
)
def test_nothing_is_taken_over_from_a_file_without_a_token(theirs: Path, text: str) -> None:
    """It is left as it is, and the way to sign in is told."""
    theirs.write_text(text)

    error = runner.invoke(app, ["kakao", "status"]).exception

    assert isinstance(error, ConfigError)
    assert f"{theirs} holds no login for it" in str(error)
    assert theirs.read_text() == text
