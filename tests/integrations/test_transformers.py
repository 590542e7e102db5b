"""Hugging Face's Trainer with the callback: what is reported equals the Trainer's own log, value by value."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("accelerate")
import torch
from torch import nn
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments

from notifybot.clock import SystemClock
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.integrations.transformers import _STATE, NotifyCallback, whole_checkpoint
from notifybot.types import Status
from tests.support.training_runs import recorded_events

ROWS, BATCH = 32, 8  # four steps an epoch


class Line(nn.Module):
    """A line through points, in the form that the Trainer wants."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        out = self.line(x)
        return {"loss": nn.functional.mse_loss(out, labels), "logits": out}


def rows(count: int = ROWS) -> list[dict[str, torch.Tensor]]:
    return [{"x": torch.tensor([i / count]), "labels": torch.tensor([2 * i / count])} for i in range(count)]


def trainer(tmp_path: Path, notify: NotifyCallback | None, *more: TrainerCallback, **changes: Any) -> Trainer:
    torch.manual_seed(0)
    given: dict[str, Any] = {
        "output_dir": str(tmp_path / "out"), "per_device_train_batch_size": BATCH, "num_train_epochs": 3,
        "eval_strategy": "epoch", "logging_strategy": "epoch", "save_strategy": "epoch", "report_to": [],
        "learning_rate": 0.1, "use_cpu": True, "disable_tqdm": True, "dataloader_pin_memory": False,
    }  # fmt: skip
    arguments = TrainingArguments(**given | changes)
    callbacks = [*([] if notify is None else [notify]), *more]
    return Trainer(Line(), arguments, train_dataset=rows(), eval_dataset=rows(8), callbacks=callbacks)


def recorded(notify: NotifyCallback) -> list[Event]:
    run = notify.run
    assert run is not None
    assert run.session is not None
    assert run.faults == {}
    return recorded_events(run)


def reported(events: list[Event]) -> list[dict[str, float]]:
    """Label and numbers of each report."""
    epochs = [each.progress for each in events if isinstance(each, EpochFinished)]
    return [
        {"label": float(each.epoch or 0)} | {name: one.value for name, one in each.metrics.items()} for each in epochs
    ]


def logged(history: list[dict[str, float]], *, by: str) -> list[dict[str, float]]:
    """The Trainer's own log, merged by step, in the same form."""
    steps: dict[float, dict[str, float]] = {}
    for line in history:
        if "train_runtime" not in line:
            steps.setdefault(line["step"], {}).update(line)
    label = (lambda line: round(line["epoch"]) - 1.0) if by == "epoch" else (lambda line: float(line["step"]))
    return [
        {"label": label(line)} | {name: value for name, value in line.items() if name not in ("epoch", "step")}
        for line in steps.values()
    ]


def ending(events: list[Event]) -> RunEnded:
    last = events[-1]
    assert isinstance(last, RunEnded)
    return last


def test_epochs_have_their_own_numbers_and_checkpoints(settings: dict[str, Any], tmp_path: Path) -> None:
    notify = NotifyCallback("line", config=settings)
    one = trainer(tmp_path, notify)
    one.train()
    one.evaluate()

    events = recorded(notify)
    assert [type(each) for each in events] == [
        RunStarted, *[EpochFinished, CheckpointSaved] * 3, RunEnded, AlertRaised
    ]  # fmt: skip
    history = [line for line in one.state.log_history if line["step"] <= 12][:-1]
    assert reported(events) == logged(history, by="epoch")
    assert [each.checkpoint.epoch for each in events if isinstance(each, CheckpointSaved)] == [0, 1, 2]
    started = events[0]
    assert isinstance(started, RunStarted)
    assert (started.total, started.params["learning_rate"], started.params["optim"]) == (3, 0.1, "adamw_torch_fused")
    assert all(each.progress.metrics["eval_runtime"].minor for each in events if isinstance(each, EpochFinished))
    alert = events[-1]
    assert isinstance(alert, AlertRaised)
    assert alert.title.startswith("Evaluation: eval_loss ")


def test_steps_have_labels_a_total_and_a_time_left(settings: dict[str, Any], tmp_path: Path) -> None:
    notify = NotifyCallback("line", config=settings)
    one = trainer(
        tmp_path, notify, max_steps=30, eval_strategy="steps", eval_steps=10, logging_strategy="steps",
        logging_steps=10, save_strategy="no",
    )  # fmt: skip
    one.train()

    events = recorded(notify)
    assert reported(events) == logged(one.state.log_history, by="step")
    steps = [each.progress for each in events if isinstance(each, EpochFinished)]
    assert [(each.done, each.total, each.unit, each.part) for each in steps] == [
        (10, 30, "step", 2.5), (20, 30, "step", 5.0), (30, 30, "step", 7.5)
    ]  # fmt: skip
    left = [each.eta_s or 0.0 for each in steps]
    assert left[0] > left[1] > left[2] == 0.0


