"""What a checkpoint can hold and in what form, and what is refused when it is read."""

from __future__ import annotations

import argparse
import copy
import io
import os
import pickle
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from notifybot.checkpoints.serialization import TAG, check_torch, from_plain, read_payload, write_payload
from notifybot.checkpoints.state import Parts
from notifybot.errors import READER, CheckpointError, UsageError
from tests.support.training_parts import Kept, network, same, written

pytestmark = pytest.mark.usefixtures("one_thread")


# What it can hold

_NUMPY = numpy.arange(6, dtype=">i2").reshape(2, 3)
_PLAIN = [
    (numpy.float64(0.1), "numpy.float64"),
    (numpy.bool_(True), "numpy.bool"),
    (numpy.datetime64("2026-01-02"), "numpy.datetime64"),
    (Path("a") / "b", "pathlib"),
    (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "datetime"),
    (date(2026, 1, 2), "date"),
    (timedelta(days=1, microseconds=5), "timedelta"),
    (argparse.Namespace(lr=0.1, path=Path("x")), "Namespace"),
    (deque([1, 2], maxlen=3), "deque"),
    (frozenset({1, 2}), "frozenset"),
    ({1, 2}, "set"),
    (Counter("hello"), "Counter"),
    (OrderedDict(b=1, a=2), "OrderedDict"),
    ((1, (2, [3.0, None])), "tuple"),
    (torch.float16, "dtype"),
    (torch.Size([1, 2]), "Size"),
    (2**200, "a large int"),
    (bytearray(b"\x00\xff"), "bytearray"),
    ({"nested": {TAG: "path"}}, "our own tag"),
]


@pytest.mark.parametrize("value", [each[0] for each in _PLAIN], ids=[each[1] for each in _PLAIN])
def test_values_come_back_as_they_were(value: Any, tmp_path: Path) -> None:
    """What a safe load refuses is written as something it accepts, and restored as the type it was."""
    part = Kept({"value": value})
    parts = Parts(model=nn.Identity(), extra={"part": part})
    payload = read_payload(written(parts.capture(), tmp_path / "a.pt"))
    part.state = None

    parts.restore(payload)

    assert part.state == {"value": value}
    assert type(part.state["value"]) is type(value)


def test_arrays_come_back_with_their_type_and_shape(tmp_path: Path) -> None:
    """NumPy arrays keep shape and byte order, and belong to the part alone."""
    frozen = _NUMPY.copy()
    frozen.flags.writeable = False
    part = Kept({"array": _NUMPY, "frozen": frozen, "none": numpy.zeros((0, 2)), "point": numpy.array(3.0)})
    parts = Parts(model=nn.Identity(), extra={"part": part})
    before = copy.deepcopy(part.state)
    payload = read_payload(written(parts.capture(), tmp_path / "a.pt"))

    parts.restore(payload)

    for name, array in before.items():
        assert part.state[name].dtype == array.dtype
        assert part.state[name].shape == array.shape
        assert numpy.array_equal(part.state[name], array)
    part.state["array"][0, 0] = 7


def test_a_defaultdict_keeps_its_factory(tmp_path: Path) -> None:
    """A defaultdict of a built-in type is one again."""
    part = Kept(defaultdict(list, {"a": [1]}))
    parts = Parts(model=nn.Identity(), extra={"part": part})

    parts.restore(read_payload(written(parts.capture(), tmp_path / "a.pt")))

    assert part.state == {"a": [1]}
    assert part.state["new"] == []


