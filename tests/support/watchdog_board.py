"""Seven runs in seven states, as a busy afternoon leaves them: for pages that are looked at."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

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
from notifybot.policy import Priority
from notifybot.store import heartbeats, runs
from notifybot.store.database import Store
from notifybot.testing import FakeClock
from notifybot.types import Checkpoint, Host, Metric, Param, Progress, RunRef, Severity, Status, uuid7

LONG_NAME = "한국어 감성 분석 KoBERT 미세조정 — 데이터 증강 3차 실험 (배치 64, 학습률 2e-5, 시드 42, 워밍업 500스텝)"
STACK = (
    'Thread "MainThread"\n  File "train.py", line 88, in main\n    for images, labels in loader:\n'
    '  File "data.py", line 41, in __getitem__\n    return self.transform(Image.open(path))'
)
FRAMES = (
    '  File "train.py", line 61, in train_epoch\n    loss.backward()\n  File "model.py", line 30, in forward\n'
    "    return self.head(features)\nRuntimeError: CUDA out of memory. Tried to allocate 1.20 GiB"
)


@dataclass
class RunHistory:
    """One run that goes on epoch by epoch, ending `until` minutes ago."""

    store: Store
    now: datetime
    name: str
    epochs: int
    total: int
    until: float = 0.0
    epoch_s: float = 90.0
    seed: int = 0
    device: str = "Tesla T4"
    breaks_at: int | None = None

    def __post_init__(self) -> None:
        self.started_at = self.now - timedelta(minutes=self.until, seconds=self.epochs * self.epoch_s)
        self.run = RunRef(
            f"run-{self.seed}", self.name, "vision-bootcamp", uuid7(self.started_at.timestamp() + self.seed / 1000)
        )
        self.values: dict[str, list[float]] = {"train_loss": [], "val_loss": [], "train_acc": [], "val_acc": []}
        self.progress = Progress(total=self.total)

    def go_on(self, params: dict[str, Param] | None = None) -> RunHistory:
        start = RunStarted(
            id=uuid7(), run=self.run, at=self.started_at, total=self.total, params=params or {}, beat_s=30.0,
            host=Host("colab-8f2c", "Linux x86_64", "3.12.11", self.device, 1182), progress=self.progress,
        )  # fmt: skip
        self.record(start)
        rng = random.Random(self.seed)
        for number in range(1, self.epochs + 1):
            at = self.started_at + timedelta(seconds=number * self.epoch_s)
            self._epoch(number, at, rng)
        return self

    def _epoch(self, number: int, at: datetime, rng: random.Random) -> None:
        share = number / self.total
        loss = 2.3 * math.exp(-3.2 * share) + rng.uniform(0, 0.06)
        fresh = {
            "train_loss": loss,
            "val_loss": loss * 1.12 + max(share - 0.6, 0) ** 2 + rng.uniform(0, 0.08),
            "train_acc": min(1 - loss / 2.6, 0.999),
            "val_acc": min(0.96 - loss / 2.7 + rng.uniform(-0.01, 0.01), 0.99),
        }
        if self.breaks_at is not None and number >= self.breaks_at:
            fresh |= {"train_loss": math.nan, "val_loss": math.nan}
        new_best = self._take(fresh)
        saved = Checkpoint(f"/content/drive/MyDrive/checkpoints/{self.run.id}/epoch-{number}.pt", number, 94_371_840)
        self.progress = Progress(
            epoch=number, done=number, total=self.total, metrics=self._metrics(number), epoch_s=self.epoch_s,
            elapsed_s=number * self.epoch_s, eta_s=(self.total - number) * self.epoch_s, checkpoint=saved,
        )  # fmt: skip
        self.record(EpochFinished(id=uuid7(), run=self.run, at=at, progress=self.progress, new_best=new_best))
        if number % 10 == 0:
            self.record(CheckpointSaved(id=uuid7(), run=self.run, at=at, checkpoint=saved, progress=self.progress))

    def _take(self, fresh: dict[str, float]) -> str | None:
        best = max(self.values["val_acc"], default=0.0)
        for name, value in fresh.items():
            self.values[name].append(value)
        return "val_acc" if fresh["val_acc"] > best and len(self.values["val_acc"]) % 7 == 0 else None

    def _metrics(self, number: int) -> dict[str, Metric]:
        found = {}
        for name, values in self.values.items():
            finite = [each for each in values if math.isfinite(each)]
            best = (max if name.endswith("acc") else min)(finite)
            previous = values[-2] if number > 1 else None
            found[name] = Metric(values[-1], previous, best, values.index(best) + 1, tuple(values[-32:]))
        return found

    def record(self, event: Event, direct: bool = False) -> RunHistory:
        runs.record(self.store, event, [("slack:00000000", Priority.NORMAL)], direct=direct)
        return self

    def at(self, minutes_ago: float) -> dict[str, Any]:
        return {
            "id": uuid7(),
            "run": self.run,
            "at": self.now - timedelta(minutes=minutes_ago),
            "progress": self.progress,
        }

    def heard(self, seconds_ago: float, *, moved_s: float | None = None, stack: str = "") -> RunHistory:
        """Set when the run was last heard of, and when its loop last moved."""
        heard_at = self.now - timedelta(seconds=seconds_ago)
        moved_at = self.now - timedelta(seconds=seconds_ago if moved_s is None else moved_s)
        with self.store.transaction() as connection:
            beat = heartbeats.Beat(run=self.run, seq=1, beat_s=30.0, stack=stack)
            heartbeats.beat(connection, heard_at, beat)
            row = runs.get_in(connection, self.run.key)
            assert row is not None
            heartbeats.restore_timestamps(connection, replace(row, alive_at=heard_at, progress_at=moved_at))
        return self


def seed(folder: Path, now: datetime) -> Path:
    """Write the database of a busy afternoon and return its path."""
    path = folder / "watchdog.db"
    with Store.open(path, clock=FakeClock(now), patience_s=2.0) as store:
        _living(store, now)
        _dead(store, now)
        with store.transaction() as connection:
            connection.exec_driver_sql("UPDATE deliveries SET state = 'sent'")
    return path


def _living(store: Store, now: datetime) -> None:
    params: dict[str, Param] = {"lr": 0.0003, "batch_size": 128, "optimizer": "AdamW", "augment": True, "seed": 42}
    first = RunHistory(store, now, "resnet50-cifar100-baseline", 17, 30, seed=1).go_on(params)
    first.record(
        AlertRaised(
            **first.at(6),
            title="학습률이 낮아졌습니다",
            text="3e-4 → 1e-4 (plateau)",
            severity=Severity.WARNING,
        )
    ).heard(12)
    RunHistory(store, now, LONG_NAME, 42, 100, epoch_s=61, seed=2, device="NVIDIA A100-SXM4-40GB").go_on(params).heard(
        3
    )
    hangs = RunHistory(store, now, "gan-celeba-64", 8, 50, until=21, seed=3).go_on().heard(9, moved_s=1275, stack=STACK)
    hangs.record(
        RunStalled(**hangs.at(11), silent_s=605, limit_s=600, stack=STACK, host=Host("colab-8f2c", device="Tesla T4"))
    )


def _dead(store: Store, now: datetime) -> None:
    lost = RunHistory(store, now, "vit-b16-imagenet-subset", 23, 60, until=35, seed=4).go_on()
    lost.record(RunLost(**lost.at(60), silent_s=124, limit_s=120))
    lost.record(RunRecovered(**lost.at(58), was="lost", away_s=241))
    lost.record(RunLost(**lost.at(33), silent_s=120, limit_s=120)).heard(2100)
    failed = RunHistory(store, now, "lstm-주가예측-v2", 14, 40, until=80, seed=5, breaks_at=12).go_on({"lr": 0.1})
    failed.record(
        RunEnded(**failed.at(80), status=Status.FAILED, error="RuntimeError: CUDA out of memory", frames=FRAMES)
    )
    done = RunHistory(store, now, "mnist-cnn", 20, 20, until=200, epoch_s=12, seed=6).go_on()
    done.record(RunEnded(**done.at(200), status=Status.FINISHED))
    early = RunHistory(store, now, "unet-세포분할 (조기 종료)", 11, 80, until=320, seed=7).go_on()
    early.record(RunEnded(**early.at(320), status=Status.STOPPED))
