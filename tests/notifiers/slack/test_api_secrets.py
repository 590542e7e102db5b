"""Slack's secrets stay where they are, whatever goes wrong and whoever listens."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator

import pytest

from notifybot.errors import DeliveryError
from notifybot.notifiers.base import Notifier
from notifybot.notifiers.slack import SlackBot, SlackWebhook
from notifybot.sandbox import Fault, Sandbox
from notifybot.testing import DictMemory
from tests.support.slack_messages import envelope, lost

CANARY = "canary0c0ffee0not0a0secret"
TOKEN = f"xoxb-{CANARY}"
PATH = f"/services/T0/B0/{CANARY}"
FORMATTER = logging.Formatter("%(name)s %(message)s %(exc_text)s")


class Everything(logging.Handler):
    """Keeps each record as text, traceback included."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(FORMATTER.format(record))


@pytest.fixture
def log() -> Iterator[Everything]:
    """Every logger at DEBUG, as a debugging user has it."""
    root, handler = logging.getLogger(), Everything()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def webhook(base: str) -> Notifier:
    return SlackWebhook(base + PATH, timeout_s=1)


def bot(base: str) -> Notifier:
    return SlackBot(TOKEN, "training", api_url=f"{base}/api/", timeout_s=1)


@pytest.mark.parametrize("make", [webhook, bot])
@pytest.mark.parametrize("trouble", ["refused", "404", "302", "tls", "dns", "garbage", "reset"])
def test_no_secret_is_in_a_log_on_stderr_or_in_an_error(
    make: Callable[[str], Notifier], trouble: str, log: Everything, capfd: pytest.CaptureFixture[str]
) -> None:
    """The canary occurs nowhere: not in records, not printed, not in the error, its repr or its chain."""
    with Sandbox() as sandbox:
        base = {"tls": sandbox.url.replace("http", "https"), "dns": "http://slack.invalid"}.get(trouble, sandbox.url)
        notifier = make(base)
        if trouble in ("404", "302"):
            headers = {"Location": f"{sandbox.url}{PATH}"}
            sandbox.faults.append(Fault("status", status=int(trouble), headers=headers))
        elif trouble in ("garbage", "reset"):
            sandbox.faults.append(Fault("garbage" if trouble == "garbage" else "reset_after"))
        elif trouble == "refused":
            sandbox.close()
        with pytest.raises(DeliveryError) as caught:
            notifier.send(envelope(lost(), DictMemory()))

    error = caught.value
    told = [str(error), repr(error), "".join(traceback.format_exception(error)), repr(vars(error)), notifier.key]
    captured = capfd.readouterr()
    for text in (*told, *log.lines, captured.out, captured.err):
        assert CANARY not in text
    assert error.__context__ is None or error.__suppress_context__
    assert captured.err == ""
