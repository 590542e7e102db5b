"""The scenario of the demo before it begins; tests/processes/test_demo.py plays it."""

from __future__ import annotations

from pathlib import Path

import pytest

from notifybot.demo.scenario import main
from notifybot.errors import UsageError
from notifybot.types import Language


@pytest.mark.needs("torch")
def test_real_without_an_account_says_so_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no account is configured"):
        main(True, Language.EN, folder=tmp_path / "out")

    assert not (tmp_path / "out").exists()
