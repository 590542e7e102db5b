"""`keep_settings=`: the program's new learning rate and schedule stay, and the rest comes from the checkpoint."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedules

from notifybot import Checkpoints, UsageError
from notifybot.checkpoints.state import Parts
from notifybot.errors import CheckpointError
from notifybot.events import RunStarted
from notifybot.rendering import Renderer
from notifybot.training.session import close
from notifybot.types import Language
from tests.support.checkpointed_training import Training
from tests.support.training_parts import Kept, lines, same

pytestmark = pytest.mark.usefixtures("one_thread")

Build = Callable[[Any], Any]
_STEPS, _SAVED_AFTER = 8, 3


class Program:
    """A small training with momentum, and the learning rates and momenta that it had in its steps."""

    def __init__(self, build: Build | None, *, lr: float = 0.1, **settings: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(2, 1)
        two = [{"params": [self.model.weight]}, {"params": [self.model.bias], "lr": lr / 2}]
        self.optimizer = torch.optim.SGD(two, lr=lr, **{"momentum": 0.9} | settings)
        self.scheduler: Any = build(self.optimizer) if build is not None else None
        self.rates: list[Any] = []

    def train(self, steps: int) -> Program:
        for _ in range(steps):
            self.rates.append([(each["lr"], each["momentum"]) for each in self.optimizer.param_groups])
            self.optimizer.zero_grad()
            self.model(torch.ones(1, 2)).sum().backward()
            self.optimizer.step()
            if isinstance(self.scheduler, schedules.ReduceLROnPlateau):
                self.scheduler.step(1.0)
            elif self.scheduler is not None:
                self.scheduler.step()
        return self

    def parts(self, keep: Any = False) -> Parts:
        return Parts(model=self.model, optimizer=self.optimizer, scheduler=self.scheduler, keep_settings=keep)

    def state(self) -> Any:
        return copy.deepcopy([self.optimizer.state_dict(), self.scheduler and self.scheduler.state_dict()])


def _warm_up(optimizer: Any, *, steps: int, length: int) -> Any:
    first = schedules.LinearLR(optimizer, 0.1, total_iters=steps)
    return schedules.SequentialLR(optimizer, [first, schedules.CosineAnnealingLR(optimizer, length)], [steps])


def _chained(optimizer: Any, *, gamma: float) -> Any:
    return schedules.ChainedScheduler(
        [schedules.ConstantLR(optimizer, 0.1, total_iters=4), schedules.ExponentialLR(optimizer, gamma)]
    )


class Sawtooth(schedules.LRScheduler):  # type: ignore[misc]
    """A schedule of the user's own, which goes by its last rate."""

    def __init__(self, optimizer: Any, every: int) -> None:
        self.every = every
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        up = self.last_epoch % self.every == 0
        return [
            base if up else 0.7 * group["lr"]
            for base, group in zip(self.base_lrs, self.optimizer.param_groups, strict=True)
        ]


