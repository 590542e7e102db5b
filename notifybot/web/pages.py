"""The pages: a list of runs and one run, rendered here and fetched again every few seconds."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from notifybot.i18n import built_in_folder, text
from notifybot.store import runs
from notifybot.store.runs import Board
from notifybot.types import Language
from notifybot.watchdog import logins
from notifybot.watchdog.logins import Visitor
from notifybot.watchdog.service import Watchdog
from notifybot.web import auth, views

A_PAGE = 100
_MARK = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="#2563eb"/>'
    '<path d="M3 9h2.5l1.5-4 2.5 7 1.5-3h2" fill="none" stroke="#fff" stroke-width="1.5"/></svg>'
)


class Pages:
    """The pages of one watchdog."""

    def __init__(self, watchdog: Watchdog, *, language: Language, behind_proxy: bool) -> None:
        self._watchdog = watchdog
        self._language = language
        self._behind_proxy = behind_proxy
        self._templates = Environment(
            loader=FileSystemLoader(built_in_folder() / "web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["segment"] = lambda text: quote(text, safe="")
        self._templates.filters["commands"] = _commands

    def router(self) -> APIRouter:
        """The routes of the pages."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/", self._seen(self.list_of_runs), methods=["GET"])
        router.add_api_route("/runs/{run_id:path}", self._seen(self.one_run), methods=["GET"])
        router.add_api_route("/login", self.enter, methods=["GET"])
        router.add_api_route("/login", self.log_in, methods=["POST"])
        router.add_api_route("/logout", self.log_out, methods=["POST"])
        router.add_api_route("/favicon.ico", favicon, methods=["GET"])
        return router

    def list_of_runs(self, request: Request, visitor: Visitor) -> Response:
        """A page of the runs that the visitor may see, those in need first."""
        page = _page_number(request.query_params.get("page", ""))
        with self._watchdog.store.reading() as connection:
            board = runs.board(connection, project=visitor.project, limit=A_PAGE, offset=(page - 1) * A_PAGE)
        if page > 1 and not board.rows:
            return RedirectResponse("/", 303)
        return self._list(request, visitor, board, page)

    def _list(self, request: Request, visitor: Visitor, board: Board, page: int) -> Response:
        now, language = self._watchdog.store.clock.now(), self.language_of(request)
        cards = [views.card_of(row, now, language) for row in board.rows]
        first = (page - 1) * A_PAGE
        return self._page(
            "runs.html", request, visitor, cards=cards, counts=board.counts, has_notifiers=self._watchdog.has_notifiers,
            total=board.total, first=first + 1, last=first + len(cards),
            newer=page - 1 if page > 1 else None, older=page + 1 if page * A_PAGE < board.total else None,
        )  # fmt: skip

    def one_run(self, request: Request, visitor: Visitor) -> Response:
        """Show one run: its state, how to continue it, its curves and its history.

        Where two projects have a run of that id and the address does not say which is meant, all of them are listed.
        """
        project = request.query_params.get("project") if visitor.project is None else visitor.project
        with self._watchdog.store.reading() as connection:
            found = runs.named(connection, request.path_params["run_id"], project=project)
            events = runs.events_in(connection, found[0].key) if len(found) == 1 else []
        if not found:
            return self._page("missing.html", request, visitor, status=404)
        if len(found) > 1:
            return self._list(request, visitor, Board(tuple(found), {}, len(found)), 1)
        view = views.view_of_run(found[0], events, self._watchdog.store.clock.now(), self.language_of(request))
        return self._page("run.html", request, visitor, view=view)

    def enter(self, request: Request) -> Response:
        """The login form; or, with the key of a link that the server printed, the way in."""
        key = request.query_params.get("key")
        if key is None:
            return self._page("login.html", request, None, wrong="")
        session = logins.enter_by_key(self._watchdog.store, key)
        if session is None:
            return self._page("login.html", request, None, status=401, wrong=self._said(request, "web.old_link"))
        return self._let_in(request, session, "/")

    async def log_in(self, request: Request) -> Response:
        """Exchange a token for a session."""
        if not auth.is_same_origin(request):
            return _foreign_form(self.language_of(request))
        form = parse_qs((await request.body()).decode(errors="replace"), max_num_fields=8)
        token = form.get("token", [""])[0].strip()
        session = await run_in_threadpool(logins.enter_by_token, self._watchdog.store, token)
        if session is None:
            return self._page("login.html", request, None, status=401, wrong=self._said(request, "web.wrong_key"))
        return self._let_in(request, session, _own_path(form.get("next", ["/"])[0]))

    async def log_out(self, request: Request) -> Response:
        """End the session and delete its cookie."""
        if not auth.is_same_origin(request):
            return _foreign_form(self.language_of(request))
        session = request.cookies.get(auth.COOKIE, "")
        await run_in_threadpool(logins.leave, self._watchdog.store, session)
        response = RedirectResponse("/", 303)
        auth.forget(response)
        return response

    def _let_in(self, request: Request, session: str, path: str) -> Response:
        response = RedirectResponse(path, 303)
        auth.remember(response, session, secure=auth.is_encrypted(request, behind_proxy=self._behind_proxy))
        return response

    def language_of(self, request: Request) -> Language:
        """The language asked for by `?lang=`, else the browser's, else the configured one."""
        asked = [request.query_params.get("lang", "")]
        asked += [part.split(";")[0].strip()[:2] for part in request.headers.get("accept-language", "").split(",")]
        return next((Language(each) for each in asked if each in list(Language)), self._language)

    def _said(self, request: Request, key: str) -> str:
        return text(self.language_of(request), key)

    def _seen(self, page: Callable[[Request, Visitor], Response]) -> Callable[[Request], Response]:
        """Return the page for a visitor who may see it, the login form for others."""

        def seen(request: Request) -> Response:
            visitor = auth.visitor_of(request, self._watchdog.store)
            if visitor is None:
                return self._page("login.html", request, None, status=401, wrong="")
            return page(request, visitor)

        return seen

    def _page(
        self, template: str, request: Request, visitor: Visitor | None, *, status: int = 200, **values: Any
    ) -> HTMLResponse:
        language, nonce = self.language_of(request), secrets.token_urlsafe(16)
        other = Language.EN if language is Language.KO else Language.KO
        path = "/" if request.url.path in ("/login", "/logout") else request.url.path
        asked = {name: value for name, value in request.query_params.items() if name in ("project", "page", "lang")}
        said = {"lang": language.value} if "lang" in asked else {}
        html = self._templates.get_template(template).render(
            values,
            t=partial(text, language),
            language=language,
            other=other,
            query=_query(said),
            of_run=lambda project: _query(({} if visitor and visitor.project else {"project": project}) | said),
            at_page=lambda number: "/" + _query(({"page": str(number)} if number > 1 else {}) | said),
            all_projects=visitor is not None and visitor.project is None,
            here=path + _query(asked),
            there=path + _query(asked | {"lang": other.value}),
            nonce=nonce,
            logged_in=visitor is not None,
        )
        return HTMLResponse(html, status, headers={"content-security-policy": policy(nonce)})


def _foreign_form(language: Language) -> Response:
    return Response(text(language, "web.pages.foreign_form") + "\n", 403, media_type="text/plain")


def favicon() -> Response:
    """The small picture in the browser's tab."""
    return Response(_MARK, media_type="image/svg+xml")


def policy(nonce: str) -> str:
    """The Content-Security-Policy of a page: its own style and script, nothing from anywhere else."""
    return (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def _page_number(text: str) -> int:
    return max(int(text[:9]), 1) if text.isascii() and text.isdecimal() else 1


def _query(values: Mapping[str, str]) -> str:
    return f"?{urlencode(values)}" if values else ""


def _own_path(path: str) -> str:
    """A path of this server, or its start page: a form must not lead elsewhere."""
    safe = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if safe else "/"


def _commands(text: str) -> Markup:
    """Return one of our sentences as markup, with the text between backticks as code."""
    escaped = str(escape(text))
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", escaped))  # noqa: S704 escaped above
