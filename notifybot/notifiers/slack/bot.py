"""Slack by bot token: one root message a run, edited as epochs pass, and a thread below it."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace
from functools import partial
from typing import Any

from notifybot.clock import SYSTEM, Clock
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event
from notifybot.notifiers.base import ChartSource, Envelope
from notifybot.notifiers.slack import blocks, native_charts
from notifybot.notifiers.slack.api import TIMEOUT_S, Posted, SlackRefused, WebApi
from notifybot.notifiers.slack.pictures import PictureReplies
from notifybot.notifiers.slack.run_thread import RunThread, Shown
from notifybot.policy import Pace, Priority, priority_of
from notifybot.redaction import fingerprint
from notifybot.rendering.format import is_best, number

API_URL = "https://slack.com/api/"

_Build = Callable[[Set[native_charts.Layout]], blocks.Payload]


class SlackBot:
    """Keeps the root message of each run at its latest state and tells milestones in its thread.

    Endings, alerts, and lost, stalled or recovered runs are also broadcast to the channel; a digest is one message
    there. Where a root stands is remembered before anything is posted below it, so a crash between two calls repeats
    no message; what the last call did is remembered with the mark that the message was sent. Learning curves
    follow as replies, where there is an `artist`; `busy` says of a notifier's key that a message waits for it.
    `mention`, in Slack's markup, calls people where `policy.calls_people` says so, once an incident.
    """

    name = "slack"
    pace = Pace(gap_s=1.0, progress_gap_s=5.0)

    def __init__(
        self,
        token: str,
        channel: str,
        *,
        api_url: str = API_URL,
        timeout_s: int = TIMEOUT_S,
        clock: Clock = SYSTEM,
        artist: ChartSource | None = None,
        busy: Callable[[str], bool] = lambda _: False,
        mention: str = "",
    ) -> None:
        self.key = f"{self.name}:{fingerprint('bot', token, channel.removeprefix('#'))}"  # "#ch" and "ch" are the same
        self._channel = channel
        self._mention = mention
        self._clock = clock
        self._api = WebApi(token, api_url, timeout_s=timeout_s, clock=clock)
        self._pictures: PictureReplies | None = None
        if artist is not None:
            self._pictures = PictureReplies(self._api, artist, busy=lambda: busy(self.key), clock=clock)

    @property
    def picture_error(self) -> str | None:
        """Why the picture after the latest text did not arrive; empty where it did, None where none was due."""
        return self._pictures.error if self._pictures else None

    def send(self, envelope: Envelope) -> None:
        """Update root and thread to the event's state. A root that is gone is posted again, once."""
        try:
            self._tell(envelope)
        except SlackRefused as error:
            thread = _recall(envelope)
            if not (error.root_gone and thread.has_root):
                raise
            _remember(envelope, thread.without_root())
            self._tell(envelope)
        if self._pictures:
            self._pictures.follow(envelope)

    def close(self) -> None:
        """Give up the picture that is being drawn. Nothing else is held open."""
        if self._pictures:
            self._pictures.close()

    def _tell(self, envelope: Envelope) -> None:
        event, known = envelope.event, _recall(envelope)
        if _is_of_ourselves(event) and not known.has_root:
            self._tell_alone(envelope, known)
            return
        if self._pictures:
            self._pictures.prepare(envelope)
        thread = self._show(envelope, known)
        reply = _reply(envelope)
        if reply is None or event.id in thread.answered:
            return
        drawn = self._pictures is not None and self._pictures.will_show(event)
        alone = thread.born_of == event.id and _tells_state(event)  # the new root itself is in the channel
        sent = self._post(
            envelope,
            partial(self._laid_out, envelope, reply, charts=not drawn, calls=thread.calls_for(event)),
            channel=thread.channel_id,
            thread_ts=thread.root_ts,
            reply_broadcast=priority_of(event) is Priority.URGENT and not alone,
        )
        thread = thread.answering(event.id).having_called(event)
        if sent.strayed and thread.may_move:
            thread = thread.moving()
        if thread.has_root:
            self._remember_with_mark(envelope, thread)
        else:  # the stray reply stands alone; later ones share the new thread
            _remember(envelope, thread)
            self._show(envelope, thread)

    def _tell_alone(self, envelope: Envelope, thread: RunThread) -> None:
        """Post one message in the channel without a thread: about a run that is not shown here, or several runs."""
        if envelope.event.id not in thread.answered:
            calls = thread.calls_for(envelope.event)
            build = partial(self._laid_out, envelope, blocks.full_message(envelope.message), calls=calls)
            self._post(envelope, build, channel=self._channel)
            self._remember_with_mark(envelope, thread.answering(envelope.event.id))

    def show_state(self, envelope: Envelope) -> None:
        """Update a run's root message to the event's state, if there is one. Sends no notification."""
        thread = _recall(envelope)
        if thread.has_root:
            self._show(envelope, thread)

    def _show(self, envelope: Envelope, thread: RunThread) -> RunThread:
        """Post or edit the root message, unless it shows a later state already."""
        event, message = envelope.event, envelope.message
        state = Shown.of(event) if _tells_state(event) else Shown()
        if not thread.has_root:
            root = blocks.root(message) if _tells_state(event) else blocks.placeholder_root(message)
            sent = self._post(envelope, partial(self._laid_out, envelope, root), channel=self._channel)
            thread = replace(thread, channel_id=sent.channel_id, root_ts=sent.ts, born_of=event.id, shown=state)
            _remember(envelope, thread)  # now: a reply that lands while its root is not known would have a second one
        elif _tells_state(event) and thread.shown.is_older_than(state):
            self._update(envelope, blocks.root(message), thread)
            thread = thread.showing(state)
            envelope.memory.put_with_mark(event.run.id, thread.to_value())  # one edit twice is one to whoever reads it
        return thread

    def _remember_with_mark(self, envelope: Envelope, thread: RunThread) -> None:
        """Remember a message's last call. A crash right after it repeats that, be it written with the mark or before.

        Where a picture is looked for meanwhile, that takes too long.
        """
        if self._pictures is None:
            envelope.memory.put_with_mark(envelope.event.run.id, thread.to_value())
        else:
            _remember(envelope, thread)

    def _laid_out(
        self,
        envelope: Envelope,
        payload: blocks.Payload,
        without: Set[native_charts.Layout],
        *,
        charts: bool | None = None,
        calls: bool = False,
    ) -> blocks.Payload:
        """The payload without what this workspace does not take; dressed as a reply where `charts` says how."""
        message = envelope.message
        if native_charts.Layout.BLOCKS in without:
            payload = blocks.text_only(message)
        elif charts is not None:
            payload = native_charts.with_native_charts(
                payload, envelope.event, message.language, charts=charts, without=without
            )
        if native_charts.Layout.TABLE in without:
            payload = native_charts.untabled(payload)
        return payload.calling(self._mention, message) if calls and self._mention else payload

    def _post(self, envelope: Envelope, build: _Build, **where: Any) -> Posted:
        def post(payload: blocks.Payload) -> Posted:
            return self._api.post(**payload.arguments(), **where)

        return native_charts.tell(post, build, envelope.memory, envelope.attempts, self._clock.now())

    def _update(self, envelope: Envelope, payload: blocks.Payload, thread: RunThread) -> None:
        """Edit the root; in plain words its empty blocks take the old ones away."""

        def update(each: blocks.Payload) -> None:
            self._api.update(thread.channel_id, thread.root_ts, **each.arguments())

        build = partial(self._laid_out, envelope, payload)
        native_charts.tell(update, build, envelope.memory, envelope.attempts, self._clock.now())


