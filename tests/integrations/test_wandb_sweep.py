"""A sweep as people hear of it. W&B's server hands out the trials; here a loop does, exactly as its agent would.

The agent calls the function in a thread of its own, with the trial's id, the sweep's id and a file of parameters in
the environment, behind a fresh start of W&B's service (wandb/agents/pyagent.py). Nothing here shows that the server
takes what is sent.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from notifybot.config import Config, load
from notifybot.errors import UsageError
from notifybot.events import AlertRaised
from notifybot.integrations.wandb_sweep import Sweep, notify_sweep
from notifybot.testing import RecordingNotifier
from notifybot.training.run import Run
from notifybot.training.session import close
from notifybot.types import Language, Severity
from tests.support import wandb_records

# W&B leaves the file of parameters open, which Python says when it collects it.
pytestmark = pytest.mark.filterwarnings("ignore:.*config-:pytest.PytestUnraisableExceptionWarning")


class Agent:
    """Calls a function once per set of parameters, as W&B's agent does."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.errors: list[BaseException] = []
        self._patch = monkeypatch

    def run(self, function: Callable[[], Any], *trials: dict[str, Any]) -> None:
        for place, params in enumerate(trials):
            file = self.folder / f"config-{place}.yaml"
            file.write_text(json.dumps({"wandb_version": 1, **{key: {"value": params[key]} for key in params}}))
            self._patch.setenv("WANDB_RUN_ID", f"trial{place}")
            self._patch.setenv("WANDB_SWEEP_ID", "sweep1")
            self._patch.setenv("WANDB_SWEEP_PARAM_PATH", str(file))
            wandb.teardown()
            thread = threading.Thread(target=self._call, args=(function,))
            thread.start()
            thread.join()

    def _call(self, function: Callable[[], Any]) -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001  # as the agent does, whatever was raised
            self.errors.append(error)


@pytest.fixture
def people() -> RecordingNotifier:
    return RecordingNotifier()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    yield Agent(tmp_path, monkeypatch)
    wandb.teardown()
    close()


def settings(language: Language = Language.EN) -> Config:
    return load({"lang": language, "tensorboard": "off"})


def sweep_of(people: RecordingNotifier, language: Language = Language.EN, **options: Any) -> Sweep:
    chosen = {"monitor": "val_acc", **options}
    return notify_sweep("digits", config=settings(language), notifiers=[people], **chosen)


def alerts(sweep: Sweep, people: RecordingNotifier) -> list[AlertRaised]:
    """What people were told, after all was delivered."""
    assert sweep.run is not None
    sweep.run.flush(30)
    found = [each.event for each in people.sent]
    return [event for event in found if isinstance(event, AlertRaised)]


def train(run: Run) -> None:
    """Gets better until the second epoch, and then worse; one rate is too high."""
    lr = wandb.config["lr"]
    if lr > 1:
        raise FloatingPointError("the loss is not finite")
    for epoch, value in enumerate((lr / 2, lr, lr / 4)):
        run.log_epoch(epoch, {"val_acc": value})


def test_people_hear_of_each_trial_and_then_of_the_best(agent: Agent, people: RecordingNotifier) -> None:
    """One run, one line for each trial whatever became of it, one summary; the trials' epochs are not told."""
    with sweep_of(people, count=3) as sweep:
        agent.run(sweep.trial(train), {"lr": 0.5, "seed": 1}, {"lr": 0.25}, {"lr": 2.0})

    told = alerts(sweep, people)
    assert [each.title for each in told] == [
        "Trial 1/3: val_acc = 0.5 · best so far",
        "Trial 2/3: val_acc = 0.25 (best 0.5, #1)",
        "Trial 3/3: failed (FloatingPointError) (best 0.5, #1)",
        "Sweep result: best val_acc = 0.5, #1 (3 trials, 1 failed)",
    ]
    assert told[0].text == told[-1].text == "lr = 0.5\nseed = 1"
    assert [told[2].severity, told[3].severity] == [Severity.WARNING, Severity.SUCCESS]
    assert people.kinds.count("run_started") == people.kinds.count("run_ended") == 1
    assert "epoch_finished" not in people.kinds


