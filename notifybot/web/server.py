"""Serving an application on a port: one process, one loop, and slow clients cut off.

granian runs embedded, in this process: its usual way starts a second one, which an application that is built here
cannot be handed to. It closes a connection whose headers do not come in time; uvicorn keeps such a one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from starlette.types import ASGIApp

from notifybot.clock import SYSTEM
from notifybot.config import Config
from notifybot.delivery.build import notifiers_from
from notifybot.delivery.dispatcher import Dispatcher
from notifybot.delivery.worker import Worker
from notifybot.errors import UsageError, reader_text, system_words
from notifybot.i18n import text
from notifybot.redaction import guard_loggers
from notifybot.rendering import Renderer
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.types import Language
from notifybot.watchdog.logins import link
from notifybot.watchdog.rules import Limits
from notifybot.watchdog.service import Watchdog
from notifybot.web.app import create_app

HEADERS_WITHIN_MS = 5000
_LARGEST_HEADERS = 64 * 1024
_BACKLOG = 1024
_READY_EVERY_S = 0.02
_THREADS_END_S = 5.0


def run(app: ASGIApp, host: str, port: int, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. `ready` is called with the URL once connections are accepted.

    Port 0 takes any free one. Raises UsageError when the address cannot be had.
    """
    before = _threads()
    with _reserved(host, port) as free_port:
        asyncio.run(_serve(app, host, free_port, ready))
    _await_threads(before)


async def _serve(app: ASGIApp, host: str, port: int, ready: Callable[[str], None]) -> None:
    server = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_WITHIN_MS, max_buffer_size=_LARGEST_HEADERS),
        log_enabled=False,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    serving = asyncio.create_task(server.serve())
    announcing = asyncio.create_task(_announce(host, port, ready))
    try:
        await serving
    finally:
        announcing.cancel()


async def _announce(host: str, port: int, ready: Callable[[str], None]) -> None:
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - the address to be reached, not bound
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(near, port)
            writer.close()
            break
        await asyncio.sleep(_READY_EVERY_S)
    ready(f"http://[{near}]:{port}" if ":" in near else f"http://{near}:{port}")


def _threads() -> int:
    """Return the number of the process's threads, foreign ones included; 0 where the system does not show them."""
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/task"))
    return 0


def _await_threads(number: int) -> None:
    """Wait until granian's threads are over: Rust aborts a process whose interpreter ends one of them.

    On busy cores they outlive the loop by milliseconds.
    """
    until_s = SYSTEM.monotonic() + _THREADS_END_S
    while _threads() > number and SYSTEM.monotonic() < until_s:
        SYSTEM.wait(threading.Event(), _READY_EVERY_S)


@contextlib.contextmanager
def _reserved(host: str, port: int) -> Iterator[int]:
    """Hold the port against other programs until the server has it; it may be shared with ourselves only."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:  # the server itself would share a port that is taken
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        held = socket.socket(family, kind)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
    except OSError as error:
        why = system_words(error)
        raise UsageError(reader_text("web.server.cannot_listen_on_port", host=host, port=port, why=why)) from None
    with held:
        yield held.getsockname()[1]


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
        if not watchdog.has_notifiers:
            sys.stderr.write(f"{text(language, 'watchdog.start.nobody_is_told')}\n")

        def ready(url: str) -> None:
            listening = text(language, "watchdog.start.listening", url=url)
            opening = text(language, "watchdog.start.open_the_pages", link=link(store, url))
            sys.stdout.write(f"{listening}\n{opening}\n")
            sys.stdout.flush()

        run(app, host, port, ready=ready)
