"""Run of a command: started beside the child, fed with what it prints, ended with how it ended.

All of it is done on one thread of its own: the child waits for nothing, and no fault of ours reaches it.
"""

from __future__ import annotations

import logging
import math
import platform
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from notifybot.clock import SYSTEM, Clock
from notifybot.command.epochs import Epochs, is_finer
from notifybot.command.launchers import Place, alerts_first
from notifybot.command.outcome import CommandOutcome, Kind
from notifybot.command.output import LineReader
from notifybot.command.output_files import MOST_WAITING_BYTES, PIECE_BYTES, FilePiece, OutputFiles
from notifybot.command.progress_lines import LineReading, ProgressParser
from notifybot.files import started
from notifybot.i18n import text
from notifybot.redaction import strike
from notifybot.runtime import environment
from notifybot.training.command_file import CommandFile, LoggedNumbers, announce, has_begun

if TYPE_CHECKING:
    from notifybot.config import Config
    from notifybot.training.endings import Ending
    from notifybot.training.guard import Guard
    from notifybot.training.run import Run
    from notifybot.types import RunRef, Unit

FLUSH_S = 10.0  # nobody trains in this process any more: it may wait for its last message
TAIL_CHARS = 3000
COMPLAINT_CHARS = 200
_BURST = 100.0  # events at once; one a second after them
_TICK_S = 1.0
ALONE_S = 10.0  # by then a training below has often begun a run of its own, or gone on with one

_UNITS: dict[str, Unit] = {"epoch": "epoch", "step": "step", "round": "round", "trial": "trial"}

log = logging.getLogger("notifybot")


@dataclass(frozen=True, slots=True)
class Wishes:
    """Options of the command line. Durations in seconds; 0 is off."""

    name: str
    project: str | None = None
    run_id: str | None = None
    joins: bool = False  # below another `notifybot run`
    tail_lines: int = 20
    tail_of_success: bool = False
    stall_s: float = 0.0
    min_s: float = 0.0
    at_least_s: float = 0.0


