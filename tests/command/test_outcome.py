"""How a command ended, from its code, the signals, the kernel's counters and the last lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from notifybot.command.outcome import Kind, MemoryKills, OutOfMemory, error_in, outcome_of


@pytest.mark.parametrize(
    ("code", "received", "kind", "exit_code", "died_of"),
    [
        (0, "", Kind.FINISHED, 0, None),
        (3, "", Kind.FAILED, 3, None),
        (0, "SIGTERM", Kind.INTERRUPTED, 0, None),
        (1, "SIGINT", Kind.INTERRUPTED, 1, None),
        (-15, "", Kind.INTERRUPTED, 143, 15),
        (-2, "SIGINT", Kind.INTERRUPTED, 130, 2),
        (-9, "", Kind.KILLED, 137, None),
        (-9, "SIGTERM", Kind.INTERRUPTED, 137, None),
        (137, "", Kind.KILLED, 137, None),
        (-11, "", Kind.CRASHED, 139, None),
        (139, "", Kind.CRASHED, 139, None),
        (-10, "", Kind.INTERRUPTED, 138, None),
        (143, "", Kind.INTERRUPTED, 143, None),
        (255, "", Kind.FAILED, 255, None),
    ],
)
def test_an_exit_code_is_judged(code: int, received: str, kind: Kind, exit_code: int, died_of: int | None) -> None:
    outcome = outcome_of(code, received=received, memory=OutOfMemory.NO, lines=[])

    assert (outcome.kind, outcome.exit_code, outcome.died_of) == (kind, exit_code, died_of)


@pytest.mark.parametrize(
    ("memory", "kind"),
    [
        (OutOfMemory.YES, Kind.OUT_OF_MEMORY),
        (OutOfMemory.PERHAPS, Kind.PERHAPS_OUT_OF_MEMORY),
        (OutOfMemory.NO, Kind.KILLED),
    ],
)
def test_only_a_kill_is_put_down_to_memory(memory: OutOfMemory, kind: Kind) -> None:
    """The counter of the host grows for others, too: what ended by itself did not run out of memory."""
    assert outcome_of(-9, received="", memory=memory, lines=[]).kind is kind
    assert outcome_of(1, received="", memory=memory, lines=[]).kind is Kind.FAILED
    assert outcome_of(0, received="", memory=memory, lines=[]).kind is Kind.FINISHED


def counters(folder: Path, *, own: int | None, host: int | None, version: int = 2) -> MemoryKills:
    """Counters of a host made of files."""
    cgroups = folder / "cgroup"
    place, line = {
        2: (cgroups / "user.slice/memory.events", "0::/user.slice\n"),
        1: (cgroups / "memory/docker/abc/memory.oom_control", "3:cpu:/\n5:memory,hugetlb:/docker/abc\n"),
    }[version]
    place.parent.mkdir(parents=True, exist_ok=True)
    (folder / "own").write_text(line)
    (folder / "vmstat").write_text("nr_free_pages 7\n" + ("" if host is None else f"oom_kill {host}\n"))
    place.unlink(missing_ok=True)
    if own is not None:
        place.write_text(f"low 0\noom 9\noom_kill {own}\noom_group_kill 0\n")
    return MemoryKills.now(cgroups, folder / "own", folder / "vmstat")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((0, 0), (1, 1), OutOfMemory.YES),
        ((4, 9), (4, 10), OutOfMemory.PERHAPS),
        ((4, 9), (4, 9), OutOfMemory.NO),
        ((None, 9), (None, 10), OutOfMemory.PERHAPS),
        ((None, None), (None, None), OutOfMemory.NO),
        ((None, 3), (5, 3), OutOfMemory.NO),
    ],
)
def test_memory_is_proven_by_the_own_cgroup_alone(
    version: int,
    before: tuple[int | None, int | None],
    after: tuple[int | None, int | None],
    expected: OutOfMemory,
    tmp_path: Path,
) -> None:
    earlier = counters(tmp_path, own=before[0], host=before[1], version=version)
    later = counters(tmp_path, own=after[0], host=after[1], version=version)

    assert later.since(earlier) is expected


def test_a_host_without_counters_is_no_error(tmp_path: Path) -> None:
    assert MemoryKills.now(tmp_path, tmp_path / "none", tmp_path / "none") == MemoryKills(None, None)


PYTHON = """\
epoch 3
Traceback (most recent call last):
  File "data.py", line 3, in load
    return table["loss"]
KeyError: 'loss'
The above exception was the direct cause of the following exception:
Traceback (most recent call last):
  File "train.py", line 9, in <module>
    train()
RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB
wandb: You can sync this run
"""
TORCHRUN = """\
[rank1]: Traceback (most recent call last):
[rank1]:   File "train.py", line 9, in <module>
[rank1]:     main()
[rank1]: ValueError: bad batch
[rank0]: Traceback (most recent call last):
[rank0]:   File "train.py", line 12, in <module>
[rank0]: RuntimeError: Connection closed by peer
Traceback (most recent call last):
  File "/usr/bin/torchrun", line 8, in <module>
    sys.exit(main())
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-29_10:00:00
  rank      : 1 (local_rank: 1)
  exitcode  : 1 (pid: 4242)
"""


@pytest.mark.parametrize(
    ("printed", "error"),
    [
        (PYTHON, "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB"),
        (TORCHRUN, "rank 1: ValueError: bad batch"),
        ("[rank3]: Traceback (most recent call last):\n[rank3]:   File\n[rank3]: OSError: disk", "OSError: disk"),
        ("make: *** [train] Error 2", ""),
        ("Traceback (most recent call last):", ""),
        ("", ""),
    ],
    ids=["python", "torchrun", "a rank", "make", "cut off", "nothing"],
)
def test_the_error_is_the_one_that_came_first(printed: str, error: str) -> None:
    assert error_in(printed.splitlines()) == error


@pytest.mark.parametrize(
    ("printed", "complaint"),
    [
        ("training\nmake: *** [train] Error 2", "make: *** [train] Error 2"),
        ("srun: error: gpu07: task 3: Exited\nbye", "srun: error: gpu07: task 3: Exited"),
        ("terminate called after throwing 'c10::Error'", "terminate called after throwing 'c10::Error'"),
        ("./train.sh: line 3: python3.9: command not found", "./train.sh: line 3: python3.9: command not found"),
        ("an error, long ago\n" + "epoch 3 loss: 0.5\n" * 9, ""),
        ("epoch 3 loss: 0.5", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_an_exit_code_is_told_with_the_line_that_names_the_error(printed: str, complaint: str) -> None:
    """ "Exit code 2" says nothing on a phone."""
    found = outcome_of(2, received="", memory=OutOfMemory.NO, lines=printed.splitlines())

    assert (found.error, found.complaint) == ("", complaint)
