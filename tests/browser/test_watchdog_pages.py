"""The watchdog's pages in a real browser: they fit, they stay fresh, and nothing is blocked or logged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from notifybot.events import CheckpointSaved, RunLost, RunStarted
from notifybot.store.database import Store
from notifybot.testing import FakeClock
from notifybot.types import Checkpoint, Host, ModelSize, Resumed, Tier, uuid7
from notifybot.watchdog import logins
from tests.support.watchdog_board import LONG_NAME, RunHistory, seed

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
RESUMED = ["/runs/run-8", "/runs/run-9"]
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
from notifybot.store.database import Store
from notifybot.watchdog.service import Watchdog
from notifybot.web.app import create_app
from notifybot.web.server import run

store = Store.open(Path(sys.argv[1]), patience_s=2.0)
run(create_app(Watchdog(store)), "127.0.0.1", 0, ready=lambda url: print(url, flush=True))
"""


def seed_resumed(database: Path, now: datetime) -> None:
    """Add a run that goes on on a new machine, and one whose checkpoint stayed behind on a lost one."""
    with Store.open(database, clock=FakeClock(now), patience_s=2.0) as store:
        again = RunHistory(store, now, "resnet50-flowers-transfer", 17, 30, until=4, seed=8).go_on({"lr": 0.001})
        copied = Checkpoint("/content/drive/MyDrive/flowers/checkpoint_epoch17_0.4120.pt", 17, 94_371_840, Tier.REMOTE)
        again.progress = replace(again.progress, checkpoint=copied)
        again.run = replace(again.run, session=uuid7(now.timestamp()))
        again.record(
            RunStarted(
                **again.at(3),
                attempt=2,
                total=30,
                host=Host("colab-51d7", "Linux x86_64", "3.12.11", "Tesla T4", 96, 13_609_451_520, 190.0),
                beat_s=30.0,
                resumed=Resumed(17, copied.path, since_s=760.0, lost_s=720.0, new_machine=True),
                model=ModelSize(25_557_032, 1_062_912, tuple(f"backbone.layer{number}" for number in range(1, 5))),
            )
        )
        again.record(CheckpointSaved(**again.at(1), checkpoint=copied)).heard(8)
        lost = RunHistory(store, now, "resnet18-local-disk", 9, 30, until=50, seed=9).go_on()
        kept = Checkpoint("/content/ck/checkpoint_epoch9_1.0160.pt", 9, 44_802_131, Tier.LOCAL)
        lost.progress = replace(lost.progress, checkpoint=kept)
        lost.record(CheckpointSaved(**lost.at(49), checkpoint=kept))
        lost.record(RunLost(**lost.at(40), silent_s=124, limit_s=120)).heard(3000)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    now = datetime.now(UTC)
    path = seed(tmp_path_factory.mktemp("watchdog"), now)
    seed_resumed(path, now)
    return path


@pytest.fixture(scope="module")
def url(database: Path) -> Iterator[str]:
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
def tab(browser: Browser, url: str, database: Path, request: pytest.FixtureRequest) -> Iterator[Tab]:
    """A browser that has used a link as `notifybot watchdog` prints it."""
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, timezone_id="Asia/Seoul")
    tab = Tab(context.new_page(), [])
    tab.page.on("console", lambda message: tab.said.append(message.text))
    tab.page.on("pageerror", lambda error: tab.said.append(str(error)))
    with Store.open(database, patience_s=5.0) as store:
        tab.page.goto(logins.link(store, url))
    yield tab
    context.close()
    assert tab.said == []


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize(
    "path", ["/", "/runs/run-1", "/runs/run-2", "/runs/run-3", "/runs/run-4", "/runs/run-5", *RESUMED]
)
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


def test_a_resumed_run_tells_from_where_on_what_and_how_safe_it_is(tab: Tab, url: str) -> None:
    tab.page.goto(f"{url}/runs/run-8?lang=en")
    details = tab.page.locator(".facts").last.inner_text()

    assert "from epoch 17 · on a new T4 · 12 min lost" in details
    assert "1.1 M of 25.6 M parameters learn · frozen: backbone.layer1, backbone.layer2 +2" in details
    assert "verified and copied · /content/drive/MyDrive/flowers/checkpoint_epoch17_0.4120.pt · 94.4 MB" in details
    assert "12.7 GB" in details


def test_a_lost_run_whose_checkpoint_may_be_gone_says_so(tab: Tab, url: str) -> None:
    tab.page.goto(f"{url}/runs/run-9?lang=ko")

    assert "디스크가 남아 있을 때만 에포크 9에 이어서" in tab.page.locator(".notice").inner_text()


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
