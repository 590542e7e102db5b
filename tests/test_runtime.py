"""Which process speaks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from notifybot.runtime import first_word, in_loader_worker, is_one_training, leave_word, rank, speaks


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
