"""Facts about a run: name, id, session, hyper-parameters, epoch labels, file sizes, host and Colab's session limit."""

from __future__ import annotations

import argparse
import dataclasses
import numbers
import operator
import os
import platform
import re
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from notifybot.errors import UsageError, reader_text
from notifybot.events import LARGEST_INT, MOST_PARAMS
from notifybot.redaction import MARK, fingerprint, names_secret, strike
from notifybot.rendering.format import number
from notifybot.rendering.text import redacted, redacted_line, written
from notifybot.runtime import in_colab, in_notebook, run_before_restart, was_restarted
from notifybot.store.location import local_folder
from notifybot.training.command_file import has_begun, joined_run
from notifybot.types import Host, Param, RunRef, uuid7

_FEW, _RETURNED_CHARS = 10, 300  # of a value that a decorated function returns
TITLE_CHARS, TEXT_CHARS = 200, 4000  # of an alert; a title goes onto one line
_NAME_CHARS = 200
_PARAM_CHARS = 500
_DEEPEST = 8  # nested levels of parameters; also ends a reference cycle
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def name_of(name: str | None) -> str:
    """Return the run's name: the given one, else the script's, else "notebook"."""
    if name is not None:
        if not str(name).strip():
            raise UsageError(reader_text("training.run_info.bad_name", name=f"{name!r}"))
        return redacted_line(str(name), _NAME_CHARS)
    if in_notebook():
        return "notebook"
    script = Path(sys.argv[0]).stem if sys.argv and sys.argv[0] not in ("", "-c", "-m", "-") else ""
    return redacted_line(script, _NAME_CHARS) or "python"


def launch_of(params: Mapping[str, Param]) -> str:
    """Return a fingerprint of the program's arguments and the run's hyper-parameters; they cannot be read from it.

    A notebook's arguments are left out: they name its kernel, which changes with each restart.
    """
    arguments = () if in_notebook() else sys.argv[1:]
    return fingerprint(*arguments, *(f"{name}={value!r}" for name, value in sorted(params.items())))


def checked_id(run_id: str) -> str:
    """Return a run id that the user chose. Raises UsageError when it cannot be one."""
    text = str(run_id)
    fine = text == run_id and 1 <= len(text) <= _NAME_CHARS and text.isprintable() and text.strip() == text
    if not fine or "/" in text or "\\" in text or text in (".", ".."):
        given = redacted_line(repr(run_id), 80)
        raise UsageError(reader_text("training.run_info.bad_run_id", name_chars=_NAME_CHARS, given=given))
    return run_id


def identity(
    run_id: str | None, name: str | None, project: str, *, after: str, joins: bool, state_dir: Path
) -> tuple[RunRef, str | None]:
    """Return which run a new session is of, and the id of a run that it joins: below `notifybot run`, or as it `joins`.

    A process that torchrun starts again, after a rank has failed, goes on with the run that it began before. Raises
    UsageError for an id that cannot be one.
    """
    shown = redacted_line(project, TITLE_CHARS)
    joined = joined_run(shown) if run_id is None else (run_id if joins else None)
    if run_id is None:
        before = run_before_restart(local_folder(state_dir), shown) if was_restarted() else None
        own = joined or before or uuid7()
    else:
        own = checked_id(run_id)
    same_attempt = joined if joined is None or joins or has_begun(joined) else None
    return RunRef(id=own, name=name_of(name), project=shown, session=session_after(after)), same_attempt


def session_after(earlier: str) -> str:
    """Return a new session's id that sorts after `earlier`, even if this machine's clock is slow."""
    fresh = uuid7()
    try:
        millis = UUID(earlier).int >> 80 if earlier >= fresh else 0
    except ValueError:
        return fresh
    return uuid7((millis + 2) / 1000) if millis else fresh


