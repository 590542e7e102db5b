"""Saving beside a run: when a state is saved, what is said when it cannot be, and what the card beside it knows."""

from __future__ import annotations

import gc
import json
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from notifybot import Checkpoints, notify_epoch
from notifybot.checkpoints.run_folder import RunFile, read_card, write_card
from notifybot.clock import SYSTEM
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, RunEnded
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.training.endings import ENDINGS
from notifybot.training.resume import COMPLETED
from notifybot.training.session import close
from notifybot.types import Tier
from tests.support.checkpointed_training import Training, epochs_in, train_until_left


@pytest.fixture(autouse=True)
def settings(tmp_path: Path) -> Iterator[dict[str, object]]:
    torch.set_num_threads(1)
    yield {"runs_dir": str(tmp_path / "runs"), "tensorboard": "off", "wandb": "off"}
    close()


def test_a_save_that_hangs_is_waited_for_once(tmp_path: Path, settings: dict[str, object]) -> None:
    """A mount that does not answer: people are told, training goes on, and later saves follow when it is back."""
    answered = threading.Event()

    def hang() -> None:
        answered.wait(30)

    trained = Training(tmp_path / "exp", settings, patience_s=2.0)
    kept = trained.checkpoints()
    trained.checkpoints = lambda: kept  # type: ignore[method-assign]

    def at_epoch(epoch: int) -> None:
        if epoch == 2:
            kept.wait()
            kept.alongside(hang, 0.0)
        if epoch == 5:
            answered.set()
            kept.wait()

    trained.train(range(7), at_epoch=at_epoch)

    hangs, well = trained.of(AlertRaised)
    assert "could not be saved" in hangs.title
    assert "still being written" in hangs.text
    assert well.at > hangs.at
    assert [each.checkpoint.epoch for each in trained.of(CheckpointSaved)] == [0, 1, 5, 6]


def test_a_mount_that_dies_is_told_within_an_epoch_and_training_goes_on(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    """Once an incident; when the mount is back, what was missed is copied and people hear that all is well."""
    drive, away = tmp_path / "drive", tmp_path / "away"

    def at_epoch(epoch: int) -> None:
        trained.options["checkpoints"].wait()
        if epoch == 1:
            drive.rename(away)
            drive.write_text("a file where the mount point was")
        if epoch == 4:
            drive.unlink()
            away.rename(drive)

    trained = Training(drive, settings, local=tmp_path / "disk")
    kept = trained.checkpoints()
    trained.options["checkpoints"] = kept
    trained.checkpoints = lambda: kept  # type: ignore[method-assign]
    trained.train(range(6), at_epoch=at_epoch)

    tiers = [each.checkpoint.tier for each in trained.of(CheckpointSaved)]
    assert tiers == [Tier.REMOTE, Tier.LOCAL, Tier.LOCAL, Tier.LOCAL, Tier.REMOTE, Tier.REMOTE]
    failing, well = trained.of(AlertRaised)
    assert "could not be copied" in failing.title
    assert well.at > failing.at
    assert trained.of(RunEnded)[-1].status == "finished"
    assert sorted(json.loads(path.read_text())["epoch"] for path in drive.glob("*.pt.json")) == [3, 4, 5]


def test_a_newer_session_elsewhere_silences_this_one(tmp_path: Path, settings: dict[str, object]) -> None:
    """A machine that was thought dead goes on computing; people are told once, and no epoch of it any more."""

    def at_epoch(epoch: int) -> None:
        if epoch == 2:
            card = read_card(tmp_path / "exp")
            assert card is not None
            write_card(tmp_path / "exp", RunFile(card.run_id, session="f" * 36, host="new-vm", attempt=2))

    trained = Training(tmp_path / "exp", settings).train(range(6), at_epoch=at_epoch)

    assert list(trained.losses) == [0, 1, 2, 3, 4, 5]
    (alert,) = trained.of(AlertRaised)
    assert "new-vm" in alert.text
    assert max(each.progress.epoch for each in trained.of(EpochFinished)) <= 3
    assert trained.of(RunEnded) == []
    card = read_card(tmp_path / "exp")
    assert card is not None
    assert card.session == "f" * 36


def test_a_database_that_is_busy_all_the_time_costs_no_checkpoint(tmp_path: Path, settings: dict[str, object]) -> None:
    """Another process holds its lock: what notifiers remember is not asked for then, and the card has what it had."""
    locks = []

    def at_epoch(epoch: int) -> None:
        if epoch == 0:
            locks.append(sqlite3.connect(tmp_path / "state" / "notifybot.db", isolation_level=None))
            locks[0].execute("BEGIN IMMEDIATE")

    trained = Training(tmp_path / "exp", settings, keep_last=9).train(range(4), at_epoch=at_epoch)
    locks[0].close()

    assert epochs_in(tmp_path / "exp") == [0, 1, 2, 3]
    assert "a checkpoint" not in trained.run.faults
    assert trained.of(AlertRaised) == []


def test_the_card_has_each_notifiers_thread_soon_and_waits_for_a_busy_database_without_a_word(
    tmp_path: Path, settings: dict[str, object], sandbox: Sandbox
) -> None:
    """Another process holds its lock when the first message is asked for: it is asked for again, and for the second."""
    slack = {"slack_bot_token": BOT_TOKEN, "slack_channel": CHANNEL, "slack_api_url": f"{sandbox.url}/api/"}
    training = Training(tmp_path / "exp", settings | slack)
    seen = []

    def at_epoch(_: int) -> None:
        with closing(sqlite3.connect(tmp_path / "state" / "notifybot.db", isolation_level=None, timeout=30)) as locks:
            locks.execute("BEGIN IMMEDIATE")
            SYSTEM.wait(threading.Event(), 2.5)  # it asks each second
        seen.append(_comes_on_card(tmp_path / "exp", "slack"))
        with training.run.session.shared.store.patient(30.0):
            thread = {"value": {"ts": "1.0"}, "updated_at": "2026-11-29T00:00:00+00:00"}
            training.run.session.remember(training.run.ref, {"teams": thread})
        seen.append(_comes_on_card(tmp_path / "exp", "teams"))

    sandbox.faults.append(Fault("delay", path="chat.postMessage", seconds=1.0))  # the lock comes first
    training.train(range(1), at_epoch=at_epoch)

    assert seen == [True, True]
    assert training.run.faults == {}


def test_no_thread_of_ours_has_the_model_after_the_run(
    tmp_path: Path, settings: dict[str, object], sandbox: Sandbox
) -> None:
    """PyTorch aborts a process that ends while another thread lets go of a tensor: here, the last to hold the model."""
    slack = {"slack_bot_token": BOT_TOKEN, "slack_channel": CHANNEL, "slack_api_url": f"{sandbox.url}/api/"}

    def train() -> weakref.ref[object]:
        trained = Training(tmp_path / "exp", settings | slack).train(range(2))
        return weakref.ref(trained.model)

    model = train()
    gc.collect()

    assert model() is None


def _comes_on_card(folder: Path, owner: str) -> bool:
    until = SYSTEM.monotonic() + 50
    while SYSTEM.monotonic() < until:
        card = read_card(folder)
        if card is not None and any(each.startswith(owner) for each in card.memories):
            return True
        SYSTEM.wait(threading.Event(), 0.05)
    return False


@pytest.mark.parametrize("tiered", [True, False])
def test_what_cannot_be_put_beside_a_checkpoint_does_not_cost_it(
    tmp_path: Path, settings: dict[str, object], tiered: bool
) -> None:
    """Such as where a file is in the place of the folder for the trackers' copies."""
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "runs").write_text("mine")

    options: dict[str, Any] = {"local": tmp_path / "disk"} if tiered else {}
    trained = Training(tmp_path / "exp", settings, **options).train(range(3))

    assert epochs_in(tmp_path / "exp") == [0, 1, 2]
    assert trained.of(AlertRaised) == []


