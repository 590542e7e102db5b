"""The rules of the house, held by the tests instead of by memory."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import notifybot
from notifybot.config import Config
from notifybot.events import KINDS

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "notifybot").rglob("*.py"))
MIGRATIONS = ROOT / "notifybot" / "store" / "migrations" / "versions"
WRITTEN_BY_PEOPLE = [path for path in MODULES if MIGRATIONS not in path.parents]

MOST_LINES_OF_A_MODULE = 500
MOST_LINES_OF_A_FUNCTION = 60
MOST_CATCH_ALLS = 18  # borders to other people's objects: trackers, notifiers, state dicts, damaged files


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), filename=str(path))


# ── The public face ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_public_names_are_sorted_and_there() -> None:
    """`__all__` is what can be imported, in order, without a private name."""
    assert notifybot.__all__ == sorted(notifybot.__all__)
    assert dir(notifybot) == notifybot.__all__
    for name in notifybot.__all__:
        assert getattr(notifybot, name) is not None
    assert [name for name in notifybot.__all__ if name.startswith("_")] == ["__version__"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'notify_epochs'"):
        _ = notifybot.notify_epochs


def test_the_version_is_the_same_everywhere() -> None:
    """The package, its metadata and the newest entry of the changelog agree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    newest = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

    assert project["version"] == notifybot.__version__
    assert newest is not None
    assert newest[1] == notifybot.__version__


def test_importing_the_package_is_nearly_free() -> None:
    """Two lines in a notebook must not pull a server, a database or a tracker in before they are used."""
    code = "import sys; before = set(sys.modules); import notifybot; print(*sorted(set(sys.modules) - before))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert {name.partition(".")[0] for name in done.stdout.split()} - sys.stdlib_module_names == {"notifybot"}


# ── Shape ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_imports_point_down() -> None:
    """import-linter finds no module that reaches up the layers, and none outside them."""
    script = Path(sys.executable).with_name("lint-imports")

    done = subprocess.run([script, "--no-cache"], capture_output=True, text=True, cwd=ROOT)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WRITTEN_BY_PEOPLE, ids=name_of)
def test_modules_and_functions_are_short(path: Path) -> None:
    """What does not fit on a few screens is more than one noun; what does not fit on one is more than one verb."""
    lines = len(path.read_text("utf-8").splitlines())
    functions = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {each.name: each.end_lineno - each.lineno + 1 for each in functions if each.end_lineno is not None}

    assert lines <= MOST_LINES_OF_A_MODULE
    assert {name: count for name, count in long.items() if count > MOST_LINES_OF_A_FUNCTION} == {}


