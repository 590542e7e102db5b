"""A training that spills every secret wherever a program can: run by test_redaction_secrets.py as a process of its own.

It reads the canaries from a file, since neither its arguments nor the text of its own frames may hold them.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import pickle
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from notifybot import notify_epoch
from notifybot.cli.samples import samples
from notifybot.clock import SYSTEM
from notifybot.config import Config, load
from notifybot.delivery.build import notifiers_from
from notifybot.errors import NotifybotError
from notifybot.notifiers.base import Envelope, Notifier
from notifybot.rendering import Renderer
from notifybot.testing import DictMemory
from notifybot.types import Language

_CLOSED = "http://127.0.0.1:9"  # nobody answers
_HOSTS = (_CLOSED, "https://127.0.0.1:9", "http://nobody.invalid")

_FIELDS_OF_THE_SDK = {"_Direct", "_DirectHook"}  # slack_sdk's clients hold what they were given, in ours as in its own
_KEYED_BY_THE_USER = {"Meter"}  # names as the user's code logs them, redacted when an epoch is read


class Spilt(RuntimeError):
    """The user's own exception."""


def train(canaries: list[str]) -> None:
    """Three epochs with secrets in names, parameters, metrics and log lines, then a failure full of them."""
    spilt = " ".join(canaries)
    params = {"note": spilt, **{f"p{number}": each for number, each in enumerate(canaries)}}
    with notify_epoch(range(3), name=f"run {canaries[0]}", project="vision", params=params) as epochs:
        for epoch in epochs:
            assert epochs.wandb is not None, "it starts more slowly than this training runs"
            epochs.log({"loss": 1.0 / (epoch + 1), f"metric {canaries[1]}": 1.0})
            epochs.log_checkpoint(f"/tmp/{canaries[2]}/epoch{epoch}.pt")
            for name in ("urllib3.connectionpool", "requests", "slack_sdk", "apprise", "wandb", "notifybot"):
                logging.getLogger(name).debug("said %s", spilt)
            if epoch == 1:
                Path("processes.txt").write_bytes(b"\0".join(command_lines()))
        fail(canaries)


def fail(canaries: list[str]) -> None:
    """Raise with secrets in the text, a note, the cause, the context and a group."""
    try:
        try:
            raise KeyError(canaries[3])
        except KeyError:
            raise ValueError(" ".join(canaries))  # noqa: B904 - the context is one of the places
    except ValueError as cause:
        error = Spilt(" ".join(canaries))
        error.add_note(" ".join(canaries))
        raise error from ExceptionGroup(canaries[4], [cause])


def command_lines() -> Iterator[bytes]:
    """The arguments of this process and of every process below it."""
    ours = {os.getpid()}
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda each: int(each.name)):
        with suppress(OSError, ValueError, IndexError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) in ours or int(folder.name) in ours:
                ours.add(int(folder.name))
                yield (folder / "cmdline").read_bytes()


def broken(hook: str) -> Iterator[str]:
    """Everything that the exceptions of each notifier hold when things fail, hidden contexts included."""
    event = samples(Language.EN, SYSTEM.now())[-3]
    message = Renderer(Language.EN).render(event)
    closed = {"slack_api_url": _CLOSED, "kakao_api_url": _CLOSED, "kakao_auth_url": _CLOSED}
    configs = [
        Config(),
        Config(**closed),
        *(Config(slack_bot_token=None, slack_webhook_url=each + hook) for each in _HOSTS),
    ]
    for config in configs:
        for notifier in notifiers_from(config):
            yield from raised_by(notifier, Envelope(event, message, DictMemory()))
            notifier.close()


def raised_by(notifier: Notifier, envelope: Envelope) -> Iterator[str]:
    try:
        notifier.send(envelope)
    except NotifybotError as error:
        logging.getLogger("notifybot").debug("%s", notifier.name, exc_info=True)
        yield "".join(traceback.format_exception(error))
        yield from chain(error)


def chain(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield f"{notes(error)} {error!s} {error!r} {error.args!r} {vars(error)!r}"
        yield from chain(error.__cause__)
        error = error.__context__


def notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def objects() -> Iterator[tuple[str, bytes]]:
    """Each live object of ours: its repr and that of its attributes, and its pickle where it has one."""
    ours = [each for each in gc.get_objects() if str(type(each).__module__).startswith("notifybot.")]
    for each in (each for each in ours if type(each).__name__ not in _KEYED_BY_THE_USER):
        fields = getattr(each, "__dict__", None) or {
            name: getattr(each, name, None) for name in getattr(type(each), "__slots__", ())
        }
        with suppress(Exception), warnings.catch_warnings():
            said = "" if type(each).__name__ in _FIELDS_OF_THE_SDK else f" {fields!r}"
            yield type(each).__qualname__, f"{each!r}{said}".encode()
        with suppress(Exception), warnings.catch_warnings():
            yield type(each).__qualname__, pickle.dumps(each)


def main() -> None:
    before = dict(os.environ)
    logging.basicConfig(filename="debug.log", level=logging.DEBUG, format="%(name)s %(message)s")
    canaries = json.loads(Path(sys.argv[1]).read_text())
    with suppress(Spilt):
        train(canaries)
    config = load()
    Path("exceptions.txt").write_text("\n".join(broken(f"/services/T0/B0/{canaries[1]}")))
    alive = [config, *notifiers_from(config)]
    Path("objects.bin").write_bytes(b"\n".join(b"%s: %s" % (name.encode(), data) for name, data in objects()))
    added = {name: value for name, value in os.environ.items() if before.get(name) != value}
    Path("environment.txt").write_text(json.dumps(added))
    assert all(alive)


if __name__ == "__main__":
    main()
