"""Other people's text made safe to show: cut without splitting a character, and free of invisible tricks."""

from __future__ import annotations

import re
import unicodedata

from notifybot.redaction import redact

ELLIPSIS = "…"

_ZWJ = "\u200d"
_EMOJI_STYLE = "\ufe0f"
_JOINED_TO_NEXT = re.compile(  # zero-width joiner and the letters that lead a cluster (UAX #29: Prepend)
    "[\u200d\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e"
    "\U000110bd\U000110cd\U000111c2\U000111c3\U0001193f\U00011941\U00011a3a\U00011a84-\U00011a89\U00011d46]"
)
_JOINED_TO_PREVIOUS = (
    re.compile(  # ZWNJ and ZWJ, half-width voicing marks, skin tones, tags, Thai and Lao am: yet not of category M
        "[\u0e33\u0eb3\u200c\u200d\uff9e\uff9f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]"
    )
)
_BREAK = re.compile("\r\n?|[\u0085\u2028\u2029\x0b\x0c]")
_ANSI = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|[@-Z\\\\-_])")
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]+")
_STRAY_ZWJ = re.compile(f"(?<![^\x00-\x7f]){_ZWJ}+|{_ZWJ}+(?![^\x00-\x7f])")
_SURROGATE = re.compile("[\ud800-\udfff]")  # os.fsdecode leaves them in file names; UTF-8 cannot carry them


def clean(text: str) -> str:
    """Return `text` with nothing in it that hides, reorders or breaks what a reader sees.

    Dropped: terminal colours, control characters but newline and tab, bidirectional overrides, zero-width characters
    other than the joiner inside emoji and non-Latin words. Every kind of line break becomes a newline.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _INVISIBLE.sub("", _BREAK.sub("\n", _ANSI.sub("", text)))
    return _SURROGATE.sub("\ufffd", _STRAY_ZWJ.sub("", text))


def one_line(text: str) -> str:
    """Return `text` cleaned, with every run of white space turned into one space."""
    return " ".join(clean(text).split())


def shorten(text: str, limit: int) -> str:
    """Return `text` in at most `limit` code points, the last an ellipsis where something was cut.

    What a reader takes for one character is kept or dropped whole: base and accents, a joined emoji, a flag, a Hangul
    syllable written as letters. The cut falls on a line's or a word's end where one is near.
    """
    if len(text) <= limit:
        return text
    if limit < 1:
        return ""
    room = limit - len(ELLIPSIS)
    while room > 0 and not _may_cut(text, room):
        room -= 1
    return text[: _word_end(text, room)].rstrip().rstrip("·").rstrip() + ELLIPSIS  # no separator before the ellipsis


def safe_line(text: str, limit: int) -> str:
    """Return other people's text as one safe line. Redacted before it is cut: half a secret is not recognised."""
    return shorten(redact(one_line(text)), limit)


def width(text: str) -> int:
    """Return how many columns of a terminal `text` takes: two a Korean character or an emoji, none an accent.

    By Unicode's East Asian Width; what it calls ambiguous, such as "★", takes one: https://www.unicode.org/reports/tr11/
    """
    if text.isascii():
        return len(text)
    columns = last = 0
    for char in text:
        if char == _EMOJI_STYLE:  # the character before it is drawn as an emoji, such as "⚠"
            columns, last = columns + (last == 1), 0
        elif not (_extends(char) or _jamo(char) in ("V", "T")):
            last = 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
            columns += last
    return columns


def shorten_path(path: str, limit: int) -> str:
    """Return a path in at most `limit` code points, losing its beginning rather than the file's name."""
    start = len(path) - limit + len(ELLIPSIS)
    if start <= len(ELLIPSIS):
        return path
    while start < len(path) and not _may_cut(path, start):
        start += 1
    slash = path.find("/", start)
    return ELLIPSIS + path[slash if 0 <= slash < len(path) - 1 else start :]


