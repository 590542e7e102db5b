"""A run that goes on, on the same machine or on a new one: every tracker's record has each epoch once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from notifybot import Checkpoints, notify_epoch, notify_run
from notifybot.checkpoints.run_folder import Mirror, restore
from notifybot.config import Config
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.store import runs
from notifybot.store.history import history_of
from notifybot.testing import RecordingNotifier
from notifybot.trackers import TensorBoardTracker, TrackerWorkers, WandbTracker
from notifybot.trackers.jsonl import JsonlTracker, events_in
from notifybot.training.loop import EpochLoop
from notifybot.training.resume import COMPLETED, ReplayCursors, in_force
from notifybot.training.session import close
from notifybot.types import Checkpoint, Severity, Status
from tests.support import wandb_records
from tests.support.tracker_events import RUN, START, context, epoch, untold

NAMES = ["jsonl", "tensorboard", "wandb"]
Step = tuple[int, float]


pytestmark = pytest.mark.usefixtures("wandb_offline")


class Machine:
    """Sessions of one run, their folder, and the marks beside their files, as a training process has them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def begin(self, past: tuple[Event, ...] = (), *, purge_from: int | None = None) -> TrackerWorkers:
        """Open all trackers, with what a killed session may have kept from them."""
        marks = ReplayCursors(self.folder)
        missed = {name: marks.missed(name, past) for name in NAMES}
        trackers = TrackerWorkers(on_recorded=marks.put)
        trackers.start(context(self.folder, purge_from=purge_from), NAMES, Config(), replay=missed)
        return trackers

    def end(self, trackers: TrackerWorkers, status: Status = Status.FINISHED) -> None:
        assert trackers.close(status, 30)
        assert trackers.failures == dict.fromkeys(NAMES, 0)
        wandb.teardown()

    def session(
        self, *numbers: int, past: tuple[Event, ...] = (), purge_from: int | None = None, name: str = "s1"
    ) -> None:
        """A whole session that is interrupted in the end."""
        trackers = self.begin(past, purge_from=purge_from)
        for number in numbers:
            trackers.put(told(number, name))
        self.end(trackers, Status.INTERRUPTED)


def told(number: int, session: str) -> EpochFinished:
    """An epoch whose value says which session told it."""
    return epoch(number, session, loss=number + int(session[1:]) / 8)


def jsonl_steps(folder: Path) -> list[Step]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["epoch"], row["metrics"]["loss"]) for row in rows if row["kind"] == "epoch_finished"]


def tensorboard_steps(folder: Path) -> list[Step]:
    """What scripts read, which must be what TensorBoard itself reads."""
    steps = [(item.step, item.value) for item in EventAccumulator(str(folder)).Reload().Scalars("loss")]
    drawn = plugin_event_accumulator.EventAccumulator(str(folder)).Reload().Tensors("loss")
    assert [(item.step, item.tensor_proto.float_val[0]) for item in drawn] == steps
    return steps


def wandb_rows(folder: Path) -> list[dict[str, float]]:
    files = sorted(folder.rglob("*.wandb"), key=lambda path: path.parent.name)
    return [row for file in files for row in wandb_records.history(wandb_records.read(file))]


def wandb_steps(folder: Path) -> list[Step]:
    return [(int(row["epoch"]), row["loss"]) for row in wandb_rows(folder) if "epoch" in row]


READERS: Mapping[str, Callable[[Path], list[Step]]] = {
    "jsonl": jsonl_steps,
    "tensorboard": tensorboard_steps,
    "wandb": wandb_steps,
}


def by_tracker(steps: list[Step]) -> dict[str, list[Step]]:
    return dict.fromkeys(NAMES, steps)


def record_of(folder: Path) -> dict[str, list[Step]]:
    return {name: read(folder) for name, read in READERS.items()}


def values(*numbers: tuple[int, str]) -> list[Step]:
    return [(number, number + int(session[1:]) / 8) for number, session in numbers]