@pytest.mark.parametrize("path", WRITTEN_BY_PEOPLE, ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    module = parsed(path)

    assert ast.get_docstring(module) or not module.body, "a module begins with a docstring"


_WITHOUT_A_NOUN = re.compile(r"(What|Whose|Where|How|Who|Whom|When)\b")


@pytest.mark.parametrize("path", WRITTEN_BY_PEOPLE, ids=name_of)
def test_a_docstring_names_its_noun(path: Path) -> None:
    """It begins with a subject or an imperative verb: "Path of the database", not "Where events are kept"."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(parsed(path)) if isinstance(node, documented)]

    assert [each for each in docstrings if _WITHOUT_A_NOUN.match(each)] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_we_log_goes_through_the_one_logger_that_lets_nothing_out(path: Path) -> None:
    """What a handler of the program's raises is kept from its loop and from deliveries there; a child's is not."""
    loggers = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call) and node.args and (
        getattr(node.func, "attr", "") == "getLogger"
    )]  # fmt: skip
    names = [getattr(each.args[0], "id", "") for each in loggers]

    assert "__name__" not in names


# Words that mean something in this house alone: a newcomer cannot look them up.
_PRIVATE_WORDS = {"given", "keeper", "letters", "luggage", "pieces", "told", "voice", "words"}


def test_modules_are_called_by_the_fields_words() -> None:
    assert {path.stem for path in WRITTEN_BY_PEOPLE} & _PRIVATE_WORDS == set()


def test_no_two_classes_have_one_name() -> None:
    """Whoever reads of a `Schedule` need not ask which. A program has one framework, whose callback it imports."""
    classes = Counter(
        node.name for path in MODULES for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)
    )

    assert {name for name, count in classes.items() if count > 1} == {"NotifyCallback"}


# Modules that are small and used by one other, each for its reason.
_LEAST_LINES = 60
_SMALL = {
    "command.left_pump": "a child process's entry",
    "checkpoints.saver": "the thread that writes checkpoints, whose module is full",
    "delivery.digest": "one message of many, whose module is full",
    "demo.watchdog": "a child process's entry",
    "notifiers.slack.webhook": "a notifier of its own, beside the bot",
    "store.migrations.env": "Alembic's entry",
}


def _dotted(path: Path) -> str:
    return path.relative_to(ROOT / "notifybot").with_suffix("").as_posix().replace("/", ".")


def importers() -> Mapping[str, set[str]]:
    """Who imports each module of the package, by dotted names without the package's own."""
    names = {
        path.relative_to(ROOT / "notifybot").with_suffix("").as_posix().replace("/", "."): path for path in MODULES
    }
    found: dict[str, set[str]] = {name: set() for name in names}
    for name, path in names.items():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("notifybot"):
                base = node.module.removeprefix("notifybot").removeprefix(".")
                for each in (base, *(f"{base}.{alias.name}".removeprefix(".") for alias in node.names)):
                    found.get(each, set()).add(name)
    return found


def test_a_module_is_worth_its_file() -> None:
    """What is short and used by one other module belongs into that one, or is here with its reason."""
    by = importers()
    small = {
        name
        for path in WRITTEN_BY_PEOPLE
        if path.name not in ("__init__.py", "__main__.py")
        if len(path.read_text("utf-8").splitlines()) < _LEAST_LINES
        if len(by[name := _dotted(path)]) <= 1
    }

    assert small - _SMALL.keys() == set()


_WITHOUT_A_MODULE = {"test_project", "test_manual"}  # about the whole house
_WHOLE_PROGRAMS = {"browser", "contracts", "field", "processes", "support"}


# Modules without a test file of their name, each for its reason. The list may only shrink.
_NOTHING_TO_TEST = {
    "checkpoints/types": "values, and a Protocol",
    "trackers/base": "values, and a Protocol",
    "demo/watchdog": "a child process's entry: tests/processes/test_demo.py starts it",
    "delivery/chart_process": "a child process's entry: test_chart_renderer.py starts it",
    "store/migrations/env": "Alembic's entry: test_database.py migrates",
    "testing": "the fakes themselves: every test uses them, the contract tests hold the notifier to the others' rules",
}
_UNDER_ANOTHER_NAME = {
    "alerts/evidence": "test_rules.py asks the rules what their alerts rest on",
    "config_sources": "test_config.py reads the settings that it gathers",
    "delivery/dead_letter_log": "test_dispatcher.py and test_worker.py count what is given up",
    "delivery/recorder": "test_dispatcher_promises.py and its neighbours record through it",
    "delivery/subscription": "test_dispatcher_promises.py and test_digest.py subscribe",
    "services": "tests/contracts/test_registry.py holds every row to its promises",
}


def _tests_of_modules() -> list[Path]:
    """The test files that are about one module, by their paths below tests/ without the ending."""
    tests = [path.relative_to(ROOT / "tests").with_suffix("") for path in (ROOT / "tests").rglob("test_*.py")]
    return [each for each in tests if each.parts[0] not in _WHOLE_PROGRAMS and each.name not in _WITHOUT_A_MODULE]


def test_a_test_is_named_after_the_module_it_is_about() -> None:
    """`tests/store/test_outbox_owners.py` is about `notifybot/store/outbox.py`: one finds either from the other."""
    modules = {path.relative_to(ROOT / "notifybot").with_suffix("").as_posix() for path in MODULES}

    assert [each.as_posix() for each in _tests_of_modules() if not (set(_subjects(each)) & modules)] == []


def test_a_module_has_a_test_of_its_name() -> None:
    """The other way round: whoever changes a module knows which file to run, or finds here which one it is."""
    paths = [path for path in WRITTEN_BY_PEOPLE if path.name not in ("__init__.py", "__main__.py")]
    modules = {path.relative_to(ROOT / "notifybot").with_suffix("").as_posix() for path in paths}
    tested = {next((each for each in _subjects(test) if each in modules), "") for test in _tests_of_modules()}

    assert modules - tested - _NOTHING_TO_TEST.keys() - _UNDER_ANOTHER_NAME.keys() == set()


def _subjects(test: Path) -> Iterator[str]:
    """The modules that a test's name may mean: its words, and fewer of them, as the last ones may name a topic."""
    words = test.name.removeprefix("test_").split("_")
    for count in range(len(words), 0, -1):
        yield (test.parent / "_".join(words[:count])).as_posix()


def test_the_code_that_answers_a_newcomers_questions_is_found() -> None:
    """`python -m benchmarks.guessable` knows it by a line of its own: a line that was changed is changed there too."""
    questions = tomllib.loads((ROOT / "benchmarks" / "guessable.toml").read_text("utf-8"))["question"]
    texts = [path.read_text("utf-8") for path in (*MODULES, *(ROOT / "templates").rglob("*.j2"))]

    assert [each["where"] for each in questions if not any(each["where"] in text for text in texts)] == []


def catch_alls() -> Iterator[tuple[str, str]]:
    """Every handler that takes anything and keeps it, with its line and its neighbours."""
    for path in MODULES:
        lines = path.read_text("utf-8").splitlines()
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ExceptHandler) and _catches_all(node):
                yield f"{name_of(path)}:{node.lineno}", "\n".join(lines[node.lineno - 2 : node.lineno + 1])


