"""All other services by Apprise URL: Discord, Telegram, e-mail, ntfy, Teams and a hundred more.

Apprise answers yes or no. The reason for a no is read from Apprise's log lines; a no without a reason is tried again a
few times.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from notifybot.config import Config
from notifybot.errors import ConfigError, DeliveryError, install, not_pickled, reader_text
from notifybot.notifiers.base import Envelope, Notifier, Surroundings, permanent_error, temporary_error
from notifybot.policy import Pace
from notifybot.redaction import fingerprint, guard_loggers, register
from notifybot.rendering.format import row_text
from notifybot.rendering.text import clean, defang_links, one_line, shorten
from notifybot.store.pictures import suffix_of
from notifybot.types import Message, Severity

if TYPE_CHECKING:
    from apprise import Apprise, NotifyBase


Picture = Callable[[Envelope], bytes | None]
"""Gives the PNG that belongs to a message, or None."""

UNEXPLAINED_TRIES = 5
TITLE_CHARS = 200
BODY_CHARS = 1800  # Discord takes 2,000 with the title, and refuses more
CODE_LINES, ROWS, FACTS = 12, 12, 8
_ROOM_FOR_ALL = 500

_TYPES = {
    Severity.INFO: "info",
    Severity.SUCCESS: "success",
    Severity.WARNING: "warning",
    Severity.ERROR: "failure",
}

_BETWEEN = re.compile(r"\s+|,+(?=\s|$|[A-Za-z][A-Za-z0-9]*://)")  # a comma may also stand inside a URL
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9]{0,19})://")
_HOST = re.compile(r"\w+://([^/?#@]*@)?([\w-]+\.)+[\w-]+(:\d+)?/?")
_LINK = re.compile(r"https?://[^\s<>\"]{1,300}")

# Where text becomes a mention, a link or a tag in some service: after @ and <, between ] and its target.
_ACTIVE = re.compile(r"(?<=[@<])(?=[^\s\u200b])|(?<=\])(?=[(\[:])")
_SPLIT = "\u200b"  # invisible; the usual way to defuse a Discord mention as well


def from_config(config: Config, around: Surroundings) -> list[Notifier]:
    """One notifier for each Apprise URL of the settings, so that each is retried by itself; with learning curves
    where there are charts. Raises ConfigError."""
    if config.apprise_urls is None:
        return []
    square = around.charts.phone_painter(config.lang).square if around.charts is not None else (lambda _: None)

    def picture(envelope: Envelope) -> bytes | None:
        return around.picture_of(envelope.event) or square(envelope.event)

    urls = dict.fromkeys(urls_in(config.apprise_urls.get_secret_value()))
    return [AppriseNotifier(url, position=position, picture=picture) for position, url in enumerate(urls, 1)]


def urls_in(text: str) -> list[str]:
    """Split a list of URLs at spaces, new lines and the commas between them."""
    return [each for each in _BETWEEN.split(text) if each]


class AppriseNotifier:
    """Sends to one Apprise URL. Raises ConfigError, without the URL in it, where Apprise makes nothing of it.

    A URL that names several receivers is one destination: where one of them fails, all of them get the repeat.
    `picture` is asked for a PNG or JPEG at the first try only: a service may have taken the words and refused the
    picture.
    """

    name = "apprise"

    def __init__(self, url: str, *, position: int = 1, picture: Picture | None = None) -> None:
        register(_secrets_in(url))
        open_ear()
        self._apprise, service = _loaded(url, position)
        self.key = f"{self.name}:{fingerprint(url)}"
        self.pace = Pace(gap_s=max(1.0, float(service.request_rate_per_sec)), progress_gap_s=300.0)
        self._label = str(service.service_name)
        self._room = min(int(service.body_maxlen), BODY_CHARS)
        self._picture = picture
        self._unexplained: dict[str, int] = {}

    def send(self, envelope: Envelope) -> None:
        """Hand the message to Apprise as plain text, in which nothing of other people's words is active."""
        png = self._picture(envelope) if self._picture and not envelope.attempts else None
        if png is None:
            self._send(envelope, None)
            return
        with tempfile.TemporaryDirectory(prefix="notifybot-") as folder:  # many services want a file with a name
            path = Path(folder, f"notifybot{suffix_of(png) or '.png'}")
            path.write_bytes(png)
            self._send(envelope, str(path))

    def close(self) -> None:
        """Do nothing: no connection is held open between two messages."""

    def __getstate__(self) -> object:
        raise not_pickled(self)

    def _send(self, envelope: Envelope, picture: str | None) -> None:
        title, body = plain_text(envelope.message, self._room)
        kind = _TYPES[envelope.message.severity]
        with listening() as lines:
            done = self._apprise.notify(body, title, notify_type=kind, body_format="text", attach=picture)
        if not done:
            raise reason(self._label, lines) or self._unknown(envelope.event.id)
        self._unexplained.pop(envelope.event.id, None)

    def _unknown(self, event_id: str) -> DeliveryError:
        tries = self._unexplained[event_id] = self._unexplained.get(event_id, 0) + 1
        if tries < UNEXPLAINED_TRIES:
            return temporary_error(SERVICE, "unexplained", label=self._label, ambiguous=True)
        del self._unexplained[event_id]
        return permanent_error(SERVICE, "given-up", label=self._label, tries=str(tries))


