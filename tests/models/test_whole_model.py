"""Whole models and weights in files: what comes back, and what is refused before it can do harm."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
from torch import nn  # noqa: E402

from notifybot.errors import CheckpointError, UsageError  # noqa: E402
from notifybot.freezing import freeze  # noqa: E402
from notifybot.models import load_model, load_weights, save_model, save_weights  # noqa: E402
from tests.support.models import ROWS, Net  # noqa: E402

torch.set_num_threads(1)

EXAMPLE = Path(__file__).parents[2] / "examples" / "whole_model.py"


class Marker:
    """An object whose unpickling leaves a folder behind: stands for any code in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_an_export_answers_as_the_model_did(tmp_path: Path) -> None:
    """In evaluation mode, for any batch size, and without leaving the model in another mode."""
    model = Net()
    model.train()
    model.body[1].eval()

    path = save_model(model, tmp_path / "net.pt2", example=ROWS)
    loaded = load_model(path)

    assert (model.training, model.body[1].training) == (True, False)
    model.eval()
    assert torch.equal(loaded(ROWS), model(ROWS))
    assert torch.equal(loaded(ROWS[:2]), model(ROWS[:2]))


def test_an_export_runs_without_the_models_code(tmp_path: Path) -> None:
    """The point of an export: a process that never saw the class loads it."""
    path = save_model(Net(), tmp_path / "net.pt2", example=ROWS)
    source = f"""
import torch
from notifybot.models import load_model
print(load_model({str(path)!r})(torch.ones(5, 4)).shape)
"""

    done = subprocess.run([sys.executable, "-W", "ignore", "-c", source], capture_output=True, text=True, check=True)

    assert "torch.Size([5, 2])" in done.stdout


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator")
def test_an_export_from_an_accelerator_runs_without_one(tmp_path: Path) -> None:
    """A graph names its devices: it is made of a copy on the CPU, and the model stays where it is."""
    model = Net().cuda()

    loaded = load_model(save_model(model, tmp_path / "net.pt2", example=ROWS.cuda()))

    assert loaded(ROWS).shape == (3, 2)
    assert model.fc.weight.is_cuda


def test_an_export_takes_named_inputs(tmp_path: Path) -> None:
    """As models of `transformers` want them."""
    loaded = load_model(save_model(Net(), tmp_path / "net.pt2", example={"x": ROWS}))

    assert loaded(x=ROWS).shape == (3, 2)


def test_an_export_keeps_neither_the_example_nor_the_source(tmp_path: Path) -> None:
    """Whoever gets the file learns nothing of the data or of this machine's folders."""
    path = save_model(Net(), tmp_path / "net.pt2", example=ROWS + 1234.5)

    content = path.read_bytes()

    assert (ROWS + 1234.5).numpy().tobytes() not in content
    assert b".py" not in content
    assert b"return self.fc" not in content


def test_an_export_is_for_inference(tmp_path: Path) -> None:
    """`eval()` is harmless, also from a model around it; `train()` says why it cannot be."""
    loaded = load_model(save_model(Net(), tmp_path / "net.pt2", example=ROWS))
    around = nn.Sequential(loaded)

    assert loaded.eval() is loaded
    around.eval()
    with pytest.raises(UsageError, match="for inference"):
        around.train()


def test_a_frozen_model_is_exported_as_well(tmp_path: Path) -> None:
    """The hold on its batch-norm layers stays on the model, and out of the file."""
    model = Net()
    freeze(model, except_=["fc"])

    loaded = load_model(save_model(model, tmp_path / "net.pt2", example=ROWS))

    assert not model.body[1].train().training
    assert torch.equal(loaded(ROWS), model.eval()(ROWS))


def test_a_pickled_model_loads_only_when_trusted(tmp_path: Path) -> None:
    """Unpickling runs code: it needs the caller's word."""
    model = Net()
    path = save_model(model, tmp_path / "net.pt")

    with pytest.raises(UsageError, match="trusted=True"):
        load_model(path)
    loaded = load_model(path, trusted=True)

    assert type(loaded) is Net
    assert torch.equal(loaded.eval()(ROWS), model.eval()(ROWS))


def test_code_in_a_pickled_file_does_not_run_untrusted(tmp_path: Path) -> None:
    """Neither as a model nor as weights."""
    path = tmp_path / "net.pt"
    torch.save({"model_state_dict": Marker(tmp_path / "ran")}, path)

    with pytest.raises(UsageError):
        load_model(path)
    with pytest.raises(CheckpointError, match="nothing of it was run"):
        load_weights(Net(), path)

    assert not (tmp_path / "ran").exists()


def test_a_model_with_operators_of_others_is_told_of_when_it_is_saved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What they do is unknown, so its export needs the caller's word: said now, not on the day it is loaded."""

    double = torch.library.custom_op(
        "notifybot_tests::double", lambda x: x * 2, mutates_args=(), schema="(Tensor x) -> Tensor"
    )
    double.register_fake(torch.empty_like)

    class Doubling(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def forward(self, x: Any) -> Any:
            return double(x)

    with caplog.at_level(logging.WARNING, "notifybot"):
        path = save_model(Doubling(), tmp_path / "net.pt2", example=ROWS)

    assert "will ask for trusted=True" in caplog.text
    with pytest.raises(CheckpointError, match=r"notifybot_tests\.double"):
        load_model(path)
    assert torch.equal(load_model(path, trusted=True)(ROWS), ROWS * 2)


def test_a_foreign_export_loads_when_trusted(tmp_path: Path) -> None:
    """PyTorch's own file has sample inputs, pickled: refused unless the caller vouches for it."""
    path = tmp_path / "foreign.pt2"
    torch.export.save(torch.export.export(Net().eval(), (ROWS,)), path)

    with pytest.raises(CheckpointError, match="pickled sample inputs"):
        load_model(path)

    assert load_model(path, trusted=True)(ROWS).shape == (3, 2)


@pytest.mark.parametrize(("name", "example"), [("net.pt2", None), ("net.pt", ROWS)], ids=["no-example", "suffix"])
def test_the_suffix_and_the_example_must_agree(tmp_path: Path, name: str, example: Any) -> None:
    """Nobody gets a pickle under an export's name, or the other way round."""
    with pytest.raises(UsageError, match="example"):
        save_model(Net(), tmp_path / name, example=example)


def test_weights_are_no_model(tmp_path: Path) -> None:
    """A state dict under trusted=True is told from a model."""
    with pytest.raises(CheckpointError, match="load_weights"):
        load_model(save_weights(Net(), tmp_path / "net.pt"), trusted=True)


def test_the_example_runs(tmp_path: Path) -> None:
    """Exported, pickled and weights alone, each read back."""
    command = [sys.executable, "-W", "ignore", str(EXAMPLE), "--folder", str(tmp_path)]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "exported: same answer True" in done.stdout
    assert "pickled, not trusted: classifier.pt is no export" in done.stdout
    assert "weights alone: same answer True" in done.stdout
