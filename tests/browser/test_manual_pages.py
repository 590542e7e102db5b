"""The built manual in a real browser: it fits a phone and a desk, loads nothing from elsewhere, and finds words."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[2]
ZENSICAL = Path(sys.executable).with_name("zensical")
CHROMIUM = "/usr/bin/chromium"
_LOADED = re.compile(  # and run, drawn or applied, unlike the address of a link
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//|<link\b[^>]*\bhref=["']?https?:"""
)
SEEN = ("index", "resume-and-checkpoints", "reference/settings", "reference/events")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both languages, built as `make docs` builds them: a link that leads nowhere fails it."""
    if not ZENSICAL.exists():
        pytest.skip("Zensical is not installed: make docs")
    folder = tmp_path_factory.mktemp("manual")
    shutil.copytree(ROOT / "docs", folder / "docs")
    for language in ("en", "ko"):
        shutil.copy(ROOT / f"zensical.{language}.toml", folder)
        command = [str(ZENSICAL), "build", "--strict", "-f", f"zensical.{language}.toml"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_every_page_is_built_and_loads_nothing_from_elsewhere(site: Path) -> None:
    """No script, style, font or picture comes from a network, and each page is in the menu of its language."""
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html") if path.name != "404.html"}
    written = {
        path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").glob("[ek][no]/**/*.md")
    }

    assert pages == {path.as_posix() for path in written}
    assert [page for page in pages if _LOADED.search((site / page).read_text("utf-8"))] == []
    for page in pages:
        front = (site / page.partition("/")[0] / "index.html").read_text("utf-8")
        assert page.partition("/")[2] in front, f"{page} is not in the menu"


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_pages_fit(site: Path, browser: Browser, language: str, width: int) -> None:
    """Nothing stands out of the window at the side, and no picture is missing."""
    page = browser.new_page(viewport={"width": width, "height": 844})
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    for name in SEEN:
        page.goto((site / language / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.evaluate("[...document.images].filter(each => !each.naturalWidth).length") == 0, name
    page.close()

    assert [url for url in requested if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.browser
def test_the_other_language_is_one_click_away(site: Path, browser: Browser) -> None:
    """The switch leads to the same page, not to the front."""
    page = browser.new_page()
    page.goto((site / "en" / "reference" / "cli.html").as_uri())
    target = page.locator('.md-select__link[hreflang="ko"]').evaluate("each => each.href")
    page.goto(target)

    assert page.locator("h1").first.inner_text().startswith("명령줄")
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize(("language", "word", "heading"), [("en", "webho", "webhook"), ("ko", "체크포", "체크포인트")])
def test_words_are_found_from_a_disk(site: Path, browser: Browser, language: str, word: str, heading: str) -> None:
    """The search needs no server, and the beginning of a word is enough, in Korean too."""
    page = browser.new_page(viewport={"width": 1280, "height": 844})
    page.goto((site / language / "index.html").as_uri())
    page.keyboard.press("Control+k")
    page.get_by_role("combobox").fill(word)

    assert heading in page.get_by_role("option").first.inner_text().lower()
    page.close()
