"""Shared by all tests: a clean environment, a moved clock, and no network but loopback."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from notifybot.errors import READER
from notifybot.testing import FakeClock

_USUAL: dict[str, Any] = {"SIGINT": signal.default_int_handler, "SIGQUIT": signal.SIG_DFL, "SIGHUP": signal.SIG_DFL}
_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


def pytest_configure() -> None:
    """Take no signal for ignored that `nohup` or a shell's `&` has ignored: programs that tests start inherit that."""
    for name, usual in _USUAL.items():
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine reaches a test; state goes to the test's own folder."""
    for name in list(os.environ):
        if name.startswith(("NOTIFYBOT_", "WANDB_", "SLURM_", "OMPI_")) or name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NOTIFYBOT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("NOTIFYBOT_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("NOTIFYBOT_LANG", "en")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(autouse=True)
def reader_of_english(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that one test made in Korean do not make another test's errors Korean."""
    monkeypatch.setattr(READER, "language_of_settings", None)


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anywhere but this machine fails the test that made it."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(_LOOPBACK):
            raise ConnectionRefusedError(f"tests may not connect to {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
