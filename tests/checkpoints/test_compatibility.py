"""Whether a saved state fits the live object: weights under any wrapper, optimizers, schedulers and their settings."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from notifybot.checkpoints.state import Parts
from notifybot.errors import CheckpointError
from tests.support.training_parts import lines, network, same, trained

pytestmark = pytest.mark.usefixtures("one_thread")


def test_long_lists_are_cut() -> None:
    """The first ten names stand for all, and the rest are counted."""
    payload = Parts(model=nn.Sequential(*[nn.Linear(1, 1) for _ in range(8)])).capture()

    with pytest.raises(
        CheckpointError,
        match=r"16 not in the model: 0\.weight, .*4\.bias and 6 more\nMend what is named, .*fresh=True.*folder$",
    ):
        Parts(model=nn.Identity()).restore(payload)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda model: torch.optim.Adam([{"params": [each]} for each in model.parameters()]), "1 parameter groups"),
        (lambda model: torch.optim.Adam(list(model.parameters())[:-1]), "group 0 has 6 parameters in the checkpoint"),
        (lambda model: torch.optim.Adam(list(model.parameters())[::-1]), "of another shape: exp_avg of parameter 0"),
    ],
    ids=["groups", "count", "order"],
)
def test_an_optimizer_over_other_parameters_is_refused(build: Callable[[nn.Module], Any], words: str) -> None:
    """Groups, numbers of parameters and their order must be those of the checkpoint."""
    model, optimizer, _ = trained()
    payload = Parts(model=model, optimizer=optimizer).capture()
    fresh = network()

    with pytest.raises(CheckpointError, match=words):
        Parts(model=fresh, optimizer=build(fresh)).restore(payload)


def test_a_setting_that_the_checkpoint_replaces_is_noted() -> None:
    """A learning rate that was changed in the program is told to have no effect; one that a scheduler moved is not."""
    model, optimizer, scheduler = trained()
    payload = Parts(model=model, optimizer=optimizer, scheduler=scheduler).capture()
    fresh = network()
    changed = torch.optim.Adam(fresh.parameters(), lr=0.2, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(changed, 2)

    notes = Parts(model=fresh, optimizer=changed, scheduler=schedule).restore(payload)

    assert lines(notes) == [
        "optimizer: group 0: weight_decay is 0 as in the checkpoint, not 0.1",
        "optimizer: group 0: initial_lr is 0.1 as in the checkpoint, not 0.2",
    ]
    alone = network()
    payload = Parts(model=alone, optimizer=torch.optim.SGD(alone.parameters(), lr=0.1)).capture()
    notes = Parts(model=alone, optimizer=torch.optim.SGD(alone.parameters(), lr=0.5)).restore(payload)
    assert lines(notes) == ["optimizer: group 0: lr is 0.1 as in the checkpoint, not 0.5"]


_STEP_LR = torch.optim.lr_scheduler.StepLR


_COSINE = torch.optim.lr_scheduler.CosineAnnealingLR


def _warmed_up(optimizer: Any, *, steps: int) -> Any:
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=steps)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [warm_up, _COSINE(optimizer, 10)], [steps])


_CHANGES: list[tuple[str, Callable[[Any], Any], Callable[[Any], Any], list[str]]] = [
    (
        "steps",
        lambda each: _STEP_LR(each, 2, 0.5),
        lambda each: _STEP_LR(each, 4, 0.1),
        [
            "scheduler: step_size is 2 as in the checkpoint, not 4",
            "scheduler: gamma is 0.5 as in the checkpoint, not 0.1",
        ],
    ),
    ("the same", lambda each: _STEP_LR(each, 2), lambda each: _STEP_LR(each, 2), []),
    (
        "milestones",
        lambda each: torch.optim.lr_scheduler.MultiStepLR(each, [3, 5]),
        lambda each: torch.optim.lr_scheduler.MultiStepLR(each, [3, 9]),
        ["scheduler: milestones is [3, 5] as in the checkpoint, not [3, 9]"],
    ),
    (
        "more epochs",
        lambda each: _COSINE(each, 4),
        lambda each: _COSINE(each, 8),
        ["scheduler: T_max is 4 as in the checkpoint, not 8"],
    ),
    (
        "one cycle",
        lambda each: torch.optim.lr_scheduler.OneCycleLR(each, 0.5, total_steps=5),
        lambda each: torch.optim.lr_scheduler.OneCycleLR(each, 0.5, total_steps=9),
        ["scheduler: total_steps is 5 as in the checkpoint, not 9"],
    ),
    (
        "plateau",
        lambda each: torch.optim.lr_scheduler.ReduceLROnPlateau(each, patience=1),
        lambda each: torch.optim.lr_scheduler.ReduceLROnPlateau(each, patience=3, min_lr=0.1),
        [
            "scheduler: patience is 1 as in the checkpoint, not 3",
            "scheduler: min_lrs is [0] as in the checkpoint, not [0.1]",
        ],
    ),
    (
        "inside another",
        lambda each: _warmed_up(each, steps=2),
        lambda each: _warmed_up(each, steps=4),
        [
            "scheduler: milestones is [2] as in the checkpoint, not [4]",
            "scheduler[0]: total_iters is 2 as in the checkpoint, not 4",
        ],
    ),
]


@pytest.mark.parametrize(("there", "here", "told"), [each[1:] for each in _CHANGES], ids=[each[0] for each in _CHANGES])
def test_a_schedulers_setting_that_the_checkpoint_replaces_is_noted(there: Any, here: Any, told: list[str]) -> None:
    """What the constructor was given is a setting; how far the schedule has come is none."""
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = there(optimizer)
    for _ in range(3):
        optimizer.step()
        scheduler.step(*[0.1][: isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)])
    payload = Parts(model=model, optimizer=optimizer, scheduler=scheduler).capture()
    fresh = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    notes = Parts(model=model, optimizer=fresh, scheduler=here(fresh)).restore(payload)

    assert sorted(lines(notes)) == sorted(told)


def test_a_schedule_of_the_users_own_is_looked_at_alike() -> None:
    """A subclass's settings are those its constructor takes, and values that cannot be compared are left out."""

    class Steps(torch.optim.lr_scheduler.LRScheduler):  # type: ignore[misc]
        def __init__(self, optimizer: Any, every: int, weights: Any) -> None:
            self.every, self.weights = every, [weights]
            super().__init__(optimizer)

        def get_lr(self) -> list[float]:
            return [0.1 for _ in self.optimizer.param_groups]

    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    payload = Parts(model=model, scheduler=Steps(optimizer, 2, torch.zeros(3))).capture()

    notes = Parts(model=model, scheduler=Steps(optimizer, 3, torch.ones(3))).restore(payload)

    assert lines(notes) == ["scheduler: every is 2 as in the checkpoint, not 3"]


