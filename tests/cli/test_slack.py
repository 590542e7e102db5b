"""Setting up Slack: the manifest, and the conversation that ends with a token and a channel that work."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from notifybot.cli import app
from notifybot.cli.slack import with_values
from notifybot.config import load
from notifybot.errors import UsageError
from notifybot.sandbox.server import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN

ROOT = Path(__file__).parents[2]
runner = CliRunner()


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    """Slack in the sandbox, not set up yet, and an empty folder to work in."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    with Sandbox() as opened:
        monkeypatch.setenv("NOTIFYBOT_SLACK_API_URL", f"{opened.url}/api/")
        yield opened


def answering(*lines: str, language: str = "en") -> Result:
    """Go through the setup with these answers."""
    return runner.invoke(app, ["slack", "setup", "-l", language], input="".join(f"{line}\n" for line in lines))


# ── The manifest ─────────────────────────────────────────────────────────────────────────────────────────────────────


# ── The conversation ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "answers",
    [(), (BOT_TOKEN,), (BOT_TOKEN, "trainning"), (BOT_TOKEN, "C0TRAINING")],
    ids=["none", "token", "refused channel", "channel"],
)
def test_where_nobody_can_answer_the_setup_says_so(sandbox: Sandbox, answers: tuple[str, ...]) -> None:
    """In a script or a container without a terminal it is a mistake with a reason, not only "Aborted"."""
    result = answering(*answers)

    assert (result.exit_code, isinstance(result.exception, UsageError)) == (1, True)
    assert "needs a terminal" in str(result.exception)


def test_the_setup_ends_with_settings_that_work(sandbox: Sandbox) -> None:
    """Token and channel are checked, written where only their owner reads them, and never shown."""
    result = answering(BOT_TOKEN, "#training", "y")

    assert result.exit_code == 0, result.output
    assert BOT_TOKEN[:10] not in result.output
    assert "the token works: notifybot in Sandbox" in result.output
    assert "the bot may write into training" in result.output
    file = Path("notifybot.toml")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    config = load()
    assert config.slack_bot_token is not None
    assert (config.slack_bot_token.get_secret_value(), config.slack_channel) == (BOT_TOKEN, "training")
    assert sandbox.slack.messages == []
    assert os.listdir() == ["notifybot.toml"]


@pytest.mark.parametrize("language", ["en", "ko"])
def test_who_writes_no_file_is_told_the_lines(sandbox: Sandbox, language: str) -> None:
    """For notifybot.toml, the shell and Colab, with a place for the token instead of the token."""
    result = answering(BOT_TOKEN, "training", "n", language=language)

    assert result.exit_code == 0, result.output
    for line in ('slack_bot_token = "xoxb-…"', "export NOTIFYBOT_SLACK_CHANNEL=training", "Colab"):
        assert line in result.output
    assert BOT_TOKEN[:10] not in result.output
    assert os.listdir() == []


def test_a_token_is_asked_for_until_slack_knows_it(sandbox: Sandbox) -> None:
    """What cannot be a bot token is not even sent; what Slack refuses is explained."""
    result = answering("xoxp-canary-of-a-person", "xoxb-canary-wrong-token", BOT_TOKEN, "training", "n")

    assert result.exit_code == 0, result.output
    assert "That is no bot token" in result.output
    assert "the token is not known (invalid_auth)" in result.output
    assert all("xoxp-canary" not in str(each.headers) for each in sandbox.requests)
    assert "canary-" not in result.output


def test_a_missing_scope_stops_before_the_channel(sandbox: Sandbox) -> None:
    """A token that can post, but send no picture, would disappoint later."""
    sandbox.slack.scopes.discard("files:write")

    result = answering(BOT_TOKEN)

    assert result.exit_code == 1, "the answers ended"
    assert "scopes are missing: files:write" in result.output
    assert "notifybot slack manifest" in result.output


def test_a_channel_is_asked_for_until_the_bot_may_write_there(sandbox: Sandbox) -> None:
    """A typing mistake and a missing invitation are explained; Enter tries the same one again."""
    sandbox.slack.refuse("chat.scheduleMessage", "not_in_channel")

    result = answering(BOT_TOKEN, "training", "", "n")

    assert result.exit_code == 0, result.output
    assert "the bot is not in #training (not_in_channel)" in result.output
    assert "/invite @notifybot" in result.output

    assert "(channel_not_found)" in answering(BOT_TOKEN, "trainning", "training", "n").output


@pytest.mark.parametrize(
    ("language", "asked"), [("en", "Enter to try trainning again"), ("ko", "trainning 채널을 다시 확인")]
)
def test_a_channel_that_was_refused_is_no_default(sandbox: Sandbox, language: str, asked: str) -> None:
    """Enter alone is for a bot that was invited meanwhile, and says so."""
    shown = answering(BOT_TOKEN, "trainning", "", "training", "n", language=language).output

    assert shown.count(asked) == 2
    assert "[trainning]" not in shown


OLD = """\
# our lab
project = "vision"  # the team's

slack_bot_token = "xoxb-canary-revoked"  # from May
slack_channel = 'old'

[notifiers.slack]
every = "5 epochs"
"""


def test_settings_that_are_there_are_kept(sandbox: Sandbox) -> None:
    """New keys stand above the tables of a file; once they are there, they are not written again."""
    Path("notifybot.toml").write_text('project = "vision"\n[notifiers.slack]\nevery = "5 epochs"\n')

    assert answering(BOT_TOKEN, "training", "y").exit_code == 0
    assert (load().project, load().slack_channel, load().notifiers.names) == ("vision", "training", ("slack",))

    before = Path("notifybot.toml").read_text()
    again = answering(BOT_TOKEN, "training")
    assert again.exit_code == 0, again.output
    assert "Slack is set up." in again.output
    assert Path("notifybot.toml").read_text() == before


