"""`notifybot outbox`: the ledger of every notifier, and the list of what was given up."""

from __future__ import annotations

import json
import re

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.i18n import text
from notifybot.store.database import Store
from notifybot.store.schema import tallies
from tests.support.cli_runs import KEY, put_two

runner = CliRunner()


def test_outbox_shows_the_ledger(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put = sent + pending + dead + dropped, per notifier."""
    monkeypatch.setenv("COLUMNS", "200")
    outbox = put_two(store)
    delivery = outbox.claim(KEY)
    assert delivery is not None
    outbox.mark_sent(delivery)

    table = runner.invoke(app, ["outbox"])
    plain = json.loads(runner.invoke(app, ["outbox", "--json"]).output)

    assert table.exit_code == 0
    assert re.search(rf"{KEY} +│ +2 │ +1 │ +1 │ +0 │ +0 │ nothing missing", table.output)
    assert plain["notifiers"][KEY] == {
        "put": 2, "sent": 1, "pending": 1, "dead": 0, "dropped": 0, "conserved": True,
    }  # fmt: skip


def test_outbox_fails_when_something_is_missing(store: Store) -> None:
    """A ledger that does not add up is an error that scripts can see."""
    put_two(store)
    with store.transaction() as connection:
        connection.execute(update(tallies).values(put=3))

    result = runner.invoke(app, ["outbox"])

    assert result.exit_code == 1
    assert "DOES NOT ADD UP" in result.output


def test_outbox_lists_dead_letters_with_their_reason(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    outbox = put_two(store)
    delivery = outbox.claim(KEY)
    assert delivery is not None
    outbox.mark_dead(delivery, "the webhook was deleted")

    table = runner.invoke(app, ["outbox", "list"])
    plain = json.loads(runner.invoke(app, ["outbox", "list", "--json"]).output)

    assert table.exit_code == 0, "a dead letter is counted, so nothing is missing"
    assert "the webhook was deleted" in table.output
    assert [each["error"] for each in plain] == ["the webhook was deleted"]


def test_an_empty_outbox_says_so_in_korean_too() -> None:
    result = runner.invoke(app, ["outbox"], env={"NOTIFYBOT_LANG": "ko"})

    assert result.output == text("ko", "cli.outbox.empty") + "\n"
    assert runner.invoke(app, ["outbox", "list"]).output == "No message is dead.\n"
