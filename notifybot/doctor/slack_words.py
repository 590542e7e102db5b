"""Slack's words for what is wrong, told as the doctor tells things.

What they mean is told where everything of ours reads it: `rendering.error_text`.
"""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.rendering.both import Both
from notifybot.rendering.error_text import SLACK_CODES, explained, slack_error


@dataclass(frozen=True, slots=True)
class Explained:
    """What an error means, with a place for the `channel`, and the way out."""

    what: Both
    remedy: Both


def _told(code: str) -> Both:
    """What an error means, with its code; the channel's name is filled in later."""
    meaning = slack_error(code, {"channel": "{channel}"})
    return Both(meaning.en, meaning.ko)


EXPLAINED = {
    code: Explained(_told(code), Both(known.remedy.en, known.remedy.ko))
    for code in SLACK_CODES
    if (known := explained(code)) and known.setup and known.remedy
}

UNREACHABLE = Explained(
    Both("could not be asked: {error}", "물어보지 못했습니다: {error}"),
    Both(
        "check the network of this machine, a proxy, and NOTIFYBOT_SLACK_API_URL; then try again",
        "이 컴퓨터의 네트워크와 프록시, NOTIFYBOT_SLACK_API_URL을 확인한 뒤 다시 시도하세요",
    ),
)
