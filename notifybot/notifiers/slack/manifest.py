"""Manifest of the bot's Slack app: pasted once into Slack's page, it gives a token with just the scopes we use."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

SCOPES = ("chat:write", "files:write")
"""All that the bot is allowed: messages, edits, threads and scheduled messages; pictures of learning curves."""

_NEW_APP = "https://api.slack.com/apps?new_app=1"


def manifest() -> dict[str, Any]:
    """The app's manifest: https://docs.slack.dev/reference/app-manifest

    Token rotation stays off: with it the bot's token would end after twelve hours, in the middle of a training.
    """
    return {
        "_metadata": {"major_version": 1},
        "display_information": {
            "name": "notifybot",
            "description": "Tells how your training runs are doing, and when one dies.",
            "background_color": "#2c2d30",
        },
        "features": {"bot_user": {"display_name": "notifybot", "always_online": False}},
        "oauth_config": {"scopes": {"bot": list(SCOPES)}},
        "settings": {"org_deploy_enabled": False, "socket_mode_enabled": False, "token_rotation_enabled": False},
    }


def as_json() -> str:
    """The manifest as JSON."""
    return json.dumps(manifest(), indent=2) + "\n"


def as_yaml() -> str:
    """The manifest as YAML."""
    return "".join(_lines(manifest(), ""))


def address() -> str:
    """The page that makes the app, with the manifest filled in."""
    return f"{_NEW_APP}&manifest_json={quote(json.dumps(manifest(), separators=(',', ':')), safe='')}"


def _lines(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    """YAML's block style, for mappings of mappings, lists of text, and JSON's scalars, which YAML shares."""
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield f"{indent}{key}:\n"
            yield from _lines(inner, indent + "  ")
        elif isinstance(inner, list):
            yield f"{indent}{key}:\n"
            yield from (f"{indent}  - {each}\n" for each in inner)
        else:
            yield f"{indent}{key}: {json.dumps(inner)}\n"
