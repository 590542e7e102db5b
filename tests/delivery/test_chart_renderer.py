"""Pictures from a child process: whatever becomes of the child, the delivery goes on."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from notifybot.clock import SYSTEM
from notifybot.config import Config
from notifybot.delivery import chart_process
from notifybot.delivery import chart_renderer as module
from notifybot.delivery.build import open_delivery, people_from
from notifybot.delivery.chart_renderer import (
    AFTER_TEXT_S,
    BEFORE_URGENT_S,
    Advance,
    ChartJob,
    ChartProcess,
    ChartRenderer,
    ChartRenderers,
    chart_renderers_for,
    has_curves,
    order_for,
    subtitle,
)
from notifybot.delivery.dispatcher import Dispatcher
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.worker import Worker
from notifybot.errors import ConfigError
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.i18n import OVERRIDES
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.sandbox.kakao_state import REFRESH_TOKEN, REST_API_KEY
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock
from notifybot.types import Checkpoint, Language, Metric, Progress, RunRef, Status, uuid7

RUN = RunRef("run", "resnet", "vision", "a")
START = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def epoch(done: int, *, new_best: str | None = None, best: tuple[float, int] | None = None) -> EpochFinished:
    """The end of an epoch whose loss is the number of those to come."""
    history = tuple(float(30 - at) for at in range(1, done + 1))[-32:]
    metric = Metric(history[-1], best=best and best[0], best_epoch=best and best[1], history=history)
    progress = Progress(epoch=done, done=done, total=30, metrics={"val_loss": metric}, eta_s=720.0)
    at = START + timedelta(minutes=done)
    return EpochFinished(id=uuid7(), run=RUN, at=at, progress=progress, new_best=new_best)


def ended(done: int = 3) -> RunEnded:
    return RunEnded(
        id=uuid7(), run=RUN, at=START + timedelta(hours=1), status=Status.FAILED, progress=epoch(done).progress
    )


def alert(about: str = "") -> AlertRaised:
    where = epoch(4).progress
    told = "delivery" if about else ""
    return AlertRaised(id=uuid7(), run=RUN, at=START, title="loss is NaN", about=told, progress=where)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def matplotlib_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One list of fonts for all children of these tests: making it takes seconds."""
    return tmp_path_factory.mktemp("matplotlib")


@pytest.fixture(autouse=True)
def cached(monkeypatch: pytest.MonkeyPatch, matplotlib_cache: Path) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", str(matplotlib_cache))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "notifybot.db") as store:
        yield store


@pytest.fixture
def painter(store: Store) -> Iterator[ChartRenderer]:
    painter = ChartRenderer(store.path, Language.EN)
    yield painter
    painter.close()


def ready(painter: ChartRenderer) -> ChartProcess:
    """The child that waits, once it has imported everything."""
    painter.warm_up()
    spare = painter._spare
    assert spare is not None
    deadline_s = SYSTEM.monotonic() + 60
    while not spare.is_ready():
        assert SYSTEM.monotonic() < deadline_s
    return spare


def begun(painter: ChartRenderer, event: Event) -> ChartJob:
    drawing = painter.begin(event)
    assert drawing is not None
    return drawing


def size_of(png: bytes | None) -> tuple[int, ...]:
    assert png is not None
    return struct.unpack(">II", png[16:24])


