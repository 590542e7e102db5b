"""Redaction: secrets are registered by value and replaced by a mark in every text that leaves the process.

A secret is recognised unchanged, URL-encoded, escaped for JSON or HTML, within base64 at any of its three
alignments, and when only its beginning is left because somebody cut the text.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import logging
import re
import threading
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote

MARK = "[redacted]"
_SHORTEST = 8  # shorter values would strike out ordinary words
_WORD = re.compile(r"[a-z]{8,}")  # a secret that begins with a word is recognised by more than that word
_WORD_SHORTEST = 12
_PART = 16  # URL parts of this length count as credentials

_lock = threading.Lock()
_forms: dict[str, str] = {}  # each spelling, with the shortest beginning that is redacted


def register(secrets: str | Iterable[str | None]) -> None:
    """Remember secret values, in every spelling that they may be met in, for `redact`. Idempotent."""
    global _forms
    if isinstance(secrets, str):  # a text is many texts of one character, none of which would be a secret
        secrets = [secrets]
    with _lock:
        known = dict(_forms)
        single = (each for secret in secrets if secret for each in {secret, *_LIST.split(secret)})
        for text, head in (core for each in single for core in _cores(each)):
            # An escaped text is longer: the beginning that identifies it is measured in the same spelling.
            for form, beginning in zip(_written(text), _written(text[:head]), strict=True):
                if len(known.get(form, form)) >= len(beginning) >= _SHORTEST:
                    known[form] = form[: len(beginning)]
        _forms = known


def redact(text: str) -> str:
    """Return `text` with every registered secret, and every long enough beginning of one, replaced by a mark."""
    spans = [span for form, beginning in _forms.items() if beginning in text for span in _spans(text, form, beginning)]
    if not spans:
        return text
    kept, position = [], 0
    for start, end in _merged(spans):
        kept += [text[position:start], MARK]
        position = end
    return "".join((*kept, text[position:]))


def _spans(text: str, form: str, beginning: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of `text` that hold `form` or, from `beginning` on, the start of it."""
    start = text.find(beginning)
    while start >= 0:
        end = start + len(beginning)
        last = min(start + len(form), len(text))
        while end < last and text[end] == form[end - start]:
            end += 1
        yield start, end
        start = text.find(beginning, end)


