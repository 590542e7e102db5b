"""A run beside the pretended Slack, with its dead man's switch, on a clock that is moved."""

from __future__ import annotations

from notifybot.errors import StoreError
from notifybot.notifiers.slack.deadman.schedule import Margins
from notifybot.notifiers.slack.deadman.slack_api import SlackAlarms
from notifybot.notifiers.slack.deadman.switch import DeadMan
from notifybot.notifiers.slack.deadman.text import Speech
from notifybot.notifiers.slack.run_thread import RunThread
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.testing import FakeClock
from notifybot.types import Checkpoint, Host, Language, Metric, Progress, RunRef, Tier

RUN = RunRef("run-7f3a", "resnet", "lab", "s1")
MARGINS = Margins()
SCHEDULE, DELETE, LIST = "chat.scheduleMessage", "chat.deleteScheduledMessage", "chat.scheduledMessages.list"


class Rig:
    """A run with its root message, unless a `place` is given, and its switch. The loop moves unless it `hangs`."""

    def __init__(
        self, sandbox: Sandbox, clock: FakeClock, *, run: RunRef = RUN, language: Language = Language.EN,
        place: RunThread | None = None, local: FakeClock | None = None, channel: str = "", margins: Margins = MARGINS,
    ) -> None:  # fmt: skip
        self.sandbox, self.clock, self.run, self.local = sandbox, clock, run, local or clock
        self.hangs = False
        self.store_locked = False
        self.moves = 0
        metrics = {"val_loss": Metric(0.2345)}
        checkpoint = Checkpoint("drive/epoch-041.pt", epoch=41, tier=Tier.REMOTE)
        self.progress = Progress(epoch=42, done=42, total=100, metrics=metrics, epoch_s=30.0, checkpoint=checkpoint)
        api = SlackAlarms(BOT_TOKEN, f"{sandbox.url}/api/", timeout_s=5, clock=self.local)
        self.api = api
        self.place = self.root() if place is None else place
        speech = Speech(run, Host("colab"), Renderer(language))
        self.over: dict[str, float] = {}  # when other runs ended, of which people know
        self.said: set[str] = set()  # why messages of the run were refused, as the log says
        self.switch = DeadMan(
            api, speech, self.look, self.thread,
            channel=channel, margins=margins, over_at=self.over.get, has_said=self.said.__contains__, clock=self.local,
        )  # fmt: skip

    def root(self) -> RunThread:
        """A root message for the run, as its first message makes one."""
        posted = self.api.post(CHANNEL, {"text": "root"})
        return RunThread(posted.channel_id, posted.ts, "started")

    def look(self) -> tuple[Progress, int]:
        self.moves += not self.hangs
        return (self.progress, self.moves)

    def thread(self) -> RunThread:
        if self.store_locked:
            raise StoreError("locked")
        return self.place

    def run_for(self, seconds: float, step_s: float = 10.0) -> None:
        """Live on, doing what is due."""
        self.settle()
        for _ in range(int(seconds / step_s)):
            self.clock.advance(step_s)
            self.settle()

    def settle(self) -> None:
        """Do all that is due now."""
        while self.switch.step():
            pass

    @property
    def pending(self) -> list[int]:
        """Seconds from now until each alarm."""
        return [each.post_at - int(self.now_s) for each in self.sandbox.slack.schedule.pending]

    @property
    def now_s(self) -> float:
        return self.clock.now().timestamp()

    @property
    def replies(self) -> list[str]:
        return [each.text.splitlines()[0] for each in self.sandbox.slack.thread(self.place.root_ts)]

    def calls(self, *methods: str) -> list[str]:
        return [method for method, _ in self.sandbox.slack.calls if method in (methods or (LIST, SCHEDULE, DELETE))]
