"""What the runs of one process share: the database, and the thread that delivers from it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.delivery.build import Delivery, open_delivery
from notifybot.errors import StoreError, said
from notifybot.files import at_fork
from notifybot.notifiers.base import Notifier
from notifybot.store.database import Store
from notifybot.store.location import local_folder, spare_folder
from notifybot.training.endings import ENDINGS

log = logging.getLogger("notifybot")


@dataclass(frozen=True, eq=False, slots=True)
class Shared:
    """An open database and its delivery, kept until the process ends."""

    config: Config
    notifiers: tuple[Notifier, ...] | None
    store: Store
    delivery: Delivery


_opened: list[Shared] = []
_inherited: list[Shared] = []  # a forked child keeps its parent's objects unused
_resting = threading.local()  # what is at rest for this thread's fork: several may fork at once

_REST_S = 1.0  # a child that cannot have the database waits for it for five seconds, and then has one of its own


def share(config: Config, notifiers: Sequence[Notifier] | None, clock: Clock) -> Shared:
    """Return what is open for these settings, opened if need be. Raises StoreError when no database can be had."""
    wanted = None if notifiers is None else tuple(notifiers)
    for each in _opened:
        if each.config == config and each.notifiers == wanted:
            each.delivery.worker.start()  # there may be room for its threads by now
            return each
    store = _store(config, clock)
    with ExitStack() as undo:
        if all(each.store is not store for each in _opened):
            undo.callback(store.close)  # settings are refused as late as here, and are corrected in the same process
        delivery = open_delivery(store, config, clock, wanted)
        undo.pop_all()
    shared = Shared(config, wanted, store, delivery)
    delivery.worker.start()
    _opened.append(shared)
    ENDINGS.flush_with(delivery.worker.finish)
    return shared


def _store(config: Config, clock: Clock) -> Store:
    """One connection per process and file: two that write and checkpoint at once can corrupt it."""
    path = (local_folder(config.state_dir) / "notifybot.db").expanduser().absolute()
    for each in _opened:
        if each.store.path == path:
            return each.store
    try:
        return Store.open(path, clock=clock)
    except StoreError as error:
        folder = spare_folder()
        text = said(
            f"{error}; until the process ends, what is unsent is kept in {folder} only",
            f"{error}. 보내지 못한 알림은 이 프로세스가 끝날 때까지 {folder}에만 보관합니다",
        )
        log.warning("%s", text)
        return Store.open(folder / "notifybot.db", clock=clock)


def close() -> None:
    """Let go of everything: the delivery threads first. What is unsent stays for the next start."""
    for each in _opened:
        ENDINGS.flush_no_more(each.delivery.worker.finish)
        each.delivery.worker.stop(1.0)
        each.store.close()
    _opened.clear()


def _before_fork() -> None:
    ends_at_s = SYSTEM.monotonic() + _REST_S
    stores = {id(each.store): each.store for each in _opened}.values()
    _resting.stores = [each for each in stores if each.rest(max(ends_at_s - SYSTEM.monotonic(), 0.0))]


def _after_fork_in_parent() -> None:
    for each in getattr(_resting, "stores", ()):
        each.go_on()


def _after_fork_in_child() -> None:
    _inherited.extend(_opened)
    _opened.clear()
    for each in getattr(_resting, "stores", ()):
        each.disown()


at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
