"""Signing in to Kakao as a conversation, in a terminal or a notebook. No token is ever shown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from enum import StrEnum
from typing import TypeVar

from pydantic import SecretStr

from notifybot import redaction
from notifybot.config import Config, has_own_browser, load
from notifybot.errors import ConfigError, TemporaryError, UsageError, reader_text
from notifybot.i18n import text
from notifybot.notifiers.kakao import open_api, token_file_of
from notifybot.notifiers.kakao.api import Api, Credentials, register
from notifybot.notifiers.kakao.browser import STOP, Browser, Console, LoginEnvironment, Prompt, can_listen
from notifybot.notifiers.kakao.button_domains import button_sites
from notifybot.notifiers.kakao.http import FormClient, temporary
from notifybot.notifiers.kakao.oauth import (
    REDIRECT_URI,
    App,
    Attempt,
    SignInRefused,
    explained,
    precheck_error,
    tokens_for,
)
from notifybot.notifiers.kakao.token_store import MOST_RECEIVERS, Account, Mode, Receiver, TokenFile, TokenSet, issued
from notifybot.rendering.error_text import error_line
from notifybot.runtime import in_colab, in_notebook
from notifybot.types import Language

_DRIVE = "MyDrive"  # the folder of Colab's mount that outlives the machine
_WRONG_KEY = ("KOE008", "KOE101")
_KEY = re.compile(r"[\x21\x23-\x26\x28-\x7e]+")
_Member = TypeVar("_Member", bound=StrEnum)


class Way(StrEnum):
    """Channel by which the browser's answer comes back. `AUTO` listens where this machine has its own browser."""

    AUTO = "auto"
    BROWSER = "browser"
    PASTE = "paste"


def kakao_login(
    mode: Mode | str | None = None,
    *,
    way: Way | str = Way.PASTE,
    redirect_uri: str = REDIRECT_URI,
    config: Config | Mapping[str, object] | None = None,
) -> None:
    """Sign in to KakaoTalk in a notebook: answer the questions below the cell, once.

    `mode` is "memo" (to yourself, silent) or "friend" (from a spare account, should ring); left out, it is asked for.
    The login is kept in the setting `kakao_token_file`; on Colab `config=colab.config`, of what `setup` returned, keeps
    it on Drive and speaks the notebook's language. Nothing secret is printed. Raises UsageError when it is stopped,
    ConfigError when the login cannot be kept.
    """
    settings = config if isinstance(config, Config) else load(config)
    sign_in(
        settings,
        LoginEnvironment(Console(settings.lang)),
        mode=one_of(Mode, "mode", mode) if mode else None,
        way=one_of(Way, "way", way),
        redirect_uri=redirect_uri,
    )


def one_of(members: type[_Member], name: str, given: str) -> _Member:
    """The member that a person means. Raises UsageError that lists them."""
    try:
        return members(given)
    except ValueError:
        known = ", ".join(members)
        text = reader_text("notifiers.kakao.login.choose_one_of", name=name, given=given, known=known)
        raise UsageError(text) from None


def sign_in(
    config: Config,
    surroundings: LoginEnvironment,
    *,
    mode: Mode | None = None,
    way: Way = Way.AUTO,
    redirect_uri: str = REDIRECT_URI,
) -> TokenSet:
    """Lead a person through the login and keep it. Raises UsageError when it is stopped, ConfigError, DeliveryError."""
    listens = way is Way.BROWSER or (way is Way.AUTO and has_own_browser())
    with closing(FormClient(config.kakao_auth_url)) as auth:
        listens = listens and can_listen(redirect_uri)
        return _Conversation(config, surroundings, auth, redirect_uri, listens=listens).lead(mode)


