"""W&B: offline files read back through W&B's own records, and servers that refuse or never answer."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import wandb
from hypothesis import given
from hypothesis.strategies import dictionaries, integers, text
from torch.utils.tensorboard import SummaryWriter

from notifybot.i18n import Localized
from notifybot.trackers import TensorBoardTracker, WandbTracker
from notifybot.trackers.wandb import nested, page_of, run_id
from notifybot.types import Metric, Param, RunRef, Status, Unit
from tests.support import wandb_records
from tests.support.tracker_events import context, epoch, untold

NAN = math.nan


@pytest.fixture(autouse=True)
def fresh_wandb(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """W&B reads its settings once per process: each test begins and ends without its service."""
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield
    if wandb.patched["tensorboard"]:
        wandb.tensorboard.unpatch()  # type: ignore[attr-defined]
    wandb.teardown()


@pytest.fixture
def told() -> list[Localized]:
    return []


def session(folder: Path, *numbers: int, status: Status = Status.FINISHED, params: Any = None) -> list[Any]:
    """One session of a run, and the records of its file."""
    before = set(folder.rglob("*.wandb"))
    tracker = WandbTracker.open(context(folder, params=params), warn=untold)
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
        tracker = WandbTracker.open(replace(given, run=replace(given.run, project=project)), warn=untold)
        assert tracker.run.project == {"default": "theirs", "mine": "mine"}[project]
        tracker.close(Status.FINISHED)

    assert list((tmp_path / "run").rglob("*.wandb")) == []


def test_nan_and_infinity_pass_as_themselves(tmp_path: Path) -> None:
    """A curve that went NaN must show it."""
    tracker = WandbTracker.open(context(tmp_path), warn=untold)

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
    assert steps == [[0, 1, 2], [3, 4]]
    assert {"run-1"} == {each.run.run_id for each in first + second if each.HasField("run")}


def test_epochs_done_again_are_logged_although_steps_never_go_back(tmp_path: Path) -> None:
    """The run resumed from an older checkpoint in one process loses no number."""
    records = session(tmp_path, 0, 1, 2, 1, 2)

    assert [row["epoch"] for row in wandb_records.history(records)] == [0, 1, 2, 1, 2]


@pytest.mark.parametrize(("unit", "axis"), [("step", "global_step"), ("round", "round"), ("trial", "trial")])
def test_a_run_of_steps_is_drawn_over_steps_and_resumed_by_them(tmp_path: Path, unit: Unit, axis: str) -> None:
    """What a new session does again is void, by its steps: W&B's file has each once, behind one another."""
    for steps, purge_from in (((500, 1000, 1500), None), ((1000, 1500, 2000), 501)):
        given = replace(context(tmp_path, purge_from=purge_from), unit=unit)
        tracker = WandbTracker.open(given, warn=untold)
        for step in steps:
            event = epoch(step, loss=1.0 / step)
            tracker.record(replace(event, progress=replace(event.progress, unit=unit)))
        tracker.close(Status.INTERRUPTED)
        wandb.teardown()

    records = [record for path in sorted(tmp_path.rglob("*.wandb")) for record in wandb_records.read(path)]
    rows = wandb_records.history(records)
    assert [(row[axis], row["_step"]) for row in rows] == [(500, 0), (1000, 1), (1500, 2), (2000, 3)]
    assert "epoch" not in rows[0]
    assert {"loss": axis, axis: ""} == {
        record.metric.name: record.metric.step_metric for record in records if record.HasField("metric")
    }


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

    tracker = WandbTracker.open(context(tmp_path, params={"lr": 0.1}), warn=untold)
    tracker.record(epoch(0, loss=1.0))
    tracker.close(Status.FINISHED)

    assert run is tracker.run
    assert run.config["lr"] == 0.1
    run.log({"after": 1})
    run.finish()
    wandb.teardown()
    records = wandb_records.read(wandb_records.only_file(tmp_path))
    assert wandb_records.history(records)[-1]["after"] == 1


def by_batches(run: Any, number: int) -> None:
    for batch in range(3 * number, 3 * number + 3):
        run.log({"batch": batch}, step=batch)
    run.log({"mine": number}, step=3 * number + 2)


