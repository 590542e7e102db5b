"""A `with` block around a started run: it sees signals, and why the block is left."""

from __future__ import annotations

import signal
from collections.abc import Callable

from notifybot.training.endings import ENDINGS, EXIT_S, Ending, ending_of, is_cancelled, meant
from notifybot.training.run import Run
from notifybot.training.signals import SIGNALS, number_of
from notifybot.types import Status


class Hold:
    """Watches signals from its making to `release`. `put_off` says whether a deadly one may wait for a save."""

    def __init__(self, run: Run, put_off: Callable[[int], bool] = lambda _: False) -> None:
        self.run = run
        self._put_off = put_off
        self._tell = self._on_signal  # one object, so that it can be found again
        self._warning = number_of(run.config.save_signal)
        self._waits = self._tells = False
        if run.active or (run.mute and self._warning is not None):
            SIGNALS.watch(self._tell, self._warning)

    def ending(self, error: BaseException | None, *, exhausted: bool) -> Ending:
        """How the block was left."""
        return ending_of(error, exhausted=exhausted, signal_seen=SIGNALS.seen_by(self._tell))

    def on_purpose(self, error: BaseException | None, exhausted: bool) -> bool:
        """True when the block was left by its own code before the epochs ran out."""
        if error is not None and not isinstance(error, SystemExit | GeneratorExit):
            return False
        return not exhausted and self.ending(error, exhausted=exhausted).on_purpose

    def release(self, error: BaseException | None, *, exhausted: bool, early: str = "") -> None:
        """Record how the block was left, `early` where its own code said why. What left it goes on by itself."""
        seen = SIGNALS.seen_by(self._tell)
        with self.run.guard("the run's end"):
            self.run.end(meant(self.ending(error, exhausted=exhausted), early))
            if is_cancelled(error) and self.run.session is not None:
                ENDINGS.cancelled(self.run)
        SIGNALS.unwatch(self._tell)
        if error is None and seen is None:
            self.run.linger()  # in no section of ours, in which signals would wait

    def _on_signal(self, number: int) -> bool:
        if self.run.mute and number == self._warning:  # every rank is warned: none may die before the first has saved
            return True
        if self._tells:  # a second one, amid what the first is told with
            return False
        hurried = self._waits
        if not hurried and self._is_put_off(number):
            return True
        self._tells = True
        ends_at_s = self.run.now_s() + EXIT_S
        self.run.end(Ending(Status.INTERRUPTED, signal.Signals(number).name))  # takes half of it at most
        if not hurried:  # whoever sends a second one, while a save is waited for, will not wait for messages
            self.run.flush(max(ends_at_s - self.run.now_s(), 0.0))
        return False

    def _is_put_off(self, number: int) -> bool:
        self._waits = True
        try:
            with self.run.guard("a signal"):
                return self._put_off(number)
        finally:  # a Ctrl-C may end the wait
            self._waits = False
        return False
