"""People at a keyboard and their browsers, for the Kakao sign-in tests. A browser is plain HTTP, no client of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import requests

from notifybot.config import Config
from notifybot.errors import UsageError
from notifybot.sandbox import Sandbox

Answer = str | Callable[["Typist"], str]


class Typist:
    """Answers from a list, in order; an answer may be found out by looking at what was said. Remembers everything."""

    def __init__(self, answers: Iterable[Answer] = ()) -> None:
        self.answers = list(answers)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.asked_secretly: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def ask(self, prompt: str) -> str:
        self.asked.append(prompt)
        if not self.answers:
            raise UsageError("nobody answers any more")
        answer = self.answers.pop(0)
        return answer if isinstance(answer, str) else answer(self)

    def ask_secretly(self, prompt: str) -> str:
        self.asked_secretly.append(prompt)
        return self.ask(prompt)

    @property
    def text(self) -> str:
        """All that was shown, questions included."""
        return "\n".join([*self.said, *self.asked])

    @property
    def address(self) -> str:
        """The newest address that was shown."""
        return next(line for line in reversed("\n".join(self.said).splitlines()) if line.startswith("http"))


def visit(address: str) -> str:
    """Open Kakao's page, agree, and return the address where the browser ends up."""
    response = requests.get(address, allow_redirects=False, timeout=10)
    return response.headers["Location"]


def pasted(typist: Typist) -> str:
    """The address that the browser fails to load, pasted."""
    return visit(typist.address)


def settings(sandbox: Sandbox, folder: Path, **changes: Any) -> Config:
    """Settings that point at the sandbox, with nobody signed in."""
    fields: dict[str, Any] = {
        "state_dir": folder,
        "kakao_api_url": f"{sandbox.url}/kakao/api",
        "kakao_auth_url": f"{sandbox.url}/kakao/auth",
    }
    return Config(**fields | changes)


def secrets_of(sandbox: Sandbox) -> list[str]:
    """Every value of the sandbox that must never be seen."""
    world = sandbox.kakao
    secret = [world.client_secret] if world.client_secret else []
    return [*secret, *world.codes, *world.refresh_tokens, *world.access_tokens]
