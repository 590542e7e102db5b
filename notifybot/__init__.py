"""notifybot: wrap a training loop, hear about it on the phone, be notified when it dies.

The map of the package is in `docs/en/architecture.md`; imports point down only (checked by import-linter).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from notifybot.checkpoints.best import load_best
    from notifybot.checkpoints.checkpoints import Checkpoints
    from notifybot.config import Config
    from notifybot.errors import CheckpointError, ConfigError, NotifybotError, UsageError
    from notifybot.freezing import freeze, model_size, unfreeze
    from notifybot.models import load_model, load_weights, save_model, save_weights
    from notifybot.notifiers.kakao.login import kakao_login
    from notifybot.training.block import current, log, notify_run
    from notifybot.training.loop import EpochLoop, notify_epoch
    from notifybot.training.run import Run
    from notifybot.training.step_loop import StepLoop, notify_steps
    from notifybot.types import Severity, Status

__version__ = "0.1.0"

_HOMES = {
    "CheckpointError": "notifybot.errors",
    "Checkpoints": "notifybot.checkpoints.checkpoints",
    "Config": "notifybot.config",
    "ConfigError": "notifybot.errors",
    "EpochLoop": "notifybot.training.loop",
    "NotifybotError": "notifybot.errors",
    "Run": "notifybot.training.run",
    "Severity": "notifybot.types",
    "Status": "notifybot.types",
    "StepLoop": "notifybot.training.step_loop",
    "UsageError": "notifybot.errors",
    "current": "notifybot.training.block",
    "freeze": "notifybot.freezing",
    "kakao_login": "notifybot.notifiers.kakao.login",
    "load_best": "notifybot.checkpoints.best",
    "load_model": "notifybot.models",
    "load_weights": "notifybot.models",
    "log": "notifybot.training.block",
    "model_size": "notifybot.freezing",
    "notify_epoch": "notifybot.training.loop",
    "notify_run": "notifybot.training.block",
    "notify_steps": "notifybot.training.step_loop",
    "save_model": "notifybot.models",
    "save_weights": "notifybot.models",
    "unfreeze": "notifybot.freezing",
}

__all__ = [
    "CheckpointError",
    "Checkpoints",
    "Config",
    "ConfigError",
    "EpochLoop",
    "NotifybotError",
    "Run",
    "Severity",
    "Status",
    "StepLoop",
    "UsageError",
    "__version__",
    "current",
    "freeze",
    "kakao_login",
    "load_best",
    "load_model",
    "load_weights",
    "log",
    "model_size",
    "notify_epoch",
    "notify_run",
    "notify_steps",
    "save_model",
    "save_weights",
    "unfreeze",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import notifybot` costs next to nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'notifybot' has no attribute {name!r}")
    try:
        value = getattr(import_module(_HOMES[name]), name)
    except AttributeError as error:  # Python would report only a missing name
        reader_text = import_module("notifybot.errors").reader_text
        raise ImportError(reader_text("notifybot.name_cannot_be_used", name=name, error=error)) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
