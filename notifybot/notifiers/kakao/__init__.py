"""KakaoTalk through its REST API: "send to me", or from a spare account to friends; with a login that renews itself."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import SecretStr

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.errors import ConfigError, reader_text
from notifybot.notifiers.base import Notifier, Surroundings
from notifybot.notifiers.kakao.api import Api, Credentials
from notifybot.notifiers.kakao.notifier import KakaoTalk, Painter
from notifybot.notifiers.kakao.token_store import TOKEN_FILE, TokenFile, TokenSet
from notifybot.runtime import in_colab

__all__ = [
    "Credentials",
    "KakaoTalk",
    "Painter",
    "credentials_from",
    "from_config",
    "kakao_notifiers",
    "open_api",
    "others_file",
    "token_file_of",
]

_LOG = logging.getLogger("notifybot")
_TAKEN_OVER: set[Path] = set()  # files already logged as taken over: the settings are read more than once


def from_config(config: Config, around: Surroundings) -> list[Notifier]:
    """The KakaoTalk notifier that the settings or a login ask for, with pictures where there are charts."""
    charts = around.charts
    picture: Painter = (lambda _: None) if charts is None else charts.phone_painter(config.lang).square
    return kakao_notifiers(config, clock=around.clock, picture=picture)


def kakao_notifiers(config: Config, *, clock: Clock = SYSTEM, picture: Painter = lambda _: None) -> list[Notifier]:
    """The KakaoTalk notifier that the settings or a login ask for, or none.

    `picture` draws an event's picture. Raises ConfigError where the settings are half there.
    """
    credentials = credentials_from(config, clock=clock)
    if credentials is None:
        return []
    talk = KakaoTalk(
        credentials,
        token_file_of(config),
        api_url=config.kakao_api_url,
        auth_url=config.kakao_auth_url,
        link_url=config.link_url,
        language=config.lang,
        picture=picture,
        clock=clock,
    )
    return [talk]


def token_file_of(config: Config) -> Path:
    """Return the path of the token file for these settings.

    A login to one app is never overwritten by tokens of another one, such as the sandbox's: those have their own file.
    Nor is a token answer that another program keeps under that name.
    """
    path, key = _named_file(config), config.kakao_rest_api_key
    if TokenFile(path, SYSTEM).others_token() is not None:
        path = path.with_name(f"{path.stem}-notifybot{path.suffix}")
    if key is None:
        return path
    client, stored = Credentials(key).client, TokenFile(path, SYSTEM).load()
    foreign = stored is not None and stored.account is not None and stored.client != client
    return path.with_name(f"{path.stem}-{client}{path.suffix}") if foreign else path


def credentials_from(config: Config, *, clock: Clock = SYSTEM) -> Credentials | None:
    """The app and the login of these settings, a stored login filling what they leave out; None where there is none.

    Raises ConfigError where they are half there. On Colab that is None too: the sign-in is a cell that comes later.
    """
    stored = TokenFile(token_file_of(config), clock).load()
    account = stored.account if stored else None
    key, refresh = config.kakao_rest_api_key or (account.rest_api_key if account else None), config.kakao_refresh_token
    if key is None:
        _refuse_half(config)
        return None
    known = account.client_secret if account and account.rest_api_key == key else None
    refresh = refresh or _taken_over(config, stored)
    credentials = Credentials(key, config.kakao_client_secret or known, refresh)
    if refresh is None and not (stored and credentials.own(stored)):
        if in_colab():
            return None
        raise ConfigError(reader_text("notifiers.kakao.key_without_login", config=token_file_of(config)))
    return credentials


def open_api(config: Config, credentials: Credentials, *, clock: Clock, start: TokenSet | None = None) -> Api:
    """The account of these credentials, to be asked where the settings say. `start` is as in `Tokens`."""
    path, api_url, auth_url = token_file_of(config), config.kakao_api_url, config.kakao_auth_url
    return Api(credentials, path, api_url=api_url, auth_url=auth_url, clock=clock, start=start)


def others_file(config: Config) -> Path | None:
    """Return another program's token file, used if nobody signed in with notifybot; None if there is none."""
    path = _named_file(config)
    return path if TokenFile(path, SYSTEM).others_token() is not None else None


def _named_file(config: Config) -> Path:
    return config.kakao_token_file or config.state_dir / TOKEN_FILE


def _taken_over(config: Config, stored: TokenSet | None) -> SecretStr | None:
    """The refresh token that another program keeps in the file that is named; None where somebody signed in with us.

    Their file is only read. When they sign in anew, the new token is taken over as one that is set anew would be.
    """
    if stored and stored.account:
        return None
    path = _named_file(config)
    token = TokenFile(path, SYSTEM).others_token()
    if token is not None and stored is None and path not in _TAKEN_OVER:
        _TAKEN_OVER.add(path)
        ours = token_file_of(config).name
        _LOG.warning("%s", reader_text("notifiers.kakao.login_taken_over", path=path, ours=ours))
    return token


def _refuse_half(config: Config) -> None:
    given = {
        "kakao_refresh_token": config.kakao_refresh_token,
        "kakao_client_secret": config.kakao_client_secret,
        # On Colab `setup` names the file before anybody can have signed in.
        "kakao_token_file": None if in_colab() else config.kakao_token_file,
    }
    names = [name for name, value in given.items() if value is not None]
    if names:
        raise ConfigError(reader_text("notifiers.kakao.login_settings_without_key", names=names[0]))
