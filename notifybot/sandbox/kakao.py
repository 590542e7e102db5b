"""KakaoTalk on loopback: the login under `/auth`, the API under `/api`, with knobs, faults and a phone to look at."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from notifybot.clock import Clock
from notifybot.sandbox import kakao_api, kakao_oauth
from notifybot.sandbox.http import Request, Response, picture_type
from notifybot.sandbox.kakao_state import KakaoFault, KakaoWorld, api_failure, login_failure

_AFTER_DELIVERY = -603
_IMAGE = re.compile(r"/api/images/(\d+)")

_ROUTES: dict[tuple[str, str], Callable[[KakaoWorld, Request], Response]] = {
    ("GET", "/auth/oauth/authorize"): kakao_oauth.authorize,
    ("POST", "/auth/oauth/token"): kakao_oauth.token,
    ("POST", "/api/v2/api/talk/memo/default/send"): kakao_api.send_memo,
    ("GET", "/api/v1/api/talk/friends"): kakao_api.list_friends,
    ("POST", "/api/v1/api/talk/friends/message/default/send"): kakao_api.send_to_friends,
    ("POST", "/api/v2/api/talk/message/image/upload"): kakao_api.upload_image,
    ("GET", "/api/v1/user/access_token_info"): kakao_api.access_token_info,
    ("GET", "/api/v2/user/scopes"): kakao_api.scopes,
    ("POST", "/api/v1/user/logout"): kakao_api.logout,
    ("POST", "/api/v1/user/unlink"): kakao_api.unlink,
}


class KakaoService(KakaoWorld):
    """Answers as Kakao would. Its attributes are the knobs; `messages` is what arrived."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._lock = threading.RLock()

    def handle(self, request: Request) -> Response | None:
        """Answer a request, or return None for a path that Kakao does not have."""
        with self._lock:
            image = _IMAGE.fullmatch(request.path)
            if request.method == "GET" and image:
                found = self.images[int(image[1]) - 1 : int(image[1])] if int(image[1]) else []
                if not found:
                    return None
                return Response(200, found[0], {"Content-Type": picture_type(found[0]) or "application/octet-stream"})
            route = _ROUTES.get((request.method, request.path))
            return self._answer(route, request) if route else None

    def _answer(self, route: Callable[[KakaoWorld, Request], Response], request: Request) -> Response:
        fault = self._fault(request.path)
        if fault and fault.code != _AFTER_DELIVERY:
            return _faulty(fault)
        try:
            response = route(self, request)
        except kakao_api.Rejection as rejection:
            response = rejection.response
        return _faulty(fault) if fault and response.status == 200 else response

    def _fault(self, path: str) -> KakaoFault | None:
        """The first fault to order for a path, used up once. A code belongs to the side that speaks it."""
        for fault in self.faults:
            side = {int: "/api/", str: "/auth/"}.get(type(fault.code), "")
            if path.startswith(side) and fault.path in path:
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None


def _faulty(fault: KakaoFault) -> Response:
    match fault.code:
        case int(code):
            return api_failure(code)
        case str(code):
            return login_failure(code, fault.status or None)
    return Response(fault.status, fault.body, {"Content-Type": "text/html;charset=UTF-8"})
