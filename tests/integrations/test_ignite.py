"""The handler for PyTorch-Ignite, attached to real trainers whose step is a line."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.types import Status
from tests.support.training_runs import end_runs, recorded_events

pytestmark = [
    pytest.mark.needs("torch"),
    pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:DeprecationWarning"),  # Ignite's, at its import
]


@pytest.fixture
def notify() -> Iterator[Any]:
    """Make a handler with its runs in the test's folder."""
    from notifybot.integrations.ignite import NotifyHandler

    settings = {"wandb": "off", "tensorboard": "off"}
    yield lambda name="mnist", **options: NotifyHandler(name, config=settings, **options)
    end_runs()


def trainer_of(step: Any = lambda engine, batch: 1.0 / engine.state.iteration) -> Any:
    from ignite.engine import Engine

    return Engine(step)


def evaluator_of(trainer: Any, *, every: int = 1) -> Any:
    """An evaluator whose accuracy is the trainer's epoch, run after every so many epochs."""
    from ignite.engine import Engine, Events
    from ignite.metrics import Average

    evaluator = Engine(lambda engine, batch: float(trainer.state.epoch))
    Average().attach(evaluator, "accuracy")
    trainer.add_event_handler(Events.EPOCH_COMPLETED(every=every), lambda: evaluator.run([0, 0]))
    return evaluator


def recorded(handler: Any) -> list[Event]:
    assert handler.run is not None
    assert handler.run.session is not None
    return recorded_events(handler.run)


def ending(handler: Any) -> RunEnded:
    event = recorded(handler)[-1]
    assert isinstance(event, RunEnded)
    return event


def told(events: list[Event]) -> list[tuple[int | None, dict[str, float]]]:
    epochs = [each.progress for each in events if isinstance(each, EpochFinished)]
    return [(each.epoch, {name: metric.value for name, metric in each.metrics.items()}) for each in epochs]


def test_epochs_have_the_metrics_of_trainer_and_evaluators_of_that_epoch(notify: Any, tmp_path: Path) -> None:
    """Whatever was attached after us; an evaluation that was left out in an epoch is not told again."""
    from ignite.engine import Events
    from ignite.handlers import Checkpoint

    trainer = trainer_of()
    checkpoint = Checkpoint({"trainer": trainer}, tmp_path / "saved", n_saved=None)
    handler = notify()
    handler.attach(trainer, evaluators={"val": evaluator_of(trainer, every=2)}, checkpoint=checkpoint)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, checkpoint)
    trainer.run([0, 0], max_epochs=3)

    events = recorded(handler)
    assert [type(each) for each in events] == [RunStarted, *[EpochFinished, CheckpointSaved] * 3, RunEnded]
    assert told(events) == [
        (1, {"train_loss": 0.75}),
        (2, {"train_loss": pytest.approx((1 / 3 + 1 / 4) / 2), "val_accuracy": 2.0}),
        (3, {"train_loss": pytest.approx((1 / 5 + 1 / 6) / 2)}),
    ]
    saved = [each.checkpoint for each in events if isinstance(each, CheckpointSaved)]
    assert [(Path(each.path).name, each.epoch) for each in saved] == [
        (f"trainer_{epoch * 2}.pt", epoch) for epoch in (1, 2, 3)
    ]
    last = events[-1]
    assert isinstance(last, RunEnded)
    assert (last.status, last.progress.done, last.progress.total) == (Status.FINISHED, 3, 3)


def test_the_numbers_of_a_dictionary_that_the_step_returns_have_their_own_names(notify: Any) -> None:
    """As a GAN's two losses; a metric of the trainer's with the same name is the one that counts."""
    import torch
    from ignite.metrics import RunningAverage

    def step(engine: Any, batch: Any) -> dict[str, Any]:
        number = float(engine.state.iteration)
        return {
            "errD": number,
            "errG": torch.tensor(2 * number),
            "fake": torch.zeros(3),
            "phase": "warm-up",
            "D_x": 0.5,
        }

    trainer = trainer_of(step)
    RunningAverage(alpha=0.5, output_transform=lambda output: output["D_x"] + 1).attach(trainer, "D_x")
    handler = notify()
    handler.attach(trainer)
    trainer.run([0, 0], max_epochs=2)

    assert told(recorded(handler)) == [
        (1, {"errD": 1.5, "errG": 3.0, "D_x": 1.5}),
        (2, {"errD": 3.5, "errG": 7.0, "D_x": 1.5}),
    ]


