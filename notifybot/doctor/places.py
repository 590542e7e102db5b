"""Whether a folder can be written to, found out without leaving anything there."""

from __future__ import annotations

import tempfile
from pathlib import Path


def existing(folder: Path) -> Path:
    """The folder, or the one above it that is there already. Raises OSError where that cannot be seen."""
    folder = folder.expanduser().absolute()
    return next((each for each in (folder, *folder.parents) if each.exists()), folder)


def unusable(folder: Path) -> str:
    """Why nothing can be written there, in the system's words; empty where it can be, once the folder is made."""
    try:
        with tempfile.NamedTemporaryFile(dir=existing(folder), prefix=".notifybot-"):
            return ""
    except OSError as error:
        return error.strerror or type(error).__name__