def params_of(params: object) -> dict[str, Param]:
    """Return hyper-parameters in stored form, nested ones by dotted names: `{"opt": {"lr": 0.1}}` is `opt.lr`.

    Takes a mapping (OmegaConf's too), a dataclass or a namespace; at most 200, the rest are counted. Secrets are struck
    out. Raises UsageError.
    """
    if params is None:
        return {}
    children = _children(params)
    if children is None and hasattr(params, "__dict__") and not isinstance(params, type):
        children = list(vars(params).items())
    if children is None or isinstance(params, list | tuple):
        kind = type(params).__name__
        raise UsageError(reader_text("training.run_info.bad_params", kind=kind))
    leaves = [leaf for name, value in children for leaf in _leaves(str(name), value, _DEEPEST)]
    shown = leaves if len(leaves) <= MOST_PARAMS else leaves[: MOST_PARAMS - 1]
    stored = {redacted_line(name, _NAME_CHARS): _param(name, value) for name, value in shown}
    return stored if shown is leaves else stored | {"…": f"+{len(leaves) - len(shown)}"}


def _leaves(name: str, value: object, depth: int) -> Iterator[tuple[str, object]]:
    children = _children(value, depth)
    if not children:
        yield name, value
        return
    for key, child in children:
        yield from _leaves(f"{name}.{key}", child, depth - 1)


def _children(value: object, depth: int = _DEEPEST) -> list[tuple[object, object]] | None:
    """The named parts of a value; None of one that has none. Only a list with such parts in it is taken apart."""
    value = _plain(value) if depth else None
    if isinstance(value, Mapping):
        return list(value.items())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(each.name, getattr(value, each.name, None)) for each in dataclasses.fields(value)]
    if isinstance(value, argparse.Namespace | types.SimpleNamespace):
        return list(vars(value).items())
    if isinstance(value, list | tuple) and any(_children(each, depth - 1) is not None for each in value[:MOST_PARAMS]):
        return list(enumerate(value))
    return None


def _plain(value: object) -> object:
    """OmegaConf's containers as Python's own, resolved where they can be. Imports nothing."""
    module: Any = sys.modules.get("omegaconf")
    if module is None or not isinstance(value, (module.DictConfig, module.ListConfig)):
        return value
    try:
        plain: object = module.OmegaConf.to_container(value, resolve=True)
    except module.errors.OmegaConfBaseException:  # a missing value, or a reference that does not resolve
        plain = module.OmegaConf.to_container(value, resolve=False)
    return plain


def _param(name: str, value: object) -> Param:
    if value is None or type(value) is bool:
        return value
    text = written(value)
    if text is None:
        text = f"({type(value).__name__})"
    if type(value) is int:
        return value if abs(value) <= LARGEST_INT else text[:_PARAM_CHARS]
    if isinstance(value, float):
        return float(value)
    if not isinstance(value, int) and text and names_secret(name):
        return MARK
    return redacted(strike(text[: 8 * _PARAM_CHARS]), _PARAM_CHARS)


def shown_value(value: object) -> str:
    """Return what a function returned as one line: a number, a text, or a few of them in a dict, list or tuple.

    Empty for anything else, and for None. Secrets are struck out.
    """
    if isinstance(value, dict | list | tuple) and len(value) <= _FEW:
        named = list(value.items()) if isinstance(value, dict) else [("", each) for each in value]
        parts = [(redacted_line(str(name), _NAME_CHARS), _shown(str(name), each)) for name, each in named]
        if not all(part for _, part in parts):
            return ""
        return redacted_line(", ".join(f"{name} {part}" if name else part for name, part in parts), _RETURNED_CHARS)
    return _shown("", value)


def _shown(name: str, value: object) -> str:
    if isinstance(value, int | str):
        return redacted_line(str(_param(name, value)), _RETURNED_CHARS)
    return number(float(value)) if isinstance(value, numbers.Real) else ""  # NumPy's, too


def label_of(epoch: object, call: str = "notify_epoch") -> int:
    """Return an epoch's label as an int; 1.0 is one, as Trainers count. Raises UsageError when it is none."""
    number: Any = None if isinstance(epoch, str | bytes) else epoch
    try:
        if not hasattr(number, "__index__"):
            number = int(float(number)) if float(number).is_integer() else None
        return operator.index(number)
    except (ArithmeticError, RuntimeError, TypeError, ValueError):  # PyTorch's of several elements raise RuntimeError
        kind = redacted_line(repr(epoch) if isinstance(epoch, float | str) else type(epoch).__name__, 40)
    if call == "notify_epoch":
        raise UsageError(reader_text("training.run_info.epochs_are_no_whole_numbers", kind=kind))
    raise UsageError(reader_text("training.run_info.epoch_is_no_whole_number", call=call, kind=kind))


