"""Progress of a training, read from the lines that it prints anyway.

A line counts only where it has a position (an epoch, a step) and a number beside it. A format that fits three lines is
the program's own, and one that says how many epochs there are at once; a program may have several, as where it prints
steps and epochs. What it prints for us by `::notifybot` is worth more than all of them.
"""

from __future__ import annotations

import ast
import json
import math
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

FITTING_LINES = 3
_HEADING_CHARS = 120
MARK = "::notifybot "  # begins a line that is meant for us

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf)(?:inity)?"
_PART = r"(?:(?:train(?:ing)?|val(?:id(?:ation)?)?|test|eval|dev|avg|average|mean|best|total|running)\s)*"
_PAIR = re.compile(
    rf"(?<![\w.])(?:(?P<name>{_PART}[A-Za-z_@][\w./@-]*(?:'s\s[\w@-]+)?)\s*[:=]\s*"
    rf"|(?P<word>{_PART}(?:loss|acc|accuracy|ppl|perplexity|f1))\s)"
    rf"(?P<value>{_NUMBER})(?![\w:/])",
    re.IGNORECASE,
)  # a name and a sign; of a few words, as nanoGPT's "val loss 4.23", a space is enough
_NOISE = re.compile(
    r"(.*_)?(runtime|per_second|total_flos|num_tokens|num_input_tokens_seen|eta|time|lr|learning_rate|grad_norm|v_num)"
    r"|lr[-_/].*|epochs?|(global_)?steps?|iter(ation)?s?|rounds?|total|v_num",
    re.IGNORECASE,
)


_BARE = re.compile(r"(:\s*)([-+]?(?:nan|inf))\b")  # no literals of Python


@dataclass(frozen=True, slots=True)
class LineReading:
    """Numbers of one line. `label` is as printed; `first` is where the program begins to count, where that is known.

    `part` is how much of the epoch was over, of what is printed before its end: a bar, a heading.
    """

    unit: str
    label: int
    metrics: Mapping[str, float]
    total: int | None = None
    first: int | None = None
    part: float | None = None


class LineFormat:
    """A way in which programs print progress: gives a LineReading for a line that is of this format."""

    def read(self, line: str) -> LineReading | None:
        raise NotImplementedError


class Marked(LineFormat):
    """`::notifybot epoch=3 total=30 val_loss=0.2`, printed for us."""

    def read(self, line: str) -> LineReading | None:
        if not line.startswith(MARK):
            return None
        with suppress(ValueError):  # a quotation mark without its other
            pairs = (each.partition("=") for each in shlex.split(line[len(MARK) :]))
            return reading_of({name: value for name, _, value in pairs})
        return None


class Json(LineFormat):
    """One JSON object a line."""

    def read(self, line: str) -> LineReading | None:
        if line[:1] != "{" or line[-1:] != "}":
            return None
        with suppress(ValueError, RecursionError):
            found = json.loads(line)
            return reading_of(found) if isinstance(found, dict) else None
        return None


class HuggingFace(LineFormat):
    """Dictionary of Python as transformers' Trainer prints it: its values are strings from version 5 on.

    Its summary at the end is of no epoch. Where a loss is not finite it prints the mean before, or 0
    (`logging_nan_inf_filter`): the norm of the gradient shows it.
    """

    def read(self, line: str) -> LineReading | None:
        if line[:1] != "{" or line[-1:] != "}":
            return None
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            found = ast.literal_eval(_BARE.sub(r"\1'\2'", line))
            if isinstance(found, dict) and "train_runtime" not in found:
                norm = _number(found.get("grad_norm"))
                if "loss" in found and norm is not None and not math.isfinite(norm):
                    found["loss"] = math.nan
                return reading_of(found, parts=True)
        return None


