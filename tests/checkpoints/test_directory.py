"""A shelf: what is saved can be proven, what is damaged is passed over, what is somebody else's is left alone."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from notifybot.checkpoints.directory import CheckpointDirectory
from notifybot.checkpoints.retention import Retention
from notifybot.errors import CheckpointError, UsageError
from notifybot.rendering.error_text import reason_line
from notifybot.testing import FakeClock
from notifybot.types import Language, Reason
from tests.support.checkpoint_disks import (
    content,
    entries,
    loads_right,
    manifest,
    orphan,
    save,
    save_sharded,
    spoil,
    untouched,
)


def said(reasons: list[Reason]) -> list[str]:
    return [reason_line(each, Language.EN) for each in reasons]


@pytest.fixture
def shelf(tmp_path: Path) -> CheckpointDirectory:
    return CheckpointDirectory(tmp_path / "shelf")


# ── Saving ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_saved_checkpoint_is_a_payload_and_its_manifest_and_nothing_else(shelf: CheckpointDirectory) -> None:
    saved = save(shelf, 1)

    assert entries(shelf.folder) == {"epoch1.pt", "epoch1.pt.json"}
    assert shelf.manifests() == [saved]
    assert loads_right(shelf, saved)
    shelf.verify(saved)


def test_only_the_owner_can_read_what_is_saved(shelf: CheckpointDirectory) -> None:
    saved = save(shelf, 1)

    modes = {oct(path.stat().st_mode & 0o777) for path in (shelf.folder, shelf.folder / saved.file)}

    assert modes == {"0o700", "0o600"}


def test_a_name_that_is_taken_gets_a_number(shelf: CheckpointDirectory) -> None:
    """By a checkpoint, by a file of somebody else, or by a manifest alone: nothing is ever written over."""
    shelf.folder.mkdir()
    (shelf.folder / "best.pt").write_text("mine")
    (shelf.folder / "best-2.pt.json").write_text("mine too")
    (shelf.folder / "best-3.pt").symlink_to("nowhere")

    names = [save(shelf, number, stem="best").file for number in (1, 2)]

    assert names == ["best-4.pt", "best-5.pt"]
    assert (shelf.folder / "best.pt").read_text() == "mine"
    assert all(loads_right(shelf, each) for each in shelf.manifests())


def test_nothing_is_left_behind_when_the_filling_fails(shelf: CheckpointDirectory) -> None:
    save(shelf, 1)

    def fill(file: object) -> None:
        raise RuntimeError("cannot pickle")

    with untouched(shelf.folder), pytest.raises(RuntimeError, match="cannot pickle"):
        shelf.write("epoch2", fill, lambda *_: manifest(2))


@pytest.mark.parametrize("stem", ["../epoch1", "a/b", ".hidden", "", "\0", "x" * 300])
def test_a_stem_that_is_no_plain_name_is_refused(shelf: CheckpointDirectory, stem: str) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        shelf.write(stem, lambda file: None, lambda *_: manifest(1))

    assert entries(shelf.folder) == set()


def test_a_manifest_of_another_file_is_refused(shelf: CheckpointDirectory) -> None:
    with pytest.raises(UsageError, match="says that it is one of epoch9"):
        shelf.write("epoch1", lambda file: None, lambda *_: manifest(9))

    assert entries(shelf.folder) == set()


# ── Reading the folder ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_that_is_not_there_is_empty(shelf: CheckpointDirectory) -> None:
    """It is how a first start finds it."""
    assert shelf.manifests() == []
    assert shelf.newest_verified("run-1") == (None, [])
    assert shelf.prune(Retention()) == []
    assert shelf.sweep() == []


def test_newest_is_decided_by_session_and_sequence_whatever_the_files_say(shelf: CheckpointDirectory) -> None:
    """A superseded machine may count further than its successor, and times on a mount are anybody's guess."""
    for number, session in ((3, "s1"), (9, "s1"), (4, "s2")):
        saved = save(shelf, number, session=session)
        os.utime(shelf.folder / saved.file, (number, number))

    assert [each.sequence for each in shelf.manifests()] == [4, 9, 3]


