"""Logins: a key opens the pages once, a token its project's own, and every session ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from notifybot.store.database import Store
from notifybot.testing import FakeClock
from notifybot.watchdog import logins, tokens
from notifybot.watchdog.logins import KEY_FOR, SESSION_FOR, Visitor


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "watchdog.db", clock=clock, patience_s=2.0) as opened:
        yield opened


def test_a_key_is_used_up_by_its_first_use(store: Store) -> None:
    """Whoever finds the address in a log later gets nothing for it."""
    key = logins.new_key(store)

    session = logins.enter_by_key(store, key)

    assert session is not None
    assert logins.visitor(store, session) == Visitor(None)
    assert logins.enter_by_key(store, key) is None


def test_a_link_leads_to_the_login_with_a_key(store: Store) -> None:
    address, _, key = logins.link(store, "http://127.0.0.1:8710/").partition("?key=")

    assert address == "http://127.0.0.1:8710/login"
    assert logins.enter_by_key(store, key) is not None


def test_keys_and_sessions_end_with_their_time(store: Store, clock: FakeClock) -> None:
    late = logins.new_key(store)
    session = logins.enter_by_key(store, logins.new_key(store)) or ""

    clock.advance(KEY_FOR.total_seconds() + 1)
    assert logins.enter_by_key(store, late) is None
    assert logins.visitor(store, session) is not None
    clock.advance(SESSION_FOR.total_seconds())
    assert logins.visitor(store, session) is None


def test_a_tokens_session_sees_its_project_until_the_token_is_revoked(store: Store) -> None:
    session = logins.enter_by_token(store, tokens.create(store, "vision")) or ""
    (row,) = tokens.list_tokens(store)

    assert logins.visitor(store, session) == Visitor("vision")
    tokens.revoke(store, row.id)
    assert logins.visitor(store, session) is None


@pytest.mark.parametrize("wrong", ["", "nb_wrong"])
def test_a_wrong_secret_opens_nothing(store: Store, wrong: str) -> None:
    """A key is no session either, and a session no key."""
    key = logins.new_key(store)
    session = logins.enter_by_key(store, logins.new_key(store)) or ""

    assert (logins.enter_by_key(store, wrong), logins.enter_by_token(store, wrong)) == (None, None)
    assert (logins.visitor(store, key), logins.enter_by_key(store, session)) == (None, None)


def test_a_session_that_is_left_is_over(store: Store) -> None:
    session = logins.enter_by_key(store, logins.new_key(store)) or ""

    logins.leave(store, session)

    assert logins.visitor(store, session) is None


def test_only_digests_are_stored(store: Store) -> None:
    """The database alone opens no page."""
    key = logins.new_key(store)
    session = logins.enter_by_key(store, key) or ""

    with store.reading() as connection:
        held = str(connection.exec_driver_sql("SELECT * FROM logins").all())

    assert session
    assert key not in held
    assert session not in held
