"""The words of the pages, in both languages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from notifybot.rendering.format import duration
from notifybot.types import Language, Status


@dataclass(frozen=True, slots=True)
class Texts:
    """All that a page says in one language. `{}` stands for a value."""

    runs: str
    no_runs: str
    no_runs_hint: str
    shown: str
    newer: str
    older: str
    epoch: str
    no_epoch: str
    heard: str
    moved: str
    ago: str
    just_now: str
    eta: str
    curves: str
    metrics: str
    value: str
    change: str
    best: str
    at_epoch: str
    facts: str
    project: str
    machine: str
    device: str
    memory: str
    uptime: str
    model: str
    resumed: str
    from_there: str
    from_step: str
    moved_to: str
    redone: str
    saved_before: str
    process: str
    attempt: str
    took: str
    per_epoch: str
    checkpoint: str
    no_checkpoint: str
    params: str
    timeline: str
    stack: str
    frames: str
    interrupt: str
    cell: str
    command: str
    go_on_from: str
    go_on_from_file: str
    go_on_itself: str
    go_on_with_disk: str
    last_one: str
    go_on_anew: str
    lost: str
    stalled: str
    failed: str
    interrupted: str
    no_beats: str
    was_silent: str
    stood_still: str
    was_away: str
    back: str
    log_in: str
    log_in_hint: str
    key: str
    wrong_key: str
    old_link: str
    nobody: str
    log_out: str
    not_found: str
    offline: str
    other_language: str
    statuses: Mapping[str, str]
    kinds: Mapping[str, str]


_EN = Texts(
    runs="Runs",
    no_runs="No run has reported yet.",
    no_runs_hint="Make a token with `notifybot watchdog token new PROJECT`, then set NOTIFYBOT_WATCHDOG_URL and "
    "NOTIFYBOT_WATCHDOG_TOKEN where you train.",
    shown="{}–{} of {}",
    newer="← Previous",
    older="Next →",
    epoch="epoch",
    no_epoch="no epoch done yet",
    heard="heard",
    moved="loop moved",
    ago="{} ago",
    just_now="just now",
    eta="ETA {}",
    curves="Learning curves",
    metrics="Metrics",
    value="value",
    change="change",
    best="best",
    at_epoch="epoch {}",
    facts="Details",
    project="Project",
    machine="Machine",
    device="Device",
    memory="Memory",
    uptime="Machine up for",
    model="Model",
    resumed="Resumed",
    from_there="from {}",
    from_step="in the middle of {}, step {}",
    moved_to="on a new {}",
    redone="{} lost",
    saved_before="saved {} before",
    process="Process",
    attempt="Session",
    took="Elapsed",
    per_epoch="Per epoch",
    checkpoint="Last checkpoint",
    no_checkpoint="none known",
    params="Parameters",
    timeline="Events",
    stack="Where the loop stands",
    frames="Where it failed",
    interrupt="Still stuck? Interrupt it.",
    cell="cell",
    command="command",
    go_on_from="Run the same {again} again; it can go on from the checkpoint of epoch {}.",
    go_on_from_file="Run the same {again} again; it can go on from its last checkpoint.",
    go_on_itself="Run the same {again} again; it continues by itself from {}.",
    go_on_with_disk="Run the same {again} again; if that machine's disk remains, it continues from {}.",
    last_one="its last checkpoint",
    go_on_anew="Run the same {again} again; no checkpoint is known, so it starts from the beginning.",
    lost="Nothing was heard for {}. The runtime ended, or its network is gone.",
    stalled="The process answers, but its loop has not moved for {}.",
    failed="The run ended with an error.",
    interrupted="The run was interrupted.",
    no_beats="sends no heartbeats",
    was_silent="silent for {}",
    stood_still="the loop stood still for {}",
    was_away="after {}",
    back="All runs",
    log_in="Log in",
    log_in_hint="These pages open with a token of your project, or with the link that `notifybot watchdog login` "
    "prints on the watchdog's machine.",
    key="Token",
    wrong_key="This token gives no access. Copy it whole, or make a new one.",
    old_link="This link has been used, or is older than an hour. `notifybot watchdog login` prints a new one.",
    nobody="No notifier is configured where the watchdog runs: it notices a lost run and tells nobody. Set one, "
    "such as NOTIFYBOT_SLACK_WEBHOOK_URL, and start it again.",
    log_out="Log out",
    not_found="There is no such run.",
    offline="The watchdog does not answer. These numbers are old.",
    other_language="한국어",
    statuses=MappingProxyType({str(each): str(each) for each in (*Status, "stalled")}),
    kinds=MappingProxyType(
        {
            "run_started": "started",
            "run_resumed": "continued",
            "epoch_finished": "epoch finished",
            "checkpoint_saved": "checkpoint saved",
            "alert_raised": "alert",
            "run_ended": "ended",
            "run_stalled": "stalled",
            "run_lost": "lost",
            "run_recovered": "recovered",
        }
    ),
)

_KO = Texts(
    runs="실행 목록",
    no_runs="아직 보고된 실행이 없습니다.",
    no_runs_hint="`notifybot watchdog token new 프로젝트`로 토큰을 만든 뒤, 학습하는 곳에서 NOTIFYBOT_WATCHDOG_URL과 "
    "NOTIFYBOT_WATCHDOG_TOKEN을 설정해 주세요.",
    shown="{}–{} / 전체 {}개",
    newer="← 이전",
    older="다음 →",
    epoch="에포크",
    no_epoch="완료한 에포크 없음",
    heard="마지막 소식",
    moved="마지막 진행",
    ago="{} 전",
    just_now="방금",
    eta="남은 시간 {}",
    curves="학습 곡선",
    metrics="지표",
    value="값",
    change="변화",
    best="최고",
    at_epoch="에포크 {}",
    facts="상세 정보",
    project="프로젝트",
    machine="장비",
    device="장치",
    memory="메모리",
    uptime="장비 가동 시간",
    model="모델",
    resumed="이어서 시작",
    from_there="{}에 이어서",
    from_step="{} 도중 {}스텝에 이어서",
    moved_to="새 {}에서",
    redone="{} 분량 다시 학습",
    saved_before="{} 전에 저장",
    process="프로세스",
    attempt="세션",
    took="경과 시간",
    per_epoch="에포크당",
    checkpoint="마지막 체크포인트",
    no_checkpoint="확인된 것 없음",
    params="하이퍼파라미터",
    timeline="기록",
    stack="멈춘 위치",
    frames="오류 위치",
    interrupt="계속 멈춰 있으면 실행을 중단해 주세요.",
    cell="셀을",
    command="명령을",
    go_on_from="같은 {again} 다시 실행해 주세요. 에포크 {} 체크포인트부터 이어서 학습할 수 있습니다.",
    go_on_from_file="같은 {again} 다시 실행해 주세요. 마지막 체크포인트부터 이어서 학습할 수 있습니다.",
    go_on_itself="같은 {again} 다시 실행해 주세요. {}에 이어서 자동으로 학습을 계속합니다.",
    go_on_with_disk="같은 {again} 다시 실행해 주세요. 학습하던 장비의 디스크가 남아 있을 때만 {}에 이어서 학습합니다.",
    last_one="마지막 체크포인트",
    go_on_anew="같은 {again} 다시 실행해 주세요. 확인된 체크포인트가 없어 처음부터 시작합니다.",
    lost="{} 동안 소식이 없습니다. 런타임이 종료되었거나 네트워크가 끊겼을 수 있습니다.",
    stalled="프로세스는 응답하지만 학습 루프가 {} 동안 진행되지 않았습니다.",
    failed="오류로 학습이 끝났습니다.",
    interrupted="학습이 중단되었습니다.",
    no_beats="신호를 보내지 않는 실행",
    was_silent="{} 동안 소식 없음",
    stood_still="{} 동안 진행 없음",
    was_away="{} 만에 다시 연결",
    back="전체 목록",
    log_in="로그인",
    log_in_hint="프로젝트 토큰, 또는 감시 서버 장비에서 `notifybot watchdog login`이 출력하는 링크로 열 수 있습니다.",
    key="토큰",
    wrong_key="이 토큰으로는 열 수 없습니다. 빠짐없이 복사했는지 확인하거나 새로 만들어 주세요.",
    old_link="이미 사용했거나 한 시간이 지난 링크입니다. `notifybot watchdog login`으로 새 링크를 만드세요.",
    nobody="감시 서버에 알림 수단이 설정되어 있지 않아, 연결이 끊긴 실행을 발견해도 아무에게도 알리지 않습니다. "
    "NOTIFYBOT_SLACK_WEBHOOK_URL 같은 설정을 추가하고 다시 시작하세요.",
    log_out="로그아웃",
    not_found="해당하는 실행이 없습니다.",
    offline="감시 서버가 응답하지 않습니다. 아래 내용은 최신이 아닙니다.",
    other_language="English",
    statuses=MappingProxyType(
        {
            "running": "진행 중",
            "finished": "완료",
            "stopped": "조기 종료",
            "interrupted": "중단됨",
            "failed": "실패",
            "lost": "연결 끊김",
            "stalled": "멈춤",
        }
    ),
    kinds=MappingProxyType(
        {
            "run_started": "시작",
            "run_resumed": "이어서 시작",
            "epoch_finished": "에포크 완료",
            "checkpoint_saved": "체크포인트 저장",
            "alert_raised": "알림",
            "run_ended": "종료",
            "run_stalled": "멈춤",
            "run_lost": "연결 끊김",
            "run_recovered": "복구됨",
        }
    ),
)

TEXTS = MappingProxyType({Language.EN: _EN, Language.KO: _KO})


def span(seconds: float | None, language: Language) -> str:
    """A time span in whole seconds, in words; empty where it is not known."""
    if seconds is None:
        return ""
    return duration(float(round(seconds)) if seconds >= 1 else seconds, language)


def ago(moment: datetime | None, now: datetime, language: Language) -> str:
    """How long ago something was: "12 s ago", "12초 전"."""
    if moment is None:
        return ""
    seconds = (now - moment).total_seconds()
    texts = TEXTS[language]
    return texts.just_now if seconds < 1 else texts.ago.format(span(seconds, language))
