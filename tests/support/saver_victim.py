"""A process that saves, copies and prunes until it is killed. Forks one child a round, so that a round is cheap.

Run as `python -m tests.support.saver_victim FOLDER ROUNDS SEED`. A child acknowledges a checkpoint by a line
"tier sequence" in `acknowledged` after the call returned. The parent kills each with SIGKILL at a random moment and
judges what is there as the next start would find it; it exits with an AssertionError at the first wrong load.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import BinaryIO

from notifybot.checkpoints.directory import CheckpointDirectory
from notifybot.checkpoints.manifest import Manifest
from notifybot.checkpoints.retention import Retention
from tests.support.checkpoint_disks import content, manifest, save

TIERS = ("near", "far")
RULE = Retention(keep_last=2, keep_best=1, monitor="loss")
_POOL = content(0, 4_000_000)


def expected(sequence: int) -> bytes:
    """The content of the checkpoint with this number: up to 3 MB, from a pool, as making it must cost nothing."""
    size_bytes = (sequence * 7919) % 3_000_000
    return sequence.to_bytes(8, "big") + _POOL[sequence % 1000 : sequence % 1000 + size_bytes]


def _save(shelf: CheckpointDirectory, sequence: int) -> Manifest:
    data = expected(sequence)

    def fill(file: BinaryIO) -> None:
        for start in range(0, len(data), 300_000):
            file.write(data[start : start + 300_000])

    def describe(file: str, sha256: str, size_bytes: int) -> Manifest:
        loss = {"loss": (sequence * 31) % 17 / 17}
        return manifest(sequence, file=file, sha256=sha256, size_bytes=size_bytes, metrics=loss)

    return shelf.write(f"checkpoint_epoch{sequence // 4}", fill, describe)  # names are wanted again and again


def work(folder: Path) -> None:
    """Save for ever, as a run does that has just been started again."""
    near, far = (CheckpointDirectory(folder / tier, empty_first=tier == "far") for tier in TIERS)
    for shelf in (near, far):
        shelf.sweep()
    acknowledged = os.open(folder / "acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    sequence = max((each.sequence for shelf in (near, far) for each in shelf.manifests()), default=0)
    while True:
        sequence += 1
        saved = _save(near, sequence)
        os.write(acknowledged, f"near {sequence}\n".encode())
        near.prune(RULE)
        far.copy(near.folder / saved.file, saved)
        os.write(acknowledged, f"far {sequence}\n".encode())
        far.prune(RULE)


def judge(folder: Path) -> None:
    """Whatever the kill has left: the newest is right, not older than acknowledged, and nothing is passed over."""
    last = dict.fromkeys(TIERS, 0)
    path = folder / "acknowledged"
    for line in path.read_text().splitlines() if path.exists() else ():
        tier, number = line.split()
        last[tier] = int(number)
    for tier in TIERS:
        shelf = CheckpointDirectory(folder / tier)
        found, passed_over = shelf.newest_verified("run-1")
        assert passed_over == [], passed_over
        assert (found.sequence if found else 0) >= last[tier], (tier, found, last)
        if found is not None:
            assert (folder / tier / found.file).read_bytes() == expected(found.sequence), (tier, found)


def judge_the_rest(folder: Path) -> None:
    """After the last start has swept: every checkpoint is whole, and there is nothing else."""
    for tier in TIERS:
        shelf = CheckpointDirectory(folder / tier)
        shelf.sweep()
        for each in shelf.manifests():
            shelf.verify(each)
        listed = {name for each in shelf.manifests() for name in (each.file, f"{each.file}.json")}
        assert {path.name for path in shelf.folder.iterdir()} == listed


def save_thirty(folder: str, session: str) -> None:
    """Save thirty checkpoints, and clear up after each what another process might have left."""
    shelf = CheckpointDirectory(Path(folder))
    for number in range(30):
        save(shelf, number, session=session)
        shelf.sweep()


def _wait_for_growth(path: Path) -> None:
    """However slow the machine: the child has acknowledged a checkpoint."""
    before = path.stat().st_size if path.exists() else 0
    for _ in range(20_000):
        if path.exists() and path.stat().st_size > before:
            return
        time.sleep(0.001)
    raise TimeoutError("the child acknowledged nothing in twenty seconds")


def main(folder: Path, rounds: int, seed: int) -> None:
    """Kill `rounds` children."""
    rng = random.Random(seed)
    for number in range(rounds):
        child = os.fork()
        if child == 0:
            work(folder)
        if number % 4:  # one in four may die before it has saved anything
            _wait_for_growth(folder / "acknowledged")
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        judge(folder)
    judge_the_rest(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
