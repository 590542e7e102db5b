"""Several models, optimizers, schedulers and scalers: each comes back to its own place, and a change is named."""

from __future__ import annotations

import contextlib
import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from notifybot import Checkpoints, freeze, notify_epoch
from notifybot.checkpoints.serialization import read_payload
from notifybot.checkpoints.state import Parts
from notifybot.errors import CheckpointError, UsageError
from notifybot.events import RunStarted
from notifybot.models import load_weights
from notifybot.training.resume import COMPLETED
from notifybot.training.session import close
from tests.support.training_parts import lines, same, written
from tests.support.training_runs import recorded_events

pytestmark = pytest.mark.usefixtures("one_thread")

_NAMES = st.lists(st.sampled_from(["gen", "disc", "net.type", "0", "__notifybot__", "생성기"]), min_size=1, unique=True)
_ARRANGEMENTS = st.none() | st.integers(1, 3) | _NAMES.map(tuple)
_ARGUMENTS = ("model", "optimizer", "scheduler", "scaler")


def _count(arrangement: Any) -> int:
    return 1 if arrangement is None else arrangement if isinstance(arrangement, int) else len(arrangement)


def _arranged(arrangement: Any, objects: list[Any]) -> Any:
    if arrangement is None:
        return objects[0]
    return objects if isinstance(arrangement, int) else dict(zip(arrangement, objects, strict=True))


def program(arrangements: dict[str, Any], seed: int) -> dict[str, Any]:
    """A training of so many objects, each with values of its own after a step."""
    torch.manual_seed(seed)
    model = [nn.Linear(2, 2) for _ in range(_count(arrangements["model"]))]
    optimizer = [torch.optim.Adam(nn.Linear(1, 1).parameters()) for _ in range(_count(arrangements["optimizer"]))]
    for each in optimizer:
        for parameter in each.param_groups[0]["params"]:
            parameter.grad = torch.randn_like(parameter)
        each.step()
    schedulers = range(_count(arrangements["scheduler"]))
    scheduler = [torch.optim.lr_scheduler.StepLR(optimizer[0], 2) for _ in schedulers]
    for each in scheduler:
        each.last_epoch = int(torch.randint(1000, ()))
    scaler = [
        torch.amp.GradScaler("cpu", init_scale=2.0 + seed + each) for each in range(_count(arrangements["scaler"]))
    ]
    made = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}
    return {argument: _arranged(arrangements[argument], made[argument]) for argument in _ARGUMENTS}


def states(given: dict[str, Any]) -> dict[str, Any]:
    """The state of every object, in the arrangement of its argument."""

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: value[name].state_dict() for name in sorted(value)}
        return [each.state_dict() for each in value] if isinstance(value, list) else value.state_dict()

    return copy.deepcopy({argument: of(value) for argument, value in given.items()})


_ALL = st.fixed_dictionaries(dict.fromkeys(_ARGUMENTS, _ARRANGEMENTS))


@settings(max_examples=25, deadline=None)
@given(arrangements=_ALL, order=st.randoms())
def test_each_of_several_comes_back_to_its_place(
    tmp_path_factory: pytest.TempPathFactory, arrangements: dict[str, Any], order: Any
) -> None:
    """A list by its order, a dict by its names, in whatever order they are given; one by itself as ever."""
    there, here = program(arrangements, 0), program(arrangements, 1)
    path = written(Parts(**there).capture(), tmp_path_factory.mktemp("several") / "a.pt")
    for argument, value in here.items():
        if isinstance(value, dict):
            here[argument] = dict(order.sample(list(value.items()), len(value)))

    notes = Parts(**here).restore(read_payload(path))

    assert lines(notes) == []
    assert same(states(here), states(there))


@settings(max_examples=25, deadline=None)
@given(arrangements=_ALL, argument=st.sampled_from(_ARGUMENTS), other=_ARRANGEMENTS)
def test_a_changed_arrangement_is_named_and_nothing_is_changed(
    arrangements: dict[str, Any], argument: str, other: Any
) -> None:
    """More or fewer, other names, a list in place of one: each by the argument's name, with the way out."""
    before = arrangements[argument]
    by_name = isinstance(before, tuple) and isinstance(other, tuple)
    assume(set(before) != set(other) if by_name else before != other)
    payload = Parts(**program(arrangements, 0)).capture()
    here = program(arrangements | {argument: other}, 1)
    untouched = states(here)

    with pytest.raises(CheckpointError) as caught:
        Parts(**here).restore(payload)

    _, problem, ways_on = str(caught.value).splitlines()
    assert problem.startswith(f"- {argument}: ")
    assert problem.endswith(f"in the program; give {argument}= as it was given then")
    assert "fresh=True" in ways_on
    assert same(states(here), untouched)


