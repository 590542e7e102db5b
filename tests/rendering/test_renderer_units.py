"""Runs that count steps, rounds or trials: every sentence says so, in both languages, and nowhere an epoch."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from notifybot.alerts.evidence import EpochPace
from notifybot.charts.series import place
from notifybot.cli.samples import samples
from notifybot.delivery.digest import digest_of
from notifybot.events import EVENT_TYPES, AlertRaised, CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.notifiers.base import Envelope
from notifybot.notifiers.console import ConsoleNotifier
from notifybot.notifiers.kakao.message import template_for
from notifybot.notifiers.slack.blocks import full_message, new_best_reply
from notifybot.notifiers.slack.native_charts import with_native_charts
from notifybot.policy import KST
from notifybot.rendering import Renderer
from notifybot.rendering.alert_text import raised
from notifybot.rendering.format import best_text
from notifybot.rendering.labels import cause, position
from notifybot.rendering.view import view_of
from notifybot.store.held import HeldBatch
from notifybot.testing import DictMemory, FakeClock
from notifybot.types import UNITS, Checkpoint, KeptIn, Language, Metric, Progress, Status, Unit

EN, KO = Language.EN, Language.KO
STEPS = Progress(
    epoch=1500,
    done=1500,
    total=20_000,
    metrics={
        "val_loss": Metric(0.214, 0.231, 0.214, 1500, history=(0.231, 0.214), epochs=(1000, 1500)),
        "val_samples_per_second": Metric(812.0, best=812.0, best_epoch=1500, minor=True),
    },
    epoch_s=155.0,
    elapsed_s=465.0,
    eta_s=5735.0,
    checkpoint=Checkpoint("out/checkpoint-1500", 1500, 44_802_131),
    unit="step",
    part=2.31,
)


def counted(unit: Unit) -> list[Event]:
    """Every kind of event, about a run that counts this."""
    progress, found = replace(STEPS, unit=unit, part=None), list[Event]()
    for each in samples(EN, FakeClock().now()):
        event = replace(each, progress=progress)
        if isinstance(event, RunStarted):
            event = replace(event, total=20_000, attempt=1, resumed=None)
        if isinstance(event, CheckpointSaved) and STEPS.checkpoint is not None:
            event = replace(event, checkpoint=STEPS.checkpoint)
        found.append(event)
    return found


@pytest.mark.parametrize(
    ("progress", "english", "korean"),
    [
        (STEPS, "step 1,500/20,000 (epoch 2.3)", "1,500/20,000 스텝(2.3에포크)"),
        (replace(STEPS, part=None), "step 1,500/20,000", "1,500/20,000 스텝"),
        (replace(STEPS, part=0.0437), "step 1,500/20,000 (epoch 0.043)", "1,500/20,000 스텝(0.043에포크)"),
        (replace(STEPS, total=None, part=2.999), "step 1,500 (epoch 2.9)", "1,500 스텝(2.9에포크)"),
        (replace(STEPS, epoch=None, part=None), "step 1,500/20,000", "1,500/20,000 스텝"),
        (replace(STEPS, epoch=None, done=0), "", ""),
        (Progress(epoch=10, done=10, total=100, unit="round"), "round 10/100", "10/100 라운드"),
        (Progress(epoch=17, done=17, total=50, unit="trial"), "trial 17/50", "트라이얼 17/50"),
        (Progress(epoch=16, done=17, total=50, unit="trial"), "trial 16 (17/50)", "트라이얼 16 (17/50)"),
        (Progress(epoch=1499, done=1500, total=2000), "epoch 1499 (1500/2000)", "에포크 1499 (1500/2000)"),
    ],
)
def test_a_position_says_what_is_counted(progress: Progress, english: str, korean: str) -> None:
    assert (english, korean) == (position(progress, EN), position(progress, KO))


def test_a_best_and_an_errors_place_say_what_is_counted() -> None:
    best = STEPS.metrics["val_loss"]

    assert best_text(best, EN, "step") == "0.214 (step 1,500)"
    assert best_text(best, KO, "step") == "0.214 (1,500 스텝)"
    assert cause("ValueError: boom [step 1499]", EN) == "ValueError: boom [step 1,499]"
    assert cause("ValueError: boom [step 1499]", KO) == "ValueError: boom [1,499 스텝]"
    assert cause("ValueError: boom [step -1]", EN) == "ValueError: boom [step -1]"


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("unit", [each for each in UNITS if each != "epoch"])
def test_no_message_of_another_unit_speaks_of_epochs(language: Language, unit: Unit) -> None:
    renderer, events = Renderer(language), counted(unit)
    endings = [
        replace(event, status=status, note=note, progress=progress)
        for event in events
        if isinstance(event, RunEnded)
        for status in Status
        for note in ("", "patience")
        for progress in (event.progress, Progress(total=20_000, unit=unit))
    ]

    assert {type(each) for each in events} == set(EVENT_TYPES)
    for event in [*events, *endings]:
        message = renderer.render(event)
        words = [message.title, message.body, message.brief, *(fact.label for fact in message.facts)]
        slack = with_native_charts(full_message(message), event, language, charts=True)
        shown = "\n".join([*words, str(slack.arguments()), str(template_for(message))])
        assert not re.search("epoch|에포크", shown, re.IGNORECASE), shown
        assert len(message.brief) <= 200


@pytest.mark.parametrize(
    ("language", "title", "body"),
    [
        (EN, "✅ {} finished early · 1,500 of 20,000 steps", "1,500 steps in 7 min 45 s."),
        (KO, "✅ {} 조기 완료 · 20,000스텝 중 1,500스텝", "1,500스텝을 7분 45초 만에 마쳤습니다."),
    ],
)
def test_an_early_end_counts_steps(language: Language, title: str, body: str) -> None:
    ended = next(each for each in counted("step") if isinstance(each, RunEnded))

    message = Renderer(language).render(replace(ended, note="patience"))

    assert (title.format(ended.run.name), body) == (message.title, message.body.splitlines()[0])


def test_a_report_says_how_long_a_step_takes_and_counts_no_reports() -> None:
    event = next(each for each in counted("step") if isinstance(each, EpochFinished))

    message = Renderer(EN).render(event, skipped=59)

    assert message.body == "7% done · 0.31 s per step · ETA 1 h 36 min"
    assert ("Per step", "0.31 s") in [(fact.label, fact.value) for fact in message.facts]


@pytest.mark.parametrize("language", Language)
def test_minor_values_are_in_no_message(language: Language) -> None:
    renderer = Renderer(language)
    for event in counted("step"):
        message = renderer.render(event)
        slack = with_native_charts(full_message(message), event, language, charts=True)
        shown = "\n".join([message.title, message.body, message.brief, str(slack.arguments())])
        assert "per_second" not in shown
        assert message.more == 0
        assert [row.name for row in message.rows] == ["val_loss"]


def test_a_templates_author_has_the_unit_and_its_numbers() -> None:
    view = view_of(counted("step")[1], EN)

    expected = ("step", "step", "step 1,500", "1,500", "20,000", 1500, 20_000)
    assert expected == (
        view["unit"], view["unit_name"], view["epoch_name"], view["done_text"], view["total_text"], view["done"],
        view["total"],
    )  # fmt: skip


def test_slack_groups_the_numbers_of_steps() -> None:
    event = next(each for each in counted("step") if isinstance(each, EpochFinished))
    message = Renderer(EN).render(event)

    payload = full_message(message)

    assert "*7%*  ·  1,500/20,000" in str(payload.arguments())
    assert new_best_reply(message, "val_loss", "0.214").text.endswith("step 1,500")


def test_the_consoles_line_counts_steps(capsys: pytest.CaptureFixture[str]) -> None:
    event = next(each for each in counted("step") if isinstance(each, EpochFinished))
    event = replace(event, progress=STEPS)
    ConsoleNotifier().send(Envelope(event, Renderer(EN).render_summary(event), DictMemory()))

    line = "step 1,500/20,000 (epoch 2.3) · val_loss 0.214 (−0.017) ★ · 0.31 s per step · ETA 1 h 36 min\n"
    assert line == capsys.readouterr().err.partition("] ")[2]


@pytest.mark.parametrize(("language", "counts"), [(EN, "progress reports 9"), (KO, "진행 보고 9")])
def test_a_digest_counts_reports_and_no_epochs(language: Language, counts: str) -> None:
    event = next(each for each in counted("step") if isinstance(each, EpochFinished))
    kept = HeldBatch(counts={"epoch_finished": 9}, urgent=(), epoch=event, runs=(event.run,))

    digest = digest_of(event, kept, Renderer(language), now=event.at, zone=KST)

    assert counts == digest.text.splitlines()[0]


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (1500.0, "step", "1,500"), (1500.0, "epoch", "1500"), (20_000.0, "epoch", "20,000"), (2.5, "step", "2.5"),
        (1_234_567.0, "step", "1,234,567"), (0.0, "step", "0"),
    ],
)  # fmt: skip
def test_an_axis_shows_whole_numbers(value: float, unit: str, shown: str) -> None:
    assert shown == place(value, unit)


def test_rounds_of_less_than_a_millisecond_have_no_time_each() -> None:
    """It would be said as 0 s."""
    quick = replace(STEPS, unit="round", part=None, eta_s=1.0)
    (event,) = (each for each in samples(EN, FakeClock().now()) if isinstance(each, EpochFinished))

    assert [
        view_of(replace(event, progress=each), EN)["epoch_time"] for each in (quick, replace(quick, eta_s=925.0))
    ] == [
        "",
        "0.05 s",
    ]


@pytest.mark.parametrize(("language", "line"), [(EN, "No better than 0.4 for 10 reports"), (KO, "보고 10건")])
def test_a_rule_counts_reports_where_there_are_no_epochs(language: Language, line: str) -> None:
    words = raised([EpochPace("val_loss", 0.41, 0.4, waited=10)], language, "step").words

    assert line in words.text
    assert not re.search("epoch|에포크", words.title + words.text)


@pytest.mark.parametrize(("language", "left"), [(EN, "Left early by the code"), (KO, "코드에서")])
def test_a_training_that_was_stopped_for_a_reason_was_not_watched(language: Language, left: str) -> None:
    """A framework's time limit: the sentences about a process that was only watched are none for it."""
    sample = next(each for each in samples(language, FakeClock().now()) if isinstance(each, RunEnded))
    stopped = replace(sample, status=Status.STOPPED, progress=STEPS, note="time limit", error="", frames="")
    watched = replace(stopped, progress=Progress(elapsed_s=60.0))
    trained, only_watched = (Renderer(language).render(each) for each in (stopped, watched))

    assert "time limit" in trained.title
    assert left in trained.body
    assert left not in only_watched.body


