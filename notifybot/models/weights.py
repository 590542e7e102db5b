"""Weights alone: a state dict in a file that cannot hold code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notifybot.checkpoints.serialization import read_payload, write_payload
from notifybot.errors import CheckpointError, UsageError, said
from notifybot.models.checksum import verify, written_whole
from notifybot.models.errors import failing_as

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
            said("missing in the file", "파일에 없음"): self.missing,
            said("unknown to the model", "모델에 없음"): self.unexpected,
            said("of another shape", "shape이 다름"): [f"{key} ({shapes})" for key, shapes in self.shapes.items()],
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
        raise UsageError(
            said(
                f"{path.name} has no place for metadata: choose the suffix {_SAFETENSORS}",
                f"{path.name}에는 metadata를 담을 수 없습니다. 확장자를 {_SAFETENSORS}로 하세요",
            )
        )
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
        kind = type(model).__name__
        partly = said("; strict=False loads what fits", ". 맞는 것만 불러오려면 strict=False를 지정하세요")
        raise CheckpointError(
            said(
                f"{path.name} does not fit {kind}. {differences}",
                f"{path.name} 파일이 {kind} 모델과 맞지 않습니다. {differences}",
            )
            + (partly if fitting else "")
        )
    model.load_state_dict(fitting, strict=False)
    return differences


def _save_safetensors(model: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    safetensors = _safetensors()
    kind = type(model).__name__
    what = said(f"{kind} does not fit into safetensors", f"{kind} 모델은 safetensors로 저장할 수 없습니다")
    remedy = said("Choose the suffix .pt", "확장자를 .pt로 하세요")  # for sparse or overlapping tensors
    with failing_as(what, remedy=remedy), written_whole(path) as temporary:
        safetensors.save_model(model, str(temporary), metadata={"format": "pt", **metadata})


def _save_state_dict(model: nn.Module, path: Path) -> None:
    with written_whole(path) as temporary, temporary.open("wb") as file:
        write_payload(model.state_dict(), file)


def _read_safetensors(path: Path) -> dict[str, Any]:
    safetensors = _safetensors()
    name = path.name
    with failing_as(said(f"{name} is no whole safetensors file", f"{name}은(는) 온전한 safetensors 파일이 아닙니다")):
        return dict(safetensors.load_file(path))


def _read_state_dict(path: Path) -> dict[str, Any]:
    payload = read_payload(path)
    state = payload.get("model_state_dict", payload)
    if not isinstance(state, Mapping):
        kind = type(state).__name__
        raise CheckpointError(
            said(
                f"{path.name}: its model_state_dict is a {kind}, no state dict",
                f"{path.name}: model_state_dict가 state dict가 아니라 {kind}입니다",
            )
        )
    return dict(state)


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError:
        raise UsageError(
            said(
                "safetensors is not installed: pip install safetensors, or choose the suffix .pt",
                "safetensors가 설치되어 있지 않습니다. pip install safetensors로 설치하거나 확장자를 .pt로 하세요",
            )
        ) from None
    return safetensors.torch


def _state_of(model: nn.Module) -> dict[str, Any]:
    from torch.nn.parameter import is_lazy

    state: dict[str, Any] = model.state_dict()
    if any(is_lazy(value) for value in state.values()):
        kind = type(model).__name__
        raise UsageError(
            said(
                f"{kind} has lazy layers: run one batch through it before loading weights",
                f"{kind} 모델에 아직 초기화되지 않은(lazy) 층이 있습니다. "
                "가중치를 불러오기 전에 배치를 한 번 통과시키세요",
            )
        )
    return state


def _compare(saved: Mapping[str, Any], current: Mapping[str, Any]) -> KeyDifferences:
    common = saved.keys() & current.keys()
    held = {_place(current[key]) for key in common} - {None}
    return KeyDifferences(
        missing=tuple(key for key in current if key not in saved and _place(current[key]) not in held),
        unexpected=tuple(key for key in saved if key not in current),
        shapes={
            key: said(
                f"{_shape(saved[key])} in the file, {_shape(current[key])} in the model",
                f"파일 {_shape(saved[key])}, 모델 {_shape(current[key])}",
            )
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
    return ", ".join(keys[:_MOST_KEYS]) + (said(f" and {more} more", f" 외 {more}개") if more > 0 else "")
