"""Slack's words for what is wrong, told as a person needs them.

The codes are those of https://docs.slack.dev/reference/methods/chat.postMessage#errors
"""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.doctor.findings import Both


@dataclass(frozen=True, slots=True)
class Explained:
    """What an error means, and the way out."""

    what: Both
    remedy: Both


_COPY_AGAIN = Both(
    "open https://api.slack.com/apps, choose notifybot, then “OAuth & Permissions”, "
    "and copy the “Bot User OAuth Token” (it begins with xoxb-) whole",
    "https://api.slack.com/apps 에서 notifybot을 고르고 “OAuth & Permissions”의 "
    "“Bot User OAuth Token”(xoxb-로 시작)을 빠짐없이 복사하십시오",
)
_INSTALL_AGAIN = Both(
    "open https://api.slack.com/apps, choose notifybot, then “Install App”, install it again and copy the new token",
    "https://api.slack.com/apps 에서 notifybot을 고르고 “Install App”에서 다시 설치한 뒤 새 토큰을 복사하십시오",
)
_ASK = Both("ask an administrator of the workspace", "워크스페이스 관리자에게 문의하십시오")

EXPLAINED = {
    "invalid_auth": Explained(
        Both("Slack does not know this token (invalid_auth)", "Slack이 이 토큰을 알지 못합니다(invalid_auth)"),
        _COPY_AGAIN,
    ),
    "not_authed": Explained(
        Both("no token reached Slack (not_authed)", "토큰이 Slack에 전달되지 않았습니다(not_authed)"), _COPY_AGAIN
    ),
    "not_allowed_token_type": Explained(
        Both("this is not a bot's token (not_allowed_token_type)", "봇 토큰이 아닙니다(not_allowed_token_type)"),
        _COPY_AGAIN,
    ),
    "token_revoked": Explained(
        Both("the token was revoked (token_revoked)", "토큰이 폐기되었습니다(token_revoked)"), _INSTALL_AGAIN
    ),
    "token_expired": Explained(
        Both("the token has expired (token_expired)", "토큰이 만료되었습니다(token_expired)"), _INSTALL_AGAIN
    ),
    "account_inactive": Explained(
        Both(
            "the bot was removed from the workspace (account_inactive)",
            "워크스페이스에서 봇이 제거되었습니다(account_inactive)",
        ),
        _INSTALL_AGAIN,
    ),
    "missing_scope": Explained(
        Both("the bot is not allowed to do this (missing_scope)", "봇에 필요한 권한이 없습니다(missing_scope)"),
        Both(
            "open https://api.slack.com/apps, choose notifybot, then “App Manifest”, paste what "
            "`notifybot slack manifest` prints, and install the app again",
            "https://api.slack.com/apps 에서 notifybot을 고르고 “App Manifest”에 "
            "`notifybot slack manifest`의 출력을 붙여 넣은 뒤 앱을 다시 설치하십시오",
        ),
    ),
    "not_in_channel": Explained(
        Both("the bot is not in #{channel} (not_in_channel)", "봇이 #{channel} 채널에 없습니다(not_in_channel)"),
        Both("write in that channel: /invite @notifybot", "그 채널에서 다음과 같이 입력하십시오: /invite @notifybot"),
    ),
    "channel_not_found": Explained(
        Both(
            "the bot sees no channel #{channel} (channel_not_found)",
            "봇이 #{channel} 채널을 찾지 못합니다(channel_not_found)",
        ),
        Both(
            "check the spelling; if the channel is private, write in it: /invite @notifybot",
            "이름을 확인하고, 비공개 채널이면 그 채널에서 /invite @notifybot 을 입력하십시오",
        ),
    ),
    "is_archived": Explained(
        Both("#{channel} is archived (is_archived)", "#{channel} 채널은 보관 처리되었습니다(is_archived)"),
        Both("unarchive it, or choose another channel", "채널 보관을 해제하거나 다른 채널을 고르십시오"),
    ),
    "restricted_action": Explained(
        Both(
            "the workspace does not let the bot write there (restricted_action)",
            "워크스페이스 설정이 봇의 글쓰기를 막고 있습니다(restricted_action)",
        ),
        _ASK,
    ),
}

UNREACHABLE = Explained(
    Both("Slack could not be asked ({error})", "Slack에 물어보지 못했습니다({error})"),
    Both(
        "check the network of this machine, a proxy, and NOTIFYBOT_SLACK_API_URL; then try again",
        "이 컴퓨터의 네트워크와 프록시, NOTIFYBOT_SLACK_API_URL을 확인한 뒤 다시 시도하십시오",
    ),
)
