"""The pretended Kakao's state: daily counts, domains and the numbers of accounts."""

from __future__ import annotations

import pytest

from notifybot.sandbox.kakao_state import Friend
from notifybot.testing import FakeClock
from tests.support.kakao_caller import (
    TEXT,
    Caller,
    login_as,
    outcome,
    to_friends,
)


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
