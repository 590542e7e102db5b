"""Processes of the demo: the watchdog and the training, each with its environment and log, and their folders."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import notifybot
from notifybot.errors import NotifybotError, UsageError, reader_text, system_words
from notifybot.store.location import DATABASE, is_remote
from notifybot.types import Language

BEAT_S, SILENT_S = 1.0, 6.0  # a minute of silence would be too long to watch
PROJECT = "demo"
_STOP_S = 10.0


class ProcessFailed(NotifybotError):
    """A process of the demo did not come up. React: read its log."""

    def __init__(self, log: Path) -> None:
        super().__init__(reader_text("demo.processes.did_not_start", name=log.stem, log=log))
        self.log = log


def bare(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without any settings of notifybot or W&B, in which this very package is importable."""
    ours = ("NOTIFYBOT_", "WANDB_", "RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PYTHONPATH")
    kept = {name: value for name, value in environment.items() if not name.startswith(ours)}
    return kept | _python(environment)


def watchdog_environment(
    environment: Mapping[str, str], places: Places, language: Language, sandbox: Mapping[str, str] | None
) -> dict[str, str]:
    """Return the watchdog's environment: the sandbox's addresses, or with None the user's own settings."""
    chosen = {"NOTIFYBOT_LANG": language.value}
    if sandbox is None:
        return {**environment, **_python(environment), **chosen}
    return {**bare(environment), **chosen, **sandbox, "NOTIFYBOT_STATE_DIR": str(places.state)}


def training_environment(
    environment: Mapping[str, str], places: Places, language: Language, *, url: str, token: str
) -> dict[str, str]:
    """Return the training's environment: no account, only the watchdog's address and token, as that sends for it."""
    return bare(environment) | {
        "NOTIFYBOT_LANG": language.value,
        "NOTIFYBOT_PROJECT": PROJECT,
        "NOTIFYBOT_STATE_DIR": str(places.machine),
        "NOTIFYBOT_RUNS_DIR": str(places.runs),
        "NOTIFYBOT_WATCHDOG_URL": url,
        "NOTIFYBOT_WATCHDOG_TOKEN": token,
        "NOTIFYBOT_HEARTBEAT_S": str(BEAT_S),
        "NOTIFYBOT_TENSORBOARD": "on",
        "NOTIFYBOT_WANDB": "on",
        "WANDB_MODE": "offline",
    }


@contextmanager
def watchdog(places: Places, environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Run the watchdog while inside; gives its address. Raises ProcessFailed when it does not come up."""
    log = places.logs / "watchdog.log"
    command = [sys.executable, "-m", "notifybot.demo.watchdog", str(places.watchdog_db)]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            line = process.stdout.readline().decode() if process.stdout else ""
            address = re.search(r"http://\S+", line)
            if address is None:
                raise ProcessFailed(log)
            yield address[0]
        finally:
            stop(process)


@contextmanager
def training(
    places: Places, environment: Mapping[str, str], number: int, arguments: list[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the training while inside; what it prints goes to a log of its own."""
    command = [sys.executable, "-u", "-m", "notifybot.demo.training", *arguments]
    with (
        training_log(places, number).open("wb") as log,
        subprocess.Popen(command, env=environment, cwd=places.folder, stdout=log, stderr=log) as process,
    ):
        try:
            yield process
        finally:
            stop(process)


def training_log(places: Places, number: int) -> Path:
    """Return the path of the log of the training's session of that number."""
    return places.logs / f"training-{number}.log"


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and end it. Fine when it is over already."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _python(environment: Mapping[str, str]) -> dict[str, str]:
    here = str(Path(notifybot.__file__).parents[1])
    paths = [here, *environment.get("PYTHONPATH", "").split(os.pathsep)]
    return {"PYTHONPATH": os.pathsep.join(path for path in paths if path), "PYTHONUNBUFFERED": "1"}


_MARK = ".notifybot-demo"


class Places:
    """The demo's folder, and the one for its databases, which may not stand on a network disk."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder, self.state = folder, state
        self.runs, self.pages, self.logs = (folder / each for each in ("runs", "pages", "logs"))
        self.drive = folder / "drive"  # outlives the machine that trains
        self.machine = state / "machine"  # the state of that machine, lost with it
        self.watchdog_db, self.training_db = state / "watchdog.db", self.machine / DATABASE

    def lose_machine(self) -> None:
        """Delete all that was on the disk of the machine that trained."""
        for each in (self.machine, self.runs):
            shutil.rmtree(each, ignore_errors=True)


def fresh(folder: Path) -> Places:
    """Make the folder, in place of an earlier demo's. Raises UsageError where something else stands there."""
    if folder.is_symlink() or (folder.exists() and not (folder / _MARK).is_file()):
        raise UsageError(reader_text("demo.processes.folder_of_something_else", folder=folder))
    if folder.exists():
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        why = system_words(error)
        raise UsageError(reader_text("demo.processes.folder_cannot_be_made", folder=folder, why=why)) from error
    (folder / _MARK).touch()
    state = Path(tempfile.mkdtemp(prefix="notifybot-demo-")) if is_remote(folder) else folder / "state"
    places = Places(folder, state)
    for each in (places.runs, places.pages, places.logs, places.state):
        each.mkdir(exist_ok=True)
    return places
