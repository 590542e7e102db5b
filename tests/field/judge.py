"""One judge for every shape of training: runs it with us and without, and says what differs that should not."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from filelock import FileLock

from notifybot.checkpoints.serialization import from_plain
from notifybot.sandbox.server import Sandbox
from tests.field.child.kit import digest
from tests.field.shapes import BY_NAME, Shape

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TIMEOUT_S = 120  # a shape takes a few seconds; a busy machine, many times as long
_OURS = re.compile(r"notifybot/[\w/]+\.py:\d+: \w*Warning")
_LIBRARIES = re.compile(r"\b(?:alembic|apprise|matplotlib|slack_sdk|sqlalchemy|urllib3)\b[\w.]*\]\[(?:DEBUG|INFO)\].*")


@dataclass(frozen=True)
class Outcome:
    """How a script's process ended, and its own record of the epochs, each a run, a label, numbers and states."""

    code: int
    out: str
    err: str
    rows: list[dict[str, Any]]


class Field:
    """A folder in which a shape is run, once or several times, as a person would."""

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self.home = folder / "work"
        self.home.mkdir(parents=True)
        self._record = folder / "witness.jsonl"
        self._warned = folder / "warnings.txt"

    def run(self, more: Mapping[str, str], *, ours: bool = True, kill_at: int = 0) -> Outcome:
        """Run the script to its end, with more environment. `kill_at` kills it at its so many-th epoch."""
        before = len(self.rows())
        environment = {name: each for name, each in os.environ.items() if not name.startswith(("NOTIFYBOT", "WANDB"))}
        environment |= {
            "PYTHONPATH": os.pathsep.join(map(str, [ROOT if ours else HERE / "without", HERE / "child"])),
            "PYTHONWARNINGS": "default",
            "HOME": str(self.home),
            "FIELD_HOME": str(self.home),
            "FIELD_WITNESS": str(self._record),
            "NOTIFYBOT_STATE_DIR": str(self.home / "state"),
            "NOTIFYBOT_RUNS_DIR": str(self.home / "runs"),
            "NOTIFYBOT_LANG": "en",
            "NOTIFYBOT_TENSORBOARD": "on" if self.shape.trackers else "off",
            "NOTIFYBOT_WANDB": "on" if self.shape.trackers else "off",
            "WANDB_MODE": "offline",
            "WANDB_SILENT": "true",
            "OMP_NUM_THREADS": "1",
            **({"FIELD_WARNINGS": str(self._warned)} if ours else {}),
            **({"FIELD_KILL_AT": str(before + kill_at)} if kill_at else {}),
            **more,
        }
        done = subprocess.run(
            [sys.executable, *self.shape.launcher, str(HERE / "scripts" / f"{self.shape.name}.py")],
            cwd=self.home, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr, self.rows()[before:])

    def rows(self) -> list[dict[str, Any]]:
        text = self._record.read_text("utf-8") if self._record.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def warnings(self) -> list[str]:
        return self._warned.read_text("utf-8").splitlines() if self._warned.exists() else []

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.home / "state" / "notifybot.db")) as connection:
            return connection.execute(sql).fetchall()

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What was recorded of one kind, oldest first."""
        events = [json.loads(body) for (body,) in self.query("SELECT body FROM events ORDER BY at, id")]
        return [event for event in events if event["kind"] == kind]


def without_us(name: str, alone: Path) -> Outcome:
    """The script alone: what every variant is held against. It is run once; `alone` is the folder that remembers it.

    Gloo aborts some processes at their end: such a one is tried again.
    """
    record = alone / f"{name}.json"
    with FileLock(f"{record}.lock"):
        if not record.exists():
            record.write_text(json.dumps(asdict(_run_alone(name))), "utf-8")
    return Outcome(**json.loads(record.read_text("utf-8")))


def _run_alone(name: str) -> Outcome:
    for _ in range(3):
        folder = Path(mkdtemp(prefix="field-"))
        try:
            done = Field(BY_NAME[name], folder).run({}, ours=False)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if done.code >= 0 or "gloo" not in done.err:
            break
    return done


def judge(shape: Shape, variant: str, folder: Path, shared: Path, *, fault: str = "") -> list[str]:
    """Run a shape in a variant; return all that is not as it should be, in words. Nothing is what should come.

    What the script does without us is run once for all who have the `shared` folder.
    """
    alone, field = without_us(shape.name, shared), Field(shape, folder)
    saves = variant != "plain" and not shape.own_checkpoints and "checkpoints" in shape.variants
    with Sandbox() as sandbox:
        if variant == "away":
            sandbox.close()
        settings = {} if variant == "plain" else dict(sandbox.environment())
        settings |= {"FIELD_FAULT": fault} if fault else {}
        settings |= {"FIELD_CHECKPOINTS": "1"} if saves else {}
        if variant == "resumed":
            first = field.run(settings, kill_at=max(2, len(alone.rows) * 3 // 5))
            if first.code == 0:
                return [f"the process was to be killed, and ended with {first.code}"]
        last = field.run(settings)
        roots = [message.text for message in sandbox.slack.messages if message.thread_ts is None]
    if not (field.home / "state" / "notifybot.db").exists():
        return [f"no run began; the script ended with {last.code}", last.err[-3000:]]
    found = [
        *_as_without_us(shape, variant, alone, last, field.rows()),
        *_told(shape, alone, field),
        *_quiet(shape, variant, field, last),
        *_roots(field, roots),
        *(_saved(shape, field) if saves else ()),
        *(_tracked(field) if shape.trackers else ()),
    ]
    return [*found, last.err[-3000:]] if found else []


def _as_without_us(
    shape: Shape, variant: str, alone: Outcome, last: Outcome, rows: list[dict[str, Any]]
) -> Iterator[str]:
    """The same exit code, output and numbers to the last bit; every epoch is trained once, unless its process died."""
    if last.code != alone.code:
        yield f"exit code {last.code}, without us {alone.code}"
    if shape.same_output and variant != "resumed" and last.out != alone.out:
        yield f"standard output differs: {last.out!r:.1500}, without us {alone.out!r:.1500}"
    expected = {(row["run"], row["epoch"]): row["values"] for row in alone.rows}
    trained = {(row["run"], row["epoch"]): row["values"] for row in rows}
    if trained != expected:
        wrong = {key for key in expected.keys() | trained.keys() if expected.get(key) != trained.get(key)}
        yield f"other numbers than without us in {sorted(wrong)[:6]}"
    if variant != "resumed" and shape.same_output and len(rows) != len(trained):
        yield f"{len(rows)} epochs were trained, {len(trained)} are different ones"


def _told(shape: Shape, alone: Outcome, field: Field) -> Iterator[str]:
    """Each run has its ending, each epoch is told once with its own numbers, and its position is counted right."""
    witnessed: dict[str, dict[int, dict[str, float]]] = {}
    for row in alone.rows:
        values = {name: float.fromhex(value) for name, value in row["values"].items()}
        witnessed.setdefault(row["run"], {})[row["epoch"]] = values
    ended = {event["run"]["name"]: event["status"] for event in field.events("run_ended")}
    wanted = {run: shape.ending_of(run) for run in witnessed}
    if ended != wanted:
        yield f"runs ended {ended}, not {wanted}"
    others = len({event["run"]["id"] for event in field.events("run_started")}) - len(witnessed)
    if not 0 <= others <= shape.restarts:
        yield f"{len(field.events('run_started'))} starts of other runs than {sorted(witnessed)}"
    for run, epochs in witnessed.items():
        told = [event["progress"] for event in field.events("epoch_finished") if event["run"]["name"] == run]
        seen = epochs if shape.own_checkpoints else {each["epoch"] for each in told}  # its file is there first
        if not told or told[-1]["done"] != len(seen):
            yield f"{run}: done is {told[-1]['done'] if told else None} after {sorted({e['epoch'] for e in told})}"
        for path, lines in _lines_of(field, run):
            if not lines and shape.restarts:
                continue  # the start that failed before an epoch was over
            labels = [line["epoch"] for line in lines]
            if labels != sorted(epochs):
                yield f"{path.name} of {run}: epochs {labels}, not {sorted(epochs)}"
            yield from _values(run, lines, epochs)


def _lines_of(field: Field, run: str) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Each file of a run's metrics with its epochs. Its folder ends with the last characters of the run's id."""
    ids = {event["run"]["id"] for event in field.events("run_started") if event["run"]["name"] == run}
    for path in sorted(field.home.rglob("metrics.jsonl")):
        if any(each.endswith(path.parent.name.rpartition("-")[2]) for each in ids):
            rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            yield path, [row for row in rows if row["kind"] == "epoch_finished"]


