"""Pictures of alerts on disk: kept for a message that waits, and not for ever."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from notifybot.store.database import Store
from notifybot.store.pictures import LARGEST_BYTES, MOST_FILES, keep_picture, kept_picture, suffix_of
from notifybot.testing import FakeClock
from notifybot.types import uuid7

NAME = "01a22878-7970-790d-b296-56c4f919fa00"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
JPEG = b"\xff\xd8\xff\xe0" + bytes(64)


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "state" / "notifybot.db", clock=clock) as opened:
        yield opened


def folder(store: Store) -> Path:
    return store.path.parent / "pictures"


@pytest.mark.parametrize(("content", "suffix"), [(PNG, ".png"), (JPEG, ".jpg")], ids=["PNG", "JPEG"])
def test_a_picture_is_found_again_by_its_name_and_is_its_owners_alone(
    store: Store, content: bytes, suffix: str
) -> None:
    name = keep_picture(store, uuid7(), content)

    assert name.endswith(suffix)
    assert kept_picture(store, name) == content
    assert stat.S_IMODE((folder(store) / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder(store).stat().st_mode) == 0o700


def test_the_newest_are_kept_and_none_for_longer_than_a_week(store: Store) -> None:
    old = keep_picture(store, uuid7(), PNG)
    past = (store.clock.now() - timedelta(days=8)).timestamp()
    os.utime(folder(store) / old, (past, past))

    names = [keep_picture(store, uuid7(1e9 + number), PNG) for number in range(MOST_FILES + 2)]

    assert sorted(each.name for each in folder(store).iterdir()) == names[2:]


@pytest.mark.parametrize("name", ["", "../notifybot.db", "notes.png", f"{NAME}.svg", f"../pictures/{NAME}.png"])
def test_a_name_that_is_none_of_ours_is_not_looked_for(store: Store, name: str) -> None:
    """The watchdog's events come over the network."""
    keep_picture(store, NAME, PNG)
    (folder(store) / "notes.png").write_bytes(PNG)

    assert kept_picture(store, name) is None


def test_what_is_no_picture_any_more_is_none(store: Store, tmp_path: Path) -> None:
    gone, text, large, link = (f"{uuid7()}.png" for _ in range(4))
    keep_picture(store, uuid7(), PNG)
    (folder(store) / text).write_text("secret")
    (folder(store) / large).write_bytes(PNG + bytes(LARGEST_BYTES))
    (tmp_path / "elsewhere.png").write_bytes(PNG)
    (folder(store) / link).symlink_to(tmp_path / "elsewhere.png")

    assert [kept_picture(store, each) for each in (gone, text, large, link)] == [None] * 4
    assert suffix_of(b"<svg/>") == ""
