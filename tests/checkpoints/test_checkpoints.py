"""`Checkpoints` under `notify_epoch`: what a second start finds, and what is told when a save or a restore fails."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torchdata.stateful_dataloader import StatefulDataLoader

from notifybot import CheckpointError, Checkpoints, UsageError, notify_epoch
from notifybot.checkpoints.run_folder import NAME, read_card
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, RunEnded, RunStarted
from notifybot.rendering import Renderer
from notifybot.rendering.alert_text import alert_words
from notifybot.store import runs
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.training.run_info import launch_of
from notifybot.training.session import close
from notifybot.types import Language, Reason, Status, Tier
from tests.support.checkpoint_disks import untouched
from tests.support.checkpointed_training import Death, Training, epochs_in, train_until_left


@pytest.fixture(autouse=True)
def settings(tmp_path: Path) -> Iterator[dict[str, object]]:
    torch.set_num_threads(1)
    yield {"runs_dir": str(tmp_path / "runs"), "tensorboard": "off", "wandb": "off"}
    close()


def test_a_second_start_goes_on_bit_for_bit_with_the_epochs_that_are_left(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    """Dropout, shuffling, Adam and the schedule are all where they would have been."""
    whole = Training(tmp_path / "whole", settings).train()
    first = Training(tmp_path / "cut", settings).train(until=3)
    second = Training(tmp_path / "cut", settings).train()

    assert list(second.losses) == [3, 4]
    assert first.losses | second.losses == whole.losses


def test_the_run_goes_on_as_the_same_run(tmp_path: Path, settings: dict[str, object]) -> None:
    """Same id, next session, the best and the time so far carried on, and people are told from where."""
    first = Training(tmp_path / "exp", settings).train(until=3)
    second = Training(tmp_path / "exp", settings).train()

    assert second.run.id == first.run.id
    started = second.of(RunStarted)[-1]
    assert (started.attempt, started.total, started.resumed.epoch, started.progress.epoch) == (2, 5, 2, 2)
    assert started.model.total == started.model.trainable == 21
    epochs = [(each.progress.epoch, each.progress.done) for each in second.of(EpochFinished)]
    assert epochs == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    history = second.of(EpochFinished)[-1].progress.metrics["loss"].history
    assert history == tuple(each.progress.metrics["loss"].value for each in second.of(EpochFinished))
    assert second.of(RunEnded)[-1].progress.elapsed_s > first.of(EpochFinished)[2].progress.elapsed_s


@pytest.mark.parametrize(
    ("epochs", "left_after"),
    [
        pytest.param(range(5), 2, id="from 0"),
        pytest.param(range(1, 6), 1, id="from 1"),
        pytest.param(range(0, 50, 10), 1, id="blocks, at the first"),
        pytest.param(range(0, 50, 10), 4, id="blocks, at the last"),
        pytest.param([1, 5, 7, 100, 102], 1, id="uneven, at the first"),
        pytest.param([1, 5, 7, 100, 102], 2, id="uneven, in the middle"),
        pytest.param((-3, 0, 1, 2, 60), 4, id="from below 0"),
    ],
)
def test_a_resumed_run_names_the_next_epoch_and_counts_on(
    tmp_path: Path, settings: dict[str, object], epochs: Any, left_after: int
) -> None:
    """Whatever the labels are."""
    labels = list(epochs)
    Training(tmp_path / "exp", settings).train(epochs, until=labels[left_after])
    second = Training(tmp_path / "exp", settings).train(epochs)

    started = second.of(RunStarted)[-1]
    english, korean = (Renderer(each).render(started).body for each in (Language.EN, Language.KO))
    told = [each.progress for each in second.of(EpochFinished)]

    assert f"epoch {labels[left_after]} is next." in english
    assert f"다음은 에포크 {labels[left_after]}입니다." in korean
    assert (started.progress.done, started.progress.total) == (left_after, 5)
    assert [(each.epoch, each.done, each.total) for each in told] == [
        (label, place, 5) for place, label in enumerate(labels, start=1)
    ]


@pytest.mark.parametrize("left_after", [1, 3])
def test_epochs_that_cannot_be_seen_beforehand_are_counted_and_none_is_named_in_doubt(
    tmp_path: Path, settings: dict[str, object], left_after: int
) -> None:
    labels = [0, 10, 20, 30]
    Training(tmp_path / "exp", settings).train(iter(labels), until=labels[left_after])
    second = Training(tmp_path / "exp", settings).train(iter(labels))

    said = Renderer(Language.EN).render(second.of(RunStarted)[-1]).body

    assert "is next" not in said
    assert [each.progress.done for each in second.of(EpochFinished)] == [1, 2, 3, 4]


def test_the_rest_of_the_epochs_alone_is_counted_on_too(tmp_path: Path, settings: dict[str, object]) -> None:
    """The list need not hold what is done: with the last one or without it, nothing lies between."""
    Training(tmp_path / "exp", settings).train([1, 5, 7, 100], until=7)
    second = Training(tmp_path / "exp", settings).train([5, 7, 100])

    assert [each.progress.done for each in second.of(EpochFinished)] == [1, 2, 3, 4]
    assert second.of(EpochFinished)[-1].progress.total == 4


@pytest.mark.parametrize(("epochs", "done"), [(range(1, 7), 2), (range(0, 12, 2), 2), ([1, 2, 50], 2)])
def test_a_file_that_names_only_its_epoch_is_counted_by_its_place(
    tmp_path: Path, settings: dict[str, object], epochs: Any, done: int
) -> None:
    """A file of the user's own says nothing of how many came before it."""
    (tmp_path / "exp").mkdir()
    first = Training(tmp_path / "exp", settings)
    parts = {"model": first.model, "optimizer": first.optimizer, "scheduler": first.scheduler}
    states = {f"{name}_state_dict": part.state_dict() for name, part in parts.items()}
    torch.save({"epoch": 2, **states}, tmp_path / "exp" / "checkpoint_epoch2.pt")

    second = Training(tmp_path / "exp", settings).train(epochs)

    ends = [each.progress for each in second.of(EpochFinished)]
    assert (ends[0].done, ends[-1].done, ends[-1].total) == (done + 1, len(epochs), len(epochs))


