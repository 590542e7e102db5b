"""What is told of the machine: read from the kernel's own files, and never at the cost of the run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from notifybot.model import uuid7
from notifybot.training.describe import session_after, this_host


def told_by(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_memory_and_uptime_are_the_kernels() -> None:
    """The machine that runs this test has both, where it is Linux."""
    host = this_host()

    if Path("/proc/meminfo").exists():
        assert host.memory_bytes is not None
        assert host.memory_bytes > 2**26
        assert host.up_s is not None
        assert host.up_s > 0
    assert host.pid > 0


def test_memory_is_in_bytes_and_uptime_in_seconds(tmp_path: Path) -> None:
    proc = told_by(tmp_path, meminfo="MemTotal:       13290480 kB\nMemFree: 1 kB\n", uptime="10980.55 19714.17\n")

    host = this_host(proc)

    assert (host.memory_bytes, host.up_s) == (13_609_451_520, 10_980.55)


@pytest.mark.parametrize(
    "text", ["", "MemTotal: many kB\n", "\x00\xff", "nan inf\n", "-5 3\n", f"MemTotal: {'9' * 5000} kB\n", "9" * 5000]
)
def test_what_cannot_be_read_is_unknown(tmp_path: Path, text: str) -> None:
    host = this_host(told_by(tmp_path, meminfo=text, uptime=text))

    assert (host.memory_bytes, host.up_s) == (None, None)


def test_a_system_without_proc_is_described_all_the_same(tmp_path: Path) -> None:
    host = this_host(tmp_path / "nowhere")

    assert (host.memory_bytes, host.up_s) == (None, None)
    assert host.python


def test_the_accelerator_is_named_without_opening_it(tmp_path: Path) -> None:
    card = tmp_path / "driver/nvidia/gpus/0000:00:04.0"
    card.mkdir(parents=True)
    (card / "information").write_text("Model: \t\t Tesla T4\nIRQ: 33\n")

    assert this_host(tmp_path).device.endswith("T4")


@pytest.mark.parametrize("ahead_s", [0, 3600, 10 * 365 * 86400])
def test_a_new_session_sorts_after_the_one_before_it(ahead_s: int) -> None:
    """Also where the machine before had a clock that was ahead; the newer one must win."""
    earlier = uuid7(time.time() + ahead_s)

    assert session_after(earlier) > earlier


def test_a_session_that_nobody_wrote_is_no_reason_to_fail() -> None:
    """The card may have been edited."""
    assert len(session_after("zzz")) == 36
