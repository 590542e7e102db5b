"""The mirror of a run's folder: whole files or none, only what changed, nothing followed and nothing removed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from notifybot.checkpoints.run_folder import NAME, Mirror, RunFile, read_card, restore


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder as the trackers leave it."""
    folder = tmp_path / "run"
    (folder / "wandb" / "offline-run-1" / "logs").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("{}\n")
    (folder / ".wandb.mark").write_text("e1")
    (folder / "events.out.tfevents.1").write_bytes(b"abc")
    (folder / "wandb" / "offline-run-1" / "run-1.wandb").write_bytes(b":W&B")
    (folder / "wandb" / "offline-run-1" / "logs" / "debug.log").write_text("talk")
    (folder / "wandb" / "latest-run").symlink_to("offline-run-1")
    return folder


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    return tmp_path / "drive" / "exp_1" / "runs"


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def identities(folder: Path) -> dict[str, int]:
    """Which file lies under each name: one that was replaced is another."""
    return {name: (folder / name).stat().st_ino for name in files(folder)}


@contextmanager
def files_may_have(limit_bytes: int) -> Iterator[None]:
    """A file system on which writing fails beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_a_new_machine_needs_is_copied(run: Path, drive: Path) -> None:
    """Numbers and marks; neither links nor W&B's own logs."""
    assert Mirror(run, drive).copy() == []

    wanted = [".wandb.mark", "events.out.tfevents.1", "metrics.jsonl", "wandb/offline-run-1/run-1.wandb"]
    assert wanted == sorted(files(drive))
    assert {name: files(run)[name] for name in wanted} == files(drive)


def test_only_what_changed_is_copied_again(run: Path, drive: Path) -> None:
    """Drive uploads a file whole for every change."""
    mirror = Mirror(run, drive)
    mirror.copy()
    before = identities(drive)

    with (run / "metrics.jsonl").open("a") as file:
        file.write("{}\n")
    mirror.copy()

    after = identities(drive)
    assert {name for name in after if after[name] != before[name]} == {"metrics.jsonl"}
    assert (drive / "metrics.jsonl").read_text() == "{}\n{}\n"


def test_what_was_copied_back_is_not_copied_once_more(run: Path, drive: Path, tmp_path: Path) -> None:
    """The next machine finds it there already."""
    Mirror(run, drive).copy()
    before = identities(drive)
    restore(drive, tmp_path / "next")

    Mirror(tmp_path / "next", drive).copy()

    assert before == identities(drive)


def test_a_file_that_became_shorter_is_shorter_there_too(run: Path, drive: Path) -> None:
    """Void epochs are taken out of the JSON lines when a run is resumed."""
    mirror = Mirror(run, drive)
    mirror.copy()

    (run / "metrics.jsonl").write_text("")
    mirror.copy()

    assert (drive / "metrics.jsonl").read_text() == ""


