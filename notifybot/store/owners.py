"""Which process holds a lease, told so that another process of the machine can check whether it still lives."""

from __future__ import annotations

import os
from pathlib import Path

from notifybot.files import is_running

_PROGRAM = os.urandom(4).hex()  # a process that becomes another program by `os.execv` keeps number and start time


def process_name() -> str:
    """A name for this process that another one can check: "pid:start time:program" (start time from /proc)."""
    return f"{os.getpid()}:{_start_of(os.getpid())}:{_PROGRAM}"


def _start_of(pid: int) -> str:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return ""
    return after_name.split()[19]  # field 22 of proc(5): ticks since boot


def lives(owner: str) -> bool:
    """True unless the process that gave itself this name is certainly gone: a number alone is used again."""
    pid, start, program = [*owner.split(":", 2), "", ""][:3]
    if not pid.isdigit():
        return True  # not named by us: its lease will run out
    if not is_running(int(pid)):
        return False
    if int(pid) == os.getpid() and program not in ("", _PROGRAM):
        return False  # we were that one, before `os.execv`
    now = _start_of(int(pid))
    return not start or not now or now == start
