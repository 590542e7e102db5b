"""The gallery in a real browser: it fits a phone and a desk, and nothing is missing or loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from notifybot.cli.samples import gallery_samples, write_gallery
from notifybot.gallery.previews import AlarmSample, MessageSample, Sample
from notifybot.testing import FakeClock
from notifybot.types import Language

pytestmark = pytest.mark.browser

CHROMIUM = "/usr/bin/chromium"
FRAMES = """() => [...document.querySelectorAll("iframe")].map(frame => {
    const body = frame.contentDocument.body;
    const broken = [...body.querySelectorAll("img")].filter(each => !each.naturalWidth).length;
    return {name: frame.title, text: body.innerText.trim().length, broken,
            hidden: body.scrollHeight - frame.clientHeight, wide: body.scrollWidth - frame.clientWidth};
})"""
FRAMES_OF_A_MESSAGE = 4  # Slack's bot, its lock screen, its webhook, and KakaoTalk
FRAMES_OF_AN_ALARM = 2  # the first two


def frames_of(sample: Sample) -> int:
    return (
        FRAMES_OF_A_MESSAGE
        if isinstance(sample, MessageSample)
        else FRAMES_OF_AN_ALARM * isinstance(sample, AlarmSample)
    )


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole gallery, made once."""
    folder = tmp_path_factory.mktemp("gallery")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOTIFYBOT_LANG", "en")
        patch.setenv("NOTIFYBOT_STATE_DIR", str(folder / "state"))
        assert write_gallery(folder) == 0
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[390, 1280])
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    yield page
    page.close()


def test_every_page_fits_and_everything_on_it_can_be_seen(page: Page, gallery: Path) -> None:
    """No sideways scrolling, no frame that cuts its message, no picture that is missing, no complaint."""
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    samples = gallery_samples(Language.EN, FakeClock().now())
    expected = {each.label.replace(" ", "-"): frames_of(each) for each in samples}

    for path in sorted(gallery.rglob("*/*.html")):
        page.goto(path.as_uri(), wait_until="load")
        frames = page.evaluate(FRAMES)

        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert len(frames) == expected.get(path.stem, 0), path
        for each in frames:
            assert each["text"] > 10, each
            assert each["broken"] == 0, each
            assert each["hidden"] <= 1, each
            assert each["wide"] <= 0, each
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "about:"))] == []


def test_the_gallery_opens_at_the_readers_index(page: Page, gallery: Path) -> None:
    page.goto((gallery / "index.html").as_uri(), wait_until="load")
    page.wait_for_url("**/en/index.html")

    page.get_by_role("link", name="run_lost").first.click()

    assert page.url.endswith("/en/run_lost.html")
    assert page.locator("iframe").count() == FRAMES_OF_A_MESSAGE