def test_a_picture_is_drawn_from_the_store(
    store: Store, painter: ChartRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wide for Slack, square for KakaoTalk, from epochs that the event itself no longer remembers."""
    monkeypatch.setattr(module, "BEFORE_URGENT_S", 60.0)  # busy cores give the child a hundredth of one
    for done in range(1, 40):
        runs.record(store, epoch(done))

    drawing = begun(painter, epoch(39))
    assert drawing.wait()
    ready(painter)

    assert size_of(drawing.png)[0] == 1080
    assert size_of(painter.square(ended(39))) == (1080, 1080)


def test_an_event_that_no_store_holds_is_drawn_from_itself(tmp_path: Path) -> None:
    """`notifybot test` sends samples that were never recorded."""
    painter = ChartRenderer(tmp_path / "missing.db", Language.KO)

    drawing = begun(painter, epoch(12))
    assert drawing.wait()
    painter.close()

    assert size_of(drawing.png)[0] == 1080


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(epoch(1), False, id="one-point-is-no-curve"),
        pytest.param(epoch(2), True, id="epoch"),
        pytest.param(ended(), True, id="ending"),
        pytest.param(ended(1), False, id="ending-too-early"),
        pytest.param(alert(), True, id="alert"),
        pytest.param(alert("delivery"), False, id="alert-about-us"),
        pytest.param(RunStarted(id="1", run=RUN, at=START, progress=epoch(9).progress), False, id="start"),
        pytest.param(
            CheckpointSaved(id="1", run=RUN, at=START, checkpoint=Checkpoint("a.pt"), progress=epoch(9).progress),
            False,
            id="checkpoint",
        ),
    ],
)
def test_events_with_curves(event: Event, expected: bool) -> None:
    """There is something to see after two epochs, at an epoch, an ending or an alert about the training."""
    assert has_curves(event) is expected


def test_nothing_is_drawn_of_an_event_without_curves(painter: ChartRenderer) -> None:
    """But a child is started, for the events to come; not so at an ending."""
    at_the_end = painter.square(ended(1)), painter._spare
    at_the_begin = painter.begin(epoch(1)), painter.square(epoch(1)), painter._spare

    assert at_the_end == (None, None)
    assert at_the_begin[:2] == (None, None)
    assert at_the_begin[2] is not None


def test_a_text_that_waits_for_its_picture_goes_without_it_where_none_can_be_had_at_once(
    painter: ChartRenderer,
) -> None:
    """The child is still importing: it goes on for the next message."""
    painter.warm_up()
    spare = painter._spare
    assert spare is not None
    os.kill(spare.process.pid, signal.SIGSTOP)

    assert painter.square(ended()) is None

    assert painter._spare is spare


def test_a_text_waits_a_moment_at_most(store: Store) -> None:
    """An ending a second, an epoch a few: a process that ends has two seconds for all it has to say."""
    clock = FakeClock()
    painter = ChartRenderer(store.path, Language.EN, clock=clock)
    spare = ready(painter)
    os.kill(spare.process.pid, signal.SIGSTOP)
    drawing = painter._begin(ended(), None, BEFORE_URGENT_S)
    assert drawing is not None
    clock.advance(BEFORE_URGENT_S)

    assert drawing.wait()

    assert drawing.png is None
    painter.close()


def test_waiting_gives_way_and_comes_back(painter: ChartRenderer) -> None:
    """A text that is due interrupts the wait, not the drawing: the picture is there later."""
    drawing = begun(painter, epoch(5))

    assert not drawing.wait(until=lambda: True)
    assert drawing.wait()

    assert size_of(drawing.png)[0] == 1080


def test_one_child_draws_and_the_next_one_waits(painter: ChartRenderer) -> None:
    """What was warmed up draws; another is started, except after an ending."""
    spare = ready(painter)
    painter.warm_up()
    assert painter._spare is spare

    first = begun(painter, epoch(5))
    second = begun(painter, ended())
    first.cancel()
    second.cancel()

    assert first.drawer is spare
    assert second.drawer is not spare
    assert painter._spare is None


def test_children_are_nice_and_deaf_to_ctrl_c(painter: ChartRenderer) -> None:
    """A training on the same cores goes first; the terminal's Ctrl-C does not reach the child."""
    pid = ready(painter).process.pid

    assert os.getpgid(pid) == pid != os.getpgid(0)
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19


def test_a_child_that_hangs_is_ended(store: Store) -> None:
    """The message goes without its picture after a minute, and the next one is drawn all the same."""
    clock = FakeClock()
    painter = ChartRenderer(store.path, Language.EN, clock=clock)
    drawing = begun(painter, epoch(5))
    os.kill(drawing.drawer.process.pid, signal.SIGSTOP)
    clock.advance(AFTER_TEXT_S)

    assert drawing.wait()
    after = begun(painter, epoch(6))
    assert after.wait()

    assert drawing.png is None
    assert after.png is not None
    assert drawing.drawer.process.wait() == -signal.SIGKILL
    painter.close()


def test_a_child_that_dies_costs_its_picture_alone(painter: ChartRenderer, caplog: pytest.LogCaptureFixture) -> None:
    """Killed for want of memory, at work or while it waits: told once in the log; the next picture is drawn."""
    drawing = begun(painter, epoch(5))
    drawing.drawer.process.kill()
    assert drawing.wait()
    assert drawing.png is None

    waiting = ready(painter)
    waiting.process.kill()
    waiting.process.wait()
    after = begun(painter, epoch(6))
    assert after.wait()

    assert after.png is not None
    assert [each.message for each in caplog.records] == [
        "a picture could not be drawn (exit code -9): its message goes without it"
    ]


def test_after_three_failures_no_more_are_tried(painter: ChartRenderer, caplog: pytest.LogCaptureFixture) -> None:
    """A machine on which nothing can be drawn is not asked for ever."""
    for _ in range(3):
        drawing = begun(painter, ended())
        drawing.drawer.process.kill()
        drawing.wait()

    assert painter.begin(epoch(6)) is None
    assert [each.levelname for each in caplog.records] == ["WARNING", "WARNING"]


def test_where_no_process_can_be_started_there_is_no_picture(
    painter: ChartRenderer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))

    assert painter.begin(epoch(5)) is None


