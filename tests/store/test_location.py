"""Place of the database: on a local disk, private, and free of what is damaged or foreign."""

from __future__ import annotations

import os
import pwd
import sqlite3
import stat
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.location import is_remote, local_folder, spare_folder
from tests.support.store_events import RUN, started

MOUNTS = """\
21 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw
40 21 0:50 / /content/drive rw,nosuid - fuse.drive drive rw
41 21 0:51 / /home rw - nfs4 server:/home rw
42 21 0:52 / /home/local\\040disk rw - xfs /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("path", "remote"),
    [("/content/drive/MyDrive/x", True), ("/home/me", True), ("/home/local disk/me", False), ("/var/tmp", False)],
)
def test_a_network_or_fuse_mount_is_told_from_a_local_disk(path: str, remote: bool) -> None:
    assert is_remote(Path(path), MOUNTS) is remote


def test_a_folder_that_cannot_be_written_is_replaced_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")

    chosen = local_folder(blocked / "state")

    assert chosen != blocked / "state"
    assert len(caplog.records) == 1


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user id that no passwd entry has, as containers give it; returns where temporary files go."""

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


@pytest.mark.parametrize("wanted", ["file", "file/state", "/proc/state"])
def test_without_a_home_state_goes_to_a_temporary_folder_and_the_remedy_is_said_once(
    homeless: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, wanted: str
) -> None:
    """A file in the folder's place, a file above it, and a place where nothing can be made."""
    (tmp_path / "file").touch()

    chosen = {local_folder(tmp_path / wanted) for _ in range(3)}

    assert {each.parent for each in chosen} == {homeless}
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.endswith("set NOTIFYBOT_STATE_DIR to a folder on a local disk that may be written")


def test_where_nothing_but_memory_can_be_written_state_goes_there(
    homeless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container with a read-only root: no folder for temporary files either."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "file")

    chosen, spare = local_folder(tmp_path / "file"), spare_folder()

    assert {chosen.parent, spare.parent} == {Path("/dev/shm")}
    spare.rmdir()


def test_a_folder_that_somebody_else_laid_out_for_us_is_not_taken(
    homeless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever owns a folder can read what is in it: under /tmp, that may be anybody."""
    homeless.chmod(0o1777)
    (homeless / "notifybot-77").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 77)
    (tmp_path / "file").touch()

    assert local_folder(tmp_path / "file") != homeless / "notifybot-77"


def test_the_file_is_private(tmp_path: Path) -> None:
    with Store.open(tmp_path / "state" / "a.db") as store:
        runs.record(store, started())
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "state").iterdir()}

    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to look at" * 50, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(content)

    with Store.open(path) as store:
        runs.record(store, started())

        assert store.set_aside is not None
        assert store.set_aside.read_bytes() == content
        assert runs.get(store, RUN.id) is not None


def test_another_programs_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
        other.commit()

    with Store.open(path) as store:
        assert store.set_aside is not None