def _values(run: str, lines: list[dict[str, Any]], epochs: Mapping[int, Mapping[str, float]]) -> Iterator[str]:
    for line in lines:
        for name, value in epochs.get(line["epoch"], {}).items():
            told = line["metrics"].get(name)
            if told is None or not math.isclose(float(told), value, rel_tol=1e-4, abs_tol=1e-6):
                yield f"{run}: {name} of epoch {line['epoch']} is told as {told}, not {value}"


def _quiet(shape: Shape, variant: str, field: Field, last: Outcome) -> Iterator[str]:
    """Nothing is warned of or alerted to that is not so."""
    right = [*shape.warns, "database takes no record now", *(("slack", "kakao") if variant == "away" else ())]
    right += ["is complete, no epoch is left"] if variant == "resumed" else []  # of a fold before the one that died
    right += ["waiting up to 10 s for wandb"] if shape.trackers else []  # which takes longer to start than these train
    right += ["waiting for the last checkpoint to be written"] if variant != "plain" else []  # so it is on busy cores
    for line in field.warnings():
        if not any(re.search(each, line, re.IGNORECASE) for each in right):
            yield f"warned: {line}"
    for event in field.events("alert_raised"):
        title = event["alert"]["title"] if "alert" in event else event.get("title", "")
        if not any(re.search(each, title) for each in shape.alerts):
            yield f"alert: {json.dumps(event, ensure_ascii=False):.400}"
    yield from (f"Python warned: {each}" for each in _OURS.findall(last.err))
    yield from (f"a library of ours speaks: {each}" for each in _LIBRARIES.findall(last.err))
    if "CANARY" in last.err or "CANARY" in json.dumps(field.events("run_started")):
        yield "a secret is in the messages"


