"""The engine beneath the callbacks, with a framework of a few lines: hooks at awkward moments, exceptions, copies."""

from __future__ import annotations

import copy
import hashlib
import inspect
import pickle
import signal
import zipfile
from pathlib import Path
from typing import Any

import pytest

from notifybot import ConfigError, UsageError
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.integrations.guest import Guest, GuestCallback, GuestOptions, hook, raise_missing
from notifybot.rendering import Renderer
from notifybot.training.endings import ENDINGS
from notifybot.types import Language, Status, Tier
from tests.support.training_runs import recorded_events


class Callback(GuestCallback):
    """Callback of the toy framework, which logs and saves after the end of an epoch, and trains again if asked to."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.guest = Guest(*args, **options)

    @hook
    def began(self, first: int, total: int, found: dict[str, str] | None = None) -> None:
        self.guest.begin(total=total, first=first, found=found, params={"lr": 0.1})

    @hook
    def epoch_began(self, label: int) -> None:
        self.guest.epoch_began(label)

    @hook
    def epoch_ended(self, label: int) -> None:
        self.guest.epoch_over(label)

    @hook
    def logged(self, values: dict[str, Any]) -> None:
        self.guest.log(values)

    @hook
    def saved(self, path: str, label: int) -> None:
        self.guest.checkpoint(path, label)

    @hook
    def ended(self) -> None:
        self.guest.finish()

    @hook
    def wrong(self) -> None:
        raise LookupError("ours")


def fit(
    callback: Callback, *, total: int = 3, first: int = 0, fails_in: int | None = None, path: str = "", **more: Any
) -> None:
    callback.began(first, total, **more)
    for epoch in range(first, total):
        callback.epoch_began(epoch)
        if epoch == fails_in:
            raise ValueError("bad batch")
        callback.epoch_ended(epoch)
        callback.logged(
            {"val_loss": 1 / (epoch + 1), "note": "text", "missing": None, "eval_runtime": 0.5, "epoch": 1.0}
        )
        if path:
            callback.saved(path, epoch)
    callback.ended()


def recorded(callback: Callback) -> list[Event]:
    run = callback.run
    assert run is not None
    assert run.session is not None
    return recorded_events(run)


def losses(events: list[Event]) -> list[tuple[int | None, float]]:
    epochs = [each.progress for each in events if isinstance(each, EpochFinished)]
    return [(each.epoch, each.metrics["val_loss"].value) for each in epochs]


def test_an_epoch_has_the_numbers_that_were_logged_after_its_end(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"x")
    callback = Callback("toy", config=settings)
    fit(callback, path=str(tmp_path / "model.ckpt"))

    events = recorded(callback)
    assert losses(events) == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    kinds = [type(each) for each in events]
    assert kinds == [RunStarted, *[EpochFinished, CheckpointSaved] * 3, RunEnded]
    assert [each.checkpoint.epoch for each in events if isinstance(each, CheckpointSaved)] == [0, 1, 2]
    last = events[-1].progress
    assert (last.done, last.total) == (3, 3)
    assert {name: metric.minor for name, metric in last.metrics.items()} == {"val_loss": False, "eval_runtime": True}


def test_nothing_of_ours_reaches_the_framework(settings: dict[str, Any]) -> None:
    callback = Callback("toy", config=settings)
    callback.wrong()
    fit(callback, total=1)
    callback.wrong()

    assert callback.guest.guard.faults == {"framework_hook": 1}


def test_a_wrong_setting_is_refused_by_the_constructor(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Callback("toy", config=settings | {"slack_webhook_url": "nonsense"})
    with pytest.raises(ConfigError):
        Callback("toy", config=settings | {"slack_bot_token": "nonsense"})
    with pytest.raises(UsageError):
        Callback("toy", config=settings, metrics="eval_loss")


def test_an_exception_is_the_ending_within_a_with_block(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="bad batch"), Callback("toy", config=settings) as callback:
        fit(callback, fails_in=1)

    ended = recorded(callback)[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.status, ended.error) == (Status.FAILED, "ValueError: bad batch [epoch 1]")


def test_an_exception_that_was_caught_is_known_when_the_callback_trains_again(settings: dict[str, Any]) -> None:
    callback = Callback("toy", config=settings)
    with pytest.raises(ValueError, match="bad batch"):
        fit(callback, fails_in=1)
    first = recorded(callback)
    run = callback.run
    fit(callback)

    assert run is not None
    assert run.status is Status.FAILED
    assert (len(first), callback.run is not run) == (2, True)
    assert callback.run is not None
    assert callback.run.name == "toy #2"


def test_a_cell_that_ends_with_an_error_ends_the_run(settings: dict[str, Any]) -> None:
    callback = Callback("toy", config=settings)
    with pytest.raises(ValueError, match="bad batch") as caught:
        fit(callback, fails_in=1)

    ENDINGS.cell_ended(None)
    assert callback.guest.active
    ENDINGS.cell_ended(caught.value)

    ended = recorded(callback)[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.status, ended.error) == (Status.FAILED, "ValueError: bad batch [epoch 1]")


def test_an_epoch_that_was_over_is_told_before_an_ending_that_no_hook_saw(settings: dict[str, Any]) -> None:
    """The process exits after an exception in the next epoch, or its cell ends where the framework shows no end."""
    callback = Callback("toy", config=settings)
    with pytest.raises(ValueError, match="bad batch") as caught:
        fit(callback, fails_in=1)
    assert callback.run is not None
    callback.epoch_ended(1)
    callback.logged({"val_loss": 0.5})
    ENDINGS.cell_ended(caught.value)
    assert losses(recorded(callback)) == [(0, 1.0), (1, 0.5)]
    assert [type(each) for each in recorded(callback)][-2:] == [EpochFinished, RunEnded]

    callback.guest.begin(total=3, unseen_end=True)
    callback.guest.epoch_over(0)
    callback.logged({"val_loss": 0.5})
    ENDINGS.cell_ended(None)
    assert losses(recorded(callback)) == [(0, 0.5)]
    assert callback.run.status is Status.STOPPED


def test_the_framework_s_own_checkpoint_finds_the_run_again(settings: dict[str, Any]) -> None:
    before = Callback("toy", config=settings)
    with pytest.raises(ValueError, match="bad batch"), before:
        fit(before, total=6, fails_in=4)

    after = Callback("toy", config=settings)
    fit(after, total=6, first=2, found=before.guest.state())

    events = recorded(after)
    assert losses(events)[4:] == [(2, 1 / 3), (3, 0.25), (4, 0.2), (5, 1 / 6)]
    assert [(each.attempt, each.progress.done) for each in events if isinstance(each, RunStarted)] == [(1, 0), (2, 2)]
    best = events[-1].progress.metrics["val_loss"]
    assert (events[-1].progress.done, best.best_epoch, best.epochs) == (6, 5, (0, 1, 2, 3, 4, 5))


def test_resuming_may_be_refused(settings: dict[str, Any]) -> None:
    before = Callback("toy", config=settings)
    fit(before)
    after = Callback("toy", config=settings, resume="never")
    fit(after, first=1, found=before.guest.state())

    assert before.run is not None
    assert after.run is not None
    assert before.run.id != after.run.id


@pytest.mark.parametrize("travel", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_a_copy_has_not_begun(travel: Any, settings: dict[str, Any]) -> None:
    callback = Callback("toy", config=settings)
    callback.began(0, 3)
    other = travel(callback)

    assert (other.run, other.guest.name, callback.guest.active) == (None, "toy", True)
    fit(other)
    assert other.run is not callback.run


def test_another_rank_by_the_framework_s_word_reports_nothing(settings: dict[str, Any]) -> None:
    guest = Guest("toy", config=settings)
    guest.begin(total=3, reports=False)
    guest.epoch_over(0)
    guest.close()
    guest.finish()

    assert guest.run is not None
    assert (guest.run.session, guest.run.mute, guest.active) == (None, True, False)


def test_chosen_metrics_alone_are_shown(settings: dict[str, Any]) -> None:
    callback = Callback("toy", config=settings, metrics=["train_*"])
    callback.began(0, 1)
    callback.epoch_ended(0)
    callback.logged({"train_loss": 0.1, "val_loss": 0.2})
    callback.ended()

    metrics = recorded(callback)[-1].progress.metrics
    assert {name: metric.minor for name, metric in metrics.items()} == {"train_loss": False, "val_loss": True}


def test_the_options_of_every_callback_are_those_of_the_guest() -> None:
    parameters = set(inspect.signature(Guest).parameters)

    assert GuestOptions.__annotations__.keys() == parameters - {"name"}


def test_a_missing_framework_is_named_with_the_line_that_installs_it() -> None:
    absent = ModuleNotFoundError("No module named 'ignite'", name="ignite")
    with pytest.raises(ImportError, match=r"^notifybot\.x needs ignite: pip install pytorch-ignite$"):
        raise_missing(absent, "notifybot.x", "ignite", "pytorch-ignite")

    its_own = ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    with pytest.raises(ModuleNotFoundError, match="tensorflow"):
        raise_missing(its_own, "notifybot.x", "keras")


def test_a_signal_during_the_training_reaches_the_program_at_once(settings: dict[str, Any]) -> None:
    heard = list[int]()
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    callback = Callback("toy", config=settings)
    try:
        callback.began(0, 3)
        signal.raise_signal(signal.SIGTERM)
        at_once = list(heard)
        callback.ended()
    finally:
        signal.signal(signal.SIGTERM, before)

    assert at_once == [signal.SIGTERM]
    ended = recorded(callback)[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.status, ended.error) == (Status.INTERRUPTED, "SIGTERM")


def test_what_the_framework_saved_is_proven_and_a_damaged_one_is_told_once(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "whole.ckpt", "w") as archive:
        archive.writestr("data.pkl", b"x" * 1000)
    whole = (tmp_path / "whole.ckpt").read_bytes()
    (tmp_path / "torn.ckpt").write_bytes(whole[:500])
    callback = Callback("toy", config=settings)
    callback.began(0, 3)
    for epoch, name in enumerate(("whole.ckpt", "torn.ckpt", "torn.ckpt")):
        callback.epoch_ended(epoch)
        callback.saved(str(tmp_path / name), epoch)
    assert callback.guest._proofs is not None
    callback.guest._proofs.wait(30.0)
    callback.ended()

    alerts = [each for each in recorded(callback) if isinstance(each, AlertRaised)]
    assert [(each.about, "torn.ckpt" in each.text) for each in alerts] == [("checkpoint", True)]
    assert callback.guest._proofs.known(tmp_path / "whole.ckpt") == hashlib.sha256(whole).hexdigest()


def archive(path: Path, content: bytes = b"x" * 1000) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", content)
    return path


def proven(callback: Callback) -> None:
    assert callback.guest._proofs is not None
    assert callback.guest._proofs.wait(30.0)


def test_what_was_read_to_its_end_is_told_as_proven_from_then_on(settings: dict[str, Any], tmp_path: Path) -> None:
    callback = Callback("toy", config=settings)
    callback.began(0, 3)
    callback.epoch_ended(0)
    callback.saved(str(archive(tmp_path / "a.ckpt")), 0)
    proven(callback)
    callback.epoch_ended(1)
    callback.ended()

    ending = recorded(callback)[-1]
    assert isinstance(ending, RunEnded)
    assert ending.progress.checkpoint is not None
    assert (ending.progress.checkpoint.tier, ending.progress.checkpoint.epoch) == (Tier.READABLE, 0)


def test_a_newer_checkpoint_is_not_proven_by_the_proof_of_the_one_before(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    callback = Callback("toy", config=settings)
    callback.began(0, 3)
    callback.epoch_ended(0)
    callback.saved(str(archive(tmp_path / "last.ckpt")), 0)
    proven(callback)
    assert callback.run is not None
    callback.run.log_checkpoint(str(tmp_path / "last.ckpt"), 1)
    callback.ended()

    checkpoint = callback.run.progress.checkpoint
    assert checkpoint is not None
    assert (checkpoint.tier, checkpoint.epoch) == (Tier.UNPROVEN, 1)


@pytest.mark.parametrize("changed", [False, True])
def test_a_resumed_training_says_from_what_and_whether_it_is_what_was_proven(
    settings: dict[str, Any], tmp_path: Path, changed: bool
) -> None:
    """The start names the epoch and the file; content that has changed since its proof is an alert."""
    path, first = archive(tmp_path / "a.ckpt"), Callback("toy", config=settings)
    first.began(0, 5)
    first.epoch_ended(0)
    first.epoch_ended(1)
    first.saved(str(path), 1)
    proven(first)
    found = first.guest.state()
    first.epoch_ended(2)
    if changed:
        archive(path, b"y" * 1000)

    again = Callback("toy", config=settings)
    again.guest.begin(total=5, first=2, found=found, restored=str(path))
    proven(again)
    again.ended()

    start = [each for each in recorded(again) if isinstance(each, RunStarted)][-1]
    assert start.resumed is not None
    assert (start.resumed.epoch, start.resumed.path, start.resumed.next_epoch) == (1, str(path), 2)
    title = Renderer(Language.EN).render(start).title
    assert title == "🚀 toy resumed from epoch 1"
    alerts = [each.notice for each in recorded(again) if isinstance(each, AlertRaised)]
    assert [each and (each.code, each.reasons[0].code) for each in alerts] == (
        [("checkpoint_changed", "content")] if changed else []
    )
    assert start.progress.done == 2


@pytest.mark.parametrize("restored", ["gone.ckpt", "s3://bucket/a.ckpt"])
def test_a_checkpoint_that_is_not_on_this_disk_is_no_fault(
    settings: dict[str, Any], tmp_path: Path, restored: str
) -> None:
    callback = Callback("toy", config=settings)
    callback.guest.begin(total=5, first=2, restored=restored if "://" in restored else tmp_path / restored)
    callback.ended()

    start = next(each for each in recorded(callback) if isinstance(each, RunStarted))
    assert start.resumed is None
    assert callback.guest.guard.faults == {}
