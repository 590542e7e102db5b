"""The API as processes and strangers meet it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from notifybot.events import to_json
from notifybot.watchdog import tokens
from notifybot.watchdog.service import Watchdog
from notifybot.web.app import create_app
from tests.support.watchdog_runs import Courier, Process, auth
from tests.support.watchdog_runs import Watchdog as Bench


def events_body(process: Process, *, direct: bool = False) -> bytes:
    events = [json.loads(to_json(each)) for each in (process.started(), process.epoch())]
    return json.dumps({"events": events, "direct": direct}).encode()


def beat_body(process: Process, **changes: Any) -> bytes:
    run = {"id": process.run.id, "name": "n", "project": "p", "session": process.run.session}
    return json.dumps({"run": run, "seq": 1, "beat_s": 30, "progress_age_s": 0.5, "next_in_s": None} | changes).encode()


def test_events_are_counted_as_new_or_known(bench: Bench, client: TestClient, courier: Courier) -> None:
    body = events_body(bench.process())

    assert client.post("/api/v1/events", content=body, headers=auth(bench)).json() == {"accepted": 2, "known": 0}
    assert client.post("/api/v1/events", content=body, headers=auth(bench)).json() == {"accepted": 0, "known": 2}
    assert courier.log == ["wake", "wake"]
    assert bench.deliveries() == [
        ("run_started", "recording:00000000"),
        ("epoch_finished", "recording:00000000"),
    ]


def test_events_that_the_process_tells_itself_make_no_deliveries(bench: Bench, client: TestClient) -> None:
    client.post("/api/v1/events", content=events_body(bench.process(), direct=True), headers=auth(bench))

    assert bench.deliveries() == []


def test_a_heartbeat_is_answered_with_the_runs_state(bench: Bench, client: TestClient) -> None:
    process = bench.running()

    assert client.post("/api/v1/heartbeats", content=beat_body(process), headers=auth(bench)).json() == {
        "state": "running"
    }
    bench.watch(180)
    process.send(process.ended())
    answer = client.post("/api/v1/heartbeats", content=beat_body(process, seq=2), headers=auth(bench))
    assert answer.json() == {"state": "finished"}


def test_every_refusal_reads_the_same(bench: Bench, client: TestClient) -> None:
    process = bench.running()
    revoked, other = tokens.create(bench.store, "vision"), tokens.create(bench.store, "speech")
    tokens.revoke(bench.store, next(each.id for each in tokens.list_tokens(bench.store)[1:]))
    headers = [
        {},
        {"authorization": "Bearer nb_canary-not-a-token"},
        {"authorization": f"Basic {bench.token}"},
        {"authorization": f"Bearer {revoked}"},
    ]
    before = process.row()
    answers = set()
    for header in headers:
        for path, body in (("/api/v1/events", events_body(process)), ("/api/v1/heartbeats", beat_body(process))):
            answer = client.post(path, content=body, headers=header)
            answers.add((answer.status_code, answer.text))
        answer = client.get(f"/api/v1/runs/{process.run.id}", headers=header)
        answers.add((answer.status_code, answer.text))

    theirs = client.get(f"/api/v1/runs/{process.run.id}", headers={"authorization": f"Bearer {other}"})
    answers.add((theirs.status_code, theirs.text))

    assert len(answers) == 1
    assert answers.pop()[0] == 401
    assert process.row() == before
    unknown = client.get("/api/v1/runs/unknown", headers=auth(bench))
    assert unknown.status_code == 401


def test_a_stranger_learns_nothing_from_a_malformed_body(client: TestClient) -> None:
    assert client.post("/api/v1/events", content=b"{").status_code == 401


@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/heartbeats"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b'{"events": [NaN]}', b'{"seq": 1e999}', b"\x00", b"[" * 50_000]
)
def test_a_malformed_body_gets_one_sentence(bench: Bench, client: TestClient, path: str, body: bytes) -> None:
    answer = client.post(path, content=body, headers=auth(bench))

    assert answer.status_code == 422
    assert answer.json()["error"]


def test_a_body_over_the_limit_is_refused_before_it_is_read(bench: Bench, client: TestClient) -> None:
    answer = client.post("/api/v1/events", content=b"x" * (1024 * 1024 + 1), headers=auth(bench))

    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


def test_runs_are_read_by_their_own_project_only(bench: Bench, client: TestClient) -> None:
    bench.running()
    other = {"authorization": f"Bearer {tokens.create(bench.store, 'speech')}"}

    (run,) = client.get("/api/v1/runs", headers=auth(bench)).json()["runs"]
    assert (run["id"], run["status"]) == ("run-1", "running")
    assert not {"session", "deadline_at"} & run.keys()
    assert client.get("/api/v1/runs", headers=other).json() == {"runs": [], "total": 0, "next": None}
    assert client.get("/api/v1/runs").status_code == 401


def test_all_runs_are_read_page_by_page_those_in_need_first(bench: Bench, client: TestClient) -> None:
    bench.running("the lost one")
    bench.watch(180)
    newer = [bench.process(f"newer-{number}", beat_s=3600) for number in range(6)]
    for process in newer:
        bench.clock.advance(1)
        process.send(process.started())

    pages, address = [], "/api/v1/runs?limit=3"
    while address:
        answer = client.get(address, headers=auth(bench)).json()
        assert answer["total"] == 7
        pages.append([each["id"] for each in answer["runs"]])
        address = answer["next"]
    assert pages == [["the lost one", "newer-5", "newer-4"], ["newer-3", "newer-2", "newer-1"], ["newer-0"]]


@pytest.mark.parametrize("query", ["page=0", "page=x", "limit=0", "limit=201"])
def test_a_page_that_cannot_be_is_refused(bench: Bench, client: TestClient, query: str) -> None:
    assert client.get(f"/api/v1/runs?{query}", headers=auth(bench)).status_code == 422


def test_a_run_is_read_with_its_events(bench: Bench, client: TestClient) -> None:
    process = bench.running("runs/with a slash")
    bench.clock.advance(60)
    process.send(process.epoch())

    answer = client.get("/api/v1/runs/runs%2Fwith%20a%20slash", headers=auth(bench)).json()
    assert answer["run"]["progress"]["done"] == 1
    assert [each["kind"] for each in answer["events"]] == ["run_started", "epoch_finished"]


def test_healthz_tells_when_nobody_would_be_told(bench: Bench) -> None:
    """A watchdog that barks to an empty house is not well."""
    watchdog = Watchdog(bench.store)
    watchdog.scan()
    answer = TestClient(create_app(watchdog)).get("/healthz")

    assert answer.status_code == 503
    assert answer.json()["faults"] == ["no notifier is configured: lost runs are noticed, and nobody is told"]


def test_healthz_tells_when_nobody_looks(bench: Bench, watchdog: Watchdog, client: TestClient) -> None:
    assert client.get("/healthz").status_code == 503
    watchdog.scan()
    assert client.get("/healthz").json()["ok"] is True
    bench.clock.advance(5)
    assert client.get("/healthz").json() == {
        "ok": False,
        "faults": ["runs are not being looked at"],
        "scan_age_s": 5.0,
        "outbox_age_s": None,
        "runs_set_apart": 0,
    }


def test_healthz_tells_when_messages_do_not_go_out(bench: Bench, watchdog: Watchdog, client: TestClient) -> None:
    process = bench.process()
    process.send(process.started())
    bench.clock.advance(601)
    watchdog.scan()

    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["outbox_age_s"]) == (503, 601.0)


def test_healthz_tells_when_the_database_is_gone(bench: Bench, client: TestClient) -> None:
    bench.store.close()

    assert client.get("/healthz").status_code == 503
