"""What does a save cost the caller's thread, and how long until it is durable and proven? And a restore?

A stack of linear layers with Adam's state, in a process of its own for each size; everything goes to one disk.
`python -m benchmarks.checkpoint quick` leaves out the largest.
"""

from __future__ import annotations

import gc
import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.bench import Goals, keep, last_line, middle, run, table, workplace

SIZES = {1_000_000: 9, 25_000_000: 7, 100_000_000: 5}  # parameters → rounds, as many as the time allows
_SAVES_S, _LOADS_S = 12.0, 5.0
_NEEDED_GB = {100_000_000: 8}  # weights, gradients, Adam, the copy, a peer's copy, and what is loaded
_LAYERS = 8
_BOUND_S = 120.0

_SAVES = {
    "torch.save": "torch.save",
    "fsync": "floor: torch.save and fsync",
    "ours": "notifybot: copied, written, hashed, synced",
    "lightning": "Lightning, trainer.save_checkpoint",
}
_LOADS = {
    "torch.load": "torch.load",
    "by hand": "torch.load and load_state_dict",
    "restore": "notifybot: read, checked, restored",
    "verified": "notifybot: hashed, read, checked, restored",
}


def main(sizes: list[int] | None = None) -> list[str]:
    """Print the tables of each size; return the goals missed."""
    goals = Goals()
    with workplace() as folder:
        for parameters in sizes or list(SIZES):
            words = f"{parameters // 1_000_000} M parameters"
            if _available_gb() < _NEEDED_GB.get(parameters, 0):
                print(f"\n{words}: left out, {_available_gb():.0f} GB of memory are free")
                continue
            place = Path(folder) / str(parameters)
            outcome = run(["-m", "benchmarks.checkpoint", str(parameters)], place, bound_s=_BOUND_S)
            if outcome.result is None:
                print(f"\n{words}: failed: {last_line(outcome.stderr)}")
                goals.missed.append(f"{words}: measured")
                continue
            _report(words, outcome.result, goals)
    return goals.missed


def _report(words: str, result: dict[str, Any], goals: Goals) -> None:
    held, whole, loads = result["held"], result["whole"], result["loads"]
    plain, floor, load = middle(whole["torch.save"]), middle(whole["fsync"]), middle(loads["torch.load"])
    table(
        f"Saving {words} with Adam, {result['mb']:,.0f} MB (ms, median; min–max of the whole)",
        ["", "caller's thread", "× torch.save", "whole", "× torch.save", "min–max", "runs"],
        [_save_row(name, held, whole, plain) for name in _SAVES],
        f"The first save, whose memory was made ready before: {result['first_ms']:.1f} ms on the caller's thread; "
        f"without that: {result['cold_ms']:.1f} ms. " + result["lightning"],
    )
    table(
        f"Restoring {words} (ms, median)",
        ["", "ms", "× torch.load", "min–max", "runs"],
        [
            [_LOADS[name], f"{middle(each):,.1f}", f"{middle(each) / load:.2f}", _span(each), len(each)]
            for name, each in loads.items()
        ],
    )
    goals.check(f"{words}: caller's thread, times torch.save", middle(held["ours"]) / plain, 0.25)
    goals.check(f"{words}: whole save, times torch.save and fsync", middle(whole["ours"]) / floor, 1.3)


def _save_row(name: str, held: dict[str, list[float]], whole: dict[str, list[float]], plain: float) -> list[object]:
    if not whole[name]:
        return [_SAVES[name], "", "", "", "", "", 0]
    caller, total = middle(held.get(name, whole[name])), middle(whole[name])
    times = [f"{caller:,.1f}", f"{caller / plain:.2f}", f"{total:,.1f}", f"{total / plain:.2f}"]
    return [_SAVES[name], *times, _span(whole[name]), len(whole[name])]


def _span(values: list[float]) -> str:
    return f"{min(values):,.1f}–{max(values):,.1f}"


def _available_gb() -> float:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) / 1e6
    return 0.0


# In the child