def test_plain_pytorch_reads_several_by_place_and_by_name(tmp_path: Path) -> None:
    """The file says how they were given, in the words that a reader of the file expects."""
    gen, disc = nn.Linear(2, 3), nn.Linear(3, 1)
    optimizer = {"g": torch.optim.SGD(gen.parameters(), lr=0.1), "d": torch.optim.SGD(disc.parameters(), lr=0.2)}

    path = written(Parts(model=[gen, disc], optimizer=optimizer).capture(), tmp_path / "a.pt")
    read = torch.load(path, weights_only=True)

    assert read["several"] == {"model": 2, "optimizer": ["g", "d"]}
    disc.load_state_dict(read["model_state_dict"][1])
    assert read["optimizer_state_dict"]["d"]["param_groups"][0]["lr"] == 0.2


def test_an_exchanged_order_is_seen_where_the_shapes_differ() -> None:
    """The line says which state would fit, and that names do not depend on the order."""
    gen, disc = nn.Linear(2, 3), nn.Linear(3, 1)
    payload = Parts(model=[gen, disc]).capture()

    with pytest.raises(CheckpointError) as caught:
        Parts(model=[disc, gen]).restore(payload)

    assert "- model[0]: 2 of another shape: weight ([3, 2] in the checkpoint, [1, 3] here)" in str(caught.value)
    assert "- model[0]: model_state_dict[1] in the checkpoint would fit here; give several" in str(caught.value)


def test_a_file_of_the_users_own_with_several_models_is_continued_from() -> None:
    """A list or a dict of states, as people save a GAN by hand, needs no record of ours."""
    gen, disc = nn.Linear(2, 3), nn.Linear(3, 1)
    states = {"gen": nn.Linear(2, 3).state_dict(), "disc": nn.Linear(3, 1).state_dict()}

    Parts(model={"gen": gen, "disc": disc}).restore({"model_state_dict": states})
    assert same([gen.state_dict(), disc.state_dict()], list(states.values()))

    first, second = nn.Linear(2, 3), nn.Linear(3, 1)
    Parts(model=[first, second]).restore({"model_state_dict": list(states.values())})
    assert same([first.state_dict(), second.state_dict()], list(states.values()))


def test_a_parameter_that_no_model_holds_is_found_among_several() -> None:
    """The optimizers of all are compared with the models of all."""
    gen, disc, lost = nn.Linear(2, 3), nn.Linear(3, 1), nn.Linear(7, 1)
    optimizers = [torch.optim.SGD(gen.parameters()), torch.optim.SGD([*disc.parameters(), *lost.parameters()])]

    assert [list(each.shape) for each in Parts(model=[gen, disc], optimizer=optimizers).unsaved()] == [[1, 7], [1]]
    assert Parts(model={"a": gen, "b": disc, "c": lost}, optimizer=optimizers).unsaved() == []


def test_a_setting_that_differs_is_told_with_the_objects_name() -> None:
    """Of several optimizers, the one that it is about."""
    model = nn.Linear(2, 2)

    def optimizers(rate: float) -> dict[str, Any]:
        return {"g": torch.optim.SGD(model.parameters(), lr=0.1), "d": torch.optim.SGD(model.parameters(), lr=rate)}

    payload = Parts(model=model, optimizer=optimizers(0.2)).capture()

    notes = Parts(model=model, optimizer=optimizers(0.4)).restore(payload)

    assert lines(notes) == ["optimizer.d: group 0: lr is 0.2 as in the checkpoint, not 0.4"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": []}, r"model= is the torch.nn.Module .*, or a list or dict of them, not \[\]"),
        ({"model": [nn.Linear(1, 1), None]}, r"model\[1\] is a NoneType without state_dict"),
        ({"model": {"gen": nn.Linear(1, 1), "disc": nn.Linear}}, r"model\['disc'\] is the class Linear itself"),
        ({"model": {1: nn.Linear(1, 1)}}, r"model= names its objects by text, as model=\{\"first\": …\}, not by 1"),
        ({"model": nn.Linear(1, 1).state_dict()}, r"Give the object itself, not its state_dict"),
        (
            {"model": nn.Linear(1, 1), "optimizer": [nn.Linear(1, 1)]},
            r"optimizer\[0\]= is Linear, which goes into model=",
        ),
        ({"model": nn.Linear(1, 1), "extra": {"more": [nn.Linear(1, 1)]}}, r"Give each of them a name of its own"),
    ],
)
def test_what_cannot_be_meant_is_named_by_its_place(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Checkpoints(tmp_path, **options)


@pytest.fixture
def config(tmp_path: Path) -> Iterator[dict[str, object]]:
    yield {"runs_dir": str(tmp_path / "runs"), "tensorboard": "off", "wandb": "off"}
    close()


def adversaries(folder: Path, config: dict[str, object], epochs: int, *, spoil: bool = False) -> Any:
    """Train a tiny GAN; return its run, its models, and the loss of each epoch."""
    COMPLETED.clear()
    torch.manual_seed(0)
    models = {"gen": nn.Linear(2, 2), "disc": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))}
    optimizers = [torch.optim.Adam(each.parameters(), lr=0.1) for each in models.values()]
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(each, 0.9) for each in optimizers]
    given: dict[str, Any] = {"model": models, "optimizer": optimizers, "scheduler": schedulers}
    losses: dict[int, float] = {}
    checkpoints = Checkpoints(folder, **given, monitor="loss", keep_last=2)
    loop = notify_epoch(range(4), name="gan", checkpoints=checkpoints, progress=False, config=config)
    with contextlib.suppress(KeyError), loop:
        for epoch in loop:
            if epoch == epochs:
                raise KeyError("the machine is gone")
            if epoch == 1:
                freeze(models["disc"], except_="1")
            loss = models["disc"](models["gen"](torch.randn(4, 2))).square().mean()
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
                optimizer.step()
                scheduler.step()
            losses[epoch] = loss.item()
            if spoil and epoch == 2:
                models["disc"][1].bias.data.fill_(math.nan)
            loop.log(loss=losses[epoch])
    return loop.run, models, losses


