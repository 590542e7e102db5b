"""The READMEs and the manual do as they say: their code runs, their commands exist, both languages tell the same.

A block that cannot run on a page of its own, such as one for Colab, says why on the line above its fence, where readers
do not see it: `<!-- not run: needs Colab -->`. Its syntax and its imports from notifybot are checked nonetheless.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterable
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
from notifybot.integrations import FRAMEWORKS
from notifybot.rendering import Renderer
from notifybot.rendering.view import View
from notifybot.sandbox.slack_state import BOT_TOKEN
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.types import Language, Status

ROOT = Path(__file__).parents[1]
READMES = {Language.EN: "README.md", Language.KO: "README.ko.md"}

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


class Block(NamedTuple):
    """A fenced block of a page, without its indentation, and why it is not run where it says so."""

    language: str
    text: str
    not_run: str = ""


_FENCE = re.compile(
    r"^(?: *<!-- not run: (?P<why>[^\n]+) -->\n\n?)?"
    r"(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


def pages(language: Language) -> list[str]:
    """The README and every page of the manual, by their paths in the repository."""
    manual = (ROOT / "docs" / language).rglob("*.md")
    return [READMES[language], *sorted(path.relative_to(ROOT).as_posix() for path in manual)]


def in_both() -> list[tuple[str, str]]:
    """The English and the Korean of each page."""
    return [(page, READMES[Language.KO] if page == "README.md" else f"docs/ko{page[7:]}") for page in ENGLISH]


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str) -> list[Block]:
    found = _FENCE.finditer(text_of(page))
    return [Block(each["language"], textwrap.dedent(each["text"]), each["why"] or "") for each in found]


def all_blocks(language: str) -> list[str]:
    """Each block of this language that is run, once, wherever it stands."""
    found = (block for page in ENGLISH for block in blocks(page))
    return list(dict.fromkeys(block.text for block in found if block.language == language and not block.not_run))


def shell_lines(page: str) -> list[str]:
    """What is typed into a shell, lines that end in a backslash joined."""
    shell = "\n".join(block.text for block in blocks(page) if block.language in ("bash", "console"))
    return shell.replace("\\\n", " ").splitlines()


def commands(of: Iterable[str]) -> list[list[str]]:
    """Every `notifybot …` line in a block for the shell, once and without the program's name."""
    lines = dict.fromkeys(line for page in of for line in shell_lines(page) if line.startswith("notifybot "))
    return [shlex.split(line, comments=True)[1:] for line in lines]


ENGLISH = pages(Language.EN)
PYTHON = all_blocks("python")
RUN_TWICE = ("run_id=run_id", "torch.load(checkpoints.latest")  # the blocks with these have tests of their own
RUN_ONCE = [code for code in PYTHON if not any(each in code for each in RUN_TWICE)]
_FRAMEWORK = re.compile(r"^from notifybot\.integrations\.(?!colab|wandb_sweep)", re.MULTILINE)  # slow to import


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
    """The scripts find the package that is tested, wherever they are run; trackers would take seconds to import."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("NOTIFYBOT_TENSORBOARD", "off")
    monkeypatch.setenv("NOTIFYBOT_WANDB", "off")
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # Keras' own default is TensorFlow


MOST_LINES_OF_A_FRONT_PAGE = 170


@pytest.mark.parametrize("readme", READMES.values())
def test_the_front_page_is_short(readme: str) -> None:
    """What is longer than a reader's first ten minutes stands in the manual."""
    assert len(text_of(readme).splitlines()) <= MOST_LINES_OF_A_FRONT_PAGE


# ── Both languages ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_page_is_there_in_both_languages() -> None:
    assert pages(Language.KO) == [korean for _, korean in in_both()]


@pytest.mark.parametrize(("english", "korean"), in_both(), ids=ENGLISH)
def test_both_languages_show_the_same_code(english: str, korean: str) -> None:
    """But for what a person reads in it, comments and texts, which is in the page's language."""
    ours, theirs = blocks(english), blocks(korean)

    assert [each.language for each in theirs] == [each.language for each in ours]
    assert [bool(each.not_run) for each in theirs] == [bool(each.not_run) for each in ours]
    assert [pair for pair in zip(ours, theirs, strict=True) if not same(*pair)] == []