def test_another_scheduler_is_refused() -> None:
    """The state of one kind of scheduler is not poured into another."""
    model, optimizer, scheduler = trained()
    payload = Parts(model=model, optimizer=optimizer, scheduler=scheduler).capture()
    other = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)

    with pytest.raises(CheckpointError, match=r"scheduler: of another kind: the checkpoint has gamma, step_size"):
        Parts(model=model, optimizer=optimizer, scheduler=other).restore(payload)


def test_weights_of_another_type_are_converted_and_noted() -> None:
    """Half-precision weights fit a full-precision model, with a note."""
    payload = Parts(model=nn.Linear(2, 2).half()).capture()

    notes = Parts(model=nn.Linear(2, 2)).restore(payload)

    assert lines(notes) == ["model: 2 converted to the model's own type: weight torch.float16 → torch.float32, "
                     "bias torch.float16 → torch.float32"]  # fmt: skip


class Wrapper(nn.Module):  # type: ignore[misc]
    """A user's own module, whose only child has the name that the parallel wrappers use."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


def with_compiled_part(model: nn.Module) -> nn.Module:
    model[0] = compiled(model[0])
    return model


_WRAPPINGS: dict[str, Callable[[nn.Module], Any]] = {
    "plain": lambda model: model,
    "parallel": nn.DataParallel,
    "compiled": compiled,
    "compiled parallel": lambda model: compiled(nn.DataParallel(model)),
    "parallel compiled": lambda model: nn.DataParallel(compiled(model)),
    "a compiled part": with_compiled_part,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("there", _WRAPPINGS)
@pytest.mark.parametrize("here", _WRAPPINGS)
def test_a_file_moves_between_wrapped_and_plain_models(there: str, here: str) -> None:
    """Whatever either model is wrapped in, the file has the inner names, and the weights arrive."""
    plain = network()
    expected = copy.deepcopy(plain.state_dict())
    payload = Parts(model=_WRAPPINGS[there](plain)).capture()
    fresh = network()

    assert list(payload["model_state_dict"]) == list(expected)
    assert lines(Parts(model=_WRAPPINGS[here](fresh)).restore(payload)) == []

    assert same(list(fresh.state_dict().values()), list(expected.values()))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_files_with_a_wrappers_names_are_accepted(prefix: str) -> None:
    """A file that was saved by hand from inside a wrapper fits the plain model."""
    model, fresh = network(), network()
    state = {prefix + name: value for name, value in model.state_dict().items()}

    Parts(model=fresh).restore({"model_state_dict": state})

    assert same(fresh.state_dict(), model.state_dict())


def test_a_users_own_module_named_module_keeps_its_names() -> None:
    """A child that is called `module` is no wrapper: its names stay, and a bare file of the child fits as well."""
    model = Wrapper(network())
    payload = Parts(model=model).capture()
    fresh = Wrapper(network())

    Parts(model=fresh).restore(payload)
    assert same(fresh.state_dict(), model.state_dict())

    Parts(model=fresh).restore({"model_state_dict": network().state_dict()})
    assert next(iter(payload["model_state_dict"])) == "module.0.weight"
