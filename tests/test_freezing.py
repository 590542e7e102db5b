"""What learns, what does not, and what a frozen layer's statistics do."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from notifybot.errors import UsageError  # noqa: E402
from notifybot.freezing import freeze, model_size, unfreeze  # noqa: E402
from notifybot.types import ModelSize  # noqa: E402

torch.set_num_threads(1)

EXAMPLE = Path(__file__).parents[1] / "examples" / "transfer_learning.py"


class Net(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """A small ResNet's outline: a stem, two stages with batch-norm, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(4))
        self.stem = nn.Linear(4, 4)
        self.layer3 = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
        self.layer4 = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        return self.fc(self.layer4(self.layer3(self.stem(x + self.token))))


def learning(model: Any) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def batch() -> Any:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


def test_only_the_excepted_parts_learn() -> None:
    """The founding note's recipe: everything frozen, the replaced head not."""
    model = Net()

    size = freeze(model, except_=["fc"])

    assert learning(model) == {"fc.weight", "fc.bias"}
    assert size == ModelSize(total=90, trainable=10, frozen=("token", "stem", "layer3", "layer4"))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param("fc", {"fc.weight", "fc.bias"}, id="one-name-without-a-list"),
        pytest.param(["fc.bias"], {"fc.bias"}, id="a-parameter"),
        pytest.param(["layer[34].0"], {f"layer{n}.0.{p}" for n in (3, 4) for p in ("weight", "bias")}, id="a-pattern"),
        pytest.param(["*.1.bias"], {"layer3.1.bias", "layer4.1.bias"}, id="a-pattern-over-parameters"),
        pytest.param(["token", "fc.weight"], {"token", "fc.weight"}, id="several"),
        pytest.param([], set(), id="none"),
    ],
)
def test_parts_are_names_patterns_and_parameters(parts: Any, expected: set[str]) -> None:
    """A module's name stands for all in it; a pattern is fnmatch's."""
    model = Net()

    freeze(model, except_=parts)

    assert learning(model) == expected


def test_a_module_itself_is_a_part() -> None:
    """Also one that is iterable, such as a Sequential."""
    model = Net()

    freeze(model, except_=model.layer4)

    assert learning(model) == {f"layer4.{n}.{p}" for n in (0, 1) for p in ("weight", "bias")}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        pytest.param("fcc", "'fcc'; close names: fc", id="misspelt"),
        pytest.param("backbone.layer4", "'backbone.layer4'; close names: layer4", id="wrong-prefix"),
        pytest.param("zzz", "close names: fc, layer3, layer4, stem, token", id="nothing-like-it"),
        pytest.param("layer4.2", "no part of the model with parameters", id="has-no-parameters"),
        pytest.param(nn.Linear(2, 2), "Linear is no part of the model", id="another-models-module"),
        pytest.param(3, "not int", id="no-name"),
    ],
)
def test_a_part_that_matches_nothing_is_an_error(part: Any, message: str) -> None:
    """Nothing is frozen by half: the error comes before the first change, and names what was likely meant."""
    model = Net()

    with pytest.raises(UsageError, match=message):
        freeze(model, except_=["fc", part])

    assert len(learning(model)) == len(list(model.parameters()))


def test_frozen_statistics_stay_through_train() -> None:
    """`model.train()` at the start of each epoch must not wake a frozen layer's running mean."""
    model = Net()
    freeze(model, except_=["layer4", "fc"])
    frozen, live = model.layer3[1], model.layer4[1]
    before = frozen.running_mean.clone(), live.running_mean.clone()

    model.train()
    model(batch())

    assert (frozen.training, live.training) == (False, True)
    assert torch.equal(frozen.running_mean, before[0])
    assert not torch.equal(live.running_mean, before[1])


def test_frozen_statistics_may_follow_the_data() -> None:
    """batch_norm="train" freezes the parameters only, and undoes an earlier "eval"."""
    model = Net()
    freeze(model)
    freeze(model, batch_norm="train")
    before = model.layer3[1].running_mean.clone()

    model.train()
    model(batch())

    assert not torch.equal(model.layer3[1].running_mean, before)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
