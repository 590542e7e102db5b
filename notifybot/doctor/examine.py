"""The whole examination, in the order in which a person would set things up."""

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
from notifybot.notifiers.apprise import AppriseNotifier, urls_in
from notifybot.notifiers.http import session_for
from notifybot.rendering.both import Both
from notifybot.runtime import is_installed
from notifybot.services import SERVICES, function_at


def examine(config: Config, clock: Clock = SYSTEM) -> list[Finding]:
    """Everything that the settings rest on. Posts nothing; asks Slack, Kakao and the watchdog, if they are set up."""
    return [
        *_services(config, clock),
        *examine_watchdog(config),
        *_nobody(config, clock),
        *_tables(config),
        *machine.examine(config),
    ]


def _services(config: Config, clock: Clock) -> Iterator[Finding]:
    """Each service by its own examination; one without, such as the webhook, can only be posted to."""
    for service in SERVICES:
        if service.doctor:
            yield from function_at(service.doctor)(config, clock)
        elif service.is_asked_for(dict(config), config.state_dir):
            yield note(service.name, _UNSEEN, _TRY.filled(name=service.name))


def _nobody(config: Config, clock: Clock) -> list[Finding]:
    """Whether anybody is told at all."""
    try:
        built = notifiers_from(config, clock)
    except ConfigError:  # half a set-up, or a wrong one: told where it belongs
        return []
    for each in built:
        each.close()
    return [] if built else [wrong("notifiers", _NOBODY, _SET_UP_ONE)]


def _tables(config: Config) -> Iterator[Finding]:
    """Settings for a notifier whose name is not known."""
    for name, meant in unknown_notifiers(config).items():
        if meant:
            yield wrong("settings", _STRANGER.filled(name=name), _MEANT.filled(name=meant))
        else:
            yield note("settings", _STRANGER.filled(name=name), _GIVEN)


_UNSEEN = Both(
    "it is set; whether it works cannot be seen without posting",
    "설정되어 있습니다. 실제로 보내 보지 않고는 동작 여부를 확인할 수 없습니다",
)
_TRY = Both(
    "post one message: notifybot test -n {name} -k run_started",
    "메시지를 하나 보내 보세요: notifybot test -n {name} -k run_started",
)
_NOBODY = Both(
    "nothing is set up: what happens is printed on the screen, and nobody is told",
    "설정된 알림 수단이 없습니다. 화면에만 출력하고 아무에게도 알리지 않습니다",
)
_SET_UP_ONE = Both(
    "set one up: notifybot slack setup (five minutes), or notifybot kakao login; the manual has the others",
    "하나를 설정하세요: notifybot slack setup(5분) 또는 notifybot kakao login. 그 밖의 수단은 설명서에 있습니다",
)
_STRANGER = Both(
    "[notifiers.{name}]: no notifier is called so here",
    "[notifiers.{name}]: 여기에는 그런 이름의 알림 수단이 없습니다",
)
_MEANT = Both("did you mean [notifiers.{name}]?", "[notifiers.{name}]를 쓰려던 것입니까?")
_GIVEN = Both(
    "it is right only where your code gives one of this name (notifiers=[…]); else training stops before it begins",
    "코드에서 이 이름의 수단을 notifiers=[…]로 넘길 때만 맞습니다. 아니면 학습이 시작되기 전에 오류가 납니다",
)


APPRISE = "Apprise"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9]{0,19})://")


def examine_apprise(config: Config, clock: Clock = SYSTEM) -> list[Finding]:
    """A finding for each address that Apprise makes nothing of, and one for the others together."""
    if config.apprise_urls is None:
        return []
    urls = urls_in(config.apprise_urls.get_secret_value())
    if not urls:
        return [wrong(APPRISE, _EMPTY, _WRITE_ONE)]
    if not is_installed("apprise"):
        return [wrong(APPRISE, _MISSING, _INSTALL)]
    read = {position: _is_read(url, position) for position, url in enumerate(urls, 1)}
    found = [_unread(urls[position - 1], position) for position, fine in read.items() if not fine]
    services = ", ".join(_scheme(urls[position - 1]) for position, fine in read.items() if fine)
    return [*found, note(APPRISE, _READ.filled(services=services), _TRY_APPRISE)] if services else found


def _is_read(url: str, position: int) -> bool:
    try:
        AppriseNotifier(url, position=position).close()
    except ConfigError:
        return False
    return True


def _unread(url: str, position: int) -> Finding:
    scheme = _scheme(url)
    if scheme:
        return wrong(APPRISE, _UNKNOWN.filled(position=position, scheme=scheme), _CORRECT)
    return wrong(APPRISE, _NO_SCHEME.filled(position=position), _CORRECT)


def _scheme(url: str) -> str:
    found = _SCHEME.match(url)
    return f"{found[1].lower()}://…" if found else ""


