"""Weights in files: what comes back, and differences listed before anything is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
from torch import nn  # noqa: E402

from notifybot.errors import CheckpointError, UsageError  # noqa: E402
from notifybot.models import load_weights, save_weights  # noqa: E402
from tests.support.models import Net  # noqa: E402

torch.set_num_threads(1)


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt"])
def test_weights_come_back(tmp_path: Path, name: str) -> None:
    """In both formats, for a model of the same shape."""
    model, other = Net(), Net()

    differences = load_weights(other, save_weights(model, tmp_path / name))

    assert not differences
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())


def test_weights_of_a_checkpoint_come_back(tmp_path: Path) -> None:
    """The founding note's own file: the model's state is one of several."""
    model, other = Net(), Net()
    torch.save({"model_state_dict": model.state_dict(), "epoch": 3, "loss": 0.5}, tmp_path / "checkpoint.pt")

    load_weights(other, tmp_path / "checkpoint.pt")

    assert torch.equal(other.fc.weight, model.fc.weight)


def tied() -> Any:
    model = nn.ModuleDict({"embedding": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    model["head"].weight = model["embedding"].weight
    return model


def test_shared_weights_are_written_once_and_stay_shared(tmp_path: Path) -> None:
    """An embedding that is also the output layer."""
    model, other = tied(), tied()

    load_weights(other, save_weights(model, tmp_path / "tied.safetensors"))

    assert len(safetensors.load_file(tmp_path / "tied.safetensors")) == 1
    assert torch.equal(other["head"].weight, model["embedding"].weight)
    assert other["head"].weight is other["embedding"].weight


def test_a_difference_is_listed_and_changes_nothing(tmp_path: Path) -> None:
    """Strict loading is all or nothing, and says which keys differ in which way."""
    path = save_weights(Net(classes=5), tmp_path / "net.safetensors")
    model = nn.Sequential()
    model.body, model.fc, model.extra = Net().body, nn.Linear(8, 2), nn.Linear(1, 1, bias=False)
    before = model.body[0].weight.clone()

    with pytest.raises(CheckpointError) as raised:
        load_weights(model, path)

    assert "missing in the file: extra.weight" in str(raised.value)
    assert "of another shape: fc.weight ([5, 8] in the file, [2, 8] in the model)" in str(raised.value)
    assert torch.equal(model.body[0].weight, before)


def test_a_new_head_keeps_its_values_when_not_strict(tmp_path: Path) -> None:
    """The backbone's weights are loaded, what does not fit is returned by name."""
    source, model = Net(classes=5), Net(classes=2)
    head = model.fc.weight.clone()

    differences = load_weights(model, save_weights(source, tmp_path / "net.pt"), strict=False)

    assert set(differences.shapes) == {"fc.weight", "fc.bias"}
    assert torch.equal(model.body[0].weight, source.body[0].weight)
    assert torch.equal(model.fc.weight, head)


def test_weights_of_another_model_are_an_error_even_when_not_strict(tmp_path: Path) -> None:
    """Loading nothing at all is never what was meant."""
    path = save_weights(nn.Linear(1, 1), tmp_path / "other.safetensors")

    with pytest.raises(CheckpointError, match="unknown to the model: bias, weight"):
        load_weights(Net(), path, strict=False)


def test_lazy_layers_are_told(tmp_path: Path) -> None:
    """They have no shape to compare before the first batch."""
    path = save_weights(nn.Linear(2, 3), tmp_path / "linear.safetensors")

    with pytest.raises(UsageError, match="run one batch"):
        load_weights(nn.LazyLinear(3), path)


def test_metadata_is_text_in_the_header(tmp_path: Path) -> None:
    """Any framework can read it; the other format has no place for it."""
    save_weights(Net(), tmp_path / "net.safetensors", metadata={"epoch": 3})

    with safetensors.safe_open(tmp_path / "net.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "epoch": "3"}
    with pytest.raises(UsageError, match="no place for metadata"):
        save_weights(Net(), tmp_path / "net.pt", metadata={"epoch": 3})
