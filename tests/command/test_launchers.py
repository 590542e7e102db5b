"""Launchers of many processes: which wrapper speaks, and which run a requeued job is."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from notifybot.command.launchers import Place, alerts_first, job_run_id, place_of


@pytest.mark.parametrize(
    ("line", "environment", "place"),
    [
        ("python train.py", {}, Place()),
        ("python train.py", {"SLURM_PROCID": "3"}, Place(3)),
        ("torchrun --nnodes 2 train.py", {"SLURM_PROCID": "0", "SLURM_NODEID": "0"}, Place()),
        ("torchrun train.py", {"NODE_RANK": "1"}, Place(1, is_node=True)),
        ("torchrun train.py", {"GROUP_RANK": "2"}, Place(2, is_node=True)),
        ("torchrun --node_rank=1 train.py", {}, Place(1, is_node=True)),
        ("torchrun --node-rank 1 train.py", {"NODE_RANK": "0"}, Place(1, is_node=True)),
        ("torchrun --node_rank=0 train.py", {}, Place()),
        ("accelerate launch --machine_rank 1 train.py", {}, Place(1, is_node=True)),
        ("mpirun python train.py", {"OMPI_COMM_WORLD_RANK": "5"}, Place(5)),
        ("torchrun --node_rank", {}, Place()),
    ],
)
def test_the_place_is_known_from_environment_and_words(line: str, environment: dict[str, str], place: Place) -> None:
    assert place_of(shlex.split(line), environment) == place


JOB = {"SLURM_JOB_ID": "4242"}


def test_a_requeued_job_is_the_same_run(tmp_path: Path) -> None:
    """At its first start as well, when nobody knows yet that there will be a second."""
    first = job_run_id(["python", "train.py"], "vision", JOB, folder=tmp_path)

    assert first is not None
    assert first.startswith("slurm-4242-")
    again = [JOB | {"SLURM_RESTART_COUNT": str(count)} for count in (1, 2)]
    assert [job_run_id(["python", "train.py"], "vision", each, folder=tmp_path) for each in again] == [first, first]


def test_a_task_of_an_array_is_a_run_of_its_own(tmp_path: Path) -> None:
    tasks = [{"SLURM_JOB_ID": f"50{n}", "SLURM_ARRAY_JOB_ID": "42", "SLURM_ARRAY_TASK_ID": str(n)} for n in (1, 2)]
    one, two = (job_run_id(["python", "train.py"], "vision", task, folder=tmp_path) for task in tasks)

    assert one is not None
    assert (one.rpartition("-")[0], one != two) == ("slurm-42_1", True)
    requeued = tasks[0] | {"SLURM_JOB_ID": "507", "SLURM_RESTART_COUNT": "1"}
    assert job_run_id(["python", "train.py"], "vision", requeued, folder=tmp_path) == one


def test_what_a_job_runs_several_times_are_several_runs(tmp_path: Path) -> None:
    """As with `SEED=$s notifybot run -- python train.py`: the words are the same. After a requeue each is found."""

    def three(environment: dict[str, str]) -> list[str | None]:
        return [job_run_id(["python", "train.py"], "vision", environment, folder=tmp_path) for _ in range(3)]

    first = three(JOB)

    assert len(set(first)) == 3
    assert three(JOB | {"SLURM_RESTART_COUNT": "1"}) == first


@pytest.mark.parametrize(
    "other",
    [
        {"command": ["python", "train.py", "--fold", "2"]},
        {"project": "audio"},
        {"environment": JOB | {"SLURM_CLUSTER_NAME": "alps"}},
        {"environment": JOB | {"SLURM_PROCID": "1"}, "each": True},
    ],
)
def test_another_command_of_the_job_is_another_run(other: dict[str, object], tmp_path: Path) -> None:
    usual: dict[str, object] = {"command": ["python", "train.py"], "project": "vision", "environment": JOB}
    ids = {job_run_id(**{**usual, **each}, folder=tmp_path) for each in ({}, other)}  # type: ignore[arg-type]

    assert len(ids) == 2


@pytest.mark.parametrize("environment", [{}, {"SLURM_JOB_ID": ""}, {"SLURM_JOB_ID": "a/b"}])
def test_outside_of_a_job_there_is_no_such_run(environment: dict[str, str], tmp_path: Path) -> None:
    assert job_run_id(["true"], "vision", environment, folder=tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_where_no_file_can_be_made_the_run_is_a_new_one(tmp_path: Path) -> None:
    assert job_run_id(["true"], "vision", JOB, folder=tmp_path / "gone") is None
    assert alerts_first(JOB, folder=tmp_path / "gone")


def test_of_the_ranks_of_a_machine_one_alerts(tmp_path: Path) -> None:
    step = JOB | {"SLURM_STEP_ID": "0"}

    assert [alerts_first(step, folder=tmp_path) for _ in range(3)] == [True, False, False]
    assert alerts_first(JOB | {"SLURM_STEP_ID": "1"}, folder=tmp_path)
    assert alerts_first(step | {"SLURM_RESTART_COUNT": "1"}, folder=tmp_path)
    assert [alerts_first({}, folder=tmp_path) for _ in range(2)] == [True, True]
