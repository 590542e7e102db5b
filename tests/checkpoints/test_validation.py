"""What cannot be meant as an argument of Checkpoints is refused at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from notifybot import Checkpoints, UsageError


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "every= is a whole number"),
        ({"every_s": 60.0}, "knows its place"),
        ({"grace_s": -1}, "grace_s= is a number"),
        ({"keep_last": -1}, "keep_last"),
        ({"mode": "least"}, "mode"),
        ({"extra": {"note": "text"}}, "note"),
    ],
)
def test_options_without_a_meaning_are_refused_at_once(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Checkpoints(tmp_path, model=nn.Linear(1, 1), **options)


@pytest.mark.parametrize("name", ["best.pt", "last.ckpt", "w.SAFETENSORS", "there"])
def test_a_file_in_place_of_the_folder_is_named(name: str, tmp_path: Path) -> None:
    """A path that is a file, or is called like one, is no folder to be made; one that is there already is fine."""
    (tmp_path / "there").write_text("")

    with pytest.raises(UsageError, match=rf"takes a folder, .* {name!r} is the name of a file: .* template="):
        Checkpoints(tmp_path / name, model=nn.Linear(1, 1))

    (tmp_path / "old.pt").mkdir()
    for folder in ("old.pt", "resnet.v2", "exp_1"):
        Checkpoints(tmp_path / folder, model=nn.Linear(1, 1))
