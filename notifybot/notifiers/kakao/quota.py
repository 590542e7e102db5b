"""The day's count of messages sent, kept beside the token file and shared by all jobs of one account.

Kakao allows 20 messages a day from one sender to one receiver and 100 from one sender; whether a memo to oneself
counts as such a pair it does not say, so here it does. An app's 30,000 are out of one account's reach.
https://developers.kakao.com/docs/ko/getting-started/quota
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from notifybot.clock import Clock
from notifybot.errors import reader_text
from notifybot.notifiers.kakao.http import temporary
from notifybot.notifiers.kakao.token_store import PrivateFile
from notifybot.policy import day_of, next_midnight

PAIR_LIMIT = 20
SENDER_LIMIT = 100


@dataclass(slots=True)
class _Day:
    """Messages that one app's account sent on one day in Korea, by receiver."""

    day: str
    sent: dict[str, int] = field(default_factory=dict)

    def left(self, receivers: Sequence[str]) -> int:
        """Return how many more messages each of the receivers may get."""
        pair = min(PAIR_LIMIT - self.sent.get(each, 0) for each in receivers)
        sender = (SENDER_LIMIT - sum(self.sent.values())) // len(receivers)
        return max(0, min(pair, sender))

    def add(self, receivers: Sequence[str], number: int) -> None:
        for each in receivers:
            self.sent[each] = max(0, self.sent.get(each, 0) + number)


class Quota:
    """The day's count. A message is counted before it is sent, so that a crash can only err on the safe side."""

    def __init__(self, token_file: Path, clock: Clock) -> None:
        self._file = PrivateFile(
            token_file.with_name(f"{token_file.name}.sent"),
            reader_text("notifiers.kakao.quota.count_of_the_day"),
            clock,
        )
        self._clock = clock
        self._unsaved: dict[str, _Day] = {}  # counts that could not be written to disk

    def left(self, client: str, receivers: Sequence[str]) -> int:
        """Return how many more messages may go today; an estimate, as other jobs may be sending."""
        return self._load(client).left(receivers)

    def take(self, client: str, receivers: Sequence[str]) -> None:
        """Count one message to each receiver. Raises TemporaryError, until midnight in Korea, where none is left."""
        with self._file.locked():
            today = self._load(client)
            if today.left(receivers) < 1:
                now = self._clock.now()
                until_s = (next_midnight(now) - now).total_seconds()
                raise temporary("day-is-full", limit=str(PAIR_LIMIT), retry_after_s=until_s)
            today.add(receivers, 1)
            self._save(client, today)

    def give_back(self, client: str, receivers: Sequence[str]) -> None:
        """Uncount a message that certainly did not arrive."""
        with self._file.locked():
            today = self._load(client)
            today.add(receivers, -1)
            self._save(client, today)

    def use_up(self, client: str, receivers: Sequence[str]) -> None:
        """Believe Kakao that the day's quota is gone: something we cannot see sent the rest."""
        with self._file.locked():
            today = self._load(client)
            today.sent |= dict.fromkeys(receivers, PAIR_LIMIT)
            self._save(client, today)

    def _load(self, client: str) -> _Day:
        today = day_of(self._clock.now())
        unsaved = self._unsaved.get(client)
        if unsaved and unsaved.day == today:
            return unsaved
        return _Day(today, self._stored(today).get(client, {}))

    def _save(self, client: str, today: _Day) -> None:
        everyone = self._stored(today.day) | {client: today.sent}
        if self._file.write(json.dumps({"day": today.day, "sent": everyone}).encode()):
            self._unsaved.pop(client, None)
        else:
            self._unsaved[client] = today

    def _stored(self, today: str) -> dict[str, dict[str, int]]:
        text = self._file.read()
        if text is None:
            return {}
        try:
            fields = json.loads(text)
            counts = {
                str(client): {str(each): int(number) for each, number in sent.items()}
                for client, sent in fields["sent"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            self._file.set_aside()
            return {}
        return counts if fields["day"] == today else {}