def test_a_run_resumed_several_times_has_each_epoch_once_and_the_latest_of_each(tmp_path: Path) -> None:
    """Each session goes back behind what the one before had done."""
    machine = Machine(tmp_path)

    machine.session(0, 1, 2, 3)
    machine.session(2, 3, 4, purge_from=2, name="s2")
    machine.session(4, 5, purge_from=4, name="s3")
    machine.session(1, 2, purge_from=1, name="s4")

    assert by_tracker(values((0, "s1"), (1, "s4"), (2, "s4"))) == record_of(tmp_path)


class Cell:
    """A cell with checkpoints, run again and again."""

    def __init__(self, folder: Path) -> None:
        self.runs, self.state, self.copy = folder / "runs", folder / "state", folder / "exp"
        self.told = RecordingNotifier()
        self.config: dict[str, object] = {
            "runs_dir": self.runs,
            "state_dir": self.state,
            "tensorboard": "on",
            "wandb": "on",
        }

    def run(self, spoil: Callable[[EpochLoop], None] = lambda loop: None) -> EpochLoop:
        """Run it; `spoil` is called in epoch 1."""
        checkpoints = Checkpoints(self.copy, model=torch.nn.Linear(1, 1))
        loop = notify_epoch(
            range(4), name="x", progress=False, checkpoints=checkpoints, config=self.config, notifiers=[self.told]
        )
        with loop:
            for number in loop:
                loop.log(loss=number + 0.125)
                if number == 1:
                    spoil(loop)
        close()
        wandb.teardown()
        COMPLETED.clear()  # as in a new process
        return loop

    @property
    def folder(self) -> Path:
        (file,) = self.runs.rglob("metrics.jsonl")
        return file.parent

    def files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


def fail(*names: str) -> Callable[[EpochLoop], None]:
    """Have trackers fail from now on."""

    def spoil(loop: EpochLoop) -> None:
        trackers = loop.run.session.trackers  # type: ignore[union-attr]
        assert trackers is not None
        assert trackers.flush(30)
        for name in names:
            tracker: Any = trackers.get(name, 30)
            if name == "wandb":
                tracker.run.finish()
                tracker.run = None
            else:
                tracker.close(Status.INTERRUPTED)

    return spoil


@pytest.mark.parametrize(
    ("failing", "reset"),
    [(NAMES, False), (["tensorboard", "wandb"], True)],
    ids=["all failed, as with a full disk", "the machine is gone since"],
)
def test_a_complete_run_gives_its_trackers_what_they_missed_when_its_cell_is_run_again(
    failing: list[str], reset: bool, tmp_path: Path
) -> None:
    """No run starts, nobody is told anything of one, and a third time nothing is written."""
    cell = Cell(tmp_path)
    first = cell.run(fail(*failing))
    assert first.run.faults.keys() == {f"tracker {name}" for name in failing}
    if reset:
        shutil.rmtree(cell.runs)
        shutil.rmtree(cell.state)

    second = cell.run()
    whole = cell.files()
    cell.run()

    assert by_tracker(values(*((number, "s1") for number in range(4)))) == record_of(cell.folder)
    assert {each.event.run.session for each in cell.told.sent} == {first.run.ref.session}
    assert second.run.session is None
    assert {path.name for path in cell.folder.rglob("*.wandb")} == {f"run-{first.run.id}.wandb"}
    assert cell.files() == whole


def test_a_complete_run_whose_trackers_have_all_opens_no_database(tmp_path: Path) -> None:
    """Nor does it bring back a folder that somebody removed."""
    cell = Cell(tmp_path)
    cell.config |= {"tensorboard": "off", "wandb": "off"}
    cell.run()
    shutil.rmtree(cell.state)
    cell.run()
    shutil.rmtree(cell.runs)
    shutil.rmtree(cell.copy / "runs")

    cell.run()

    assert [cell.state.exists(), cell.runs.exists()] == [False, False]