def test_the_child_finds_what_this_process_finds(
    painter: ChartRenderer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without matplotlib on the path there is no picture, no error, and no second try."""
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "matplotlib.py").write_text("raise ImportError")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])

    drawing = begun(painter, ended())
    assert drawing.wait()

    assert drawing.png is None
    assert painter.begin(epoch(6)) is None


def test_a_cancelled_drawing_leaves_no_child(painter: ChartRenderer) -> None:
    drawing = begun(painter, epoch(5))

    drawing.cancel()

    assert drawing.wait()
    assert drawing.png is None
    assert drawing.drawer.process.wait() == -signal.SIGKILL


def test_closing_ends_the_child_that_waits(painter: ChartRenderer) -> None:
    """Twice is fine; afterwards nothing is drawn."""
    spare = ready(painter)

    painter.close()
    painter.close()

    assert spare.process.wait() == -signal.SIGKILL
    assert painter.begin(epoch(5)) is None


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    """Killed as it waits, the parent leaves nothing behind: the order can no longer come."""
    code = (
        "import os, pathlib; from notifybot.delivery.chart_renderer import ChartProcess; d = ChartProcess()\n"
        "while not d.is_ready(): pass\n"
        "print(d.process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    parent = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])

    pid = int(parent.stdout)
    until_s = SYSTEM.monotonic() + 60
    while _lives(pid) and SYSTEM.monotonic() < until_s:
        pass
    assert not _lives(pid)


def _lives(pid: int) -> bool:
    """False for a process that is gone, and for one that waits to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_an_order_says_where_the_run_stands(tmp_path: Path) -> None:
    """Titles in both languages, the best values, and no secret's place but the database's."""
    order = order_for(epoch(17, new_best="val_loss", best=(13.0, 17)), tmp_path / "a.db", Language.KO, height_px=None)

    assert order["captions"] == {
        "en": ("resnet", "epoch 17/30 · 12 min left · ★ val_loss 13"),
        "ko": ("resnet", "에포크 17/30 · 12분 남음 · ★ val_loss 13"),
    }
    assert order["best"] == {"val_loss": (17, 13.0)}
    assert order["focus"] == "val_loss"


def test_a_picture_has_the_users_own_texts(tmp_path: Path) -> None:
    """The order names their folder: a child that has just started knows ours alone."""
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "messages.toml").write_text('[charts]\nepoch = "round"\n')
    orders = []
    for folder in (tmp_path, None):
        OVERRIDES.use(folder)
        orders.append(order_for(epoch(3), tmp_path / "a.db", Language.EN, height_px=None))

    draw = chart_process._renderer()
    own, plain, again = (draw(json.loads(json.dumps(order))) for order in (*orders, orders[1]))

    assert plain == again != own


