"""Averages of values on an accelerator. A stand-in counts the waits; tests marked `gpu` ask a real one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from notifybot.errors import UsageError
from notifybot.training.metrics import Meter

_WAITS = ("aten::_local_scalar_dense", "aten::_to_copy", "aten::item", "aten::is_nonzero")


class FarTensor(torch.Tensor):  # type: ignore[misc]
    """A tensor that says it lives on an accelerator; its numbers lie in `near`."""

    near: torch.Tensor

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> FarTensor:
        made: FarTensor = torch.Tensor._make_wrapper_subclass(cls, near.shape, dtype=near.dtype, device="meta")
        made.near = near
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return far_call(func, args, kwargs or {})


class FarDevice(TorchDispatchMode):  # type: ignore[misc]
    """Makes factories for the far device work, and counts what each call would cost: a wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.name().split(".")[0]] += 1
        return far_call(func, args, kwargs or {})

    @property
    def waits(self) -> int:
        return sum(self.calls[name] for name in _WAITS)


def far_call(func: Any, args: Any, kwargs: Any) -> Any:
    device = kwargs.get("device")
    to_near = func.name() == "aten::_to_copy" and (device is None or torch.device(device).type == "cpu")
    near_args = tree_map(lambda each: each.near if isinstance(each, FarTensor) else each, args)
    result = func(*near_args, **{**kwargs, "device": "cpu"} if device is not None else kwargs)
    if isinstance(result, torch.Tensor) and not to_near:
        return args[0] if func.name().split(".")[0].endswith("_") else FarTensor(result)
    return result


@pytest.fixture
def far() -> Iterator[FarDevice]:
    with FarDevice() as mode:
        yield mode


def test_steps_wait_for_nothing_and_an_epoch_waits_once(far: FarDevice) -> None:
    meter = Meter()
    for value in (1.0, 2.0, 6.0):
        meter.log(loss=FarTensor(torch.tensor(value)), acc=FarTensor(torch.tensor(value / 2)))
    assert far.waits == 0

    means = meter.read()

    assert far.waits == 1
    assert means == {"loss": 3.0, "acc": 1.5}
    assert meter.refused == {}


def test_values_of_a_device_and_floats_go_into_one_mean(far: FarDevice) -> None:
    meter = Meter()
    meter.log(loss=1.0, n=3)
    meter.log(loss=FarTensor(torch.tensor([5.0])), n=1)
    meter.log(loss=FarTensor(torch.tensor(2.0)), n=4)

    assert meter.read() == {"loss": 2.0}


@pytest.mark.parametrize(("dtype", "steps"), [(torch.bfloat16, 1000), (torch.float16, 5000)])
def test_a_sum_on_a_device_is_as_exact_as_float64(far: FarDevice, dtype: torch.dtype, steps: int) -> None:
    meter = Meter()
    value = FarTensor(torch.tensor(1.0, dtype=dtype))
    for _ in range(steps):
        meter.log(loss=value)

    assert meter.read() == {"loss": 1.0}


def test_an_in_place_change_on_the_device_does_not_reach_what_was_logged(far: FarDevice) -> None:
    meter = Meter()
    loss: Any = FarTensor(torch.tensor(8.0))
    meter.log(loss=loss)
    loss /= 4

    assert meter.read() == {"loss": 8.0}


def test_a_vector_on_a_device_is_refused_at_first_and_skipped_later(far: FarDevice) -> None:
    meter = Meter()
    with pytest.raises(UsageError, match=r"shape \(8,\)"):
        meter.log(loss=FarTensor(torch.zeros(8)))
    meter.log(acc=FarTensor(torch.tensor(0.5)))
    meter.log(acc=FarTensor(torch.zeros(8)))

    assert meter.read() == {"acc": 0.5}
    assert meter.refused == {"acc": 1}


def test_values_made_in_inference_mode_mix_with_others(far: FarDevice) -> None:
    meter = Meter()
    with torch.inference_mode():
        meter.log(loss=FarTensor(torch.tensor(1.0)))
    meter.log(loss=FarTensor(torch.tensor(3.0)))

    assert meter.read() == {"loss": 2.0}


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator")


@pytest.fixture
def strict_cuda() -> Iterator[None]:
    torch.zeros((), device="cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_steps_do_not_synchronise_a_gpu(strict_cuda: None, dtype: torch.dtype) -> None:
    meter = Meter()
    loss = torch.ones((), device="cuda", dtype=dtype)
    for _ in range(3000):
        meter.log(loss=loss, acc=loss, n=32)
    torch.cuda.set_sync_debug_mode("default")

    assert meter.read() == {"loss": 1.0, "acc": 1.0}
    assert meter.refused == {}


@pytest.mark.gpu
@needs_gpu
def test_memory_of_a_gpu_stays_flat() -> None:
    meter = Meter()
    weight = torch.ones(1024, device="cuda", requires_grad=True)
    for _ in range(10):
        meter.log(loss=(weight * 2).mean())
    before = torch.cuda.memory_allocated()
    for _ in range(5000):
        meter.log(loss=(weight * 2).mean())
    after = torch.cuda.memory_allocated()

    assert after == before
    assert meter.read() == {"loss": 2.0}


@pytest.mark.gpu
@needs_gpu
def test_gradient_accumulation_on_a_gpu_is_averaged_right() -> None:
    meter = Meter()
    for value in (4.0, 8.0):
        loss = torch.tensor(value, device="cuda")
        meter.log(loss=loss)
        loss /= 4
    with torch.inference_mode():
        meter.log(loss=torch.tensor(9.0, device="cuda"))

    assert meter.read() == {"loss": 7.0}
