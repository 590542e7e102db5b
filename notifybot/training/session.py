"""Everything that is open for one run in one process: where its events go."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from notifybot.checkpoints.run_folder import Mirror, restore
from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.config_sources import Origin
from notifybot.delivery.build import DeliveryStack, open_delivery
from notifybot.delivery.recorder import RELAY
from notifybot.errors import StoreError, reader_text
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event, RunEnded, within_bounds
from notifybot.files import at_fork
from notifybot.i18n import text
from notifybot.notifiers.base import Notifier
from notifybot.notifiers.console import ConsoleNotifier
from notifybot.rendering import Renderer
from notifybot.rendering.alert_text import nothing_left, notice_words
from notifybot.rendering.text import redacted
from notifybot.runtime import absolute, environment, in_notebook
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.location import DATABASE, database_in, spare_folder
from notifybot.store.notifier_state import export_for, import_for
from notifybot.store.notifier_state import remember as remember_page
from notifybot.trackers import plan_trackers
from notifybot.trackers.base import TrackerContext
from notifybot.trackers.jsonl import events_in
from notifybot.trackers.plan import TrackerChoice, chosen
from notifybot.trackers.worker import TrackerWorkers
from notifybot.training.console_thread import ConsoleThread
from notifybot.training.endings import ENDINGS, EXIT_S
from notifybot.training.guard import Guard
from notifybot.training.heartbeat import Heartbeat, Pulse
from notifybot.training.resume import ReplayCursors, ResumeInfo, RunHistory, in_force, last_progress
from notifybot.training.run_info import TEXT_CHARS, folder_name, launch_of
from notifybot.types import Host, Language, Param, Progress, RunRef, Severity, Status, uuid7

if TYPE_CHECKING:
    from notifybot.notifiers.slack.deadman.switch import DeadMan


log = logging.getLogger("notifybot")


@dataclass(frozen=True, eq=False, slots=True)
class Shared:
    """An open database and its delivery, kept until the process ends."""

    config: Config
    notifiers: tuple[Notifier, ...] | None
    store: Store
    delivery: DeliveryStack
    dead_men: WeakSet[DeadMan] = field(default_factory=WeakSet)  # one may wait for a run's end to be delivered


_opened: list[Shared] = []
_inherited: list[Shared] = []  # a forked child keeps its parent's objects unused
_resting = threading.local()  # what is at rest for this thread's fork: several may fork at once

_REST_S = 1.0  # a child that cannot have the database waits for it for five seconds, and then has one of its own


def share(config: Config, notifiers: Sequence[Notifier] | None, clock: Clock) -> Shared:
    """Return what is open for these settings, opened if need be. Raises StoreError when no database can be had."""
    wanted = None if notifiers is None else tuple(notifiers)
    for each in _opened:
        if each.config == config and each.notifiers == wanted:
            each.delivery.worker.start()  # there may be room for its threads by now
            return each
    store = _store(config, clock)
    with ExitStack() as undo:
        if all(each.store is not store for each in _opened):
            undo.callback(store.close)  # settings are refused as late as here, and are corrected in the same process
        delivery = open_delivery(store, config, clock, wanted)
        undo.pop_all()
    shared = Shared(config, wanted, store, delivery)
    delivery.worker.start()
    _opened.append(shared)
    ENDINGS.register_flush(delivery.worker.finish)
    return shared


def _store(config: Config, clock: Clock) -> Store:
    """One connection per process and file: two that write and checkpoint at once can corrupt it."""
    path = absolute(database_in(config.state_dir))
    for each in _opened:
        if each.store.path == path:
            return each.store
    try:
        return Store.open(path, clock=clock)
    except StoreError as error:
        folder = spare_folder()
        line = reader_text("training.session.unsent_is_kept_in_folder", error=error, folder=folder)
        log.warning("%s", line)
        return Store.open(folder / DATABASE, clock=clock)


def close() -> None:
    """Let go of everything: the threads first. What is unsent stays for the next start."""
    for each in _opened:
        ENDINGS.flush_no_more(each.delivery.worker.finish)
        each.delivery.worker.stop(1.0)
        for dead_man in list(each.dead_men):
            dead_man.let_go(1.0)
    for each in _opened:  # several deliveries may have one database
        each.store.close()
    _opened.clear()


def _before_fork() -> None:
    ends_at_s = SYSTEM.monotonic() + _REST_S
    stores = {id(each.store): each.store for each in _opened}.values()
    _resting.stores = [each for each in stores if each.rest(max(ends_at_s - SYSTEM.monotonic(), 0.0))]


def _after_fork_in_parent() -> None:
    for each in getattr(_resting, "stores", ()):
        each.go_on()


def _after_fork_in_child() -> None:
    _inherited.extend(_opened)
    _opened.clear()
    for each in getattr(_resting, "stores", ()):
        each.forget_after_fork()


at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


_A_DAY = timedelta(days=1)
_PAST_S = 5.0  # for others to let go of the database, when a run begins
_HELD_S = 1.0  # for the same, when events of this process wait for it: several tries may take as long each
_CLOSE_S = EXIT_S / 2  # the other half is for what is unsent
_LINGER_S = 10.0 - _CLOSE_S  # for trackers, after a normal end alone


@dataclass(slots=True)
class Session:
    """An open run's ways out. Every method may raise: the run guards its calls."""

    shared: Shared
    guard: Guard
    clock: Clock
    speaker: ConsoleThread
    planned: list[str]
    trackers: TrackerWorkers | None = None
    heartbeat: Heartbeat | None = None
    dead_man: DeadMan | None = None
    folder: Path | None = None  # the run's own, with the trackers' files
    ending: RunEnded | None = None

    @classmethod
    def open(
        cls,
        config: Config,
        notifiers: Sequence[Notifier] | None,
        *,
        guard: Guard,
        clock: Clock,
        console: bool = True,
        trackers: TrackerChoice = "auto",
    ) -> Session:
        """Open the database and the delivery. Raises ConfigError for settings that cannot work."""
        renderer = Renderer(config.lang, config.templates_dir)
        planned = chosen(plan_trackers(config, environment()), trackers)
        shared = share(config, notifiers, clock)
        where = partial(_whereabouts, config, shared.delivery.notifiers)  # on the console's thread: it reads the texts
        printer = ConsoleNotifier(notebook=in_notebook(), whereabouts=where) if console else None
        return cls(shared, guard, clock, ConsoleThread(printer, renderer, guard), planned)

    def past(self, run: RunRef) -> RunHistory:
        """Return the history that earlier sessions of a run left; empty if the store cannot be read.

        What this process holds in memory, since the database was busy, is written before.
        """
        for each in _opened:
            if each.store is self.shared.store:
                each.delivery.recorder.flush(_HELD_S)
        try:
            with self.shared.store.patient(_PAST_S):  # no epoch waits yet
                row = runs.get(self.shared.store, run.id, project=run.project)
                events = runs.events_of(self.shared.store, run.id, project=run.project) if row else []
        except StoreError as error:
            self.guard.count("past", error)
            return RunHistory()
        return RunHistory(row.attempt, row.name, last_progress(events), tuple(events)) if row else RunHistory()

    def track(
        self,
        run: RunRef,
        params: dict[str, Param],
        past: RunHistory,
        *,
        purge_from: int | None,
        on_trouble: Callable[[str, str], None],
        resume: ResumeInfo,
        monitor: str | None = None,
    ) -> None:
        """Start the trackers, on threads of their own, with what a killed session may have kept from them.

        What is missing in the run's folder comes back from the copy beside the checkpoints.
        """
        config = self.shared.config
        folder = folder_of(config, run)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        if resume.folder is not None:
            with self.guard("run_folder"):
                restore(resume.folder / folder.name, folder)
        events = _events_in_force(folder, run, past, resume)
        context = TrackerContext(
            run, folder, params, purge_from, wandb_artifacts=resume.artifacts, monitor=monitor,
            unit="epoch" if past.progress is None else past.progress.unit,
        )  # fmt: skip
        marks = ReplayCursors(context.folder)
        missed = {name: marks.missed(name, events) for name in self.planned}

        def on_recorded(name: str, event_id: str) -> None:
            with self.guard("tracker_cursor"):
                marks.put(name, event_id)

        def on_page(name: str, url: str) -> None:
            with self.guard("tracker_page"), self.shared.store.patient(_PAST_S):
                remember_page(self.shared.store, run.key, name, url)

        self.trackers = TrackerWorkers(
            on_trouble=on_trouble, on_recorded=on_recorded, on_page=on_page, clock=self.clock
        )
        self.trackers.start(context, self.planned, config, replay=missed)

    def link(self, run: RunRef, url: str) -> None:
        """Have messages link to the run's page. Raises StoreError."""
        with self.shared.store.patient(_PAST_S):
            remember_page(self.shared.store, run.key, "wandb", url)

    def make_good(self, run: RunRef, params: dict[str, Param], past: RunHistory, resume: ResumeInfo) -> None:
        """Give trackers what they missed of a complete run, and close them; no message is sent about that."""
        if launched_otherwise(resume, params):
            with self.guard("alert"):
                self._report_untrained(past)
        folder = _last_folder(self.shared.config, run, resume)
        self.planned = [] if folder is None else _owed(folder, self.planned, run, past, resume)
        if not self.planned:
            return
        endings = [each.status for each in past.events if isinstance(each, RunEnded)]
        self.track(run, params, past, purge_from=None, on_trouble=lambda name, text: None, resume=resume)
        self.close(endings[-1] if endings else Status.FINISHED)
        self.linger()
        if resume.folder is not None and self.folder is not None:
            with self.guard("copy_of_tracker_files"):
                Mirror(self.folder, resume.folder / self.folder.name).copy()

    def _report_untrained(self, past: RunHistory) -> None:
        """Tell people that a program found its run complete and trained nothing; once a day, as it may be in a loop.

        Said in the name of the session that ended: it must not pass for a heartbeat of the run.
        """
        endings = [each for each in past.events if isinstance(each, RunEnded)]
        now, notice = self.clock.now(), nothing_left()
        said_at = [each.at for each in past.events if isinstance(each, AlertRaised) and each.notice == notice]
        if not endings or any(now - at < _A_DAY for at in said_at):
            return
        run, words = endings[-1].run, notice_words(notice, self.shared.config.lang)
        self.emit(
            AlertRaised(
                id=uuid7(now.timestamp()), run=run, at=now, title=words.title, text=words.text,
                severity=Severity.WARNING, about="checkpoint", progress=endings[-1].progress, notice=notice,
            )
        )  # fmt: skip
        self.shared.delivery.worker.finish(EXIT_S)  # no run is open, so nothing waits for it at exit

    def remember(self, run: RunRef, memories: Mapping[str, Mapping[str, Any]]) -> None:
        """Take in what notifiers knew of the run on another machine, such as its thread in Slack. Raises StoreError."""
        with self.shared.store.patient(_PAST_S):
            import_for(self.shared.store, run.key, memories)

    def memories(self, run: RunRef) -> dict[str, dict[str, Any]]:
        """Return the notifiers' memories of the run, for export. Raises StoreError, once the caller will not wait."""
        return export_for(self.shared.store, run.key)

    def beat(self, run: RunRef, pulse: Callable[[], Pulse], retire: Callable[[], None]) -> None:
        """Start the heartbeat, where a watchdog is configured; `retire` is called when a newer session reports."""
        config = self.shared.config

        def on_superseded() -> None:
            self.shared.delivery.recorder.mute_session(run)
            retire()

        if config.watchdog_url and config.watchdog_token:
            self.heartbeat = Heartbeat(
                config.watchdog_url, config.watchdog_token.get_secret_value(), run, pulse,
                beat_s=config.heartbeat_s, clock=self.clock, notifier_state=partial(self.memories, run),
                on_superseded=on_superseded, on_back=self._hasten_relay,
            )  # fmt: skip
            self.heartbeat.start()

    def _hasten_relay(self) -> None:
        """The watchdog answers again: what waits for it goes now, not with the next probe."""
        delivery = self.shared.delivery
        for key in (each.key for each in delivery.notifiers if each.name == RELAY):
            delivery.worker.retry_now(key)

    def start_dead_man_switch(self, run: RunRef, host: Host, look: Callable[[], tuple[Progress, Hashable]]) -> None:
        """Have Slack itself say when the run falls silent, where its bot is configured and no watchdog."""
        config = self.shared.config
        if all(each.name != "slack" for each in self.shared.delivery.notifiers):
            return
        # Slack's client, only where it is configured
        from notifybot.notifiers.slack.deadman.switch import bot_among, dead_man, known_end_s

        store, by = self.shared.store, bot_among(self.shared.delivery.notifiers, config)
        self.dead_man = dead_man(
            config, run, host, look=look, memory_of=partial(store.memory, project=run.project),
            over_at=partial(known_end_s, by=by, store=store),
            has_said=partial(self.shared.delivery.worker.has_logged, run), clock=self.clock, guard=self.guard,
        )  # fmt: skip
        if self.dead_man is not None:
            self.shared.dead_men.add(self.dead_man)
            self.dead_man.start()

    @property
    def beat_s(self) -> float | None:
        """The promised seconds between heartbeats; None where none are sent."""
        config = self.shared.config
        return config.heartbeat_s if config.watchdog_url and config.watchdog_token else None

    def emit(self, event: Event) -> None:
        """Make an event durable, then hand it to whoever wants it. The network is another thread's business.

        Trackers get every number; what is recorded and sent keeps within the bounds of the watchdog.
        """
        kept = within_bounds(event)
        if isinstance(kept, RunEnded):
            self.ending = kept
        # In this order: it is on disk before anybody hears of it.
        sinks: list[tuple[str, Callable[[Any], object], Event]] = [
            ("event", self.shared.delivery.recorder.record, kept),
            ("waking_delivery", self.shared.delivery.worker.wake, kept),
        ]
        if self.trackers is not None:
            sinks.append(("trackers", self.trackers.put, event))
        if not (isinstance(kept, AlertRaised) and kept.held):
            sinks.append(("console", self.speaker.say, kept))
        for name, take, given in sinks:
            with self.guard(name):
                take(given)

    def promise(self, seconds: float) -> None:
        """Promise that nothing new will come for so long."""
        for each in (self.heartbeat, self.dead_man):
            if each is not None:
                with self.guard("promise"):
                    each.promise(float(seconds))

    def flush(self, timeout_s: float) -> None:
        """Wait until all is sent, at most so long."""
        until_s = self.clock.monotonic() + timeout_s
        self.shared.delivery.worker.finish(timeout_s)
        if self.dead_man is not None:
            self.dead_man.flush(max(until_s - self.clock.monotonic(), 0.0))

    def close(self, status: Status) -> float:
        """Stop the heartbeat and close the trackers; return the seconds that took, bounded."""
        began_s = self.clock.monotonic()
        self.speaker.close()
        if self.heartbeat is not None:
            self.heartbeat.stop()
        if self.dead_man is not None:
            with self.guard("dead_mans_switch"):
                from notifybot.notifiers.slack.deadman.switch import bot_among, is_delivered

                ending, store = self.ending, self.shared.store
                by = bot_among(self.shared.delivery.notifiers, self.shared.config)
                # The alarm is taken back on its own thread, with what is left of the exit's time, once the end is sent.
                # An end that was not, or is not even on disk, leaves it for Slack to post: the next session clears it.
                self.dead_man.ended(lambda: ending is not None and is_delivered(ending, by, store))
                ENDINGS.register_flush(self.dead_man.flush)
        if self.trackers is not None:
            with self.guard("closing_trackers"):
                normal = status in (Status.FINISHED, Status.STOPPED)
                close = self.trackers.finish if normal else self.trackers.close
                if not close(status, _CLOSE_S):  # they go on by themselves, and get the rest at exit
                    ENDINGS.register_flush(partial(self.trackers.close, status))
        return self.clock.monotonic() - began_s

    def linger(self) -> None:
        """Wait for trackers that opened too late to have the run's numbers by now: a short run, W&B's slow start."""
        if self.trackers is not None and (late := self.trackers.late):
            line = text(self.shared.config.lang, "training.session.waiting_for_trackers", trackers=", ".join(late))
            log.warning("%s", line)
            self.trackers.linger(_LINGER_S)


