"""Reporting of an Optuna study: a line for each trial, and one summary with the best trial's parameters."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from notifybot.config import Config
from notifybot.errors import reader_text
from notifybot.files import is_running
from notifybot.integrations.guest import raise_missing
from notifybot.integrations.trials import Tell, Trial, Trials
from notifybot.metric_names import Direction, monitored
from notifybot.notifiers.base import Notifier
from notifybot.redaction import fingerprint
from notifybot.training.endings import Ending
from notifybot.training.run_info import params_of
from notifybot.types import Status

try:
    import optuna
except ModuleNotFoundError as error:
    raise_missing(error, __name__, "optuna")

log = logging.getLogger("notifybot")

_RUN_ID, _PROCESS = "notifybot_run_id", "notifybot_process"  # in `study.user_attrs`
_STATES = optuna.trial.TrialState
_FINISHED = (_STATES.COMPLETE, _STATES.PRUNED, _STATES.FAIL)


def notify_study(
    name: str | None = None,
    *,
    monitor: str = "value",
    count: int | None = None,
    study: optuna.Study | None = None,
    tell: Tell = "all",
    project: str | None = None,
    run_id: str | None = None,
    params: object = None,
    config: Config | Mapping[str, object] | None = None,
    notifiers: Sequence[Notifier] | None = None,
) -> StudyNotes:
    """Report an Optuna study, by a callback of `optimize`.

        with notify_study("digits", monitor="val_acc", count=20, study=study) as notes:
            study.optimize(objective, n_trials=20, callbacks=[notes])

    `monitor` is what the objective's value is called; the study knows its direction, and the names of several
    objectives by `study.set_metric_names`. `count` is the number of trials that the study will have, for people to
    read. Given the `study`, the run begins with the block, otherwise when the first trial is over: Optuna calls nobody
    before. With `tell="best"` people hear only of a trial that is the best so far or failed, and of the end.

    The run is found again by the study's user attributes: a study that continues in a storage is the same run. Without
    `with` it ends with the trial numbered `count`, or with the notebook's cell or the process. Raises ConfigError and
    UsageError here and nowhere else.
    """
    return StudyNotes(
        name, monitor=monitor, count=count, study=study, tell=tell, project=project, run_id=run_id, params=params,
        config=config, notifiers=notifiers,
    )  # fmt: skip


class StudyNotes(Trials):
    """A study that is being reported: hold it with `with`, and hand it to `optimize(…, callbacks=[notes])`."""

    def __init__(self, name: str | None, *, monitor: str, study: optuna.Study | None = None, **options: Any) -> None:
        super().__init__(name, monitor=monitor, kind="study", **options)
        self._study = study
        self._called = monitored(monitor)[0]
        self._within = self._called_back = False
        self._seen: dict[int, Trial] = {}  # trials that were over when the run began

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_study": None, "_within": False, "_called_back": False}

    def __enter__(self) -> Self:
        self._within = True
        if self._study is not None:
            with self.guest.guard("starting_run"):
                self._begin(self._study)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._within = False
        if error is None and not self._called_back:
            log.warning("%s", reader_text("integrations.trials.study_called_nobody"))
        super().__exit__(kind, error, traceback)

    def __call__(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Report a trial that is over. Optuna calls this, from several threads with `n_jobs`."""
        self._called_back = True
        with self.guest.guard("framework_hook", loud=()), self._lock:
            if not self.guest.active:
                self._begin(study, but=trial.number)
            seen = self._seen.get(trial.number)
            if seen is None:
                self.report(_closed(trial))
            else:  # by the thread that began the run, while this one was on its way here
                self.say(seen)
            if not self._within and self.count is not None and len(self.trials) >= self.count:
                self.guest.finish()
        self.guest.linger()

    # ── The run ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, study: optuna.Study, but: int | None = None) -> None:
        """Begin the study's run, or go on with it, knowing all trials that are over but one."""
        rising = optuna.study.StudyDirection.MAXIMIZE
        directions = [Direction.MAX if each is rising else Direction.MIN for each in study.directions]
        names = study.metric_names or [self._called] * len(directions)
        if len(directions) > 1 and study.metric_names is None:
            names = [f"{self._called} {place}" for place in range(len(directions))]
        self.compare_by(names, directions)
        if self.guest.name is None and study.study_name and not study.study_name.startswith("no-name-"):
            self.guest.name = study.study_name
        self.begin(self._found(study), unseen_end=not self._within)
        self._seen = {}
        if self.guest.run is not None and not isinstance(study._storage, optuna.storages.InMemoryStorage):
            self.guest.run.note_kept("storage")
        if self.guest.active:
            with self.guest.guard("framework_settings", loud=()):
                self._leave_word(study)
        for each in study.get_trials(deepcopy=False, states=_FINISHED):
            if each.number != but:
                self._seen[each.number] = _closed(each)
                self.take_in(self._seen[each.number])

    def _found(self, study: optuna.Study) -> dict[str, str]:
        """The run that reported this study before; none where another process of this machine still does."""
        attributes = study.user_attrs
        process = dict(attributes.get(_PROCESS) or {})
        pid = int(process.get("pid") or 0)
        if process.get("host") == _host() and pid != os.getpid() and pid and is_running(pid):
            return {}
        if not attributes.get(_RUN_ID):
            return {}
        return {"run_id": str(attributes[_RUN_ID]), "session": str(process.get("session", ""))}

    def _leave_word(self, study: optuna.Study) -> None:
        state = self.guest.state()
        study.set_user_attr(_RUN_ID, state["run_id"])
        study.set_user_attr(_PROCESS, {"session": state["session"], "host": _host(), "pid": os.getpid()})

    def _judge(self, ending: Ending) -> Ending:
        """Optuna shows no end of `optimize`: a program or a cell that came to its own end is none that left early."""
        if ending.status is Status.STOPPED and not (self.count is not None and len(self.trials) < self.count):
            ending = replace(ending, status=Status.FINISHED)
        return super()._judge(ending)


def _host() -> str:
    """This machine, so that it can be known again and not be read by whoever opens the study."""
    return fingerprint(platform.node())


def _closed(trial: optuna.trial.FrozenTrial) -> Trial:
    several = trial.values is not None and len(trial.values) > 1
    pruned = trial.state is _STATES.PRUNED
    return Trial(
        trial.number,
        params_of(trial.params),
        None if several or trial.values is None else trial.values[0],
        values=tuple(trial.values) if several else (),
        failed=trial.state is _STATES.FAIL,
        pruned=pruned,
        pruned_at=trial.last_step if pruned else None,
        feasible=all(each <= 0 for each in _constraints(trial)),
    )


def _constraints(trial: optuna.trial.FrozenTrial) -> list[float]:
    """Values of a trial's constraints: one above 0 is a violation, and Optuna never calls such a trial the best."""
    known: Any = getattr(trial, "constraints", None)
    if known is None:  # before Optuna 5
        known = trial.system_attrs.get("constraints") or ()
    return list(known.values() if isinstance(known, Mapping) else known)
