"""Serialization of state dicts: types that a weights-only load accepts and back, and payload files.

PyTorch's safe unpickler knows tensors, numbers, strings and the usual containers. Schedulers, samplers and loaders keep
more: NumPy numbers, paths, dates and times. Those are written as a small dict that names the original type.
"""

from __future__ import annotations

import argparse
import errno
import pickle
import re
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from notifybot.checkpoints.errors import Flawed, reason_of, ways_on
from notifybot.errors import CheckpointError, UsageError, reader_text, system_words
from notifybot.types import Reason

Keep = Callable[[str, Any], Any]
"""What becomes of a tensor that is met at a key path: itself, a copy, or an error."""

TAG = "__notifybot__"

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
_FACTORIES: dict[str, Any] = {each.__name__: each for each in (dict, list, set, int, float, str)}
_READ_ELSEWHERE = ("optimizer_state_dict", "scheduler_state_dict")  # only PyTorch reads these; a NumPy float will do
_DEPTH = 64  # a state dict that nests deeper contains itself
_ARRAY_KINDS = "biufcSUmM"  # NumPy kinds whose bytes can be read back: booleans, numbers, text, dates


def to_safe(value: Any, at: str, keep: Keep, depth: int = 0) -> Any:
    """Copy `value` into types that load with `weights_only=True`; nothing in the copy is shared with the original.

    `at` is the key path that an error names. Raises UsageError for what cannot be written so that it comes back.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if depth > _DEPTH:
        raise UsageError(reader_text("checkpoints.serialization.nested_too_deep", at=at, depth=_DEPTH))
    if kind in (dict, OrderedDict, Counter):
        return _mapping(value, at, keep, depth)
    if kind in (list, tuple):
        if _are_atoms(value):
            return kind(value)
        return kind(to_safe(each, f"{at}[{place}]", keep, depth + 1) for place, each in enumerate(value))
    if kind in (set, bytearray) and (kind is bytearray or _are_atoms(value)):
        return kind(value)
    return _foreign(value, at, keep, depth)


def from_plain(value: Any) -> Any:
    """Undo `to_safe`: containers are new, tensors are the same objects. Raises CheckpointError for a malformed tag."""
    kind = type(value)
    if kind in (dict, OrderedDict, Counter):
        if TAG in value:
            return _untagged(value)
        copy: Any = kind()
        for key, each in value.items():
            copy[key] = from_plain(each)
        if hasattr(value, "_metadata"):
            copy._metadata = value._metadata
        return copy
    if kind in (list, tuple):
        return kind(value) if _are_atoms(value) else kind(from_plain(each) for each in value)
    return value


def require_plain(value: Mapping[str, Any]) -> None:
    """Raise UsageError, naming the key path, unless all of `value` loads with `weights_only=True`."""
    to_safe(dict(value), "checkpoint", lambda _at, tensor: tensor)


_PLAIN = frozenset({type(None), bool, int, float, str})
_PLAIN_DEPTH = 16
PLAIN_BYTES = 64 * 1024


def plain_copy(values: Any) -> dict[Any, Any]:
    """Copy a small dict of plain values; NumPy's numbers and tensors of one element become Python's numbers.

    Raises UsageError, naming the key path, for one that is not plain, nests deeper than 16 levels or, with 8 bytes for
    a number, is larger than 64 KiB.
    """
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise UsageError(reader_text("checkpoints.serialization.values_are_no_dict", kind=kind))
    left = [PLAIN_BYTES]
    return {key: _plain(each, f"state[{key!r:.80}]", 1, left) for key, each in _plain_items(values, "state", left)}


def _plain(value: Any, at: str, depth: int, left: list[int]) -> Any:
    """Copy a value; what it takes is subtracted from the bytes that are `left`."""
    if depth > _PLAIN_DEPTH:
        raise UsageError(reader_text("checkpoints.serialization.values_too_deep", at=at, depth=_PLAIN_DEPTH))
    value = _python_number(value)
    if type(value) in (dict, list, tuple):
        _take(0, left)  # so that one which holds itself many times is soon too large
    if type(value) is dict:
        items = _plain_items(value, at, left)
        return {key: _plain(each, f"{at}[{key!r:.80}]", depth + 1, left) for key, each in items}
    if type(value) in (list, tuple):
        return type(value)(_plain(each, f"{at}[{place}]", depth + 1, left) for place, each in enumerate(value))
    if type(value) not in _PLAIN:
        raise UsageError(reader_text("checkpoints.serialization.value_is_not_plain", at=at, kind=_type_name(value)))
    _take(value, left)
    return value


def _plain_items(values: Mapping[Any, Any], at: str, left: list[int]) -> Iterable[tuple[Any, Any]]:
    for key in values:
        if type(key) not in (str, int):
            given = {"given": f"{key!r:.80}", "kind": _type_name(key)}
            raise UsageError(reader_text("checkpoints.serialization.key_of_other_type", at=at, **given))
        _take(key, left)
    return values.items()


def _take(value: Any, left: list[int]) -> None:
    left[0] -= len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else 8
    left[0] -= value.bit_length() // 8 if isinstance(value, int) else 0
    if left[0] < 0:
        raise UsageError(reader_text("checkpoints.serialization.values_too_large", limit=PLAIN_BYTES // 1024))


def _python_number(value: Any) -> Any:
    """Return the Python number of a NumPy scalar or a tensor of one element; other values unchanged."""
    if type(value) in _PLAIN or not callable(getattr(value, "item", None)):
        return value
    try:
        return value.item()
    except (TypeError, ValueError, RuntimeError):  # several elements
        return value


def _are_atoms(values: Any) -> bool:
    """True when all values are atoms, so that a copy is deep; one pass in C, as lists may be long."""
    return set(map(type, values)) <= _ATOMS


def _mapping(value: Any, at: str, keep: Keep, depth: int) -> Any:
    copy: Any = type(value)()
    for key, each in value.items():
        name = _key(key, at)
        copy[name] = each if type(each) in _ATOMS else to_safe(each, f"{at}.{name}", keep, depth + 1)
    metadata = getattr(value, "_metadata", None)
    if metadata is not None:  # the modules' versions, by which PyTorch reads old weights
        copy._metadata = to_safe(metadata, f"{at}._metadata", keep, depth + 1)
    return copy if TAG not in copy else {TAG: "dict", "value": [list(pair) for pair in copy.items()]}


def _key(key: Any, at: str) -> Any:
    kind = type(key)
    if kind in _ATOMS or (kind is tuple and _are_atoms(key)):
        return key
    if kind.__module__ == "numpy" and hasattr(key, "item") and type(key.item()) in _ATOMS:
        return key.item()  # the Python number is equal and hashes alike
    raise UsageError(
        reader_text("checkpoints.serialization.key_of_other_type", at=at, given=f"{key!r:.80}", kind=_type_name(key))
    )


def _foreign(value: Any, at: str, keep: Keep, depth: int) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return keep(at, value)
    if isinstance(value, torch.Size | torch.dtype | torch.device):
        return value
    if isinstance(value, float) and at.startswith(_READ_ELSEWHERE):
        return float(value)
    if type(value).__module__ == "numpy":
        return _array(value, at, keep)
    for kinds, encode in _ENCODERS:
        if isinstance(value, kinds):
            name, inner = encode(value, at)
            return {TAG: name, "value": to_safe(inner, at, keep, depth + 1)}
    kind = _type_name(value)
    raise UsageError(reader_text("checkpoints.serialization.type_cannot_be_saved", at=at, kind=kind))


def _array(value: Any, at: str, keep: Keep) -> Any:
    """A NumPy array or scalar as its bytes: a tensor, so that large ones are copied and written like weights."""
    import torch

    numpy = sys.modules["numpy"]
    name = "numpy.array" if isinstance(value, numpy.ndarray) else "numpy.scalar"
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if not kind or kind not in _ARRAY_KINDS:
        dtype = getattr(value, "dtype", None)
        raise UsageError(reader_text("checkpoints.serialization.numpy_dtype_cannot_be_saved", at=at, dtype=dtype))
    flat = numpy.ascontiguousarray(value).reshape(-1).view(numpy.uint8)
    if not flat.flags.writeable:
        flat = flat.copy()  # a tensor cannot share read-only memory
    return {TAG: name, "dtype": value.dtype.str, "shape": list(value.shape), "value": keep(at, torch.from_numpy(flat))}


def _defaultdict(value: Any, at: str) -> tuple[str, Any]:
    factory = value.default_factory
    name = getattr(factory, "__name__", "") if factory is not None else ""
    if factory is not _FACTORIES.get(name):
        raise UsageError(reader_text("checkpoints.serialization.defaultdict_with_factory", at=at))
    return "defaultdict", [name, dict(value)]


_ENCODERS: list[tuple[Any, Callable[[Any, str], tuple[str, Any]]]] = [
    (defaultdict, _defaultdict),
    (deque, lambda value, at: ("deque", [value.maxlen, list(value)])),
    (frozenset, lambda value, at: ("frozenset", list(value))),
    (PurePath, lambda value, at: ("path", str(value))),
    (datetime, lambda value, at: ("datetime", value.isoformat())),
    (date, lambda value, at: ("date", value.isoformat())),
    (time, lambda value, at: ("time", value.isoformat())),
    (timedelta, lambda value, at: ("timedelta", [value.days, value.seconds, value.microseconds])),
    (argparse.Namespace, lambda value, at: ("argparse", vars(value))),
    (types.SimpleNamespace, lambda value, at: ("namespace", vars(value))),
]

_DECODERS: dict[str, Callable[[Any], Any]] = {
    "dict": dict,  # a dict that happens to have our tag among its keys
    "defaultdict": lambda value: defaultdict(_FACTORIES.get(value[0]), value[1]),
    "deque": lambda value: deque(value[1], value[0]),
    "frozenset": frozenset,
    "path": Path,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda value: timedelta(*value),
    "argparse": lambda value: argparse.Namespace(**value),
    "namespace": lambda value: types.SimpleNamespace(**value),
}


def _untagged(value: Mapping[str, Any]) -> Any:
    name = value[TAG]
    try:
        if name in ("numpy.array", "numpy.scalar"):
            return _numpy(value)
        return _DECODERS[name](from_plain(value["value"]))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        values = {"name": f"{name!r:.40}", "error": error, "ways_on": ways_on()}
        raise CheckpointError(reader_text("checkpoints.serialization.value_is_malformed", **values)) from error


def _numpy(value: Mapping[str, Any]) -> Any:
    try:
        import numpy
    except ImportError:
        raise CheckpointError(reader_text("checkpoints.serialization.needs_numpy")) from None
    array = numpy.frombuffer(value["value"].numpy().tobytes(), numpy.dtype(value["dtype"])).reshape(value["shape"])
    return array.copy() if value[TAG] == "numpy.array" else array[()]


def _type_name(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


OLDEST_TORCH = (2, 10)


def check_torch(version: str) -> None:
    """Raise CheckpointError for a PyTorch that a hostile checkpoint can take over in spite of `weights_only=True`."""
    numbers = tuple(int(each) for each in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST_TORCH:
        raise Flawed(
            Reason("old_torch", values={"version": version}),
            reader_text("checkpoints.serialization.torch_is_unsafe", version=version),
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
    """Read a checkpoint onto the CPU, running nothing of it. Raises CheckpointError for any other file.

    `allowed` are types that it may hold beside PyTorch's own, as `torch.serialization.safe_globals` takes them.
    """
    import torch

    check_torch(torch.__version__)
    try:
        known = torch.serialization.get_safe_globals()  # the user's: the context would remove those it shares
        with torch.serialization.safe_globals([each for each in allowed if each not in known]):
            payload = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        if error.errno == errno.EINVAL:  # an offset beyond the end of the file
            raise _flawed(path, Reason("cut_short")) from error
        raise _unread(path, reason_of(error), system_words(error)) from error
    except EOFError as error:
        raise _flawed(path, Reason("empty")) from error
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error))
        reason = Reason("refused", values={"what": found[1]}) if found else Reason("refused_unnamed")
        text = reader_text(f"checkpoints.serialization.{reason.code}", path=path, what=found[1] if found else "")
        raise Flawed(reason, text) from error
    except MemoryError as error:
        raise _unread(path, reason_of(error), reader_text("checkpoints.serialization.out_of_memory")) from error
    except Exception as error:  # a damaged file makes the reader raise nearly anything
        why = _first_line(error)
        if "allocate memory" in why:  # as PyTorch's allocator says it
            raise _unread(path, reason_of(error), why) from error
        raise _flawed(path, Reason("unreadable", values={"text": why})) from error
    if not isinstance(payload, dict):
        raise _flawed(path, Reason("no_dict", values={"type": type(payload).__name__}))
    return payload


class _Steady:
    """File for PyTorch's writer that accepts all data and keeps the first error for later.

    An OSError raised through the C++ writer becomes a RuntimeError that does not name the full disk. A raw file may
    also write only a part of the data, which that writer does not check.
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
    """Return the error for a reason, with the file's path in its text."""
    return Flawed(reason, str(Flawed(replace(reason, about=str(path)))))


def _unread(path: Path, reason: Reason, why: str) -> Flawed:
    return Flawed(reason, reader_text("checkpoints.serialization.cannot_be_read", path=path, why=why))


def _first_line(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    name = type(error).__name__
    return (first if " " in first else f"{name}: {first}" if first else name)[:200]  # KeyError says "101" only
