"""Learning curves in Slack's thread: after the text, never instead of it, and told once where they cannot come."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot.events import Event
from notifybot.notifiers.slack import SlackBot
from notifybot.notifiers.slack.pictures import GAP_S, file_name, is_due, remedy_for
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL, SlackMessage
from notifybot.testing import DictMemory, FakeClock
from notifybot.types import Language, Metric, Progress, RunRef
from tests.support.slack_messages import RUN, alert, checkpoint, ended, envelope, epoch, progress, started

CURVE = Progress(epoch=3, done=3, total=3, metrics={"loss": Metric(1.0, history=(3.0, 2.0, 1.0))})
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


class FakeSketch:
    """A picture that is ready when the test says so."""

    def __init__(self, png: bytes | None, *, ready: bool = True) -> None:
        self.png = png
        self.ready = ready
        self.cancelled = False

    def wait(self, until: Callable[[], bool]) -> bool:
        assert self.ready or until(), "nothing would ever end this wait"
        return self.ready

    def cancel(self) -> None:
        self.cancelled = True


class FakeArtist:
    """Hands out the sketches given, then ready ones."""

    def __init__(self, *sketches: FakeSketch | None) -> None:
        self.given = list(sketches)
        self.events: list[Event] = []
        self.warm = 0
        self.closed = False

    def warm_up(self) -> None:
        self.warm += 1

    def close(self) -> None:
        self.closed = True

    def begin(self, event: Event) -> FakeSketch | None:
        self.events.append(event)
        return self.given.pop(0) if self.given else FakeSketch(PNG)


@pytest.fixture
def memory() -> DictMemory:
    return DictMemory()


class Desk:
    """A bot with an artist at a sandbox."""

    def __init__(self, sandbox: Sandbox, memory: DictMemory, clock: FakeClock, *sketches: FakeSketch | None) -> None:
        self.sketches = [each for each in sketches if each is not None]
        self.artist = FakeArtist(*sketches)
        self.busy = False
        self.asked: set[str] = set()
        self.memory = memory
        self.sandbox = sandbox
        self.bot = SlackBot(
            BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/", timeout_s=1, clock=clock, artist=self.artist,
            busy=self._is_busy,
        )  # fmt: skip

    def _is_busy(self, key: str) -> bool:
        self.asked.add(key)
        return self.busy

    def tell(self, *events: Event, **changes: object) -> None:
        for event in events:
            self.bot.send(envelope(event, self.memory, **changes))

    @property
    def thread(self) -> list[SlackMessage]:
        return self.sandbox.slack.thread(self.sandbox.slack.roots[0].ts)

    @property
    def pictures(self) -> int:
        return len(self.sandbox.slack.shared)


@pytest.fixture
def desk(sandbox: Sandbox, memory: DictMemory, clock: FakeClock) -> Desk:
    return Desk(sandbox, memory, clock)


def test_a_picture_follows_its_text(desk: Desk) -> None:
    """A new best and an ending are told in words first; the curve is the next reply."""
    desk.tell(started(), epoch(2, new_best="val_acc"), ended())

    kinds = ["picture" if each.blocks[0]["type"] == "image" else each.text for each in desk.thread]
    assert kinds == [
        "resnet-cifar: run started, val_acc 0.61",
        "🏆 New best val_acc: 0.6100 · epoch 2",
        "picture",
        "resnet-cifar: run ended, val_acc 0.61",
        "picture",
    ]
    (first, _) = desk.sandbox.slack.shared
    assert (first.name, first.body, first.alt) == (
        "resnet-cifar-2.png",
        PNG,
        "resnet-cifar: epoch finished, val_acc 0.61",
    )


def test_an_epoch_without_words_of_its_own_gets_some_with_its_picture(desk: Desk) -> None:
    """Every tenth part of a run is worth a picture; its reply says where the run stands, with nothing active."""
    desk.tell(started(), epoch(3), title="<!channel> & co at evil.example")

    assert desk.thread[-1].text == "&lt;!channel&gt; &amp; co at evil\u200b.example"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(epoch(2), False, id="any-epoch"),
        pytest.param(epoch(3), True, id="tenth-part"),
        pytest.param(epoch(2, new_best="val_acc"), True, id="new-best"),
        pytest.param(replace(epoch(5), progress=progress(5, None)), False, id="no-total"),
        pytest.param(replace(epoch(20), progress=progress(20, None)), True, id="no-total-every-ten"),
        pytest.param(replace(epoch(1), progress=progress(1, 3)), True, id="short-run"),
        pytest.param(ended(), True, id="ending"),
        pytest.param(alert(), True, id="alert"),
        pytest.param(started(), False, id="start"),
        pytest.param(checkpoint(), False, id="checkpoint"),
    ],
)
def test_when_a_picture_is_due(event: Event, expected: bool) -> None:
    """A new best, each tenth of a run (each ten epochs without an end in sight), an ending, an alert."""
    assert is_due(event) is expected


def test_pictures_of_epochs_keep_a_gap_and_endings_do_not(desk: Desk, clock: FakeClock) -> None:
    """Epochs of seconds, each a new best, do not fill the thread; another run has a gap of its own."""
    desk.tell(started(), epoch(2, new_best="val_acc"), epoch(3, new_best="val_acc"))
    assert desk.pictures == 1
    clock.advance(GAP_S)
    desk.tell(epoch(4, new_best="val_acc"))
    desk.tell(replace(epoch(6, new_best="val_acc"), run=RunRef("other", "other", "vision", "s")))
    desk.tell(ended())

    assert desk.pictures == 4


def test_a_text_that_waits_goes_before_the_picture(sandbox: Sandbox, memory: DictMemory, clock: FakeClock) -> None:
    """The picture that was not ready comes after the next text; nobody waited for it."""
    sketch = FakeSketch(PNG, ready=False)
    desk = Desk(sandbox, memory, clock, sketch)
    desk.busy = True
    desk.tell(started(), epoch(3))
    assert desk.asked == {desk.bot.key}
    assert desk.pictures == 0

    sketch.ready = True
    desk.tell(epoch(4))

    assert desk.pictures == 1
    assert sandbox.slack.shared[0].name == "resnet-cifar-3.png"


def test_an_endings_picture_takes_the_place_of_one_that_is_not_ready(
    sandbox: Sandbox, memory: DictMemory, clock: FakeClock
) -> None:
    """The ending does not wait for an epoch's picture, and shows more."""
    slow = FakeSketch(PNG, ready=False)
    desk = Desk(sandbox, memory, clock, slow)
    desk.busy = True
    desk.tell(started(), epoch(3), ended())

    assert slow.cancelled
    assert [each.name for each in sandbox.slack.shared] == ["resnet-cifar-30.png"]


