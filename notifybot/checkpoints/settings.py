"""Settings of optimizers and schedulers on a restore: the checkpoint's, or the program's where those are to stay."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from notifybot.checkpoints.arrangement import ABSENT, StatePart
from notifybot.checkpoints.compatibility import Fit, note, other_kind
from notifybot.checkpoints.errors import ways_on
from notifybot.errors import CheckpointError, UsageError, reader_text
from notifybot.types import Reason

KeepSettings = bool | str | Iterable[str]

_SHOWN = 10
_SETTING_CHARS = 60
_SETTINGS = (bool, int, float, str, tuple, list, Counter)
_NO_SETTINGS = {"self", "optimizer", "schedulers", "last_epoch", "verbose"}
_DERIVED = {"min_lrs", "max_lrs", "total_size", "step_ratio"}  # settings that ReduceLROnPlateau and CyclicLR compute
_MOVED = ("lr", "momentum", "betas")  # schedulers change these, so a difference says nothing about the program

SCHEDULER = "scheduler"  # a name for the learning rate with its schedule, as "lr" is
_OF_SCHEDULE = frozenset({"lr", "initial_lr", "max_lr", "min_lr", "swa_lr", "base_momentum", "max_momentum"})
_CYCLED = frozenset({"momentum", "betas"})  # moved by OneCycleLR and CyclicLR, which add `max_momentum` to the group
_SIZES = frozenset({"history_size"})  # a length of what LBFGS keeps, so it goes with that

Differs = Literal["setting_kept", "setting_own"]  # the checkpoint's value is used, or the program's


class OwnSettings:
    """Settings of a program that stay on a restore: all that are numbers, or those that are named.

    A learning rate is kept with its schedule: the program's schedulers are brought to the step of the checkpoint. Flags
    such as `amsgrad` decide what an optimizer remembers, and come with that. Raises UsageError for a name that is none,
    and for a scheduler that cannot be moved.
    """

    def __init__(self, keep: KeepSettings, parts: Sequence[StatePart]) -> None:
        groups = [group for part in parts if part.kind == "optimizer" for group in part.value.param_groups]
        known = {name for group in groups for name in group if _is_kept(group, name)} | {SCHEDULER}
        named = () if isinstance(keep, bool) or keep is None else (keep,) if isinstance(keep, str) else keep
        if not isinstance(named, list | tuple | set | frozenset) or not known.issuperset(named):
            values = {"names": ", ".join(sorted(known)), "given": f"{keep!r:.80}"}
            raise UsageError(reader_text("checkpoints.settings.no_settings", **values))
        self._all = keep is True
        self._named = frozenset(named)
        self.schedule = self._all or not self._named.isdisjoint({"lr", SCHEDULER})
        fixed = [part for part in parts if part.argument == SCHEDULER and part.kind != "scheduler"]
        if self.schedule and fixed:
            values = {"name": fixed[0].name, "kind": type(fixed[0].value).__name__}
            raise UsageError(reader_text("checkpoints.settings.cannot_be_moved", **values))

    def __bool__(self) -> bool:
        return self._all or bool(self._named)

    def names_in(self, group: Mapping[str, Any], *, schedule: bool) -> list[str]:
        """Return the settings of a parameter group that stay the program's; `schedule`: those of a schedule too."""
        moved = _OF_SCHEDULE | (_CYCLED if "max_momentum" in group else frozenset())
        named = self._named - moved
        kept = [name for name in group if _is_kept(group, name)]
        return [name for name in kept if (schedule if name in moved else self._all or name in named)]

    def problems(self, optimizer: Any, saved: Mapping[str, Any]) -> list[str]:
        """Return a line on each group whose momentum cannot begin in the middle: RMSprop's next step would fail."""
        states = [each for each in saved["state"].values() if each]
        if not states or any("momentum_buffer" in each for each in states):
            return []
        begun = [
            (place, here["momentum"])
            for place, (there, here) in enumerate(zip(saved["param_groups"], optimizer.param_groups, strict=True))
            if "momentum" in self.names_in(here, schedule=False) and here["momentum"] and not there.get("momentum")
        ]
        key = "checkpoints.settings.momentum_cannot_begin"
        return [reader_text(key, place=place, here=_shown(value)) for place, value in begun]

    def settled(self, optimizer: Any, saved: Mapping[str, Any], *, scheduled: bool, schedule: bool) -> Fit:
        """Return an optimizer's saved state with the program's settings in it, and notes on all that differ."""
        groups, notes = [], []
        for place, (there, here) in enumerate(zip(saved["param_groups"], optimizer.param_groups, strict=True)):
            own = self.names_in(here, schedule=schedule)
            groups.append({**there, **{name: copy.deepcopy(here[name]) for name in own}})
            told = _differing("setting_own", own, here, there, f"group {place}")
            if any(each.values["name"] == "lr" for each in told):
                told = [each for each in told if each.values["name"] != "initial_lr"]
            others = [name for name in _names(here, there, scheduled=scheduled) if name not in own]
            notes += told + _differing("setting_kept", others, here, there, f"group {place}")
        return Fit({**saved, "param_groups": groups}, notes=notes[:_SHOWN])


