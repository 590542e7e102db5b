"""What a run goes on from: the flags of its parameters, and what is known of it before its objects are built."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from notifybot import CheckpointError, Checkpoints, UsageError, freeze, notify_epoch, unfreeze
from notifybot.checkpoints.run_folder import NAME
from notifybot.checkpoints.types import SaveObserver, SavePoint
from notifybot.events import RunStarted
from notifybot.training.resume import COMPLETED
from notifybot.training.session import close
from tests.support.training_runs import recorded_events


@pytest.fixture(autouse=True)
def settings(tmp_path: Path) -> Iterator[dict[str, object]]:
    torch.set_num_threads(1)
    yield {"runs_dir": str(tmp_path / "runs"), "tensorboard": "off", "wandb": "off"}
    close()


class Death(Exception):
    """Stands for the end of the machine."""


class Net(nn.Module):  # type: ignore[misc]
    """A backbone and a head, as in transfer learning."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(self.backbone(inputs))
        return result


class Tuning:
    """A program that trains the head first, and all of it from epoch 2 on: one start of it."""

    kind = Checkpoints

    def __init__(self, folder: Path, settings: dict[str, object], *, groups: bool = False, **options: Any) -> None:
        torch.manual_seed(0)
        self.folder, self.settings, self.groups, self.options = folder, settings, groups, options
        self.model = Net()
        freeze(self.model, except_=["head"])
        learning = [each for each in self.model.parameters() if each.requires_grad or not groups]
        self.optimizer = torch.optim.Adam(learning, lr=0.01)
        self.losses: dict[int, float] = {}
        self.run: Any = None

    def open_up(self) -> None:
        new = unfreeze(self.model, "backbone")
        if self.groups:
            self.optimizer.add_param_group({"params": new, "lr": 0.001})

    def train(self, epochs: int = 6, *, until: int | None = None, model: Any = None) -> Tuning:
        model = self.model if model is None else model
        checkpoints = self.kind(self.folder, model=model, optimizer=self.optimizer, **self.options)
        loop = notify_epoch(range(epochs), name="x", checkpoints=checkpoints, progress=False, config=self.settings)
        self.run = loop.run
        try:
            with loop:
                for epoch in loop:
                    if epoch == until:
                        raise Death
                    if epoch == 2:
                        self.open_up()
                    self.model.train()
                    loss = self.model(torch.randn(8, 3)).square().mean()
                    self.optimizer.zero_grad()
                    loss.backward()
                    self.optimizer.step()
                    self.losses[epoch] = loss.item()
                    loop.log(loss=loss)
        except Death:
            pass
        return self

    @property
    def notes(self) -> list[tuple[str, str]]:
        started = [each for each in recorded_events(self.run) if isinstance(each, RunStarted)]
        return [(each.code, each.values["names"]) for each in started[-1].resumed.notes]  # type: ignore[union-attr]

    @property
    def learns(self) -> list[bool]:
        return [self.model.backbone[0].weight.requires_grad, self.model.backbone[1].training]


def test_a_run_goes_on_with_the_parameters_that_learnt(tmp_path: Path, settings: dict[str, object]) -> None:
    """Unfrozen in an epoch that is not run again, they learn on, batch norm too: as in an uninterrupted run."""
    whole = Tuning(tmp_path / "whole", settings).train()
    first = Tuning(tmp_path / "cut", settings).train(until=4)
    second = Tuning(tmp_path / "cut", settings).train(until=5)
    third = Tuning(tmp_path / "cut", settings).train()

    assert first.losses | second.losses | third.losses == whole.losses
    assert third.notes == []


def test_an_optimizer_that_got_a_group_is_built_so_again(tmp_path: Path, settings: dict[str, object]) -> None:
    """The saved epoch is known before the optimizer is built, which so has the groups of the checkpoint."""
    whole = Tuning(tmp_path / "whole", settings, groups=True).train()
    losses: dict[int, float] = {}
    for until in (2, 4, None):
        part = Tuning(tmp_path / "cut", settings, groups=True)
        if (Checkpoints.saved_epoch(tmp_path / "cut") or 0) >= 2:
            part.open_up()
        losses |= part.train(until=until).losses

    assert losses == whole.losses
    assert part.notes == []


def test_a_program_that_was_changed_keeps_its_flags_and_people_are_told(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    """Nobody but the program decides what learns: the difference is named at the start, once."""
    Tuning(tmp_path / "exp", settings).train(until=4)
    changed = Tuning(tmp_path / "exp", settings)
    changed.model.head.bias.requires_grad_(False)

    changed.train(until=5)

    assert changed.learns == [False, False]
    assert changed.notes == [
        ("frozen_here", "backbone.0.bias, backbone.0.weight … +3"),
        ("held_here", "backbone.1"),
    ]
    again = Tuning(tmp_path / "exp", settings)
    again.model.head.bias.requires_grad_(False)
    assert again.train().notes == []


def test_a_program_that_learns_more_than_it_did_is_told_of_too(tmp_path: Path, settings: dict[str, object]) -> None:
    Tuning(tmp_path / "exp", settings).train(until=1)
    changed = Tuning(tmp_path / "exp", settings)
    unfreeze(changed.model, "backbone")

    changed.train(until=2)

    assert changed.notes == [
        ("learns_here", "backbone.0.bias, backbone.0.weight … +2"),
        ("moves_here", "backbone.1"),
    ]


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda model: torch.compile(model, backend="eager")],
    ids=["in parallel", "compiled"],
)
def test_a_wrapper_is_no_change(wrap: Any, tmp_path: Path, settings: dict[str, object]) -> None:
    """The same parameters are the same whatever the model is wrapped in."""
    Tuning(tmp_path / "exp", settings).train(until=4)
    again = Tuning(tmp_path / "exp", settings)

    again.train(until=4, model=wrap(again.model))

    assert again.notes == []
    assert again.learns == [True, True]


