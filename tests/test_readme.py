"""The READMEs do as they say: their code runs, their commands exist, and both languages tell the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.cli.samples import samples
from notifybot.clock import SYSTEM
from notifybot.config import Config, load
from notifybot.events import KINDS
from notifybot.model import Language, Status
from notifybot.rendering import Renderer
from notifybot.rendering.view import View
from notifybot.store import runs
from notifybot.store.engine import Store

ROOT = Path(__file__).parents[1]
LANGUAGES = ["README.md", "README.ko.md"]

# What a reader has already: data, a model, and functions that use them.
READERS_OWN = """
import warnings; warnings.simplefilter("ignore")
loader, model = [(1.0, 2.0)] * 3, None
def step(x, y): return x / y
def evaluate(model): return 0.9
"""
READERS_TORCH = """
import torch; from collections import OrderedDict as _Parts
model = torch.nn.Sequential(_Parts(backbone=torch.nn.Linear(2, 2), fc=torch.nn.Linear(2, 1)))
optimizer = torch.optim.Adam(model.parameters())
"""


# What a person reads is in the README's own language, inside code too: the English and the Korean of each.
SAID = {
    "python": [
        ('"val_f1 does not move", "Look at the learning rate."', '"val_f1이 제자리입니다", "학습률을 확인하세요."'),
        ('"KL is too high"', '"KL이 너무 큽니다"'),
    ],
    "text": [('lang="en"', 'lang="ko"')],
    "bash": [('NOTIFYBOT_LANG="en"', 'NOTIFYBOT_LANG="ko"')],
    "console": [
        ("demo --language en", "demo --language ko"),
        ('"train.py failed"', '"train.py가 실패했습니다"'),
    ],
}


class Block(NamedTuple):
    """A fenced block of a README."""

    language: str
    text: str


def blocks(readme: str) -> list[Block]:
    text = (ROOT / readme).read_text("utf-8")
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def commands(readme: str) -> list[list[str]]:
    """Every `notifybot …` line in a block for the shell, without the program's name."""
    shell = "\n".join(block.text for block in blocks(readme) if block.language in ("bash", "console"))
    return [line.split()[1:] for line in shell.splitlines() if line.startswith("notifybot ")]


PYTHON = [block.text for block in blocks("README.md") if block.language == "python"]


