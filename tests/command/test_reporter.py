"""A command's run: what is reported of what is printed, and how a training below takes the run over."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notifybot.clock import SystemClock
from notifybot.command.outcome import CommandOutcome, Kind
from notifybot.command.output_files import OutputFiles
from notifybot.command.progress_lines import LineFormat, LineReading, ProgressParser
from notifybot.command.reporter import TAIL_CHARS, Reporter, Wishes, _End, error_text, tail_text
from notifybot.config import load
from notifybot.sandbox.server import Sandbox
from notifybot.training import session
from notifybot.training.command_file import VARIABLE, CommandFile, announce
from notifybot.training.guard import Guard
from notifybot.types import RunRef, uuid7
from tests.support.ahead_clock import AheadClock


@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_way_to_end_has_words(language: str) -> None:
    said = {
        kind: error_text(CommandOutcome(kind, -9, "SIGKILL", ""), language)
        for kind in Kind
        if kind is not Kind.FINISHED
    }

    assert all(said.values())
    assert not any("{" in each or "command." in each for each in said.values())


def test_a_failure_names_the_command_or_the_error_and_no_secret() -> None:
    canary = "hf_" + "canarycanarycanarycanary"
    not_started = CommandOutcome(Kind.NOT_STARTED, 127, error="No such file or directory", command="trian")
    failed = CommandOutcome(Kind.FAILED, 2, complaint=f"fatal:  token {canary} is invalid " + "x" * 999)

    assert error_text(not_started, "en") == "trian could not be started: No such file or directory"
    assert error_text(failed, "en").startswith("exit code 2 · fatal: token")
    assert canary not in error_text(failed, "en")
    assert len(error_text(failed, "en")) < 300


def test_the_tail_is_bounded_and_holds_no_secret() -> None:
    canary = "hf_" + "canarycanarycanarycanary"

    assert canary not in tail_text([f"api_key={canary}", canary])
    assert len(tail_text(["x" * 100] * 200)) <= TAIL_CHARS + 1


@pytest.fixture
def rig(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A reporter that begins at once, and the file through which the processes below it speak."""
    run_id = uuid7()
    file = CommandFile.create(run_id, "vision")
    url = sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"]
    own = {"state_dir": tmp_path / "state", "runs_dir": tmp_path / "runs", "slack_webhook_url": url}
    config = load(own | {"tensorboard": "off", "wandb": "off"})
    reporter = Reporter(
        config, Wishes("train.py", project="vision", run_id=run_id), {}, file, ProgressParser(), alone_s=0.0
    )
    monkeypatch.setenv(VARIABLE, str(file.path))
    yield reporter, run_id, sandbox
    session.close()


def texts(sandbox: Sandbox) -> list[str]:
    """What Slack was sent, without what keeps it from making a link of `train.py`."""
    return [json.loads(each.body)["text"].replace("\u200b", "") for each in sandbox.requests]


def until(true: Any) -> None:
    import time

    ends_at = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends_at
        time.sleep(0.05)


def test_a_training_that_begins_later_takes_the_run_over(rig: Any) -> None:
    """Its own reports are those of the run from then on; the numbers it prints are not told twice."""
    reporter, run_id, sandbox = rig
    reporter.start()
    until(lambda: any("started" in each for each in texts(sandbox)))

    announce(RunRef(run_id, "digits", "vision", uuid7()))
    until(lambda: reporter._began_below)
    reporter.printed(1, b"epoch 1 loss: 0.5\nepoch 2 loss: 0.4\nepoch 3 loss: 0.3\n")
    reporter.end(CommandOutcome(Kind.FINISHED), [])

    assert [each.splitlines()[0] for each in texts(sandbox)] == ["🚀 train.py started"]


def test_a_run_that_is_resumed_below_is_named_and_the_commands_own_ends(rig: Any) -> None:
    reporter, _, sandbox = rig
    reporter.start()
    until(lambda: any("started" in each for each in texts(sandbox)))

    announce(RunRef(uuid7(), "digits", "vision", uuid7()))
    until(lambda: reporter._began_below)
    reporter.end(CommandOutcome(Kind.FINISHED), [])

    assert "goes on as digits" in sandbox.requests[-1].body.decode()


