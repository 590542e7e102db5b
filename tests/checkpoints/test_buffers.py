"""Buffers: whatever a state is made of, the copy holds what the training had, save after save."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from notifybot.checkpoints.serialization import read_payload, write_payload
from notifybot.checkpoints.state import Parts

_DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.complex64,
    torch.bool,
    torch.int8,
    torch.uint8,
    torch.int64,
]
_ARRAY_DTYPES = ["<f8", ">i2", "f4", "c16", "?", "u1", "<U3", "S2", "<M8[s]", "<m8[ms]"]
_SCALARS: list[Callable[[int], Any]] = [
    lambda seed: numpy.float64(seed / 7),
    lambda seed: numpy.float32(seed / 7),
    numpy.int64,
    lambda seed: numpy.bool_(seed % 2),
    lambda seed: numpy.datetime64(seed, "s"),
    lambda seed: seed,
    lambda seed: seed / 7,
    lambda seed: str(seed),
]


pytestmark = pytest.mark.usefixtures("one_thread")


class Made:
    """A part whose state is made anew whenever it is asked for, and gone when nobody holds it any more."""

    def __init__(self, make: Callable[[], Any] = dict) -> None:
        self.make = make
        self.got: Any = None

    def state_dict(self) -> Any:
        return self.make()

    def load_state_dict(self, state: Any) -> None:
        self.got = state


def restored(parts: Parts, names: list[str], model: nn.Module | None = None) -> dict[str, Any]:
    """What comes out of a file that these parts were saved to, by name."""
    here = {name: Made() for name in names}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pt"
        with path.open("wb") as file:
            write_payload(parts.capture(), file)
        Parts(model=model or nn.Identity(), extra=here).restore(read_payload(path))
    return {name: part.got for name, part in here.items()}


def exactly(one: Any, other: Any) -> bool:
    """Whether two values are equal in type, shape and every bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return bool(one.dtype == other.dtype and one.shape == other.shape and content(one) == content(other))
    if isinstance(one, numpy.ndarray | numpy.generic):
        return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())
    if isinstance(one, dict):
        return list(one) == list(other) and all(exactly(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(exactly, one, other))
    return bool(one == other)


def content(tensor: torch.Tensor) -> bytes:
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous().clone()
    return bytes(plain.untyped_storage())[: plain.nbytes]


# ── states of any kind ───────────────────────────────────────────────────────────────────────────────────────────────


def tensor_of(dtype: torch.dtype, shape: list[int], seed: int) -> torch.Tensor:
    count = int(numpy.prod(shape))
    noise = torch.randint(0, 256, (count * dtype.itemsize,), generator=torch.Generator().manual_seed(seed))
    raw = noise.to(torch.uint8)
    return (raw > 127 if dtype is torch.bool else raw.view(dtype)).reshape(shape)


def laid_out(base: torch.Tensor, layout: str) -> torch.Tensor:
    """A view of a tensor, or the tensor itself where it has no such view."""
    flat = base.reshape(-1)
    if layout == "transposed" and base.dim() >= 2:
        return base.transpose(0, 1)
    if layout == "strided":
        return flat[::2]
    if layout == "tail":
        return flat[1:]
    if layout == "overlapping" and flat.numel() >= 3:
        return flat.unfold(0, 2, 1)
    if layout == "expanded":
        return base.unsqueeze(0).expand(3, *base.shape)
    if layout == "conjugate" and base.is_complex():
        return base.conj()
    if layout == "negative" and base.is_complex():
        return base.conj().imag
    if layout == "learning" and base.dtype is torch.float32:
        return base.requires_grad_()
    return base


def array_of(dtype: str, shape: list[int], seed: int, *, turned: bool) -> Any:
    count = int(numpy.prod(shape))
    values = numpy.random.default_rng(seed).integers(0, 99, count)
    array = (values % 2 == 0 if dtype == "?" else values).astype(dtype).reshape(shape)
    return array.T[..., ::2] if turned and array.ndim else array


class Bases(list[torch.Tensor]):
    """The tensors that a state was made of so far, for others to be views of."""

    def view(self, which: int, layout: str) -> Any:
        return laid_out(self[which % len(self)], layout) if self else None

    def add(self, base: torch.Tensor, layout: str) -> torch.Tensor:
        self.append(base)
        return laid_out(base, layout)


_layouts = st.sampled_from(
    ["", "transposed", "strided", "tail", "overlapping", "expanded", "conjugate", "negative", "learning"]
)
_shapes = st.lists(st.integers(0, 3), max_size=3)
_seeds = st.integers(0, 5)  # few, so that some are equal
_leaves = st.one_of(
    st.tuples(st.just("tensor"), st.sampled_from(_DTYPES), _shapes, _seeds, _layouts),
    st.tuples(st.just("view"), st.integers(0, 9), _layouts),
    st.tuples(st.just("array"), st.sampled_from(_ARRAY_DTYPES), _shapes, _seeds, st.booleans()),
    st.tuples(st.just("scalar"), st.sampled_from(_SCALARS), _seeds),
)
_keys = st.sampled_from(["a", "b", "a.b", "a[0]", 0, "0", ("a", 1)])
_recipes = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("list"), st.lists(inner, max_size=4)),
        st.tuples(st.just("tuple"), st.lists(inner, max_size=4)),
        st.tuples(st.just("dict"), st.dictionaries(_keys, inner, max_size=4)),
    ),
    max_leaves=12,
)


