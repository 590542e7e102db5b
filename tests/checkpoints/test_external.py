"""The user's own files: which are taken, which are refused, and that a refusal never begins a training anew."""

from __future__ import annotations

import argparse
import os
import zipfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from notifybot import CheckpointError, Checkpoints, notify_epoch
from notifybot.checkpoints.errors import reason_of
from notifybot.checkpoints.external import newest_foreign
from notifybot.checkpoints.serialization import read_payload
from notifybot.events import AlertRaised
from notifybot.rendering.alert_text import alert_words
from notifybot.training.session import close
from notifybot.types import Language
from tests.support.training_runs import recorded_events


@pytest.fixture(autouse=True)
def settings(tmp_path: Path) -> Iterator[dict[str, object]]:
    torch.set_num_threads(1)
    yield {"runs_dir": str(tmp_path / "runs"), "tensorboard": "off", "wandb": "off"}
    close()


class Evil:
    """What a file must never be able to run."""

    def __reduce__(self) -> Any:
        return (os.mkdir, ("ran",))


def saved(folder: Path, epoch: int = 9, **more: Any) -> Path:
    model = nn.Linear(2, 1)
    nn.init.constant_(model.weight, epoch)
    folder.mkdir(exist_ok=True)
    path = folder / f"checkpoint_epoch{epoch}_0.25.pt"
    torch.save({"epoch": epoch, "model_state_dict": model.state_dict(), "loss": 0.25, **more}, path)
    return path


def trained(folder: Path, settings: dict[str, object]) -> tuple[list[int], nn.Module, list[AlertRaised]]:
    """The epochs that a start in this folder trains, its model, and what people are told."""
    model = nn.Linear(2, 1)
    checkpoints = Checkpoints(folder, model=model)
    loop = notify_epoch(range(11), name="x", checkpoints=checkpoints, progress=False, config=settings)
    with loop:
        epochs = list(loop)
    assert loop.run.session is not None
    told = recorded_events(loop.run)
    return epochs, model, [each for each in told if isinstance(each, AlertRaised)]


_TAKEN: list[dict[str, Any]] = [
    {},
    {"loss": torch.tensor(0.25)},
    {"loss": numpy.mean([0.2, 0.3])},
    {"epoch": numpy.int64(9)},
    {"args": argparse.Namespace(lr=0.1, layers=[1, 2], more=argparse.Namespace(seed=numpy.int32(1)))},
    {"history": [kind(1) for kind in (numpy.float16, numpy.float32, numpy.longdouble, numpy.complex64, numpy.bool_)]},
    {"counts": [kind(1) for kind in (numpy.int8, numpy.uint8, numpy.int16, numpy.uint32, numpy.uint64)]},
    {"dtype": numpy.dtype("float32")},
]


@pytest.mark.parametrize("more", _TAKEN, ids=lambda more: " ".join(more) or "plain")
def test_a_file_as_scripts_write_them_is_gone_on_from(
    more: dict[str, Any], tmp_path: Path, settings: dict[str, object]
) -> None:
    """NumPy's numbers and the program's arguments in it are no reason to begin anew."""
    saved(tmp_path / "exp", **more)

    epochs, model, told = trained(tmp_path / "exp", settings)

    assert epochs == [10]
    assert model.weight.tolist() == [[9.0, 9.0]]
    assert told == []


def test_a_number_of_an_older_numpy_is_taken(tmp_path: Path) -> None:
    """Before NumPy 2 the function that makes a number went by another name."""
    path = saved(tmp_path / "exp", loss=numpy.float64(0.25))
    with zipfile.ZipFile(path) as archive:
        records = {each: archive.read(each) for each in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))

    _, payload, _ = newest_foreign(tmp_path / "exp")

    assert payload["loss"] == 0.25


def test_what_the_program_declared_safe_stays_so(tmp_path: Path) -> None:
    """Types that the user's own code lets PyTorch load are as before, and none is added."""
    saved(tmp_path / "exp", args=argparse.Namespace(lr=0.1))
    with torch.serialization.safe_globals([argparse.Namespace, Fraction]):
        before = set(torch.serialization.get_safe_globals())

        newest_foreign(tmp_path / "exp")

        assert set(torch.serialization.get_safe_globals()) == before


class Huge:
    """A payload that asks for more memory than there is."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __fspath__(self) -> str:
        raise self.error


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_too_little_memory_is_no_damage(error: Exception) -> None:
    """A file that does not fit into memory now may do so on the next machine: it is not passed over as damaged."""
    with pytest.raises(CheckpointError, match="cannot be read: ") as caught:
        read_payload(Huge(error))  # type: ignore[arg-type]

    assert reason_of(caught.value).code == "other"


_REFUSED: list[Any] = [
    nn.Linear(2, 1),
    Fraction(1, 2),
    Path("x"),
    numpy.array([object()], dtype=object),
    numpy.dtype("O"),
    argparse.Namespace(model=nn.Linear(2, 1)),
    Evil(),
]


@pytest.mark.parametrize("value", _REFUSED, ids=lambda value: type(value).__name__)
def test_a_file_that_is_refused_stops_the_start(
    value: Any, tmp_path: Path, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is run, an older file does not take its place, nothing begins anew, and the way on is told."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "exp", epoch=5)
    saved(tmp_path / "exp", epoch=9, value=value)

    with pytest.raises(CheckpointError, match=r"epoch9_0.25.pt is refused, and nothing of it was run.*fresh=True"):
        trained(tmp_path / "exp", settings)

    assert not (tmp_path / "ran").exists()
    assert sorted(each.name for each in (tmp_path / "exp").glob("*.pt*")) == [
        "checkpoint_epoch5_0.25.pt",
        "checkpoint_epoch9_0.25.pt",
    ]


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def of_another_kind(path: Path) -> None:
    torch.save({"epoch": 9, "model": nn.Linear(2, 1).state_dict()}, path)


def of_no_kind(path: Path) -> None:
    torch.save([1, 2], path)


@pytest.mark.parametrize(
    ("spoil", "title"),
    [
        (torn, "No checkpoint is whole"),
        (of_another_kind, "A file is not one to continue from"),
        (of_no_kind, "A file is not one to continue from"),
    ],
)
def test_what_cannot_be_gone_on_from_is_called_what_it_is(
    spoil: Callable[[Path], None], title: str, tmp_path: Path, settings: dict[str, object]
) -> None:
    """Damage is told as damage, and a file with other content as that; an older one that fits is taken."""
    spoil(saved(tmp_path / "alone"))

    epochs, _, told = trained(tmp_path / "alone", settings)

    assert epochs == list(range(11))
    assert [alert_words(each, Language.EN).title for each in told] == [title]
    saved(tmp_path / "both", epoch=5)
    spoil(saved(tmp_path / "both", epoch=9))
    assert trained(tmp_path / "both", settings)[0] == [6, 7, 8, 9, 10]
