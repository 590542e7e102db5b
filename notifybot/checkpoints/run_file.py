"""Run card: identity of the run that saves in a folder, so that another machine resumes as the same run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from notifybot.checkpoints.durable_io import write_bytes

NAME = "notifybot-run.json"
RUNS = "runs"  # folder beside the card, with a copy of the run's own folder
_LIMIT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RunFile:
    """Card of a run, all that a new machine needs besides the checkpoints.

    `session` is the process that may save here; a newer one (sessions sort by time) takes over. `memories` holds the
    notifiers' state of the run, such as its thread in Slack; never a secret. `launch` is a fingerprint of the program's
    arguments and hyper-parameters; empty if unknown.
    """

    run_id: str
    name: str = ""
    project: str = ""
    session: str = ""
    attempt: int = 1
    host: str = ""
    launch: str = ""
    memories: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    format: int = 1


def read_card(folder: Path) -> RunFile | None:
    """Return the folder's card; None where there is none that can be read. Raises OSError when the folder fails."""
    try:
        with (folder / NAME).open("rb") as file:
            values = json.loads(file.read(_LIMIT_BYTES))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    if not isinstance(values, dict) or not isinstance(values.get("run_id"), str):
        return None
    known = {each.name: each.type for each in fields(RunFile)}
    kept = {name: value for name, value in values.items() if name in known and _fits(value, known[name])}
    return RunFile(**kept)


def write_card(folder: Path, card: RunFile) -> None:
    """Replace the folder's card in one step, on disk when this returns. Raises OSError."""
    write_bytes(folder / NAME, json.dumps(asdict(card), ensure_ascii=False, indent=1).encode())


def _fits(value: object, kind: object) -> bool:
    """True when a value that somebody may have edited is of the field's type."""
    if kind == "str":
        return isinstance(value, str)
    return isinstance(value, int if kind == "int" else dict)
