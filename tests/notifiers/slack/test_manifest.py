"""The bot's manifest: the same in each form and in the manual, within Slack's limits, with no scope too many."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.notifiers.slack.manifest import SCOPES, address, as_json, as_yaml, manifest
from notifybot.sandbox.slack_state import SCOPE_OF

ROOT = Path(__file__).parents[3]
runner = CliRunner()


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


@pytest.mark.parametrize("page", ["docs/en/slack.md", "docs/ko/slack.md"])
def test_the_manual_shows_the_same_manifest(page: str) -> None:
    """Whoever pastes it from there gets the same app."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    shown = [yaml.safe_load(block) for block in blocks if "oauth_config" in block]

    assert shown == [manifest()]