TRIALS = Progress(
    epoch=4, done=5, total=5, metrics={"val_acc": Metric(0.3, 0.4, 0.9, 1)}, elapsed_s=60.0, unit="trial"
)  # fmt: skip


@pytest.mark.parametrize(
    ("language", "status", "lines"),
    [
        (EN, Status.FINISHED, ["✅ {} finished · 1 min", "5 trials", "Best: val_acc 0.9 (trial 1)"]),
        (KO, Status.FINISHED, ["✅ {} 완료 · 1분", "5트라이얼", "최고 기록: val_acc 0.9 (트라이얼 1)"]),
        (EN, Status.FAILED, ["❌ {} failed · 1 min", "trial 4 (5/5)", "Best: val_acc 0.9 (trial 1)"]),
        (KO, Status.FAILED, ["❌ {} 실패 · 1분", "트라이얼 4 (5/5)", "최고 기록: val_acc 0.9 (트라이얼 1)"]),
    ],
)
def test_the_end_of_a_search_says_its_best_and_not_the_last_trial(
    language: Language, status: Status, lines: list[str]
) -> None:
    """On a phone the last line is what stays: the value of the trial that came last is of no interest."""
    ended = next(each for each in counted("trial") if isinstance(each, RunEnded))
    ended = replace(ended, status=status, progress=TRIALS, error="", note="", returned="", untold=0)

    message = Renderer(language).render(ended)

    assert message.brief.splitlines() == [lines[0].format(ended.run.name), *lines[1:]]
    assert "0.3" not in message.body