def _word_end(text: str, end: int) -> int:
    """Move a cut back to the last line's or word's end, unless that gives up more than a fifth of the room."""
    if end < len(text) and text[end].isspace():
        return end
    nearest = end - max(end // 5, 1)
    for mark in ("\n", " "):
        found = text.rfind(mark, nearest, end)
        if found > 0 and _may_cut(text, found):
            return found
    return end


def _may_cut(text: str, at: int) -> bool:
    """True when a reader sees two characters on the two sides of `at`. Says no rather than yes in doubt."""
    before, after = text[at - 1], text[at]
    if before == "\r" and after == "\n":
        return False
    if before < "\u0300" and after < "\u0300":  # Latin on both sides: no need to ask the tables
        return True
    if _extends(after) or _JOINED_TO_NEXT.match(before) or _ends_with_virama(text, at):
        return False
    if _is_flag_letter(before) and _is_flag_letter(after):
        return _flag_letters_before(text, at) % 2 == 0
    return not _hangul_joins(before, after)


def _extends(char: str) -> bool:
    """True when `char` is drawn on the one before it."""
    return unicodedata.category(char)[0] == "M" or _JOINED_TO_PREVIOUS.match(char) is not None


def _ends_with_virama(text: str, at: int) -> bool:
    """True when the marks before `at` hold a virama, which binds two Indic consonants (UAX #29: GB9c)."""
    while at > 0 and _extends(text[at - 1]):
        at -= 1
        if unicodedata.combining(text[at]) == 9:
            return True
    return False


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _flag_letters_before(text: str, at: int) -> int:
    start = at
    while start > 0 and _is_flag_letter(text[start - 1]):
        start -= 1
    return at - start


def _hangul_joins(before: str, after: str) -> bool:
    """True when the two belong to one Hangul syllable (UAX #29: GB6 to GB8)."""
    match _jamo(before), _jamo(after):
        case ("L", "L" | "V" | "LV" | "LVT") | ("V" | "LV", "V" | "T") | ("T" | "LVT", "T"):
            return True
    return False


def _jamo(char: str) -> str:
    """The part a character plays in a Hangul syllable: leading, vowel, trailing, or a whole syllable; else nothing."""
    if "\uac00" <= char <= "\ud7a3":
        return "LVT" if (ord(char) - 0xAC00) % 28 else "LV"
    if "\u1100" <= char <= "\u115f" or "\ua960" <= char <= "\ua97c":
        return "L"
    if "\u1160" <= char <= "\u11a7" or "\ud7b0" <= char <= "\ud7c6":
        return "V"
    if "\u11a8" <= char <= "\u11ff" or "\ud7cb" <= char <= "\ud7fb":
        return "T"
    return ""


_SPLIT = "\u200b"  # invisible, and ends an address for every app

# Within an address: after its scheme, and before each dot of a name or of an IPv4 address.
_INSIDE = re.compile(r"(?<=:)(?=//)|(?<=[^\s.\u200b])(?=\.[^\W\d_])|(?<=\d)(?=\.\d{1,3}\.\d{1,3}\.\d)")
_IN_NAME = re.compile(r"[\w.~+=%-]")
_NAME_CHARS = 255  # of a file, at most


def defang_links(text: str) -> str:
    """Return `text` looking the same, with no address in it that an app would find: neither `http://a` nor `b.example`.

    For where nothing else keeps an app from looking. A person who copies an address out copies the split with it; a
    name within a path, as in `/drive/a.pt`, is no address to any app and stays whole.
    """
    return _INSIDE.sub(lambda place: "" if _in_path(text, place.start()) else _SPLIT, text)


def _in_path(text: str, at: int) -> bool:
    begin = at
    while begin > max(at - _NAME_CHARS, 0) and _IN_NAME.match(text[begin - 1]):
        begin -= 1
    return text.endswith("/", 0, begin) and not text.endswith("//", 0, begin)


def redacted(text: str, limit_chars: int) -> str:
    """Return `text` without secrets and half characters, cut between two characters to `limit_chars`.

    Secrets go first: half a token would no longer be recognised. A lone surrogate has no UTF-8 form.
    """
    text = redact(text).encode("utf-8", "replace").decode("utf-8").replace("\x00", "")
    return shorten(text, limit_chars)


def written(value: object) -> str | None:
    """`str(value)`; None where the value's own code raises, or is nested too deeply. Never raises."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001  a foreign __str__ or __repr__ may raise anything
        return None


def redacted_line(text: str, limit_chars: int) -> str:
    """`clean`, with every run of white space made one space."""
    return redacted(" ".join(text.split()), limit_chars)
