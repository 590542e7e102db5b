"""Random states, and the promise they are kept for: a resumed run equals the uninterrupted one bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchdata.stateful_dataloader import StatefulDataLoader

from notifybot.checkpoints import rng
from notifybot.checkpoints.serialization import read_payload, write_payload
from notifybot.checkpoints.state import Parts
from notifybot.errors import CheckpointError

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),  # torchdata calls it
]

EPOCHS = 4


@pytest.fixture(autouse=True)
def no_global_state_leaks() -> Iterator[None]:
    """Other tests see the random states that they would have seen without these."""
    before = rng.capture()
    yield
    rng.restore(before)


def draws() -> list[Any]:
    """One draw of each generator, with the second of a pair that some of them keep for later."""
    return [
        random.random(),
        random.gauss(0, 1),
        float(numpy.random.rand()),
        float(numpy.random.randn()),
        torch.rand(3).tolist(),
        torch.randn(3).tolist(),
    ]


def through_a_file(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    with (folder / "a.pt").open("wb") as file:
        write_payload(payload, file)
    return read_payload(folder / "a.pt")


def seeded(seed: int) -> None:
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


def test_every_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    """After a restore from a file, Python, NumPy and PyTorch draw what they would have drawn."""
    draws()  # now the generators that make pairs hold a second one
    parts = Parts(model=nn.Identity())
    payload = parts.capture()
    expected = draws()
    seeded(7)

    assert parts.restore(through_a_file(payload, tmp_path)) == []

    assert draws() == expected


def test_numpys_state_is_plain_lists() -> None:
    """The file can be read where NumPy is not."""
    state = rng.capture()["numpy"]

    assert type(state["state"]["key"]) is list
    assert type(state["state"]["key"][0]) is int


def test_an_accelerator_that_is_not_in_use_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking CUDA for its state would initialise it, so it is left alone until the training has."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: pytest.fail("CUDA was initialised"))

    assert "cuda" not in rng.capture()


@pytest.mark.parametrize(("saved", "here"), [(1, 1), (2, 1), (1, 2), (2, 0), (0, 1)])
def test_another_number_of_devices_is_a_note(saved: int, here: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many devices as both sides have get their states, and a difference is told."""
    put: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: here > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: here)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: put.append((state, device)))
    states = {"torch": torch.get_rng_state(), **({"cuda": [f"state {each}" for each in range(saved)]} if saved else {})}

    notes = rng.restore(states)

    assert put == [(f"state {each}", each) for each in range(min(saved, here))]
    expected = f"the checkpoint holds the random states of {saved} cuda device(s), and {here} are here"
    assert notes == ([expected] if saved != here else [])


@pytest.mark.parametrize("name", ["python", "numpy", "torch"])
@pytest.mark.parametrize("state", [None, [], "text", [1, 2, 3], {"state": 1}, torch.zeros(3)], ids=repr)
def test_a_state_that_does_not_fit_is_a_note(name: str, state: Any) -> None:
    """The random states never stop a training: what cannot be put back is told, and the others are put back."""
    states = {**rng.capture(), name: state}
    expected = draws()
    seeded(7)

    notes = rng.restore(states)

    assert len(notes) == 1
    assert notes[0].startswith(f"the random state of {name} could not be put back")
    assert sum(one == other for one, other in zip(draws(), expected, strict=True)) == 4


@pytest.mark.parametrize("states", [None, {}, "text"])
def test_absent_states_are_one_note(states: Any) -> None:
    """A checkpoint without random states is gone on from, and says what is lost."""
    assert rng.restore(states) == ["the checkpoint holds no random states: shuffling and dropout start anew"]


@pytest.mark.parametrize(
    ("build", "draw"),
    [
        (lambda: torch.Generator().manual_seed(1), lambda generator: torch.rand(2, generator=generator).tolist()),
        (lambda: numpy.random.default_rng(1), lambda generator: generator.standard_normal(2).tolist()),
        (lambda: random.Random(1), lambda generator: [generator.random(), generator.gauss(0, 1)]),
        (
            lambda: numpy.random.Generator(numpy.random.MT19937(1)),
            lambda generator: generator.standard_normal(2).tolist(),
        ),
    ],
    ids=["PyTorch", "NumPy", "Python", "NumPy's MT19937"],
)
def test_a_generator_of_the_users_own_is_a_part(
    build: Callable[[], Any], draw: Callable[[Any], Any], tmp_path: Path
) -> None:
    """A generator that is given among the extra parts goes on where it was."""
    generator, fresh = build(), build()
    draw(generator)
    payload = through_a_file(Parts(model=nn.Identity(), extra={"shuffle": generator}).capture(), tmp_path)

    Parts(model=nn.Identity(), extra={"shuffle": fresh}).restore(payload)

    assert draw(fresh) == draw(generator)


# The resumed run