def test_a_new_machine_knows_no_less(tmp_path: Path, settings: dict[str, object]) -> None:
    """With the local disk gone, the folder alone tells who the run is and how far it came."""
    first = Training(tmp_path / "drive", settings, local=tmp_path / "disk").train(until=3)
    best = first.of(EpochFinished)[-1].progress.metrics["loss"].best
    close()
    for lost in ("disk", "state", "runs"):
        shutil.rmtree(tmp_path / lost)

    second = Training(tmp_path / "drive", settings, local=tmp_path / "disk").train()

    assert second.run.id == first.run.id
    started = second.of(RunStarted)[0]
    assert (started.attempt, started.resumed.epoch) == (2, 2)
    assert started.progress.metrics["loss"].best == best
    rows = map(json.loads, (second.run.session.folder / "metrics.jsonl").read_text().splitlines())
    assert [row["epoch"] for row in rows if row["kind"] == "epoch_finished"] == [0, 1, 2, 3, 4]


def test_each_save_is_told_with_the_tier_that_holds_it(tmp_path: Path, settings: dict[str, object]) -> None:
    """A copy counts once it was read back; a plain folder is on this machine only."""
    plain = Training(tmp_path / "plain", settings).train(range(2)).of(CheckpointSaved)
    tiered = Training(tmp_path / "drive", settings, local=tmp_path / "disk").train(range(2)).of(CheckpointSaved)

    assert [(each.checkpoint.epoch, each.checkpoint.tier) for each in plain] == [(0, Tier.LOCAL), (1, Tier.LOCAL)]
    assert [(each.checkpoint.epoch, each.checkpoint.tier) for each in tiered] == [(0, Tier.REMOTE), (1, Tier.REMOTE)]
    assert Path(tiered[1].checkpoint.path).parent == tmp_path / "drive"


def test_a_saved_file_opens_with_plain_pytorch(tmp_path: Path, settings: dict[str, object]) -> None:
    """The names are those of PyTorch's own recipe."""
    trained = Training(tmp_path / "exp", settings).train(range(3), at_epoch=lambda _: None)
    path = Path(trained.of(CheckpointSaved)[-1].checkpoint.path)

    payload = torch.load(path, weights_only=True)

    assert path.name == f"checkpoint_epoch2_{payload['loss']:.6g}.pt"
    assert (payload["epoch"], payload["metrics"]) == (2, {"loss": payload["loss"]})
    fresh = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    fresh.load_state_dict(payload["model_state_dict"])
    torch.optim.Adam(fresh.parameters()).load_state_dict(payload["optimizer_state_dict"])
    assert all(
        torch.equal(one, other) for one, other in zip(fresh.parameters(), trained.model.parameters(), strict=True)
    )


def test_a_damaged_one_is_passed_over_and_people_are_told(tmp_path: Path, settings: dict[str, object]) -> None:
    """The run goes on from the one before, and the damaged file stays for whoever wants to look."""
    first = Training(tmp_path / "exp", settings).train(until=4)
    newest = Path(first.of(CheckpointSaved)[-1].checkpoint.path)
    flip_a_bit(newest)

    second = Training(tmp_path / "exp", settings).train()

    assert list(second.losses) == [3, 4]
    (alert,) = second.of(AlertRaised)
    assert newest.name in alert.text
    assert alert.about == "checkpoint"
    assert f"{newest.name}: 내용이 저장한 것과 다릅니다(해시 불일치)" in alert_words(alert, Language.KO).text
    assert newest.exists()