def test_an_alerts_picture_comes_though_its_all_clear_follows_at_once(
    sandbox: Sandbox, memory: DictMemory, clock: FakeClock
) -> None:
    """It shows what was wrong, which the next one no longer does; the texts go before both."""
    first, second = FakeSketch(PNG, ready=False), FakeSketch(PNG)
    desk = Desk(sandbox, memory, clock, first, second)
    desk.busy = True
    desk.tell(started(), alert())
    assert desk.pictures == 0

    first.ready, desk.busy = True, False
    desk.tell(replace(alert(), id="all-clear"))

    assert not first.cancelled
    assert desk.pictures == 2
    assert [each.blocks[0]["type"] == "image" for each in desk.thread][-3:] == [False, True, True]


def test_an_alerts_picture_outlasts_an_epochs(sandbox: Sandbox, memory: DictMemory, clock: FakeClock) -> None:
    """An epoch's still gives way to a newer one."""
    alerts, older, newer = FakeSketch(PNG, ready=False), FakeSketch(PNG, ready=False), FakeSketch(PNG, ready=False)
    desk = Desk(sandbox, memory, clock, alerts, older, newer)
    desk.busy = True
    desk.tell(started(), alert())
    for number in (3, 6):
        clock.advance(GAP_S)
        desk.tell(epoch(number))
    assert [each.cancelled for each in (alerts, older, newer)] == [False, True, False]

    alerts.ready = newer.ready = True
    desk.busy = False
    desk.tell(epoch(7))

    assert desk.pictures == 2