def test_a_model_that_is_not_the_best_is_reported_where_it_was_saved(notify: Any, tmp_path: Path) -> None:
    """Ignite's own `last_checkpoint` is then the best one."""
    from ignite.engine import Events
    from ignite.handlers import Checkpoint

    trainer = trainer_of()
    scores = {1: 0.3, 2: 0.9, 3: 0.5, 4: 0.1}
    keeps_two = Checkpoint(
        {"trainer": trainer}, tmp_path / "saved", n_saved=2, score_function=lambda engine: scores[engine.state.epoch]
    )
    handler = notify()
    trainer.add_event_handler(Events.EPOCH_COMPLETED, keeps_two)
    handler.attach(trainer, checkpoint=[keeps_two])
    trainer.run([0], max_epochs=4)

    saved = [each.checkpoint for each in recorded(handler) if isinstance(each, CheckpointSaved)]
    assert [(Path(each.path).name, each.epoch) for each in saved] == [
        ("trainer_0.3000.pt", 1), ("trainer_0.9000.pt", 2), ("trainer_0.5000.pt", 3),
    ]  # fmt: skip


def test_iterations_are_counted_where_they_are_what_ends_the_training(notify: Any) -> None:
    """An evaluation amid an epoch is told when the trainer is beyond it."""
    from ignite.engine import Engine, Events
    from ignite.metrics import Average

    trainer = trainer_of(lambda engine, batch: None)
    evaluator = Engine(lambda engine, batch: float(trainer.state.iteration))
    Average().attach(evaluator, "score")
    handler = notify()
    handler.attach(trainer, evaluators={"val": evaluator})
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=4), lambda: evaluator.run([0]))
    trainer.run([0] * 10, max_iters=14)

    events = recorded(handler)
    assert told(events) == [
        (4, {"val_score": 4.0}), (8, {"val_score": 8.0}), (10, {}), (12, {"val_score": 12.0}), (14, {}),
    ]  # fmt: skip
    last = ending(handler)
    assert (last.status, last.progress.unit, last.progress.done, last.progress.total) == (
        Status.FINISHED,
        "step",
        14,
        14,
    )


def test_early_stopping_is_told(notify: Any) -> None:
    from ignite.engine import Events
    from ignite.handlers import EarlyStopping

    trainer = trainer_of()
    evaluator = evaluator_of(trainer)
    stops = EarlyStopping(patience=2, score_function=lambda engine: -engine.state.metrics["accuracy"], trainer=trainer)
    evaluator.add_event_handler(Events.COMPLETED, stops)
    handler = notify().attach(trainer, evaluators={"val": evaluator})
    trainer.run([0], max_epochs=9)

    last = ending(handler)
    assert (last.status, last.progress.done) == (Status.FINISHED, 3)
    assert last.note == "EarlyStopping: the score did not improve 2 times in a row (best −1)"


@pytest.mark.parametrize(("skip", "epochs"), [(False, 2), (True, 2)], ids=["to its end", "skipping completed"])
def test_a_terminated_training_was_stopped(notify: Any, *, skip: bool, epochs: int) -> None:
    from ignite.engine import Events

    trainer = trainer_of()
    handler = notify().attach(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda: trainer.terminate(skip_completed=skip))
    trainer.run([0], max_epochs=9)

    assert (ending(handler).status, ending(handler).progress.done) == (Status.STOPPED, epochs)


def test_a_number_that_is_not_finite_is_a_failure(notify: Any) -> None:
    from ignite.engine import Events
    from ignite.handlers import TerminateOnNan

    trainer = trainer_of(lambda engine, batch: {"loss": float("nan") if engine.state.epoch == 2 else 1.0})
    trainer.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())
    handler = notify().attach(trainer)
    trainer.run([0], max_epochs=9)

    last = ending(handler)
    assert (last.status, last.error) == (
        Status.FAILED,
        "the training was stopped because output is not finite [epoch 2]",
    )


def _fails(engine: Any, batch: Any) -> float:
    if engine.state.epoch == 2:
        raise ValueError("bad batch")
    return 1.0


def test_an_exception_is_told_and_raised(notify: Any) -> None:
    """With any handler of exceptions Ignite itself raises none."""
    trainer = trainer_of(_fails)
    handler = notify().attach(trainer)
    with pytest.raises(ValueError, match="bad batch"):
        trainer.run([0], max_epochs=3)

    assert (ending(handler).status, ending(handler).error) == (Status.FAILED, "ValueError: bad batch [epoch 2]")


