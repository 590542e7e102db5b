"""What a caller gives, looked at before anything begins: a wrong one is named, with what belongs there.

No value is repeated: it may be a webhook's URL in the wrong place.
"""

from __future__ import annotations

from collections.abc import Collection

from notifybot.errors import UsageError

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
        raise UsageError(f'project= is the name of a project, such as "vision", not {_kind(project)}')
    if not isinstance(monitor, str | None):
        raise UsageError(f'monitor= is the name of a metric, such as "val_acc" or "reward:max", not {_kind(monitor)}')
    if total is not None and (isinstance(total, bool) or not hasattr(total, "__index__")):
        raise UsageError(f"total= is the whole run's number of epochs, such as 30, not {_kind(total)}")
    if checkpoints is not None and not all(hasattr(checkpoints, each) for each in _CHECKPOINTS):
        raise UsageError(
            'checkpoints= takes what Checkpoints("folder", model=model) returns, '
            f"not {_kind(checkpoints)}{'; the folder goes into Checkpoints' if isinstance(checkpoints, str) else ''}"
        )
    if notifiers is not None:
        _check_notifiers(notifiers)


def _check_notifiers(notifiers: object) -> None:
    if isinstance(notifiers, str | bytes) or not isinstance(notifiers, Collection):
        raise UsageError(f"notifiers= takes a list of notifiers, not {_kind(notifiers)}{_settings_for(notifiers)}")
    for each in notifiers:
        missing = [name for name in _NOTIFIER if not hasattr(each, name)]
        if missing:
            raise UsageError(
                f"notifiers= takes objects with {', '.join(_NOTIFIER[:-1])} and {_NOTIFIER[-1]}; "
                f"{_kind(each)} has no {', '.join(missing)}{_settings_for(each)}"
            )


def _settings_for(value: object) -> str:
    """Where a text belongs that somebody gave for a notifier: a name, a URL or a token."""
    return '. Slack and the others are set up by config={"slack_webhook_url": …}' if isinstance(value, str) else ""


def _kind(value: object) -> str:
    return type(value).__name__
