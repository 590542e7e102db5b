"""W&B: offline files read back through W&B's own records, and servers that refuse or never answer."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import wandb

from notifybot.model import Language, Param, RunRef, Status
from notifybot.trackers import WandbTracker
from notifybot.trackers.wandb import run_id
from tests import wandb_records
from tests.tracker_events import context, epoch, untold

NAN = math.nan


@pytest.fixture(autouse=True)
def fresh_wandb(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """W&B reads its settings once per process: each test begins and ends without its service."""
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield
    wandb.teardown()


@pytest.fixture
def told() -> list[dict[Language, str]]:
    return []


def session(folder: Path, *numbers: int, status: Status = Status.FINISHED, params: Any = None) -> list[Any]:
    """One session of a run, and the records of its file."""
    before = set(folder.rglob("*.wandb"))
    tracker = WandbTracker.open(context(folder, params=params), tell=untold)
    for number in numbers:
        tracker.record(epoch(number, loss=1.0 / (number + 1)))
    tracker.close(status)
    wandb.teardown()
    (fresh,) = set(folder.rglob("*.wandb")) - before
    return wandb_records.read(fresh)


@contextmanager
def silent_server() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def closed_port() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


@contextmanager
def half_dead_server() -> Iterator[str]:
    """A server that says hello, and never answers a question."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            released.wait()
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        released.set()
        server.shutdown()


def test_the_offline_file_holds_params_and_epochs(tmp_path: Path) -> None:
    """What W&B would upload is what was logged, with the epoch as the metrics' axis."""
    params: dict[str, Param] = {"lr": 0.1, "model": "cnn", "seed": None}

    records = session(tmp_path, 0, 1, 2, params=params)

    assert [(row["epoch"], row["loss"]) for row in wandb_records.history(records)][:2] == [(0, 1.0), (1, 0.5)]
    assert params == {name: value for name, value in wandb_records.config(records).items() if name in params}
    (run,) = (record.run for record in records if record.HasField("run"))
    assert (run.run_id, run.project, run.display_name) == ("run-1", "bootcamp", "digits")
    axes = {record.metric.name: record.metric.step_metric for record in records if record.HasField("metric")}
    assert axes == {"epoch": "", "loss": "epoch"}


def test_records_longer_than_a_block_are_read_whole(tmp_path: Path) -> None:
    """W&B cuts them into pieces at every 32 KiB."""
    params: dict[str, Param] = {"note": "x" * 100_000}

    records = session(tmp_path, *range(300), params=params)

    assert wandb_records.config(records)["note"] == params["note"]
    assert [row["epoch"] for row in wandb_records.history(records)] == list(range(300))


def test_wandbs_own_project_and_folder_go_before_our_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not before what the user told us."""
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    given = context(tmp_path / "run")

    for project in ("default", "mine"):
        tracker = WandbTracker.open(replace(given, run=replace(given.run, project=project)), tell=untold)
        assert tracker.run.project == {"default": "theirs", "mine": "mine"}[project]
        tracker.close(Status.FINISHED)

    assert list((tmp_path / "run").rglob("*.wandb")) == []


def test_nan_and_infinity_pass_as_themselves(tmp_path: Path) -> None:
    """A curve that went NaN must show it."""
    tracker = WandbTracker.open(context(tmp_path), tell=untold)

    tracker.record(epoch(0, a=NAN, b=math.inf))
    tracker.close(Status.FINISHED)
    wandb.teardown()

    (row,) = wandb_records.history(wandb_records.read(wandb_records.only_file(tmp_path)))
    assert math.isnan(row["a"])
    assert math.inf == row["b"]


def test_a_resumed_run_goes_on_behind_its_first_part(tmp_path: Path) -> None:
    """Two offline files of one run id, without a step in both: W&B drops steps that go back."""
    first = session(tmp_path, 0, 1, 2, status=Status.INTERRUPTED)
    second = session(tmp_path, 3, 4)

    steps = [[row["_step"] for row in wandb_records.history(each)] for each in (first, second)]
    assert steps == [[1, 2, 3], [4, 5]]
    assert {"run-1"} == {each.run.run_id for each in first + second if each.HasField("run")}


def test_epochs_done_again_are_logged_although_steps_never_go_back(tmp_path: Path) -> None:
    """The run resumed from an older checkpoint in one process loses no number."""
    records = session(tmp_path, 0, 1, 2, 1, 2)

    assert [row["epoch"] for row in wandb_records.history(records)] == [0, 1, 2, 1, 2]


@pytest.mark.parametrize(
    ("status", "code"),
    [(Status.FINISHED, 0), (Status.STOPPED, 0), (Status.FAILED, 1), (Status.INTERRUPTED, 255)],
    ids=["finished", "stopped", "failed", "interrupted"],
)
def test_the_exit_code_tells_how_the_run_ended(tmp_path: Path, status: Status, code: int) -> None:
    """W&B shows a run as failed for any other code than 0."""
    records = session(tmp_path, 0, status=status)

    assert [code] == [record.exit.exit_code for record in records if record.HasField("exit")]


def test_a_run_of_the_users_is_joined_and_not_finished(tmp_path: Path) -> None:
    """Whoever started it decides when it ends."""
    run = wandb.init(project="mine", dir=str(tmp_path), settings=wandb.Settings(silent=True))

    tracker = WandbTracker.open(context(tmp_path, params={"lr": 0.1}), tell=untold)
    tracker.record(epoch(0, loss=1.0))
    tracker.close(Status.FINISHED)

    assert run is tracker.run
    assert run.config["lr"] == 0.1
    run.log({"after": 1})
    run.finish()
    wandb.teardown()
    records = wandb_records.read(wandb_records.only_file(tmp_path))
    assert wandb_records.history(records)[-1]["after"] == 1


def test_disabled_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written, and the raw run still takes every call."""
    monkeypatch.setenv("WANDB_MODE", "disabled")

    tracker = WandbTracker.open(context(tmp_path), tell=untold)
    tracker.record(epoch(0))
    tracker.close(Status.FINISHED)

    assert list(tmp_path.rglob("*.wandb")) == []


