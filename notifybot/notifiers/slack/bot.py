"""Slack by bot token: one root message a run, edited as epochs pass, and a thread below it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Set
from dataclasses import replace
from functools import partial
from typing import Any

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import PermanentError
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event
from notifybot.i18n import text
from notifybot.notifiers.base import ChartSource, Envelope
from notifybot.notifiers.slack import blocks, native_charts
from notifybot.notifiers.slack.api import TIMEOUT_S, Posted, SlackRefused, WebApi
from notifybot.notifiers.slack.pictures import PictureReplies
from notifybot.notifiers.slack.run_thread import RunThread, Shown
from notifybot.policy import Pace, Priority, priority_of
from notifybot.preferences import Channels
from notifybot.redaction import fingerprint
from notifybot.rendering.error_text import error_line
from notifybot.rendering.format import is_best, number

API_URL = "https://slack.com/api/"

log = logging.getLogger("notifybot")

_ONE = Channels()
_NO_STATES = (AlertRaised, CheckpointSaved)  # every other event is a state of the run


class SlackBot:
    """Keeps the root message of each run at its latest state and tells milestones in its thread.

    Endings, alerts, and lost, stalled or recovered runs are also broadcast to the channel; a digest is one message
    there. Where a root stands is remembered before anything is posted below it, so a crash between two calls repeats
    no message; what the last call did is remembered with the mark that the message was sent. Learning curves
    follow as replies, where there is an `artist`, and so does the picture that an alert brings itself (`picture_of`);
    `busy` says of a notifier's key that a message waits for it.
    `mention`, in Slack's markup, calls people where `policy.calls_people` says so, once an incident.
    `channels` name the channel of a project's runs, where it is not `channel`, and of what has a severity: that is told
    there by a message of its own, instead of in the run's channel. A thread stays where its root is.
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
        channels: Channels = _ONE,
        picture_of: Callable[[Event], bytes | None] | None = None,
    ) -> None:
        self.key = f"{self.name}:{fingerprint('bot', token, channel.removeprefix('#'))}"  # "#ch" and "ch" are the same
        self._channel = channel
        self._channels = channels
        self._refusing: set[str] = set()  # channels of which it was said that they take nothing
        self._mention = mention
        self._clock = clock
        self._api = WebApi(token, api_url, timeout_s=timeout_s, clock=clock)
        self._pictures: PictureReplies | None = None
        if artist is not None or picture_of is not None:
            own = picture_of or (lambda _: None)
            self._pictures = PictureReplies(self._api, artist, busy=lambda: busy(self.key), clock=clock, picture_of=own)

    @property
    def picture_error(self) -> str | None:
        """Why the picture after the latest text did not arrive; empty where it did, None where none was due."""
        return self._pictures.error if self._pictures else None

    def send(self, envelope: Envelope) -> None:
        """Update root and thread to the event's state. A root that is gone is posted again, once."""
        run_id, memory = envelope.event.run.id, envelope.memory
        try:
            self._deliver(envelope, RunThread.from_value(memory.get(run_id)))
        except SlackRefused as error:
            thread = RunThread.from_value(memory.get(run_id))  # it may have moved meanwhile
            if not (error.root_gone and thread.root_ts):
                raise
            memory.put(run_id, thread.without_root().to_value())
            self._deliver(envelope, thread.without_root())
        if self._pictures:
            self._pictures.follow(envelope)

    def show_state(self, envelope: Envelope) -> None:
        """Update a run's root message to the event's state, if there is one. Sends no notification."""
        thread = RunThread.from_value(envelope.memory.get(envelope.event.run.id))
        if thread.root_ts:
            self._show(envelope, thread)

    def close(self) -> None:
        """Give up the picture that is being drawn. Nothing else is held open."""
        if self._pictures:
            self._pictures.close()

    def _deliver(self, envelope: Envelope, thread: RunThread) -> None:
        event, message = envelope.event, envelope.message
        calls = bool(self._mention) and thread.calls_for(event)
        if isinstance(event, AlertRaised) and event.about == "delivery" and not thread.root_ts:
            # about a run that is not shown here, or several runs: one message in the channel, without a thread
            if event.id not in thread.answered:
                told = self._tell_elsewhere(envelope, thread, calls=calls)
                if told is thread:
                    post = partial(self._api.post, self._home(event))
                    self._call(post, envelope, blocks.full_message(message), calls=calls)
                self._remember_with_mark(envelope, told.answering(event.id))
            return
        if self._pictures:
            self._pictures.prepare(envelope)
        thread = self._show(envelope, thread)
        reply = _reply(envelope)
        if reply is None or event.id in thread.answered:
            return
        before, thread = thread, self._tell_elsewhere(envelope, thread, calls=calls)
        elsewhere = thread is not before or _elsewhere(event) in thread.answered
        drawn = self._pictures is not None and self._pictures.will_show(event)
        alone = thread.born_of == event.id and not isinstance(
            event, _NO_STATES
        )  # the new root itself is in the channel
        urgent = isinstance(event, AlertRaised) or priority_of(event) is Priority.URGENT
        broadcast = urgent and not alone and not elsewhere
        post = partial(self._api.post, thread.channel_id, thread_ts=thread.root_ts, reply_broadcast=broadcast)
        sent = self._call(post, envelope, reply, charts=not drawn, calls=calls and not elsewhere)
        thread = thread.answering(event.id).having_called(event)
        if sent.strayed:
            thread = thread.moving()
        if thread.root_ts:
            self._remember_with_mark(envelope, thread)
        else:  # the stray reply stands alone; later ones share the new thread
            envelope.memory.put(event.run.id, thread.to_value())
            self._show(envelope, thread)

    def _home(self, event: Event) -> str:
        return self._channels.home_of(event.run.project, self._channel)

    def _tell_elsewhere(self, envelope: Envelope, thread: RunThread, *, calls: bool) -> RunThread:
        """Tell an event in the channel of its severity, once; return the thread as remembered after it.

        It is this very thread where there is no such channel, or where it refuses: then the run's own channel hears it,
        as without one, and why is said once.
        """
        event, message = envelope.event, envelope.message
        channel = self._channels.of(message.severity)
        is_home = channel is None or channel.removeprefix("#") == self._home(event).removeprefix("#")
        if channel is None or is_home or _elsewhere(event) in thread.answered:
            return thread
        try:
            self._call(partial(self._api.post, channel), envelope, blocks.full_message(message), calls=calls)
        except PermanentError as error:
            if channel not in self._refusing:
                self._refusing.add(channel)
                why = error_line(error, message.language)
                log.warning("%s", text(message.language, "slack.message.channel_refuses", channel=channel, why=why))
            return thread
        self._refusing.discard(channel)
        thread = thread.answering(_elsewhere(event))
        envelope.memory.put(event.run.id, thread.to_value())  # now: what follows may fail, and is tried again
        return thread

    def _show(self, envelope: Envelope, thread: RunThread) -> RunThread:
        """Post or edit the root message, unless it shows a later state already."""
        event, message, run_id = envelope.event, envelope.message, envelope.event.run.id
        state: Shown | None = None
        if not isinstance(event, _NO_STATES):
            ended, lost = event.kind == "run_ended", event.kind == "run_lost"
            state = Shown(event.at, ended, event.progress.done, event.id, lost, event.run.session)
        if not thread.root_ts:
            root = blocks.placeholder_root(message) if state is None else blocks.root(message)
            sent = self._call(partial(self._api.post, self._home(event)), envelope, root)
            shown = state or Shown()
            thread = replace(thread, channel_id=sent.channel_id, root_ts=sent.ts, born_of=event.id, shown=shown)
            # now: a reply that lands while its root is not known would have a second one
            envelope.memory.put(run_id, thread.to_value())
        elif state is not None and (later := thread.showing(state)) is not thread:
            edit = partial(self._api.update, thread.channel_id, thread.root_ts)
            self._call(edit, envelope, blocks.root(message))  # in plain words its empty blocks take the old ones away
            thread = later
            envelope.memory.put_with_mark(run_id, thread.to_value())  # one edit twice is one to whoever reads it
        return thread

    def _remember_with_mark(self, envelope: Envelope, thread: RunThread) -> None:
        """Remember a message's last call. A crash right after it repeats that, be it written with the mark or before.

        Where a picture is looked for meanwhile, that takes too long.
        """
        is_followed = self._pictures is not None and self._pictures.may_follow(envelope.event)
        put = envelope.memory.put if is_followed else envelope.memory.put_with_mark
        put(envelope.event.run.id, thread.to_value())

    def _call(
        self,
        call: Callable[[dict[str, Any]], Posted],
        envelope: Envelope,
        payload: blocks.Payload,
        *,
        charts: bool | None = None,
        calls: bool = False,
    ) -> Posted:
        """Post or edit a message, without what this workspace does not take.

        It is dressed as a reply where `charts` says how. With `calls` it calls people.
        """
        event, message = envelope.event, envelope.message

        def build(without: Set[native_charts.Layout]) -> blocks.Payload:
            built = payload
            if native_charts.Layout.BLOCKS in without:
                built = blocks.text_only(message)
            elif charts is not None:
                built = native_charts.with_native_charts(built, event, message.language, charts=charts, without=without)
            if native_charts.Layout.TABLE in without:
                built = native_charts.untabled(built)
            return built.calling(self._mention, message) if calls else built

        return native_charts.send_with_fallbacks(call, build, envelope.memory, envelope.attempts, self._clock.now())


def _elsewhere(event: Event) -> str:
    """Mark in a thread's memory that the event was told in the channel of its severity."""
    return f"{event.id}/channel"


def _reply(envelope: Envelope) -> blocks.Payload | None:
    """Return the reply for the thread; None for an epoch that is not the best so far, which only the root shows."""
    event, message = envelope.event, envelope.message
    if not isinstance(event, EpochFinished):
        return blocks.reply(message)
    if event.new_best is None:
        return None
    metric = event.progress.metrics.get(event.new_best)
    if metric is None or metric.best is None or is_best(metric, event.progress.epoch):
        return blocks.new_best_reply(message, event.new_best, number(metric.value) if metric else "")
    # an older epoch was the best, and its message was folded into this one
    return blocks.new_best_reply(message, event.new_best, number(metric.best), epoch=metric.best_epoch)