def run_python(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = folder / "train.py"
    script.write_text(code, "utf-8")
    return run_script(script, folder, *arguments)


def run_script(script: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120)


def recorded(folder: Path) -> list[runs.RunRow]:
    store = Store.open(folder / "state" / "notifybot.db", clock=SYSTEM)
    try:
        return runs.recent(store)
    finally:
        store.close()


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts find the package that is tested, wherever they are run."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_both_languages_show_the_same_code() -> None:
    """But for what a person reads in it, which is in the README's language wherever it occurs."""
    english, korean = map(blocks, LANGUAGES)

    assert english
    assert korean == [Block(language, in_korean(language, text)) for language, text in english]


def in_korean(language: str, text: str) -> str:
    for english, korean in SAID.get(language, ()):
        text = text.replace(english, korean)
    return text


def test_both_languages_have_the_same_parts() -> None:
    """As many headings of each level, and as many rows in the tables."""
    shapes = [re.findall(r"^(#+ |\|)", (ROOT / readme).read_text("utf-8"), re.MULTILINE) for readme in LANGUAGES]

    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python_blocks_run(code: str, tmp_path: Path) -> None:
    """Each block runs as it stands, given a reader's data and model, and its run ends as finished."""
    setting = READERS_OWN + (READERS_TORCH if "torch" in code else "")

    done = run_python(setting + code, tmp_path)

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert {row.status for row in recorded(tmp_path)} == {Status.FINISHED}


def test_the_block_about_continuing_continues(tmp_path: Path) -> None:
    """Run once more with more epochs, it is still one run, and no epoch is done twice."""
    (code,) = (text for text in PYTHON if "run_id=run_id" in text)
    first = READERS_OWN + READERS_TORCH + code.replace("range(start, 5)", "range(start, 2)")

    assert run_python(first, tmp_path).returncode == 0
    assert run_python(READERS_OWN + READERS_TORCH + code, tmp_path).returncode == 0

    (row,) = recorded(tmp_path)
    assert (row.progress.done, row.progress.total, row.attempt) == (5, 5, 2)


def test_the_block_about_checkpoints_continues(tmp_path: Path) -> None:
    """The same cell run again after it was cut short goes on; after it is complete nothing is left to do."""
    (code,) = (text for text in PYTHON if "torch.load(checkpoints.latest" in text)
    setting = READERS_OWN + READERS_TORCH

    assert run_python(setting + code.replace("range(5)", "range(2)"), tmp_path).returncode == 0
    again, once_more = (run_python(setting + code, tmp_path) for _ in range(2))

    assert [again.returncode, once_more.returncode] == [0, 0], again.stderr + once_more.stderr
    assert "resumed from epoch 1" in again.stderr
    assert "is complete" in once_more.stderr
    (row,) = recorded(tmp_path)
    assert (row.progress.done, row.progress.total, row.attempt) == (5, 5, 2)


@pytest.mark.needs("torch", "sklearn")
def test_the_example_trains_and_continues(tmp_path: Path) -> None:
    """The script learns digits, and run again it goes on from its checkpoint as the same run."""
    script = ROOT / "examples" / "train_digits.py"

    first = run_script(script, tmp_path, "--epochs", "2")
    second = run_script(script, tmp_path, "--epochs", "3")

    assert [first.returncode, second.returncode] == [0, 0], first.stderr + second.stderr
    (row,) = recorded(tmp_path)
    assert (row.status, row.progress.done) == (Status.FINISHED, 3)
    assert row.progress.metrics["val_acc"].value > 0.6


def test_the_example_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyTorch or scikit-learn is missing, a sentence instead of a traceback."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))

    done = run_script(ROOT / "examples" / "train_digits.py", tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith("No module named 'torch': this example needs PyTorch and scikit-learn")


@pytest.mark.parametrize("command", commands("README.md"), ids=" ".join)
def test_commands_exist_with_their_options(command: list[str]) -> None:
    """Help is there for every command shown, and it knows every option shown."""
    path: list[str] = []
    found = typer.main.get_command(app)
    while path != command and command[len(path)] in getattr(found, "commands", {}):
        found = found.commands[command[len(path)]]  # type: ignore[attr-defined]
        path.append(command[len(path)])

    answer = CliRunner().invoke(app, [*path, "--help"])

    assert answer.exit_code == 0
    assert path or command == ["--version"]
    options = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in command if word.startswith("--")} <= options


@pytest.mark.parametrize("readme", LANGUAGES)
def test_every_command_is_listed(readme: str) -> None:
    """Nothing that the command line can do is left out."""
    shown = {" ".join(command) for command in commands(readme)}

    names = [each.name or each.callback.__name__ for each in app.registered_commands if each.callback]
    tokens = ["watchdog token new", "watchdog token list", "watchdog token revoke"]

    assert [name for name in [*names, *tokens] if not any(line.startswith(name) for line in shown)] == []


@pytest.mark.parametrize("text", [block.text for block in blocks("README.md") if block.language == "toml"])
def test_configuration_files_are_valid(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each loads as it stands, and what it says is what is set."""
    (tmp_path / "notifybot.toml").write_text(text, "utf-8")
    monkeypatch.delenv("NOTIFYBOT_LANG")
    monkeypatch.setenv("NOTIFYBOT_CONFIG", str(tmp_path / "notifybot.toml"))

    config = load()

    plain = {key: value for key, value in tomllib.loads(text).items() if not isinstance(value, dict)}
    assert [
        key for key, value in plain.items() if getattr(config, key) != value and str(getattr(config, key)) != value
    ] == []
    assert list(config.notifiers.names) == sorted(tomllib.loads(text).get("notifiers", {}))


def test_no_setting_is_made_up() -> None:
    """Every NOTIFYBOT_ name in the READMEs is a setting."""
    known = {f"NOTIFYBOT_{key.upper()}" for key in Config.model_fields} | {"NOTIFYBOT_CONFIG", "NOTIFYBOT_"}

    for readme in LANGUAGES:
        assert set(re.findall(r"NOTIFYBOT_[A-Z_]*", (ROOT / readme).read_text("utf-8"))) <= known


@pytest.mark.parametrize("language", Language)
def test_the_template_renders(language: Language, tmp_path: Path) -> None:
    """The template shown is used for the title, and what it leaves out is said by ours."""
    (text,) = (block.text for block in blocks("README.md") if block.language == "jinja")
    (tmp_path / "epoch_finished.j2").write_text(text, "utf-8")
    (event,) = (each for each in samples(language, SYSTEM.now()) if each.kind == "epoch_finished")

    ours, theirs = Renderer(language).render(event), Renderer(language, tmp_path).render(event)

    assert theirs.title.startswith(event.run.name)
    assert theirs.title != ours.title
    assert ours.body == theirs.body


@pytest.mark.parametrize("readme", LANGUAGES)
def test_templates_variables_and_events_are_listed(readme: str) -> None:
    words = set(re.findall(r"`(\w+)`", (ROOT / readme).read_text("utf-8")))

    assert set(View.__annotations__) - words == set()
    assert set(KINDS) - words == set()


@pytest.mark.parametrize("readme", LANGUAGES)
def test_every_install_command_is_constrained(readme: str) -> None:
    """The versions of constraints.txt are the ones that the tests ran with."""
    shell = "\n".join(block.text for block in blocks(readme) if block.language == "bash")

    installs = [line for line in shell.splitlines() if line.startswith("pip install")]

    assert installs
    assert [line for line in installs if "-c constraints.txt" not in line] == []


@pytest.mark.parametrize("readme", LANGUAGES)
def test_every_link_leads_somewhere(readme: str) -> None:
    linked = re.findall(r"\]\(([^)#]+)\)", (ROOT / readme).read_text("utf-8"))

    assert [target for target in linked if "://" not in target and not (ROOT / target).exists()] == []