def test_values_that_no_longer_hold_are_replaced_in_their_place(sandbox: Sandbox) -> None:
    """Comments, order and tables stay, and nobody else can read the file afterwards."""
    file = Path("notifybot.toml")
    file.write_text(OLD)
    file.chmod(0o644)

    result = answering(BOT_TOKEN, "training", "y")

    assert result.exit_code == 0, result.output
    assert "notifybot.toml holds other values for slack_bot_token, slack_channel" in result.output
    assert "Slack is set up." in result.output
    assert "canary-revoked" not in result.output
    assert file.read_text() == OLD.replace("xoxb-canary-revoked", BOT_TOKEN).replace("'old'", '"training"')
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(("language", "told"), [("en", "Slack is not set up"), ("ko", "Slack이 설정되지 않았습니다")])
def test_who_keeps_the_old_values_is_not_told_that_slack_is_set_up(sandbox: Sandbox, language: str, told: str) -> None:
    """The next message would fail with the token that stands in the file."""
    Path("notifybot.toml").write_text(OLD)

    result = answering(BOT_TOKEN, "training", "n", language=language)

    assert result.exit_code == 1
    assert told in result.output
    assert "notifybot test -n slack" not in result.output
    assert Path("notifybot.toml").read_text() == OLD


def test_the_file_that_is_read_is_the_one_that_is_written(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """NOTIFYBOT_CONFIG names it; through a link, the link stays."""
    real, link = tmp_path / "lab.toml", tmp_path / "link.toml"
    real.write_text('project = "vision"\n')
    link.symlink_to(real)
    monkeypatch.setenv("NOTIFYBOT_CONFIG", str(link))

    result = answering(BOT_TOKEN, "training", "y")

    assert result.exit_code == 0, result.output
    assert str(link) in result.output
    assert load().slack_channel == "training"
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", "NOTIFYBOT_SLACK_BOT_TOKEN in the environment holds another value, and that is the one used"),
        ("ko", "환경 변수의 NOTIFYBOT_SLACK_BOT_TOKEN에 다른 값이 있고 그 값이 쓰입니다"),
    ],
)
def test_a_variable_that_wins_over_the_file_is_named(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, language: str, told: str
) -> None:
    """What was written would never be used."""
    monkeypatch.setenv("NOTIFYBOT_SLACK_BOT_TOKEN", "xoxb-canary-old")
    monkeypatch.setenv("NOTIFYBOT_SLACK_CHANNEL", "#training")

    result = answering(BOT_TOKEN, "training", "y", language=language)

    assert result.exit_code == 1, result.output
    assert told in result.output
    assert "NOTIFYBOT_SLACK_CHANNEL" not in result.output, "that one holds the same"
    assert "canary-old" not in result.output


def test_half_a_set_is_what_a_person_comes_to_mend(sandbox: Sandbox) -> None:
    """A token without a channel is an error everywhere else; here it is the beginning."""
    Path("notifybot.toml").write_text('slack_bot_token = "xoxb-canary-alone"\n')

    result = answering(BOT_TOKEN, "training", "y")

    assert result.exit_code == 0, result.output
    assert load().slack_channel == "training"


def _refuse(number: int, *_: object, **__: object) -> None:
    raise OSError(number, os.strerror(number))


def test_a_file_that_cannot_be_changed_is_told_with_the_lines(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value in a form that is not read here, and a folder that takes no file: nothing is lost, nothing claimed."""
    spread = 'slack_bot_token = """xoxb-\\\n   canary-spread"""\nslack_channel = "old"\n'
    Path("notifybot.toml").write_text(spread)

    result = answering(BOT_TOKEN, "training", "y")

    assert result.exit_code == 1
    assert "cannot be changed without touching other lines" in result.output
    assert 'slack_channel = "training"' in result.output
    assert Path("notifybot.toml").read_text() == spread

    Path("notifybot.toml").unlink()
    monkeypatch.setattr(tempfile, "mkstemp", partial(_refuse, errno.EROFS))
    result = answering(BOT_TOKEN, "training", "y")
    assert result.exit_code == 0
    assert "notifybot.toml cannot be written: Read-only file system" in result.output
    assert "Slack is set up once they stand where your training runs" in result.output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", 'a = "1"\nb = "2"\n', id="no file"),
        pytest.param("[t]\na = 'x'\n", 'a = "1"\nb = "2"\n\n[t]\na = \'x\'\n', id="a table's own key"),
        pytest.param(
            'c = """\na = "x"\n"""\na = "y"\n', 'b = "2"\n\nc = """\na = "x"\n"""\na = "1"\n', id="in a string"
        ),
        pytest.param('"a" = "x"\r\nb="y" # why\r\n', '"a" = "1"\r\nb="2" # why\r\n', id="quoted, from Windows"),
        pytest.param('a = "x\\"y"\n  b = "z"', 'a = "1"\n  b = "2"', id="escaped, no last line end"),
        pytest.param("a = 5\n", None, id="no string"),
    ],
)
def test_only_the_two_values_of_a_file_change(text: str, expected: str | None) -> None:
    assert with_values(text, {"a": "1", "b": "2"}) == expected


def test_a_channel_in_any_letters_is_written_as_toml_reads_it() -> None:
    text = with_values("", {"slack_channel": "학습-🔥"})

    assert text is not None
    assert tomllib.loads(text) == {"slack_channel": "학습-🔥"}
