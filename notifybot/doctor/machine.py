"""Examination of this machine: disk of the state folder, access to settings, dead letters, versions, frameworks."""

from __future__ import annotations

import platform
import re
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from notifybot import __version__
from notifybot.config import Config, explain
from notifybot.doctor.findings import Finding, note, ok, wrong
from notifybot.errors import StoreError
from notifybot.i18n import localized
from notifybot.integrations import present
from notifybot.rendering.format import size
from notifybot.store.database import Store
from notifybot.store.location import database_in, is_remote, local_folder
from notifybot.store.outbox import Outbox

_LEAST_BYTES = 200 * 1024 * 1024  # three times what the outbox may grow to
_OPTIONAL = ("torch", "tensorboard", "wandb", "apprise", "slack_sdk", "sqlalchemy")
_LEAST_TORCH = (2, 10)
_READABLE = stat.S_IRGRP | stat.S_IROTH


def examine(config: Config) -> list[Finding]:
    """Return the findings on all of this machine that delivery rests on."""
    found = [_disk("state_dir", config.state_dir), _disk("runs_dir", config.runs_dir)]
    return [*found, *_mount(config.state_dir), *_open_files(config), *_dead_letters(config), *versions(), *frameworks()]


def _disk(key: str, folder: Path) -> Finding:
    why = unusable(folder)
    if why:
        remedy = localized("doctor.machine.set_it_to_a_local_folder", key=key)
        return wrong("disk", "doctor.machine.folder_cannot_be_used", remedy, key=key, folder=folder, why=why)
    free = shutil.disk_usage(existing(folder)).free
    if free < _LEAST_BYTES:
        remedy = localized("doctor.machine.free_some_room", key=key)
        return wrong("disk", "doctor.machine.room_is_short", remedy, key=key, folder=folder, room=size(free))
    return ok("disk", "doctor.machine.room_is_free", key=key, folder=folder, room=size(free))


def _mount(folder: Path) -> list[Finding]:
    if unusable(folder):
        return []  # already reported by the disk finding
    if not is_remote(existing(folder)):
        return [ok("disk", "doctor.machine.state_folder_is_local")]
    remedy, instead = localized("doctor.machine.set_it_to_a_local_folder", key="state_dir"), local_folder(folder)
    return [note("disk", "doctor.machine.state_folder_is_remote", remedy, folder=folder, instead=instead)]


def _open_files(config: Config) -> Iterator[Finding]:
    """Yield the settings files with secrets that other users of the machine can read."""
    secret = {key for key, value in config if value is not None and type(value).__name__ == "SecretStr"}
    files = {Path(source) for key, source, _ in explain(config) if key in secret and source.endswith(".toml")}
    for path in sorted(files):
        if path.exists() and path.stat().st_mode & _READABLE:
            remedy = localized("doctor.as_it_is", text=f"chmod 600 {path}")
            yield wrong("settings", "doctor.machine.secrets_may_be_read", remedy, path=path)


def _dead_letters(config: Config) -> list[Finding]:
    path = database_in(config.state_dir)
    if not path.exists():
        return []
    try:
        with Store.open(path) as store:
            counts = Outbox(store).counts().values()
    except StoreError as error:
        return [wrong("outbox", "doctor.as_it_is", "doctor.machine.look_at_the_folder", text=str(error))]
    if not all(each.conserved for each in counts):
        return [wrong("outbox", "doctor.machine.outbox_does_not_add_up", "doctor.machine.look_at_the_outbox")]
    dead = sum(each.dead for each in counts)
    if not dead:
        return [ok("outbox", "doctor.machine.no_message_given_up")]
    return [note("outbox", "doctor.machine.messages_given_up", "doctor.machine.send_them_again", number=dead)]


def versions() -> list[Finding]:
    """Return the installed versions, and a finding for a torch that is too old to be safe."""
    there = {name: found for name in _OPTIONAL if (found := _version(name))}
    shown = {"notifybot": __version__, "Python": platform.python_version(), "SQLite": sqlite3.sqlite_version, **there}
    line = "  ".join(f"{name} {found}" for name, found in shown.items())
    findings = [ok("versions", "doctor.as_it_is", text=line)]
    torch = there.get("torch")
    if torch and tuple(map(int, re.findall(r"\d+", torch)[:2])) < _LEAST_TORCH:
        findings.append(
            wrong("versions", "doctor.machine.torch_is_old", "doctor.machine.install_newer_torch", version=torch)
        )
    return findings


def frameworks() -> Iterator[Finding]:
    """Yield a finding for each framework that is installed: the line that makes a run of its trainings."""
    for framework, name, found in present():
        if framework.takes(found):
            remedy = localized("doctor.machine.write_for_it", imports=framework.imports, line=framework.line)
            yield note("frameworks", "doctor.machine.framework_is_there", remedy, name=name, version=found)
        else:
            least = ".".join(map(str, framework.least))
            remedy = localized("doctor.machine.install_newer_framework", name=name, least=least)
            yield note("frameworks", "doctor.machine.framework_is_old", remedy, name=name, version=found)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def existing(folder: Path) -> Path:
    """The folder, or the one above it that is there already. Raises OSError where that cannot be seen."""
    folder = folder.expanduser().absolute()
    return next((each for each in (folder, *folder.parents) if each.exists()), folder)


def unusable(folder: Path) -> str:
    """Return the system's reason why nothing can be written there; empty if it can, once the folder is made."""
    try:
        with tempfile.NamedTemporaryFile(dir=existing(folder), prefix=".notifybot-"):
            return ""
    except OSError as error:
        return error.strerror or type(error).__name__
