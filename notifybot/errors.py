"""Every exception that notifybot raises: one root, one subclass for each way to react."""

from __future__ import annotations


class NotifybotError(Exception):
    """The root of all our exceptions. Its text says what happened, to which thing, and what to do next."""


class ConfigError(NotifybotError):
    """A setting is unknown, missing or malformed. React: correct the named key in the named source."""


class UsageError(NotifybotError):
    """A public function was called in a way that has no meaning. React: correct the call."""


class CheckpointError(NotifybotError):
    """A checkpoint is not whole, or does not fit the model. React: go on from another one, or mend what is named."""


class StoreError(NotifybotError):
    """The local database could not take or give a record. React: the caller keeps the record in memory."""


class DeliveryError(NotifybotError):
    """A message could not be handed over. Never raised as such: see its two subclasses."""


class TemporaryError(DeliveryError):
    """The receiver may take the same message later. React: retry.

    `retry_after_s` is the receiver's own lower bound, in seconds. `ambiguous` says that the message may have
    arrived although the answer did not (a read timeout, a reset, a 5xx).
    """

    def __init__(self, text: str, *, retry_after_s: float | None = None, ambiguous: bool = False) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s
        self.ambiguous = ambiguous


class PermanentError(DeliveryError):
    """The receiver will never take this message as it is. React: dead letter at once, told elsewhere.

    `setup` says that the whole notifier is misconfigured (revoked token, deleted webhook), not just this message.
    """

    def __init__(self, text: str, *, setup: bool = False) -> None:
        super().__init__(text)
        self.setup = setup
