"""The demo itself at a small size: the real processes, a real SIGKILL, and every check observed."""

from __future__ import annotations

from pathlib import Path

import pytest

from notifybot.demo.scenario import Size, main
from notifybot.types import Language


def test_the_whole_story_is_observed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It exits with 0, and leaves transcripts in both languages and pages to open, without a secret in them."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "out"

    code = main(False, Language.EN, folder=folder, size=Size(epochs=4, kill_after=2, epoch_s=1.5))

    told = capsys.readouterr().out
    assert code == 0, told
    assert "✗" not in told
    assert {path.name for path in folder.glob("transcript.*")} == {"transcript.en.md", "transcript.ko.md"}
    assert {"thread.en.html", "phone.ko.html", "run.en.html"} <= {path.name for path in (folder / "pages").iterdir()}
    readable = [path for path in folder.rglob("*") if path.suffix in {".md", ".html", ".log", ".jsonl"}]
    assert [path for path in readable if "canary" in path.read_text("utf-8")] == []
