"""`notifybot log` in a shell script: what it hands on, what it refuses, and what it never breaks."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifybot.command import log as log_command
from notifybot.command.log import log
from notifybot.training.command_file import VARIABLE, CommandFile, LoggedNumbers


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandFile]:
    """The file of a wrapper that this process is below."""
    made = CommandFile.create("run-1", "vision")
    monkeypatch.setenv(VARIABLE, str(made.path))
    yield made
    made.remove()


def test_the_name_of_the_variable_is_the_wrappers() -> None:
    """Written twice, as importing it would take twice as long as all the rest."""
    assert log_command.VARIABLE == VARIABLE


@pytest.mark.parametrize(
    ("line", "handed_on"),
    [
        ("epoch=3 total=30 val_loss=0.2", LoggedNumbers("epoch", 3, {"val_loss": 0.2}, 30)),
        ("step=500 loss=1e-3 lr=0.1", LoggedNumbers("step", 500, {"loss": 0.001, "lr": 0.1})),
        ("round=7 rmse=-inf", LoggedNumbers("round", 7, {"rmse": -math.inf})),
        ("epoch=3.0", LoggedNumbers("epoch", 3, {})),
        ("손실=0.5 epoch=0", LoggedNumbers("epoch", 0, {"손실": 0.5})),
    ],
)
def test_numbers_reach_the_wrapper(line: str, handed_on: LoggedNumbers, file: CommandFile) -> None:
    assert log(line.split()) == 0
    assert file.news() == [handed_on]
    assert file.news() == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "give one of epoch=, step=, round="),
        ("val_loss=0.2", "give one of epoch=, step=, round="),
        ("epoch=3 step=4", "give one of epoch=, step=, round="),
        ("epoch 3", "'epoch' is no name=number"),
        ("epoch=three", "epoch takes a number, not 'three'"),
        ("epoch=", "epoch takes a number, not ''"),
        ("epoch=2.5", "epoch takes a whole number"),
        ("epoch=-1", "epoch takes a whole number"),
        ("epoch=nan", "epoch takes a whole number"),
        ("epoch=1e300", "epoch takes a whole number"),
        ("epoch=3 total=many", "total takes a number"),
        ("epoch=3 loss=low", "loss takes a number, not 'low'"),
    ],
)
def test_words_that_mean_nothing_are_refused(
    line: str, said: str, file: CommandFile, capsys: pytest.CaptureFixture[str]
) -> None:
    assert log(line.split()) == 2
    assert said in capsys.readouterr().err
    assert file.news() == []


def test_a_value_that_a_script_did_not_find_is_left_out(file: CommandFile, capsys: pytest.CaptureFixture[str]) -> None:
    """`val_loss=$(grep …)` is empty where nothing was found: that ends no script with `set -e`."""
    assert log(["epoch=3", "val_loss=", "loss=0.5"]) == 0
    assert file.news() == [LoggedNumbers("epoch", 3, {"loss": 0.5})]
    assert "val_loss is empty" in capsys.readouterr().err


def test_without_a_wrapper_it_says_how(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)

    assert log(["epoch=3"]) == 2
    assert "`notifybot run -- sh script.sh`" in capsys.readouterr().err


def test_a_wrapper_that_is_gone_ends_no_script(file: CommandFile, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is its file made anew, where nobody would read it."""
    file.remove()

    assert log(["epoch=3"]) == 0
    assert capsys.readouterr().err.count("\n") == 1
    assert file.path is not None
    assert not file.path.exists()


def test_a_full_disk_ends_no_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    monkeypatch.setenv(VARIABLE, "/dev/full")

    assert log(["epoch=3"]) == 0
    assert "No space left on device" in capsys.readouterr().err


def test_a_line_that_a_full_disk_has_cut_spoils_no_other(file: CommandFile) -> None:
    assert file.path is not None
    with file.path.open("ab") as cut:
        cut.write(b'\n{"logged": {"unit": "epo')

    log(["epoch=3"])

    assert file.news() == [LoggedNumbers("epoch", 3, {})]


def test_it_starts_with_next_to_nothing(file: CommandFile) -> None:
    """A shell loop calls it at each step: no parser of options, no settings, no store, not even a pattern of ours."""
    code = "import sys; sys.argv = ['notifybot', 'log', 'epoch=3', 'loss=1']\n"
    code += "from notifybot.__main__ import main\ntry: main()\nfinally: print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert file.news() == [LoggedNumbers("epoch", 3, {"loss": 1.0})]
    loaded = set(done.stdout.split())
    assert {each for each in loaded if each.startswith("notifybot")} == {
        "notifybot", "notifybot.__main__", "notifybot.command", "notifybot.command.log",
    }  # fmt: skip
    assert not loaded & {"typer", "pydantic", "sqlalchemy", "rich", "tomllib", "dataclasses", "logging"}