_FACTOR = {"lambda": lambda step: 0.9**step, "other": lambda step: 1 / (1 + step)}
_CHANGES: dict[str, tuple[Build | None, Build | None, float]] = {
    "no schedule": (None, None, 0.05),
    "lambda": (
        lambda each: schedules.LambdaLR(each, _FACTOR["lambda"]),
        lambda each: schedules.LambdaLR(each, _FACTOR["other"]),
        0.05,
    ),
    "multiplicative": (
        lambda each: schedules.MultiplicativeLR(each, _FACTOR["lambda"]),
        lambda each: schedules.MultiplicativeLR(each, _FACTOR["other"]),
        0.05,
    ),
    "steps": (lambda each: schedules.StepLR(each, 2), lambda each: schedules.StepLR(each, 3, 0.5), 0.05),
    "milestones": (
        lambda each: schedules.MultiStepLR(each, [2]),
        lambda each: schedules.MultiStepLR(each, [1, 5]),
        0.1,
    ),
    "constant": (
        lambda each: schedules.ConstantLR(each, 0.5, 2),
        lambda each: schedules.ConstantLR(each, 0.5, 6),
        0.05,
    ),
    "linear": (
        lambda each: schedules.LinearLR(each, 0.1, 1, 4),
        lambda each: schedules.LinearLR(each, 0.1, 1, 7),
        0.05,
    ),
    "exponential": (
        lambda each: schedules.ExponentialLR(each, 0.9),
        lambda each: schedules.ExponentialLR(each, 0.8),
        0.05,
    ),
    "cosine, half the rate": (
        lambda each: schedules.CosineAnnealingLR(each, 8, 0.001),
        lambda each: schedules.CosineAnnealingLR(each, 8, 0.001),
        0.05,
    ),
    "cosine, longer": (
        lambda each: schedules.CosineAnnealingLR(each, _SAVED_AFTER),
        lambda each: schedules.CosineAnnealingLR(each, 8),
        0.1,
    ),
    "polynomial": (
        lambda each: schedules.PolynomialLR(each, 4),
        lambda each: schedules.PolynomialLR(each, 8, 2.0),
        0.05,
    ),
    "restarts": (
        lambda each: schedules.CosineAnnealingWarmRestarts(each, 2),
        lambda each: schedules.CosineAnnealingWarmRestarts(each, 2, 2),
        0.05,
    ),
    "cyclic": (
        lambda each: schedules.CyclicLR(each, 0.01, 0.1, 2),
        lambda each: schedules.CyclicLR(each, 0.02, 0.2, 3, base_momentum=0.7),
        0.05,
    ),
    "one cycle, longer": (
        lambda each: schedules.OneCycleLR(each, 0.5, total_steps=4),
        lambda each: schedules.OneCycleLR(each, 0.25, total_steps=9),
        0.05,
    ),
    "warm-up": (
        lambda each: _warm_up(each, steps=2, length=4),
        lambda each: _warm_up(each, steps=4, length=8),
        0.05,
    ),
    "chained": (lambda each: _chained(each, gamma=0.9), lambda each: _chained(each, gamma=0.8), 0.05),
    "averaging": (
        lambda each: torch.optim.swa_utils.SWALR(each, 0.02, 4),
        lambda each: torch.optim.swa_utils.SWALR(each, 0.01, 6),
        0.05,
    ),
    "of the user's own": (lambda each: Sawtooth(each, 2), lambda each: Sawtooth(each, 5), 0.05),
    "another kind": (
        lambda each: schedules.StepLR(each, 2),
        lambda each: schedules.CosineAnnealingLR(each, 8),
        0.05,
    ),
    "a chained one in place of one": (
        lambda each: schedules.StepLR(each, 2),
        lambda each: _chained(each, gamma=0.8),
        0.05,
    ),
    "unchanged": (lambda each: schedules.StepLR(each, 2), lambda each: schedules.StepLR(each, 2), 0.1),
}


@pytest.mark.parametrize("keep", [True, ("scheduler",)], ids=["all", "the schedule"])
@pytest.mark.parametrize(("there", "here", "lr"), _CHANGES.values(), ids=_CHANGES)
def test_the_programs_schedule_goes_on_as_if_it_had_been_so_from_the_start(
    there: Build | None, here: Build | None, lr: float, keep: Any
) -> None:
    """Every rate after the restore is that of the new program uninterrupted; what momentum has gathered is kept."""
    saved = Program(there).train(_SAVED_AFTER)
    payload = saved.parts().capture()
    whole = Program(here, lr=lr).train(_STEPS)
    program = Program(here, lr=lr)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program.parts(keep).restore(payload)
    gathered = [each["momentum_buffer"] for each in program.optimizer.state.values()]

    assert same(gathered, [each["momentum_buffer"] for each in saved.optimizer.state.values()])
    assert same(program.model.state_dict(), saved.model.state_dict())
    assert program.train(_STEPS - _SAVED_AFTER).rates == whole.rates[_SAVED_AFTER:]
    if program.scheduler is not None and whole.scheduler is not None:
        assert same(program.scheduler.state_dict(), whole.scheduler.state_dict())