BACK = {  # the labels, which of them are in force in the end, and where a second session begins
    "by one": ([0, 1, 2, 2, 1, 2], [0, 4, 5], 4),
    "to the beginning": ([0, 1, 2, 0, 1], [3, 4], 3),
    "twice": ([0, 1, 2, 1, 2, 3, 0, 1], [6, 7], 3),
    "twice and on": ([0, 1, 2, 3, 2, 3, 1, 2, 3], [0, 6, 7, 8], 6),
    "into a second phase": ([1, 2, 3, 1, 2, 3, 4], [3, 4, 5, 6], 3),
    "below the first": ([5, 6, 4, 5], [2, 3], 2),
    "never": ([0, 1, 3, 7], [0, 1, 2, 3], 2),
    "never, falling on purpose": ([3, 2, 1], [0, 1, 2], 2),
}


@pytest.mark.parametrize("resumed", [False, True], ids=["in one session", "in a second session"])
@pytest.mark.parametrize(("labels", "places", "second"), BACK.values(), ids=BACK)
def test_a_loop_of_the_users_own_that_goes_back_replaces_what_it_told(
    labels: list[int], places: list[int], second: int, resumed: bool, tmp_path: Path
) -> None:
    """After a NaN, or in a second phase that counts anew: the newer of two epochs is in force everywhere."""
    cell = Cell(tmp_path)
    cell.config |= {"wandb": "off"}
    told = list(enumerate(labels))
    for part in (told[:second], told[second:]) if resumed else (told,):
        with notify_run("x", run_id="r", config=cell.config, notifiers=[]) as run:
            for place, label in part:
                run.log_epoch(label, loss=place + 0.125)

    expected = sorted((labels[place], place + 0.125) for place in places)
    assert expected == sorted(jsonl_steps(cell.folder))
    assert expected == sorted(tensorboard_steps(cell.folder))
    assert expected == sorted(run.progress.metrics["loss"].points(run.progress))
    store = run.session.shared.store  # type: ignore[union-attr]
    curve = history_of(store.path, run.ref.key, run.clock.now()).points()["loss"]
    assert expected == [(int(epoch), value) for epoch, value in curve]
    told_in_force = in_force(runs.events_of(store, run.id))
    close()
    assert expected == sorted((each.progress.place, each.progress.metrics["loss"].value) for each in told_in_force)


def test_one_epoch_told_in_two_parts_keeps_both(tmp_path: Path) -> None:
    """Training and validation log apart; of a metric that is in both parts the newer value counts."""
    cell = Cell(tmp_path)
    cell.config |= {"wandb": "off", "tensorboard": "off"}
    with notify_run("x", config=cell.config, notifiers=[]) as run:
        run.log_epoch(0, loss=0.5)
        run.log_epoch(1, loss=0.25, lr=0.1)
        run.log_epoch(1, loss=0.125, val_loss=0.5)
    close()

    assert jsonl_steps(cell.folder) == [(0, 0.5), (1, 0.25), (1, 0.125)]
    points = {name: metric.points(run.progress) for name, metric in run.progress.metrics.items()}
    assert points == {"loss": ((0, 0.5), (1, 0.125)), "lr": ((1, 0.1),), "val_loss": ((1, 0.5),)}


def test_wandbs_steps_go_on_behind_what_others_logged_there(tmp_path: Path) -> None:
    """W&B drops steps that go back, and batches logged by hand drive its step beyond the count of epochs."""
    for session, number in (("s1", 0), ("s2", 1)):
        tracker = WandbTracker.open(context(tmp_path, purge_from=number), warn=untold)
        for batch in range(50):
            tracker.run.log({"batch_loss": batch})
        tracker.record(told(number, session))
        tracker.close(Status.INTERRUPTED)
        wandb.teardown()

    steps = [row["_step"] for row in wandb_rows(tmp_path)]
    assert steps == sorted(set(steps))
    assert len(steps) == 102


