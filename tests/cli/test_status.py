"""`notifybot status`: the runs of this machine, and what can be known of a process that said nothing."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.cli.samples import progress_at, samples
from notifybot.cli.status import heard_at, process_of
from notifybot.config import load
from notifybot.events import EpochFinished
from notifybot.store.database import Store
from notifybot.store.runs import RunRow, recent, record
from notifybot.types import Host, Language, Metric, Progress, Status, uuid7
from tests.support.cli_runs import live

runner = CliRunner()


def test_status_without_runs_says_so() -> None:
    """Asking for the status makes no database."""
    assert runner.invoke(app, ["status"]).output == "No run has been recorded on this machine yet.\n"
    assert json.loads(runner.invoke(app, ["status", "--json"]).output) == []
    assert not (load().state_dir / "notifybot.db").exists()


def test_status_lists_the_runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run with its word, how far it is, its metrics, and when it should be done."""
    monkeypatch.setenv("COLUMNS", "200")
    live(store, "resnet-a")
    live(store, "resnet-b", status=Status.FAILED, done=7)

    result = runner.invoke(app, ["status"])

    assert result.exit_code == 0
    (first,) = [line for line in result.output.splitlines() if "resnet-a" in line]
    (second,) = [line for line in result.output.splitlines() if "resnet-b" in line]
    assert re.search(r"running .* 12/30 .* val_loss .* ago .* 28 min", first)
    assert re.search(r"failed .* 7/30 ", second)


def test_status_names_what_a_run_counts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs need no word below their heading; steps do, and minor values stay out."""
    monkeypatch.setenv("COLUMNS", "200")
    live(store, "gpt")
    at_1500 = Progress(1500, 1500, 20_000, {"loss": Metric(0.2), "speed": Metric(9.0, minor=True)}, unit="step")
    (row,) = recent(store)
    record(store, EpochFinished(id=uuid7(), run=row.ref, at=store.clock.now(), progress=at_1500))

    line = next(each for each in runner.invoke(app, ["status"]).output.splitlines() if "gpt" in each)
    (plain,) = json.loads(runner.invoke(app, ["status", "--json"]).output)

    assert re.search(r"running .* step 1,500/20,000 .* loss 0.2 ", line)
    assert "speed" not in line
    assert (plain["unit"], plain["done"]) == ("step", 1500)


def test_status_as_json_is_for_programs(store: Store) -> None:
    """NaN is spelled as in events, and moments are ISO 8601."""
    run_id = live(store, "resnet")
    sick = replace(progress_at(13), metrics={"loss": Metric(value=float("nan"))})
    epoch = samples(Language.EN, store.clock.now())[1]
    record(
        store,
        EpochFinished(
            id=uuid7(), run=replace(epoch.run, id=run_id, project="vision"), at=store.clock.now(), progress=sick
        ),
    )

    (row,) = json.loads(runner.invoke(app, ["status", "--json", "--project", "vision"]).output)

    assert (row["id"], row["name"], row["status"]) == (run_id, "resnet", "running")
    assert (row["done"], row["total"], row["metrics"]) == (13, 30, {"loss": "NaN"})
    assert datetime.fromisoformat(row["last_heard_at"]).tzinfo is not None
    assert json.loads(runner.invoke(app, ["status", "--json", "--project", "other"]).output) == []


def test_the_last_word_from_a_run_counts(store: Store) -> None:
    """ "Last heard" is the newest of start, event and heartbeat."""
    live(store, "resnet")
    (row,) = recent(store)

    later = row.started_at + timedelta(days=1)
    assert heard_at(replace(row, alive_at=later)) == later
    assert heard_at(replace(row, alive_at=None, last_event_at=None)) == row.started_at


@pytest.fixture
def row(store: Store) -> RunRow:
    """A run that was heard just now."""
    live(store, "resnet")
    return recent(store)[0]


HERE, THERE = platform.node(), "colab-t4"
GONE = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
KILLED = Host(HERE, pid=int(GONE.stdout))  # nobody has that number


@pytest.fixture(scope="module")
def zombie() -> Iterator[Host]:
    """A process that is over, and whose parent does not ask."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        yield Host(HERE, pid=child.pid)


@pytest.mark.parametrize(
    ("known", "host", "silent_s", "beat_s", "status"),
    [
        pytest.param("running", Host(HERE, pid=os.getpid()), 0.0, None, Status.RUNNING, id="its process lives"),
        pytest.param("gone", KILLED, 0.0, None, Status.RUNNING, id="nobody has its number"),
        pytest.param("gone", Host(HERE, pid=os.getpid()), 9e5, None, Status.RUNNING, id="its number is used again"),
        pytest.param("gone", "a zombie", 0.0, None, Status.RUNNING, id="nobody has fetched its exit code"),
        pytest.param("ended", KILLED, 0.0, None, Status.FAILED, id="it said how it ended"),
        pytest.param("running", Host(THERE, pid=9), 0.0, 15.0, Status.RUNNING, id="elsewhere, its heart beats"),
        pytest.param("elsewhere", Host(THERE, pid=9), 61.0, 15.0, Status.RUNNING, id="elsewhere, a heartbeat is late"),
        pytest.param("elsewhere", Host(THERE, pid=9), 0.0, None, Status.RUNNING, id="elsewhere, without heartbeats"),
        pytest.param("running", Host(), 9e5, None, Status.RUNNING, id="nothing is known of its machine"),
        pytest.param("running", Host(HERE), 0.0, None, Status.RUNNING, id="nor of its process"),
    ],
)
def test_what_can_be_known_of_a_process(
    row: RunRow, zombie: Host, known: str, host: Host | str, silent_s: float, beat_s: float | None, status: Status
) -> None:
    """Nobody hears a process that is killed: its machine knows that it is gone, another one only for how long it has
    been silent."""
    run = replace(row, host=host if isinstance(host, Host) else zombie, beat_s=beat_s, status=status)

    assert process_of(run, heard_at(row) + timedelta(seconds=silent_s)) == known


@pytest.mark.parametrize(
    ("language", "host", "said"),
    [
        ("en", KILLED, "ended without a word: the process is gone"),
        ("ko", KILLED, "알림 없이 끝남: 프로세스가 없음"),
        ("en", Host(THERE, pid=9), "running when last heard, on colab-t4"),
        ("ko", Host(THERE, pid=9), "마지막 소식까지 진행 중, 장비 colab-t4"),
    ],
)
def test_a_killed_run_is_not_shown_as_running(
    store: Store, monkeypatch: pytest.MonkeyPatch, language: str, host: Host, said: str
) -> None:
    """Nor is it to be done at some time."""
    monkeypatch.setenv("COLUMNS", "200")
    live(store, "resnet", host=host)

    shown = runner.invoke(app, ["status"], env={"NOTIFYBOT_LANG": language}).output
    (plain,) = json.loads(runner.invoke(app, ["status", "--json"]).output)

    assert said in shown
    assert (host.name == HERE) == ("28" not in shown)
    assert (plain["status"], plain["process"]) == ("running", "gone" if host.name == HERE else "elsewhere")
