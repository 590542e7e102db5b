"""Files written whole: hashed on the way, durable before they have their name, gone when something fails."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from notifybot.checkpoints.durable_io import (
    BUFFER_BYTES,
    Files,
    Hasher,
    HashingWriter,
    parse_temporary,
    temporary_name,
    write_bytes,
)
from tests.support.checkpoint_disks import FailingDisk, entries


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


# ── Hashing while writing ────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3 * BUFFER_BYTES // 2), max_size=6), st.randoms(use_true_random=False))
def test_the_hash_is_the_files_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], rng: object
) -> None:
    """Pieces of any size, also larger than the buffers that travel to the disk."""
    files = Files(tmp_path_factory.mktemp("files"))
    pieces = [bytes([rng.randrange(256)]) * size for size in sizes]  # type: ignore[attr-defined]

    found = files.fill("file", lambda file: [file.write(each) for each in pieces])

    data = (files.folder / "file").read_bytes()
    assert data == b"".join(pieces)
    assert found == (hashlib.sha256(data).hexdigest(), len(data)) == files.hash("file")


def test_anything_with_a_buffer_can_be_written(files: Files) -> None:
    """Libraries write bytes, views of numbers, or pickle straight into it; the length is told in bytes."""
    numbers = memoryview(bytes(range(16))).cast("I")

    def fill(file: BinaryIO) -> None:
        assert file.write(numbers) == 16
        pickle.dump({"epoch": 3}, file)

    files.fill("file", fill)

    assert (files.folder / "file").read_bytes() == bytes(range(16)) + pickle.dumps({"epoch": 3})


def test_it_can_only_be_written_in_sequence(files: Files) -> None:
    """Going back would make the hash a lie, so it is refused instead."""

    def fill(file: BinaryIO) -> None:
        assert (file.writable(), file.readable(), file.seekable()) == (True, False, False)
        file.seek(0)

    with pytest.raises(io.UnsupportedOperation):
        files.fill("file", fill)


def test_small_pieces_reach_the_disk_in_large_ones(tmp_path: Path) -> None:
    """A state of many small tensors costs as many system calls as a large one."""
    disk = FailingDisk(10**9, 0, only=("write",))

    Files(tmp_path, disk).fill("file", lambda file: [file.write(b"abc") for _ in range(BUFFER_BYTES)])

    assert len(disk.calls) == 3


def test_hashing_works_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the interpreter's end."""

    def start(self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", start)
    hasher = Hasher()
    for _ in range(20):
        hasher.put(hasher.take(), BUFFER_BYTES)

    assert hasher.hexdigest() == hashlib.sha256(bytes(20 * BUFFER_BYTES)).hexdigest()


# ── Errors of the disk ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_disk_that_takes_little_at_a_time_gets_it_all(tmp_path: Path) -> None:
    def slow(call: object, /, *args: object) -> object:
        if call is os.write:
            descriptor, data = args
            return os.write(descriptor, data[:7000])  # type: ignore[index,arg-type]
        return call(*args)  # type: ignore[operator]

    files = Files(tmp_path, slow)  # type: ignore[arg-type]
    data = os.urandom(100_000)

    assert files.fill("file", lambda file: file.write(data))[0] == hashlib.sha256(data).hexdigest()
    assert (tmp_path / "file").read_bytes() == data


def test_a_disk_that_keeps_less_than_it_took_is_found_out(tmp_path: Path) -> None:
    def forgetful(call: object, /, *args: object) -> object:
        result = call(*args)  # type: ignore[operator]
        if call is os.fsync:
            os.truncate(tmp_path / "file", 10)
        return result

    with pytest.raises(OSError, match="of 100 bytes written the disk kept 10"):
        Files(tmp_path, forgetful).fill("file", lambda file: file.write(bytes(100)))  # type: ignore[arg-type]


def test_a_full_disk_is_told_as_such_whatever_the_library_makes_of_it(tmp_path: Path) -> None:
    """Also when the library goes on as if nothing were: the first error stays the answer."""
    disk = FailingDisk(0, errno.ENOSPC, only=("write",))

    def fill(file: BinaryIO) -> None:
        for _ in range(5):
            try:
                file.write(bytes(BUFFER_BYTES))
            except OSError:
                continue

    with pytest.raises(OSError, match="No space left"):
        Files(tmp_path, disk).fill("file", fill)

    assert len(disk.calls) == 1


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """The system itself refuses to let a file grow further."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_torch_writes_in_sequence_and_its_errors_are_the_disks(files: Files) -> None:
    """torch turns the error of a full disk into a RuntimeError about positions; who saves is told the truth."""
    state = {f"layer{number}": torch.full((1000, 1000), float(number)) for number in range(5)}

    sha256, size_bytes = files.fill("file.pt", lambda file: torch.save(state, file))
    with largest_file(size_bytes // 2), pytest.raises(OSError) as caught:
        files.fill("full.pt", lambda file: torch.save(state, file))

    loaded = torch.load(files.folder / "file.pt", weights_only=True)
    assert hashlib.sha256((files.folder / "file.pt").read_bytes()).hexdigest() == sha256
    assert all(bool((loaded[name] == state[name]).all()) for name in state)
    assert caught.value.errno == errno.EFBIG


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_mount_that_cannot_sync_folders_is_taken_at_its_word(tmp_path: Path, number: int) -> None:
    Files(tmp_path, FailingDisk(0, number, only=("fsync",))).sync()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.ENOTCONN])
def test_any_other_answer_to_syncing_a_folder_is_an_error(tmp_path: Path, number: int) -> None:
    with pytest.raises(OSError) as caught:
        Files(tmp_path, FailingDisk(0, number, only=("fsync",))).sync()

    assert caught.value.errno == number


def test_no_descriptor_is_left_open_whatever_fails(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))

    for at in range(8):
        files = Files(tmp_path, FailingDisk(at, errno.EIO))
        with contextlib.suppress(OSError):
            files.fill("a", lambda file: file.write(b"x"))
        with contextlib.suppress(OSError):
            files.hash("a")
        with contextlib.suppress(OSError):
            files.sync()
        files.discard("a")

    assert set(os.listdir("/proc/self/fd")) == before


# ── Small files ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_small_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    write_bytes(path, b"old")

    write_bytes(path, b"new")

    assert path.read_bytes() == b"new"
    assert entries(tmp_path) == {"card.json"}


def test_a_small_file_stays_as_it_was_when_its_folder_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bytes(tmp_path / "gone" / "card.json", b"new")


def test_a_file_is_not_written_through_a_link(files: Files) -> None:
    (files.folder / "link").symlink_to("elsewhere")

    with pytest.raises(FileExistsError):
        files.fill("link", lambda file: file.write(b"x"))

    assert not (files.folder / "elsewhere").exists()


# ── Names of what is not done ────────────────────────────────────────────────────────────────────────────────────────


def test_a_temporary_tells_who_works_on_it() -> None:
    found = parse_temporary(temporary_name("payload"))

    assert found is not None
    assert (found.purpose, found.of_this_machine, found.owner_lives) == ("payload", True, True)
    assert temporary_name("payload") != temporary_name("payload")


def test_a_temporary_of_a_process_that_is_gone_is_told_from_one_of_another_machine() -> None:
    _, machine, *_ = temporary_name("payload").split("-")

    gone = parse_temporary(f".notifybot-{machine}-999999999-1-00000000.manifest")
    reused = parse_temporary(f".notifybot-{machine}-{os.getpid()}-1-00000000.manifest")
    foreign = parse_temporary(".notifybot-00000000-999999999-1-00000000.removed")

    assert [each and (each.of_this_machine, each.owner_lives) for each in (gone, reused, foreign)] == [
        (True, False),
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize(
    "name",
    ["epoch1.pt", ".notifybot-1-1-1-1.payload", ".notifybot-00000000-1-1-00000000.payload.bak", ".notifybot-run.json"],
)
def test_other_names_are_nobodys_temporaries(name: str) -> None:
    assert parse_temporary(name) is None


def test_a_writer_is_closed_twice_without_harm(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        writer = HashingWriter(file.fileno())
        writer.close()
        writer.close()

    assert writer.closed