def told(tmp_path: Path) -> list[tuple[int, float]]:
    """The epochs that were recorded, each with its loss."""
    (kept,) = tmp_path.rglob("metrics.jsonl")
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    return [(row["epoch"], row["metrics"]["loss"]) for row in rows if "metrics" in row]


class HandClock(SystemClock):
    """Clock that stands still but by hand; threads wait in true time."""

    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


def test_the_time_is_that_of_the_command_and_of_its_lines(tmp_path: Path) -> None:
    """And not since its run was begun, which waits for what comes below."""
    clock = HandClock()
    config = load({"state_dir": tmp_path, "runs_dir": tmp_path, "tensorboard": "off"})
    wishes = Wishes("train.py", run_id=uuid7())
    reporter = Reporter(config, wishes, {}, CommandFile(None), ProgressParser(), alone_s=0.0, clock=clock)
    for label in (1, 2, 3):
        clock.now_s += 60.0
        reporter.printed(1, f"epoch {label}/9 loss: 0.5\n".encode())
    clock.now_s += 20.0
    reporter._queue.put(_End(CommandOutcome(Kind.FINISHED), [], clock.now_s))
    clock.now_s += 7.0  # until we come to it
    reporter._work()
    session.close()

    rows = [json.loads(line) for path in tmp_path.rglob("metrics.jsonl") for line in path.read_text().splitlines()]
    assert [row["epoch_s"] for row in rows if row["kind"] == "epoch_finished"][1:2] == [60.0]
    assert [row["elapsed_s"] for row in rows if row["kind"] == "run_ended"] == [200.0]


def test_what_is_printed_is_read_beside_the_command(rig: Any, tmp_path: Path) -> None:
    """However it is cut into pieces, and whichever stream it comes on."""
    reporter, _, _ = rig
    reporter.start()
    for piece, stream in (
        (b"epoch 1 lo", 1),
        (b"warning\n", 2),
        (b"ss: 0.5\nepoch 2 loss: 0.4\nepoch 3 loss: 0.3\n", 1),
    ):
        reporter.printed(stream, piece)
    reporter.end(CommandOutcome(Kind.FINISHED), [])

    assert told(tmp_path) == [(1, 0.5), (2, 0.4), (3, 0.3)]


@pytest.mark.parametrize("broken", [False, True])
def test_what_goes_into_a_file_is_read_behind_the_command(rig: Any, tmp_path: Path, broken: bool) -> None:
    """To its last line, and from where the file stood."""
    reporter, _, sandbox = rig
    log = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(log, b"epoch 8 loss: 9\nepoch 9 loss: 9\nepoch 10 loss: 9\n")
    files = OutputFiles()
    files.add(log)
    if broken:
        reporter._parser = ProgressParser([Broken()])
    reporter.start(files)
    os.write(log, b"epoch 1 loss: 0.5\nepoch 2 loss: 0.4\nepoch 3 loss: 0.3\n")
    reporter.end(CommandOutcome(Kind.FAILED, 3), [])
    os.close(log)

    assert "exit code 3" in sandbox.requests[-1].body.decode()
    assert broken or told(tmp_path) == [(1, 0.5), (2, 0.4), (3, 0.3)]


