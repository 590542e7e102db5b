"""The gallery: every message, language and notifier on one page, made without reaching anybody."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.cli.gallery import shown
from notifybot.cli.samples import endings, samples
from notifybot.errors import UsageError
from notifybot.events import KINDS
from notifybot.gallery.page import page
from notifybot.model import Language
from notifybot.sandbox.server import Sandbox
from notifybot.sandbox.workspace import BOT_TOKEN, WEBHOOK_PATH
from notifybot.testing import FakeClock

PLACES = {"Slack, bot", "Slack, lock screen", "Slack, webhook", "KakaoTalk", "Apprise", "console", "webhook"}


@pytest.fixture(scope="module")
def html() -> str:
    """A gallery of two kinds, which is enough to know how it is made; the whole is opened in tests/browser."""
    clock = FakeClock()
    now = clock.now()
    return page({each: [samples(each, now)[1], endings(each, now)[-1]] for each in Language}, clock)


def test_each_message_hangs_in_both_languages_in_every_place(html: str) -> None:
    sections = html.split("<section ")[1:]

    assert len(sections) == 2
    for section in sections:
        walls = re.split(r'<div class="wall" lang="(?:ko|en)">', section)[1:]
        assert len(walls) == len(Language)
        for wall in walls:
            assert set(re.findall(r"<(?:figcaption|summary)>(.*?)</", wall)) == PLACES
            frames = [unescape(each) for each in re.findall(r'srcdoc="(.*?)"></iframe>', wall, re.DOTALL)]
            assert len(frames) == 4
            assert all("resnet18-cifar10" in each for each in frames)


def test_the_page_needs_nothing_beside_it(html: str) -> None:
    """The sandbox is gone when somebody looks: its pictures are inside, and no address leads to it."""
    everything = unescape(html)

    assert "data:image/png;base64," in everything
    assert "http://127.0.0.1" not in everything
    assert re.findall(r'<(?:link|script|img)[^>]+(?:src|href)="(?!data:)', everything) == []
    assert BOT_TOKEN[:12] not in everything
    assert WEBHOOK_PATH not in everything


def test_nobody_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts that are set up stay out of it: a look at the gallery must not ring anybody's phone."""
    clock = FakeClock()
    with Sandbox() as real:
        for name, value in real.environment().items():
            monkeypatch.setenv(name, value)

        page({each: samples(each, clock.now())[:1] for each in Language}, clock)

        assert real.requests == []


def test_every_kind_and_every_ending_is_shown() -> None:
    """The same events in the same order in each language, so that they stand side by side."""
    kinds = {language: [each.kind for each in events] for language, events in shown(FakeClock().now()).items()}

    assert set(kinds) == set(Language)
    assert kinds[Language.KO] == kinds[Language.EN]
    assert set(kinds[Language.EN]) == set(KINDS)
    assert kinds[Language.EN].count("run_ended") == 4


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """At once, and not after everything was drawn."""
    (tmp_path / "file").write_text("")

    result = CliRunner().invoke(app, ["gallery", "--out", str(tmp_path / "file")])

    assert isinstance(result.exception, UsageError)
    assert "choose another folder with --out" in str(result.exception)
