"""The run that is open: code that trains needs no argument for it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import notifybot
from notifybot import notify_epoch, notify_run
from notifybot.events import EpochFinished
from notifybot.training import block
from notifybot.training.session import close
from tests.support.training_runs import recorded_events


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[dict[str, object]]:
    block._missed.clear()
    yield {
        "state_dir": str(tmp_path / "state"),
        "runs_dir": str(tmp_path / "runs"),
        "tensorboard": "off",
        "wandb": "off",
        "lang": "en",
    }
    close()


def epochs_of(run: notifybot.Run) -> list[tuple[int | None, dict[str, float]]]:
    assert run.session is not None
    events = [each for each in recorded_events(run) if isinstance(each, EpochFinished)]
    return [(each.progress.epoch, {name: one.value for name, one in each.progress.metrics.items()}) for each in events]


def test_what_is_logged_anywhere_belongs_to_the_open_epoch(settings: dict[str, object]) -> None:
    def train() -> None:
        notifybot.log(loss=1.0, n=3)
        notifybot.log({"loss": 5.0})

    with notify_epoch(range(1), config=settings, notifiers=[]) as epochs:
        for _ in epochs:
            train()
        notifybot.log(test_acc=0.9)

    assert epochs_of(epochs.run) == [(0, {"loss": 2.0}), (0, {"test_acc": 0.9})]


def test_the_innermost_open_run_is_meant(settings: dict[str, object]) -> None:
    names: list[str] = []
    with notify_run("outer", config=settings, notifiers=[]) as outer:
        for _ in notify_epoch(range(2), name="inner", config=settings, notifiers=[]):
            names.append(notifybot.current().name)
        names.append(notifybot.current().name)

    assert names == ["inner", "inner", "outer"]
    assert outer is not notifybot.current()


def test_without_a_loop_of_ours_it_belongs_to_the_next_epoch_or_after_the_last_to_that(
    settings: dict[str, object],
) -> None:
    with notify_run("framework", config=settings, notifiers=[]) as run:
        for epoch in range(2):
            notifybot.log(loss=1.0)
            notifybot.log(loss=2.0)
            notifybot.current().log_epoch(epoch, lr=0.1)
        notifybot.log(test_acc=0.9)

    assert epochs_of(run)[:2] == [(0, {"loss": 1.5, "lr": 0.1}), (1, {"loss": 1.5, "lr": 0.1})]
    assert epochs_of(run)[2][0] == 1
    assert epochs_of(run)[2][1]["test_acc"] == 0.9


def test_below_a_frameworks_loop_it_belongs_to_the_epoch_that_the_framework_reports(
    settings: dict[str, object],
) -> None:
    """The framework's own value of a name comes first: it is the one in its log."""
    with notify_run("framework", config=settings, notifiers=[]) as run:
        for epoch in range(2):
            notifybot.log(aux_loss=float(epoch), loss=9.0)
            run.report_epoch(epoch, {"loss": 1.0})

    assert epochs_of(run) == [(0, {"loss": 1.0, "aux_loss": 0.0}), (1, {"loss": 1.0, "aux_loss": 1.0})]


def test_what_belongs_to_no_epoch_is_said(settings: dict[str, object], caplog: pytest.LogCaptureFixture) -> None:
    with notify_run("train", config=settings, notifiers=[]):
        notifybot.log(loss=1.0)

    (line,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert line.startswith("train: what was logged belongs to no epoch")


def test_without_an_open_run_there_is_one_warning_and_nothing_is_raised(
    settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    wrong: Any = object()
    with notify_run("over", config=settings, notifiers=[]):
        pass

    notifybot.log(loss=1.0)
    notifybot.log(loss=wrong, n=wrong)
    nobody = notifybot.current()
    nobody.log_epoch(0, loss=wrong)
    nobody.alert("nobody hears it")

    assert not nobody.active
    (line,) = [each.getMessage() for each in caplog.records]
    assert line.startswith("notifybot.log and notifybot.current were called while no run is open")


def test_another_rank_is_mute(
    settings: dict[str, object], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a run, and without one: only rank 0 may have opened it."""
    monkeypatch.setenv("RANK", "1")

    notifybot.log(loss=1.0)
    with notify_run("ranked", config=settings, notifiers=[]) as run:
        notifybot.log(loss=1.0)
        assert notifybot.current() is run

    assert [each.getMessage() for each in caplog.records if "rank 1" not in each.getMessage()] == []


def test_each_thread_and_each_task_has_its_own(settings: dict[str, object]) -> None:
    """Trials of a search run at the same time. A thread that opened none speaks of the process's."""
    seen: dict[str, str] = {}
    both = threading.Barrier(2, timeout=60)

    def trial(name: str) -> None:
        with notify_run(name, config=settings, notifiers=[]):
            both.wait()
            seen[name] = notifybot.current().name
            both.wait()

    def loader() -> None:
        seen["loader"] = notifybot.current().name

    async def task(name: str) -> None:
        with notify_run(name, config=settings, notifiers=[]):
            await asyncio.sleep(0)
            seen[name] = notifybot.current().name
            await asyncio.sleep(0)

    async def tasks() -> None:
        await asyncio.gather(task("task 1"), task("task 2"))

    _together(*(threading.Thread(target=trial, args=(name,)) for name in ("trial 1", "trial 2")))
    with notify_run("main", config=settings, notifiers=[]):
        _together(threading.Thread(target=loader))
    asyncio.run(tasks())

    assert seen == {name: name for name in ("trial 1", "trial 2", "task 1", "task 2")} | {"loader": "main"}


def _together(*threads: threading.Thread) -> None:
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