def test_each_trial_is_a_wandb_run_of_the_sweep_with_its_epochs(agent: Agent, people: RecordingNotifier) -> None:
    """Under the id that the agent gave, ended as the trial did, and with what it raised handed on to the agent."""
    with sweep_of(people) as sweep:
        agent.run(sweep.trial(train), {"lr": 0.5}, {"lr": 2.0})

    wandb.teardown()
    records = {path.stem: wandb_records.read(path) for path in agent.folder.rglob("offline-run-*/run-*.wandb")}
    exits = {name: [each.exit.exit_code for each in found if each.HasField("exit")] for name, found in records.items()}
    assert exits == {"run-trial0": [0], "run-trial1": [1]}
    assert [row["val_acc"] for row in wandb_records.history(records["run-trial0"])] == [0.25, 0.5, 0.125]
    (run,) = (each.run for each in records["run-trial0"] if each.HasField("run"))
    assert run.sweep_id == "sweep1"
    assert [str(error) for error in agent.errors] == ["the loss is not finite"]


def test_a_function_that_only_logs_to_wandb_is_compared_by_its_last_value(
    agent: Agent, people: RecordingNotifier
) -> None:
    """A function written for W&B alone works as it is."""

    def plain() -> None:
        wandb.log({"val_loss": 10.0})
        wandb.log({"val_loss": wandb.config["lr"]})

    with sweep_of(people, monitor="val_loss") as sweep:
        agent.run(sweep.trial(plain), {"lr": 0.5}, {"lr": 0.25})

    assert sweep.best is not None
    assert (sweep.best.number, sweep.best.value) == (2, 0.25)


def test_a_large_sweep_can_tell_its_best_trials_only(agent: Agent, people: RecordingNotifier) -> None:
    """And those that fail, which may be all of the rest."""
    with sweep_of(people, tell="best") as sweep:
        agent.run(sweep.trial(train), {"lr": 0.5}, {"lr": 0.25}, {"lr": 2.0}, {"lr": 0.75})

    assert [each.title.partition(":")[0] for each in alerts(sweep, people)] == [
        "Trial 1",
        "Trial 3",
        "Trial 4",
        "Sweep result",
    ]


def test_korean_and_english_are_equals(agent: Agent, people: RecordingNotifier) -> None:
    """The same facts in the same places."""
    with sweep_of(people, Language.KO, count=2) as sweep:
        agent.run(sweep.trial(train), {"lr": 0.5}, {"lr": 2.0})

    assert [each.title for each in alerts(sweep, people)] == [
        "트라이얼 1/2: val_acc = 0.5 · 지금까지 최고",
        "트라이얼 2/2: 실패했습니다(FloatingPointError) (최고 0.5, #1)",
        "스윕 결과: 최고 val_acc = 0.5, #1 (트라이얼 2회, 실패 1회)",
    ]


def test_a_sweep_without_a_single_value_says_so(people: RecordingNotifier, agent: Agent) -> None:
    """A misspelt metric must not look like a result."""
    with sweep_of(people, monitor="vall_acc") as sweep:
        pass

    (told,) = alerts(sweep, people)
    assert (told.title, told.severity) == ("Sweep result: no value of vall_acc (0 trials)", Severity.WARNING)


def test_a_trial_that_the_sweep_gave_up_is_no_failure(agent: Agent, people: RecordingNotifier) -> None:
    """Early termination ends it by a bare exception; its value so far counts."""

    def given_up(run: Run) -> None:
        run.log_epoch(0, {"val_acc": 0.25})
        raise Exception

    with sweep_of(people) as sweep:
        agent.run(sweep.trial(given_up), {"lr": 0.5})

    assert [each.title for each in alerts(sweep, people)] == [
        "Trial 1: val_acc = 0.25 · best so far",
        "Sweep result: best val_acc = 0.25, #1 (1 trial)",
    ]


def test_nan_is_never_the_best(agent: Agent, people: RecordingNotifier) -> None:
    """It compares as neither less nor more."""

    def diverges(run: Run) -> None:
        run.log_epoch(0, {"val_loss": wandb.config["value"] or math.nan})

    with sweep_of(people, monitor="val_loss") as sweep:
        agent.run(sweep.trial(diverges), {"value": 0}, {"value": 3.0}, {"value": 0})

    assert sweep.best is not None
    assert sweep.best.number == 2


def test_misuse_is_an_error_before_the_first_trial(people: RecordingNotifier) -> None:
    """A direction nobody can tell, and a trial outside the block."""
    with pytest.raises(UsageError, match="novelty:max"):
        sweep_of(people, monitor="novelty")
    with pytest.raises(UsageError, match="inside its block"):
        sweep_of(people).trial(train)()
