"""Meter: metric averages of one epoch. `Meter.log` runs at every step: no lock, no list, no wait for a device."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from notifybot.errors import UsageError, reader_text
from notifybot.redaction import redact
from notifybot.rendering.text import redacted_line

log = logging.getLogger("notifybot")

_NAME_CHARS = 200
_SAID_CHARS = 40
_MOST_REFUSED = 50  # refused names counted one by one: a loop that generates names must not fill memory and log
_INFINITY = math.inf


class Accumulator:
    """Running sums of one metric: on the CPU and per device, with the total weight."""

    __slots__ = ("on_devices", "total", "weight")

    def __init__(self) -> None:
        self.total = 0.0
        self.weight = 0.0
        self.on_devices: dict[Any, Any] = {}


class Meter:
    """Weighted means of everything logged since the last `read`. For one thread: the one that trains.

    A value on an accelerator is added in place to a float64 sum on its device: nothing waits, no graph is kept, and
    a later in-place change (`loss /= 4`) does not reach what was added.
    """

    def __init__(self, call: str = "log") -> None:
        self.steps = 0
        self.refused: dict[str, int] = {}
        self.loud = True
        self._call = call
        self.closed: Closed | None = None
        self._cells: dict[str, Accumulator] = {}
        self._accepted: set[str] = set()

    def __reduce__(self) -> Any:
        """Make copies and pickles mute: values logged to them would reach nobody."""
        return mute_meter, ()

    @property
    def used(self) -> bool:
        """True when anything was logged, valid or not."""
        return bool(self._accepted or self.refused)

    def close(self, why: Closed) -> None:
        """Take no values from now on: they are skipped, counted and warned of once. A mute meter stays mute."""
        if self.closed is not Closed.MUTE:
            self.closed, self._cells = why, {}  # without cells every value takes the slow path

    def open(self) -> None:
        """Take what is logged, after `close`."""
        if self.closed is not Closed.MUTE:
            self.closed = None

    def log(self, mapping: Mapping[str, Any] | None = None, /, *, n: float = 1.0, **more: Any) -> None:
        """Add one step's values, each standing for `n` samples.

        While `loud`, raises UsageError for a name whose first value is no number. Else, and for later ones, they are
        skipped and counted, and each name is said once.
        """
        if mapping is not None:
            more = mapping if type(mapping) is dict and not more else self._merged(mapping, more)
        self.steps += 1
        cells = self._cells
        name = None
        try:
            if n != 1.0 and not 0.0 < n < _INFINITY:
                raise ValueError
            for name, value in more.items():
                cell = cells[name]
                if type(value) is float:
                    cell.total += value * n
                elif value.is_cpu:
                    cell.total += value.item() * n
                else:
                    cell.on_devices[value.device].add_(value.detach(), alpha=n)
                cell.weight += n
        except Exception:  # noqa: BLE001  anything but a number or tensor as seen before takes the slow path
            careful = True
        else:
            careful = False
        if careful:  # outside the handler, so that the UsageError has no context in its traceback
            self._log_carefully(more, name, n)

    def names(self) -> Collection[str]:
        """The names that were logged since the last `read`."""
        return self._cells

    def read(self) -> dict[str, float]:
        """Return the means and begin anew. Waits once for each accelerator that holds sums."""
        cells, self._cells = self._cells, {}
        fetched = self._fetch(cells) if any(cell.on_devices for cell in cells.values()) else {}
        means = {}
        for name, cell in cells.items():
            total: object = cell.total + fetched.get(name, 0.0)
            if not isinstance(total, float):  # a complex tensor among real ones
                self._refuse({name: reader_text("training.metrics.complex_number")})
            elif cell.weight:
                means[redact(name)] = total / cell.weight
        return means

    def snapshot(self) -> dict[str, list[float]]:
        """Return the sum and the weight under each name, without beginning anew: an epoch's first half."""
        fetched = self._fetch(self._cells)
        return {name: [cell.total + fetched.get(name, 0.0), cell.weight] for name, cell in self._cells.items()}

    def non_finite_sums(self) -> dict[str, float]:
        """The sums that are no longer finite; those on devices are not looked at. May be called from any thread."""
        totals = [(name, cell.total) for name, cell in list(self._cells.items())]
        return {redact(name): total for name, total in totals if type(total) is float and not math.isfinite(total)}

    def resume(self, sums: Mapping[str, Sequence[float]]) -> None:
        """Restore the sums of a snapshot."""
        for name, (total, weight) in sums.items():
            cell = self._cells.setdefault(name, Accumulator())
            cell.total, cell.weight = float(total), float(weight)
            self._accepted.add(name)

    def _log_carefully(self, values: Mapping[str, Any], first: str | None, n: float) -> None:
        """Add the value named `first` and all after it; all where it is None."""
        reached = first is None
        refused: dict[str, str] = {}
        mistakes: list[UsageError] = []
        for name, value in values.items():
            reached = reached or name == first
            if not reached:
                continue
            if self.closed is not None:
                refused[_shown(name)] = ""
                continue
            try:
                self._add(_checked_name(name), value, _checked_weight(n))
            except UsageError as error:
                refused[_shown(name)] = str(error)
                if self.loud and name not in self._accepted:
                    mistakes.append(error)
            except Exception as error:  # noqa: BLE001  a foreign __float__ or a device error: not the training's problem
                refused[_shown(name)] = type(error).__name__
        if mistakes:  # of a framework's numbers it, and not the author, put a None or a text beside them
            of_framework = len(values) > len(refused) or all(each is None for each in values.values())
            if self._call != "log_epoch" or not of_framework:
                raise mistakes[0]
        self._refuse(refused)

    def _add(self, name: str, value: Any, n: float) -> None:
        if n == 0.0:  # no samples; 0 × inf would be NaN
            return
        # By attributes and not by its class: another thread may be importing torch just now.
        is_tensor = hasattr(value, "is_cpu") and hasattr(value, "detach")
        if is_tensor and (value.numel() != 1 or value.is_complex()):
            raise UsageError(_advice(name, value, self._call))
        cell = self._cells.get(name) or Accumulator()
        if not is_tensor:
            cell.total += self._number(name, value) * n
        elif value.is_cpu:
            cell.total += float(value.item()) * n
        else:
            sums = cell.on_devices
            if value.device not in sums:
                sums[value.device] = _zero(value.device)
            sums[value.device].add_(value.detach().reshape(()), alpha=n)
        cell.weight += n
        self._cells[name] = cell
        self._accepted.add(name)

    def _fetch(self, cells: Mapping[str, Accumulator]) -> dict[str, float]:
        """Bring the sums of each device here in one transfer."""
        fetched: dict[str, float] = {}
        for device in {device: None for cell in cells.values() for device in cell.on_devices}:
            names = [name for name, cell in cells.items() if device in cell.on_devices]
            try:
                totals = sys.modules["torch"].stack([cells[name].on_devices[device] for name in names]).cpu().tolist()
            except RuntimeError as error:  # PyTorch's only error of a broken device: training will hear of it by itself
                totals = []
                for name in names:
                    cells[name].weight = 0.0
                self._refuse(dict.fromkeys(names, type(error).__name__))
            for name, total in zip(names, totals, strict=False):
                fetched[name] = fetched.get(name, 0.0) + total
        return fetched

    def _refuse(self, refused: Mapping[str, str]) -> None:
        """Count skipped values by name; log new names with the reason."""
        if self.closed is Closed.MUTE:
            return
        fresh: dict[str, str] = {}
        for name, why in refused.items():
            known = name if name in self.refused or len(self.refused) < _MOST_REFUSED else "…"
            if known not in self.refused:
                fresh[known] = why
            self.refused[known] = self.refused.get(known, 0) + 1
        if fresh and self.closed is None:
            whys = ". ".join(why if name in why else f"{name}: {why}" for name, why in fresh.items())
            log.warning("%s", reader_text("training.metrics.value_skipped", whys=whys))
        elif fresh:
            before = self.closed is Closed.BEFORE
            key = "training.metrics.logged_before_first_epoch" if before else "training.metrics.logged_after_end"
            log.warning("%s", reader_text(key, names=", ".join(fresh)))

    def _merged(self, mapping: object, more: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(mapping, Mapping):
            return {**mapping, **more}
        given = {"call": self._call, "mapping": _kind(mapping)}
        given["example"] = "train_loss=loss" if self._call == "log" else 'epoch, {"val_loss": loss}'
        text = reader_text("training.metrics.name_is_missing", **given)
        if self.loud and self.closed is None:
            raise UsageError(text)
        self._refuse({_kind(mapping): text})
        return dict(more)

    def _number(self, name: str, value: Any) -> float:
        """Read anything that is one number: Python's, NumPy's, JAX's, Decimal, … An array must hold just one."""
        single = value.item() if getattr(value, "size", 1) == 1 and hasattr(value, "item") else value
        if isinstance(single, complex) or not hasattr(single, "__float__") or getattr(single, "size", 1) != 1:
            raise UsageError(_advice(name, value, self._call))
        return float(single)


def mute_meter() -> Meter:
    """Return the meter of a run that does nothing: it takes no values and logs no warning."""
    meter = Meter()
    meter.close(Closed.MUTE)
    return meter


class Closed(Enum):
    """Reason for taking no values: no epoch is open, or the run belongs to another process."""

    MUTE = "mute"
    BEFORE = "before"
    AFTER = "after"


def _shown(name: object) -> str:
    """Return a metric's name for messages: shortened, without secrets; the `repr` of what is no name."""
    return redacted_line(name if isinstance(name, str) and name.strip() else repr(name), _SAID_CHARS)


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > _NAME_CHARS:
        raise UsageError(reader_text("training.metrics.bad_name", name_chars=_NAME_CHARS, name=_repr(name)))
    return name


def _checked_weight(n: Any) -> float:
    try:
        weight = math.nan if isinstance(n, str) else float(n)
    except (TypeError, ValueError, RuntimeError):  # None, an array, a tensor of several numbers
        weight = math.nan
    if not 0.0 <= weight < math.inf:
        raise UsageError(reader_text("training.metrics.bad_n", n=_repr(n)))
    return weight


def _advice(name: str, value: Any, call: str) -> str:
    """Return a line on a logged value that is not a number: its kind, and what to log instead."""
    if value is None:
        key = "training.metrics.is_none"
    elif isinstance(value, str | bytes):
        key = "training.metrics.is_text" if call == "log" else "training.metrics.is_text_in_run"
    elif isinstance(value, Mapping):
        key = "training.metrics.is_mapping"
    else:
        key = "training.metrics.is_callable" if callable(value) else "training.metrics.several_numbers"
    return reader_text(key, name=repr(_shown(name)), value=_kind(value))


def _kind(value: object) -> str:
    shape = getattr(value, "shape", None)
    dtype = getattr(value, "dtype", None)
    kind = type(value).__name__
    if not isinstance(shape, Iterable):
        return kind if dtype is None else reader_text("training.metrics.kind_of_dtype", kind=kind, dtype=dtype)
    key = "training.metrics.kind_of_shape" if dtype is None else "training.metrics.kind_of_shape_and_dtype"
    return reader_text(key, kind=kind, shape=tuple(shape), dtype=dtype)


def _zero(device: Any) -> Any:
    """A float64 sum on a device; float32 on devices without float64 (Apple's MPS).

    Made outside inference mode: a tensor made inside could not be added to outside.
    """
    torch: Any = sys.modules["torch"]
    with torch.inference_mode(mode=False):
        try:
            return torch.zeros((), dtype=torch.float64, device=device)
        except (TypeError, RuntimeError):
            return torch.zeros((), dtype=torch.float32, device=device)


def _repr(value: object) -> str:
    """An argument as an error shows it: on one line, without secrets."""
    return redacted_line(repr(value), _SAID_CHARS)