class Training:
    """A small training with everything that draws: initial weights, shuffling, dropout, and noise by NumPy."""

    def __init__(self, scheduler: str, loader: type[Any], *, workers: int = 0) -> None:
        self.model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
        self.scheduler: Any = (
            torch.optim.lr_scheduler.StepLR(self.optimizer, 5, gamma=0.7)
            if scheduler == "step"
            else torch.optim.lr_scheduler.OneCycleLR(self.optimizer, 0.05, total_steps=8 * EPOCHS)
        )
        generator = torch.Generator().manual_seed(11)
        data = TensorDataset(torch.randn(64, 6, generator=generator), torch.randn(64, 1, generator=generator))
        self.loader = loader(data, batch_size=8, shuffle=True, num_workers=workers)

    def parts(self) -> Parts:
        extra = {"loader": self.loader} if isinstance(self.loader, StatefulDataLoader) else {}
        return Parts(
            model=self.model, optimizer=self.optimizer, scheduler=self.scheduler, scaler=self.scaler, extra=extra
        )

    def epoch(self) -> Iterator[float]:
        """Train through the loader; yield each step's loss."""
        for inputs, targets in self.loader:
            noise = torch.from_numpy(numpy.random.randn(*inputs.shape)).float() * (0.01 + 0.01 * random.random())
            self.optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output = self.model(inputs + noise)
            loss = nn.functional.mse_loss(output.float(), targets)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.scheduler.step()
            yield loss.item()


@pytest.mark.parametrize("loader", [DataLoader, StatefulDataLoader])
@pytest.mark.parametrize("scheduler", ["step", "one cycle"])
def test_a_run_resumed_at_an_epochs_end_equals_the_uninterrupted_one(
    scheduler: str, loader: type[Any], tmp_path: Path
) -> None:
    """From an epoch boundary, the losses of the epochs that are left are the same numbers, bit for bit."""
    seeded(3)
    training = Training(scheduler, loader)
    parts = training.parts()
    parts.check()
    for _ in range(2):
        list(training.epoch())
    payload = through_a_file(parts.capture(), tmp_path)
    expected = [list(training.epoch()) for _ in range(2, EPOCHS)]
    seeded(99)
    resumed = Training(scheduler, loader)

    assert resumed.parts().restore(payload) == []

    assert [list(resumed.epoch()) for _ in range(2, EPOCHS)] == expected


@pytest.mark.parametrize("stop", [1, 5, 8])
def test_a_run_resumed_within_an_epoch_equals_the_uninterrupted_one(stop: int, tmp_path: Path) -> None:
    """With a stateful loader, the rest of the epoch and all that follow have the same losses, bit for bit."""
    seeded(3)
    training = Training("one cycle", StatefulDataLoader)
    parts = training.parts()
    list(training.epoch())
    steps = training.epoch()
    for _ in range(stop):
        next(steps)
    payload = through_a_file(parts.capture(), tmp_path)
    expected = [*steps, *training.epoch(), *training.epoch()]
    seeded(99)
    resumed = Training("one cycle", StatefulDataLoader)

    assert resumed.parts().restore(payload) == []

    assert [*resumed.epoch(), *resumed.epoch(), *resumed.epoch()] == expected


def test_saving_changes_nothing(tmp_path: Path) -> None:
    """A run that saves after each epoch has the losses of one that never does."""
    losses = []
    for saves in (False, True):
        seeded(3)
        training = Training("step", StatefulDataLoader)
        parts = training.parts()
        if saves:
            parts.check()
        found = []
        for _ in range(EPOCHS):
            found.append(list(training.epoch()))
            if saves:
                through_a_file(parts.capture(), tmp_path)
        losses.append(found)

    assert losses[0] == losses[1]


def test_a_run_goes_on_as_it_was_when_a_checkpoint_does_not_fit(tmp_path: Path) -> None:
    """A checkpoint that is refused leaves no trace in the losses, random states included."""
    seeded(3)
    payload = through_a_file(Parts(model=nn.Linear(1, 1)).capture(), tmp_path)
    losses = []
    for refused in (False, True):
        seeded(5)
        training = Training("step", DataLoader)
        if refused:
            with pytest.raises(CheckpointError):
                training.parts().restore(payload)
        losses.append(list(training.epoch()))

    assert losses[0] == losses[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda_the_copy_is_pinned_and_the_state_returns_to_the_device(tmp_path: Path) -> None:
    """The copy lies in page-locked memory, the restored optimizer on the GPU, and dropout there goes on."""
    model = nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.5)).cuda()
    optimizer = torch.optim.Adam(model.parameters())
    batch = torch.ones(4, 64, device="cuda")
    model(batch).sum().backward()
    optimizer.step()
    parts = Parts(model=model, optimizer=optimizer)
    payload = parts.capture()
    assert payload["model_state_dict"]["0.weight"].is_pinned()
    assert torch.equal(payload["model_state_dict"]["0.weight"], model[0].weight.cpu())
    read = through_a_file(payload, tmp_path)
    expected = model(batch)
    optimizer.step()

    assert parts.restore(read) == []

    assert torch.equal(model(batch), expected)
    assert optimizer.state[model[0].weight]["exp_avg"].is_cuda