def _catches_all(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False  # it tidies up and lets the exception go on
    names = (
        {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else {"Exception"}
    )
    return bool({"Exception", "BaseException"} & names)


def test_catch_alls_are_few_and_give_their_reason() -> None:
    """A handler for everything hides mistakes, so each one stands at a foreign border and says which."""
    found = dict(catch_alls())

    assert len(found) <= MOST_CATCH_ALLS, sorted(found)
    silent = [where for where, text in found.items() if not re.search(r"# (?!noqa)\w|noqa: [A-Z0-9, ]+\W+\w", text)]
    assert silent == []


# ── Words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("language", ["ko", "en"])
def test_every_event_has_a_template(language: str) -> None:
    """Nothing that happens to a run is without words in either language, and no template is left over."""
    there = {path.stem for path in (ROOT / "templates" / language).glob("*.j2") if not path.name.startswith("_")}

    assert there == set(KINDS)


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("key", Config.model_fields)
def test_every_setting_is_documented_with_its_default(language: str, key: str) -> None:
    """The manual has a row for each setting: | `NOTIFYBOT_KEY` | … | with the default in backticks."""
    text = (ROOT / "docs" / language / "reference" / "settings.md").read_text("utf-8")

    row = re.search(rf"^\| *`NOTIFYBOT_{key.upper()}` *\|.*$", text, re.MULTILINE)

    assert row is not None, f"the manual has no table row for NOTIFYBOT_{key.upper()}"
    assert f"`{default}`" in row[0] if (default := default_of(key)) else True


def default_of(key: str) -> str:
    """A setting's default as the manual shows it; empty where there is none."""
    computed = {"state_dir": "~/.local/state/notifybot", "lang": "ko"}
    if key in computed:
        return computed[key]
    default = Config.model_fields[key].default
    return "" if default is None else f"{default:g}" if isinstance(default, float) else str(default)


def texts() -> Iterator[Path]:
    """Everything that is published as text."""
    for folder in ("notifybot", "templates", "tests", "benchmarks", "examples", "docs", ".ci"):
        yield from (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    yield from (path for path in ROOT.iterdir() if path.suffix in {".md", ".toml", ".txt"} or path.name == "Makefile")


def test_no_path_of_one_machine_is_published() -> None:
    """What works only in the folder where it was written does not work."""
    mine = re.compile(r"(?<![\w.])/(?:work|root)/")

    found = [name_of(path) for path in texts() if mine.search(path.read_text("utf-8", errors="ignore"))]

    assert found == []


def test_korean_has_one_register_and_one_word_for_a_thing() -> None:
    """People are asked in 해요체 ("…하세요"), and meet the watchdog and the outbox under one name each."""
    other = re.compile("십시" + "오|워치" + "독|발신" + "함")

    found = {name_of(path): found for path in texts() if (found := other.findall(path.read_text("utf-8", "ignore")))}

    assert found == {}


def test_nobody_is_sent_to_install_the_name_that_is_another_project_on_pypi() -> None:
    """In a second environment pip would bring that one. `install` in errors says it as the manual does."""
    by_name = re.compile(r"pip install [^\n\"]*['\"]?\bnotifybot(?:\[|['\"` ]|$)")
    published = [path for path in texts() if path.suffix not in {".md", ".ipynb"} and "tests" not in path.parts]

    assert by_name.search("pip install 'notifybot[pictures]'") is not None
    assert [name_of(path) for path in published if by_name.search(path.read_text("utf-8", "ignore"))] == []


# ── The package ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_wheel_holds_all_it_needs(tmp_path: Path) -> None:
    """Templates, migrations, the type marker and the licence travel; tests and build leavings do not."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True, cwd=ROOT)

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())

    templates = {path.relative_to(ROOT / "templates") for path in (ROOT / "templates").rglob("*.*") if path.is_file()}
    assert {f"notifybot/_templates/{path.as_posix()}" for path in templates if path.name != ".keep"} <= names
    assert {name_of(path) for path in MODULES} <= names
    assert "notifybot/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert [name for name in names if name.startswith("tests/") or "__pycache__" in name] == []


def test_constraints_are_exact_and_cover_the_dependencies() -> None:
    """Every package that we name is pinned, so that a fresh install is the tested one; torch has no local label."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)

    named = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    ours = {re.split(r"[\[<>=]", each)[0].lower().replace("_", "-") for each in named} - {"notifybot"}
    assert ours - pins.keys() == set()
    assert pins["torch"] == "2.13.0"
    assert list(pins) == sorted(pins)
