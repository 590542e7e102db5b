"""Manifest beside a checkpoint: its content, its run, and the hashes that prove it whole."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

from notifybot.checkpoints.errors import Unreadable
from notifybot.types import Reason

FORMAT = 1
SUFFIX = ".json"
_CHECK = "manifest_sha256"
_LONGEST_NAME_BYTES = 255
_TEXTS = ("sha256", "run_id", "session", "parent", "name", "project", "final", "monitor", "mode")
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, slots=True)
class Part:
    """File of a checkpoint: its expected hash and size."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Manifest of a checkpoint, written when it is saved.

    `sequence` grows by one with every save of a run. What is newest is decided by the session and this number, see
    `order`: the times of files on a network mount cannot be relied on. `epoch` is the last finished one, `step` counts
    the steps done of the next (0 between epochs). `parent` is the hash of the run's previous checkpoint.
    `monitor` and `mode` ("min", "max") say what is best, empty where nothing does.
    `name` and `project` are the run's, for a folder whose card is lost. `final` says why the run was over early with
    it. One that is not `finite` has NaN or infinity in its parameters. A "sharded"
    checkpoint is a folder: `parts` names its files, and `sha256` is the hash of that list.
    """

    file: str
    sha256: str
    size_bytes: int
    run_id: str
    session: str
    sequence: int
    epoch: int | None
    saved_at: datetime
    step: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    parent: str = ""
    name: str = ""
    project: str = ""
    final: str = ""
    monitor: str = ""
    mode: str = ""
    finite: bool = True
    versions: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["single", "sharded"] = "single"
    parts: Mapping[str, Part] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def files(self) -> dict[str, Part]:
        """Every file of the checkpoint by its name below `file`; the name is empty if `file` itself is the only one."""
        return dict(self.parts) if self.kind == "sharded" else {"": Part(self.sha256, self.size_bytes)}

    def to_json(self) -> str:
        """Encode the manifest with a hash of itself, as valid JSON whatever the metrics are."""
        values = asdict(self) | {"saved_at": self.saved_at.isoformat()}
        metrics = {name: float(value) for name, value in self.metrics.items()}
        values["metrics"] = {name: each if math.isfinite(each) else json.dumps(each) for name, each in metrics.items()}
        return json.dumps(values | {_CHECK: _hash(values)}, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Decode what `to_json` wrote. Raises ValueError, saying why, for anything else, one flipped bit included."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise Unreadable(Reason("no_json")) from None
        if not isinstance(values, dict) or not isinstance(check := values.pop(_CHECK, None), str):
            raise Unreadable(Reason("no_manifest"))
        if check != _hash(values):
            raise Unreadable(Reason("manifest_damaged"))
        if values.get("format") != FORMAT:
            raise Unreadable(Reason("manifest_format", values={"format": repr(values.get("format"))}))
        return _decode(values)


def order(manifest: Manifest) -> tuple[str, int, datetime, str]:
    """Return the key that sorts a run's checkpoints from oldest to newest, the same on every machine.

    Sessions sort by time, so what a superseded machine still saves never counts as newer than its successor's.
    """
    return (manifest.session, manifest.sequence, manifest.saved_at, manifest.file)


def hash_of_parts(parts: Mapping[str, Part]) -> str:
    """Return the hash of a sharded checkpoint, made of its parts' hashes."""
    return _hash({name: asdict(part) for name, part in parts.items()})


def is_plain_name(name: str) -> bool:
    """True for a name that can only mean an entry of the folder itself: no path, no dots alone, not too long."""
    if not name or name in (".", "..") or any(each in name for each in "/\\\0"):
        return False
    return len(name.encode("utf-8", "surrogatepass")) <= _LONGEST_NAME_BYTES


def _hash(values: Mapping[str, Any]) -> str:
    """Hash the values, not the text: reformatting the file does not damage it."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _decode(values: dict[str, Any]) -> Manifest:
    """Decode a manifest whose hash was right, and check its values, as another program may have written it."""
    known = {each.name: values[each.name] for each in fields(Manifest) if each.name in values}
    try:
        known["saved_at"] = datetime.fromisoformat(known["saved_at"])
        known["metrics"] = {name: _number(value) for name, value in known["metrics"].items()}
        known["parts"] = {name: Part(**part) for name, part in known["parts"].items()}
        manifest = Manifest(**known)
        problem = _problem(manifest)
    except (KeyError, TypeError, AttributeError) as error:
        raise Unreadable(Reason("manifest_shape", values={"text": str(error)})) from None
    if problem:
        raise Unreadable(problem)
    return manifest


def _number(value: object) -> float:
    if isinstance(value, str):
        return _NON_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _problem(manifest: Manifest) -> Reason | None:
    """Return the first invalid value of a manifest as a reason; None if all are valid."""
    texts = [getattr(manifest, name) for name in _TEXTS] + list(manifest.versions.values())
    texts += [part.sha256 for part in manifest.parts.values()]
    counts = [manifest.size_bytes, manifest.sequence, manifest.step]
    counts += [part.size_bytes for part in manifest.files.values()]
    if not all(isinstance(each, str) for each in texts):
        return Reason("manifest_text")
    if not all(type(each) is int and each >= 0 for each in counts):
        return Reason("manifest_count")
    if not (manifest.epoch is None or type(manifest.epoch) is int) or manifest.saved_at.tzinfo is None:
        return Reason("manifest_moment")
    if not is_plain_name(manifest.file) or manifest.file.startswith("."):
        return Reason("manifest_outside", values={"file": repr(manifest.file)})
    if manifest.kind not in ("single", "sharded") or bool(manifest.parts) != (manifest.kind == "sharded"):
        return Reason("manifest_kind")
    if not all(is_plain_name(name) for name in manifest.parts):
        return Reason("manifest_part_outside")
    return None
