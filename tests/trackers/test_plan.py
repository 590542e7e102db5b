"""Which trackers are used: by switch, by what is installed, and by how W&B is set up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import wandb

from notifybot.config import Config, Switch
from notifybot.errors import ConfigError
from notifybot.trackers import plan_trackers


def planned(environ: Mapping[str, str] = MappingProxyType({}), **switches: object) -> list[str]:
    return plan_trackers(Config(**switches), environ)


def test_jsonl_is_always_used() -> None:
    """It needs nothing."""
    assert planned(tensorboard=Switch.OFF, wandb=Switch.OFF) == ["jsonl"]


def test_auto_uses_tensorboard_where_it_is_installed() -> None:
    """It needs no account."""
    assert planned() == ["jsonl", "tensorboard"]


@pytest.mark.parametrize(
    ("environ", "used"),
    [
        ({}, False),
        ({"WANDB_API_KEY": "canary"}, True),
        ({"WANDB_IDENTITY_TOKEN_FILE": "/token"}, True),
        ({"WANDB_MODE": "offline"}, True),
        ({"WANDB_MODE": "disabled", "WANDB_API_KEY": "canary"}, False),
        ({"WANDB_MODE": "online"}, False),
    ],
    ids=["nothing", "key", "identity token", "offline", "disabled", "online without a key"],
)
def test_auto_uses_wandb_where_it_is_set_up(environ: dict[str, str], used: bool) -> None:
    """Where it would have to ask for a key it is left alone."""
    assert ("wandb" in planned(environ)) is used


@pytest.mark.parametrize(("host", "used"), [("api.wandb.ai", True), ("elsewhere.example", False)])
def test_a_key_in_the_netrc_file_counts(host: str, used: bool, tmp_path: Path) -> None:
    """`wandb login` writes it there."""
    (tmp_path / ".netrc").write_text(f"machine {host} login user password canary\n")

    assert ("wandb" in planned()) is used


def test_the_netrc_file_may_be_elsewhere(tmp_path: Path) -> None:
    """As for W&B, a variable names it; then no other file counts."""
    (tmp_path / "elsewhere").write_text("machine wandb.example.com login user password canary\n")
    place = {"NETRC": str(tmp_path / "elsewhere"), "WANDB_BASE_URL": "https://wandb.example.com:8443/"}

    assert "wandb" in planned(place)
    assert "wandb" not in planned({**place, "NETRC": str(tmp_path / "nowhere")})


@pytest.mark.parametrize("content", [b"api.wandb.ai canary\n", b"machine api.wandb.ai\n", b"\xff"])
def test_a_netrc_file_that_cannot_be_read_holds_no_key(content: bytes, tmp_path: Path) -> None:
    """A slip in it must not keep a run from starting."""
    (tmp_path / ".netrc").write_bytes(content)

    assert "wandb" not in planned()


def test_the_settings_file_counts(tmp_path: Path) -> None:
    """`wandb offline` writes it; the environment goes before it."""
    (tmp_path / "settings").write_text("[default]\nmode = offline\n")
    place = {"WANDB_CONFIG_DIR": str(tmp_path)}

    assert "wandb" in planned(place)
    assert "wandb" not in planned({**place, "WANDB_MODE": "disabled"})


def test_a_settings_file_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    """As W&B itself treats it."""
    (tmp_path / "settings").write_text("no section\n")

    assert "wandb" not in planned({"WANDB_CONFIG_DIR": str(tmp_path)})


def test_an_active_run_of_the_users_counts(tmp_path: Path) -> None:
    """They set W&B up themselves, in this process."""
    run = wandb.init(mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True))
    try:
        assert "wandb" in planned()
    finally:
        run.finish()
        wandb.teardown()


def test_on_uses_wandb_whatever_is_set_up() -> None:
    """Without a key it is recorded offline."""
    assert "wandb" in planned(wandb=Switch.ON)


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_that_is_switched_on_is_an_error_with_its_remedy(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first epoch, with the command to run; auto goes without."""
    monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(ConfigError, match=rf"NOTIFYBOT_{name.upper()}.*pip install .*\[{name}\]"):
        plan_trackers(Config(**{name: Switch.ON}), {})
    assert name not in planned({"WANDB_MODE": "offline"})


def test_the_folder_that_wandb_leaves_behind_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would import a bare folder as an empty package."""
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb")

    with pytest.raises(ConfigError, match="wandb cannot be imported"):
        planned(wandb=Switch.ON, tensorboard=Switch.OFF)


def test_planning_imports_nothing_heavy() -> None:
    """The start of a run waits for it."""
    code = (
        "import sys\n"
        "from notifybot.config import Config\n"
        "from notifybot.trackers import TrackerWorkers, plan_trackers\n"
        "plan_trackers(Config(), {'WANDB_MODE': 'offline'})\n"
        "print(sorted({'torch', 'tensorboard', 'wandb', 'numpy', 'requests'} & set(sys.modules)))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "[]"