class Odd:
    pass


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [1, {"b": Odd()}]}, "extra_state_dicts.part.a[1].b holds"),
        ({"a": lambda: 1}, "extra_state_dicts.part.a holds"),
        ({Odd: 1}, "extra_state_dicts.part has the key"),
        ({"a": defaultdict(lambda: 1)}, "extra_state_dicts.part.a is a defaultdict"),
        ({"a": numpy.array([Odd()])}, "extra_state_dicts.part.a holds a NumPy value of dtype object"),
        ({"a": torch.empty(3, device="meta")}, "extra_state_dicts.part.a is on the meta device"),
        ({"a": torch.eye(2).to_sparse()}, "extra_state_dicts.part.a is a sparse"),
    ],
    ids=["a class", "a function", "a key", "a factory", "objects", "meta", "sparse"],
)
def test_what_cannot_be_saved_is_named_before_the_training(value: Any, where: str) -> None:
    """`check` and `capture` name the exact place of a value that would not load again."""
    parts = Parts(model=nn.Identity(), extra={"part": Kept(value)})

    for attempt in (parts.check, parts.capture):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert str(caught.value).startswith(where)


def test_a_state_that_holds_itself_is_named() -> None:
    """A circle is an error with a place, and not an endless walk."""
    circle: dict[str, Any] = {}
    circle["me"] = circle

    with pytest.raises(UsageError, match=r"extra_state_dicts\.part\.me.*holds itself"):
        Parts(model=nn.Identity(), extra={"part": Kept(circle)}).check()


def test_the_file_holds_nothing_that_would_not_load(tmp_path: Path) -> None:
    """A value that the caller adds is checked as well, when it is written and not when it is needed."""
    with pytest.raises(UsageError, match=r"checkpoint\.run\.at"):
        write_payload({"run": {"at": Odd()}}, io.BytesIO())


# The file


class Spy:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


def bare_pickle(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=2))