def _merged(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Overlapping spans as one: a value inside its URL is one secret, and of two alike the longer match counts."""
    start, end = -1, -1
    for first, last in sorted(spans):
        if first < end:
            end = max(end, last)
            continue
        if end > 0:
            yield start, end
        start, end = first, last
    yield start, end


# ── What a secret looks like ─────────────────────────────────────────────────────────────────────────────────────────

_LIST = re.compile(r"[\s,;]+(?=[a-zA-Z][a-zA-Z0-9+.-]*://)")  # several addresses in one setting
_HTTP = re.compile(r"(https?://)(?:[^/?#]*@)?[^/?#@]*((?:/[a-z]{1,15}(?=/))*/?)")
_OTHER = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_PLAIN_WORDS = re.compile(r"[a-z]+([/_.-][a-z]+)*/?")
_HOST_NAME = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}", re.IGNORECASE)


def _cores(secret: str) -> Iterator[tuple[str, int]]:
    """Yield the values that give access, each with the number of leading characters that identify it.

    For a URL: the whole, its path (which HTTP libraries log alone), and each long part. Its host and the words that
    lead its path are public and do not count: otherwise every mention of the service would be struck out.
    """
    match = _HTTP.match(secret) or _OTHER.match(secret)
    if match is None:
        yield secret, _head(secret)
        return
    public = match.end()
    private = secret[public:]
    if len(private) < _SHORTEST or (len(private) < _PART and _PLAIN_WORDS.fullmatch(private)):
        yield secret, len(secret)  # short or plain words: only the whole address is secret
    else:
        yield secret, public + _head(private)
        yield private, _head(private)
        if match.lastindex:  # http: the path starts with its public part
            path = public - len(match[2])
            yield secret[path:], public - path + _head(private)
    for part in _parts(secret.partition("://")[2]):
        yield part, _head(part)


def _parts(address: str) -> set[str]:
    """Return the parts of an address that are credentials: long ones but for host names, and a password."""
    parts = {each for each in re.split(r"[/:@?&=#]", address) if len(each) >= _PART and not _HOST_NAME.fullmatch(each)}
    user, at, _ = re.split(r"[/?#]", address, maxsplit=1)[0].rpartition("@")
    password = user.partition(":")[2]
    if at and len(password) >= _SHORTEST:
        parts.add(password)
    return parts | {unquote(each) for each in parts}


def _head(text: str) -> int:
    word = _WORD.match(text)
    return min(max(_WORD_SHORTEST, word.end() + 2) if word else _SHORTEST, len(text))


def _written(text: str) -> list[str]:
    """Return every spelling of `text`, always in the same order."""
    strict, usual = quote(text, safe="", errors="replace"), quote(text, errors="replace")
    encoded = [strict, usual, quote_plus(text, errors="replace")]
    lower = [re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), each) for each in encoded]
    escaped = json.dumps(text)[1:-1]
    plain = [text, *encoded, *lower, escaped, escaped.replace("/", "\\/"), html.escape(text)]
    in_base64 = [_in_base64(text.encode("utf-8", "replace"), before) for before in range(3)]
    return [*plain, *in_base64, *(each.translate(_URL_SAFE) for each in in_base64)]


_URL_SAFE = str.maketrans("+/", "-_")


def _in_base64(value: bytes, before: int) -> str:
    """Return the base64 characters of `value` when `before` other bytes (modulo 3) precede it.

    Characters that hold bits of neighbours are left out, so "user:secret" is found by its secret as well.
    """
    encoded = base64.b64encode(bytes(before) + value).decode()
    return encoded[-(-8 * before // 6) : 8 * (before + len(value)) // 6]


# ── Secrets of others, known by their names or their looks ───────────────────────────────────────────────────────────


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SEGMENT = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_A-Za-z]+")
_ANYWHERE = _words(
    "password passwords passwd passphrase pwd secret secrets credential credentials webhook apikey authtoken "
    "accesstoken accesskey secretkey privatekey"
)
_LAST = _words("token key pw auth authorization bearer jwt cookie cookies")
_SUFFIXES = _words("id value b64 base64 hex")
# Words before "token" and "key" that mean a word of a vocabulary or a key of a mapping: no secrets.
_PLAIN_TOKENS = _words(
    "pad eos bos unk mask sep cls special image img audio video start end stop begin first last next word prefix "
    "suffix prompt sos modality fill trigger placeholder"
)
_PLAIN_KEYS = _words(
    "sort group dict monitor input output image img label labels target primary foreign cache attention attn query "
    "metric data batch loss rng prng random state text prompt column field index feature features sample dataset split "
    "value item map lookup join partition config param parameter class mask pad num max min time video audio caption "
    "embedding score reward action obs observation cross self layer module model optimizer log"
)
_OWNERS = _words(
    "user db database smtp mail email admin root login ssh ftp http proxy redis postgres mysql mongo auth account my "
    "wandb slack"
)
_MANY_KEYS = _words("api access private secret ssh account encryption")


def names_secret(name: str) -> bool:
    """True when a setting of that name holds a secret, judged by the whole words of the name: `wandb_key`, `authToken`.

    `num_key_value_heads`, `max_tokens`, `pad_token` and `author` do not.
    """
    words = [word.lower() for word in _SEGMENT.findall(name)]
    if not _ANYWHERE.isdisjoint(words):
        return True
    while len(words) > 1 and words[-1] in _SUFFIXES:
        words.pop()
    last, before = words[-1] if words else "", words[-2] if len(words) > 1 else ""
    match last:
        case "token":
            return before not in _PLAIN_TOKENS
        case "key":
            return before not in _PLAIN_KEYS
        case "keys":
            return before in _MANY_KEYS
        case "pass":
            return before in _OWNERS or not before
        case "string":
            return before == "connection"
    return last in _LAST


_LOOKS = re.compile(
    r"(?P<url>\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/?#@'\"]+@"
    r"|(?P<slack>hooks\.slack\.com/(?:services|triggers|workflows)/)[^\s'\"]+"
    r"|(?P<scheme>\bBearer\s+)[\w.~+/=-]{6,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*"
    r"|\b(?:xox[a-z]-[\w-]{8,}|gh[a-z]_\w{20,}|hf_\w{20,}|sk-[\w-]{20,}|AKIA[0-9A-Z]{16}|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*)"
)
_ASSIGNED = re.compile(r"""([\w.-]{2,60})(['"]?\s*[=:]\s*)(['"]?)([^\s'",;&)}\]]+)""")


def strike_looks(text: str) -> str:
    """Return `text` without strings that look like secrets: an address's password, a bearer's token, …"""

    def looked(match: re.Match[str]) -> str:
        kept = match["url"] or match["slack"] or match["scheme"] or ""
        return f"{kept}{MARK}{'@' if match['url'] else ''}"

    return _LOOKS.sub(looked, text)


def strike(text: str) -> str:
    """Return `text` as `strike_looks` does, and without values of secret names: `api_key=…`, `{'token': …}`."""

    def assigned(match: re.Match[str]) -> str:
        return f"{match[1]}{match[2]}{match[3]}{MARK}" if names_secret(match[1]) else match[0]

    return _ASSIGNED.sub(assigned, strike_looks(text))


# ── Loggers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class RedactingFilter(logging.Filter):
    """Strikes secrets out of log records, of their tracebacks too: causes, contexts and notes are part of those."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # a wrong log call: the handler would print its raw arguments
            message, record.args = str(record.msg), ()
        clean = redact(message)
        if clean != message:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[1] is not None:
            text = _PLAIN.formatException(record.exc_info)
            if redact(text) != text:  # a handler would format the exception again: leave it the clean text only
                record.exc_info, record.exc_text = None, redact(text)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True


_PLAIN = logging.Formatter()
_FILTER = RedactingFilter()
_TALKATIVE = (
    "urllib3.connectionpool", "urllib3.util.retry", "requests", "notifybot", "apprise", "wandb", "slack_sdk",
    "slack_sdk.webhook.client", "slack_sdk.web.base_client", "slack_sdk.web.client",
)  # fmt: skip
_FAMILIES = {name.partition(".")[0] for name in _TALKATIVE} | {"asyncio", "httpcore", "httpx", "sqlalchemy"}


def guard_loggers() -> None:
    """Put the redacting filter on every logger known to print what it is given. Idempotent.

    A filter is not inherited by child loggers, so it is put on each that exists: call this after their imports.
    """
    existing = [name for name in list(logging.root.manager.loggerDict) if name.partition(".")[0] in _FAMILIES]
    for name in {*_TALKATIVE, *existing}:
        logger = logging.getLogger(name)
        if _FILTER not in logger.filters:
            logger.addFilter(_FILTER)


def fingerprint(*parts: str) -> str:
    """Eight hex digits that set destinations apart without giving them away."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:8]
