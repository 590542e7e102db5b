"""What the commands share: listings in a terminal of any width, and a missing extra."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.i18n import text
from notifybot.store.database import Store
from notifybot.types import Language, Status
from tests.support.cli_runs import KEY, live, put_two

runner = CliRunner()


NAMES = ("resnet-a", "학습 실험 하나", "a" * 18, "efficientnet-b7-noisy-student-fold-3-of-5")


def without_frames(shown: str) -> str:
    """What stands there, whatever lines it was broken into."""
    return "".join(re.sub("[│┃┏┓┡┩└┘━─╇┳┴]", " ", shown).split())


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("columns", [20, 40, 80, 120, 200])
def test_a_listing_is_whole_in_a_terminal_of_any_width(
    store: Store, monkeypatch: pytest.MonkeyPatch, columns: int, language: Language
) -> None:
    """A table where it fits; else what it would say, in lines of their own. No word is cut, and none is squeezed."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NOTIFYBOT_LANG", language)
    statuses = (None, Status.INTERRUPTED, Status.FAILED, Status.STOPPED)
    for name, status in zip(NAMES, statuses, strict=True):
        live(store, name, status=status)
    outbox = put_two(store)
    delivery = outbox.claim(KEY)
    assert delivery is not None
    outbox.mark_dead(delivery, "the webhook was deleted by somebody who did not say so")

    what_to_do = text(language, "cli.outbox.what_to_do")
    runs, *others = (runner.invoke(app, line).output for line in (["status"], ["outbox"], ["outbox", "list"]))

    for shown in (runs, *others):
        assert "…" not in shown
        lines = [each for each in shown.splitlines() if each != what_to_do]  # its commands are to be copied whole
        assert max(map(cell_len, lines)) <= columns
    for name in NAMES:
        assert name in runs if cell_len(name) <= columns else without_frames(name) in without_frames(runs)
    for status in statuses:
        word = text(language, f"cli.run_status.{status or 'running'}")
        assert without_frames(word) in without_frames(runs)
        assert status is None or word in runs
    assert runs.count("val_loss 0.") == len(NAMES) + 1
    assert (KEY in others[0]) == (columns >= cell_len(KEY))
    assert without_frames("webhook was deleted by somebody who did not say so") in without_frames(others[1])


def test_a_missing_extra_is_named() -> None:
    """A command whose packages are not installed says which extra brings them."""
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "sys.argv = ['notifybot', 'watchdog', '--port', '0']\n"
        "from notifybot.cli import main; main()"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert done.stderr == (
        "notifybot: this command needs the package fastapi; in notifybot's folder run "
        'pip install -c constraints.txt ".[watchdog]"\n'
    )
