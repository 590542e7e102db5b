"""Model files and the checksum beside them: a damaged one is found before it is loaded."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
from notifybot.errors import CheckpointError  # noqa: E402
from notifybot.models import load_model, load_weights, save_model, save_weights  # noqa: E402
from tests.support.models import ROWS, Net  # noqa: E402

torch.set_num_threads(1)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["net.pt2", "net.pt", "net.safetensors"])
def test_a_flipped_bit_is_found_before_loading(tmp_path: Path, name: str) -> None:
    """PyTorch itself loads such a file without a word."""
    path = tmp_path / name
    if name == "net.safetensors":
        save_weights(Net(), path)
    else:
        save_model(Net(), path, example=ROWS if name == "net.pt2" else None)
    flip(path)

    with pytest.raises(CheckpointError, match="SHA-256 differs"):
        load_weights(Net(), path) if name == "net.safetensors" else load_model(path, trusted=True)


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no file"):
        load_model(tmp_path / "net.pt2")


def test_a_file_without_proof_loads_and_nobody_is_bothered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Weights from elsewhere have none; who looks for it finds it in the log."""
    path = save_weights(Net(), tmp_path / "net.safetensors")
    (tmp_path / "net.safetensors.sha256").unlink()

    with caplog.at_level(logging.INFO, "notifybot"):
        load_weights(Net(), path)

    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage() == f"model file without a proof path={path}"


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no coreutils")
def test_the_proof_is_one_that_sha256sum_reads(tmp_path: Path) -> None:
    """So that anybody can check a file without us."""
    save_weights(Net(), tmp_path / "모델.safetensors")

    subprocess.run(["sha256sum", "--check", "--quiet", "모델.safetensors.sha256"], cwd=tmp_path, check=True)