def _roots(field: Field, roots: list[str]) -> Iterator[str]:
    """A run has one message of its own in the channel; what waits for Slack is kept, and nothing was given up."""
    runs = len({event["run"]["id"] for event in field.events("run_started")})
    if len(roots) > runs:
        yield f"{len(roots)} messages in the channel for {runs} runs: {roots}"
    for state, count in field.query("SELECT state, count(*) FROM deliveries GROUP BY state"):
        if state == "dead":
            yield f"{count} deliveries were given up"


def _saved(shape: Shape, field: Field) -> Iterator[str]:
    """The newest checkpoint of each run is of its last epoch, and each holds what the training's objects held."""
    names = {event["run"]["id"]: event["run"]["name"] for event in field.events("run_started")}
    manifests = [
        json.loads(path.read_text()) | {"at": path} for path in (field.home / "checkpoints").rglob("*.pt.json")
    ]
    rows = {(row["run"], row["epoch"]): row["state"] for row in field.rows()}
    for run_id, run in names.items():
        own = sorted((each for each in manifests if each["run_id"] == run_id), key=lambda each: each["sequence"])
        if not own:
            yield f"{run}: no checkpoint"
            continue
        newest, last = own[-1], max((label for name, label in rows if name == run), default=None)
        if shape.saves_last and newest["epoch"] != last:
            yield f"{run}: the newest checkpoint is of epoch {newest['epoch']}, the last epoch was {last}"
        for each in own:
            payload = torch.load(each["at"].with_suffix(""), weights_only=True)
            for part, expected in rows.get((run, each["epoch"]), {}).items():
                state = payload.get(f"{part}_state_dict", payload.get("extra_state_dicts", {}).get(part))
                if digest(from_plain(state)) != expected:
                    yield f"{run}: the checkpoint of epoch {each['epoch']} holds another {part} than the training had"


def _tracked(field: Field) -> Iterator[str]:
    """TensorBoard and W&B have every epoch of every metric once."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from tests.support.wandb_records import history, read

    for folder in {path.parent for path in (field.home / "runs").rglob("events.out.tfevents.*")}:
        accumulator = EventAccumulator(str(folder))
        accumulator.Reload()
        for tag in accumulator.Tags()["scalars"]:
            steps = [each.step for each in accumulator.Scalars(tag)]
            if len(steps) != len(set(steps)):
                yield f"TensorBoard's {tag} has steps {steps}"
    rows = [row for path in (field.home / "runs").rglob("*.wandb") for row in history(read(path)) if "epoch" in row]
    epochs = [row["epoch"] for row in rows]
    if len(field.events("run_started")) == 1 and len(epochs) != len(set(epochs)):
        yield f"W&B has epochs {epochs}"
