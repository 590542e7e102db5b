"""Who may see the pages: nobody without a login, and no form of another site."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from notifybot.watchdog.service import Watchdog
from notifybot.web.app import create_app
from notifybot.web.auth import COOKIE
from tests.support.watchdog_runs import Watchdog as Bench


@pytest.mark.parametrize("path", ["/", "/runs/run-1", "/runs/unknown", "/?page=2"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "localhost:8710"},
        {"host": "[::1]:8710"},
        {"host": "evil.example"},
        {"host": "127.0.0.1:8700", "connection": "close"},  # as nginx's plain proxy_pass sends everybody's requests
        {"x-forwarded-for": "127.0.0.1"},
        {"cookie": f"{COOKIE}=nb_canary"},
    ],
)
def test_no_page_opens_without_a_login_wherever_one_comes_from(
    bench: Bench, path: str, headers: dict[str, str]
) -> None:
    bench.running()
    app = create_app(Watchdog(bench.store))
    client = TestClient(app, base_url="http://127.0.0.1:8710", client=("127.0.0.1", 50_000))
    answer = client.get(path, headers=headers)

    assert answer.status_code == 401
    assert "name of run-1" not in answer.text
    assert "vision" not in answer.text


@pytest.mark.parametrize(
    ("peer", "said", "behind_proxy", "secure"),
    [
        pytest.param("127.0.0.1", "https", False, True, id="a proxy on this machine"),
        pytest.param("10.0.0.7", "https", True, True, id="a proxy elsewhere, which the operator knows of"),
        pytest.param("10.0.0.7", "https", False, False, id="anybody who says so"),
        pytest.param("127.0.0.1", "http", False, False, id="no encryption"),
    ],
)
def test_the_cookie_is_secure_where_a_trusted_proxy_says_https(
    bench: Bench, peer: str, said: str, behind_proxy: bool, secure: bool
) -> None:
    app = create_app(Watchdog(bench.store), behind_proxy=behind_proxy)
    client = TestClient(app, base_url="http://watchdog.example", client=(peer, 1), follow_redirects=False)
    answer = client.post("/login", data={"token": bench.token}, headers={"x-forwarded-proto": said})

    assert ("Secure" in answer.headers["set-cookie"]) is secure


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 303), ("none", 303), ("same-site", 403), ("cross-site", 403)]
)
def test_the_browsers_own_word_on_where_a_form_came_from_counts(
    bench: Bench, public: TestClient, site: str, status: int
) -> None:
    """Also behind a proxy that hands on another host than the browser asked for."""
    headers = {"origin": "https://watchdog.example.org", "sec-fetch-site": site}

    assert public.post("/login", data={"token": bench.token}, headers=headers).status_code == status


def test_a_form_on_another_site_is_not_answered(bench: Bench, public: TestClient) -> None:
    for path in ("/login", "/logout"):
        answer = public.post(path, data={"token": bench.token}, headers={"origin": "https://evil.example"})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
