"""Weights & Biases: the run under its own id, so that a resumed run is the same W&B run."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from notifybot.clock import SYSTEM
from notifybot.errors import reader_text, system_words
from notifybot.events import CheckpointSaved, EpochFinished, Event
from notifybot.files import started
from notifybot.i18n import Localized, localized
from notifybot.redaction import redact
from notifybot.trackers.base import TrackerContext
from notifybot.trackers.wandb_artifacts import CheckpointVersions, log_artifact, metadata_of
from notifybot.trackers.wandb_offline import Written, earlier, mend
from notifybot.types import Param, RunRef, Status

_log = logging.getLogger("notifybot")

Warn = Callable[[Localized], None]
"""Reports what people should know of W&B."""

START_TIMEOUT_S = 30.0
FINISH_TIMEOUT_S = 2.0  # W&B's own default is to wait without end, which would hold up the exit of the process

# W&B calls a run "failed" for any other code than 0, and itself ends with 255 after Ctrl-C:
# https://docs.wandb.ai/models/runs/run-states, wandb/sdk/lib/exit_hooks.py. Leaving early on purpose is no failure.
_EXIT_CODES = {Status.FINISHED: 0, Status.STOPPED: 0, Status.INTERRUPTED: 255}
_FAILURE = 1


AXES: dict[str, str] = {"epoch": "epoch", "step": "global_step", "round": "round", "trial": "trial"}
"""Name of the value that metrics are drawn over, by what a run counts. Trainers call the step "global_step"."""


class WandbTracker:
    """Logs each epoch's metrics with the epoch as their x-axis, into a W&B run that others may log to as well.

    W&B's own variables and settings files choose between online, offline and disabled. It never asks for a key.
    W&B's step only goes up, and W&B drops rows with an earlier step. So the epoch is a separate metric
    (`define_metric`) and no step is ever given: a resumed run continues after its first part, online and offline, also
    when epochs are done again. In a run that the user's own code logs to, each epoch is a whole row beside the row that
    is being filled (`_add_row`): neither side's numbers are dropped, whatever steps the user gives.
    Offline, all files are in the run's folder (unless WANDB_DIR says otherwise), each session in a sub-folder, and
    together they hold each epoch once: void rows are cut off an earlier session's file, unless synced. W&B cannot
    delete numbers from its server: there, epochs done again or replayed after a kill stand beside the first ones.
    A run that the user has active in this process is used, and never finished here. If the user's code finishes the run
    we write to, later epochs go to the run that is active then, else to our own run, started again. A user's run is not
    started again, and only the log says so.
    """

    name = "wandb"
    written_after_s = 20.0
    """W&B writes its file in blocks of 32 KiB or every 15 s: younger rows may be lost with the process."""

    def __init__(
        self,
        run: Any,
        context: TrackerContext,
        *,
        owned: bool,
        warn: Warn,
        again: Callable[[TrackerContext], Any] | None = None,
    ) -> None:
        self.run = run  #: the raw wandb.Run, for images, histograms, artifacts
        self._owned = owned
        self._again = again  # starts our own run again
        self._context = context
        self._warn = warn
        self._left_out = False
        self._defined: set[str] = set()
        self._closed = False
        self._replayed = {event.id for event in context.replay}
        self._written = _continue(run, context) if owned else Written()
        self._versions = CheckpointVersions(context.monitor) if context.wandb_artifacts else None
        self._artifact = f"checkpoint-{context.run.id}"
        self._warned_of_artifact = False

    @classmethod
    def open(
        cls,
        context: TrackerContext,
        *,
        warn: Warn,
        wake: threading.Event | None = None,
        timeout_s: float = START_TIMEOUT_S,
    ) -> WandbTracker:
        """Join the active W&B run, or start one; online only if that succeeds within `timeout_s`.

        Setting `wake` ends the wait for W&B's server, as when the run is about to end.
        """
        import wandb

        if wandb.run is not None:
            return cls(_joined(wandb.run, context.params), context, owned=False, warn=warn)

        def begin(given: TrackerContext) -> Any:
            return _start(wandb, given, warn, wake or threading.Event(), timeout_s)

        return cls(begin(context), context, owned=True, warn=warn, again=begin)

    @property
    def raw(self) -> Any:
        """W&B's run: a new one where the program finished the first."""
        return self.run

    @property
    def url(self) -> str | None:
        """The run's page, None while W&B is offline."""
        return page_of(self.run)

    def record(self, event: Event) -> None:
        """Log an epoch's metrics, and checkpoints where asked to; W&B warns people of alerts by itself."""
        if isinstance(event, EpochFinished):
            self._record_epoch(event)
        elif isinstance(event, CheckpointSaved) and self._versions is not None and self._versions.is_new(event):
            pruned = event.id in self._replayed and not Path(event.checkpoint.path).exists()
            if not pruned:
                aliases = self._versions.aliases(event)
                self.log_checkpoint_artifact(event.checkpoint.path, aliases=aliases, metadata=metadata_of(event))

    def log_checkpoint_artifact(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        aliases: Iterable[str] = (),
        metadata: Mapping[str, Param] | None = None,
    ) -> bool:
        """Log a checkpoint as a model artifact, named after the run if left out; False when W&B did not take it.

        The calling thread reads and copies the whole file once: a few seconds for each gigabyte. Never raises.
        """
        reason = log_artifact(self.run, Path(path), name or self._artifact, aliases, metadata)
        if reason and not self._warned_of_artifact:
            self._warned_of_artifact = True
            self._warn(localized("trackers.wandb_artifacts.not_logged", reason=reason))
        return not reason

    def _record_epoch(self, event: EpochFinished) -> None:
        progress = event.progress
        metrics = {name: metric.value for name, metric in progress.metrics.items()}
        epoch = progress.place
        if self._versions is not None:
            self._versions.finished(event)
        if event.id in self._replayed and self._written.holds(epoch, metrics):
            return
        if not self._open_run():
            return
        self._define(metrics, AXES[progress.unit])
        axis = AXES[progress.unit]
        row = {**metrics, axis: epoch, "_timestamp": event.at.timestamp()}
        if (not self._owned or _gives_steps(self.run)) and _add_row(self.run, row):
            self.run.summary.update({**metrics, axis: epoch})
        else:
            self.run.log(row)
        best = {f"best/{name}": metric.best for name, metric in progress.metrics.items() if metric.best is not None}
        if best:
            self.run.summary.update(best)

    def _open_run(self) -> bool:
        """Make sure that a run takes rows, since the user's code may have finished ours; False if none does."""
        if not _finished(self.run):
            return True
        import wandb

        if wandb.run is not None:
            self.run, self._owned = _joined(wandb.run, self._context.params), False
        elif self._owned and self._again is not None:
            context = replace(self._context, purge_from=None)  # rows of this session are not void
            self.run = self._again(context)
            _continue(self.run, context)
        elif not self._left_out:
            self._left_out = True
            _log.warning("%s", reader_text("trackers.wandb.finished_by_program", id=self.run.id))
        self._defined.clear()
        return not _finished(self.run)

    def go_back(self, first: int) -> None:
        """Do nothing: W&B cannot delete numbers, and shows the value that was logged last for an epoch."""

    def close(self, status: Status) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._owned or _finished(self.run):
            return
        try:
            self.run.finish(exit_code=_EXIT_CODES.get(status, _FAILURE))
        except TimeoutError:
            folder = os.path.dirname(self.run.settings.sync_file)
            self._warn(localized("trackers.wandb.upload_unfinished", folder=folder))

    def _define(self, metrics: dict[str, float], axis: str) -> None:
        """Draw a metric over the axis, unless the name is the user's too: W&B would put our axis into their rows.

        Names with an asterisk are patterns to W&B, and keep its own axis.
        """
        fresh = [name for name in metrics if name not in self._defined and "*" not in name]
        self._defined.update(fresh)
        if not fresh or _syncs_tensorboard(self.run):
            return
        theirs = set() if self._owned else set(dict(self.run.summary))
        self.run.define_metric(axis, hidden=True)
        for name in fresh:
            if name not in theirs:
                # A dot would mean a value inside a mapping:
                # https://docs.wandb.ai/models/track/log/customize-logging-axes
                self.run.define_metric(name.replace(".", "\\."), step_metric=axis)