def test_other_modules_learn_as_they_did_too(tmp_path: Path, settings: dict[str, object]) -> None:
    """A second model in `extra`, such as a discriminator that is frozen for the moment, is as it was."""
    critic = nn.Linear(1, 1)
    freezing = Tuning(tmp_path / "exp", settings, extra={"critic": critic})
    freezing.open_up = lambda: critic.requires_grad_(False)  # type: ignore[method-assign]
    freezing.train(until=4)
    fresh = nn.Linear(1, 1)

    Tuning(tmp_path / "exp", settings, extra={"critic": fresh}).train(until=4)

    assert not fresh.weight.requires_grad


@pytest.mark.parametrize("learning", [{}, {"model": 3}, {"model": {"start": {"frozen": 1}}}, {"model": {}}])
def test_a_checkpoint_without_flags_leaves_the_programs(
    learning: Any, tmp_path: Path, settings: dict[str, object]
) -> None:
    """One of an earlier version, or of nobody knows whom, is restored as ever."""

    class Older(Checkpoints):
        def save(self, moment: SavePoint, report: SaveObserver) -> None:
            super().save(replace(moment, learning=learning), report)

    first = Tuning(tmp_path / "exp", settings)
    first.kind = Older
    first.train(until=4)
    again = Tuning(tmp_path / "exp", settings).train(until=5)

    assert list(again.losses) == [4]
    assert again.learns == [False, False]
    assert again.notes == []


# ── what is known beforehand ─────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_saved_at_the_first_start(tmp_path: Path) -> None:
    """No folder, or nothing of ours in it: there is no epoch, and nothing is made."""
    assert Checkpoints.saved_epoch(tmp_path / "none") is None
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "weights.pt").write_bytes(b"")
    assert Checkpoints.saved_epoch(str(tmp_path / "some")) is None
    assert not (tmp_path / "none").exists()


def test_the_newest_saved_epoch_is_told(tmp_path: Path, settings: dict[str, object]) -> None:
    """It is that of the run whose folder it is, known without its payloads, on the local disk too."""
    folder, near = tmp_path / "exp", tmp_path / "near"
    Tuning(folder, settings, local=near).train(2)
    for each in folder.glob("*.pt*"):
        each.unlink()

    assert Checkpoints.saved_epoch(folder) is None
    assert Checkpoints.saved_epoch(folder, local=near) == 1
    assert Checkpoints.saved_epoch(near) == 1
    card = json.loads((folder / NAME).read_text())
    (folder / NAME).write_text(json.dumps(card | {"run_id": "another"}))
    assert Checkpoints.saved_epoch(folder, local=near) is None


def test_a_file_of_the_users_own_tells_its_epoch_by_its_name(tmp_path: Path) -> None:
    for name in ("checkpoint_epoch9_0.25.pt", "checkpoint_epoch10_0.5.pt", "checkpoint_epochs.pt"):
        (tmp_path / name).write_bytes(b"")

    assert Checkpoints.saved_epoch(tmp_path) == 10


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match="checkpoints cannot be kept in"):
        Checkpoints.saved_epoch(tmp_path / "file")


def test_an_optimizer_that_was_built_otherwise_is_refused_with_the_way_on(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    """Who did not ask for the saved epoch is told how."""
    Tuning(tmp_path / "exp", settings, groups=True).train(until=4)

    with pytest.raises(CheckpointError, match=r"2 parameter groups in the checkpoint, 1 here.*saved_epoch"):
        Tuning(tmp_path / "exp", settings, groups=True).train()


def _started(tmp_path: Path, settings: dict[str, object], **parts: Any) -> None:
    COMPLETED.clear()  # as in another cell
    with notify_epoch(range(1), name="x", checkpoints=Checkpoints(tmp_path / "c", **parts), config=settings) as epochs:
        for _ in epochs:
            epochs.log(loss=1.0)


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_what_is_trained_and_not_saved_is_said_before_the_first_epoch(
    lang: str,
    tmp_path: Path,
    settings: dict[str, object],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFYBOT_LANG", lang)
    weights, model = torch.zeros(2, requires_grad=True), nn.Linear(2, 1)
    trained = [*model.parameters(), weights]

    _started(tmp_path, settings, model=model, optimizer=torch.optim.SGD(trained, lr=0.1))
    _started(tmp_path / "empty", settings, model=nn.ReLU())
    lacking = {
        "en": ("x: 1 of the parameters that the optimizer trains (of shape [2]) are neither", "x: the state_dict()"),
        "ko": ("x: 옵티마이저가 학습하는 파라미터 중 1개(shape [2])가", "x: model=의 state_dict()가 비어"),
    }[lang]
    assert [each for each in caplog.messages if each.startswith(lacking[0])]
    assert [each for each in caplog.messages if each.startswith(lacking[1])]
    caplog.clear()

    more = {"more": nn.ParameterList([weights])}
    _started(tmp_path / "mended", settings, model=model, optimizer=torch.optim.SGD(trained, lr=0.1), extra=more)
    assert not [each for each in caplog.messages if each.startswith(lacking)]


def test_a_tensor_in_a_list_of_parameters_comes_back(tmp_path: Path, settings: dict[str, object]) -> None:
    """As the warning advises."""
    for value in (1.0, 2.0):
        weights = torch.full((2,), value, requires_grad=True)
        more = {"more": nn.ParameterList([weights])}
        _started(tmp_path, settings, model=nn.Linear(2, 1), optimizer=torch.optim.SGD([weights], lr=0.1), extra=more)

        assert weights.tolist() == [1.0, 1.0]