def test_a_killed_run_goes_on_with_each_epoch_once(tmp_path: Path) -> None:
    """SIGKILL takes what W&B had not written yet; the last epoch had no checkpoint and is done again."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.trackers.test_worker_resume import Machine, told\n"
        "trackers = Machine(Path(sys.argv[1])).begin()\n"
        "for number in range(4): trackers.put(told(number, 's1'))\n"
        "assert trackers.flush(60)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)

    past = events_in(tmp_path, RUN)
    Machine(tmp_path).session(3, 4, past=past, purge_from=3, name="s2")

    assert killed.returncode == -9
    assert by_tracker(values((0, "s1"), (1, "s1"), (2, "s1"), (3, "s2"), (4, "s2"))) == record_of(tmp_path)
    assert len(list(tmp_path.rglob("offline-run-*"))) == 2


@pytest.mark.parametrize("again", [2, 3], ids=["an epoch is done again", "none is done again"])
def test_a_new_machine_goes_on_from_a_copy_taken_while_the_trackers_wrote(tmp_path: Path, again: int) -> None:
    """W&B's file is behind by then, the local disk is gone: what it lacks is made good from the JSON lines."""
    lost, found = Machine(tmp_path / "lost"), Machine(tmp_path / "found")
    mirror = Mirror(lost.folder, tmp_path / "drive")
    trackers = lost.begin()
    for number in range(3):
        trackers.put(told(number, "s1"))
    assert trackers.flush(30)
    assert mirror.copy() == []
    trackers.put(told(3, "s1"))
    lost.end(trackers)
    shutil.rmtree(lost.folder)

    restore(tmp_path / "drive", found.folder)
    past = events_in(found.folder, RUN)
    found.session(*range(again, 5), past=past, purge_from=again, name="s2")

    before = values(*((number, "s1") for number in range(again)))
    assert by_tracker(before + values(*((number, "s2") for number in range(again, 5)))) == record_of(found.folder)


def test_a_second_new_machine_goes_on_from_the_first_ones_copy(tmp_path: Path) -> None:
    """Files of three machines lie in one folder, and still each epoch is there once."""
    drive = tmp_path / "drive"
    for place in range(3):
        machine = Machine(tmp_path / f"vm{place}")
        restore(drive, machine.folder)
        past = events_in(machine.folder, RUN)
        machine.session(place, place + 1, past=past, purge_from=place, name=f"s{place + 1}")
        Mirror(machine.folder, drive).copy()

    assert by_tracker(values((0, "s1"), (1, "s2"), (2, "s3"), (3, "s3"))) == record_of(machine.folder)


def test_a_machine_that_comes_back_takes_over_what_was_done_elsewhere(tmp_path: Path) -> None:
    """Its own files still hold epochs that another machine has done again since."""
    drive, old, other = tmp_path / "drive", Machine(tmp_path / "old"), Machine(tmp_path / "other")
    mirror = Mirror(old.folder, drive)
    trackers = old.begin()
    for number in range(4):
        trackers.put(told(number, "s1"))
        if number == 1:
            assert trackers.flush(30)
            mirror.copy()
    old.end(trackers)

    restore(drive, other.folder)
    other.session(2, 3, 4, past=events_in(other.folder, RUN), purge_from=2, name="s2")
    Mirror(other.folder, drive).copy()
    restore(drive, old.folder)
    old.session(5, past=events_in(old.folder, RUN), purge_from=5, name="s3")

    again = ((number, "s2") for number in range(2, 5))
    assert by_tracker(values((0, "s1"), (1, "s1"), *again, (5, "s3"))) == record_of(old.folder)


def test_what_wandb_has_synced_is_left_as_it_is(tmp_path: Path) -> None:
    """The server has it already; a shorter file would only hide what was sent."""
    machine = Machine(tmp_path)
    machine.session(0, 1, 2)
    (file,) = tmp_path.rglob("*.wandb")
    file.with_name(file.name + ".synced").touch()

    machine.session(1, purge_from=1, name="s2")

    assert [number for number, _ in wandb_steps(tmp_path)] == [0, 1, 2, 1]


def test_an_earlier_wandb_file_that_cannot_be_read_costs_no_number(tmp_path: Path) -> None:
    """What is to come is worth more than what was."""
    (tmp_path / "wandb" / "offline-run-20200101_000000-run-1" / "run-run-1.wandb").mkdir(parents=True)
    machine = Machine(tmp_path / "run")
    shutil.copytree(tmp_path / "wandb", machine.folder / "wandb")

    machine.session(0)

    (file,) = (path for path in machine.folder.rglob("*.wandb") if path.is_file())
    assert [row["epoch"] for row in wandb_records.history(wandb_records.read(file))] == [0]