def test_runs_share_a_folder_without_seeing_each_other(shelf: CheckpointDirectory) -> None:
    save(shelf, 1, run_id="run-1", stem="a")
    save(shelf, 5, run_id="run-2", stem="b")

    found, passed_over = shelf.newest_verified("run-1")

    assert found is not None
    assert (found.file, passed_over) == ("a.pt", [])
    assert shelf.manifests("run-3") == []


def test_a_damaged_checkpoint_is_passed_over_and_named(shelf: CheckpointDirectory) -> None:
    first, second, third = (save(shelf, number) for number in (1, 2, 3))
    with (shelf.folder / third.file).open("r+b") as file:
        file.write(b"x")
    (shelf.folder / second.file).unlink()

    found, passed_over = shelf.newest_verified("run-1")

    assert found == first
    assert said(passed_over) == [
        "epoch3.pt: it has another content than was saved (its hash differs)",
        "epoch2.pt: it is missing",
    ]


def test_manifests_that_cannot_be_read_are_told_and_passed_over(shelf: CheckpointDirectory) -> None:
    whole = save(shelf, 1)
    (shelf.folder / "torn.pt.json").write_text('{"file": "torn.pt"')
    (shelf.folder / "other.pt.json").write_text("{}")
    (shelf.folder / "moved.pt.json").write_bytes((shelf.folder / "epoch1.pt.json").read_bytes())
    (shelf.folder / "folder.pt.json").mkdir()
    (shelf.folder / "link.pt.json").symlink_to(shelf.folder / "epoch1.pt.json")
    os.mkfifo(shelf.folder / "pipe.pt.json")

    assert shelf.newest_verified("run-1") == (whole, shelf.oddities)
    assert said(shelf.oddities) == [
        "folder.pt.json: not a regular file",
        "link.pt.json: Too many levels of symbolic links",
        "moved.pt.json: it is the manifest of epoch1.pt",
        "other.pt.json: not a manifest of notifybot",
        "pipe.pt.json: not a regular file",
        "torn.pt.json: no readable JSON",
    ]


def test_files_of_others_are_not_looked_at(shelf: CheckpointDirectory) -> None:
    """The run's card, a configuration, a folder of logs: no oddities, as they were never ours."""
    save(shelf, 1)
    (shelf.folder / "notifybot-run.json").write_text("not json")
    (shelf.folder / "config.json").write_text("[]")
    (shelf.folder / "alone.pt").write_text("weights")
    (shelf.folder / "runs").mkdir()

    assert len(shelf.manifests()) == 1
    assert shelf.oddities == []


def test_a_payload_behind_a_link_proves_nothing(shelf: CheckpointDirectory) -> None:
    saved = save(shelf, 1)
    (shelf.folder / saved.file).rename(shelf.folder / "elsewhere")
    (shelf.folder / saved.file).symlink_to("elsewhere")

    with pytest.raises(CheckpointError, match=r"epoch1\.pt: it is not a regular file"):
        shelf.verify(saved)


# ── The second tier ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_copy_is_a_checkpoint_of_its_own(shelf: CheckpointDirectory, tmp_path: Path) -> None:
    saved = save(shelf, 1)
    far = CheckpointDirectory(tmp_path / "far")

    copied = far.copy(shelf.folder / saved.file, saved)

    assert copied == saved
    assert far.newest_verified("run-1") == (saved, [])
    assert entries(far.folder) == entries(shelf.folder)
    assert loads_right(far, copied)


def test_copying_again_changes_nothing_but_a_damaged_copy_is_made_good(
    shelf: CheckpointDirectory, tmp_path: Path
) -> None:
    saved = save(shelf, 1)
    far = CheckpointDirectory(tmp_path / "far")
    far.copy(shelf.folder / saved.file, saved)
    with untouched(far.folder):
        far.copy(shelf.folder / saved.file, saved)
    (far.folder / saved.file).write_bytes(b"")

    again = far.copy(shelf.folder / saved.file, saved)

    assert again.file == "epoch1-2.pt"
    assert far.newest_verified("run-1")[0] == again
    assert loads_right(far, again)


