"""Messages by hand and a KakaoTalk notifier that points at a sandbox, for the Kakao tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from notifybot.clock import Clock
from notifybot.events import EpochFinished
from notifybot.notifiers.base import Envelope, Memory
from notifybot.notifiers.kakao import Credentials, KakaoTalk
from notifybot.notifiers.kakao.api import Tokens
from notifybot.sandbox import Sandbox
from notifybot.sandbox.kakao_state import CLIENT_SECRET, REFRESH_TOKEN, REST_API_KEY
from notifybot.testing import DictMemory, FakeClock
from notifybot.types import Fact, Language, Message, MetricRow, Progress, RunRef, Severity

RUN = RunRef("resnet-cifar-7f3a", "resnet-cifar", "vision", "session-1")
AT = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
EVENT_ID = "019ab000-0000-7000-8000-0000cafe1234"
ROWS = (
    MetricRow("train_loss", "0.2154", "-0.0312", "0.2154"),
    MetricRow("val_loss", "0.3011", "+0.0020", "0.2991"),
    MetricRow("val_accuracy", "91.32%", "+0.41%", "91.32%"),
)
MEMO_PATH = "/memo/default/send"


def message(**changes: Any) -> Message:
    fields: dict[str, Any] = {
        "event_id": EVENT_ID,
        "kind": "epoch_finished",
        "run": RUN,
        "at": AT,
        "language": Language.EN,
        "severity": Severity.INFO,
        "title": "resnet-cifar: epoch 12/30",
        "body": "Best val_accuracy so far.",
        "brief": "resnet-cifar: epoch 12/30, val_accuracy 91.32%",
        "facts": (Fact("Elapsed time", "1 h 2 min"), Fact("ETA", "12 min")),
        "rows": ROWS,
    }
    return Message(**fields | changes)


def envelope(memory: Memory | None = None, **changes: Any) -> Envelope:
    event = EpochFinished(id=EVENT_ID, run=RUN, at=AT, progress=Progress(epoch=12, done=12, total=30))
    return Envelope(event, message(**changes), memory or DictMemory())


def credentials(*, refresh_token: str | None = REFRESH_TOKEN, secret: str | None = CLIENT_SECRET) -> Credentials:
    return Credentials(
        SecretStr(REST_API_KEY),
        SecretStr(secret) if secret else None,
        SecretStr(refresh_token) if refresh_token else None,
    )


def memo(sandbox: Sandbox, path: Path, clock: Clock, **changes: Any) -> KakaoTalk:
    fields: dict[str, Any] = {
        "credentials": credentials(),
        "token_file": path / "kakao-token.json",
        "api_url": f"{sandbox.url}/kakao/api",
        "auth_url": f"{sandbox.url}/kakao/auth",
        "clock": clock,
    }
    return KakaoTalk(**fields | changes)


def tokens(sandbox: Sandbox, path: Path, clock: FakeClock, **changes: Any) -> Tokens:
    return Tokens(credentials(**changes), path, auth_url=f"{sandbox.url}/kakao/auth/", clock=clock)
