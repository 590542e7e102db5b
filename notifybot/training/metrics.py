"""Averages within one epoch. `Meter.log` runs at every training step: no lock, no list, no wait for an accelerator."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from notifybot.errors import UsageError
from notifybot.redaction import redact
from notifybot.training.text import one_line

log = logging.getLogger("notifybot")

_NAME_CHARS = 200
_INFINITY = math.inf


class Cell:
    """What was logged under one name: the sum of what was read, sums that lie on devices, the weight of all."""

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

    def __init__(self) -> None:
        self.steps = 0
        self.refused: dict[str, int] = {}
        self._cells: dict[str, Cell] = {}
        self._accepted: set[str] = set()

    def log(self, mapping: Mapping[str, Any] | None = None, /, *, n: float = 1.0, **more: Any) -> None:
        """Add one step's values, each standing for `n` samples.

        Raises UsageError for a name whose first value is no number. Later ones are skipped, counted and logged once.
        """
        if mapping is not None:
            more = mapping if type(mapping) is dict and not more else _merged(mapping, more)
        self.steps += 1
        cells = self._cells
        name = None
        try:
            if n != 1.0 and not 0.0 < n < _INFINITY:
                raise ValueError("n")
            for name, value in more.items():
                cell = cells[name]
                if type(value) is float:
                    cell.total += value * n
                elif value.is_cpu:
                    cell.total += value.item() * n
                else:
                    cell.on_devices[value.device].add_(value.detach(), alpha=n)
                cell.weight += n
        except Exception:  # noqa: BLE001  whatever is not a number or tensor as seen before takes the careful way
            self._log_carefully(more, name, n)

    def read(self) -> dict[str, float]:
        """Return the means and begin anew. Waits once for each accelerator that holds sums."""
        cells, self._cells = self._cells, {}
        fetched = self._fetch(cells)
        means = {}
        for name, cell in cells.items():
            total: object = cell.total + fetched.get(name, 0.0)
            if not isinstance(total, float):  # a complex tensor came after good values
                self._refuse(name, "a complex number")
            elif cell.weight:
                means[redact(name)] = total / cell.weight
        return means

    def snapshot(self) -> dict[str, list[float]]:
        """Return the sum and the weight under each name, without beginning anew: an epoch's first half."""
        fetched = self._fetch(self._cells)
        return {name: [cell.total + fetched.get(name, 0.0), cell.weight] for name, cell in self._cells.items()}

    def spoilt(self) -> dict[str, float]:
        """The sums that are no longer finite; those on devices are not looked at. May be called from any thread."""
        totals = [(name, cell.total) for name, cell in list(self._cells.items())]
        return {redact(name): total for name, total in totals if type(total) is float and not math.isfinite(total)}

    def resume(self, sums: Mapping[str, Sequence[float]]) -> None:
        """Go on from a snapshot."""
        for name, (total, weight) in sums.items():
            cell = self._cells.setdefault(name, Cell())
            cell.total, cell.weight = float(total), float(weight)
            self._accepted.add(name)

    def _log_carefully(self, values: Mapping[str, Any], first: str | None, n: float) -> None:
        """Add the value named `first` and all after it; all where it is None."""
        reached = first is None
        for name, value in values.items():
            reached = reached or name == first
            if not reached:
                continue
            try:
                self._add(_checked_name(name), value, _checked_weight(n))
            except UsageError as error:
                if name not in self._accepted:
                    raise
                self._refuse(name, str(error))
            except Exception as error:  # noqa: BLE001  a foreign __float__ or a device error: not the training's problem
                self._refuse(name, type(error).__name__)

    def _add(self, name: str, value: Any, n: float) -> None:
        if n == 0.0:  # no samples; 0 × inf would be NaN
            return
        if _is_tensor(value):
            _check_tensor(name, value)
        cell = self._cells.get(name) or Cell()
        if not _is_tensor(value):
            cell.total += _number(name, value) * n
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

    def _fetch(self, cells: Mapping[str, Cell]) -> dict[str, float]:
        """Bring the sums of each device here in one transfer."""
        by_device: dict[Any, list[str]] = {}
        for name, cell in cells.items():
            for device in cell.on_devices:
                by_device.setdefault(device, []).append(name)
        fetched: dict[str, float] = {}
        for device, names in by_device.items():
            try:
                totals = sys.modules["torch"].stack([cells[name].on_devices[device] for name in names]).cpu().tolist()
            except Exception as error:  # noqa: BLE001  a broken device: training will hear of it by itself
                totals = []
                for name in names:
                    cells[name].weight = 0.0
                    self._refuse(name, type(error).__name__)
            for name, total in zip(names, totals, strict=False):
                fetched[name] = fetched.get(name, 0.0) + total
        return fetched

    def _refuse(self, name: str, why: str) -> None:
        self.refused[name] = self.refused.get(name, 0) + 1
        if self.refused[name] == 1:
            log.warning("metric %r: a value was skipped (%s); further ones are only counted", name, why)


def _merged(mapping: object, more: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(mapping, Mapping):
        raise UsageError(f"log() takes names and numbers, not {_kind(mapping)} alone: write log(train_loss=loss)")
    return {**mapping, **more}


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > _NAME_CHARS:
        raise UsageError(f"a metric's name is text of 1 to {_NAME_CHARS} characters, not {one_line(repr(name), 40)}")
    return name


def _checked_weight(n: object) -> float:
    weight = _number("n", n)
    if not 0.0 <= weight < math.inf:
        raise UsageError(f"log(n=…) is the number of samples that the values stand for, not {weight}")
    return weight


def _number(name: str, value: Any) -> float:
    """Read anything that is one number: Python's, NumPy's, JAX's, Decimal, … An array counts if it holds just one."""
    if getattr(value, "size", 1) == 1 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, complex) or not hasattr(value, "__float__") or getattr(value, "size", 1) != 1:
        raise UsageError(_advice(name, value))
    return float(value)


def _check_tensor(name: str, value: Any) -> None:
    if value.numel() != 1 or value.is_complex():
        raise UsageError(_advice(name, value))


def _advice(name: str, value: object) -> str:
    return f"metric {name!r} takes one number at a time, not {_kind(value)}: log its mean, or one name for each number"


def _kind(value: object) -> str:
    shape = getattr(value, "shape", None)
    dtype = f" of {value.dtype}" if hasattr(value, "dtype") else ""
    kind = type(value).__name__
    return f"{kind} of shape {tuple(shape)}{dtype}" if isinstance(shape, Iterable) else f"{kind}{dtype}"


def _is_tensor(value: object) -> bool:
    """By its attributes, not its class: another thread may be in the middle of importing torch."""
    return hasattr(value, "is_cpu") and hasattr(value, "detach")


def _zero(device: Any) -> Any:
    """A float64 sum on a device; float32 where it knows no float64 (Apple's MPS).

    Made outside inference mode: a tensor made inside could not be added to outside.
    """
    torch: Any = sys.modules["torch"]
    with torch.inference_mode(mode=False):
        try:
            return torch.zeros((), dtype=torch.float64, device=device)
        except (TypeError, RuntimeError):
            return torch.zeros((), dtype=torch.float32, device=device)
