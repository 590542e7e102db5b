"""What a notebook can tell that a script cannot: when a cell ends, and with which exception."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_EVENT = "post_run_cell"


def shell() -> Any:
    """IPython's shell when this process runs one (Jupyter, Colab, a terminal's IPython), else None."""
    ipython: Any = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def execution() -> object:
    """What tells one execution of the program from the next: equal within a script, and within a notebook's cell.

    At Python's own prompt nothing tells: there every call's is another.
    """
    if (found := shell()) is not None:
        return found.execution_count
    return object() if hasattr(sys, "ps1") else None


def in_notebook() -> bool:
    """True in a kernel, whose output is a page and not a terminal."""
    return "ipykernel" in sys.modules and shell() is not None


def in_colab() -> bool:
    """True in the process of a Colab notebook: elsewhere there is no browser to answer for Drive and secrets."""
    return "google.colab" in sys.modules


class CellEnd:
    """Calls `then` with the exception of each cell that ends, or None. Takes itself off with `stop`."""

    def __init__(self, then: Callable[[BaseException | None], None]) -> None:
        self._then = then
        self._shell: Any = None

    @property
    def listening(self) -> bool:
        """True between start and stop, where there is a shell."""
        return self._shell is not None

    def start(self) -> None:
        """Listen, where there is a shell. Starting twice is fine."""
        if self._shell is None and (found := shell()) is not None:
            found.events.register(_EVENT, self._on_cell_end)
            self._shell = found

    def stop(self) -> None:
        """Listen no more."""
        listening, self._shell = self._shell, None
        if listening is not None and self._on_cell_end in listening.events.callbacks[_EVENT]:
            listening.events.unregister(_EVENT, self._on_cell_end)

    def _on_cell_end(self, result: Any) -> None:
        self._then(result.error_in_exec or result.error_before_exec)