def made(recipe: Any, bases: Bases) -> Any:
    match recipe:
        case ("tensor", dtype, shape, seed, layout):
            return bases.add(tensor_of(dtype, shape, seed), layout)
        case ("view", which, layout):
            return bases.view(which, layout)
        case ("array", dtype, shape, seed, turned):
            return array_of(dtype, shape, seed, turned=turned)
        case ("scalar", make, seed):
            return make(seed)
        case ("list", recipes):
            return [made(each, bases) for each in recipes]
        case ("tuple", recipes):
            return tuple(made(each, bases) for each in recipes)
        case _:
            return {key: made(each, bases) for key, each in recipe[1].items()}


def made_anew(recipe: Any) -> Any:
    return made(recipe, Bases())


@settings(max_examples=200)
@given(st.lists(st.tuples(_recipes, _recipes), min_size=1, max_size=3))
def test_any_state_is_restored_as_it_was_at_every_save(rounds: list[tuple[Any, Any]]) -> None:
    """Numbers, arrays and tensors of any type and layout, tied, overlapping or made for the moment, change freely."""
    one, other = Made(), Made()
    parts = Parts(model=nn.Identity(), extra={"one": one, "other": other})

    for first, second in rounds:
        one.make, other.make = partial(made_anew, first), partial(made_anew, second)
        got = restored(parts, ["one", "other"])

        assert exactly(got["one"], one.make())
        assert exactly(got["other"], other.make())


# ── each kind by itself ──────────────────────────────────────────────────────────────────────────────────────────────


def test_numbers_of_numpy_are_told_apart() -> None:
    """Two learning rates that are NumPy's are two numbers, though each is looked at in memory made for the moment."""
    rates = {place: numpy.float64(10.0**-place) for place in range(20)}
    parts = Parts(model=nn.Identity(), extra={"rates": Made(lambda: dict(rates))})

    assert restored(parts, ["rates"])["rates"] == rates


def test_generators_are_told_apart() -> None:
    """Two generators in `extra` come back as two."""
    there = {name: torch.Generator().manual_seed(seed) for seed, name in enumerate("abc")}
    here = {name: torch.Generator() for name in there}

    Parts(model=nn.Identity(), extra=here).restore(Parts(model=nn.Identity(), extra=there).capture())

    assert [each.initial_seed() for each in here.values()] == [0, 1, 2]
    assert all(torch.equal(here[name].get_state(), there[name].get_state()) for name in there)


def average(shadow: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"shadow": shadow.clone()}


def test_states_that_are_made_for_the_moment_are_told_apart() -> None:
    """Two averages whose states are clones, gone when the next one is made in their place, keep their own values."""
    averages = [torch.full((1000,), float(value)) for value in range(5)]
    extra = {str(value): Made(partial(average, each)) for value, each in enumerate(averages)}
    parts = Parts(model=nn.Identity(), extra=extra)

    for _ in range(2):
        assert [each["shadow"][0].item() for each in restored(parts, list(extra)).values()] == [0, 1, 2, 3, 4]