_CODE = ("python", "bash", "console", "toml", "yaml")
_SAID = re.compile(r"""\"(?:[^"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|#[^\n]*""")  # strings and comments
_LANGUAGE = re.compile(r"(?<![A-Za-z])(?:en|ko)(?![A-Za-z])")
_HANGUL = re.compile("[가-힣]")


def same(english: Block, korean: Block) -> bool:
    """Code is equal but for strings and comments in Korean, other blocks but for lines in Korean; `ko` answers `en`."""
    if english.language not in _CODE:
        return _all_answer(english.text.splitlines(), korean.text.splitlines())
    code = [_LANGUAGE.sub("", _SAID.sub('""', each.text)) for each in (english, korean)]
    return code[0] == code[1] and _all_answer(_SAID.findall(english.text), _SAID.findall(korean.text))


def _all_answer(english: list[str], korean: list[str]) -> bool:
    if len(english) != len(korean):
        return False
    pairs = zip(english, korean, strict=True)
    return all(_HANGUL.search(ko) or _LANGUAGE.sub("", en) == _LANGUAGE.sub("", ko) for en, ko in pairs)


@pytest.mark.parametrize(("english", "korean"), in_both(), ids=ENGLISH)
def test_both_languages_have_the_same_parts(english: str, korean: str) -> None:
    """As many headings of each level, and as many rows in the tables."""
    shapes = [re.findall(r"^(#+ |\|)", outside_of_blocks(page), re.MULTILINE) for page in (english, korean)]

    assert shapes[0] == shapes[1]


def outside_of_blocks(page: str) -> str:
    return _FENCE.sub("", text_of(page))


# ── Code ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


BLOCKS = [pytest.param(code, marks=[pytest.mark.field] if _FRAMEWORK.search(code) else []) for code in RUN_ONCE]


@pytest.mark.parametrize("code", BLOCKS, ids=map(str, range(len(BLOCKS))))
def test_python_blocks_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block runs as it stands, given a reader's data and model, and its run ends as finished."""
    for tracker in {"tensorboard", "wandb"} & set(re.findall(r"\w+", code)):
        monkeypatch.delenv(f"NOTIFYBOT_{tracker.upper()}")
    setting = READERS_OWN + (READERS_TORCH if "torch" in code or "optimizer" in code else "")

    done = run_python(setting + code, tmp_path)

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert {row.status for row in recorded(tmp_path)} == (
        {Status.FINISHED} if re.search("notify_|Notify", code) else set()
    )


@pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:DeprecationWarning")  # Ignite's, at its import
def test_python_that_is_not_run_is_python_at_least() -> None:
    """And what it imports from notifybot is there."""
    not_run = [block for page in ENGLISH for block in blocks(page) if block.language == "python" and block.not_run]
    found = [node for block in not_run for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.ImportFrom)]
    ours = {(str(node.module), each.name) for node in found for each in node.names if _is_ours(node)}

    assert {each for each in ours if not hasattr(importlib.import_module(each[0]), each[1])} == set()


def _is_ours(node: ast.ImportFrom) -> bool:
    return str(node.module).partition(".")[0] == "notifybot"


def test_the_block_about_continuing_continues(tmp_path: Path) -> None:
    """Run once more with more epochs, it is still one run, and no epoch is done twice."""
    (code,) = (text for text in PYTHON if RUN_TWICE[0] in text)
    first = READERS_OWN + READERS_TORCH + code.replace("range(start, 5)", "range(start, 2)")

    assert run_python(first, tmp_path).returncode == 0
    assert run_python(READERS_OWN + READERS_TORCH + code, tmp_path).returncode == 0

    (row,) = recorded(tmp_path)
    assert (row.progress.done, row.progress.total, row.attempt, row.status) == (5, 5, 2, Status.FINISHED)


