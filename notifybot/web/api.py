"""The API: events and heartbeats in, runs out. Every refusal reads the same, so that it reveals nothing."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, TypeAdapter

from notifybot.events import to_json
from notifybot.store import runs
from notifybot.store.runs import RunRow
from notifybot.types import run_key
from notifybot.watchdog import tokens
from notifybot.watchdog.ingest import AccessDenied
from notifybot.watchdog.service import Watchdog
from notifybot.web.auth import bearer
from notifybot.web.middleware import NO_ACCESS

_LATEST_EVENTS = 1000
_A_PAGE = 200
Page = Annotated[int, Query(ge=1, le=10**9)]
Limit = Annotated[int, Query(ge=1, le=_A_PAGE)]
_PRIVATE = {"session", "beat_seq", "deadline_at", "stack"}
_BODY = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
_OPENAPI: dict[str, Any] = {"security": [{"bearer": []}]}


def ingest_routes(watchdog: Watchdog) -> APIRouter:
    """The routes that processes report to."""
    router = APIRouter()

    @router.post("/api/v1/events", openapi_extra=_OPENAPI | {"requestBody": _BODY})
    async def events(request: Request) -> JSONResponse:
        """Record events, idempotent by their id: {"events": [...], "direct": bool, "memories": {run: …}}.

        The answer names, as "superseded", the sessions among them that a newer process has taken over from.
        """
        body = await request.body()
        done = await run_in_threadpool(watchdog.accept_events, bearer(request.headers), body)
        superseded = {"superseded": list(done.superseded)} if done.superseded else {}
        return JSONResponse({"accepted": done.accepted, "known": done.known, **superseded})

    @router.post("/api/v1/heartbeats", openapi_extra=_OPENAPI | {"requestBody": _BODY})
    async def heartbeats(request: Request) -> JSONResponse:
        """Record that a process lives, and whether its loop moves; answers with the run's state."""
        body = await request.body()
        state = await run_in_threadpool(watchdog.accept_heartbeat, bearer(request.headers), body)
        return JSONResponse({"state": state})

    return router


def readings(watchdog: Watchdog) -> APIRouter:
    """The routes that return runs, and the watchdog's own health."""
    router = APIRouter()

    @router.get("/api/v1/runs", openapi_extra=_OPENAPI)
    def all_runs(request: Request, page: Page = 1, limit: Limit = _A_PAGE) -> Response:
        """A page of the project's runs: those in need first, then those at work, the newest first in each.

        "total" counts all of them, and "next" is the address of the next page, or null.
        """
        project = _project(watchdog, request)
        with watchdog.store.reading() as connection:
            found = runs.board(connection, project=project, limit=limit, offset=(page - 1) * limit)
        rows = ",".join(map(_run_json, found.rows))
        follows = f'"/api/v1/runs?page={page + 1}&limit={limit}"' if page * limit < found.total else "null"
        return _json(f'{{"runs":[{rows}],"total":{found.total},"next":{follows}}}')

    @router.get("/api/v1/runs/{run_id:path}", openapi_extra=_OPENAPI)
    def one_run(run_id: str, request: Request) -> Response:
        """One run of the project with its latest events, oldest first."""
        key = run_key(_project(watchdog, request), run_id)
        with watchdog.store.reading() as connection:
            row = runs.get_in(connection, key)
            latest = runs.events_in(connection, key, limit=_LATEST_EVENTS)
        if row is None:
            raise AccessDenied("no such run here")
        events = ",".join(map(to_json, latest))
        return _json(f'{{"run":{_run_json(row)},"events":[{events}]}}')

    @router.get("/healthz")
    def healthz() -> JSONResponse:
        """200 while runs are looked at and messages go out, 503 otherwise."""
        health = watchdog.health()
        body = {
            "ok": health.ok,
            "faults": list(health.faults),
            "scan_age_s": health.scan_age_s,
            "outbox_age_s": health.outbox_age_s,
            "runs_set_apart": health.set_apart,
        }
        return JSONResponse(body, 200 if health.ok else 503)

    return router


def refusal() -> JSONResponse:
    """The one answer to a token that is missing, wrong or revoked, and to a run of somebody else."""
    return JSONResponse({"error": NO_ACCESS}, 401, headers={"www-authenticate": "Bearer"})


def _project(watchdog: Watchdog, request: Request) -> str:
    project = tokens.verify(watchdog.store, bearer(request.headers))
    if project is None:
        raise AccessDenied("this token gives no access")
    return project


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")


def _run_json(row: RunRow) -> str:
    text: bytes = _row_adapter().dump_json(row, exclude=_PRIVATE)
    return text.decode()


@cache
def _row_adapter() -> Any:
    # A union, since pydantic takes no configuration for a bare dataclass. NaN travels as the string "NaN".
    return TypeAdapter(RunRow | None, config=ConfigDict(ser_json_inf_nan="strings"))