def _measure(parameters: int) -> None:
    import torch

    training = _Training(parameters)
    rounds = SIZES[parameters]
    gc.disable()  # a collection takes longer than a small save
    torch.set_num_threads(1)  # copies by all cores wait for whatever else the machine does
    first_ms = _ms(training.parts.capture)
    lightning, why = _lightning(training)
    held: dict[str, list[float]] = {"ours": []}
    whole: dict[str, list[float]] = {name: [] for name in _SAVES}
    began_s = time.monotonic()
    for turn in range(rounds):  # one after the other in each round, so that a slow moment of the disk meets all
        if turn and time.monotonic() - began_s > _SAVES_S:
            break
        _clear("plain.pt")
        whole["torch.save"].append(_ms(lambda: training.save(sync=False)))
        _clear("plain.pt")
        whole["fsync"].append(_ms(lambda: training.save(sync=True)))
        _clear("shelf/*")
        caller_ms = _ms(training.capture)
        held["ours"].append(caller_ms)
        whole["ours"].append(caller_ms + _ms(training.write))
        if lightning is not None:
            _clear("lightning.ckpt")
            whole["lightning"].append(_ms(lightning))
    loads: dict[str, list[float]] = {name: [] for name in _LOADS}
    began_s = time.monotonic()
    for turn in range(rounds):
        if turn and time.monotonic() - began_s > _LOADS_S:
            break
        for name, load in training.loads().items():
            loads[name].append(_ms(load))
    training.parts._buffers.forget()  # as if the memory had not been made ready
    result = {"held": held, "whole": whole, "loads": loads, "lightning": why, "first_ms": first_ms}
    keep({**result, "cold_ms": _ms(training.parts.capture), "mb": Path("plain.pt").stat().st_size / 1e6})


class _Training:
    """A model with one step done, and every way to save and load it."""

    def __init__(self, parameters: int) -> None:
        import torch

        from notifybot.checkpoints.directory import CheckpointDirectory
        from notifybot.checkpoints.state import Parts

        width = int((parameters / _LAYERS) ** 0.5)
        self.model = torch.nn.Sequential(*[torch.nn.Linear(width, width) for _ in range(_LAYERS)])
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self.parts = Parts(model=self.model, optimizer=self.optimizer)
        self.parts.check()
        self.batch = torch.randn(1, width)
        self.step()
        self.parts._buffers.start()  # the rest of an epoch: time enough to get the memory ready
        self.shelf = CheckpointDirectory(Path("shelf"))
        self.sequence = 0
        self.payload: dict[str, Any] = {}

    def step(self) -> None:
        self.model(self.batch).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        return {"model_state_dict": self.model.state_dict(), "optimizer_state_dict": self.optimizer.state_dict()}

    def save(self, *, sync: bool) -> None:
        import torch

        with open("plain.pt", "wb") as file:
            torch.save(self.state(), file)
            if sync:
                file.flush()
                os.fsync(file.fileno())

    def capture(self) -> None:
        self.payload = self.parts.capture()

    def write(self) -> None:
        from notifybot.checkpoints.manifest import Manifest
        from notifybot.checkpoints.serialization import write_payload

        self.sequence += 1

        def manifest(file: str, sha256: str, size_bytes: int) -> Manifest:
            run = {"run_id": "benchmark", "session": "1", "sequence": self.sequence, "epoch": self.sequence}
            return Manifest(file, sha256, size_bytes, saved_at=datetime.now(UTC), **run)  # type: ignore[arg-type]

        self.shelf.write("checkpoint", lambda file: write_payload(self.payload, file), manifest)

    def loads(self) -> dict[str, Callable[[], object]]:
        import torch

        from notifybot.checkpoints.serialization import read_payload

        self.payload = {}
        newest = self.shelf.manifests()[0]
        path = self.shelf.folder / newest.file

        def by_hand() -> None:
            read = torch.load("plain.pt", weights_only=True)
            self.model.load_state_dict(read["model_state_dict"])
            self.optimizer.load_state_dict(read["optimizer_state_dict"])

        def verified() -> None:
            self.shelf.verify(newest)
            self.parts.restore(read_payload(path))

        return {
            "torch.load": lambda: torch.load("plain.pt", weights_only=True),
            "by hand": by_hand,
            "restore": lambda: self.parts.restore(read_payload(path)),
            "verified": verified,
        }


def _lightning(training: _Training) -> tuple[Callable[[], object] | None, str]:
    """Lightning's save of the same model and optimizer, after a fit of one step; or why there is none."""
    import torch

    warnings.simplefilter("ignore")  # of its own, about loggers and workers
    try:
        from lightning.pytorch import LightningModule, Trainer
    except ImportError:
        return None, "Lightning is not installed."

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = training.model

        def training_step(self, batch: Any, _: int) -> Any:
            return self.model(batch).sum()

        def configure_optimizers(self) -> Any:
            return training.optimizer

    trainer = Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    module = Module()
    trainer.fit(module, torch.utils.data.DataLoader(torch.zeros(1, training.batch.shape[1])))
    training.optimizer.zero_grad(set_to_none=True)
    return lambda: trainer.save_checkpoint("lightning.ckpt"), ""


def _clear(pattern: str) -> None:
    """Remove what is there, and have the disk done with all that went before: every save writes to new blocks."""
    for path in Path().glob(pattern):
        path.unlink()
    os.sync()


def _ms(action: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    action()
    return (time.perf_counter() - began_s) * 1e3


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] != "quick":
        _measure(int(sys.argv[1]))
    else:
        missed = main(list(SIZES)[:2] if sys.argv[1:] == ["quick"] else None)
        sys.exit(1 if missed else 0)
