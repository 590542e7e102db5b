"""Averages within an epoch."""

from __future__ import annotations

import gc
import logging
import math
import sys
import tracemalloc
import weakref
from decimal import Decimal
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from notifybot.errors import UsageError
from notifybot.training.metrics import Closed, Meter


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(0.5, id="float"),
        pytest.param(Decimal("0.5"), id="decimal"),
        pytest.param(Fraction(1, 2), id="fraction"),
        pytest.param(np.float32(0.5), id="numpy scalar"),
        pytest.param(np.float16(0.5), id="numpy half"),
        pytest.param(np.array(0.5), id="numpy 0-d"),
        pytest.param(np.array([0.5]), id="numpy one element"),
        pytest.param(torch.tensor(0.5), id="tensor"),
        pytest.param(torch.tensor([0.5]), id="tensor of one element"),
        pytest.param(torch.tensor([[0.5]], dtype=torch.bfloat16), id="bfloat16 of one element"),
        pytest.param(torch.tensor(0.5, dtype=torch.float16), id="half"),
        pytest.param(torch.tensor(0.5, requires_grad=True), id="requires grad"),
        pytest.param(torch.nn.Parameter(torch.tensor(0.5)), id="parameter"),
        pytest.param(torch.ones(8)[3] / 2, id="view"),
    ],
)
def test_one_number_of_any_kind_is_taken(value: Any) -> None:
    meter = Meter()
    for _ in range(3):
        meter.log(loss=value)

    assert meter.read() == {"loss": 0.5}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(3, 3.0, id="int"),
        pytest.param(True, 1.0, id="bool"),
        pytest.param(np.int64(3), 3.0, id="numpy int"),
        pytest.param(torch.tensor(3), 3.0, id="int tensor"),
        pytest.param(torch.tensor(True), 1.0, id="bool tensor"),
    ],
)
def test_whole_numbers_become_floats(value: Any, expected: float) -> None:
    meter = Meter()
    meter.log(count=value)
    meter.log(count=value)

    mean = meter.read()["count"]

    assert mean == expected
    assert type(mean) is float


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("0.5", id="text"),
        pytest.param(None, id="none"),
        pytest.param(1 + 2j, id="complex"),
        pytest.param([0.5], id="list"),
        pytest.param({"a": 1.0}, id="dict"),
        pytest.param(np.zeros(8), id="numpy array"),
        pytest.param(np.zeros(0), id="empty array"),
        pytest.param(np.complex64(1), id="numpy complex"),
        pytest.param(torch.zeros(8), id="tensor"),
        pytest.param(torch.zeros(0), id="empty tensor"),
        pytest.param(torch.tensor(1j), id="complex tensor"),
    ],
)
def test_a_first_value_that_is_no_number_is_refused_by_name(value: Any) -> None:
    meter = Meter()

    with pytest.raises(UsageError, match="metric 'accuracy'") as caught:
        meter.log(loss=1.0, accuracy=value)

    assert meter.read() == {"loss": 1.0}
    assert caught.value.__context__ is None, "an error of ours above it would be read first"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        pytest.param(None, "metric 'x' is None: leave it out", id="none"),
        pytest.param("good", "epochs.tensorboard.add_text(…) or epochs.run.alert(…)", id="text"),
        pytest.param(np.zeros(3), "ndarray of shape (3,) of float64: log its mean", id="array"),
        pytest.param([0.5, 0.6], "not list: log its mean, or one name for each number", id="list"),
        pytest.param({"a": 0.5}, "not dict: log each of its numbers under a name of its own", id="mapping"),
        pytest.param(torch.tensor(0.5).item, "log what it gives, such as loss.item()", id="method"),
        pytest.param(torch.nn.Linear(2, 1), "not Linear: log what it gives", id="module"),
    ],
)
def test_the_advice_fits_what_was_logged(value: Any, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        Meter().log(x=value)

    assert says in str(caught.value)


def test_the_advice_is_in_the_readers_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFYBOT_LANG", "ko")

    with pytest.raises(UsageError, match=r"지표 'x'의 값이 None입니다\. 값이 없을 때는 빼고 기록하세요"):
        Meter().log(x=None)


HOPELESS: dict[str, dict[Any, Any]] = {
    "none": {"f1": None},
    "text": {"note": "good"},
    "bytes": {"note": b"good"},
    "array": {"logits": np.zeros(8)},
    "tensor": {"logits": torch.zeros(8)},
    "list": {"losses": [0.5, 0.6]},
    "long name": {"grad/" + "encoder.block." * 20: 1.0},
    "number as a name": {3: 1.0},
    "none as a name": {None: 1.0},
    "empty name": {"": 1.0},
    "object": {"thing": object()},
}


@pytest.mark.parametrize("values", HOPELESS.values(), ids=HOPELESS)
@pytest.mark.parametrize("call", ["log", "log_epoch"])
def test_after_the_first_epoch_nothing_is_raised_whatever_is_logged(
    values: dict[Any, Any], call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Hours in, a name that is new costs its value and one warning, never the training."""
    meter = Meter(call)
    meter.loud = False
    for _ in range(3):
        meter.log({**values, "loss": 0.5})

    assert meter.read() == {"loss": 0.5}
    assert list(meter.refused.values()) == [3]
    (said,) = [record.getMessage() for record in caplog.records]
    assert next(iter(meter.refused)) in said
    assert len(said) < 400


def test_one_warning_names_all_that_one_call_lost(caplog: pytest.LogCaptureFixture) -> None:
    meter = Meter()
    meter.loud = False
    meter.log(a=None, b="text", loss=1.0)

    (said,) = [record.getMessage() for record in caplog.records]
    assert "'a' is None" in said
    assert "'b' takes a number" in said


@pytest.mark.parametrize("wrong", [0.5, "loss", [("loss", 1)]])
def test_a_late_value_without_a_name_is_skipped(wrong: Any) -> None:
    meter = Meter()
    meter.loud = False

    meter.log(wrong, acc=0.5)

    assert meter.read() == {"acc": 0.5}
    assert meter.refused == {type(wrong).__name__: 1}


def test_names_that_are_made_up_at_every_step_do_not_fill_the_memory(caplog: pytest.LogCaptureFixture) -> None:
    meter = Meter()
    meter.loud = False
    for step in range(1000):
        meter.log({f"note/{step}": "text"})

    assert len(meter.refused) == len(caplog.records) == 51
    assert sum(meter.refused.values()) == 1000


@pytest.mark.parametrize("values", [{"loss": 0.5, "reward": None}, {"reward": None}, {"loss": 0.5, "mode": "greedy"}])
def test_what_a_framework_puts_beside_its_numbers_is_left_out(values: dict[str, Any]) -> None:
    """Trainers hand over all they have, and nobody typed it: https://github.com/huggingface/trl logs None."""
    meter = Meter("log_epoch")

    meter.log(values)

    assert meter.read() == {name: value for name, value in values.items() if isinstance(value, float)}
    assert len(meter.refused) == 1


@pytest.mark.parametrize(("closed", "says"), [(Closed.BEFORE, "before the first epoch"), (Closed.AFTER, "had ended")])
def test_what_belongs_to_no_epoch_is_skipped_and_said_once(
    closed: Closed, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    meter = Meter()
    meter.log(acc=0.5)
    meter.close(closed)
    for _ in range(2):
        meter.log(loss=3.0, acc=0.9)
    means = meter.read()
    meter.open()
    meter.log(loss=1.0)

    assert (means, meter.read()) == ({}, {"loss": 1.0})
    assert meter.refused == {"loss": 2, "acc": 2}
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("loss, acc: ")
    assert says in said


def test_the_refusal_names_the_shape() -> None:
    with pytest.raises(UsageError, match=r"Tensor of shape \(8,\) of torch.float32"):
        Meter().log(loss=torch.zeros(8))


@pytest.mark.parametrize("bad", [torch.zeros(8), "nan", None, torch.tensor(1j), np.zeros(3), object()])
def test_a_later_bad_value_is_skipped_and_said_once(bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    meter = Meter()
    meter.log(loss=1.0, acc=0.5)
    with caplog.at_level(logging.WARNING, logger="notifybot"):
        meter.log(loss=bad, acc=0.7)
        meter.log(loss=bad, acc=0.9)
        means = meter.read()

    assert means.get("loss", 1.0) == 1.0
    assert means["acc"] == pytest.approx(0.7)
    assert sum(meter.refused.values()) >= 1
    assert len(caplog.records) == 1


def test_a_name_that_was_good_in_an_earlier_epoch_never_raises() -> None:
    meter = Meter()
    meter.log(loss=1.0)
    meter.read()
    meter.log(loss="x")

    assert meter.read() == {}
    assert meter.refused == {"loss": 1}


def test_a_torch_that_is_still_being_imported_disturbs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    meter = Meter()
    meter.log(loss=1.0)
    meter.log(loss=np.float32(2.0))

    assert meter.read() == {"loss": 1.5}
    assert meter.refused == {}


def test_values_are_weighted_by_n() -> None:
    meter = Meter()
    meter.log(loss=1.0, n=30)
    meter.log({"loss": 4.0}, n=10)

    assert meter.read() == {"loss": 1.75}


def test_no_samples_change_nothing() -> None:
    meter = Meter()
    meter.log(loss=2.0)
    meter.log(loss=math.inf, n=0)
    meter.log(never=1.0, n=0)

    means = meter.read()

    assert "never" not in means
    assert means["loss"] == 2.0


@pytest.mark.parametrize("n", [-1, math.nan, math.inf, "3", None])
def test_a_weight_that_counts_nothing_is_refused(n: Any) -> None:
    with pytest.raises(UsageError, match="n"):
        Meter().log(loss=1.0, n=n)


def test_a_mapping_and_keywords_go_together() -> None:
    meter = Meter()
    meter.log({"Loss/train": 1.0}, acc=0.5)

    assert meter.read() == {"Loss/train": 1.0, "acc": 0.5}


@pytest.mark.parametrize("wrong", [0.5, "loss", [("loss", 1)]])
def test_a_value_without_a_name_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="log\\(train_loss=loss\\)"):
        Meter().log(wrong)


@pytest.mark.parametrize("name", ["", " ", 3, "x" * 201])
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    with pytest.raises(UsageError, match="a metric's name"):
        Meter().log({name: 1.0})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_pass_as_themselves(value: float) -> None:
    meter = Meter()
    meter.log(loss=value, spike=torch.tensor(value))
    means = meter.read()

    assert repr(means["loss"]) == repr(value)
    assert repr(means["spike"]) == repr(value)


def test_an_in_place_change_afterwards_does_not_reach_what_was_logged() -> None:
    meter = Meter()
    loss = torch.tensor(8.0)
    meter.log(loss=loss)
    loss /= 4
    meter.log(loss=loss)

    assert meter.read() == {"loss": 5.0}


def test_no_tensor_is_kept() -> None:
    meter = Meter()
    big = torch.zeros(1000, requires_grad=True)
    loss = big.sum()
    meter.log(loss=loss)
    kept = weakref.ref(big), weakref.ref(loss)
    del big, loss
    gc.collect()

    assert [each() for each in kept] == [None, None]


def test_memory_stays_flat_over_100_000_steps() -> None:
    meter = Meter()
    loss = torch.tensor(0.5)
    for _ in range(1000):
        meter.log(loss=loss, acc=0.5)
    grown = []
    tracemalloc.start()
    for _ in range(5):
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(20_000):
            meter.log(loss=loss, acc=0.5)
        grown.append(tracemalloc.get_traced_memory()[0] - before)
    tracemalloc.stop()

    assert min(grown) < 2_000, "what steps leave behind is there each time; other threads allocate now and then"


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 1000)), min_size=1, max_size=50))
def test_the_mean_is_the_weighted_mean(steps: list[tuple[float, int]]) -> None:
    meter = Meter()
    for value, n in steps:
        meter.log(x=value, n=n)
    expected = math.fsum(value * n for value, n in steps) / sum(n for _, n in steps)

    assert meter.read()["x"] == pytest.approx(expected, abs=1e-6)


def test_every_call_counts_as_a_step() -> None:
    meter = Meter()
    meter.log(loss=1.0)
    meter.log({})
    meter.log()

    assert meter.steps == 3
