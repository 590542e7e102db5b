"""SIGKILL at random moments: what was acknowledged arrives; a crash repeats at most one message (R1, G01, G02)."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _kill(folder: Path, rounds: int, seed: int) -> None:
    command = [sys.executable, "-m", "tests.support.sender", str(folder), str(rounds), str(seed)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600)


def _judge(folder: Path, rounds: int) -> None:
    acknowledged = set((folder / "acknowledged").read_text().split())
    received = Counter((folder / "received").read_text().split())
    with closing(sqlite3.connect(folder / "notifybot.db")) as database:
        (whole,) = database.execute("PRAGMA integrity_check").fetchone()

    assert len(acknowledged) >= rounds * 3 // 4
    assert acknowledged - set(received) == set()
    assert sum(received.values()) - len(received) <= rounds
    assert whole == "ok"


def test_two_hundred_kills_lose_nothing_acknowledged(tmp_path: Path) -> None:
    """A crash between the receiver's yes and our note of it repeats that one message, and no other."""
    _kill(tmp_path, 200, seed=20261123)

    _judge(tmp_path, 200)


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_a_thousand_kills_lose_nothing_acknowledged(tmp_path: Path) -> None:
    """The campaign of `make torture`: another seed, five times as long."""
    _kill(tmp_path, 1000, seed=7)

    _judge(tmp_path, 1000)
