"""Why a picture did not come, and what to do about it."""

from __future__ import annotations

from notifybot.model import Language

_SCOPE = ("missing_scope", "no_permission")
_CLOSED = ("file_uploads_disabled", "file_uploads_except_images_disabled", "file_type_not_allowed")
_FULL = ("storage_limit_reached", "file_upload_size_restricted")

_TEXTS = {
    Language.EN: {
        "scope": "No learning curves yet: this Slack app may not upload files. "
        "Add the bot scope files:write (api.slack.com/apps → OAuth & Permissions), then install the app again.",
        "closed": "No learning curves: this workspace does not take uploads ({code}). "
        "Ask an administrator, or turn pictures off: NOTIFYBOT_PICTURES=off",
        "full": "No learning curves: the workspace has no room for files ({code}). "
        "Delete old files, or turn pictures off: NOTIFYBOT_PICTURES=off",
        "other": "No learning curves: Slack did not take the picture ({code}). "
        "To turn pictures off: NOTIFYBOT_PICTURES=off",
    },
    Language.KO: {
        "scope": "학습 곡선을 아직 보낼 수 없습니다. 이 Slack 앱에 파일 업로드 권한이 없습니다. "
        "api.slack.com/apps → OAuth & Permissions에서 봇 권한 files:write를 추가한 뒤 앱을 다시 설치해 주세요.",
        "closed": "학습 곡선을 보낼 수 없습니다. 이 워크스페이스는 파일 업로드를 받지 않습니다({code}). "
        "관리자에게 문의하거나 NOTIFYBOT_PICTURES=off로 그림을 꺼 주세요.",
        "full": "학습 곡선을 보낼 수 없습니다. 워크스페이스의 파일 저장 공간이 부족합니다({code}). "
        "오래된 파일을 지우거나 NOTIFYBOT_PICTURES=off로 그림을 꺼 주세요.",
        "other": "학습 곡선을 보낼 수 없습니다. Slack이 그림을 받지 않았습니다({code}). "
        "그림을 끄려면 NOTIFYBOT_PICTURES=off로 설정해 주세요.",
    },
}


def remedy_for(code: str, language: Language) -> str:
    """What to tell a person about a refused upload. The codes are Slack's."""
    kinds = {"scope": _SCOPE, "closed": _CLOSED, "full": _FULL}
    kind = next((kind for kind, codes in kinds.items() if code in codes), "other")
    return _TEXTS[language][kind].format(code=code)
