"""Run a script or a module on a Python that lacks what Windows lacks, and whose files behave as there.

    python windows_like.py SCRIPT_OR_MODULE [ARGUMENT …]

Taken away are the modules and names that POSIX alone has. An open file can be neither replaced nor removed, and one
that is opened by number must be opened as binary. What the standard library itself needs here is imported first.
"""

from __future__ import annotations

import asyncio
import getpass
import importlib.abc
import multiprocessing.util
import os
import platform
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
import webbrowser
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

LOADED_FIRST = (asyncio, getpass, multiprocessing.util, platform, shutil, socket, subprocess, tempfile, webbrowser)
MODULES = {"fcntl", "pwd", "grp", "resource", "termios", "pty", "tty"}
NAMES_OF_OS = (
    "register_at_fork", "getuid", "geteuid", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "posix_fadvise",
    "nice", "fchmod", "pread", "setsid", "killpg", "uname",
)  # fmt: skip
SIGNALS = ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGQUIT", "pthread_sigmask", "alarm", "setitimer")
BINARY = 0o100000  # O_LARGEFILE, which says nothing on 64 bits


class Lacking(importlib.abc.MetaPathFinder):
    """Finds none of the modules that Windows has not."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in MODULES:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def take_away() -> None:
    """Make this process one that Windows could run."""
    for needed in ("psutil", "torch.utils.data"):  # whose builds for this system need them
        if find_spec(needed.partition(".")[0]):
            import_module(needed)
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Lacking())
    for name in NAMES_OF_OS:
        delattr(os, name)
    for name in SIGNALS:
        delattr(signal, name)
    subprocess.Popen.kill = subprocess.Popen.terminate  # type: ignore[method-assign]  # as there
    os.O_BINARY = BINARY  # type: ignore[attr-defined]
    os.open = _opened_as_binary(os.open)
    for name in ("replace", "rename", "remove", "unlink"):
        setattr(os, name, _of_closed_files(getattr(os, name)))
    warnings.filterwarnings("ignore", "only soft file lock is available")


def _opened_as_binary(real: Callable[..., int]) -> Callable[..., int]:
    def opened(path: Any, flags: int, *more: Any, **given: Any) -> int:
        caller = str(sys._getframe(1).f_globals.get("__name__", ""))
        if caller.startswith("notifybot") and not flags & BINARY and Path(path).suffix in (".pt", ".json", ".toml", ""):
            raise AssertionError(f"{path} would be opened as text by {caller}")
        return real(path, flags, *more, **given)

    return opened


def _of_closed_files(real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*paths: Any, **given: Any) -> Any:
        mine = {os.path.realpath(path) for path in paths}
        for number in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{number}") in mine:
                    raise PermissionError(13, "The process cannot access the file: it is being used", str(paths[-1]))
            except FileNotFoundError:
                continue
        return real(*paths, **given)

    return call


if __name__ == "__main__":
    take_away()
    sys.argv = sys.argv[1:]
    if sys.argv[0].endswith(".py"):
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
