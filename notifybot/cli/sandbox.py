"""`notifybot sandbox`: a stand-in for Slack and KakaoTalk on this machine."""

from __future__ import annotations

import threading

from rich.console import Console

from notifybot.clock import SYSTEM
from notifybot.config import load
from notifybot.errors import UsageError, reader_text, system_words
from notifybot.i18n import text
from notifybot.sandbox.server import Sandbox
from notifybot.types import Language


def run(*, port: int, language: Language | None) -> int:
    """Serve until Ctrl-C."""
    tongue = load({"lang": language}).lang
    sandbox = Sandbox(port=port, language=tongue)
    try:
        sandbox.open()
    except OSError as error:
        why = system_words(error)
        raise UsageError(reader_text("cli.sandbox.port_cannot_be_used", port=port, why=why)) from None
    with sandbox:
        try:
            _show(sandbox, tongue)
            SYSTEM.wait(threading.Event(), None)
        except KeyboardInterrupt:
            print()
    return 0


def _show(sandbox: Sandbox, language: Language) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{text(language, 'cli.sandbox.pages')}  {sandbox.url}/\n", markup=False)
    console.print(f"{text(language, 'cli.sandbox.variables')}\n", markup=False)
    for name, value in sandbox.environment().items():
        console.print(f"export {name}={value}", markup=False)
    console.print(f"\n{text(language, 'cli.sandbox.how_to_stop')}", markup=False)
