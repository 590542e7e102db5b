"""The addresses of other services, read as Apprise reads them. Nothing is sent, and none is shown: each is a key."""

from __future__ import annotations

import re
from importlib.util import find_spec

from notifybot.config import Config
from notifybot.doctor.findings import Finding, note, wrong
from notifybot.errors import ConfigError, install
from notifybot.notifiers.apprise import AppriseNotifier, urls_in
from notifybot.rendering.both import Both

PART = "Apprise"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9]{0,19})://")


def examine(config: Config) -> list[Finding]:
    """A finding for each address that Apprise makes nothing of, and one for the others together."""
    if config.apprise_urls is None:
        return []
    urls = urls_in(config.apprise_urls.get_secret_value())
    if not urls:
        return [wrong(PART, _EMPTY, _WRITE_ONE)]
    if find_spec("apprise") is None:
        return [wrong(PART, _MISSING, _INSTALL)]
    read = {position: _is_read(url, position) for position, url in enumerate(urls, 1)}
    found = [_unread(urls[position - 1], position) for position, fine in read.items() if not fine]
    services = ", ".join(_scheme(urls[position - 1]) for position, fine in read.items() if fine)
    return [*found, note(PART, _READ.filled(services=services), _TRY)] if services else found


def _is_read(url: str, position: int) -> bool:
    try:
        AppriseNotifier(url, position=position).close()
    except ConfigError:
        return False
    return True


def _unread(url: str, position: int) -> Finding:
    scheme = _scheme(url)
    if scheme:
        return wrong(PART, _UNKNOWN.filled(position=position, scheme=scheme), _CORRECT)
    return wrong(PART, _NO_SCHEME.filled(position=position), _CORRECT)


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
_TRY = Both(
    "post one message: notifybot test -n apprise -k run_started",
    "메시지를 하나 보내 보세요: notifybot test -n apprise -k run_started",
)