def test_a_source_that_has_changed_is_not_copied(shelf: CheckpointDirectory, tmp_path: Path) -> None:
    saved = save(shelf, 1)
    (shelf.folder / saved.file).write_bytes(content(2))
    far = CheckpointDirectory(tmp_path / "far")

    with pytest.raises(CheckpointError, match="changed since it was saved"):
        far.copy(shelf.folder / saved.file, saved)

    assert entries(far.folder) == set()


# ── Removing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pruning_removes_payload_and_manifest_of_what_the_rule_does_not_keep(shelf: CheckpointDirectory) -> None:
    for number in range(1, 6):
        save(shelf, number, metrics={"loss": abs(number - 2)})

    removed = shelf.prune(Retention(keep_last=2, keep_best=1, monitor="loss"))

    assert removed == ["epoch1.pt", "epoch3.pt"]
    assert [each.sequence for each in shelf.manifests()] == [5, 4, 2]
    assert len(entries(shelf.folder)) == 6


def test_two_that_are_verified_stay_whatever_the_rule_says(shelf: CheckpointDirectory) -> None:
    """And so does what is not as it was saved: nobody knows what it is."""
    for number in range(1, 6):
        save(shelf, number)
    for number in (4, 5):
        spoil(shelf.folder / f"epoch{number}.pt")

    removed = CheckpointDirectory(shelf.folder).prune(Retention(keep_last=1, keep_best=0))

    assert removed == ["epoch1.pt"]
    assert [each.sequence for each in shelf.manifests()] == [5, 4, 3, 2]


def test_nothing_is_removed_while_fewer_than_two_are_verified(shelf: CheckpointDirectory) -> None:
    for number in range(1, 4):
        save(shelf, number)
    for number in (1, 3):
        spoil(shelf.folder / f"epoch{number}.pt")

    with untouched(shelf.folder):
        assert CheckpointDirectory(shelf.folder).prune(Retention(keep_last=0, keep_best=0)) == []


def test_damage_after_the_proof_is_noticed_before_anything_is_removed(shelf: CheckpointDirectory) -> None:
    """What was proven when it was saved is proven again where the folder says that it has changed."""
    for number in range(1, 4):
        save(shelf, number)
    spoil(shelf.folder / "epoch3.pt")

    assert shelf.prune(Retention(keep_last=2, keep_best=0)) == []


def test_only_what_a_manifest_lists_is_removed(shelf: CheckpointDirectory, tmp_path: Path) -> None:
    """Not a file without a manifest, not one in another's place, not a link and what it points to, no other run's."""
    for number in range(1, 7):
        save(shelf, number)
    save(shelf, 1, run_id="run-2", stem="theirs")
    (shelf.folder / "epoch0.pt").write_text("no manifest")
    (shelf.folder / "epoch1.pt").write_text("of another size")
    (shelf.folder / "epoch2.pt").rename(tmp_path / "kept")
    (shelf.folder / "epoch2.pt").symlink_to(tmp_path / "kept")
    (shelf.folder / "epoch3.pt").unlink()

    removed = shelf.prune(Retention(keep_last=2, keep_best=0), "run-1")

    assert removed == ["epoch4.pt"]
    assert (tmp_path / "kept").read_bytes() == content(2)
    assert entries(shelf.folder) >= {"epoch0.pt", "epoch1.pt", "epoch2.pt", "theirs.pt", "epoch1.pt.json"}


def test_a_manifest_cannot_point_out_of_its_folder(shelf: CheckpointDirectory, tmp_path: Path) -> None:
    """Whoever can write into the folder cannot have files elsewhere removed."""
    victim = tmp_path / "victim.pt"
    victim.write_bytes(b"x")
    for number in range(1, 4):
        save(shelf, number)
    hostile = manifest(0, file="../victim.pt", size_bytes=1)
    (shelf.folder / "victim.pt.json").write_text(hostile.to_json())

    shelf.prune(Retention(keep_last=1, keep_best=0))

    assert victim.exists()
    assert said(shelf.oddities) == ["victim.pt.json: it names a file outside its folder: '../victim.pt'"]