def plain_text(message: Message, room: int) -> tuple[str, str]:
    """Title and body as plain text, together within `room` characters. The last line marks a repeat, and is not cut.

    Where there is little room (SMS, KakaoTalk) the brief says it all, without a title.
    """
    link = message.link if message.link and _LINK.fullmatch(message.link) else ""
    tail = "\n".join(line for line in (link, f"#{message.short_id}") if line)
    title, words = "", message.brief
    if room >= _ROOM_FOR_ALL:
        title = shorten(inert(one_line(message.title)), TITLE_CHARS)
        rows = [row_text(row) for row in message.rows[:ROWS]]
        facts = [f"{fact.label}: {fact.value}" for fact in message.facts[:FACTS]]
        lines = [message.body, *rows, *facts, *message.code.splitlines()[-CODE_LINES:]]
        words = "\n".join(line for line in lines if line.strip())
    left = room - len(title) - len(tail) - 4  # two line breaks, which are two characters at some
    return title, f"{shorten(inert(clean(words).strip()), left)}\n{tail}".lstrip("\n")


def inert(text: str) -> str:
    """Return `text` looking the same, with no mention, link or tag in it, whatever markup the service reads.

    Apprise escapes a body on its way to HTML or Markdown, but not a title, and not on its way to a service that is
    given plain text and reads markup in it (Discord, Mattermost): so an invisible character keeps the signs apart.
    """
    return defang_links(_ACTIVE.sub(_SPLIT, text))


def _loaded(url: str, position: int) -> tuple[Apprise, NotifyBase]:
    try:
        import apprise
    except ModuleNotFoundError:
        raise ConfigError(reader_text("notifiers.apprise.not_installed", command=install("apprise"))) from None
    asset = apprise.AppriseAsset(
        app_id="notifybot",
        app_desc="notifybot",
        app_url="",
        image_url_mask="",  # else each message has people's programs fetch Apprise's logo from GitHub
        image_url_logo="",
        async_mode=False,
        service_timeout=0,  # else a thread of Apprise's own does the sending, and the program's end waits for it
        http_redirects=False,
        allow_templates=False,
        interpret_emojis=False,
        interpret_escapes=False,
    )
    service = apprise.Apprise.instantiate(url, asset=asset)
    if service is None:
        scheme = _SCHEME.match(url)
        named = f"{scheme[1].lower()}://…" if scheme else reader_text("notifiers.apprise.no_scheme")
        raise ConfigError(reader_text("notifiers.apprise.url_not_understood", position=position, named=named))
    service.retry = 0  # the outbox tries again, and knows when
    service.optional = False  # else a failure would pass for success
    return apprise.Apprise(service), service


def _secrets_in(url: str) -> list[str]:
    """Return the secret parts of a URL, whole and one by one: Apprise logs URLs that it builds from the parts.

    The host is public and not among them: redacting it would remove it from every log line.
    """
    host = _HOST.match(url)
    parts = re.split(r"[:/@?&=#,]+", url.partition("://")[2])
    keys = [part for part in parts if re.search(r"[0-9A-Z%]", part) and not re.search(r"\.[\w-]+$", part)]
    password = re.search(r"://[^/@\s]*?:([^/@\s]+)@", url)
    found = [url[host.end() :] if host else url, *keys, *([password[1]] if password else [])]
    return [*found, *map(unquote, found)]


SERVICE = "apprise"

Line = tuple[int, str]
"""A level of `logging`, and the line."""

