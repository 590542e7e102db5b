"""Clients of others for the pretended services."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from slack_sdk import WebClient
from slack_sdk.webhook import WebhookClient

from notifybot.sandbox import Sandbox
from notifybot.sandbox.kakao_state import Friend
from notifybot.sandbox.slack_state import BOT_TOKEN
from tests.support.kakao_caller import Caller


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def kakao(sandbox: Sandbox, http: requests.Session) -> Caller:
    return Caller(sandbox, http)


@pytest.fixture
def spare(kakao: Caller) -> str:
    """The access token of an account that may write to friends."""
    kakao.world.refresh_tokens["spare"] = kakao.world.grant(frozenset({"talk_message", "friends"}), 5e6)
    kakao.world.friends = [Friend("uuid-a", "가"), Friend("uuid-b", "나", refuses=True)]
    return str(kakao.refresh("spare").json()["access_token"])


@pytest.fixture
def client(sandbox: Sandbox) -> WebClient:
    return WebClient(BOT_TOKEN, base_url=f"{sandbox.url}/api/", retry_handlers=[], timeout=5)


@pytest.fixture
def hook(sandbox: Sandbox) -> WebhookClient:
    return WebhookClient(sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"], retry_handlers=[], timeout=5)