@pytest.mark.parametrize("first", [True, False], ids=["before us", "after us"])
def test_a_program_s_own_handler_of_exceptions_decides(notify: Any, *, first: bool) -> None:
    from ignite.engine import Events

    trainer, heard, handler = trainer_of(_fails), [], notify()
    if first:
        trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: heard.append(str(error)))
    handler.attach(trainer)
    if not first:
        trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: heard.append(str(error)))
    trainer.run([0], max_epochs=3)

    assert heard == ["bad batch"]
    assert (ending(handler).status, ending(handler).progress.done) == (Status.FINISHED, 3)


def test_ignite_s_own_checkpoint_finds_the_run_again(notify: Any, tmp_path: Path) -> None:
    """The handler is saved with the trainer; each epoch is told once."""
    import torch
    from ignite.engine import Events
    from ignite.handlers import Checkpoint, DiskSaver

    def session(until: int, saved: Any = None) -> Any:
        trainer, handler = trainer_of(_fails if saved is None else lambda engine, batch: 1.0), notify()
        to_save = {"trainer": trainer, "notifybot": handler}
        if saved is not None:
            Checkpoint.load_objects(to_save, torch.load(saved, weights_only=True))
        checkpoint = Checkpoint(to_save, DiskSaver(tmp_path / "saved", require_empty=False), n_saved=None)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, checkpoint)
        handler.attach(trainer, checkpoint=checkpoint)
        trainer.run([0, 0], max_epochs=until)
        return handler

    with pytest.raises(ValueError, match="bad batch"):
        session(4)
    (path,) = (tmp_path / "saved").glob("*.pt")
    after = session(4, path)

    events = recorded(after)
    assert [epoch for epoch, _ in told(events)] == [1, 2, 3, 4]
    assert [(each.attempt, each.progress.done) for each in events if isinstance(each, RunStarted)] == [(1, 0), (2, 1)]


def test_torn_checkpoints_are_passed_over_and_told(notify: Any, tmp_path: Path) -> None:
    """As a machine that vanishes leaves them: the training goes on from the one before, as the same run."""
    import torch
    from ignite.engine import Events
    from ignite.handlers import Checkpoint, DiskSaver

    from notifybot.integrations.ignite import whole_checkpoint

    def session(until: int) -> Any:
        trainer, handler = trainer_of(), notify()
        to_save = {"trainer": trainer, "notifybot": handler}
        if newest := whole_checkpoint(tmp_path / "saved"):
            Checkpoint.load_objects(to_save, torch.load(newest, weights_only=True))
        checkpoint = Checkpoint(to_save, DiskSaver(tmp_path / "saved", require_empty=False), n_saved=None)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, checkpoint)
        handler.attach(trainer, checkpoint=checkpoint)
        trainer.run([0, 0], max_epochs=until)
        return handler

    session(4)
    torn = sorted((tmp_path / "saved").glob("*.pt"))[1:]
    for path in torn:
        os.truncate(path, path.stat().st_size - 100)
    events = recorded(session(5))

    (alert,) = (each for each in events if isinstance(each, AlertRaised))
    assert all(path.name in alert.text for path in torn)
    assert [epoch for epoch, _ in told(events)][-4:] == [2, 3, 4, 5]


def test_a_trainer_that_goes_on_goes_on_with_its_run(notify: Any) -> None:
    trainer = trainer_of()
    handler = notify().attach(trainer)
    trainer.run([0], max_epochs=2)
    first = handler.run.id
    trainer.run([0], max_epochs=4)

    assert (handler.run.id, [epoch for epoch, _ in told(recorded(handler))]) == (first, [1, 2, 3, 4])
    trainer.run([0], max_epochs=4)
    assert (handler.run.id != first, handler.run.name) == (True, "mnist #3")


def test_an_evaluation_after_the_training_is_told(notify: Any) -> None:
    trainer = trainer_of()
    evaluator = evaluator_of(trainer)
    handler = notify().attach(trainer, evaluators={"test": evaluator})
    trainer.run([0], max_epochs=2)
    evaluator.run([0])

    (alert,) = (each for each in recorded(handler) if isinstance(each, AlertRaised))
    assert alert.title == "Evaluation: test_accuracy 2"


def test_without_ignite_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ignite", None)
    monkeypatch.delitem(sys.modules, "notifybot.integrations.ignite", raising=False)

    with pytest.raises(ImportError, match="ignite needs ignite: pip install pytorch-ignite"):
        importlib.import_module("notifybot.integrations.ignite")
