"""The manifest: what it says comes back unchanged, and what was changed is found out."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifybot.checkpoints.manifest import Manifest, Part, order
from tests.support.checkpoint_disks import manifest

HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
NAMES = st.text(min_size=1, max_size=20).filter(lambda name: not set(name) & set("/\\\0") and not name.startswith("."))
MANIFESTS = st.builds(
    Manifest,
    file=NAMES,
    sha256=HASHES,
    size_bytes=st.integers(0, 2**60),
    run_id=st.text(max_size=40),
    session=st.text(max_size=40),
    sequence=st.integers(0, 2**40),
    epoch=st.none() | st.integers(-5, 10**6),
    saved_at=st.datetimes(timezones=st.just(UTC), allow_imaginary=False).map(lambda at: at.replace(fold=0)),
    step=st.integers(0, 10**9),
    metrics=st.dictionaries(st.text(max_size=10), st.floats(), max_size=4),
    parent=HASHES,
    versions=st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(MANIFESTS, st.dictionaries(NAMES, st.builds(Part, HASHES, st.integers(0, 2**40)), max_size=3))
def test_what_is_written_is_read(given: Manifest, parts: dict[str, Part]) -> None:
    """NaN and infinity, names in any script, parts: as valid JSON that any reader takes."""
    given = replace(given, kind="sharded", parts=parts) if parts else given

    text = given.to_json()

    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert repr(Manifest.from_json(text)) == repr(given)
    assert repr(Manifest.from_json(text.encode())) == repr(given)


def test_a_flipped_bit_never_changes_what_is_read() -> None:
    """A wrong sequence would make an old checkpoint the newest, so the manifest proves itself too."""
    given = manifest(7, metrics={"loss": 0.25, "acc": math.inf}, epoch=12, versions={"torch": "2.13.0"})
    data = given.to_json().encode()
    found = 0

    for position in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        try:
            assert Manifest.from_json(bytes(damaged)) == given  # one blank instead of another
        except ValueError:
            found += 1

    assert found > len(data) * 7


def test_a_truncated_manifest_is_no_manifest() -> None:
    data = manifest(1).to_json().rstrip().encode()

    for length in range(len(data)):
        with pytest.raises(ValueError):
            Manifest.from_json(data[:length])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"file": "../other.pt"}, "names a file outside"),
        ({"file": "/etc/passwd"}, "names a file outside"),
        ({"file": ".hidden"}, "names a file outside"),
        ({"file": ""}, "names a file outside"),
        ({"file": 5}, "of another shape"),
        ({"size_bytes": -1}, "no whole number"),
        ({"size_bytes": True}, "no whole number"),
        ({"sequence": 1.5}, "no whole number"),
        ({"sequence": "1"}, "no whole number"),
        ({"epoch": "1"}, "the epoch or the time"),
        ({"saved_at": "2026-11-23T03:00:00"}, "the epoch or the time"),
        ({"saved_at": "yesterday"}, "yesterday"),
        ({"saved_at": None}, "of another shape"),
        ({"metrics": {"loss": "low"}}, "of another shape"),
        ({"metrics": {"loss": True}}, "of another shape"),
        ({"metrics": []}, "of another shape"),
        ({"sha256": None}, "a text is something else"),
        ({"run_id": 1}, "a text is something else"),
        ({"versions": {"torch": 2}}, "a text is something else"),
        ({"kind": "sharded"}, "its kind and its parts"),
        ({"kind": "zip"}, "its kind and its parts"),
        ({"parts": {"a": {"sha256": "", "size_bytes": 1}}}, "its kind and its parts"),
        ({"kind": "sharded", "parts": {"../a": {"sha256": "", "size_bytes": 1}}}, "a part outside"),
        ({"kind": "sharded", "parts": {"a": {"sha256": "", "size_bytes": -1}}}, "no whole number"),
        ({"kind": "sharded", "parts": {"a": 1}}, "of another shape"),
        ({"format": 2}, "of format 2"),
        ({"format": None}, "of format None"),
    ],
)
def test_a_manifest_that_says_what_it_may_not_is_refused(changes: dict[str, Any], said: str) -> None:
    """Whoever wrote it knew how to make the hash right: it is checked like anything from outside."""
    with pytest.raises(ValueError, match=said):
        Manifest.from_json(_signed(changes))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "{",
        '{"file": "a.pt"}',
        "[" * 100_000,
        "\ufeff{}",
        "1" * 10_000,
        b"\xff\xfe\x00",
        b"\0" * 4096,
    ],
    ids=lambda text: repr(text)[:12],
)
def test_anything_else_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        Manifest.from_json(text)


def test_what_a_later_version_adds_is_passed_over() -> None:
    assert Manifest.from_json(_signed({"mood": "good"})) == manifest(1)


def test_no_two_manifests_are_equally_new() -> None:
    """Two machines that claim the same number, and even the same second, are put in one order everywhere."""
    at = datetime(2026, 11, 23, tzinfo=UTC)
    ordered = [
        manifest(9, session="s1", saved_at=at.replace(year=2027)),
        manifest(1, session="s2", saved_at=at),
        manifest(2, session="s2", saved_at=at, file="a.pt"),
        manifest(2, session="s2", saved_at=at, file="b.pt"),
        manifest(2, session="s2", saved_at=at.replace(hour=1), file="a.pt"),
    ]

    assert sorted(random.Random(1).sample(ordered, 5), key=order) == ordered


def _signed(changes: dict[str, Any]) -> str:
    """The JSON of a manifest with these changes, its hash made right for them."""
    from notifybot.checkpoints.manifest import _hash

    values = json.loads(manifest(1).to_json()) | changes
    values.pop("manifest_sha256")
    return json.dumps(values | {"manifest_sha256": _hash(values)})
