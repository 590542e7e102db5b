"""The hint that a Colab session will probably end: on Colab alone, near the usual time, and once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from notifybot.config import load
from notifybot.events import AlertRaised
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.training.endings import Ending
from notifybot.training.run import Run
from notifybot.training.run_info import ColabSessionLimit, near_limit_h
from notifybot.training.session import close
from notifybot.types import Severity, Status

HOUR_S = 3600.0


@pytest.fixture
def colab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))


class Still(FakeClock):
    """Only the test moves it: the threads of delivery really wait."""

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        return event.wait(timeout_s)


@pytest.fixture
def clock() -> FakeClock:
    return Still()


@pytest.fixture
def run(clock: FakeClock, tmp_path: Path) -> Iterator[Run]:
    config = load({"state_dir": tmp_path / "state", "runs_dir": tmp_path / "runs", "lang": "en", "tensorboard": "off"})
    made = Run(config=config, notifiers=[RecordingNotifier()], clock=clock)
    yield made
    made.end(Ending(Status.FINISHED))
    close()


@pytest.mark.parametrize(
    ("up_h", "limit_h"), [(0.1, None), (10.4, None), (10.5, 12), (12.0, 12), (12.1, None), (22.6, 24), (24.1, None)]
)
def test_a_session_that_outlasted_the_free_limit_is_a_paid_one(up_h: float, limit_h: int | None) -> None:
    assert near_limit_h(up_h * HOUR_S) == limit_h


@pytest.mark.usefixtures("colab")
def test_it_is_told_once(clock: FakeClock) -> None:
    lifetime = ColabSessionLimit(9 * HOUR_S, clock.monotonic())
    early = lifetime.near_its_end(clock.monotonic())
    clock.advance(2 * HOUR_S)

    assert early is None
    assert lifetime.near_its_end(clock.monotonic()) == (12, 11 * HOUR_S)
    assert lifetime.near_its_end(clock.monotonic()) is None


@pytest.mark.parametrize("up_s", [None, 11 * HOUR_S])
def test_elsewhere_nothing_is_known(up_s: float | None, clock: FakeClock) -> None:
    """Outside Colab a machine may be up for years."""
    assert ColabSessionLimit.here(up_s, clock.monotonic()) is None


@pytest.mark.usefixtures("colab")
def test_in_colab_the_uptime_counts(clock: FakeClock) -> None:
    lifetime = ColabSessionLimit.here(11 * HOUR_S, clock.monotonic())

    assert lifetime is not None
    assert lifetime.near_its_end(clock.monotonic()) == (12, 11 * HOUR_S)
    assert ColabSessionLimit.here(None, clock.monotonic()) is None


@pytest.mark.usefixtures("colab")
def test_a_run_tells_it_at_the_end_of_an_epoch(run: Run, clock: FakeClock) -> None:
    """People hear of it while there is still time, and only once."""
    run.start()
    run._lifetime = ColabSessionLimit(11 * HOUR_S, clock.monotonic())
    for epoch in range(3):
        run.log_epoch(epoch, {"loss": 0.5})

    assert run.session is not None
    events = run.session.past(run.ref).events
    alerts = [event for event in events if isinstance(event, AlertRaised)]
    assert [(alert.title, alert.severity) for alert in alerts] == [("Colab may end this session soon", Severity.INFO)]
