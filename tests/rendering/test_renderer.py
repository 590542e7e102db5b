"""Every event in both languages: the right words, within the limits, whatever people call their runs."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifybot.events import (
    KINDS,
    AlertRaised,
    CheckpointSaved,
    EpochFinished,
    Event,
    RunEnded,
    RunLost,
    RunRecovered,
    RunStalled,
    RunStarted,
)
from notifybot.redaction import register
from notifybot.rendering import Renderer
from notifybot.rendering.renderer import BLOCKS, TemplateSet
from notifybot.types import Checkpoint, Fact, Host, Language, Message, Metric, Progress, RunRef, Severity, Status

CHECKPOINT = Checkpoint("/content/drive/MyDrive/checkpoints/resnet/epoch_0016.pt", 16, 44_700_000)
METRICS = {
    "train_loss": Metric(0.412, 0.433, 0.412, 16, (0.9, 0.433, 0.412)),
    "val_acc": Metric(0.871, 0.859, 0.88, 14, (0.5, 0.859, 0.871)),
}
PROGRESS = Progress(16, 17, 30, METRICS, 72.3, 1230, 940, CHECKPOINT)
HOST = Host("colab-1", "Linux", "3.11", "Tesla T4", 77)
BASE: dict[str, Any] = {
    "id": "01900000-0000-7000-8000-00000000abcd",
    "run": RunRef("0198-run", "resnet", "bootcamp"),
    "at": datetime(2026, 11, 23, 3, tzinfo=UTC),
}
RENDERERS = {language: Renderer(language) for language in Language}
INFO, SUCCESS, WARNING, ERROR = Severity.INFO, Severity.SUCCESS, Severity.WARNING, Severity.ERROR


def ended(status: Status, progress: Progress = PROGRESS, **more: Any) -> RunEnded:
    return RunEnded(**BASE, status=status, progress=progress, **more)


START = RunStarted(**BASE, total=30, params={"lr": 0.001, "model": "resnet18"}, host=HOST)
RESUME = RunStarted(**BASE, total=30, attempt=2, progress=PROGRESS)
EPOCH = EpochFinished(**BASE, progress=PROGRESS)
BEST = EpochFinished(**BASE, progress=PROGRESS, new_best="train_loss")
SAVED = CheckpointSaved(**BASE, checkpoint=CHECKPOINT, progress=PROGRESS)
ALERT = AlertRaised(**BASE, title="train_loss is NaN", text="Lower the learning rate.", progress=PROGRESS)
FAILED = ended(Status.FAILED, error="RuntimeError: CUDA out of memory", frames='File "train.py", line 31')
LOST = RunLost(**BASE, silent_s=120, limit_s=90, host=HOST, progress=PROGRESS)
STALLED = RunStalled(**BASE, silent_s=600, limit_s=300, stack="train.py:31 step", host=HOST, progress=PROGRESS)
BACK = RunRecovered(**BASE, was="lost", away_s=312, progress=PROGRESS)

TITLES = [
    (START, INFO, "🚀 resnet started", "🚀 resnet 학습 시작"),
    (RESUME, INFO, "🚀 resnet resumed from epoch 16", "🚀 resnet 학습 재개 (에포크 16에 이어서)"),
    (RunStarted(**BASE, attempt=2), INFO, "🚀 resnet started again", "🚀 resnet 학습 다시 시작"),
    (EPOCH, INFO, "📈 resnet · epoch 16 (17/30)", "📈 resnet · 에포크 16 (17/30)"),
    (
        BEST,
        SUCCESS,
        "🏆 resnet · new best train_loss 0.412 · epoch 16 (17/30)",
        "🏆 resnet · train_loss 최고 기록 0.412 · 에포크 16 (17/30)",
    ),
    (SAVED, INFO, "💾 resnet · checkpoint saved · epoch 16", "💾 resnet · 체크포인트 저장 · 에포크 16"),
    (ALERT, WARNING, "⚠️ resnet: train_loss is NaN", "⚠️ resnet: train_loss is NaN"),
    (AlertRaised(**BASE, title="half way", severity=INFO), INFO, "🔔 resnet: half way", "🔔 resnet: half way"),
    (ended(Status.FINISHED), SUCCESS, "✅ resnet finished", "✅ resnet 완료"),
    (ended(Status.STOPPED), INFO, "⏹ resnet stopped", "⏹ resnet 조기 종료"),
    (ended(Status.INTERRUPTED), WARNING, "✋ resnet interrupted", "✋ resnet 중단됨"),
    (FAILED, ERROR, "❌ resnet failed", "❌ resnet 실패"),
    (LOST, ERROR, "🔴 resnet lost after epoch 16 (17/30)", "🔴 resnet 연결 끊김 · 에포크 16 (17/30)"),
    (STALLED, WARNING, "🟠 resnet stalled after epoch 16 (17/30)", "🟠 resnet 멈춤 · 에포크 16 (17/30)"),
    (BACK, SUCCESS, "🟢 resnet recovered", "🟢 resnet 복구됨"),
]
EVENTS = [row[0] for row in TITLES]


def in_english(event: Event, **more: Any) -> Message:
    return RENDERERS[Language.EN].render(event, **more)


def in_korean(event: Event, **more: Any) -> Message:
    return RENDERERS[Language.KO].render(event, **more)


@pytest.mark.parametrize(("event", "severity", "english", "korean"), TITLES)
def test_the_title_names_the_run_and_what_happened(event: Event, severity: Severity, english: str, korean: str) -> None:
    assert in_english(event).title == english
    assert in_korean(event).title == korean
    assert in_english(event).severity is severity


@pytest.mark.parametrize(
    ("event", "english", "korean"),
    [
        (START, ("30 epochs", "colab-1 (Tesla T4)"), ("총 30에포크", "colab-1 (Tesla T4)")),
        (RESUME, ("epoch 16 (17/30)", "session 2"), ("에포크 16 (17/30)", "2번째 세션")),
        (EPOCH, ("56% done", "1 min 12 s per epoch", "ETA 16 min"), ("56% 완료", "에포크당 1분 12초", "약 16분")),
        (SAVED, ("epoch_0016.pt (44.7 MB)",), ("epoch_0016.pt (44.7 MB)",)),
        (ALERT, ("Lower the learning rate.", "At epoch 16"), ("Lower the learning rate.", "현재 에포크 16")),
        (
            ended(Status.FINISHED),
            ("17 epochs in 20 min.", "Best: train_loss 0.412 (epoch 16)"),
            ("17에포크를 20분 만에 모두 마쳤습니다.", "최고 기록: train_loss 0.412 (에포크 16)"),
        ),
        (ended(Status.FINISHED, Progress(elapsed_s=44)), ("Took 44 s.",), ("44초 만에 실행을 마쳤습니다.",)),
        (ended(Status.STOPPED), ("Left early by the code after epoch 16",), ("코드에서 학습을 일찍 끝냈습니다.",)),
        (
            ended(Status.INTERRUPTED),
            ("Interrupted after epoch 16", "can go on from"),
            ("중단되었습니다.", "이어서 학습할 수 있습니다."),
        ),
        (
            FAILED,
            ("RuntimeError: CUDA out of memory", "after epoch 16 (17/30)", "Last metrics: train_loss 0.412"),
            ("RuntimeError: CUDA out of memory", "오류로 종료되었습니다.", "마지막 지표: train_loss 0.412"),
        ),
        (
            ended(Status.FAILED, error="ValueError: [epoch 2] in words [epoch 17]"),
            ("ValueError: [epoch 2] in words [epoch 17]",),
            ("ValueError: [epoch 2] in words [에포크 17]",),
        ),
        (
            ended(Status.FAILED, Progress(total=30)),
            ("before the first epoch was done",),
            ("첫 에포크를 마치기 전에 오류로 종료되었습니다.",),
        ),
        (
            LOST,
            ("Nothing heard for 2 min", "epoch 16 (17/30)", "val_acc 0.871", "Run the same cell again; it can go on"),
            ("2분 동안 소식이 없습니다.", "에포크 16 (17/30)", "val_acc 0.871", "같은 셀을 다시 실행하세요."),
        ),
        (
            STALLED,
            ("its loop has not moved for 10 min", "val_acc 0.871", "checkpoint of epoch 16 (…/resnet/epoch_0016.pt)"),
            (
                "10분 동안 학습이 진행되지 않았습니다.",
                "에포크 16 체크포인트(…/resnet/epoch_0016.pt)부터 이어서 학습할 수 있습니다.",
            ),
        ),
        (BACK, ("again after 5 min 12 s",), ("5분 12초 만에 다시 연결되었습니다.",)),
        (RunRecovered(**BASE, was="stalled", away_s=60), ("The loop moves again",), ("학습이 다시 진행됩니다.",)),
    ],
)
def test_the_body_tells_the_rest(event: Event, english: tuple[str, ...], korean: tuple[str, ...]) -> None:
    for message, words in ((in_english(event), english), (in_korean(event), korean)):
        assert [word for word in words if word not in message.body] == []


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("language", Language)
def test_a_brief_stands_alone(event: Event, language: Language) -> None:
    """It opens with the title, so that a lock screen shows the run and what happened."""
    message = RENDERERS[language].render(event)

    assert message.brief.startswith(message.title)
    assert len(message.brief) <= 200
    assert not [line for text in (message.body, message.brief) for line in text.split("\n") if line != line.strip()]
    assert ("train_loss 0.412" in message.brief) == bool(event.progress.metrics and event.kind != "run_started")


@pytest.mark.parametrize("event", [LOST, STALLED])
def test_how_to_go_on_is_said_within_what_a_phone_shows(event: Event) -> None:
    """KakaoTalk cuts a body near 180 characters; the metrics stand beside it in a table."""
    for message in (in_english(event), in_korean(event)):
        assert "epoch_0016.pt" in message.body[:180]


@pytest.mark.parametrize("event", [LOST, STALLED, RunLost(**BASE, silent_s=1, limit_s=1)])
def test_silence_is_never_called_a_death(event: Event) -> None:
    """It may be the network: the message says what was observed."""
    for message in (in_english(event), in_korean(event)):
        assert not [word for word in ("died", "dead", "crash", "killed", "죽") if word in message.title + message.body]


def test_a_lost_run_need_not_have_been_on_colab() -> None:
    """Only Colab calls its machine a runtime; what is gone may be a process on a person's own machine."""
    assert "its process or its machine may be gone, or the network" in in_english(LOST).body
    assert "프로세스나 장비가 종료되었거나 네트워크가 끊겼을 수 있습니다." in in_korean(LOST).body