def test_an_ending_and_an_alert_say_what_happened() -> None:
    assert subtitle(ended(), Language.EN) == "epoch 3/30 · failed"
    assert subtitle(ended(), Language.KO) == "에포크 3/30 · 실패"
    assert subtitle(alert(), Language.EN) == "epoch 4/30 · loss is NaN"


def test_the_switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`off` draws nothing; `auto` needs matplotlib and does without; `on` says what is missing before training."""
    database = tmp_path / "a.db"
    assert chart_renderers_for(Config(pictures=True), database) is not None
    assert chart_renderers_for(Config(), database) is not None
    assert chart_renderers_for(Config(pictures=False), database) is None

    monkeypatch.setattr(module, "is_installed", lambda name: False)

    assert chart_renderers_for(Config(), database) is None
    with pytest.raises(ConfigError, match=r'pip install .*\[pictures\]"'):
        chart_renderers_for(Config(pictures="on"), database)


# ── In advance, for endings that have no time ────────────────────────────────────────────────────────────────────────


@pytest.fixture
def advance(store: Store) -> Iterator[Advance]:
    advance = Advance(store.path, Language.EN)
    yield advance
    advance.close()


def drawn(advance: Advance, event: EpochFinished) -> None:
    """Draw in advance, and wait as long as that takes."""
    advance.draw(event)
    deadline_s = SYSTEM.monotonic() + 60
    while advance.collect():
        assert SYSTEM.monotonic() < deadline_s


def stopped(painter: ChartRenderer) -> ChartProcess:
    """The next child, on cores so busy that it gets nowhere."""
    spare = painter._spare
    assert spare is not None
    os.kill(spare.process.pid, signal.SIGSTOP)
    return spare


class Racing(FakeClock):
    """Time runs while somebody looks at the clock."""

    def monotonic(self) -> float:
        self.advance(0.1)
        return super().monotonic()


def test_an_ending_whose_own_picture_is_late_has_the_one_drawn_in_advance(store: Store, advance: Advance) -> None:
    """Whether its child has not even begun, or does not finish; an epoch's message rather goes without."""
    painter = ChartRenderer(store.path, Language.EN, advance=advance, clock=Racing())
    drawn(advance, epoch(5))
    painter.warm_up()
    stopped(painter)

    assert size_of(painter.square(ended(6))) == (1080, 1080)
    assert size_of(painter.square(alert())) == (1080, 1080)
    assert painter.square(epoch(6)) is None

    stopped(painter)._ready = True
    assert size_of(painter.square(ended(6))) == (1080, 1080)
    painter.close()


def test_what_is_drawn_in_advance_leaves_the_child_that_waits_for_an_ending(store: Store, advance: Advance) -> None:
    """Or a short run on free cores would end with the curve of an earlier epoch."""
    painter = ChartRenderer(store.path, Language.EN, advance=advance, clock=FakeClock())
    spare = ready(painter)

    drawn(advance, epoch(5))

    assert painter._spare is spare
    assert painter.square(ended(6)) != advance.png_of(RUN)
    painter.close()


def test_what_was_drawn_for_one_run_is_not_shown_for_another(advance: Advance) -> None:
    drawn(advance, epoch(5))

    assert advance.png_of(RUN) is not None
    assert advance.png_of(replace(RUN, id="other")) is None