def test_a_file_that_cannot_be_read_is_said_once(
    rig: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter, _, _ = rig
    files = OutputFiles()
    monkeypatch.setattr(files, "news", lambda: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    reporter._files = files
    for _ in range(3):
        assert not reporter._look_at_files(Guard())

    assert sum("Permission denied" in record.getMessage() for record in caplog.records) == 1


class Broken(LineFormat):
    """A mistake of ours in reading a line."""

    def read(self, line: str) -> LineReading | None:
        raise ZeroDivisionError(line)


def test_a_fault_in_reading_lines_costs_no_ending(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once; the command's own thread of output never meets it."""
    reporter, _, sandbox = rig
    reporter._parser = ProgressParser([Broken()])
    reporter.start()
    for _ in range(3):
        reporter.printed(1, b"epoch 1 loss: 0.5\n")
    reporter.end(CommandOutcome(Kind.FAILED, 3), [])

    assert "exit code 3" in sandbox.requests[-1].body.decode()
    assert sum("ZeroDivisionError" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(("grows", "warned"), [(True, False), (False, True)])
def test_a_file_that_grows_is_no_silence(grows: bool, warned: bool, sandbox: Sandbox, tmp_path: Path) -> None:
    """The command writes it by itself, and nothing of it passes here."""
    clock, files, guard = AheadClock(), OutputFiles(), Guard()
    log = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)
    files.add(log)
    url = sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"]
    config = load({"state_dir": tmp_path, "runs_dir": tmp_path, "slack_webhook_url": url, "tensorboard": "off"})
    wishes = Wishes("train.py", run_id=uuid7(), stall_s=60.0)
    reporter = Reporter(config, wishes, {}, CommandFile(None), alone_s=0.0, clock=clock)
    reporter._files = files
    run = reporter._begin()
    for _ in range(4):
        clock.ahead_s += 40.0
        os.write(log, b"." * grows)
        reporter._look_at_files(guard)
        reporter._look_after(run)
    run.flush(10.0)
    os.close(log)
    session.close()

    assert any("Nothing was printed" in each.body.decode() for each in sandbox.requests) is warned


def test_a_flood_of_epochs_is_followed_by_some_of_them_and_by_the_last(rig: Any, tmp_path: Path) -> None:
    reporter, _, _ = rig
    reporter.printed(1, b"".join(b"epoch %d loss: %f\n" % (label, 1 / (label + 1)) for label in range(500)))
    reporter.start()
    reporter.end(CommandOutcome(Kind.FINISHED), [])

    (kept,) = tmp_path.rglob("metrics.jsonl")
    labels = [json.loads(line).get("epoch") for line in kept.read_text().splitlines()]
    assert 100 <= len([each for each in labels if each is not None]) < 400
    assert labels[-1] == 499


def test_steps_and_rounds_are_not_called_epochs(rig: Any, tmp_path: Path) -> None:
    reporter, _, sandbox = rig
    reporter.printed(1, b"step 10/1000 loss: 2.0\n" * 3)
    reporter.printed(2, b"[10]\tl2: 0.5\n" * 3)
    reporter.start()
    reporter.end(CommandOutcome(Kind.FINISHED), [])

    assert not any("epoch" in each for each in texts(sandbox))


def logged(number: int, **metrics: float) -> None:
    from notifybot.command.log import log

    assert log([f"epoch={number}", "total=5", *(f"{name}={value}" for name, value in metrics.items())]) == 0


def test_a_program_that_prints_steps_and_epochs_is_followed_by_epochs(rig: Any, tmp_path: Path) -> None:
    """It is known with the first epoch's line; steps that were reported before are in its means."""
    reporter, _, sandbox = rig
    lines = [*(f"step {n}00/500 loss: {n}.0" for n in range(1, 4)), "epoch 1/2 val_loss: 9", "step 100/500 loss: 1.0"]
    reporter.printed(1, "".join(f"{each}\n" for each in [*lines, "epoch 2/2 val_loss: 8"]).encode())
    reporter.start()
    reporter.end(CommandOutcome(Kind.FINISHED), [])

    (kept,) = tmp_path.rglob("metrics.jsonl")
    rows = [each for each in map(json.loads, kept.read_text().splitlines()) if each["kind"] == "epoch_finished"]
    assert [(row["epoch"], row["metrics"]) for row in rows if "unit" not in row] == [
        (1, {"loss": 2.0, "val_loss": 9.0}),
        (2, {"loss": 1.0, "val_loss": 8.0}),
    ]
    ended = sandbox.requests[-1].body.decode()
    assert "2/2" in ended
    assert "step" not in ended


def test_a_program_that_fails_within_an_epoch_says_so(rig: Any, tmp_path: Path) -> None:
    reporter, _, sandbox = rig
    bars = [f"Epoch {n}/9: 100%|█| 8/8 [00:01<00:00, 9.9it/s, loss=0.{n}]" for n in (1, 2)]
    reporter.printed(1, "\n".join([*bars, "Epoch 3/9:  25%|█| 2/8 [00:01<00:00, 9.9it/s, loss=0.3]\n"]).encode())
    reporter.start()
    reporter.end(CommandOutcome(Kind.FAILED, 3), [])

    assert told(tmp_path) == [(1, 0.1), (2, 0.2)]
    assert "exit code 3 [epoch 3]" in sandbox.requests[-1].body.decode()


@pytest.mark.parametrize("order", ["steps first", "epochs first"])
def test_of_steps_and_epochs_that_a_script_logs_none_is_lost(rig: Any, tmp_path: Path, order: str) -> None:
    from notifybot.command.log import log

    reporter, _, _ = rig
    words = [["step=1", "loss=4"], ["step=2", "loss=2"], ["epoch=1", "acc=0.5"], ["step=3", "err=7"]]
    for each in words if order == "steps first" else [["epoch=1", "acc=0.5"], *words[:2], words[3]]:
        assert log(each) == 0
    reporter.start()
    reporter.end(CommandOutcome(Kind.FINISHED), [])

    (kept,) = tmp_path.rglob("metrics.jsonl")
    rows = [each for each in map(json.loads, kept.read_text().splitlines()) if each["kind"] == "epoch_finished"]
    of_epochs = [row for row in rows if "unit" not in row]
    assert {row["epoch"] for row in of_epochs} == {1}
    values = {name: value for row in of_epochs for name, value in row["metrics"].items()}
    assert values == {"loss": 3.0, "acc": 0.5, "err": 7.0}


def test_what_a_script_logs_of_steps_after_printed_epochs_is_reported(rig: Any) -> None:
    from notifybot.command.log import log

    reporter, _, sandbox = rig
    reporter.printed(1, b"epoch 1/9 loss: 0.5\nepoch 2/9 loss: 0.5\n")
    reporter.start()
    until(lambda: reporter._unit == "epoch")
    assert log(["step=500", "total=2000", "acc=0.25"]) == 0
    reporter.end(CommandOutcome(Kind.FINISHED), [])

    assert "500/2,000" in sandbox.requests[-1].body.decode()
    assert "0.25" in sandbox.requests[-1].body.decode()


def test_what_a_script_logs_is_reported_without_the_next(rig: Any, tmp_path: Path) -> None:
    """An epoch may take hours: nobody waits for the one after it."""
    reporter, _, sandbox = rig
    reporter.start()
    logged(1, loss=0.5)
    logged(1, val_loss=0.6)

    until(lambda: list(tmp_path.rglob("metrics.jsonl")) and told(tmp_path) == [(1, 0.5)])

    logged(2, loss=0.4)
    reporter.end(CommandOutcome(Kind.FINISHED), [])
    assert told(tmp_path) == [(1, 0.5), (2, 0.4)]
    assert "2/5" in sandbox.requests[-1].body.decode()


def test_what_a_script_logs_is_worth_more_than_what_it_prints(rig: Any, tmp_path: Path) -> None:
    reporter, _, _ = rig
    logged(1, loss=0.5)
    reporter.printed(1, b"epoch 1 loss: 7\n" * 3 + b"epoch 2 loss: 7\n" * 3)
    reporter.start()
    reporter.end(CommandOutcome(Kind.FINISHED), [])

    assert told(tmp_path)[-1] == (1, 0.5)


def test_many_logged_epochs_are_all_reported(rig: Any, tmp_path: Path) -> None:
    """Each was acknowledged; as each is a process of its own, they come no faster than people follow."""
    reporter, _, _ = rig
    for number in range(150):
        logged(number, loss=1.0)
    reporter.start()
    reporter.end(CommandOutcome(Kind.FINISHED), [])

    assert [label for label, _ in told(tmp_path)] == list(range(150))


def test_a_script_that_logs_beside_a_training_hears_that_it_is_not_told(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    reporter, run_id, _ = rig
    announce(RunRef(run_id, "digits", "vision", uuid7()))
    logged(1, loss=0.5)
    logged(2, loss=0.5)
    reporter.start()
    reporter.end(CommandOutcome(Kind.FINISHED), [])

    assert sum("digits reports itself" in record.getMessage() for record in caplog.records) == 1


def test_what_a_script_logs_of_steps_is_reported_as_steps(rig: Any) -> None:
    from notifybot.command.log import log

    reporter, _, sandbox = rig
    assert log(["step=500", "total=2000", "loss=0.25"]) == 0
    reporter.start()
    reporter.end(CommandOutcome(Kind.FINISHED), [])

    ended = sandbox.requests[-1].body.decode()
    assert "500" in ended
    assert "0.25" in ended
    assert "epoch" not in ended
