"""A disk that is really full: a small one of its own, mounted where only the program and its children see it.

Measured on the way: a commit needs blocks for the WAL, so without any a run's ending was told nobody, ever.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from notifybot.sandbox import Sandbox
from tests.processes.conftest import Workplace

ON_A_SMALL_DISK = """
import json, os, sqlite3, subprocess, sys
from pathlib import Path

disk = Path(os.environ["NOTIFYBOT_STATE_DIR"])
disk.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={sys.argv[1]}", "tmpfs", str(disk)], check=True)

def program(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=100)

def status():
    return json.loads(program("-m", "notifybot", "status", "--json").stdout)

trained = program("training.py")
full = status()
(disk / "checkpoint").unlink(missing_ok=True)
program("-c", "from notifybot import notify_run; notify_run('next').__enter__()")
rows = sqlite3.connect(disk / "notifybot.db").execute("SELECT kind, count(*) FROM events GROUP BY kind").fetchall()
names = sorted(each.name for each in disk.iterdir())
print(json.dumps({"code": trained.returncode, "err": trained.stderr, "out": trained.stdout, "full": full,
                  "later": status(), "kinds": dict(rows), "names": names}))
"""

FILLS = """
import os
from pathlib import Path

def fill():
    with open(Path(os.environ["NOTIFYBOT_STATE_DIR"]) / "checkpoint", "ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
"""

DIES = """
from notifybot import notify_epoch
from fills import fill

with notify_epoch(range(200), name="resnet", progress=False) as epochs:
    for epoch in epochs:
        epochs.log(loss=1 / (epoch + 1))
        if epoch == 8:
            fill()
"""

GOES_ON = """
import os
from notifybot import notify_epoch
from notifybot.store.outbox import Outbox
from fills import fill

with notify_epoch(range(40), name="resnet", progress=False) as epochs:
    for epoch in epochs:
        epochs.log(loss=1 / (epoch + 1))
        if epoch == 3:
            try:
                fill()
            except OSError as error:
                print(error.strerror)
                epochs.run.alert("look", "the disk is full")
        if epoch == 30:
            shared = epochs.run.session.shared
            shared.delivery.worker.flush(30)
            print("waiting", [each.pending for each in Outbox(shared.store).counts().values()])
            print("held", not shared.delivery.recorder.flush())
            os.unlink(os.environ["NOTIFYBOT_STATE_DIR"] + "/checkpoint")
print(epochs.run.faults)
"""


def _namespace() -> list[str]:
    """How to get mounts of one's own here."""
    return ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def _can_mount(folder: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    command = [*_namespace(), "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _on_a_small_disk(workplace: Workplace, training: str, size: str, sandbox: Sandbox) -> dict[str, Any]:
    if not _can_mount(workplace.folder):
        pytest.skip("no disk can be mounted here")
    workplace.write(training, "training.py")
    workplace.write(FILLS, "fills.py")
    script = workplace.write(ON_A_SMALL_DISK, "script.py")
    done = subprocess.run(
        [*_namespace(), sys.executable, str(script), size],
        cwd=workplace.folder, env={**workplace.environment, **sandbox.environment(), "NOTIFYBOT_PICTURES": "off"},
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _about(texts: list[str], title: str) -> list[str]:
    return [each for each in texts if title in each]


def test_a_training_that_dies_of_a_full_disk_is_told_and_never_called_running(workplace: Workplace) -> None:
    """Everybody hears of it once, at once; its status is right while the disk is full, and afterwards."""
    with Sandbox() as sandbox:
        told = _on_a_small_disk(workplace, DIES, "9m", sandbox)
        threads = [each.text for each in sandbox.slack.messages if each.thread_ts]
        talks = [each.text for each in sandbox.kakao.messages]

    assert told["code"] == 1
    assert "No space left on device" in told["err"]
    for texts in (threads, talks):
        assert len(_about(texts, "❌ resnet failed")) == 1, texts
    assert [(each["name"], each["status"]) for each in told["full"]] == [("resnet", "failed")]
    assert (
        dict.fromkeys(["resnet"], "failed").items() <= {each["name"]: each["status"] for each in told["later"]}.items()
    )
    assert not [each for each in told["names"] if "damaged" in each]


def test_on_a_full_disk_training_goes_on_and_nothing_is_lost(workplace: Workplace) -> None:
    """This is goal R9: an alert is told at once, epochs wait in memory, and when there is space all are recorded."""
    with Sandbox() as sandbox:
        told = _on_a_small_disk(workplace, GOES_ON, "6m", sandbox)
        threads = [each.text for each in sandbox.slack.messages if each.thread_ts]

    assert told["code"] == 0, told["err"]
    assert told["out"].splitlines() == ["No space left on device", "waiting [0, 0]", "held True", "{}"]
    assert told["kinds"]["epoch_finished"] == 40
    assert [(each["status"], each["done"]) for each in told["later"] if each["name"] == "resnet"] == [("finished", 40)]
    assert len(_about(threads, "the disk is full")) == 1
    assert len(_about(threads, "✅ resnet finished")) == 1
