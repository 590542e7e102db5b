"""Kakao's refusals in Kakao's words, with the statuses they come under."""

from __future__ import annotations

import json

from notifybot.sandbox.wire import Response

_JSON = {"Content-Type": "application/json;charset=UTF-8"}

_API = {
    -1: (400, "internal server error"),
    -2: (400, "failed to parse parameter."),
    -3: (403, "App disabled [talk_message] scopes for [TALK_MEMO_DEFAULT_SEND] API on console. Enable it first."),
    -4: (403, "account is blocked."),
    -5: (403, "permission denied"),
    -7: (400, "service is under maintenance."),
    -9: (400, "this API is deprecated."),
    -10: (400, "API limit has been exceeded."),
    -101: (400, "NotRegisteredUserException"),
    -103: (400, "not existing user account."),
    -401: (401, "this access token does not exist"),
    -402: (403, "insufficient scopes."),
    -501: (400, "given account is not connected to any talk user."),
    -502: (400, "given receiver is not a friend."),
    -530: (400, "receiver refuses messages."),
    -532: (400, "daily message limit per sender has been exceeded."),
    -533: (400, "daily message limit per receiver has been exceeded."),
    -536: (400, "daily message limit per sender and receiver has been exceeded."),
    -602: (400, "image is too large."),
    -603: (400, "internal timeout"),
    -606: (400, "too many images."),
    -911: (400, "unsupported image format."),
    -9798: (503, "service is temporarily unavailable."),
}

_LOGIN = {
    "KOE003": (500, "server_error", "temporarily unavailable"),
    "KOE010": (401, "invalid_client", "Bad client credentials"),
    "KOE101": (401, "invalid_client", "Not exist client_id"),
    "KOE237": (400, "temporarily_unavailable", "too many requests"),
    "KOE303": (400, "invalid_grant", "Redirect URI mismatch."),
    "KOE310": (400, "invalid_request", "grant_type is missing or not supported"),
    "KOE319": (400, "invalid_grant", "refresh_token is missing"),
    "KOE320": (400, "invalid_grant", "authorization code not found"),
    "KOE322": (400, "invalid_grant", "expired_or_invalid_refresh_token"),
}


def answer(value: object) -> Response:
    """A successful answer."""
    return Response(200, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), _JSON)


def api_failure(code: int, text: str | None = None, **more: object) -> Response:
    """A refusal of the API: `msg`, `code`, and for some codes more."""
    status, usual = _API.get(code, (400, "refused"))
    headers = _JSON | ({"WWW-Authenticate": "Bearer error=invalid_token"} if status == 401 else {})
    body = {"msg": text or usual, "code": code, **more}
    return Response(status, json.dumps(body).encode(), headers)


def login_failure(code: str, status: int | None = None) -> Response:
    """A refusal of the login's token endpoint."""
    usual, error, text = _LOGIN.get(code, (400, "invalid_request", "refused"))
    body = {"error": error, "error_description": text, "error_code": code}
    return Response(status or usual, json.dumps(body).encode(), _JSON)


def login_page(code: str) -> Response:
    """A refusal that the person sees in the browser."""
    body = f"<!DOCTYPE html><html><body><h1>{code}</h1></body></html>"
    return Response(400, body.encode(), {"Content-Type": "text/html;charset=UTF-8"})