def test_without_a_key_it_is_offline_and_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[dict[Language, str]]
) -> None:
    """A question in a notebook would hold up the training for ever."""
    monkeypatch.delenv("WANDB_MODE")

    tracker = WandbTracker.open(context(tmp_path), tell=told.append)
    tracker.close(Status.FINISHED)

    assert tracker.url is None
    assert ["no API key" in told[0][Language.EN], "API 키가 없어" in told[0][Language.KO]] == [True, True]
    assert len(told) == 1


@pytest.mark.parametrize(
    "server", [silent_server, closed_port, half_dead_server], ids=["never answers", "refuses", "hangs later"]
)
def test_a_server_out_of_reach_makes_the_run_offline_told_once(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[dict[Language, str]]
) -> None:
    """Within the given time the run is open and takes numbers."""
    with server() as url:
        monkeypatch.delenv("WANDB_MODE")
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_API_KEY", "canary" * 7)

        tracker = WandbTracker.open(context(tmp_path), tell=told.append, timeout_s=1.0)
        tracker.record(epoch(0, loss=1.0))
        tracker.close(Status.FINISHED)
        wandb.teardown()

    assert len(told) == 1
    assert "offline" in told[0][Language.EN]
    assert "오프라인" in told[0][Language.KO]
    assert not any("canary" in text for text in told[0].values())
    (file,) = tmp_path.rglob("offline-run-*/*.wandb")
    assert [row["epoch"] for row in wandb_records.history(wandb_records.read(file))] == [0]


def test_streams_hooks_and_signals_stay_as_they_were(tmp_path: Path) -> None:
    """W&B replaces sys.exit and sys.excepthook when its service starts, and would print tracebacks twice."""
    import signal

    def places() -> list[Any]:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        return [sys.stdout.write, sys.stderr.write, sys.exit, sys.excepthook, *handlers]

    before = places()
    opened: list[WandbTracker] = []
    thread = threading.Thread(target=lambda: opened.append(WandbTracker.open(context(tmp_path), tell=untold)))
    thread.start()
    thread.join()

    assert before == places()
    opened[0].close(Status.FINISHED)
    assert before == places()


def test_a_process_that_ends_while_wandb_waits_for_its_server_ends_in_time(tmp_path: Path) -> None:
    """The run goes on offline at once, and W&B's own process does not hold up the exit."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from notifybot.config import Config\n"
        "from notifybot.model import Status\n"
        "from notifybot.trackers import TrackerThread\n"
        "from tests.tracker_events import context, epoch\n"
        "trackers = TrackerThread()\n"
        "trackers.start(context(Path(sys.argv[1])), ['jsonl', 'wandb'], Config())\n"
        "trackers.put(epoch(0))\n"
        "trackers.get('wandb', 1.0)\n"
        "print(trackers.close(Status.FINISHED, 15))\n"
    )
    with silent_server() as url:
        settings = {"WANDB_BASE_URL": url, "WANDB_API_KEY": "canary" * 7, "WANDB_ERROR_REPORTING": "false"}
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=Path(__file__).parents[1],
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", **settings},
            timeout=20,  # the server would be waited for 30 s
            check=True,
            capture_output=True,
            text=True,
        )

    assert done.stdout.split()[-1] == "True"
    records = wandb_records.read(wandb_records.only_file(tmp_path))
    assert [row["epoch"] for row in wandb_records.history(records)] == [0]


def test_names_that_wandb_refuses_are_made_fit() -> None:
    """A run id may be any text here."""
    assert run_id(RunRef(id="lab/resnet 50:lr#0.1", name="", project="")) == "lab-resnet-50-lr-0.1"
