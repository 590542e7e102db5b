"""Why a checkpoint or a message could not be handled, in a person's language. Values are data, shown as they are."""

from __future__ import annotations

from collections.abc import Sequence

from notifybot.errors import DeliveryError, system_korean
from notifybot.rendering.both import Values
from notifybot.rendering.delivery_reasons import delivery_line, delivery_reason
from notifybot.types import Language, Reason

# `{which}` is the part of a checkpoint that is in several files; without one it is "it", or nothing in Korean.
_WORDS = {
    Language.EN: {
        "missing": "{which}is missing",
        "folder_missing": "it is missing",
        "no_folder": "it is not a folder",
        "no_file": "{which}is not a regular file",
        "size": "{which}has {found} bytes instead of {expected}",
        "content": "{which}has another content than was saved (its hash differs)",
        "no_json": "no readable JSON",
        "no_manifest": "not a manifest of notifybot",
        "manifest_damaged": "damaged: it does not match its own hash",
        "manifest_format": "of format {format}, which this version of notifybot cannot read",
        "manifest_shape": "incomplete or of another shape: {text}",
        "manifest_text": "a text is something else",
        "manifest_count": "a count is no whole number",
        "manifest_moment": "the epoch or the time of saving is something else",
        "manifest_outside": "it names a file outside its folder: {file}",
        "manifest_kind": "its kind and its parts do not agree",
        "manifest_part_outside": "it names a part outside its folder",
        "manifest_of_another": "it is the manifest of {file}",
        "no_state": "it has no model_state_dict and epoch",
        "not_finite": "its parameters are NaN or infinite",
        "cut_short": "it is cut short",
        "empty": "it is empty or cut short",
        "refused": "it is refused, and nothing of it was run: it holds {what}",
        "refused_unnamed": "it is refused, and nothing of it was run: it holds what no checkpoint needs",
        "old_torch": "PyTorch {version} can be made to run code by a checkpoint; install torch>=2.10",
        "unreadable": "it is damaged or no PyTorch checkpoint: {text}",
        "no_dict": "it holds {type}, not a dict with model_state_dict",
        "changed": "it has changed since it was saved",
        "copy_differs": "the copy of {file} reads back as something else",
        "still_writing": "the one before is still being written",
        "not_written": "not written after {seconds} s",
        "frozen_here": "frozen in the program, learning when the checkpoint was saved: {count} parameters ({names})",
        "learns_here": "learning in the program, frozen when the checkpoint was saved: {count} parameters ({names})",
        "held_here": "batch-norm statistics fixed in the program, moving when the checkpoint was saved: {names}",
        "moves_here": "batch-norm statistics moving in the program, fixed when the checkpoint was saved: {names}",
        "setting_kept": "{name} is {there} as in the checkpoint, not {here}",
        "disk": "{text}",
        "other": "{text}",
    },
    Language.KO: {
        "missing": "{which}파일이 없습니다",
        "folder_missing": "폴더가 없습니다",
        "no_folder": "폴더가 아닙니다",
        "no_file": "{which}항목이 일반 파일이 아닙니다",
        "size": "{which}크기가 {expected}바이트가 아니라 {found}바이트입니다",
        "content": "{which}내용이 저장한 것과 다릅니다(해시 불일치)",
        "no_json": "JSON 형식이 아니어서 읽을 수 없습니다",
        "no_manifest": "notifybot의 매니페스트가 아닙니다",
        "manifest_damaged": "손상되어 기록된 해시와 맞지 않습니다",
        "manifest_format": "이 버전의 notifybot에서는 읽을 수 없는 형식입니다: {format}",
        "manifest_shape": "빠졌거나 형식이 다른 항목이 있습니다: {text}",
        "manifest_text": "문자열이어야 할 값이 문자열이 아닙니다",
        "manifest_count": "정수여야 할 값이 0 이상의 정수가 아닙니다",
        "manifest_moment": "에포크나 저장 시각이 올바르지 않습니다",
        "manifest_outside": "폴더 밖의 파일을 가리킵니다: {file}",
        "manifest_kind": "종류와 구성 파일이 서로 맞지 않습니다",
        "manifest_part_outside": "폴더 밖의 구성 파일을 가리킵니다",
        "manifest_of_another": "다른 체크포인트의 매니페스트입니다: {file}",
        "no_state": "model_state_dict와 epoch이 들어 있지 않습니다",
        "not_finite": "파라미터에 NaN이나 무한대가 있습니다",
        "cut_short": "파일이 중간에 잘렸습니다",
        "empty": "비어 있거나 중간에 잘린 파일입니다",
        "refused": "체크포인트에 필요 없는 항목이 있어 실행하지 않고 거부했습니다: {what}",
        "refused_unnamed": "체크포인트에 필요 없는 항목이 있어 실행하지 않고 거부했습니다",
        "old_torch": "PyTorch {version}에서는 체크포인트로 악성 코드가 실행될 수 있습니다. torch>=2.10을 설치해 주세요",
        "unreadable": "손상되었거나 PyTorch 체크포인트가 아닙니다: {text}",
        "no_dict": "model_state_dict가 있는 dict가 아니라 {type} 형식입니다",
        "changed": "저장한 뒤에 내용이 바뀌었습니다",
        "copy_differs": "{file}의 복사본을 다시 읽어 보니 원본과 다릅니다",
        "still_writing": "이전 체크포인트를 아직 저장하고 있습니다",
        "not_written": "{seconds}초가 지나도록 저장이 끝나지 않았습니다",
        "frozen_here": "체크포인트를 저장할 때는 학습하던 파라미터 {count}개가 코드에서는 고정되어 있습니다({names})",
        "learns_here": "체크포인트를 저장할 때는 고정되어 있던 파라미터 {count}개가 코드에서는 학습합니다({names})",
        "held_here": "체크포인트를 저장할 때와 달리 배치 정규화 통계가 코드에서는 고정되어 있습니다: {names}",
        "moves_here": "체크포인트를 저장할 때와 달리 배치 정규화 통계가 코드에서는 바뀝니다: {names}",
        "setting_kept": "{name} = {there}(체크포인트의 값이며, 코드에서는 {here})",
        "disk": "{text}",
        "other": "{text}",
    },
}
# What a resumed session has otherwise than the program: told when it starts.
NOTES = frozenset({"setting_kept", "frozen_here", "learns_here", "held_here", "moves_here"})

