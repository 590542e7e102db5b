"""SIGKILL at random moments of saving, copying, pruning: what was acknowledged loads, nothing wrong does (R18)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from notifybot.checkpoints.directory import CheckpointDirectory
from tests.support.checkpoint_disks import entries, loads_right

ROOT = Path(__file__).parents[2]


def _kill(folder: Path, rounds: int, seed: int) -> None:
    """Each round is judged behind the kill; an AssertionError there is the exit code here."""
    command = [sys.executable, "-m", "tests.support.saver_victim", str(folder), str(rounds), str(seed)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=1200)
    acknowledged = (folder / "acknowledged").read_text().splitlines()

    assert len(acknowledged) >= rounds * 3 // 4


def test_forty_kills_never_load_a_wrong_or_an_older_checkpoint(tmp_path: Path) -> None:
    """A slice of the campaign below, with a seed of its own."""
    _kill(tmp_path, 40, seed=20261123)


@pytest.mark.torture
@pytest.mark.timeout(1300)
def test_five_hundred_kills_never_load_a_wrong_or_an_older_checkpoint(tmp_path: Path) -> None:
    """The campaign of `make torture`."""
    _kill(tmp_path, 500, seed=7)


def test_two_processes_with_one_folder_destroy_nothing_of_each_other(tmp_path: Path) -> None:
    """A machine that was thought dead and its successor save the same epochs under the same numbers and names."""
    sessions = ("s1", "s2")
    code = "import sys; from tests.support.saver_victim import save_thirty; save_thirty(*sys.argv[1:])"
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), each], cwd=ROOT) for each in sessions]
    codes = [each.wait(timeout=120) for each in started]

    shelf = CheckpointDirectory(tmp_path)
    found = shelf.manifests()
    assert codes == [0, 0]
    assert sorted((each.session, each.sequence) for each in found) == [(s, n) for s in sessions for n in range(30)]
    assert all(loads_right(shelf, each) for each in found)
    assert len(entries(tmp_path)) == 120
