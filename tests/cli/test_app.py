"""The command line as a whole: what it prints, with which exit code, in any terminal, and never with a traceback."""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from notifybot import __version__
from notifybot.cli import app, main
from notifybot.cli.samples import endings, samples
from notifybot.i18n import _catalog, text
from notifybot.policy import Unwanted
from notifybot.rendering.labels import status_word
from notifybot.sandbox.server import Sandbox
from notifybot.store.database import Store
from notifybot.types import DeliveryState, Language, Status
from tests.support.cli_runs import NOW, command, live

runner = CliRunner()


# ── The whole ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_version_is_the_packages() -> None:
    done = command("--version")

    assert (done.returncode, done.stdout, done.stderr) == (0, f"notifybot {__version__}\n", "")


def test_the_version_reads_no_texts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A shell's prompt may ask for it: the catalog is for those who read more."""
    read: dict[str, object] = {}
    monkeypatch.setattr("notifybot.i18n._CATALOGS", read)
    monkeypatch.setattr(sys, "argv", ["notifybot", "--version"])

    with pytest.raises(SystemExit):
        main()

    assert capsys.readouterr().out == f"notifybot {__version__}\n"
    assert read == {}


def test_every_command_explains_itself() -> None:
    """Each command of the map answers --help with more than its usage line."""
    overview = runner.invoke(app, ["--help"]).output

    for name in ("demo", "watchdog", "status", "send", "test", "outbox", "sandbox"):
        assert f" {name} " in overview
        shown = runner.invoke(app, [name, "--help"])
        assert shown.exit_code == 0
        assert "Usage: " in shown.output
        assert len(shown.output.splitlines()) > 8
    for name in ("new", "list", "revoke"):
        assert runner.invoke(app, ["watchdog", "token", name, "--help"]).exit_code == 0


def test_the_language_that_is_asked_for_is_the_errors_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        monkeypatch.setattr(sys, "argv", ["notifybot", "sandbox", "--port", port, "--language", "ko"])

        with pytest.raises(SystemExit):
            main()

    assert f"포트 {port}을(를) 쓸 수 없습니다(다른 프로그램이 이미 사용하고 있습니다)" in capsys.readouterr().err


def test_a_wrong_setting_is_one_line_on_stderr() -> None:
    """Our own errors end with code 2, without a traceback, whatever the command."""
    for name in (["status"], ["outbox"], ["send", "x"], ["test"], ["sandbox"], ["watchdog", "token", "list"]):
        done = command(*name, NOTIFYBOT_LANG="klingon")

        assert done.returncode == 2
        assert done.stderr == "notifybot: NOTIFYBOT_LANG in the environment must be ko or en\n"
        assert done.stdout == ""


def test_a_wrong_call_is_told_without_a_traceback() -> None:
    done = command("bogus")

    assert done.returncode == 2
    assert "No such command 'bogus'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_state_folder_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    """A database that cannot be opened names the path and the remedy."""
    (tmp_path / "watchdog.db").mkdir()

    done = command("watchdog", "token", "list", "--db", str(tmp_path / "watchdog.db"))

    assert done.returncode == 2
    assert done.stderr.startswith("notifybot: no database can be opened at ")
    assert len(done.stderr.splitlines()) == 1


def test_the_version_needs_nothing_heavy() -> None:
    """Commands import what they need when they run, so that the shell feels quick."""
    code = "import sys, notifybot.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    heavy = {"sqlalchemy", "pydantic", "requests", "slack_sdk", "jinja2", "fastapi", "torch", "wandb"}
    assert heavy & set(done.stdout.split()) == set()


# ── Words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_both_languages_say_everything() -> None:
    """No text is empty or left in English in the Korean set, and every status has one."""
    english, korean = _catalog("en"), _catalog("ko")
    ours = [key for key in english if key.startswith("cli.")]

    assert [key for key in ours if not english[key]] == []
    assert [key for key in ours if not re.search("[가-힣]", korean[key])] == []
    assert {key.rpartition(".")[2] for key in ours if key.startswith("cli.run_status.")} == set(Status)
    assert {key.rpartition(".")[2] for key in ours if key.startswith("cli.outbox.state.")} == set(DeliveryState)
    unwanted = {key.rpartition(".")[2] for key in ours if key.startswith("cli.explain.unwanted.")}
    assert unwanted == {each.name.lower() for each in Unwanted} - {"route"}


@pytest.mark.parametrize("language", Language)
def test_a_status_has_the_same_word_as_in_messages(language: Language) -> None:
    """One word per thing: the table of runs and the messages about them agree."""
    for event in endings(language, NOW):
        assert text(language, f"cli.run_status.{event.status}") == status_word(event, language)
    started, *_, stalled, lost, _, _ = samples(language, NOW)
    assert text(language, "cli.run_status.running") == status_word(started, language)
    assert text(language, "cli.status.stalled") == status_word(stalled, language)
    assert text(language, "cli.run_status.lost") == status_word(lost, language)


# ── Terminals that are not UTF-8 ─────────────────────────────────────────────────────────────────────────────────────

COMMANDS = (
    ["--help"],
    ["status"],
    ["status", "--json"],
    ["doctor"],
    ["doctor", "--json"],
    ["outbox"],
    ["outbox", "--json"],
    ["outbox", "list"],
    ["outbox", "list", "--json"],
    ["test", "--explain"],
    ["send", "끝 ✅", "-s", "success"],
    ["kakao", "status"],
    ["kakao", "friends"],
    ["slack", "manifest"],
    ["watchdog", "token", "list"],
    ["watchdog", "token", "list", "--json"],
    ["test", "--kind", "없는 종류"],
)


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("encoding", ["cp949", "euc-kr", "latin-1", "ascii", "utf-8"])
def test_every_command_speaks_to_every_terminal(
    store: Store, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, encoding: str, language: str
) -> None:
    """A Korean Windows console, a pipe of another locale: signs they lack are spelled out, JSON keeps every word."""
    name = "실험 🚀"
    live(store, name, status=Status.FINISHED)
    monkeypatch.setenv("NOTIFYBOT_LANG", language)

    for line in COMMANDS:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n") for _ in range(2))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["notifybot", *line])
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as left:
                main()
            out.flush()
            err.flush()
        said = [each.buffer.getvalue().decode(encoding) for each in (out, err)]

        assert left.value.code in (0, 1, 2, None), (line, said)
        assert "Traceback" not in said[1], (line, said)
        if "--json" in line:
            json.loads(said[0])
        if line == ["status", "--json"]:
            assert json.loads(said[0])[0]["name"] == name

    assert len(sandbox.slack.messages) == 1