@dataclass(slots=True)
class Keras(LineFormat):
    """`Epoch 3/20` on a line of its own, then bars with `loss: 0.15 - val_loss: 0.07`."""

    _at: tuple[int, int] | None = None

    def read(self, line: str) -> LineReading | None:
        if found := re.fullmatch(r"Epoch (\d+)/(\d+)", line.strip()):
            self._at = int(found[1]), int(found[2])
            return None
        bar = re.match(r"\s*(\d+)/(\d+|Unknown)\s", line)
        if self._at is None or bar is None:
            return None
        metrics = _numbers(line)
        part = _share(bar[1], bar[2])
        return LineReading("epoch", self._at[0], metrics, self._at[1], first=1, part=part) if metrics else None


_BAR = re.compile(r"(?:(?P<title>[^|%]*?):?\s+|)\s*\d+%\|[^|]*\|\s*(?P<at>\d+)/(?P<of>\d+)\s*\[(?P<rest>.*)")
_BEGUN_BAR = re.compile(r"[^|]*\d%\|")
_TITLE = re.compile(r"(?:.*\W)?epoch\W*(\d+)(?:\W+(?:of\W+)?(-?\d+)\W*)?\W*", re.IGNORECASE)


class TqdmBar(LineFormat):
    """A bar of tqdm, with the numbers that `set_postfix` shows: `Epoch 3/20:  45%|…| 9/20 [00:01<00:00, loss=0.12]`.

    A terminal that is too narrow cuts it, and the last number with it: such a one tells nothing.

    An epoch in its title is the position, as of Lightning's, whose epochs begin with 0 (its bars show `v_num`). Else
    it counts steps, or epochs where its title says so.
    """

    def read(self, line: str) -> LineReading | None:
        found = _BAR.match(line)
        if found is None or "]" not in found["rest"] or not (metrics := _numbers(found["rest"])):
            return None
        at, of, title = int(found["at"]), int(found["of"]), (found["title"] or "").strip()
        if epoch := _TITLE.fullmatch(title):
            total = int(epoch[2]) if epoch[2] and not epoch[2].startswith("-") else None
            first = 0 if "v_num=" in line else None
            return LineReading("epoch", int(epoch[1]), metrics, total, first, _share(found["at"], found["of"]))
        if at == 0:
            return None
        return LineReading("epoch" if re.search(r"\bepochs?$", title, re.IGNORECASE) else "step", at, metrics, of)


class LightningRich(LineFormat):
    """The rich bar of Lightning: `Epoch 3/19 ━━━━━━ 8/8 0:00:01 • 0:00:00 7.9it/s val_loss: 0.12`; it begins with 0."""

    def read(self, line: str) -> LineReading | None:
        found = re.match(r"Epoch (\d+)(?:/(?:-2|(\d+)))?\s* [ ━╸╺]*[━╸╺] *(\d+)/(\d+) ", line)
        if found is None or not (metrics := _numbers(line[found.end() :].rpartition("/s")[2])):
            return None
        total = int(found[2]) + 1 if found[2] else None  # it shows the last label
        return LineReading("epoch", int(found[1]), metrics, total, first=0, part=_share(found[3], found[4]))


@dataclass(frozen=True, slots=True)
class Counted(LineFormat):
    """`epoch 3/30 … loss: 0.5`, `step 500 … loss=0.5`, `[100] valid_0's l2: 0.1`: a position, then names and numbers.

    The first group of the pattern is the position, the second, if there is one, how many there will be.
    """

    unit: str
    position: re.Pattern[str]
    anywhere: bool = False  # the numbers may stand before the position

    def read(self, line: str) -> LineReading | None:
        found = self.position.search(line)
        if found is None or not (found[1] or "").isdecimal() or (not self.anywhere and _BEGUN_BAR.match(line)):
            return None
        metrics = _numbers(line if self.anywhere else line[found.end() :])
        total = int(found[2]) if self.position.groups > 1 and (found[2] or "").isdecimal() else None
        within = _WITHIN.match(line, found.end()) if self.unit == "epoch" and not self.anywhere else None
        part = _share(within[1], within[2]) if within else None
        return LineReading(self.unit, int(found[1]), metrics, total, part=part) if metrics else None


