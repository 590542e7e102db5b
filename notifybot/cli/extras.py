"""Commands that need more than the core install say so, instead of failing on an import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from notifybot.errors import UsageError, install, said


@contextmanager
def extra(name: str) -> Iterator[None]:
    """While inside, a missing package becomes a UsageError that names the extra which brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in {"notifybot", *sys.stdlib_module_names}:
            raise  # a part of Python that this system lacks is brought by no extra
        raise UsageError(
            said(
                f"this command needs the package {error.name}; in notifybot's folder run {install(name)}",
                f"이 명령에는 {error.name} 패키지가 필요합니다. "
                f"notifybot 폴더에서 다음과 같이 설치하세요: {install(name)}",
            )
        ) from error
