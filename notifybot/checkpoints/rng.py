"""States of the random generators: captured for a checkpoint, restored on this machine or another."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from typing import Any

from notifybot.errors import reader_text

_ACCELERATORS = ("cuda", "xpu")


def capture() -> dict[str, Any]:
    """The states of Python, NumPy's global generator (if it is in use), PyTorch's CPU and initialised accelerators."""
    import torch

    states: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        states["numpy"] = _lists(numpy.random.get_state(legacy=False))
    for name in _ACCELERATORS:
        module = getattr(torch, name)
        if module.is_initialized():  # asking would initialise it, which is fatal in a forked child
            states[name] = module.get_rng_state_all()
    if torch.backends.mps.is_available():
        states["mps"] = [torch.mps.get_rng_state()]
    return states


def restore(saved: Mapping[str, Any] | None) -> list[str]:
    """Put the states back; never raises. Returns a line for each that could not be, and the run goes on without it."""
    if not isinstance(saved, Mapping) or not saved:
        return [reader_text("checkpoints.rng.no_states")]
    notes = [_attempt(name, saved[name]) for name in ("python", "numpy", "torch") if name in saved]
    notes += [_attempt_devices(name, saved.get(name)) for name in (*_ACCELERATORS, "mps")]
    return [note for note in notes if note]


def _put(name: str, state: Any) -> None:
    import torch

    match name:
        case "python":
            random.setstate(_python(state))
        case "numpy":
            import numpy

            numpy.random.set_state(state)
        case "torch":
            torch.set_rng_state(state)
        case "mps":
            torch.mps.set_rng_state(state[0])
        case _:
            for device, each in enumerate(state):
                getattr(torch, name).set_rng_state(each, device)


class GeneratorState:
    """Gives a generator of the user's own the `state_dict` and `load_state_dict` that every other part has."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator

    @staticmethod
    def fits(value: object) -> bool:
        """True for a generator of PyTorch, NumPy or Python."""
        import torch

        numpy = sys.modules.get("numpy")
        kinds = (random.Random, torch.Generator, *([numpy.random.Generator] if numpy is not None else []))
        return isinstance(value, kinds)

    def state_dict(self) -> dict[str, Any]:
        if isinstance(self._generator, random.Random):
            return {"python": self._generator.getstate()}
        if hasattr(self._generator, "bit_generator"):
            return {"numpy": self._generator.bit_generator.state}
        return {"torch": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if isinstance(self._generator, random.Random):
            self._generator.setstate(_python(state["python"]))
        elif hasattr(self._generator, "bit_generator"):
            self._generator.bit_generator.state = state["numpy"]
        else:
            self._generator.set_state(state["torch"])


def _lists(value: Any) -> Any:
    """NumPy's state with lists for its arrays, so that it reads without NumPy."""
    if isinstance(value, Mapping):
        return {key: _lists(each) for key, each in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def _attempt(name: str, state: Any) -> str:
    """Put one state back; return a note where that fails."""
    try:
        _put(name, state)
    except Exception as error:  # noqa: BLE001  another version's state may raise anything; the weights are restored anyway
        return reader_text("checkpoints.rng.not_restored", name=name, error=error)
    return ""


def _attempt_devices(name: str, states: Any) -> str:
    """Restore the states of as many devices as there are here; return a note if the numbers differ."""
    import torch

    module = getattr(torch, name)
    here = int(torch.backends.mps.is_available()) if name == "mps" else int(module.device_count())
    saved = len(states) if isinstance(states, list) else 0
    note = _attempt(name, states[:here]) if saved and here else ""
    in_use = name in _ACCELERATORS and bool(module.is_initialized())
    if note or here == saved or (not saved and not in_use):
        return note
    return reader_text("checkpoints.rng.other_number_of_devices", saved=saved, name=name, here=here)


def _python(state: Any) -> tuple[Any, ...]:
    version, numbers, gauss = state
    return (version, tuple(numbers), gauss)
