"""The pretended Kakao behaves as Kakao documents itself, seen with plain requests and none of our client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from notifybot.sandbox import Sandbox
from notifybot.sandbox.kakao_state import CLIENT_SECRET, REDIRECT_URI, REFRESH_TOKEN, REST_API_KEY, Friend, KakaoFault
from notifybot.testing import FakeClock

MEMO = "/kakao/api/v2/api/talk/memo/default/send"
LINK = {"web_url": "https://developers.kakao.com", "mobile_web_url": "https://developers.kakao.com"}
TEXT = {"object_type": "text", "text": "epoch 3 finished", "link": LINK}
CONTENT = {"title": "t", "description": "d", "link": LINK}


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def kakao(sandbox: Sandbox, http: requests.Session) -> Caller:
    return Caller(sandbox, http)


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


def code_of(kakao: Caller) -> str:
    return dict(parse_qsl(urlsplit(kakao.authorize().headers["Location"]).query))["code"]


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


def test_a_memo_is_answered_exactly_and_rings_nowhere(kakao: Caller) -> None:
    response = kakao.memo()

    [message] = kakao.world.messages
    assert response.content == b'{"result_code":0}'
    assert (
        message.template,
        message.pushed,
        message.link_dead,
        message.text,
    ) == (TEXT, False, False, "epoch 3 finished")


@pytest.mark.parametrize("header", [None, "Basic abc", "bare-token"], ids=["missing", "other scheme", "malformed"])
def test_a_call_without_a_bearer_token_is_refused_first(kakao: Caller, header: str | None) -> None:
    headers = {"Authorization": header} if header else {}
    response = kakao.http.post(f"{kakao.url}{MEMO}", json={}, headers=headers)

    assert outcome(response) == (401, -401)
    assert response.headers["WWW-Authenticate"] == "Bearer error=invalid_token"


def test_an_unknown_and_an_expired_token_are_told_apart(kakao: Caller, clock: FakeClock) -> None:
    token = kakao.access()
    clock.advance(21600)
    unknown, expired = kakao.memo(token="other"), kakao.memo(token=token)

    assert unknown.json() == {"msg": "this access token does not exist", "code": -401}
    assert expired.json() == {"msg": "this access token is already expired", "code": -401}


def test_a_token_without_the_scope_is_told_which_one_it_needs(kakao: Caller) -> None:
    kakao.world.refresh_tokens["bare"] = kakao.world.grant(frozenset({"profile", "account_email"}), 5e6)
    token = kakao.refresh("bare").json()["access_token"]
    response = kakao.memo({"broken": True}, token)

    assert response.status_code == 403
    assert response.json() == {
        "msg": "insufficient scopes.",
        "code": -402,
        "api_type": "TALK_MEMO_DEFAULT_SEND",
        "required_scopes": ["talk_message"],
        "allowed_scopes": ["account_email", "profile"],
    }


def test_a_consent_item_that_is_off_is_refused_for_the_app(kakao: Caller) -> None:
    kakao.world.enabled_scopes = set()
    response = kakao.memo()

    assert outcome(response) == (403, -3)
    assert "App disabled [talk_message] scopes for [TALK_MEMO_DEFAULT_SEND] API" in response.json()["msg"]


BUTTON = {"title": "b", "link": LINK}


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("", id="missing field"),
        pytest.param("{", id="broken JSON"),
        pytest.param("[]", id="no object"),
        pytest.param({"object_type": "poem"}, id="unknown type"),
        pytest.param({"object_type": "text", "text": "no link"}, id="text without link"),
        pytest.param({"object_type": "text", "link": LINK}, id="text without text"),
        pytest.param({**TEXT, "buttons": [BUTTON] * 3}, id="three buttons"),
        pytest.param({"object_type": "feed"}, id="feed without content"),
        pytest.param(
            {"object_type": "feed", "content": CONTENT, "item_content": {"items": [{"item": "a"}]}}, id="item alone"
        ),
        pytest.param(
            {"object_type": "list", "header_title": "h", "header_link": LINK, "contents": [CONTENT]}, id="list of one"
        ),
        pytest.param(
            {"object_type": "list", "header_title": "h", "header_link": LINK, "contents": [CONTENT] * 4}, id="of four"
        ),
        pytest.param(
            {"object_type": "location", "address": "a", "content": CONTENT, "buttons": [BUTTON] * 2}, id="location"
        ),
        pytest.param({**TEXT, "text": "가" * 201}, id="201 characters"),
    ],
)
def test_a_template_that_kakao_cannot_read_is_refused(kakao: Caller, template: object) -> None:
    response = kakao.memo(template)

    assert outcome(response) == (400, -2)
    assert response.json()["msg"].startswith("failed to parse parameter. name=template_object")
    assert kakao.world.messages == []


def test_a_json_body_is_not_a_form(kakao: Caller) -> None:
    response = kakao.post("/v2/api/talk/memo/default/send", kakao.access(), json={"template_object": json.dumps(TEXT)})

    assert outcome(response) == (400, -2)


def test_a_long_text_is_cut_where_the_lenient_kakao_is_chosen(kakao: Caller) -> None:
    kakao.world.strict_text = False
    kakao.memo({**TEXT, "text": "가" * 201})

    [message] = kakao.world.messages
    assert (message.truncated, len(message.text)) == (True, 200)


@pytest.mark.parametrize(
    "template",
    [
        pytest.param({"object_type": "feed", "content": CONTENT, "buttons": [BUTTON]}, id="feed"),
        pytest.param(
            {"object_type": "list", "header_title": "h", "header_link": LINK, "contents": [CONTENT] * 2}, id="list"
        ),
        pytest.param({"object_type": "commerce", "content": CONTENT, "commerce": {"regular_price": 1}}, id="commerce"),
        pytest.param({"object_type": "location", "address": "a", "content": CONTENT}, id="location"),
    ],
)
def test_every_documented_template_is_accepted(kakao: Caller, template: dict[str, Any]) -> None:
    assert kakao.memo(template).json() == {"result_code": 0}


def test_a_link_to_an_unregistered_domain_arrives_but_is_marked_dead(kakao: Caller) -> None:
    response = kakao.memo({**TEXT, "link": {"web_url": "https://developers.kakao.com.evil.example/x"}})

    assert (response.status_code, kakao.world.messages[0].link_dead) == (200, True)


def test_the_daily_limits_are_400_and_end_at_midnight_in_korea(kakao: Caller, clock: FakeClock) -> None:
    token = kakao.access()  # the clock stands at noon in Korea
    answers = [kakao.memo(token=token).json() for _ in range(21)]
    clock.advance(12 * 3600 - 1)
    before = kakao.memo()
    clock.advance(1)
    after = kakao.memo()

    assert answers[:20] == [{"result_code": 0}] * 20
    assert answers[20]["code"] == -536
    assert outcome(before) == (400, -536)
    assert after.status_code == 200


@pytest.mark.parametrize(
    ("limit", "code"), [("sender_limit", -532), ("receiver_limit", -533), ("pair_limit", -536), ("app_limit", -10)]
)
def test_each_limit_has_its_code(kakao: Caller, limit: str, code: int) -> None:
    setattr(kakao.world, limit, 1)
    token = kakao.access()
    kakao.memo(token=token)

    assert outcome(kakao.memo(token=token)) == (400, code)


def test_parameters_are_checked_before_the_quota(kakao: Caller) -> None:
    kakao.world.app_limit = 0

    assert outcome(kakao.memo("{")) == (400, -2)


def test_ordered_faults_come_and_go(kakao: Caller) -> None:
    token = kakao.access()
    kakao.world.faults += [
        KakaoFault(-1),
        KakaoFault(-9798),
        KakaoFault(status=502, path="/memo/"),
        KakaoFault(status=200, body=b"<html>", path="/memo/"),
        KakaoFault("KOE003"),
    ]

    assert outcome(kakao.memo(token=token)) == (400, -1)
    assert outcome(kakao.memo(token=token)) == (503, -9798)
    assert ((empty := kakao.memo(token=token)).status_code, empty.content) == (502, b"")
    assert ((garbage := kakao.memo(token=token)).status_code, garbage.content) == (200, b"<html>")
    assert login_outcome(kakao.refresh()) == (500, "KOE003")
    assert (len(kakao.world.messages), kakao.memo(token=token).status_code) == (0, 200)


def test_an_internal_timeout_comes_after_the_message_was_delivered(kakao: Caller) -> None:
    kakao.world.faults.append(KakaoFault(-603))

    assert outcome(kakao.memo()) == (400, -603)
    assert len(kakao.world.messages) == 1


def test_the_token_tells_how_long_it_lives_and_what_it_may(kakao: Caller, clock: FakeClock) -> None:
    token = kakao.access()
    clock.advance(599)

    info = kakao.get("/v1/user/access_token_info", token).json()
    scopes = kakao.get("/v2/user/scopes", token).json()["scopes"]
    assert ({"id", "expires_in", "app_id"}, 21000) == (set(info), info["expires_in"])
    assert {each["id"]: each["agreed"] for each in scopes} == {"friends": False, "talk_message": True}


def test_logout_ends_one_token_and_unlink_all(kakao: Caller) -> None:
    first, second = kakao.access(), kakao.access()
    assert kakao.post("/v1/user/logout", first).json() == {"id": kakao.world.user_id}
    assert outcome(kakao.memo(token=first)) == (401, -401)
    assert kakao.post("/v1/user/unlink", second).json() == {"id": kakao.world.user_id}

    assert outcome(kakao.memo(token=second)) == (401, -401)
    assert login_outcome(kakao.refresh()) == (400, "KOE322")


def test_a_person_no_longer_connected_is_refused(kakao: Caller) -> None:
    token = kakao.access()
    kakao.world.linked = False

    assert outcome(kakao.memo(token=token)) == (400, -101)


PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 64


def test_a_picture_is_kept_and_served(kakao: Caller) -> None:
    response = kakao.post("/v2/api/talk/message/image/upload", kakao.access(), files={"file": ("p.png", PNG)})

    original = response.json()["infos"]["original"]
    assert ({"url", "length", "width", "height"}, len(PNG)) == (set(original), original["length"])
    assert kakao.http.get(original["url"]).content == PNG


@pytest.mark.parametrize(
    ("pictures", "code"),
    [
        pytest.param([("file", ("a.png", PNG)), ("file", ("b.png", PNG))], -606, id="two"),
        pytest.param([("file", ("a.txt", b"text"))], -911, id="no picture"),
        pytest.param([("file", ("a.png", PNG + b"0" * 100))], -602, id="too large"),
        pytest.param([("other", ("a.png", PNG))], -2, id="no file"),
    ],
)
def test_a_picture_that_does_not_fit_is_refused(kakao: Caller, pictures: list[Any], code: int) -> None:
    kakao.world.image_limit_bytes = 100
    response = kakao.post("/v2/api/talk/message/image/upload", kakao.access(), files=pictures)

    assert outcome(response) == (400, code)


@pytest.fixture
def spare(kakao: Caller) -> str:
    """The access token of an account that may write to friends."""
    kakao.world.refresh_tokens["spare"] = kakao.world.grant(frozenset({"talk_message", "friends"}), 5e6)
    kakao.world.friends = [Friend("uuid-a", "가"), Friend("uuid-b", "나", refuses=True)]
    return str(kakao.refresh("spare").json()["access_token"])


def to_friends(kakao: Caller, token: str, uuids: object) -> requests.Response:
    fields = {"receiver_uuids": json.dumps(uuids), "template_object": json.dumps(TEXT)}
    return kakao.post("/v1/api/talk/friends/message/default/send", token, data=fields)


def test_friends_are_listed_and_their_phones_ring(kakao: Caller, spare: str) -> None:
    listed = kakao.get("/v1/api/talk/friends", spare).json()
    sent = to_friends(kakao, spare, ["uuid-a"]).json()

    assert [each["uuid"] for each in listed["elements"]] == ["uuid-a", "uuid-b"]
    assert sent == {"successful_receiver_uuids": ["uuid-a"]}
    assert kakao.world.messages[0].pushed is True


def test_a_partial_failure_is_a_success_with_its_failures(kakao: Caller, spare: str) -> None:
    response = to_friends(kakao, spare, ["uuid-a", "uuid-b", "uuid-x"])

    codes = {each["code"]: each["receiver_uuids"] for each in response.json()["failure_info"]}
    assert (response.status_code, codes) == (200, {-530: ["uuid-b"], -502: ["uuid-x"]})


def test_all_failing_or_too_many_friends_are_an_error(kakao: Caller, spare: str) -> None:
    assert outcome(to_friends(kakao, spare, ["uuid-b"])) == (400, -530)
    assert outcome(to_friends(kakao, spare, ["uuid-a"] * 6)) == (400, -2)
    assert outcome(to_friends(kakao, spare, "uuid-a")) == (400, -2)


def test_the_friends_list_comes_in_pages_of_at_most_a_hundred(kakao: Caller, spare: str) -> None:
    """Facts: offset and limit, the latter at most 100."""
    kakao.world.friends = [Friend(f"uuid-{number}", str(number)) for number in range(130)]

    pages = [kakao.get(f"/v1/api/talk/friends?limit=100&offset={offset}", spare).json() for offset in (0, 100, 200)]

    assert [(len(page["elements"]), page["total_count"]) for page in pages] == [(100, 130), (30, 130), (0, 130)]
    assert outcome(kakao.get("/v1/api/talk/friends?limit=101", spare)) == (400, -2)
    assert outcome(kakao.get("/v1/api/talk/friends?offset=x", spare)) == (400, -2)


def login_as(kakao: Caller, account: str, scope: str) -> dict[str, Any]:
    """Sign in at the browser as an account, and exchange the code."""
    kakao.world.browser_account = account
    target = urlsplit(kakao.authorize(scope=scope).headers["Location"])
    code = dict(parse_qsl(target.query))["code"]
    reply: dict[str, Any] = kakao.token(grant_type="authorization_code", redirect_uri=REDIRECT_URI, code=code).json()
    return reply


def test_a_friend_is_listed_and_reached_once_it_signed_in_and_agreed(kakao: Caller, spare: str) -> None:
    """Facts: a friend is on the list only if linked to the app and agreed to `friends`."""
    kakao.world.friends = [Friend("uuid-a", "가", agreed=False)]
    before = kakao.get("/v1/api/talk/friends", spare).json()["elements"]
    refused = outcome(to_friends(kakao, spare, ["uuid-a"]))

    login_as(kakao, "uuid-a", "talk_message,friends")

    assert (before, refused) == ([], (400, -502))
    assert [each["uuid"] for each in kakao.get("/v1/api/talk/friends", spare).json()["elements"]] == ["uuid-a"]
    assert to_friends(kakao, spare, ["uuid-a"]).status_code == 200


def test_each_account_has_a_number_of_its_own_that_lasts(kakao: Caller) -> None:
    kakao.world.friends = [Friend("uuid-a", "가")]
    mine, theirs = (login_as(kakao, each, "talk_message") for each in ("me", "uuid-a"))

    renewed = kakao.refresh(theirs["refresh_token"]).json()

    tokens = [each["access_token"] for each in (mine, theirs, renewed)]
    numbers = [kakao.get("/v1/user/access_token_info", token).json()["id"] for token in tokens]
    assert numbers == [kakao.world.user_id, kakao.world.user_id + 1, kakao.world.user_id + 1]


def test_a_scope_that_the_person_did_not_tick_is_not_granted(kakao: Caller) -> None:
    kakao.world.unticked = {"friends"}

    reply = login_as(kakao, "me", "talk_message,friends")

    assert reply["scope"] == "talk_message"
    assert outcome(kakao.get("/v1/api/talk/friends", reply["access_token"])) == (403, -402)


def test_an_upload_tells_the_pictures_own_size(kakao: Caller) -> None:
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (1080).to_bytes(4, "big") + (720).to_bytes(4, "big")
    token = kakao.access()

    response = kakao.post("/v2/api/talk/message/image/upload", token, files={"file": ("p.png", head)})
    broken = kakao.post("/v2/api/talk/message/image/upload", token, files={"file": ("p.png", head[:20])})

    original = response.json()["infos"]["original"]
    assert (original["width"], original["height"]) == (1080, 720)
    assert outcome(broken) == (400, -911)


def test_a_path_that_kakao_does_not_have_is_not_found(kakao: Caller) -> None:
    assert kakao.get("/v1/nothing", "t").status_code == 404
