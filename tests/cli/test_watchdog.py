"""`notifybot watchdog token`: made, listed, taken away."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from tests.support.cli_runs import command

runner = CliRunner()


def test_tokens_are_shown_once_listed_and_revoked(tmp_path: Path) -> None:
    """The token is the only thing on stdout, so that a script can take it; the list never shows it."""
    db = ["--db", str(tmp_path / "watchdog.db")]

    made = command("watchdog", "token", "new", "vision", "--label", "lab server", *db)
    token = made.stdout.strip()
    (listed,) = json.loads(command("watchdog", "token", "list", "--json", *db).stdout)
    table = command("watchdog", "token", "list", *db).stdout

    assert made.returncode == 0
    assert len(token) >= 22, "at least 128 bits"
    assert (listed["project"], listed["label"], listed["revoked_at"]) == ("vision", "lab server", None)
    assert token not in table + str(listed)

    assert command("watchdog", "token", "revoke", listed["id"], *db).returncode == 0
    assert json.loads(command("watchdog", "token", "list", "--json", *db).stdout)[0]["revoked_at"] is not None
    unknown = command("watchdog", "token", "revoke", "nobody", *db)
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("notifybot: there is no token nobody")
