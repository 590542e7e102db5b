"""The help of the commands in the reader's language, and what is wrong with a command line."""

from __future__ import annotations

import re
import sys

import pytest
import typer
from typer.testing import CliRunner

from notifybot.cli import app, main
from notifybot.cli.help import dress, places
from notifybot.i18n import _catalog

runner = CliRunner()


def test_every_command_explains_itself_in_korean() -> None:
    """No command without its text, none in English, and no text for what is gone."""
    command = typer.main.get_command(app)
    dress(command, "ko")
    dressed = dict(places(command))
    beside = ("cli.help.panel.", "cli.help.epilog", "cli.help.show_help")
    texts = {key.removeprefix("cli.help") for key in _catalog("ko") if key.startswith("cli.help") and key not in beside}

    assert {key for key in texts if not key.startswith(".panel.")} == set(dressed)
    assert [key for key, each in dressed.items() if not re.search("[가-힣]", each.help)] == []


def in_korean(monkeypatch: pytest.MonkeyPatch, *args: str) -> int | str | None:
    """Run a command for a reader of Korean in this process; return its exit code."""
    monkeypatch.setenv("NOTIFYBOT_LANG", "ko")
    monkeypatch.setattr(sys, "argv", ["notifybot", *args])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("send", "text 값이 필요합니다"),
        ("sned x", "'sned' 명령이 없습니다. 비슷한 명령: 'send'"),
        ("zzz", "'zzz' 명령이 없습니다"),
        ("send --titl x", "--titl 옵션이 없습니다"),
        ("status --limit many", "--limit 값이 올바르지 않습니다"),
        ("outbox list --state x", "--state 값이 올바르지 않습니다"),
        ("send x y", "값이 있습니다: y"),
        ("watchdog token revoke", "ID 값이 필요합니다"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_told_in_korean(
    line: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the way to the help, and the exit code that it has in English."""
    code = in_korean(monkeypatch, *line.split())

    what, how = capsys.readouterr().err.splitlines()
    assert code == 2
    assert told in what
    assert re.fullmatch(r"notifybot: 사용법 보기: notifybot .*--help", how)


def test_help_in_korean_loses_no_letter(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a line is full, the word goes on in the next one."""
    monkeypatch.setenv("COLUMNS", "80")

    codes = [in_korean(monkeypatch, *line.split()) for line in ("--help", "kakao login --help", "kakao")]

    shown = capsys.readouterr().out
    assert codes == [0, 0, 2]
    assert "…" not in shown
    assert "도움말을 보여 주고 끝냅니다." in shown