class ScheduleReplay:
    """Schedules of a program on their way to the step of a checkpoint: as if they had been followed from the start.

    The schedules are stepped together, as a program steps those that share an optimizer.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[Any, int, str]] = []
        self.as_saved: list[Any] = []  # optimizers whose schedule comes from the checkpoint after all

    def fit(self, scheduler: Any, saved: Any, name: str) -> Fit:
        """Return what to load into a scheduler: nothing if it is stepped to its place by `run`."""
        if saved is ABSENT or not isinstance(saved, Mapping):
            return Fit(ABSENT, notes=[note(reader_text("checkpoints.settings.begins_at_its_start"))])
        other = other_kind(scheduler.state_dict(), saved)
        notes = [] if other else scheduler_notes(scheduler, saved, differs="setting_own")
        if _needs_argument(scheduler):  # ReduceLROnPlateau: it counts, and follows no schedule
            return _counting(scheduler, saved, other, notes)
        there, here = _position(saved), _position(scheduler.state_dict())
        if there is None or here is None:
            return Fit(ABSENT, notes=[*notes, note(reader_text("checkpoints.settings.begins_at_its_start"))])
        if here > there and not other:  # objects of a notebook that trained on after the checkpoint
            self.as_saved.append(getattr(scheduler, "optimizer", None))
            values = {"here": here, "there": there}
            return Fit(saved, notes=[note(reader_text("checkpoints.settings.is_further", **values))])
        self._steps.append((scheduler, max(there - here, 0), name))
        if other:
            notes.append(note(reader_text("checkpoints.settings.other_schedule", step=there)))
        return Fit(ABSENT, notes=notes)

    def run(self) -> None:
        """Step every schedule to its place. Raises CheckpointError for one that does not reach so far."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no step of the optimizer came before
            for turn in range(max((steps for _, steps, _ in self._steps), default=0)):
                for scheduler, steps, name in self._steps:
                    if turn < steps:
                        _step(scheduler, name, steps)


def optimizer_notes(optimizer: Any, saved: Mapping[str, Any], *, scheduled: bool) -> list[Reason]:
    """Return the program's settings that the checkpoint replaces: a changed learning rate would be lost silently."""
    notes: list[Reason] = []
    for place, (there, here) in enumerate(zip(saved["param_groups"], optimizer.param_groups, strict=True)):
        names = _names(here, there, scheduled=scheduled)
        notes += _differing("setting_kept", names, here, there, f"group {place}")
    return notes[:_SHOWN]


def scheduler_notes(
    scheduler: Any, saved: Mapping[str, Any], about: str = "", *, differs: Differs = "setting_kept"
) -> list[Reason]:
    """Return the settings that program and checkpoint have otherwise, those of nested schedulers included."""
    notes = _differing(differs, _settings_of(scheduler), scheduler.state_dict(), saved, about)
    inner, there = getattr(scheduler, "_schedulers", ()), saved.get("_schedulers", ())
    for place, (each, state) in enumerate(zip(inner, there, strict=False)):
        if isinstance(state, Mapping):
            notes += scheduler_notes(each, state, f"{about}[{place}]", differs=differs)
    return notes[:_SHOWN]


