"""What is told of the machine: read from the kernel's own files, and never at the cost of the run."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from notifybot.events import MOST_PARAMS
from notifybot.training.run_info import params_of, session_after, this_host
from notifybot.types import uuid7


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


@dataclass
class Optimizer:
    name: str = "adam"
    lr: float = 0.1


@dataclass
class Settings:
    seed: int = 3
    optimizer: Optimizer = field(default_factory=Optimizer)


class Foreign:
    def __repr__(self) -> str:
        return "Foreign(token='canary', size=3)"


@pytest.mark.parametrize(
    ("params", "stored"),
    [
        pytest.param(Settings(), {"seed": 3, "optimizer.name": "adam", "optimizer.lr": 0.1}, id="dataclass"),
        pytest.param(Namespace(a=1, b=Namespace(c=2)), {"a": 1, "b.c": 2}, id="namespace"),
        pytest.param({"a": {"b": {"c": None}}, "d": {}}, {"a.b.c": None, "d": "{}"}, id="mapping"),
        pytest.param({"layers": [{"n": 1}, {"n": 2}]}, {"layers.0.n": 1, "layers.1.n": 2}, id="list of mappings"),
        pytest.param({"sizes": [1, 2], "betas": (0.9, 0.99)}, {"sizes": "[1, 2]", "betas": "(0.9, 0.99)"}, id="list"),
        pytest.param({"wandb": {"api_key": "canary"}}, {"wandb.api_key": "[redacted]"}, id="secret"),
        pytest.param({"credentials": {"user": "canary"}}, {"credentials.user": "[redacted]"}, id="all below a secret"),
        pytest.param({"f": Foreign()}, {"f": "Foreign(token='[redacted]', size=3)"}, id="somebody's repr"),
        pytest.param({"token": 5, "use_auth_token": True}, {"token": 5, "use_auth_token": True}, id="numbers stay"),
    ],
)  # fmt: skip
def test_parameters_are_stored_flat(params: object, stored: dict[str, object]) -> None:
    assert params_of(params) == stored


def test_more_parameters_than_anybody_reads_are_counted() -> None:
    stored = params_of({"a": {f"p{each}": each for each in range(500)}})

    assert len(stored) == MOST_PARAMS
    assert list(stored.items())[-2:] == [("a.p198", 198), ("…", "+301")]


def test_a_circle_of_parameters_ends() -> None:
    circle: dict[str, object] = {"lr": 0.1}
    circle["self"] = circle

    assert params_of(circle)["lr"] == 0.1


class Closed:
    """Somebody's object whose text cannot be had: a lazy proxy, a handle that is closed."""

    def __repr__(self) -> str:
        raise RuntimeError("closed")


def _ring() -> list[object]:
    ring: list[object] = [1]
    ring.append(ring)
    return ring


def _deep() -> dict[str, object]:
    deep: dict[str, object] = {}
    for _ in range(200_000):  # more than any Python's `repr` follows: 3.12 and later go deeper than the recursion limit
        deep = {"a": deep}
    return deep


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        pytest.param(Closed(), {"lr": 0.1, "x": "(Closed)"}, id="no text"),
        pytest.param([Closed()], {"lr": 0.1, "x": "(list)"}, id="within a list"),
        pytest.param(_ring(), {"lr": 0.1, "x": "[1, [...]]"}, id="a list within itself"),
        pytest.param(_deep(), {"lr": 0.1, f"x{'.a' * 8}": "(dict)"}, id="nested without end"),
        pytest.param(10**5000, {"lr": 0.1, "x": "(int)"}, id="more digits than Python writes"),
    ],
)
def test_a_parameter_that_cannot_be_written_costs_itself_alone(value: object, stored: dict[str, object]) -> None:
    """`params=vars(args)` holds whatever a program keeps there, and the training is to begin all the same."""
    assert params_of({"lr": 0.1, "x": value}) == stored


def test_omegaconfs_containers_are_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with the names of the real one: `DictConfig`, `ListConfig`, `to_container`, and its error's root."""

    class BaseError(Exception):
        pass

    class DictConfig:
        def __init__(self, content: dict[str, object]) -> None:
            self.content = content

    def to_container(config: DictConfig, *, resolve: bool) -> dict[str, object]:
        if resolve and "${" in str(config.content):
            raise BaseError
        return config.content

    module = SimpleNamespace(
        DictConfig=DictConfig,
        ListConfig=type("ListConfig", (), {}),
        OmegaConf=SimpleNamespace(to_container=to_container),
        errors=SimpleNamespace(OmegaConfBaseException=BaseError),
    )
    monkeypatch.setitem(sys.modules, "omegaconf", module)

    assert params_of(DictConfig({"opt": {"lr": 0.1}})) == {"opt.lr": 0.1}
    assert params_of({"cfg": DictConfig({"path": "${env}/x"})}) == {"cfg.path": "${env}/x"}
