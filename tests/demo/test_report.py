"""What the demo leaves to be read: a transcript, and pages that need no server."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from slack_sdk import WebClient

from notifybot.demo.checks import (
    KAKAO,
    POSTED,
    Arrival,
)
from notifybot.demo.report import Page, keep, still, transcript
from notifybot.events import EpochFinished, Event, RunEnded, RunLost, RunRecovered, RunStarted
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN
from notifybot.types import Language, Metric, Progress, RunRef, Status, uuid7

AT = datetime(2026, 11, 23, 9, tzinfo=UTC)
RUN = RunRef("run-1", "digits-cnn", "demo", "a")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
EVENTS: list[Event] = [
    RunStarted(id=uuid7(), run=RUN, at=AT, total=1),
    EpochFinished(id=uuid7(), run=RUN, at=AT, progress=Progress(0, 1, 1, {"val_acc": Metric(0.5)})),
    RunLost(id=uuid7(), run=RUN, at=AT, silent_s=6, limit_s=6),
    RunRecovered(id=uuid7(), run=RUN, at=AT, was="lost", away_s=9),
    RunEnded(id=uuid7(), run=RUN, at=AT, status=Status.FINISHED),
]


@pytest.mark.parametrize("language", Language)
def test_the_transcript_has_every_event_and_what_was_sent(language: Language) -> None:
    sent = [Arrival("kakao 0", AT, KAKAO, POSTED, "```\n<b>code</b>")]

    text = transcript(language, EVENTS, sent)

    assert all(each.id[-8:] in text for each in EVENTS)
    assert "````text\n```\n<b>code</b>\n````" in text


def test_a_kept_page_is_still_and_leads_to_the_other_copies() -> None:
    served = (
        '<meta http-equiv="refresh" content="2"><script nonce="x">go()</script>'
        '<a href="/slack?lang=ko&amp;thread=1.0"></a><a href="/phone?lang=en"></a><a href="/runs/a-b?lang=ko"></a>'
        '<a href="/"></a><a href="https://example.org"></a>'
        '<a href="/files/F1/a%20b.png"><img src="/files/F1/a%20b.png" alt="loss"></a><img src="/gone.png" alt="">'
    )

    assert still(served, Language.KO, {"/files/F1/a%20b.png": "picture-1.png"}) == (
        '<a href="thread.ko.html"></a><a href="phone.en.html"></a><a href="run.ko.html"></a>'
        '<a href="runs.ko.html"></a><a href="https://example.org"></a>'
        '<a href="picture-1.png"><img src="picture-1.png" alt="loss"></a>'
    )


def test_a_kept_page_has_its_pictures_beside_it(tmp_path: Path) -> None:
    """The curves in a thread are there when the sandbox is gone; one picture on several pages is one file."""
    with Sandbox() as sandbox:
        client = WebClient(BOT_TOKEN, base_url=f"{sandbox.url}/api/", retry_handlers=[], timeout=5)
        client.files_upload_v2(channel="C0TRAINING", content=PNG, filename="curve.png", title="loss")
        keep([Page(f"{sandbox.url}/slack", "slack", language) for language in Language], tmp_path)

    (picture,) = tmp_path.glob("picture-*.png")
    assert picture.read_bytes() == PNG
    assert all(f'<img src="{picture.name}"' in page.read_text("utf-8") for page in tmp_path.glob("slack.*.html"))
