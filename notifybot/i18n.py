"""Catalog of every sentence that a person reads, by key: `templates/<language>/messages.toml`, loaded on first use.

    text("ko", "doctor.examine.unseen")
    text(config.lang, "cli.gallery.written", path=path)

The keys of a table are joined by dots. A place in a text is named, `{path}`, and filled as `str.format` does. No file
and no text makes this raise: it is often needed where something has already gone wrong.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter

ENGLISH, KOREAN = "en", "ko"
MESSAGES = "messages.toml"

_log = logging.getLogger("notifybot")


class _QuestionMarkMissing(dict[str, object]):
    """Mapping for `format_map`: a missing value becomes "?", as values may come from an older database."""

    def __missing__(self, name: str) -> str:
        return "?"


class Overrides:
    """The user's own texts, in `<folder>/<language>/messages.toml`. One object for the process."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._texts: dict[str, Mapping[str, str]] = {}

    def use(self, folder: Path | None) -> None:
        """Use the texts of a folder from now on; the built-in ones again with None. They are read when needed."""
        if folder != self.folder:
            self.folder, self._texts = folder, {}

    def texts(self, language: str) -> Mapping[str, str]:
        """Return the user's valid texts of a language: those with no other places than ours. Logs the others once."""
        if self.folder is not None and language not in self._texts:
            self._texts[language] = _fitting(self.folder / language / MESSAGES, language)
        return self._texts.get(language, {})


OVERRIDES = Overrides()
_UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # {count:d} of a text, say


def text(language: str, key: str, /, **values: object) -> str:
    """Return the text of a key in a language, "en" or "ko", with its places filled.

    The user's own text comes first. A key that the language lacks is looked up in English; an unknown key is
    returned unchanged. Raises nothing of its own; what a value's `__str__` raises goes through.
    """
    own = None if OVERRIDES.folder is None else OVERRIDES.texts(language).get(key)
    ours = (_CATALOGS.get(language) or _catalog(language)).get(key)
    try:  # a message takes twenty texts: the usual way is short
        return (ours if own is None else own).format_map(values)  # type: ignore[union-attr]  # None has none
    except _UNFIT:
        return _as_far_as_it_goes(own, _catalog(ENGLISH).get(key, key) if ours is None else ours, values)


def _as_far_as_it_goes(own: str | None, ours: str, values: Mapping[str, object]) -> str:
    for template in (own, ours):
        if template is not None:
            with suppress(*_UNFIT):
                return template.format_map(_QuestionMarkMissing(values))
    return ours


def listed(language: str, names: Sequence[str], conjunction: str = "and") -> str:
    """Return names as a list that is read: "a, b and c", or "a, b or c"."""
    if len(names) < 2:
        return "".join(names)
    return text(language, f"lists.{conjunction}", others=", ".join(names[:-1]), last=names[-1])


def has_text(key: str, language: str = ENGLISH) -> bool:
    """True for a key of the catalog. Give a `language` in use, so that no other catalog is read."""
    return key in (_catalog(language) or _catalog(ENGLISH))


def keys_of(beginning: str) -> tuple[str, ...]:
    """Return the rest of each key that starts with `beginning`: for "webhook.error." the webhook's codes."""
    return tuple(key.removeprefix(beginning) for key in _catalog(ENGLISH) if key.startswith(beginning))


@dataclass(frozen=True, slots=True)
class Localized:
    """Text to be rendered later in any language: its key and the values for its places."""

    key: str
    values: Mapping[str, object] = field(default_factory=dict)

    def in_(self, language: str) -> str:
        """Return the text in a language; values that are `Localized` or take a language are rendered in it too."""
        values = dict(self.values)
        for name, value in self.values.items():
            if isinstance(value, Localized):
                values[name] = value.in_(language)
            elif callable(value):
                values[name] = value(language)
        return text(language, self.key, **values)

    @property
    def en(self) -> str:
        """The text in English."""
        return self.in_(ENGLISH)

    @property
    def ko(self) -> str:
        """The text in Korean."""
        return self.in_(KOREAN)


def localized(key: str, /, **values: object) -> Localized:
    """Return the text of a key, to be rendered later in any language."""
    return Localized(key, values)


def places_of(template: str) -> set[str]:
    """The names of the places in a text. Raises ValueError where its braces do not match."""
    return {name.partition(".")[0].partition("[")[0] for _, name, _, _ in Formatter().parse(template) if name}


def built_in_folder() -> Path:
    """Return the folder of the built-in templates: in the installed package, or at the top of the source tree."""
    package = Path(__file__).parent
    installed = package / "_templates"
    return installed if installed.is_dir() else package.parent / "templates"


_CATALOGS: dict[str, Mapping[str, str]] = {}  # by language; no lock: a forked child could inherit it locked for ever


def _catalog(language: str) -> Mapping[str, str]:
    """The texts of a language. What could not be read, as with no descriptor left, is read again the next time."""
    found = _CATALOGS.get(language)
    if found is None:
        found = _read(built_in_folder() / language / MESSAGES)
        if found:
            _CATALOGS[str(language)] = found
    return found


def _read(path: Path) -> dict[str, str]:
    """Return the texts of a file by key; none if it cannot be read, as after an upgrade during a training."""
    try:
        return dict(_flat("", tomllib.loads(path.read_text("utf-8"))))
    except (OSError, ValueError):
        return {}


def _flat(prefix: str, table: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, str):
            yield prefix + name, value
        elif isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}.", value)


def _fitting(path: Path, language: str) -> dict[str, str]:
    """Return the user's texts that can replace built-in ones; log one line that names the others."""
    try:
        if not path.is_file():
            return {}
    except OSError:  # a folder that this user may not look into
        return {}
    ours, own = _catalog(language), _read(path)
    fitting = {key: template for key, template in own.items() if key in ours and _fits(template, ours[key])}
    unfit = sorted(own.keys() - fitting.keys())
    if unfit or not own:  # with the built-in text: `text` is just asking for the user's
        warning = ours.get("i18n.unfit", "{path}: {keys}")
        _log.warning("%s", warning.format(path=path, keys=", ".join(unfit[:10]) or "-"))
    return fitting


def _fits(template: str, ours: str) -> bool:
    try:
        return places_of(template) <= places_of(ours)
    except ValueError:
        return False