def test_a_copy_holds_its_own_layers(copied: Any) -> None:
    """The hold goes with a copy or a pickle, leaves the state dict as it was, and ends separately."""
    model = Net()
    names = list(model.state_dict())
    freeze(model)

    twin = copied(model)
    unfreeze(twin)
    twin.train()
    model.train()

    assert (twin.layer3[1].training, model.layer3[1].training) == (True, False)
    assert list(model.state_dict()) == names == list(twin.state_dict())


def test_stages_are_unfrozen_one_after_another() -> None:
    """Each stage returns just what begins to learn, ready for the optimizer."""
    model = Net()
    freeze(model, except_=["fc"])
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)

    optimizer.add_param_group({"params": unfreeze(model, ["layer4"]), "lr": 0.01})
    optimizer.add_param_group({"params": unfreeze(model, ["layer3", "layer4"]), "lr": 0.001})

    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 4, 4]
    assert learning(model) == {n for n, _ in model.named_parameters() if n.startswith(("fc", "layer"))}
    assert model.layer3[1].training
    assert unfreeze(model, "layer3") == []


def test_unfreezing_takes_the_models_mode() -> None:
    """A layer let go in evaluation does not begin to count there."""
    model = Net()
    freeze(model)
    model.eval()

    unfreeze(model)

    assert not model.layer3[1].training


def test_weights_can_learn_while_statistics_stay() -> None:
    """Fine-tuning on small batches: the stage learns, its batch-norm keeps the pretrained statistics."""
    model = Net()
    freeze(model)

    begun = unfreeze(model, "layer4", batch_norm="eval")
    model.train()

    assert len(begun) == 4
    assert not model.layer4[1].training


def test_old_gradients_do_not_move_a_frozen_weight() -> None:
    """Momentum or decay would go on changing a parameter whose gradient was left behind."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    model(batch()).sum().backward()
    optimizer.step()
    freeze(model, except_=["fc"])
    before = model.stem.weight.clone()

    optimizer.step()

    assert torch.equal(model.stem.weight, before)


def test_a_tied_weight_learns_with_either_owner() -> None:
    """An embedding that is also the output layer learns when the output layer is excepted, and counts once."""
    model = nn.ModuleDict({"embedding": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    model["head"].weight = model["embedding"].weight

    size = freeze(model, except_=["head"])

    assert size == ModelSize(total=15, trainable=15)
    assert freeze(model).trainable == 0
    assert len(unfreeze(model, "head")) == 1


def test_sizes_name_the_outermost_frozen_parts() -> None:
    """A part frozen only here and there is opened up; a message gets twenty names at most."""
    model = nn.Sequential(*[nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)) for _ in range(30)])
    freeze(model, except_=["0.0"])

    names = model_size(model).frozen

    assert names[:3] == ("0.1", "1", "2")
    assert len(names) == 20


def test_a_lazy_model_has_a_size() -> None:
    """Parameters that get their shape with the first batch count as nothing until then."""
    assert model_size(nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(3))).total == 6


def test_weights_that_cannot_learn_are_left_alone() -> None:
    """Integer weights of a quantised layer take no gradient, and are not reported as learning."""
    model = nn.Linear(2, 2)
    model.packed = nn.Parameter(torch.zeros(2, dtype=torch.int8), requires_grad=False)
    freeze(model)

    begun = unfreeze(model)

    assert len(begun) == 2


def test_an_unknown_batch_norm_mode_is_refused() -> None:
    """A typing error must not silently mean the other mode."""
    with pytest.raises(UsageError, match='"eval" or "train"'):
        freeze(Net(), batch_norm="evel")  # type: ignore[arg-type]


def test_the_example_runs(tmp_path: Path) -> None:
    """A backbone is loaded but for its head, frozen, and its last stage unfrozen, all reported to its end."""
    pytest.importorskip("transformers")
    pytest.importorskip("sklearn")
    command = [sys.executable, "-W", "ignore", str(EXAMPLE), "--folder", str(tmp_path)]
    environment = {**os.environ, "NOTIFYBOT_TENSORBOARD": "off", "NOTIFYBOT_WANDB": "off"}

    done = subprocess.run(
        [*command, "--pretrain-epochs", "1", "--head-epochs", "1", "--stage-epochs", "1"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "kept its own values: classifier.1.weight, classifier.1.bias" in done.stdout
    assert "650 of 78,394 parameters learn; frozen: resnet" in done.stdout
    assert "digits-transfer finished" in done.stdout + done.stderr
    assert (tmp_path / "digits.safetensors.sha256").exists()
