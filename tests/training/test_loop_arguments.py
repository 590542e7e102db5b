"""Wrong arguments: each is named before the first epoch, with what was given and what belongs there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from notifybot import Checkpoints, freeze, model_size, notify_epoch, notify_run, unfreeze  # noqa: E402
from notifybot.config import load  # noqa: E402
from notifybot.errors import ConfigError, UsageError  # noqa: E402
from notifybot.testing import RecordingNotifier  # noqa: E402
from notifybot.training.session import close  # noqa: E402

HOOK = "https://hooks.slack.invalid/services/T0/B0/canary-not-a-secret"


@pytest.fixture(autouse=True)
def forget_what_is_open() -> Any:
    """Runs of a process share their database: a test leaves none open."""
    yield
    close()


def epochs_with(**given: Any) -> list[int]:
    return list(notify_epoch(range(2), name="a", progress=False, **given))


def block_with(**given: Any) -> None:
    with notify_run("a", **given):
        pass


@pytest.mark.parametrize("start", [epochs_with, block_with])
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"project": 5}, 'project= is the name of a project, such as "vision", not int'),
        ({"project": b"x"}, "project= .* not bytes"),
        ({"monitor": 5}, 'monitor= is the name of a metric, such as "val_acc" or "reward:max", not int'),
        ({"monitor": ["val_acc"]}, "monitor= .* not list"),
        ({"notifiers": 5}, "notifiers= takes a list of notifiers, not int"),
        ({"notifiers": "slack"}, r"notifiers= takes a list of notifiers, not str\. Slack .* by config="),
        ({"notifiers": RecordingNotifier()}, "notifiers= takes a list of notifiers, not RecordingNotifier"),
        ({"notifiers": [RecordingNotifier]}, "notifiers= holds the class RecordingNotifier itself"),
        ({"notifiers": [object()]}, "object has no name, key, pace, send, close"),
        ({"notifiers": [HOOK]}, r"str has no name, .*config=\{\"slack_webhook_url\""),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(start: Callable[..., object], given: dict[str, Any], told: str) -> None:
    """Nothing is begun, and a value is not repeated: it may be a secret in the wrong place."""
    with pytest.raises(UsageError, match=told) as caught:
        start(**given)

    assert "canary" not in str(caught.value)
    assert not (load().state_dir / "notifybot.db").exists()


@pytest.mark.parametrize("start", [epochs_with, block_with])
@pytest.mark.parametrize(
    ("config", "told"),
    [
        (5, 'config= takes settings such as {"lang": "ko"}, or a Config, not int'),
        ("notifybot.toml", "not str; a file is named by NOTIFYBOT_CONFIG"),
        (Path("notifybot.toml"), "a file is named by NOTIFYBOT_CONFIG"),
        ([("lang", "ko")], "not list"),
        ({1: "ko"}, "not a dict whose keys are no text"),
    ],
)
def test_settings_of_the_wrong_kind_are_told(start: Callable[..., object], config: Any, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        start(config=config)

    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"checkpoints": "exp_1"}, "checkpoints= takes what Checkpoints.* not str; the folder goes into Checkpoints"),
        ({"checkpoints": 5}, "checkpoints= takes what Checkpoints.* not int$"),
        ({"total": "30"}, "total= is the whole run's number of epochs, such as 30, not str"),
        ({"total": 1.5}, "total= .* not float"),
        ({"model": 5}, "model is a torch.nn.Module, .* not int"),
        ({"checkpoints": "exp"}, "checkpoints= takes what .* not str; the folder goes into Checkpoints"),
        ({"checkpoints": Checkpoints}, "checkpoints= takes what .* not the class"),
    ],
)
def test_what_epochs_alone_take_is_looked_at_too(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        epochs_with(**given)


@pytest.mark.parametrize("epochs", [[0, 1, 2, 0, 1, 2], (1, 1), range(5, 0, -1), [3, 2]])
def test_epochs_that_cannot_be_continued_are_refused(epochs: Any, tmp_path: Path) -> None:
    """Labels that do not rise would train the wrong epochs on the next start; without checkpoints they are fine."""
    checkpoints = Checkpoints(tmp_path / "exp", model=torch.nn.Linear(2, 1))

    with pytest.raises(UsageError, match=r"labelled in rising order, such as range\(30\), not"):
        notify_epoch(epochs, checkpoints=checkpoints)

    assert not (tmp_path / "exp").exists()
    assert list(notify_epoch(epochs, name="a", progress=False)) == list(epochs)


@pytest.mark.parametrize("epochs", [[], [7], [1, 2, 9], range(3), range(1, 9, 4), range(5, 0), iter([2, 1])])
def test_epochs_that_rise_or_cannot_be_seen_are_taken(epochs: Any, tmp_path: Path) -> None:
    notify_epoch(epochs, checkpoints=Checkpoints(tmp_path / "exp", model=torch.nn.Linear(2, 1)))


def test_what_is_meant_is_taken() -> None:
    """Subclasses and look-alikes pass: only what cannot work is refused."""
    told = RecordingNotifier()

    assert epochs_with(project="p", monitor="val_acc", total=torch.tensor(2), notifiers=(told,)) == [0, 1]

    block_with(notifiers=[])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: freeze(None), "model is a torch.nn.Module, .* not NoneType"),
        (lambda: unfreeze(5), "model is a torch.nn.Module, .* not int"),
        (lambda: model_size("resnet"), "model is a torch.nn.Module, .* not str"),
        (lambda: freeze(torch.nn.Linear(2, 1), 5), r"the parts are names, .* not int"),
        (lambda: unfreeze(torch.nn.Linear(2, 1), None), r"the parts are names, .* not NoneType"),
    ],
    ids=["freeze", "unfreeze", "model_size", "parts", "no parts"],
)
def test_what_is_no_model_is_told(call: Callable[[], object], told: str) -> None:
    """Such as the None of a function that forgot its return."""
    with pytest.raises(UsageError, match=told):
        call()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"folder": 5}, 'the folder is a path such as "exp_1", not int'),
        ({"folder": None}, "the folder is a path .* not NoneType"),
        ({"local": 5}, "local= .* not int"),
        ({"model": None}, "model= .* not None"),
        ({"extra": [1]}, "extra= names further objects.* not list"),
        ({"monitor": 5}, "monitor= is the name of a metric.* not int"),
        ({"template": None}, "template= is a file name.* not NoneType"),
        ({"keep_last": "3"}, "keep_last= is a whole number of checkpoints, not '3'"),
        ({"keep_best": None}, "keep_best= is a whole number of checkpoints, not None"),
        ({"every": "x"}, "every= is a whole number of epochs from 1, not 'x'"),
        ({"every_s": "x"}, "every_s= is a number of seconds above 0, not 'x'"),
        ({"grace_s": None}, "grace_s= is a number of seconds from 0, not None"),
        ({"patience_s": [1]}, r"patience_s= is a number of seconds from 0, not \[1\]"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_checkpoints_are_given_what_they_can_use(given: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        Checkpoints(**{"folder": tmp_path / "c", "model": torch.nn.Linear(2, 1), **given})


def _objects() -> dict[str, Any]:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    return {
        "model": model,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "scaler": torch.amp.GradScaler("cpu"),
        "class": torch.optim.SGD,
        "optimizers": [optimizer, optimizer],
        "by name": {"body": optimizer, "head": optimizer},
        "state": model.state_dict(),
        "tensor": torch.zeros(2, requires_grad=True),
        "number": 0.5,
    }


@pytest.mark.parametrize("place", ["optimizer", "scheduler", "scaler"])
@pytest.mark.parametrize("given", ["model", "optimizer", "scheduler", "scaler"])
def test_an_object_in_the_place_of_another_is_told_its_own(given: str, place: str, tmp_path: Path) -> None:
    """It has a state, so that it would be saved and put back, and the one that belongs there would be lost."""
    objects = _objects()
    if given == place:
        Checkpoints(tmp_path / "c", model=objects["model"], **{place: objects[given]})
        return

    with pytest.raises(UsageError, match=rf"{place}= is \w+, which goes into {given}="):
        Checkpoints(tmp_path / "c", model=objects["model"], **{place: objects[given]})


@pytest.mark.parametrize("where", ["model", "optimizer", "extra"])
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("class", r"is the class SGD itself: give the object that you made of it, as SGD\(…\) returns it"),
        ("state", r"is a OrderedDict without .* Give the object itself, not its state_dict"),
        ("tensor", r"is a Tensor without .*\. A tensor that learns goes into .*ParameterList"),
        ("number", r"is a float without state_dict and load_state_dict; a checkpoint needs both$"),
    ],
)
def test_what_has_no_state_is_told_what_to_give_instead(given: str, told: str, where: str, tmp_path: Path) -> None:
    objects = _objects()
    arguments = {"extra": {"more": objects[given]}} if where == "extra" else {where: objects[given]}

    with pytest.raises(UsageError, match=told):
        Checkpoints(tmp_path / "c", **{"model": objects["model"], **arguments})


@pytest.mark.parametrize("given", ["optimizers", "by name"])
def test_several_go_where_one_goes_and_into_extra_by_name(given: str, tmp_path: Path) -> None:
    objects = _objects()
    several = objects[given]

    Checkpoints(tmp_path / "c", model=objects["model"], optimizer=several)
    with pytest.raises(UsageError, match=r"model\[.*\]= is SGD, which goes into optimizer="):
        Checkpoints(tmp_path / "c", model=several)
    with pytest.raises(UsageError, match="Give each of them a name of its own, not a"):
        Checkpoints(tmp_path / "c", model=objects["model"], extra={"more": several})


@pytest.mark.parametrize(
    ("given", "best"),
    [
        ({"monitor": "val_loss"}, ("val_loss", "min")),
        ({"monitor": "val_acc"}, ("val_acc", "max")),
        ({"monitor": "val_acc", "mode": "min"}, ("val_acc", "min")),
        ({"monitor": "reward:max"}, ("reward", "max")),
        ({"monitor": "reward", "mode": "max"}, ("reward", "max")),
        ({"monitor": "a:b:min"}, ("a:b", "min")),
        ({}, (None, "min")),
    ],
)
def test_the_best_checkpoint_goes_by_what_the_metrics_name_tells(
    given: dict[str, Any], best: tuple[str | None, str], tmp_path: Path
) -> None:
    """As for `notify_epoch(monitor=…)`: else the checkpoint with the lowest accuracy would be kept as the best."""
    checkpoints = Checkpoints(tmp_path / "c", model=torch.nn.Linear(2, 1), **given)

    assert best == (checkpoints.monitor, checkpoints.mode)


def test_a_metric_whose_name_does_not_tell_needs_a_mode(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"monitor='entropy' does not tell .* mode="):
        Checkpoints(tmp_path / "c", model=torch.nn.Linear(2, 1), monitor="entropy")
