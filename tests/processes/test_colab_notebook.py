"""The Colab notebooks as a student runs them: the machine is killed, a new one goes on where it stopped.

Colab itself is played by `colab_stand_in`; Slack and KakaoTalk by the sandbox. A machine is a kernel with a folder of
its own; Drive is the folder that outlives it.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ipykernel")
pytest.importorskip("tensorboard")
pytest.importorskip("torch")
from jupyter_client.manager import KernelManager
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from notifybot.clock import SYSTEM
from notifybot.sandbox import Sandbox
from notifybot.sandbox.kakao_state import REST_API_KEY
from notifybot.sandbox.slack_state import SlackMessage
from tests.support.kakao_people import visit
from tests.support.powered import cut_off

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).parent / "colab_stand_in"
YOLO_STAND_IN = [] if importlib.util.find_spec("ultralytics") else [ROOT / "tests/support/ultralytics_stand_in"]
NOTEBOOKS = {"ko": "colab_quickstart.ipynb", "en": "colab_quickstart.en.ipynb"}
TRAINERS = {"ko": "colab_huggingface.ipynb", "en": "colab_huggingface.en.ipynb"}
YOLOS = {"ko": "colab_ultralytics.ipynb", "en": "colab_ultralytics.en.ipynb"}
EPOCHS, KILLED_IN = 5, 3
SECRETS = ("SLACK_BOT_TOKEN", "SLACK_CHANNEL")
TIMEOUT_S = 60


def notebook(lang: str, files: dict[str, str] = NOTEBOOKS) -> dict[str, Any]:
    """The notebook's file."""
    content: dict[str, Any] = json.loads((ROOT / "examples" / files[lang]).read_text("utf-8"))
    return content


