"""Every exception that notifybot raises: one root, one subclass for each way to react.

What a program's author reads is said in the reader's language: `raise UsageError(reader_text("…"))`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from errno import errorcode

from notifybot.i18n import listed, text


class Reader:
    """The language of whoever reads this process's errors: of the newest settings, else of the environment."""

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


def said(en: str, ko: str) -> str:
    """Return the text in the language of the reader."""
    return ko if READER.language == "ko" else en


def install(extra: str) -> str:
    """The command that installs an extra, in notifybot's folder: the name `notifybot` on PyPI is another project's."""
    return f'pip install -c constraints.txt ".[{extra}]"'


# What the operating system says, by its code; lines that we say ourselves in its place, by their text.
_SYSTEM_KO = {
    "ENOSPC": "저장 공간이 부족합니다",
    "EDQUOT": "저장 용량 한도를 넘었습니다",
    "EFBIG": "파일이 너무 큽니다",
    "EACCES": "접근 권한이 없습니다",
    "EPERM": "허용되지 않은 작업입니다",
    "EROFS": "읽기 전용 파일 시스템입니다",
    "EIO": "디스크 입출력 오류가 발생했습니다",
    "ENOENT": "파일이나 폴더가 없습니다",
    "ENOTDIR": "폴더가 아닙니다",
    "EISDIR": "파일이 아니라 폴더입니다",
    "EEXIST": "같은 이름의 파일이 이미 있습니다",
    "ELOOP": "심볼릭 링크라서 열 수 없습니다",
    "ENAMETOOLONG": "파일 이름이 너무 깁니다",
    "EMFILE": "열려 있는 파일이 너무 많습니다",
    "EBUSY": "다른 곳에서 사용하고 있습니다",
    "ETIMEDOUT": "응답 시간이 초과되었습니다",
    "ESTALE": "네트워크 파일 시스템과의 연결이 끊겼습니다",
    "ENODEV": "저장 장치를 찾을 수 없습니다",
    "ENOTCONN": "마운트가 끊겼습니다",
    "EADDRINUSE": "다른 프로그램이 이미 사용하고 있습니다",
    "EADDRNOTAVAIL": "이 장비의 주소가 아닙니다",
    "not a regular file": "일반 파일이 아닙니다",
}


def system_korean(code: str, text: str) -> str:
    """Return in Korean what the operating system says; its own text where we have no words for it."""
    return _SYSTEM_KO.get(text) or _SYSTEM_KO.get(code) or text


def system_words(error: OSError) -> str:
    """Return what the operating system says, in the language of the reader and without the number and the path."""
    text = error.strerror or str(error)
    return said(text, system_korean(errorcode.get(error.errno or 0, ""), text))


def not_pickled(what: object) -> TypeError:
    """The error, to be raised, of a client that is about to be pickled: its secrets would stand there in plain text."""
    kind = type(what).__name__
    return TypeError(reader_text("errors.is_not_pickled", kind=kind))


class NotifybotError(Exception):
    """The root of all our exceptions. Its text says what happened, to which thing, and what to do next."""


class ConfigError(NotifybotError):
    """A setting is unknown, missing or malformed. React: correct the named key in the named source."""


class UsageError(NotifybotError):
    """A public function was called in a way that has no meaning. React: correct the call."""


class CheckpointError(NotifybotError):
    """A checkpoint is not whole, or does not fit the model. React: go on from another one, or mend what is named."""


class StoreError(NotifybotError):
    """The local database could not take or give a record. React: the caller keeps the record in memory."""


class DeliveryError(NotifybotError):
    """A message could not be handed over. Never raised as such: see its two subclasses.

    `service`, `code` and `values` say why in no language: `rendering.error_text` has words for them in each.
    Without a code the text is all there is.
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
    """The receiver will never take this message as it is. React: dead letter at once, told elsewhere.

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
