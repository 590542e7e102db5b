"""The pretended Kakao's API: messages, friends and pictures, checked in the order that the real one checks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notifybot.sandbox.kakao_state import Friend
from notifybot.testing import FakeClock
from tests.support.kakao_caller import (
    CONTENT,
    LINK,
    MEMO,
    TEXT,
    Caller,
    login_outcome,
    outcome,
    to_friends,
)


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


def test_parameters_are_checked_before_the_quota(kakao: Caller) -> None:
    kakao.world.app_limit = 0

    assert outcome(kakao.memo("{")) == (400, -2)


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
    served = kakao.http.get(original["url"])
    assert (served.content, served.headers["Content-Type"]) == (PNG, "image/png")


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


def test_an_upload_tells_the_pictures_own_size(kakao: Caller) -> None:
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (1080).to_bytes(4, "big") + (720).to_bytes(4, "big")
    token = kakao.access()

    response = kakao.post("/v2/api/talk/message/image/upload", token, files={"file": ("p.png", head)})
    broken = kakao.post("/v2/api/talk/message/image/upload", token, files={"file": ("p.png", head[:20])})

    original = response.json()["infos"]["original"]
    assert (original["width"], original["height"]) == (1080, 720)
    assert outcome(broken) == (400, -911)
