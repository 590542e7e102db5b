"""The pretended Kakao's login: codes, tokens and refresh tokens as Kakao documents them."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from notifybot.sandbox.kakao_state import CLIENT_SECRET, REDIRECT_URI, REFRESH_TOKEN, REST_API_KEY
from notifybot.testing import FakeClock
from tests.support.kakao_caller import (
    Caller,
    code_of,
    login_as,
    login_outcome,
    outcome,
)


def test_authorize_sends_the_browser_back_with_a_code_and_the_same_state(kakao: Caller) -> None:
    response = kakao.authorize()

    target = urlsplit(response.headers["Location"])
    query = dict(parse_qsl(target.query))
    assert (response.status_code, f"{target.scheme}://{target.netloc}") == (302, "https://localhost")
    assert query["state"] == "s1"
    assert query["code"]


def test_a_person_who_denies_is_sent_back_with_access_denied(kakao: Caller) -> None:
    kakao.world.denies = True

    assert "error=access_denied&error_description=User+denied+access" in kakao.authorize().headers["Location"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"client_id": "other"}, "KOE101", id="unknown app"),
        pytest.param({"redirect_uri": "https://example.com"}, "KOE006", id="unregistered redirect"),
        pytest.param({"response_type": "token"}, "KOE201", id="response type"),
        pytest.param({"scope": "talk_message,plusfriends"}, "KOE205", id="scope off"),
    ],
)
def test_authorize_shows_a_page_with_what_is_wrong(kakao: Caller, changes: dict[str, str], code: str) -> None:
    response = kakao.authorize(**changes)

    assert (response.status_code, code in response.text) == (400, True)


def test_authorize_says_when_the_login_is_switched_off(kakao: Caller) -> None:
    kakao.world.login_on = False

    assert "KOE004" in kakao.authorize().text


def test_a_code_gives_both_tokens_once_with_the_sdk_fixtures_fields(kakao: Caller) -> None:
    fields = {"grant_type": "authorization_code", "redirect_uri": REDIRECT_URI, "code": code_of(kakao)}

    first, second = kakao.token(**fields), kakao.token(**fields)

    body = first.json()
    assert first.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert {"access_token", "token_type", "refresh_token", "expires_in", "scope", "refresh_token_expires_in"} == set(
        body
    )
    assert (
        body["token_type"],
        body["expires_in"],
        body["refresh_token_expires_in"],
        body["scope"],
    ) == ("bearer", 21599, 5183999, "talk_message")
    assert login_outcome(second) == (400, "KOE320")


def test_a_code_is_bound_to_its_redirect_address_and_does_not_last(kakao: Caller, clock: FakeClock) -> None:
    code = code_of(kakao)
    other = kakao.token(grant_type="authorization_code", redirect_uri="http://localhost:8765/callback", code=code)
    clock.advance(600)
    late = kakao.token(grant_type="authorization_code", redirect_uri=REDIRECT_URI, code=code)

    assert login_outcome(other) == (400, "KOE303")
    assert login_outcome(late) == (400, "KOE320")


def test_the_token_endpoint_reads_only_forms(kakao: Caller) -> None:
    body = {"grant_type": "refresh_token", "client_id": REST_API_KEY, "refresh_token": REFRESH_TOKEN}

    assert login_outcome(kakao.http.post(f"{kakao.url}/kakao/auth/oauth/token", json=body)) == (400, "KOE310")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"grant_type": "refresh_token"}, (400, "KOE319"), id="no refresh token"),
        pytest.param({"grant_type": "refresh_token", "refresh_token": "gone"}, (400, "KOE322"), id="unknown token"),
        pytest.param({"grant_type": "password"}, (400, "KOE310"), id="grant type"),
        pytest.param({"grant_type": "refresh_token", "client_id": "x"}, (401, "KOE101"), id="wrong app"),
    ],
)
def test_the_token_endpoint_refuses_with_kakaos_codes(
    kakao: Caller, fields: dict[str, str], expected: tuple[int, str]
) -> None:
    assert expected == login_outcome(kakao.token(**fields))


@pytest.mark.parametrize("status", [401, 400])
def test_a_missing_or_wrong_client_secret_is_refused_where_one_is_set(kakao: Caller, status: int) -> None:
    kakao.world.client_secret = CLIENT_SECRET
    kakao.world.client_secret_status = status

    assert login_outcome(kakao.refresh()) == (status, "KOE010")
    assert login_outcome(kakao.refresh(client_secret="wrong")) == (status, "KOE010")
    assert kakao.refresh(client_secret=CLIENT_SECRET).status_code == 200


def test_a_refresh_brings_a_new_refresh_token_only_in_the_last_month(kakao: Caller, clock: FakeClock) -> None:
    early = kakao.refresh().json()
    clock.advance(31 * 86400)
    late = kakao.refresh().json()

    assert {"access_token", "token_type", "expires_in", "scope"} == set(early)
    assert set(late) - set(early) == {"refresh_token", "refresh_token_expires_in"}
    assert kakao.refresh(late["refresh_token"]).status_code == 200


@pytest.mark.parametrize(("survives", "status"), [(True, 200), (False, 400)])
def test_the_old_refresh_token_lives_on_or_dies_as_the_knob_says(
    kakao: Caller, clock: FakeClock, survives: bool, status: int
) -> None:
    kakao.world.old_refresh_token_survives = survives
    clock.advance(31 * 86400)
    kakao.refresh()

    assert kakao.refresh().status_code == status


def test_a_refresh_token_past_its_sixty_days_is_refused(kakao: Caller, clock: FakeClock) -> None:
    clock.advance(60 * 86400)

    assert login_outcome(kakao.refresh()) == (400, "KOE322")


def test_a_scope_that_the_person_did_not_tick_is_not_granted(kakao: Caller) -> None:
    kakao.world.unticked = {"friends"}

    reply = login_as(kakao, "me", "talk_message,friends")

    assert reply["scope"] == "talk_message"
    assert outcome(kakao.get("/v1/api/talk/friends", reply["access_token"])) == (403, -402)