WAYS = {"break": [1, 3], "return": [1, 3], "stop": [1, 3], "stop and break": [1, 3], "error": [1], "interrupt": [1]}


@pytest.mark.parametrize("held", [True, False], ids=["with", "bare"])
@pytest.mark.parametrize(("way", "saved"), WAYS.items(), ids=WAYS)
def test_the_epoch_that_ends_the_loop_on_purpose_is_saved_as_it_was_then(
    tmp_path: Path, settings: dict[str, object], way: str, saved: list[int], held: bool
) -> None:
    """And never that of an exception or a Ctrl-C. What the program does to its weights afterwards is its own affair."""
    one = Training(tmp_path / "exp", settings, every=2)

    train_until_left(one, way, held=held)

    assert epochs_in(tmp_path / "exp") == saved
    assert [each.progress.epoch for each in one.of(EpochFinished)] == list(
        range(saved[-1] + 1 if len(saved) > 1 else 3)
    )
    newest = max((tmp_path / "exp").glob("*.pt"), key=lambda path: path.name)
    bias = torch.load(newest, weights_only=True)["model_state_dict"]["0.bias"]
    assert set(bias.tolist()) == {float(saved[-1])}


@pytest.mark.parametrize("held", [True, False], ids=["with", "bare"])
def test_finished_epochs_that_were_not_yet_saved_are_when_the_next_is_left_at_once(
    tmp_path: Path, settings: dict[str, object], held: bool
) -> None:
    """The fourth epoch was told, `every=` would have waited for the sixth, and the fifth has nothing of its own."""
    one = Training(tmp_path / "exp", settings, every=3)
    loop = notify_epoch(range(8), name="exp", checkpoints=one.checkpoints(), progress=False, config=settings)
    if held:
        loop.__enter__()
    for epoch in loop:
        if epoch == 4:
            break
        loop.log(loss=0.5)
    if held:
        loop.__exit__(None, None, None)
    ENDINGS.decide(None)

    assert epochs_in(tmp_path / "exp") == [2, 3]


@pytest.mark.parametrize("held", [True, False], ids=["with", "bare"])
def test_an_epoch_left_for_its_nan_is_not_saved(
    tmp_path: Path, settings: dict[str, object], held: bool, caplog: pytest.LogCaptureFixture
) -> None:
    one = Training(tmp_path / "exp", settings, every=100)

    train_until_left(one, "break", held=held, loss=float("nan"))

    assert epochs_in(tmp_path / "exp") == []
    assert "its state is not saved" in caplog.text


@pytest.mark.parametrize(("anew", "told"), [(True, 1), (False, 0)], ids=["another model", "the same"])
def test_a_cell_that_trains_another_model_than_is_saved_is_told(
    anew: bool, told: int, tmp_path: Path, settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """The model's cell was run again, that of Checkpoints was not."""
    model = nn.Linear(3, 1)
    checkpoints = Checkpoints(tmp_path / "c", model=model)
    for until in (2, 4):
        COMPLETED.clear()  # as in another cell
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with notify_epoch(range(until), name="x", checkpoints=checkpoints, config=settings) as epochs:
            for _ in epochs:
                optimizer.zero_grad()
                loss = model(torch.ones(4, 3)).square().mean() + 1
                loss.backward()
                optimizer.step()
                epochs.log(loss=loss)
        if anew:
            model = nn.Linear(3, 1)

    assert sum(each.startswith("x: nothing that Checkpoints holds changed") for each in caplog.messages) == told
