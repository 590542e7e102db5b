"""How far each tracker has come, kept beside its files: what lies behind the mark, a killed process has lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from notifybot.events import Event
from notifybot.files import replace


class Marks:
    """The id of the last event that each tracker has written, one small file each.

    Not forced to disk: a mark has to survive the process, and after a power cut its tracker's files are old as well.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, tracker: str, event_id: str) -> None:
        """Move a tracker's mark. Raises OSError."""
        path = self._path(tracker)
        beside = path.with_suffix(".new")
        beside.write_text(event_id, "ascii")
        replace(beside, path)  # a copy for Drive may be reading it

    def missed(self, tracker: str, events: Sequence[Event]) -> tuple[Event, ...]:
        """Return the events behind a tracker's mark: all without a mark, the later ones where its event is unknown."""
        try:
            mark = self._path(tracker).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return tuple(events)
        places = [place for place, event in enumerate(events) if event.id == mark]
        if not places:
            return tuple(event for event in events if event.id > mark)  # ids are in order of time
        return tuple(events[places[-1] + 1 :])

    def _path(self, tracker: str) -> Path:
        return self._folder / f".{tracker}.mark"