def test_what_is_kept_and_what_differs_is_told() -> None:
    """The rate of now, the schedule's settings, and what the checkpoint replaces nonetheless."""
    payload = Program(lambda each: schedules.StepLR(each, 2), weight_decay=0.1).train(3).parts().capture()
    program = Program(lambda each: schedules.StepLR(each, 2, 0.5), lr=0.4, nesterov=True, weight_decay=0.2)

    notes = program.parts("lr").restore(payload)

    assert lines(notes) == [
        "scheduler: gamma is 0.5 as in the program, not 0.1 as in the checkpoint",
        "optimizer: group 0: lr is 0.2 as in the program, not 0.01 as in the checkpoint",
        "optimizer: group 0: weight_decay is 0.1 as in the checkpoint, not 0.2",
        "optimizer: group 0: nesterov is False as in the checkpoint, not True",
        "optimizer: group 1: lr is 0.1 as in the program, not 0.005 as in the checkpoint",
        "optimizer: group 1: weight_decay is 0.1 as in the checkpoint, not 0.2",
        "optimizer: group 1: nesterov is False as in the checkpoint, not True",
    ]


def test_a_named_setting_alone_is_kept() -> None:
    """The rate and the schedule are the checkpoint's then."""
    build = _CHANGES["steps"][0]
    saved = Program(build).train(3)
    payload = saved.parts().capture()
    program = Program(build, lr=0.4, weight_decay=0.2)

    program.parts(["weight_decay"]).restore(payload)

    assert [each["weight_decay"] for each in program.optimizer.param_groups] == [0.2, 0.2]
    assert [each["lr"] for each in program.optimizer.param_groups] == saved.scheduler.get_last_lr()
    assert same(program.scheduler.state_dict(), saved.scheduler.state_dict())


def test_a_rate_in_a_tensor_is_kept_and_compared() -> None:
    """As with `capturable` and compiled steps."""
    program, saved = Program(None, lr=0.4), Program(None)
    for each, rate in ((saved, 0.1), (program, 0.4)):
        each.optimizer.param_groups[0]["lr"] = torch.tensor(rate)

    notes = program.parts("lr").restore(saved.parts().capture())

    assert program.optimizer.param_groups[0]["lr"] == torch.tensor(0.4)
    assert lines(notes)[0] == "optimizer: group 0: lr is 0.4 as in the program, not 0.1 as in the checkpoint"


def test_a_plateau_keeps_its_counters_and_takes_the_programs_settings() -> None:
    """It follows no schedule, so the rate is the program's from here."""
    saved = Program(lambda each: schedules.ReduceLROnPlateau(each, patience=5)).train(4)
    program = Program(lambda each: schedules.ReduceLROnPlateau(each, patience=4, factor=0.5), lr=0.4)

    notes = program.parts(True).restore(saved.parts().capture())

    assert (program.scheduler.num_bad_epochs, program.scheduler.patience) == (3, 4)
    assert [each["lr"] for each in program.optimizer.param_groups] == [0.4, 0.2]
    program.train(2)
    assert [each["lr"] for each in program.optimizer.param_groups] == [0.2, 0.1]
    assert "scheduler: patience is 4 as in the program, not 5 as in the checkpoint" in lines(notes)


def test_a_schedule_that_the_checkpoint_does_not_have_begins_at_its_start() -> None:
    """And says so: where it would be is not known."""
    payload = Program(None).train(3).parts().capture()
    program = Program(lambda each: schedules.OneCycleLR(each, 0.5, total_steps=9))
    first = program.state()[0]["param_groups"]

    notes = program.parts(True).restore(payload)

    assert program.state()[0]["param_groups"] == first
    assert any("scheduler: the checkpoint holds no position in such a schedule" in each for each in lines(notes))
    program.train(3)