class _Conversation:
    def __init__(
        self, config: Config, surroundings: LoginEnvironment, auth: FormClient, redirect_uri: str, *, listens: bool
    ) -> None:
        redaction.guard_loggers()
        self._config = config
        self._language: Language = config.lang
        self._clock = surroundings.clock
        self._person = surroundings.person
        self._redirect_uri = redirect_uri
        self._auth = auth
        self._last_precheck_error: str | None = None
        self._browser = Browser(config.kakao_auth_url, surroundings, self._language, listens=listens)
        self._app = App(SecretStr(""), None, redirect_uri)

    def lead(self, mode: Mode | None) -> TokenSet:
        """The whole conversation, in the order that a person does it."""
        path = token_file_of(self._config)
        if in_colab() and _DRIVE not in path.parts:
            self._person.say(text(self._language, "kakao.login.lost_with_machine", path=path))
        chosen = mode or self._mode()
        self._app = self._first_app()
        signed_in = self._to_friends() if chosen is Mode.FRIEND else self._to_oneself()
        self._keep(signed_in)
        return signed_in

    # ── what is asked ────────────────────────────────────────────────────────────────────────────────────────────────

    def _mode(self) -> Mode:
        self._person.say(text(self._language, "kakao.login.modes"))
        which = text(self._language, "kakao.login.which_mode")
        while (answer := self._person.ask(which)) not in ("", "1", "2", "memo", "friend"):
            self._unless_stopped(answer)
        return Mode.FRIEND if answer in ("2", "friend") else Mode.MEMO

    def _first_app(self) -> App:
        """The app of the settings, else of the login before, else the one that the person names."""
        key, secret = self._config.kakao_rest_api_key, self._config.kakao_client_secret
        if key is not None:
            return App(key, secret, self._redirect_uri)  # Kakao answers KOE010 if a secret is missing
        stored = TokenFile(token_file_of(self._config), self._clock).load()
        if stored and stored.account:
            self._person.say(text(self._language, "kakao.login.same_app"))
            return App(stored.account.rest_api_key, secret or stored.account.client_secret, self._redirect_uri)
        sites = "  ".join(button_sites(self._config))
        self._person.say(text(self._language, "kakao.login.before", redirect_uri=self._redirect_uri, sites=sites))
        key = self._typed_key()
        return App(key, secret or self._typed(text(self._language, "kakao.login.which_secret")), self._redirect_uri)

    def _typed_key(self) -> SecretStr:
        while (key := self._typed(text(self._language, "kakao.login.which_key"))) is None:
            self._person.say(text(self._language, "kakao.login.not_a_key"))
        return key

    def _typed(self, prompt: str) -> SecretStr | None:
        """A key or a secret; None where the person just pressed Enter."""
        while typed := self._person.ask_secretly(prompt).strip("\"'"):
            self._unless_stopped(typed)
            if _KEY.fullmatch(typed):
                redaction.register([typed])
                return SecretStr(typed)
            self._person.say(text(self._language, "kakao.login.not_a_key"))
        return None

    def _go_on(self) -> None:
        self._unless_stopped(self._person.ask(text(self._language, "kakao.login.again")))

    def _unless_stopped(self, answer: str) -> None:
        if answer.lower() in STOP:
            raise UsageError(text(self._language, "kakao.login.stopped"))

    def _explain(self, code: str, mode: Mode) -> None:
        scopes = ", ".join(mode.scopes)
        self._person.say(explained(code, self._language, redirect_uri=self._redirect_uri, scopes=scopes))

    # ── the two modes ────────────────────────────────────────────────────────────────────────────────────────────────

    def _to_oneself(self) -> TokenSet:
        self._person.say(text(self._language, "kakao.login.signs_in"))
        tokens = self._signed_in(Mode.MEMO)
        with self._api(tokens) as api:
            user_id = api.user_id()
        return replace(tokens, account=self._account(Mode.MEMO, (), user_id))

    def _to_friends(self) -> TokenSet:
        self._person.say(text(self._language, "kakao.login.friend_steps"))
        receiver_id = self._receiver_agrees()
        while True:
            self._person.say(text(self._language, "kakao.login.sender_signs_in"))
            tokens = self._signed_in(Mode.FRIEND)
            with self._api(tokens) as api:
                user_id = api.user_id()
                if receiver_id is None or user_id != receiver_id:
                    while not (listed := api.friends()):
                        self._explain("no_friend", Mode.FRIEND)
                        self._go_on()
                    receivers = chosen_by(self._person, listed, self._language)
                    return replace(tokens, account=self._account(Mode.FRIEND, receivers, user_id))
            self._explain("same_account", Mode.FRIEND)
            self._go_on()

    def _receiver_agrees(self) -> int | None:
        """Let the receiver agree once, and forget its login; its number, None where it agreed before."""
        agreed = self._person.ask(text(self._language, "kakao.login.receiver_agreed"))
        if agreed.lower() in ("y", "yes", "ㅛ", "네", "예"):
            return None
        self._person.say(text(self._language, "kakao.login.receiver_signs_in"))
        with self._api(self._signed_in(Mode.FRIEND)) as api:
            user_id = api.user_id()
            api.sign_out()
        return user_id

    def _account(self, mode: Mode, receivers: tuple[Receiver, ...], user_id: int | None) -> Account:
        return Account(self._app.rest_api_key, self._app.client_secret, mode, receivers, user_id)

    def _api(self, tokens: TokenSet) -> Api:
        return open_api(self._config, self._credentials(), clock=self._clock, start=tokens)

    def _credentials(self) -> Credentials:
        return Credentials(self._app.rest_api_key, self._app.client_secret, self._config.kakao_refresh_token)

    # ── one sign-in ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _signed_in(self, mode: Mode) -> TokenSet:
        """Ask Kakao until it gives tokens or the person stops; each refusal is explained."""
        while True:
            attempt = Attempt.begin(self._app, mode.scopes, fresh=mode is Mode.FRIEND)
            try:
                refused = precheck_error(self._auth, attempt)
                if refused and refused != self._last_precheck_error:  # the same error twice: let the browser decide
                    self._last_precheck_error = refused
                    raise SignInRefused(refused)
                return self._exchanged(attempt, self._browser.code(attempt), mode)
            except SignInRefused as refusal:
                self._explain(refusal.code, mode)
                if refusal.code in _WRONG_KEY and self._config.kakao_rest_api_key is None:
                    self._app = replace(self._app, rest_api_key=self._typed_key())
                    continue
            except TemporaryError as error:
                self._person.say(text(self._language, "kakao.login.unreachable", why=error_line(error, self._language)))
            self._go_on()

    def _exchanged(self, attempt: Attempt, code: SecretStr, mode: Mode) -> TokenSet:
        try:
            reply = tokens_for(self._auth, attempt, code)
        except SignInRefused as refusal:
            if refusal.code != "KOE010":
                raise
            self._explain(refusal.code, mode)
            secret = self._typed(text(self._language, "kakao.login.which_secret_now"))
            if secret is None:
                raise
            self._app = replace(self._app, client_secret=secret)
            reply = tokens_for(self._auth, replace(attempt, app=self._app), code)
        credentials = self._credentials()
        empty = TokenSet(credentials.client, credentials.seed, SecretStr(""))
        tokens = issued(empty, reply, self._clock.now())
        if not tokens.refresh_token.get_secret_value():
            raise temporary("no-refresh-token")
        register(tokens)
        return tokens

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _keep(self, tokens: TokenSet) -> None:
        path, language, account = token_file_of(self._config), self._language, tokens.account
        file = TokenFile(path, self._clock)
        with file.locked():
            if not file.save(tokens):
                raise ConfigError(text(language, "kakao.login.cannot_store", path=path))
        names = ", ".join(each.nickname for each in account.receivers) if account else ""
        done = "kakao.login.done_friend" if names else "kakao.login.done_memo"
        self._person.say(text(language, done, receivers=names))
        self._person.say(text(language, "kakao.login.renews", path=path))
        if not in_notebook():  # a shell lacks the notebook's settings
            self._person.say(text(language, "kakao.login.try_it"))


def choice_in(answer: str, friends: Sequence[Receiver]) -> tuple[Receiver, ...]:
    """The friends that an answer such as "1,3" names, in its order, each once; none where it is no such answer."""
    given = [each for each in re.split(r"[\s,]+", answer) if each]
    if not all(each.isascii() and each.isdigit() and 1 <= int(each) <= len(friends) for each in given):
        return ()
    numbers = list(dict.fromkeys(map(int, given)))
    return tuple(friends[number - 1] for number in numbers) if len(numbers) <= MOST_RECEIVERS else ()


def chosen_by(person: Prompt, friends: Sequence[Receiver], language: Language) -> tuple[Receiver, ...]:
    """Ask until at least one of the friends is chosen; an only friend is. There must be one."""
    if len(friends) == 1:
        person.say(text(language, "kakao.login.only_friend", nickname=friends[0].nickname))
        return tuple(friends)
    lines = [f"  {number}  {each.nickname}" for number, each in enumerate(friends, 1)]
    person.say("\n".join([text(language, "kakao.login.friends"), *lines]))
    while not (chosen := choice_in(person.ask(text(language, "kakao.login.which_friends")), friends)):
        person.say(text(language, "kakao.login.not_a_choice", most=len(friends)))
    return chosen
