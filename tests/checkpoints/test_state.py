"""Parts: what is copied, what is put back, what is refused; and the payload's file."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from notifybot.checkpoints.buffers import Buffers
from notifybot.checkpoints.serialization import read_payload
from notifybot.checkpoints.state import Parts
from notifybot.errors import READER, CheckpointError, UsageError
from tests.support.training_parts import Kept, lines, network, same, step, trained, written

pytestmark = pytest.mark.usefixtures("one_thread")


class Refusing(Kept):
    """A part that lets nothing in."""

    def load_state_dict(self, state: Any) -> None:
        raise ValueError("not today")


class Tied(nn.Module):  # type: ignore[misc]
    """A model whose two layers are one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 4, bias=False)
        self.decoder = nn.Linear(4, 4, bias=False)
        self.decoder.weight = self.encoder.weight


# What is saved


def test_plain_pytorch_reads_the_file(tmp_path: Path) -> None:
    """The file opens with `torch.load(weights_only=True)`, and each state is where PyTorch's users look for it."""
    model, optimizer, scheduler = trained()
    scaler = torch.amp.GradScaler("cpu")
    payload = Parts(model=model, optimizer=optimizer, scheduler=scheduler, scaler=scaler).capture()

    read = torch.load(written({**payload, "epoch": 3, "loss": 0.5}, tmp_path / "a.pt"), weights_only=True)

    assert read["epoch"] == 3
    assert same(read["model_state_dict"], model.state_dict())
    assert same(read["optimizer_state_dict"], optimizer.state_dict())
    assert same(read["scheduler_state_dict"], scheduler.state_dict())
    assert same(read["scaler_state_dict"], scaler.state_dict())
    network().load_state_dict(read["model_state_dict"])


def test_plain_pytorch_goes_on_with_rates_that_are_numpys(tmp_path: Path) -> None:
    """A learning rate that NumPy computed is a number to whoever reads the file without us."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=numpy.float64(0.1))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: numpy.cos(epoch))
    step(model, optimizer)
    scheduler.step()
    payload = Parts(model=model, optimizer=optimizer, scheduler=scheduler).capture()
    fresh = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(fresh, lambda epoch: numpy.cos(epoch))

    read = torch.load(written(payload, tmp_path / "a.pt"), weights_only=True)
    fresh.load_state_dict(read["optimizer_state_dict"])
    schedule.load_state_dict(read["scheduler_state_dict"])
    for each, rates in ((optimizer, scheduler), (fresh, schedule)):
        step(model, each)
        rates.step()

    assert fresh.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    assert schedule.get_last_lr() == scheduler.get_last_lr()


def test_only_what_was_given_is_saved() -> None:
    """A training without scheduler and scaler has no empty places for them."""
    assert set(Parts(model=network()).capture()) == {"model_state_dict", "random_states"}


def test_the_copy_shares_nothing_with_the_training() -> None:
    """Training on after a capture changes no value of the copy, tensor or not."""
    model, optimizer, scheduler = trained()
    noted = Kept({"seen": [1, [2]]})
    parts = Parts(model=model, optimizer=optimizer, scheduler=scheduler, extra={"noted": noted})
    payload = parts.capture()
    before = copy.deepcopy(payload)

    step(model, optimizer)
    scheduler.step()
    noted.state["seen"][1].append(3)

    assert same(payload, before)


def test_the_buffers_are_used_again() -> None:
    """A second capture writes to the memory of the first, and holds the newer values."""
    model, optimizer, _ = trained()
    parts = Parts(model=model, optimizer=optimizer)
    first = parts.capture()["optimizer_state_dict"]["state"][0]["exp_avg"]
    step(model, optimizer)

    second = parts.capture()["optimizer_state_dict"]["state"][0]["exp_avg"]

    assert second is first
    assert torch.equal(second, optimizer.state_dict()["state"][0]["exp_avg"])


def test_a_buffer_of_another_shape_is_not_used_again() -> None:
    """A tensor that grew or changed its type between two saves gets memory of its own."""
    part = Kept({"queue": torch.zeros(3)})
    parts = Parts(model=network(), extra={"part": part})
    parts.capture()

    for tensor in (torch.ones(5), torch.ones(5, dtype=torch.int64), torch.ones(1, 5).t()):
        part.state = {"queue": tensor}
        saved = parts.capture()["extra_state_dicts"]["part"]["queue"]
        assert same(saved, tensor)


def test_getting_ready_again_leaves_the_buffers_alone() -> None:
    """Preparing while a copy is still being written changes no value of it, and reserves no second memory."""
    model, optimizer, _ = trained()
    parts = Parts(model=model, optimizer=optimizer)
    payload = parts.capture()
    before = copy.deepcopy(payload)

    parts.check()
    parts._buffers.start()  # waits for the thread that touches new memory

    assert same(payload, before)
    assert parts.capture()["model_state_dict"]["0.weight"] is payload["model_state_dict"]["0.weight"]


def test_a_copy_waits_for_the_thread_that_touches_memory() -> None:
    """Nothing is copied into a buffer that a thread may still be writing zeros to."""
    gate = threading.Event()

    class Slow:
        nbytes = 0

        def data_ptr(self) -> int:
            gate.wait(30)
            return 0

    buffers = Buffers()
    buffers.touch([Slow()])
    starting = threading.Thread(target=buffers.start)
    starting.start()

    starting.join(0.05)
    waited = starting.is_alive()
    gate.set()
    starting.join(30)

    assert waited
    assert not starting.is_alive()


def test_a_copy_may_be_restored_from_and_shares_nothing_afterwards() -> None:
    """After going back to a copy in memory, the next copy is as independent of the training as any."""
    model, optimizer, _ = trained()
    parts = Parts(model=model, optimizer=optimizer)
    parts.restore(parts.capture())
    payload = parts.capture()
    before = copy.deepcopy(payload)

    step(model, optimizer)

    assert same(payload, before)


def test_the_optimizers_memory_is_ready_after_its_first_step() -> None:
    """The first save finds buffers that were reserved after the optimizer's first step."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    parts = Parts(model=model, optimizer=optimizer)
    parts.watch_first_steps()

    step(model, optimizer)

    assert "optimizer_state_dict.state.0.exp_avg" in parts._buffers._kept
    step(model, optimizer)
    assert same(parts.capture()["optimizer_state_dict"], optimizer.state_dict())