def test_one_at_a_time_is_drawn_in_advance_at_the_lowest_priority(advance: Advance) -> None:
    """It says its epoch alone: what was left of the training then is not true later. Its child ends with us."""
    advance.draw(epoch(28, new_best="val_loss"))
    assert advance._drawing is not None
    _, drawing = advance._drawing
    os.kill(drawing.drawer.process.pid, signal.SIGSTOP)

    advance.draw(epoch(29))

    assert advance._drawing[1] is drawing
    advance.close()
    advance.draw(epoch(30))
    assert drawing.drawer.process.wait() == -signal.SIGKILL
    assert not advance.collect()


def test_how_often_is_drawn_in_advance(store: Store) -> None:
    """From the second epoch on once a minute, in a long training each 20th of its time."""
    clock = FakeClock()
    charts = ChartRenderers(store.path, clock=clock)
    assert not charts.is_due(epoch(2)), "nobody has a text that waits for its picture"
    charts.phone_painter(Language.EN).close()

    assert [charts.is_due(each) for each in (epoch(1), ended(2), epoch(2), epoch(3))] == [False, False, True, False]
    clock.advance(60)
    assert [charts.is_due(each) for each in (epoch(4), epoch(5), epoch(30))] == [True, False, False]
    clock.advance(36000)
    assert charts.is_due(epoch(6))
    clock.advance(1799)
    assert not charts.is_due(epoch(7))
    clock.advance(10)
    assert charts.is_due(epoch(8))
    charts.close()


def test_under_load_no_run_ends_without_its_curve(store: Store) -> None:
    """From the settings to KakaoTalk, with a painter that is too slow for every message."""

    made = []

    class Slow(ChartRenderer):
        def square(self, event: Event) -> bytes | None:
            if not isinstance(event, RunEnded):
                return None
            self.warm_up()
            stopped(self)
            return super().square(event)

    class SlowStudio(ChartRenderers):
        def phone_painter(self, language: Language) -> ChartRenderer:
            super().phone_painter(language).close()
            made.append(Slow(store.path, language, advance=self._advance))
            return made[-1]

    with Sandbox() as sandbox:
        config = Config(
            kakao_rest_api_key=REST_API_KEY, kakao_refresh_token=REFRESH_TOKEN,
            kakao_api_url=f"{sandbox.url}/kakao/api", kakao_auth_url=f"{sandbox.url}/kakao/auth",
        )  # fmt: skip
        charts, outbox = SlowStudio(store.path), Outbox(store)
        people = people_from(config, outbox=outbox, charts=charts)
        recorder = Recorder(store, people, direct=True)
        worker = Worker(Dispatcher(outbox, people, Renderer(Language.EN)), recorder, charts=charts)
        worker.start()
        for event in (epoch(1), epoch(2)):
            recorder.record(event)
            worker.wake(event)
        advance, deadline_s = charts._advance, SYSTEM.monotonic() + 60
        assert advance is not None
        while advance.png_of(RUN) is None:
            assert SYSTEM.monotonic() < deadline_s
        recorder.record(ended(2))
        worker.wake()
        flushed = worker.flush(60)
        worker.stop(10)

        last = sandbox.kakao.messages[-1].template

    assert flushed
    assert last["content"]["image_height"] == 1080
    made[0].close()


@pytest.mark.parametrize("pictures", ["auto", "off"])
def test_a_run_that_is_delivered_has_its_picture_in_the_thread(store: Store, pictures: str) -> None:
    """From the settings to Slack: the ending's curve follows its text; with pictures off there is the text alone."""
    with Sandbox() as sandbox:
        config = Config(
            slack_bot_token=BOT_TOKEN, slack_channel=CHANNEL, slack_api_url=f"{sandbox.url}/api/", pictures=pictures
        )
        delivery = open_delivery(store, config)
        for event in (epoch(1), epoch(2), ended(2)):
            delivery.recorder.record(event)
        delivery.worker.start()
        flushed = delivery.worker.flush(60)
        delivery.worker.stop(10)

        shown = [each.blocks[0]["type"] for each in sandbox.slack.thread(sandbox.slack.roots[0].ts)]

    assert flushed
    assert shown == (["rich_text", "image"] if pictures == "auto" else ["rich_text"])