def test_objects_that_are_further_than_the_checkpoint_go_on_with_its_schedule() -> None:
    """A cell run again after it was stopped within an epoch: there is no way back to an earlier step."""
    program = Program(_CHANGES["cosine, longer"][1]).train(3)
    payload, before = program.parts().capture(), program.state()
    program.train(2)

    notes = program.parts(True).restore(payload)

    assert same(program.state(), before)
    assert lines(notes) == [
        "scheduler: its objects are at step 5 and the checkpoint at 3, so its schedule is the checkpoint's; build "
        "optimizer and scheduler anew to keep the program's"
    ]


def test_a_schedule_that_does_not_reach_so_far_is_refused_and_nothing_is_changed() -> None:
    """OneCycleLR has a last step; it would raise in the middle of the night."""
    payload = Program(lambda each: schedules.StepLR(each, 2)).train(8).parts().capture()
    program = Program(lambda each: schedules.OneCycleLR(each, 0.5, total_steps=5))
    before = program.state()

    with pytest.raises(CheckpointError, match=r"scheduler: the program's schedule does not reach step 8, .*fresh=True"):
        program.parts(True).restore(payload)

    assert same(program.state(), before)


def test_a_part_that_refuses_undoes_the_schedule_too() -> None:
    """All or nothing, the learning rate included."""

    class Refusing(Kept):
        def load_state_dict(self, state: Any) -> None:
            raise ValueError("not today")

    build = _CHANGES["one cycle, longer"][1]
    saved, program = Program(build).train(3), Program(build, lr=0.01)
    given: dict[str, Any] = {"extra": {"refusing": Refusing({})}, "keep_settings": True}
    payload = Parts(model=saved.model, optimizer=saved.optimizer, scheduler=saved.scheduler, **given).capture()
    before = program.state()

    with pytest.raises(CheckpointError, match="not today"):
        Parts(model=program.model, optimizer=program.optimizer, scheduler=program.scheduler, **given).restore(payload)

    assert same(program.state(), before)


def test_several_schedules_of_one_optimizer_go_on_together() -> None:
    """A warm-up and a decay that the program steps one after the other."""

    def made(lr: float) -> tuple[Program, list[Any]]:
        program = Program(None, lr=lr)
        first = schedules.LinearLR(program.optimizer, 0.1, total_iters=4)
        return program, [first, schedules.CosineAnnealingLR(program.optimizer, 8, 0.01)]

    def train(program: Program, both: list[Any], steps: int) -> None:
        for _ in range(steps):
            program.train(1)
            for each in both:
                each.step()

    (saved, there), (program, here), (whole, all_of_it) = made(0.1), made(0.05), made(0.05)
    train(saved, there, 3)
    train(whole, all_of_it, 6)
    payload = Parts(model=saved.model, optimizer=[saved.optimizer], scheduler=there).capture()

    Parts(model=program.model, optimizer=[program.optimizer], scheduler=here, keep_settings=True).restore(payload)
    train(program, here, 3)

    assert program.rates == whole.rates[3:]


def test_a_momentum_that_cannot_begin_is_refused() -> None:
    """RMSprop would fail in its next step; SGD begins one."""
    model = nn.Linear(1, 1)

    def optimizer(kind: Any, momentum: float) -> Any:
        made = kind(model.parameters(), lr=0.1, momentum=momentum)
        model(torch.ones(1, 1)).sum().backward()
        made.step()
        return made

    payload = Parts(model=model, optimizer=optimizer(torch.optim.RMSprop, 0.0)).capture()
    with pytest.raises(CheckpointError, match=r"optimizer: group 0: momentum cannot begin at 0\.9, as the checkpoint"):
        Parts(model=model, optimizer=optimizer(torch.optim.RMSprop, 0.9), keep_settings=True).restore(payload)

    payload = Parts(model=model, optimizer=optimizer(torch.optim.SGD, 0.0)).capture()
    here = optimizer(torch.optim.SGD, 0.9)
    Parts(model=model, optimizer=here, keep_settings=True).restore(payload)
    here.step()


