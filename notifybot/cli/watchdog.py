"""`notifybot watchdog`: serves the watchdog, and manages its tokens and login links."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from notifybot.cli.database import open_store
from notifybot.cli.options import Cell, Listing, columns, extra, in_json
from notifybot.config import Config, load
from notifybot.errors import UsageError, reader_text
from notifybot.i18n import text
from notifybot.store.location import local_folder
from notifybot.watchdog import logins, tokens


def _database(config: Config, db: Path | None) -> Path:
    return db or local_folder(config.state_dir) / "watchdog.db"


def serve(*, host: str, port: int, db: Path | None, behind_proxy: bool = False) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    config = load()
    with extra("watchdog"):
        from notifybot.web.server import serve

        serve(host, port, _database(config, db), config=config, behind_proxy=behind_proxy)
    return 0


def login(url: str, *, db: Path | None) -> int:
    """Print a link that opens the pages of a watchdog that runs on this machine."""
    with open_store(_database(load(), db)) as store:
        print(logins.link(store, url))
    return 0


def new_token(project: str, *, label: str, db: Path | None) -> int:
    """Make a token and print it with the line that uses it."""
    config = load()
    with open_store(_database(config, db)) as store:
        token = tokens.create(store, project, label=label)
    console = Console(highlight=False, soft_wrap=True, stderr=True)
    console.print(text(config.lang, "cli.watchdog.token_is_shown_once"), markup=False)
    print(token)
    how = text(config.lang, "cli.watchdog.how_to_use_token")
    console.print(f"{how}  export NOTIFYBOT_WATCHDOG_TOKEN=…", markup=False)
    return 0


def list_tokens(*, db: Path | None, as_json: bool) -> int:
    """Print who may report, without the tokens."""
    config = load()
    with open_store(_database(config, db)) as store:
        found = tokens.list_tokens(store)
    if as_json:
        plain = [
            {
                "id": each.id,
                "project": each.project,
                "label": each.label,
                "created_at": each.created_at.isoformat(),
                "revoked_at": each.revoked_at.isoformat() if each.revoked_at else None,
            }
            for each in found
        ]
        print(in_json(plain))
        return 0
    rows: list[list[Cell]] = []
    for each in found:
        key, style = ("cli.watchdog.revoked", "dim") if each.revoked_at else ("cli.watchdog.valid", "green")
        state = Text(text(config.lang, key), style=style)
        rows.append([each.id, each.project, each.label, f"{each.created_at.astimezone():%Y-%m-%d %H:%M}", state])
    headings = ("ID", *columns(config.lang, "project", "label", "created", "status"))
    Console().print(Listing(headings, rows) if found else text(config.lang, "cli.watchdog.no_tokens"))
    return 0


def revoke_token(token_id: str, *, db: Path | None) -> int:
    """Take a token away. Raises UsageError when there is none of that id."""
    with open_store(_database(load(), db)) as store:
        if not tokens.revoke(store, token_id):
            raise UsageError(reader_text("cli.watchdog.no_such_token", token_id=token_id))
    return 0