def test_the_block_about_checkpoints_continues(tmp_path: Path) -> None:
    """The same cell run again after it was cut short goes on; after it is complete nothing is left to do."""
    (code,) = (text for text in PYTHON if RUN_TWICE[1] in text)
    setting = READERS_OWN + READERS_TORCH

    assert run_python(setting + code.replace("range(5)", "range(2)"), tmp_path).returncode == 0
    again, once_more = (run_python(setting + code, tmp_path) for _ in range(2))

    assert [again.returncode, once_more.returncode] == [0, 0], again.stderr + once_more.stderr
    assert "resumed from epoch 1" in again.stderr
    assert "is complete" in once_more.stderr
    (row,) = recorded(tmp_path)
    assert (row.progress.done, row.progress.total, row.attempt, row.status) == (5, 5, 2, Status.FINISHED)


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


@pytest.mark.parametrize("command", commands(ENGLISH), ids=" ".join)
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
    own = command[: command.index("--")] if "--" in command else command  # after it is another program's line
    assert {word for word in own if word.startswith("--")} <= options


@pytest.mark.parametrize("language", Language)
def test_every_command_is_listed(language: Language) -> None:
    """Nothing that the command line can do is left out."""
    shown = {" ".join(command) for command in commands(pages(language))}

    names = [each.name or each.callback.__name__ for each in app.registered_commands if each.callback]
    tokens = ["watchdog token new", "watchdog token list", "watchdog token revoke"]

    assert [name for name in [*names, *tokens] if not any(line.startswith(name) for line in shown)] == []


