"""Demo of the dead man's switch in a few seconds: Slack's clock is moved, a run dies, and Slack posts the alarm."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from notifybot.events import EpochFinished, Event, RunEnded, RunStarted
from notifybot.i18n import text
from notifybot.notifiers.base import Envelope
from notifybot.notifiers.slack.bot import SlackBot
from notifybot.notifiers.slack.deadman.slack_api import SlackAlarms
from notifybot.notifiers.slack.deadman.switch import DeadMan
from notifybot.notifiers.slack.deadman.text import Speech, mark_of
from notifybot.notifiers.slack.run_thread import RunThread
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL, SlackMessage
from notifybot.testing import DictMemory, FakeClock
from notifybot.types import Checkpoint, Host, Language, Metric, Progress, RunRef, Status, Tier, uuid7

_EPOCHS, _EPOCH_S = 12, 150.0
_KILLED_AFTER = 7
_BACK_AFTER_S = 25 * 60.0
_STEP_S = 10.0
_DAY_S = 86_400.0


def main(language: Language, console: Console | None = None) -> int:
    """Play the demo and return the exit code: 0 only if Slack posted the death, once, and none about a living run."""
    clock = FakeClock()
    with Sandbox(clock=clock, language=language) as sandbox:
        scenario = DeadmanScenario(language, clock, sandbox, console or Console(highlight=False))
        return 0 if scenario.play() else 1


@dataclass(slots=True)
class DeadmanScenario:
    """One play of the demo, on a clock that is moved."""

    language: Language
    clock: FakeClock
    sandbox: Sandbox
    console: Console
    run: RunRef = field(default_factory=lambda: RunRef("digits-7f3a", "digits", "demo"))
    memory: DictMemory = field(default_factory=DictMemory)
    progress: Progress = field(default_factory=lambda: Progress(total=_EPOCHS))
    shown: int = 0  # messages
    headline: str = ""  # of the last one
    waiting: str = ""  # the alarms that wait, as last shown

    def play(self) -> bool:
        """Train, die, be reported, come back, finish; True when everything was as promised."""
        self._print(self._text("demo.deadman.title"), "bold")
        self._print(f"{self._text('demo.deadman.intro')}\n", "dim")
        self._train(_KILLED_AFTER, attempt=1)
        died_at = self.clock.now()
        self._line(self._text("demo.deadman.machine_is_lost"), "bold red")
        self._pass_time(_BACK_AFTER_S)
        self._line(self._text("demo.deadman.started_again"), "bold cyan")
        switch = self._train(_EPOCHS, attempt=2)
        self._send(RunEnded(**self._fact(), status=Status.FINISHED, progress=self.progress))
        switch.cancel()
        self._keep(switch)
        self._line(self._text("demo.deadman.run_has_ended"), "bold cyan")
        self._pass_time(_DAY_S)
        return self._conclude(died_at)

    def _text(self, key: str, /, **values: object) -> str:
        return text(self.language, key, **values)

    @property
    def _alarms(self) -> list[SlackMessage]:
        return [each for each in self.sandbox.slack.messages if mark_of(self.run) in each.text]

    def _train(self, until: int, *, attempt: int) -> DeadMan:
        """A session of the run, from where the last one ended; it stops without a report."""
        switch = self._switch()
        started = RunStarted(**self._fact(), attempt=attempt, total=_EPOCHS, progress=self.progress, host=_HOST)
        self._send(started)
        for epoch in range(self.progress.done + 1, until + 1):
            for _ in range(int(_EPOCH_S / _STEP_S)):
                self.clock.advance(_STEP_S)
                self._keep(switch)
            self.progress = _after(epoch, self.progress)
            self._send(EpochFinished(**self._fact(), progress=self.progress))
        return switch

    def _switch(self) -> DeadMan:
        alarms = SlackAlarms(BOT_TOKEN, f"{self.sandbox.url}/api/", clock=self.clock)
        speech = Speech(self.run, _HOST, Renderer(self.language))
        return DeadMan(
            alarms, speech, lambda: (self.progress, self.clock.monotonic()),
            lambda: RunThread.from_value(self.memory.get(self.run.id)), clock=self.clock,
        )  # fmt: skip

    def _keep(self, switch: DeadMan) -> None:
        while switch.step():
            self._show_waiting()

    def _send(self, event: Event) -> None:
        """Send an event as delivery does: the bot edits the root message and answers in its thread."""
        bot = SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{self.sandbox.url}/api/", clock=self.clock)
        bot.send(Envelope(event, Renderer(self.language).render(event), self.memory))
        self._show_posted()

    def _pass_time(self, seconds: float) -> None:
        until = self.clock.now().timestamp() + seconds
        waiting = [each.post_at for each in self.sandbox.slack.schedule.pending if each.post_at < until]
        for moment in [*waiting, until]:
            self.clock.advance(moment - self.clock.now().timestamp())
            self._show_posted()
        self.waiting = ""

    def _show_waiting(self) -> None:
        """Print the alarms scheduled at Slack, whenever they have changed."""
        waiting = self.sandbox.slack.schedule.pending
        times = [datetime.fromtimestamp(each.post_at, self.clock.now().tzinfo) for each in waiting]
        shown = ", ".join(f"{each:%H:%M:%S}" for each in times)
        if shown != self.waiting:
            self.waiting = shown
            waits = self._text("demo.deadman.alarms_wait" if shown else "demo.deadman.no_alarm_waits", times=shown)
            self._line(f"  {waits}", "dim")

    def _show_posted(self) -> None:
        messages = self.sandbox.slack.messages
        for each in messages[self.shown :]:
            alarm = each in self._alarms
            if not alarm and _read(each)[0] == self.headline:  # the thread repeats what the root says
                continue
            self.headline = _read(each)[0]
            how = self._text("demo.deadman.posted_by_slack" if alarm else "demo.deadman.posted_by_run")
            self._line(f"  Slack · {how}", "bold magenta" if alarm else "magenta")
            for line in _read(each) if alarm else _read(each)[:1]:
                self._print(f"{'':12}{line}")
        self.shown = len(messages)

    def _conclude(self, died_at: datetime) -> bool:
        alarms = self._alarms
        waited_s = (alarms[0].at - died_at).total_seconds() if alarms else 0.0
        in_both = all(each.broadcast and each.thread_ts for each in alarms)
        checks = (
            (len(alarms) == 1, self._text("demo.deadman.check.told_once")),
            (bool(alarms) and 0 < waited_s <= 900, self._text("demo.deadman.check.told_soon", minutes=waited_s / 60)),
            (in_both, self._text("demo.deadman.check.told_in_thread_and_channel")),
            (not self.sandbox.slack.schedule.pending, self._text("demo.deadman.check.no_alarm_is_left")),
        )
        self._print("")
        for ok, sentence in checks:
            self._print(f"  {'✓' if ok else '✗'} {sentence}", "green" if ok else "bold red")
        return all(ok for ok, _ in checks)

    def _fact(self) -> dict[str, Any]:
        now = self.clock.now()
        return {"id": uuid7(now.timestamp()), "run": self.run, "at": now}

    def _line(self, text: str, style: str = "") -> None:
        self._print(f"{self.clock.now():%H:%M:%S}  {text}", style)

    def _print(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style=style), soft_wrap=True)


_HOST = Host(name="colab-runtime", device="Tesla T4")


def _after(epoch: int, before: Progress) -> Progress:
    """The progress after one more epoch, with its checkpoint."""
    loss = round(0.9 * 0.8**epoch, 4)
    past = before.metrics.get("val_loss")
    metric = Metric(loss, previous=past.value if past else None, best=loss, best_epoch=epoch)
    saved = Checkpoint(f"drive/digits/epoch-{epoch:03d}.pt", epoch=epoch, tier=Tier.REMOTE)
    elapsed_s = before.elapsed_s + _EPOCH_S
    return replace(
        before, epoch=epoch, done=epoch, metrics={"val_loss": metric}, epoch_s=_EPOCH_S, elapsed_s=elapsed_s,
        eta_s=(_EPOCHS - epoch) * _EPOCH_S, checkpoint=saved,
    )  # fmt: skip


def _read(message: SlackMessage) -> list[str]:
    """Return the text that a person reads in a message: the headline and the lines below it."""
    cards = [each for each in message.now.attachments if each.get("fallback")]
    lines = [str(each["fallback"]) for each in cards] or message.text.splitlines()[:1]
    for block in message.blocks:
        if block.get("type") == "section" and isinstance(block.get("text"), dict):
            lines += str(block["text"].get("text", "")).splitlines()
    return lines