class XGBoost(LineFormat):
    """`[0]\\ttrain-rmse:2.1\\tvalidation-rmse:2.2`: it numbers from 0, and with that line one round is done."""

    def read(self, line: str) -> LineReading | None:
        found = _XGBOOST.fullmatch(line)
        metrics = _numbers(found[2]) if found is not None else {}
        return LineReading("round", int(found[1]) + 1, metrics, first=1) if found is not None and metrics else None


# `Epoch [1/10], Step [100/500]`, `Train Epoch: 1 [640/60000 (1%)]`, `Epoch(train) [1][ 50/100]`
_WITHIN = re.compile(r"[\s\])},|:;-]*(?:(?:step|iter|iteration|batch)[a-z]*\W*|\[\s*)(\d+)\s*/\s*(\d+)", re.IGNORECASE)
_POSITION = r"\s*[:=#\[(]*\s*(\d+)(?:\s*(?:/|of)\s*(\d+))?(?![\d.%])"
_EPOCH = re.compile(r"\bepochs?\b(?:\((?:train|val|test)\))?" + _POSITION, re.IGNORECASE)
_STEP = re.compile(r"\b(?:global[_ ])?(?:step|iter|iteration)s?\b" + _POSITION, re.IGNORECASE)
_ROUND = re.compile(r"^\[(\d+)\]\s")  # LightGBM
_XGBOOST = re.compile(r"\[(\d+)\]((?:\t[^\s:]+-[^\s:]+:[^\s:]+)+)\s*")
_HEADING = re.compile(r"(?:[^\w]|\d|INFO|DEBUG)*\bepoch\W*(\d+)(?:\W*(?:/|of)\W*(\d+))?\W*", re.IGNORECASE)


def heading(line: str) -> LineReading | None:
    """Return the epoch that begins with a line of its own, as `Epoch 3/20` above the steps of it."""
    found = _HEADING.fullmatch(line) if len(line) < _HEADING_CHARS else None
    return LineReading("epoch", int(found[1]), {}, int(found[2]) if found[2] else None, part=0.0) if found else None


def formats() -> list[LineFormat]:
    """Return the formats that are known, in the order in which they are tried."""
    return [
        Marked(),
        Json(),
        HuggingFace(),
        Keras(),
        TqdmBar(),
        LightningRich(),
        XGBoost(),
        Counted("epoch", _EPOCH),
        Counted("step", _STEP),
        Counted("round", _ROUND),
    ]


def own_format(position: str) -> LineFormat:
    """Return the format of a user's pattern: its first group is the position, in epochs unless it is named step.

    Raises re.error, and ValueError without a group.
    """
    pattern = re.compile(position)
    if not pattern.groups:
        raise ValueError(position)
    name = next((name for name, index in pattern.groupindex.items() if index == 1), "epoch")
    return Counted(name if name in _POSITIONS else "epoch", pattern, anywhere=True)


