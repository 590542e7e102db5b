"""What `Checkpoints` is given, looked at before anything is opened: a wrong one is named, with what belongs there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import TypeGuard

from notifybot.checkpoints.naming import check_template
from notifybot.checkpoints.retention import Mode
from notifybot.errors import UsageError, said
from notifybot.metric_names import Direction, monitored

_FILES = frozenset({".pt", ".pth", ".pt2", ".ckpt", ".bin", ".safetensors", ".pkl", ".tar", ".zip", ".h5", ".onnx"})

RESUMES = ("newest", "newest readable")

_VERBS = ("state_dict", "load_state_dict")
_PLACES = ("model", "optimizer", "scheduler", "scaler")


def check_given(
    *, folder: object, local: object, model: object, extra: object, monitor: object, template: object
) -> None:
    """Raise UsageError for an argument of a kind that cannot be meant."""
    if not isinstance(folder, str | PathLike):
        raise UsageError(
            said(
                f'the folder is a path such as "exp_1", not {_kind(folder)}',
                f'폴더는 "exp_1" 같은 경로여야 합니다. 받은 값: {_kind(folder)}',
            )
        )
    _check_no_file(Path(folder))
    if not isinstance(local, str | PathLike | None):
        raise UsageError(
            said(
                f"local= is a folder on this machine's disk, not {_kind(local)}",
                f"local=은 이 장비의 디스크에 있는 폴더입니다. 받은 값: {_kind(local)}",
            )
        )
    if model is None:
        raise UsageError(
            said(
                "model= is the torch.nn.Module whose state is saved, not None",
                "model=에는 상태를 저장할 torch.nn.Module을 넣어야 합니다. None을 받았습니다",
            )
        )
    if not isinstance(extra, Mapping | None):
        raise UsageError(
            said(
                f'extra= names further objects, such as {{"loader": loader}}; it is not {_kind(extra)}',
                f'extra=에는 {{"loader": loader}}처럼 이름과 객체를 함께 넣어야 합니다. 받은 값: {_kind(extra)}',
            )
        )
    if not isinstance(monitor, str | None):
        raise UsageError(
            said(
                f'monitor= is the name of a metric, such as "val_loss", not {_kind(monitor)}',
                f'monitor=은 "val_loss" 같은 지표 이름입니다. 받은 값: {_kind(monitor)}',
            )
        )
    if not isinstance(template, str):
        raise UsageError(
            said(
                f'template= is a file name such as "epoch{{epoch}}", not {_kind(template)}',
                f'template=은 "epoch{{epoch}}" 같은 파일 이름입니다. 받은 값: {_kind(template)}',
            )
        )
    check_template(template)


def check_part(name: str, value: object, *, extra: bool) -> None:
    """Raise UsageError for what has no state, and for what has one and belongs in another place."""
    where = f"extra[{name!r}]" if extra else name
    if isinstance(value, type):
        made = value.__name__
        raise UsageError(
            said(
                f"{where} is the class {made} itself: give the object that you made of it, as {made}(…) returns it",
                f"{where}에 클래스 {made} 자체를 넣었습니다. {made}(…)로 만든 객체를 넣으세요",
            )
        )
    lacking = [verb for verb in _VERBS if not callable(getattr(value, verb, None))]
    if lacking:
        raise UsageError(_stateless(where, value, lacking))
    place = "" if extra else _place_of(value)
    if place not in ("", name):
        raise UsageError(
            said(
                f"{name}= is {_kind(value)}, which goes into {place}=; give each object in its own place, and further "
                'ones as extra={"second": …}',
                f"{name}=에 {_kind(value)} 객체를 넣었는데 이 객체는 {place}=에 넣어야 합니다. "
                '둘째 객체부터는 extra={"second": …}로 넣으세요',
            )
        )


def _stateless(where: str, value: object, lacking: list[str]) -> str:
    kind = _kind(value)
    return said(
        f"{where} is a {kind} without {' and '.join(lacking)}; a checkpoint needs both",
        f"{where}({kind})에 {', '.join(lacking)} 메서드가 없습니다. 체크포인트에 저장할 객체에는 state_dict와 "
        "load_state_dict가 모두 필요합니다",
    ) + _instead_of(value)


def _instead_of(value: object) -> str:
    """What to give, where that can be told: several objects, a state in its object's place, a single tensor."""
    import torch

    several = list(value.values()) if isinstance(value, Mapping) else value
    if (
        isinstance(several, list | tuple)
        and several
        and all(callable(getattr(each, _VERBS[0], None)) for each in several)
    ):
        return said(
            '. Of several, give the first here and the others as extra={"second": …}',
            '. 여러 개라면 첫째만 여기에 넣고 나머지는 extra={"second": …}로 넣으세요',
        )
    if isinstance(value, Mapping):
        return said(". Give the object itself, not its state_dict()", ". state_dict()의 결과가 아니라 객체를 넣으세요")
    if isinstance(value, torch.Tensor):
        return said(
            '. A tensor that learns goes into extra={"more": torch.nn.ParameterList([tensor])}',
            '. 학습하는 텐서는 extra={"more": torch.nn.ParameterList([tensor])}로 넣으세요',
        )
    return ""


