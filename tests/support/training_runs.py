"""Runs of a test's own process: what was recorded of them, and their end."""

from __future__ import annotations

from notifybot.events import Event
from notifybot.store import runs
from notifybot.training.endings import ENDINGS, Ending
from notifybot.training.run import Run
from notifybot.training.session import close
from notifybot.types import Status

_PATIENCE_S = 60.0


def recorded_events(run: Run | None) -> list[Event]:
    """All events of a run so far. On a busy machine some wait until the delivery's threads leave the database."""
    assert run is not None
    assert run.session is not None
    shared = run.session.shared
    assert shared.delivery.recorder.flush(_PATIENCE_S)
    with shared.store.patient(_PATIENCE_S):
        return runs.events_of(shared.store, run.id, project=run.project)


def end_runs() -> None:
    """End the runs that a test has left open, and let go of the database and of the threads that deliver."""
    for run in list(ENDINGS._open):
        run.end(Ending(Status.FINISHED))
    close()
