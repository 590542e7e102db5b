"""TensorBoard files, read back by TensorBoard's own EventAccumulator."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from notifybot.events import AlertRaised
from notifybot.trackers import TensorBoardTracker
from notifybot.types import Param, Status
from tests.support.tracker_events import RUN, START, context, epoch

PARAMS: dict[str, Param] = {"lr": 0.1, "model": "cnn", "augment": True, "seed": None}


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    """The steps and values that TensorBoard would draw."""
    return [(item.step, item.value) for item in accumulated(folder).Scalars(tag)]


def accumulated(folder: Path) -> Any:
    return EventAccumulator(str(folder)).Reload()


def hparams(folder: Path) -> dict[str, Any]:
    found = accumulated(folder).summary_metadata
    return {
        tag: HParamsPluginData.FromString(metadata.plugin_data.content)
        for tag, metadata in found.items()
        if metadata.plugin_data.plugin_name == "hparams"
    }


def test_tags_steps_values_and_times_are_the_users(tmp_path: Path) -> None:
    """`Loss/train` stays `Loss/train`, so that TensorBoard groups it; the step is the epoch's label."""
    tracker = TensorBoardTracker.open(context(tmp_path))

    tracker.record(epoch(3, **{"Loss/train": 0.5, "정확도 (%)": 90.0}))
    tracker.record(epoch(4, **{"Loss/train": 0.25, "정확도 (%)": 95.0}))
    tracker.close(Status.FINISHED)

    assert sorted(accumulated(tmp_path).Tags()["scalars"]) == ["Loss/train", "정확도 (%)"]
    assert scalars(tmp_path, "Loss/train") == [(3, 0.5), (4, 0.25)]
    assert epoch(3).at.timestamp() == accumulated(tmp_path).Scalars("Loss/train")[0].wall_time


def test_nan_and_infinity_pass_as_themselves(tmp_path: Path) -> None:
    """A curve that went NaN must show it."""
    tracker = TensorBoardTracker.open(context(tmp_path))

    tracker.record(epoch(0, a=math.nan, b=math.inf))
    tracker.close(Status.FINISHED)

    assert math.isnan(scalars(tmp_path, "a")[0][1])
    assert [(0, math.inf)] == scalars(tmp_path, "b")


def test_the_epoch_is_readable_before_the_tracker_is_closed(tmp_path: Path) -> None:
    """Record flushes: TensorBoard shows a run while it goes on."""
    tracker = TensorBoardTracker.open(context(tmp_path))

    tracker.record(epoch(0, loss=1.0))

    assert scalars(tmp_path, "loss") == [(0, 1.0)]
    tracker.close(Status.FINISHED)


def test_a_resumed_run_has_no_overlap(tmp_path: Path) -> None:
    """Epochs done again hide those of the session before."""
    first = TensorBoardTracker.open(context(tmp_path))
    for number in range(4):
        first.record(epoch(number, loss=1.0))
    first.close(Status.INTERRUPTED)

    second = TensorBoardTracker.open(context(tmp_path, purge_from=2))
    for number in range(2, 5):
        second.record(epoch(number, loss=2.0))
    second.close(Status.FINISHED)

    assert scalars(tmp_path, "loss") == [(0, 1.0), (1, 1.0), (2, 2.0), (3, 2.0), (4, 2.0)]


def test_a_replayed_epoch_is_there_once_whether_or_not_it_had_arrived(tmp_path: Path) -> None:
    """After a kill nobody knows whether the last epoch reached the file."""
    missed = (epoch(1, loss=1.0), epoch(2, loss=1.0))
    first = TensorBoardTracker.open(context(tmp_path))
    first.record(epoch(0, loss=1.0))
    first.record(epoch(1, loss=1.0))

    second = TensorBoardTracker.open(context(tmp_path, purge_from=3, replay=missed))
    for event in missed:
        second.record(event)
    second.record(epoch(3, loss=1.0))

    assert [step for step, _ in scalars(tmp_path, "loss")] == [0, 1, 2, 3]
    first.close(Status.FINISHED)
    second.close(Status.FINISHED)


def test_hyper_parameters_lie_in_the_runs_own_folder(tmp_path: Path) -> None:
    """No second run appears beside the first, as add_hparams would make one."""
    tracker = TensorBoardTracker.open(context(tmp_path, params=PARAMS))

    tracker.record(epoch(0, loss=1.0))
    tracker.close(Status.FINISHED)

    found = hparams(tmp_path)
    start = found["_hparams_/session_start_info"].session_start_info.hparams
    assert (start["model"].string_value, start["lr"].number_value) == ("cnn", 0.1)
    assert all(path.is_file() for path in tmp_path.iterdir())


