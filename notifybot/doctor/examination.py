"""The whole examination, in the order in which a person would set things up."""

from __future__ import annotations

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.doctor import kakao, machine, slack, watchdog
from notifybot.doctor.findings import Both, Finding, note


def examine(config: Config, clock: Clock = SYSTEM) -> list[Finding]:
    """Everything that the settings rest on. Posts nothing; asks Slack and the watchdog, if they are set up."""
    return [
        *slack.examine(config, clock),
        *kakao.examine(config, clock),
        *_unseen(config),
        *watchdog.examine(config),
        *machine.examine(config),
    ]


def _unseen(config: Config) -> list[Finding]:
    """Services that cannot be asked anything: one can only post to them."""
    there = {"apprise": config.apprise_urls, "webhook": config.webhook_url}
    return [note(name, _UNSEEN, _TRY.filled(name=name)) for name, value in there.items() if value is not None]


_UNSEEN = Both(
    "it is set; whether it works cannot be seen without posting",
    "설정되어 있습니다. 실제로 보내 보지 않고는 동작 여부를 확인할 수 없습니다",
)
_TRY = Both(
    "post one message: notifybot test -n {name} -k run_started",
    "메시지를 하나 보내 보십시오: notifybot test -n {name} -k run_started",
)