def _continue(run: Any, context: TrackerContext) -> Written:
    """Read earlier sessions' offline files and continue after their last step, known otherwise only to W&B's server."""
    if not run.offline:
        return Written()
    try:
        folder = Path(run.settings.wandb_dir)
        written = earlier(folder, run.id, context.purge_from, AXES[context.unit])
        for aside in mend(folder, run.id, Path(run.settings.sync_dir)):
            _log.info("left aside of a killed W&B session, since `wandb sync` would stop at it: %s", aside)
    except OSError as error:  # a file of the past that cannot be read must not cost the numbers to come
        _log.warning("%s", reader_text("trackers.wandb.earlier_files_not_read", error=system_words(error)))
        return Written()
    if written.step >= 0:
        run.log({}, step=written.step + 1, commit=False)
        _gives_steps(run, forget=True)
    return written


def page_of(run: Any) -> str | None:
    """A W&B run's page; None offline, where W&B prints a warning to whoever asks for it.

    Without what follows a "?": for an anonymous run that is a key to the account.
    """
    page = "" if getattr(run, "offline", False) else str(run.url or "").partition("?")[0]
    return page if page.startswith(("https://", "http://")) else None


def _syncs_tensorboard(run: Any) -> bool:
    """True where W&B reads the user's TensorBoard files, whose names are theirs and whose axis is `global_step`."""
    patched = getattr(sys.modules.get("wandb"), "patched", {})
    return bool(patched.get("tensorboard")) or bool(getattr(getattr(run, "settings", None), "sync_tensorboard", False))


