"""Whole models and weights in files: what comes back, and what is refused before it can do harm."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
from torch import nn  # noqa: E402

from notifybot.errors import CheckpointError, UsageError  # noqa: E402
from notifybot.freezing import freeze  # noqa: E402
from notifybot.models import load_model, load_weights, save_model, save_weights  # noqa: E402

torch.set_num_threads(1)

EXAMPLE = Path(__file__).parents[2] / "examples" / "whole_model.py"
ROWS = torch.arange(12.0).reshape(3, 4) / 12


class Net(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """A classifier with all that makes training and evaluation differ."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Linear(8, classes)

    def forward(self, x: Any) -> Any:
        return self.fc(self.body(x))


class Branching(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """Depends on its input's values, which no export can follow."""

    def forward(self, x: Any) -> Any:
        return x if x.sum() > 0 else -x


class Marker:
    """An object whose unpickling leaves a folder behind: stands for any code in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rewrite(path: Path, change: Callable[[str, bytes], bytes], extra: dict[str, bytes] | None = None) -> None:
    """Change an archive's records as an attacker would, with a proof that agrees."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(records)).split("/")[0]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, change(name.removeprefix(f"{root}/"), content))
        for name, content in (extra or {}).items():
            archive.writestr(f"{root}/{name}", content)
    path.with_name(f"{path.name}.sha256").unlink()


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


class Recurrent(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """Open sizes in products, a graph within the graph, and a dict for an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x: Any) -> Any:
        with torch.no_grad():
            doubled = torch.einsum("bik,bjk->bij", x, x) @ x * 2
        return {"states": self.lstm(doubled)[0], "flat": x.reshape(x.shape[0] * 2, -1)[: x.shape[0] // 2 + 1]}


@pytest.mark.filterwarnings("ignore:The tensor attributes")
def test_an_export_of_many_kinds_of_operation_is_no_suspect(tmp_path: Path) -> None:
    """Expressions of sizes, guards and subgraphs are written by honest models as well."""
    model, x = Recurrent(), torch.ones(4, 2, 4)

    loaded = load_model(save_model(model, tmp_path / "net.pt2", example=x))

    assert torch.allclose(loaded(x)["states"], model(x)["states"])
    assert loaded(x[:3])["flat"].shape == (2, 4)


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


def pickled_sample(name: str, content: bytes, marker: Marker) -> bytes:
    return pickled((marker,)) if "sample_inputs" in name else content


def pickled_weight(name: str, content: bytes, marker: Marker) -> bytes:
    if name.endswith("weights_config.json"):
        return content.replace(b'"use_pickle": false', b'"use_pickle": true')
    return pickled(marker) if name.endswith("weight_0") else content


def evaluated_size(name: str, content: bytes, marker: Marker) -> bytes:
    evil = f"__import__('os').mkdir('{marker.folder}')"
    return content.replace(b"Symbol('s", f"{evil} or Symbol('s".encode()) if name == "models/model.json" else content


def executed_guard(name: str, content: bytes, marker: Marker) -> bytes:
    if name != "models/model.json":
        return content
    evil = f"__import__('os').mkdir('{marker.folder}') is None"
    return json.dumps({**json.loads(content), "guards_code": [evil]}).encode()


def pickled(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("attack", [pickled_sample, pickled_weight, evaluated_size, executed_guard])
def test_code_in_an_export_does_not_run_untrusted(tmp_path: Path, attack: Callable[..., bytes]) -> None:
    """Each of these runs in PyTorch's own loader: unpickled, evaluated or executed."""
    path = save_model(Net(), tmp_path / "net.pt2", example=ROWS)
    rewrite(path, lambda name, content: attack(name, content, Marker(tmp_path / "ran")))

    with pytest.raises(CheckpointError, match="more than save_model writes"):
        load_model(path)

    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("attack", [pickled_sample, pickled_weight, evaluated_size])
@pytest.mark.filterwarnings("ignore")
def test_the_attacks_are_real(tmp_path: Path, attack: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own loader runs them, in this version too: the reason why we look through an archive first."""
    monkeypatch.setattr(logging, "raiseExceptions", False)  # PyTorch's warning about it has a broken format
    path = save_model(Net(), tmp_path / "net.pt2", example=ROWS)
    rewrite(path, lambda name, content: attack(name, content, Marker(tmp_path / "ran")))

    with suppress(Exception):  # whatever it says afterwards, the question is what it ran
        torch.export.load(path)

    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("torch.ops.aten.relu.default", "torch.ops.aten.from_file.default", id="reads-a-file"),
        pytest.param("torch.ops.aten.relu.default", "torch.hub.load", id="no-operator"),
        pytest.param('"name": "x"', '"name": "x):\\n import os\\n#"', id="a-name-with-code"),
        pytest.param("Symbol('s", "1" * 3900 + "$", id="a-size-to-search-for-ever"),
        pytest.param("builtins.tuple", "collections.defaultdict", id="a-container-that-imports"),
        pytest.param('\\"context\\": \\"null\\"', '\\"context\\": \\"{}\\"', id="an-enum-that-imports"),
    ],
)
def test_an_export_is_arithmetic_alone(tmp_path: Path, old: str, new: str) -> None:
    """Operators, names and containers from which code could be made are refused one by one."""
    path = save_model(Net(), tmp_path / "net.pt2", example=ROWS)
    with zipfile.ZipFile(path) as archive:
        assert old.encode() in archive.read("archive/models/model.json")
    rewrite(path, lambda name, content: content.replace(old.encode(), new.encode()) if "models/" in name else content)

    with pytest.raises(CheckpointError, match="more than save_model writes"):
        load_model(path)


def test_an_export_holds_no_further_files(tmp_path: Path) -> None:
    """A compiled library beside the graph would be loaded, and run."""
    path = save_model(Net(), tmp_path / "net.pt2", example=ROWS)
    rewrite(path, lambda _, content: content, {"data/aotinductor/model/evil.so": b"\x7fELF"})

    with pytest.raises(CheckpointError, match="aotinductor"):
        load_model(path)


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


@pytest.mark.parametrize(("name", "example"), [("net.pt2", None), ("net.pt", ROWS)], ids=["no-example", "suffix"])
def test_the_suffix_and_the_example_must_agree(tmp_path: Path, name: str, example: Any) -> None:
    """Nobody gets a pickle under an export's name, or the other way round."""
    with pytest.raises(UsageError, match="example"):
        save_model(Net(), tmp_path / name, example=example)


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