@pytest.mark.parametrize("save", [torch.save, bare_pickle], ids=["in a zip", "a bare pickle"])
@pytest.mark.parametrize("forced", ["", "1"], ids=["as usual", "unsafe loads asked for"])
def test_a_hostile_file_is_refused_and_runs_nothing(
    save: Callable[[Any, Path], None], forced: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle with a side effect is a CheckpointError, and the side effect does not happen."""
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", forced)
    trap = tmp_path / "trap"
    save({"model_state_dict": Spy(trap)}, tmp_path / "a.pt")

    with pytest.raises(CheckpointError, match=r"a\.pt is refused, and nothing of it was run: it holds posix\.mkdir"):
        read_payload(tmp_path / "a.pt")
    assert not trap.exists()


def test_a_pickled_whole_model_is_refused(tmp_path: Path) -> None:
    """A file of `torch.save(model)` is code, and refused with what it holds."""
    torch.save(network(), tmp_path / "a.pt")

    with pytest.raises(CheckpointError, match=r"refused.*torch\.nn\.modules"):
        read_payload(tmp_path / "a.pt")


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda _: b"", "is empty or cut short"),
        (truncated, "is cut short|is damaged"),
        (lambda _: b"not a checkpoint at all", "refused|damaged"),
        (lambda content: content[:64] + bytes(64) + content[128:], "damaged|refused"),
        (lambda _: struct.pack("<Q", 4) + b"{}  ", "damaged|refused"),
        (lambda _: pickle.dumps([1], protocol=2), "damaged|refused|holds list"),
    ],
    ids=["empty", "truncated", "text", "a hole at the start", "safetensors", "a list"],
)
def test_what_is_no_checkpoint_is_one_clear_error(spoil: Callable[[bytes], bytes], words: str, tmp_path: Path) -> None:
    """Whatever is wrong with a file, the reader raises CheckpointError with its name."""
    path = written(Parts(model=network()).capture(), tmp_path / "a.pt")
    path.write_bytes(spoil(path.read_bytes()))

    with pytest.raises(CheckpointError, match=rf"a\.pt.*({words})"):
        read_payload(path)


def test_an_error_that_says_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's KeyError has a number for its text; a person gets its kind as well, in their language."""
    (tmp_path / "a.pt").write_bytes(b"hello")
    monkeypatch.setattr(READER, "language_of_settings", "ko")

    with pytest.raises(CheckpointError) as caught:
        read_payload(tmp_path / "a.pt")

    assert str(caught.value).endswith("a.pt: 손상되었거나 PyTorch 체크포인트가 아닙니다: KeyError: 101")


def test_a_missing_file_and_a_foreign_content_are_named(tmp_path: Path) -> None:
    """A path without a file, and a file without a dict, are told apart."""
    with pytest.raises(CheckpointError, match=r"a\.pt cannot be read: No such file"):
        read_payload(tmp_path / "a.pt")
    torch.save(torch.zeros(3), tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match=r"b\.pt: it holds Tensor, not a dict"):
        read_payload(tmp_path / "b.pt")


@pytest.mark.parametrize(
    "payload", [{}, {"model_state_dict": 3}, {"model_state_dict": None}, {"model_state_dict": {1: 2}}], ids=str
)
def test_a_dict_without_weights_is_refused(payload: dict[str, Any]) -> None:
    """A payload that holds no weights says so."""
    with pytest.raises(CheckpointError, match=r"model: .*(model_state_dict|no text)"):
        Parts(model=network()).restore(payload)


@pytest.mark.parametrize(
    "value",
    [
        {TAG: "no such kind", "value": 1},
        {TAG: ["not", "text"], "value": 1},
        {TAG: "path"},
        {TAG: "datetime", "value": "yesterday"},
        {TAG: "numpy.array", "dtype": "O", "shape": [1], "value": torch.zeros(8, dtype=torch.uint8)},
        {TAG: "numpy.array", "dtype": "<f8", "shape": [9], "value": torch.zeros(8, dtype=torch.uint8)},
    ],
    ids=["kind", "no text", "no value", "value", "objects", "shape"],
)
def test_malformed_tags_are_an_error_of_the_checkpoint(value: Any) -> None:
    """A tag that says what cannot be is a CheckpointError."""
    with pytest.raises(CheckpointError, match="malformed"):
        from_plain({"a": [value]})


@pytest.mark.parametrize(
    ("version", "accepted"),
    [("2.5.1", False), ("2.9.1+cu128", False), ("1.13", False), ("2.10.0", True), ("2.10.0a0+git1", True),
     ("2.13.0+cpu", True), ("3.0", True)],
)  # fmt: skip
def test_an_old_pytorch_is_refused_with_the_reason(version: str, accepted: bool) -> None:
    """A PyTorch that a checkpoint can take over is refused, with the flaw and the remedy."""
    if accepted:
        check_torch(version)
        return
    with pytest.raises(CheckpointError, match=r"CVE-2025-32434.*CVE-2026-24747.*Install torch>=2\.10"):
        check_torch(version)


def test_an_old_pytorch_neither_reads_nor_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal comes before the file is opened, and before the first epoch."""
    path = written(Parts(model=network()).capture(), tmp_path / "a.pt")
    monkeypatch.setattr(torch, "__version__", "2.9.1")

    with pytest.raises(CheckpointError, match=r"2\.9\.1"):
        read_payload(path)
    with pytest.raises(CheckpointError, match=r"2\.9\.1"):
        Parts(model=network())


class Full(io.RawIOBase):
    """A disk that is full after so many bytes, and takes at most a thousand at once."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.content = b""

    def write(self, content: Any) -> int:
        if len(self.content) >= self.room:
            raise OSError(28, "No space left on device")
        part = bytes(content)[:1000]
        self.content += part
        return len(part)


@pytest.mark.parametrize("room", [0, 1, 5_000, 40_000])
def test_a_full_disk_is_its_own_error(room: int) -> None:
    """An error of the file comes out as itself, not as one of the writer that met it."""
    payload = Parts(model=nn.Linear(100, 100)).capture()

    with pytest.raises(OSError, match="No space left"):
        write_payload(payload, Full(room))  # type: ignore[arg-type]


def test_a_file_that_takes_a_part_gets_the_rest(tmp_path: Path) -> None:
    """A raw file that writes less than it is given still ends up whole."""
    payload = Parts(model=nn.Linear(100, 100)).capture()
    file = Full(10**9)

    write_payload(payload, file)  # type: ignore[arg-type]

    (tmp_path / "a.pt").write_bytes(file.content)
    assert same(read_payload(tmp_path / "a.pt")["model_state_dict"], payload["model_state_dict"])
