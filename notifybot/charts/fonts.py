"""Fonts for a picture: one with Hangul where the machine has one, and no empty boxes where it has not."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from notifybot.types import Language

LATIN = "DejaVu Sans"  # comes with matplotlib
HANGUL = (
    "Noto Sans CJK KR", "Noto Sans KR", "Pretendard", "NanumGothic", "NanumBarunGothic", "NanumSquare", "Malgun Gothic",
    "Apple SD Gothic Neo", "AppleGothic", "Spoqa Han Sans Neo", "Noto Sans CJK JP", "Noto Sans CJK SC", "UnDotum",
    "Baekmuk Dotum", "Gulim", "Dotum",
)  # fmt: skip
_FILES = re.compile(r"nanum|notosans(cjk|kr)|malgun|applesdgothic|pretendard|undotum|baekmuk|dotum", re.IGNORECASE)


@dataclass(frozen=True)
class Fonts:
    """The fonts of a picture: matplotlib takes each character from the first that has it."""

    families: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def has_hangul(self) -> bool:
        """True when Korean can be written."""
        return self._knows("가")

    def language(self, wanted: Language) -> Language:
        """The language of the labels: English where Korean would be empty boxes."""
        return Language.EN if wanted is Language.KO and not self.has_hangul else wanted

    def readable(self, text: str, limit: int) -> str:
        """Return the text in one line of at most so many characters, without those that no font has."""
        text = unicodedata.normalize("NFC", text)  # Hangul typed on a Mac comes apart into letters otherwise
        known = "".join(each if self._knows(each) else " " for each in text)
        line = " ".join(known.split())
        return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"

    def _knows(self, character: str) -> bool:
        return any(font.get_char_index(ord(character)) for font in _fonts(self.files))


def lettering(candidates: Iterable[str] = HANGUL) -> Fonts:
    """Choose from the fonts that are installed."""
    file = _found(candidates) or _newly_installed(candidates)
    latin = Path(font_manager.findfont(LATIN))
    if file is None:
        return Fonts((LATIN,), (latin,))
    return Fonts((FT2Font(str(file)).family_name, LATIN), (file, latin))


def _found(candidates: Iterable[str]) -> Path | None:
    """The first candidate that really has Hangul; matplotlib keeps the list of fonts in a file of its own."""
    known: dict[str, list[font_manager.FontEntry]] = {}
    for entry in font_manager.fontManager.ttflist:
        known.setdefault(entry.name, []).append(entry)
    for name in candidates:
        for entry in known.get(name, []):
            file = Path(entry.fname)
            if entry.style == "normal" and str(entry.weight) in ("400", "normal", "regular") and _has_hangul(file):
                return file
    return None


def _newly_installed(candidates: Iterable[str]) -> Path | None:
    """Look at the disk itself: a font that was installed after matplotlib made its list is not in it."""
    if not tuple(candidates):
        return None
    files = [Path(each) for each in font_manager.findSystemFonts() if _FILES.search(Path(each).name)]
    for file in sorted(files, key=lambda each: ("bold" in each.name.lower(), len(each.name), each)):
        if _has_hangul(file):
            font_manager.fontManager.addfont(str(file))
            return file
    return None


def _has_hangul(file: Path) -> bool:
    try:
        return FT2Font(str(file)).get_char_index(ord("가")) != 0
    except (OSError, RuntimeError):  # gone since the list was made, or damaged
        return False


@cache
def _fonts(files: tuple[Path, ...]) -> tuple[FT2Font, ...]:
    return tuple(FT2Font(str(each)) for each in files)
