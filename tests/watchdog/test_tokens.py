"""Tokens: shown once, kept as digests, revocable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from notifybot.store.database import Store
from notifybot.testing import FakeClock
from notifybot.watchdog import tokens


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "watchdog.db", clock=clock) as opened:
        yield opened


def test_a_token_speaks_for_its_project_until_it_is_revoked(store: Store) -> None:
    token = tokens.create(store, "vision", label="lab GPU")
    (row,) = tokens.list_tokens(store)

    assert tokens.verify(store, token) == "vision"
    assert (row.project, row.label, row.revoked_at) == ("vision", "lab GPU", None)
    assert tokens.revoke(store, row.id)
    assert tokens.verify(store, token) is None
    assert not tokens.revoke(store, row.id)
    assert tokens.list_tokens(store)[0].revoked_at == store.clock.now()


@pytest.mark.parametrize("wrong", [None, "", "nb_", "nb_canary-not-a-token", "x" * 100_000, "\ud800", "토큰"])
def test_a_wrong_token_speaks_for_nobody(store: Store, wrong: str | None) -> None:
    tokens.create(store, "vision")

    assert tokens.verify(store, wrong) is None


def test_a_token_has_256_random_bits_and_leaves_only_its_digest(store: Store) -> None:
    made = {tokens.create(store, "vision") for _ in range(20)}
    store.close()
    kept = b"".join(path.read_bytes() for path in store.path.parent.iterdir())

    assert len(made) == 20
    assert all(token.startswith("nb_") and len(token) == 3 + 43 for token in made)
    assert not any(token.encode() in kept or token[3:].encode() in kept for token in made)