def test_pictures_do_not_pile_up(sandbox: Sandbox, memory: DictMemory, clock: FakeClock) -> None:
    """Each is drawn by a process of its own."""
    slow = [FakeSketch(PNG, ready=False) for _ in range(6)]
    desk = Desk(sandbox, memory, clock, *slow)
    desk.busy = True
    desk.tell(started(), *(replace(alert(), id=f"alert-{number}") for number in range(6)))

    assert [each.cancelled for each in slow] == [True, True, True, False, False, False]


def test_a_text_that_is_told_again_has_its_picture_drawn_once(
    sandbox: Sandbox, memory: DictMemory, clock: FakeClock
) -> None:
    desk = Desk(sandbox, memory, clock, FakeSketch(PNG, ready=False))
    desk.busy, warning = True, alert()

    desk.tell(started(), warning, warning)

    assert len(desk.artist.events) == 1


def test_no_picture_is_drawn_on_once_slack_has_said_no(sandbox: Sandbox, memory: DictMemory, clock: FakeClock) -> None:
    waiting = FakeSketch(PNG, ready=False)
    desk = Desk(sandbox, memory, clock, FakeSketch(PNG, ready=False), waiting)
    sandbox.slack.scopes.discard("files:write")
    desk.busy = True
    desk.tell(started(), alert(), replace(alert(), id="again"))

    desk.artist.given, desk.busy = [FakeSketch(PNG)], False
    for each in desk.sketches[:1]:
        each.ready = True
    desk.tell(epoch(2))

    assert waiting.cancelled


def test_closing_gives_up_what_is_not_ready(sandbox: Sandbox, memory: DictMemory, clock: FakeClock) -> None:
    slow = FakeSketch(PNG, ready=False)
    desk = Desk(sandbox, memory, clock, slow)
    desk.busy = True
    desk.tell(started(), epoch(3))

    desk.bot.close()

    assert slow.cancelled
    assert desk.artist.closed


def test_a_delivery_that_is_repeated_brings_no_second_picture(desk: Desk) -> None:
    """The process died before it could note that the message was sent."""
    ending = ended()

    desk.tell(started(), ending, ending)

    assert desk.pictures == 1


@pytest.mark.parametrize("sketch", [None, FakeSketch(None)], ids=["nothing-to-draw", "not-drawn"])
def test_where_no_picture_comes_the_text_is_all(
    sandbox: Sandbox, memory: DictMemory, clock: FakeClock, sketch: FakeSketch | None
) -> None:
    desk = Desk(sandbox, memory, clock, sketch)

    desk.tell(started(), ended())

    assert [each.text for each in desk.thread][-1] == "resnet-cifar: run ended, val_acc 0.61"
    assert not [each for each in sandbox.requests if "files" in each.path]