def test_without_a_checkpoint_nobody_is_promised_a_continuation() -> None:
    lost = RunLost(**BASE, silent_s=120, limit_s=90, progress=Progress(total=30))

    assert "no checkpoint is known: without one of your own it starts from the beginning" in in_english(lost).body
    assert "확인된 체크포인트가 없어, 따로 저장한 것이 없으면 처음부터 시작합니다." in in_korean(lost).body


def test_epochs_that_were_folded_in_are_counted() -> None:
    assert "(+3 epochs since the last message)" in in_english(EPOCH, skipped=3).body
    assert "+1 epoch since" in in_english(EPOCH, skipped=1).brief
    assert "(지난 알림 이후 3에포크 더 진행)" in in_korean(EPOCH, skipped=3).body


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_template_with_three_blocks(kind: str, language: Language) -> None:
    (template,) = TemplateSet(language).templates(kind)

    assert set(BLOCKS) == template.blocks


def test_a_message_carries_the_facts_for_those_who_lay_them_out() -> None:
    message = in_english(LOST, link="https://example.org/run")

    assert message.facts == (
        Fact("Elapsed", "20 min"),
        Fact("Per epoch", "1 min 12 s"),
        Fact("Machine", "colab-1"),
        Fact("Device", "Tesla T4"),
        Fact("Last checkpoint", "/content/drive/MyDrive/checkpoints/resnet/epoch_0016.pt"),
    )
    assert [row.name for row in message.rows] == ["train_loss", "val_acc"]
    assert (message.epoch, message.done, message.total) == (16, 17, 30)
    assert (message.status, in_korean(LOST).status) == ("lost", "연결 끊김")
    assert message.link == "https://example.org/run"
    assert message.event_id == LOST.id
    assert in_english(EPOCH).facts[0] == Fact("ETA", "16 min")
    assert in_english(START).facts == (Fact("lr", "0.001"), Fact("model", "resnet18"))


