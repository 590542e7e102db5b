"""Freezing for transfer learning: sets which parts of a model learn and which batch-norm statistics move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from notifybot.errors import UsageError, reader_text
from notifybot.types import ModelSize

if TYPE_CHECKING:
    from torch import nn

Parts: TypeAlias = "str | nn.Module | Iterable[str | nn.Module]"
BatchNorm: TypeAlias = Literal["eval", "train"]

_MOST_FROZEN_NAMES = 20  # names for which a message has room


def freeze(model: nn.Module, except_: Parts = (), *, batch_norm: BatchNorm = "eval") -> ModelSize:
    """Let only what `except_` names learn, and return how large the model is now.

    A part is the full name of a module or a parameter ("fc", "encoder.layer.3"), an `fnmatch` pattern ("*.bias",
    "layer[34]") or the module itself; a module stands for all that is in it. UsageError when one matches nothing.
    A weight that two layers share learns when one of them is excepted.

    `batch_norm` says what becomes of the frozen layers' running statistics, which no gradient moves: "eval" keeps
    them unchanged, even after `model.train()`; "train" lets them follow the new data.
    Gradients left on frozen parameters are dropped, because an optimizer would go on applying them.
    Freeze after any call that replaces modules, such as `convert_sync_batchnorm`.
    """
    _check(model, batch_norm)
    chosen = _names_of(model, except_)
    learning = _parameters_in(model, chosen)
    for parameter in model.parameters():
        _set_learning(parameter, id(parameter) in learning)
    for name, layer in _batch_norms(model):
        if batch_norm == "eval" and not _covered(name, chosen):
            _hold_in_eval(layer)
        else:
            _let_go(layer, model)
    return model_size(model)


def unfreeze(model: nn.Module, parts: Parts = "*", *, batch_norm: BatchNorm = "train") -> list[nn.Parameter]:
    """Let `parts` learn too, all of the model when none are named, and return the parameters that begin to.

    Parts are named as for `freeze`. An optimizer knows nothing of it: hand it what is returned, in one line.

        optimizer.add_param_group({"params": unfreeze(model, "layer4"), "lr": 1e-5})

    (One that was given every parameter at the start has them already, and then this line is its ValueError.)
    The running statistics of these parts move again, unless `batch_norm` is "eval".
    """
    _check(model, batch_norm)
    chosen = _names_of(model, parts)
    learning = _parameters_in(model, chosen)
    begun = [one for one in model.parameters() if id(one) in learning and not one.requires_grad]
    for parameter in begun:
        _set_learning(parameter, True)
    for name, layer in _batch_norms(model):
        if _covered(name, chosen):
            if batch_norm == "eval":
                _hold_in_eval(layer)
            else:
                _let_go(layer, model)
    return [parameter for parameter in begun if parameter.requires_grad]


def model_size(model: nn.Module) -> ModelSize:
    """Count a model's parameters, each once, and name its outermost frozen parts (at most 20). Raises UsageError."""
    _check(model)
    sizes = [(_elements(parameter), parameter.requires_grad) for parameter in model.parameters()]
    return ModelSize(
        total=sum(size for size, _ in sizes),
        trainable=sum(size for size, learns in sizes if learns),
        frozen=tuple(islice(_frozen_parts(model), _MOST_FROZEN_NAMES)),
    )


@dataclass(frozen=True, slots=True)
class Learning:
    """Learning flags of a model: names of frozen parameters and of the layers that `freeze` holds in eval mode."""

    frozen: frozenset[str]
    held: frozenset[str]


def learning_of(model: nn.Module, naming: Callable[[str], str] = str) -> Learning:
    """Return a model's flags; `naming` maps names to the form in which they are compared."""
    frozen = {name for name, one in model.named_parameters(remove_duplicate=False) if not one.requires_grad}
    held = {name for name, layer in _batch_norms(model) if _is_held(layer)}
    return Learning(frozenset(map(naming, frozen)), frozenset(map(naming, held)))


def set_learning(model: nn.Module, learning: Learning, naming: Callable[[str], str] = str) -> None:
    """Give a model the flags of another that has the same names."""
    for name, parameter in model.named_parameters(remove_duplicate=False):
        learns = naming(name) not in learning.frozen
        if parameter.requires_grad != learns:
            _set_learning(parameter, learns)
    for name, layer in _batch_norms(model):
        if naming(name) not in learning.held:
            _let_go(layer, model)
        elif not _is_held(layer):
            _hold_in_eval(layer)