def test_the_next_picture_is_prepared_while_epochs_go_by(desk: Desk) -> None:
    """An ending's picture is wanted at once: whatever draws it should be ready by then."""
    desk.tell(started(), epoch(1), epoch(2))

    assert desk.artist.warm == 2


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (Language.EN, "lacks the scope files:write. To mend it: open"),
        (Language.KO, "권한(files:write)이 없습니다. https"),
    ],
)
def test_a_missing_scope_costs_no_text_and_is_told_once(
    desk: Desk, sandbox: Sandbox, clock: FakeClock, caplog: pytest.LogCaptureFixture, language: Language, words: str
) -> None:
    """The remedy stands in the thread, in the reader's language, and in the log; later processes do not repeat it."""
    sandbox.slack.scopes.discard("files:write")
    desk.tell(started(), epoch(2, new_best="val_acc"), ended(), language=language)
    again = Desk(sandbox, desk.memory, clock)
    again.tell(started(60, attempt=2), epoch(3, minutes=61), language=language)

    texts = [each.text for each in desk.thread]
    assert len([each for each in texts if words in each]) == 1
    assert "resnet-cifar: run ended, val_acc 0.61" in texts
    assert len(desk.artist.events) == 1  # no more are drawn once Slack said no
    assert "files:write" in caplog.text
    assert "chat:write" not in caplog.text


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", path="/files/upload", status=500, times=9),
        Fault("reset_before", path="/files/upload", times=9),
        Fault("status", path="getUploadURLExternal", status=503, times=9),
        Fault("garbage", path="getUploadURLExternal", times=9),
        Fault("reset_after", path="completeUploadExternal", times=9),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.path.rpartition('/')[2]}",
)
def test_a_failed_upload_costs_its_picture_alone(
    desk: Desk, sandbox: Sandbox, clock: FakeClock, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    """Texts go on, nothing is said twice, the address for uploads is in no log; after three failures no more."""
    sandbox.faults.append(fault)
    for number in range(5):
        desk.tell(ended(30 + number))
        clock.advance(GAP_S)

    replies = [each for each in desk.thread if each.blocks[0]["type"] != "image"]
    assert len(replies) == 5
    assert len(desk.artist.events) == 3
    assert "/files/upload" not in caplog.text
    assert [each.levelname for each in caplog.records if each.name == "notifybot"] == ["WARNING", "WARNING"]


def test_a_root_that_a_person_deleted_costs_nothing(desk: Desk, sandbox: Sandbox) -> None:
    """The picture of an epoch whose thread is gone is refused; the next text and its picture find their way."""
    sandbox.slack.refuse("files.completeUploadExternal", "message_not_found")

    desk.tell(started(), epoch(3), ended())

    assert [each.text for each in desk.thread][-2] == "resnet-cifar: run ended, val_acc 0.61"
    assert desk.pictures == 1


def test_a_bot_without_an_artist_uploads_nothing(sandbox: Sandbox, memory: DictMemory, clock: FakeClock) -> None:
    bot = SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/", timeout_s=1, clock=clock)

    for event in (started(), epoch(3), ended()):
        bot.send(envelope(event, memory))

    assert not [each for each in sandbox.requests if "files" in each.path]


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("code", ["missing_scope", "file_uploads_disabled", "storage_limit_reached", "new_word"])
def test_every_refusal_has_words_and_a_way_out(language: Language, code: str) -> None:
    """Each says what to do: another scope, or pictures off."""
    text = remedy_for(code, language)

    assert "files:write" in text if code == "missing_scope" else "NOTIFYBOT_PICTURES=off" in text
    assert code in text or code == "missing_scope"


@pytest.mark.parametrize("ready", [True, False], ids=["ready", "not ready"])
def test_an_ending_whose_picture_is_not_ready_carries_slacks_own_chart(
    sandbox: Sandbox, memory: DictMemory, clock: FakeClock, ready: bool
) -> None:
    """The process may be gone before the picture comes, as on a machine where all cores are busy."""
    desk = Desk(sandbox, memory, clock, FakeSketch(PNG, ready=ready))
    desk.busy = not ready
    desk.tell(started(), replace(ended(), progress=CURVE))

    kinds = {str(block["type"]) for each in desk.thread for block in each.blocks}
    assert ("data_visualization" in kinds) != ready
    assert desk.pictures == int(ready)


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ("resnet-cifar", "resnet-cifar-30.png"),
        ("한글 실험 3", "한글-실험-3-30.png"),
        (unicodedata.normalize("NFD", "한글"), "한글-30.png"),
        ("実験／二回目", "実験-二回目-30.png"),
        ("प्रयोग", "प्रयोग-30.png"),
        ("../../etc/passwd", "etc-passwd-30.png"),
        ("a\u202eb<c>|d?*:\"'\\e", "a-b-c-d-e-30.png"),
        ("🚀🚀", "run-30.png"),
        ("..", "run-30.png"),
    ],
)
def test_a_picture_is_named_after_its_run_in_any_script(run: str, name: str) -> None:
    assert name == file_name(replace(ended(), run=replace(RUN, name=run)))


@given(st.text(max_size=300))
def test_any_runs_name_makes_a_file_name_that_can_be_written(run: str) -> None:
    name = file_name(replace(ended(), run=replace(RUN, name=run)))

    assert len(name.encode()) <= 255
    assert name.endswith("-30.png")
    assert not set(name) & set(' /\\:*?"<>|&#%\0')
    assert name[0] not in ".-"
