"""The sandbox's pages in a real browser: nothing runs off a phone's screen, nothing is blocked or missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from notifybot.cli.samples import endings, samples
from notifybot.clock import SYSTEM
from notifybot.notifiers.base import Envelope
from notifybot.notifiers.slack import SlackBot
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.testing import DictMemory
from notifybot.types import Language

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without its sandbox since tests may run as root."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_screen(browser: Browser, width: int, language: Language) -> None:
    """Channel, thread and phone with every kind of message, wide tables and long paths, in both languages."""
    with Sandbox(language=language) as sandbox:
        bot = SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/")
        memory, renderer = DictMemory(), Renderer(language)
        now = SYSTEM.now()
        for event in [*samples(language, now), *endings(language, now)]:
            bot.send(Envelope(event, renderer.render(event, link="https://example.org"), memory))
        page = browser.new_page(viewport={"width": width, "height": 844})
        troubles: list[str] = []
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))

        widths = []
        for path in ("/slack", f"/slack?thread={sandbox.slack.roots[0].ts}", "/phone"):
            page.goto(sandbox.url + path)
            widths.append(page.evaluate("document.documentElement.scrollWidth"))
        page.close()

    assert widths == [width] * 3
    assert troubles == []
