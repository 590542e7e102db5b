"""Whether the process that holds a lease still lives: a number that another process has since got proves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from notifybot.policy import Priority
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox, owner_is_alive, process_name
from tests.support.store_events import started


def _gone() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.mark.parametrize(
    ("owner", "alive"),
    [
        pytest.param(process_name(), True, id="this process"),
        pytest.param(process_name().rpartition(":")[0], True, id="as older versions put it"),
        pytest.param(process_name().rpartition(":")[0] + ":an-earlier-one", False, id="its number, before os.execv"),
        pytest.param(f"{os.getpid()}:1", False, id="its number, from before it began"),
        pytest.param(f"{os.getpid()}:", True, id="a system that tells no start"),
        pytest.param("1:1", False, id="another user's process that has the number now"),
        pytest.param(f"{_gone()}:1", False, id="nobody has the number"),
        pytest.param("watchdog-2", True, id="not named by us"),
    ],
)
def test_an_owner_is_known_by_its_number_and_its_start(owner: str, alive: bool) -> None:
    """Numbers are used again; the start (field 22 of proc_pid_stat(5)) then differs, or the program (execve(2))."""
    assert owner_is_alive(owner) is alive


@pytest.mark.parametrize(
    "gone",
    [
        pytest.param(f"{os.getpid()}:1", id="another start"),  # named alike in each of the processes that share tests
        pytest.param(process_name().rpartition(":")[0] + ":an-earlier-one", id="another program"),
    ],
)
def test_what_a_dead_process_held_is_free_at_once_although_its_number_is_used_again(tmp_path: Path, gone: str) -> None:
    """Else its ending would wait for two minutes, until the lease is over."""
    with Store.open(tmp_path / "a.db") as store:
        runs.record(store, started(), [("slack", Priority.NORMAL)])
        assert Outbox(store, owner=gone).claim("slack") is not None
        ours = Outbox(store)
        assert ours.claim("slack") is None

        assert ours.release_dead() == 1

        assert ours.claim("slack") is not None