def test_files_are_emptied_before_removal_where_a_bin_would_keep_them(tmp_path: Path) -> None:
    """Seen through a descriptor that was open before; a file with a second name is not emptied, it lives on there."""
    shelf = CheckpointDirectory(tmp_path / "drive", empty_first=True)
    for number in range(1, 5):
        save(shelf, number)
    (tmp_path / "backup.pt").hardlink_to(shelf.folder / "epoch1.pt")

    with (shelf.folder / "epoch2.pt").open("rb") as watched:
        removed = shelf.prune(Retention(keep_last=2, keep_best=0))

        assert removed == ["epoch1.pt", "epoch2.pt"]
        assert os.fstat(watched.fileno()).st_size == 0
    assert (tmp_path / "backup.pt").read_bytes() == content(1)


# ── What was cut short ───────────────────────────────────────────────────────────────────────────────────────────────


def _temporary(shelf: CheckpointDirectory, purpose: str, data: bytes | str) -> Path:
    """A temporary of a process that is gone."""
    path = shelf.stage()
    path.rmdir()
    path = path.with_suffix(f".{purpose}")
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    orphan(shelf.folder)
    (found,) = (each for each in shelf.folder.iterdir() if each.name.startswith(".notifybot-"))
    return found


def test_a_half_written_payload_is_swept(shelf: CheckpointDirectory) -> None:
    save(shelf, 1)
    left = _temporary(shelf, "payload", b"half")

    with_it = entries(shelf.folder)

    assert shelf.sweep() == [left.name]
    assert entries(shelf.folder) == with_it - {left.name}


def test_what_a_living_process_works_on_is_not_swept(shelf: CheckpointDirectory) -> None:
    staged = shelf.stage()

    assert shelf.sweep() == []
    assert staged.is_dir()


def test_what_another_machine_works_on_is_swept_when_it_is_old(tmp_path: Path) -> None:
    """From here nobody can see whether a process there lives."""
    clock = FakeClock()
    shelf = CheckpointDirectory(tmp_path, clock=clock)
    foreign = tmp_path / ".notifybot-00000000-1-1-00000000.payload"
    foreign.write_bytes(b"half")
    os.utime(foreign, (clock.now().timestamp(),) * 2)

    clock.advance(timedelta(minutes=59).total_seconds())
    assert shelf.sweep() == []

    clock.advance(timedelta(minutes=2).total_seconds())
    assert shelf.sweep() == [foreign.name]


def test_a_save_that_only_wanted_its_last_rename_is_finished(shelf: CheckpointDirectory) -> None:
    saved = save(shelf, 1)
    text = (shelf.folder / "epoch1.pt.json").read_bytes()
    (shelf.folder / "epoch1.pt.json").unlink()
    _temporary(shelf, "manifest", text)

    assert shelf.manifests() == []
    shelf.sweep()

    assert shelf.newest_verified("run-1") == (saved, [])
    assert entries(shelf.folder) == {"epoch1.pt", "epoch1.pt.json"}


def test_a_name_that_was_only_claimed_is_free_again(shelf: CheckpointDirectory) -> None:
    save(shelf, 1)
    _temporary(shelf, "manifest", manifest(2, size_bytes=5).to_json())
    (shelf.folder / "epoch2.pt").touch()

    shelf.sweep()

    assert entries(shelf.folder) == {"epoch1.pt", "epoch1.pt.json"}


@pytest.mark.parametrize("emptied", [False, True], ids=["whole", "emptied"])
def test_a_removal_that_was_cut_short_is_finished(shelf: CheckpointDirectory, emptied: bool) -> None:
    save(shelf, 1)
    listing = (shelf.folder / "epoch1.pt.json").read_bytes()
    (shelf.folder / "epoch1.pt.json").unlink()
    _temporary(shelf, "removed", listing)
    if emptied:
        (shelf.folder / "epoch1.pt").write_bytes(b"")

    shelf.sweep()

    assert entries(shelf.folder) == set()


