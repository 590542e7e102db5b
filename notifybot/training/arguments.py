"""What a caller gives, looked at before anything begins: a wrong one is named, with what belongs there.

No value is repeated: it may be a webhook's URL in the wrong place.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

from notifybot.errors import UsageError, said
from notifybot.training.run_info import label_of

_NOTIFIER = ("name", "key", "pace", "send", "close")  # see notifybot.notifiers.base
_CHECKPOINTS = ("card", "open", "save", "restore")


def check_given(
    *,
    project: object = None,
    monitor: object = None,
    total: object = None,
    checkpoints: object = None,
    notifiers: object = None,
) -> None:
    """Raise UsageError for an argument of a kind that cannot be meant; None stands for one that was left out."""
    if not isinstance(project, str | None):
        raise UsageError(
            said(
                f'project= is the name of a project, such as "vision", not {_kind(project)}',
                f'project=은 "vision" 같은 프로젝트 이름입니다. 받은 값: {_kind(project)}',
            )
        )
    if not isinstance(monitor, str | None):
        raise UsageError(
            said(
                f'monitor= is the name of a metric, such as "val_acc" or "reward:max", not {_kind(monitor)}',
                f'monitor=은 "val_acc"나 "reward:max" 같은 지표 이름입니다. 받은 값: {_kind(monitor)}',
            )
        )
    if total is not None and (isinstance(total, bool) or not hasattr(total, "__index__")):
        raise UsageError(
            said(
                f"total= is the whole run's number of epochs, such as 30, not {_kind(total)}",
                f"total=은 30처럼 전체 에포크 수입니다. 받은 값: {_kind(total)}",
            )
        )
    is_class = isinstance(checkpoints, type)
    if checkpoints is not None and (is_class or not all(hasattr(checkpoints, each) for each in _CHECKPOINTS)):
        is_folder = isinstance(checkpoints, str)
        given = said("the class", "클래스") if is_class else _kind(checkpoints)
        raise UsageError(
            said(
                'checkpoints= takes what Checkpoints("folder", model=model) returns, '
                f"not {given}{'; the folder goes into Checkpoints' if is_folder else ''}",
                'checkpoints=에는 Checkpoints("folder", model=model)을 넣어야 합니다. '
                f"받은 값: {given}{'. 폴더는 Checkpoints에 넣으세요' if is_folder else ''}",
            )
        )
    if notifiers is not None:
        _check_notifiers(notifiers)


def check_rising(epochs: object) -> None:
    """Raise UsageError for labels that do not rise, as far as they can be seen: none could be told to be done."""
    if isinstance(epochs, range):
        falls = len(epochs) > 1 and epochs.step < 0
    else:
        labels = [label_of(each) for each in epochs] if isinstance(epochs, list | tuple) else []
        falls = any(one >= other for one, other in pairwise(labels))
    if falls:
        raise UsageError(
            said(
                f"with checkpoints=, epochs are labelled in rising order, such as range(30), not {epochs!r:.80}: "
                "those above the last saved one are left to train. Give range(30) and look your own up by it",
                f"checkpoints=을 쓸 때는 range(30)처럼 에포크 번호가 커져야 합니다. 받은 값: {epochs!r:.80}. "
                "마지막으로 저장한 번호보다 큰 에포크부터 이어서 학습하기 때문입니다. "
                "range(30)을 넣고 필요한 값은 그 번호로 찾아 쓰세요",
            )
        )


def _check_notifiers(notifiers: object) -> None:
    if isinstance(notifiers, str | bytes) or not isinstance(notifiers, Collection):
        raise UsageError(
            said(
                f"notifiers= takes a list of notifiers, not {_kind(notifiers)}",
                f"notifiers=에는 알림 수단의 목록을 넣어야 합니다. 받은 값: {_kind(notifiers)}",
            )
            + _settings_for(notifiers)
        )
    for each in notifiers:
        if isinstance(each, type):
            raise UsageError(
                said(
                    f"notifiers= holds the class {each.__name__} itself: give what {each.__name__}(…) returns",
                    f"notifiers=에 클래스 {each.__name__} 자체를 넣었습니다. {each.__name__}(…)로 만든 객체를 넣으세요",
                )
            )
        missing = [name for name in _NOTIFIER if not hasattr(each, name)]
        if missing:
            raise UsageError(
                said(
                    f"notifiers= takes objects with {', '.join(_NOTIFIER[:-1])} and {_NOTIFIER[-1]}; "
                    f"{_kind(each)} has no {', '.join(missing)}",
                    f"notifiers=에 넣는 객체에는 {', '.join(_NOTIFIER)}이(가) 있어야 합니다. "
                    f"{_kind(each)}에 없는 것: {', '.join(missing)}",
                )
                + _settings_for(each)
            )


def _settings_for(value: object) -> str:
    """Where a text belongs that somebody gave for a notifier: a name, a URL or a token."""
    if not isinstance(value, str):
        return ""
    return said(
        '. Slack and the others are set up by config={"slack_webhook_url": …}',
        '. Slack 등은 config={"slack_webhook_url": …}로 설정하세요',
    )


def _kind(value: object) -> str:
    return type(value).__name__