def test_early_stopping_is_an_end_with_a_reason(settings: dict[str, Any], tmp_path: Path) -> None:
    notify = NotifyCallback("line", config=settings)
    one = trainer(
        tmp_path, notify, EarlyStoppingCallback(early_stopping_patience=2), num_train_epochs=20, learning_rate=0.0,
        metric_for_best_model="loss", load_best_model_at_end=True,
    )  # fmt: skip
    one.train()

    ended = ending(recorded(notify))
    assert (ended.status, ended.progress.done, ended.progress.total) == (Status.FINISHED, 3, 20)
    assert ended.note == "early stopping: loss did not improve in 2 evaluations"


def test_a_loss_that_the_trainer_hides_is_not_a_number(settings: dict[str, Any], tmp_path: Path) -> None:
    """`logging_nan_inf_filter` puts the mean of earlier losses in its place: that would be a new best."""

    class Breaks(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            if state.global_step == 6:
                model.line.weight.data.fill_(math.nan)

    notify = NotifyCallback("line", config=settings)
    trainer(tmp_path, notify, Breaks(), save_strategy="no", eval_strategy="no").train()

    assert [math.isnan(each["loss"]) for each in reported(recorded(notify))] == [False, True, True]


def test_a_resumed_trainer_goes_on_with_its_run(settings: dict[str, Any], tmp_path: Path) -> None:
    class Dies(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 10:
                raise RuntimeError("machine is gone")

    before = NotifyCallback("line", config=settings)
    with pytest.raises(RuntimeError), before:
        trainer(tmp_path, before, Dies(), num_train_epochs=4).train()
    after = NotifyCallback("line", config=settings)
    one = trainer(tmp_path, after, num_train_epochs=4)
    one.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))

    events = recorded(after)
    starts = [each for each in events if isinstance(each, RunStarted)]
    assert [(each.attempt, each.progress.done) for each in starts] == [(1, 0), (2, 1)]
    assert [each.resumed and (each.resumed.epoch, Path(each.resumed.path).name) for each in starts] == [
        None,
        (0, "checkpoint-4"),
    ]
    assert [each["label"] for each in reported(events)] == [0.0, 1.0, 1.0, 2.0, 3.0]
    last = ending(events)
    assert (last.progress.done, last.progress.metrics["eval_loss"].epochs) == (4, (0, 1, 2, 3))