def in_parts(run: Any, number: int) -> None:
    run.log({"part": number}, commit=False)
    run.log({"mine": number})


USER_LOGS: dict[str, Callable[[Any, int], None]] = {
    "no step": lambda run, number: run.log({"mine": number}),
    "step is the epoch": lambda run, number: run.log({"mine": number}, step=number),
    "step is the epoch, from 1": lambda run, number: run.log({"mine": number}, step=number + 1),
    "step counts batches": by_batches,
    "one row in parts": in_parts,
    "step that stays behind": lambda run, number: run.log({"mine": number}, step=number // 3),
    "same names": lambda run, number: run.log({"mine": number, "loss": -1.0, "epoch": number + 1}, step=number),
}


@pytest.mark.parametrize("owner", ["theirs", "ours"])
@pytest.mark.parametrize("how", USER_LOGS)
def test_a_run_that_the_users_code_logs_to_loses_nothing_on_either_side(how: str, owner: str, tmp_path: Path) -> None:
    """However the user counts steps, and whether their row is begun or ended when an epoch of ours comes."""
    if owner == "theirs":
        wandb.init(project="mine", dir=str(tmp_path), settings=wandb.Settings(silent=True))
    tracker = WandbTracker.open(context(tmp_path), warn=untold)
    run = tracker.run

    for number in range(7):
        USER_LOGS[how](run, number)
        tracker.record(epoch(number, loss=number + 0.5))
    tracker.close(Status.FINISHED)
    run.finish()
    wandb.teardown()

    rows = wandb_records.history(wandb_records.read(wandb_records.only_file(tmp_path)))
    ours = [(row["epoch"], row["loss"]) for row in rows if row.get("loss", -1) >= 0]
    assert [(number, number + 0.5) for number in range(7)] == ours
    merged = 3 if how == "step that stays behind" else 1  # W&B itself keeps the last of a name in one step
    assert [*range(merged - 1, 6, merged), 6] == [row["mine"] for row in rows if "mine" in row]
    assert [row["batch"] for row in rows if "batch" in row] == (list(range(21)) if "batches" in how else [])
    assert all("part" in row for row in rows if "mine" in row) or how != "one row in parts"


@pytest.mark.parametrize("begun", ["before us", "after us"])
def test_sync_tensorboard_shows_the_users_tags_alone_and_ours_once(begun: str, tmp_path: Path) -> None:
    """A second folder of event files would rename the user's tags, and our epochs would mix into their global_step."""
    if begun == "after us":
        board = TensorBoardTracker.open(context(tmp_path / "run"))
    run = wandb.init(sync_tensorboard=True, dir=str(tmp_path), settings=wandb.Settings(silent=True))
    writer = SummaryWriter(str(tmp_path / "CartPole__1"))
    if begun == "before us":
        board = TensorBoardTracker.open(context(tmp_path / "run"))
    tracker = WandbTracker.open(context(tmp_path / "run"), warn=untold)

    for number in range(3):
        writer.add_scalar("losses/value", number / 4, number * 100)
        board.writer.add_scalars("both", {"train": 1.0}, number)
        for each in (board, tracker):
            each.record(epoch(number, **{"losses/value": number + 0.5}))
    writer.close()
    tracker.close(Status.FINISHED)
    board.close(Status.FINISHED)
    run.finish()
    wandb.teardown()

    rows = wandb_records.history(wandb_records.read(wandb_records.only_file(tmp_path)))
    assert [row["global_step"] for row in rows if "global_step" in row] == [0, 100, 200]
    assert [(row["epoch"], row["losses/value"]) for row in rows if "epoch" in row] == [(0, 0.5), (1, 1.5), (2, 2.5)]
    assert {"losses/value", "epoch", "global_step"} == {name for row in rows for name in row if name[0] != "_"}


def test_a_name_that_the_user_logs_too_keeps_their_axis(tmp_path: Path) -> None:
    """W&B would add our epoch, as 0, to each of their rows."""
    run = wandb.init(dir=str(tmp_path), settings=wandb.Settings(silent=True))
    run.log({"loss": 3.0})
    tracker = WandbTracker.open(context(tmp_path), warn=untold)
    tracker.record(epoch(0, loss=1.0, acc=0.5))
    run.log({"loss": 2.0})
    run.finish()
    wandb.teardown()

    records = wandb_records.read(wandb_records.only_file(tmp_path))
    assert {"epoch", "acc"} == {record.metric.name for record in records if record.HasField("metric")}
    assert [row.get("epoch") for row in wandb_records.history(records)] == [None, 0, None]


def test_the_config_that_the_user_has_set_stays(tmp_path: Path) -> None:
    """What is missing there comes from our parameters, branch by branch."""
    run = wandb.init(dir=str(tmp_path), config={"lr": 1, "data": {"seed": 2}}, settings=wandb.Settings(silent=True))

    WandbTracker.open(context(tmp_path, params={"lr": 9, "data.seed": 9, "data.size": 3, "depth": 4}), warn=untold)

    assert dict(run.config) == {"lr": 1, "data": {"seed": 2, "size": 3}, "depth": 4}
    run.finish()


def test_a_run_of_ours_that_the_user_finishes_goes_on_in_the_same_run(tmp_path: Path) -> None:
    """`wandb.init` inside the block hands out our run, and `wandb.finish()` ends it for both."""
    tracker = WandbTracker.open(context(tmp_path, purge_from=0), warn=untold)
    tracker.record(epoch(0, loss=1.0))
    wandb.init(project="mine", dir=str(tmp_path), settings=wandb.Settings(silent=True)).log({"mine": 1})
    wandb.finish()
    tracker.record(epoch(1, loss=0.5))
    tracker.close(Status.FINISHED)
    wandb.teardown()

    files = sorted(tmp_path.rglob("*.wandb"))
    records = [record for file in files for record in wandb_records.read(file)]
    assert [(row["epoch"], row["loss"]) for row in wandb_records.history(records) if "loss" in row] == [
        (0, 1),
        (1, 0.5),
    ]
    assert {"run-1"} == {record.run.run_id for record in records if record.HasField("run")}


def test_a_run_of_the_users_that_they_finish_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No failure and no alarm, one line in the log; a run that they begin next takes the epochs from then on."""
    first = wandb.init(project="mine", dir=str(tmp_path), settings=wandb.Settings(silent=True))
    tracker = WandbTracker.open(context(tmp_path), warn=untold)
    first.finish()
    with caplog.at_level("WARNING", "notifybot"):
        for number in range(3):
            tracker.record(epoch(number))
    second = wandb.init(project="mine", dir=str(tmp_path), settings=wandb.Settings(silent=True))
    tracker.record(epoch(3))
    tracker.close(Status.FINISHED)

    assert caplog.text.count("was finished by your code") == 1
    assert second is tracker.run
    second.finish()
    wandb.teardown()
    (file,) = tmp_path.rglob(f"*{second.id}.wandb")
    assert [row["epoch"] for row in wandb_records.history(wandb_records.read(file))] == [3]


def test_the_summary_keeps_the_best_beside_the_last(tmp_path: Path) -> None:
    """W&B's table of runs is sorted by it."""
    run = wandb.init(project="mine", dir=str(tmp_path), settings=wandb.Settings(silent=True))
    tracker = WandbTracker.open(context(tmp_path), warn=untold)

    for number, (value, best) in enumerate([(0.5, 0.5), (0.9, 0.9), (0.7, 0.9)]):
        event = epoch(number)
        metrics = {"val_acc": Metric(value, best=best), "lr": Metric(0.1)}
        tracker.record(replace(event, progress=replace(event.progress, metrics=metrics)))

    assert (run.summary["val_acc"], run.summary["best/val_acc"], run.summary["lr"]) == (0.7, 0.9, 0.1)
    assert run.summary.get("best/lr") is None
    run.finish()


def test_an_offline_run_is_not_asked_for_its_page() -> None:
    """W&B answers with a warning on the user's console."""

    class Offline:
        offline = True

        @property
        def url(self) -> str:
            raise AssertionError

    assert page_of(Offline()) is None


NESTED: list[tuple[str, dict[str, Param], dict[str, Any]]] = [
    ("flat", {"lr": 0.1, "note": None, "on": True}, {"lr": 0.1, "note": None, "on": True}),
    ("branches", {"a.b.c": 1, "a.b.d": 2, "a.e": 3}, {"a": {"b": {"c": 1, "d": 2}, "e": 3}}),
    ("leaf before branch", {"opt": "adam", "opt.lr": 1}, {"opt": "adam", "opt.lr": 1}),
    ("branch before leaf", {"opt.lr": 1, "opt": "adam"}, {"opt": "adam", "opt.lr": 1}),
    ("leaf deep in a branch", {"a.b.c": 1, "a.b": 2}, {"a": {"b": 2}, "a.b.c": 1}),
    ("dots that part nothing", {".": 1, "a.": 2, ".b": 3, "c..d": 4}, {".": 1, "a.": 2, ".b": 3, "c..d": 4}),
    ("beyond 64 bits", {"seed": 2**63, "low": -(2**63)}, {"seed": str(2**63), "low": -(2**63)}),
]


@pytest.mark.parametrize(("params", "expected"), [each[1:] for each in NESTED], ids=[each[0] for each in NESTED])
def test_dotted_parameters_are_nested_in_the_config(params: dict[str, Param], expected: dict[str, Any]) -> None:
    """W&B groups them by their branches; a name that is both a value and a branch loses neither."""
    assert expected == nested(params)


@given(dictionaries(text("ab.", min_size=1, max_size=5), integers(0, 9), max_size=6))
def test_no_parameter_is_lost_by_nesting(params: dict[str, Param]) -> None:
    """Flattened again, it is what it was."""

    def flat(tree: dict[str, Any], before: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in tree.items():
            found |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
        return found

    assert params == flat(nested(params))


def test_disabled_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written, and the raw run still takes every call."""
    monkeypatch.setenv("WANDB_MODE", "disabled")

    tracker = WandbTracker.open(context(tmp_path), warn=untold)
    tracker.record(epoch(0))
    tracker.close(Status.FINISHED)

    assert list(tmp_path.rglob("*.wandb")) == []


def test_without_a_key_it_is_offline_and_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[Localized]
) -> None:
    """A question in a notebook would hold up the training for ever."""
    monkeypatch.delenv("WANDB_MODE")

    tracker = WandbTracker.open(context(tmp_path), warn=told.append)
    tracker.close(Status.FINISHED)

    assert tracker.url is None
    assert ["no API key" in told[0].en, "API 키가 없어" in told[0].ko] == [True, True]
    assert len(told) == 1


@pytest.mark.parametrize(
    "server", [silent_server, closed_port, half_dead_server], ids=["never answers", "refuses", "hangs later"]
)
def test_a_server_out_of_reach_makes_the_run_offline_told_once(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[Localized]
) -> None:
    """Within the given time the run is open and takes numbers."""
    with server() as url:
        monkeypatch.delenv("WANDB_MODE")
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_API_KEY", "canary" * 7)

        tracker = WandbTracker.open(context(tmp_path), warn=told.append, timeout_s=1.0)
        tracker.record(epoch(0, loss=1.0))
        tracker.close(Status.FINISHED)
        wandb.teardown()

    assert len(told) == 1
    assert "offline" in told[0].en
    assert "오프라인" in told[0].ko
    assert not any("canary" in text for text in (told[0].en, told[0].ko))
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
    thread = threading.Thread(target=lambda: opened.append(WandbTracker.open(context(tmp_path), warn=untold)))
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
        "from notifybot.types import Status\n"
        "from notifybot.trackers import TrackerWorkers\n"
        "from tests.support.tracker_events import context, epoch\n"
        "trackers = TrackerWorkers()\n"
        "trackers.start(context(Path(sys.argv[1])), ['jsonl', 'wandb'], Config())\n"
        "trackers.put(epoch(0))\n"
        "trackers.get('wandb', 1.0)\n"
        "print(trackers.close(Status.FINISHED, 15))\n"
    )
    with silent_server() as url:
        settings = {"WANDB_BASE_URL": url, "WANDB_API_KEY": "canary" * 7, "WANDB_ERROR_REPORTING": "false"}
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=Path(__file__).parents[2],
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
