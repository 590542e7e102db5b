"""Every exception that notifybot raises: one root, one subclass for each way to react.

Texts of errors are in the reader's language: `raise UsageError(reader_text("…"))`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence

from notifybot.i18n import has_text, listed, text


class Reader:
    """Language of this process's errors: that of the newest settings, else of the environment."""

    def __init__(self) -> None:
        self.language_of_settings: str | None = None
        self.language_of_environment: Callable[[], str] = lambda: "en"

    @property
    def language(self) -> str:
        """ "ko" or "en", looked up when a text is made."""
        return self.language_of_settings or self.language_of_environment()


READER = Reader()


def reader_text(key: str, /, **values: object) -> str:
    """Return a text of the catalog in the language of the reader."""
    return text(READER.language, key, **values)


def reader_list(names: Sequence[str], conjunction: str = "and") -> str:
    """Return names as a list in the language of the reader: "a, b and c"."""
    return listed(READER.language, names, conjunction)


def install(extra: str) -> str:
    """The command that installs an extra, in notifybot's folder: the name `notifybot` on PyPI is another project's."""
    return f'pip install -c constraints.txt ".[{extra}]"'


NOT_REGULAR = "not a regular file"  # text of our own OSError for anything but a regular file


def system_text(language: str, code: str, own: str) -> str:
    """Return an operating system error in a language, by its code such as "ENOSPC"; unknown ones by their `own` text.

    In English, a text that says more than the system's is kept.
    """
    key = f"errors.system.{'no_regular_file' if own == NOT_REGULAR else code}"
    says_more = language == "en" and own not in (NOT_REGULAR, os.strerror(getattr(errno, code, 0)))
    return own if says_more or not has_text(key, language) else text(language, key)


def system_words(error: OSError) -> str:
    """Return an operating system error in the language of the reader, without number and path."""
    return system_text(READER.language, errno.errorcode.get(error.errno or 0, ""), error.strerror or str(error))


def not_pickled(what: object) -> TypeError:
    """Return the error to raise when a client is about to be pickled: a pickle would hold its secrets in plain text."""
    return TypeError(reader_text("errors.is_not_pickled", kind=type(what).__name__))


class NotifybotError(Exception):
    """The root of all our exceptions. Its text says what happened, to which thing, and what to do next."""


class ConfigError(NotifybotError):
    """A setting is unknown, missing or malformed. React: correct the named key in the named source."""


class UsageError(NotifybotError):
    """A public function was called in a way that has no meaning. React: correct the call."""


class CheckpointError(NotifybotError):
    """A checkpoint is damaged or does not fit the model. React: resume from another one, or fix what the text names."""


class StoreError(NotifybotError):
    """The local database could not take or give a record. React: the caller keeps the record in memory."""


class DeliveryError(NotifybotError):
    """A message could not be handed over. Never raised as such: see its two subclasses.

    `service`, `code` and `values` give the reason in no language: `rendering.error_text` has its text.
    Without a code only the text is known.
    """

    def __init__(
        self, text: str, *, service: str = "", code: str = "", values: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.service = service
        self.code = code
        self.values = dict(values or {})


class TemporaryError(DeliveryError):
    """The receiver may take the same message later. React: retry.

    `retry_after_s` is the receiver's own lower bound, in seconds. `ambiguous` says that the message may have
    arrived although the answer did not (a read timeout, a reset, a 5xx).
    """

    def __init__(
        self,
        text: str,
        *,
        retry_after_s: float | None = None,
        ambiguous: bool = False,
        service: str = "",
        code: str = "",
        values: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(text, service=service, code=code, values=values)
        self.retry_after_s = retry_after_s
        self.ambiguous = ambiguous


class PermanentError(DeliveryError):
    """The receiver will never accept this message. React: dead letter at once, reported through other notifiers.

    `setup` says that the whole notifier is misconfigured (revoked token, deleted webhook), not just this message.
    """

    def __init__(
        self,
        text: str,
        *,
        setup: bool = False,
        service: str = "",
        code: str = "",
        values: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(text, service=service, code=code, values=values)
        self.setup = setup
