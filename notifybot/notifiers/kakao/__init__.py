"""KakaoTalk: "send to me" through the REST API, with a login that renews itself."""

from __future__ import annotations

from pathlib import Path

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.errors import ConfigError
from notifybot.notifiers.base import Notifier
from notifybot.notifiers.kakao.memo import KakaoMemo
from notifybot.notifiers.kakao.tokens import Credentials

__all__ = ["Credentials", "KakaoMemo", "kakao_notifiers"]

TOKEN_FILE = "kakao-token.json"  # noqa: S105 - a file's name

_WHERE_KEY_IS = "copy it from developers.kakao.com, [앱] → [플랫폼 키] → [REST API 키]"
_HOW_TO_SIGN_IN = (
    "sign in once at {auth}/oauth/authorize?response_type=code&scope=talk_message&client_id=…&redirect_uri=…, "
    "exchange the code at {auth}/oauth/token, and set the refresh_token of its answer"
)


def kakao_notifiers(config: Config, *, clock: Clock = SYSTEM) -> list[Notifier]:
    """The KakaoTalk notifier that the settings ask for, or none. Raises ConfigError where they are half there."""
    token_file = config.kakao_token_file or config.state_dir / TOKEN_FILE
    credentials = _credentials(config, token_file)
    if credentials is None:
        return []
    memo = KakaoMemo(
        credentials,
        token_file,
        api_url=config.kakao_api_url,
        auth_url=config.kakao_auth_url,
        link_url=config.link_url,
        language=config.lang,
        clock=clock,
    )
    return [memo]


def _credentials(config: Config, token_file: Path) -> Credentials | None:
    key, secret, refresh = config.kakao_rest_api_key, config.kakao_client_secret, config.kakao_refresh_token
    if key is None:
        given = {
            "kakao_refresh_token": refresh,
            "kakao_client_secret": secret,
            "kakao_token_file": config.kakao_token_file,
        }
        names = [name for name, value in given.items() if value is not None]
        if names:
            raise ConfigError(f"{names[0]} is set but kakao_rest_api_key is not; {_WHERE_KEY_IS}")
        return None
    if refresh is None and not token_file.is_file():
        how = _HOW_TO_SIGN_IN.format(auth=config.kakao_auth_url.rstrip("/"))
        raise ConfigError(
            f"kakao_rest_api_key is set but kakao_refresh_token is not, and there is no {token_file}; {how}"
        )
    return Credentials(key, secret, refresh)
