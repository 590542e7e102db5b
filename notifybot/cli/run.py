"""`notifybot run -- CMD` runs any command and reports it, all else left as it is; `watch` follows a running process."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from notifybot.command.launchers import job_run_id, place_of
from notifybot.command.outcome import CommandOutcome, Kind, MemoryKills, outcome_of
from notifybot.command.process import Child, Choice, Unstartable
from notifybot.command.progress_lines import LineFormat, ProgressParser, formats, own_format
from notifybot.command.reporter import RankReporter, Reporter, Wishes
from notifybot.config import Config, Switch, load
from notifybot.errors import UsageError, reader_text
from notifybot.i18n import text
from notifybot.redaction import MARK, names_secret, strike
from notifybot.runtime import environment
from notifybot.training.command_file import VARIABLE, CommandFile, joined_run
from notifybot.types import uuid7

_SIGNAL_HOLDS_S = 600.0  # a graceful end may take minutes; a Ctrl-C of hours ago did not end it
_TRACKERS = ("tensorboard", "wandb")
_KEPT_LINES = 200
_TAIL_LINES = 20


def run_command(
    command: Sequence[str],
    wishes: Wishes,
    *,
    pty: str,
    forward: str,
    read_metrics: bool,
    position: str = "",
    metrics: Sequence[str] = (),
) -> int:
    """Run a command and return its exit code. Raises ConfigError and UsageError before it is started."""
    config = _with_own_trackers_off(load())
    parser = _parser(position, metrics) if read_metrics else None
    project = wishes.project or config.project
    wishes = _with_run(wishes, command, project, each=config.ranks == "each")
    file = CommandFile.create(str(wishes.run_id), project)
    place = place_of(command, environment())
    reporter: Reporter | RankReporter
    if place.number == 0 or config.ranks == "each":
        reporter = Reporter(config, wishes, {"command": shown(command)}, file, parser)
    else:
        reporter = RankReporter(config, wishes, place, file)
    surroundings = dict(environment()) | ({VARIABLE: str(file.path)} if file.path is not None else {})
    child = Child(command, surroundings, pty=Choice(pty), forward=Choice(forward), see=reporter.printed)
    memory = MemoryKills.now()
    try:
        child.start()
    except Unstartable as error:
        line = text(config.lang, "command.not_started", command=command[0], error=error)
        print(f"notifybot: {line}", file=sys.stderr)
        reporter.start()
        reporter.end(CommandOutcome(Kind.NOT_STARTED, error.code, error=str(error), command=command[0]), [])
        return error.code
    try:
        reporter.start(child.files)
        code = child.wait()
        received = child.received.deadly(_SIGNAL_HOLDS_S)
        lines = child.tail.lines(_KEPT_LINES)
        outcome = outcome_of(code, received=received, memory=MemoryKills.now().since(memory), lines=lines)
        reporter.end(outcome, lines)
    finally:
        child.close()
        child.leave()
    if outcome.died_of is not None:  # as the shell or the scheduler would have seen it
        signal.signal(outcome.died_of, signal.SIG_DFL)
        os.kill(os.getpid(), outcome.died_of)
    return outcome.exit_code


def _with_run(wishes: Wishes, command: Sequence[str], project: str, *, each: bool) -> Wishes:
    """Choose the run: the one asked for, that of the command above, that of a requeued SLURM job, or a new one."""
    if wishes.run_id is not None:
        return wishes
    if joined := joined_run(project):
        return replace(wishes, run_id=joined, joins=True)
    speaks = each or place_of(command, environment()).number == 0
    of_job = job_run_id(command, project, environment(), each=each) if speaks else None
    return replace(wishes, run_id=of_job or uuid7())


def _parser(position: str, metrics: Sequence[str]) -> ProgressParser:
    known: list[LineFormat] = formats()
    own: dict[str, re.Pattern[str]] = {}
    try:
        if position:
            known = [own_format(position)]
        for each in metrics:
            name, _, pattern = each.partition("=")
            own[name] = re.compile(pattern)
            if not name or not own[name].groups:
                raise ValueError(each)
    except (re.error, ValueError) as error:
        raise UsageError(reader_text("command.bad_pattern", error=error)) from None
    return ProgressParser(known, own)


def shown(command: Sequence[str]) -> str:
    """Return the command line without secrets: neither `--api-key VALUE` nor `TOKEN=VALUE`."""
    before = ("", *command)
    words = [
        MARK if flag[:1] == "-" and names_secret(flag) else word for flag, word in zip(before, command, strict=False)
    ]
    return strike(shlex.join(words))


def watch_process(pid: int, *, name: str, project: str | None, stall: str) -> int:
    """Follow a process by its number; return 0 when it is gone. Raises ConfigError and UsageError before."""
    from notifybot.command.watch import WatchedProcess, watch  # a second, which `notifybot run` does not wait for

    stall_s, config = _seconds("--stall", stall), _with_own_trackers_off(load())
    process = WatchedProcess(pid)
    words = process.words()
    named = name or name_of_command(words) or f"PID {pid}"
    return watch(process, config, name=named, project=project, command=shown(words), stall_s=stall_s)


def _with_own_trackers_off(config: Config) -> Config:
    """Leave to the program the trackers that it may use by itself."""
    own = {name: Switch.OFF for name in _TRACKERS if getattr(config, name) is Switch.AUTO}
    return config.model_copy(update=own)


_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*([smh]?)", re.IGNORECASE)
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def wishes_of(
    command: Sequence[str],
    *,
    name: str,
    project: str | None,
    run_id: str | None,
    tail: int | None,
    stall: str,
    min_time: str,
    at_least: str,
) -> Wishes:
    """Return the options as values. Raises UsageError for a time that is none."""
    return Wishes(
        name=name or name_of_command(command),
        project=project,
        run_id=run_id,
        tail_lines=_TAIL_LINES if tail is None else tail,
        tail_of_success=tail is not None,
        stall_s=_seconds("--stall", stall),
        min_s=_seconds("--min-time", min_time),
        at_least_s=_seconds("--at-least", at_least),
    )


def _seconds(option: str, given: str) -> float:
    found = _TIME.fullmatch(given.strip() or "0")
    if found is None:
        raise UsageError(reader_text("command.bad_time", option=option, given=f"{given!r:.40}"))
    return float(found[1]) * _SECONDS[found[2].lower()]


_LAUNCHERS = frozenset((
    "accelerate", "conda", "deepspeed", "env", "exec", "ionice", "launch", "mpirun", "nice", "nohup", "notifybot",
    "numactl", "pdm", "pipenv", "poetry", "run", "srun", "time", "torchrun", "uv", "xvfb-run",
))  # fmt: skip
_SCRIPTS = (".py", ".sh", ".bash", ".ipynb", ".R", ".jl", ".pl")


def name_of_command(command: Sequence[str]) -> str:
    """Return a run's name for a command: its script, the module of `python -m`, or the program after launchers."""
    for index, word in enumerate(command):
        if word.endswith(_SCRIPTS) and not word.startswith("-"):
            return PurePath(word).name
        if word in ("-m", "--module") and index + 1 < len(command) and command[index + 1] != "notifybot":
            return command[index + 1]
    named = [PurePath(word).name for word in command if not word.startswith("-") and not set("= ") & set(word)]
    return next((name for name in named if name not in _LAUNCHERS and not name.isdecimal()), named[0] if named else "")