KILLED: dict[str, tuple[Callable[[bytes, int], bytes], str]] = {  # what is left of a file whose last record begins at …
    "before anything was written": (lambda file, last: file[:7], "empty"),
    "within the first record": (lambda file, last: file[:20], "empty"),
    "between two records": (lambda file, last: file[:last], ""),
    "within a record's header": (lambda file, last: file[: last + 3], "torn"),
    "within a record": (lambda file, last: file[: last + 12], "torn"),
    "by a power cut, with zeros to come": (lambda file, last: file[:last] + bytes(4096), ""),
    "by a power cut, with a damaged record": (lambda file, last: file[: last + 9] + b"?" + file[last + 10 :], "torn"),
    "never": (lambda file, last: file, ""),
}


@pytest.mark.parametrize("whose", ["dead", "alive", "another run", "synced"])
def test_files_of_killed_wandb_sessions_end_with_a_whole_record_after_the_next_start(
    whose: str, tmp_path: Path
) -> None:
    """`wandb sync` stops at others, and sends nothing of the sessions after them. Nothing is lost by us."""
    Machine(tmp_path / "first").session(0, 1, 2)
    (file,) = (tmp_path / "first").rglob("*.wandb")
    whole = file.read_bytes()
    *_, final = wandb_records.frames(whole)
    last = len(whole) - len(final) - 7
    name = "run-run-2.wandb" if whose == "another run" else "run-run-1.wandb"
    files = {}
    for place, (kill, _) in enumerate(KILLED.values()):
        folder = tmp_path / "wandb" / f"offline-run-2020010{place}_000000-killed"
        folder.mkdir(parents=True)
        (folder / name).write_bytes(kill(whole, last))
        if whose == "synced":
            (folder / f"{name}.synced").touch()
        files[folder] = kill(whole, last)

    with ExitStack() as opened:
        for folder in files if whose == "alive" else ():
            opened.enter_context((folder / name).open("ab"))
        Machine(tmp_path).session(3)

    for (folder, content), (_, aside) in zip(files.items(), KILLED.values(), strict=True):
        found = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".synced"}
        if aside == "empty" and whose in ("dead", "synced"):
            assert found == {f"{name}.empty": content}
        elif aside == "torn" and whose == "dead":
            assert found == {name: whole[:last], f"{name}.torn": content}
        else:
            assert found == {name: content}


