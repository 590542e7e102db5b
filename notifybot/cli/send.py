"""`notifybot send`: one alert through every notifier."""

from __future__ import annotations

import socket

from rich.console import Console

from notifybot.cli.direct_send import teller
from notifybot.clock import SYSTEM
from notifybot.config import load
from notifybot.events import AlertRaised
from notifybot.i18n import text
from notifybot.types import RunRef, Severity, uuid7


def run(words: str, *, title: str, severity: Severity) -> int:
    """Send one alert and print each notifier's answer; 1 when one did not take it."""
    config = load()
    sender = RunRef(id=uuid7(), name=socket.gethostname(), project=config.project)
    shown, body = (title, words) if title else (words, "")
    event = AlertRaised(id=uuid7(), run=sender, at=SYSTEM.now(), title=shown, text=body, severity=severity)
    console = Console(highlight=False, soft_wrap=True)
    with teller(config) as everyone:
        answers = list(everyone.tell([event]))
    for answer in answers:
        console.print(f"{answer.notifier}: {answer.error or text(config.lang, 'cli.sent')}", markup=False)
    if not answers:
        console.print(text(config.lang, "cli.no_notifier"), markup=False)
    return 0 if answers and all(answer.ok for answer in answers) else 1