@dataclass(slots=True)
class ProgressParser:
    """Reads a program's lines, and finds out by them which formats are its own.

    `metrics` are a user's patterns by name, each with one group; they are looked for in every line.
    """

    formats: list[LineFormat] = field(default_factory=formats)
    metrics: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    _seen: dict[int, list[LineReading]] = field(default_factory=dict)  # by formats that are not known to be its own
    _own: set[int] = field(default_factory=set)
    _leads: dict[str, int] = field(default_factory=dict)  # the format by which a unit is counted
    _latest: dict[str, LineReading] = field(default_factory=dict)
    _heading: LineReading | None = None
    _last: LineReading | None = None

    def feed(self, line: str) -> list[LineReading]:
        """Return what the line tells; with the line that settles a format, what those before it told too."""
        readings = self._read(line)
        if readings:
            self._last = readings[-1]
        found = {name: pattern.search(line) for name, pattern in self.metrics.items()}
        own = {name: _number(match[1]) for name, match in found.items() if match is not None}
        if self._last is not None and any(value is not None for value in own.values()):
            readings.append(
                replace(self._last, metrics={name: value for name, value in own.items() if value is not None})
            )
        return readings

    def close(self) -> list[LineReading]:
        """Return what the program told of one or two epochs, where it has ended after them."""
        if self._own:
            return []
        told = [seen for seen in self._seen.values() if seen[0].unit == "epoch" and all(map(_is_over, seen))]
        return max(told, key=len, default=[])

    def _read(self, line: str) -> list[LineReading]:
        for index, each in enumerate(self.formats):
            if (reading := each.read(line)) is not None:
                return self._found(index, reading)
            if index in self._own and isinstance(each, Marked):
                return []
        if len(self.formats) == 1 or "epoch" in self._leads or (begun := heading(line)) is None:
            return []
        self._heading = begun
        return [begun] if "step" in self._leads else []

    def _found(self, index: int, reading: LineReading) -> list[LineReading]:
        if index in self._own:
            return [self._placed(index, reading)]
        seen = self._seen.setdefault(index, [])
        seen.append(reading)
        if len(seen) < FITTING_LINES and not self._is_at_once(index, reading):
            return []
        self._own.add(index)
        found = [self._placed(index, each) for each in self._seen.pop(index)]
        above, self._heading = self._heading, None
        return found if above is None or reading.unit != "step" or "epoch" in self._leads else [above, *found]

    def _is_at_once(self, index: int, reading: LineReading) -> bool:
        """True for what needs no more lines: what is meant for us, and an epoch of so many, or beside other progress.

        An epoch may take hours, and there may be two of them.
        """
        if isinstance(self.formats[index], Marked) or len(self.formats) == 1:
            return True
        return reading.unit == "epoch" and (bool(self._own) or reading.label <= (reading.total or -1))

    def _placed(self, index: int, reading: LineReading) -> LineReading:
        """The reading, in the epoch that is open where another format counts the epochs, and from another number."""
        leads = self._leads.setdefault(reading.unit, index)
        latest = self._latest.get(reading.unit)
        if leads != index and latest is not None and reading.label < latest.label:
            return replace(reading, label=latest.label, total=None, first=None)
        self._latest[reading.unit] = reading
        return reading


def _is_over(reading: LineReading) -> bool:
    return reading.part is None or reading.part >= 1.0


def _share(at: str, of: str) -> float | None:
    return min(int(at) / int(of), 1.0) if of.isdecimal() and int(of) else 0.0


_POSITIONS = {
    "epoch": ("epoch",),
    "step": ("step", "global_step", "iter", "iteration"),
    "round": ("round",),
    "trial": ("trial",),
}
_TOTALS = ("total", "epochs", "total_epochs", "max_epochs", "num_epochs", "max_steps", "total_steps", "num_steps")


def reading_of(found: Mapping[Any, object], *, parts: bool = False) -> LineReading | None:
    """Return the reading of names and values; None without a position and a number.

    With `parts`, an epoch is how many are done: 0.5 and 1.0 are of the first.
    """
    values = {str(name): number for name, value in found.items() if (number := _number(value)) is not None}
    metrics = {name: value for name, value in values.items() if _is_metric(name)}
    total = next((int(values[each]) for each in _TOTALS if math.isfinite(values.get(each, math.nan))), None)
    for unit, names in _POSITIONS.items():
        for name in names:
            at = values.get(name, math.nan)
            if not metrics or not math.isfinite(at) or at < 0:
                continue
            if parts or not at.is_integer():
                return LineReading(unit, max(math.ceil(at) - 1, 0), metrics, total, first=0)
            return LineReading(unit, int(at), metrics, total)
    return None


def _numbers(text: str) -> dict[str, float]:
    pairs = ((pair["name"] or pair["word"], pair["value"]) for pair in _PAIR.finditer(text))
    found = {"_".join(name.replace("'s", "").split()): _number(value) for name, value in pairs}
    return {name: value for name, value in found.items() if value is not None and _is_metric(name)}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    with suppress(ValueError, OverflowError):
        return float(value)
    return None


def _is_metric(name: str) -> bool:
    return not _NOISE.fullmatch(name) and name not in _TOTALS
