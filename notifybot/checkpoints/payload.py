"""A checkpoint's payload as a file that plain `torch.load(weights_only=True)` reads."""

from __future__ import annotations

import errno
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from notifybot.checkpoints.plain import require_plain
from notifybot.checkpoints.reasons import Flawed, reason_of
from notifybot.model import Reason

OLDEST_TORCH = (2, 10)


def check_torch(version: str) -> None:
    """Raise CheckpointError for a PyTorch that a hostile checkpoint can take over in spite of `weights_only=True`."""
    numbers = tuple(int(each) for each in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST_TORCH:
        raise Flawed(
            Reason("old_torch", values={"version": version}),
            f"PyTorch {version} can be made to run code by a checkpoint even with weights_only=True "
            "(CVE-2025-32434 before 2.6, CVE-2026-24747 before 2.10). Install torch>=2.10",
        )


def write_payload(payload: Mapping[str, Any], file: BinaryIO) -> None:
    """Write the payload. Raises UsageError naming the key that would not load again, and the file's own OSError."""
    import torch

    require_plain(payload)
    steady = _Steady(file)
    torch.save(dict(payload), steady)
    if steady.error is not None:
        raise steady.error


def read_payload(path: Path, allowed: Sequence[Any] = ()) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, running nothing of it. Raises CheckpointError for whatever is not one.

    `allowed` are types that it may hold beside PyTorch's own, as `torch.serialization.safe_globals` takes them.
    """
    import torch

    check_torch(torch.__version__)
    try:
        known = torch.serialization.get_safe_globals()  # the user's own stay: the context takes away what it is given
        with torch.serialization.safe_globals([each for each in allowed if each not in known]):
            payload = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        if error.errno == errno.EINVAL:  # the reader was sent beyond the file's end
            raise Flawed(Reason("cut_short"), f"{path} is cut short: it is not a whole checkpoint") from error
        raise Flawed(reason_of(error), f"{path} cannot be read: {error.strerror or error}") from error
    except EOFError as error:
        raise Flawed(Reason("empty"), f"{path} is empty or cut short: it is not a whole checkpoint") from error
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from error
    except MemoryError as error:
        raise Flawed(reason_of(error), f"{path} cannot be read: there is not enough memory") from error
    except Exception as error:  # a damaged file makes the reader raise nearly anything, and all of it means this
        why = _first_line(error)
        if "allocate memory" in why:  # how PyTorch's own allocator says it
            raise Flawed(reason_of(error), f"{path} cannot be read: {why}") from error
        reason = Reason("unreadable", values={"text": why})
        raise Flawed(reason, f"{path} is damaged or no PyTorch checkpoint: {why}") from error
    if not isinstance(payload, dict):
        kind = type(payload).__name__
        raise Flawed(Reason("no_dict", values={"type": kind}), f"{path} holds {kind}, not a dict with model_state_dict")
    return payload


class _Steady:
    """The file as PyTorch's writer sees it: it takes all, and keeps the first error for later.

    An OSError raised through the C++ writer comes out as a RuntimeError that says nothing of the full disk. A raw
    file may also take a part of what it is given, which that writer does not look at.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")
        try:
            done = 0
            while self.error is None and done < len(view):
                done += self._file.write(view[done:])
        except OSError as error:
            self.error = error
        return len(view)

    def flush(self) -> None:
        try:
            if self.error is None:
                self._file.flush()
        except OSError as error:
            self.error = error


def _refusal(path: Path, why: str) -> Flawed:
    found = re.search(r"GLOBAL ([\w.]+)|global ([\w.]+)", why)
    what = next((each for each in found.groups() if each), "") if found else ""
    return Flawed(
        Reason("refused", values={"what": what}) if what else Reason("refused_unnamed"),
        f"{path} is refused, and nothing of it was run: it holds "
        f"{what or 'what'}{', which is' if what else ' is'} not among the types of a checkpoint. "
        "If you wrote it yourself, write it again with numbers, strings and tensors only",
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