_OPTIMIZERS = [
    name
    for name, each in vars(torch.optim).items()
    if isinstance(each, type) and issubclass(each, torch.optim.Optimizer) and name not in ("Optimizer", "SparseAdam")
]


@pytest.mark.parametrize("name", _OPTIMIZERS)
def test_every_optimizer_of_pytorch_steps_on_with_the_programs_numbers(name: str) -> None:
    """Whatever number is changed, what the optimizer remembers still fits it."""

    def trained(factor: float) -> tuple[Any, Any]:
        torch.manual_seed(0)
        model = nn.Linear(2, 2, bias=False)
        made = getattr(torch.optim, name)(model.parameters(), lr=0.01)
        for setting, value in made.param_groups[0].items():
            if isinstance(value, float) and setting != "lr":
                made.param_groups[0][setting] = value * factor
        made.param_groups[0]["lr"] *= factor
        made.step(lambda: _backward(model))
        return model, made

    (model, saved), (other, here) = trained(1.0), trained(0.5)
    payload = Parts(model=model, optimizer=saved).capture()
    numbers = {each: value for each, value in here.param_groups[0].items() if isinstance(value, float)}

    Parts(model=other, optimizer=here, keep_settings=True).restore(payload)
    here.step(lambda: _backward(other))

    assert {each: here.param_groups[0][each] for each in numbers} == numbers


def _backward(model: Any) -> Any:
    model.zero_grad()
    loss = model(torch.ones(1, 2)).square().sum()
    loss.backward()
    return loss


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ("learning_rate", r"there are dampening, lr, momentum, scheduler, weight_decay\. It is not 'learning_rate'"),
        (("lr", "nesterov"), r"names of settings such as \(\"lr\", \"weight_decay\"\)"),
        (0.1, r"It is not 0\.1"),
    ],
)
def test_a_setting_that_is_none_is_named_with_those_that_are(tmp_path: Path, keep: Any, words: str) -> None:
    model = nn.Linear(1, 1)

    with pytest.raises(UsageError, match=words):
        Checkpoints(tmp_path, model=model, optimizer=torch.optim.SGD(model.parameters()), keep_settings=keep)


def test_a_scheduler_that_cannot_be_moved_is_refused(tmp_path: Path) -> None:
    """A library's own knows its position in ways of its own; a setting beside it can be kept."""
    model = nn.Linear(1, 1)
    given: dict[str, Any] = {"model": model, "optimizer": torch.optim.SGD(model.parameters()), "scheduler": Kept({})}

    with pytest.raises(UsageError, match=r"scheduler= is Kept: give the scheduler inside it"):
        Checkpoints(tmp_path, **given, keep_settings=True)
    Checkpoints(tmp_path, **given, keep_settings=["weight_decay"])


@pytest.fixture
def config(tmp_path: Path) -> Iterator[dict[str, object]]:
    yield {"runs_dir": str(tmp_path / "runs"), "tensorboard": "off", "wandb": "off"}
    close()


def test_the_start_message_says_which_rate_is_used(tmp_path: Path, config: dict[str, object]) -> None:
    """Of the run that goes on, in both languages."""
    Training(tmp_path / "exp", config).train(until=3)
    second = Training(tmp_path / "exp", config, keep_settings=True)
    second.scheduler = schedules.StepLR(second.optimizer, 2, 0.1)
    second.train()

    started = second.of(RunStarted)[-1]
    english, korean = (Renderer(each).render(started).body for each in (Language.EN, Language.KO))

    assert list(second.losses) == [3, 4]
    assert "lr is 0.001 as in the program, not 0.005 as in the checkpoint" in english
    assert "lr = 0.001(코드의 값이며, 체크포인트에서는 0.005)" in korean
    assert second.optimizer.param_groups[0]["lr"] == pytest.approx(0.0001)