def test_memory_is_ready_after_a_restore() -> None:
    """The first save of a resumed run is as cheap as any: its buffers are there."""
    model, optimizer, _ = trained()
    payload = Parts(model=model, optimizer=optimizer).capture()
    parts = Parts(model=model, optimizer=optimizer)
    parts.check()

    parts.restore(payload)

    ready = parts._buffers._kept["optimizer_state_dict.state.0.exp_avg"]
    assert parts.capture()["optimizer_state_dict"]["state"][0]["exp_avg"] is ready


def test_who_does_not_save_reserves_no_memory() -> None:
    """Ranks that only restore keep no second copy of the state."""
    model, optimizer, _ = trained()
    payload = Parts(model=model, optimizer=optimizer).capture()
    parts = Parts(model=model, optimizer=optimizer)

    parts.restore(payload)

    assert parts._buffers._kept == {}


def test_tied_weights_are_saved_once(tmp_path: Path) -> None:
    """Two names of one weight take the room of one, and both are right when restored."""
    model = Tied()
    payload = Parts(model=model).capture()
    state = payload["model_state_dict"]
    assert state["encoder.weight"] is state["decoder.weight"]
    fresh = Tied()

    Parts(model=fresh).restore(read_payload(written(payload, tmp_path / "a.pt")))

    assert torch.equal(fresh.decoder.weight, model.encoder.weight)
    assert fresh.decoder.weight is fresh.encoder.weight


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12.0).reshape(3, 4).t(),
        torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
        torch.arange(100.0)[10:13],
        torch.ones(1).expand(5),
        torch.zeros(0, 3),
        torch.tensor(2.5),
        torch.tensor([1 + 2j]).conj(),
        torch.tensor([1.5], dtype=torch.bfloat16),
        torch.tensor([True, False]),
    ],
    ids=["transposed", "channels last", "a view", "expanded", "empty", "a number", "conjugate", "bfloat16", "booleans"],
)
def test_tensors_of_every_layout_come_back(tensor: torch.Tensor, tmp_path: Path) -> None:
    """A tensor's values, shape and type survive, however it lies in memory."""
    parts = Parts(model=network(), extra={"part": Kept({"value": tensor})})

    read = read_payload(written(parts.capture(), tmp_path / "a.pt"))

    assert same(read["extra_state_dicts"]["part"]["value"], tensor)


def test_a_small_view_does_not_bring_its_whole_storage(tmp_path: Path) -> None:
    """Three numbers of a large tensor are saved as three numbers."""
    parts = Parts(model=nn.Identity(), extra={"part": Kept({"value": torch.zeros(1_000_000)[:3]})})

    assert written(parts.capture(), tmp_path / "a.pt").stat().st_size < 100_000


