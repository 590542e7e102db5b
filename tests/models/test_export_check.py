"""What an export may hold: each way to bring code in is tried, and refused before PyTorch sees it."""

from __future__ import annotations

import io
import json
import logging
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
from torch import nn  # noqa: E402

from notifybot.errors import CheckpointError  # noqa: E402
from notifybot.models import load_model, save_model  # noqa: E402
from tests.support.models import ROWS, Net  # noqa: E402

torch.set_num_threads(1)


class Marker:
    """An object whose unpickling leaves a folder behind: stands for any code in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


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