@pytest.mark.parametrize("language", Language)
def test_a_report_of_a_search_ends_with_no_other_trial_s_value(language: Language) -> None:
    """Its title has the trial and the value: below a study's result stood the value of the last trial."""
    alert = next(each for each in counted("trial") if isinstance(each, AlertRaised))
    alert = replace(alert, notice=None, title="Study result: best val_acc = 0.9", text="lr = 0.1", progress=TRIALS)

    message = Renderer(language).render(alert)

    assert message.brief.splitlines()[1:] == ["lr = 0.1"]
    assert message.body == "lr = 0.1"


@pytest.mark.parametrize(
    ("kept_in", "language", "line"),
    [
        ("storage", EN, "opened with load_if_exists=True, it goes on after them."),
        ("storage", KO, "load_if_exists=True로 열면 그다음부터 이어집니다."),
        ("backup", EN, "it continues by itself from the framework's backup, if that is still there."),
        ("backup", KO, "프레임워크의 백업이 남아 있으면 거기서 자동으로 이어서 학습합니다."),
    ],
)
def test_a_failure_says_that_a_framework_keeps_the_state(kept_in: KeptIn, language: Language, line: str) -> None:
    """Before anything is done there is nothing to go on from, and it says so as ever."""
    ended = next(each for each in counted("trial") if isinstance(each, RunEnded))
    ended = replace(ended, status=Status.FAILED, progress=replace(TRIALS, kept_in=kept_in))
    early = replace(ended, progress=replace(ended.progress, epoch=None, done=0))

    body, before = (Renderer(language).render(each).body for each in (ended, early))

    assert line in body
    assert line not in before