def code_cells(lang: str, files: dict[str, str] = NOTEBOOKS) -> dict[str, str]:
    """The notebook's code, by the cells' ids."""
    cells = notebook(lang, files)["cells"]
    return {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"}


def changed(source: str, old: str, new: str) -> str:
    """`source` with one thing replaced, which must be in it exactly once."""
    assert source.count(old) == 1, f"{old!r} in:\n{source}"
    return source.replace(old, new)


# ── What can be told without running them ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lang", NOTEBOOKS)
def test_the_notebooks_are_clean(lang: str) -> None:
    """An introduction, seven code cells with a text before each, and nothing left over from somebody's own run."""
    cells = notebook(lang)["cells"]

    assert [cell["cell_type"] for cell in cells] == ["markdown"] * 2 + ["markdown", "code"] * 7
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []


@pytest.mark.parametrize("lang", NOTEBOOKS)
def test_the_notebooks_are_valid(lang: str) -> None:
    """Jupyter's own schema takes them, so every viewer does."""
    nbformat = pytest.importorskip("nbformat")

    nbformat.validate(notebook(lang))


def test_both_notebooks_run_the_same_code() -> None:
    """But for comments and the language that is asked for."""
    bare = [
        {name: ast.dump(ast.parse(_without_magic(source))) for name, source in code_cells(lang).items()}
        for lang in NOTEBOOKS
    ]
    korean = {name: code.replace("Constant(value='ko')", "Constant(value='en')") for name, code in bare[0].items()}

    assert korean == bare[1]
    assert [len(cells) for cells in bare] == [7, 7]


@pytest.mark.parametrize("lang", NOTEBOOKS)
def test_the_first_cell_installs_from_drive(lang: str) -> None:
    """By the name alone pip would take another project from PyPI."""
    (line,) = (line for line in code_cells(lang)["install"].splitlines() if line.startswith("%pip"))

    assert line == "%pip install -q /content/drive/MyDrive/notifybot/notifybot-main.zip"


@pytest.mark.parametrize("lang", NOTEBOOKS)
def test_no_secret_is_asked_for_that_nobody_can_get(lang: str) -> None:
    """The names in the texts are Slack's, which its pages show; Kakao's tokens are never shown to a person."""
    texts = "".join("".join(cell["source"]) for cell in notebook(lang)["cells"])

    assert {name for name in re.findall(r"NOTIFYBOT_\w+", texts) if "SLACK" not in name} == set()


def _without_magic(source: str) -> str:
    return "\n".join(line for line in source.splitlines() if not line.startswith("%"))


# ── A machine that may vanish ────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class World:
    """What is there whichever machine runs: Drive, the secrets, and the way to the sandbox."""

    folder: Path
    sandbox: Sandbox
    drive: Path = field(init=False)
    settings: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.drive = self.folder / "drive" / "MyDrive"
        self.drive.mkdir(parents=True)
        ours = self.sandbox.environment()
        del ours["NOTIFYBOT_KAKAO_REST_API_KEY"], ours["NOTIFYBOT_KAKAO_REFRESH_TOKEN"]  # the notebook signs in
        secrets = {name: ours.pop(name) for name in [f"NOTIFYBOT_{each}" for each in SECRETS]}
        (self.folder / "secrets.json").write_text(json.dumps(secrets))
        self.settings = {name: value for name, value in ours.items() if name.endswith("_API_URL") or "AUTH" in name}

    @property
    def saved(self) -> int:
        """How many checkpoints are whole on Drive: the manifest is written last."""
        return len(list((self.drive / "notifybot" / "digits").glob("*.pt.json")))

    @property
    def card(self) -> str:
        """What a new machine will know of the run beside its checkpoints."""
        card = self.drive / "notifybot" / "digits" / "notifybot-run.json"
        return card.read_text("utf-8") if card.exists() else ""

    def state(self) -> str:
        """All that reached somebody, for the text of a failure."""
        slack = [("reply" if each.thread_ts else "root", each.text) for each in self.sandbox.slack.messages]
        return "\n".join(map(str, [*slack, *(each.text for each in self.sandbox.kakao.messages), self.card]))

    @property
    def asked(self) -> list[str]:
        """The secrets that the browser was asked for."""
        return (self.folder / "asked.txt").read_text().split()


class Machine:
    """A Colab machine: a kernel that has Colab's package loaded, and a local disk."""

    def __init__(self, world: World, disk: Path) -> None:
        self.disk = disk
        startup = disk / "ipython" / "profile_default" / "startup"
        startup.mkdir(parents=True)
        (startup / "colab.py").write_text("import google.colab\n__import__('torch').set_num_threads(1)\n")
        (disk / "content").mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFYBOT_")}
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(
            env=kept
            | world.settings
            | {
                "COLAB_STAND_IN": str(world.folder),
                "HOME": str(disk),
                "IPYTHONDIR": str(disk / "ipython"),
                "PYTHONPATH": os.pathsep.join(map(str, [ROOT, STAND_IN, *YOLO_STAND_IN])),
            },
            cwd=str(disk / "content"),
        )
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=TIMEOUT_S)

    def run(self, cell: str, answer: Callable[[str], str | None] | None = None) -> str:
        """Run a cell to its end and return what it printed. An exception in it fails the test.

        A question in it is answered from what was printed, as soon as that tells the answer; without `answer`, to
        ask is an exception.
        """
        printed: list[str] = []

        def on_output(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        def on_question(_: dict[str, Any]) -> None:
            while answer is not None:
                found = answer("".join(printed))
                if found is not None:
                    return self.client.input(found)
                on_output(self.client.get_iopub_msg(timeout=TIMEOUT_S))  # questions overtake what was printed
            return None

        reply = self.client.execute_interactive(
            cell, output_hook=on_output, stdin_hook=on_question, timeout=TIMEOUT_S, allow_stdin=answer is not None
        )
        assert reply["content"]["status"] == "ok", "\n".join(reply["content"].get("traceback", []))
        return "".join(printed)

    def start(self, cell: str, until: str) -> str:
        """Begin a cell and return what it printed by the time it printed `until`."""
        self.client.execute(cell)
        printed = ""
        while until not in printed:
            message = self.client.get_iopub_msg(timeout=TIMEOUT_S)
            assert message["msg_type"] != "error", "\n".join(message["content"]["traceback"])
            printed += message["content"].get("text", "") if message["msg_type"] == "stream" else ""
        return printed

    def vanish(self) -> None:
        """No signal that could be caught, no goodbye, and the disk is gone."""
        process: Any = self.manager.provisioner
        os.kill(process.pid, signal.SIGKILL)
        process.process.wait(timeout=TIMEOUT_S)
        self.close()
        cut_off(self.disk)
        shutil.rmtree(self.disk)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@contextmanager
def machine(world: World, name: str) -> Iterator[Machine]:
    started = Machine(world, world.folder / name)
    try:
        yield started
    finally:
        started.close()


def ready(lang: str, here: Machine) -> dict[str, str]:
    """The cells as a student sees them, but for the number of epochs, the mount point and TensorBoard's server."""
    cells = {name: _without_magic(source) for name, source in code_cells(lang).items()}
    mount_point = here.disk / "content" / "drive"
    cells["setup"] = changed(cells["setup"], f'lang="{lang}")', f'lang="{lang}", mount_point="{mount_point}")')
    cells["train"] = changed(cells["train"], "EPOCHS = 30", f"EPOCHS = {EPOCHS}")
    return cells


class Student:
    """Answers the sign-in's questions: to oneself, the app's key, no secret, and the address where Kakao leads."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._typed = ["", REST_API_KEY, sandbox.kakao.client_secret or ""]

    def __call__(self, printed: str) -> str | None:
        if self._typed:
            return self._typed.pop(0)
        address = next((line for line in printed.splitlines() if line.startswith("http")), None)
        return address and visit(address)


STAND_STILL = """
import threading

def stand_still(run):
    if run.open_epoch == {epoch} - 1:  # its checkpoint brings along what is known by then
        while not any(owner.startswith("slack") for owner in run.session.memories(run.ref)):
            threading.Event().wait(0.02)
    elif run.open_epoch == {epoch}:
        print("standing still", flush=True)
        threading.Event().wait()
"""


def standing_still(cell: str, epoch: int) -> str:
    """The training cell, which stops in the middle of an epoch for as long as it takes to be killed.

    The epoch before waits for Slack's first answer: these epochs are shorter than that.
    """
    line = "        model.train()\n"
    return STAND_STILL.format(epoch=epoch) + changed(cell, line, f"{line}        stand_still(epochs.run)\n")


def wait_until(fact: Callable[[], bool], world: World) -> None:
    """Give the threads that save and send the time they need."""
    never, end_s = threading.Event(), SYSTEM.monotonic() + TIMEOUT_S
    while not fact():
        if SYSTEM.monotonic() > end_s:
            pytest.fail(f"did not come true:\n{inspect.getsource(fact)}\n{world.state()}")
        SYSTEM.wait(never, 0.02)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Sandbox() as sandbox:
        yield World(tmp_path, sandbox)


RESUMED = {"ko": f"재개 (에포크 {KILLED_IN - 1}에 이어서)", "en": f"resumed from epoch {KILLED_IN - 1}"}
SIGN_IN = {"ko": "카카오에 로그인해 동의하세요.", "en": "Sign in to Kakao and agree."}
FINISHED = {"ko": "✅ digits 완료", "en": "✅ digits finished"}


@pytest.mark.parametrize("lang", NOTEBOOKS)
def test_a_new_machine_goes_on_where_the_old_one_vanished(world: World, lang: str) -> None:
    """Same cells, next epoch, same thread: what is told and kept looks as if nothing had happened."""
    slack, kakao, finished = world.sandbox.slack, world.sandbox.kakao, FINISHED[lang]

    def root_of(run: str) -> SlackMessage:
        return next(root for root in slack.roots if run in root.text)

    with machine(world, "first") as first:
        cells = ready(lang, first)
        printed = [first.run(cells["setup"]), first.run(cells["kakao"], Student(world.sandbox))]
        printed += [first.run(cells[name]) for name in ("try", "data")]
        printed.append(first.start(standing_still(cells["train"], KILLED_IN), until="standing still"))
        wait_until(lambda: world.saved >= KILLED_IN and "slack" in world.card, world)
        asked = list(world.asked)
        first.vanish()
    with machine(world, "second") as second:
        cells = ready(lang, second)
        printed += [second.run(cells[name]) for name in ("setup", "kakao", "try", "data")]
        trained, shown = (second.run(cells[name]) for name in ("train", "look"))
        printed += [trained, shown]
        wait_until(lambda: finished in root_of("digits").text and finished in kakao.messages[-1].text, world)
        rows = metrics(second)
        once_more = second.run(cells["train"])
        environment = second.run("import os; print(os.environ)")

    assert epochs_of(trained) == list(range(KILLED_IN, EPOCHS))
    assert [row["epoch"] for row in rows if row["kind"] == "epoch_finished"] == list(range(EPOCHS))
    assert [row["attempt"] for row in rows if row["kind"] == "run_started"] == [1, 2]
    assert [row["status"] for row in rows if row["kind"] == "run_ended"] == ["finished"]
    assert curve(second, "val_acc") == list(range(EPOCHS))
    assert f"checkpoint_epoch{EPOCHS - 1}_" in shown
    assert [root.text.split()[1] for root in slack.roots] == ["hello-colab", "digits"]
    assert [RESUMED[lang] in reply.text for reply in slack.thread(root_of("digits").ts)].count(True) == 1
    assert SIGN_IN[lang] in printed[1], "the questions are in the notebook's language"
    assert ["hello-colab" in message.text for message in kakao.messages].count(True) == 2
    assert epochs_of(once_more) == [], "a finished training is left alone"
    assert metrics(second) == rows
    assert len(asked) == len(set(asked))
    assert world.asked == asked * 2
    shown_once = f"client_id={REST_API_KEY}&"  # the app's key is a part of the address that the browser opens
    assert "canary" not in "".join([*printed, once_more]).replace(shown_once, "") + environment
    secret = [file.name for file in world.drive.rglob("*") if file.is_file() and b"canary" in file.read_bytes()]
    assert secret == ["kakao-token.json"]


def curve(here: Machine, tag: str) -> list[int]:
    """The steps that TensorBoard draws on this machine."""
    (folder,) = {file.parent for file in (here.disk / "content" / "runs").rglob("events.out.*")}
    return [point.step for point in EventAccumulator(str(folder)).Reload().Scalars(tag)]


def epochs_of(printed: str) -> list[int]:
    """The epochs that a cell told the end of."""
    return [int(epoch) for epoch in re.findall(r"^\[digits\] \S+ (\d+) \(", printed, re.MULTILINE)]


def metrics(here: Machine) -> list[dict[str, Any]]:
    """What the JSONL tracker wrote on this machine, and was carried over from the earlier one."""
    (file,) = (here.disk / "content" / "runs").rglob("metrics.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


# ── Hugging Face's Trainer ───────────────────────────────────────────────────────────────────────────────────────────

TRAINER_STANDS_STILL = """
import threading
from transformers import TrainerCallback

class StandsStill(TrainerCallback):
    def on_epoch_begin(self, args, state, control, **kwargs):
        run = next(each for each in trainer.callback_handler.callbacks if hasattr(each, "guest")).run
        if round(state.epoch) == {epoch} - 1:  # the next checkpoint brings along what is known by then
            while not any(owner.startswith("slack") for owner in run.session.memories(run.ref)):
                threading.Event().wait(0.02)
        elif round(state.epoch) == {epoch}:
            print("standing still", flush=True)
            threading.Event().wait()

trainer.add_callback(StandsStill())
trainer.train("""


@pytest.mark.parametrize("files", [TRAINERS, YOLOS], ids=["trainer", "yolo"])
def test_the_notebooks_of_frameworks_are_clean_and_run_the_same_code(files: dict[str, str]) -> None:
    nbformat = pytest.importorskip("nbformat")
    for lang in files:
        nbformat.validate(notebook(lang, files))
        cells = notebook(lang, files)["cells"]
        assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []

    korean, english = (
        {name: ast.dump(ast.parse(_without_magic(source))) for name, source in code_cells(lang, files).items()}
        for lang in ("ko", "en")
    )
    assert {
        name: code.replace("Constant(value='ko')", "Constant(value='en')") for name, code in korean.items()
    } == english


@pytest.mark.field
@pytest.mark.parametrize("lang", TRAINERS)
def test_a_trainer_goes_on_on_a_new_machine_where_the_old_one_vanished(world: World, lang: str) -> None:
    """Same cells, the Trainer's own checkpoint, same thread."""
    slack = world.sandbox.slack
    card = world.drive / "notifybot" / "digits_trainer" / "_notifybot" / "notifybot-run.json"

    def cells_on(here: Machine) -> dict[str, str]:
        cells = {name: _without_magic(source) for name, source in code_cells(lang, TRAINERS).items()}
        mount_point = here.disk / "content" / "drive"
        cells["setup"] = changed(cells["setup"], f'lang="{lang}")', f'lang="{lang}", mount_point="{mount_point}")')
        cells["train"] = changed(cells["train"], "EPOCHS = 10", f"EPOCHS = {EPOCHS}")
        return cells

    with machine(world, "first") as first:
        cells = cells_on(first)
        for name in ("setup", "data"):
            first.run(cells[name])
        still = TRAINER_STANDS_STILL.format(epoch=KILLED_IN)
        first.start(changed(cells["train"], "trainer.train(", still), until="standing still")
        wait_until(lambda: card.exists() and "slack" in card.read_text(), world)
        first.vanish()
    with machine(world, "second") as second:
        cells = cells_on(second)
        printed = [second.run(cells[name]) for name in ("setup", "data", "train", "look")]
        wait_until(lambda: any(FINISHED[lang] in root.text for root in slack.roots), world)

    assert len([root for root in slack.roots if "digits" in root.text]) == 1
    assert "checkpoint-" in printed[-1]


# ── Ultralytics ──────────────────────────────────────────────────────────────────────────────────────────────────────

YOLO_STANDS_STILL = """notify = add_to(model, "digits", config=colab.config)
import threading

def stand_still(trainer):
    if trainer.epoch == {epoch} - 1:  # the next weights bring along what is known by then
        while not any(owner.startswith("slack") for owner in notify.run.session.memories(notify.run.ref)):
            threading.Event().wait(0.02)
    elif trainer.epoch == {epoch}:
        print("standing still", flush=True)
        threading.Event().wait()

model.add_callback("on_train_batch_end", stand_still)
"""


def is_copied(folder: Path) -> bool:
    """All that was told before the kernel stands still."""
    card = folder / "notifybot-run.json"
    rows = "".join(path.read_text() for path in folder.glob("runs/**/metrics.jsonl"))
    return card.exists() and "slack" in card.read_text() and f'"epoch": {KILLED_IN}' in rows


@pytest.mark.field
@pytest.mark.parametrize("lang", YOLOS)
def test_yolo_goes_on_on_a_new_machine_where_the_old_one_vanished(
    world: World, lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same cells, Ultralytics' own weights, same thread: by the package where it is installed, else by our stand-in."""
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    mount_point = world.folder / "mount"  # the same on every machine, as on Colab: Ultralytics keeps it in its weights
    kept = world.drive / "notifybot" / "digits_yolo" / "_notifybot"  # a thread copies there, in its own time
    cells = {name: _without_magic(source) for name, source in code_cells(lang, YOLOS).items()}
    cells["setup"] = changed(cells["setup"], f'lang="{lang}")', f'lang="{lang}", mount_point="{mount_point}")')
    cells["train"] = changed(cells["train"], "EPOCHS = 10", f"EPOCHS = {EPOCHS}")
    cells["train"] = changed(cells["train"], "yolo11n-cls.pt", "yolo11n-cls.yaml")  # no weights are fetched
    still = YOLO_STANDS_STILL.format(epoch=KILLED_IN)

    with machine(world, "first") as first:
        for name in ("setup", "data"):
            first.run(cells[name])
        added = 'add_to(model, "digits", config=colab.config)\n'
        first.start(changed(cells["train"], added, still), until="standing still")
        wait_until(lambda: is_copied(kept), world)
        first.vanish()
    mount_point.unlink()
    with machine(world, "second") as second:
        for name in ("setup", "data", "train"):
            second.run(cells[name])
        wait_until(lambda: any(FINISHED[lang] in root.text for root in world.sandbox.slack.roots), world)
        rows, once_more, shown = metrics(second), second.run(cells["train"]), second.run(cells["look"])

    assert len([root for root in world.sandbox.slack.roots if "digits" in root.text]) == 1
    assert [row["epoch"] for row in rows if row["kind"] == "epoch_finished"] == list(range(1, EPOCHS + 1))
    assert [row["attempt"] for row in rows if row["kind"] == "run_started"] == [1, 2]
    assert "[digits]" not in once_more, "a finished training is left alone"
    assert "last.pt" in shown
