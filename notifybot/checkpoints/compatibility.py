"""A module's weights under its own names, whatever it is wrapped in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from notifybot.checkpoints.buffers import is_lazy
from notifybot.checkpoints.mismatch import MISSING, RESHAPED, Fit, differing, listed, note
from notifybot.errors import said
from notifybot.types import Reason

_COMPILED = "_orig_mod"  # the name under which torch.compile keeps the module that it was given
_PARALLEL = "module."  # the prefix under which DistributedDataParallel and DataParallel keep it


def unwrapped(model: Any) -> Any:
    """The module inside DistributedDataParallel, DataParallel and torch.compile, in whatever order they were put on."""
    from torch.nn.parallel import DataParallel, DistributedDataParallel

    while True:
        if isinstance(model, DistributedDataParallel | DataParallel):
            model = model.module
        elif _COMPILED in getattr(model, "_modules", {}):
            model = getattr(model, _COMPILED)
        else:
            return model


def state_of(model: Any) -> Any:
    """Its state dict, by names that do not tell which parts of it are compiled."""
    state = unwrapped(model).state_dict()
    if not any(_COMPILED in key for key in state):
        return state
    return _renamed(state, plain_name, plain_name)


def tensors_of(model: Any) -> list[Any]:
    """Its own parameters and buffers, which stay where they are while a state is copied."""
    return [*model.parameters(), *model.buffers()]


def fit(model: Any, saved: Mapping[str, Any]) -> Fit:
    """The saved weights by the model's own names, checked against the model."""
    if not all(isinstance(key, str) for key in saved):
        return Fit(saved, [said("the names of its weights are no text", "가중치 이름이 문자열이 아닙니다")])
    inner = unwrapped(model)
    live = inner.state_dict()
    names = {plain_name(key): key for key in live}
    shift = _shift(set(names), {plain_name(key) for key in saved})
    modules = {plain_name(name): name for name, _ in inner.named_modules()}
    state = _renamed(
        saved,
        lambda key: names.get(shift(plain_name(key)), key),
        lambda name: modules.get(shift(plain_name(name) + ".").removesuffix("."), name),
    )
    return Fit(state, _problems(live, state), _notes(live, state))


def plain_name(name: str) -> str:
    """A name that does not tell which parts of the model are compiled."""
    return ".".join(part for part in name.split(".") if part != _COMPILED)


def _shift(live: set[str], saved: set[str]) -> Callable[[str], str]:
    """How a saved name becomes a live one when one side alone was saved from inside a parallel wrapper."""
    if saved and all(key.startswith(_PARALLEL) for key in saved) and not saved & live:
        return lambda name: name.removeprefix(_PARALLEL)
    if live and all(key.startswith(_PARALLEL) for key in live) and not saved & live:
        return lambda name: _PARALLEL + name
    return lambda name: name


def _renamed(state: Mapping[str, Any], key: Callable[[str], str], module: Callable[[str], str]) -> Any:
    renamed: Any = OrderedDict((key(name), value) for name, value in state.items())
    metadata = getattr(state, "_metadata", None)
    if metadata is not None:
        renamed._metadata = OrderedDict((module(name), value) for name, value in metadata.items())
    return renamed


def _problems(live: Mapping[str, Any], saved: Mapping[str, Any]) -> list[str]:
    shapes = [
        differing(name, _shape(saved[name]), _shape(value))
        for name, value in live.items()
        if name in saved and _shape(value) and _shape(saved[name]) != _shape(value)
    ]
    return [
        *listed(*MISSING, [name for name in live if name not in saved]),
        *listed("not in the model", "모델에 없는 항목", [name for name in saved if name not in live]),
        *listed(*RESHAPED, shapes),
    ]


def _notes(live: Mapping[str, Any], saved: Mapping[str, Any]) -> list[Reason]:
    dtypes = [
        f"{name} {saved[name].dtype} → {value.dtype}"
        for name, value in live.items()
        if hasattr(value, "dtype") and hasattr(saved.get(name), "dtype") and saved[name].dtype != value.dtype
    ]
    return [note(each) for each in listed("converted to the model's own type", "모델의 dtype으로 바꾼 항목", dtypes)]


def _shape(value: Any) -> str:
    """A tensor's shape in words; nothing for other values, and for lazy tensors, which take any shape."""
    import torch

    if not isinstance(value, torch.Tensor) or is_lazy(value):
        return ""
    return f"[{', '.join(map(str, value.shape))}]"