class Odd:
    """What no checkpoint can hold."""


def test_a_part_without_state_is_named() -> None:
    """An object that has no state is refused at once, by the name it was given."""
    with pytest.raises(UsageError, match=r"extra\['sampler'\] is a list without state_dict and load_state_dict"):
        Parts(model=network(), extra={"sampler": []})


def test_a_lazy_module_is_named_when_it_is_saved_too_early() -> None:
    """A module that has not seen a batch passes the check before the training, and has nothing to save yet."""
    parts = Parts(model=nn.LazyLinear(3))

    parts.check()

    with pytest.raises(UsageError, match=r"model_state_dict\.weight has no content yet"):
        parts.capture()


def test_a_lazy_module_takes_its_shape_from_the_checkpoint() -> None:
    """Weights of any shape fit a module that has not seen a batch."""
    model, fresh = nn.Linear(2, 3), nn.LazyLinear(3)

    Parts(model=fresh).restore(Parts(model=model).capture())

    assert same(fresh.state_dict(), model.state_dict())


# Restore


def test_everything_is_put_back(tmp_path: Path) -> None:
    """Fresh objects hold exactly the state that was saved, in memory that is theirs."""
    model, optimizer, scheduler = trained()
    path = written(Parts(model=model, optimizer=optimizer, scheduler=scheduler).capture(), tmp_path / "a.pt")
    fresh, other, schedule = trained(steps=1)
    parts = Parts(model=fresh, optimizer=other, scheduler=schedule)
    parts.capture()

    assert parts.restore(read_payload(path)) == []

    assert same(fresh.state_dict(), model.state_dict())
    assert same(other.state_dict(), optimizer.state_dict())
    assert same(schedule.state_dict(), scheduler.state_dict())
    payload = parts.capture()
    step(fresh, other)
    assert same(payload["optimizer_state_dict"], optimizer.state_dict())


class Versioned(nn.Linear):  # type: ignore[misc]
    """A layer that notes which version of itself the weights come from."""

    _version = 3
    seen: Any = None

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *rest: Any) -> None:
        self.seen = metadata.get("version")
        super()._load_from_state_dict(state, prefix, metadata, *rest)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: with_compiled_part(model)], ids=["plain", "part"])
def test_the_versions_of_modules_are_kept(wrap: Callable[[nn.Module], nn.Module], tmp_path: Path) -> None:
    """A layer's version, which decides how old weights are read, reaches it from the file, compiled or not."""
    read = read_payload(written(Parts(model=nn.Sequential(Versioned(1, 1))).capture(), tmp_path / "a.pt"))
    layer = Versioned(1, 1)

    Parts(model=wrap(nn.Sequential(layer))).restore(read)

    assert layer.seen == 3


def snapshot(*parts: Any) -> Any:
    return copy.deepcopy([part.state_dict() for part in parts])


