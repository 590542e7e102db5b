"""Somebody who calls the pretended Kakao with plain requests, and knows nothing but Kakao's documents."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests

from notifybot.sandbox import Sandbox
from notifybot.sandbox.kakao_state import REDIRECT_URI, REFRESH_TOKEN, REST_API_KEY

MEMO = "/kakao/api/v2/api/talk/memo/default/send"
LINK = {"web_url": "https://developers.kakao.com", "mobile_web_url": "https://developers.kakao.com"}
TEXT = {"object_type": "text", "text": "epoch 3 finished", "link": LINK}
CONTENT = {"title": "t", "description": "d", "link": LINK}


class Caller:
    """Somebody who knows nothing but Kakao's documents."""

    def __init__(self, sandbox: Sandbox, http: requests.Session) -> None:
        self.world = sandbox.kakao
        self.url = sandbox.url
        self.http = http

    def authorize(self, **changes: str) -> requests.Response:
        query = {"client_id": REST_API_KEY, "redirect_uri": REDIRECT_URI, "response_type": "code"}
        query |= {"scope": "talk_message", "state": "s1"} | changes
        return self.http.get(f"{self.url}/kakao/auth/oauth/authorize", params=query, allow_redirects=False)

    def token(self, **fields: str) -> requests.Response:
        return self.http.post(f"{self.url}/kakao/auth/oauth/token", data={"client_id": REST_API_KEY} | fields)

    def refresh(self, token: str = REFRESH_TOKEN, **fields: str) -> requests.Response:
        return self.token(grant_type="refresh_token", refresh_token=token, **fields)

    def access(self) -> str:
        return str(self.refresh().json()["access_token"])

    def get(self, path: str, token: str) -> requests.Response:
        return self.http.get(f"{self.url}/kakao/api{path}", headers={"Authorization": f"Bearer {token}"})

    def post(self, path: str, token: str, **more: Any) -> requests.Response:
        return self.http.post(f"{self.url}/kakao/api{path}", headers={"Authorization": f"Bearer {token}"}, **more)

    def memo(self, template: object = TEXT, token: str | None = None) -> requests.Response:
        fields = {"template_object": template if isinstance(template, str) else json.dumps(template)}
        return self.post("/v2/api/talk/memo/default/send", token or self.access(), data=fields)


def outcome(response: requests.Response) -> tuple[int, int]:
    return response.status_code, response.json()["code"]


def login_outcome(response: requests.Response) -> tuple[int, str]:
    assert set(response.json()) == {"error", "error_description", "error_code"}
    return response.status_code, response.json()["error_code"]


def to_friends(kakao: Caller, token: str, uuids: object) -> requests.Response:
    fields = {"receiver_uuids": json.dumps(uuids), "template_object": json.dumps(TEXT)}
    return kakao.post("/v1/api/talk/friends/message/default/send", token, data=fields)


def login_as(kakao: Caller, account: str, scope: str) -> dict[str, Any]:
    """Sign in at the browser as an account, and exchange the code."""
    kakao.world.browser_account = account
    target = urlsplit(kakao.authorize(scope=scope).headers["Location"])
    code = dict(parse_qsl(target.query))["code"]
    reply: dict[str, Any] = kakao.token(grant_type="authorization_code", redirect_uri=REDIRECT_URI, code=code).json()
    return reply


def code_of(kakao: Caller) -> str:
    return dict(parse_qsl(urlsplit(kakao.authorize().headers["Location"]).query))["code"]