def test_callbacks_that_the_trainer_makes_anew_keep_what_they_were_given(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    first = NotifyCallback("line", config=settings)
    trainer(tmp_path, first, num_train_epochs=2).train()
    again = NotifyCallback("other name", config=settings)
    one = trainer(tmp_path, again, num_train_epochs=3, restore_callback_states_from_checkpoint=True)
    one.train(resume_from_checkpoint=True)

    assert first.run is not None
    assert again.run is not None
    assert again.run.id == first.run.id
    assert [each["label"] for each in reported(recorded(again))] == [0.0, 1.0, 2.0]


def test_a_checkpoint_older_than_the_callback_is_gone_on_from(settings: dict[str, Any], tmp_path: Path) -> None:
    """The Trainer's save looks up each stateful callback in the state that it has loaded."""
    trainer(tmp_path, None, num_train_epochs=1).train()
    notify = NotifyCallback("line", config=settings)
    trainer(tmp_path, notify, num_train_epochs=2).train(resume_from_checkpoint=True)

    assert [each["label"] for each in reported(recorded(notify))] == [1.0]


@pytest.mark.parametrize(
    "torn",
    [
        "optimizer.pt",
        *(pytest.param(each, marks=pytest.mark.field) for each in ("model.safetensors", _STATE, "scheduler.pt")),
    ],
)
def test_a_torn_checkpoint_is_passed_over_and_told(settings: dict[str, Any], tmp_path: Path, torn: str) -> None:
    """The Trainer itself raises for each; the one before is gone on from, in the same run."""
    out = tmp_path / "out"
    first = NotifyCallback("line", config=settings)
    trainer(tmp_path, first, num_train_epochs=2).train()
    assert whole_checkpoint(out) == str(out / "checkpoint-8")
    if torn == "scheduler.pt":
        (out / "checkpoint-8" / torn).unlink()
    else:
        os.truncate(out / "checkpoint-8" / torn, 700)

    again = NotifyCallback("line", config=settings)
    trainer(tmp_path, again, num_train_epochs=3).train(resume_from_checkpoint=whole_checkpoint(out))

    events = recorded(again)
    told = [each for each in events if isinstance(each, AlertRaised)]
    assert [(each.about, each.notice and each.notice.used) for each in told] == [("checkpoint", "checkpoint-4")]
    assert torn.split(".")[0] in told[0].text
    assert first.run is not None
    assert again.run is not None
    assert again.run.id == first.run.id
    assert [each["label"] for each in reported(events)] == [0.0, 1.0, 1.0, 2.0]


def test_no_whole_checkpoint_begins_anew(tmp_path: Path) -> None:
    """As on the first start, when there is no folder yet."""
    (tmp_path / "out" / "checkpoint-4").mkdir(parents=True)
    (tmp_path / "out" / "checkpoint-x").mkdir()

    assert (whole_checkpoint(tmp_path / "none"), whole_checkpoint(tmp_path / "out")) == (None, None)


def test_by_default_it_counts_steps_and_reports_at_each_log(settings: dict[str, Any], tmp_path: Path) -> None:
    """Without an evaluation, and with what is no number among the logs, as TRL has it."""

    class LogsMore(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            logs |= {"clip_ratio": None, "note": "text", "reward": [1.0]}

    notify = NotifyCallback("line", config=settings)
    one = trainer(
        tmp_path, None, LogsMore(), notify, eval_strategy="no", logging_strategy="steps", logging_steps=5,
        save_strategy="steps", save_steps=6,
    )  # fmt: skip
    one.train()

    events = recorded(notify)
    assert reported(events) == logged(one.state.log_history, by="step")
    steps = [each.progress for each in events if isinstance(each, EpochFinished)]
    assert [(each.done, each.total, each.unit) for each in steps] == [(5, 12, "step"), (10, 12, "step")]
    assert [each.checkpoint.epoch for each in events if isinstance(each, CheckpointSaved)] == [6, 12]


def test_logs_that_come_fast_are_reported_once_a_second_but_for_what_would_be_missed(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """Ten as they come; then a NaN at once, and a metric that is not logged again at its own step."""

    class Stands(SystemClock):
        def monotonic(self) -> float:
            return 1000.0

    class LogsMore(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if notify.run is not None:
                notify.run.clock = Stands()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            logs |= {20: {"rare": 1.0}, 30: {"loss": math.nan}}.get(state.global_step, {})

    notify = NotifyCallback("line", config=settings)
    one = trainer(
        tmp_path, None, LogsMore(), notify, eval_strategy="no", logging_strategy="steps", logging_steps=1,
        max_steps=40, save_strategy="no",
    )  # fmt: skip
    one.train()

    told, history = reported(recorded(notify)), logged(one.state.log_history, by="step")
    assert [*range(1, 11), 20, 30, 40] == [each["label"] for each in told]
    assert [history[int(each["label"]) - 1]["grad_norm"] for each in told] == [each["grad_norm"] for each in told]
    assert [each["label"] for each in told if "rare" in each] == [20]
    assert [each["label"] for each in told if math.isnan(each["loss"])] == [30]


def test_several_sets_of_one_evaluation_are_one_report(settings: dict[str, Any], tmp_path: Path) -> None:
    notify = NotifyCallback("line", config=settings)
    one = trainer(
        tmp_path, notify, max_steps=8, eval_strategy="steps", eval_steps=4, logging_steps=4, save_strategy="no"
    )
    one.eval_dataset = {"a": rows(8), "b": rows(16)}
    one.train()

    told = reported(recorded(notify))
    assert told == logged(one.state.log_history, by="step")
    assert [(each["label"], "eval_a_loss" in each, "eval_b_loss" in each) for each in told] == [
        (4.0, True, True), (8.0, True, True)
    ]  # fmt: skip


def test_evaluations_within_an_epoch_are_each_reported(settings: dict[str, Any], tmp_path: Path) -> None:
    """Whatever the losses are logged by: an epoch would have but the last of them."""
    notify = NotifyCallback("line", config=settings)
    one = trainer(tmp_path, notify, eval_strategy="steps", eval_steps=3, save_strategy="no")
    one.train()

    assert reported(recorded(notify)) == logged(one.state.log_history, by="step")


def test_a_checkpoint_after_an_epoch_s_last_step_is_of_that_epoch(settings: dict[str, Any], tmp_path: Path) -> None:
    """Saved by steps, it comes before the Trainer's own word that the epoch is over; the last one always does."""
    notify = NotifyCallback("line", config=settings)
    trainer(tmp_path, notify, save_strategy="steps", save_steps=3).train()

    saved = [each.checkpoint for each in recorded(notify) if isinstance(each, CheckpointSaved)]
    assert [(Path(each.path).name, each.epoch) for each in saved] == [
        ("checkpoint-3", None), ("checkpoint-6", 0), ("checkpoint-9", 1), ("checkpoint-12", 2)
    ]  # fmt: skip


def test_an_epoch_is_recorded_before_the_checkpoint_that_goes_on_after_it(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """A process that is killed once its checkpoint is whole never comes to that epoch again."""
    seen: list[list[float]] = []

    class Looks(TrainerCallback):
        def on_save(self, *args: Any, **kwargs: Any) -> None:
            seen.append([each["label"] for each in reported(recorded(notify))])

    notify = NotifyCallback("line", config=settings)
    trainer(tmp_path, None, Looks(), notify).train()

    assert seen == [[0.0], [0.0, 1.0], [0.0, 1.0, 2.0]]