def test_code_is_the_end_of_a_traceback_or_the_stacks() -> None:
    long = "\n".join(f"frame {number}" for number in range(2000))

    assert in_english(FAILED).code == 'File "train.py", line 31'
    assert in_english(STALLED).code == "train.py:31 step"
    assert in_english(ended(Status.FAILED, frames=long)).code.endswith("frame 1999")
    assert len(in_english(ended(Status.FAILED, frames=long)).code) <= 8000


def test_nan_and_infinity_are_told_as_themselves() -> None:
    progress = Progress(3, 3, 30, {"loss": Metric(math.nan, 0.4), "grad": Metric(math.inf)})

    message = in_english(EpochFinished(**BASE, progress=progress))

    assert "loss NaN · grad ∞" in message.brief
    assert [row.value for row in message.rows] == ["NaN", "∞"]


def test_a_secret_in_an_exception_is_struck_out() -> None:
    register(["xoxb-canary-not-a-token"])
    event = ended(Status.FAILED, error="E: xoxb-canary-not-a-token refused", frames="post('xoxb-canary-not-a-token')")

    assert "canary" not in repr(in_english(event))


@pytest.mark.parametrize("name", ["{{7*7}}", "{x}", "{% raw %}", "%s %(a)s", "<!channel>", "${HOME}", "{0.__class__}"])
@pytest.mark.parametrize("language", Language)
def test_a_name_is_never_read_as_a_template(name: str, language: Language) -> None:
    run = RunRef("0198-run", name, name)
    checkpoint = Checkpoint(name, 3)
    progress = Progress(3, 3, 30, {name: Metric(1.0, 2.0, 1.0, 3)}, checkpoint=checkpoint)
    event = RunEnded(**BASE | {"run": run}, status=Status.FAILED, progress=progress, error=name, frames=name)

    message = RENDERERS[language].render(event)

    assert f"❌ {name} " in message.title
    assert message.body.splitlines()[0] == name
    assert f"{name} 1" in message.brief
    assert message.code == name