@pytest.mark.parametrize("text", all_blocks("toml"))
def test_configuration_files_are_valid(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each loads as it stands, and what it says is what is set."""
    (tmp_path / "notifybot.toml").write_text(text, "utf-8")
    for name in ("LANG", "TENSORBOARD", "WANDB"):
        monkeypatch.delenv(f"NOTIFYBOT_{name}")
    monkeypatch.setenv("NOTIFYBOT_CONFIG", str(tmp_path / "notifybot.toml"))
    if "slack_channel" in tomllib.loads(text):  # the token is no reader's, and stands in the environment
        monkeypatch.setenv("NOTIFYBOT_SLACK_BOT_TOKEN", BOT_TOKEN)

    config = load()

    plain = {key: value for key, value in tomllib.loads(text).items() if not isinstance(value, dict)}
    assert [
        key for key, value in plain.items() if getattr(config, key) != value and str(getattr(config, key)) != value
    ] == []
    assert list(config.notifiers.names) == sorted(tomllib.loads(text).get("notifiers", {}))


def test_no_setting_is_made_up() -> None:
    """Every NOTIFYBOT_ name that is shown is a setting."""
    known = {f"NOTIFYBOT_{key.upper()}" for key in Config.model_fields} | {"NOTIFYBOT_CONFIG", "NOTIFYBOT_"}

    for page in (*ENGLISH, *pages(Language.KO)):
        assert set(re.findall(r"NOTIFYBOT_[A-Z_]*", text_of(page))) <= known, page


@pytest.mark.parametrize("language", Language)
def test_the_template_renders(language: Language, tmp_path: Path) -> None:
    """The template shown is used for the title, and what it leaves out is said by ours."""
    (text,) = all_blocks("jinja")
    (tmp_path / "epoch_finished.j2").write_text(text, "utf-8")
    (event,) = (each for each in samples(language, SYSTEM.now()) if each.kind == "epoch_finished")

    ours, theirs = Renderer(language).render(event), Renderer(language, tmp_path).render(event)

    assert theirs.title.startswith(event.run.name)
    assert theirs.title != ours.title
    assert ours.body == theirs.body


@pytest.mark.parametrize("language", Language)
def test_templates_variables_and_events_are_listed(language: Language) -> None:
    words = {word for page in pages(language) for word in re.findall(r"`(\w+)`", text_of(page))}

    assert set(View.__annotations__) - words == set()
    assert set(KINDS) - words == set()


@pytest.mark.parametrize("language", Language)
def test_every_install_command_is_constrained(language: Language) -> None:
    """The versions of constraints.txt are the tested ones; whoever installs the archive has no such file."""
    installs = [line for page in pages(language) for line in shell_lines(page) if line.startswith("pip install")]

    assert installs
    assert [line for line in installs if "-c constraints.txt" not in line and "notifybot-main.zip" not in line] == []


def test_scripts_that_are_shown_are_there() -> None:
    """Whatever `python …` line stands in a block for the shell, its script is in this repository."""
    lines = (shlex.split(line) for page in ENGLISH for line in shell_lines(page) if line.startswith("python "))
    scripts = {words[1] for words in lines}

    assert {script for script in scripts if not (ROOT / script).is_file()} <= {"train.py"}


def test_the_reference_is_what_the_code_says() -> None:
    """The generated pages are up to date; `make docs`, or python docs/generate.py, writes them anew."""
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    generate = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(generate)

    stale = [path for path, text in generate.reference().items() if text_of(path) != text]
    assert stale == [], "python docs/generate.py writes them anew"


def test_the_map_is_the_one_that_imports_keep_to() -> None:
    """Each package with its layer, from the top, as pyproject.toml has them; CONTRIBUTING shows a layer a row."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = [layer.split(" | ") for layer in contracts[0]["layers"]]

    for language in Language:
        rows = re.findall(r"^\| `(\w+)` \| .+ \| (\d+) \|$", text_of(f"docs/{language}/architecture.md"), re.MULTILINE)
        assert [[name for name, at in rows if int(at) == layer] for layer in range(1, len(layers) + 1)] == layers
    _, _, below = text_of("CONTRIBUTING.md").partition("| Layer | What is there |")
    shown = re.findall(r"^\| (`.+?) \|", below.partition("\n\n")[0], re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in shown] == layers


def test_every_module_that_a_page_names_is_there() -> None:
    named = {
        path for page in (*ENGLISH, *pages(Language.KO)) for path in re.findall(r"`(\w[\w/]*\.py)`", text_of(page))
    }

    assert "delivery/dispatcher.py" in named
    assert {path for path in named if not any((ROOT / top / path).is_file() for top in ("notifybot", ""))} == set()


def test_every_test_that_a_page_names_is_there() -> None:
    """The guarantees name the tests that prove them."""
    named = {word for page in (*ENGLISH, *pages(Language.KO)) for word in re.findall(r"`(test_\w+)`", text_of(page))}
    there = (re.findall(r"def (test_\w+)", path.read_text("utf-8")) for path in (ROOT / "tests").rglob("test_*.py"))

    assert named
    assert named - {name for found in there for name in found} == set()


# ── Links ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", [*ENGLISH, *pages(Language.KO)])
def test_every_link_leads_somewhere(page: str) -> None:
    """To a file of the repository, and where a part is named to a heading of it."""
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", outside_of_blocks(page)))

    assert [link for link in links if "://" not in link and not leads_somewhere(page, link)] == []


def leads_somewhere(page: str, link: str) -> bool:
    path, _, part = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    return target.exists() and (not part or part in anchors(target))


def anchors(page: Path) -> list[str]:
    """Each heading's, as GitHub and the built manual make them."""
    headings = re.findall(r"^#+ +(.+?) *$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)|[^\w\- ]", r"\1", heading) for heading in headings)
    return [each.strip().lower().replace(" ", "-") for each in plain]


@pytest.mark.parametrize("page", [*ENGLISH, *pages(Language.KO)])
def test_headings_of_a_page_differ(page: str) -> None:
    """GitHub and the built manual would number equal ones each in its own way."""
    found = anchors(ROOT / page)

    assert len(set(found)) == len(found)


@pytest.mark.parametrize("language", list(Language))
def test_every_framework_has_a_page_with_its_line(language: Language) -> None:
    """The doctor names the same imports; the README has them, and leads to the page."""
    readme = (ROOT / READMES[language]).read_text("utf-8")
    for framework in FRAMEWORKS:
        page = f"docs/{language}/{framework.page}.md"
        assert f"]({page})" in readme
        assert framework.imports in readme
        assert framework.imports in (ROOT / page).read_text("utf-8").replace(", whole_checkpoint", ""), page