def _place_of(value: object) -> str:
    """The argument that PyTorch's own kinds of object belong in; empty for all others."""
    import torch

    kinds = (torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, torch.amp.GradScaler)
    fits = [place for place, kind in zip(_PLACES, kinds, strict=True) if isinstance(value, kind)]
    return fits[0] if len(fits) == 1 else ""


def _check_no_file(folder: Path) -> None:
    try:
        place = folder.expanduser()
        taken = place.is_file() or (place.suffix.lower() in _FILES and not place.is_dir())
    except (OSError, RuntimeError, ValueError):  # it is told by whoever opens it
        return
    if taken:
        raise UsageError(
            said(
                f'Checkpoints takes a folder, such as "exp_1", and {place.name!r} is the name of a file: files in the '
                'folder are named by template=, such as "checkpoint_epoch{epoch}_{loss}"',
                f'Checkpoints에는 "exp_1" 같은 폴더를 넣어야 하는데 {place.name!r}는 파일 이름입니다. '
                '폴더 안의 파일 이름은 template="checkpoint_epoch{epoch}_{loss}"처럼 정하세요',
            )
        )


def best_by(monitor: str | None, mode: Mode | None) -> tuple[str | None, Mode]:
    """The metric that the best checkpoint goes by, and which way it is good: `mode`, else what its name tells.

    Raises UsageError when nothing tells: the worst would be kept as the best.
    """
    if monitor is None:
        return None, mode or "min"
    name, direction = monitored(monitor)
    if mode is not None:
        return name, mode
    if direction is None:
        raise UsageError(
            said(
                f'monitor={monitor!r} does not tell whether less or more is better: give mode="min" or mode="max"',
                f"monitor={monitor!r}만으로는 작을수록 좋은지 클수록 좋은지 알 수 없습니다. "
                'mode="min" 또는 mode="max"를 지정하세요',
            )
        )
    return name, "max" if direction is Direction.MAX else "min"


def check_resume(resume: object) -> None:
    """Raise UsageError for what is no way to resume."""
    if resume not in RESUMES:
        known = ", ".join(map(repr, RESUMES))
        raise UsageError(
            said(
                f"resume= is one of {known}, not {resume!r:.80}",
                f"resume=에는 {known} 중 하나를 넣어야 합니다. 받은 값: {resume!r:.80}",
            )
        )


def check_times(*, every: object, every_s: object, grace_s: object, patience_s: object, stateful: bool) -> None:
    """Raise UsageError for a number of epochs or seconds that is none; `stateful`: a loader knows its place."""
    if type(every) is not int or every < 1:
        raise UsageError(
            said(
                f"every= is a whole number of epochs from 1, not {every!r}",
                f"every=는 1 이상의 에포크 수입니다. 받은 값: {every!r}",
            )
        )
    if every_s is not None and not (_is_finite(every_s) and every_s > 0):
        raise UsageError(
            said(
                f"every_s= is a number of seconds above 0, not {every_s!r}",
                f"every_s=는 0보다 큰 초입니다. 받은 값: {every_s!r}",
            )
        )
    for name, value in (("grace_s", grace_s), ("patience_s", patience_s)):
        if not (_is_finite(value) and value >= 0):
            raise UsageError(
                said(
                    f"{name}= is a number of seconds from 0, not {value!r}",
                    f"{name}=는 0 이상의 초입니다. 받은 값: {value!r}",
                )
            )
    if every_s is not None and not stateful:
        raise UsageError(
            said(
                "every_s= saves within an epoch, which only a data loader that knows its place can continue from: "
                "give it too, as extra={'loader': StatefulDataLoader(…)}",
                "every_s=는 에포크 도중에 저장하므로 자기 위치를 아는 데이터 로더가 있어야 이어갈 수 있습니다. "
                "extra={'loader': StatefulDataLoader(…)}로 함께 넣으세요",
            )
        )


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and math.isfinite(value)


def _kind(value: object) -> str:
    return type(value).__name__
