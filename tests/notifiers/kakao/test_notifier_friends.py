"""Friend mode: the same messages, to at most five people, each of whom gets each once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from notifybot.errors import PermanentError, TemporaryError
from notifybot.notifiers.kakao import Credentials, KakaoTalk
from notifybot.notifiers.kakao.login import choice_in
from notifybot.notifiers.kakao.token_store import Account, Mode, Receiver, TokenFile, TokenSet
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.kakao_state import REST_API_KEY, Friend, KakaoFault
from notifybot.testing import DictMemory, FakeClock
from tests.support.kakao_messages import credentials, envelope, memo

FRIENDS_PATH = "/friends/message/default/send"
SPARE = "kakao-canary-spare-login"


@pytest.fixture
def sandbox(clock: FakeClock) -> Iterator[Sandbox]:
    with Sandbox(clock=clock) as opened:
        opened.kakao.friends = [Friend(f"uuid-{letter}", letter) for letter in "abcde"]
        scopes = frozenset({"talk_message", "friends"})
        opened.kakao.refresh_tokens[SPARE] = opened.kakao.grant(scopes, 5e6)
        yield opened


def friend_mode(sandbox: Sandbox, folder: Path, clock: FakeClock, receivers: str = "ab") -> KakaoTalk:
    """A notifier whose login chose these friends."""
    app = credentials(refresh_token=None, secret=None)
    chosen = tuple(Receiver(f"uuid-{letter}", letter) for letter in receivers)
    account = Account(SecretStr(REST_API_KEY), None, Mode.FRIEND, chosen)
    tokens = TokenSet(app.client, "", SecretStr(SPARE), account=account)
    assert TokenFile(folder / "kakao-token.json", clock).save(tokens)
    return memo(sandbox, folder, clock, credentials=app)


def receivers_of(sandbox: Sandbox) -> list[str]:
    return [each.receiver for each in sandbox.kakao.messages]


def test_one_request_tells_all_receivers_and_their_phones_ring(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock
) -> None:
    """That such a message rings is stated by two projects and measured by none; the sandbox follows them."""
    friend_mode(sandbox, tmp_path, clock, "abcde").send(envelope())

    assert receivers_of(sandbox) == ["uuid-a", "uuid-b", "uuid-c", "uuid-d", "uuid-e"]
    assert all(each.pushed and each.template["object_type"] == "feed" for each in sandbox.kakao.messages)
    assert sum(FRIENDS_PATH in request.path for request in sandbox.requests) == 1


def test_a_friend_who_refuses_does_not_keep_the_others_from_it(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.kakao.friends[0].refuses = True

    friend_mode(sandbox, tmp_path, clock).send(envelope())

    assert receivers_of(sandbox) == ["uuid-b"]
    assert "(-530). Friends not told: 1" in caplog.text


def test_a_receiver_who_is_no_friend_may_become_one(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    """Kakao advises to try again when its list of friends has expired: a new friend is told ten minutes later."""
    listed = list(sandbox.kakao.friends)
    sandbox.kakao.friends.clear()
    memory, notifier = DictMemory(), friend_mode(sandbox, tmp_path, clock)
    left = notifier.left_today

    with pytest.raises(TemporaryError, match=r"no friend of the sender.*notifybot kakao friends") as caught:
        notifier.send(envelope(memory))
    assert (caught.value.retry_after_s, caught.value.ambiguous, notifier.left_today) == (600, False, left)
    sandbox.kakao.friends = listed
    clock.advance(600)
    notifier.send(envelope(memory))

    assert receivers_of(sandbox) == ["uuid-a", "uuid-b"]


def test_a_receiver_who_stays_no_friend_is_given_up(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    """After an hour, over restarts, and for the day's other messages at once; the next day is another try."""
    sandbox.kakao.friends.clear()
    memory = DictMemory()
    outcomes = []

    for wait_s in (0, *[600] * 6, 60, 86400, 60):
        clock.advance(wait_s)
        with pytest.raises((TemporaryError, PermanentError)) as caught:
            friend_mode(sandbox, tmp_path, clock).send(envelope(memory))
        outcomes.append(type(caught.value).__name__)

    assert outcomes == ["TemporaryError"] * 6 + ["KakaoRefused"] * 2 + ["TemporaryError"] * 2
    assert isinstance(caught.value, TemporaryError)


