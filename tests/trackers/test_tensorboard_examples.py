"""The examples of what trackers can do beyond curves, run as a reader would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from notifybot.trackers import TensorBoardTracker
from notifybot.types import Status
from tests.support.tracker_events import context, epoch

EXAMPLES = Path(__file__).parents[2] / "examples"
LAYERS = ["0.bias", "0.weight", "3.bias", "3.weight"]


def run(example: str, *arguments: str, cwd: Path, **settings: str) -> str:
    """Run an example in an empty folder, and return what it printed."""
    environ = {**os.environ, "NOTIFYBOT_WANDB": "off", "OMP_NUM_THREADS": "1", **settings}
    command = [sys.executable, str(EXAMPLES / example), *arguments]
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What TensorBoard reads of four epochs with extras at every second one."""
    folder = tmp_path_factory.mktemp("extras")
    own = {"NOTIFYBOT_RUNS_DIR": str(folder / "runs"), "NOTIFYBOT_STATE_DIR": str(folder / "state")}
    run("tensorboard_extras.py", "--epochs", "4", "--every", "2", cwd=folder, **own)
    (file,) = (folder / "runs").rglob("events.out.tfevents.*")
    everything = dict.fromkeys(["scalars", "histograms", "images", "tensors"], 0)  # otherwise a sample of each
    return EventAccumulator(str(file.parent), size_guidance=everything).Reload()


@pytest.mark.parametrize("tag", ["Loss/train", "Loss/test", "Accuracy/train", "Accuracy/test"])
def test_curves_have_the_users_tags(shown: Any, tag: str) -> None:
    """Two words and a slash, by which TensorBoard groups them."""
    assert [item.step for item in shown.Scalars(tag)] == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["Weights", "Gradients"])
def test_histograms_come_every_second_epoch(shown: Any, kind: str) -> None:
    """Of every layer's weights and gradients, with as many values as it has parameters."""
    tags = sorted(tag for tag in shown.Tags()["histograms"] if tag.startswith(kind))

    assert tags == [f"{kind}/{layer}" for layer in LAYERS]
    assert [item.step for item in shown.Histograms(tags[0])] == [0, 2]
    assert shown.Histograms(f"{kind}/0.weight")[0].histogram_value.num == 8 * 3 * 3


def test_the_graph_is_the_models(shown: Any) -> None:
    """Its nodes carry the modules' names."""
    names = [node.name for node in shown.Graph().node]

    assert any("Conv2d" in name for name in names)
    assert any("Linear" in name for name in names)


def test_images_are_readable_pictures(shown: Any) -> None:
    """Sixteen digits of 8 by 8 on a sheet."""
    (image,) = shown.Images("Images/train")

    assert (image.width, image.height) == (64, 16)
    assert image.encoded_image_string.startswith(b"\x89PNG")


def test_the_mesh_has_corners_faces_and_colors(shown: Any) -> None:
    """A grid of 8 by 8 corners has 7 by 7 squares of two triangles."""
    shapes = {
        part: [dim.size for dim in shown.Tensors(f"Surface/test_{part}")[0].tensor_proto.tensor_shape.dim]
        for part in ("VERTEX", "FACE", "COLOR")
    }

    assert shapes == {"VERTEX": [1, 64, 3], "FACE": [1, 98, 3], "COLOR": [1, 64, 3]}
    assert [item.step for item in shown.Tensors("Surface/test_VERTEX")] == [0, 2]


def test_hyper_parameters_are_the_runs_own(shown: Any) -> None:
    """Without a second run beside it."""
    content = shown.summary_metadata["_hparams_/session_start_info"].plugin_data.content

    found = HParamsPluginData.FromString(content).session_start_info.hparams
    values = {name: value.number_value for name, value in found.items()}
    assert values == {"epochs": 4.0, "batch_size": 64.0, "learning_rate": 1e-3}


def test_a_resumed_run_shows_extras_once_too(tmp_path: Path) -> None:
    """What the raw writer wrote under an epoch's number goes when the epoch is done again.

    Read as TensorBoard itself reads it: the older EventAccumulator never takes back texts and meshes.
    """
    for session, epochs in enumerate((range(4), range(2, 5))):
        tracker = TensorBoardTracker.open(context(tmp_path, purge_from=epochs[0] if session else None))
        for number in epochs:
            tracker.writer.add_text("note", f"session {session}", number)
            tracker.record(epoch(number, loss=1.0))
        tracker.close(Status.INTERRUPTED)

    notes = plugin_event_accumulator.EventAccumulator(str(tmp_path)).Reload().Tensors("note/text_summary")
    assert [item.step for item in notes] == [0, 1, 2, 3, 4]
    assert [item.tensor_proto.string_val[0] for item in notes] == [b"session 0"] * 2 + [b"session 1"] * 3


def test_the_sweep_runs_without_a_server(tmp_path: Path) -> None:
    """Its trials come from a loop then; with an account they come from W&B, which no test can show."""
    said = run("wandb_sweep.py", "--count", "2", "--offline", cwd=tmp_path, WANDB_MODE="offline", WANDB_SILENT="true")

    assert "Trial 2/2: val_acc = " in said
    assert "Sweep result: best val_acc = " in said
    assert len(list(tmp_path.rglob("offline-run-*/run-*.wandb"))) == 2
