"""What the hook says to whoever started the training, beside its messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from notifybot.errors import reader_text, said
from notifybot.types import Language

_NAMES = 10  # shown of those that were logged

_COMPLETE = {
    Language.EN: "{} is complete, no epoch is left to train: fresh=True would start over",
    Language.KO: "{} 학습은 이미 끝나서 남은 에포크가 없습니다. 처음부터 다시 학습하려면 fresh=True를 지정해 주세요",
}


def complete(name: str, language: Language) -> str:
    """Every epoch of the run is done."""
    return _COMPLETE[language].format(name)


_STILL_WRITING = {
    Language.EN: "waiting up to 10 s for {} to take the last numbers; Ctrl-C leaves them for the run's next start",
    Language.KO: "{} 기록이 끝날 때까지 최대 10초 기다립니다. Ctrl-C를 누르면 남은 값은 이 실행을 다시 시작할 때 "
    "기록합니다",
}


def still_writing(trackers: Sequence[str], language: Language) -> str:
    """The run is over, and its numbers are not all written."""
    return _STILL_WRITING[language].format(", ".join(trackers))


def waiting_for_last(seconds: float) -> str:
    """The loop is left, and its last state is still being written."""
    return reader_text("training.words.waiting_for_the_last_checkpoint_to", seconds=f"{seconds:.0f}")


_RESTORED = {Language.EN: "restored from {}: {}", Language.KO: "{}에서 복원: {}"}


def restored_with(file: str, note: str, language: Language) -> str:
    """What is otherwise than it was, of a checkpoint that was restored."""
    return _RESTORED[language].format(file, note)


def nothing_logged(name: str) -> str:
    """An epoch is over, and nobody said how it went."""
    return reader_text("training.words.nothing_was_logged_in_the_first", name=name)


def never_logged(monitor: str, epochs: int, there: Sequence[str], meant: str | None, *, saves: bool) -> str:
    """The metric that the best is told by is in no epoch; `saves`: the best checkpoint goes by it too."""
    names = ", ".join(there[:_NAMES]) + (" …" if len(there) > _NAMES else "")
    close = meant or (get_close_matches(monitor, there, n=1) or [""])[0]
    where = f"in none of the first {epochs} epochs" if epochs > 1 else "not in the first epoch"
    where_ko = f"지금까지 {epochs}에포크 동안" if epochs > 1 else "첫 에포크에"
    lost = "no checkpoint is kept as the best" if saves else "no new best is told"
    lost_ko = "가장 좋은 체크포인트를 고를 수 없습니다" if saves else "새로운 최고 기록을 알릴 수 없습니다"
    return said(
        f"monitor={monitor!r} was {where} (there were: {names or 'no metrics'}), "
        f"so {lost}{f'; did you mean {close!r}?' if close else ''}",
        f"monitor={monitor!r} 값이 {where_ko} 기록되지 않아 {lost_ko}"
        f"(기록된 값: {names or '없음'}){f'. {close!r}를 쓰려던 것은 아닌지 확인하세요' if close else ''}",
    )


def no_epochs(given: object) -> str:
    """`notify_epoch` got something that cannot be iterated."""
    text = f"{given!r:.80}"
    whole = f"range({given})" if type(given) is int else "range(30)"
    return reader_text("training.words.notify_epoch_takes_the_epochs_such", whole=whole, text=text)


def iterated_already() -> str:
    """A loop over a run's epochs was begun a second time."""
    return reader_text("training.words.these_epochs_were_iterated_already")


def no_generator() -> str:
    """`notify_run` was put on a generator."""
    return reader_text("training.words.notify_run_cannot_decorate_a_generator")


def strange_severity(given: str, known: Sequence[str]) -> str:
    """An alert's severity is a word that nobody knows."""
    names = ", ".join(known)
    return reader_text("training.words.an_alert_severity_is_one_of", names=names, given=given)


