"""The token file: private, whole or set aside, and never another program's."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from notifybot.errors import PermanentError, TemporaryError
from notifybot.notifiers.kakao.token_store import TokenFile
from notifybot.sandbox import Sandbox
from notifybot.sandbox.kakao_state import REFRESH_TOKEN
from notifybot.testing import FakeClock
from tests.support.kakao_messages import tokens

_MONTH_S = 31 * 86400.0


def stored(path: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(path.read_text())
    return fields


def test_the_file_is_private_and_dated_in_utc(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    access = tokens(sandbox, path, clock).access_token()

    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    assert stored(path) | {"client": "", "seed": ""} == {
        "version": 1,
        "client": "",
        "seed": "",
        "refresh_token": REFRESH_TOKEN,
        "refresh_expires_at": None,
        "access_token": access,
        "access_expires_at": "2026-11-23T08:59:59+00:00",
        "account": None,
    }
    assert {path.name, f"{path.name}.lock"} == {each.name for each in path.parent.iterdir()}


def test_another_apps_token_file_is_not_used(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    tokens(sandbox, path, clock).access_token()
    path.write_text(json.dumps(stored(path) | {"client": "00000000"}))

    with pytest.raises(PermanentError, match="holds no token for this kakao_rest_api_key") as caught:
        tokens(sandbox, path, clock, refresh_token=None).access_token()
    assert caught.value.setup


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00" * 4096, id="a hole of zeros"),
        pytest.param(b'{"version": 1, "cli', id="half"),
        pytest.param(b"[]", id="another shape"),
        pytest.param(b'{"client": 1, "seed": "", "refresh_token": "a\\nb", "access_token": null}', id="no token"),
    ],
)
def test_a_damaged_file_is_set_aside(
    sandbox: Sandbox, path: Path, clock: FakeClock, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)

    assert tokens(sandbox, path, clock).access_token()

    assert damage == path.with_name("kakao-token.json.damaged-20261123T030000").read_bytes()
    assert "was damaged; it is set aside" in caplog.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("kakao_code.json", b'{"access_token": "a", "refresh_token": "b"}', id="a token answer"),
        pytest.param("kakao-token.json", b'{"access_token": "a", "refresh_token": "b"}', id="one under our name"),
        pytest.param("notifybot.toml", b'lang = "ko"\n', id="settings"),
        pytest.param("tokens.json", b"[1, 2]", id="a list"),
    ],
)
def test_a_file_of_another_program_is_neither_renamed_nor_written(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, name: str, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / name
    path.write_bytes(text)

    assert tokens(sandbox, path, clock).access_token()

    assert path.read_bytes() == text
    assert not list(tmp_path.glob("*.damaged-*"))
    tokens(sandbox, path, clock).access_token()
    assert caplog.text.count("is left as it is") == 1


def test_a_file_that_cannot_be_written_stops_no_message(
    sandbox: Sandbox, path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.write_text("a file where the folder should be")
    sandbox.kakao.old_refresh_token_survives = False
    clock.advance(_MONTH_S)
    mine = tokens(sandbox, path, clock)

    first = mine.access_token()
    clock.advance(86400)

    assert mine.access_token() != first
    assert "lives in memory alone" in caplog.text


@pytest.mark.parametrize("stamp", ["2026-11-23T03:00:00", "soon"])
def test_a_moment_without_a_zone_is_damage(sandbox: Sandbox, path: Path, clock: FakeClock, stamp: str) -> None:
    tokens(sandbox, path, clock).access_token()
    path.write_text(json.dumps(stored(path) | {"access_expires_at": stamp}))

    tokens(sandbox, path, clock).access_token()

    assert sandbox.kakao.refreshes == 2


def test_a_lock_that_is_never_given_back_is_not_waited_for_without_end(path: Path, clock: FakeClock) -> None:
    first, second = TokenFile(path, clock), TokenFile(path, clock)

    with first.locked(), pytest.raises(TemporaryError, match="for too long"), second.locked():
        pass
    with second.locked():
        pass
