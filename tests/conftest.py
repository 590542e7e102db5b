"""Shared by all tests: a clean environment, a moved clock, only loopback as network, and what waits for PyTorch."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import signal
import socket
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as profiles

from notifybot import redaction
from notifybot.errors import READER
from notifybot.i18n import OVERRIDES
from notifybot.testing import FakeClock

if TYPE_CHECKING:
    from notifybot.sandbox import Sandbox

_USUAL: dict[str, Any] = {"SIGINT": signal.default_int_handler, "SIGQUIT": signal.SIG_DFL, "SIGHUP": signal.SIG_DFL}
_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


def pytest_configure() -> None:
    """Let neither a busy machine nor the shell that started us fail a test.

    Hypothesis gives an example 200 ms unless told otherwise. A signal that `nohup` or a shell's `&` has ignored is
    ignored by the programs that tests start, too. PyTorch's threads, one for each core in every process, would wait for
    each other by spinning: models of a few weights gain nothing from them.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    usual_profile = profiles.get_profile(profiles.get_current_profile_name())  # "ci" where CI is set: the same examples
    profiles.register_profile("house", usual_profile, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    profiles.load_profile("house")
    for name, usual in _USUAL.items():
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


# ── Without PyTorch: `make test-core` ────────────────────────────────────────────────────────────────────────────────


def _absent(module: str) -> bool:
    """A bare folder of that name, such as the `wandb` that W&B leaves in the working folder, has no origin."""
    spec = importlib.util.find_spec(module)
    return spec is None or spec.origin is None


_CORE = _absent("torch")  # with torch everything must be there, and nothing is left out


def _missing_extras() -> set[str]:
    """The modules of our extras that are not installed; scikit-learn is the one whose module has another name."""
    named = {re.split(r"[^\w-]", each, maxsplit=1)[0] for each in metadata.requires("notifybot") or ()} - {"notifybot"}
    modules = {"sklearn" if each == "scikit-learn" else each.lower().replace("-", "_") for each in named}
    return {each for each in modules if _absent(each)}


def _refuse_bare_folders() -> None:
    """Importing one would succeed, and the tests that need the package run without it."""
    for each in _missing_extras():
        if importlib.util.find_spec(each) is not None:
            sys.modules[each] = None  # type: ignore[assignment]  # the import system's own way to say so


if _CORE:
    _refuse_bare_folders()


class _PartlyInstalled(pytest.Module):
    """A module of tests that is left out when it imports what is not installed, itself or by its helpers."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            return super().collect()
        except self.CollectError as error:
            cause = error.__cause__
            if not isinstance(cause, ModuleNotFoundError) or not cause.name or cause.name.startswith("notifybot"):
                raise
            pytest.skip(f"{cause.name} is not installed", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return _PartlyInstalled.from_parent(parent, path=module_path) if _CORE else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the tests that import what is missing: in their own lines, in a script that they run, or by `needs`."""
    if not _CORE:
        return
    missing = _missing_extras()
    imported = re.compile(
        rf"^\s*(?:import\s+(?:[^\n,]+,\s*)*|from\s+)({'|'.join(sorted(missing)) or '(?!)'})\b", re.MULTILINE
    )
    for item in items:
        needed = {name for mark in item.iter_markers("needs") for name in mark.args if _absent(name)}
        texts = _texts(item.function, set()) if isinstance(item, pytest.Function) else ()
        needed |= {name for text in texts for name in imported.findall(text)}
        if needed:
            item.add_marker(pytest.mark.skip(reason=f"{', '.join(sorted(needed))} is not installed"))


def _texts(of: Any, seen: set[str]) -> Iterator[str]:
    """The lines of a test, with those of the functions and the scripts of its module that it names."""
    if isinstance(of, str):
        yield of
        return
    function = inspect.unwrap(of)
    if not isinstance(function, FunctionType):
        return
    yield inspect.getsource(function)
    for name in {*function.__code__.co_names, *inspect.signature(function).parameters} - seen:
        seen.add(name)
        other = function.__globals__.get(name)
        if isinstance(other, str) or getattr(other, "__module__", None) == function.__module__:
            yield from _texts(other, seen)


# ── Around every test ────────────────────────────────────────────────────────────────────────────────────────────────


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
    OVERRIDES.use(None)


@pytest.fixture(autouse=True)
def no_run_left_open() -> Iterator[None]:
    """A run that a test leaves open, as by a loop it never goes on with, is not the next test's innermost open run."""
    yield
    from notifybot.training.endings import ENDINGS  # not for every test to import

    for run in list(ENDINGS._open):
        ENDINGS.ended(run, 0.0)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Settings of runs that keep their files in the test's folder and write to no tracker. They end with the test."""
    yield {
        "state_dir": str(tmp_path / "state"),
        "runs_dir": str(tmp_path / "runs"),
        "tensorboard": "off",
        "wandb": "off",
    }
    from notifybot.training.signals import SIGNALS  # not for every test to import
    from tests.support.training_runs import end_runs

    end_runs()
    SIGNALS.forget()


@pytest.fixture(autouse=True)
def own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that one test registers, such as a token of many x, is not struck out of another test's texts."""
    monkeypatch.setattr(redaction, "_forms", {})


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


@pytest.fixture
def wandb_offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """W&B reads its settings once per process: such a test begins and ends without its service."""
    import wandb  # not for every test to import

    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield
    wandb.teardown()


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run of the tests that its workers, where there are some, have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture
def sandbox(clock: FakeClock) -> Iterator[Sandbox]:
    """Slack and KakaoTalk on loopback, by the moved clock."""
    from notifybot.sandbox import Sandbox  # its server is not for every test to import

    with Sandbox(clock=clock) as opened:
        yield opened
