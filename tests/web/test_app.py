"""The application: the watchdog's lifetime, its contract, and its answers to errors."""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient

from notifybot.store.database import Store
from notifybot.testing import RecordingNotifier
from notifybot.watchdog.service import Watchdog
from notifybot.web.app import create_app
from tests.support.watchdog_runs import Courier, auth
from tests.support.watchdog_runs import Watchdog as Bench


def test_a_busy_database_asks_for_patience(bench: Bench, client: TestClient) -> None:
    bench.store.close()

    answer = client.post("/api/v1/heartbeats", content=b"{}", headers=auth(bench))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_the_watchdog_lives_as_long_as_the_application(tmp_path: Path, courier: Courier) -> None:
    """On the real clock: the scan begins with the application and ends with it."""
    store = Store.open(tmp_path / "real.db", patience_s=2.0)
    watchdog = Watchdog(store, notifiers=[RecordingNotifier()], courier=courier)

    with TestClient(create_app(watchdog)) as client:
        for _ in range(200):
            if client.get("/healthz").status_code == 200:
                break
        assert client.get("/healthz").json()["faults"] == []
    assert (courier.log[0], courier.log[-1]) == ("start", "stop")
    store.close()


def test_the_contract_defines_each_scheme_that_it_names(client: TestClient) -> None:
    document = client.get("/api/v1/openapi.json").json()
    routes = [route for path in document["paths"].values() for route in path.values()]
    named = {scheme for route in routes for each in route.get("security", []) for scheme in each}

    assert named == set(document["components"]["securitySchemes"]) == {"bearer"}
