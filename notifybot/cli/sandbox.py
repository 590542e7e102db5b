"""`notifybot sandbox`"""

from __future__ import annotations

import threading

from rich.console import Console

from notifybot.cli.words import Words, words_of
from notifybot.clock import SYSTEM
from notifybot.config import load
from notifybot.errors import UsageError
from notifybot.model import Language
from notifybot.sandbox.server import Sandbox


def run(*, port: int, language: Language | None) -> int:
    """Serve until Ctrl-C."""
    tongue = language or load().lang
    sandbox = Sandbox(port=port, language=tongue)
    try:
        sandbox.open()
    except OSError as error:
        raise UsageError(f"port {port} cannot be used ({error.strerror}): choose another with --port") from None
    with sandbox:
        try:
            _show(sandbox, words_of(tongue))
            SYSTEM.wait(threading.Event(), None)
        except KeyboardInterrupt:
            print()
    return 0


def _show(sandbox: Sandbox, words: Words) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{words.sandbox_pages}  {sandbox.url}/\n\n{words.sandbox_export}\n", markup=False)
    for name, value in sandbox.environment().items():
        console.print(f"export {name}={value}", markup=False)
    console.print(f"\n{words.sandbox_stop}", markup=False)