def _finished(run: Any) -> bool:
    return bool(getattr(run, "_is_finished", False))  # W&B has no public name for it


def _gives_steps(run: Any, *, forget: bool = False) -> bool:
    """True when somebody in this process has logged to the run with `step=`, as W&B's own telemetry notes it."""
    feature = getattr(getattr(run, "_telemetry_obj", None), "feature", None)
    if forget and feature is not None:
        feature.set_step_log = False
    return bool(getattr(feature, "set_step_log", False))


def _add_row(run: Any, row: dict[str, Any]) -> bool:
    """Write a whole row beside the one that the user's code is filling; False where this W&B has no such way.

    `run.log` knows one row at a time: without `step=` it ends the user's, whose later values of that step are then
    dropped; with `commit=False` a name that both log is overwritten. A record of its own is neither merged nor
    compared: W&B gives it the next step that is free when it sends it, and keeps the user's rows (since 0.31; a user's
    step that is taken by then is moved up by one). https://github.com/wandb/wandb/pull/12616
    """
    try:
        data = {**row, "_runtime": max(0.0, row["_timestamp"] - run.start_time)}
        run._interface.publish_history(run, data, step=0, publish_step=False)
    except (AttributeError, TypeError):  # not a public call: another version may lack it, a disabled run does
        return False
    return True


def _joined(run: Any, params: Mapping[str, Param]) -> Any:
    """Return a run of the user's with our parameters added to its config; values that the user has set there stay."""
    if params:
        run.config.update(_unset(nested(params), dict(run.config)), allow_val_change=True)
    return run


