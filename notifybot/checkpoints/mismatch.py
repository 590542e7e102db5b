"""What of a saved state does not fit the object that it is meant for, in lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_SHOWN = 10
_PER_PARAMETER = ("exp_avg", "exp_avg_sq", "momentum_buffer")  # kept by Adam and SGD in the parameter's own shape

_MOVED = ("lr", "momentum")  # by a scheduler, so that they say nothing about the program


@dataclass(frozen=True)
class Fit:
    """A saved state as the object is to load it, what speaks against that, and what is merely different."""

    state: Any
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def listed(what: str, names: Sequence[str]) -> list[str]:
    """One line that names the first ten and counts the rest; no line for none."""
    if not names:
        return []
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{rest}"]


def optimizer_problems(optimizer: Any, saved: Mapping[str, Any]) -> list[str]:
    """Why an optimizer's saved state would be refused by `load_state_dict`, or would break the step after it."""
    groups, state = saved.get("param_groups"), saved.get("state")
    if not isinstance(groups, list) or not isinstance(state, Mapping) or not _are_mappings(*groups, *state.values()):
        return ["the checkpoint holds no optimizer state there (state and param_groups)"]
    live = optimizer.param_groups
    if len(groups) != len(live):
        return [f"{len(groups)} parameter groups in the checkpoint, {len(live)} here"]
    problems = []
    for place, (there, here) in enumerate(zip(groups, live, strict=True)):
        count_there, count_here = len(there.get("params", ())), len(here["params"])
        if count_there != count_here:
            problems.append(f"group {place} has {count_there} parameters in the checkpoint, {count_here} here")
        problems += [f"group {place}: {line}" for line in other_kind(here, there)]
    return problems or _state_problems(live, groups, state)


def optimizer_notes(optimizer: Any, saved: Mapping[str, Any]) -> list[str]:
    """Settings of the program that the checkpoint's replace: a changed learning rate would be lost without a word."""
    notes = []
    for place, (there, here) in enumerate(zip(saved["param_groups"], optimizer.param_groups, strict=True)):
        moved = _MOVED if "initial_lr" in here and "initial_lr" in there else ()
        for name, value in here.items():
            known = isinstance(value, int | float) and isinstance(there.get(name), int | float)
            if known and name not in moved and there[name] != value:
                notes.append(f"group {place}: {name} is {there[name]:g} as in the checkpoint, not {value:g}")
    return notes[:_SHOWN]


def other_kind(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Whether two sets of settings belong to different classes.

    Settings missing on one side alone are a newer PyTorch, or a scheduler that leaves its marks in the groups.
    """
    absent = sorted(str(key) for key in here if key not in there and not str(key).startswith("_"))
    foreign = sorted(str(key) for key in there if key not in here and not str(key).startswith("_"))
    if not absent or not foreign:
        return []
    return [f"of another kind: the checkpoint has {', '.join(foreign[:_SHOWN])}, not {', '.join(absent[:_SHOWN])}"]


def _are_mappings(*values: object) -> bool:
    return all(isinstance(each, Mapping) for each in values)


def _state_problems(live: Iterable[Any], groups: Iterable[Any], state: Mapping[Any, Any]) -> list[str]:
    shapes = []
    for here, there in zip(live, groups, strict=True):
        for parameter, key in zip(here["params"], there["params"], strict=True):
            for name in _PER_PARAMETER:
                value = state.get(key, {}).get(name)
                if hasattr(value, "shape") and value.shape != parameter.shape:
                    shapes.append(f"{name} of parameter {key} is {list(value.shape)}, not {list(parameter.shape)}")
    return listed("of another shape", shapes)
