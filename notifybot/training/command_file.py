"""File between `notifybot run` and the processes below it: whose run it is, and what they have to say.

Each line is a JSON object. The first is the wrapper's: the run that a training below it joins. A training appends a
line for each run that it begins, `notifybot log` one for each call. A short line is appended in one piece.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from notifybot.runtime import environment
from notifybot.types import RunRef

VARIABLE = "NOTIFYBOT_COMMAND_FILE"
_joined: set[str] = set()  # a process joins once: its second run is one of its own


@dataclass(frozen=True, slots=True)
class LoggedNumbers:
    """Numbers of one `notifybot log`: `at` is the epoch, step or round, as `unit` says."""

    unit: str
    at: int
    metrics: Mapping[str, float]
    total: int | None = None


@dataclass(slots=True)
class CommandFile:
    """The file as the wrapper has it. `path` is None where none can be made: then the two do not know of each other."""

    path: Path | None
    _read_to: int = 0
    _rest: bytes = b""

    @classmethod
    def create(cls, run_id: str, project: str) -> CommandFile:
        """Make the file, in a folder that only this user may enter. A full disk keeps no command from running."""
        line = json.dumps({"joins": {"id": run_id, "project": project}}).encode() + b"\n"
        try:
            path = Path(tempfile.mkdtemp(prefix="notifybot-")) / "command.jsonl"
            path.write_bytes(line)
        except OSError:
            return cls(None)
        return cls(path, len(line))

    def began(self, run: RunRef) -> None:
        """Note that the wrapper has begun its run: who joins it from now on is of the same attempt."""
        if self.path is not None:
            _append(str(self.path), run)

    def news(self) -> list[RunRef | LoggedNumbers]:
        """Return the runs that began and the numbers that were logged since the last call, in their order."""
        if self.path is None:
            return []
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
        if self.path is None:
            return
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
    if path := environment().get(VARIABLE, ""):
        _append(path, run)


def has_begun(run_id: str) -> bool:
    """True where the wrapper, or a process below it, has begun a session of this run since the wrapper's start.

    Else who joins the run begins an attempt: the run may be one of an earlier start, as of a job that was requeued.
    """
    file = CommandFile(Path(environment().get(VARIABLE, "")))
    return any(isinstance(each, RunRef) and each.id == run_id for each in file.news())


def _append(path: str, run: RunRef) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)  # never made anew
        try:
            os.write(descriptor, json.dumps({"began": asdict(run)}).encode() + b"\n")
        finally:
            os.close(descriptor)


def _parsed(line: bytes) -> RunRef | LoggedNumbers | None:
    try:
        found = json.loads(line)
        if "logged" not in found:
            return RunRef(**found["began"])
        logged = LoggedNumbers(**found["logged"])
        metrics = {str(name): float(value) for name, value in logged.metrics.items()}
        total = None if logged.total is None else int(logged.total)
        return LoggedNumbers(str(logged.unit), int(logged.at), metrics, total)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
        return None
