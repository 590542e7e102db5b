"""Runtime environment of the process: notebook, Colab, installed packages, rank in a distributed training."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from notifybot.errors import reader_text
from notifybot.files import write_atomically
from notifybot.redaction import fingerprint

_EVENT = "post_run_cell"


def shell() -> Any:
    """IPython's shell when this process runs one (Jupyter, Colab, a terminal's IPython), else None."""
    ipython: Any = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def execution() -> object:
    """Return a mark of the current execution: equal within a script, and within one run of a notebook's cell.

    At Python's own prompt executions cannot be told apart, so each call returns a new mark.
    """
    if (found := shell()) is not None:
        return found.execution_count
    return object() if hasattr(sys, "ps1") else None


def in_notebook() -> bool:
    """True in a notebook's kernel, whose output is a page; an imported ipykernel alone does not count."""
    return hasattr(shell(), "kernel")


def is_installed(package: str) -> bool:
    """True for a package that can be imported.

    A bare folder of its name, such as the `wandb` that W&B leaves in the working folder, has no origin and is none.
    """
    found = find_spec(package)
    return found is not None and found.origin is not None


def in_colab() -> bool:
    """True in the process of a Colab notebook: elsewhere there is no browser to answer for Drive and secrets."""
    return "google.colab" in sys.modules


class CellEnd:
    """Callback at the end of each notebook cell: calls `then` with the cell's exception or None, until `stop`."""

    def __init__(self, then: Callable[[BaseException | None], None]) -> None:
        self._then = then
        self._shell: Any = None

    @property
    def listening(self) -> bool:
        """True between start and stop, where there is a shell."""
        return self._shell is not None

    def start(self) -> None:
        """Listen, where there is a shell. Starting twice is fine."""
        if self._shell is None and (found := shell()) is not None:
            found.events.register(_EVENT, self._on_cell_end)
            self._shell = found

    def stop(self) -> None:
        """Listen no more."""
        listening, self._shell = self._shell, None
        if listening is not None and self._on_cell_end in listening.events.callbacks[_EVENT]:
            listening.events.unregister(_EVENT, self._on_cell_end)

    def _on_cell_end(self, result: Any) -> None:
        self._then(result.error_in_exec or result.error_before_exec)


log = logging.getLogger("notifybot")

VARIABLES = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
_NODES = ("NODE_RANK", "GROUP_RANK")
_FAILED_WITHIN = timedelta(seconds=60)
_KEPT_S = 86_400.0


def rank(environment: Mapping[str, str] | None = None) -> int:
    """Return the rank of this process; 0 if none is set or it is no number.

    Without an `environment`, an initialised process group comes first.
    """
    if environment is None:
        group = _group_rank()
        if group is not None:
            return group
        environment = os.environ
    for name in VARIABLES:
        if environment.get(name, "").strip():
            return _number(environment, name)
    if _number(environment, "WORLD_SIZE", 1) <= 1:  # alone, LOCAL_RANK is 0 once on every machine
        return 0
    node = next((_number(environment, name) for name in _NODES if environment.get(name, "").strip()), 0)
    return node * _number(environment, "LOCAL_WORLD_SIZE", 1) + _number(environment, "LOCAL_RANK")


def _number(environment: Mapping[str, str], name: str, default: int = 0) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if text.isdecimal():
        return int(text)
    line = reader_text("runtime.is_no_rank", name=name, text=f"{text!r}", default=default)
    log.warning("%s", line)
    return default


def _group_rank() -> int | None:
    """The rank in the initialised process group; None without one. Imports nothing."""
    module: Any = sys.modules.get("torch.distributed")
    ready = getattr(module, "is_initialized", None)  # absent from a torch built without it
    return int(module.get_rank()) if ready is not None and ready() else None


def is_one_training() -> bool:
    """True when the process has joined a group, so that other ranks are certain to work on the same training."""
    return _group_rank() is not None


def environment() -> Mapping[str, str]:
    """The process's environment, for libraries that keep their own settings there."""
    return os.environ


def in_loader_worker() -> bool:
    """True inside a DataLoader's worker process. Imports nothing: no torch, no worker."""
    module: Any = sys.modules.get("torch.utils.data")
    ask = getattr(module, "get_worker_info", None)  # absent while another thread imports torch
    return ask is not None and ask() is not None


def speaks(ranks: str = "first") -> bool:
    """True when a run started in this process is to be reported. `ranks` is the setting: "first" or "each"."""
    return not in_loader_worker() and (ranks == "each" or rank() == 0)


# ── The folder in which the program was started ──────────────────────────────────────────────────────────────────────


def started_in() -> Path | None:
    """Return the folder in which the program was started, where a framework has moved it into another one since.

    Hydra moves a program into the folder of its job, and Ray a trial or a worker into its own. None where neither did.
    """
    return _hydra_folder() or _ray_tune_folder() or _ray_train_folder()


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path as absolute: a relative one lies in the folder in which the program was started."""
    path = Path(path).expanduser()
    return path if path.is_absolute() else (started_in() or Path.cwd()) / path


def absolute_for_job(path: str | os.PathLike[str]) -> Path:
    """As `absolute`, but in the job's own folder where many jobs share a start: a sweep of Hydra, trials of Ray Tune.

    Each of them has its own checkpoints, and one that starts again finds its folder again.
    """
    path = Path(path).expanduser()
    if path.is_absolute():
        return path
    hydra = _hydra()
    is_sweep = hydra is not None and getattr(hydra.get("mode"), "name", "") == "MULTIRUN"
    return ((None if is_sweep else _hydra_folder()) or _ray_train_folder() or Path.cwd()) / path


def _hydra() -> Any:
    """Hydra's own settings of this job, an OmegaConf mapping: its `get` is None where a value is missing."""
    config: Any = getattr(sys.modules.get("hydra.core.hydra_config"), "HydraConfig", None)
    return config.get() if config is not None and config.initialized() else None


