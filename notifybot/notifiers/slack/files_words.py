"""Why a picture did not come, and what to do about it."""

from __future__ import annotations

from notifybot.rendering.both import Both
from notifybot.rendering.error_text import PASTE_MANIFEST
from notifybot.types import Language

_SCOPE = ("missing_scope", "no_permission")
_CLOSED = ("file_uploads_disabled", "file_uploads_except_images_disabled", "file_type_not_allowed")
_FULL = ("storage_limit_reached", "file_upload_size_restricted")

_TEXTS = {
    Language.EN: {
        "scope": "No learning curves yet: this Slack app may not upload files, as it lacks the scope files:write. "
        "To mend it: {remedy}.",
        "closed": "No learning curves: this workspace does not take uploads ({code}). "
        "Ask an administrator, or turn pictures off: NOTIFYBOT_PICTURES=off",
        "full": "No learning curves: the workspace has no room for files ({code}). "
        "Delete old files, or turn pictures off: NOTIFYBOT_PICTURES=off",
        "other": "No learning curves: Slack did not take the picture ({code}). "
        "To turn pictures off: NOTIFYBOT_PICTURES=off",
    },
    Language.KO: {
        "scope": "학습 곡선을 아직 보낼 수 없습니다. 이 Slack 앱에 파일 업로드 권한(files:write)이 없습니다. {remedy}.",
        "closed": "학습 곡선을 보낼 수 없습니다. 이 워크스페이스는 파일 업로드를 받지 않습니다({code}). "
        "관리자에게 문의하거나 NOTIFYBOT_PICTURES=off로 그림을 꺼 주세요.",
        "full": "학습 곡선을 보낼 수 없습니다. 워크스페이스의 파일 저장 공간이 부족합니다({code}). "
        "오래된 파일을 지우거나 NOTIFYBOT_PICTURES=off로 그림을 꺼 주세요.",
        "other": "학습 곡선을 보낼 수 없습니다. Slack이 그림을 받지 않았습니다({code}). "
        "그림을 끄려면 NOTIFYBOT_PICTURES=off로 설정해 주세요.",
    },
}


_NOT_TAKEN = Both("a picture was not taken (its text was): {why}", "그림을 보내지 못했습니다(글은 보냈습니다): {why}")
_NO_MORE = Both(
    "no more pictures from this process: {failures} in a row were not taken",
    "그림을 연달아 {failures}번 보내지 못해 이 프로세스에서는 더 보내지 않습니다",
)


def remedy_for(code: str, language: Language) -> str:
    """What to tell a person about a refused upload. The codes are Slack's."""
    kinds = {"scope": _SCOPE, "closed": _CLOSED, "full": _FULL}
    kind = next((kind for kind, codes in kinds.items() if code in codes), "other")
    return _TEXTS[language][kind].format(code=code, remedy=PASTE_MANIFEST.in_(language))


def not_taken(why: str, language: Language) -> str:
    """For the log: one picture did not come."""
    return _NOT_TAKEN.told(language, {"why": why})


def no_more(failures: int, language: Language) -> str:
    """For the log: none will come any more."""
    return _NO_MORE.told(language, {"failures": str(failures)})
