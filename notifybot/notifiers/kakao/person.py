"""Prompts for the person at a terminal or at a notebook's input box."""

from __future__ import annotations

import getpass
import sys
from typing import Protocol

from notifybot.errors import UsageError
from notifybot.i18n import text
from notifybot.runtime import in_notebook
from notifybot.types import Language


class Prompt(Protocol):
    """Somebody who reads lines and answers questions."""

    def say(self, text: str) -> None:
        """Show some lines."""
        ...

    def ask(self, prompt: str) -> str:
        """Ask for one line. Raises UsageError where nobody can answer."""
        ...

    def ask_secretly(self, prompt: str) -> str:
        """Ask for one line that is not shown while it is typed."""
        ...


class Console:
    """The person at this process's standard input and output."""

    def __init__(self, language: Language) -> None:
        self._no_answer = text(language, "kakao.login.no_answer")

    def say(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def ask(self, prompt: str) -> str:
        try:
            return input(prompt).strip()
        except (EOFError, NotImplementedError):  # the latter is what a notebook run without a person raises
            raise UsageError(self._no_answer) from None

    def ask_secretly(self, prompt: str) -> str:
        if not in_notebook() and not sys.stdin.isatty():
            return self.ask(prompt)  # getpass would bypass a pipe and read from the terminal
        try:
            return getpass.getpass(prompt).strip()
        except (EOFError, NotImplementedError):
            raise UsageError(self._no_answer) from None
