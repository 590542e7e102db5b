"""Compatibility of saved states with live objects: weights under any wrapper, optimizers and schedulers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from notifybot.checkpoints.buffers import is_lazy
from notifybot.errors import reader_text
from notifybot.types import Reason

_COMPILED = "_orig_mod"  # the name under which torch.compile keeps the module that it was given
_PARALLEL = "module."  # the prefix under which DistributedDataParallel and DataParallel keep it


def unwrapped(model: Any) -> Any:
    """Return the module inside DistributedDataParallel, DataParallel and torch.compile, nested in any order."""
    from torch.nn.parallel import DataParallel, DistributedDataParallel

    while True:
        if isinstance(model, DistributedDataParallel | DataParallel):
            model = model.module
        elif _COMPILED in getattr(model, "_modules", {}):
            model = getattr(model, _COMPILED)
        else:
            return model


def together(models: Mapping[str, Any]) -> Any:
    """Return one module that holds several by name; the first that is no module where there is one."""
    import torch

    for each in models.values():
        if not isinstance(each, torch.nn.Module):
            return each
    holder = torch.nn.Module()
    holder._modules.update(models)  # not by add_module, which takes no dots and no names of its own attributes
    return holder


def state_of(model: Any) -> Any:
    """Return the model's state dict with names that do not show which parts are compiled."""
    state = unwrapped(model).state_dict()
    if not any(_COMPILED in key for key in state):
        return state
    return _renamed(state, plain_name, plain_name)


def fit(model: Any, saved: Mapping[str, Any]) -> Fit:
    """Rename saved weights to the model's own names and check them against the model."""
    if not all(isinstance(key, str) for key in saved):
        return Fit(saved, [reader_text("checkpoints.compatibility.names_are_no_text")])
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
    shapes, dtypes = [], []
    for name, value in live.items():
        there = state.get(name)
        if name in state and _shape(value) and _shape(there) != _shape(value):
            shapes.append(differing(name, _shape(there), _shape(value)))
        if hasattr(value, "dtype") and hasattr(there, "dtype") and there.dtype != value.dtype:
            dtypes.append(f"{name} {there.dtype} → {value.dtype}")
    problems = [
        *listed(MISSING, [name for name in live if name not in state]),
        *listed("checkpoints.compatibility.unknown_to_model", [name for name in state if name not in live]),
        *listed(RESHAPED, shapes),
    ]
    return Fit(state, problems, [note(each) for each in listed("checkpoints.compatibility.converted", dtypes)])


def plain_name(name: str) -> str:
    """Return the name without the parts that torch.compile adds."""
    return ".".join(part for part in name.split(".") if part != _COMPILED)


def _shift(live: set[str], saved: set[str]) -> Callable[[str], str]:
    """Return a function from saved to live names, if only one side has the prefix of a parallel wrapper."""
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


def _shape(value: Any) -> str:
    """A tensor's shape as text; nothing for other values, and for lazy tensors, which take any shape."""
    import torch

    if not isinstance(value, torch.Tensor) or is_lazy(value):
        return ""
    return f"[{', '.join(map(str, value.shape))}]"


MISSING = "checkpoints.compatibility.missing"
RESHAPED = "checkpoints.compatibility.of_another_shape"

_SHOWN = 10
_PER_PARAMETER = ("exp_avg", "exp_avg_sq", "momentum_buffer")  # state of Adam and SGD, of the parameter's shape


@dataclass(frozen=True)
class Fit:
    """Saved state in the form to load, with the problems that forbid it and notes on harmless differences."""

    state: Any
    problems: list[str] = field(default_factory=list)
    notes: list[Reason] = field(default_factory=list)


def note(text: str, about: str = "") -> Reason:
    """Return a note on a harmless difference, for the log."""
    return Reason("other", about, {"text": text})


def listed(key: str, names: Sequence[str]) -> list[str]:
    """Return one line, of the text `key`, with the first ten names and the number of the rest; none without names."""
    if not names:
        return []
    shown, more = ", ".join(names[:_SHOWN]), len(names) - _SHOWN
    rest = reader_text("checkpoints.compatibility.and_more", more=more) if more > 0 else ""
    return [reader_text(key, count=len(names), names=shown + rest)]


def differing(name: str, there: object, here: object) -> str:
    """Return a line on a value that differs between checkpoint and program."""
    return reader_text("checkpoints.compatibility.differs", name=name, there=there, here=here)


def optimizer_problems(optimizer: Any, saved: Mapping[str, Any]) -> list[str]:
    """Return the reasons why `load_state_dict` would refuse an optimizer's saved state, or the next step would fail."""
    groups, state = saved.get("param_groups"), saved.get("state")
    malformed = [reader_text("checkpoints.compatibility.no_optimizer_state")]
    if not isinstance(groups, list) or not isinstance(state, Mapping):
        return malformed
    if not all(isinstance(each, Mapping) for each in (*groups, *state.values())):
        return malformed
    live = optimizer.param_groups
    if len(groups) != len(live):
        counts = {"count_there": len(groups), "count_here": len(live)}
        return [reader_text("checkpoints.compatibility.count_of_groups_differs", **counts)]
    problems = []
    for place, (there, here) in enumerate(zip(groups, live, strict=True)):
        counts = {"count_there": len(there.get("params", ())), "count_here": len(here["params"])}
        if counts["count_there"] != counts["count_here"]:
            key = "checkpoints.compatibility.count_of_parameters_differs"
            problems.append(reader_text(key, place=place, **counts))
        for line in other_kind(here, there):
            problems.append(reader_text("checkpoints.compatibility.in_group", place=place, line=line))
    return problems or _state_problems(live, groups, state)


def other_kind(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return a line if two sets of settings belong to different classes, else nothing.

    Settings missing on one side only mean a newer PyTorch, or a scheduler that adds its own keys to the groups.
    """
    absent = sorted(str(key) for key in here if key not in there and not str(key).startswith("_"))
    foreign = sorted(str(key) for key in there if key not in here and not str(key).startswith("_"))
    if not absent or not foreign:
        return []
    there_only, here_only = ", ".join(foreign[:_SHOWN]), ", ".join(absent[:_SHOWN])
    return [reader_text("checkpoints.compatibility.other_settings", there_only=there_only, here_only=here_only)]


def _state_problems(live: Iterable[Any], groups: Iterable[Any], state: Mapping[Any, Any]) -> list[str]:
    shapes = []
    for here, there in zip(live, groups, strict=True):
        for parameter, key in zip(here["params"], there["params"], strict=True):
            for name in _PER_PARAMETER:
                value = state.get(key, {}).get(name)
                if hasattr(value, "shape") and value.shape != parameter.shape:
                    whose = reader_text("checkpoints.compatibility.value_of_parameter", name=name, parameter=key)
                    shapes.append(differing(whose, list(value.shape), list(parameter.shape)))
    return listed(RESHAPED, shapes)