def _unset(given: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of `given` that a config lacks; a mapping to be replaced is returned whole."""
    fresh: dict[str, Any] = {}
    for name, value in given.items():
        there = present.get(name)
        if name not in present:
            fresh[name] = value
        elif isinstance(value, dict) and isinstance(there, Mapping):
            fresh[name] = {**there, **_unset(value, there)}
    return fresh


def nested(params: Mapping[str, Param]) -> dict[str, Any]:
    """Parameters with dotted names as W&B groups them: `{"optim.lr": 0.1}` is `{"optim": {"lr": 0.1}}`.

    A name that would stand where another one's branch is keeps its dots. Whole numbers that JSON's readers round go
    as text.
    """
    tree: dict[str, Any] = {}
    for name, value in params.items():
        path, branch = name.split("."), tree
        if "" in path or any(".".join(path[:length]) in params for length in range(1, len(path))):
            path = [name]
        for part in path[:-1]:
            branch = branch.setdefault(part, {})
        branch[path[-1]] = str(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value
    return tree


def _start(wandb: Any, context: TrackerContext, warn: Warn, wake: threading.Event, timeout_s: float) -> Any:
    """Start a run as W&B is set up; an online one that has no key or does not start goes on offline."""
    from requests.utils import get_netrc_auth  # W&B has loaded it by now; the start of a run without W&B need not

    settings = _set_up(wandb)
    if settings.mode in ("offline", "dryrun", "disabled"):
        return _init(wandb, settings, context, timeout_s)
    if not (settings.api_key or settings.identity_token_file or get_netrc_auth(settings.base_url)):
        warn(localized("trackers.wandb.no_api_key"))
        return _init(wandb, settings, context, timeout_s, mode="offline")
    deadline = SYSTEM.monotonic() + timeout_s
    if not answers(settings, wake, timeout_s):
        cause: object = localized("trackers.wandb.no_answer")
        warn(localized("trackers.wandb.not_started_online", cause=cause))
        return _init(wandb, settings, context, timeout_s, mode="offline")
    try:
        return _init(wandb, settings, context, max(1.0, deadline - SYSTEM.monotonic()))
    except (wandb.Error, TimeoutError) as error:
        cause = redact(" ".join((str(error) or type(error).__name__).split()))[:200]
        warn(localized("trackers.wandb.not_started_online", cause=cause))
    with contextlib.suppress(SystemExit):  # teardown leaves the interpreter if W&B's process failed
        wandb.teardown()  # the failed start keeps the run's id in use until W&B's process is gone
    return _init(wandb, _set_up(wandb), context, timeout_s, mode="offline")


def _init(wandb: Any, settings: Any, context: TrackerContext, timeout_s: float, mode: str | None = None) -> Any:
    run = context.run
    default_folder = os.path.abspath(settings.root_dir) == os.getcwd()
    default_project = run.project == "default" and settings.project
    return wandb.init(
        project=settings.project if default_project else _clean(run.project),
        name=settings.run_name or run.name,
        id=run_id(run),
        config=nested(context.params),
        dir=str(context.folder) if default_folder else None,
        mode=mode,
        resume="allow",
        settings=wandb.Settings(
            silent=True,  # W&B prints from its own thread, through the progress bar
            console="off" if settings.console == "wrap" else settings.console,  # "wrap" is what W&B does unasked
            init_timeout=min(timeout_s, settings.init_timeout),
            finish_timeout=settings.finish_timeout or FINISH_TIMEOUT_S,
            finish_timeout_raises=True,
        ),
    )


def _set_up(wandb: Any) -> Any:
    """Start W&B's process and return its settings, with `sys.exit` and `sys.excepthook` left as they were.

    W&B puts its own in their place to learn the exit code, which `finish` gets here; its excepthook would print
    every traceback twice.
    """
    before = {name: getattr(sys, name) for name in ("exit", "excepthook")}
    settings = wandb.setup().settings
    for name, hook in before.items():
        if getattr(getattr(sys, name), "__module__", "").startswith("wandb."):
            setattr(sys, name, hook)
    return settings


def run_id(run: RunRef) -> str:
    """The run's id as W&B takes it: W&B refuses some characters."""
    return _clean(run.id)


def _clean(name: str) -> str:
    return re.sub(r"[:;,#?/'\\%\s]", "-", name)[:128]


def answers(settings: Any, wake: threading.Event, timeout_s: float) -> bool:
    """True once the server in W&B's settings says anything at all; False after `timeout_s`, or once `wake` is set.

    Asked before `wandb.init`: W&B's own process would hold up the exit of ours for as long as it waits for a server.
    """
    if settings.http_proxy or settings.https_proxy:
        return True  # only W&B itself knows how to use its proxy settings
    answered = threading.Event()
    deadline = SYSTEM.monotonic() + timeout_s

    def ask() -> None:  # in a thread of its own, since a request cannot be cut short
        import requests

        while not wake.is_set() and (left_s := deadline - SYSTEM.monotonic()) > 0:
            try:
                requests.get(settings.base_url, timeout=left_s, allow_redirects=False, stream=True).close()
                answered.set()
            except requests.exceptions.SSLError:
                answered.set()  # the server is there; W&B itself judges its certificate
            except requests.RequestException:
                pass
            if answered.is_set():
                wake.set()
            SYSTEM.wait(wake, 1.0)

    if not started(threading.Thread(target=ask, name="notifybot-trackers-wandb-probe", daemon=True)):
        return False
    SYSTEM.wait(wake, timeout_s)
    return answered.is_set()
