"""Arrangement of a training's objects in a checkpoint: where the state of each one stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, Protocol, TypeAlias

from notifybot.checkpoints import compatibility, rng
from notifybot.checkpoints.compatibility import note
from notifybot.checkpoints.validation import check_part, places_of
from notifybot.errors import CheckpointError, reader_text
from notifybot.types import Reason

EXTRA = "extra"
EXTRA_KEY = "extra_state_dicts"
SEVERAL_KEY = "several"  # how the arguments of several objects were given
ABSENT = object()

Kind = Literal["module", "optimizer", "scheduler", "scaler", "loader", "generator", "other"]


class Stateful(Protocol):
    """Interface of a part: `state_dict` and `load_state_dict`, as PyTorch's own objects have them."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any, /) -> Any: ...


OneOrSeveral: TypeAlias = Stateful | Sequence[Stateful] | Mapping[str, Stateful]


@dataclass(frozen=True)
class StatePart:
    """Object of the training: the argument it was given as, and its name or number if several were given there."""

    argument: str
    place: str | int | None
    value: Any
    kind: Kind

    @property
    def key(self) -> str:
        return EXTRA_KEY if self.argument == EXTRA else f"{self.argument}_state_dict"

    @property
    def at(self) -> str:
        return path_to(self.key, self.place)

    @property
    def name(self) -> str:
        return str(self.place) if self.argument == EXTRA else self.label

    @property
    def label(self) -> str:
        return path_to(self.argument, self.place)

    def state(self) -> Any:
        return compatibility.state_of(self.value) if self.kind == "module" else self.value.state_dict()

    def saved_in(self, payload: Mapping[str, Any]) -> Any:
        """Return the part's state in a checkpoint; `ABSENT` if it has none."""
        saved = payload.get(self.key, ABSENT)
        if self.place is None:
            return saved
        if isinstance(self.place, int):
            return saved[self.place] if isinstance(saved, list) and self.place < len(saved) else ABSENT
        return saved.get(self.place, ABSENT) if isinstance(saved, Mapping) else ABSENT

    def put_in(self, payload: dict[str, Any], state: Any) -> None:
        """Put the part's state where `saved_in` finds it; of a list, the parts come in their order."""
        if self.place is None:
            payload[self.key] = state
        elif isinstance(self.place, int):
            payload.setdefault(self.key, []).append(state)
        else:
            payload.setdefault(self.key, {})[self.place] = state


def path_to(base: str, place: str | int | None) -> str:
    """Return the path of one of several objects, as errors name it: "model[1]", "model.gen"."""
    return base if place is None else f"{base}[{place}]" if isinstance(place, int) else f"{base}.{place}"


def part_of(argument: str, place: str | int | None, value: Any) -> StatePart:
    """Return the part of an object. Raises UsageError for one without a state."""
    import torch

    if rng.GeneratorState.fits(value):
        return StatePart(argument, place, rng.GeneratorState(value), "generator")
    check_part(argument, place, value)
    kinds: dict[type, Kind] = {
        torch.nn.Module: "module",
        torch.optim.Optimizer: "optimizer",
        torch.optim.lr_scheduler.LRScheduler: "scheduler",
        torch.amp.GradScaler: "scaler",
        torch.utils.data.DataLoader: "loader",
    }
    found = [kind for known, kind in kinds.items() if isinstance(value, known)]
    return StatePart(argument, place, value, found[0] if found else "other")


def parts_of(given: Mapping[str, Any], extra: Mapping[str, Any]) -> list[StatePart]:
    """Return the parts of arguments of one or several objects, in order, and of `extra`. Raises UsageError."""
    found = [(name, *each) for name, value in given.items() for each in places_of(name, value)]
    return [part_of(*each) for each in (*found, *((EXTRA, name, value) for name, value in extra.items()))]


Arrangement: TypeAlias = int | list[str] | None
"""How an argument's objects were given: one by itself, a list of so many, or a dict of these names."""


