"""Choice of the newest of a framework's own checkpoints that is whole, and word of those that were passed over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from notifybot.checkpoints.errors import Flawed, reader_reason, reason_of
from notifybot.errors import reader_text
from notifybot.integrations.guest import Guest
from notifybot.rendering.alert_text import checkpoint_damaged, notice_words
from notifybot.types import Reason

log = logging.getLogger("notifybot")

_passed_over: dict[Path, tuple[tuple[Reason, ...], str | None]] = {}  # by folder, until its training begins


def newest_whole(folder: Path, newest_first: Iterable[Path], check: Callable[[Path], object]) -> Path | None:
    """Return the first of a training's checkpoints for which `check` does not raise Flawed or OSError; None for none.

    `folder` is the training's, by which `tell_passed_over` finds what was passed over.
    """
    passed_over, found = list[Reason](), None
    for path in newest_first:
        try:
            check(path)
        except Flawed as error:
            passed_over.append(replace(error.reason, about=_below(path, error.reason.about)))
        except OSError as error:
            passed_over.append(reason_of(error, path.name))
        else:
            found = path
            break
    _passed_over.pop(folder.absolute(), None)
    if passed_over:
        _passed_over[folder.absolute()] = tuple(passed_over), None if found is None else found.name
        for each in passed_over:
            log.warning("%s", reader_text("integrations.guest.passed_over", what=reader_reason(each)))
    return found


def newest_first(folder: Path, pattern: str) -> list[Path]:
    """Return the files below a folder that match, the newest first; of one moment the last by name.

    A folder that cannot be read has none, as on a mount that fails.
    """
    found, paths = list[tuple[int, str, Path]](), list[Path]()
    with suppress(OSError):
        paths = list(folder.rglob(pattern))
    for path in paths:
        with suppress(OSError):  # gone meanwhile
            found.append((path.stat().st_mtime_ns, path.name, path))
    return [path for *_, path in sorted(found, reverse=True)]


def tell_passed_over(guest: Guest, folder: Path) -> None:
    """Tell people what was passed over in a folder; without this the training just seems to go back."""
    damaged, used = _passed_over.pop(folder.absolute(), ((), None))
    if damaged and guest.active and guest.run is not None:
        notice = checkpoint_damaged(damaged, used)
        words = notice_words(notice, guest.config.lang)
        guest.run.report(words.title, words.text, about="checkpoint", notice=notice)


def _below(path: Path, about: str) -> str:
    """Name of a part of a checkpoint: that of the checkpoint alone, where it is one file."""
    return path.name if about in ("", path.name) else f"{path.name}/{about}"