def test_a_wandb_file_cut_anywhere_is_read_as_far_as_it_is_whole(tmp_path: Path) -> None:
    """A copy taken while W&B wrote ends in the middle of a record; the epoch it lacks is logged again, no other."""
    machine = Machine(tmp_path / "run")
    machine.session(0, 1, 2)
    (file,) = machine.folder.rglob("*.wandb")
    content = file.read_bytes()
    missed = tuple(told(number, "s1") for number in range(3))

    for place, length in enumerate(range(len(content), 7, -len(content) // 8)):
        again = tmp_path / f"again-{place}"
        shutil.copytree(machine.folder, again, symlinks=True)
        (again / file.relative_to(machine.folder)).write_bytes(content[:length])
        tracker = WandbTracker.open(replace(context(again), replay=missed), warn=untold)
        for event in missed:
            tracker.record(event)
        tracker.close(Status.FINISHED)
        wandb.teardown()
        assert values((0, "s1"), (1, "s1"), (2, "s1")) == wandb_steps(again)


def test_an_event_file_cut_anywhere_in_its_last_record_breaks_no_reader(tmp_path: Path) -> None:
    """A torn tail costs that record alone, which the resumed run writes again."""
    first = TensorBoardTracker.open(context(tmp_path / "whole"))
    first.record(told(0, "s1"))
    (file,) = (tmp_path / "whole").iterdir()
    whole_bytes = file.stat().st_size
    first.record(told(1, "s1"))
    first.close(Status.INTERRUPTED)
    content = file.read_bytes()
    torn = tmp_path / "torn"
    torn.mkdir()
    second = TensorBoardTracker.open(context(tmp_path / "second", purge_from=1))
    second.record(told(1, "s2"))
    second.close(Status.FINISHED)
    (behind,) = (tmp_path / "second").iterdir()

    for length in range(whole_bytes, len(content)):
        (torn / "events.out.tfevents.0000000001.lost").write_bytes(content[:length])
        assert tensorboard_steps(torn) == values((0, "s1"))

        shutil.copy(behind, torn / behind.name)
        assert tensorboard_steps(torn) == values((0, "s1"), (1, "s2"))
        (torn / behind.name).unlink()


def test_json_lines_cut_anywhere_in_the_last_one_break_no_reader(tmp_path: Path) -> None:
    """The torn line is taken out, and its epoch written again by the replay."""
    tracker = JsonlTracker.open(context(tmp_path))
    tracker.record(told(0, "s1"))
    path = tmp_path / "metrics.jsonl"
    whole_bytes = path.stat().st_size
    tracker.record(told(1, "s1"))
    tracker.close(Status.INTERRUPTED)
    content = path.read_bytes()

    for length in range(whole_bytes, len(content)):
        path.write_bytes(content[:length])
        assert [event.id for event in events_in(tmp_path, RUN)] == ["s1-0"]
        again = JsonlTracker.open(context(tmp_path))
        again.record(told(1, "s1"))
        again.close(Status.FINISHED)
        assert content == path.read_bytes()


def test_an_event_file_from_a_machine_whose_clock_was_ahead_is_still_read_first(tmp_path: Path) -> None:
    """TensorBoard reads files in the order of their names, and what is read last would stay."""
    first = TensorBoardTracker.open(context(tmp_path))
    for number in range(4):
        first.record(told(number, "s1"))
    first.close(Status.INTERRUPTED)
    (file,) = tmp_path.iterdir()
    file.rename(file.with_name("events.out.tfevents.4102444800.elsewhere.1.0"))

    second = TensorBoardTracker.open(context(tmp_path, purge_from=2))
    second.record(told(2, "s2"))
    second.close(Status.FINISHED)

    assert tensorboard_steps(tmp_path) == values((0, "s1"), (1, "s1"), (2, "s2"))


def test_events_read_back_are_those_that_were_written(tmp_path: Path) -> None:
    """Numbers that JSON has no word for included; what others wrote into the file is passed over."""
    events: tuple[Event, ...] = (
        RunStarted(id="1", run=RUN, at=START, attempt=2, total=10, params={"lr": 0.1, "model": None}),
        epoch(0, a=float("inf"), b=0.1),
        replace(epoch(1, a=float("-inf")), new_best="a"),
        CheckpointSaved(id="2", run=RUN, at=START, checkpoint=Checkpoint("a.pt", epoch=3, size_bytes=4)),
        AlertRaised(id="3", run=RUN, at=START, title="손실이 NaN입니다", text="look", severity=Severity.ERROR),
        RunEnded(id="4", run=RUN, at=START, status=Status.FAILED, error="ValueError: no"),
    )
    tracker = JsonlTracker.open(context(tmp_path))
    for event in events:
        tracker.record(event)
    tracker.close(Status.FINISHED)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('# a note\n{"kind": "epoch_finished", "epoch": 2}\n[1]\n{"kind": "other", "id": "5"}\n')

    assert events == events_in(tmp_path, RUN)
    assert events_in(tmp_path / "nowhere", RUN) == ()


def test_two_sessions_of_one_second_are_read_in_their_order(tmp_path: Path) -> None:
    """The files' names tell seconds only; a process's later number may sort before an earlier one."""
    for place in range(2):
        tracker = TensorBoardTracker.open(context(tmp_path, purge_from=place))
        tracker.record(told(place, f"s{place + 1}"))
        tracker.record(told(place + 1, f"s{place + 1}"))
        tracker.close(Status.INTERRUPTED)

    names = [path.name.split(".")[3] for path in sorted(tmp_path.iterdir())]
    assert len(set(names)) == 2
    assert tensorboard_steps(tmp_path) == values((0, "s1"), (1, "s2"), (2, "s2"))