def _hydra_folder() -> Path | None:
    """Folder of the start, while the program is in the folder of its job; one that went elsewhere by itself stays."""
    hydra = _hydra()
    runtime: Any = None if hydra is None else hydra.get("runtime")
    started = None if runtime is None else runtime.get("cwd")
    if not started:
        return None
    with suppress(OSError):  # the working folder is gone
        here, job = Path.cwd(), runtime.get("output_dir")  # Hydra before 1.2 names none
        if here != Path(started) and (not job or here.is_relative_to(job)):
            return Path(started)
    return None


def _ray_tune_folder() -> Path | None:
    """Working folder of the driver, as Ray Tune names it to its trials."""
    folder = os.environ.get("TUNE_ORIG_WORKING_DIR", "")
    return Path(folder) if folder and "ray" in sys.modules and os.path.isdir(folder) else None


def _ray_train_folder() -> Path | None:
    """Folder in which Ray was started, for a worker of Ray Train: its own vanishes with Ray's session.

    Ray Train names none, but its workers have the environment of the process that started them (2.60).
    """
    folder = os.environ.get("PWD", "")
    if not folder or "ray" not in sys.modules or "TUNE_ORIG_WORKING_DIR" in os.environ or not os.path.isdir(folder):
        return None
    with suppress(OSError):  # the working folder is gone
        if any(part.startswith("session_") for part in Path.cwd().parts) and "RAY_RAYLET_PID" in os.environ:
            return Path(folder)
    return None


# ── Failures that other ranks record ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LastWord:
    """Failure of a rank: `error` and `frames` as in an ending, secrets struck out already."""

    rank: int
    host: str
    at: str
    error: str
    frames: str


def leave_word(state_dir: Path, error: str, frames: str, now: datetime) -> None:
    """Record this rank's failure in a file for rank 0 on the same machine, which is terminated because of it.

    Raises OSError.
    """
    here = rank()
    folder = _folder(state_dir)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in [*folder.parent.glob("*/*.json"), *folder.parent.glob("*/*.launch")]:
        if now.timestamp() - old.stat().st_mtime > _KEPT_S:
            old.unlink(missing_ok=True)
    word = LastWord(here, platform.node(), now.isoformat(), error, frames)
    write_atomically(folder / f"{here}.json", json.dumps(asdict(word)).encode(), private=True, durable=False)


def first_word(state_dir: Path, now: datetime) -> LastWord | None:
    """Return the first failure that a rank of this training recorded in the last minute, or None."""
    words = [word for path in _folder(state_dir).glob("*.json") if (word := _read(path)) is not None]
    fresh = [word for word in words if abs(now - datetime.fromisoformat(word.at)) < _FAILED_WITHIN]
    return min(fresh, key=lambda word: word.at, default=None)


def _read(path: Path) -> LastWord | None:
    try:
        word = LastWord(**json.loads(path.read_text("utf-8")))
        datetime.fromisoformat(word.at)
    except (OSError, ValueError, TypeError):  # half written, or of another version
        return None
    return word


def _folder(state_dir: Path) -> Path:
    """Folder shared by the ranks of one start of a training."""
    return state_dir / "ranks" / fingerprint(f"{_launch()} {os.environ.get(_RESTARTS, '')}")


def _launch() -> str:
    """Mark of one launch, on this machine: the launcher's id, else its address and process."""
    values = os.environ
    launch = values.get("TORCHELASTIC_RUN_ID", "").strip()
    if launch in ("", "none"):
        launch = f"{values.get('MASTER_ADDR', '')}:{values.get('MASTER_PORT', '')} {os.getppid()}"
    return launch


# ── Restarts by the launcher ─────────────────────────────────────────────────────────────────────────────────────────

_RESTARTS = "TORCHELASTIC_RESTART_COUNT"
_of_launch: set[str] = set()  # launches whose run this process has begun or found: a second run is one of its own


def leave_run(state_dir: Path, run_id: str, project: str) -> None:
    """Record which run this launch of torchrun is about, for a process that the launcher starts again. Raises OSError.

    The launcher itself stays, so its process tells its launches apart where they have no id of their own.
    """
    if _RESTARTS not in os.environ or _restart_key() in _of_launch:
        return
    _of_launch.add(_restart_key())
    path = _restart_file(state_dir)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    content = json.dumps({"id": run_id, "project": project})
    write_atomically(path, content.encode(), private=True, durable=False)


def was_restarted() -> bool:
    """True for a process of a launch that torchrun has restarted."""
    return _number(os.environ, _RESTARTS) > 0


def run_before_restart(state_dir: Path, project: str) -> str | None:
    """Return the id of the run that this launch began before the launcher restarted it; None without one."""
    if not was_restarted() or _restart_key() in _of_launch:
        return None
    try:
        found = json.loads(_restart_file(state_dir).read_text("utf-8"))
        if found["project"] != project:
            return None
        _of_launch.add(_restart_key())
        return str(found["id"])
    except (OSError, ValueError, LookupError, TypeError):  # of another machine, or half written
        return None


def _restart_key() -> str:
    return f"{os.environ.get('TORCHELASTIC_RUN_ID', '')} {os.getppid()}"


def _restart_file(state_dir: Path) -> Path:
    return state_dir / "ranks" / fingerprint(_restart_key()) / "run.launch"


def on_other_machine() -> bool:
    """True for a rank that is not on the machine of rank 0, by the launcher's word."""
    return any(_number(os.environ, name) > 0 for name in _NODES if os.environ.get(name, "").strip())
