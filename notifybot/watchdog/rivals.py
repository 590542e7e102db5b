"""Two processes that report the same run: the newer one counts. Pure, but for the words.

Sessions are UUIDv7, ordered by the moment they began. A notebook that was cut off from its browser goes on training
while its user starts the same cell on another machine; nobody sees that there are two.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_OID, UUID, uuid5

from notifybot.events import AlertRaised
from notifybot.store.runs import RunRow
from notifybot.types import Language
from notifybot.watchdog.words import words_in

_HANDOVER = timedelta(seconds=15)  # a last heartbeat may be on its way while the next process begins


def is_superseded(row: RunRow, session: str) -> bool:
    """True when a newer process speaks for the run."""
    return session < row.session


def made_since(row: RunRow, moment: datetime) -> bool:
    """True when `moment` lies after the beginning of the process that speaks for the run, so that there are two.

    True as well where its session does not tell when it began.
    """
    began = _began(row.session)
    return began is None or moment > began + _HANDOVER


def lives_on(row: RunRow, now: datetime) -> bool:
    """True when a heartbeat that comes in now proves that the older process is still there."""
    began = _began(row.session)
    return began is None or abs(now - began) > _HANDOVER  # far ahead of us: a clock that is wrong, not a handover


def alert(row: RunRow, session: str, now: datetime, language: Language) -> AlertRaised:
    """What people are told of it. Its id is the same for the same older process, so that it is told once.

    It is said in the older session's name: word of it must not pass for a sign of life of the newer one.
    """
    words = words_in(language)
    event_id = str(uuid5(NAMESPACE_OID, f"notifybot:superseded:{row.key}:{session}"))
    run = replace(row.ref, session=session)
    return AlertRaised(id=event_id, run=run, at=now, title=words.two_title, text=words.two_text, progress=row.progress)


def _began(session: str) -> datetime | None:
    """When a session began; None where its name does not say."""
    try:
        found = UUID(session)
        return datetime.fromtimestamp((found.int >> 80) / 1000, UTC) if found.version == 7 else None
    except (ValueError, OverflowError):  # no UUID, or one of a year that Python does not know
        return None
