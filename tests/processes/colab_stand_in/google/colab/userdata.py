"""Plays `google.colab.userdata`: the secrets panel of the browser."""

from __future__ import annotations

import json
import os
from pathlib import Path


class SecretNotFoundError(Exception):
    """There is no secret of that name."""


def get(key: str) -> str:
    """Answer as the browser would, and note that it was asked."""
    world = Path(os.environ["COLAB_STAND_IN"])
    with (world / "asked.txt").open("a") as asked:
        asked.write(f"{key}\n")
    secrets: dict[str, str] = json.loads((world / "secrets.json").read_text())
    if key not in secrets:
        raise SecretNotFoundError(f"Secret {key} does not exist.")
    return secrets[key]
