"""A checkpoint's payload as a file that plain `torch.load(weights_only=True)` reads."""

from __future__ import annotations

import errno
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from notifybot.checkpoints.errors import Flawed, reason_of
from notifybot.checkpoints.serialization import require_plain
from notifybot.errors import said, system_words
from notifybot.types import Reason

OLDEST_TORCH = (2, 10)


def check_torch(version: str) -> None:
    """Raise CheckpointError for a PyTorch that a hostile checkpoint can take over in spite of `weights_only=True`."""
    numbers = tuple(int(each) for each in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST_TORCH:
        raise Flawed(
            Reason("old_torch", values={"version": version}),
            said(
                f"PyTorch {version} can be made to run code by a checkpoint even with weights_only=True "
                "(CVE-2025-32434 before 2.6, CVE-2026-24747 before 2.10). Install torch>=2.10",
                f"PyTorch {version}에서는 weights_only=True로 읽어도 체크포인트로 악성 코드가 실행될 수 있습니다"
                "(2.6 미만은 CVE-2025-32434, 2.10 미만은 CVE-2026-24747). torch>=2.10을 설치하세요",
            ),
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
            raise _flawed(path, Reason("cut_short")) from error
        raise _unread(path, reason_of(error), system_words(error)) from error
    except EOFError as error:
        raise _flawed(path, Reason("empty")) from error
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from error
    except MemoryError as error:
        raise _unread(path, reason_of(error), said("there is not enough memory", "메모리가 부족합니다")) from error
    except Exception as error:  # a damaged file makes the reader raise nearly anything, and all of it means this
        why = _first_line(error)
        if "allocate memory" in why:  # how PyTorch's own allocator says it
            raise _unread(path, reason_of(error), why) from error
        raise _flawed(path, Reason("unreadable", values={"text": why})) from error
    if not isinstance(payload, dict):
        raise _flawed(path, Reason("no_dict", values={"type": type(payload).__name__}))
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


def _flawed(path: Path, reason: Reason) -> Flawed:
    """The reason's own words, with the file that it is about."""
    return Flawed(reason, str(Flawed(replace(reason, about=str(path)))))


def _unread(path: Path, reason: Reason, why: str) -> Flawed:
    return Flawed(reason, said(f"{path} cannot be read: {why}", f"{path}: 읽을 수 없습니다({why})"))


def _refusal(path: Path, why: str) -> Flawed:
    found = re.search(r"GLOBAL ([\w.]+)|global ([\w.]+)", why)
    what = next((each for each in found.groups() if each), "") if found else ""
    return Flawed(
        Reason("refused", values={"what": what}) if what else Reason("refused_unnamed"),
        said(
            f"{path} is refused, and nothing of it was run: it holds "
            f"{what or 'what'}{', which is' if what else ' is'} not among the types of a checkpoint. "
            "If you wrote it yourself, write it again with numbers, strings and tensors only",
            f"{path}: 체크포인트에 쓸 수 없는 형식이 있어 실행하지 않고 거부했습니다{f'({what})' if what else ''}. "
            "직접 저장한 파일이라면 숫자, 문자열, 텐서만 담아 다시 저장하세요",
        ),
    )


def _first_line(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    name = type(error).__name__
    return (first if " " in first else f"{name}: {first}" if first else name)[:200]  # KeyError says "101", and no more