def arrangement_of(parts: Iterable[StatePart]) -> dict[str, Arrangement]:
    """Return the arrangement of each argument but `extra`."""
    given: dict[str, Arrangement] = {}
    for argument, group in groupby(parts, key=lambda part: part.argument):
        places = [part.place for part in group]
        if argument != EXTRA:
            names = [each for each in places if isinstance(each, str)]
            given[argument] = names or (None if places == [None] else len(places))
    return given


def _saved_arrangement(argument: str, here: Arrangement, payload: Mapping[str, Any]) -> Arrangement:
    """Return the arrangement of an argument in a checkpoint; in a file of the user's own, as it looks."""
    recorded = payload.get(SEVERAL_KEY)
    if isinstance(recorded, Mapping) and argument in recorded:
        found = recorded[argument]
        return [str(each) for each in found] if isinstance(found, list | tuple) else found
    saved = payload.get(f"{argument}_state_dict")
    if isinstance(saved, list):
        return len(saved)
    states = saved if isinstance(saved, Mapping) else {}
    by_name = isinstance(here, list) and set(states) == set(here)
    return here if by_name and all(isinstance(each, Mapping) for each in states.values()) else None


def rearranged(parts: list[StatePart], payload: Mapping[str, Any]) -> tuple[list[str], set[str]]:
    """Return a line on each argument of several objects that are arranged otherwise than was saved, and its name."""
    problems, names = [], set()
    for argument, here in arrangement_of(parts).items():
        if f"{argument}_state_dict" not in payload:
            continue
        there = _saved_arrangement(argument, here, payload)
        same = sorted(there) == sorted(here) if isinstance(there, list) and isinstance(here, list) else there == here
        if not same:
            words = {"there": _in_words(there), "here": _in_words(here)}
            problems.append(reader_text("checkpoints.arrangement.arranged_otherwise", argument=argument, **words))
            names.add(argument)
    return problems, names


def _in_words(arrangement: Arrangement) -> str:
    if arrangement is None:
        return reader_text("checkpoints.arrangement.one_object")
    if isinstance(arrangement, list):
        return reader_text("checkpoints.arrangement.dict_of", names=", ".join(arrangement))
    return reader_text("checkpoints.arrangement.list_of", count=arrangement)


def paired(model: Any, payload: Mapping[str, Any], name: str) -> list[tuple[str, Any, Any]]:
    """Return each model with its state from a checkpoint and the start of its names, empty for one alone.

    A list takes the states place by place, a dict by names or numbers, and may leave some out. Raises CheckpointError,
    naming the file, if they are not there so.
    """
    asked = _by_place(model)
    names = [each for each in asked if isinstance(each, str)]
    here: Arrangement = names or (None if list(asked) == [None] else len(asked))
    there = _saved_arrangement("model", here, payload)
    states = payload["model_state_dict"]
    found = {None: states} if there is None else _by_place(states)
    if not (asked.keys() <= found.keys() if isinstance(model, Mapping) else asked.keys() == found.keys()):
        values = {"name": name, "there": _in_words(there), "here": _in_words(here)}
        raise CheckpointError(reader_text("checkpoints.arrangement.other_models", **values))
    return [(path_to("model", place) if len(asked) > 1 else "", each, found[place]) for place, each in asked.items()]


def _by_place(value: Any) -> dict[Any, Any]:
    """Return objects or states by their names or numbers; one by itself by None."""
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    return dict(value) if isinstance(value, Mapping) else {None: value}


def unclaimed(parts: list[StatePart], payload: Mapping[str, Any]) -> list[Reason]:
    """Return a note for each state in the checkpoint that no part claims."""
    claimed = {part.key if part.argument != EXTRA else part.at for part in parts}
    extra = payload.get(EXTRA_KEY)
    held = [key for key in map(str, payload) if key.endswith("_state_dict")]
    held += [f"{EXTRA_KEY}.{name}" for name in extra] if isinstance(extra, Mapping) else []
    return [note(reader_text("checkpoints.arrangement.not_asked_for", name=key)) for key in held if key not in claimed]
