"""Exceptions and stacks in words."""

from __future__ import annotations

import linecache
import threading

import pytest

from notifybot import redaction
from notifybot.rendering.text import redacted, redacted_line
from notifybot.training.tracebacks import FRAMES, describe, is_user_code, thread_stack


def caught(error: Exception, cause: BaseException | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as raised:  # noqa: BLE001  it is raised just to be caught
        return raised


class Weird(Exception):
    def __str__(self) -> str:
        raise RuntimeError("unreadable")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(ValueError("boom"), "ValueError: boom", id="plain"),
        pytest.param(ValueError(), "ValueError", id="no text"),
        pytest.param(KeyError("x"), "KeyError: 'x'", id="key"),
        pytest.param(ValueError("two\n  lines"), "ValueError: two lines", id="lines"),
        pytest.param(threading.BrokenBarrierError("b"), "threading.BrokenBarrierError: b", id="qualified"),
        pytest.param(ValueError("\ud800"), "ValueError: ?", id="half a character"),
    ],
)
def test_an_exception_is_its_type_and_its_text(error: BaseException, expected: str) -> None:
    assert describe(error).error == expected


def test_an_exception_without_readable_text_is_still_named() -> None:
    assert describe(Weird()).error.endswith("Weird: (its text cannot be read)")


def test_a_long_text_is_cut() -> None:
    assert len(describe(ValueError("x" * 10_000)).error) < 520


def test_the_root_cause_is_said() -> None:
    inner = caught(KeyError("shape"), OSError("disk full"))
    error = caught(RuntimeError("step failed"), inner)

    assert describe(error).error == "RuntimeError: step failed (caused by OSError: disk full)"


def test_an_implicit_cause_is_said_and_a_suppressed_one_is_not() -> None:
    def fail(*, suppressed: bool) -> BaseException:
        try:
            try:
                raise OSError("first")
            except OSError:
                if suppressed:
                    raise ValueError("second") from None
                raise ValueError("second")  # noqa: B904  the implicit form is what is tested
        except ValueError as raised:
            return raised

    assert describe(fail(suppressed=False)).error == "ValueError: second (caused by OSError: first)"
    assert describe(fail(suppressed=True)).error == "ValueError: second"


def test_the_first_of_a_group_is_said() -> None:
    group = ExceptionGroup("many", [ValueError("one"), KeyError("two")])

    assert describe(group).error == "ExceptionGroup: many (2 sub-exceptions) (caused by ValueError: one)"


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first

    assert describe(first).error.startswith("ValueError: a")


def test_the_last_frames_of_user_code_are_shown_and_no_locals() -> None:
    def deep(level: int) -> None:
        hidden = "value of a local"
        if level == 0:
            raise ValueError(len(hidden))
        deep(level - 1)

    try:
        deep(10)
    except ValueError as error:
        lines = describe(error).frames.splitlines()

    assert len(lines) == 2 * FRAMES
    assert lines[-2].startswith("tests/training/test_tracebacks.py:") or lines[-2].startswith(
        "test_training_failure.py:"
    )
    assert lines[-2].endswith(" in deep")
    assert lines[-1] == "    raise ValueError(len(hidden))"
    assert "value of a local" not in "\n".join(lines)


def test_frames_of_the_library_are_left_out() -> None:
    try:
        threading.Semaphore(-1)
    except ValueError as error:
        frames = describe(error).frames

    assert "threading.py" not in frames
    assert "test_tracebacks.py" in frames


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("/home/me/train.py", True),
        ("/tmp/ipykernel_12/34.py", True),
        ("<stdin>", True),
        ("<frozen importlib._bootstrap>", False),
        (threading.__file__, False),
        (pytest.__file__, False),
        (redaction.__file__, False),
    ],
)
def test_user_code_is_what_is_neither_installed_nor_ours(filename: str, expected: bool) -> None:
    assert is_user_code(filename) is expected


CELLS = (
    "/tmp/ipython-input-2938354417.py",  # Colab since 2025
    "/tmp/ipython-input-3-4282502808.py",
    "<ipython-input-3-f00cda16367b>",  # Colab before, and IPython in a terminal
    "/tmp/ipykernel_17/2938354417.py",
    "/var/folders/xn/T/ipykernel_99/1.py",
    r"C:\Users\me\AppData\Local\Temp\ipykernel_1234\2938354417.py",
    "<command-1234567>",  # Databricks
    "/home/me/.ipykernel/1234/command-41-22",
    "<command-12-34>",
)


@pytest.mark.parametrize("filename", CELLS)
def test_a_notebooks_cell_is_called_so(filename: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every notebook names the code of its cells in its own way; none of the names says anything to a person."""
    source = "def train():\n    loss = 1 / 0\ntrain()\n"
    monkeypatch.setitem(linecache.cache, filename, (len(source), None, source.splitlines(keepends=True), filename))

    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile(source, filename, "exec").replace(co_name="<cell line: 0>"), {})

    frames = describe(caught.value).frames.splitlines()[-4:]
    assert frames == [
        "notebook cell:3 in <cell line: 0>", "    train()", "notebook cell:2 in train", "    loss = 1 / 0",
    ]  # fmt: skip


@pytest.mark.parametrize("filename", ["ipython-input.py", "/home/me/ipykernel_notes/train.py", "/x/my-command-3.py"])
def test_a_script_with_a_name_like_a_cells_keeps_it(filename: str) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile("1 / 0", filename, "exec"), {})

    assert describe(caught.value).frames.splitlines()[-1].startswith(filename.rpartition("/")[2] + ":1")


def test_secrets_are_struck_out_before_the_text_is_cut() -> None:
    secret = "xoxb-canary-not-a-token"
    redaction.register([secret])

    assert secret[:10] not in describe(ValueError("x" * 490 + secret)).error
    assert redacted(f"a{secret}b", 100) == "a[redacted]b"


def test_the_stack_of_a_waiting_thread_ends_in_what_it_waits_for() -> None:
    release, there = threading.Event(), threading.Event()

    def hangs_here() -> None:
        there.set()
        release.wait(10)

    thread = threading.Thread(target=hangs_here)
    thread.start()
    there.wait(10)
    stack = thread_stack(thread.ident)
    release.set()
    thread.join()

    assert "in hangs_here\n    release.wait(10)\n" in stack
    assert stack.splitlines()[-1].startswith("waiting in ")
    assert thread_stack(-5) == ""


def test_text_fits() -> None:
    assert redacted("abc", 3) == "abc"
    assert redacted("abcd", 3) == "ab…"
    assert redacted_line(" a \n b\t", 10) == "a b"


def test_a_password_in_an_address_is_struck_out_of_a_failure() -> None:
    """The libraries that raise it put the whole address in."""
    failure = describe(ConnectionError("cannot reach postgres://me:canary@db/x with Bearer canary-canary"))

    assert failure.error == "ConnectionError: cannot reach postgres://[redacted]@db/x with Bearer [redacted]"
