"""The settings file of a program that is started, or moved, elsewhere than where the file lies."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from notifybot.config import load
from tests.support.hydra import stand_in_for_hydra

_SETTINGS = 'project = "from the file"\n'


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working folder: one without settings, and beside the script's."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in [each for each in os.environ if each.startswith("NOTIFYBOT_")]:
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of a program, `src/train.py` in it, with settings."""
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True, mode=0o755)
    folder.chmod(0o755)
    (folder / "notifybot.toml").write_text(_SETTINGS)
    (folder / "notifybot.toml").chmod(0o644)
    _started_by(monkeypatch, folder / "src" / "train.py")
    return folder


def _started_by(monkeypatch: pytest.MonkeyPatch, script: Path) -> None:
    script.parent.mkdir(parents=True, exist_ok=True)
    script.touch()
    main = ModuleType("__main__")
    main.__file__ = str(script)
    monkeypatch.setitem(sys.modules, "__main__", main)


# ── Beside the script, or above it ───────────────────────────────────────────────────────────────────────────────────


def test_settings_are_found_above_the_script_from_any_working_folder(project: Path) -> None:
    config = load()

    assert (config.project, config.sources) == ("from the file", (str(project / "notifybot.toml"),))


def test_the_working_folder_comes_before_the_scripts_and_the_nearest_before_those_above(
    project: Path, elsewhere: Path
) -> None:
    (project / "src" / "notifybot.toml").write_text('project = "nearest"\n')
    assert load().project == "nearest"

    (elsewhere / "notifybot.toml").write_text('project = "here"\n')
    assert (load().project, load().sources) == ("here", ("notifybot.toml",))


def test_a_folder_in_settings_found_elsewhere_lies_beside_them(project: Path) -> None:
    (project / "notifybot.toml").write_text(
        'runs_dir = "all/runs"\nstate_dir = "~/state"\nlink_url = "https://x.y/z"\n'
    )

    config = load()

    assert config.runs_dir == project / "all" / "runs"
    assert config.state_dir == Path.home() / "state"
    assert str(config.link_url) == "https://x.y/z"


@pytest.mark.parametrize("of", ["file", "folder"])
def test_settings_that_others_may_write_are_named_in_one_line_and_not_read(
    project: Path, caplog: pytest.LogCaptureFixture, of: str
) -> None:
    """They decide where messages go, which say much of the work."""
    file = project / "notifybot.toml"
    file.chmod(0o666) if of == "file" else project.chmod(0o777)

    projects = {load().project for _ in range(2)}

    assert projects == {"default"}
    assert [each.getMessage() for each in caplog.records] == [
        f"{file} is not read: it or its folder is not yours alone. If you trust it, name it: NOTIFYBOT_CONFIG={file}"
    ]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_settings_of_somebody_else_are_not_read_and_nothing_is_looked_up_above_them(project: Path) -> None:
    os.chown(project / "src", 12345, 12345)
    assert load().project == "default", "what lies above a folder of somebody else is not the user's program"

    os.chown(project / "src", os.getuid(), -1)
    os.chown(project / "notifybot.toml", 12345, -1)
    assert load().project == "default"


def test_a_file_that_the_users_own_group_may_write_is_the_users(project: Path) -> None:
    """Debian and Fedora give each user a group of their own, and a umask that lets it write."""
    own_group = os.stat(project).st_gid == os.getgid() and os.getuid() == 0
    if not own_group:
        pytest.skip("the group of this user may have other members")
    (project / "notifybot.toml").chmod(0o664)

    assert load().project == "from the file"


@pytest.mark.parametrize("where", ["lib/python3.11/site-packages/tool", "bin"])
def test_an_installed_command_is_no_script_of_the_user(
    monkeypatch: pytest.MonkeyPatch, project: Path, where: str
) -> None:
    """An environment lies within a project, and its commands serve other projects too: `notifybot status`, pytest."""
    monkeypatch.setattr(sys, "prefix", str(project / ".venv"))
    _started_by(monkeypatch, project / ".venv" / where / "main.py")

    assert load().project == "default"


def test_a_notebook_and_a_prompt_have_no_script(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    monkeypatch.setattr(sys, "argv", ["-c"])

    assert load().project == "default"


# ── Where a framework has moved the program ──────────────────────────────────────────────────────────────────────────


def test_settings_and_folders_are_those_of_the_folder_in_which_a_hydra_program_was_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = stand_in_for_hydra(monkeypatch, started=tmp_path)
    (tmp_path / "notifybot.toml").write_text(_SETTINGS + 'state_dir = "state"\n')

    config = load()

    assert job == Path.cwd()
    assert config.project == "from the file"
    assert (config.runs_dir, config.state_dir) == (tmp_path / "runs", tmp_path / "state")


def test_settings_in_the_jobs_own_folder_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    job = stand_in_for_hydra(monkeypatch, started=tmp_path)
    (tmp_path / "notifybot.toml").write_text(_SETTINGS)
    (job / "notifybot.toml").write_text('project = "the job\'s"\n')

    assert load().project == "the job's"


def test_a_trial_of_ray_tune_has_the_settings_of_its_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.setenv("TUNE_ORIG_WORKING_DIR", str(tmp_path))
    (tmp_path / "notifybot.toml").write_text(_SETTINGS)

    config = load()

    assert (config.project, config.runs_dir) == ("from the file", tmp_path / "runs")
