"""Validation of the arguments of `Checkpoints`, before anything is opened: errors name what belongs there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any, TypeGuard

from notifybot.checkpoints.naming import check_template
from notifybot.checkpoints.retention import Mode
from notifybot.errors import UsageError, reader_list, reader_text
from notifybot.metric_names import Direction, monitored

_FILES = frozenset({".pt", ".pth", ".pt2", ".ckpt", ".bin", ".safetensors", ".pkl", ".tar", ".zip", ".h5", ".onnx"})

RESUMES = ("newest", "newest readable")

_VERBS = ("state_dict", "load_state_dict")
_PLACES = ("model", "optimizer", "scheduler", "scaler")


def validate_arguments(
    *, folder: object, local: object, model: object, extra: object, monitor: object, template: object, resume: object
) -> None:
    """Raise UsageError for an argument of a kind that cannot be meant."""
    if not isinstance(folder, str | PathLike):
        raise UsageError(reader_text("checkpoints.validation.bad_folder", folder=_kind(folder)))
    _check_no_file(Path(folder))
    if not isinstance(local, str | PathLike | None):
        raise UsageError(reader_text("checkpoints.validation.bad_local", local=_kind(local)))
    if model is None or (isinstance(model, list | tuple | dict) and not model):
        raise UsageError(reader_text("checkpoints.validation.model_is_none", model=f"{model!r}"))
    if not isinstance(extra, Mapping | None):
        raise UsageError(reader_text("checkpoints.validation.bad_extra", extra=_kind(extra)))
    if not isinstance(monitor, str | None):
        raise UsageError(reader_text("checkpoints.validation.bad_monitor", monitor=_kind(monitor)))
    if not isinstance(template, str):
        raise UsageError(reader_text("checkpoints.validation.bad_template", template=_kind(template)))
    check_template(template)
    if resume not in RESUMES:
        known = ", ".join(map(repr, RESUMES))
        raise UsageError(reader_text("checkpoints.validation.bad_resume", known=known, resume=f"{resume!r:.80}"))


def places_of(argument: str, value: Any) -> list[tuple[str | int | None, Any]]:
    """Return the objects given for an argument, each with its name or its number; one by itself has neither.

    An empty list or dict is none at all. Raises UsageError for a name that is no text.
    """
    if value is None:
        return []
    if not is_several(value):
        return [] if isinstance(value, list | tuple | dict) and not value else [(None, value)]
    if not isinstance(value, Mapping):
        return list(enumerate(value))
    for name in value:
        if not isinstance(name, str) or not name:
            raise UsageError(
                reader_text("checkpoints.validation.name_is_no_text", argument=argument, name=f"{name!r:.80}")
            )
    return list(value.items())


def is_several(value: object) -> bool:
    """True for a list or dict of objects; not for one with a state of its own, nor for a state in an object's place."""
    if _has_state(value):
        return False
    if isinstance(value, Mapping):
        return any(map(_has_state, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_state, value))


def _has_state(value: object) -> bool:
    return not isinstance(value, type) and callable(getattr(value, _VERBS[0], None))


def check_part(argument: str, place: str | int | None, value: object) -> None:
    """Raise UsageError for an object without a state, and for one that belongs in another argument."""
    where = argument if place is None else f"{argument}[{place!r}]"
    kind = _kind(value)
    if isinstance(value, type):
        raise UsageError(reader_text("checkpoints.validation.is_a_class", where=where, made=value.__name__))
    lacking = [verb for verb in _VERBS if not callable(getattr(value, verb, None))]
    if lacking:
        missing = reader_list(lacking)
        line = reader_text("checkpoints.validation.has_no_state", where=where, kind=kind, missing=missing)
        raise UsageError(line + _instead_of(value))
    import torch

    kinds = (torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, torch.amp.GradScaler)
    places = [each for each, known in zip(_PLACES, kinds, strict=True) if isinstance(value, known)]
    if argument in _PLACES and len(places) == 1 and places != [argument]:  # one of PyTorch's kinds, in another's place
        raise UsageError(
            reader_text("checkpoints.validation.belongs_elsewhere", name=where, kind=kind, place=places[0])
        )


def _instead_of(value: object) -> str:
    """Return advice for several objects, a state instead of its object, or a single tensor; else nothing."""
    import torch

    several = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    if several and all(callable(getattr(each, _VERBS[0], None)) for each in several):
        return reader_text("checkpoints.validation.name_each_of_several")
    if isinstance(value, Mapping):
        return reader_text("checkpoints.validation.give_object_not_state")
    if isinstance(value, torch.Tensor):
        return reader_text("checkpoints.validation.give_tensor_in_extra")
    return ""


def _check_no_file(folder: Path) -> None:
    try:
        place = folder.expanduser()
        taken = place.is_file() or (place.suffix.lower() in _FILES and not place.is_dir())
    except (OSError, RuntimeError, ValueError):  # opening it reports the error
        return
    if taken:
        raise UsageError(reader_text("checkpoints.validation.folder_is_a_file_name", name=f"{place.name!r}"))


def best_by(monitor: str | None, mode: Mode | None) -> tuple[str | None, Mode]:
    """Return the metric of the best checkpoint and its direction: `mode`, else as the name shows.

    Raises UsageError if the direction is unknown: the worst would be kept as the best.
    """
    if monitor is None:
        return None, mode or "min"
    name, direction = monitored(monitor)
    if mode is not None:
        return name, mode
    if direction is None:
        raise UsageError(reader_text("checkpoints.validation.monitor_without_direction", monitor=f"{monitor!r}"))
    return name, "max" if direction is Direction.MAX else "min"


def check_times(*, every: object, every_s: object, grace_s: object, patience_s: object, stateful: bool) -> None:
    """Raise UsageError for an invalid number of epochs or seconds; `stateful`: a loader knows its position."""
    if type(every) is not int or every < 1:
        raise UsageError(reader_text("checkpoints.validation.bad_every", every=f"{every!r}"))
    if every_s is not None and not (_is_finite(every_s) and every_s > 0):
        raise UsageError(reader_text("checkpoints.validation.bad_every_s", every_s=f"{every_s!r}"))
    for name, value in (("grace_s", grace_s), ("patience_s", patience_s)):
        if not (_is_finite(value) and value >= 0):
            raise UsageError(reader_text("checkpoints.validation.bad_seconds", name=name, value=f"{value!r}"))
    if every_s is not None and not stateful:
        raise UsageError(reader_text("checkpoints.validation.every_s_needs_loader"))


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and math.isfinite(value)


def _kind(value: object) -> str:
    return type(value).__name__