def test_with_none_left_whole_the_training_starts_over_and_says_so(tmp_path: Path, settings: dict[str, object]) -> None:
    """Loudly: hours may be lost."""
    first = Training(tmp_path / "exp", settings).train(until=2)
    for saved in first.of(CheckpointSaved):
        flip_a_bit(Path(saved.checkpoint.path))

    second = Training(tmp_path / "exp", settings).train(range(3))

    assert list(second.losses) == [0, 1, 2]
    (alert,) = second.of(AlertRaised)
    assert "beginning" in alert.text
    assert second.of(RunStarted)[-1].resumed is None
    assert second.run.id != first.run.id


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of files that the disk gives EIO for, as Drive does beyond its quota."""
    names: set[str] = set()
    really = os.open

    def refusing(path: Any, flags: int, *more: Any, **options: Any) -> int:
        if not flags & os.O_CREAT and Path(path).name in names:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return really(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", refusing)
    return names


def test_a_drive_that_does_not_read_stops_the_start_and_loses_nothing(
    tmp_path: Path, settings: dict[str, object], unreadable: set[str]
) -> None:
    """On the next day it goes on as if nothing had been."""
    Training(tmp_path / "exp", settings).train(range(4))
    unreadable |= {path.name for path in (tmp_path / "exp").glob("*.pt")}
    with untouched(tmp_path / "exp"), pytest.raises(CheckpointError, match=r"cannot be read now.*fresh=True"):
        Training(tmp_path / "exp", settings, clock=FakeClock()).train(range(6))

    unreadable.clear()
    assert list(Training(tmp_path / "exp", settings).train(range(6)).losses) == [4, 5]


def test_stepping_back_from_what_cannot_be_read_is_a_word_of_the_users(
    tmp_path: Path, settings: dict[str, object], unreadable: set[str]
) -> None:
    """The error names it, in the reader's language; the file stays, and people are told of both."""
    first = Training(tmp_path / "exp", settings).train(range(4))
    newest = Path(first.of(CheckpointSaved)[-1].checkpoint.path)
    unreadable.add(newest.name)
    with pytest.raises(CheckpointError, match=r'지금은 체크포인트를 읽을 수 없습니다.*resume="newest readable"'):
        Training(tmp_path / "exp", settings | {"lang": "ko"}, clock=FakeClock()).train(range(8))

    second = Training(tmp_path / "exp", settings, clock=FakeClock(), resume="newest readable").train(range(8))

    assert list(second.losses) == [3, 4, 5, 6, 7]
    assert second.run.id == first.run.id
    assert newest.exists()
    assert [newest.name in each.text for each in second.of(AlertRaised)] == [True, True]


@pytest.mark.parametrize("anew", ["damaged", "fresh"])
def test_beginning_anew_under_a_given_id_removes_nothing_of_before(
    tmp_path: Path, settings: dict[str, object], anew: str
) -> None:
    """`run_id=` says which run it is to people and trackers; its old files are no longer its own to remove."""

    def train(**options: Any) -> None:
        one = Training(tmp_path / "exp", settings, **options)
        with notify_epoch(
            range(5), run_id="r1", checkpoints=one.checkpoints(), progress=False, config=settings
        ) as loop:
            assert list(loop) == [0, 1, 2, 3, 4]
        assert loop.run.id == "r1"

    train()
    before = set((tmp_path / "exp").glob("*.pt"))
    if anew == "damaged":
        for path in before:
            flip_a_bit(path)
    train(fresh=anew == "fresh")

    assert before < set((tmp_path / "exp").glob("*.pt"))


def test_fresh_begins_a_new_run_and_deletes_nothing(tmp_path: Path, settings: dict[str, object]) -> None:
    first = Training(tmp_path / "exp", settings).train(range(2))
    before = {path.name for path in (tmp_path / "exp").glob("*.pt")}

    second = Training(tmp_path / "exp", settings, fresh=True).train(range(2))

    assert list(second.losses) == [0, 1]
    assert second.run.id != first.run.id
    assert before < {path.name for path in (tmp_path / "exp").glob("*.pt")}


def test_another_architecture_is_refused_before_the_first_epoch(tmp_path: Path, settings: dict[str, object]) -> None:
    """The keys are named, nothing is changed, and nobody is told of a run that never began."""
    first = Training(tmp_path / "exp", settings).train(range(2))
    second = Training(tmp_path / "exp", settings, width=5)
    before = [each.clone() for each in second.model.parameters()]

    with pytest.raises(CheckpointError, match=r"0\.weight"):
        second.train()

    assert all(torch.equal(one, other) for one, other in zip(before, second.model.parameters(), strict=True))
    assert second.losses == {}
    assert len(first.of(RunStarted)) == 1


