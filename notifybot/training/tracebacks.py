"""Exceptions and thread stacks as text: the error and the last frames of user code, never local variables."""

from __future__ import annotations

import linecache
import os
import re
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, TracebackType

from notifybot.errors import reader_text
from notifybot.redaction import strike_looks
from notifybot.rendering.text import redacted, redacted_line, written

FRAMES = 5
_ERROR_CHARS = 500
_CAUSE_CHARS = 200
_LINE_CHARS = 160
_DEEPEST_CAUSE = 20  # a chain of causes may be circular

# File names of a notebook cell's code: by IPython in a terminal and Colab until 2025, by Colab since (beside the former
# in one session: "ipython-input-3-4282502808.py"), by ipykernel on each platform, by Databricks before its ipykernel.
_CELL = re.compile(
    r"<(ipython-input|command)-[^>]*>|(.*[/\\])?(ipython-input-[\d-]+\.py|ipykernel_\d+[/\\]\d+\.py|command-\d+(-\d+)?)"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as text: `error` is "Type: text", `frames` the last frames of user code, innermost last."""

    error: str
    frames: str


def describe(error: BaseException) -> Failure:
    """Return an exception as text, its root cause included. Secrets are struck out."""
    text = error_line(error, _ERROR_CHARS)
    root = error
    for _ in range(_DEEPEST_CAUSE):
        inner = root.__cause__
        if inner is None and isinstance(root, BaseExceptionGroup):
            inner = root.exceptions[0]
        elif inner is None and not root.__suppress_context__:
            inner = root.__context__
        if inner is None:
            break
        root = inner
    if root is not error:
        text = reader_text("training.tracebacks.caused_by", error=text, cause=error_line(root, _CAUSE_CHARS))
    frames = _user_frames(error.__traceback__) or _user_frames(root.__traceback__)
    return Failure(error=strike_looks(text), frames=strike_looks("\n".join(frames)))


def thread_stack(thread_id: int | None) -> str:
    """Current stack of a thread: its frames of user code, then the library function that they wait in."""
    frame = sys._current_frames().get(thread_id or -1)
    if frame is None:
        return ""
    inner, lines = frame.f_code, []
    if not is_user_code(inner.co_filename):
        lines.append(f"waiting in {inner.co_qualname} ({Path(inner.co_filename).name})")
    while frame is not None:
        if is_user_code(frame.f_code.co_filename):
            lines.append(_line(frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return "\n".join(reversed(lines[: FRAMES + 1]))


def is_user_code(filename: str) -> bool:
    """True for files that are neither Python's own, nor installed packages, nor ours. Notebook cells are user code."""
    if _CELL.fullmatch(filename):
        return True
    if filename.startswith("<"):
        return filename.startswith(("<stdin", "<string"))
    path = os.path.join(_here(), filename)
    return not path.startswith(_FOREIGN) and "/site-packages/" not in path and "/dist-packages/" not in path


def error_line(error: BaseException, limit_chars: int) -> str:
    """Return "Type: text" in one line, without secrets. Never raises."""
    kind = type(error)
    home = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    name = home + kind.__qualname__
    text = written(error)
    text = reader_text("training.tracebacks.unreadable") if text is None else redacted_line(text, limit_chars)
    return f"{name}: {text}" if text else name


def _user_frames(traceback: TracebackType | None) -> list[str]:
    lines = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if is_user_code(code.co_filename):
            lines.append(_line(code, traceback.tb_lineno))
        traceback = traceback.tb_next
    return lines[-FRAMES:]


def _line(code: CodeType, number: int | None) -> str:
    source = linecache.getline(code.co_filename, number or 0).strip()
    where = f"{_shown(code.co_filename)}:{number} in {code.co_name}"
    return redacted(f"{where}\n    {source}" if source else where, 2 * _LINE_CHARS)


def _shown(filename: str) -> str:
    """Return a short file name: relative inside the working directory, else without its folders."""
    if _CELL.fullmatch(filename):
        return "notebook cell"
    if filename.startswith("<"):
        return filename
    here = _here()
    path = os.path.join(here, filename)
    return path[len(here) :] if path.startswith(here) else Path(path).name


def _here() -> str:
    try:
        return os.getcwd().rstrip("/") + "/"
    except OSError:  # the working directory was deleted
        return "/"


_PATHS = {
    str(Path(__file__).resolve().parent.parent),
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
}
_FOREIGN = tuple(sorted(path.rstrip("/") + "/" for path in _PATHS if path))