_EMPTY = Both("NOTIFYBOT_APPRISE_URLS holds no address", "NOTIFYBOT_APPRISE_URLS에 주소가 없습니다")
_WRITE_ONE = Both(
    "write one for each service, as in https://appriseit.com/services/, with spaces between",
    "https://appriseit.com/services/ 의 형식으로 서비스마다 하나씩 적고 공백으로 구분하세요",
)
_MISSING = Both("Apprise is not installed", "Apprise가 설치되어 있지 않습니다")
_INSTALL = Both(
    f"in notifybot's folder run {install('apprise')}",
    f"notifybot 폴더에서 다음과 같이 설치하세요: {install('apprise')}",
)
_UNKNOWN = Both(
    "Apprise makes nothing of address {position} ({scheme})",
    "{position}번째 주소({scheme})를 Apprise가 읽지 못합니다",
)
_NO_SCHEME = Both(
    "address {position} does not begin with a service, such as discord://",
    "{position}번째 주소가 discord:// 같은 서비스 이름으로 시작하지 않습니다",
)
_CORRECT = Both(
    "its form is in https://appriseit.com/services/; a few services need a package of their own",
    "https://appriseit.com/services/ 에서 형식을 확인하세요. 별도의 패키지가 필요한 서비스도 있습니다",
)
_READ = Both(
    "the addresses can be read ({services}); whether they work cannot be seen without posting",
    "주소를 읽을 수 있습니다({services}). 실제로 보내 보지 않고는 동작 여부를 확인할 수 없습니다",
)
_TRY_APPRISE = Both(
    "post one message: notifybot test -n apprise -k run_started",
    "메시지를 하나 보내 보세요: notifybot test -n apprise -k run_started",
)


TIMEOUTS_S = (3.05, 10.0)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def examine_watchdog(config: Config) -> list[Finding]:
    """How the watchdog of these settings stands; nothing where none is set."""
    if not config.watchdog_url or config.watchdog_token is None:
        return []
    url = config.watchdog_url.rstrip("/")
    health = _status(f"{url}/healthz", None)
    if health not in (200, 503):
        return [wrong(WATCHDOG, _unreachable(health), _CHECK_URL)]
    found = [ok(WATCHDOG, _WELL) if health == 200 else wrong(WATCHDOG, _UNWELL, _CHECK_SERVICE)]
    token = _status(f"{url}/api/v1/runs", config.watchdog_token.get_secret_value())
    found.append(ok(WATCHDOG, _TOKEN_FITS) if token == 200 else wrong(WATCHDOG, _TOKEN_REFUSED, _NEW_TOKEN))
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        found.append(note(WATCHDOG, _IN_THE_CLEAR, _USE_HTTPS))
    return found


def _status(url: str, token: str | None) -> int | None:
    """The status that a page answers with; None where nothing answers."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with (
            session_for(url) as session,
            session.get(
                url, headers=headers, timeout=TIMEOUTS_S, allow_redirects=False, stream=True, auth=_as_it_is
            ) as answer,
        ):
            return answer.status_code
    except requests.RequestException:
        return None


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Adds nothing. Without it requests would put what ~/.netrc holds for the host in the token's place."""
    return request


def _unreachable(status: int | None) -> Both:
    return _SILENT if status is None else _SOMEBODY_ELSE.filled(status=status)


WATCHDOG = "watchdog"
_WELL = Both("the watchdog answers and is well", "감시 서버가 정상 동작 중입니다")
_UNWELL = Both(
    "the watchdog answers, but says that its scan or its messages are late",
    "감시 서버가 응답하지만 점검이나 알림 전송이 밀려 있습니다",
)
_CHECK_SERVICE = Both("look at its log, or start it again", "감시 서버의 로그를 확인하거나 다시 시작하세요")
_SILENT = Both("the watchdog does not answer", "감시 서버가 응답하지 않습니다")
_SOMEBODY_ELSE = Both("not a watchdog's answer: HTTP {status}", "감시 서버의 응답이 아닙니다: HTTP {status}")
_CHECK_URL = Both(
    "check NOTIFYBOT_WATCHDOG_URL, that `notifybot watchdog` runs there, and that its port is open",
    "NOTIFYBOT_WATCHDOG_URL과 `notifybot watchdog` 실행 여부, 포트가 열려 있는지 확인하세요",
)
_TOKEN_FITS = Both("the watchdog takes the token", "감시 서버가 토큰을 받아들입니다")
_TOKEN_REFUSED = Both("the watchdog refuses the token", "감시 서버가 토큰을 거절했습니다")
_NEW_TOKEN = Both(
    "make one there with `notifybot watchdog token new PROJECT` and set NOTIFYBOT_WATCHDOG_TOKEN",
    "감시 서버에서 `notifybot watchdog token new PROJECT`로 토큰을 만들어 NOTIFYBOT_WATCHDOG_TOKEN에 설정하세요",
)
_IN_THE_CLEAR = Both(
    "the token travels unencrypted: NOTIFYBOT_WATCHDOG_URL begins with http://",
    "토큰이 암호화되지 않은 채 전송됩니다: NOTIFYBOT_WATCHDOG_URL이 http://로 시작합니다",
)
_USE_HTTPS = Both("put it behind HTTPS", "HTTPS를 적용하세요")
