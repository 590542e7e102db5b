"""What people are told about a run, its machine and messages to them, in their language: an alert's title and text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from notifybot.events import AlertRaised
from notifybot.redaction import redact
from notifybot.rendering.error_text import reason_line
from notifybot.rendering.format import duration, size
from notifybot.rendering.text import one_line, shorten
from notifybot.types import Language, Notice, Reason

_LIMIT_LINE = 300
_LIMIT_LINES = 5


class AlertWords(NamedTuple):
    """The `title` and `text` of an AlertRaised."""

    title: str
    text: str


_NOT_SAVED = {
    Language.EN: AlertWords(
        "The checkpoint could not be saved",
        "Training goes on, and the next save tries again. Earlier checkpoints are untouched.",
    ),
    Language.KO: AlertWords(
        "체크포인트를 저장하지 못했습니다",
        "학습은 계속되며 다음 저장 때 다시 시도합니다. 이전 체크포인트는 그대로 남아 있습니다.",
    ),
}
_NOT_COPIED = {
    Language.EN: AlertWords(
        "The checkpoint could not be copied",
        "It is on the training machine only: a reset takes it along. Training goes on, and the next save tries again.",
    ),
    Language.KO: AlertWords(
        "체크포인트를 복사하지 못했습니다",
        "학습 장비에만 저장되어 있어 장비가 초기화되면 함께 사라집니다. 학습은 계속되며 다음 저장 때 다시 시도합니다.",
    ),
}
_DAMAGED = {
    Language.EN: AlertWords("A damaged checkpoint was passed over", "Training goes on from {}, which is whole."),
    Language.KO: AlertWords("손상된 체크포인트를 건너뛰었습니다", "손상되지 않은 {} 파일부터 이어서 학습합니다."),
}
_NONE_LEFT = {
    Language.EN: AlertWords(
        "No checkpoint is whole", "Training starts from the beginning, as a new run. Nothing of the old one is removed."
    ),
    Language.KO: AlertWords(
        "온전한 체크포인트가 없습니다",
        "새로운 실행으로 학습을 처음부터 시작합니다. 이전 실행의 파일은 지우지 않습니다.",
    ),
}
_SPARED = {
    Language.EN: AlertWords(
        "Old checkpoints were not removed",
        "They cannot be read, so they are kept and take {} until you remove them.",
    ),
    Language.KO: AlertWords(
        "이전 체크포인트를 지우지 않았습니다",
        "읽을 수 없어 그대로 두었습니다. 직접 지우기 전까지 {}를 차지합니다.",
    ),
}
_OF_ANOTHER_KIND = {
    Language.EN: AlertWords("A file is not one to continue from", "Training starts from the beginning."),
    Language.KO: AlertWords("이어서 학습할 수 없는 파일이 있습니다", "학습을 처음부터 시작합니다."),
}
_WORKS_AGAIN = {
    Language.EN: AlertWords("Checkpoints are saved again", "The latest one was read back and is whole."),
    Language.KO: AlertWords(
        "체크포인트가 다시 저장되고 있습니다", "가장 최근 체크포인트를 다시 읽어 이상이 없음을 확인했습니다."
    ),
}
_NOT_DELIVERED = {
    Language.EN: AlertWords("{} did not take a message", ""),
    Language.KO: AlertWords("{}에 알림을 보내지 못했습니다", ""),
}
_NOT_FOUND = {
    Language.EN: AlertWords("A checkpoint was not found", "It was reported as saved, and is not counted as that."),
    Language.KO: AlertWords(
        "체크포인트를 찾을 수 없습니다", "코드가 저장했다고 알린 경로에 없어 저장된 것으로 보지 않습니다."
    ),
}
_NOTHING_LEFT = {
    Language.EN: AlertWords(
        "Nothing was trained: the folder holds a complete run",
        "A program that was started with other arguments or parameters went on from these checkpoints and had no epoch "
        "left to train. "
        "If it is a run of its own (a fold, another setting), give it a folder of its own, such as "
        'Checkpoints(f"exp/fold{fold}"), or Checkpoints(…, fresh=True).',
    ),
    Language.KO: AlertWords(
        "학습하지 않았습니다: 폴더에 이미 끝난 실행이 있습니다",
        "다른 인자나 하이퍼파라미터로 시작한 프로그램이 이 체크포인트에 이어서 시작했지만 남은 에포크가 없습니다. "
        '별도의 실행(폴드, 다른 설정)이라면 Checkpoints(f"exp/fold{fold}")처럼 폴더를 따로 쓰거나 '
        "Checkpoints(…, fresh=True)를 지정하세요.",
    ),
}
_SUPERSEDED = {
    Language.EN: AlertWords(
        "A newer session took this run over",
        "The older one reports nothing more. If it still computes, it can be stopped. "
        "If both are to train (folds, say), give each a folder of its own.",
    ),
    Language.KO: AlertWords(
        "새 세션이 이 실행을 이어받았습니다",
        "이전 세션은 더 이상 알림을 보내지 않습니다. 아직 실행 중이라면 중단해도 됩니다. "
        "둘 다 학습하려던 것(폴드 등)이라면 폴더를 따로 쓰세요.",
    ),
}
_NEWER_ON = {Language.EN: "The newer session runs on {}.", Language.KO: "새 세션은 {}에서 실행 중입니다."}


_NEAR_ITS_END = {
    Language.EN: AlertWords(
        "Colab may end this session soon",
        "Colab usually ends a session after about {hours} hours; this machine has been up for {up}. That is a rule of "
        "thumb, no fixed time. If it happens, run the same cells again to go on.",
    ),
    Language.KO: AlertWords(
        "Colab 세션이 곧 끝날 수 있습니다",
        "Colab 세션은 보통 {hours}시간쯤이면 끝납니다. 이 런타임은 켜진 지 {up} 되었습니다. 정해진 시간은 아니니 "
        "참고만 하세요. 세션이 끊기면 같은 셀을 다시 실행해 이어서 학습하면 됩니다.",
    ),
}


_NOTICES = {
    "checkpoint_not_saved": _NOT_SAVED,
    "checkpoint_not_copied": _NOT_COPIED,
    "checkpoint_damaged": _DAMAGED,
    "no_checkpoint_whole": _NONE_LEFT,
    "no_checkpoint_of_its_kind": _OF_ANOTHER_KIND,
    "checkpoint_spared": _SPARED,
    "checkpoint_works_again": _WORKS_AGAIN,
    "checkpoint_not_found": _NOT_FOUND,
    "not_delivered": _NOT_DELIVERED,
    "nothing_left": _NOTHING_LEFT,
}


def checkpoint_not_saved(reason: Reason) -> Notice:
    """A checkpoint could not be written: a run that dies now loses more."""
    return Notice("checkpoint_not_saved", reasons=(_bounded(reason),))


def checkpoint_not_copied(reason: Reason) -> Notice:
    """A checkpoint is whole on the training machine, but not in the folder that outlives it."""
    return Notice("checkpoint_not_copied", reasons=(_bounded(reason),))


def checkpoint_not_found(path: str) -> Notice:
    """The user's code reports a checkpoint that is not there."""
    return Notice("checkpoint_not_found", reasons=(_bounded(Reason("missing", path)),))


