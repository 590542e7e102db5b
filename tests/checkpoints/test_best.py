"""`load_best`: the best checkpoint's weights in any script, or an error that says what is there."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from notifybot import CheckpointError, Checkpoints, UsageError, load_best, notify_epoch
from notifybot.checkpoints.manifest import _hash
from notifybot.training.resume import COMPLETED
from notifybot.training.session import close
from tests.support.hydra import stand_in_for_hydra
from tests.support.training_parts import same

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """Trains a model whose bias is its epoch, with these values in the epochs; returns the folder."""

    def train(values: list[float], *, name: str = "exp", folder: Path | None = None, **options: Any) -> Path:
        COMPLETED.clear()
        root = tmp_path_factory.mktemp("trained")
        config = {"runs_dir": str(root / "runs"), "tensorboard": "off", "wandb": "off"}
        model = options.pop("model", None) or network()
        one = model["gen"] if isinstance(model, dict) else model
        folder = root / "exp" if folder is None else folder
        checkpoints = Checkpoints(folder, model=model, keep_last=5, **options)
        with notify_epoch(
            range(len(values)), name=name, checkpoints=checkpoints, progress=False, config=config
        ) as loop:
            for epoch in loop:
                one[0].bias.data.fill_(float(epoch))
                loop.log(val_loss=values[epoch], val_acc=1 - values[epoch])
        return folder

    yield train
    close()


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def biases(model: Any) -> list[float]:
    return list(model[0].bias.tolist())


def test_a_relative_folder_lies_where_a_hydra_program_was_started(
    trained: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra gives each start a folder of its own, and the training saved where it was started, too."""
    stand_in_for_hydra(monkeypatch, started=tmp_path)
    trained([0.5, 0.3], folder=Path("exp"))
    stand_in_for_hydra(monkeypatch, started=tmp_path)

    best = load_best("exp", model := network(), monitor="val_loss")

    assert (best.epoch, biases(model)) == (1, [1.0, 1.0])
    assert (tmp_path / "exp").is_dir()


