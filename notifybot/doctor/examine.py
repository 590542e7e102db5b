"""Examination of all settings, services and this machine, in the order of a set-up; with Apprise and the watchdog."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.delivery.build import notifiers_from
from notifybot.delivery.subscription import unknown_notifiers
from notifybot.doctor import machine
from notifybot.doctor.findings import Finding, note, ok, wrong
from notifybot.errors import ConfigError, install
from notifybot.i18n import localized
from notifybot.notifiers.apprise import AppriseNotifier, urls_in
from notifybot.notifiers.http import session_for
from notifybot.runtime import is_installed
from notifybot.services import SERVICES, function_at


def examine(config: Config, clock: Clock = SYSTEM) -> list[Finding]:
    """Return all findings. Posts nothing; asks Slack, Kakao and the watchdog, if they are set up."""
    return [
        *_services(config, clock),
        *examine_watchdog(config),
        *_nobody(config, clock),
        *_tables(config),
        *machine.examine(config),
    ]


def _services(config: Config, clock: Clock) -> Iterator[Finding]:
    """Yield the findings of each service with an examination. The webhook has none: it can only be posted to."""
    for service in SERVICES:
        if service.doctor:
            yield from function_at(service.doctor)(config, clock)
        elif service.is_asked_for(dict(config), config.state_dir):
            how = localized("doctor.services.post_one_message", name=service.name)
            yield note(service.name, "doctor.services.cannot_be_seen", how)


def _nobody(config: Config, clock: Clock) -> list[Finding]:
    """Return a finding when no notifier is configured, so that no message is sent at all."""
    try:
        built = notifiers_from(config, clock)
    except ConfigError:  # incomplete or wrong settings: reported by their own service
        return []
    for each in built:
        each.close()
    return [] if built else [wrong("notifiers", "doctor.notifiers.nothing_is_set_up", "doctor.notifiers.set_one_up")]


def _tables(config: Config) -> Iterator[Finding]:
    """Yield a finding for settings of a notifier whose name is not known."""
    for name, meant in unknown_notifiers(config).items():
        what = localized("doctor.notifiers.none_is_called_so", name=name)
        if meant:
            yield wrong("settings", what, localized("doctor.notifiers.did_you_mean", name=meant))
        else:
            yield note("settings", what, "doctor.notifiers.right_where_code_gives_it")


APPRISE = "Apprise"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9]{0,19})://")


def examine_apprise(config: Config, clock: Clock = SYSTEM) -> list[Finding]:
    """A finding for each address that Apprise makes nothing of, and one for the others together."""
    if config.apprise_urls is None:
        return []
    urls = urls_in(config.apprise_urls.get_secret_value())
    if not urls:
        return [wrong(APPRISE, "doctor.apprise.holds_no_address", "doctor.apprise.write_one_for_each_service")]
    if not is_installed("apprise"):
        remedy = localized("doctor.apprise.install_it", install=install("apprise"))
        return [wrong(APPRISE, "doctor.apprise.is_not_installed", remedy)]
    fits = {position: _is_read(url, position) for position, url in enumerate(urls, 1)}
    found = [_unread(urls[position - 1], position) for position, fine in fits.items() if not fine]
    services = ", ".join(_scheme(urls[position - 1]) for position, fine in fits.items() if fine)
    if services:
        remedy = localized("doctor.services.post_one_message", name="apprise")
        found.append(note(APPRISE, "doctor.apprise.addresses_can_be_read", remedy, services=services))
    return found


def _is_read(url: str, position: int) -> bool:
    try:
        AppriseNotifier(url, position=position).close()
    except ConfigError:
        return False
    return True


def _unread(url: str, position: int) -> Finding:
    scheme, remedy = _scheme(url), "doctor.apprise.correct_its_form"
    if scheme:
        return wrong(APPRISE, "doctor.apprise.unknown_address", remedy, position=position, scheme=scheme)
    return wrong(APPRISE, "doctor.apprise.address_without_service", remedy, position=position)


def _scheme(url: str) -> str:
    found = _SCHEME.match(url)
    return f"{found[1].lower()}://…" if found else ""


WATCHDOG = "watchdog"
TIMEOUTS_S = (3.05, 10.0)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def examine_watchdog(config: Config) -> list[Finding]:
    """Return the findings on the configured watchdog: health, token, encryption; none without one."""
    if not config.watchdog_url or config.watchdog_token is None:
        return []
    url = config.watchdog_url.rstrip("/")
    health = _status(f"{url}/healthz", None)
    if health is None:
        return [wrong(WATCHDOG, "doctor.watchdog.does_not_answer", "doctor.watchdog.check_the_address")]
    if health not in (200, 503):
        return [wrong(WATCHDOG, "doctor.watchdog.not_its_answer", "doctor.watchdog.check_the_address", status=health)]
    well = ok(WATCHDOG, "doctor.watchdog.is_well")
    found = [well if health == 200 else wrong(WATCHDOG, "doctor.watchdog.is_late", "doctor.watchdog.look_at_its_log")]
    if _status(f"{url}/api/v1/runs", config.watchdog_token.get_secret_value()) == 200:
        found.append(ok(WATCHDOG, "doctor.watchdog.takes_the_token"))
    else:
        found.append(wrong(WATCHDOG, "doctor.watchdog.refuses_the_token", "doctor.watchdog.make_a_token"))
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        found.append(note(WATCHDOG, "doctor.watchdog.token_is_unencrypted", "doctor.watchdog.use_https"))
    return found


def _status(url: str, token: str | None) -> int | None:
    """The status that a page answers with; None where nothing answers."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with (
            session_for(url) as session,
            session.get(url, headers=headers, timeout=TIMEOUTS_S, allow_redirects=False, stream=True) as answer,
        ):
            return answer.status_code
    except requests.RequestException:
        return None
