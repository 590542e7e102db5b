"""Lightning trainings that are none of the usual: nothing to do, a failure before the first step, a search in `fit`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from notifybot.events import EpochFinished, RunStarted
from notifybot.types import Status
from tests.support.lightning import callbacks, ended, fit, lightning, model, recorded, rows, saver, trainer, values

pytestmark = [pytest.mark.needs("lightning"), pytest.mark.field, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def notify() -> Iterator[Any]:
    yield from callbacks()


@pytest.fixture
def finder() -> Any:
    found = getattr(lightning(".callbacks"), "LearningRateFinder", None)
    if found is None:
        pytest.skip("since 2.0")
    return found(attr_name="rate", num_training_steps=5)


@pytest.mark.parametrize(("steps", "every", "labels"), [(18, 8, [8, 16, 18]), (7, 50, [7]), (16, 8, [8, 16])])
def test_all_steps_are_told_at_the_end(steps: int, every: int, labels: list[int], notify: Any, tmp_path: Path) -> None:
    callback = notify()
    options: dict[str, Any] = {"max_epochs": -1, "max_steps": steps, "log_every_n_steps": every}
    done = trainer(tmp_path, callback, enable_checkpointing=False, **options)
    done.fit(model(), rows())

    told = [each.progress for each in recorded(callback) if isinstance(each, EpochFinished)]
    assert [each.epoch for each in told] == labels
    assert told[-1].part == steps / 4
    assert (ended(callback).progress.done, ended(callback).progress.total) == (steps, steps)


def test_a_search_within_a_second_training_does_not_make_it_the_first_one(
    notify: Any, finder: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It saves and restores a checkpoint of its own, with the callbacks."""
    callback = notify()
    fit(trainer(tmp_path, callback, max_epochs=1, enable_checkpointing=False))
    first = callback.run.id
    fit(trainer(tmp_path, callback, finder, max_epochs=2, enable_checkpointing=False))

    assert callback.run.id != first
    assert [each.attempt for each in recorded(callback) if isinstance(each, RunStarted)] == [1]
    assert "without notifybot" not in caplog.text


def test_a_search_within_a_training_that_goes_on_leaves_it_the_same(notify: Any, finder: Any, tmp_path: Path) -> None:
    before, after = notify(), notify()
    fit(trainer(tmp_path, before, saver(tmp_path, save_last=True), max_epochs=1))
    last = tmp_path / "saved" / "last.ckpt"
    fit(trainer(tmp_path, after, finder, max_epochs=2), ckpt_path=str(last), weights_only=True)

    assert after.run.id == before.run.id


def test_an_early_stop_by_min_delta_names_no_epoch_that_was_better(notify: Any, tmp_path: Path) -> None:
    callback = notify()
    stopping = lightning(".callbacks").EarlyStopping("val_loss", patience=2, min_delta=9.0)
    fit(trainer(tmp_path, callback, stopping, max_epochs=9, enable_checkpointing=False))

    assert values(callback, "val_loss")[-1][1] < values(callback, "val_loss")[0][1]
    assert ended(callback).note == "early stopping: val_loss did not improve in 2 evaluations"


def test_a_training_without_batches_has_not_finished(notify: Any, tmp_path: Path) -> None:
    callback = notify()
    fit(trainer(tmp_path, callback, limit_train_batches=0))

    assert (ended(callback).status, ended(callback).progress.done) == (Status.STOPPED, 0)


def fails(hook: str) -> Callable[[], Any]:
    def failing(self: Any, *args: Any, **kwargs: Any) -> None:
        raise OSError("no space left")

    return lambda: model(**{hook: failing})


@pytest.mark.parametrize(
    ("hook", "done"),
    [("setup", 0), ("configure_optimizers", 0), ("on_fit_start", 0), ("on_train_end", 1), ("on_fit_end", 1)],
)
def test_a_failure_around_the_epochs_is_a_failure(hook: str, done: int, notify: Any, tmp_path: Path) -> None:
    callback = notify()
    with pytest.raises(OSError, match="no space left"):
        fit(trainer(tmp_path, callback, max_epochs=1), fails(hook)())

    assert (ended(callback).status, ended(callback).progress.done) == (Status.FAILED, done)
    assert ended(callback).error.startswith("OSError: no space left")


def test_a_checkpoint_that_cannot_be_read_is_a_failure(notify: Any, tmp_path: Path) -> None:
    callback, torn = notify(), tmp_path / "torn.ckpt"
    torn.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(RuntimeError):
        fit(trainer(tmp_path, callback), ckpt_path=str(torn))

    assert ended(callback).status is Status.FAILED


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(0)])
def test_who_leaves_before_the_first_step_is_told_nothing(error: BaseException, notify: Any, tmp_path: Path) -> None:
    def configure_optimizers(self: Any) -> None:
        raise error

    callback = notify()
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        fit(trainer(tmp_path, callback), model(configure_optimizers=configure_optimizers))

    assert callback.run is None


def test_a_failure_of_a_trial_run_is_told_nowhere(notify: Any, tmp_path: Path) -> None:
    callback = notify()
    with pytest.raises(OSError, match="no space left"):
        fit(trainer(tmp_path, callback, fast_dev_run=True), fails("on_train_end")())

    assert callback.run is None


def test_a_training_within_a_training_is_a_run_of_its_own(notify: Any, tmp_path: Path) -> None:
    outer, inner = notify("outer"), notify("inner")

    def on_train_epoch_start(self: Any) -> None:
        if self.current_epoch == 1:
            fit(trainer(tmp_path / "inner", inner, max_epochs=2, enable_checkpointing=False))

    training = trainer(tmp_path, outer, max_epochs=3, enable_checkpointing=False)
    fit(training, model(on_train_epoch_start=on_train_epoch_start))

    assert [label for label, _ in values(outer, "val_loss")] == [0, 1, 2]
    assert [label for label, _ in values(inner, "val_loss")] == [0, 1]
    assert {ended(outer).status, ended(inner).status} == {Status.FINISHED}


def test_what_the_command_line_keeps_for_itself_is_no_hyper_parameter(notify: Any, tmp_path: Path) -> None:
    module = model()
    module.save_hyperparameters({"_instantiator": "lightning.pytorch.cli.instantiate_module", "width": 8})
    callback = notify()
    fit(trainer(tmp_path, callback, max_epochs=1, enable_checkpointing=False), module)

    assert callback.run.params == {"rate": 0.05, "width": 8}