def test_memory_that_two_parts_take_turns_in_is_read_twice() -> None:
    """Two objects that hand out one scratch array, filled anew by each, keep their own values."""
    scratch = torch.zeros(3)

    def filled(value: int) -> dict[str, torch.Tensor]:
        return {"x": scratch.fill_(value)}

    extra = {name: Made(partial(filled, value)) for value, name in enumerate("ab")}

    got = restored(Parts(model=nn.Identity(), extra=extra), list(extra))

    assert [got[name]["x"].tolist() for name in "ab"] == [[0.0] * 3, [1.0] * 3]


class Converting(nn.Module):  # type: ignore[misc]
    """A model that saves its weights in another type than it trains them in."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((100,), value, dtype=torch.bfloat16))

    def state_dict(self, *args: Any, **options: Any) -> Any:
        return {name: value.float() for name, value in super().state_dict(*args, **options).items()}


def test_models_that_convert_their_weights_are_told_apart() -> None:
    """Weights that are converted to be saved lie in memory that the next model's may take."""
    extra = {str(value): Converting(value) for value in (2.0, 3.0, 4.0)}

    payload = Parts(model=Converting(1.0), extra=extra).capture()

    assert payload["model_state_dict"]["weight"][0].item() == 1.0
    assert [each["weight"][0].item() for each in payload["extra_state_dicts"].values()] == [2.0, 3.0, 4.0]


def test_a_conjugate_is_not_its_base() -> None:
    """A view that is computed lazily shares memory, shape and strides with its base, and has other values."""
    base = torch.tensor([1 + 2j, 3 - 1j])
    state = {"base": base, "conjugate": base.conj(), "imag": base.imag, "negative": base.conj().imag}
    parts = Parts(model=nn.Identity(), extra={"part": Made(lambda: dict(state))})

    assert exactly(restored(parts, ["part"])["part"], state)


def test_names_that_make_one_path_are_told_apart() -> None:
    """The keys 1 and "1", or "a.b" and b within a, read alike in an error and are two tensors, at each save."""
    state = {1: torch.ones(2), "1": torch.zeros(2), "a.b": torch.full((2,), 3.0), "a": {"b": torch.full((2,), 4.0)}}
    parts = Parts(model=nn.Identity(), extra={"part": Made(lambda: dict(state))})
    parts.check()

    for _ in range(3):
        assert exactly(restored(parts, ["part"])["part"], state)


def test_weights_that_two_models_share_are_saved_once() -> None:
    """An encoder that is given beside the model that holds it takes no further room, at each save."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    parts = Parts(model=model, extra={"encoder": model[0], "state": Made(lambda: {"own": model[0].weight})})

    for _ in range(2):
        payload = parts.capture()

        shared = payload["model_state_dict"]["0.weight"]
        assert payload["extra_state_dicts"]["encoder"]["weight"] is shared
        assert payload["extra_state_dicts"]["state"]["own"] is shared


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_states_on_an_accelerator_are_told_apart() -> None:
    """Clones, conjugates and tied weights on a GPU arrive as they were, save after save."""
    averages = [torch.full((1000,), float(value), device="cuda") for value in range(4)]
    extra: dict[str, Any] = {str(value): Made(partial(average, each)) for value, each in enumerate(averages)}
    waves = torch.tensor([1 + 2j], device="cuda")
    extra["waves"] = Made(lambda: {"base": waves, "conjugate": waves.conj()})
    model = nn.Linear(3, 3).cuda()
    parts = Parts(model=model, extra={**extra, "again": model})

    for _ in range(3):
        payload = parts.capture()
        states = payload["extra_state_dicts"]

        assert [states[str(value)]["shadow"].unique().tolist() for value in range(4)] == [[0.0], [1.0], [2.0], [3.0]]
        assert states["waves"]["base"].tolist() == [1 + 2j]
        assert states["waves"]["conjugate"].tolist() == [1 - 2j]
        assert states["again"]["weight"] is payload["model_state_dict"]["weight"]
        assert torch.equal(states["again"]["weight"], model.weight.detach().cpu())