def _settings_of(scheduler: Any) -> list[str]:
    """Return the names in a scheduler's state that are settings; the rest is its position.

    A setting is an argument of the constructor or derived from one.
    """
    try:
        taken = set(inspect.signature(type(scheduler).__init__).parameters) - _NO_SETTINGS
    except (TypeError, ValueError):  # a function written in C
        taken = set()
    return [name for name in scheduler.state_dict() if name.removeprefix("_") in taken or name in _DERIVED]


def _counting(scheduler: Any, saved: Mapping[str, Any], other: list[str], notes: list[Reason]) -> Fit:
    """Return the counters of a checkpoint with the program's settings; nothing of another kind of scheduler."""
    if other:
        return Fit(ABSENT, notes=[note(reader_text("checkpoints.settings.begins_at_its_start"))])
    here = scheduler.state_dict()
    return Fit({**saved, **{name: here[name] for name in _settings_of(scheduler)}}, notes=notes)


def _needs_argument(scheduler: Any) -> bool:
    parameters = inspect.signature(scheduler.step).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return any(each.default is inspect.Parameter.empty and each.kind in kinds for each in parameters)


def _position(state: Mapping[str, Any]) -> int | None:
    """Return the step of a schedule; ChainedScheduler has none of its own, and its schedulers have the same."""
    found = state.get("last_epoch")
    inner = state.get("_schedulers")
    if found is None and isinstance(inner, list | tuple) and inner and isinstance(inner[0], Mapping):
        return _position(inner[0])
    return found if type(found) is int and found >= 0 else None


def _step(scheduler: Any, name: str, steps: int) -> None:
    try:
        scheduler.step()
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # OneCycleLR has a last step
        values = {"name": name, "step": steps, "error": error, "ways_on": ways_on()}
        raise CheckpointError(reader_text("checkpoints.settings.does_not_reach", **values)) from error


def _names(here: Mapping[str, Any], there: Mapping[str, Any], *, scheduled: bool) -> list[str]:
    """Return the settings of a group of which a difference says something about the program."""
    moved = _MOVED if scheduled or ("initial_lr" in here and "initial_lr" in there) else ()
    return [name for name in here if name not in ("params", *moved)]


def _is_kept(group: Mapping[str, Any], name: str) -> bool:
    """True for a number, a tuple of numbers such as `betas`, and a tensor with a number."""
    if name == "params" or name in _SIZES:
        return False
    value = group[name]
    values = value if isinstance(value, tuple | list) and value else (value,)
    return all(isinstance(_plain(each), int | float) and not isinstance(each, bool) for each in values)


def _differing(
    code: Differs, names: Iterable[str], here: Mapping[str, Any], there: Mapping[str, Any], about: str
) -> list[Reason]:
    found = []
    for name in names:
        if name in there and _differ(_plain(here[name]), _plain(there[name])):
            shown = {"there": _shown(there[name]), "here": _shown(here[name])}
            if shown["there"] != shown["here"]:
                found.append(Reason(code, about, {"name": name.removeprefix("_"), **shown}))
    return found


def _differ(one: Any, other: Any) -> bool:
    """True when two settings are known to differ."""
    if not (isinstance(one, _SETTINGS) and isinstance(other, _SETTINGS)):
        return False
    try:
        return bool(one != other)
    except (TypeError, ValueError, RuntimeError):  # arrays or tensors in a list
        return False


def _plain(value: Any) -> Any:
    """Return the number in a tensor of one element, as a learning rate may be; other values unchanged."""
    import torch

    return value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value


def _shown(value: Any) -> str:
    value = _plain(value)
    if isinstance(value, Counter):  # the milestones of MultiStepLR
        value = list(value.elements())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    return str(value)[:_SETTING_CHARS]
