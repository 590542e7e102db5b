"""Other people's words in Slack's markup: escaped, and within a limit as Slack counts it."""

from __future__ import annotations

from urllib.parse import quote

from notifybot.rendering.text import ELLIPSIS, clean, shorten

_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_LONGEST_EXPANSION = len("&amp;")
_URL_SAFE = "%:/?#[]@!$'()*+,;=~&-._"  # what may stand in a URL, less what ends a Slack link: < > |


def escape(text: str) -> str:
    """Return `text` with nothing left that Slack reads as a mention or a link.

    The three characters are all that can be escaped: https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    return text.translate(_ENTITIES)


def escaped(text: str, limit: int) -> str:
    """Return `text` cleaned and escaped in at most `limit` code points, never cut inside an entity or a character."""
    text = clean(text)
    room = min(limit, len(text))
    while len(result := shorten(text, room).translate(_ENTITIES)) > limit:
        room -= max((len(result) - limit) // _LONGEST_EXPANSION, 1)
    return result


def last_lines(text: str, limit: int) -> str:
    """Return the end of `text`, whole lines where possible, in at most `limit` code points."""
    text = clean(text).strip("\n")
    if len(text) <= limit:
        return text
    kept: list[str] = []
    room = limit - len(ELLIPSIS)
    for line in reversed(text.split("\n")):
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    if not kept:
        return shorten(text.rsplit("\n", 1)[-1], limit)
    return "\n".join([ELLIPSIS, *reversed(kept)])


def safe_url(url: str) -> str | None:
    """Return a web address that cannot end a Slack link early, or None for anything but http and https."""
    url = quote(clean(url).strip(), safe=_URL_SAFE)
    return url if url.startswith(("https://", "http://")) and len(url) <= 2000 else None
