"""Weight files: a state dict in a file that cannot hold code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notifybot.checkpoints.arrangement import paired
from notifybot.checkpoints.serialization import read_payload, write_payload
from notifybot.errors import CheckpointError, UsageError, reader_text
from notifybot.models.checksum import atomic_write_with_checksum, verify
from notifybot.models.errors import translating_errors

if TYPE_CHECKING:
    from torch import nn

_MODEL = "model_state_dict"
_SAFETENSORS = ".safetensors"
_MOST_KEYS = 8  # keys of each kind that an error lists


@dataclass(frozen=True, slots=True)
class KeyDifferences:
    """Differences between a file's weights and a model's: keys that only one of them has, and keys of another shape."""

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    shapes: dict[str, str] = field(default_factory=dict)  # key -> both shapes, in words

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)

    def __str__(self) -> str:
        shapes = [f"{key} ({shapes})" for key, shapes in self.shapes.items()]
        kinds = {
            reader_text("models.weights.missing"): self.missing,
            reader_text("models.weights.unexpected"): self.unexpected,
            reader_text("models.weights.of_another_shape"): shapes,
        }
        return "; ".join(f"{kind}: {_some(keys)}" for kind, keys in kinds.items() if keys)


def save_weights(model: nn.Module, path: str | Path, *, metadata: Mapping[str, object] | None = None) -> Path:
    """Write a model's weights to `path`, whole or not at all, with their hash beside them; return the path.

    `.safetensors` is read by every framework; weights that layers share are written once. `metadata` goes into its
    header, as text. Any other suffix gets PyTorch's own format, for `torch.load(weights_only=True)`.
    """
    path = Path(path)
    if path.suffix == _SAFETENSORS:
        safetensors = _safetensors()
        what = reader_text("models.weights.cannot_be_saved_as_safetensors", kind=type(model).__name__)
        remedy = reader_text("models.weights.choose_the_suffix_pt")  # for sparse or overlapping tensors
        header = {"format": "pt"} | {str(key): str(value) for key, value in (metadata or {}).items()}
        with translating_errors(what, remedy=remedy), atomic_write_with_checksum(path) as temporary:
            safetensors.save_model(model, str(temporary), metadata=header)
    elif metadata:
        raise UsageError(reader_text("models.weights.no_metadata_there", name=path.name, safetensors=_SAFETENSORS))
    else:
        with atomic_write_with_checksum(path) as temporary, temporary.open("wb") as file:
            write_payload(model.state_dict(), file)
    return path


def load_weights(
    model: nn.Module | Sequence[nn.Module] | Mapping[str | int, nn.Module], path: str | Path, *, strict: bool = True
) -> KeyDifferences:
    """Read weights into a model, after comparing the file with its hash; return how the two differ.

    Takes safetensors, a state dict, and a checkpoint with a `model_state_dict`; runs no code from any of them. Of a
    checkpoint of several models, give them as they were saved, or some by name or number: `{"gen": gen}`.
    With `strict`, a difference is a CheckpointError that lists the keys, and the model stays as it was. Without,
    what fits by name and shape is loaded (a new head keeps its own values); an error only when nothing does.
    """
    path = Path(path)
    verify(path)
    if path.suffix == _SAFETENSORS:
        safetensors = _safetensors()
        with translating_errors(reader_text("models.weights.damaged_safetensors", name=path.name)):
            payload = {_MODEL: safetensors.load_file(path)}
    else:
        payload = read_payload(path)
        payload = payload if _MODEL in payload else {_MODEL: payload}
    pairs = [_Pair(*each, file=path.name) for each in paired(model, payload, path.name)]
    differences = _joined({each.name: each.differences for each in pairs})
    fitting = any(each.fitting for each in pairs)
    if (strict and differences) or not fitting:
        kind, partly = _kind(model), reader_text("models.weights.or_strict_false") if fitting else ""
        why = reader_text("models.weights.does_not_fit", name=path.name, kind=kind, differences=differences)
        raise CheckpointError(f"{why}{partly}")
    for each in pairs:
        each.model.load_state_dict(each.fitting, strict=False)
    return differences


class _Pair:
    """Model and its weights in a file: their differences, and what fits."""

    def __init__(self, name: str, model: nn.Module, saved: Any, *, file: str) -> None:
        if not isinstance(saved, Mapping):
            kind = type(saved).__name__
            raise CheckpointError(reader_text("models.weights.is_no_state_dict", name=file, kind=kind))
        current = _state_of(model)
        self.name, self.model = name, model
        self.differences = _compare(saved, current)
        shapes = self.differences.shapes
        self.fitting = {key: value for key, value in saved.items() if key in current and key not in shapes}


def _joined(differences: Mapping[str, KeyDifferences]) -> KeyDifferences:
    """Return the differences of all models, with each one's name before its keys."""

    def full(name: str, key: str) -> str:
        return f"{name}.{key}" if name else key

    return KeyDifferences(
        missing=tuple(full(name, key) for name, each in differences.items() for key in each.missing),
        unexpected=tuple(full(name, key) for name, each in differences.items() for key in each.unexpected),
        shapes={full(name, key): both for name, each in differences.items() for key, both in each.shapes.items()},
    )


def _kind(model: object) -> str:
    if isinstance(model, Mapping):
        return ", ".join(map(_kind, model.values()))
    return ", ".join(map(_kind, model)) if isinstance(model, list | tuple) else type(model).__name__


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError:
        raise UsageError(reader_text("models.weights.needs_safetensors")) from None
    return safetensors.torch


def _state_of(model: nn.Module) -> dict[str, Any]:
    from torch.nn.parameter import is_lazy

    state: dict[str, Any] = model.state_dict()
    if any(is_lazy(value) for value in state.values()):
        raise UsageError(reader_text("models.weights.is_lazy", kind=type(model).__name__))
    return state


def _compare(saved: Mapping[str, Any], current: Mapping[str, Any]) -> KeyDifferences:
    common = saved.keys() & current.keys()
    held = {_place(current[key]) for key in common} - {None}
    return KeyDifferences(
        missing=tuple(key for key in current if key not in saved and _place(current[key]) not in held),
        unexpected=tuple(key for key in saved if key not in current),
        shapes={
            key: reader_text("models.weights.shapes", saved=_shape(saved[key]), current=_shape(current[key]))
            for key in current
            if key in common and _shape(saved[key]) != _shape(current[key])
        },
    )


def _place(value: Any) -> tuple[Any, ...] | None:
    """Return a tensor's memory location, equal for shared weights; None for a tensor without memory."""
    import torch

    if not isinstance(value, torch.Tensor) or not value.data_ptr():
        return None
    return (value.device, value.data_ptr(), tuple(value.shape), value.stride())


def _shape(value: Any) -> list[int] | None:
    return list(value.shape) if hasattr(value, "shape") else None


def _some(keys: Sequence[str]) -> str:
    more = len(keys) - _MOST_KEYS
    return ", ".join(keys[:_MOST_KEYS]) + (reader_text("models.weights.and_more", more=more) if more > 0 else "")
