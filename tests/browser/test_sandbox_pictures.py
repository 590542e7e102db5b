"""Learning curves on the sandbox's pages in a real browser: seen, and never wider than the screen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from notifybot.cli.samples import endings, samples
from notifybot.clock import SYSTEM
from notifybot.delivery.chart_renderer import ChartRenderer
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


def told(sandbox: Sandbox, language: Language, painter: ChartRenderer | None) -> str:
    """Send a run's messages; return the address of its thread."""
    bot = SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/", artist=painter)
    memory, renderer, now = DictMemory(), Renderer(language), SYSTEM.now()
    for event in [*samples(language, now), *endings(language, now)[:1]]:
        bot.send(Envelope(event, renderer.render(event), memory))
    bot.close()
    return f"{sandbox.url}/slack?thread={sandbox.slack.roots[0].ts}"


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("width", [390, 1280])
def test_pictures_are_shown_in_the_thread(browser: Browser, tmp_path: Path, width: int, language: Language) -> None:
    """The uploaded picture is loaded at its full width of 1080 pixels and fits a phone's screen."""
    with Sandbox(language=language) as sandbox:
        page = browser.new_page(viewport={"width": width, "height": 844})
        page.goto(told(sandbox, language, ChartRenderer(tmp_path / "none.db", language)))
        page.wait_for_load_state("networkidle")

        loaded = page.evaluate("[...document.querySelectorAll('.picture img')].map(each => each.naturalWidth)")
        screen = page.evaluate("document.documentElement.scrollWidth")
        page.close()

    assert set(loaded) == {1080}
    assert screen == width


@pytest.mark.parametrize("width", [390, 1280])
def test_slacks_own_charts_and_tables_are_shown(browser: Browser, width: int) -> None:
    """Where no picture is drawn, the ending has its charts and its table of epochs."""
    with Sandbox() as sandbox:
        page = browser.new_page(viewport={"width": width, "height": 844})
        page.goto(told(sandbox, Language.EN, None))

        charts = page.locator(".thread .chart svg").count()
        tables = page.locator(".thread .caption").count()
        screen = page.evaluate("document.documentElement.scrollWidth")
        page.close()

    assert charts >= 2
    assert tables == 1
    assert screen == width