def checkpoint_damaged(damaged: Sequence[Reason], used: str | None) -> Notice:
    """Checkpoints that are not whole were passed over for `used`, or there is none to go on from; five are told."""
    told = tuple(_bounded(each) for each in damaged[:_LIMIT_LINES])
    strange = all(each.code in ("no_state", "no_dict") for each in damaged)  # whole, for all that anybody knows
    code = "checkpoint_damaged" if used else "no_checkpoint_of_its_kind" if strange else "no_checkpoint_whole"
    return Notice(code, _line(redact(used or "")), told, max(len(damaged) - _LIMIT_LINES, 0))


def checkpoint_spared(spared: Sequence[Reason], size_bytes: int) -> Notice:
    """Checkpoints stay beyond their time because they cannot be read; five are told."""
    told = tuple(_bounded(each) for each in spared[:_LIMIT_LINES])
    return Notice("checkpoint_spared", size(size_bytes), told, max(len(spared) - _LIMIT_LINES, 0))


def checkpoint_works_again() -> Notice:
    """After one of the first two: a checkpoint was saved, and copied to where it should be."""
    return Notice("checkpoint_works_again")


def not_delivered(notifier: str, reason: Reason) -> Notice:
    """A notifier will never take a message: told on the others."""
    return Notice("not_delivered", notifier, (_bounded(reason),))


def nothing_left() -> Notice:
    """A program that should perhaps have been a run of its own found a complete one, and trained nothing."""
    return Notice("nothing_left")


def notice_words(notice: Notice, language: Language) -> AlertWords:
    """Return what a notice says. Raises KeyError for one of a later version."""
    words = _NOTICES[notice.code][language]
    lines = [_line(reason_line(each, language)) for each in notice.reasons[:_LIMIT_LINES]]
    if notice.code == "not_delivered":
        return AlertWords(words.title.format(_line(notice.used)), "\n".join(lines))
    if notice.code in ("checkpoint_not_saved", "checkpoint_not_copied", "checkpoint_not_found"):
        return _after("\n".join(map(_sentence, lines)), words)
    if notice.code == "nothing_left":
        return words
    more = [f"… +{notice.more}"] if notice.more > 0 else []
    return AlertWords(words.title, "\n".join((words.text.format(_line(notice.used)), *lines, *more)))


def alert_words(alert: AlertRaised, language: Language) -> AlertWords:
    """Return what an alert says: one of ours in the reader's language, any other as it is stored."""
    if alert.notice is not None and alert.notice.code in _NOTICES:
        return notice_words(alert.notice, language)
    return AlertWords(alert.title, alert.text)


def session_superseded(host: str, language: Language) -> AlertWords:
    """A newer session, on `host` where that is known, speaks for the run; the older one falls silent."""
    return _after(_NEWER_ON[language].format(_line(host)) if host else "", _SUPERSEDED[language])


def session_near_its_end(limit_h: int, up_s: float, language: Language) -> AlertWords:
    """A Colab machine has been up for nearly as long as its sessions usually last."""
    title, text = _NEAR_ITS_END[language]
    return AlertWords(title, text.format(hours=limit_h, up=duration(up_s, language)))


def _sentence(reason: str) -> str:
    """Close a reason with a full stop: where there is room for one line only, the next sentence follows it."""
    return _line(reason).rstrip(". ") + "." if reason.strip() else ""


def _after(happened: str, words: AlertWords) -> AlertWords:
    """Put what happened, where that is known, before what follows from it."""
    return AlertWords(words.title, f"{happened}\n{words.text}" if happened else words.text)


def _bounded(reason: Reason) -> Reason:
    """As it is stored: without secrets and half characters, as an exception's text or a file's name may have them."""
    values = {name: _line(redact(value)) for name, value in reason.values.items()}
    return replace(reason, about=_line(redact(reason.about)), values=values)


def _line(text: str) -> str:
    return shorten(one_line(text), _LIMIT_LINE)
