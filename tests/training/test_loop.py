"""The public hooks, in this process: what is recorded, what is raised when, and what is never raised."""

from __future__ import annotations

import itertools
import logging
import math
import os
import re
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich.progress
import torch
import tqdm.asyncio
import tqdm.auto
import tqdm.rich

import notifybot
from notifybot import ConfigError, NotifybotError, UsageError, notify_epoch, notify_run
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.testing import RecordingNotifier
from notifybot.training.endings import ENDINGS
from notifybot.types import Severity, Status
from tests.support.training_runs import recorded_events


def recorded(run: notifybot.Run) -> list[Event]:
    assert run.session is not None
    return recorded_events(run)


def test_a_loop_yields_its_epochs_unchanged_and_records_them(settings: dict[str, object]) -> None:
    seen = []
    with notify_epoch(range(2), name="resnet", project="lab", params={"lr": 0.1}, config=settings) as epochs:
        assert (len(epochs), epochs.total, bool(epochs)) == (2, 2, True)
        for epoch in epochs:
            seen.append(epoch)
            epochs.log(loss=2.0)
            epochs.log(loss=4.0)

    assert seen == [0, 1]
    started, first, second, ended = recorded(epochs.run)
    assert isinstance(started, RunStarted)
    assert (started.run.name, started.run.project, started.attempt, started.total) == ("resnet", "lab", 1, 2)
    assert started.params == {"lr": 0.1}
    assert started.host.pid > 0
    assert started.beat_s is None
    assert isinstance(first, EpochFinished)
    assert isinstance(second, EpochFinished)
    assert [each.progress.metrics["loss"].value for each in (first, second)] == [3.0, 3.0]
    assert isinstance(ended, RunEnded)
    assert (ended.status, ended.progress.done) == (Status.FINISHED, 2)
    assert epochs.run.faults == {}


def test_an_infinite_loop_of_unknown_length_is_fine(settings: dict[str, object]) -> None:
    epochs = notify_epoch(itertools.count(), config=settings)
    with pytest.raises(TypeError, match="not known beforehand"):
        len(epochs)
    for epoch in epochs:
        if epoch == 3:
            break
    notify_epoch_decided(epochs)

    assert [event.kind for event in recorded(epochs.run)][-1] == "run_ended"
    assert epochs.total is None


def notify_epoch_decided(epochs: notifybot.EpochLoop) -> None:
    """Another run begins, which decides on a bare loop that was left."""
    from notifybot.training.endings import ENDINGS

    ENDINGS.decide(None)
    assert epochs.run.status is Status.STOPPED


def test_nan_passes_through(settings: dict[str, object]) -> None:
    with notify_epoch(range(2), config=settings) as epochs:
        for _ in epochs:
            epochs.log(loss=math.nan, spike=math.inf)

    last = recorded(epochs.run)[-1].progress
    assert math.isnan(last.metrics["loss"].value)
    assert last.metrics["spike"].value == math.inf


@pytest.mark.parametrize("label", ["a", 1.5, [1, 2], None], ids=["text", "fraction", "batch", "none"])
def test_labels_that_are_no_numbers_are_refused_before_the_first_epoch(settings: dict[str, object], label: Any) -> None:
    epochs = notify_epoch([label], config=settings)

    with pytest.raises(UsageError, match=r"such as range\(30\)"):
        next(iter(epochs))


