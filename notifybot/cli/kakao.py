"""`notifybot kakao login | status | friends | logout`: the login to KakaoTalk and its receivers."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console as Screen
from rich.table import Table
from rich.text import Text

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config, load
from notifybot.errors import ConfigError, DeliveryError, UsageError
from notifybot.i18n import text
from notifybot.notifiers.kakao import credentials_from, open_api, others_file, token_file_of
from notifybot.notifiers.kakao.api import Api
from notifybot.notifiers.kakao.browser import Console, LoginEnvironment
from notifybot.notifiers.kakao.login import Way, choice_in, one_of, sign_in
from notifybot.notifiers.kakao.notifier import destination_of
from notifybot.notifiers.kakao.oauth import explained
from notifybot.notifiers.kakao.quota import Quota
from notifybot.notifiers.kakao.token_store import Mode, TokenFile
from notifybot.policy import day_of
from notifybot.rendering.error_text import error_line
from notifybot.types import Language


def login(*, mode: str, way: str, redirect_uri: str, language: Language | None) -> int:
    """Lead the person through the login."""
    config = load({"lang": language})
    chosen = one_of(Mode, "--mode", mode) if mode else None
    surroundings = LoginEnvironment(Console(config.lang))
    sign_in(config, surroundings, mode=chosen, way=one_of(Way, "--way", way), redirect_uri=redirect_uri)
    return 0


def status(*, clock: Clock = SYSTEM) -> int:
    """Show who is signed in and what is left, and ask Kakao whether it still holds; 1 when nobody is."""
    config = load()
    api = _opened(config, clock)
    if api is None:
        print(text(config.lang, "kakao.status.nobody"))
        return 1
    with api:
        user_id = api.user_id()  # may renew the login: read the rest after it
        account = api.tokens.account
        quota = Quota(token_file_of(config), clock)
        receivers = destination_of(account).receivers
        left = quota.left(api.tokens.client, receivers) if receivers else 0
        ends = api.tokens.refresh_expires_at
        days = (ends - clock.now()).days if ends else 0
        known_end = ends and text(config.lang, "kakao.status.ends_in", day=day_of(ends), days=days)
        mode = "friend" if account and account.mode is Mode.FRIEND else "memo"
        names = ", ".join(each.nickname for each in account.receivers) if account else ""
        rows = {
            text(config.lang, "kakao.status.account"): str(user_id or ""),
            text(config.lang, "kakao.status.mode"): text(config.lang, f"kakao.status.mode_{mode}"),
            text(config.lang, "kakao.status.receivers"): names,
            text(config.lang, "kakao.status.ends"): known_end or text(config.lang, "kakao.status.ends_unknown"),
            text(config.lang, "kakao.status.left"): str(left),
            text(config.lang, "kakao.status.kept_in"): str(token_file_of(config)),
        }
    table = Table.grid(padding=(0, 2))
    for label, value in rows.items():
        if value:
            table.add_row(Text(label, style="bold"), Text(value, overflow="fold"))
    Screen().print(table)
    return 0


def friends(*, choose: str, clock: Clock = SYSTEM) -> int:
    """List the friends who can be written to, by number; with `choose`, let these receive from now on."""
    config = load()
    api = _opened(config, clock)
    if api is None:
        print(text(config.lang, "kakao.status.nobody"))
        return 1
    with api:
        api.tokens.access_token()
        account = api.tokens.account
        if account is None or account.mode is not Mode.FRIEND:
            raise UsageError(text(config.lang, "kakao.status.not_friend_mode"))
        listed = api.friends()
    if not listed:
        print(explained("no_friend", config.lang))
        return 1
    receivers = account.receivers
    if choose:
        receivers = choice_in(choose, listed)
        if not receivers:
            raise UsageError(text(config.lang, "kakao.login.not_a_choice", most=len(listed)))
        file = TokenFile(token_file_of(config), clock)
        with file.locked():
            stored = file.load()
            if stored and stored.account:
                changed = replace(stored, account=replace(stored.account, receivers=receivers))
                if not file.save(changed):
                    raise ConfigError(text(config.lang, "kakao.login.cannot_store", path=file.path))
    chosen = {each.uuid for each in receivers}
    table = Table("", text(config.lang, "kakao.status.nickname"), text(config.lang, "kakao.status.chosen"))
    for number, each in enumerate(listed, start=1):
        table.add_row(str(number), Text(each.nickname), "✓" if each.uuid in chosen else "")
    Screen().print(table)
    return 0


def logout(*, disconnect: bool, clock: Clock = SYSTEM) -> int:
    """End the login and delete what was kept of it. Without a network, `disconnect` fails and logging out does not."""
    config = load()
    file = TokenFile(token_file_of(config), clock)
    api = _opened(config, clock)
    if api is None:
        print(text(config.lang, "kakao.status.was_out"))
        return 0
    with api:
        try:
            if disconnect:
                api.disconnect()
            else:
                api.sign_out()
        except DeliveryError as error:
            if disconnect:
                raise
            print(text(config.lang, "kakao.login.unreachable", why=error_line(error, config.lang)))
    with file.locked():
        file.remove()
    print(text(config.lang, "kakao.status.disconnected" if disconnect else "kakao.status.signed_out"))
    if config.kakao_refresh_token:
        print(text(config.lang, "kakao.status.still_configured"))
    if others := others_file(config):
        print(text(config.lang, "kakao.status.still_there", path=others))
    return 0


def _opened(config: Config, clock: Clock) -> Api | None:
    credentials = credentials_from(config, clock=clock)
    return None if credentials is None else open_api(config, credentials, clock=clock)