def test_a_file_over_the_limit_is_named_once(run: Path, drive: Path) -> None:
    """Whoever logs gigabytes of images learns that they stay here; the numbers travel."""
    mirror = Mirror(run, drive, limit_bytes=4)
    (run / "events.out.tfevents.1").write_bytes(b"12345")

    (problem,) = mirror.copy()

    assert problem.startswith("events.out.tfevents.1: larger than 4 bytes")
    assert mirror.copy() == []
    assert "metrics.jsonl" in files(drive)
    assert "events.out.tfevents.1" not in files(drive)


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_copied(
    run: Path, drive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bad file must not cost the rest."""
    really_open = os.open

    def broken(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if Path(path) == run / "events.out.tfevents.1":
            raise PermissionError(13, "Permission denied")
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", broken)

    assert Mirror(run, drive).copy() == ["events.out.tfevents.1: Permission denied"]
    assert "metrics.jsonl" in files(drive)


def test_a_full_folder_is_an_error_that_leaves_the_last_copy_whole(run: Path, drive: Path) -> None:
    """And no half of a file beside it. What was copied before the failure counts; the next call goes on."""
    mirror = Mirror(run, drive)
    mirror.copy()
    (run / "events.out.tfevents.1").write_bytes(b"x" * 10_000)
    (run / ".wandb.mark").write_text("e2")

    with files_may_have(5_000), pytest.raises(OSError):
        mirror.copy()
    between = files(drive)
    mirror.copy()

    assert (between["events.out.tfevents.1"], between[".wandb.mark"]) == (b"abc", b"e2")
    assert sorted(between) == sorted(files(drive))
    assert files(drive)["events.out.tfevents.1"] == b"x" * 10_000


def test_a_folder_that_is_gone_is_an_error(run: Path, tmp_path: Path) -> None:
    """A mount that has died must not look like an empty one."""
    (tmp_path / "file").touch()

    with pytest.raises(OSError):
        Mirror(run, tmp_path / "file" / "runs").copy()
    with pytest.raises(OSError):
        restore(tmp_path / "file" / "runs", run)


def test_marks_are_never_younger_than_the_files_they_speak_of(run: Path, drive: Path) -> None:
    """A mark copied late would claim epochs that the copied files lack; JSON lines come last, to make good from."""
    (run / "a-file-that-fails").write_bytes(b"x" * 10_000)

    with files_may_have(5_000), pytest.raises(OSError):
        Mirror(run, drive).copy()

    assert list(files(drive)) == [".wandb.mark"]


def test_links_are_not_followed_in_either_direction(run: Path, drive: Path, tmp_path: Path) -> None:
    """A link in a shared folder may point anywhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("canary")
    (run / "link").symlink_to(outside / "secret")
    (run / "folder").symlink_to(outside)
    Mirror(run, drive).copy()
    (drive / "planted").symlink_to(outside / "secret")

    restore(drive, tmp_path / "next")

    assert sorted(files(drive)) == sorted([*files(tmp_path / "next"), "planted"])
    assert not any(b"canary" in content for content in files(tmp_path / "next").values())


def test_a_copy_inside_the_runs_folder_does_not_copy_itself(run: Path) -> None:
    """It would grow with every call."""
    mirror = Mirror(run, run / "copy")

    mirror.copy()
    mirror.copy()

    assert not (run / "copy" / "copy").exists()


def test_what_is_missing_or_torn_is_copied_back(run: Path, drive: Path, tmp_path: Path) -> None:
    """The machine that wrote it is gone, or was killed while it did."""
    Mirror(run, drive).copy()
    here = tmp_path / "here"
    here.mkdir()
    (here / "events.out.tfevents.1").write_bytes(b"ab")
    (here / "metrics.jsonl").write_text("{}\n")

    names = restore(drive, here)

    assert names == [".wandb.mark", "events.out.tfevents.1", "wandb/offline-run-1/run-1.wandb"]
    assert files(here)["events.out.tfevents.1"] == b"abc"
    assert restore(drive, here) == []


def test_where_the_run_went_on_elsewhere_its_lines_and_marks_are_taken(run: Path, drive: Path, tmp_path: Path) -> None:
    """A machine that comes back knows an older story; a file that is not ours keeps its content."""
    (run / "notes.txt").write_text("elsewhere")
    Mirror(run, drive).copy()
    here = tmp_path / "here"
    here.mkdir()
    (here / "metrics.jsonl").write_text('{"old": 1}\n{"old": 2}\n')
    (here / ".wandb.mark").write_text("e0")
    (here / "notes.txt").write_text("here")

    restore(drive, here)

    assert (files(here)["metrics.jsonl"], files(here)[".wandb.mark"], files(here)["notes.txt"]) == (
        b"{}\n",
        b"e1",
        b"here",
    )


def test_a_longer_file_here_is_kept(run: Path, drive: Path) -> None:
    """The same machine knows more than its copy."""
    Mirror(run, drive).copy()
    (run / "events.out.tfevents.1").write_bytes(b"abcd")

    assert restore(drive, run) == []
    assert (run / "events.out.tfevents.1").read_bytes() == b"abcd"


def test_nothing_is_copied_back_from_a_folder_that_was_never_made(run: Path, drive: Path) -> None:
    """The very first start of a run finds no copy."""
    assert restore(drive, run) == []


def test_the_mirror_needs_no_torch() -> None:
    """It runs wherever a run does."""
    code = "import sys, notifybot.checkpoints.run_folder; print({'torch', 'wandb', 'tensorboard'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "set()"


def test_a_card_that_somebody_edited_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """What has another type is left out; a card without a run's id is none."""
    (tmp_path / NAME).write_text('{"run_id": "r", "attempt": "two", "memories": [], "later": 1}')
    assert read_card(tmp_path) == RunFile("r")
    (tmp_path / NAME).write_text('{"run_id": 5}')
    assert read_card(tmp_path) is None
    (tmp_path / NAME).write_text("{")
    assert read_card(tmp_path) is None
