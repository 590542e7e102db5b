"""The progress bar over epochs."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

_SHOWN = 4  # metrics beside the bar
_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"  # as ever, with room for the metrics


class Bar:
    """tqdm's bar, quiet where there is neither a terminal nor a notebook's page."""

    def __init__(self, name: str, *, total: int | None, done: int) -> None:
        self._pid = os.getpid()
        shown = None if sys.stderr is not None else True  # None: where it is a terminal; pythonw has no stream at all
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tqdm does by itself without ipywidgets, and without a thread of its own
            from tqdm.auto import tqdm

            with _unlocked_after_a_fault(tqdm):
                self._bar: Any = tqdm(
                    total=total, initial=done, desc=name, unit="epoch", disable=shown, dynamic_ncols=True,
                    bar_format=_FORMAT if total else None,
                )  # fmt: skip

    def advance(self, metrics: Mapping[str, float]) -> None:
        """One more epoch, with its first few metrics."""
        shown = {name: f"{value:.4g}" for name, value in list(metrics.items())[:_SHOWN]}
        self._leave_to_parent()
        with _unlocked_after_a_fault(self._bar):
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(1)

    def close(self) -> None:
        """Leave the bar as it stands. Closing twice is fine."""
        self._leave_to_parent()
        with _unlocked_after_a_fault(self._bar):
            self._bar.close()

    def _leave_to_parent(self) -> None:
        """In a forked child: draw nothing more, the line in the terminal is the parent's."""
        if os.getpid() != self._pid:
            self._bar.disable = True


@contextmanager
def _unlocked_after_a_fault(bar: Any) -> Iterator[None]:
    """Give back tqdm's lock, which its `refresh` keeps when the stream raises: all bars of all threads wait for it."""
    try:
        yield
    except BaseException:
        with suppress(AssertionError, RuntimeError, ValueError):  # it was not kept
            bar.get_lock().release()
        raise
