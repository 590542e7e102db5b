"""Kakao never has to say no for want of quota: all jobs of one account count together, on the safe side."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from notifybot.errors import PermanentError, TemporaryError
from notifybot.notifiers.kakao.quota import Quota
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.kakao_state import KakaoFault
from notifybot.testing import FakeClock
from tests.support.kakao_messages import MEMO_PATH, credentials, envelope, memo

APP = credentials().client


@pytest.fixture
def quota(tmp_path: Path, clock: FakeClock) -> Quota:
    return Quota(tmp_path / "kakao-token.json", clock)


def spend(quota: Quota, number: int, *receivers: str) -> None:
    for _ in range(number):
        quota.take(APP, receivers or ("me",))


def test_a_pair_has_twenty_a_day_and_the_twenty_first_waits_for_midnight_in_korea(
    quota: Quota, clock: FakeClock
) -> None:
    """20 a day from one sender to one receiver: Kakao's quota page."""
    spend(quota, 20)

    with pytest.raises(TemporaryError, match="at midnight KST") as caught:
        quota.take(APP, ("me",))

    assert (caught.value.retry_after_s, caught.value.ambiguous, quota.left(APP, ("me",))) == (12 * 3600, False, 0)
    clock.advance(12 * 3600)
    assert quota.left(APP, ("me",)) == 20
    quota.take(APP, ("me",))


def test_a_sender_has_a_hundred_a_day_to_all_receivers_together(quota: Quota) -> None:
    """100 a day from one sender: Kakao's quota page."""
    for receiver in "abcde":
        spend(quota, 19, receiver)

    assert quota.left(APP, tuple("abcde")) == 1
    spend(quota, 1, *"abcde")
    assert quota.left(APP, ("f",)) == 0


def test_apps_and_receivers_are_counted_apart(quota: Quota) -> None:
    spend(quota, 20, "a")

    assert (quota.left(APP, ("b",)), quota.left("other-app", ("a",)), quota.left(APP, ("a", "b"))) == (20, 20, 0)


def test_the_file_is_private_and_holds_no_more_than_today(quota: Quota, tmp_path: Path, clock: FakeClock) -> None:
    spend(quota, 3)
    clock.advance(86400)
    spend(quota, 1)

    path = tmp_path / "kakao-token.json.sent"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == f'{{"day": "2026-11-24", "sent": {{"{APP}": {{"me": 1}}}}}}'


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"day": "2026-11-23"}', b'{"day": 1, "sent": {"a": 5}}', b"\x00"])
def test_a_damaged_count_is_set_aside(quota: Quota, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "kakao-token.json.sent").write_bytes(damage)

    quota.take(APP, ("me",))

    assert quota.left(APP, ("me",)) == 19
    assert list(tmp_path.glob("*.damaged-*"))


def test_a_folder_that_cannot_be_written_is_counted_in_memory(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "there").write_text("a file where the folder should be")
    quota = Quota(tmp_path / "there" / "token.json", clock)

    spend(quota, 20)

    with pytest.raises(TemporaryError):
        quota.take(APP, ("me",))


def test_two_jobs_share_the_day(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    jobs = [memo(sandbox, tmp_path, clock), memo(sandbox, tmp_path, clock)]

    for number in range(20):
        jobs[number % 2].send(envelope())

    for job in jobs:
        assert job.left_today == 0
        with pytest.raises(TemporaryError, match="today's 20 messages"):
            job.send(envelope())
    assert len(sandbox.kakao.messages) == 20


@pytest.mark.parametrize(
    ("fault", "counts"),
    [
        pytest.param(KakaoFault(-5, path=MEMO_PATH), False, id="refused"),
        pytest.param(KakaoFault(-1, path=MEMO_PATH), False, id="failed"),
        pytest.param(KakaoFault(-603, path=MEMO_PATH), True, id="timed out at Kakao"),
        pytest.param(KakaoFault(status=502, path=MEMO_PATH), True, id="empty 502"),
    ],
)
def test_what_surely_did_not_arrive_costs_nothing_and_what_may_have_does(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, fault: KakaoFault, counts: bool
) -> None:
    job = memo(sandbox, tmp_path, clock)
    sandbox.kakao.faults.append(fault)

    with pytest.raises((TemporaryError, PermanentError)):
        job.send(envelope())

    assert job.left_today == 20 - int(counts)


def test_a_lost_answer_counts(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    job = memo(sandbox, tmp_path, clock)
    sandbox.faults.append(Fault("reset_after", path=MEMO_PATH))

    with pytest.raises(TemporaryError):
        job.send(envelope())
    assert job.left_today == 19


def test_what_somebody_else_sent_is_learned_from_kakao_once(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    """Another machine on the same account is out of sight: after one refusal nobody asks again that day."""
    sandbox.kakao.pair_limit = 0
    job = memo(sandbox, tmp_path, clock)

    for _ in range(3):
        with pytest.raises(TemporaryError) as caught:
            job.send(envelope())
        assert caught.value.retry_after_s == 12 * 3600

    assert sum(MEMO_PATH in request.path for request in sandbox.requests) == 1
    assert job.left_today == 0


@pytest.mark.parametrize("seed", range(5))
def test_kakao_never_refuses_for_quota_whatever_fails(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, seed: int
) -> None:
    """Random faults, lost answers, restarts and days: not one -536 of Kakao's."""
    chance = random.Random(seed)
    job = memo(sandbox, tmp_path, clock)
    refusals: list[str] = []
    for _ in range(120):
        fault = chance.choice([None, None, None, KakaoFault(-1, path=MEMO_PATH), KakaoFault(-603, path=MEMO_PATH)])
        sandbox.kakao.faults[:] = [fault] if fault else []
        if chance.random() < 0.1:
            sandbox.faults.append(Fault("reset_after", path=MEMO_PATH))
        if chance.random() < 0.1:
            job = memo(sandbox, tmp_path, clock)
        try:
            job.send(envelope())
        except TemporaryError as error:
            refusals.append(str(error))
        clock.advance(chance.choice([60, 600, 3600]))

    assert not any("-536" in each for each in refusals)
    assert any("today's 20 messages" in each for each in refusals)
    assert max(sandbox.kakao.sent_by_day.values()) <= 20
    assert len(sandbox.kakao.messages) > 20


_JOB = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from notifybot.clock import SystemClock
from notifybot.errors import TemporaryError
from notifybot.notifiers.kakao.quota import Quota
class Noon(SystemClock):
    def now(self):
        return datetime(2026, 11, 23, 3, tzinfo=UTC)
quota, taken = Quota(Path(sys.argv[1]), Noon()), 0
for _ in range(8):
    try:
        quota.take("app", ("me",))
        taken += 1
    except TemporaryError:
        pass
print(taken)
"""


def test_processes_that_send_at_once_take_twenty_between_them(tmp_path: Path) -> None:
    line = [sys.executable, "-c", _JOB, str(tmp_path / "kakao-token.json")]
    jobs = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) for _ in range(4)]

    taken = sum(int(job.communicate(timeout=60)[0]) for job in jobs)

    assert taken == 20
