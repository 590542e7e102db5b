"""Which process speaks."""

from __future__ import annotations

import pytest

from notifybot.training.rank import in_loader_worker, rank


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, 0, id="no launcher"),
        pytest.param({"RANK": "3"}, 3, id="torchrun"),
        pytest.param({"SLURM_PROCID": "2"}, 2, id="slurm"),
        pytest.param({"OMPI_COMM_WORLD_RANK": "1"}, 1, id="open mpi"),
        pytest.param({"RANK": "0", "SLURM_PROCID": "5"}, 0, id="torchrun inside slurm"),
        pytest.param({"LOCAL_RANK": "1"}, 0, id="local rank alone says nothing"),
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