_PART = {Language.EN: ("{} ", "it "), Language.KO: ("{} ", "")}

_UNREAD = {
    Language.EN: "checkpoints cannot be read now: {what}. Nothing was changed and no training begun: try later. ",
    Language.KO: "지금은 체크포인트를 읽을 수 없습니다: {what}. 아무것도 바꾸지 않았고 학습도 시작하지 않았습니다. "
    "나중에 다시 실행하세요. ",
}
_STEP_BACK = {
    Language.EN: 'Checkpoints(…, resume="newest readable") goes on from {used}, and fresh=True starts over',
    Language.KO: 'Checkpoints(…, resume="newest readable")를 지정하면 {used}부터 이어서 학습하고, '
    "fresh=True를 지정하면 처음부터 학습합니다",
}
_START_OVER = {
    Language.EN: "Checkpoints(…, fresh=True) starts over",
    Language.KO: "Checkpoints(…, fresh=True)를 지정하면 처음부터 학습합니다",
}
_MOST_UNREAD = 3


def unread_words(unread: Sequence[Reason], used: str, language: Language) -> str:
    """Return why a training does not begin while its checkpoints cannot be read, and the ways on."""
    lines = [reason_line(each, language) for each in unread[:_MOST_UNREAD]]
    more = [f"+{len(unread) - _MOST_UNREAD}"] if len(unread) > _MOST_UNREAD else []
    ways = _STEP_BACK[language].format(used=used) if used else _START_OVER[language]
    return _UNREAD[language].format(what=", ".join(lines + more)) + ways


def error_line(error: DeliveryError, language: Language) -> str:
    """Return why a message was not delivered, in words and without secrets."""
    return reason_line(delivery_reason(error), language)


def reason_line(reason: Reason, language: Language) -> str:
    """Return a reason in words: "epoch3.pt: it is missing". One from a later version shows its text, or its code."""
    delivery = delivery_line(reason.code, reason.values, language)
    if delivery is not None:
        return delivery
    values = Values(reason.values)
    with_part, without = _PART[language]
    values["which"] = with_part.format(values["part"]) if "part" in values else without
    if reason.code == "disk" and language is Language.KO:
        values["text"] = system_korean(values["name"], values["text"])
    words = _WORDS[language].get(reason.code)
    said = words.format_map(values) if words else reason.values.get("text", reason.code)
    return f"{reason.about}: {said}" if reason.about else said
