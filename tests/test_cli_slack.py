"""Setting up Slack: the manifest, and the conversation that ends with a token and a channel that work."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from typer.testing import CliRunner, Result

from notifybot.cli import app
from notifybot.cli.slack_words import words_of
from notifybot.config import load
from notifybot.model import Language
from notifybot.notifiers.slack.manifest import SCOPES, address, as_json, as_yaml, manifest
from notifybot.sandbox.server import Sandbox
from notifybot.sandbox.workspace import BOT_TOKEN, SCOPE_OF

ROOT = Path(__file__).parents[1]
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


def test_yaml_and_json_are_the_same_manifest() -> None:
    assert yaml.safe_load(as_yaml()) == json.loads(as_json()) == manifest()
    assert runner.invoke(app, ["slack", "manifest"]).output == as_yaml()
    assert runner.invoke(app, ["slack", "manifest", "--yaml"]).output == as_yaml()
    assert runner.invoke(app, ["slack", "manifest", "--json"]).output == as_json()


def test_the_address_carries_the_manifest() -> None:
    """Slack's page takes it from there: https://docs.slack.dev/app-manifests"""
    query = parse_qs(urlsplit(address()).query)

    assert query["new_app"] == ["1"]
    assert json.loads(query["manifest_json"][0]) == manifest()


def test_the_manifest_keeps_slacks_limits() -> None:
    """https://docs.slack.dev/reference/app-manifest: name 35, description 140, bot 80 characters; no token rotation."""
    shown = manifest()

    assert len(shown["display_information"]["name"]) <= 35
    assert len(shown["display_information"]["description"]) <= 140
    assert len(shown["features"]["bot_user"]["display_name"]) <= 80
    assert shown["settings"]["token_rotation_enabled"] is False, "a bot token would end after twelve hours"


def test_the_scopes_are_those_of_the_methods_that_the_bot_calls() -> None:
    """Every method named in the bot's code needs a scope of the manifest, or none; no scope is asked for in vain."""
    code = "".join(path.read_text("utf-8") for path in (ROOT / "notifybot/notifiers/slack").glob("*.py"))
    called = {SCOPE_OF[method] for method in SCOPE_OF if f'"{method}"' in code}

    assert called <= set(SCOPES)
    assert set(SCOPES) == set(SCOPE_OF.values())


@pytest.mark.parametrize("readme", ["README.md", "README.ko.md"])
def test_the_readme_shows_the_same_manifest(readme: str) -> None:
    """Whoever pastes it from there gets the same app."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / readme).read_text("utf-8"), re.DOTALL)
    shown = [yaml.safe_load(block) for block in blocks if "oauth_config" in block]

    assert shown == [manifest()]


# ── The conversation ─────────────────────────────────────────────────────────────────────────────────────────────────


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
    assert "Slack does not know this token (invalid_auth)" in result.output
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


def test_settings_that_are_there_are_kept(sandbox: Sandbox) -> None:
    """New keys stand above the tables of a file; keys that are there are not written twice."""
    Path("notifybot.toml").write_text('project = "vision"\n')

    assert answering(BOT_TOKEN, "training", "y").exit_code == 0
    assert load().project == "vision"
    assert load().slack_channel == "training"

    before = Path("notifybot.toml").read_text()
    again = answering(BOT_TOKEN, "other")
    assert again.exit_code == 0, again.output
    assert Path("notifybot.toml").read_text() == before


def test_both_languages_say_everything() -> None:
    english, korean = words_of(Language.EN), words_of(Language.KO)

    for field in fields(english):
        first, second = getattr(english, field.name), getattr(korean, field.name)
        assert first
        assert any("가" <= letter <= "힣" for letter in second)
        assert re.findall(r"{\w+}", first).sort() == re.findall(r"{\w+}", second).sort()
