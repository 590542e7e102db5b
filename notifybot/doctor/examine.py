"""The whole examination, in the order in which a person would set things up."""

from __future__ import annotations

from collections.abc import Iterator

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.delivery.build import notifiers_from
from notifybot.delivery.subscription import strangers
from notifybot.doctor import apprise, kakao, machine, slack, watchdog
from notifybot.doctor.findings import Finding, note, wrong
from notifybot.errors import ConfigError
from notifybot.rendering.both import Both


def examine(config: Config, clock: Clock = SYSTEM) -> list[Finding]:
    """Everything that the settings rest on. Posts nothing; asks Slack, Kakao and the watchdog, if they are set up."""
    return [
        *slack.examine(config, clock),
        *kakao.examine(config, clock),
        *apprise.examine(config),
        *_webhook(config),
        *watchdog.examine(config),
        *_nobody(config, clock),
        *_tables(config),
        *machine.examine(config),
    ]


def _webhook(config: Config) -> list[Finding]:
    """It cannot be asked anything: one can only post to it."""
    return [] if config.webhook_url is None else [note("webhook", _UNSEEN, _TRY)]


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
    for name, meant in strangers(config).items():
        if meant:
            yield wrong("settings", _STRANGER.filled(name=name), _MEANT.filled(name=meant))
        else:
            yield note("settings", _STRANGER.filled(name=name), _GIVEN)


_UNSEEN = Both(
    "it is set; whether it works cannot be seen without posting",
    "설정되어 있습니다. 실제로 보내 보지 않고는 동작 여부를 확인할 수 없습니다",
)
_TRY = Both(
    "post one message: notifybot test -n webhook -k run_started",
    "메시지를 하나 보내 보세요: notifybot test -n webhook -k run_started",
)
_NOBODY = Both(
    "nothing is set up: what happens is printed on the screen, and nobody is told",
    "설정된 알림 수단이 없습니다. 화면에만 출력하고 아무에게도 알리지 않습니다",
)
_SET_UP_ONE = Both(
    "set one up: notifybot slack setup (five minutes), or notifybot kakao login; the README has the others",
    "하나를 설정하세요: notifybot slack setup(5분) 또는 notifybot kakao login. 그 밖의 수단은 README에 있습니다",
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
