"""Translation of errors of model code, files and other libraries into CheckpointError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from notifybot.errors import CheckpointError, NotifybotError


@contextmanager
def translating_errors(what: str, *, remedy: str = "") -> Iterator[None]:
    """Turn any error of the block into a CheckpointError: what failed, the cause's first line, what to do."""
    try:
        yield
    except (NotifybotError, OSError):
        raise
    except Exception as error:  # a model's code, an unpickled file and a damaged archive may raise anything
        cause = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
        raise CheckpointError(f"{what}: {cause}." + (f" {remedy}" if remedy else "")) from error