@pytest.mark.parametrize(("epochs", "meant"), [(5, "range(5)"), ("30", "range(30)"), (None, "range(30)")])
def test_what_is_no_row_of_epochs_is_refused_at_once(epochs: Any, meant: str) -> None:
    with pytest.raises(UsageError, match=f"such as {re.escape(meant)}"):
        notify_epoch(epochs)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"epochs": 5}, "notify_epoch에는 range(5)처럼 에포크를 넣어야 합니다"),
        ({"project": 3}, "project="),
        ({"monitor": "entropy"}, "작을수록 좋은지 클수록 좋은지 알 수 없습니다"),
        ({"checkpoints": "folder"}, "폴더는 Checkpoints에 넣으세요"),
        ({"notifiers": "slack"}, "알림 수단의 목록"),
        ({"name": " "}, "사람이 읽을 실행 이름"),
        ({"run_id": "a/b"}, "run_id="),
        ({"params": 3}, "params="),
        ({"alerts": 3}, "alerts="),
        ({"config": {"lang": "ko", "slack_chanel": "x"}}, "notifybot에 없는 설정입니다. slack_channel"),
        ({"config": {"lang": "ko", "heartbeat_s": 0}}, "0보다 크고 3600 이하인 초"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_said_in_the_language_of_the_settings(wrong: dict[str, Any], says: str) -> None:
    given = {"epochs": range(1), "config": {"lang": "ko"}, **wrong}

    with pytest.raises(NotifybotError, match=re.escape(says)):
        notify_epoch(given.pop("epochs"), **given)


@pytest.mark.parametrize("label", [1.0, np.float32(1.0), np.int64(1), np.array(1), torch.tensor(1)], ids=repr)
def test_a_whole_number_of_any_kind_is_an_epochs_label(settings: dict[str, object], label: Any) -> None:
    with notify_run("block", config=settings) as run:
        run.log_epoch(label, {"loss": 0.5})

    assert [each.progress.epoch for each in recorded(run) if isinstance(each, EpochFinished)] == [1]
    assert run.faults == {}


def test_a_wrong_value_is_raised_in_the_first_epoch_alone(settings: dict[str, object]) -> None:
    """A mistake shows at once; what is new in epoch 40 costs its value, and no failure names an error of ours."""
    wrong: Any = None
    with notify_epoch(range(3), config=settings) as epochs:
        for epoch in epochs:
            epochs.log(loss=1.0)
            if epoch == 0:
                with pytest.raises(UsageError, match="metric 'f1' is None"):
                    epochs.log(f1=wrong)
            else:
                epochs.log(f1=wrong)

    assert epochs.run.faults == {"metric 'f1'": 2}
    assert epochs.run.status is Status.FINISHED


def test_a_wrong_value_is_told_without_an_error_of_ours_as_its_cause(settings: dict[str, object]) -> None:
    wrong: Any = "text"
    epochs = notify_epoch(range(3), config=settings)
    with pytest.raises(UsageError), epochs:
        epochs.log(loss=next(iter(epochs)), note=wrong)

    ended = recorded(epochs.run)[-1]
    assert isinstance(ended, RunEnded)
    assert ended.error.startswith("notifybot.errors.UsageError: metric 'note' takes a number, not text")
    assert "caused by" not in ended.error


def test_a_later_session_raises_for_no_name(settings: dict[str, object]) -> None:
    """Its names were fine before, or came late: the run is hours old."""
    wrong: Any = None
    with notify_epoch(range(1), run_id="r", config=settings) as epochs:
        for _ in epochs:
            epochs.log(loss=1.0)

    with notify_epoch(range(1, 2), run_id="r", config=settings) as epochs:
        for _ in epochs:
            epochs.log(loss=wrong, f1=wrong)

    assert epochs.run.faults == {"metric 'loss'": 1, "metric 'f1'": 1}


def test_another_rank_raises_for_no_value(settings: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 is loud, and only it knows whether the run is new."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    wrong: Any = None

    with notify_epoch(range(2), config=settings) as epochs:
        for _ in epochs:
            epochs.log(loss=wrong)


def test_what_is_logged_outside_the_epochs_belongs_to_none(
    settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """Before the first it would spoil that epoch's mean; after a bare loop's end nobody listens any more."""
    epochs = notify_epoch(range(2), config=settings)
    epochs.log(loss=30.0)
    for _ in epochs:
        epochs.log(loss=1.0)
    epochs.log(test_acc=0.9)

    finished = [each.progress.metrics["loss"].value for each in recorded(epochs.run) if isinstance(each, EpochFinished)]
    assert finished == [1.0, 1.0]
    assert epochs.run.faults == {"metric 'loss'": 1, "metric 'test_acc'": 1}
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(",")[0] for text in said if "was skipped" in text][:2] == [
        "loss: logged before the first epoch", "test_acc: logged after the run had ended",
    ]  # fmt: skip


def test_a_handle_of_an_earlier_run_says_so(settings: dict[str, object], caplog: pytest.LogCaptureFixture) -> None:
    with notify_epoch(range(1), config=settings) as first:
        list(first)
    with notify_epoch(range(1), config=settings) as second:
        for _ in second:
            first.log(loss=1.0)

    assert first.run.faults == {"metric 'loss'": 1}
    assert second.run.faults == {}


@pytest.mark.parametrize(("logs", "hints"), [(False, 1), (True, 0)])
def test_epochs_without_numbers_get_one_hint(
    settings: dict[str, object], caplog: pytest.LogCaptureFixture, logs: bool, hints: int
) -> None:
    with notify_epoch(range(3), config=settings) as epochs:
        for epoch in epochs:
            if logs and epoch == 0:
                epochs.log(loss=1.0)

    assert sum("nothing was logged" in record.getMessage() for record in caplog.records) == hints


def test_a_later_label_that_is_no_number_does_not_raise(settings: dict[str, object]) -> None:
    odd: Any = [0, None, "x"]
    with notify_epoch(odd, config=settings) as epochs:
        assert list(epochs) == odd

    assert [each.progress.epoch for each in recorded(epochs.run) if isinstance(each, EpochFinished)] == [0, 1, 2]
    assert epochs.run.faults == {"epoch_label": 2}


def test_epochs_are_iterated_once(settings: dict[str, object]) -> None:
    with notify_epoch(range(1), config=settings) as epochs:
        assert list(epochs) == [0]
        with pytest.raises(UsageError, match="iterated already"):
            iter(epochs)


def by_hand(epochs: Any) -> list[Any]:
    for _ in range(3):
        first = iter(epochs)  # looked at and thrown away, or kept
    return [*first]


WAYS: dict[str, Callable[[Any], Iterable[Any]]] = {
    "list": list,
    "sorted": sorted,
    "iter twice": by_hand,
    "iter kept": lambda epochs: [iter(epochs), *iter(epochs)][1:],
    "enumerate": lambda epochs: (epoch for _, epoch in enumerate(epochs)),
    "zip": lambda epochs: (epoch for epoch, _ in zip(epochs, range(3), strict=True)),
    "chain": itertools.chain,
    "tee": lambda epochs: itertools.tee(epochs)[1],
    "tqdm": lambda epochs: tqdm.tqdm(epochs, disable=True),
    "tqdm shown": lambda epochs: tqdm.tqdm(epochs),
    "tqdm.auto": lambda epochs: tqdm.auto.tqdm(epochs),
    "tqdm.asyncio": lambda epochs: tqdm.asyncio.tqdm(epochs),
    "tqdm.rich": lambda epochs: tqdm.rich.tqdm(epochs),
    "rich": lambda epochs: rich.progress.track(epochs, total=3),
    "rich by length": rich.progress.track,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_other_peoples_bars_go_around_the_epochs(
    settings: dict[str, object], way: Callable[[Any], Iterable[Any]]
) -> None:
    """Some ask for the iterator when they are made and again when they run; it is the same until it has moved."""
    with notify_epoch(range(3), config=settings) as epochs:
        seen = list(way(epochs))

    assert seen == [0, 1, 2]
    assert epochs.run.status is Status.FINISHED
    assert [each.progress.epoch for each in recorded(epochs.run) if isinstance(each, EpochFinished)] == [0, 1, 2]


def test_a_bar_around_a_bare_loop_does_not_keep_its_end_from_being_seen(settings: dict[str, object]) -> None:
    epochs = notify_epoch(range(3), config=settings)
    for _ in tqdm.auto.tqdm(epochs, disable=True):
        break
    ENDINGS.decide(None)

    assert epochs.run.status is Status.STOPPED


def test_wrong_settings_are_told_before_the_first_epoch() -> None:
    with pytest.raises(ConfigError, match="slack_webhok_url"):
        notify_epoch(range(3), config={"slack_webhok_url": "https://hooks.invalid/x"})


def start_with_a_mistake(settings: dict[str, object]) -> pytest.ExceptionInfo[ConfigError]:
    """One that only the notifiers can tell, when the database is open."""
    with pytest.raises(ConfigError, match="did you mean slack") as refused:
        list(notify_epoch(range(1), config=settings | {"notifiers": {"slak": {"every": "1 epoch"}}}))
    return refused


def test_settings_that_are_refused_late_leave_no_database_open(settings: dict[str, object], tmp_path: Path) -> None:
    """They are corrected in the same notebook, and a process must have one connection to a file."""
    refused = start_with_a_mistake(settings)

    wal = tmp_path / "state" / "notifybot.db-wal"  # the last connection that closes takes it away
    assert not wal.exists(), refused


def test_settings_that_are_refused_late_close_no_other_runs_database(settings: dict[str, object]) -> None:
    with notify_epoch(range(1), config=settings) as epochs:
        for _ in epochs:
            start_with_a_mistake(settings)
            epochs.log(loss=1.0)

    assert [each.kind for each in recorded(epochs.run)] == ["run_started", "epoch_finished", "run_ended"]


@pytest.mark.parametrize("run_id", ["", " a", "a/b", "a\\b", "..", "a\nb", "x" * 201, 7])
def test_a_run_id_that_is_none_is_refused(run_id: Any) -> None:
    with pytest.raises(UsageError, match="run_id="):
        notify_epoch(range(3), run_id=run_id)


def test_a_monitor_without_a_direction_is_refused() -> None:
    with pytest.raises(UsageError, match="monitor='entropy'"):
        notify_epoch(range(3), monitor="entropy")


@pytest.mark.parametrize(("monitor", "warned"), [("reward:max", 0), ("rewards:max", 1), ("val_acc", 1)])
def test_a_monitor_that_nobody_logs_is_told(
    monitor: str, warned: int, settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """With and without checkpoints: else a new best would be waited for in vain."""
    with notify_epoch(range(3), name="x", monitor=monitor, config=settings) as epochs:
        for _ in epochs:
            epochs.log(reward=1.0)

    told = [each.message for each in caplog.records if "monitor=" in each.message]
    assert warned == len(told)
    assert all("so no new best is told" in each for each in told)


@pytest.mark.parametrize("left_by", ["its end", "break"])
def test_a_monitor_that_comes_with_the_last_values_is_no_mistake(
    left_by: str, settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """A test score after the loop, or in the epoch that `break` ends, is told as the best there is."""
    with notify_epoch(range(4), name="x", monitor="test_acc", config=settings, progress=False) as epochs:
        for epoch in epochs:
            epochs.log(loss=1.0)
            if left_by == "break" and epoch == 2:
                break
        epochs.log(test_acc=0.9)

    assert [each.message for each in caplog.records if "monitor=" in each.message] == []
    assert epochs.run.progress.metrics["test_acc"].best == 0.9


def test_the_same_id_again_continues_the_run(settings: dict[str, object]) -> None:
    for part in (range(2), range(2, 5)):
        with notify_epoch(part, name="resnet", run_id="mine", config=settings) as epochs:
            for epoch in epochs:
                epochs.log(val_loss=10.0 - epoch)

    events = recorded(epochs.run)
    starts = [event for event in events if isinstance(event, RunStarted)]
    assert [(each.attempt, each.progress.done, each.total) for each in starts] == [(1, 0, 2), (2, 2, 5)]
    assert starts[0].run.session < starts[1].run.session
    last = events[-1].progress
    assert (last.done, last.total) == (5, 5)
    assert last.metrics["val_loss"].history == (10.0, 9.0, 8.0, 7.0, 6.0)
    assert last.metrics["val_loss"].previous == 7.0
    news = [event.new_best for event in events if isinstance(event, EpochFinished)]
    assert news == [None, "val_loss", "val_loss", "val_loss", "val_loss"]


def test_an_early_stop_keeps_what_the_last_epoch_logged(settings: dict[str, object]) -> None:
    with notify_epoch(range(10), config=settings) as epochs:
        for epoch in epochs:
            epochs.log(val_loss=float(epoch))
            if epoch == 1:
                break

    events = recorded(epochs.run)
    assert [event.progress.epoch for event in events if isinstance(event, EpochFinished)] == [0, 1]
    assert epochs.run.status is Status.STOPPED


def test_what_is_logged_after_the_loop_belongs_to_the_last_epoch(settings: dict[str, object]) -> None:
    with notify_epoch(range(2), config=settings) as epochs:
        for _ in epochs:
            epochs.log(loss=1.0)
        epochs.log(test_acc=0.9)

    told = [event.progress for event in recorded(epochs.run) if isinstance(event, EpochFinished)]
    assert [(each.epoch, each.done, list(each.metrics)) for each in told] == [
        (0, 1, ["loss"]),
        (1, 2, ["loss"]),
        (1, 2, ["test_acc"]),
    ]


def test_a_failed_epoch_is_not_counted_but_named(settings: dict[str, object]) -> None:
    def train(epochs: notifybot.EpochLoop) -> None:
        with epochs:
            for epoch in epochs:
                epochs.log(val_loss=float(epoch))
                if epoch == 1:
                    _ = 1 / 0

    epochs = notify_epoch(range(10), config=settings)
    with pytest.raises(ZeroDivisionError):
        train(epochs)

    ended = recorded(epochs.run)[-1]
    assert isinstance(ended, RunEnded)
    assert ended.error == "ZeroDivisionError: division by zero [epoch 1]"
    assert (ended.progress.epoch, ended.progress.done) == (0, 1)


def test_an_iterator_that_raises_fails_a_bare_loop_at_once(settings: dict[str, object]) -> None:
    def source() -> Iterator[int]:
        yield 0
        raise OSError("data gone")

    epochs = notify_epoch(source(), config=settings)
    with pytest.raises(OSError, match="data gone"):
        list(epochs)

    assert epochs.run.status is Status.FAILED


def test_a_with_block_that_never_iterates_is_stopped(settings: dict[str, object]) -> None:
    with notify_epoch(range(3), config=settings) as epochs:
        pass

    assert epochs.run.status is Status.STOPPED


def test_alerts_and_checkpoints_are_recorded(settings: dict[str, object], tmp_path: Path) -> None:
    saved = tmp_path / "model.pt"
    saved.write_bytes(b"12345")
    with notify_epoch(range(1), config=settings) as epochs:
        for _ in epochs:
            epochs.log_checkpoint(saved)
            epochs.run.alert("look\nhere", "why", Severity.ERROR)
            epochs.run.alert("gone", severity="info")
            epochs.run.expect_next_in(60)

    _, checkpoint, alert, info, finished, _ = recorded(epochs.run)
    assert isinstance(checkpoint, CheckpointSaved)
    assert (checkpoint.checkpoint.path, checkpoint.checkpoint.epoch, checkpoint.checkpoint.size_bytes) == (
        str(saved),
        0,
        5,
    )
    assert isinstance(alert, AlertRaised)
    assert (alert.title, alert.text, alert.severity) == ("look here", "why", Severity.ERROR)
    assert isinstance(info, AlertRaised)
    assert info.severity is Severity.INFO
    assert finished.progress.checkpoint == checkpoint.checkpoint


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_wrong_calls_later_on_are_counted_and_not_raised(
    settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, logger="notifybot"),
        notify_epoch(range(1), name="calls", config=settings) as epochs,
    ):
        for _ in epochs:
            wrong: Any = object()
            epochs.log(loss=1.0)
            epochs.log_checkpoint(wrong)
            epochs.log_checkpoint(wrong)
            epochs.run.alert(Mute())  # type: ignore[arg-type]

    assert epochs.run.faults == {"checkpoint": 2, "alert": 1}
    assert [record.getMessage().split()[0] for record in caplog.records] == ["a", "an", "calls:"]
    assert caplog.records[-1].getMessage().endswith("the training had not: a checkpoint (2×), an alert (1×)")
    assert epochs.run.status is Status.FINISHED


def test_a_broken_store_does_not_reach_the_training(settings: dict[str, object]) -> None:
    with notify_epoch(range(3), config=settings) as epochs:
        assert epochs.run.session is not None
        epochs.run.session.shared.store.close()
        assert list(epochs) == [0, 1, 2]

    assert epochs.run.status is Status.FINISHED


def test_a_state_folder_that_cannot_be_had_costs_only_durability(
    settings: dict[str, object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "notifybot.db").mkdir()  # a folder where the file should be
    with caplog.at_level(logging.WARNING, logger="notifybot"), notify_epoch(range(2), config=settings) as epochs:
        assert list(epochs) == [0, 1]

    assert epochs.run.status is Status.FINISHED
    assert "until the process ends" in caplog.text


def test_a_session_that_cannot_be_opened_lets_the_training_run(
    settings: dict[str, object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(RecordingNotifier):
        def __eq__(self, other: object) -> bool:
            raise OSError("broken on purpose")

        __hash__ = RecordingNotifier.__hash__

    with notify_epoch(range(1), config=settings, notifiers=[RecordingNotifier()]) as epochs:
        list(epochs)
    with notify_epoch(range(2), config=settings, notifiers=[Broken()]) as broken:
        assert list(broken) == [0, 1]
        broken.log(loss=1.0)
        broken.run.alert("nobody hears")

    assert broken.run.faults == {"opening_run": 1}
    assert "broken on purpose" in caplog.text


def test_what_comes_after_the_end_is_still_told(settings: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "final.pt").write_bytes(b"x")
    epochs = notify_epoch(range(1), config=settings)
    for _ in epochs:
        pass
    epochs.log_checkpoint(tmp_path / "final.pt")
    epochs.run.alert("evaluated")
    epochs.run.log_epoch(7, loss=1.0)

    assert [event.kind for event in recorded(epochs.run)][-3:] == ["run_ended", "checkpoint_saved", "alert_raised"]
    assert epochs.run.status is Status.FINISHED


def test_runs_of_one_process_share_the_database_and_its_thread(settings: dict[str, object]) -> None:
    before = threading.active_count()
    loops = []
    for _ in range(3):
        with notify_epoch(range(1), config=settings, progress=False) as epochs:
            list(epochs)
        loops.append(epochs.run.session)

    assert len({id(each.shared.store) for each in loops if each is not None}) == 1
    assert threading.active_count() <= before + 2


def test_notifiers_given_replace_the_configured_ones(settings: dict[str, object]) -> None:
    notifier = RecordingNotifier()
    with notify_epoch(range(2), config=settings, notifiers=[notifier]) as epochs:
        for _ in epochs:
            epochs.log(loss=1.0)
    epochs.run.flush(10)

    assert [kind for kind in notifier.kinds if kind != "epoch_finished"] == ["run_started", "run_ended"]


def test_the_console_tells_the_story(settings: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    with notify_epoch(range(1), name="story", config=settings) as epochs:
        for _ in epochs:
            epochs.log(val_loss=0.5)
    told = capsys.readouterr().err

    assert "story" in told
    assert "val_loss 0.5" in told
    assert "finished" in told


@pytest.mark.parametrize(
    ("lang", "services", "expected"),
    [
        ("en", ["slack", "kakao"], "→ messages: Slack, KakaoTalk · settings: config=, notifybot.toml · files: "),
        ("en", [], "→ messages: this console only · settings: config=, notifybot.toml · files: "),
        ("ko", ["webhook"], "→ 알림: webhook · 설정: config=, notifybot.toml · 파일: "),
        ("ko", [], "→ 알림: 이 콘솔에만 · 설정: config=, notifybot.toml · 파일: "),
    ],
)
def test_the_start_says_where_things_go_and_where_that_was_set(
    settings: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    lang: str,
    services: list[str],
    expected: str,
) -> None:
    """Who is in a folder without the settings sees it before the first epoch."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notifybot.toml").write_text('project = "bootcamp"\n')
    for name in [each for each in os.environ if each.startswith("NOTIFYBOT_")]:
        monkeypatch.delenv(name)

    notifiers = [RecordingNotifier(name) for name in services]
    list(notify_epoch(range(1), name="x", config={**settings, "lang": lang}, notifiers=notifiers))

    assert f"\n{expected}{settings['runs_dir']}\n" in capsys.readouterr().err


def test_epochs_of_a_foreign_loop_are_refused_at_first_and_skipped_later(settings: dict[str, object]) -> None:
    wrong: Any = "not a number"
    with notify_run("block", config=settings) as run:
        with pytest.raises(UsageError, match="metric 'loss'"):
            run.log_epoch(0, loss=wrong)
        with pytest.raises(UsageError, match="log_epoch takes the epoch's number first"):
            run.log_epoch(wrong, loss=1.0)
        run.log_epoch(0, loss=1.0)
        run.log_epoch(1, loss=wrong)
        run.log_epoch(wrong, loss=2.0)

    epochs = [event.progress for event in recorded(run) if isinstance(event, EpochFinished)]
    assert [(each.epoch, list(each.metrics)) for each in epochs] == [(0, ["loss"]), (1, []), (2, ["loss"])]


@dataclass
class Options:
    lr: float = 0.1
    path: Path = Path("data")


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        pytest.param({"lr": 0.1, "amp": True, "none": None}, {"lr": 0.1, "amp": True, "none": None}, id="dict"),
        pytest.param(Namespace(lr=0.1), {"lr": 0.1}, id="argparse"),
        pytest.param(Options(), {"lr": 0.1, "path": "data"}, id="dataclass"),
        pytest.param({"max_tokens": 5, "hf_token": "hf"}, {"max_tokens": 5, "hf_token": "[redacted]"}, id="secrets"),
        pytest.param({1: [1, 2]}, {"1": "[1, 2]"}, id="other values become text"),
    ],
)  # fmt: skip
def test_hyper_parameters_of_any_kind(settings: dict[str, object], params: Any, expected: dict[str, object]) -> None:
    with notify_run("p", params=params, config=settings) as run:
        pass

    started = recorded(run)[0]
    assert isinstance(started, RunStarted)
    assert started.params == expected


def test_the_name_defaults_to_the_script(settings: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/train_cifar.py", "--lr", "1"])

    assert notify_epoch(range(1), config=settings).run.name == "train_cifar"


def test_another_rank_does_nothing(
    settings: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with notify_epoch(range(2), config=settings) as epochs:
        for _ in epochs:
            epochs.log(loss=1.0)
        epochs.run.alert("x")
    with notify_run("other", config=settings) as run:
        run.log_epoch(0, loss=1.0)

    assert (epochs.run.session, epochs.tensorboard, epochs.wandb) == (None, None, None)
    assert not (tmp_path / "state").exists()
