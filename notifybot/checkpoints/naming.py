"""File names for checkpoints, from a template and the epoch's metrics, and the loss among these."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from string import Formatter

from notifybot.errors import UsageError, reader_text

LIMIT_BYTES = 120  # a name may have 255 bytes, and suffixes are added; some encrypting file systems take 143
_NOTHING = "none"
_SUFFIX = ".pt"
_PUNCTUATION = frozenset("._-+=,")
_SPEC = re.compile(r"[<>=^]?[-+ ]?#?0?\d{0,2}[,_]?(\.\d{1,2})?[a-zA-Z%]?")  # widths < 100: no name a gigabyte long
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # on Windows, where Drive may sync

Value = float | str | None


def check_template(template: str) -> None:
    """Raise UsageError for a template that cannot name a checkpoint."""
    try:
        found = list(Formatter().parse(template))
    except ValueError as error:
        raise UsageError(
            reader_text("checkpoints.naming.template_cannot_be_read", template=f"{template!r}", error=error)
        ) from None
    for _, name, spec, conversion in found:
        if name is not None and (not name or conversion or not _SPEC.fullmatch(spec or "")):
            raise UsageError(reader_text("checkpoints.naming.template_has_no_such_field", template=f"{template!r}"))


def safe_stem(template: str, epoch: int | None, loss: float | None, metrics: Mapping[str, float]) -> str:
    """Return a file name without its suffix, at most 120 bytes, that any file system takes; never raises for a value.

    Fields are `{epoch}`, `{loss}` and any metric, each with a format if you like; one without a value reads "none".
    A name that had to be changed ends with a hash of what it was, so that two names never become one.
    """
    values: dict[str, Value] = {**metrics, "epoch": epoch, "loss": loss}
    try:  # a field's name is looked up whole, so that no template reaches into an object
        fields = list(Formatter().parse(template))
    except ValueError:
        filled = template
    else:
        filled = "".join(
            text + ("" if name is None else _formatted(values.get(name), spec or "")) for text, name, spec, _ in fields
        )
    wanted = unicodedata.normalize("NFC", filled.removesuffix(_SUFFIX))
    kept = (each if each in _PUNCTUATION or unicodedata.category(each)[0] in "LNM" else "_" for each in wanted)
    safe = "".join(kept).strip(".")
    if safe.startswith("-") or _RESERVED.match(safe):
        safe = "_" + safe
    if safe == wanted and safe and len(safe.encode()) <= LIMIT_BYTES:
        return safe
    mark = hashlib.sha256(wanted.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    cut = safe.encode()[: LIMIT_BYTES - len(mark) - 1].decode(errors="ignore")
    return f"{cut or 'checkpoint'}-{mark}"


def loss_of(metrics: Mapping[str, float], monitor: str | None, mode: str) -> float | None:
    """Return the loss for a checkpoint and its name: the monitored one, else one of validation, else another.

    If no metric is called a loss, it is the monitored metric, if less of it is better.
    """
    losses = [name for name in metrics if "loss" in name.lower()]
    validation = [name for name in losses if any(part in name.lower() for part in ("val", "test", "eval", "dev"))]
    watched = [monitor] if monitor is not None and monitor in metrics else []
    losses = [*(name for name in watched if name in losses), *validation, *losses]
    if not losses and mode == "min":
        losses = watched
    return metrics[losses[0]] if losses else None


def _formatted(value: Value, spec: str) -> str:
    if value is None:
        return _NOTHING
    default = ".6g" if isinstance(value, float) else ""
    try:
        return format(value, spec if spec and _SPEC.fullmatch(spec) else default)
    except (ValueError, TypeError):  # the format of another type, such as {loss:d}
        return format(value, default)
