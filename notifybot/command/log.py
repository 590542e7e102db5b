"""`notifybot log epoch=3 val_loss=0.2`: numbers of a shell script, handed to the `notifybot run` above it.

Shell loops call it: it starts in a fraction of `notifybot --version`'s time, so it imports next to nothing, and the
catalog of texts only where something is wrong.
"""

from __future__ import annotations

import errno
import math
import os
import sys
from collections.abc import Sequence

# As in notifybot.training.command_file, which takes 50 ms to import; a test holds the two together.
VARIABLE = "NOTIFYBOT_COMMAND_FILE"
UNITS = ("epoch", "step", "round", "trial")
_TOTAL = "total"
_LARGEST = 2**53  # whole numbers up to here are exact in JSON
_MOST_NAMES, _NAME_CHARS = 200, 200
_WRONG = 2


def log(words: Sequence[str]) -> int:
    """Hand the numbers to the run of the command above; return the exit code.

    2 for words that mean nothing, and where there is no `notifybot run` above. A wrapper that is gone and a full disk
    are said, but end no script.
    """
    try:
        line = _line(words)
    except ValueError as error:
        return _say(*error.args, code=_WRONG)
    path = os.environ.get(VARIABLE, "")
    if not path:
        return _say("nobody_above", {}, code=_WRONG)
    try:
        append(path, line)
    except OSError as error:
        return _say("not_handed_on", {"why": error.strerror or str(error)}, code=0)
    return 0


def append(path: str, line: bytes) -> None:
    """Append a line to a file that exists, in one piece. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)  # never made anew
    try:
        # A line that a full disk has cut spoils no other: each begins on a line of its own.
        if os.write(descriptor, b"\n" + line + b"\n") < len(line) + 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def _line(words: Sequence[str]) -> bytes:
    """Return the line for the wrapper. Raises ValueError with the key of a text, and its values."""
    import json

    given = dict(_pair(word) for word in words)
    units = [name for name in UNITS if name in given]
    if len(units) != 1 or len(given) > _MOST_NAMES:
        raise ValueError("needs_one_position", {})
    at = _whole(units[0], given.pop(units[0]))
    total = given.pop(_TOTAL, "")
    metrics = {name: _number(name, value) for name, value in given.items() if value or _is_left_out(name)}
    found = {"unit": units[0], "at": at, "total": _whole(_TOTAL, total) if total else None, "metrics": metrics}
    return json.dumps({"logged": found}).encode()


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not name.strip() or not equals or len(name) > _NAME_CHARS:
        raise ValueError("no_pair", {"word": f"{word!r:.80}"})
    return name.strip(), value.strip()


def _is_left_out(name: str) -> bool:
    """False, once it is said: `val_loss=$(grep …)` has found nothing, which is no reason to end a script."""
    _say("empty_value", {"name": name}, code=0)
    return False


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError("no_number", {"name": name, "value": f"{value!r:.80}"}) from None


def _whole(name: str, value: str) -> int:
    number = _number(name, value)
    if not math.isfinite(number) or not number.is_integer() or not 0 <= number <= _LARGEST:
        raise ValueError("no_whole_number", {"name": name, "value": f"{value!r:.80}"})
    return int(number)


def _say(key: str, values: dict[str, object], *, code: int) -> int:
    """Print a line in the reader's language, without secrets, and return the code."""
    import notifybot.config  # noqa: F401  it knows the language
    from notifybot.errors import reader_text
    from notifybot.redaction import strike

    if sys.stderr is not None:
        sys.stderr.write(f"notifybot: {strike(reader_text(f'command.log.{key}', **values))}\n")
    return code