def test_one_who_is_no_friend_does_not_hold_up_the_others(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A message that others got is not tried again for that one: theirs would wait meanwhile."""
    del sandbox.kakao.friends[0]

    friend_mode(sandbox, tmp_path, clock).send(envelope())

    assert receivers_of(sandbox) == ["uuid-b"]
    assert "(-502). Friends not told: 1" in caplog.text


@pytest.mark.parametrize(
    ("off", "granted", "named"),
    [
        pytest.param({"friends", "talk_message"}, set(), ["talk_message", "friends"], id="off-in-the-app"),
        pytest.param(set(), {"talk_message"}, ["friends"], id="friends-not-agreed-to"),
        pytest.param(set(), {"friends"}, ["talk_message"], id="messages-not-agreed-to"),
    ],
)
def test_the_consent_that_is_missing_is_the_one_that_is_named(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, off: set[str], granted: set[str], named: list[str]
) -> None:
    """Kakao's -402 lists what is needed and what the login may do; its -3 says it in words that we do not read."""
    sandbox.kakao.enabled_scopes -= off
    sandbox.kakao.refresh_tokens[SPARE] = sandbox.kakao.grant(frozenset(granted), 5e6)

    with pytest.raises(PermanentError) as caught:
        friend_mode(sandbox, tmp_path, clock).send(envelope())

    assert re.findall(r"\((talk_message|friends)\)", str(caught.value)) == named


def test_who_has_it_already_does_not_get_it_again(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    """One receiver's quota is used up by somebody else: the other one is told now, that one tomorrow, each once."""
    memory = DictMemory()
    notifier = friend_mode(sandbox, tmp_path, clock)
    sandbox.kakao.sent_by_day["2026-11-23", "receiver uuid-b"] = 100

    with pytest.raises(TemporaryError, match=r"\(-533\)") as caught:
        notifier.send(envelope(memory))
    assert (caught.value.retry_after_s, receivers_of(sandbox)) == (12 * 3600, ["uuid-a"])
    clock.advance(12 * 3600)
    notifier.send(envelope(memory))

    assert receivers_of(sandbox) == ["uuid-a", "uuid-b"]


def test_a_repeat_after_all_were_told_sends_nothing(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    memory = DictMemory()
    memory.put("", {"half_told": {envelope().event.id: ["uuid-a", "uuid-b"]}})

    friend_mode(sandbox, tmp_path, clock).send(envelope(memory))

    assert receivers_of(sandbox) == []


def test_a_login_without_a_receiver_says_how_to_choose(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    with pytest.raises(PermanentError, match="no friend is chosen") as caught:
        friend_mode(sandbox, tmp_path, clock, "").send(envelope())
    assert caught.value.setup


def test_a_lost_answer_leaves_open_who_got_it(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    sandbox.faults.append(Fault("reset_after", path=FRIENDS_PATH))

    with pytest.raises(TemporaryError) as caught:
        friend_mode(sandbox, tmp_path, clock).send(envelope())
    assert caught.value.ambiguous


def test_a_feed_that_is_refused_goes_as_text(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    sandbox.kakao.faults.append(KakaoFault(-2, path=FRIENDS_PATH))

    friend_mode(sandbox, tmp_path, clock).send(envelope())

    assert [each.template["object_type"] for each in sandbox.kakao.messages] == ["text", "text"]


@pytest.mark.parametrize(
    "body",
    [b'{"successful_receiver_uuids": []}', b'{"failure_info": 5}', b'{"successful_receiver_uuids": "uuid-a"}', b"{}"],
)
def test_an_answer_that_names_nobody_is_no_success(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, body: bytes
) -> None:
    sandbox.kakao.faults.append(KakaoFault(path=FRIENDS_PATH, status=200, body=body))

    with pytest.raises(TemporaryError):
        friend_mode(sandbox, tmp_path, clock).send(envelope())


def test_the_login_stays_in_friend_mode_when_its_tokens_are_renewed(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock
) -> None:
    sandbox.kakao.rotates_below_s = 1e9
    notifier = friend_mode(sandbox, tmp_path, clock)
    for _ in range(3):
        notifier.send(envelope())
        clock.advance(7 * 3600)

    stored = TokenFile(tmp_path / "kakao-token.json", clock).load()
    assert stored is not None
    assert stored.account is not None
    assert (stored.account.mode, len(stored.account.receivers)) == (Mode.FRIEND, 2)
    assert stored.refresh_token.get_secret_value() != SPARE


FIVE = tuple(Receiver(f"uuid-{number}") for number in range(1, 8))


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [
        ("1", "1"),
        ("3, 1", "31"),
        ("2 2 2", "2"),
        ("1,2,3,4,5", "12345"),
        ("1,2,3,4,5,6", ""),
        ("0", ""),
        ("8", ""),
        ("-1", ""),
        ("one", ""),
        ("²", ""),
        ("", ""),
    ],
)
def test_a_choice_is_numbers_of_the_list_each_once_at_most_five(answer: str, chosen: str) -> None:
    assert [each.uuid for each in choice_in(answer, FIVE)] == [f"uuid-{number}" for number in chosen]


def test_nothing_of_the_login_is_in_a_repr(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    notifier = friend_mode(sandbox, tmp_path, clock)
    notifier.send(envelope())

    seen = f"{notifier._api.tokens._current!r} {vars(notifier)!r} {Credentials(SecretStr(REST_API_KEY))!r}"
    assert REST_API_KEY not in seen
    assert SPARE not in seen
