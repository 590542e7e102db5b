"""What the demo says, in Korean and English."""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.types import Language


@dataclass(frozen=True, slots=True)
class Words:
    """Sentences of the story, of the check list, and of what to open afterwards."""

    title: str
    intro: str
    intro_real: str
    sandbox: str
    watchdog: str
    training: str
    kakao: str
    epoch: str
    kill: str
    silence: str
    lost: str
    again: str
    ended: str
    not_seen: str
    posted: str
    edited: str
    replied: str
    broadcast: str
    checks: str
    passed: str
    failed: str
    open: str
    open_curves: str
    open_slack: str
    open_phone: str
    open_watchdog: str
    open_transcript: str
    open_folder: str
    log_tail: str
    as_sent: str
    as_sent_note: str
    every_event: str
    every_event_note: str
    check: dict[str, str]


_EN = Words(
    title="notifybot demo",
    intro="A real training on this machine: it will be killed, reported lost, started again, and finish. "
    "About a minute; no account is used.",
    intro_real="A real training on this machine: it will be killed, reported lost, started again, and finish. "
    "About a minute; the messages go to your own accounts.",
    sandbox="Stand-ins for Slack and KakaoTalk: {url}",
    watchdog="The watchdog, which notices when a run falls silent: {url}",
    training="Training begins: a small network learns to read 1,797 handwritten digits, {epochs} epochs",
    kakao="KakaoTalk",
    epoch="epoch {epoch} ({done}/{total})  {metrics}",
    kill="kill -9 in the middle of epoch {epoch}, and its machine's disk is deleted: nobody is left there to tell",
    silence="Waiting for the watchdog to notice (it allows {seconds:g} seconds of silence here, usually a minute)",
    lost="The watchdog reported the run lost",
    again="The same script on an empty disk: it goes on from the newest checkpoint on the drive, {checkpoint}",
    ended="The training has ended",
    not_seen="not seen within {seconds:g} seconds",
    posted="new",
    edited="edit",
    replied="thread",
    broadcast="thread + channel",
    checks="What was checked",
    passed="All {count} checks passed in {seconds:.0f} seconds.",
    failed="{count} of {total} checks failed. The logs of the processes are in {logs}",
    open="What to open now",
    open_curves="The curves",
    open_slack="Slack as it looks",
    open_phone="The phone",
    open_watchdog="The watchdog",
    open_transcript="Every message",
    open_folder="Everything",
    log_tail="the last lines of {name}:",
    as_sent="As sent",
    as_sent_note="Every call that Slack and KakaoTalk took, in order. The first message of the run in Slack is edited "
    "as epochs pass; the rest stands in its thread.",
    every_event="Every event",
    every_event_note="What happened to the run, each event as its message says it in English.",
    check={
        "started": "The start was told in Slack and KakaoTalk",
        "one_root": "All of it stands in one Slack thread",
        "edited": "Its first message was edited as epochs passed",
        "killed": "The training was killed by SIGKILL before its last epoch",
        "lost": "The watchdog told the loss in Slack and KakaoTalk, once",
        "resumed": "The second start went on with the next epoch, from the drive alone, under the same run id",
        "recovered": "The return was told in Slack and KakaoTalk",
        "finished": "The end was told in Slack and KakaoTalk, exit code 0",
        "jsonl": "metrics.jsonl holds every epoch once",
        "tensorboard": "TensorBoard's own reader sees every epoch once",
        "wandb": "W&B's offline files hold every epoch",
        "outbox": "No message is missing: put = sent + pending + dead + dropped, none dead",
        "told": "Start, loss, return and end were taken by every configured notifier",
    },
)