def asked(logdir: Path, path: str, body: dict[str, Any] | None = None) -> Any:
    """TensorBoard's own answer to a question of its pages, without its server's socket."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what TensorBoard brings along
        from tensorboard.backend.event_processing.data_ingester import LocalDataIngester
        from tensorboard.plugins import base_plugin
        from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
        from werkzeug.test import Client
        from werkzeug.wrappers import Response

    never: dict[str, Any] = dict.fromkeys(["reload_interval", "reload_multifile", "reload_multifile_inactive_secs"], 0)
    once = {"max_reload_threads": 1, "purge_orphaned_data": True, "reload_task": "blocking", "generic_data": "auto"}
    rest: dict[str, Any] = {"samples_per_plugin": {}, "window_title": "", "detect_file_replacement": None}
    flags = argparse.Namespace(logdir=str(logdir), **never, **once, **rest)
    ingester = LocalDataIngester(flags)
    ingester.start()
    plugin = HParamsPlugin(base_plugin.TBContext(data_provider=ingester.data_provider, flags=flags))
    route = plugin.get_plugin_apps()[path]
    answer = Client(route, Response).post(data=json.dumps(body or {}), content_type="application/json")
    assert answer.status_code == 200
    return json.loads(answer.get_data())


def test_runs_with_other_parameters_share_the_table_of_hyper_parameters(tmp_path: Path) -> None:
    """TensorBoard shows every run's columns and values, asked through its own HTTP interface."""
    given: dict[str, dict[str, Param]] = {
        "one": {"lr": 0.1, "depth": 3},
        "two": {"optim.name": "adam", "depth": 4, "seed": 2**70, "none": None},
        "three": {"augment": True},
    }
    for name, params in given.items():
        tracker = TensorBoardTracker.open(context(tmp_path / name, params=params))
        tracker.record(epoch(0, **{f"loss_{name}": 0.5, "loss": 0.25}))
        tracker.close(Status.FINISHED)

    experiment = asked(tmp_path, "/experiment", {"hparamsLimit": 0, "includeMetrics": True})
    columns = {each["name"] for each in experiment["hparamInfos"]}
    metrics = {each["name"]["tag"] for each in experiment["metricInfos"]}
    assert {"lr", "depth", "optim.name", "seed", "augment"} == columns
    assert {"loss", "loss_one", "loss_two", "loss_three"} == metrics
    shown = {
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [{"hparam": name} for name in sorted(columns)],
        "startIndex": 0,
        "sliceSize": 10,
    }
    rows = asked(tmp_path, "/session_groups", shown)["sessionGroups"]
    assert [{"lr": 0.1, "depth": 3}, {"optim.name": "adam", "depth": 4, "seed": str(2**70)}, {"augment": True}] == [
        next(row["hparams"] for row in rows if row["sessions"][0]["name"] == name) for name in given
    ]


def test_add_scalars_has_each_step_once_in_a_resumed_run(tmp_path: Path) -> None:
    """Each of its values is a run in a folder of its own, which has to hide what is done again as well."""
    for session, numbers in enumerate([range(4), range(2, 6), range(5, 7)]):
        tracker = TensorBoardTracker.open(context(tmp_path, purge_from=None if session == 0 else numbers[0]))
        for number in numbers:
            tracker.writer.add_scalars("both/of", {"train": number + session, "val": number}, number)
            if session:
                tracker.writer.add_scalars("late", {"train": number}, number)
        tracker.close(Status.INTERRUPTED)

    values = [(0, 0.0), (1, 1.0), (2, 3.0), (3, 4.0), (4, 5.0), (5, 7.0), (6, 8.0)]
    assert values == scalars(tmp_path / "both_of_train", "both/of")
    assert list(range(7)) == [step for step, _ in scalars(tmp_path / "both_of_val", "both/of")]
    assert list(range(2, 7)) == [step for step, _ in scalars(tmp_path / "late_train", "late")]


@pytest.mark.parametrize(
    ("status", "said"),
    [(Status.FINISHED, 1), (Status.STOPPED, 1), (Status.FAILED, 2)],
    ids=["finished", "stopped", "failed"],
)
def test_the_session_ends_as_the_run_did(tmp_path: Path, status: Status, said: int) -> None:
    """TensorBoard's own words: 1 is success, 2 is failure."""
    tracker = TensorBoardTracker.open(context(tmp_path, params=PARAMS))
    tracker.record(epoch(0))

    tracker.close(status)

    assert said == hparams(tmp_path)["_hparams_/session_end_info"].session_end_info.status


def test_an_interrupted_session_stays_open(tmp_path: Path) -> None:
    """TensorBoard keeps the first ending it reads, and this run will be resumed."""
    tracker = TensorBoardTracker.open(context(tmp_path, params=PARAMS))
    tracker.record(epoch(0))

    tracker.close(Status.INTERRUPTED)

    assert "_hparams_/session_end_info" not in hparams(tmp_path)


def test_the_raw_writer_takes_what_is_no_scalar(tmp_path: Path) -> None:
    """Histograms, graphs and images go where the scalars are."""
    tracker = TensorBoardTracker.open(context(tmp_path))

    tracker.writer.add_text("note", "hello", 1)
    tracker.record(AlertRaised(id="a", run=RUN, at=START, title="no number"))
    tracker.close(Status.FINISHED)

    assert accumulated(tmp_path).Tags()["tensors"] == ["note/text_summary"]


def test_a_process_killed_behind_record_has_lost_nothing(tmp_path: Path) -> None:
    """The writer's own queue would lose the last epochs."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from notifybot.trackers import TensorBoardTracker\n"
        "from tests.support.tracker_events import context, epoch\n"
        "tracker = TensorBoardTracker.open(context(Path(sys.argv[1])))\n"
        "for number in range(50): tracker.record(epoch(number, loss=1.0))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)

    assert killed.returncode == -9
    assert list(range(50)) == [step for step, _ in scalars(tmp_path, "loss")]