def _tells_state(event: Event) -> bool:
    """True when the event is a state of the run; an alert or a checkpoint is none."""
    return not isinstance(event, AlertRaised | CheckpointSaved)


def _is_of_ourselves(event: Event) -> bool:
    """True for messages about delivery itself: a digest, or a message that another notifier failed to send."""
    return isinstance(event, AlertRaised) and event.about == "delivery"


def _reply(envelope: Envelope) -> blocks.Payload | None:
    """Return the reply for the thread; None for an epoch that is not the best so far, which only the root shows."""
    event = envelope.event
    if not isinstance(event, EpochFinished):
        return blocks.reply(envelope.message)
    if event.new_best is None:
        return None
    metric = event.progress.metrics.get(event.new_best)
    if metric is None or metric.best is None or is_best(metric, event.progress.epoch):
        return blocks.new_best_reply(envelope.message, event.new_best, number(metric.value) if metric else "")
    # an older epoch was the best, and its message was folded into this one
    return blocks.new_best_reply(envelope.message, event.new_best, number(metric.best), epoch=metric.best_epoch)


def _recall(envelope: Envelope) -> RunThread:
    return RunThread.from_value(envelope.memory.get(envelope.event.run.id))


def _remember(envelope: Envelope, thread: RunThread) -> None:
    envelope.memory.put(envelope.event.run.id, thread.to_value())
