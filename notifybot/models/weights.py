"""Weights alone: a state dict in a file that cannot hold code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notifybot.checkpoints.payload import read_payload, write_payload
from notifybot.errors import CheckpointError, UsageError
from notifybot.models.border import failing_as
from notifybot.models.proof import verify, written_whole

if TYPE_CHECKING:
    from torch import nn

_SAFETENSORS = ".safetensors"
_MOST_KEYS = 8  # that an error lists of each kind


@dataclass(frozen=True, slots=True)
class KeyDifferences:
    """How a file's weights differ from a model's: keys that only one of them has, and keys of another shape."""

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    shapes: dict[str, str] = field(default_factory=dict)  # key -> both shapes, in words

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)

    def __str__(self) -> str:
        kinds = {
            "missing in the file": self.missing,
            "unknown to the model": self.unexpected,
            "of another shape": [f"{key} ({shapes})" for key, shapes in self.shapes.items()],
        }
        return "; ".join(f"{kind}: {_some(keys)}" for kind, keys in kinds.items() if keys)


def save_weights(model: nn.Module, path: str | Path, *, metadata: Mapping[str, object] | None = None) -> Path:
    """Write a model's weights to `path`, whole or not at all, with their hash beside them; return the path.

    `.safetensors` is read by every framework; weights that layers share are written once. `metadata` goes into its
    header, as text. Any other suffix gets PyTorch's own format, for `torch.load(weights_only=True)`.
    """
    path = Path(path)
    if path.suffix == _SAFETENSORS:
        _save_safetensors(model, path, {str(key): str(value) for key, value in (metadata or {}).items()})
    elif metadata:
        raise UsageError(f"{path.name} has no place for metadata: choose the suffix {_SAFETENSORS}")
    else:
        _save_state_dict(model, path)
    return path


def load_weights(model: nn.Module, path: str | Path, *, strict: bool = True) -> KeyDifferences:
    """Read weights into a model, after comparing the file with its hash; return how the two differ.

    Takes safetensors, a state dict, and a checkpoint with a `model_state_dict`; runs no code from any of them.
    With `strict`, a difference is a CheckpointError that lists the keys, and the model stays as it was. Without,
    what fits by name and shape is loaded (a new head keeps its own values); an error only when nothing does.
    """
    path = Path(path)
    verify(path)
    saved = _read_safetensors(path) if path.suffix == _SAFETENSORS else _read_state_dict(path)
    current = _state_of(model)
    differences = _compare(saved, current)
    fitting = {key: value for key, value in saved.items() if key in current and key not in differences.shapes}
    if (strict and differences) or not fitting:
        raise CheckpointError(f"{path.name} does not fit {type(model).__name__}. {differences}")
    model.load_state_dict(fitting, strict=False)
    return differences


def _save_safetensors(model: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    safetensors = _safetensors()
    what = f"{type(model).__name__} does not fit into safetensors"  # sparse or overlapping tensors
    with failing_as(what, remedy="Choose the suffix .pt"), written_whole(path) as temporary:
        safetensors.save_model(model, str(temporary), metadata={"format": "pt", **metadata})


def _save_state_dict(model: nn.Module, path: Path) -> None:
    with written_whole(path) as temporary, temporary.open("wb") as file:
        write_payload(model.state_dict(), file)


def _read_safetensors(path: Path) -> dict[str, Any]:
    safetensors = _safetensors()
    with failing_as(f"{path.name} is no whole safetensors file"):
        return dict(safetensors.load_file(path))


def _read_state_dict(path: Path) -> dict[str, Any]:
    payload = read_payload(path)
    state = payload.get("model_state_dict", payload)
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path.name}: its model_state_dict is a {type(state).__name__}, no state dict")
    return dict(state)


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError:
        raise UsageError(
            "safetensors is not installed: pip install 'notifybot[torch]', or choose the suffix .pt"
        ) from None
    return safetensors.torch


def _state_of(model: nn.Module) -> dict[str, Any]:
    from torch.nn.parameter import is_lazy

    state: dict[str, Any] = model.state_dict()
    if any(is_lazy(value) for value in state.values()):
        raise UsageError(f"{type(model).__name__} has lazy layers: run one batch through it before loading weights")
    return state


def _compare(saved: Mapping[str, Any], current: Mapping[str, Any]) -> KeyDifferences:
    common = saved.keys() & current.keys()
    held = {_place(current[key]) for key in common} - {None}
    return KeyDifferences(
        missing=tuple(key for key in current if key not in saved and _place(current[key]) not in held),
        unexpected=tuple(key for key in saved if key not in current),
        shapes={
            key: f"{_shape(saved[key])} in the file, {_shape(current[key])} in the model"
            for key in current
            if key in common and _shape(saved[key]) != _shape(current[key])
        },
    )


def _place(value: Any) -> tuple[Any, ...] | None:
    """Return where a tensor lies, the same for weights that are shared; None for what lies nowhere."""
    import torch

    if not isinstance(value, torch.Tensor) or not value.data_ptr():
        return None
    return (value.device, value.data_ptr(), tuple(value.shape), value.stride())


def _shape(value: Any) -> list[int] | None:
    return list(value.shape) if hasattr(value, "shape") else None


def _some(keys: Sequence[str]) -> str:
    more = len(keys) - _MOST_KEYS
    return ", ".join(keys[:_MOST_KEYS]) + (f" and {more} more" if more > 0 else "")
