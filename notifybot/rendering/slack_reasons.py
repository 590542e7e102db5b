"""What Slack's words for an error mean to a person, and the way out: the one table that everything of ours reads.

Slack's words: https://docs.slack.dev/reference/methods/chat.postMessage#errors, and for webhooks
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks. A code with a hyphen is one of ours, for
what happens on the way to Slack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from notifybot.rendering.both import Both
from notifybot.types import Language


@dataclass(frozen=True, slots=True)
class Explained:
    """What an error means, and what to do, if anything. The first may have places for `channel` and `needed`.

    `setup` says that nothing will pass before a person has done that.
    """

    what: Both
    remedy: Both | None = None
    setup: bool = False


_APPS = "https://api.slack.com/apps"
_COPY_AGAIN = Both(
    f"open {_APPS}, choose notifybot, then “OAuth & Permissions”, "
    "and copy the “Bot User OAuth Token” (it begins with xoxb-) whole",
    f"{_APPS} 에서 notifybot을 고르고 “OAuth & Permissions”의 "
    "“Bot User OAuth Token”(xoxb-로 시작)을 빠짐없이 복사하세요",
)
_INSTALL_AGAIN = Both(
    f"open {_APPS}, choose notifybot, then “Install App”, install it again and copy the new token",
    f"{_APPS} 에서 notifybot을 고르고 “Install App”에서 다시 설치한 뒤 새 토큰을 복사하세요",
)
PASTE_MANIFEST = Both(
    f"open {_APPS}, choose notifybot, then “App Manifest”, paste what "
    "`notifybot slack manifest` prints, and install the app again",
    f"{_APPS} 에서 notifybot을 고르고 “App Manifest”에 "
    "`notifybot slack manifest`의 출력을 붙여 넣은 뒤 앱을 다시 설치하세요",
)
_NEW_HOOK = Both(
    f"open {_APPS}, choose notifybot, then “Incoming Webhooks”, add a new one "
    "and set NOTIFYBOT_SLACK_WEBHOOK_URL to it",
    f"{_APPS} 에서 notifybot을 고르고 “Incoming Webhooks”에서 새로 추가한 뒤 "
    "그 주소를 NOTIFYBOT_SLACK_WEBHOOK_URL에 설정하세요",
)
_ASK = Both("ask an administrator of the workspace", "워크스페이스 관리자에게 문의하세요")
_ASK_OR_OTHER = Both(
    "ask an administrator of the workspace, or choose another channel",
    "워크스페이스 관리자에게 문의하거나 다른 채널을 고르세요",
)
_UNARCHIVE = Both("unarchive it, or choose another channel", "채널 보관을 해제하거나 다른 채널을 고르세요")
_LOOK_IT_UP = Both(
    "Slack's list of errors says more: https://docs.slack.dev/reference/methods/chat.postMessage#errors",
    "Slack의 오류 목록을 확인하세요: https://docs.slack.dev/reference/methods/chat.postMessage#errors",
)
_REPORT = Both("please report it as a bug of notifybot", "notifybot의 버그로 제보해 주세요")
_GOES_ON = Both("the next message makes a new thread", "다음 메시지부터 새 스레드로 이어집니다")
_NETWORK = Both("check the network of this machine, and a proxy", "이 컴퓨터의 네트워크와 프록시를 확인하세요")

_NOT_ALLOWED = Both("the workspace does not allow it", "워크스페이스 설정에서 허용하지 않습니다")
_HOOK_GONE = Both("the webhook is gone or was turned off", "웹훅이 삭제되었거나 꺼져 있습니다")
_SHAPE = Both("the message is not taken as it is", "이 형식의 메시지를 받지 않습니다")
_NOT_THERE = Both(
    "the message to edit or to answer is gone, or can no longer be edited",
    "수정하거나 답글을 달 메시지가 없거나 더 이상 수정할 수 없습니다",
)
_FAULT = Both("the service has a fault", "서비스에 장애가 있습니다")
_LACKS = Both("the bot lacks the scope {needed}", "봇에 {needed} 권한이 없습니다")

_TABLE: tuple[tuple[str, Both, Both | None], ...] = (
    ("invalid_auth bad_token", Both("the token is not known", "알 수 없는 토큰입니다"), _COPY_AGAIN),
    ("not_authed", Both("no token arrived", "토큰이 전달되지 않았습니다"), _COPY_AGAIN),
    ("not_allowed_token_type is_bot", Both("this is not a bot's token", "봇 토큰이 아닙니다"), _COPY_AGAIN),
    ("token_revoked", Both("the token was revoked", "토큰이 폐기되었습니다"), _INSTALL_AGAIN),
    ("token_expired", Both("the token has expired", "토큰이 만료되었습니다"), _INSTALL_AGAIN),
    (
        "account_inactive",
        Both("the bot was removed from the workspace", "워크스페이스에서 봇이 제거되었습니다"),
        _INSTALL_AGAIN,
    ),
    ("missing_scope no_permission", _LACKS, PASTE_MANIFEST),
    ("not_in_channel", Both("the bot is not in {channel}", "봇이 {channel}에 없습니다"), Both(
        "write in that channel: /invite @notifybot", "그 채널에서 다음과 같이 입력하세요: /invite @notifybot"
    )),
    ("channel_not_found", Both("{channel} was not found", "{channel}을 찾지 못했습니다"), Both(
        "check the spelling; if the channel is private, write in it: /invite @notifybot",
        "이름을 확인하고, 비공개 채널이면 그 채널에서 /invite @notifybot 을 입력하세요",
    )),
    (
        "is_archived channel_is_archived is_inactive",
        Both("{channel} is archived", "{channel}은 보관 처리되었습니다"),
        _UNARCHIVE,
    ),
    ("messages_tab_disabled", Both("the app takes no direct messages", "앱에서 다이렉트 메시지가 꺼져 있습니다"), Both(
        f"open {_APPS}, choose notifybot, then “App Home”, and turn on the Messages Tab",
        f"{_APPS} 에서 notifybot을 고르고 “App Home”에서 Messages Tab을 켜세요",
    )),
    (
        "restricted_action",
        Both("the workspace does not let the bot write there", "워크스페이스 설정이 봇의 글쓰기를 막고 있습니다"),
        _ASK,
    ),
    (
        "posting_to_general_channel_denied posting_to_channel_denied",
        Both("the bot may not write into {channel}", "봇이 {channel}에 글을 쓸 수 없습니다"),
        _ASK_OR_OTHER,
    ),
    (
        "access_denied accesslimited ekm_access_denied enterprise_is_restricted team_access_not_granted "
        "two_factor_setup_required action_prohibited",
        _NOT_ALLOWED,
        _ASK,
    ),
    (
        "team_disabled team_not_found",
        Both("the workspace is closed or not to be found", "워크스페이스가 닫혔거나 찾을 수 없습니다"),
        _ASK,
    ),
    ("no_service no_service_id no_active_hooks no_team user_not_found", _HOOK_GONE, _NEW_HOOK),
    (
        "invalid_token",
        Both("the webhook or token is not known", "알 수 없는 웹훅이나 토큰입니다"),
        _NEW_HOOK,
    ),
    (
        "invalid_payload no_text too_many_attachments invalid_attachments attachment_payload_limit_exceeded "
        "invalid_blocks invalid_blocks_format msg_blocks_too_long msg_too_long only_one_table_allowed "
        "markdown_text_conflict metadata_too_large invalid_arguments invalid_arg_name invalid_array_arg "
        "invalid_charset invalid_form_data invalid_post_type missing_post_type invalid_json missing_argument",
        _SHAPE,
        _REPORT,
    ),
    (
        "message_not_found thread_not_found cannot_reply_to_message cant_update_message edit_window_closed "
        "block_mismatch update_failed",
        _NOT_THERE,
        _GOES_ON,
    ),
    (
        "ratelimited rate_limited",
        Both("too many messages at once", "한꺼번에 보낸 메시지가 너무 많습니다"),
        None,
    ),
    (
        "message_limit_exceeded",
        Both("the workspace's quota of messages is used up", "워크스페이스의 메시지 한도를 모두 썼습니다"),
        None,
    ),
    (
        "team_added_to_org org_login_required",
        Both("the workspace is being moved to another organization", "워크스페이스를 조직으로 옮기는 중입니다"),
        None,
    ),
    ("request_timeout", Both("the request arrived incomplete", "요청이 중간에 끊겼습니다"), None),
    ("internal_error fatal_error service_unavailable rollup_error", _FAULT, None),
)  # fmt: skip

_NO_SETUP = (None, _REPORT, _GOES_ON)
EXPLAINED = {
    code: Explained(what, remedy, setup=remedy not in _NO_SETUP)
    for codes, what, remedy in _TABLE
    for code in codes.split()
}

_ON_THE_WAY = {
    "no-connection": Explained(Both("no connection ({kind})", "연결하지 못했습니다({kind})"), _NETWORK),
    "no-secure-connection": Explained(
        Both("no secure connection ({kind})", "보안 연결을 맺지 못했습니다({kind})"), _NETWORK
    ),
    "no-answer": Explained(Both("no answer in time", "제시간에 응답이 오지 않았습니다")),
    "broken": Explained(Both("the connection broke ({kind})", "연결이 끊겼습니다({kind})")),
    "unreadable": Explained(Both("an answer that cannot be read", "응답을 읽을 수 없습니다")),
    "foreign": Explained(
        Both("somebody else answered; a proxy in between?", "다른 서버가 응답했습니다. 프록시가 있습니까?")
    ),
    "failing": Explained(Both("the service has a fault (HTTP {status})", "서비스에 장애가 있습니다(HTTP {status})")),
    "slow-down": Explained(
        Both("too many messages at once (HTTP 429)", "한꺼번에 보낸 메시지가 너무 많습니다(HTTP 429)")
    ),
    "incomplete": Explained(
        Both("the request arrived incomplete (HTTP {status})", "요청이 중간에 끊겼습니다(HTTP {status})")
    ),
    "http": Explained(
        Both("the request was refused (HTTP {status})", "요청이 거절되었습니다(HTTP {status})"),
        Both("check the Slack settings, and a proxy", "Slack 설정과 프록시를 확인하세요"),
    ),
}  # fmt: skip

SLACK_CODES = (*EXPLAINED, *_ON_THE_WAY)

_JOINED = {Language.EN: "; ", Language.KO: ". "}


def explained(code: str) -> Explained | None:
    """The meaning of a code; None for one that is unknown. All that begin with restricted_action mean the same."""
    return EXPLAINED.get("restricted_action" if code.startswith("restricted_action") else code)


def slack_line(code: str, values: Mapping[str, str], language: Language) -> str:
    """An error in one line: what it means, with Slack's own word to search for, and the way out."""
    told = [slack_what(code, values, language)]
    if (remedy := _known(code).remedy) is not None:
        told.append(remedy.in_(language))
    return f"Slack: {_JOINED[language].join(told)}"


def slack_what(code: str, values: Mapping[str, str], language: Language) -> str:
    """What an error means alone, with Slack's own word for it."""
    is_theirs = code not in _ON_THE_WAY and explained(code) is not None
    what = with_code(_known(code).what, code) if is_theirs else _known(code).what
    names = phrases(language, channel=values.get("channel", ""), needed=values.get("needed", ""))
    return what.told(language, {**values, **names})


def _known(code: str) -> Explained:
    unknown = Explained(Both(f"{code} ({{method}})", f"{code}({{method}})"), _LOOK_IT_UP)
    return _ON_THE_WAY.get(code) or explained(code) or unknown


def phrases(language: Language, *, channel: str = "", needed: str = "") -> dict[str, str]:
    """What stands in the places of an explanation; a channel or scope that is not known is told without its name."""
    if language is Language.KO:
        return {"channel": f"#{channel} 채널" if channel else "채널", "needed": needed or "필요한"}
    return {"channel": f"#{channel}" if channel else "the channel", "needed": needed or "that this needs"}


def with_code(what: Both, code: str) -> Both:
    """What an error means, with Slack's own word for it."""
    return Both(f"{what.en} ({code})", f"{what.ko}({code})")
