"""The application: the API and the pages of one watchdog, with the watchdog's own lifetime."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from notifybot import __version__
from notifybot.errors import StoreError
from notifybot.types import Language
from notifybot.watchdog.ingest import AccessDenied
from notifybot.watchdog.schemas import PayloadError
from notifybot.watchdog.service import Watchdog
from notifybot.web.api import ingest_routes, readings, refusal
from notifybot.web.middleware import DEADLINE_S, RequestGuard
from notifybot.web.pages import Pages

_LISTEN_EVERY_S = 1.0


def create_app(
    watchdog: Watchdog, *, language: Language = Language.EN, behind_proxy: bool = False, deadline_s: float = DEADLINE_S
) -> FastAPI:
    """Build the application. Its lifespan starts and stops the watchdog.

    `behind_proxy` says that all requests come through a proxy, whose header on HTTPS is then believed.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(watchdog.start)
        listening = asyncio.create_task(_listen(watchdog))
        try:
            yield
        finally:
            listening.cancel()
            await run_in_threadpool(watchdog.stop)

    app = FastAPI(
        title="notifybot watchdog",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        redirect_slashes=False,
    )
    app.include_router(ingest_routes(watchdog))
    app.include_router(readings(watchdog))
    app.include_router(Pages(watchdog, language=language, behind_proxy=behind_proxy).router())
    app.add_exception_handler(AccessDenied, _refused)
    app.add_exception_handler(PayloadError, _malformed)
    app.add_exception_handler(StoreError, _busy)
    app.openapi = partial(_with_scheme, app.openapi)  # type: ignore[method-assign]
    app.add_middleware(RequestGuard, admits=watchdog.admits, deadline_s=deadline_s)
    return app


def _with_scheme(made: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The OpenAPI document, with the scheme that its routes name."""
    document = made()
    document.setdefault("components", {})["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return document


async def _listen(watchdog: Watchdog) -> None:
    """Stamp regularly that requests are served: while this event loop is blocked, heartbeats cannot come in."""
    while True:
        await run_in_threadpool(watchdog.listening)
        await asyncio.sleep(_LISTEN_EVERY_S)


async def _refused(_: Request, __: Exception) -> JSONResponse:
    return refusal()


async def _malformed(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 422)


async def _busy(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 503, headers={"retry-after": "5"})
