"""The watchdog's pages in a real browser: they fit, they stay fresh, and nothing is blocked or logged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.watchdog_story import LONG_NAME, seed

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
QUIET = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SERVER = """
import sys
from pathlib import Path
from notifybot.store.engine import Store
from notifybot.watchdog.service import Watchdog
from notifybot.web.app import create_app
from notifybot.web.server import run

store = Store.open(Path(sys.argv[1]), patience_s=2.0)
run(create_app(Watchdog(store), local=True), "127.0.0.1", 0, ready=lambda url: print(url, flush=True))
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = seed(tmp_path_factory.mktemp("watchdog"), datetime.now(UTC))
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, database], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()
        assert server.wait(20) == 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@dataclass
class Tab:
    """A page and what its console said."""

    page: Page
    said: list[str]


@pytest.fixture(params=[(390, 844), (1280, 800)], ids=["phone", "desk"])
def tab(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Tab]:
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, timezone_id="Asia/Seoul")
    tab = Tab(context.new_page(), [])
    tab.page.on("console", lambda message: tab.said.append(message.text))
    tab.page.on("pageerror", lambda error: tab.said.append(str(error)))
    yield tab
    context.close()
    assert tab.said == []


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("path", ["/", "/runs/run-1", "/runs/run-2", "/runs/run-3", "/runs/run-4", "/runs/run-5"])
def test_a_page_fits_its_screen(tab: Tab, url: str, path: str, language: str) -> None:
    tab.page.goto(f"{url}{path}?lang={language}")

    assert tab.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert tab.page.locator("h1").count() == 1


def test_a_run_is_opened_from_the_list_and_the_language_stays(tab: Tab, url: str) -> None:
    tab.page.goto(f"{url}/?lang=ko")
    tab.page.get_by_role("link", name=LONG_NAME).click()

    assert tab.page.locator("h1").inner_text() == LONG_NAME
    assert tab.page.locator("svg.curve").count() == 2
    tab.page.get_by_role("link", name="전체 목록").click()
    assert tab.page.locator("h1").inner_text() == "실행 목록"
    tab.page.get_by_role("link", name="English").click()
    assert tab.page.locator("h1").inner_text() == "Runs"


def test_times_are_the_readers_own(tab: Tab, url: str) -> None:
    tab.page.goto(f"{url}/runs/run-1?lang=en")

    assert "UTC" not in tab.page.locator("time").first.inner_text()


def test_the_page_refreshes_itself_without_a_reload(tab: Tab, url: str) -> None:
    tab.page.goto(f"{url}/?lang=en")
    tab.page.evaluate("window.kept = true; document.querySelector('h1').textContent = 'old'")
    tab.page.evaluate("refresh()")
    tab.page.get_by_role("heading", name="Runs").wait_for()

    assert tab.page.evaluate("window.kept")


def test_a_page_says_when_the_watchdog_does_not_answer(tab: Tab, url: str) -> None:
    tab.page.goto(f"{url}/?lang=en")
    tab.page.route("**/*", lambda route: route.fulfill(status=503))
    tab.page.evaluate("refresh()")
    tab.page.get_by_text("The watchdog does not answer.").wait_for()
    tab.said.clear()  # the browser logs the refusal itself
