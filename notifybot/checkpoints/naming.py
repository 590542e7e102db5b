"""File names for checkpoints, from a template and the epoch's metrics."""

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
    wanted = unicodedata.normalize("NFC", _filled(template, values).removesuffix(_SUFFIX))
    safe = "".join(each if _is_safe(each) else "_" for each in wanted).strip(".")
    if safe.startswith("-") or _RESERVED.match(safe):
        safe = "_" + safe
    if safe == wanted and safe and len(safe.encode()) <= LIMIT_BYTES:
        return safe
    mark = hashlib.sha256(wanted.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_cut(safe, LIMIT_BYTES - len(mark) - 1) or 'checkpoint'}-{mark}"


def _filled(template: str, values: Mapping[str, Value]) -> str:
    """Fill the template's fields. A name is looked up whole, so that no template reaches into an object."""
    try:
        found = list(Formatter().parse(template))
    except ValueError:
        return template
    return "".join(
        text + ("" if name is None else _formatted(values.get(name), spec or "")) for text, name, spec, _ in found
    )


def _formatted(value: Value, spec: str) -> str:
    if value is None:
        return _NOTHING
    default = ".6g" if isinstance(value, float) else ""
    try:
        return format(value, spec if spec and _SPEC.fullmatch(spec) else default)
    except (ValueError, TypeError):  # the format of another type, such as {loss:d}
        return format(value, default)


def _is_safe(character: str) -> bool:
    return character in _PUNCTUATION or unicodedata.category(character)[0] in "LNM"


def _cut(text: str, limit_bytes: int) -> str:
    return text.encode()[:limit_bytes].decode(errors="ignore")