def _whereabouts(config: Config, notifiers: Sequence[Notifier]) -> str:
    """Return the line on where messages and files go, and where that was set.

    Who hears nothing sees here why: a notifybot.toml that was not found, say.
    """
    language, sources = config.lang, ", ".join(_named(each, config.lang) for each in config.sources)
    names = ", ".join(dict.fromkeys(_named(each.name, language) for each in notifiers))
    key = "messages_go" if names else "console_alone"
    to = text(language, f"training.session.{key}", names=names)
    by = text(language, f"training.session.{'settings_from' if sources else 'no_settings'}", sources=sources)
    files = text(language, "training.session.files_in", folder=str(config.runs_dir))
    return redacted(f"→ {to} · {by} · {files}", TEXT_CHARS)


def _named(word: str, language: Language) -> str:
    """Name a service or a source of settings as a person knows it; a file's path is its name."""
    known = {"slack": "Slack", "kakao": "KakaoTalk", "apprise": "Apprise", Origin.ARGUMENT: "config="}
    known |= {Origin.ENVIRONMENT: "NOTIFYBOT_*", Origin.COLAB: text(language, "training.session.colab_secrets")}
    return known.get(word, word)


def folder_of(config: Config, run: RunRef) -> Path:
    """The run's own folder, with the trackers' files."""
    return absolute(config.runs_dir / folder_name(run.project, run.name, run.id))