def test_a_training_of_several_models_goes_on_bit_for_bit(tmp_path: Path, config: dict[str, object]) -> None:
    """With what is frozen in one of them, and the size of all in the message of the start."""
    _, whole, losses = adversaries(tmp_path / "whole", config, 4)
    _, _, first = adversaries(tmp_path / "cut", config, 2)
    run, models, rest = adversaries(tmp_path / "cut", config, 4)

    assert first | rest == losses
    assert list(rest) == [2, 3]
    assert all(same(models[name].state_dict(), whole[name].state_dict()) for name in models)
    assert [each.requires_grad for each in models["disc"].parameters()] == [False, False, True, True]
    with run.session.shared.store.patient(10.0):
        started = [each for each in recorded_events(run) if isinstance(each, RunStarted)]
    assert [each.model and each.model.total for each in started] == [6 + 9, 6 + 9]


def test_a_state_is_not_finite_if_one_of_several_models_is_not(tmp_path: Path, config: dict[str, object]) -> None:
    """The next start goes on from the one before it."""
    adversaries(tmp_path / "gan", config, 3, spoil=True)

    manifests = [json.loads(path.read_text()) for path in (tmp_path / "gan").glob("*.pt.json")]

    assert {each["epoch"]: each["finite"] for each in manifests} == {0: True, 1: True, 2: False}
    assert list(adversaries(tmp_path / "gan", config, 4)[2]) == [2, 3]


def test_the_parameters_of_a_wrapped_model_are_looked_at(tmp_path: Path) -> None:
    """DistributedDataParallel and DataParallel put a name before all of the model's own."""
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    parts = Parts(model=[nn.DataParallel(model), torch.compile(nn.Linear(3, 1), backend="eager")])

    assert [list(each.shape) for each in parts.learnt_in(parts.capture())] == [[1, 1], [1], [1], [1], [1, 3], [1]]


def test_no_optimizer_in_a_list_is_none(tmp_path: Path) -> None:
    """A program that makes its lists by a rule may end up with an empty one."""
    assert set(Parts(model=nn.Linear(1, 1), optimizer=[], scheduler={}).capture()) == {
        "model_state_dict",
        "random_states",
    }


def test_weights_of_several_are_loaded_as_they_were_saved_or_by_name(tmp_path: Path) -> None:
    """All of them, or those that are named; what is asked for otherwise is refused with what is there."""
    gen, disc = nn.Linear(2, 3), nn.Linear(3, 1)
    by_name = written(Parts(model={"gen": gen, "disc": disc}).capture(), tmp_path / "dict.pt")
    by_place = written(Parts(model=[gen, disc]).capture(), tmp_path / "list.pt")

    for model, path in (({"disc": nn.Linear(3, 1)}, by_name), ({1: nn.Linear(3, 1)}, by_place)):
        assert not load_weights(model, path)
        assert same(next(iter(model.values())).state_dict(), disc.state_dict())
    both = [nn.Linear(2, 3), nn.Linear(3, 1)]
    load_weights(both, by_place)
    assert same([each.state_dict() for each in both], [gen.state_dict(), disc.state_dict()])

    for wrong in (nn.Linear(2, 3), both, {"critic": gen}):
        with pytest.raises(CheckpointError, match=r"dict\.pt holds a dict of gen, disc, not .*: give the models"):
            load_weights(wrong, by_name)
    with pytest.raises(CheckpointError, match=r"missing in the file: model\.gen\.bias"):
        load_weights(
            {"gen": nn.Linear(2, 3), "disc": disc},
            written(
                {"model_state_dict": {"gen": {"weight": gen.weight.detach()}, "disc": disc.state_dict()}},
                tmp_path / "b.pt",
            ),
        )
