"""`state=`: a small dict of plain values is saved with each checkpoint and restored into the same dict."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from notifybot import Checkpoints, UsageError
from notifybot.checkpoints.serialization import plain_copy, read_payload
from notifybot.checkpoints.state import Parts
from notifybot.events import AlertRaised, RunEnded
from notifybot.training.session import close
from tests.support.checkpointed_training import Training
from tests.support.training_parts import lines, written

pytestmark = pytest.mark.usefixtures("one_thread")

_ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_KEYS = st.text(max_size=10) | st.integers()


def _containers(inner: Any) -> Any:
    return (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(_KEYS, inner, max_size=3)
    )


_VALUES = st.dictionaries(_KEYS, st.recursive(_ATOMS, _containers, max_leaves=10), max_size=5)


@settings(max_examples=60, deadline=None)
@given(values=_VALUES, here=_VALUES)
def test_plain_values_come_back_into_the_same_dict(
    tmp_path_factory: pytest.TempPathFactory, values: dict[Any, Any], here: dict[Any, Any]
) -> None:
    """Each of its own type, tuples and keys included; what only the program has is kept."""
    before, kept = copy.deepcopy(values), {key: each for key, each in here.items() if key not in values}
    payload = Parts(model=nn.ReLU(), state=values).capture()
    path = written(payload, tmp_path_factory.mktemp("values") / "a.pt")

    assert repr(torch.load(path, weights_only=True)["state"]) == repr(before)
    Parts(model=nn.ReLU(), state=here).restore(read_payload(path))

    assert {repr(key): repr(each) for key, each in here.items()} == {
        repr(key): repr(each) for key, each in (before | kept).items()
    }


def test_the_saved_values_share_nothing_with_the_programs() -> None:
    """Neither after a save nor after a restore."""
    values: dict[str, Any] = {"seen": [1, {"a": 2}]}
    parts = Parts(model=nn.ReLU(), state=values)
    payload = parts.capture()

    values["seen"][1]["a"] = 3
    assert payload["state"] == {"seen": [1, {"a": 2}]}
    parts.restore(payload)
    values["seen"].append(4)
    assert payload["state"] == {"seen": [1, {"a": 2}]}


def test_numbers_of_numpy_and_tensors_of_one_element_become_pythons() -> None:
    """They are what a best value is in most loops, and are saved as the number that they are."""
    values = {"best": numpy.float64(0.5), "count": numpy.int64(3), "loss": torch.tensor([2.0], requires_grad=True)}

    saved = plain_copy(values)

    assert saved == {"best": 0.5, "count": 3, "loss": 2.0}
    assert [type(each) for each in saved.values()] == [float, int, float]


def _endless() -> list[Any]:
    endless: list[Any] = []
    endless += [endless] * 10
    return endless


def _deep(levels: int) -> Any:
    return [_deep(levels - 1)] if levels else 0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([("best", 0.3)], r'state= is a dict of plain values, such as \{"best": 0\.3\}, not list'),
        ({"best": {0.3}}, r"state\['best'\] holds builtins\.set; state= takes None, bool"),
        ({"a": [1, {"b": nn.ReLU()}]}, r"state\['a'\]\[1\]\['b'\] holds .*ReLU; .*state_dict goes into extra="),
        ({"weights": torch.zeros(3)}, r"state\['weights'\] holds torch\.Tensor"),
        ({"when": datetime(2026, 1, 2, tzinfo=UTC)}, r"state\['when'\] holds datetime\.datetime"),
        ({"seen": defaultdict(int)}, r"state\['seen'\] holds collections\.defaultdict"),
        ({"a": {None: 1}}, r"state\['a'\] has the key None of type builtins\.NoneType; use a string or a number"),
        ({"text": "가" * 30_000}, r"more than 64 KiB"),
        ({"list": [0.0] * 10_000}, r"more than 64 KiB"),
        ({"number": 1 << 1_000_000}, r"more than 64 KiB"),
        ({"itself": _endless()}, r"nests more than 16 levels|more than 64 KiB"),
        ({"deep": _deep(20)}, r"nests more than 16 levels deep or holds itself"),
    ],
)
def test_what_is_not_plain_or_too_large_is_refused_at_once(tmp_path: Path, values: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Checkpoints(tmp_path, model=nn.ReLU(), state=values)


def test_a_checkpoint_without_values_leaves_the_programs() -> None:
    """As one from before the program had any; and values that nobody asks for are said."""
    values = {"best": 0.3}

    notes = Parts(model=nn.ReLU(), state=values).restore(Parts(model=nn.ReLU()).capture())
    assert values == {"best": 0.3}
    assert lines(notes) == ["state: the checkpoint holds none, so the values are the program's"]

    notes = Parts(model=nn.ReLU()).restore(Parts(model=nn.ReLU(), state=values).capture())
    assert lines(notes) == ["the checkpoint also holds state, which was not asked for"]


def test_a_file_of_the_users_own_with_another_state_is_continued_from() -> None:
    """Many have a `state` of their own."""
    values = {"best": 0.3}

    Parts(model=nn.ReLU(), state=values).restore({"model_state_dict": {}, "state": {"optimizer": torch.zeros(2)}})

    assert values == {"best": 0.3}


@pytest.fixture
def config(tmp_path: Path) -> Iterator[dict[str, object]]:
    yield {"runs_dir": str(tmp_path / "runs"), "tensorboard": "off", "wandb": "off"}
    close()


def test_the_counters_of_early_stopping_go_on_after_a_restart(tmp_path: Path, config: dict[str, object]) -> None:
    """The patience that was used up before the machine went is used up after it."""

    def count(values: dict[str, Any]) -> Any:
        return lambda epoch: values.update(waited=values["waited"] + 1, epochs=[*values["epochs"], epoch])

    first: dict[str, Any] = {"waited": 0, "epochs": []}
    second: dict[str, Any] = {"waited": 0, "epochs": []}
    Training(tmp_path / "exp", config, state=first).train(until=3, at_epoch=count(first))
    Training(tmp_path / "exp", config, state=second).train(at_epoch=count(second))

    assert second == {"waited": 5, "epochs": [0, 1, 2, 3, 4]}


def test_a_value_that_stops_being_plain_is_told_and_stops_no_training(
    tmp_path: Path, config: dict[str, object]
) -> None:
    """The save says which one it is; the checkpoint before it stays."""
    values: dict[str, Any] = {"best": 0.3}

    def spoil(epoch: int) -> None:
        values["best"] = {0.3} if epoch == 1 else 0.3

    run = Training(tmp_path / "exp", config, state=values).train(range(3), at_epoch=spoil)

    alerts = [str(each) for each in run.of(AlertRaised)]
    assert any("holds builtins.set" in each for each in alerts), alerts
    assert len(run.of(RunEnded)) == 1
    assert sorted(path.name.split("_")[1] for path in (tmp_path / "exp").glob("*.pt")) == ["epoch0", "epoch2"]