def launched_otherwise(resume: ResumeInfo, params: Mapping[str, Param]) -> bool:
    """True where the program is started with other arguments than the one that saved last, as far as is known."""
    return resume.launch not in ("", launch_of(params))


def misses_numbers(config: Config, run: RunRef, resume: ResumeInfo) -> bool:
    """True where a tracker may lack numbers of a complete run, as far as its folder shows. Raises OSError.

    Nothing is missing where no folder is left: who removes it does not want it again.
    """
    folder = _last_folder(config, run, resume)
    lines = () if folder is None else events_in(folder, run)
    if folder is None or not (lines and isinstance(lines[-1], RunEnded)):
        return folder is not None
    epochs = [each.progress.epoch for each in lines if isinstance(each, EpochFinished)]
    whole = resume.progress is None or resume.progress.epoch in epochs
    return not whole or bool(_owed(folder, plan_trackers(config, environment()), run, RunHistory(), resume))


def _last_folder(config: Config, run: RunRef, resume: ResumeInfo) -> Path | None:
    """The run's own folder, or the copy of it."""
    own = folder_of(config, run)
    copy = own if resume.folder is None else resume.folder / own.name
    return next((each for each in (own, copy) if each.exists()), None)


def _owed(folder: Path, planned: Sequence[str], run: RunRef, past: RunHistory, resume: ResumeInfo) -> list[str]:
    """Name the trackers that miss numbers, or lines."""
    events, marks = _events_in_force(folder, run, past, resume), ReplayCursors(folder)
    numbers = (EpochFinished, CheckpointSaved) if resume.artifacts else EpochFinished
    missed = {name: marks.missed(name, events) for name in planned}
    return [name for name in planned if any(name == "jsonl" or isinstance(each, numbers) for each in missed[name])]


def _events_in_force(folder: Path, run: RunRef, past: RunHistory, resume: ResumeInfo) -> tuple[Event, ...]:
    """Return the events of the run that are in force, from this machine's store and the run's own folder.

    With a copy of the folder beside the checkpoints, it may hold events of another machine that are not in this store;
    events that a full disk kept out of the folder are in the store alone.
    """
    known = past.events
    if resume.folder is not None:
        lines = events_in(folder, run)
        both = {each.id: each for each in (*known, *resume.kept(lines))}  # the lines have every number
        known = tuple(sorted(both.values(), key=lambda each: (each.at, each.id)))
    epochs = {each.id for each in in_force(known)}
    return tuple(each for each in known if not isinstance(each, EpochFinished) or each.id in epochs)
