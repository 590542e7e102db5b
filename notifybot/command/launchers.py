"""Launchers of many processes, as a command's wrapper meets them: which one speaks, and which run a requeued job is.

Of wrappers on several nodes or ranks, that of node 0 or rank 0 speaks; the others report a failure alone. A SLURM job
that is requeued keeps its number, and with it the run (https://slurm.schedmd.com/sbatch.html, SLURM_RESTART_COUNT).
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from notifybot.redaction import fingerprint
from notifybot.runtime import rank

_NODES = ("NODE_RANK", "GROUP_RANK")
_FLAG = re.compile(r"--(?:node|machine)[-_]rank(?:=(\d+))?")  # torchrun, DeepSpeed; accelerate
_MOST_STARTS = 1000  # of one command within one job


@dataclass(frozen=True, slots=True)
class Place:
    """Number of this wrapper among several: of its node, or of its rank. Number 0 speaks."""

    number: int = 0
    is_node: bool = False


def place_of(command: Sequence[str], environment: Mapping[str, str]) -> Place:
    """Return this wrapper's place, by the environment and the words of the command."""
    nodes = [int(value) for name in _NODES if (value := environment.get(name, "").strip()).isdecimal()]
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if (found := _FLAG.fullmatch(word)) is not None and (value := found[1] or following).isdecimal():
            nodes.append(int(value))
    node = max(nodes, default=0)
    return Place(node, is_node=True) if node else Place(rank(environment))


def job_run_id(
    command: Sequence[str],
    project: str,
    environment: Mapping[str, str],
    *,
    each: bool = False,
    folder: Path | None = None,
) -> str | None:
    """Return the id that a command's run has at each start of its SLURM job; None outside of one.

    A job may run one command several times, as for three seeds in the environment: each is a run of its own, told
    apart by its turn. With `each`, ranks have runs of their own. A turn is taken by an empty file in `folder`, by
    default that of temporary files; where none can be made, there is no such id.
    """
    job = _job(environment)
    if job is None:
        return None
    step, cluster = environment.get("SLURM_STEP_ID", ""), environment.get("SLURM_CLUSTER_NAME", "")
    own = f"rank {rank(environment)}" if each else ""
    of_command = fingerprint(cluster, job, step, own, project, *command)
    turn = _turn(f"{of_command}-{environment.get('SLURM_RESTART_COUNT', '').strip() or 0}", folder)
    return None if turn is None else f"slurm-{job}-{fingerprint(of_command, str(turn))}"


def alerts_first(environment: Mapping[str, str], *, folder: Path | None = None) -> bool:
    """False where another wrapper of this SLURM step has alerted on this machine: eight ranks fail of one mistake."""
    job = _job(environment)
    if job is None:
        return True
    restarts, step = environment.get("SLURM_RESTART_COUNT", ""), environment.get("SLURM_STEP_ID", "")
    return _turn(f"failed-{fingerprint(job, step, restarts)}", folder) in (0, None)


def _job(environment: Mapping[str, str]) -> str | None:
    """The job's number, as `12345`, or `12345_7` of an array."""
    array = environment.get("SLURM_ARRAY_JOB_ID", ""), environment.get("SLURM_ARRAY_TASK_ID", "")
    job = "_".join(array) if all(array) else environment.get("SLURM_JOB_ID", "")
    return job if re.fullmatch(r"\d+(?:_\d+)?", job) else None


def _turn(of: str, folder: Path | None) -> int | None:
    """Take the next turn; None where all are taken, or no file can be made."""
    place = folder or Path(tempfile.gettempdir())
    user = os.getuid() if hasattr(os, "getuid") else 0
    with suppress(OSError):
        for turn in range(_MOST_STARTS):
            with suppress(FileExistsError):
                path = place / f"notifybot-{user}-{of}-{turn}"
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                return turn
    return None