_OPENED = 5  # a level nobody uses: if it has changed, somebody set the level after us
_NAME = "apprise"

_STATUS = re.compile(r"\berror=(\d{3})\b")
_NO_CONNECTION = re.compile(r"connection error", re.IGNORECASE)
_TRANSPORT = re.compile(r"Socket Exception: (.*)", re.DOTALL)
_NEVER_SENT = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|Connection refused|unreachable|"
    r"Name or service not known|name resolution|nodename nor servname"
)
_NO_ANSWER = re.compile(r"timed out", re.IGNORECASE)
_SMTP = re.compile(r"\(([45]\d\d), b['\"]")  # smtplib's exceptions: (535, b'5.7.8 Username and password …')
_NOT_PROCESSED = (408, 425, 429)
_SETUP = (401, 403, 404, 405, 410)


def reason(label: str, lines: Iterable[Line]) -> DeliveryError | None:
    """Return the error that a failed send's log lines describe; None if they give no reason. Quotes none of them.

    A status counts in warnings only: below that level Apprise logs the message itself, which may contain any number.
    """
    heard = list(lines)
    statuses = [int(each) for level, line in heard if level >= logging.WARNING for each in _STATUS.findall(line)]
    if statuses:
        return _status_error(label, statuses)
    transport = " ".join(found[1] for _, line in heard if (found := _TRANSPORT.match(line)))
    if refused := _SMTP.search(transport):
        return _mail_error(label, int(refused[1]))
    if _NEVER_SENT.search(transport):
        return temporary_error(SERVICE, "no-connection", label=label)
    if _NO_ANSWER.search(transport):
        return temporary_error(SERVICE, "no-answer", label=label, ambiguous=True)
    if transport or any(_NO_CONNECTION.search(line) for _, line in heard):
        return temporary_error(SERVICE, "broken", label=label, ambiguous=True)
    return None


def _status_error(label: str, statuses: Iterable[int]) -> DeliveryError:
    """Return the error for HTTP statuses; with several receivers, for the one that a later try may mend."""
    status = min(statuses, key=lambda each: each < 500 and each not in _NOT_PROCESSED)
    if status in _NOT_PROCESSED or status >= 500:
        return temporary_error(SERVICE, "failing", label=label, status=str(status), ambiguous=status >= 500)
    if status < 400:
        return temporary_error(SERVICE, "foreign", label=label, status=str(status), ambiguous=True)
    setup = status in _SETUP
    return permanent_error(SERVICE, "refused" if setup else "failing", label=label, status=str(status), setup=setup)


def _mail_error(label: str, code: int) -> DeliveryError:
    """A mail server's refusal: 4xx for now, 5xx for good (https://www.rfc-editor.org/rfc/rfc5321#section-4.2.1)."""
    if code < 500:
        return temporary_error(SERVICE, "mail-later", label=label, status=str(code))
    return permanent_error(SERVICE, "mail-refused", label=label, status=str(code), setup=True)


# ── Listening ────────────────────────────────────────────────────────────────────────────────────────────────────────

_heard: ContextVar[list[Line] | None] = ContextVar("notifybot_apprise_heard", default=None)


@contextmanager
def listening() -> Iterator[list[Line]]:
    """Collect what Apprise logs on this thread meanwhile, without secrets; it is logged elsewhere as it always was."""
    lines: list[Line] = []
    token = _heard.set(lines)
    try:
        yield lines
    finally:
        _heard.reset(token)


class _Ear(logging.Filter):
    """Log filter that collects every line and passes on what would be logged without us.

    Nothing below DEBUG: there Apprise lists a URL part by part, those too short to be known by value as well.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        lines = _heard.get()
        if lines is not None and record.levelno >= logging.DEBUG:
            lines.append((record.levelno, record.getMessage()))
        logger = logging.getLogger(_NAME)
        usual = logging.getLogger().getEffectiveLevel() if logger.level == _OPENED else logger.level
        return record.levelno >= max(usual, logging.DEBUG)


_EAR = _Ear()


def open_ear() -> None:
    """Guard Apprise's logger, open it to DEBUG (where Apprise logs its reasons) and listen to it. Idempotent."""
    guard_loggers()  # first, so that what is heard is redacted
    logger = logging.getLogger(_NAME)
    logger.addFilter(_EAR)  # a filter that is there already is not added again
    if logger.level == logging.NOTSET:
        logger.setLevel(_OPENED)