def is_there(path: str | os.PathLike[str]) -> bool:
    """False if nothing is at a path. A path that cannot be checked, such as a URL, counts as there."""
    if _URL.match(os.fspath(path)):
        return True
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True


def size_of(path: str | os.PathLike[str]) -> int | None:
    """The bytes of a file, or of all files in a folder (sharded checkpoints)."""
    try:
        there = Path(path)
        files = [there] if there.is_file() else [each for each in there.rglob("*") if each.is_file()]
        return sum(each.stat().st_size for each in files) if files else None
    except OSError:
        return None


def folder_name(project: str, name: str, run_id: str) -> Path:
    """Return the run's folder below the runs folder: the same for the same run, safe on any file system."""
    return Path(_safe(project)) / f"{_safe(name)}-{fingerprint(run_id)}"


def _safe(text: str) -> str:
    safe = re.sub(r"[^\w.-]+", "-", text).strip("-.")
    return safe.encode()[:80].decode("utf-8", "ignore") or "run"


def this_host(proc: Path = Path("/proc")) -> Host:
    """Describe this machine without initialising an accelerator's driver, which would break later forks. Never raises.

    `proc` is Linux's /proc; elsewhere memory, uptime and most accelerators stay unknown.
    """
    memory = re.search(r"^MemTotal:\s*(\d{1,15}) kB$", _read(proc / "meminfo"), re.MULTILINE)
    uptime = re.match(r"\d{1,12}(\.\d+)? ", _read(proc / "uptime"))
    return Host(
        name=platform.node(),
        platform=f"{platform.system()} {platform.machine()}".strip(),
        python=platform.python_version(),
        device=_device_in_use() or _device_in(proc),
        pid=os.getpid(),
        memory_bytes=int(memory[1]) * 1024 if memory else None,
        up_s=float(uptime[0]) if uptime else None,
        notebook=in_notebook(),
    )


def _device_in_use() -> str:
    """Name of the accelerator that the process already uses, or empty."""
    torch: Any = sys.modules.get("torch")
    cuda: Any = getattr(torch, "cuda", None)
    with suppress(RuntimeError):  # the driver has failed since
        return str(cuda.get_device_name()) if getattr(cuda, "_initialized", False) else ""
    return ""


def _device_in(proc: Path) -> str:
    """First accelerator that a driver lists under /proc."""
    try:
        found = sorted((proc / "driver/nvidia/gpus").glob("*/information"))
    except OSError:
        return ""
    matches = (re.search(r"^Model:\s*(.+)$", _read(each), re.MULTILINE) for each in found)
    return next((match[1].strip() for match in matches if match), "")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


_HOUR_S = 3600.0
_LIMITS_H = (12, 24)  # without and with a paid plan: googlecolab/colabtools#1961 and #3254
_NEAR_S = 1.5 * _HOUR_S


def near_limit_h(up_s: float) -> int | None:
    """The usual session limit in hours if an uptime of `up_s` seconds is at most 1.5 hours short of it, else None."""
    return next((hours for hours in _LIMITS_H if 0 <= hours * _HOUR_S - up_s <= _NEAR_S), None)


class ColabSessionLimit:
    """Compares the uptime of a Colab machine with the usual length of a session."""

    def __init__(self, up_s: float, now_s: float) -> None:
        self._since_s = now_s - up_s
        self._is_over = False

    @classmethod
    def here(cls, up_s: float | None, now_s: float) -> ColabSessionLimit | None:
        """None outside Colab, where a machine may be up for years."""
        return cls(up_s, now_s) if up_s is not None and in_colab() else None

    def near_its_end(self, now_s: float) -> tuple[int, float] | None:
        """The usual limit in hours and the uptime in seconds, once, when the limit is near."""
        up_s = now_s - self._since_s
        limit_h = None if self._is_over else near_limit_h(up_s)
        if limit_h is None:
            return None
        self._is_over = True
        return limit_h, up_s
