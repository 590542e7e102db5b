"""The watchdog as one object."""

from __future__ import annotations

from pathlib import Path

from notifybot.store import runs
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.watchdog.service import Watchdog
from tests.support.watchdog_runs import Watchdog as Bench


def test_old_runs_are_forgotten_and_waiting_messages_are_not(tmp_path: Path, clock: FakeClock) -> None:
    with Bench(tmp_path, clock) as bench:
        watchdog = Watchdog(bench.store, notifiers=[RecordingNotifier()])
        sent, waiting = bench.running("sent", beat_s=None), bench.running("waiting", beat_s=None)
        with bench.store.transaction() as connection:
            connection.exec_driver_sql("UPDATE deliveries SET state = 'sent' WHERE run_id LIKE '%sent'")
        bench.clock.advance(91 * 86_400)

        assert watchdog.prune() == 1
        assert runs.get(bench.store, sent.run.id) is None
        assert runs.get(bench.store, waiting.run.id) is not None
