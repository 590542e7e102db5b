"""This machine: room and kind of the state folder's disk, who may read the settings, what waits, which versions."""

from __future__ import annotations

import platform
import re
import shutil
import sqlite3
import stat
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from notifybot import __version__
from notifybot.config import Config, explain
from notifybot.doctor.findings import Finding, note, ok, wrong
from notifybot.errors import StoreError
from notifybot.rendering.both import Both
from notifybot.rendering.format import size
from notifybot.store.database import Store
from notifybot.store.location import is_remote, local_folder
from notifybot.store.outbox import Outbox

_LEAST_BYTES = 200 * 1024 * 1024  # three times what the outbox may grow to
_OPTIONAL = ("torch", "tensorboard", "wandb", "apprise", "slack_sdk", "sqlalchemy")
_LEAST_TORCH = (2, 10)
_READABLE = stat.S_IRGRP | stat.S_IROTH


def examine(config: Config) -> list[Finding]:
    """Everything about this machine that delivery rests on."""
    found = [_disk("state_dir", config.state_dir), _disk("runs_dir", config.runs_dir)]
    return [*found, *_mount(config.state_dir), *_open_files(config), *_letters(config), *versions()]


def _disk(key: str, folder: Path) -> Finding:
    why = unusable(folder)
    if why:
        return wrong("disk", _UNUSABLE.filled(key=key, folder=folder, why=why), _CHOOSE.filled(key=key))
    free = shutil.disk_usage(existing(folder)).free
    values = {"key": key, "folder": folder, "room": size(free)}
    if free < _LEAST_BYTES:
        return wrong("disk", _NO_ROOM.filled(**values), _MAKE_ROOM.filled(key=key))
    return ok("disk", _ROOM.filled(**values))


def _mount(folder: Path) -> list[Finding]:
    if unusable(folder):
        return []  # told already
    if not is_remote(existing(folder)):
        return [ok("disk", _LOCAL)]
    return [note("disk", _REMOTE.filled(folder=folder, instead=local_folder(folder)), _CHOOSE.filled(key="state_dir"))]


def _open_files(config: Config) -> list[Finding]:
    """Settings files with secrets that other users of the machine can read."""
    secret = {key for key, value in config if value is not None and type(value).__name__ == "SecretStr"}
    files = {Path(source) for key, source, _ in explain(config) if key in secret and source.endswith(".toml")}
    open_ = [path for path in sorted(files) if path.exists() and path.stat().st_mode & _READABLE]
    return [wrong("settings", _MAY_BE_READ.filled(path=path), _CLOSE_IT.filled(path=path)) for path in open_]


def _letters(config: Config) -> list[Finding]:
    path = local_folder(config.state_dir) / "notifybot.db"
    if not path.exists():
        return []
    try:
        with Store.open(path) as store:
            counts = Outbox(store).counts().values()
    except StoreError as error:
        return [wrong("outbox", Both(str(error), str(error)), _LOOK_AT_STORE)]
    if not all(each.conserved for each in counts):
        return [wrong("outbox", _NOT_CONSERVED, _LOOK_AT_LEDGER)]
    dead = sum(each.dead for each in counts)
    return [note("outbox", _DEAD.filled(number=dead), _LOOK_AT_DEAD) if dead else ok("outbox", _NONE_DEAD)]


def versions() -> list[Finding]:
    """What runs here, and what is too old to be safe."""
    there = {name: found for name in _OPTIONAL if (found := _version(name))}
    shown = {"notifybot": __version__, "Python": platform.python_version(), "SQLite": sqlite3.sqlite_version, **there}
    line = "  ".join(f"{name} {found}" for name, found in shown.items())
    findings = [ok("versions", Both(line, line))]
    torch = there.get("torch")
    if torch and tuple(map(int, re.findall(r"\d+", torch)[:2])) < _LEAST_TORCH:
        findings.append(wrong("versions", _OLD_TORCH.filled(version=torch), _NEWER_TORCH))
    return findings


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


_ROOM = Both("{key} {folder}: {room} free", "{key} {folder}: {room} 남음")
_NO_ROOM = Both("{key} {folder}: only {room} free", "{key} {folder}: {room}밖에 남지 않았습니다")
_MAKE_ROOM = Both("free some, or set {key} to another disk", "공간을 비우거나 {key}를 다른 디스크로 설정하세요")
_UNUSABLE = Both("{key} {folder} cannot be used: {why}", "{key} {folder}를 쓸 수 없습니다: {why}")
_CHOOSE = Both("set {key} to a folder on a local disk", "{key}를 로컬 디스크의 폴더로 설정하세요")
_LOCAL = Both("the state folder is on a local disk", "상태 폴더가 로컬 디스크에 있습니다")
_REMOTE = Both(
    "the state folder {folder} is on a network mount: {instead} is used instead",
    "상태 폴더 {folder}가 네트워크 마운트에 있어 {instead}를 대신 사용합니다",
)
_MAY_BE_READ = Both(
    "{path} holds secrets, and other users of this machine can read it",
    "{path}에 비밀 값이 있는데 이 컴퓨터의 다른 사용자가 읽을 수 있습니다",
)
_CLOSE_IT = Both("chmod 600 {path}", "chmod 600 {path}")
_LOOK_AT_STORE = Both(
    "see that the state folder can be written, and that no backup program holds the file",
    "상태 폴더에 쓸 수 있는지, 백업 프로그램이 파일을 잡고 있지 않은지 확인하세요",
)
_NOT_CONSERVED = Both("the outbox does not add up", "보낼 편지함의 합이 맞지 않습니다")
_LOOK_AT_LEDGER = Both("look at it: notifybot outbox", "확인하세요: notifybot outbox")
_DEAD = Both("messages given up: {number}", "전송을 포기한 메시지가 {number}건 있습니다")
_LOOK_AT_DEAD = Both(
    "read why (notifybot outbox list), and send them again: notifybot outbox retry --all",
    "이유를 확인하고(notifybot outbox list) 다시 보내세요: notifybot outbox retry --all",
)
_NONE_DEAD = Both("no message was given up", "전송을 포기한 메시지가 없습니다")
_OLD_TORCH = Both(
    "torch {version} runs code from crafted checkpoints (CVE-2025-32434, CVE-2026-24747)",
    "torch {version}은 조작된 체크포인트를 열 때 코드가 실행될 수 있습니다(CVE-2025-32434, CVE-2026-24747)",
)
_NEWER_TORCH = Both("install torch 2.10 or later", "torch 2.10 이상을 설치하세요")


def existing(folder: Path) -> Path:
    """The folder, or the one above it that is there already. Raises OSError where that cannot be seen."""
    folder = folder.expanduser().absolute()
    return next((each for each in (folder, *folder.parents) if each.exists()), folder)


def unusable(folder: Path) -> str:
    """Why nothing can be written there, in the system's words; empty where it can be, once the folder is made."""
    try:
        with tempfile.NamedTemporaryFile(dir=existing(folder), prefix=".notifybot-"):
            return ""
    except OSError as error:
        return error.strerror or type(error).__name__
