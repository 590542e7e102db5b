"""Slack's own markup turned into HTML, for the page that shows what a reader would see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from markupsafe import Markup, escape

from notifybot.i18n import text

_PARTS = re.compile(
    r"```\n?(?P<fence>.+?)\n?```|`(?P<code>[^`\n]+)`|<(?P<entity>[^<>]+)>"
    r"|(?<![\w*])\*(?P<b>\S(?:[^*\n]*\S)?)\*(?![\w*])"
    r"|(?<![\w_])_(?P<i>\S(?:[^_\n]*\S)?)_(?![\w_])"
    r"|(?<![\w~])~(?P<s>\S(?:[^~\n]*\S)?)~(?![\w~])",
    re.DOTALL,
)
_DATE = re.compile(r"!date\^(\d+)\^([^|^]+)(?:\^[^|]*)?(?:\|(.*))?", re.DOTALL)
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LINKS = ("https://", "http://", "mailto:")
_BARE = re.compile(  # a scheme, a name with a dot, an IPv4: more than apps find, since they know the existing domains
    "\\b(?:[a-z][a-z0-9+.-]*://|www\\.(?=\\w))[^\\s<>|]+"
    "|(?:[^\\s<>|/@.\u200b]{1,63}\\.)+[^\\W\\d_][\\w-]+[^\\s<>|]*"
    "|\\b\\d{1,3}(?:\\.\\d{1,3}){3}",
    re.IGNORECASE,
)
_PATH = re.compile("(?<!/)/[^\\s/,;:()<>|\"']*\\Z")


def to_html(text: str, language: str, now: datetime, *, verbatim: bool = True) -> Markup:
    """Return mrkdwn as HTML that is safe to put in a page: only what Slack knows becomes a tag.

    Unless it is `verbatim`, addresses in the text become links as well, as Slack makes them where nothing tells it not
    to: https://docs.slack.dev/reference/methods/chat.postMessage (parse), and a text object's `verbatim`.
    """
    done, result = 0, Markup("")
    for part in _PARTS.finditer(text):
        result += _plain(text[done : part.start()], verbatim) + _part(part, language, now, verbatim)
        done = part.end()
    return result + _plain(text[done:], verbatim)


def bare_addresses(text: str) -> list[str]:
    """The addresses in a plain text that an app may make links of by itself."""
    return [found[0] for found in _addresses(text)]


def _addresses(text: str) -> Iterator[re.Match[str]]:
    """Yield the addresses that an app may see in a text; none within a path, such as "/drive/a.pt"."""
    at = 0
    while found := _BARE.search(text, at):
        inside = _PATH.search(text, 0, found.start())
        if not inside:
            yield found
        at = found.start() + 1 if inside else found.end()


def _plain(text: str, verbatim: bool) -> Markup:
    return Markup("<br>").join(escape(line) if verbatim else _linked(line) for line in unescape(text).split("\n"))


def _linked(line: str) -> Markup:
    done, result = 0, Markup("")
    for found in _addresses(line):
        href = found[0] if "://" in found[0] else f"http://{found[0]}"
        result += escape(line[done : found.start()])
        result += Markup('<a href="{}" rel="noreferrer">{}</a>').format(href, found[0])
        done = found.end()
    return result + escape(line[done:])


def unescape(text: str) -> str:
    """Return the text that a reader sees for Slack's three entities."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _part(part: re.Match[str], language: str, now: datetime, verbatim: bool) -> Markup:
    kind, inner = str(part.lastgroup), part[str(part.lastgroup)]
    if kind == "fence":
        return Markup("<pre>{}</pre>").format(unescape(inner))
    if kind == "code":
        return Markup("<code>{}</code>").format(unescape(inner))
    if kind == "entity":
        return _entity(inner, language, now)
    return Markup("<{0}>{1}</{0}>").format(Markup(kind), to_html(inner, language, now, verbatim=verbatim))  # noqa: S704


def _entity(inner: str, language: str, now: datetime) -> Markup:
    """Return the HTML for the text between `<` and `>`: a date, a mention, or a link."""
    if date := _DATE.fullmatch(inner):
        moment = datetime.fromtimestamp(int(date[1]), now.tzinfo)
        return Markup('<span class="date">{}</span>').format(formatted(date[2], moment, language, now))
    target, _, label = inner.partition("|")
    if target[:1] in "!@#":
        return Markup('<span class="mention">{}</span>').format("@" + (unescape(label) or target.lstrip("!@#")))
    if target.startswith(_LINKS):
        shown = unescape(label or target)
        return Markup('<a href="{}" rel="noreferrer">{}</a>').format(unescape(target), shown)
    return escape(f"<{unescape(inner)}>")


def formatted(pattern: str, moment: datetime, language: str, now: datetime) -> str:
    """Fill Slack's date tokens, such as `{date_short_pretty} {time}`, the way its clients do.

    Beside Slack's own it knows `{clock}`, for a phone's lock screen.
    """
    days = (now.date() - moment.date()).days
    date = _date(moment, language)
    near = text(language, "sandbox.yesterday" if days else "sandbox.today") if days in (0, 1) else date
    half = text(language, "sandbox.pm" if moment.hour >= 12 else "sandbox.am")
    time = text(language, "sandbox.time", hour=moment.hour % 12 or 12, minute=f"{moment:%M}", half=half)
    for token in ("date_short_pretty", "date_pretty", "date_long_pretty"):
        pattern = pattern.replace(f"{{{token}}}", near)
    for token in ("date_short", "date", "date_long"):
        pattern = pattern.replace(f"{{{token}}}", date)
    pattern = pattern.replace("{clock}", f"{moment:%H:%M}")
    return pattern.replace("{time_secs}", time).replace("{time}", time)


def day_of(moment: datetime, language: str) -> str:
    """The date with its weekday, as a phone shows it."""
    weekday = text(language, f"sandbox.weekday.{_WEEKDAYS[moment.weekday()]}")
    return text(language, "sandbox.day", date=_date(moment, language), weekday=weekday)


def _date(moment: datetime, language: str) -> str:
    return text(language, "sandbox.date", month=text(language, f"sandbox.month.{moment.month}"), day=moment.day)
