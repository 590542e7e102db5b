"""Other people's words kept from becoming links in apps that turn every address in a text into one."""

from __future__ import annotations

import re

_SPLIT = "\u200b"  # invisible, and no part of an address to any reader of text

# Within an address: after its scheme, and before each dot of a name or of an IPv4 address.
_INSIDE = re.compile(r"(?<=:)(?=//)|(?<=[^\s.\u200b])(?=\.[^\W\d_])|(?<=\d)(?=\.\d{1,3}\.\d{1,3}\.\d)")
_IN_NAME = re.compile(r"[\w.~+=%-]")
_NAME_CHARS = 255  # of a file, at most


def unlinked(text: str) -> str:
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