def test_all_that_does_not_fit_is_listed_and_nothing_is_changed() -> None:
    """The error names what is missing, what is too much, other shapes, other groups and what is absent."""
    saved_from = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    payload = Parts(model=saved_from, optimizer=torch.optim.Adam(saved_from.parameters())).capture()
    model = nn.ModuleDict({"0": nn.Linear(5, 8), "2": nn.Linear(8, 2)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    before = snapshot(model, optimizer, scheduler)

    with pytest.raises(CheckpointError) as caught:
        Parts(model=model, optimizer=optimizer, scheduler=scheduler).restore(payload)

    text = str(caught.value)
    assert "model: 2 missing in the checkpoint: 2.weight, 2.bias" in text
    assert "model: 2 not in the model: 1.weight, 1.bias" in text
    assert "0.weight ([8, 4] in the checkpoint, [8, 5] here)" in text
    assert "optimizer: group 0: of another kind: the checkpoint has amsgrad, betas" in text
    assert "scheduler: the checkpoint holds no scheduler_state_dict" in text
    assert same(before, snapshot(model, optimizer, scheduler))


def test_what_does_not_fit_is_told_in_korean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of it, the ways out included."""
    monkeypatch.setattr(READER, "language_of_settings", "ko")
    saved_from = nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 2))
    payload = Parts(model=saved_from, optimizer=torch.optim.Adam(saved_from.parameters())).capture()
    model = nn.ModuleDict({"0": nn.Linear(4, 8), "2": nn.Linear(8, 2)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    with pytest.raises(CheckpointError) as caught:
        Parts(model=model, optimizer=optimizer).restore(payload)

    first, *problems, ways = str(caught.value).splitlines()
    assert first == "체크포인트가 지금 코드와 맞지 않아 아무것도 불러오지 않았습니다:"
    assert problems[:3] == [
        "- model: 체크포인트에 없는 항목 2개: 2.weight, 2.bias",
        "- model: 모델에 없는 항목 2개: 1.weight, 1.bias",
        "- model: shape이 다른 항목 1개: 0.weight(체크포인트 [8, 5], 코드 [8, 4])",
    ]
    assert problems[3].startswith("- optimizer: 그룹 0: 종류가 다릅니다(체크포인트에만 있는 설정: amsgrad, betas")
    assert ways == "위의 항목을 고치거나, Checkpoints(…, fresh=True) 또는 다른 폴더로 처음부터 학습하세요"


def test_memory_that_cannot_be_made_ready_does_not_stop_a_step() -> None:
    """An optimizer whose state cannot be saved is told of by the save, not by the step before it."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    parts = Parts(model=model, optimizer=optimizer)
    parts.watch_first_steps()
    optimizer.state[model[0].weight]["odd"] = Odd()

    step(model, optimizer)

    with pytest.raises(UsageError, match=r"optimizer_state_dict\.state\.0\.odd holds"):
        parts.capture()


def test_a_part_that_refuses_undoes_the_others() -> None:
    """When a part's own code raises, the parts before it are as they were, and the weights are untouched."""
    model, optimizer, scheduler = trained()
    parts = {"ours": Kept("new"), "refusing": Kept({"a": 1})}
    payload = Parts(model=model, optimizer=optimizer, scheduler=scheduler, extra=parts).capture()
    fresh, other, schedule = trained(steps=1)
    ours, refusing = Kept("old"), Refusing({"a": 0})
    before = snapshot(fresh, other, schedule, ours, refusing)
    here = Parts(model=fresh, optimizer=other, scheduler=schedule, extra={"ours": ours, "refusing": refusing})

    with pytest.raises(CheckpointError, match="refusing refused its state from the checkpoint: not today"):
        here.restore(payload)
    assert same(before, snapshot(fresh, other, schedule, ours, refusing))


def test_a_state_that_nobody_asked_for_is_noted() -> None:
    """Leaving out the scheduler is allowed, and said."""
    model, optimizer, scheduler = trained()
    payload = Parts(model=model, optimizer=optimizer, scheduler=scheduler, extra={"a": Kept({})}).capture()

    notes = Parts(model=model, optimizer=optimizer).restore(payload)

    assert lines(notes) == [
        "the checkpoint also holds scheduler_state_dict, which was not asked for",
        "the checkpoint also holds extra_state_dicts.a, which was not asked for",
    ]


def test_a_scaler_that_was_off_starts_anew() -> None:
    """A checkpoint of a machine without mixed precision is gone on from where there is some."""
    payload = Parts(model=network(), scaler=torch.amp.GradScaler("cpu", enabled=False)).capture()
    scaler = torch.amp.GradScaler("cpu")

    notes = Parts(model=network(), scaler=scaler).restore({**payload, "model_state_dict": network().state_dict()})

    assert lines(notes) == ["scaler: was off when the checkpoint was written, and starts with its first scale"]
    assert scaler.get_scale() == 65536.0


def test_the_founding_snippets_file_is_gone_on_from(tmp_path: Path) -> None:
    """A file written by hand, with model, epoch, optimizer and loss alone, restores; random states are noted absent."""
    model, optimizer, _ = trained()
    torch.save(
        {
            "model_state_dict": model.state_dict(),
            "epoch": 7,
            "optimizer_state_dict": optimizer.state_dict(),
            "loss": torch.tensor(0.25),
        },
        tmp_path / "checkpoint_epoch7_0.25.pt",
    )
    fresh, other, _ = trained(steps=1)

    notes = Parts(model=fresh, optimizer=other).restore(read_payload(tmp_path / "checkpoint_epoch7_0.25.pt"))

    assert lines(notes) == ["the checkpoint holds no random states: shuffling and dropout start anew"]
    assert same(fresh.state_dict(), model.state_dict())
    assert same(other.state_dict(), optimizer.state_dict())


# Wrapped models


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


def with_compiled_part(model: nn.Module) -> nn.Module:
    model[0] = compiled(model[0])
    return model


class Loose:
    """Keeps tensors that no module knows, and answers with copies."""

    def __init__(self, *tensors: torch.Tensor, dtype: torch.dtype = torch.float32) -> None:
        self.tensors, self.dtype = tensors, dtype

    def state_dict(self) -> dict[str, Any]:
        return {"all": [each.detach().clone().to(self.dtype) for each in self.tensors]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise NotImplementedError


class Listed(nn.Module):  # type: ignore[misc]
    """Layers in a plain list, which PyTorch does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(2, 2), nn.Linear(2, 1)]

    def trained(self) -> list[Any]:
        return [each for layer in self.layers for each in layer.parameters()]


def sgd(*trained: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([each for given in trained for each in _parameters_of(given)], lr=0.1)


def _parameters_of(given: Any) -> list[Any]:
    return [given] if isinstance(given, torch.Tensor) else list(given.parameters())


def weight() -> torch.Tensor:
    return torch.full((3,), 0.3, requires_grad=True)


def _whole() -> dict[str, dict[str, Any]]:
    """Trainings of which all that learns is in some part's state."""
    model, tied, frozen, loose = nn.Linear(2, 1), nn.ModuleList([nn.Linear(2, 2)]), nn.Linear(2, 1), weight()
    tied.append(tied[0])
    lazy, moved, criterion = nn.LazyLinear(1), nn.Linear(2, 1), nn.Bilinear(1, 1, 1)
    of_moved, of_lazy = sgd(moved), sgd(lazy)
    moved.double()
    kept = nn.ParameterList([loose])
    return {
        "one": {"model": model, "optimizer": sgd(model)},
        "none to learn": {"model": nn.ReLU(), "optimizer": sgd(frozen.requires_grad_(False)), "extra": {"m": model}},
        "wrapped": {"model": nn.DataParallel(torch.compile(model, backend="eager")), "optimizer": sgd(model)},
        "tied": {"model": tied, "optimizer": sgd(tied)},
        "lazy": {"model": lazy, "optimizer": of_lazy},
        "converted": {"model": moved, "optimizer": of_moved},
        "criterion": {"model": model, "optimizer": sgd(model, criterion), "extra": {"criterion": criterion}},
        "two": {"model": model, "extra": {"other": criterion, "of_it": sgd(criterion)}, "optimizer": sgd(model)},
        "in a list of parameters": {"model": model, "optimizer": sgd(model, loose), "extra": {"more": kept}},
        "in an object": {"model": model, "optimizer": sgd(model, loose), "extra": {"more": Loose(loose)}},
        "in half": {"model": model, "optimizer": sgd(loose), "extra": {"m": Loose(loose, dtype=torch.float16)}},
    }


@pytest.mark.parametrize("kind", _whole())
def test_what_is_trained_is_found_where_it_is_kept(kind: str) -> None:
    assert Parts(**_whole()[kind]).unsaved() == []


def _lacking() -> dict[str, tuple[dict[str, Any], int]]:
    """Trainings of which a checkpoint would lack something, and how many parameters."""
    model, listed, loose = nn.Linear(2, 1), Listed(), weight()
    copied = {name: each.detach().clone() for name, each in model.named_parameters()}
    averaged = torch.optim.swa_utils.AveragedModel(model)
    again = copy.deepcopy(model)
    functional = sgd(*[each.requires_grad_() for each in copied.values()])
    return {
        "a tensor": ({"model": model, "optimizer": sgd(model, loose)}, 1),
        "layers in a plain list": ({"model": listed, "optimizer": sgd(*listed.trained())}, 4),
        "the optimizer of a model before": ({"model": again, "optimizer": sgd(model)}, 2),
        "of the same values": ({"model": again, "optimizer": sgd(model), "extra": {"average": averaged}}, 2),
        "parameters of a function": ({"model": model, "optimizer": functional}, 2),
        "the second's": ({"model": model, "optimizer": sgd(model), "extra": {"other": sgd(loose)}}, 1),
    }


@pytest.mark.parametrize("kind", _lacking())
def test_what_is_trained_and_kept_nowhere_is_found(kind: str) -> None:
    """It would begin anew in a run that continues, with its old momentum, and nobody would know."""
    given, count = _lacking()[kind]

    assert len(Parts(**given).unsaved()) == count


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_whether_a_parameter_moved_is_seen_whatever_its_type(dtype: torch.dtype) -> None:
    """And without PyTorch's warning of an imaginary part that is lost."""
    weights = nn.ParameterList([nn.Parameter(torch.ones(3, dtype=dtype))])
    parts = Parts(model=weights)
    before = parts.sums()

    assert parts.sums() == before
    with torch.no_grad():
        weights[0].add_(1j if dtype.is_complex else 1)
    assert parts.sums() != before


def test_a_state_without_anything_is_seen() -> None:
    assert Parts(model=Listed()).is_empty
    assert not Parts(model=nn.Linear(2, 1)).is_empty
