"""Saver: a thread that writes checkpoints, one job at a time; the next one waits, none is dropped."""

from __future__ import annotations

import threading
from collections.abc import Callable

from notifybot.files import started


class Saver:
    """Runs jobs one after the other on a thread that lives as long as there is something to do."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    @property
    def busy(self) -> bool:
        """True while a job runs."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until no job runs, for ever without `timeout_s`; True when none does."""
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self.busy

    def submit(self, job: Callable[[], None]) -> None:
        """Start a job, after the one that still runs. A job handles its own errors. Any thread may call it."""
        with self._starting:
            self.wait()
            # A daemon: a hanging mount must not keep the process for ever. The end of the loop waits up to a limit.
            thread = threading.Thread(target=job, name="notifybot-checkpoint", daemon=True)
            if started(thread):
                self._thread = thread
            else:
                job()