def test_a_hostile_name_leaves_room_for_what_happened() -> None:
    run = RunRef("0198-run", "나쁜\n이름\u202e" * 2000, "p")

    message = in_korean(
        RunEnded(**BASE | {"run": run}, status=Status.FAILED, progress=PROGRESS, error="E: " + "x" * 9999)
    )

    assert "실패" in message.title
    assert "에포크 16 (17/30) · train_loss 0.412" in message.brief


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        ["{{7*7}}", "x" * 10_000, "e\u0301" * 5000, "👨\u200d👩\u200d👧" * 2000, "\n" * 10_000, "\udcff", ""]
    ),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(event=st.sampled_from(EVENTS), language=st.sampled_from(Language), data=st.data())
def test_no_input_breaks_the_limits(event: Event, language: Language, data: st.DataObject) -> None:
    text = data.draw(HOSTILE)
    metrics = {text[:5000] or "m": Metric(data.draw(st.floats()), data.draw(st.floats()), data.draw(st.floats()), 2)}
    progress = Progress(
        data.draw(st.none() | st.integers(0, 10**9)),
        data.draw(st.integers(0, 10**9)),
        data.draw(st.none() | st.integers(0, 10**9)),
        metrics,
        data.draw(st.none() | st.floats()),
        data.draw(st.floats()),
        data.draw(st.none() | st.floats()),
        data.draw(st.none() | st.just(Checkpoint(text, 3, 5))),
    )
    fields: dict[str, Any] = {name: getattr(event, name) for name in type(event).__dataclass_fields__}
    texts: dict[str, Any] = {
        name: text for name in ("title", "text", "error", "frames", "stack", "new_best") if name in fields
    }
    hostile = type(event)(**fields | texts | {"progress": progress, "run": RunRef("0198-run", text, text)})

    message = RENDERERS[language].render(hostile, skipped=data.draw(st.integers(0, 10**9)))

    assert message.rows  # the last resort has none: no template failed
    assert 0 < len(message.title) <= 120
    assert len(message.title.splitlines()) == 1
    assert 0 < len(message.brief) <= 200
    (message.title + message.body + message.brief + message.code).encode()


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RUNNING])
def test_what_a_run_has_not_leaves_no_trace(status: Status, language: Language) -> None:
    """A run without a total that finished early was "finished earlyNone"."""
    bare = {"id": "1", "run": RunRef("1", "digits", "vision"), "at": datetime(2026, 11, 23, 3, 0, tzinfo=UTC)}
    for note in ("", "patience"):
        message = Renderer(language).render(RunEnded(**bare, status=status, note=note))  # type: ignore[arg-type]

        assert not any(word in f"{message.title} {message.body} {message.brief}" for word in ("None", "False", "[]"))
