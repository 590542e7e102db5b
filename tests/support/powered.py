"""The end of a machine, as far as its processes go: not one that was started on it lives on to write to its disk."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_PATIENCE_S = 30.0
_LOOK_S = 0.01


def cut_off(machine: Path) -> None:
    """Kill every process whose environment names this folder, as W&B's service and our pictures do after their parent.

    Raises AssertionError when one of them is still there after 30 s.
    """
    ends_at_s = time.monotonic() + _PATIENCE_S
    while alive := _processes_of(machine):
        assert time.monotonic() < ends_at_s, f"still on {machine.name}: {alive}"
        for pid in alive:
            _kill(pid)
        time.sleep(_LOOK_S)


def _processes_of(machine: Path) -> list[int]:
    name = f"={machine}".encode()
    ours = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit() and int(each.name) != os.getpid():
            try:
                variables = (each / "environ").read_bytes().split(b"\0")
            except OSError:  # gone, or somebody else's
                continue
            if any(variable.endswith(name) for variable in variables):
                ours.append(int(each.name))
    return ours


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
