"""The JSONL file: every line valid, none twice, none lost to a kill."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from notifybot import redaction
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event, RunEnded, RunLost, RunStarted
from notifybot.trackers import JsonlTracker
from notifybot.trackers.jsonl import events_in
from notifybot.types import Checkpoint, Status
from tests.support.tracker_events import RUN, START, context, epoch


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


def write(folder: Path, *events: Event, purge_from: int | None = None) -> None:
    """One session of a run."""
    tracker = JsonlTracker.open(context(folder, purge_from=purge_from))
    for event in events:
        tracker.record(event)
    tracker.close(Status.FINISHED)


def test_each_epoch_is_one_line_with_its_numbers(tmp_path: Path) -> None:
    """A line can be plotted without any other."""
    write(tmp_path, epoch(0, **{"Loss/train": 0.5}))

    (line,) = lines(tmp_path)
    assert tuple(line[key] for key in ("kind", "epoch", "done", "metrics")) == (
        "epoch_finished",
        0,
        1,
        {"Loss/train": 0.5},
    )
    assert line["at"] == "2026-11-23T03:00:00+00:00"
    assert line["epoch_s"] == 60.0


def test_non_finite_numbers_are_strings_that_any_json_reader_takes(tmp_path: Path) -> None:
    """NaN is no JSON, and must not be lost either."""
    write(tmp_path, epoch(0, a=math.nan, b=math.inf, c=-math.inf))

    assert lines(tmp_path)[0]["metrics"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity"}


def test_every_kind_the_process_speaks_of_has_a_line(tmp_path: Path) -> None:
    """What the watchdog says about a run is not written into the run's file."""
    write(
        tmp_path,
        RunStarted(id="1", run=RUN, at=START, params={"lr": math.nan}),
        CheckpointSaved(id="2", run=RUN, at=START, checkpoint=Checkpoint("a.pt", epoch=3)),
        AlertRaised(id="3", run=RUN, at=START, title="손실이 NaN입니다"),
        RunLost(id="4", run=RUN, at=START, silent_s=90, limit_s=60),
        RunEnded(id="5", run=RUN, at=START, status=Status.FAILED, error="ValueError: no"),
    )

    assert [line["kind"] for line in lines(tmp_path)] == [
        "run_started",
        "checkpoint_saved",
        "alert_raised",
        "run_ended",
    ]
    assert "손실이 NaN입니다" in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")


def test_an_event_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    """Replay after a kill may repeat what had arrived."""
    write(tmp_path, epoch(0))

    write(tmp_path, epoch(0), epoch(1))

    assert [line["epoch"] for line in lines(tmp_path)] == [0, 1]


def test_a_line_torn_by_a_kill_is_taken_out(tmp_path: Path) -> None:
    """The next line would otherwise be glued to it."""
    write(tmp_path, epoch(0))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "epoch_fin')

    write(tmp_path, epoch(1))

    assert [line["epoch"] for line in lines(tmp_path)] == [0, 1]


def test_epochs_done_again_take_the_place_of_the_old_ones(tmp_path: Path) -> None:
    """A run resumed from an older checkpoint has each epoch once; what else happened stays."""
    write(tmp_path, *map(epoch, range(3)), AlertRaised(id="a", run=RUN, at=START, title="slow"))

    write(tmp_path, epoch(1, "s2"), purge_from=1)

    assert [line["id"] for line in lines(tmp_path)] == ["s1-0", "a", "s2-1"]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_what_others_wrote_into_the_file_stays(tmp_path: Path) -> None:
    """A line that is not ours is not ours to remove."""
    (tmp_path / "metrics.jsonl").write_text("# a note\n[1]\n")

    write(tmp_path, epoch(0), purge_from=0)

    assert (tmp_path / "metrics.jsonl").read_text().splitlines()[:2] == ["# a note", "[1]"]


def test_a_secret_in_an_error_is_struck_out(tmp_path: Path) -> None:
    """Run folders are shared."""
    redaction.register(["xoxb-canary-not-a-token"])
    write(tmp_path, RunEnded(id="1", run=RUN, at=START, status=Status.FAILED, error="E: xoxb-canary-not-a-token"))

    assert lines(tmp_path)[0]["error"] == "E: [redacted]"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_the_caller_hears_of(tmp_path: Path) -> None:
    """Silence would pass for success."""
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    tracker = JsonlTracker(tmp_path / "metrics.jsonl", set())

    with pytest.raises(OSError):
        tracker.record(epoch(0))
    tracker.close(Status.FAILED)


def test_a_process_killed_behind_record_has_lost_nothing(tmp_path: Path) -> None:
    """The line is with the operating system when record returns."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from notifybot.trackers import JsonlTracker\n"
        "from tests.support.tracker_events import context, epoch\n"
        "tracker = JsonlTracker.open(context(Path(sys.argv[1])))\n"
        "for number in range(50): tracker.record(epoch(number))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)

    assert killed.returncode == -9
    assert list(range(50)) == [line["epoch"] for line in lines(tmp_path)]


def test_a_line_of_another_unit_says_so_and_is_read_back(tmp_path: Path) -> None:
    """Lines of epochs are as they always were."""
    event = epoch(1500, loss=0.5)
    event = replace(event, progress=replace(event.progress, unit="step", part=2.31))
    write(tmp_path, event, epoch(1501, loss=0.4))

    steps, epochs = lines(tmp_path)
    assert (steps["unit"], steps["part"], steps["epoch"]) == ("step", 2.31, 1500)
    assert not {"unit", "part"} & epochs.keys()
    read = [each.progress for each in events_in(tmp_path, RUN) if isinstance(each, EpochFinished)]
    assert [(each.unit, each.part) for each in read] == [("step", 2.31), ("epoch", None)]
