"""`notifybot watchdog`: everything put together and served until it is told to stop."""

from __future__ import annotations

import sys
from pathlib import Path

from notifybot.config import Config
from notifybot.delivery.build import notifiers_from
from notifybot.delivery.dispatcher import Dispatcher
from notifybot.delivery.worker import Worker
from notifybot.redaction import guard_loggers
from notifybot.rendering import Renderer
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.types import Language
from notifybot.watchdog.logins import link
from notifybot.watchdog.rules import Limits
from notifybot.watchdog.service import Watchdog
from notifybot.watchdog.words import words_in
from notifybot.web.app import create_app
from notifybot.web.server import run

CAP_BYTES = 1024**3
_PATIENCE_S = 5.0


def serve(
    host: str,
    port: int,
    db: Path,
    *,
    config: Config,
    language: Language | None = None,
    limits: Limits | None = None,
    behind_proxy: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; print its address once requests are taken, and a link that opens the pages.

    Port 0 takes any free one. Messages and pages are in `language`, or the configured one. Raises UsageError when the
    address cannot be had, StoreError when the database cannot.
    """
    guard_loggers()
    language = language or config.lang
    # What a watchdog has to say must not be handed to a watchdog.
    alone = config.model_copy(update={"watchdog_url": None, "watchdog_token": None})
    with Store.open(db, patience_s=_PATIENCE_S, cap_bytes=CAP_BYTES) as store:
        outbox = Outbox(store)
        notifiers = notifiers_from(alone, outbox=outbox)
        outbox.release_dead()
        worker = Worker(Dispatcher(outbox, notifiers, Renderer(language, config.templates_dir), clock=store.clock))
        watchdog = Watchdog(store, notifiers=notifiers, courier=worker, limits=limits, language=language)
        app = create_app(watchdog, language=language, behind_proxy=behind_proxy)
        words = words_in(language)
        if not watchdog.tells:
            sys.stderr.write(f"{words.nobody_told}\n")
        run(
            app,
            host,
            port,
            ready=lambda url: _say(words.listening.format(url), words.open_pages.format(link(store, url))),
        )


def _say(listening: str, more: str) -> None:
    sys.stdout.write(f"{listening}\n{more}\n")
    sys.stdout.flush()