def strange_wait(given: str) -> str:
    """An alert's `wait_duration` is no span of time."""
    return reader_text("training.words.an_alert_wait_duration_takes_seconds", given=given)


def alert_after_the_end(name: str) -> str:
    """An alert was held when there is no message any more that could count it."""
    return reader_text("training.words.so_many_alerts_after_the_run", name=name)


def mute(name: str, rank: int) -> str:
    """Another rank reports, which may not be meant."""
    return reader_text("training.words.this_is_rank_and_only_rank", name=name, rank=rank)


_REBUILT = {
    Language.EN: "notifybot-run.json is missing or damaged: {} goes on as the run of the newest checkpoint, {}",
    Language.KO: "notifybot-run.json 파일이 없거나 손상되었습니다. "
    "{} 학습은 가장 최근 체크포인트의 실행({})으로 이어집니다",
}


def card_rebuilt(name: str, run_id: str, language: Language) -> str:
    """Which run is gone on with, although the folder no longer says whose it is."""
    return _REBUILT[language].format(name, run_id)


def unsaved(name: str, shapes: Sequence[str]) -> str:
    """The optimizer trains what no checkpoint will hold; without shapes, the model's own state is empty."""
    shown = ", ".join(shapes[:_NAMES]) + (" …" if len(shapes) > _NAMES else "")
    if not shapes:
        return reader_text("training.words.the_state_dict_of_model_is", name=name)
    return reader_text(
        "training.words.of_the_parameters_that_the_optimizer", name=name, shapes=len(shapes), shown=shown
    )


def does_not_learn(name: str) -> str:
    """The model in the checkpoints is as it was before the epoch: perhaps another one is trained."""
    return reader_text("training.words.nothing_that_checkpoints_holds_changed_in", name=name)


_SKIPPED = "metric "  # how the faults of values begin
_KINDS = {
    "a checkpoint": "체크포인트",
    "a promise": "다음 소식 예고",
    "a sign of life": "생존 신호",
    "a signal": "종료 신호",
    "a sweep's trial": "스윕의 실험",
    "a tracker's mark": "기록 도구의 진행 표시",
    "a tracker's page": "기록 도구의 페이지",
    "an alert": "경고",
    "an epoch's label": "에포크 번호",
    "bringing back the run's folder": "실행 폴더 되살리기",
    "copying the state": "상태 복사",
    "closing the trackers": "기록 도구 닫기",
    "looking at the machine": "장비 상태 확인",
    "opening the run": "실행 열기",
    "reading the run's past": "이전 실행 기록 읽기",
    "recording an event": "이벤트 저장",
    "starting the run": "실행 시작",
    "the alerts": "경고 규칙",
    "the card beside the checkpoints": "체크포인트 옆의 실행 정보",
    "the console": "콘솔 출력",
    "the dead man's switch": "Slack 예약 알림",
    "the end of an epoch": "에포크 마무리",
    "the last copy beside the checkpoints": "체크포인트 옆의 마지막 사본",
    "the last delivery": "마지막 전송",
    "the monitored metric": "기준 지표 확인",
    "the progress bar": "진행 막대",
    "the run's end": "실행 마무리",
    "the trackers": "기록 도구",
    "the word to rank 0": "0번 랭크에 전하는 말",
    "the words of other ranks": "다른 랭크의 말",
    "waking the delivery": "전송 깨우기",
    "what notifiers remember": "알림 수단의 기억",
    "what trackers missed": "기록 도구가 놓친 것",
    "writing the trackers' files": "기록 도구의 파일 쓰기",
    "the trackers' files beside the checkpoints": "체크포인트 옆의 기록 도구 파일",
}


def failed(kind: str, why: str) -> str:
    """Something of ours went wrong, for the first time."""
    return said(
        f"{kind} failed, training goes on: {why} (further failures of this kind are only counted)",
        f"{_in_korean(kind)} 작업에 실패했지만 학습은 계속됩니다: {why} (같은 실패가 이어지면 횟수만 셉니다)",
    )


