"""One believable event of each kind, so that a person sees what will come before it matters."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypedDict

from notifybot.events import (
    AlertRaised,
    CheckpointSaved,
    EpochFinished,
    Event,
    RunEnded,
    RunLost,
    RunRecovered,
    RunStalled,
    RunStarted,
)
from notifybot.metric_names import Direction
from notifybot.training.progress import Watch
from notifybot.types import (
    Checkpoint,
    Host,
    Language,
    Metric,
    ModelSize,
    Param,
    Progress,
    Resumed,
    RunRef,
    Severity,
    Status,
    Tier,
    uuid7,
)

NAME = "resnet18-cifar10"
_EPOCHS = 30
_EPOCH_S = 94.0
_PARAMS: dict[str, Param] = {"model": "resnet18", "lr": 0.1, "batch_size": 128, "optimizer": "SGD", "seed": 17}
_HOST = Host(
    name="colab-t4",
    platform="Linux-6.6 x86_64",
    python="3.12.11",
    device="Tesla T4",
    pid=1841,
    memory_bytes=13_609_451_520,
    up_s=260.0,
)
_MODEL = ModelSize(total=11_689_512, trainable=2_625_610, frozen=("conv1", "layer1", "layer2", "layer3"))
_FOLDER = f"/content/drive/MyDrive/{NAME}"
_ALERTS = {
    Language.EN: ("GPU memory is nearly full", "14.2 of 14.7 GB are in use: a larger batch will not fit."),
    Language.KO: ("GPU 메모리가 거의 찼습니다", "14.7GB 중 14.2GB를 사용하고 있어 배치 크기를 더 늘릴 수 없습니다."),
}
_FRAMES = """\
  File "train.py", line 48, in main
    loss = step(images.to(device), labels.to(device))
  File "train.py", line 31, in step
    logits = model(images)
  File "models/resnet.py", line 88, in forward
    out = self.layer3(out)"""
_ERROR = "OutOfMemoryError: CUDA out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of 14.74 GiB"
_STACK = """\
MainThread
  File "train.py", line 27, in main
    for images, labels in loader:
  File "torch/utils/data/dataloader.py", line 1448, in _get_data
    success, data = self._try_get_data()"""


class _Common(TypedDict):
    id: str
    run: RunRef
    at: datetime


def samples(language: Language, now: datetime, *, project: str = "default", name: str = NAME) -> list[Event]:
    """Return one event of each kind, in an order that a run could live, all about one new run."""
    run = RunRef(id=uuid7(now.timestamp()), name=name, project=project, session="sample")
    begun = now - timedelta(seconds=_EPOCH_S * _EPOCHS)
    title, text = _ALERTS[language]
    before, saved = _checkpoint(11), _checkpoint(12)
    eleven, twelve = (replace(progress_at(each.epoch or 0), checkpoint=each) for each in (before, saved))
    resumed = Resumed(11, before.path, since_s=840.0, lost_s=720.0, new_machine=True)

    def at(epochs: float) -> _Common:
        moment = begun + timedelta(seconds=_EPOCH_S * epochs)
        return {"id": uuid7(moment.timestamp()), "run": run, "at": moment}

    return [
        RunStarted(
            **at(11),
            attempt=2,
            total=_EPOCHS,
            params=_PARAMS,
            host=_HOST,
            progress=eleven,
            resumed=resumed,
            model=_MODEL,
        ),
        EpochFinished(**at(12), progress=progress_at(12), new_best="val_acc"),
        CheckpointSaved(**at(12), checkpoint=saved, progress=twelve),
        AlertRaised(**at(12.1), title=title, text=text, severity=Severity.WARNING, progress=twelve),
        RunStalled(**at(17), silent_s=431.0, limit_s=420.0, stack=_STACK, host=_HOST, progress=twelve),
        RunLost(**at(18), silent_s=98.0, limit_s=90.0, host=_HOST, progress=twelve),
        RunRecovered(**at(19), was="lost", away_s=187.0, progress=twelve),
        _ending(at(_EPOCHS), Status.FINISHED),
    ]


def endings(language: Language, now: datetime, *, project: str = "default") -> list[RunEnded]:
    """Return the four ways in which a run itself says that it is over, each about a new run."""
    run = RunRef(id="", name=NAME, project=project, session="sample")
    statuses = (Status.FINISHED, Status.STOPPED, Status.INTERRUPTED, Status.FAILED)
    return [
        _ending({"id": uuid7(now.timestamp()), "run": replace(run, id=uuid7(now.timestamp())), "at": now}, status)
        for status in statuses
    ]


def _ending(common: _Common, status: Status) -> RunEnded:
    done = _EPOCHS if status is Status.FINISHED else 12
    error, frames = (_ERROR, _FRAMES) if status is Status.FAILED else ("", "")
    progress = replace(progress_at(done), checkpoint=_checkpoint(done))
    return RunEnded(**common, status=status, progress=progress, error=error, frames=frames)


def _checkpoint(epoch: int) -> Checkpoint:
    """What ours look like once they are on Drive."""
    loss = progress_at(epoch).metrics["val_loss"].value
    return Checkpoint(f"{_FOLDER}/checkpoint_epoch{epoch}_{loss:.4f}.pt", epoch, 44_802_131, Tier.REMOTE)


def progress_at(done: int) -> Progress:
    """How the sample run stands after `done` of its epochs."""
    curves = {
        "train_loss": [2.1 * math.exp(-0.17 * epoch) + 0.05 for epoch in range(1, done + 1)],
        "val_loss": [
            1.9 * math.exp(-0.16 * epoch) + 0.12 + 0.01 * math.sin(epoch * 2.3) for epoch in range(1, done + 1)
        ],
        "val_acc": [0.95 - 0.6 * math.exp(-0.19 * epoch) for epoch in range(1, done + 1)],
        "lr": [0.05 * (1 + math.cos(math.pi * epoch / _EPOCHS)) for epoch in range(1, done + 1)],
    }
    left = _EPOCHS - done
    return Progress(
        epoch=done,
        done=done,
        total=_EPOCHS,
        metrics={name: _metric(name, curve) for name, curve in curves.items()},
        epoch_s=_EPOCH_S,
        elapsed_s=_EPOCH_S * done,
        eta_s=_EPOCH_S * left,
    )


def _metric(name: str, curve: list[float]) -> Metric:
    direction = Watch().best_direction_for(name)
    value = None if direction is None else (min if direction is Direction.MIN else max)(curve)
    return Metric(
        value=curve[-1],
        previous=curve[-2] if len(curve) > 1 else None,
        best=value,
        best_epoch=None if value is None else curve.index(value) + 1,
        history=tuple(curve[-32:]),
    )
