"""A watchdog and the clients that reach it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.watchdog import logins
from notifybot.watchdog.service import Watchdog
from notifybot.web.app import create_app
from tests.support.watchdog_runs import Courier
from tests.support.watchdog_runs import Watchdog as Bench


@pytest.fixture
def bench(tmp_path: Path, clock: FakeClock) -> Iterator[Bench]:
    with Bench(tmp_path, clock) as opened:
        yield opened


@pytest.fixture
def local(bench: Bench) -> TestClient:
    """A browser whose user has opened the link that the watchdog printed."""
    app = create_app(Watchdog(bench.store, notifiers=[RecordingNotifier()]))
    client = TestClient(app, base_url="http://127.0.0.1:8710", follow_redirects=False)
    client.get(logins.link(bench.store, "http://127.0.0.1:8710"))
    return client


@pytest.fixture
def public(bench: Bench) -> TestClient:
    """A browser somewhere, and a server that listens on all addresses."""
    app = create_app(Watchdog(bench.store))
    return TestClient(app, base_url="http://watchdog.example", follow_redirects=False)


@pytest.fixture
def courier() -> Courier:
    return Courier()


@pytest.fixture
def watchdog(bench: Bench, courier: Courier) -> Watchdog:
    return Watchdog(bench.store, notifiers=[RecordingNotifier()], courier=courier)


@pytest.fixture
def client(watchdog: Watchdog) -> TestClient:
    return TestClient(create_app(watchdog), base_url="http://watchdog.example")