def troubles(name: str, faults: Mapping[str, int]) -> str:
    """What did not go well in a run, apart from the training: ours, and values that could not be taken."""
    ours = ", ".join(
        said(f"{kind} ({count}×)", f"{_in_korean(kind)} {count}회")
        for kind, count in faults.items()
        if not kind.startswith(_SKIPPED)
    )
    skipped = ", ".join(
        reader_text("training.words.text", skipped=kind.removeprefix(_SKIPPED), count=count)
        for kind, count in faults.items()
        if kind.startswith(_SKIPPED)
    )
    parts = []
    if ours:
        parts.append(reader_text("training.words.notifybot_had_trouble_the_training_had", ours=ours))
    if skipped:
        parts.append(reader_text("training.words.values_that_were_skipped", skipped=skipped))
    return f"{name}: {'. '.join(parts)}"


def _in_korean(kind: str) -> str:
    for word, korean in (("the tracker ", "기록 도구"), ("tracker ", "기록 도구")):
        if kind.startswith(word):
            return f"{korean} {kind.removeprefix(word)}"
    return _KINDS.get(kind, kind)


_SPOILT = {
    Language.EN: "{}: the loop was left in epoch {} with a loss that is NaN or infinite: its state is not saved",
    Language.KO: "{}: 손실이 NaN이거나 무한대인 에포크 {}에서 반복문을 끝냈으므로 그 상태는 저장하지 않습니다",
}
_EARLY = {
    Language.EN: "{} finished early ({}), and the same cell trains nothing more: "
    "with more epochs than before it goes on, with Checkpoints(…, fresh=True) it starts over",
    Language.KO: "{} 학습은 조기에 완료되어({}) 같은 셀을 다시 실행해도 더 학습하지 않습니다. "
    "이어서 학습하려면 에포크 수를 늘리고, 처음부터 다시 하려면 Checkpoints(…, fresh=True)를 지정하세요",
}


def left_spoilt(name: str, epoch: int, language: Language) -> str:
    """The epoch that `break` ended is of no use."""
    return _SPOILT[language].format(name, epoch)


def finished_early(name: str, note: str, language: Language) -> str:
    """`epochs.stop` ended the run in an earlier start."""
    return _EARLY[language].format(name, note)


def folder_of_another(name: str, before: str) -> str:
    """Another run than the folder's, which is complete, is to begin in it: a fold, or a second phase."""
    return reader_text(
        "training.words.the_folder_holds_the_checkpoints_of", before=f"{before!r}", name=f"{name!r}", name2=name
    )


def folder_again(name: str, folder: str, epoch: int | None) -> str:
    """A folder is given again in the script or cell that just completed its run; `epoch` is where that may go on."""
    after = "" if epoch is None else f"range({epoch + 1}, …)"
    return said(
        f"the run {name!r} in the folder {folder} came to its end earlier in this same script or cell: this one would "
        "continue it and train little or nothing. Give each run (a fold, a phase) a folder of its own, such as "
        f'Checkpoints(f"{folder}/fold{{fold}}"), or Checkpoints(…, fresh=True)'
        + (f"; to train the same run on, give the epochs that are left: {after}" if after else ""),
        f"폴더 {folder}의 {name!r} 실행은 이 스크립트(또는 셀) 안에서 이미 끝났습니다. "
        "그대로 두면 그 실행에 이어져 거의 학습하지 않습니다. 폴드나 단계마다 "
        f'Checkpoints(f"{folder}/fold{{fold}}")처럼 폴더를 따로 쓰거나 Checkpoints(…, fresh=True)를 지정하세요'
        + (f". 같은 실행을 더 학습하려면 {after}처럼 남은 에포크만 넣으세요" if after else ""),
    )


def goes_on_as(name: str, before: str) -> str:
    """An unfinished run is continued under another name."""
    return reader_text("training.words.continues_the_run_of_whose_checkpoints", name=name, before=before)
