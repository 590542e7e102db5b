"""What W&B's own client uploads of a run's offline sessions, some of them killed, to a server that stands in for W&B's.

Asked of `wandb sync` 0.31: of a file that ends in a torn record it sends what is before, then stops, and sends nothing
of the sessions after it. At one without a record it stops as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import wandb

from notifybot.trackers import WandbTracker
from notifybot.types import Status
from tests.support.tracker_events import context, epoch, untold

_NAMES = {"name": "run-1", "displayName": "digits"}
_PROJECT = {"id": "p", "name": "bootcamp", "entity": {"id": "e", "name": "me"}}


class StandIn(ThreadingHTTPServer):
    """Says yes to everything, and keeps the rows of history that it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.rows: list[dict[str, Any]] = []

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What W&B's server says, as far as its client looks at it."""
        if "file_stream" in path:
            history = body.get("files", {}).get("wandb-history.jsonl", {})
            self.rows += [json.loads(row) for row in history.get("content", [])]
            return {}
        query, variables = body.get("query", ""), body.get("variables") or {}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/file"} for name in variables["files"]]
            return {"data": {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}}
        if "upsertBucket" in query:
            bucket = {"id": "r", **_NAMES, "historyLineCount": 0, "project": _PROJECT}
            return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
        return {"data": {"model": None, "viewer": {"id": "v", "entity": "me", "username": "me", "flags": "{}"}}}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that ends closes its connections as it likes."""


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(sent) if self.path.endswith(("graphql", "file_stream")) else {}
        answer = json.dumps(self.server.answer(self.path, body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


pytestmark = pytest.mark.usefixtures("wandb_offline")


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as opened:
        threading.Thread(target=opened.serve_forever, daemon=True).start()
        yield opened
        opened.shutdown()


def session(folder: Path, *numbers: int) -> Path:
    """A session of the run, and its file."""
    before = set(folder.rglob("*.wandb"))
    tracker = WandbTracker.open(context(folder), warn=untold)
    for number in numbers:
        tracker.record(epoch(number, loss=number / 8))
    tracker.close(Status.INTERRUPTED)
    wandb.teardown()
    (file,) = set(folder.rglob("*.wandb")) - before
    return file


def test_all_sessions_of_a_run_are_synced_though_some_were_killed_while_they_wrote(
    tmp_path: Path, server: StandIn
) -> None:
    """The rows of a torn file that are whole, and those of the sessions after it."""
    torn = session(tmp_path, 0, 1)
    torn.write_bytes(torn.read_bytes()[:-3])
    empty = tmp_path / "wandb" / "offline-run-20200101_000000-run-1" / "run-run-1.wandb"
    empty.parent.mkdir()
    empty.write_bytes(torn.read_bytes()[:7])
    session(tmp_path, 2)

    environ = {**os.environ, "WANDB_MODE": "online", "WANDB_BASE_URL": server.url, "WANDB_API_KEY": "0" * 40}
    sync = [sys.executable, "-m", "wandb", "sync", "--yes", str(tmp_path / "wandb")]
    done = subprocess.run(sync, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)

    assert "ERROR" not in done.stderr
    assert sorted((row["epoch"], row["loss"]) for row in server.rows if "epoch" in row) == [
        (0, 0),
        (1, 0.125),
        (2, 0.25),
    ]
