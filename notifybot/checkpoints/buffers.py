"""Copy buffers: CPU memory that a state is copied into, kept from one save to the next."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterable
from typing import Any

from notifybot.errors import UsageError, reader_text
from notifybot.files import started

_PINNED = ("cuda", "xpu")  # devices that copy to page-locked memory without the CPU


class Buffers:
    """One buffer for each tensor of a state, found again by its key path.

    The first touch of fresh memory costs more than the copy (measured: 260 ms beside 14 ms for 300 MB), so the memory
    is kept between saves: as much as the state itself, and for page-locked buffers up to twice that, because
    PyTorch rounds them up to a power of two.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}
        self._used: dict[str, Any] = {}
        self._seen: dict[object, tuple[Any, Any]] = {}  # the buffer, and the tensor to keep its memory
        self._busy: set[Any] = set()
        self._toucher: threading.Thread | None = None

    def start(self) -> None:
        """Begin a copy of the whole state. What the last one returned is overwritten from here on."""
        if self._toucher is not None:
            self._toucher.join()
            self._toucher = None
        self._used, self._seen, self._busy = {}, {}, set()

    def keep(self, at: str, tensor: Any) -> Any:
        """Copy a tensor into its buffer; tied tensors get one buffer. Those of an accelerator arrive by `finish`.

        Tied tensors are equal views of the same memory, copied before the same `part_done`.
        """
        tensor = readable(at, tensor)
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        same = (*place, tensor.is_conj(), tensor.is_neg())  # lazy views of the same memory
        if same in self._seen:
            return self._seen[same][0]
        buffer = self._kept.pop(at, None)  # `pop`, as two names may make one path: 1 and "1", or "a.b" and b in a
        if buffer is None or buffer.dtype != tensor.dtype or buffer.shape != tensor.shape:
            buffer = _fresh(tensor)
        self._used[at] = buffer
        self._seen[same] = (buffer, tensor)
        if tensor.device.type in _PINNED:
            buffer.copy_(tensor, non_blocking=True)
            self._busy.add(tensor.device)
        elif _lies_alike(tensor, buffer):
            ctypes.memmove(buffer.data_ptr(), tensor.data_ptr(), buffer.nbytes)
        else:
            buffer.copy_(tensor)
        return buffer

    def part_done(self, lasting: Iterable[Any] = ()) -> None:
        """Mark the end of one object's state: tensors made for it may be freed or overwritten from here on.

        Only the tensors in `lasting`, a module's own, are recognised in another object's state too.
        """
        stays = set()
        for tensor in lasting:
            with contextlib.suppress(RuntimeError):  # sparse or lazy: it has no memory that was copied
                stays.add(tensor.data_ptr())
        self._seen = {view: held for view, held in self._seen.items() if held[1].data_ptr() in stays}

    def finish(self) -> None:
        """Wait until every copy has arrived, and let go of buffers that this state had no use for."""
        import torch

        for device in self._busy:
            torch.get_device_module(device).current_stream(device).synchronize()
        self._kept, self._seen = self._used, {}

    def prepare(self, at: str, tensor: Any) -> list[Any]:
        """Reserve a tensor's buffer. Returns it in a list if it is new: others may still be written to a file."""
        if at in self._kept or is_lazy(tensor):
            return []
        tensor = readable(at, tensor)
        self._kept[at] = _fresh(tensor)
        return [self._kept[at]]

    def touch(self, buffers: list[Any]) -> None:
        """Have a thread write to new buffers once, so that the first copy meets memory that is there."""
        earlier = self._toucher

        def work() -> None:
            if earlier is not None:
                earlier.join()
            for buffer in buffers:  # not by PyTorch, which would use as many cores as the training
                ctypes.memset(buffer.data_ptr(), 0, buffer.nbytes)

        thread = threading.Thread(target=work, name="notifybot-buffers", daemon=True)
        if started(thread):  # without a thread the first copy is slower
            self._toucher = thread

    def forget(self) -> None:
        """Release all buffers: another object uses them now."""
        self._kept = {}


def _lies_alike(tensor: Any, buffer: Any) -> bool:
    """True when a copy of the bytes is a copy of the values.

    Such a copy runs on one core. PyTorch would take all of them and wait for the last one, which is as fast on an
    idle machine, and takes many times as long where loaders keep the others busy.
    """
    alike = tensor.stride() == buffer.stride() and tensor.device.type == "cpu"  # buffers have no gaps
    return alike and not tensor.is_conj() and not tensor.is_neg()


def is_lazy(tensor: Any) -> bool:
    """True for a parameter of a lazy module that has not seen a batch."""
    import torch

    return isinstance(tensor, torch.nn.parameter.UninitializedTensorMixin)


def readable(at: str, tensor: Any) -> Any:
    """The plain, dense tensor itself, without its graph. Raises UsageError for what has no such content."""
    import torch

    if is_lazy(tensor):
        raise UsageError(reader_text("checkpoints.buffers.is_lazy", at=at))
    tensor = tensor.detach()
    if type(tensor) is not torch.Tensor:
        kind = type(tensor).__name__
        raise UsageError(reader_text("checkpoints.buffers.is_no_plain_tensor", at=at, kind=kind))
    if tensor.is_meta:
        raise UsageError(reader_text("checkpoints.buffers.is_on_meta_device", at=at))
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise UsageError(reader_text("checkpoints.buffers.is_sparse_or_quantised", at=at))
    return tensor


def _fresh(tensor: Any) -> Any:
    """Memory in the tensor's own shape and order; page-locked for an accelerator, where the system allows as much."""
    import torch

    if tensor.device.type in _PINNED:
        try:
            return torch.empty_like(tensor, device="cpu", pin_memory=True)
        except RuntimeError:  # the system's limit on locked memory is reached: the copy is slower
            pass
    return torch.empty_like(tensor, device="cpu")
