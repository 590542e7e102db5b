"""Programs of their own: written to a file, run by a fresh Python, judged by what they left in the store."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Outcome(NamedTuple):
    """How a program ended, as its parent sees it."""

    code: int
    out: str
    err: str


class Workplace:
    """A folder with a program's state, and ways to run programs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "state" / "notifybot.db"
        self.environment = {
            **os.environ,
            "NOTIFYBOT_STATE_DIR": str(folder / "state"),
            "NOTIFYBOT_RUNS_DIR": str(folder / "runs"),
            "NOTIFYBOT_TENSORBOARD": "off",
            "NOTIFYBOT_WANDB": "off",
            "NOTIFYBOT_LANG": "en",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
            "PYTHONWARNINGS": "error::ResourceWarning",
        }

    def write(self, source: str, name: str = "train.py") -> Path:
        path = self.folder / name
        path.write_text(textwrap.dedent(source), "utf-8")
        return path

    def start(self, source: str, **environment: str) -> subprocess.Popen[str]:
        """Begin a program; its standard output is piped line by line."""
        return subprocess.Popen(
            [sys.executable, "-u", str(self.write(source))],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, source: str, *, timeout_s: float = 60, **environment: str) -> Outcome:
        """Run a program to its end."""
        with self.start(source, **environment) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Outcome(process.returncode, out, err)

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What the programs recorded so far, oldest first."""
        if not self.database.exists():
            return []
        with closing(sqlite3.connect(self.database)) as connection:
            rows = connection.execute("SELECT body FROM events ORDER BY at, id").fetchall()
        events = [json.loads(body) for (body,) in rows]
        return [event for event in events if kind in (None, event["kind"])]

    @property
    def endings(self) -> list[str]:
        """The statuses that runs ended with, in order."""
        return [event["status"] for event in self.events("run_ended")]


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)
