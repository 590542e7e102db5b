"""What fails in a model's code, a file or another library is one error, with its cause and the other ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
from torch import nn  # noqa: E402

from notifybot.errors import CheckpointError  # noqa: E402
from notifybot.models import load_model, load_weights, save_model  # noqa: E402
from tests.support.models import ROWS, Net  # noqa: E402

torch.set_num_threads(1)


class Branching(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """Depends on its input's values, which no export can follow."""

    def forward(self, x: Any) -> Any:
        return x if x.sum() > 0 else -x


def test_a_model_that_cannot_be_exported_says_what_to_do(tmp_path: Path) -> None:
    """The error names the cause and both ways out; nothing is left in the folder."""
    with pytest.raises(CheckpointError, match=r"Branching cannot be exported.*net\.pt.*save_weights"):
        save_model(Branching(), tmp_path / "net.pt2", example=ROWS)

    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_pickled_says_what_to_do(tmp_path: Path) -> None:
    """A lambda inside is the usual cause; the former file stays as it was."""
    model = Net()
    path = save_model(model, tmp_path / "net.pt")
    before = path.read_bytes()
    model.hook = lambda x: x

    with pytest.raises(CheckpointError, match=r"Net cannot be pickled.*example=.*save_weights"):
        save_model(model, path)

    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["net.pt", "net.pt.sha256"]


def test_a_file_that_is_none_is_a_clear_error(tmp_path: Path) -> None:
    """Garbage under every suffix."""
    for name in ("net.pt2", "net.pt", "net.safetensors"):
        (tmp_path / name).write_bytes(b"garbage")

    with pytest.raises(CheckpointError, match="cannot be loaded as an export"):
        load_model(tmp_path / "net.pt2")
    with pytest.raises(CheckpointError, match="cannot be unpickled"):
        load_model(tmp_path / "net.pt", trusted=True)
    with pytest.raises(CheckpointError, match="no whole safetensors file"):
        load_weights(Net(), tmp_path / "net.safetensors")
    with pytest.raises(CheckpointError, match=r"damaged or no PyTorch checkpoint|is refused"):
        load_weights(Net(), tmp_path / "net.pt")
