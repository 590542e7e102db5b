"""What of ours lives in a training's own objects while a run saves them: listed, and gone when the run is over."""

from __future__ import annotations

import copy
import functools
import gc
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from notifybot import CheckpointError, Checkpoints, notify_epoch
from notifybot.checkpoints.state import Parts
from notifybot.training.resume import COMPLETED
from notifybot.training.session import close

Run = Callable[["Cell"], None]


@pytest.fixture(autouse=True)
def settings(tmp_path: Path) -> Iterator[dict[str, object]]:
    torch.set_num_threads(1)
    yield {"runs_dir": str(tmp_path / "runs"), "tensorboard": "off", "wandb": "off"}
    close()


class Wrong(Exception):
    """Raised by the user's own code."""


class Cell:
    """A notebook's objects, and the cell that trains them, to be run again and again."""

    def __init__(self, folder: Path, settings: dict[str, object], optimizer: Any = torch.optim.SGD) -> None:
        self.folder, self.settings = folder, settings
        self.model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.optimizer = optimizer(self.model.parameters(), lr=0.01)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 2)
        self.others = 0
        self.lived: list[str] = []

    def checkpoints(self, **options: Any) -> Checkpoints:
        return Checkpoints(self.folder, model=self.model, optimizer=self.optimizer, scheduler=self.scheduler, **options)

    def loop(self, epochs: int = 2, **options: Any) -> Any:
        COMPLETED.clear()  # as in another cell
        checkpoints = self.checkpoints(**options)
        return notify_epoch(range(epochs), name="x", checkpoints=checkpoints, progress=False, config=self.settings)

    def another_hook(self) -> None:
        """A library's own, beside ours."""

        def count(*_: object) -> None:
            self.others += 1

        self.optimizer.register_step_post_hook(count)

    def step(self, width: int = 3) -> torch.Tensor:
        self.lived += ours_in(self.model, self.optimizer, self.scheduler)
        loss = self.model(torch.randn(4, width)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    @property
    def left(self) -> list[str]:
        return ours_in(self.model, self.optimizer, self.scheduler)


def ours_in(*objects: Any) -> list[str]:
    """The names of all that is ours in what these objects hold, and in PyTorch's own lists of hooks."""
    everywhere = [
        value
        for module in map(sys.modules.get, ("torch.nn.modules.module", "torch.optim.optimizer"))
        for name, value in vars(module).items()
        if name.startswith("_global_")
    ]
    seen: set[int] = set()
    waiting, found = [*objects, *everywhere], []
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, type | str | bytes):
            continue
        seen.add(id(each))
        if (getattr(each, "__module__", None) or type(each).__module__ or "").startswith("notifybot"):
            found.append(getattr(each, "__qualname__", type(each).__name__))
        else:
            waiting += inside(each)
    return found


def inside(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set):
        return list(value)
    held = list(getattr(value, "__dict__", {}).values())
    held += [cell.cell_contents for cell in getattr(value, "__closure__", None) or () if cell != cell.__class__()]
    held += [getattr(value, name, None) for name in ("__self__", "__func__", "_backward_hooks", "grad_fn")]
    if isinstance(value, functools.partial):
        held += [value.func, value.args, value.keywords]
    return held


def finishes(cell: Cell) -> None:
    with cell.loop() as epochs:
        for _ in epochs:
            epochs.log(loss=cell.step())


def breaks_off(cell: Cell) -> None:
    with cell.loop() as epochs:
        for _ in epochs:
            cell.step()
            break


def never_steps(cell: Cell) -> None:
    with cell.loop() as epochs:
        for _ in epochs:
            epochs.log(loss=1.0)


def fails_before_a_step(cell: Cell) -> None:
    with suppress(RuntimeError), cell.loop() as epochs:
        for _ in epochs:
            cell.step(width=5)


def is_stopped(cell: Cell) -> None:
    with suppress(KeyboardInterrupt), cell.loop() as epochs:
        for _ in epochs:
            cell.step()
            raise KeyboardInterrupt


def has_no_block(cell: Cell) -> None:
    for _ in cell.loop():
        cell.step()


def breaks_off_without_a_block(cell: Cell) -> None:
    for _ in cell.loop():
        break


def fails_without_a_block(cell: Cell) -> None:
    with suppress(Wrong):
        for _ in cell.loop():
            raise Wrong


def is_nested(cell: Cell) -> None:
    inner = Cell(cell.folder.with_name("inner"), cell.settings)
    inner.model, inner.optimizer, inner.scheduler = cell.model, cell.optimizer, cell.scheduler
    with cell.loop() as epochs:
        for _ in epochs:
            finishes(inner)
            cell.step()


def is_refused(cell: Cell) -> None:
    other = Cell(cell.folder, cell.settings)
    finishes(other)
    assert other.left == []
    cell.model.append(nn.Linear(1, 1))
    with pytest.raises(CheckpointError), cell.loop(4):
        pass


RUNS: list[Run] = [
    finishes,
    breaks_off,
    never_steps,
    fails_before_a_step,
    is_stopped,
    has_no_block,
    breaks_off_without_a_block,
    fails_without_a_block,
    is_nested,
    is_refused,
]


