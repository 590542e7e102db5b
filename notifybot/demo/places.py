"""Where the demo puts its things: one folder, made anew each time."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from notifybot.errors import UsageError, said, system_words
from notifybot.store.location import is_remote

_MARK = ".notifybot-demo"


@dataclass(frozen=True, slots=True)
class Places:
    """The demo's folder, and the one for its databases, which may not stand on a network disk."""

    folder: Path
    state: Path

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def drive(self) -> Path:
        """What outlives the machine that trains."""
        return self.folder / "drive"

    @property
    def machine(self) -> Path:
        """The state of the machine that trains, which goes away with it."""
        return self.state / "machine"

    @property
    def pages(self) -> Path:
        return self.folder / "pages"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def watchdog_db(self) -> Path:
        return self.state / "watchdog.db"

    @property
    def training_db(self) -> Path:
        return self.machine / "notifybot.db"

    def lose_machine(self) -> None:
        """Delete all that was on the disk of the machine that trained."""
        for each in (self.machine, self.runs):
            shutil.rmtree(each, ignore_errors=True)


def fresh(folder: Path) -> Places:
    """Make the folder, in place of an earlier demo's. Raises UsageError where something else stands there."""
    if folder.is_symlink() or (folder.exists() and not (folder / _MARK).is_file()):
        raise UsageError(
            said(
                f"{folder} is there already and is no earlier demo's: move it away, or run the demo elsewhere",
                f"{folder}이(가) 이미 있는데 이전 데모의 폴더가 아닙니다. 다른 곳으로 옮기거나 다른 폴더에서 데모를 "
                "실행하세요",
            )
        )
    if folder.exists():
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        why = system_words(error)
        raise UsageError(
            said(
                f"cannot make {folder}: {why}. Run the demo in a folder of your own.",
                f"{folder} 폴더를 만들 수 없습니다: {why}. 쓸 수 있는 폴더에서 데모를 실행하세요.",
            )
        ) from error
    (folder / _MARK).touch()
    state = Path(tempfile.mkdtemp(prefix="notifybot-demo-")) if is_remote(folder) else folder / "state"
    places = Places(folder, state)
    for each in (places.runs, places.pages, places.logs, places.state):
        each.mkdir(exist_ok=True)
    return places