_KO = Words(
    title="notifybot 데모",
    intro="이 컴퓨터에서 실제로 학습을 돌립니다. 학습은 도중에 강제 종료되고, 끊겼다는 알림이 가고, 다시 시작해 끝까지 "
    "갑니다. 약 1분 걸리며 계정은 필요하지 않습니다.",
    intro_real="이 컴퓨터에서 실제로 학습을 돌립니다. 학습은 도중에 강제 종료되고, 끊겼다는 알림이 가고, 다시 시작해 "
    "끝까지 갑니다. 약 1분 걸리며 메시지는 설정해 둔 계정으로 갑니다.",
    sandbox="Slack과 카카오톡을 대신하는 샌드박스: {url}",
    watchdog="소식이 끊긴 학습을 알아채는 감시 서버: {url}",
    training="학습 시작: 작은 신경망이 손글씨 숫자 1,797장을 익힙니다. 총 {epochs}에포크",
    kakao="카카오톡",
    epoch="에포크 {epoch} ({done}/{total})  {metrics}",
    kill="에포크 {epoch} 도중에 kill -9, 학습 장비의 디스크도 삭제: 이제 그쪽에서는 아무 말도 할 수 없습니다",
    silence="감시 서버가 알아채기를 기다립니다 (여기서는 {seconds:g}초, 보통은 1분 동안 소식이 없으면 알립니다)",
    lost="감시 서버가 연결 끊김을 알렸습니다",
    again="빈 디스크에서 같은 스크립트를 다시 실행: 드라이브에 남은 최신 체크포인트 {checkpoint}에서 이어 갑니다",
    ended="학습이 끝났습니다",
    not_seen="{seconds:g}초 안에 확인하지 못했습니다",
    posted="새 메시지",
    edited="수정",
    replied="스레드",
    broadcast="스레드 + 채널",
    checks="확인한 것",
    passed="확인 {count}개를 모두 통과했습니다. {seconds:.0f}초 걸렸습니다.",
    failed="확인 {total}개 가운데 {count}개가 실패했습니다. 프로세스 로그는 {logs}에 있습니다",
    open="이제 열어 볼 것",
    open_curves="학습 곡선",
    open_slack="Slack 화면",
    open_phone="휴대폰 화면",
    open_watchdog="감시 서버 화면",
    open_transcript="모든 메시지",
    open_folder="전체 결과",
    log_tail="{name}의 마지막 줄:",
    as_sent="보낸 그대로",
    as_sent_note="Slack과 카카오톡이 받은 요청을 시간순으로 모두 적었습니다. Slack에서는 실행의 첫 메시지가 에포크마다 "
    "수정되고, 나머지는 그 스레드에 달립니다.",
    every_event="모든 이벤트",
    every_event_note="실행에 일어난 일을 이벤트마다 한국어 메시지로 적었습니다.",
    check={
        "started": "시작을 Slack과 카카오톡에 알렸습니다",
        "one_root": "모든 소식이 Slack 스레드 하나에 모였습니다",
        "edited": "에포크가 지날 때마다 스레드의 첫 메시지가 수정되었습니다",
        "killed": "마지막 에포크 전에 SIGKILL로 학습을 강제 종료했습니다",
        "lost": "감시 서버가 연결 끊김을 Slack과 카카오톡에 한 번 알렸습니다",
        "resumed": "두 번째 시작이 드라이브만으로 같은 실행 ID의 다음 에포크부터 이어 갔습니다",
        "recovered": "돌아온 것을 Slack과 카카오톡에 알렸습니다",
        "finished": "완료를 Slack과 카카오톡에 알렸고 종료 코드는 0입니다",
        "jsonl": "metrics.jsonl에 모든 에포크가 한 번씩 있습니다",
        "tensorboard": "TensorBoard의 리더로 모든 에포크를 한 번씩 읽었습니다",
        "wandb": "W&B 오프라인 파일에 모든 에포크가 있습니다",
        "outbox": "빠진 메시지가 없습니다: 접수 = 전송 + 대기 + 포기 + 생략, 포기 없음",
        "told": "시작, 끊김, 복귀, 완료를 설정된 모든 알림 수단이 받았습니다",
    },
)

_WORDS = {Language.EN: _EN, Language.KO: _KO}


def words_of(language: Language) -> Words:
    """The words of a language."""
    return _WORDS[language]
