"""Checkpoints of a Lightning Trainer, told once they are on disk: written by a thread, linked, deleted, as folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from notifybot.events import AlertRaised, CheckpointSaved, RunEnded
from notifybot.integrations.lightning_savers import Savers
from notifybot.testing import FakeClock
from notifybot.types import Checkpoint
from tests.support.lightning import callbacks, fit, lightning, model, recorded, saver, trainer

pytestmark = [pytest.mark.needs("lightning"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def notify() -> Iterator[Any]:
    yield from callbacks()


def saved(callback: Any) -> list[Checkpoint]:
    return [each.checkpoint for each in recorded(callback) if isinstance(each, CheckpointSaved)]


def names(callback: Any) -> list[tuple[int | None, str]]:
    return [(each.epoch, Path(each.path).name) for each in saved(callback)]


def alerts(callback: Any) -> list[str]:
    return [each.title for each in recorded(callback) if isinstance(each, AlertRaised)]


def slow(pause_s: float, watch: list[tuple[str, bool]] | None = None) -> Any:
    """Writes half of each file, and the rest some time later, in place: as to a disk over a network."""

    class Slow(lightning(".plugins.io").TorchCheckpointIO):  # type: ignore[misc]
        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            import torch

            whole = Path(f"{path}.whole")
            os.makedirs(whole.parent, exist_ok=True)
            torch.save(checkpoint, whole)
            content = whole.read_bytes()
            whole.unlink()
            with open(path, "wb", buffering=0) as file:
                file.write(content[: len(content) // 2])
                Event().wait(pause_s)
                file.write(content[len(content) // 2 :])
            if watch is not None:
                watch.append((str(path), True))

    return lightning(".plugins.io").AsyncCheckpointIO(Slow())


def test_what_a_thread_writes_is_told_when_it_is_there_and_of_its_epoch(notify: Any, tmp_path: Path) -> None:
    """Each epoch is over long before its file is."""
    callback, written = notify(), list[tuple[str, bool]]()
    told: list[tuple[str, bool]] = []
    guest, plain = callback.guest, callback.guest.checkpoint

    def checkpoint(path: str, label: int | None = None) -> None:
        told.append((path, (path, True) in written))
        plain(path, label)

    guest.checkpoint = checkpoint
    keep = saver(tmp_path, save_top_k=-1)

    def paused(self: Any) -> None:
        Event().wait(0.1)

    fit(trainer(tmp_path, callback, keep, plugins=[slow(0.25, written)]), model(on_train_epoch_start=paused))

    assert [whole for _, whole in told] == [True] * len(told) != []
    assert names(callback)[-1] == (3, "epoch=3-step=16.ckpt")
    assert all(f"epoch={epoch}-" in name for epoch, name in names(callback))
    assert alerts(callback) == []


@pytest.mark.field
def test_what_a_thread_still_writes_at_an_exception_is_told_before_the_end(notify: Any, tmp_path: Path) -> None:
    def on_train_epoch_start(self: Any) -> None:
        if self.current_epoch == 1:
            raise ValueError("bad batch")

    callback = notify()
    with pytest.raises(ValueError, match="bad batch"):
        fit(
            trainer(tmp_path, callback, saver(tmp_path), plugins=[slow(0.5)]),
            model(on_train_epoch_start=on_train_epoch_start),
        )

    assert names(callback) == [(0, "epoch=0-step=4.ckpt")]
    assert isinstance(recorded(callback)[-1], RunEnded)
    assert alerts(callback) == []


@pytest.mark.field
def test_a_link_to_the_newest_is_no_checkpoint_of_its_own(notify: Any, tmp_path: Path) -> None:
    callback = notify()
    fit(trainer(tmp_path, callback, saver(tmp_path, save_last="link", filename="{epoch}")))

    assert (tmp_path / "saved" / "last.ckpt").is_symlink()
    assert names(callback) == [(epoch, f"epoch={epoch}.ckpt") for epoch in range(4)]
    assert alerts(callback) == []


@pytest.mark.field
def test_what_was_deleted_for_a_better_one_was_told_and_is_no_damage(notify: Any, tmp_path: Path) -> None:
    callback = notify()
    keep = saver(tmp_path, monitor="late", mode="max", save_top_k=1, save_last=True, filename="{epoch}")
    fit(trainer(tmp_path, callback, keep))
    assert callback.guest._proofs.wait(20.0)

    assert names(callback) == [(epoch, f"epoch={epoch}.ckpt") for epoch in range(4)]
    assert Path(saved(callback)[-1].path).exists()
    assert alerts(callback) == []


@pytest.mark.field
def test_the_last_alone_is_told_where_it_is_no_better(notify: Any, tmp_path: Path) -> None:
    """`late` rises, and the lowest is kept."""
    callback = notify()
    keep = saver(tmp_path, monitor="late", save_last=True, filename="{epoch}", every_n_epochs=1)
    fit(trainer(tmp_path, callback, keep, max_epochs=2))

    there = sorted(path.name for path in (tmp_path / "saved").glob("*.ckpt"))
    assert there == ["epoch=0.ckpt", "last.ckpt"]
    assert names(callback)[0] == (0, "epoch=0.ckpt")
    assert names(callback)[1:] in ([], [(1, "last.ckpt")])  # since 2.1 it is not saved without a better one


def folders() -> Any:
    """Saves a folder of files, as DeepSpeed and FSDP do; one that is there is written anew in place."""

    class Folders(lightning(".plugins.io").TorchCheckpointIO):  # type: ignore[misc]
        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            import torch

            inner = Path(path) / "checkpoint"
            inner.mkdir(parents=True, exist_ok=True)
            torch.save(checkpoint, inner / "mp_rank_00_model_states.pt")
            (Path(path) / "latest").write_text("checkpoint")

        def remove_checkpoint(self, path: Any) -> None:
            shutil.rmtree(path)

    return Folders()


@pytest.mark.field
def test_a_folder_is_a_checkpoint_each_time_it_is_written(notify: Any, tmp_path: Path) -> None:
    callback = notify()
    keep = saver(tmp_path, filename="same", enable_version_counter=False, save_top_k=1)
    fit(trainer(tmp_path, callback, keep, plugins=[folders()]))
    assert callback.guest._proofs.wait(30.0)

    assert names(callback) == [(epoch, "same.ckpt") for epoch in range(4)]
    assert (saved(callback)[-1].size_bytes or 0) > 1000
    assert alerts(callback) == []


@pytest.mark.field
def test_a_file_that_was_cut_short_is_told_as_damaged(notify: Any, tmp_path: Path) -> None:
    class Torn(lightning(".plugins.io").TorchCheckpointIO):  # type: ignore[misc]
        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            super().save_checkpoint(checkpoint, path, storage_options)
            os.truncate(path, os.path.getsize(path) // 2)

    callback = notify()
    fit(trainer(tmp_path, callback, saver(tmp_path), plugins=[Torn()], max_epochs=1))
    assert callback.guest._proofs.wait(20.0)

    assert [name for _, name in names(callback)] == ["epoch=0-step=4.ckpt"]
    assert len(alerts(callback)) == 1


# ── The looks of one saver ───────────────────────────────────────────────────────────────────────────────────────────


def looked_at(path: Path, *, later: bool) -> tuple[Savers, Any, FakeClock]:
    writer = type("AsyncCheckpointIO" if later else "TorchCheckpointIO", (), {})()
    mine = SimpleNamespace(
        best_model_path="", last_model_path="", best_k_models={}, dirpath=str(path.parent), _last_global_step_saved=0
    )
    clock = FakeClock()
    holder = SimpleNamespace(checkpoint_callbacks=[mine], strategy=SimpleNamespace(checkpoint_io=writer))
    return Savers(holder, clock), mine, clock


def test_a_folder_that_a_thread_writes_has_to_stand_still(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    savers, mine, clock = looked_at(path, later=True)
    mine.best_model_path, mine._last_global_step_saved = str(path), 8

    assert (savers.has_saved, list(savers.newly_saved(1)), savers.waits) == (True, [], True)
    path.mkdir()
    (path / "one").write_bytes(b"1")
    assert list(savers.newly_saved(2)) == []
    clock.advance(0.9)
    (path / "two").write_bytes(b"22")
    assert list(savers.newly_saved(2)) == []
    clock.advance(0.9)
    assert list(savers.newly_saved(2)) == []
    clock.advance(0.2)

    assert list(savers.newly_saved(2)) == [(str(path), 1, 8)]
    assert not savers.waits


def test_a_folder_that_was_written_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    savers, mine, _ = looked_at(path, later=False)
    mine.best_model_path, mine._last_global_step_saved = str(path), 8
    path.mkdir()
    (path / "one").write_bytes(b"1")

    assert list(savers.newly_saved(1)) == [(str(path), 1, 8)]