class Reporter:
    """Reports one command. `start`, then `saw` and `printed` from any thread, then `end` once.

    Where a training below the command reports itself, its reports are those of the run, and the command's own stop:
    only an ending that it could not report is reported here.
    """

    def __init__(
        self,
        config: Config,
        wishes: Wishes,
        params: Mapping[str, object],
        file: CommandFile,
        parser: ProgressParser | None = None,
        *,
        alone_s: float = ALONE_S,
        clock: Clock = SYSTEM,
    ) -> None:
        self._config, self._wishes, self._params, self._file = config, wishes, params, file
        self._alone_s, self._clock = alone_s, clock
        self._began_s = clock.monotonic()
        self._queue: queue.SimpleQueue[_Printed | _End] = queue.SimpleQueue()
        self._parser = parser
        self._readers: dict[int, LineReader] = {}  # by stream
        self._unread_bytes = 0
        self._files = OutputFiles()
        self._epochs, self._logged = Epochs(), Epochs()  # by what is printed, and by `notifybot log`
        self._unit: Unit | None = None  # of what was reported last
        self._logs = False  # by `notifybot log`: it is not guessed any more from what is printed
        self._over: list[tuple[LineReading, float]] = []  # epochs that are over and not reported yet, and since when
        self._printed_at_s = self._began_s
        self._prints = 0
        self._silent = False
        self._allowed, self._allowed_at_s = _BURST, self._began_s
        self._said_needless = self._said_unreadable = False
        self._run: Run | None = None
        self._began_below: dict[tuple[str, str], RunRef] = {}
        self._thread = threading.Thread(target=self._work, name="notifybot-reporter", daemon=True)

    def start(self, files: OutputFiles | None = None) -> None:
        """Begin to report, beside the caller, with what comes into the `files` that the command writes by itself.

        Where no thread is to be had, nothing is reported.
        """
        self._files = files or self._files
        started(self._thread)

    def printed(self, stream: int = 1, piece: bytes = b"") -> None:
        """Take what the command has printed: it moves. Nothing is read here, where the command would wait for it."""
        self._printed_at_s = self._clock.monotonic()
        self._prints += 1
        if piece and self._parser is not None and self._unread_bytes < MOST_WAITING_BYTES:
            self._unread_bytes += len(piece)
            self._queue.put(_Printed(stream, piece, self._printed_at_s))

    def end(self, outcome: CommandOutcome, lines: list[str]) -> None:
        """Report the ending, and wait up to 10 seconds until all is sent. Ctrl-C ends the wait."""
        self._queue.put(_End(outcome, lines, self._clock.monotonic()))
        with suppress(KeyboardInterrupt):
            while self._thread.is_alive():
                self._thread.join(0.2)

    # ── The reporter's own thread ────────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        from notifybot.training.guard import Guard  # half a second, beside the command

        guard = Guard()
        with guard("command"):
            end = self._follow(guard)
            self._finish(end)
        self._file.remove()

    def _follow(self, guard: Guard) -> _End:
        """Report what comes until the end. The run begins when it is clear that no other is resumed below."""
        begins_at_s = self._began_s + max(self._wishes.min_s, self._alone_s)
        looks_at_s = self._began_s
        while True:
            try:
                found = self._queue.get(timeout=_TICK_S)
            except queue.Empty:
                found = None
            if found is None or isinstance(found, _End) or self._clock.monotonic() >= looks_at_s:
                looks_at_s = self._clock.monotonic() + _TICK_S
                self._look_below()
                self._look_at_files(guard)
            if isinstance(found, _End):
                self._read_the_rest(guard)
                return found
            if found is not None:
                self._unread_bytes -= len(found.piece)
                with self._reading(guard) as parser:
                    self._read(found, parser)
            now_s = self._clock.monotonic()
            if self._began_below or now_s < self._began_s + self._wishes.min_s:
                continue
            if self._run is None and (self._over or now_s >= begins_at_s):
                self._begin()
            if self._run is not None:
                self._report_epochs(self._run)
                self._look_after(self._run)

    @contextmanager
    def _reading(self, guard: Guard) -> Iterator[ProgressParser | None]:
        """Yield the parser; one that raises reads no more, and costs no ending."""
        parser, self._parser = self._parser, None
        with guard("command_lines"):
            yield parser
            self._parser = parser

    def _look_at_files(self, guard: Guard) -> bool:
        """Read what has come into the command's own files; return whether there was any."""
        if self._files.have_grown():
            self.printed()
        if self._parser is None:
            return False
        found = False
        with self._reading(guard) as parser:
            for piece in self._pieces_of_files():
                found, now_s = True, self._clock.monotonic()
                reader = self._readers.setdefault(piece.stream, LineReader(self._clock, math.inf))
                if piece.cut:
                    reader.skip()
                self._read(_Printed(piece.stream, piece.text, now_s), parser)
        return found

    def _pieces_of_files(self) -> list[FilePiece]:
        try:
            return list(self._files.news())
        except OSError as error:
            if not self._said_unreadable:
                why = error.strerror or str(error)
                log.warning("%s", text(self._config.lang, "command.file_unread", why=why))
            self._said_unreadable = True
            return []

    def _read_the_rest(self, guard: Guard) -> None:
        for _ in range(MOST_WAITING_BYTES // PIECE_BYTES + 1):  # what lives on behind the command may write without end
            if not self._look_at_files(guard):
                break
        self._files.close()
        with self._reading(guard) as parser:
            self._take([] if parser is None else parser.close(), self._printed_at_s)

    def _read(self, printed: _Printed, parser: ProgressParser | None) -> None:
        if parser is None:
            return
        for line in self._readers.setdefault(printed.stream, LineReader(self._clock)).feed(printed.piece):
            self._take(parser.feed(line), printed.at_s)

    def _take(self, readings: Iterable[LineReading], at_s: float) -> None:
        for reading in readings:
            if (ended := self._epochs.take(reading)) is not None and self._is_allowed():
                self._over.append((ended, at_s))

    def _take_over(self, *ended: LineReading | None) -> None:
        self._over += [(each, self._clock.monotonic()) for each in ended if each is not None]

    def _is_allowed(self) -> bool:
        """A loop that prints a hundred epochs a second is followed by some of them, and by the last."""
        now_s = self._clock.monotonic()
        self._allowed = min(self._allowed + now_s - self._allowed_at_s, _BURST)
        self._allowed_at_s = now_s
        if self._allowed < 1.0:
            return False
        self._allowed -= 1.0
        return True

    def _begin(self) -> Run:
        self._run = run = self._new_run()
        self._file.began(run.ref)
        run.start()
        run.began(self._began_s)
        if run.progress.epoch is not None:  # by an earlier attempt
            self._unit = self._epochs.unit = self._logged.unit = run.progress.unit
        if run.session is not None and not run.session.shared.delivery.notifiers:
            log.warning("%s", text(self._config.lang, "command.nobody"))
        return run

    def _new_run(self, of: RunRef | None = None) -> Run:
        """The command's own run; or a session that follows the one of a training below, and is none to be sent."""
        from notifybot.training.run import Run

        wishes = self._wishes
        if of is None:
            return Run(
                name=wishes.name, project=wishes.project, run_id=wishes.run_id, params=self._params,
                joins=wishes.joins and has_begun(str(wishes.run_id)),
                config=self._config, console=False, clock=self._clock,
            )  # fmt: skip
        return Run(
            name=of.name, project=of.project, run_id=of.id, after_session=of.session, joins=True,
            config=self._config, console=False, clock=self._clock,
        )  # fmt: skip

    def _look_below(self) -> None:
        """Take in which runs the processes below have begun, and which numbers they have logged."""
        news = self._file.news()
        for each in news:
            if isinstance(each, LoggedNumbers):
                self._take_logged(each)
            elif self._run is None or each.session != self._run.ref.session:
                self._hand_over(each)
        if not any(isinstance(each, LoggedNumbers) for each in news):  # no more of that epoch for a second
            self._take_over(self._logged.settle())

    def _take_logged(self, numbers: LoggedNumbers) -> None:
        """Take what a script says of itself: then it is not guessed any more from what it prints."""
        self.printed()
        if self._began_below:
            if not self._said_needless:
                log.warning("%s", text(self._config.lang, "command.log.training_reports", **self._names_below()))
            self._said_needless = True
            return
        self._parser, self._logs = None, True
        reading = LineReading(numbers.unit, numbers.at, numbers.metrics, numbers.total)
        self._take_over(self._logged.take(reading))

    def _names_below(self) -> dict[str, str]:
        return {"name": strike(list(self._began_below.values())[-1].name)}

    def _hand_over(self, ref: RunRef) -> None:
        run = self._run
        if run is not None and run.active:
            if (ref.project, ref.id) == (run.project, run.id):
                run.retire()
            else:
                from notifybot.training.endings import Ending
                from notifybot.types import Status

                note = text(self._config.lang, "command.goes_on_as", name=ref.name, id=ref.id[-8:])
                run.end(Ending(Status.FINISHED, note=note))
        self._began_below[ref.project, ref.id] = ref
        announce(ref)  # to a command above this one

    def _look_after(self, run: Run) -> None:
        run.meter.steps = self._prints
        stall_s = self._wishes.stall_s
        silent_s = self._clock.monotonic() - self._printed_at_s
        if stall_s and silent_s >= stall_s and not self._silent:
            self._silent = True
            run.report(text(self._config.lang, "command.silent", minutes=round(silent_s / 60, 1)))
        elif silent_s < stall_s:
            self._silent = False

    def _report_epochs(self, run: Run) -> None:
        over, self._over = self._over, []
        for reading, at_s in over:
            if self._unit is not None and is_finer(reading.unit, self._unit) and not self._logs:
                continue  # printed before it was known that this run counts epochs: they are in the epoch's means
            self._unit = _UNITS.get(reading.unit, "epoch")
            run.plan(total=reading.total, first=reading.first, unit=self._unit)
            with run.guard("epoch_end"):
                run.report_epoch(reading.label, reading.metrics, at_s=at_s)

    def _report_the_last(self, run: Run, *, failed: bool) -> None:
        """Report the epoch that is open, if it is over; whatever was logged, in any case."""
        if not self._logs:
            if failed and self._epochs.unit == "epoch":
                run.open_epoch = self._epochs.begun
            self._take_over(self._epochs.close(failed=failed))
        self._take_over(self._logged.close())
        self._report_epochs(run)
        if (values := self._logged.rest()) and run.progress.epoch is not None:
            with run.guard("epoch_end"):
                run.report_epoch(run.progress.epoch, values)

    def _finish(self, end: _End) -> None:
        outcome, took_s = end.outcome, end.at_s - self._began_s
        quiet = outcome.kind is Kind.FINISHED and took_s < self._wishes.min_s
        if not self._began_below:
            if self._run is None and quiet:
                return
            run = self._begin() if self._run is None else self._run
            self._report_the_last(run, failed=outcome.kind is not Kind.FINISHED)
            if outcome.kind is Kind.FINISHED and took_s < self._wishes.at_least_s:
                run.report(text(self._config.lang, "command.too_quick", seconds=round(took_s)))
            run.began(self._clock.monotonic() - took_s)  # what has passed since the command's end is ours
            run.end(self._ending(end))
            run.flush(FLUSH_S)
            return
        if outcome.kind is not Kind.FINISHED:
            self._finish_below(end)
        if self._run is not None:
            self._run.flush(FLUSH_S)

    def _finish_below(self, end: _End) -> None:
        """End the runs that the trainings below have left open; where they ended all, say that the command failed."""
        from notifybot.store import runs
        from notifybot.training.session import share
        from notifybot.types import Status

        store = share(self._config, None, self._clock).store
        with store.patient(FLUSH_S):  # our own threads may use it too
            rows = [runs.get(store, ref.id, project=ref.project) for ref in self._began_below.values()]
        found = [row for row in rows if row is not None]
        left = [row for row in found if row.ended_at is None]
        if not left and end.outcome.kind is not Kind.INTERRUPTED:
            left = [row for row in found[-1:] if row.status is Status.FINISHED]
        for row in left:
            run = self._new_run(row.ref)
            run.start()
            run.end(self._ending(end))
            run.flush(FLUSH_S)

    def _ending(self, end: _End) -> Ending:
        from notifybot.training.endings import Ending
        from notifybot.types import Status

        outcome = end.outcome
        status = {Kind.FINISHED: Status.FINISHED, Kind.INTERRUPTED: Status.INTERRUPTED}.get(outcome.kind, Status.FAILED)
        shown = status is not Status.FINISHED or self._wishes.tail_of_success
        lines = end.lines[-self._wishes.tail_lines :] if shown and self._wishes.tail_lines else []
        return Ending(status, error_text(outcome, self._config.lang), tail_text(lines))


class RankReporter:
    """Reporter of a rank or node that does not speak: it sends a failure, as an alert, and else nothing."""

    def __init__(self, config: Config, wishes: Wishes, place: Place, file: CommandFile) -> None:
        self._config, self._wishes, self._place, self._file = config, wishes, place, file

    def start(self, files: OutputFiles | None = None) -> None:
        """Begin to report, which here needs nothing."""

    def printed(self, stream: int = 1, piece: bytes = b"") -> None:
        """Take what the command has printed, which nobody asks for here."""

    def end(self, outcome: CommandOutcome, lines: list[str]) -> None:
        """Send the failure, and wait up to 10 seconds until it is sent. Ctrl-C ends the wait."""
        from notifybot.training.guard import Guard

        with suppress(KeyboardInterrupt), Guard()("command"):
            if outcome.kind not in (Kind.FINISHED, Kind.INTERRUPTED) and alerts_first(environment()):
                self._alert(outcome, lines)
        self._file.remove()

    def _alert(self, outcome: CommandOutcome, lines: list[str]) -> None:
        from notifybot.events import RunEnded
        from notifybot.store.runs import record
        from notifybot.training.run import Run
        from notifybot.types import Severity, Status

        wishes, place = self._wishes, self._place
        run = Run(name=wishes.name, project=wishes.project, config=self._config, alerts=(), console=False)
        run.session = session = run.new_session()
        key = "command.node_failed" if place.is_node else "training.run.rank_failed"
        error = error_text(outcome, self._config.lang)
        title = text(self._config.lang, key, rank=place.number, host=platform.node(), error=error)
        shown = tail_text(lines[-wishes.tail_lines :]) if wishes.tail_lines else ""
        run.report(title, shown, Severity.ERROR)
        run.flush(FLUSH_S)
        # Reported above, to be sent to nobody again: else this would be a run that goes on for ever.
        record(session.shared.store, RunEnded(**run.fact(), status=Status.FAILED, error=error))
        session.speaker.close()


@dataclass(frozen=True, slots=True)
class _Printed:
    stream: int
    piece: bytes
    at_s: float


@dataclass(frozen=True, slots=True)
class _End:
    outcome: CommandOutcome
    lines: list[str]
    at_s: float


def error_text(outcome: CommandOutcome, language: str) -> str:
    """Return how a command ended, for people: the signal, the memory, or its own error and exit code."""
    if outcome.kind in (Kind.FINISHED, Kind.INTERRUPTED):
        return outcome.signal
    values: dict[str, Any] = {
        "signal": outcome.signal,
        "code": outcome.code,
        "error": outcome.error,
        "command": strike(outcome.command),
    }
    if outcome.kind is Kind.FAILED and outcome.error:
        return strike(outcome.error)
    said = text(language, f"command.{outcome.kind}", **values)
    if not outcome.complaint:
        return said
    from notifybot.rendering.text import redacted_line

    return f"{said} · {strike(redacted_line(outcome.complaint, COMPLAINT_CHARS))}"


def tail_text(lines: list[str]) -> str:
    """Return the last lines as one text of at most 3,000 characters, without secrets."""
    from notifybot.rendering.text import redacted

    whole = strike(redacted("\n".join(lines), 10 * TAIL_CHARS))
    return whole if len(whole) <= TAIL_CHARS else "…" + whole[-TAIL_CHARS:]
