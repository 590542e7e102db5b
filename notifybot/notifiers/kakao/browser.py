"""The person's browser: it opens Kakao's page, and its answer is heard here or pasted."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import UsageError
from notifybot.notifiers.kakao.listener import Listener
from notifybot.notifiers.kakao.oauth import Attempt, SignInRefused, code_in
from notifybot.notifiers.kakao.person import Person
from notifybot.notifiers.kakao.remedies import explained
from notifybot.notifiers.kakao.words import words_in
from notifybot.types import Language

LISTEN_S = 300.0
STOP = ("q", "ㅂ")  # the same key, with the Korean layout on
_ASK_AGAIN = ("early", "address", "state")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a sign-in touches outside of Kakao. `listen_s`: how long to wait for the browser, in seconds."""

    person: Person
    clock: Clock = SYSTEM
    open_browser: Callable[[str], object] = webbrowser.open
    listen_s: float = LISTEN_S


class Browser:
    """Gets the code of an attempt: by listening where `listens`, and where that brings nothing, by asking for it."""

    def __init__(self, auth_url: str, surroundings: Surroundings, language: Language, *, listens: bool) -> None:
        self._auth_url = auth_url
        self._outside = surroundings
        self._person = surroundings.person
        self._language = language
        self._words = words_in(language)
        self._listens = listens

    def code(self, attempt: Attempt) -> SecretStr:
        """The authorization code. Raises SignInRefused; UsageError when the person stops."""
        answer = self._heard(attempt) if self._listens else None
        if answer is not None:
            return code_in(answer, attempt)
        if not self._listens:
            self._show(self._words.open_this, attempt)
        self._person.say(self._words.paste_how)
        return self._pasted(attempt)

    def _show(self, text: str, attempt: Attempt) -> None:
        self._person.say(f"{text}\n\n{attempt.address(self._auth_url)}\n")

    def _heard(self, attempt: Attempt) -> str | None:
        """What the browser brought to this machine; None where it brought nothing in time."""
        redirect_uri = attempt.app.redirect_uri
        try:
            with Listener(redirect_uri, attempt.state, self._language, self._outside.clock) as listener:
                self._show(self._words.opened, attempt)
                self._person.say(self._words.waiting.format(minutes=int(self._outside.listen_s // 60)))
                self._outside.open_browser(attempt.address(self._auth_url))
                answer = listener.wait(self._outside.listen_s)
        except OSError:
            self._show(self._words.open_this, attempt)
            self._person.say(self._words.port_taken.format(port=urlsplit(redirect_uri).port))
            return None
        except KeyboardInterrupt:  # the person has something to type
            return None
        if answer is None:
            self._person.say(self._words.not_heard)
        return answer

    def _pasted(self, attempt: Attempt) -> SecretStr:
        while True:
            answer = self._person.ask(self._words.paste)
            if answer.lower() in STOP:
                raise UsageError(self._words.stopped)
            try:
                return code_in(answer, attempt)
            except SignInRefused as refusal:
                if refusal.code not in _ASK_AGAIN:
                    raise
                self._person.say(explained(refusal.code, self._language))
