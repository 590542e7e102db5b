"""A curve on top of the message where Kakao takes it; the message itself never depends on it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from notifybot.events import Event
from notifybot.notifiers.kakao.notifier import LARGEST_BYTES, UPLOAD_PATH
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.http import FaultKind
from notifybot.sandbox.kakao_state import KakaoFault
from notifybot.testing import FakeClock
from tests.support.kakao_messages import EVENT_ID, envelope, memo


def png(width: int = 1080, height: int = 1080, *, filler: int = 0) -> bytes:
    """A PNG of one colour, with as many bytes more as asked for."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\x00" + b"\xff" * width for _ in range(height)))
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"tEXt", b"k\x00" + b"x" * filler))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def test_the_picture_is_uploaded_and_shown_with_its_size(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    """Facts: a square of 1080 is not cropped; image_width and image_height are sent with it."""
    asked: list[str] = []

    def painter(event: Event) -> bytes:
        asked.append(event.id)
        return png()

    memo(sandbox, tmp_path, clock, picture=painter).send(envelope())

    [message] = sandbox.kakao.messages
    content = message.template["content"]
    assert (asked, sandbox.kakao.images) == ([EVENT_ID], [png()])
    assert content["image_url"].endswith("/images/1")
    assert (content["image_width"], content["image_height"]) == (1080, 1080)
    assert message.template["item_content"]["items"]


def test_a_message_without_metrics_becomes_a_feed_for_its_picture(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock
) -> None:
    memo(sandbox, tmp_path, clock, picture=lambda _: png()).send(envelope(rows=()))

    [message] = sandbox.kakao.messages
    assert message.template["object_type"] == "feed"
    assert "item_content" not in message.template


def test_an_event_without_a_picture_uploads_nothing(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    memo(sandbox, tmp_path, clock, picture=lambda _: None).send(envelope())

    assert "image_url" not in sandbox.kakao.messages[0].template["content"]
    assert not any(UPLOAD_PATH in request.path for request in sandbox.requests)


@pytest.mark.parametrize("code", [-1, -2, -3, -5, -402, -602, -606, -911, -9798])
def test_a_picture_that_kakao_refuses_holds_no_message_up(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    sandbox.kakao.faults.append(KakaoFault(code, path="/image/upload"))

    memo(sandbox, tmp_path, clock, picture=lambda _: png()).send(envelope())

    [message] = sandbox.kakao.messages
    assert "image_url" not in message.template["content"]
    assert f"({code})" in caplog.text or f"code {code}" in caplog.text


@pytest.mark.parametrize("kind", ["reset_before", "reset_after", "garbage", "status", "hang"])
def test_a_picture_that_is_lost_on_the_way_holds_no_message_up(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, kind: FaultKind
) -> None:
    sandbox.faults.append(Fault(kind, path="/image/upload"))

    memo(sandbox, tmp_path, clock, picture=lambda _: png(), timeout_s=(1.0, 1.0)).send(envelope())

    assert len(sandbox.kakao.messages) == 1


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"infos": 5}', b'{"infos": {"original": {"url": 7}}}', b'{"infos": {"original": {"url": "file:///x"}}}'],
)
def test_an_answer_without_an_address_is_no_picture(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, body: bytes
) -> None:
    sandbox.kakao.faults.append(KakaoFault(path="/image/upload", status=200, body=body))

    memo(sandbox, tmp_path, clock, picture=lambda _: png()).send(envelope())

    assert "image_url" not in sandbox.kakao.messages[0].template["content"]


@pytest.mark.parametrize("picture", [b"", b"GIF89a" + b"\x00" * 40, png()[:20], png(8, 8, filler=LARGEST_BYTES)])
def test_what_is_no_picture_for_kakao_is_not_even_uploaded(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, picture: bytes
) -> None:
    memo(sandbox, tmp_path, clock, picture=lambda _: picture).send(envelope())

    assert (len(sandbox.kakao.messages), sandbox.kakao.images) == (1, [])


def test_a_feed_with_a_picture_that_is_refused_goes_as_text(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    sandbox.kakao.faults.append(KakaoFault(-2, path="/memo/"))

    memo(sandbox, tmp_path, clock, picture=lambda _: png()).send(envelope())

    assert [each.template["object_type"] for each in sandbox.kakao.messages] == ["text"]


def test_a_token_that_ended_is_renewed_for_the_picture_too(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    notifier = memo(sandbox, tmp_path, clock, picture=lambda _: png())
    notifier.send(envelope())
    sandbox.kakao.access_tokens.clear()

    notifier.send(envelope())

    assert (len(sandbox.kakao.images), sandbox.kakao.refreshes) == (2, 2)
