"""Judgement of a command's end by its exit code, its signals, the kernel's memory counters and its last lines."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS")
_STOPS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_HOST = Path("/proc/vmstat")


class OutOfMemory(StrEnum):
    """Verdict of the kernel's counters on a SIGKILL. Only the child's own cgroup proves it."""

    NO = "no"
    PERHAPS = "perhaps"  # somebody on this host was killed for memory
    YES = "yes"


@dataclass(frozen=True, slots=True)
class MemoryKills:
    """Counters of processes killed for want of memory; None where the kernel shows none.

    `oom_kill` of cgroup v2's memory.events and of v1's memory.oom_control counts the processes of this cgroup;
    `oom_kill` of /proc/vmstat those of the host (https://docs.kernel.org/admin-guide/cgroup-v2.html).
    """

    own: int | None
    host: int | None

    @classmethod
    def now(cls, cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP, host: Path = _HOST) -> MemoryKills:
        """Read the counters of this process's cgroup, which the child is in, and of the host."""
        return cls(_own_count(cgroups, own), _count(host))

    def since(self, before: MemoryKills) -> OutOfMemory:
        """Compare with counters of an earlier moment."""
        if self.own is not None and before.own is not None and self.own > before.own:
            return OutOfMemory.YES
        if self.host is not None and before.host is not None and self.host > before.host:
            return OutOfMemory.PERHAPS
        return OutOfMemory.NO


def _own_count(cgroups: Path, own: Path) -> int | None:
    with suppress(OSError, ValueError):
        for line in own.read_text("utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":  # v2: "0::/user.slice/…"; within a container the mount begins at its own cgroup
                places = [cgroups / path.lstrip("/") / "memory.events", cgroups / "memory.events"]
            elif "memory" in controllers.split(","):
                places = [cgroups / "memory" / path.lstrip("/") / "memory.oom_control"]
            else:
                continue
            for place in places:
                if (count := _count(place)) is not None:
                    return count
    return None


def _count(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        found = re.search(r"^oom_kill (\d+)$", path.read_text("utf-8"), re.MULTILINE)
        return int(found[1]) if found else None
    return None


class Kind(StrEnum):
    """Ways in which a command ends."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    OUT_OF_MEMORY = "out_of_memory"
    PERHAPS_OUT_OF_MEMORY = "perhaps_out_of_memory"
    KILLED = "killed"
    CRASHED = "crashed"
    NOT_STARTED = "not_started"


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """End of a command; `signal` killed it or was sent to it, `error` is the last line of its traceback.

    `complaint` is the last line that names an error, of a command that ended without a traceback; `command` the one
    that could not be started.
    """

    kind: Kind
    code: int = 0
    signal: str = ""
    error: str = ""
    complaint: str = ""
    command: str = ""

    @property
    def exit_code(self) -> int:
        """Exit code of the wrapper: the child's, or 128 and the number of the signal that killed it."""
        return self.code if self.code >= 0 else 128 - self.code

    @property
    def died_of(self) -> int | None:
        """The number of a signal that stops programs, if the child died of it: the wrapper dies of it as well."""
        return -self.code if self.code < 0 and _name(-self.code) in _STOPS else None


def outcome_of(code: int, *, received: str, memory: OutOfMemory, lines: Sequence[str]) -> CommandOutcome:
    """Judge an exit code (minus the number of a killing signal), with the deadly signal that was `received` shortly.

    A shell between us and the training says 128 and the signal's number for it.
    """
    killed_by = _name(-code if code < 0 else code - 128)
    if killed_by == "SIGKILL" and (memory is OutOfMemory.YES or not received):  # schedulers kill after their SIGTERM
        kinds = {OutOfMemory.YES: Kind.OUT_OF_MEMORY, OutOfMemory.PERHAPS: Kind.PERHAPS_OUT_OF_MEMORY}
        return CommandOutcome(kinds.get(memory, Kind.KILLED), code, killed_by, error_in(lines))
    if killed_by in CRASHES:
        return CommandOutcome(Kind.CRASHED, code, killed_by, error_in(lines))
    if killed_by in _STOPS or code < 0 or received:
        return CommandOutcome(Kind.INTERRUPTED, code, received or killed_by)
    if code == 0:
        return CommandOutcome(Kind.FINISHED)
    return CommandOutcome(Kind.FAILED, code, error=error_in(lines), complaint=complaint_in(lines))


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


_COMPLAINT = re.compile(
    r"\b(?:\w*error|fatal|fail(?:ed|ure)|\w*exception|abort(?:ed|ing)?|killed|denied|cannot|could not|no such|not found"
    r"|invalid|unrecognized|out of memory|panicked)\b",
    re.IGNORECASE,
)
_LAST_LINES = 5


def complaint_in(lines: Sequence[str]) -> str:
    """Return the last line that names an error, where it is among the last that were printed."""
    return next((line.strip() for line in reversed(lines[-_LAST_LINES:]) if _COMPLAINT.search(line)), "")


_TRACEBACK = "Traceback (most recent call last):"
_OF_A_RANK = re.compile(r"^\[(?:rank)?(\d+)\]:\s?(.*)$")  # as torch.distributed and torchrun begin lines
_ROOT_CAUSE = re.compile(r"^\s*rank\s*:\s*(\d+)\b")  # in torchrun's summary


def error_in(lines: Sequence[str]) -> str:
    """Return the error that the last Python traceback ends with; of the rank that torchrun found to be the first."""
    rank = ""
    for index, line in enumerate(lines):
        if line.startswith("Root Cause (first observed failure)"):
            rank = next((found[1] for each in lines[index:] if (found := _ROOT_CAUSE.match(each))), "")
    by_rank: dict[str, list[str]] = {}
    for line in lines:
        found = _OF_A_RANK.match(line)
        by_rank.setdefault(found[1] if found else "", []).append(found[2] if found else line)
    error = _last_error(by_rank.get(rank, [])) or _last_error(by_rank.get("", []))
    if not error:
        error = next(filter(None, map(_last_error, by_rank.values())), "")
    return f"rank {rank}: {error}" if rank and error else error


def _last_error(lines: Sequence[str]) -> str:
    begun = max((index for index, line in enumerate(lines) if line.startswith(_TRACEBACK)), default=None)
    if begun is None:
        return ""
    return next((line for line in lines[begun + 1 :] if line and not line[0].isspace()), "")
