"""File between `notifybot run` and the processes below it: whose run it is, and what they have to say.

Each line is a JSON object. The first is the wrapper's: the run that a training below it joins. A training appends a
line for each run that it begins, and `notifybot log` one for its numbers. A short line is appended in one piece.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from notifybot.runtime import environment
from notifybot.types import RunRef

VARIABLE = "NOTIFYBOT_COMMAND_FILE"
_joined: set[str] = set()  # a process joins once: its second run is one of its own


@dataclass(slots=True)
class CommandFile:
    """The file as the wrapper has it."""

    path: Path
    _read_to: int = 0
    _rest: bytes = b""

    @classmethod
    def create(cls, run_id: str, project: str) -> CommandFile:
        """Make the file, in a folder that only this user may enter. Raises OSError."""
        path = Path(tempfile.mkdtemp(prefix="notifybot-")) / "command.jsonl"
        line = json.dumps({"joins": {"id": run_id, "project": project}}).encode() + b"\n"
        path.write_bytes(line)
        return cls(path, len(line))

    def news(self) -> list[RunRef | dict[str, Any]]:
        """Return what came since the last call: runs that began, and names and values of `notifybot log`."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._read_to)
                piece = file.read()
        except OSError:
            return []
        self._read_to += len(piece)
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return [found for line in lines if (found := _parsed(line)) is not None]

    def remove(self) -> None:
        """Delete the file and its folder."""
        with suppress(OSError):
            self.path.unlink()
            self.path.parent.rmdir()


def joined_run(project: str) -> str | None:
    """Return the id of the wrapper's run where this process may join it: below a wrapper, in its project, once."""
    path = environment().get(VARIABLE, "")
    if not path or path in _joined:
        return None
    try:
        with open(path, "rb") as file:
            offered = json.loads(file.readline())["joins"]
    except (OSError, ValueError, LookupError, TypeError):  # the wrapper is gone
        return None
    if offered.get("project") != project:
        return None
    _joined.add(path)
    return str(offered["id"])


def announce(run: RunRef) -> None:
    """Tell the wrapper, if there is one, of a run that begins here. It may be gone."""
    with suppress(OSError):
        _append({"began": asdict(run)})


def log_values(values: Mapping[str, object]) -> bool:
    """Tell the wrapper of numbers; False where there is none. Raises OSError."""
    return _append({"log": dict(values)})


def _append(line: Mapping[str, object]) -> bool:
    path = environment().get(VARIABLE, "")
    if not path:
        return False
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)  # never made anew: the wrapper may be gone
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)
    return True


def _parsed(line: bytes) -> RunRef | dict[str, Any] | None:
    try:
        found = json.loads(line)
        if not isinstance(found, dict):
            return None
        if "began" in found:
            return RunRef(**found["began"])
        return dict(found["log"]) if "log" in found else None
    except (ValueError, TypeError):
        return None
