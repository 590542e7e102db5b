"""Variables of the templates: the same names for every kind of event, and each only where it has something to say."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from notifybot.cli.samples import endings, samples
from notifybot.events import EpochFinished, Event, RunEnded, RunStalled, RunStarted
from notifybot.rendering.view import View, code_of, facts_of, view_of
from notifybot.types import Fact, Host, Language, Metric, Progress, RunRef, Status

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)
BASE: dict[str, Any] = {"id": "0198", "run": RunRef("0198-run", "resnet", "bootcamp"), "at": NOW}
METRICS = {
    "train_loss": Metric(0.412, 0.433, 0.412, 16, (0.9, 0.433, 0.412)),
    "val_acc": Metric(0.871, 0.859, 0.88, 14, (0.5, 0.859, 0.871)),
    "lr": Metric(1e-4, 1e-4),
}


def view(done: int, total: int | None, **more: Any) -> View:
    progress = Progress(done, done, total, METRICS, **more)
    return view_of(EpochFinished(**BASE, progress=progress), Language.EN)


@pytest.mark.parametrize("language", Language)
def test_every_kind_has_every_variable(language: Language) -> None:
    """A template that is shared by all kinds finds each name."""
    for event in (*samples(language, NOW), *endings(language, NOW)):
        assert set(view_of(event, language)) == set(View.__annotations__)


def test_only_the_end_is_a_hundred_percent() -> None:
    assert [view(done, 1000)["percent"] for done in (-1, 0, 999, 1000, 1001)] == ["0%", "0%", "99%", "100%", "100%"]
    assert view(1, None)["percent"] == view(1, 0)["percent"] == ""


def test_the_bar_is_full_only_at_the_end() -> None:
    assert view(3, 10)["bar"] == "▓▓▓░░░░░░░"
    assert view(29, 30)["bar"] == "▓▓▓▓▓▓▓▓▓░"
    assert view(99, 30)["bar"] == "▓▓▓▓▓▓▓▓▓▓"
    assert view(1, None)["bar"] == view(1, 0)["bar"] == ""


def test_a_loop_without_an_end_has_no_share_and_no_time_left() -> None:
    """`range(sys.maxsize)` says that there is none."""
    endless = view(3, sys.maxsize, eta_s=60.0)

    assert (endless["total"], endless["percent"], endless["eta"]) == (None, "", "")
    assert endless["position"] == "epoch 3"


def test_metrics_are_told_with_changes_alone_and_at_their_best() -> None:
    lines = view(16, 30)

    assert lines["metrics"] == "train_loss 0.412 (−0.021) ★ · val_acc 0.871 (+0.012) · lr 0.0001"
    assert lines["values"] == "train_loss 0.412 · val_acc 0.871 · lr 0.0001"
    assert lines["best"] == "train_loss 0.412 (epoch 16) · val_acc 0.88 (epoch 14)"


def test_a_new_best_is_the_best_value_of_its_metric() -> None:
    """The message may stand for older epochs, one of which was better than the newest."""
    event = EpochFinished(**BASE, progress=Progress(16, 16, 30, METRICS), new_best="val_acc")

    assert view_of(event, Language.EN)["new_best_value"] == "0.88"


def test_facts_are_what_the_event_has_and_an_ending_has_no_time_left() -> None:
    progress = Progress(16, 16, 30, METRICS, epoch_s=72.0, eta_s=940.0)
    events: list[Event] = [
        EpochFinished(**BASE, progress=progress),
        RunEnded(**BASE, status=Status.STOPPED, progress=progress),
        RunStalled(**BASE, silent_s=9.0, limit_s=9.0, host=Host("colab-1"), progress=progress),
        RunStarted(**BASE, params={"lr": 0.001}, progress=progress),
    ]

    assert [facts_of(each, view_of(each, Language.EN), Language.EN) for each in events] == [
        (Fact("ETA", "16 min"), Fact("Per epoch", "1 min 12 s")),
        (Fact("Per epoch", "1 min 12 s"),),
        (Fact("ETA", "16 min"), Fact("Per epoch", "1 min 12 s"), Fact("Machine", "colab-1")),
        (Fact("lr", "0.001"),),
    ]


def test_code_keeps_the_innermost_frames_whole() -> None:
    long = RunEnded(**BASE, status=Status.FAILED, frames="\n".join(f"frame {number}" for number in range(2000)))

    shown = code_of(long)

    assert len(shown) <= 8000
    assert shown.startswith("frame ")
    assert shown.endswith("frame 1999")
