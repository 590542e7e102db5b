"""Writes the pictures of the front page and the manual: one message as the gallery shows it, in both languages.

Run it where a message's look has changed: `python docs/pictures.py`. It needs Chromium, as the browser tests do.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from notifybot.cli.samples import gallery_samples
from notifybot.clock import SYSTEM
from notifybot.gallery.page import pages
from notifybot.types import Language

ROOT = Path(__file__).parents[1]
CHROMIUM = "/usr/bin/chromium"
MESSAGE = "epoch_finished"
FIGURES = {"slack.png": 0, "kakaotalk.png": 3}  # the bot's message with its thread, and the phone
WIDTH, HEIGHT = 640, 1400


def main() -> None:
    """Write them anew, beside the pages that show them."""
    own = {each: [one for one in gallery_samples(each, SYSTEM.now()) if one.label == MESSAGE] for each in Language}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        for name, html in pages(own, SYSTEM, Language.EN):
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(html, "utf-8")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        for language in Language:
            page.goto(Path(folder, language, f"{MESSAGE}.html").as_uri(), wait_until="load")
            for name, place in FIGURES.items():
                page.locator("figure").nth(place).screenshot(path=ROOT / "docs" / language / "images" / name)
        browser.close()


if __name__ == "__main__":
    main()
