"""Which process speaks, and from where its relative folders count."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from notifybot.runtime import (
    absolute,
    absolute_for_job,
    first_word,
    in_loader_worker,
    is_one_training,
    leave_word,
    rank,
    speaks,
    started_in,
)
from tests.support.hydra import stand_in_for_hydra


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, 0, id="no launcher"),
        pytest.param({"RANK": "3"}, 3, id="torchrun"),
        pytest.param({"SLURM_PROCID": "2"}, 2, id="slurm"),
        pytest.param({"OMPI_COMM_WORLD_RANK": "1"}, 1, id="open mpi"),
        pytest.param({"RANK": "0", "SLURM_PROCID": "5"}, 0, id="torchrun inside slurm"),
        pytest.param({"LOCAL_RANK": "1"}, 0, id="local rank alone says nothing"),
        pytest.param({"LOCAL_RANK": "1", "WORLD_SIZE": "1"}, 0, id="a world of one"),
        pytest.param({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, 1, id="lightning"),
        pytest.param({"LOCAL_RANK": "0", "NODE_RANK": "1", "WORLD_SIZE": "4"}, 1, id="lightning, another machine"),
        pytest.param({"LOCAL_RANK": "0", "NODE_RANK": "0", "WORLD_SIZE": "4"}, 0, id="lightning, the first"),
        pytest.param(
            {"LOCAL_RANK": "1", "GROUP_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, 3, id="group rank"
        ),
        pytest.param({"RANK": " "}, 0, id="empty"),
    ],
)
def test_rank_is_read_from_the_launcher(environment: dict[str, str], expected: int) -> None:
    assert rank(environment) == expected


def test_a_rank_that_is_no_number_counts_as_0_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert rank({"RANK": "first"}) == 0
    assert [record.getMessage() for record in caplog.records] == [
        "RANK='first' is no rank: taken as 0, so this process reports"
    ]


def test_the_main_process_is_no_loader_worker() -> None:
    assert not in_loader_worker()


def _spawned(index: int, rendezvous: str, found: Any) -> None:
    import torch.distributed as ranks

    ranks.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=index, world_size=2)
    found.put((index, rank(), speaks(), speaks("each"), is_one_training()))
    ranks.barrier()
    ranks.destroy_process_group()


def test_a_spawned_process_asks_its_group(tmp_path: Path) -> None:
    """`mp.spawn` with `init_process_group(rank=…)` sets no variable."""
    import torch.multiprocessing as processes

    found: Any = processes.get_context("spawn").SimpleQueue()
    processes.spawn(_spawned, args=(str(tmp_path / "meet"), found), nprocs=2)

    assert sorted(found.get() for _ in range(2)) == [(0, 0, True, True, True), (1, 1, False, True, True)]


def test_the_first_failure_of_the_last_minute_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noon = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
    for number, seconds in (("3", 0), ("2", 50), ("1", 55)):
        monkeypatch.setenv("RANK", number)
        leave_word(tmp_path, f"error of {number}", "frames", noon + timedelta(seconds=seconds))

    word = first_word(tmp_path, noon + timedelta(seconds=70))
    assert word is not None
    assert (word.rank, word.error) == (2, "error of 2")

    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another job")
    assert first_word(tmp_path, noon + timedelta(seconds=70)) is None


def test_a_torn_word_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noon = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
    monkeypatch.setenv("RANK", "1")
    leave_word(tmp_path, "error", "", noon)
    (whole,) = tmp_path.glob("ranks/*/1.json")
    for at, text in enumerate(("", "[1]", "{}", whole.read_text()[:-5])):
        whole.with_name(f"{at + 2}.json").write_text(text)

    word = first_word(tmp_path, noon)
    assert word is not None
    assert word.rank == 1


# ── The folder in which the program was started ──────────────────────────────────────────────────────────────────────


def test_a_relative_folder_stays_where_the_program_was_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hydra makes a new folder for each start: no checkpoint of the one before would be found in it."""
    stand_in_for_hydra(monkeypatch, started=tmp_path)

    assert started_in() == tmp_path
    assert absolute("runs") == absolute_for_job("runs") == tmp_path / "runs"
    assert absolute("/data/runs") == absolute_for_job("/data/runs") == Path("/data/runs")
    assert absolute("~/runs") == Path.home() / "runs"


def test_jobs_of_a_sweep_keep_their_checkpoints_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    job = stand_in_for_hydra(monkeypatch, started=tmp_path, sweep=True)

    assert (absolute("runs"), absolute_for_job("ckpt")) == (tmp_path / "runs", job / "ckpt")


@pytest.mark.parametrize("why", ["Hydra has not moved it", "it moved on by itself", "Hydra has no job yet"])
def test_a_program_that_hydra_has_not_moved_keeps_its_working_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, why: str
) -> None:
    stand_in_for_hydra(
        monkeypatch, started=tmp_path, moves=not why.endswith("moved it"), initialized=not why.endswith("yet")
    )
    if why.endswith("itself"):
        (tmp_path / "own").mkdir()
        monkeypatch.chdir(tmp_path / "own")

    assert started_in() is None
    assert absolute("runs") == absolute_for_job("runs") == Path.cwd() / "runs"


def test_trials_of_ray_tune_share_the_drivers_runs_and_keep_their_checkpoints_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.setenv("TUNE_ORIG_WORKING_DIR", str(tmp_path))

    assert (absolute("runs"), absolute_for_job("ckpt")) == (tmp_path / "runs", Path.cwd() / "ckpt")

    monkeypatch.setenv("TUNE_ORIG_WORKING_DIR", str(tmp_path / "on another machine"))
    assert started_in() is None


def test_workers_of_ray_train_use_the_folder_in_which_ray_was_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ray moves them into its session's, where nothing lasts; a process that is no worker stays where it is."""
    session = tmp_path / "session_2026-01-01" / "artifacts"
    session.mkdir(parents=True)
    monkeypatch.chdir(session)
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.setenv("PWD", str(tmp_path))
    monkeypatch.delenv("TUNE_ORIG_WORKING_DIR", raising=False)
    monkeypatch.delenv("RAY_RAYLET_PID", raising=False)
    assert started_in() is None

    monkeypatch.setenv("RAY_RAYLET_PID", "7")
    assert (absolute("runs"), absolute_for_job("ckpt")) == (tmp_path / "runs", tmp_path / "ckpt")

    monkeypatch.setenv("PWD", str(tmp_path / "on another machine"))
    assert started_in() is None