class _HeldInEval:
    """Replacement for one module's `train` method, so that `model.train()` leaves it in eval mode.

    An attribute of the module, not a hook: `training` is correct at any time, the state dict does not change, a copy
    or a pickle of the model holds its own layers, and compiled code never calls it.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __call__(self, mode: bool = True) -> nn.Module:
        layer: nn.Module = type(self.layer).train(self.layer, False)
        return layer


def _hold_in_eval(layer: Any) -> None:
    layer.train = _HeldInEval(layer)
    layer.eval()


def _is_held(layer: Any) -> bool:
    return isinstance(vars(layer).get("train"), _HeldInEval)


def _let_go(layer: Any, model: nn.Module) -> None:
    if _is_held(layer):
        del layer.train
        layer.train(model.training)


def _set_learning(parameter: nn.Parameter, learns: bool) -> None:
    learns = learns and (parameter.is_floating_point() or parameter.is_complex())  # quantised weights cannot learn
    parameter.requires_grad_(learns)
    if not learns:
        parameter.grad = None


def _batch_norms(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers with running statistics, found by that, as every library has batch-norm classes of its own."""
    for name, module in model.named_modules():
        if getattr(module, "running_mean", None) is not None:
            yield name, module


def _names_of(model: nn.Module, parts: Parts) -> set[str]:
    """Return the full names that `parts` match. UsageError for a part that holds nothing to freeze."""
    several: Iterable[Any] = [parts] if isinstance(parts, str) or _is_module(parts) else parts
    if not isinstance(several, Iterable):
        raise UsageError(reader_text("freezing.bad_parts", given=type(several).__name__))
    holding = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    holding |= {name for name, _ in _batch_norms(model)}
    modules = dict(model.named_modules(remove_duplicate=False))
    chosen: set[str] = set()
    for part in several:
        names = _matches(part, modules, holding)
        if not any(_covered(name, names) for name in holding):
            raise UsageError(_nothing_matches(part, set(modules) | holding))
        chosen |= names
    return chosen


def _matches(part: Any, modules: dict[str, nn.Module], holding: set[str]) -> set[str]:
    if _is_module(part):
        return {name for name, module in modules.items() if module is part}
    if not isinstance(part, str):
        raise UsageError(reader_text("freezing.bad_part", kind=type(part).__name__))
    return {name for name in {*modules, *holding} if name and (name == part or fnmatchcase(name, part))}


def _nothing_matches(part: Any, names: set[str]) -> str:
    if not isinstance(part, str):
        return reader_text("freezing.not_in_model", kind=type(part).__name__)
    tail = part.rpartition(".")[2]
    close = [name for name in sorted(names) if name.rpartition(".")[2] == tail and name != part]
    close += [name for name in get_close_matches(part, sorted(names), n=5, cutoff=0.5) if name not in close]
    close = close or sorted(name for name in names if name and "." not in name)
    shown = ", ".join(close[:5]) or reader_text("freezing.no_close_names")
    return reader_text("freezing.no_such_name", part=f"{part!r}", names=shown)


def _parameters_in(model: nn.Module, chosen: set[str]) -> set[int]:
    """Return the identities of the parameters inside the named parts; by all their names, as weights can be tied."""
    pairs = model.named_parameters(remove_duplicate=False)
    return {id(parameter) for name, parameter in pairs if _covered(name, chosen)}


def _covered(name: str, chosen: set[str]) -> bool:
    """True when `name` or something around it is chosen; the model itself has the empty name."""
    steps = name.split(".")
    return "" in chosen or any(".".join(steps[:count]) in chosen for count in range(1, len(steps) + 1))


def _frozen_parts(module: nn.Module, prefix: str = "") -> Iterator[str]:
    yield from (prefix + name for name, one in module.named_parameters(recurse=False) if not one.requires_grad)
    for name, child in module.named_children():
        learns = [parameter.requires_grad for parameter in child.parameters()]
        if learns and not any(learns):
            yield prefix + name
        elif any(learns):
            yield from _frozen_parts(child, f"{prefix}{name}.")


def _elements(parameter: nn.Parameter) -> int:
    try:
        return int(parameter.numel())
    except ValueError:  # a lazy module's parameter has no shape before the first batch
        return 0


def _is_module(part: object) -> bool:
    return hasattr(part, "named_parameters")


def _check(model: object, batch_norm: str = "eval") -> None:
    if not _is_module(model):
        raise UsageError(reader_text("freezing.bad_model", model=type(model).__name__))
    if batch_norm not in ("eval", "train"):
        raise UsageError(reader_text("freezing.bad_batch_norm", batch_norm=f"{batch_norm!r}"))
