"""Model files: whole models that run without their code, and weights alone. Atomic writes, verified on loading."""

from __future__ import annotations

from notifybot.models.weights import KeyDifferences, load_weights, save_weights
from notifybot.models.whole_model import load_model, save_model

__all__ = ["KeyDifferences", "load_model", "load_weights", "save_model", "save_weights"]
