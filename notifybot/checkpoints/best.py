"""Best checkpoint of a folder: found by its metric, verified, and loaded into a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from notifybot.checkpoints import compatibility
from notifybot.checkpoints.arrangement import paired
from notifybot.checkpoints.compatibility import Fit
from notifybot.checkpoints.directory import CheckpointDirectory
from notifybot.checkpoints.errors import Unread, reader_reason, reason_of, unfit
from notifybot.checkpoints.manifest import Manifest
from notifybot.checkpoints.retention import Retention
from notifybot.checkpoints.run_folder import read_card
from notifybot.checkpoints.serialization import from_plain, read_payload
from notifybot.checkpoints.validation import best_by
from notifybot.errors import CheckpointError, reader_text, system_words
from notifybot.runtime import absolute_for_job

log = logging.getLogger("notifybot")

_MOST_SHOWN = 8
_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")


@dataclass(frozen=True, slots=True)
class BestCheckpoint:
    """Checkpoint that `load_best` has loaded; `run` is its run's name, and `value` that of the metric `monitor`."""

    path: Path
    epoch: int | None
    monitor: str
    value: float
    metrics: Mapping[str, float]
    run: str


def load_best(
    folder: str | Path, model: Any, *, monitor: str | None = None, mode: Literal["min", "max"] | None = None
) -> BestCheckpoint:
    """Load the weights of the best checkpoint in a folder of `Checkpoints`; return which one it is.

        best = load_best("exp_1", model)
        print(best.epoch, best.value, best.metrics)

    In any script and on any device, also from a copy of the folder. Best is what `monitor=` said when they were saved,
    unless it is given here. Of several models, give them as they were saved, or some by name: `{"gen": gen}`. The file
    is compared with its hash, nothing of it is run, and all of the model's weights are in it; the optimizer and the
    rest are left. Raises CheckpointError, which says what is there, without changing the model; UsageError for a
    `monitor` of which the better direction is unknown.
    """
    place = absolute_for_job(folder)
    shelf = CheckpointDirectory(place)
    found = _manifests(shelf)
    rule = _rule(found, monitor, mode)
    ranked = rule.ranked(each for each in found if each.finite)
    if not ranked:
        values = {"folder": place, "monitor": rule.monitor, "there": _listed(found)}
        raise CheckpointError(reader_text("checkpoints.best.no_such_metric", **values))
    best = ranked[0]
    _verify(shelf, best, rule, [each for each in found if each is not best])
    _load(model, read_payload(place / best.file), best.file)
    name = rule.monitor or ""
    return BestCheckpoint(place / best.file, best.epoch, name, best.metrics[name], dict(best.metrics), best.name)


def _manifests(shelf: CheckpointDirectory) -> list[Manifest]:
    """Return the manifests of the folder's run, the newest first, at least one."""
    try:
        if not shelf.folder.is_dir():
            raise CheckpointError(reader_text("checkpoints.best.no_folder", folder=shelf.folder))
        card = read_card(shelf.folder)
        every = shelf.manifests()
    except OSError as error:
        values = {"folder": shelf.folder, "error": system_words(error)}
        raise CheckpointError(reader_text("checkpoints.best.cannot_be_read", **values)) from None
    if shelf.unread:  # one of them may be the best
        raise Unread(shelf.unread)
    for each in shelf.oddities:
        log.warning("%s", reader_reason(each))
    run_id = card.run_id if card is not None else every[0].run_id if every else ""
    found = [each for each in every if each.run_id == run_id]
    if not found:
        name = (card.name or card.run_id) if card is not None else ""
        others = sorted(each.name for each in shelf.folder.iterdir() if each.suffix in _WEIGHTS)
        values = {"folder": shelf.folder, "there": _some(others) or "–", "name": name}
        key = "checkpoints.best.none_of_the_run" if every else "checkpoints.best.none"
        raise CheckpointError(reader_text(key, **values))
    return found


def _rule(found: Sequence[Manifest], monitor: str | None, mode: Literal["min", "max"] | None) -> Retention:
    """Return how to compare: as given, else as the newest checkpoint that says."""
    if monitor is not None:
        name, way = best_by(monitor, mode)
        return Retention(monitor=name, mode=way)
    for each in found:
        if each.monitor and each.mode in ("min", "max"):
            return Retention(monitor=each.monitor, mode=mode or ("max" if each.mode == "max" else "min"))
    raise CheckpointError(reader_text("checkpoints.best.nothing_monitored", there=_listed(found)))


def _verify(shelf: CheckpointDirectory, best: Manifest, rule: Retention, others: Sequence[Manifest]) -> None:
    """Raise CheckpointError, with what else is there, unless the best one is whole: another is not the best."""
    if best.kind == "sharded":
        raise CheckpointError(reader_text("checkpoints.best.is_sharded", file=best.file))
    try:
        shelf.verify(best)
    except (CheckpointError, OSError) as error:
        why = reader_reason(replace(reason_of(error), about=""))
        values = {"file": best.file, "monitor": rule.monitor, "why": why, "there": _listed(others) or "–"}
        raise CheckpointError(reader_text("checkpoints.best.cannot_be_used", **values)) from None


def _load(model: Any, payload: Mapping[str, Any], file: str) -> None:
    """Load each model's weights, once all of them are known to fit. Raises CheckpointError."""
    import torch

    pairs = [(name, each, from_plain(state)) for name, each, state in paired(model, payload, file)]
    problems: list[str] = []
    loads: list[tuple[Any, Fit]] = []
    for name, each, state in pairs:
        fits = isinstance(each, torch.nn.Module) and isinstance(state, Mapping)
        fit = compatibility.fit(each, state) if fits else Fit(state)
        problems += [f"{name or 'model'}: {line}" for line in fit.problems]
        for note in fit.notes:
            log.warning("%s: %s", name or file, reader_reason(note))
        loads.append((each, fit))
    if problems:
        raise CheckpointError(unfit(problems, reader_text("checkpoints.best.build_it_as_then")))
    for each, fit in loads:
        compatibility.unwrapped(each).load_state_dict(fit.state)


def _listed(manifests: Sequence[Manifest]) -> str:
    """Return the files with their metrics, the newest first: "a.pt (loss 0.5, val_acc 0.9)"."""
    metrics = [", ".join(f"{name} {value:g}" for name, value in each.metrics.items()) for each in manifests]
    return _some([f"{each.file} ({shown})" for each, shown in zip(manifests, metrics, strict=True)])


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_SHOWN
    return ", ".join(names[:_MOST_SHOWN]) + (f" … +{more}" if more > 0 else "")
