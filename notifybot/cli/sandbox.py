"""`notifybot sandbox`"""

from __future__ import annotations

import threading

from rich.console import Console

from notifybot.cli.words import Words, words_of
from notifybot.clock import SYSTEM
from notifybot.config import load
from notifybot.errors import UsageError, said, system_words
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
        raise UsageError(
            said(
                f"port {port} cannot be used ({why}): choose another with --port",
                f"포트 {port}을(를) 쓸 수 없습니다({why}). --port로 다른 포트를 지정하세요",
            )
        ) from None
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
