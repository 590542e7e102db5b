"""Why KakaoTalk did not take a picture, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.types import Language

TOO_LARGE = -602
_CONSENT = (-3, -402)
_SHAPE = (TOO_LARGE, -606, -911)

_TEXTS = {
    Language.EN: {
        "consent": "KakaoTalk takes no pictures yet: 카카오톡 메시지 전송 (talk_message) is off, or was not agreed to "
        "({code}). Turn it on at developers.kakao.com, [카카오 로그인] → [동의항목], then: notifybot kakao login",
        "permission": "KakaoTalk takes no pictures: the app may not upload them ({code}). "
        "Check its permissions at developers.kakao.com, or turn pictures off: NOTIFYBOT_PICTURES=off",
        "shape": "KakaoTalk did not take this picture, for its size or kind ({code}); texts are not affected",
        "feed": "KakaoTalk refused the message with its picture ({code}); it went as plain text",
        "other": "KakaoTalk did not take the picture: {why}",
        "unknown": "KakaoTalk took the picture, but gave no address for it; texts are not affected",
    },
    Language.KO: {
        "consent": "카카오톡이 아직 그림을 받지 않습니다. 카카오톡 메시지 전송(talk_message) 동의항목이 꺼져 있거나 "
        "동의하지 않았습니다({code}). developers.kakao.com의 [카카오 로그인] → [동의항목]에서 켠 뒤 "
        "notifybot kakao login을 실행해 주세요",
        "permission": "카카오톡이 그림을 받지 않습니다. 앱에 이미지 업로드 권한이 없습니다({code}). "
        "developers.kakao.com에서 권한을 확인하거나 NOTIFYBOT_PICTURES=off로 그림을 꺼 주세요",
        "shape": "그림의 크기나 형식 때문에 카카오톡이 받지 않았습니다({code}). 글은 문제없이 전송됩니다",
        "feed": "카카오톡이 그림이 든 메시지를 거절하여({code}) 글만 보냈습니다",
        "other": "카카오톡이 그림을 받지 않았습니다: {why}",
        "unknown": "카카오톡이 그림을 받았지만 주소를 알려 주지 않았습니다. 글은 문제없이 전송됩니다",
    },
}


@dataclass(frozen=True, slots=True)
class NotTaken:
    """A picture that Kakao did not take: its code, if it gave one, and what that means in the reader's language."""

    code: int | None = None
    why: str = ""
    with_message: bool = False  # it was the message that Kakao refused, not the upload

    def in_(self, language: Language) -> str:
        """What to tell a person."""
        return _TEXTS[language][self._kind].format(code=self.code, why=self.why)

    @property
    def _kind(self) -> str:
        if self.with_message:
            return "feed"
        if self.code in _CONSENT:
            return "consent"
        if self.code in _SHAPE:
            return "shape"
        return "permission" if self.code == -5 else "other" if self.why else "unknown"
