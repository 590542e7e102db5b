"""What the commands print, in Korean and English."""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.types import Language


@dataclass(frozen=True, slots=True)
class Words:
    """Headings and sentences. Names of columns in JSON are not among them: those are the same everywhere."""

    notifier: str
    kind: str
    result: str
    sent: str
    skipped: str
    no_notifier: str
    put: str
    pending: str
    dead: str
    dropped: str
    check: str
    conserved: str
    violated: str
    empty_outbox: str
    no_dead: str
    at: str
    run: str
    reason: str
    status: str
    stalled: str
    epoch: str
    metrics: str
    heard: str
    eta: str
    no_runs: str
    ago: str
    sandbox_pages: str
    sandbox_export: str
    sandbox_stop: str
    shown_once: str
    how_to_use: str
    no_tokens: str
    revoked: str
    valid: str
    project: str
    label: str
    created: str
    statuses: dict[str, str]


_EN = Words(
    notifier="Notifier",
    kind="Message",
    result="Result",
    sent="sent",
    skipped="not tried",
    no_notifier="No notifier is configured: `notifybot slack setup` or `notifybot kakao login` sets one up.",
    put="Put",
    pending="Pending",
    dead="Dead",
    dropped="Dropped",
    check="Check",
    conserved="nothing missing",
    violated="DOES NOT ADD UP",
    empty_outbox="The outbox is empty: nothing was ever put into it.",
    no_dead="No message was given up.",
    at="When",
    run="Run",
    reason="Reason",
    status="Status",
    stalled="stalled",
    epoch="Epoch",
    metrics="Metrics",
    heard="Last heard",
    eta="ETA",
    no_runs="No run has been recorded on this machine yet.",
    ago="{} ago",
    sandbox_pages="Slack and KakaoTalk as they would look:",
    sandbox_export="Point a training at the sandbox with these variables:",
    sandbox_stop="Ctrl-C ends it.",
    shown_once="The token is shown this once. Keep it like a password:",
    how_to_use="Give it to the training process:",
    no_tokens="No token has been made yet: notifybot watchdog token new PROJECT",
    revoked="revoked",
    valid="valid",
    project="Project",
    label="Label",
    created="Made",
    statuses={
        "running": "running",
        "finished": "finished",
        "stopped": "stopped",
        "interrupted": "interrupted",
        "failed": "failed",
        "lost": "lost",
    },
)

_KO = Words(
    notifier="알림 수단",
    kind="메시지",
    result="결과",
    sent="전송됨",
    skipped="시도하지 않음",
    no_notifier="설정된 알림 수단이 없습니다. `notifybot slack setup`이나 `notifybot kakao login`으로 설정하세요.",
    put="접수",
    pending="대기",
    dead="포기",
    dropped="생략",
    check="검산",
    conserved="빠짐없음",
    violated="합이 맞지 않음",
    empty_outbox="보낼 편지함이 비어 있습니다. 아직 접수된 메시지가 없습니다.",
    no_dead="전송을 포기한 메시지가 없습니다.",
    at="시각",
    run="실행",
    reason="이유",
    status="상태",
    stalled="멈춤",
    epoch="에포크",
    metrics="지표",
    heard="마지막 소식",
    eta="남은 시간",
    no_runs="이 컴퓨터에는 아직 기록된 실행이 없습니다.",
    ago="{} 전",
    sandbox_pages="Slack과 카카오톡 화면 보기:",
    sandbox_export="학습 프로세스가 샌드박스로 보내게 하려면 다음 변수를 설정하세요:",
    sandbox_stop="끝내려면 Ctrl-C를 누르세요.",
    shown_once="토큰은 지금 한 번만 표시됩니다. 비밀번호처럼 보관하세요:",
    how_to_use="학습 프로세스에는 이렇게 설정합니다:",
    no_tokens="아직 만든 토큰이 없습니다: notifybot watchdog token new PROJECT",
    revoked="폐기됨",
    valid="사용 중",
    project="프로젝트",
    label="이름표",
    created="만든 시각",
    statuses={
        "running": "진행 중",
        "finished": "완료",
        "stopped": "조기 종료",
        "interrupted": "중단됨",
        "failed": "실패",
        "lost": "연결 끊김",
    },
)

_WORDS = {Language.EN: _EN, Language.KO: _KO}


def words_of(language: Language) -> Words:
    """The words of a language."""
    return _WORDS[language]
