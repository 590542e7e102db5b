"""Slack's words for what is wrong, told as the doctor tells things.

What they mean stands in the table that everything of ours reads: `rendering.slack_reasons`.
"""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.rendering.both import Both
from notifybot.rendering.slack_reasons import EXPLAINED as KNOWN
from notifybot.rendering.slack_reasons import phrases, with_code
from notifybot.types import Language


@dataclass(frozen=True, slots=True)
class Explained:
    """What an error means, with a place for the `channel`, and the way out."""

    what: Both
    remedy: Both


def _told(what: Both, code: str) -> Both:
    """What an error means, with its code; the channel's name is filled in later."""
    whole = with_code(what, code)
    return Both(*(whole.told(each, phrases(each, channel="{channel}")) for each in (Language.EN, Language.KO)))


EXPLAINED = {
    code: Explained(_told(known.what, code), known.remedy)
    for code, known in KNOWN.items()
    if known.setup and known.remedy
}

UNREACHABLE = Explained(
    Both("could not be asked: {error}", "물어보지 못했습니다: {error}"),
    Both(
        "check the network of this machine, a proxy, and NOTIFYBOT_SLACK_API_URL; then try again",
        "이 컴퓨터의 네트워크와 프록시, NOTIFYBOT_SLACK_API_URL을 확인한 뒤 다시 시도하세요",
    ),
)
