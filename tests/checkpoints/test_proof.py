"""What frameworks save is proven readable by its own checksums and lengths; what is cut or spoilt is found."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch import nn

from notifybot.checkpoints.errors import Flawed
from notifybot.checkpoints.external import RECORD, ExternalCheckpoints
from notifybot.checkpoints.proof import Proof, prove
from notifybot.testing import FakeClock
from notifybot.training.guard import Guard
from notifybot.types import Checkpoint, Reason, Tier

STATE = {"weight": torch.arange(400.0), "bias": torch.ones(3)}


class Evil:
    """What a file must never be able to run."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return (os.mkdir, ("ran",))


def saved(path: Path) -> Path:
    """A file as the framework of its suffix writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(STATE, path)
    elif path.suffix == ".json":
        path.write_text(json.dumps({"global_step": 8}))
    else:
        torch.save(STATE, path)
    return path


def sharded(folder: Path) -> Path:
    with contextlib.redirect_stderr(io.StringIO()), pytest.warns(UserWarning, match="single process"):
        dcp.save({"model": STATE, "step": 8}, checkpoint_id=folder)
    return folder


def reason(path: Path) -> Reason:
    with pytest.raises(Flawed) as caught:
        prove(path)
    return caught.value.reason


# ── What proves itself ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["a.ckpt", "pytorch_model.bin", "model.safetensors", "trainer_state.json"])
def test_a_whole_file_is_proven_and_every_cut_one_is_damaged(tmp_path: Path, name: str) -> None:
    """Wherever a disk was full or a machine went away, also within the archive's directory or the header."""
    path = saved(tmp_path / name)
    whole = path.read_bytes()

    assert prove(path) == Proof(True, len(whole), hashlib.sha256(whole).hexdigest())
    for length in {*range(10), *range(0, len(whole), max(len(whole) // 150, 1)), len(whole) - 1}:
        path.write_bytes(whole[:length])
        assert reason(path).code in ("cut_short", "empty", "no_json"), length


def test_a_spoilt_byte_is_found_by_its_records_checksum(tmp_path: Path) -> None:
    """A disk may return other bytes than were written; PyTorch itself would load them."""
    path = saved(tmp_path / "optimizer.pt")
    whole = bytearray(path.read_bytes())
    whole[whole.index(struct.pack("<f", 200.0))] ^= 1
    path.write_bytes(whole)

    assert reason(path) == Reason("record_differs", "optimizer.pt", {"record": "optimizer/data/0"})


def test_a_file_of_zeros_is_damaged(tmp_path: Path) -> None:
    """After a power cut a file may have its length, and nothing in it."""
    (tmp_path / "model.pt").write_bytes(bytes(4096))

    assert reason(tmp_path / "model.pt").code == "empty"


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crafted file runs nothing, in an archive, as a plain pickle or as the list of shards."""
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("a.pt", "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps(Evil()))
    Path("b.pt").write_bytes(pickle.dumps(Evil()))
    Path("c").mkdir()
    Path("c/.metadata").write_bytes(pickle.dumps(Evil()))

    assert [prove(Path(name)).proven for name in ("a.pt", "b.pt", "c")] == [True, False, False]
    assert not Path("ran").exists()


@pytest.mark.parametrize("spoil", ["none", "cut", "missing", "list"])
def test_shards_are_as_long_as_their_list_says(tmp_path: Path, spoil: str) -> None:
    """FSDP's shards have no checksums; the list beside them has the place of every tensor in them."""
    folder = sharded(tmp_path / "pytorch_model_fsdp_0")
    shard, listed = folder / "__0_0.distcp", folder / ".metadata"
    if spoil == "none":
        assert prove(folder).proven
        return
    if spoil == "cut":
        os.truncate(shard, shard.stat().st_size - 1)
    elif spoil == "missing":
        shard.unlink()
    else:
        os.truncate(listed, listed.stat().st_size // 2)

    assert reason(folder).code == {"cut": "size", "missing": "missing", "list": "cut_short"}[spoil]


def test_an_index_names_shards_that_have_to_be_there(tmp_path: Path) -> None:
    """A large model is saved in several files."""
    saved(tmp_path / "model-1.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))

    assert reason(tmp_path) == Reason("missing", index.name, {"part": "model-2.safetensors"})


def test_a_folder_is_all_of_its_files(tmp_path: Path) -> None:
    """A Trainer's folder: one damaged file is enough, a text proves nothing, and its hash is of names and contents."""
    for name in ("model.safetensors", "optimizer.pt", "trainer_state.json"):
        saved(tmp_path / name)
    (tmp_path / "README.md").write_text("")

    first = prove(tmp_path)
    (tmp_path / "README.md").rename(tmp_path / "README.txt")
    second = prove(tmp_path)
    os.truncate(tmp_path / "optimizer.pt", 800)

    assert first.proven
    assert (second.size_bytes, second.sha256 == first.sha256) == (first.size_bytes, False)
    assert reason(tmp_path) == Reason("cut_short", "optimizer.pt")


# ── What does not ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_has_no_checksums_is_not_called_damaged(tmp_path: Path) -> None:
    """Formats before 1.6, HDF5, and archives that were written without checksums to save time."""
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "keras.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(80))
    torch.serialization.set_crc32_options(False)
    torch.save(STATE, tmp_path / "quick.pt")
    torch.serialization.set_crc32_options(True)

    assert [prove(tmp_path / name).proven for name in ("old.pt", "keras.h5", "quick.pt")] == [False, False, False]
    assert not prove(tmp_path).proven


def test_a_very_large_one_is_looked_at_and_not_read(tmp_path: Path) -> None:
    """Reading 100 GB would keep the disk from the training; a missing end is found all the same."""
    path = saved(tmp_path / "model.pt")

    assert prove(path, most_bytes=100) == Proof(False, path.stat().st_size)
    os.truncate(path, 700)
    with pytest.raises(Flawed):
        prove(path, most_bytes=100)


# ── On a thread of its own ───────────────────────────────────────────────────────────────────────────────────────────


class Rig:
    """Checkpoints of a framework, proven and noted, and what would be reported of them."""

    def __init__(self, folder: Path, clock: FakeClock | None = None) -> None:
        self.run_folder = folder / "run"
        self.run_folder.mkdir(exist_ok=True)
        self.saved: list[Checkpoint] = []
        self.damaged: list[Reason] = []
        self.changed: list[Reason] = []
        self.guard = Guard()
        self.ours = ExternalCheckpoints(
            self.run_folder, self.saved.append, self.damaged.append, report_changed=self.changed.append,
            guard=self.guard, clock=clock or FakeClock(),
        )  # fmt: skip

    def follow(self, path: Path | str, label: int | None = None) -> None:
        self.ours.follow(path, label)
        assert self.ours.wait(60)
        assert self.guard.faults == {}


def test_a_proven_one_is_reported_and_noted_in_the_runs_folder(tmp_path: Path) -> None:
    """With size, hash, step and time; nothing is put beside the framework's files, which a hub would publish."""
    path = saved(tmp_path / "out" / "checkpoint-8" / "model.safetensors").parent
    rig = Rig(tmp_path)

    rig.follow(path, 8)

    size, sha256 = prove(path).size_bytes, prove(path).sha256
    assert rig.saved == [Checkpoint(str(path), 8, size, Tier.READABLE)]
    noted = json.loads((rig.run_folder / RECORD).read_text())
    assert noted == {
        "path": str(path), "size": size, "sha256": sha256, "step": 8, "proven": True, "at": noted["at"],
    }  # fmt: skip
    assert Rig(tmp_path).ours.known(path) == sha256
    assert sorted(each.name for each in path.parent.rglob("*")) == ["checkpoint-8", "model.safetensors"]


def test_a_damaged_one_is_reported_once_and_never_as_saved(tmp_path: Path) -> None:
    """The same file is often written anew each epoch; a whole one in between begins a new incident."""
    path, rig = saved(tmp_path / "last.ckpt"), Rig(tmp_path)
    whole = path.read_bytes()

    for content in (whole[:500], whole[:501], whole, whole[:502]):
        path.write_bytes(content)
        rig.follow(path)

    assert rig.damaged == [Reason("cut_short", "last.ckpt")] * 2
    assert [each.tier for each in rig.saved] == [Tier.READABLE]


class WritingClock(FakeClock):
    """A clock on which a second of waiting is a second of somebody else's writing."""

    def __init__(self, write: Callable[[], object]) -> None:
        super().__init__()
        self._write = write

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        self._write()
        return super().wait(event, timeout_s)


def test_a_file_that_still_grows_is_waited_for(tmp_path: Path) -> None:
    """Writers on a thread report a checkpoint before it is there."""
    path = saved(tmp_path / "big.ckpt")
    whole = path.read_bytes()
    path.write_bytes(b"")
    rest = io.BytesIO(whole)

    def write() -> None:
        with path.open("ab") as file:
            file.write(rest.read(len(whole) // 5))

    rig = Rig(tmp_path, WritingClock(write))
    rig.follow(path, 3)

    assert rig.damaged == []
    assert rig.saved == [Checkpoint(str(path), 3, len(whole), Tier.READABLE)]


def test_one_that_is_rotated_away_meanwhile_is_no_fault(tmp_path: Path) -> None:
    """`save_total_limit=1` removes a checkpoint while it is read."""
    path = saved(tmp_path / "out" / "optimizer.pt")
    gone = Rig(tmp_path, WritingClock(lambda: shutil.rmtree(path.parent, ignore_errors=True)))

    gone.follow(path.parent)
    gone.follow(tmp_path / "never")

    assert (gone.saved, gone.damaged) == ([], [])


def test_a_remote_one_is_reported_unproven(tmp_path: Path) -> None:
    """It is the framework's upload that we cannot see."""
    rig = Rig(tmp_path)

    rig.follow("s3://bucket/last.ckpt", 2)

    assert rig.saved == [Checkpoint("s3://bucket/last.ckpt", 2)]


def test_one_to_go_on_from_is_compared_with_its_proof(tmp_path: Path) -> None:
    """Somebody may have put another file there, or the disk has lost a bit since."""
    path, rig = saved(tmp_path / "model.pt"), Rig(tmp_path)
    rig.follow(path, 1)
    later = Rig(tmp_path)

    later.ours.follow_restored(path, 1)
    assert later.ours.wait(60)
    before = list(later.changed)
    torch.save({"other": torch.ones(3)}, path)
    later.ours.follow_restored(path, 1)
    later.ours.follow_restored(tmp_path / "unknown.pt", 1)

    assert later.ours.wait(60)
    assert (before, later.changed, later.saved) == ([], [Reason("content", "model.pt")], [])
    assert later.damaged == []


@pytest.mark.parametrize(("label", "changed"), [(1, True), (None, True), (2, False)])
def test_a_file_saved_later_under_the_same_name_is_no_damage(tmp_path: Path, label: int | None, changed: bool) -> None:
    """A training that is killed between a save of `last.ckpt` and its proof has a newer file than the proof is of."""
    path, rig = saved(tmp_path / "last.ckpt"), Rig(tmp_path)
    rig.follow(path, 1)
    torch.save({"weight": torch.zeros(400)}, path)

    rig.ours.follow_restored(path, label)

    assert rig.ours.wait(60)
    assert rig.changed == ([Reason("content", "last.ckpt")] if changed else [])


def test_one_to_go_on_from_that_is_cut_since_is_told_with_that_reason(tmp_path: Path) -> None:
    path, rig = saved(tmp_path / "model.pt"), Rig(tmp_path)
    rig.follow(path, 1)
    path.write_bytes(path.read_bytes()[:500])

    rig.ours.follow_restored(path, 1)

    assert rig.ours.wait(60)
    assert (rig.changed, rig.damaged) == ([Reason("cut_short", "model.pt")], [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_proves_nothing(tmp_path: Path) -> None:
    """The thread is the parent's, and so are the messages."""
    rig = Rig(tmp_path)
    path = saved(tmp_path / "model.pt")

    child = os.fork()
    if child == 0:
        rig.ours.follow(path)
        os._exit(len(rig.saved) + (not rig.ours.wait(0)))

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_model_of_keras_and_one_of_pytorch_are_both_archives(tmp_path: Path) -> None:
    """The kind is told by the first bytes, not by the name: `.bin` and `.ckpt` are many things."""
    torch.save(nn.Linear(2, 1).state_dict(), tmp_path / "weights")
    with zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(range(256)) * 40)

    assert [prove(tmp_path / name).proven for name in ("weights", "model.keras")] == [True, True]