def test_the_best_is_loaded_from_a_copy_in_another_place(
    trained: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what was monitored, with nothing but the folder; where that was, and its metrics, come back."""
    folder = shutil.copytree(trained([3.0, 1.0, 2.0], monitor="val_loss"), tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    model = network()

    best = load_best("copy", model)

    assert biases(model) == [1.0, 1.0]
    assert (best.epoch, best.monitor, best.value, best.run) == (1, "val_loss", 1.0, "exp")
    assert best.metrics == {"val_loss": 1.0, "val_acc": 0.0}
    assert best.path.parent == folder
    assert same(torch.load(best.path, weights_only=True)["model_state_dict"], model.state_dict())


def test_another_metric_may_be_asked_for(trained: Callable[..., Path]) -> None:
    """One that was not monitored, in the direction of its name or as it is said."""
    folder = trained([3.0, 1.0, 2.0])
    model = network()

    assert load_best(folder, model, monitor="val_acc").epoch == 1
    assert load_best(folder, model, monitor="val_acc", mode="min").epoch == 0
    with pytest.raises(UsageError, match="mode="):
        load_best(folder, model, monitor="something")


@pytest.mark.parametrize(
    "wrap",
    [lambda model: model, nn.DataParallel, lambda model: torch.compile(model, backend="eager"), nn.Module.double],
    ids=["plain", "parallel", "compiled", "double"],
)
def test_the_model_may_be_wrapped_or_of_another_type(trained: Callable[..., Path], wrap: Any) -> None:
    """As when a run is continued."""
    model = network()

    load_best(trained([3.0, 1.0], monitor="val_loss"), wrap(model))

    assert biases(model) == [1.0, 1.0]


def test_some_of_several_models_are_loaded_by_name(trained: Callable[..., Path]) -> None:
    """An evaluation needs no discriminator; one model by itself is asked by which name."""
    folder = trained([3.0, 1.0], monitor="val_loss", model={"gen": network(), "disc": nn.Linear(3, 1)})
    gen = network()

    load_best(folder, {"gen": gen})

    assert biases(gen) == [1.0, 1.0]
    with pytest.raises(CheckpointError, match=r"holds a dict of gen, disc, not one object: .* \{\"gen\": gen\}"):
        load_best(folder, gen)


def test_a_best_that_is_not_whole_is_not_replaced_by_the_next(trained: Callable[..., Path]) -> None:
    """It says which one and what else is there, and changes nothing."""
    folder = trained([3.0, 1.0, 2.0], monitor="val_loss")
    (path,) = folder.glob("*epoch1_*.pt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    model = network()
    before = copy.deepcopy(model.state_dict())

    with pytest.raises(CheckpointError) as caught:
        load_best(folder, model)

    assert str(caught.value).startswith(
        f"{path.name} is the best by val_loss, and cannot be used: it has another content"
    )
    assert "checkpoint_epoch2_2.pt (val_loss 2, val_acc -1), checkpoint_epoch0_3.pt (" in str(caught.value)
    assert same(model.state_dict(), before)
    os.unlink(path)
    with pytest.raises(CheckpointError, match="cannot be used: it is missing"):
        load_best(folder, model)


def test_a_model_that_does_not_fit_is_told_which_keys_and_stays(trained: Callable[..., Path]) -> None:
    """The remedy is another than of a run that is continued."""
    model = nn.Sequential(nn.Linear(2, 3))
    before = copy.deepcopy(model.state_dict())

    with pytest.raises(CheckpointError) as caught:
        load_best(trained([3.0, 1.0], monitor="val_loss"), model)

    assert "model: 2 of another shape: 0.weight ([2, 2] in the checkpoint, [3, 2] here)" in str(caught.value)
    assert str(caught.value).endswith("\nBuild the model as it was in the training that saved it")
    assert same(model.state_dict(), before)


def test_what_is_there_is_said_where_nothing_is_the_best(trained: Callable[..., Path], tmp_path: Path) -> None:
    """No folder, no checkpoints, nothing monitored, another metric, no finite value."""
    (tmp_path / "own").mkdir()
    torch.save(network().state_dict(), tmp_path / "own" / "last.pth")
    unmonitored, not_finite = trained([3.0, 1.0]), trained([float("nan"), float("inf")], monitor="val_loss")

    for folder, words in (
        (tmp_path / "none", r"there is no folder .*none"),
        (tmp_path / "own", r"holds no checkpoint of notifybot\. Files with weights in it: last\.pth; load_weights"),
        (unmonitored, r"without monitor=\. Name a metric.*epoch1_1\.pt \(val_loss 1, val_acc 0\), checkpoint_epoch0"),
        (not_finite, r"has a finite val_loss; there are checkpoint_epoch1"),
    ):
        with pytest.raises(CheckpointError, match=words):
            load_best(folder, network())
    with pytest.raises(CheckpointError, match=r"has a finite f1; there are checkpoint_epoch1_1\.pt"):
        load_best(unmonitored, network(), monitor="f1")


def test_only_the_folders_own_run_counts(trained: Callable[..., Path]) -> None:
    """A run that began anew in the folder has its own best, and none before its first checkpoint."""
    folder = trained([3.0, 1.0, 2.0], monitor="val_loss", name="old")
    trained([9.0, 8.0], monitor="val_loss", name="new", folder=folder, fresh=True)
    model = network()

    best = load_best(folder, model)

    assert (best.run, best.value) == ("new", 8.0)
    for path in (*folder.glob("*_8.pt*"), *folder.glob("*_9.pt*")):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"the run new, .*, has no checkpoint yet\. Files of other runs: check"):
        load_best(folder, model)


def test_a_folder_without_its_card_has_the_newest_run(trained: Callable[..., Path]) -> None:
    """The card may not have been copied."""
    folder = trained([3.0, 1.0, 2.0], monitor="val_loss")
    (folder / "notifybot-run.json").unlink()

    assert load_best(folder, network()).epoch == 1


def test_a_checkpoint_of_an_earlier_version_is_asked_by_the_metrics_name(trained: Callable[..., Path]) -> None:
    """Its manifest does not say what was monitored."""
    folder = trained([3.0, 1.0], monitor="val_loss")
    for path in folder.glob("*.pt.json"):
        values = json.loads(path.read_text())
        for each in ("monitor", "mode", "manifest_sha256"):
            del values[each]
        path.write_text(json.dumps(values | {"manifest_sha256": _hash(values)}))

    with pytest.raises(CheckpointError, match="do not say what is best"):
        load_best(folder, network())
    assert load_best(folder, network(), monitor="val_loss").epoch == 1


def test_the_manifest_says_what_was_monitored(trained: Callable[..., Path]) -> None:
    """In words of its own, for other programs too."""
    folder = trained([3.0], monitor="val_acc")

    (manifest,) = (json.loads(path.read_text()) for path in folder.glob("*.pt.json"))

    assert (manifest["monitor"], manifest["mode"]) == ("val_acc", "max")