def test_finishing_a_removal_spares_what_has_taken_the_name(shelf: CheckpointDirectory) -> None:
    """A payload of somebody else, or another checkpoint with a manifest of its own."""
    save(shelf, 1)
    old = (shelf.folder / "epoch1.pt.json").read_bytes()
    (shelf.folder / "epoch1.pt.json").unlink()
    (shelf.folder / "epoch1.pt").write_bytes(content(77))
    _temporary(shelf, "removed", old)

    shelf.sweep()

    assert (shelf.folder / "epoch1.pt").read_bytes() == content(77)


def test_names_that_only_look_like_ours_are_not_swept(shelf: CheckpointDirectory) -> None:
    shelf.folder.mkdir()
    for name in (".notifybot-x.payload", ".notifybot-00000000-1-1-00000000.txt", "epoch1.pt.tmp"):
        (shelf.folder / name).write_text("mine")

    with untouched(shelf.folder):
        assert shelf.sweep() == []


# ── Several files ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sharded_checkpoint_is_a_folder_proven_part_by_part(shelf: CheckpointDirectory) -> None:
    saved = save_sharded(shelf, 1)

    assert (saved.kind, saved.file, len(saved.parts)) == ("sharded", "epoch1.sharded", 3)
    assert entries(shelf.folder) == {"epoch1.sharded", "epoch1.sharded.json"}
    assert shelf.newest_verified("run-1") == (saved, [])
    assert loads_right(shelf, saved)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda part: part.unlink(), "__1_0.distcp is missing"),
        (lambda part: part.write_bytes(b""), "__1_0.distcp has 0 bytes instead of 13333"),
        (lambda part: part.write_bytes(bytes(13333)), "__1_0.distcp has another content"),
    ],
    ids=["missing", "empty", "changed"],
)
def test_a_damaged_part_is_named(shelf: CheckpointDirectory, damage: object, what: str) -> None:
    earlier = save(shelf, 1)
    saved = save_sharded(shelf, 2)
    damage(shelf.folder / saved.file / "__1_0.distcp")  # type: ignore[operator]

    found, passed_over = shelf.newest_verified("run-1")

    assert found == earlier
    assert len(passed_over) == 1
    assert what in said(passed_over)[0]


def test_sharded_checkpoints_are_copied_and_pruned_like_others(shelf: CheckpointDirectory, tmp_path: Path) -> None:
    """What others have put into the folder stays, and so does the folder then."""
    far = CheckpointDirectory(tmp_path / "far", empty_first=True)
    for number in range(1, 5):
        saved = save_sharded(shelf, number)
        assert far.copy(shelf.folder / saved.file, saved) == saved
    (far.folder / "epoch1.sharded" / "notes.txt").write_text("mine")

    removed = far.prune(Retention(keep_last=2, keep_best=0))

    assert removed == ["epoch1.sharded", "epoch2.sharded"]
    assert entries(far.folder / "epoch1.sharded") == {"notes.txt"}
    assert "epoch2.sharded" not in entries(far.folder)
    assert all(loads_right(far, each) for each in far.manifests())


def test_a_linked_folder_is_neither_proven_nor_removed(shelf: CheckpointDirectory, tmp_path: Path) -> None:
    for number in range(1, 5):
        save_sharded(shelf, number)
    (shelf.folder / "epoch1.sharded").rename(tmp_path / "kept")
    (shelf.folder / "epoch1.sharded").symlink_to(tmp_path / "kept")

    removed = shelf.prune(Retention(keep_last=2, keep_best=0))

    assert removed == ["epoch2.sharded"]
    assert len(entries(tmp_path / "kept")) == 3


def test_a_staged_folder_without_parts_is_no_checkpoint(shelf: CheckpointDirectory) -> None:
    with pytest.raises(CheckpointError, match="there are no parts"):
        shelf.seal(shelf.stage(), "epoch1", lambda *_: manifest(1))

    assert entries(shelf.folder) == set()
