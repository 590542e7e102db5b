"""Whole models, architecture and weights together: exported where the model allows it, else pickled."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from notifybot.errors import CheckpointError, UsageError, reader_text
from notifybot.models.checksum import atomic_write_with_checksum, verify
from notifybot.models.errors import translating_errors
from notifybot.models.export_check import check_archive

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger("notifybot")

_EXPORTED = ".pt2"
_EXPORT_FLOOR = (2, 11)


def save_model(model: nn.Module, path: str | Path, *, example: Any = None) -> Path:
    """Write a whole model to `path`, whole or not at all, with its hash beside it; return the path.

    `model.pt2` with `example` inputs (a tensor, a tuple of arguments, or a mapping of keyword arguments) is exported
    for inference on the CPU: it loads without the model's code. With two or more rows in each example the batch size
    stays open. Neither the example nor the source lines that `torch.export` keeps go into the file.

    Any other suffix gets the pickled module: its code must be importable where it is loaded, and unpickling runs
    whatever the file says, so `load_model` asks for `trusted=True` there.
    CheckpointError, with the cause and the other ways, when the model cannot be written so.
    """
    path = Path(path)
    if (path.suffix == _EXPORTED) != (example is not None):
        raise UsageError(reader_text("models.whole_model.suffix_does_not_fit", name=path.name))
    if example is None:
        _pickle(model, path)
    else:
        _export(model, path, example)
    return path


def load_model(path: str | Path, *, trusted: bool = False) -> nn.Module:
    """Read a whole model that `save_model` wrote, after comparing it with its hash; its tensors are on the CPU.

    An export is a graph for inference: `eval()` changes nothing, `train()` raises UsageError. It is looked through
    first, and refused when it holds anything but tensors and PyTorch's own arithmetic on them.

    **`trusted=True` RUNS WHATEVER CODE THE FILE CONTAINS, with all your rights.** It is needed for a pickled module,
    and for an export that others wrote. Say it for a file that you made yourself or whose author you would let run
    programs on your machine; the hash beside it proves that it is whole, not that it is harmless.
    For anybody else's weights use `load_weights` on a `.safetensors` file: it cannot hold code.
    """
    path = Path(path)
    verify(path)
    if path.suffix == _EXPORTED:
        return _load_export(path, trusted=trusted)
    if trusted:
        return _unpickle(path)
    raise UsageError(reader_text("models.whole_model.is_no_export", name=path.name))


def _export(model: nn.Module, path: Path, example: Any) -> None:
    import torch

    _check_version()
    named: dict[str, Any] = dict(example) if isinstance(example, Mapping) else {}
    positional = () if isinstance(example, Mapping) else example
    args = tuple(positional) if isinstance(positional, tuple | list) else (positional,)
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):  # an exported graph keeps its devices
        model = deepcopy(model).cpu()
        args, named = tuple(map(_on_cpu, args)), {name: _on_cpu(value) for name, value in named.items()}
    sizes = tuple(map(_open_batch, args)) if args else {name: _open_batch(value) for name, value in named.items()}
    kind, other = type(model).__name__, f'save_model(model, "{path.stem}.pt")'
    remedy = reader_text("models.whole_model.ways_to_pickle", other=other)
    what = reader_text("models.whole_model.cannot_be_exported", kind=kind)
    with translating_errors(what, remedy=remedy), _evaluating(model):
        program = torch.export.export(model, args, named, dynamic_shapes=sizes, strict=False)
    _strip(program)
    with atomic_write_with_checksum(path) as temporary, temporary.open("w+b") as file:
        torch.export.save(program, file)  # a file: a name would become the archive's root folder
        file.seek(0)
        try:
            check_archive(file)
        except CheckpointError as error:  # said on saving, not only on loading: it holds other libraries' operators
            log.warning("%s", reader_text("models.whole_model.saved_but_needs_trust", name=path.name, error=error))


def _on_cpu(value: Any) -> Any:
    return value.cpu() if hasattr(value, "cpu") else value


def _open_batch(value: Any) -> Any:
    """Return the dynamic shape of a tensor whose first dimension is free if the model allows it; None for others."""
    import torch

    return {0: torch.export.Dim.AUTO} if isinstance(value, torch.Tensor) and value.dim() else None


def _strip(program: Any) -> None:
    """Remove what the file's receiver should not see: the example, source lines, folders of this machine."""
    program.example_inputs = None
    for module in program.graph_module.modules():
        for node in module.graph.nodes:
            for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "custom"):
                node.meta.pop(key, None)


def _load_export(path: Path, *, trusted: bool) -> nn.Module:
    from torch.export.pt2_archive._package import load_pt2  # not export.load: it retries an older, pickled format

    _check_version()
    what = reader_text("models.whole_model.export_cannot_be_loaded", name=path.name)
    with path.open("rb") as file, translating_errors(what):
        if not trusted:  # check and load one open file, so that it cannot be exchanged in between
            try:
                check_archive(file)
            except CheckpointError as error:
                why = reader_text("models.whole_model.may_run_code", name=path.name, error=error)
                raise CheckpointError(why) from None
            file.seek(0)
        model: Any = load_pt2(file).exported_programs["model"].module()
    # PyTorch's own `eval` and `train` raise NotImplementedError, also when called on a model around this one.
    model.eval = _InferenceOnly(model, "eval")
    model.train = _InferenceOnly(model, "train")
    return cast("nn.Module", model)


def _check_version() -> None:
    import torch

    if tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2]) < _EXPORT_FLOOR:
        raise UsageError(reader_text("models.whole_model.needs_newer_torch", version=torch.__version__))


def _pickle(model: nn.Module, path: Path) -> None:
    import torch

    kind, other = type(model).__name__, f'save_model(model, "{path.stem}.pt2", example=…)'
    remedy = reader_text("models.whole_model.ways_to_export", other=other)
    what = reader_text("models.whole_model.cannot_be_pickled", kind=kind)
    with (
        translating_errors(what, remedy=remedy),
        atomic_write_with_checksum(path) as temporary,
        temporary.open("wb") as file,
    ):
        torch.save(model, file)


def _unpickle(path: Path) -> nn.Module:
    """Unpickle without restriction. **This runs code from the file**; the one place in the package that does."""
    import torch

    with translating_errors(reader_text("models.whole_model.cannot_be_unpickled", name=path.name)):
        model = torch.load(path, map_location="cpu", weights_only=False)
    if not isinstance(model, torch.nn.Module):
        kind = type(model).__name__
        raise CheckpointError(reader_text("models.whole_model.holds_no_model", name=path.name, kind=kind))
    return model


class _InferenceOnly:
    """Stands in for the `eval` and `train` of an exported model."""

    def __init__(self, model: nn.Module, verb: str) -> None:
        self.model = model
        self.verb = verb

    def __call__(self, mode: bool = True) -> nn.Module:
        if self.verb == "train" and mode:
            raise UsageError(reader_text("models.whole_model.export_does_not_train"))
        return self.model


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its modules back into its own."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
