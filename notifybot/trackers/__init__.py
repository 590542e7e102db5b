"""Trackers: files and services that record a run's metrics."""

from __future__ import annotations

from notifybot.trackers.base import Tracker, TrackerContext
from notifybot.trackers.jsonl import JsonlTracker
from notifybot.trackers.plan import plan_trackers
from notifybot.trackers.tensorboard import TensorBoardTracker
from notifybot.trackers.wandb import WandbTracker
from notifybot.trackers.worker import TrackerWorkers

__all__ = [
    "JsonlTracker",
    "TensorBoardTracker",
    "Tracker",
    "TrackerContext",
    "TrackerWorkers",
    "WandbTracker",
    "plan_trackers",
]