@pytest.mark.parametrize("run", RUNS, ids=lambda each: each.__name__)
def test_nothing_of_ours_is_left_when_a_run_is_over(run: Run, tmp_path: Path, settings: dict[str, object]) -> None:
    """However a loop is left, model, optimizer and scheduler are as they would be without us, also for the next run."""
    cell = Cell(tmp_path / "exp", settings)
    cell.another_hook()

    run(cell)

    assert cell.left == []
    assert set(cell.lived) <= {"_FirstStep"}
    again = Cell(tmp_path / "again", settings)
    again.model, again.optimizer, again.scheduler = cell.model, cell.optimizer, cell.scheduler
    breaks_off(again)
    assert again.left == []
    assert len(cell.optimizer._optimizer_step_post_hooks) == 1


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam], ids=["no state", "state"])
def test_a_hook_beside_ours_is_called_at_every_step(
    optimizer: Any, tmp_path: Path, settings: dict[str, object]
) -> None:
    """A counter of the user's own, put on before and after ours, misses nothing in runs that fail, go on, finish."""
    cell = Cell(tmp_path / "exp", settings, optimizer)
    cell.another_hook()

    fails_before_a_step(cell)
    for epochs in (2, 4):
        with cell.loop(epochs) as loop:
            cell.another_hook()
            for _ in loop:
                loop.log(loss=cell.step())

    assert cell.others == 2 * 2 + 2 * 3
    assert cell.left == []


def test_an_optimizer_has_one_hook_of_ours_at_most(tmp_path: Path, settings: dict[str, object]) -> None:
    """Cells that were run again and further checkpoints add none; the newest one's memory is made ready."""
    cell = Cell(tmp_path / "exp", settings, torch.optim.Adam)
    several = [Parts(model=cell.model, optimizer=cell.optimizer) for _ in range(3)]

    for parts in several:
        parts.watch_first_steps()
        parts.watch_first_steps()

    assert cell.left == ["_FirstStep"]
    several[0].release()
    assert cell.left == ["_FirstStep"]
    cell.step()
    assert [bool(parts._buffers._kept) for parts in several] == [False, False, True]
    several[2].release()
    assert cell.left == []


def copied(optimizer: Any) -> Any:
    return copy.deepcopy(optimizer)


def pickled(optimizer: Any) -> Any:
    file = io.BytesIO()
    torch.save(optimizer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def copied_with_its_hooks(optimizer: Any) -> Any:
    other = copy.deepcopy(optimizer)
    vars(other).update(copy.deepcopy({"_optimizer_step_post_hooks": optimizer._optimizer_step_post_hooks}))
    return other


@pytest.mark.parametrize("copies", [copied, pickled, copied_with_its_hooks])
def test_a_copy_of_an_optimizer_is_the_users_alone(copies: Callable[[Any], Any]) -> None:
    """A deep copy or a pickle made during a run steps as any optimizer, and makes nothing ready."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters())
    parts = Parts(model=model, optimizer=optimizer)
    parts.watch_first_steps()

    other = copies(optimizer)
    other.param_groups[0]["params"][0].grad = torch.ones(1, 3)
    other.step()

    assert other.state
    assert not parts._buffers._kept


def test_a_hook_holds_on_to_nothing_of_ours() -> None:
    """Checkpoints that nobody has any more are let go of, with the memory that they reserved."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters())
    parts = Parts(model=model, optimizer=optimizer)
    parts.watch_first_steps()
    gone = copy.copy(parts._hooks[0]._owner)

    del parts
    gc.collect()
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()

    assert gone() is None


def test_a_loop_that_ends_within_a_step_leaves_the_hooks_alone() -> None:
    """PyTorch goes through an optimizer's hooks: one that is removed meanwhile would break the user's step."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters())
    parts = Parts(model=model, optimizer=optimizer)
    parts.watch_first_steps()
    seen = []
    optimizer.register_step_post_hook(lambda *_: parts.release())
    optimizer.register_step_post_hook(lambda *_: seen.append(1))

    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()

    assert seen == [1]


class InNameOnly(torch.optim.Optimizer):  # type: ignore[misc]
    """A wrapper as libraries write it: an optimizer for `isinstance`, without what its base class sets up."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    @property
    def state(self) -> Any:
        return self.inner.state

    @property
    def param_groups(self) -> Any:
        return self.inner.param_groups

    def state_dict(self) -> Any:
        return self.inner.state_dict()

    def load_state_dict(self, state: Any) -> None:
        self.inner.load_state_dict(state)

    def zero_grad(self) -> None:
        self.inner.zero_grad()

    def step(self) -> None:
        self.inner.step()


def test_an_optimizer_that_takes_no_hooks_is_saved_all_the_same(tmp_path: Path, settings: dict[str, object]) -> None:
    """What only makes the first save faster never stands in the way of a training."""
    cell = Cell(tmp_path / "exp", settings)
    cell.scheduler = None
    cell.optimizer = InNameOnly(torch.optim.SGD(cell.model.parameters(), lr=0.1, momentum=0.9))

    finishes(cell)

    assert cell.checkpoints().card() is not None
    assert list((tmp_path / "exp").glob("*.pt"))
