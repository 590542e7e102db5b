"""Shared by the tests of KakaoTalk: a sandbox whose app has a client secret, and the path of a token file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from notifybot.sandbox import Sandbox
from notifybot.sandbox.kakao_state import CLIENT_SECRET
from notifybot.testing import FakeClock


@pytest.fixture
def sandbox(clock: FakeClock) -> Iterator[Sandbox]:
    with Sandbox(clock=clock) as opened:
        opened.kakao.client_secret = CLIENT_SECRET
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "kakao-token.json"
