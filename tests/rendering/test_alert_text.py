"""The words of alerts: what began or is over, with its evidence, in both languages and within a message's bounds."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import get_args

import pytest

from notifybot.alerts.evidence import (
    Alert,
    DiskRoom,
    Distance,
    Duration,
    EpochPace,
    Evidence,
    Finite,
    Gap,
    GpuRoom,
    GpuUse,
    Limit,
    Reached,
)
from notifybot.events import AlertRaised
from notifybot.rendering import Renderer
from notifybot.rendering.alert_text import RenderedAlert, cleared, raised, unlogged
from notifybot.types import Language, Progress, RunRef, Severity

EN, KO = Language.EN, Language.KO
GB = 10**9

SEEN: dict[str, Evidence] = {
    "nan": Finite("train_loss", math.nan, 0.412),
    "above": Limit("val_loss", 5.32, 5.0, "above"),
    "below": Limit("val_acc", 0.31, 0.5, "below"),
    "plateau": EpochPace("val_loss", 0.431, 0.412, 5),
    "plateau-by": EpochPace("val_loss", 0.431, 0.412, 1, 0.01),
    "divergence": Distance("train_loss", 3.1, 0.41, 0.82),
    "overfitting": Gap("train_loss", "val_loss", 3, (0.9, 0.5), (0.7, 0.9)),
    "target": Reached("val_acc", 0.953, 0.95),
    "slow": Duration(303.0, 62.0, 2.0),
    "disk": DiskRoom("/content/drive", 12 * GB // 10, 100 * GB, 5 * GB),
    "idle": GpuUse("GPU 0 (T4)", 3.04, 10.0, 600.0),
    "memory": GpuRoom("GPU 0 (T4)", 15 * 2**30, 16 * 2**30, 95.0),
}
BEGAN = {
    "nan": (
        "train_loss is NaN",
        "train_loss = NaN (last finite value 0.412).",
        "train_loss 값이 NaN입니다",
        "train_loss = NaN (마지막 정상 값 0.412).",
    ),
    "above": ("val_loss is above 5", "Now 5.32, limit 5.", "val_loss 값이 기준(5)을 넘었습니다", "현재 5.32, 기준 5"),
    "below": (
        "val_acc is below 0.5",
        "Now 0.31, limit 0.5.",
        "val_acc 값이 기준(0.5) 아래로 내려갔습니다",
        "현재 0.31, 기준 0.5",
    ),
    "plateau": (
        "val_loss has stopped improving",
        "No better than 0.412 for 5 epochs, now 0.431.",
        "val_loss 값이 더 좋아지지 않습니다",
        "5에포크째 최고 기록(0.412)보다 나아지지 않고 있습니다. 현재 0.431",
    ),
    "plateau-by": (
        "val_loss has stopped improving",
        "No better than 0.412 by more than 0.01 for 1 epoch, now 0.431.",
        "val_loss 값이 더 좋아지지 않습니다",
        "1에포크째 최고 기록(0.412)보다 0.01 넘게 나아지지 않고 있습니다. 현재 0.431",
    ),
    "divergence": (
        "train_loss is far from its best",
        "Now 3.1, best 0.41, limit 0.82.",
        "train_loss 값이 최고 기록에서 크게 벗어났습니다",
        "현재 3.1, 최고 0.41, 허용 한계 0.82",
    ),
    "overfitting": (
        "The model seems to overfit",
        "3 epochs in a row train_loss got better (0.9 → 0.5) and val_loss got worse (0.7 → 0.9).",
        "과적합이 의심됩니다",
        "3에포크 연속으로 train_loss 값은 좋아졌지만(0.9 → 0.5) val_loss 값은 나빠졌습니다(0.7 → 0.9).",
    ),
    "target": (
        "val_acc has reached its target",
        "Now 0.953, target 0.95.",
        "val_acc 값이 목표에 도달했습니다",
        "현재 0.953, 목표 0.95",
    ),
    "slow": (
        "An epoch took longer than usual",
        "5 min 3 s, usually 1 min 2 s (limit: 2 times that).",
        "에포크가 평소보다 오래 걸렸습니다",
        "5분 3초 걸림, 평소 1분 2초 (기준: 평소의 2배)",
    ),
    "disk": (
        "A disk is nearly full",
        "1.2 GB of 100 GB free at /content/drive (limit 5 GB).",
        "디스크 공간이 부족합니다",
        "/content/drive: 전체 100 GB 중 1.2 GB 남음 (기준 5 GB)",
    ),
    "idle": (
        "The GPU is hardly used",
        "GPU 0 (T4) was busy 3% of the last 10 min (limit 10%).",
        "GPU를 거의 쓰지 않고 있습니다",
        "GPU 0 (T4): 최근 10분 동안 사용률 3% (기준 10%).",
    ),
    "memory": (
        "GPU memory is nearly full",
        "GPU 0 (T4): 15 GB of 16 GB in use (limit 95%).",
        "GPU 메모리가 거의 가득 찼습니다",
        "GPU 0 (T4): 16 GB 중 15 GB 사용 중 (기준 95%)",
    ),
}


def test_every_kind_of_evidence_is_seen_here() -> None:
    assert {type(each) for each in SEEN.values()} == set(get_args(Evidence)) - {Alert}


@pytest.mark.parametrize("case", SEEN)
def test_what_began_is_said_with_its_evidence(case: str) -> None:
    """The title says what, the first line from what numbers."""
    english, korean = (raised([SEEN[case]], language).words for language in (EN, KO))

    lines = (english.title, english.text.partition("\n")[0], korean.title, korean.text.partition("\n")[0])
    assert lines == BEGAN[case]


def test_a_metric_that_is_no_loss_may_be_without_a_value() -> None:
    """An AUC of one class is NaN while all is well: a warning, without advice for the training."""
    auc, loss = Finite("val_auc", math.nan), Finite("Loss/train", math.nan)

    assert raised([auc], EN) == (("val_auc is NaN", "val_auc = NaN."), Severity.WARNING)
    assert raised([auc, loss], EN).severity is Severity.ERROR
    assert "rarely recover" in raised([auc, loss], EN).words.text


def test_how_much_to_care() -> None:
    """A loss that is no number is an error, a target good news, all else a warning; what is over is good news."""
    cares = {case: raised([each], EN).severity for case, each in SEEN.items()}

    assert {case for case, severity in cares.items() if severity is Severity.ERROR} == {"nan"}
    assert {case for case, severity in cares.items() if severity is Severity.SUCCESS} == {"target"}
    ends = [alert.severity for each in SEEN.values() if (alert := cleared([each], EN)) is not None]
    assert ends == [Severity.SUCCESS] * (len(SEEN) - 1)


@pytest.mark.parametrize(
    ("seen", "english", "korean"),
    [
        (Finite("loss", 0.4), "loss is finite again", "loss 값이 정상으로 돌아왔습니다"),
        (SEEN["above"], "val_loss is within its limit again", "val_loss 값이 기준 안으로 돌아왔습니다"),
        (SEEN["plateau"], "val_loss improves again", "val_loss 값이 다시 좋아지고 있습니다"),
        (SEEN["divergence"], "train_loss is near its best again", "train_loss 값이 최고 기록 근처로 돌아왔습니다"),
        (SEEN["overfitting"], "val_loss improves again", "val_loss 값이 다시 좋아졌습니다"),
        (SEEN["slow"], "Epochs take as long as usual again", "에포크 시간이 평소 수준으로 돌아왔습니다"),
        (SEEN["disk"], "The disk has room again", "디스크 공간에 다시 여유가 생겼습니다"),
        (SEEN["idle"], "The GPU is busy again", "GPU를 다시 쓰고 있습니다"),
        (SEEN["memory"], "GPU memory has room again", "GPU 메모리에 다시 여유가 생겼습니다"),
    ],
)
def test_what_is_over_is_said(seen: Evidence, english: str, korean: str) -> None:
    for language, title in ((EN, english), (KO, korean)):
        alert = cleared([seen], language)
        assert alert is not None
        assert alert.words.title == title
        assert alert.words.text


@pytest.mark.parametrize("seen", [SEEN["target"], Alert("mine")])
def test_of_some_there_is_no_end_to_tell(seen: Evidence) -> None:
    assert cleared([seen], EN) is None


def test_a_rule_of_the_users_own_speaks_for_itself() -> None:
    alert = raised([Alert("kl too high", "kl = 0.3", Severity.ERROR)], KO)

    assert alert == RenderedAlert(alert.words, Severity.ERROR)
    assert alert.words == ("kl too high", "kl = 0.3")


def test_what_happens_at_once_is_one_message_with_a_line_each() -> None:
    many = [Finite(f"loss{number}", math.nan, 1.0) for number in range(7)]

    english, korean = (raised(many, language).words for language in (EN, KO))

    assert english.title == "loss0 and 6 more are NaN or infinite"
    assert korean.title == "loss0 외 6개 지표가 NaN 또는 무한대입니다"
    lines = english.text.splitlines()
    assert [line.partition(" ")[0] for line in lines[:5]] == [f"loss{number}" for number in range(5)]
    assert lines[5] == "… +2"
    assert lines[6].startswith("Runs rarely recover")


def test_a_full_disk_beside_another_is_told_in_two_lines() -> None:
    words = raised([SEEN["disk"], DiskRoom("/tmp", 0, 10 * GB, GB)], EN).words

    assert words.title == "A disk is nearly full"
    assert len(words.text.splitlines()) == 2


def test_a_name_that_nobody_logs_is_told_beside_those_there_are() -> None:
    english = unlogged(["val_acc"], ["train_loss", "val_accuracy"], EN).words
    korean = unlogged(["val_acc"], [], KO).words

    assert english.text.startswith("Not logged in the first epoch: val_acc. Logged: train_loss, val_accuracy.")
    assert korean.text.startswith("첫 에포크에 기록되지 않은 지표: val_acc. 기록된 지표: 없음.")


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("text", ["{} {0} {{7*7}} %s", "x" * 100_000, "a\nb\rc" * 999, "\udcff\u202e"])
def test_other_peoples_text_is_data_and_bounded(language: Language, text: str) -> None:
    """Names of metrics, paths and GPUs are shown, never read as a form; a title fits what a message shows of it."""
    everything: list[Evidence] = [
        Finite(text, math.inf), Limit(text, 1, 0, "above"), EpochPace(text, 1, 1, 1), Distance(text, 3, 1, 2),
        Gap(text, text, 1, (1, 2), (3, 4)), Reached(text, 1, 1), DiskRoom(text, 1, 2, 3), GpuUse(text, 1, 2, 3),
        GpuRoom(text, 1, 2, 3),
    ]  # fmt: skip
    for seen in everything:
        alert = raised([seen, seen], language)
        event = AlertRaised(
            id="0" * 36,
            run=RunRef("r", "resnet", "lab"),
            at=datetime(2026, 11, 23, tzinfo=UTC),
            title=alert.words.title,
            text=alert.words.text,
            severity=alert.severity,
            progress=Progress(epoch=3, done=4, total=30),
        )
        message = Renderer(language).render(event)

        assert len(alert.words.title) <= 80
        assert len(alert.words.text) <= 600
        assert len(message.brief) <= 200
        assert "{metric}" not in alert.words.title + alert.words.text
        assert "49" not in alert.words.title