def test_settings_that_the_checkpoint_overrides_are_told_at_the_start(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    """Whoever changed the program reads in the start message that the old settings stay, five of them at most."""
    Training(tmp_path / "exp", settings).train(range(2))
    again = Training(tmp_path / "exp", settings)
    again.optimizer = torch.optim.Adam(
        again.model.parameters(), lr=0.5, weight_decay=0.1, eps=1e-3, amsgrad=True, maximize=True
    )
    again.scheduler = torch.optim.lr_scheduler.StepLR(again.optimizer, 7, 0.9)

    again.train(range(4))

    resumed = again.of(RunStarted)[-1].resumed
    assert len(resumed.notes) == 5
    assert resumed.more_notes == 2
    assert resumed.notes[0] == Reason(
        "setting_kept", "optimizer: group 0", {"name": "eps", "there": "1e-08", "here": "0.001"}
    )


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes there")
def test_names_that_are_no_utf_8_cost_nothing(
    tmp_path: Path, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder from an older archive, in CP949: Python has such bytes as lone surrogates, which have no JSON."""
    odd = os.fsdecode("실험".encode("cp949"))
    monkeypatch.setattr(sys, "argv", [f"{odd}.py", f"--data={odd}"])
    first = Training(tmp_path / odd / "exp", settings).train(until=2)
    second = Training(tmp_path / odd / "exp", settings).train()

    assert list(second.losses) == [2, 3, 4]
    assert first.run.faults | second.run.faults == {}
    assert second.of(AlertRaised) == []
    assert [each.checkpoint.epoch for each in second.of(CheckpointSaved)][-1] == 4
    assert second.of(RunEnded)[-1].status is Status.FINISHED


def test_a_finished_training_has_nothing_left(
    tmp_path: Path, settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """The cell run once more restores the weights, trains nothing, and messages nobody."""
    first = Training(tmp_path / "exp", settings).train(range(3))
    second = Training(tmp_path / "exp", settings).train(range(3))

    assert second.losses == {}
    assert second.run.session is None
    assert "exp is complete" in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True))


@pytest.mark.parametrize("name", [None, "exp"])
@pytest.mark.parametrize("by", ["params", "arguments"])
def test_a_fold_that_finds_the_folder_complete_is_told_to_people(
    tmp_path: Path, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch, name: str | None, by: str
) -> None:
    """Each in a process of its own, one after the other: once a day, as what starts them may do so for ever."""
    told = RecordingNotifier("slack")

    def fold(number: int) -> Training:
        monkeypatch.setattr(sys, "argv", ["train.py", *(["--fold", str(number)] if by == "arguments" else [])])
        params = {"fold": number} if by == "params" else {}
        return Training(tmp_path / "cv", settings).train(range(2), name=name, params=params, notifiers=[told])

    first = fold(0)
    assert [each.run.session for each in (fold(0), fold(1), fold(2))] == [None] * 3

    last = told.sent[-1]
    assert told.kinds.count("alert_raised") == 1
    assert last.message.title.endswith("Nothing was trained: the folder holds a complete run")
    assert "fresh=True" in last.message.body
    assert last.event.run == first.run.ref
    row = runs.get(first.run.session.shared.store, first.run.id)
    assert row is not None
    assert (row.status, row.session) == (Status.FINISHED, first.run.ref.session)


@pytest.mark.parametrize("in_kernel", [True, False])
def test_a_notebook_is_the_same_program_after_its_kernel_restarted(
    monkeypatch: pytest.MonkeyPatch, in_kernel: bool
) -> None:
    """Its arguments name the kernel's file; a script's are what it was told to do."""
    if in_kernel:
        monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=Shell))
    seen = set()
    for kernel in ("one", "two"):
        monkeypatch.setattr(sys, "argv", ["launcher.py", "-f", f"{kernel}.json"])
        seen.add(launch_of({"lr": 0.1}))
    seen.add(launch_of({"lr": 0.2}))

    assert len(seen) == (2 if in_kernel else 3)


def test_in_korean_it_is_said_in_korean_that_nothing_is_left(
    tmp_path: Path, settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        Training(tmp_path / "exp", settings | {"lang": "ko"}).train(range(2))

    assert "exp 학습은 이미 끝나서 남은 에포크가 없습니다" in caplog.text
    assert "fresh=True" in caplog.text


def test_more_epochs_than_before_go_on_from_the_last(tmp_path: Path, settings: dict[str, object]) -> None:
    Training(tmp_path / "exp", settings).train(range(2))
    second = Training(tmp_path / "exp", settings).train(range(4))

    assert list(second.losses) == [2, 3]
    assert second.of(RunStarted)[-1].total == 4


@pytest.mark.parametrize("epochs", [[1, 2, 3, 4], (1, 2, 3, 4), range(1, 5)], ids=["list", "tuple", "range"])
def test_any_row_of_epochs_is_gone_on_with(tmp_path: Path, settings: dict[str, object], epochs: Any) -> None:
    """A generator too, which cannot tell its length."""
    Training(tmp_path / "exp", settings).train(epochs, until=3)
    again = Training(tmp_path / "exp", settings).train(each for each in epochs)

    assert list(again.losses) == [3, 4]
    assert again.of(EpochFinished)[-1].progress.done == 4


def test_a_file_saved_by_the_common_recipe_is_gone_on_from(tmp_path: Path, settings: dict[str, object]) -> None:
    """Nothing vouches for it, but it is what the person has."""
    old = Training(tmp_path / "elsewhere", settings).train(range(3))
    (tmp_path / "exp").mkdir()
    torch.save(
        {
            "model_state_dict": old.model.state_dict(),
            "epoch": 2,
            "optimizer_state_dict": old.optimizer.state_dict(),
            "loss": 0.25,
        },
        tmp_path / "exp" / "checkpoint_epoch2_0.25.pt",
    )

    new = Training(tmp_path / "exp", settings)
    new.scheduler = None  # the recipe has none
    with notify_epoch(range(5), checkpoints=new.checkpoints(), progress=False, config=settings) as loop:
        assert all(torch.equal(a, b) for a, b in zip(old.model.parameters(), new.model.parameters(), strict=True))
        assert list(loop) == [3, 4]


def test_every_third_epoch_and_the_last_are_saved(tmp_path: Path, settings: dict[str, object]) -> None:
    trained = Training(tmp_path / "exp", settings, every=3, keep_last=9).train(range(8))

    assert [each.checkpoint.epoch for each in trained.of(CheckpointSaved)] == [2, 5, 7]


def test_the_last_and_the_best_stay(tmp_path: Path, settings: dict[str, object]) -> None:
    """Two of the last and one of the best, each with its manifest; a stranger's file is not touched."""
    folder = tmp_path / "exp"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    training = Training(folder, settings, monitor="loss", mode="max", keep_last=2, keep_best=1)
    checkpoints = training.checkpoints()
    with notify_epoch(range(5), checkpoints=checkpoints, progress=False, config=settings) as loop:
        for epoch in loop:
            loop.log(loss=9.0 if epoch == 1 else 1.0)

    assert {path.name for path in folder.glob("*.pt")} == {
        "checkpoint_epoch1_9.pt", "checkpoint_epoch3_1.pt", "checkpoint_epoch4_1.pt",
    }  # fmt: skip
    assert checkpoints.best == folder / "checkpoint_epoch1_9.pt"
    assert checkpoints.latest == folder / "checkpoint_epoch4_1.pt"
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("epochs", "told"),
    [
        (1, "not in the first epoch"),
        (3, "in none of the first 3 epochs"),
        (5, "in none of the first 5 epochs"),
        (9, "in none of the first 5 epochs"),
    ],
)
def test_a_monitor_that_is_never_logged_is_told_once(
    epochs: int, told: str, tmp_path: Path, settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """It would cost the best checkpoint silently: told after five epochs, or at the end of fewer."""
    Training(tmp_path / "exp", settings, monitor="val_auc", mode="max").train(range(epochs))

    assert [each.message for each in caplog.records if "monitor=" in each.message] == [
        f"monitor='val_auc' was {told} (there were: loss), so no checkpoint is kept as the best"
    ]


def test_a_monitor_that_is_logged_after_the_loop_is_in_no_checkpoint(
    tmp_path: Path, settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path / "exp", model=nn.Linear(1, 1), monitor="test_acc")
    with notify_epoch(range(2), name="x", checkpoints=checkpoints, progress=False, config=settings) as epochs:
        for _ in epochs:
            epochs.log(loss=1.0)
        epochs.log(test_acc=0.9)

    assert [each.message for each in caplog.records if "monitor=" in each.message] == [
        "monitor='test_acc' was in none of the first 2 epochs (there were: loss), so no checkpoint is kept as the best"
    ]


def test_a_monitor_in_another_spelling_is_told_after_the_first_epoch(
    tmp_path: Path, settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """What is there says what was meant, so nobody need wait for more epochs."""
    Training(tmp_path / "exp", settings, monitor="los", mode="min").train(range(4))

    assert [each.message for each in caplog.records if "monitor=" in each.message] == [
        "monitor='los' was not in the first epoch (there were: loss), so no checkpoint is kept as the best; "
        "did you mean 'loss'?"
    ]


@pytest.mark.parametrize("every", [2, 5])
def test_a_monitor_that_is_logged_now_and_then_is_no_mistake(
    every: int, tmp_path: Path, settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """Validation every second or fifth epoch has a best checkpoint, and a resumed run remembers that it was logged."""
    for epochs in (range(6), range(6, 9)):
        checkpoints = Checkpoints(tmp_path / "exp", model=nn.Linear(1, 1), monitor="val_acc", mode="max")
        with notify_epoch(epochs, name="x", checkpoints=checkpoints, progress=False, config=settings) as loop:
            for epoch in loop:
                loop.log(train_loss=0.5)
                if epoch % every == every - 1 and epoch < 6:
                    loop.log(val_acc=0.5)

    assert checkpoints.best is not None
    assert "monitor=" not in caplog.text


def test_in_korean_it_is_said_in_korean_that_the_monitor_is_missing(
    tmp_path: Path, settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    Training(tmp_path / "exp", settings | {"lang": "ko"}, monitor="val_accuracy").train(range(1))

    assert (
        "monitor='val_accuracy' 값이 첫 에포크에 기록되지 않아 가장 좋은 체크포인트를 고를 수 없습니다" in caplog.text
    )


def test_the_loss_of_a_checkpoint_is_a_loss(tmp_path: Path, settings: dict[str, object]) -> None:
    """Whatever is monitored, `loss` in the file and in its name are what is called so."""
    checkpoints = Checkpoints(tmp_path / "exp", model=nn.Linear(1, 1), monitor="val_acc", mode="max")
    with notify_epoch(range(1), name="x", checkpoints=checkpoints, progress=False, config=settings) as loop:
        for _ in loop:
            loop.log(train_loss=0.5, val_loss=0.25, val_acc=0.75)

    path = checkpoints.best

    assert path is not None
    assert path.name == "checkpoint_epoch0_0.25.pt"
    assert torch.load(path, weights_only=True)["loss"] == 0.25


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata 0.11 calls it
def test_a_loader_that_knows_its_place_goes_on_within_the_epoch(tmp_path: Path, settings: dict[str, object]) -> None:
    """`every_s` saves at a step; the epoch's mean counts the steps from before."""

    def training(name: str) -> Training:
        made = Training(tmp_path / name, settings, every_s=1e-9)
        made.loader = StatefulDataLoader(made.data, batch_size=2, shuffle=True)
        made.options["extra"] = {"loader": made.loader}
        return made

    whole = training("whole").train(range(2))
    cut = training("cut")
    step, steps = cut.step, []

    def dying(inputs: Any, targets: Any) -> None:
        steps.append(0)
        if len(steps) == 7:
            raise Death
        step(inputs, targets)

    cut.step = dying  # type: ignore[method-assign]
    cut.train(range(2))
    again = training("cut").train(range(2))

    assert len(cut.losses[1]) == 2
    assert cut.losses[1] + again.losses[1] == whole.losses[1]
    assert (again.of(RunStarted)[-1].resumed.epoch, again.of(RunStarted)[-1].resumed.step) == (0, 2)
    means = [each.of(EpochFinished)[-1].progress.metrics["loss"].value for each in (again, whole)]
    assert means[0] == means[1]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata 0.11 calls it
def test_a_loader_with_a_generator_of_its_own_keeps_its_order(tmp_path: Path, settings: dict[str, object]) -> None:
    """Making a loader's iterator draws from its generator, which is put back behind that: the order is as ever."""

    def training(name: str) -> Training:
        made = Training(tmp_path / name, settings)
        generator = torch.Generator().manual_seed(1)
        made.loader = StatefulDataLoader(made.data, batch_size=2, shuffle=True, generator=generator)
        made.options["extra"] = {"loader": made.loader, "order": generator}
        return made

    whole = training("whole").train()
    cut, again = training("cut").train(until=2), training("cut").train()

    assert list(again.losses) == [2, 3, 4]
    assert cut.losses | again.losses == whole.losses


def test_a_folder_that_cannot_be_is_refused_before_the_first_epoch(tmp_path: Path, settings: dict[str, object]) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match="cannot be kept in"):
        Training(tmp_path / "file" / "exp", settings).train()


# ── Side matters ─────────────────────────────────────────────────────────────────────────────────────────────────────


def delete(card: Path) -> None:
    card.unlink()


def tear(card: Path) -> None:
    card.write_text(card.read_text()[:20])


def empty(card: Path) -> None:
    card.write_text("")


@pytest.mark.parametrize("lose", [delete, tear, empty])
def test_a_lost_card_is_made_anew_from_the_newest_checkpoint(
    tmp_path: Path, settings: dict[str, object], lose: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The same run goes on, in a session after the last, and it is said which."""
    first = Training(tmp_path / "exp", settings).train(until=3)
    lose(tmp_path / "exp" / NAME)

    second = Training(tmp_path / "exp", settings).train()

    assert list(second.losses) == [3, 4]
    assert second.run.id == first.run.id
    assert second.run.ref.session > first.run.ref.session
    assert f"exp goes on as the run of the newest checkpoint, {first.run.id}" in caplog.text
    card = read_card(tmp_path / "exp")
    assert card is not None
    assert (card.run_id, card.name) == (first.run.id, "exp")


def test_checkpoints_alone_are_enough_in_a_new_folder(tmp_path: Path, settings: dict[str, object]) -> None:
    """Whoever copies payloads and manifests has copied the training."""
    first = Training(tmp_path / "exp", settings).train(until=3)
    (tmp_path / "copy").mkdir()
    for path in (tmp_path / "exp").glob("*.pt*"):
        shutil.copy(path, tmp_path / "copy")

    second = Training(tmp_path / "copy", settings).train()

    assert (list(second.losses), second.run.id) == ([3, 4], first.run.id)


@pytest.mark.parametrize(
    ("platform", "fleeting"),
    [("", False), ("COLAB_RELEASE_TAG", True), ("KAGGLE_KERNEL_RUN_TYPE", True), ("BINDER_SERVICE_HOST", True)],
)
@pytest.mark.parametrize("tiered", [False, True])
def test_a_checkpoint_is_fleeting_where_the_machine_alone_holds_it_and_is_reset(
    tmp_path: Path,
    settings: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    fleeting: bool,
    tiered: bool,
) -> None:
    """Saved now, or found at the next start."""
    if platform:
        monkeypatch.setenv(platform, "1")
    options: dict[str, Any] = {"local": tmp_path / "disk"} if tiered else {}
    first = Training(tmp_path / "exp", settings, **options).train(until=1)
    second = Training(tmp_path / "exp", settings, **options).train(until=2)

    found = second.of(RunStarted)[-1].progress.checkpoint
    told = [each.checkpoint for each in first.of(CheckpointSaved)]

    assert {each.fleeting for each in (*told, found)} == {fleeting and not tiered}


@pytest.mark.parametrize(("tiered", "tier"), [(False, Tier.LOCAL), (True, Tier.REMOTE)])
def test_a_resumed_run_that_fails_at_once_goes_on_from_where_it_was_resumed(
    tmp_path: Path, settings: dict[str, object], tiered: bool, tier: Tier
) -> None:
    """Until its first save the restored checkpoint is the newest: the ending names it, and the next start too."""
    options: dict[str, Any] = {"local": tmp_path / "disk"} if tiered else {}
    Training(tmp_path / "exp", settings, **options).train(until=2)
    second = Training(tmp_path / "exp", settings, **options).train(until=2)

    checkpoint = second.of(RunEnded)[-1].progress.checkpoint

    assert (checkpoint.epoch, checkpoint.tier, Path(checkpoint.path).parent) == (1, tier, tmp_path / "exp")
    assert second.of(RunStarted)[-1].progress.checkpoint == checkpoint


# ── Leaving early ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_parameters_that_are_nan_evict_nobody_and_are_not_gone_on_from(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    """A mask of infinities is no parameter."""

    def at_epoch(epoch: int) -> None:
        if epoch == 2:
            first.model[0].weight.data.fill_(float("nan"))

    first = Training(tmp_path / "exp", settings, keep_last=2)
    first.model.register_buffer("mask", torch.full((2,), -float("inf")))
    first.train(range(6), at_epoch=at_epoch)

    assert epochs_in(tmp_path / "exp") == [0, 1, 5]
    second = Training(tmp_path / "exp", settings, keep_last=2)
    second.model.register_buffer("mask", torch.zeros(2))
    assert list(second.train(range(6)).losses) == [2, 3, 4, 5]
    assert any("its parameters are NaN or infinite" in each.text for each in second.of(AlertRaised))


@pytest.mark.parametrize("way", ["stop", "stop and break"])
def test_an_early_stop_is_final_on_a_new_machine_too(
    tmp_path: Path, settings: dict[str, object], way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The same cell trains nothing more, and says what does: more epochs."""
    one = Training(tmp_path / "exp", settings)
    loop = train_until_left(one, way, held=True)
    (ended,) = one.of(RunEnded)
    assert (ended.status, ended.note, ended.progress.done) == ("finished", "patience", 4)
    assert loop.run.progress.total == 8
    (tmp_path / "exp" / NAME).unlink()
    close()
    shutil.rmtree(tmp_path / "state")

    again = Training(tmp_path / "exp", settings).train(range(8))
    more = Training(tmp_path / "exp", settings).train(range(10))

    assert list(again.losses) == []
    assert "exp finished early (patience)" in caplog.text
    assert list(more.losses) == [4, 5, 6, 7, 8, 9]


# ── One folder, another run ──────────────────────────────────────────────────────────────────────────────────────────


def start(one: Training, name: str, epochs: int) -> list[int]:
    with notify_epoch(
        range(epochs), name=name, checkpoints=one.checkpoints(), progress=False, config=one.settings
    ) as loop:
        return list(loop)


@pytest.mark.parametrize("epochs", [3, 5], ids=["a fold", "a longer phase"])
def test_another_run_in_the_folder_of_a_complete_one_is_refused(
    tmp_path: Path, settings: dict[str, object], epochs: int
) -> None:
    """It would be evaluated with the weights of the first; the remedy is named, and works."""
    start(Training(tmp_path / "cv", settings), "fold0", 3)

    second = Training(tmp_path / "cv", settings)
    second.model[0].bias.data.fill_(99.0)
    with pytest.raises(UsageError, match=r"'fold0', which is complete.*a folder of its own.*fresh=True"):
        start(second, "fold1", epochs)

    assert set(second.model[0].bias.tolist()) == {99.0}

    assert start(Training(tmp_path / "cv", settings, fresh=True), "fold1", epochs) == list(range(epochs))


def test_an_unfinished_run_goes_on_under_another_name_and_says_so(
    tmp_path: Path, settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    Training(tmp_path / "exp", settings).train(until=3)

    assert start(Training(tmp_path / "exp", settings), "exp-again", 5) == [3, 4]
    assert "exp-again continues the run of exp" in caplog.text


def phase(one: Training, epochs: Any, *, stop_at: int | None = None, held: bool = True, **given: Any) -> list[int]:
    """One more loop of the same program, with the same objects; the labels that it trains."""
    loop = notify_epoch(epochs, checkpoints=one.checkpoints(), progress=False, config=one.settings, **given)
    trained = []
    with loop if held else contextlib.nullcontext():
        for epoch in loop:
            trained.append(epoch)
            with torch.no_grad():
                one.model[0].bias.fill_(float(epoch))
            if epoch == stop_at:
                loop.stop("patience")
    return trained


@pytest.mark.parametrize("held", [True, False], ids=["with", "bare"])
@pytest.mark.parametrize("given", [{}, {"name": "cv"}, {"run_id": "cv"}], ids=["no name", "same name", "same id"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda one, **given: phase(one, range(3), **given), lambda: range(3)),
        (lambda one, **given: phase(one, iter(range(3)), **given), lambda: iter(range(3))),
        (lambda one, **given: phase(one, range(5), stop_at=2, **given), lambda: range(5)),
        (lambda one, **given: phase(one, range(5), stop_at=2, **given), lambda: range(3, 5)),
    ],
    ids=["a fold", "without a length", "a fold that stopped early", "after a final stop"],
)
def test_a_folder_given_again_in_one_script_is_refused_before_a_weight_is_touched(
    tmp_path: Path, settings: dict[str, object], first: Any, second: Any, given: dict[str, Any], held: bool
) -> None:
    """The second would train little or nothing, and be evaluated as if it had; the remedies are named, and work."""
    one = Training(tmp_path / "cv", settings)
    assert first(one, held=held, **given) == [0, 1, 2]
    one.model[0].bias.data.fill_(99.0)

    with pytest.raises(UsageError, match=r'same script or cell.*Checkpoints\(f"cv/fold{fold}"\).*fresh=True'):
        phase(one, second(), held=held, **given)

    assert set(one.model[0].bias.tolist()) == {99.0}
    one.folder = tmp_path / "cv" / "fold1"
    epochs = list(second())
    assert phase(one, epochs, held=held, **given) == epochs


@pytest.mark.parametrize("given", [{"name": "cv"}, {"run_id": "cv"}], ids=["same name", "same id"])
def test_in_one_script_a_run_of_the_same_name_goes_on_with_more_epochs(
    tmp_path: Path, settings: dict[str, object], given: dict[str, Any]
) -> None:
    """Whoever gives the name twice means that run; a script that gives none has folds or phases, and is refused."""
    one = Training(tmp_path / "cv", settings)

    assert [phase(one, range(number), **given) for number in (3, 5, 7)] == [[0, 1, 2], [3, 4], [5, 6]]
    for epochs in (range(7), range(6), iter(range(9))):
        with pytest.raises(UsageError, match="same script or cell"):
            phase(one, epochs, **given)


def test_in_one_script_a_longer_phase_without_a_name_is_refused(tmp_path: Path, settings: dict[str, object]) -> None:
    one = Training(tmp_path / "cv", settings)
    phase(one, range(3))

    with pytest.raises(UsageError, match="same script or cell"):
        phase(one, range(5))


def test_in_one_script_a_run_goes_on_where_none_of_the_given_epochs_is_left_out(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    one = Training(tmp_path / "exp", settings)

    assert [phase(one, epochs, name="exp") for epochs in (range(3), range(3, 5), [7, 9])] == [[0, 1, 2], [3, 4], [7, 9]]


@pytest.mark.parametrize("way", ["error", "interrupt", "break"])
def test_an_unfinished_run_is_tried_again_in_the_same_script(
    tmp_path: Path, settings: dict[str, object], way: str
) -> None:
    one = Training(tmp_path / "exp", settings)
    train_until_left(one, way, held=True)

    assert phase(one, range(8), name="exp")[-1] == 7
    with pytest.raises(UsageError, match="same script"):
        phase(one, range(8), name="exp")


def test_a_folder_emptied_in_between_begins_anew_in_the_same_script(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    one = Training(tmp_path / "exp", settings)
    phase(one, range(3))
    shutil.rmtree(tmp_path / "exp")

    assert phase(one, range(3)) == [0, 1, 2]


class Shell:
    """IPython's, as far as it is asked."""

    def __init__(self) -> None:
        self.execution_count = 1
        self.kernel = SimpleNamespace()
        self.events = SimpleNamespace(
            callbacks={"post_run_cell": []}, register=lambda *_: None, unregister=lambda *_: None
        )


def test_another_cell_goes_on_and_the_same_cell_must_not(
    tmp_path: Path, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A cell run again, or run with more epochs, is what people do on purpose; folds are in one cell."""
    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    one = Training(tmp_path / "exp", settings)
    phase(one, range(3), name="exp")

    shell.execution_count += 1
    assert phase(one, range(3), name="exp") == []
    assert "exp is complete" in caplog.text
    with pytest.raises(UsageError, match="same script or cell"):
        phase(one, range(3), name="exp")

    shell.execution_count += 1
    assert phase(one, range(5), name="exp") == [3, 4]


def test_at_pythons_own_prompt_a_run_goes_on(
    tmp_path: Path, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing tells there whether the loop was typed again."""
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    one = Training(tmp_path / "exp", settings)

    assert [phase(one, range(upto)) for upto in (3, 5)] == [[0, 1, 2], [3, 4]]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
