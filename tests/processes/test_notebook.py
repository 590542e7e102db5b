"""The endings table in a real Jupyter kernel, driven as Colab drives it."""

from __future__ import annotations

import os
import signal
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ipykernel")
from jupyter_client.manager import KernelManager

TIMEOUT_S = 40


class Notebook:
    """A kernel that runs one cell after the other."""

    def __init__(self, workplace: Any) -> None:
        self.workplace = workplace
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(
            env=workplace.environment | {"IPYTHONDIR": str(workplace.folder / "ipython")},
            cwd=str(workplace.folder),
        )
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=TIMEOUT_S)
        self.printed = ""

    def run(self, cell: str, *, when: str = "", then: Callable[[], None] | None = None) -> dict[str, Any]:
        """Run a cell and return the kernel's reply; call `then` once the cell has printed `when`."""
        waiting = then
        self.printed = ""

        def on_output(message: dict[str, Any]) -> None:
            nonlocal waiting
            if message["msg_type"] == "stream":
                self.printed += message["content"]["text"]
            if waiting is not None and when in self.printed:
                called, waiting = waiting, None
                called()

        reply = self.client.execute_interactive(
            textwrap.dedent(cell), output_hook=on_output, timeout=TIMEOUT_S, allow_stdin=False
        )
        content: dict[str, Any] = reply["content"]
        return content

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@contextmanager
def notebook(workplace: Any) -> Iterator[Notebook]:
    opened = Notebook(workplace)
    try:
        yield opened
    finally:
        opened.close()


WITH = """
from notifybot import notify_epoch
with notify_epoch(range(3), name="cell") as epochs:
    for epoch in epochs:
        epochs.log(loss=1.0)
        {body}
"""
BARE = """
from notifybot import notify_epoch
for epoch in notify_epoch(range(3), name="cell"):
    {body}
"""
HANG = "print('go', flush=True) or __import__('threading').Event().wait(30)"


@pytest.mark.parametrize("form", [WITH, BARE], ids=["with", "bare"])
def test_a_cell_ends_as_its_loop_does(workplace: Any, form: str) -> None:
    with notebook(workplace) as cells:
        cells.run(form.format(body="pass"))
        assert workplace.endings == ["finished"]
        cells.run(form.format(body="if epoch == 1: break"))
        assert workplace.endings[1:] == ["stopped"]
        reply = cells.run(form.format(body="if epoch == 1: raise ValueError('boom')"))
        assert (reply["ename"], workplace.endings[2:]) == ("ValueError", ["failed"])
        reply = cells.run(form.format(body=HANG), when="go", then=cells.manager.interrupt_kernel)
        assert (reply["ename"], workplace.endings[3:]) == ("KeyboardInterrupt", ["interrupted"])
        cells.run("1 / 0")
        cells.run(form.format(body="pass"))
        assert workplace.endings[4:] == ["finished"]

    failed = workplace.events("run_ended")[2]
    assert failed["error"] == "ValueError: boom [epoch 1]"
    assert failed["frames"].startswith("notebook cell:")
    assert "raise ValueError('boom')" in failed["frames"]
    assert {event["run"]["name"] for event in workplace.events()} == {"cell"}


def test_an_exception_caught_in_the_cell_leaves_a_bare_loop_stopped(workplace: Any) -> None:
    with notebook(workplace) as cells:
        cells.run(
            """
            from notifybot import notify_epoch
            try:
                for epoch in notify_epoch(range(3)):
                    raise ValueError("handled")
            except ValueError:
                print("went on")
            """
        )

    assert workplace.endings == ["stopped"]
    assert workplace.events("run_ended")[0]["run"]["name"] == "notebook"


def test_nothing_of_ours_stays_hooked_after_a_run(workplace: Any) -> None:
    with notebook(workplace) as cells:
        cells.run("import sys, signal; ip = get_ipython(); hook = sys.excepthook")
        cells.run("count = len(ip.events.callbacks['post_run_cell'])")
        cells.run(WITH.format(body="pass"))
        cells.run(BARE.format(body="break"))
        cells.run(
            "print(len(ip.events.callbacks['post_run_cell']) == count, sys.excepthook == hook, "
            "signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"
        )

        assert cells.printed == "True True True\n"


@pytest.mark.parametrize("form", [WITH, BARE], ids=["with", "bare"])
def test_restarting_the_runtime_during_a_cell_is_interrupted(workplace: Any, form: str) -> None:
    with notebook(workplace) as cells:
        message = cells.client.execute(form.format(body=HANG))
        while cells.client.get_iopub_msg(timeout=TIMEOUT_S)["content"].get("text") != "go\n":
            pass
        cells.manager.restart_kernel(now=False)
        cells.client.wait_for_ready(timeout=TIMEOUT_S)
        assert message

        assert workplace.endings == ["interrupted"]


def test_terminating_the_kernel_inside_with_is_interrupted(workplace: Any) -> None:
    with notebook(workplace) as cells:
        cells.client.execute(WITH.format(body=HANG))
        while cells.client.get_iopub_msg(timeout=TIMEOUT_S)["content"].get("text") != "go\n":
            pass
        process: Any = cells.manager.provisioner
        os.kill(process.pid, signal.SIGTERM)
        process.process.wait(timeout=10)

        assert process.process.returncode == -signal.SIGTERM
        assert workplace.endings == ["interrupted"]


def test_an_open_run_of_an_idle_kernel_is_stopped_when_it_shuts_down(workplace: Any) -> None:
    with notebook(workplace) as cells:
        cells.run("from notifybot import notify_epoch; loop = iter(notify_epoch(range(3))); next(loop)")
        cells.manager.shutdown_kernel(now=False)

    assert workplace.endings == ["stopped"]
    assert Path(workplace.database).exists()
