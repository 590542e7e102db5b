"""What the doctor finds of this machine: disks, folders, files that others can read, dead letters, versions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from notifybot.config import load
from notifybot.doctor import machine
from notifybot.doctor.findings import Level
from notifybot.integrations import FRAMEWORKS, present
from notifybot.policy import Priority
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from tests.support.doctor import examined, wrongs
from tests.support.store_events import alert


class Usage(NamedTuple):
    """What shutil tells of a disk."""

    total: int
    used: int
    free: int


def test_a_full_disk_is_told_before_it_stops_the_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**12, 10**12, 5 * 1024**2))

    found = [each for each in wrongs(examined()) if each.part == "disk"]

    assert [each.what.en.rpartition(": ")[2] for each in found] == ["only 5.2 MB free"] * 2


@pytest.mark.parametrize("key", ["state_dir", "runs_dir"])
@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_folder_that_cannot_be_written_is_told(
    key: str, below: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file stands in its place, or above it: the training would keep its outbox elsewhere, and a person look here."""
    (tmp_path / "taken").write_text("x")
    monkeypatch.setenv(f"NOTIFYBOT_{key.upper()}", str(tmp_path / "taken" / below))

    (found,) = [each for each in wrongs(examined()) if each.part == "disk"]

    assert found.what.en.startswith(f"{key} {tmp_path / 'taken'}")
    assert "Not a directory" in found.what.ko
    assert found.remedy is not None
    assert key in found.remedy.ko


def test_folders_are_tried_without_a_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the training makes when it begins is not made by looking."""
    monkeypatch.setenv("NOTIFYBOT_RUNS_DIR", str(tmp_path / "later" / "runs"))

    examined()

    assert not (tmp_path / "later").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".notifybot")] == []


def test_settings_that_others_can_read_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only a file that holds a secret; the remedy closes it."""
    file = tmp_path / "notifybot.toml"
    file.write_text('slack_webhook_url = "https://hooks.slack.invalid/services/T0/B0/canary-not-a-secret"\n')
    monkeypatch.chdir(tmp_path)
    file.chmod(0o644)

    (found,) = [each for each in wrongs(examined()) if each.part == "settings"]
    assert found.remedy is not None
    assert found.remedy.en == found.remedy.ko == "chmod 600 notifybot.toml"

    file.chmod(0o600)
    assert wrongs(examined()) == []
    file.write_text('project = "vision"\n')
    file.chmod(0o644)
    assert [each for each in wrongs(examined()) if each.part == "settings"] == []


def test_dead_letters_are_worth_a_look() -> None:
    with Store.open(load().state_dir / "notifybot.db") as store:
        runs.record(store, alert(), [("slack:00000000", Priority.URGENT)])
        outbox = Outbox(store)
        delivery = outbox.claim("slack:00000000")
        assert delivery is not None
        outbox.mark_dead(delivery, "gone")

    (found,) = [each for each in examined() if each.part == "outbox"]

    assert found.verdict is Level.NOTE
    assert found.what.en == "messages given up: 1"


@pytest.mark.parametrize(("version", "wrong"), [("2.9.1", True), ("2.10.0", False), ("2.13.0+cpu", False)])
def test_a_torch_that_runs_code_from_checkpoints_is_told(
    version: str, wrong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2025-32434 and CVE-2026-24747: https://nvd.nist.gov/vuln/detail/CVE-2025-32434"""
    monkeypatch.setattr(machine, "version", lambda name: version if name == "torch" else "1.0")

    assert bool(wrongs(machine.versions())) is wrong


def test_the_state_folder_is_not_made_by_looking() -> None:
    examined()

    assert not os.path.exists(load().state_dir / "notifybot.db")


def test_a_framework_that_is_there_has_its_line() -> None:
    there = {name for _, name, _ in present()}

    found = [each for each in machine.frameworks() if each.verdict is Level.NOTE]

    assert {each.what.en.split()[0] for each in found} == there
    assert all("from notifybot.integrations." in each.remedy.ko for each in found if each.remedy is not None)


@pytest.mark.parametrize(
    ("version", "takes"), [("4.46.3", False), ("4.47.1", True), ("5.0.0rc1", True), ("4.9", False)]
)
def test_a_framework_that_is_too_old_is_known(version: str, takes: bool) -> None:
    (transformers,) = (each for each in FRAMEWORKS if each.packages == ("transformers",))

    assert transformers.takes(version) is takes
