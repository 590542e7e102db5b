"""The picture of an alert: taken at the call, sent with the message, and never a reason to lose the alert."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from notifybot import Run, notify_run
from notifybot.events import AlertRaised
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.store.pictures import LARGEST_BYTES, kept_picture
from notifybot.training.session import close
from tests.support.training_runs import recorded_events

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
JPEG = b"\xff\xd8\xff\xe0" + bytes(64)


class Figure:
    """As far as one of matplotlib's is used."""

    def __init__(self, content: bytes = PNG, error: Exception | None = None) -> None:
        self.content = content
        self.error = error

    def savefig(self, file: BytesIO, *, format: str) -> None:
        assert format == "png"
        if self.error is not None:
            raise self.error
        file.write(self.content)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[dict[str, object]]:
    yield {
        "state_dir": str(tmp_path / "state"),
        "runs_dir": str(tmp_path / "runs"),
        "tensorboard": "off",
        "wandb": "off",
        "lang": "en",
        "pictures": "off",  # of learning curves
    }
    close()


def alerts_of(run: Run) -> list[AlertRaised]:
    assert run.session is not None
    return [each for each in recorded_events(run) if isinstance(each, AlertRaised)]


def picture_of(run: Run, alert: AlertRaised) -> bytes | None:
    assert run.session is not None
    return kept_picture(run.session.shared.store, alert.picture)


@pytest.mark.parametrize("content", [PNG, JPEG], ids=["PNG", "JPEG"])
def test_a_file_is_read_at_the_call(settings: dict[str, object], tmp_path: Path, content: bytes) -> None:
    """The program may delete it in its next line."""
    with notify_run("x", config=settings, notifiers=[]) as run:
        (tmp_path / "samples").write_bytes(content)
        run.alert("samples", "epoch 3", picture=tmp_path / "samples")
        (tmp_path / "samples").unlink()

    (alert,) = alerts_of(run)
    assert picture_of(run, alert) == content
    assert alert.text == "epoch 3"


def test_a_figure_is_drawn_at_the_call(settings: dict[str, object]) -> None:
    with notify_run("x", config=settings, notifiers=[]) as run:
        run.alert("confusion", picture=Figure())

    (alert,) = alerts_of(run)
    assert picture_of(run, alert) == PNG


_WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda folder: str(folder / "none.png"), "none.png is not there."),
    "a folder": (lambda folder: folder, "is not there."),
    "a pipe": (lambda folder: _pipe(folder / "pipe.png"), "pipe.png is not there."),
    "a text": (lambda folder: _file(folder / "log.png", b"epoch 3"), "it is neither PNG nor JPEG."),
    "too large": (lambda folder: _file(folder / "huge.png", PNG + bytes(LARGEST_BYTES)), "it has more than 5 MB."),
    "a large figure": (lambda _: Figure(PNG + bytes(LARGEST_BYTES)), "it has more than 5 MB."),
    "a broken figure": (lambda _: Figure(error=RuntimeError("no backend")), "it could not be made."),
    "an array": (lambda _: [[0.0, 1.0]], "picture= takes a path or a figure of matplotlib, not list."),
}


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("case", _WRONG)
def test_why_a_picture_is_missing_is_in_the_text_and_the_alert_is_raised(
    settings: dict[str, object], tmp_path: Path, case: str
) -> None:
    made, why = _WRONG[case]

    with notify_run("x", config=settings, notifiers=[]) as run:
        run.alert("samples", "epoch 3", picture=made(tmp_path))

    (alert,) = alerts_of(run)
    first, line = alert.text.splitlines()
    assert (first, alert.picture) == ("epoch 3", "")
    assert line.startswith("The picture is missing: ")
    assert line.endswith(why)


def test_an_alert_that_is_not_sent_has_no_picture(settings: dict[str, object], tmp_path: Path) -> None:
    """A loop of alerts draws and stores nothing that nobody will see."""
    with notify_run("x", config=settings, notifiers=[]) as run:
        for _ in range(3):
            run.alert("samples", picture=Figure())

    assert [bool(each.picture) for each in alerts_of(run)] == [True, False, False]
    assert len(list((tmp_path / "state" / "pictures").iterdir())) == 1


def test_a_picture_that_could_not_be_sent_is_sent_by_the_next_start(
    settings: dict[str, object], tmp_path: Path, sandbox: Sandbox
) -> None:
    """Slack is away at first; the file is gone by then, and so is the process that read it."""
    slack: dict[str, Any] = {
        **settings, "slack_bot_token": BOT_TOKEN, "slack_channel": CHANNEL, "slack_api_url": f"{sandbox.url}/api/",
        "slack_deadman": "off",
    }  # fmt: skip
    with sandbox.down(), notify_run("x", config=slack) as run:
        run.alert("samples", picture=_file(tmp_path / "samples.jpg", JPEG))
    (tmp_path / "samples.jpg").unlink()
    close()
    before = len(sandbox.slack.shared)

    with notify_run("later", config=slack) as later:
        later.flush(30)

    (shown,) = sandbox.slack.shared
    assert before == 0
    assert (shown.body, shown.name.endswith(".jpg")) == (JPEG, True)
