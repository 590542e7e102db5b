"""Checkpoints that were proven whole, sessions that go on from them, and what they run on: told truly and in short."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot.events import CheckpointSaved, Event, RunEnded, RunLost, RunStalled, RunStarted
from notifybot.redaction import register
from notifybot.rendering import Renderer
from notifybot.rendering.format import short_device
from notifybot.types import (
    Checkpoint,
    Fact,
    Host,
    Language,
    Message,
    Metric,
    ModelSize,
    Progress,
    Reason,
    Resumed,
    RunRef,
    Status,
    Tier,
)

BASE: dict[str, Any] = {
    "id": "01900000-0000-7000-8000-00000000abcd",
    "run": RunRef("0198-run", "resnet", "bootcamp"),
    "at": datetime(2026, 11, 23, 3, tzinfo=UTC),
}
PATH = "/content/drive/MyDrive/exp_1/checkpoint_epoch17_0.4120.pt"
METRICS = {"val_loss": Metric(0.412, 0.433, 0.412, 17)}
HOST = Host("colab-1", "Linux", "3.12", "Tesla T4", 77, 13_609_451_520, 10_980.0)
MODEL = ModelSize(11_700_000, 1_200_000, ("backbone",))
RESUMED = Resumed(17, PATH, since_s=800.0, lost_s=720.0, new_machine=True)
RENDERERS = {language: Renderer(language) for language in Language}
EN, KO = Language.EN, Language.KO


def after(tier: Tier = Tier.REMOTE, epoch: int | None = 17) -> Progress:
    return Progress(17, 18, 30, METRICS, checkpoint=Checkpoint(PATH, epoch, 44_700_000, tier))


START = RunStarted(**BASE, total=30, params={"lr": 0.001}, host=HOST, model=MODEL)
AGAIN = RunStarted(**BASE, attempt=2, total=30, host=HOST, progress=after(), resumed=RESUMED)


def said(event: Event, language: Language) -> Message:
    return RENDERERS[language].render(event)


# ── starts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "english", "korean"),
    [
        pytest.param(
            {},
            ("resnet resumed from epoch 17 on a new T4", "12 min were lost; epoch 18 is next."),
            (
                "resnet 학습 재개 (새 T4에서 에포크 17에 이어서)",
                "저장 이후에 진행한 12분 분량은 다시 학습합니다. 다음은 에포크 18입니다.",
            ),
            id="new machine",
        ),
        pytest.param(
            {"new_machine": False, "lost_s": 60.0},
            ("resnet resumed from epoch 17", "1 min was lost; epoch 18 is next."),
            (
                "resnet 학습 재개 (에포크 17에 이어서)",
                "저장 이후에 진행한 1분 분량은 다시 학습합니다. 다음은 에포크 18입니다.",
            ),
            id="same machine",
        ),
        pytest.param(
            {"lost_s": None, "new_machine": False},
            ("resnet resumed from epoch 17", "The checkpoint was saved 13 min ago; epoch 18 is next."),
            (
                "resnet 학습 재개 (에포크 17에 이어서)",
                "13분 전에 저장한 체크포인트를 불러왔습니다. 다음은 에포크 18입니다.",
            ),
            id="loss unknown",
        ),
        pytest.param(
            {"step": 340},
            ("resnet resumed in the middle of epoch 18 (step 340) on a new T4", "12 min were lost."),
            (
                "resnet 학습 재개 (새 T4에서 에포크 18 도중 340스텝에 이어서)",
                "저장 이후에 진행한 12분 분량은 다시 학습합니다.",
            ),
            id="in an epoch",
        ),
        pytest.param(
            {"epoch": None, "step": 5, "new_machine": False, "lost_s": 0.0},
            ("resnet resumed in the middle of the first epoch (step 5)", "The checkpoint was saved 13 min ago."),
            ("resnet 학습 재개 (첫 에포크 도중 5스텝에 이어서)", "13분 전에 저장한 체크포인트를 불러왔습니다."),
            id="in the first epoch",
        ),
        pytest.param(
            {"epoch": 25},
            ("resnet resumed from epoch 25 on a new T4", "12 min were lost."),
            (
                "resnet 학습 재개 (새 T4에서 에포크 25에 이어서)",
                "저장 이후에 진행한 12분 분량은 다시 학습합니다.",
            ),
            id="labels that do not tell the next",
        ),
    ],
)
def test_a_resumed_start_says_from_where_and_what_was_lost(
    changes: dict[str, Any], english: tuple[str, str], korean: tuple[str, str]
) -> None:
    event = replace(AGAIN, resumed=replace(RESUMED, **changes))

    for language, (title, line) in ((EN, english), (KO, korean)):
        message = said(event, language)
        assert message.title == f"🚀 {title}"
        assert message.body.splitlines()[0] == line
        assert message.brief.splitlines()[:2] == [f"🚀 {title}", line]


def test_a_resumed_start_names_what_the_checkpoint_has_otherwise() -> None:
    """Each setting that the program's gives way to is a line; the first is in the short form, the rest counted."""
    values = {"name": "step_size", "there": "2", "here": "4"}
    notes = (Reason("setting_kept", "scheduler", values), Reason("of a later version", "optimizer"))
    event = replace(AGAIN, resumed=replace(RESUMED, notes=notes, more_notes=3))

    english, korean = said(event, EN), said(event, KO)

    line = "scheduler: step_size is 2 as in the checkpoint, not 4"
    assert english.body.splitlines()[-3:] == [line, "optimizer: of a later version", "… +3"]
    assert english.brief.splitlines()[-1] == line
    line = "scheduler: step_size = 2(체크포인트의 값이며, 코드에서는 4)"
    assert korean.body.splitlines()[-3] == korean.brief.splitlines()[-1] == line


def test_a_note_with_a_secret_or_of_any_length_is_told_without_it() -> None:
    register("hunter2-hunter2")
    notes = tuple(Reason("setting_kept", "x" * 300, {"name": "hunter2-hunter2" * 9}) for _ in range(9))

    body = said(replace(AGAIN, resumed=replace(RESUMED, notes=notes)), EN).body

    assert "hunter2" not in body
    assert max(map(len, body.splitlines())) <= 200
    assert body.splitlines()[-1] == "… +4"


def test_a_new_machine_without_a_known_accelerator_is_just_that() -> None:
    event = replace(AGAIN, host=Host())

    assert said(event, EN).title == "🚀 resnet resumed from epoch 17 on a new machine"
    assert said(event, KO).title == "🚀 resnet 학습 재개 (새 장비에서 에포크 17에 이어서)"


def test_after_the_last_epoch_none_is_next() -> None:
    event = replace(AGAIN, progress=Progress(29, 30, 30), resumed=replace(RESUMED, epoch=29))

    assert said(event, EN).body.splitlines()[0] == "12 min were lost."
    assert "다음" not in said(event, KO).body


def test_a_start_names_the_machine_and_the_model() -> None:
    assert said(START, EN).body.splitlines() == [
        "30 epochs · colab-1 (Tesla T4) · 12.7 GB RAM · up 3 h 3 min",
        "1.2 M of 11.7 M parameters learn · frozen: backbone",
    ]
    assert said(START, KO).body.splitlines() == [
        "총 30에포크 · colab-1 (Tesla T4) · RAM 12.7 GB · 켜진 지 3시간 3분",
        "파라미터 1,170만 개 중 120만 개 학습 · 고정: backbone",
    ]
    assert said(START, EN).body in said(START, EN).brief


@pytest.mark.parametrize(
    ("model", "english", "korean"),
    [
        (None, "", ""),
        (ModelSize(11_700_000, 11_700_000), "11.7 M parameters", "파라미터 1,170만 개"),
        (ModelSize(1000, 0), "0 of 1 k parameters learn", "파라미터 1,000개 중 0개 학습"),
        (
            ModelSize(9, 1, tuple(f"encoder.block{number}" for number in range(20))),
            "1 of 9 parameters learn · frozen: encoder.block0, encoder.block1, encoder.block2 +17",
            "파라미터 9개 중 1개 학습 · 고정: encoder.block0, encoder.block1, encoder.block2 +17",
        ),
    ],
)
def test_a_model_is_told_as_far_as_it_says_something(model: ModelSize | None, english: str, korean: str) -> None:
    event = RunStarted(**BASE, total=30, model=model)

    assert said(event, EN).body == "\n".join(line for line in ("30 epochs", english) if line)
    assert said(event, KO).body == "\n".join(line for line in ("총 30에포크", korean) if line)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("Tesla T4", "T4"),
        ("NVIDIA A100-SXM4-40GB", "A100-SXM4-40GB"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("Tesla", "Tesla"),
        ("", ""),
    ],
)
def test_an_accelerator_goes_by_its_short_name(name: str, short: str) -> None:
    assert short_device(name) == short


# ── checkpoints ──────────────────────────────────────────────────────────────────────────────────────────────────────


FILE = f"{PATH} (44.7 MB)"


@pytest.mark.parametrize(
    ("tier", "fleeting", "english", "korean"),
    [
        (Tier.UNPROVEN, False, FILE, FILE),
        (Tier.LOCAL, False, f"Verified: {FILE}", f"검증됨: {FILE}"),
        (
            Tier.LOCAL,
            True,
            f"Verified, on the training machine only: a reset takes it along.\n{FILE}",
            f"학습 장비에만 저장됨(장비가 초기화되면 사라집니다)\n{FILE}",
        ),
        (Tier.REMOTE, False, f"Verified, copied to {FILE}", f"검증 후 복사됨: {FILE}"),
    ],
)
def test_a_saved_checkpoint_says_how_safe_it_is(tier: Tier, fleeting: bool, english: str, korean: str) -> None:
    """Of the user's own file nothing is claimed. A machine that nobody resets is no reason to worry."""
    event = CheckpointSaved(**BASE, checkpoint=Checkpoint(PATH, 17, 44_700_000, tier, fleeting), progress=after())

    assert said(event, EN).body == english
    assert said(event, KO).body == korean
    assert ("Verified" in said(event, EN).brief) == (tier is not Tier.UNPROVEN)
    assert ("검증" in said(event, KO).brief) == (tier is not Tier.UNPROVEN)


def _needing_help(progress: Progress) -> list[Event]:
    return [
        RunLost(**BASE, silent_s=120, limit_s=90, host=HOST, progress=progress),
        RunStalled(**BASE, silent_s=600, limit_s=300, host=HOST, progress=progress),
        RunEnded(**BASE, status=Status.FAILED, error="E: no", progress=progress),
        RunEnded(**BASE, status=Status.INTERRUPTED, progress=progress),
    ]


@pytest.mark.parametrize(
    ("progress", "english", "korean"),
    [
        pytest.param(
            after(Tier.REMOTE),
            "Run the same cell again; it continues by itself from epoch 17.",
            "같은 셀을 다시 실행하세요. 에포크 17에 이어서 자동으로 학습을 계속합니다.",
            id="copied",
        ),
        pytest.param(
            after(Tier.LOCAL),
            "Run the same cell again; if that machine's disk remains, it continues from epoch 17.",
            "같은 셀을 다시 실행하세요. 학습하던 장비의 디스크가 남아 있을 때만 에포크 17에 이어서 학습합니다.",
            id="on the machine",
        ),
        pytest.param(
            after(Tier.UNPROVEN),
            "Run the same cell again; it can go on from the checkpoint of epoch 17 (…point_epoch17_0.4120.pt).",
            "같은 셀을 다시 실행하세요. 에포크 17 체크포인트(…point_epoch17_0.4120.pt)부터 이어서 학습할 수 있습니다.",
            id="the user's own",
        ),
        pytest.param(
            after(Tier.REMOTE, None),
            "Run the same cell again; it continues by itself from the checkpoint.",
            "같은 셀을 다시 실행하세요. 체크포인트에 이어서 자동으로 학습을 계속합니다.",
            id="without an epoch",
        ),
        pytest.param(
            Progress(total=30),
            "Run the same cell again; no checkpoint is known: without one of your own it starts from the beginning.",
            "같은 셀을 다시 실행하세요. 확인된 체크포인트가 없어, 따로 저장한 것이 없으면 처음부터 시작합니다.",
            id="none",
        ),
    ],
)
def test_how_to_go_on_promises_what_the_checkpoint_keeps(progress: Progress, english: str, korean: str) -> None:
    for event in _needing_help(progress):
        assert english in said(event, EN).body
        assert korean in said(event, KO).body


@pytest.mark.parametrize(
    ("notebook", "english", "korean"),
    [
        (False, "Run the same command again;", "같은 명령을 다시"),
        (True, "Run the same cell again;", "같은 셀을 다시"),
        (None, "Run the same cell again;", "같은 셀을 다시"),
    ],
)
def test_a_script_has_no_cell_to_run_again(notebook: bool | None, english: str, korean: str) -> None:
    """An event of an older version does not say where it comes from."""
    for event in _needing_help(after()):
        if isinstance(event, RunEnded):
            event = replace(event, notebook=notebook)
        elif isinstance(event, RunLost | RunStalled):
            event = replace(event, host=replace(event.host, notebook=notebook))
        assert english in said(event, EN).body
        assert korean in said(event, KO).body


@pytest.mark.parametrize("tier", [Tier.LOCAL, Tier.REMOTE])
def test_the_promise_stands_within_what_a_phone_shows(tier: Tier) -> None:
    """KakaoTalk cuts a body near 180 characters."""
    english, korean = {
        Tier.LOCAL: ("if that machine's disk remains", "남아 있을 때만"),
        Tier.REMOTE: ("by itself", "자동으로"),
    }[tier]

    for event in _needing_help(after(tier))[:2]:
        assert english in said(event, EN).body[:180]
        assert korean in said(event, KO).body[:180]


@pytest.mark.parametrize(
    ("tier", "fleeting", "english", "korean"),
    [
        (Tier.UNPROVEN, False, PATH, PATH),
        (Tier.LOCAL, False, f"{PATH} (verified)", f"{PATH} (검증됨)"),
        (Tier.LOCAL, True, f"{PATH} (verified, on the training machine only)", f"{PATH} (검증됨, 학습 장비에만 있음)"),
        (Tier.REMOTE, False, f"{PATH} (verified and copied)", f"{PATH} (검증 후 복사됨)"),
    ],
)
def test_the_fact_of_the_last_checkpoint_says_how_safe_it_is(
    tier: Tier, fleeting: bool, english: str, korean: str
) -> None:
    progress = replace(after(), checkpoint=Checkpoint(PATH, 17, 44_700_000, tier, fleeting))
    event = RunEnded(**BASE, status=Status.FAILED, progress=progress)

    assert Fact("Last checkpoint", english) in said(event, EN).facts
    assert Fact("마지막 체크포인트", korean) in said(event, KO).facts


def test_a_lock_screen_shows_the_checkpoint_before_the_metrics() -> None:
    """Four lines are seen there, and whether the work is safe matters more than the loss."""
    lost, stalled, _, interrupted = (said(event, EN).brief.splitlines() for event in _needing_help(after()))

    assert lost[2] == stalled[2] == "Checkpoint: epoch 17 (verified and copied)"
    assert interrupted[1] == "Checkpoint: epoch 17 (verified and copied)"
    assert "체크포인트: 에포크 17 (검증 후 복사됨)" in said(_needing_help(after())[3], KO).brief


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_known_leaves_nothing_behind() -> None:
    """No stray separator, and no line for a fact that is absent."""
    bare = RunStarted(**BASE, resumed=Resumed(None, "", since_s=float("nan")))

    assert said(bare, EN).body == "The checkpoint was saved; the first epoch is next."
    assert said(bare, KO).body == "저장한 체크포인트를 불러왔습니다. 다음은 첫 에포크입니다."
    assert said(RunStarted(**BASE), EN).body == ""


def test_a_secret_in_a_frozen_parts_or_devices_name_is_struck_out() -> None:
    register(["xoxb-canary-not-a-token"])
    secret = "xoxb-canary-not-a-token"
    event = replace(AGAIN, host=Host(device=secret), model=ModelSize(9, 1, (secret,)))

    assert "canary" not in repr(said(event, EN))


HOSTILE = st.sampled_from(["{{7*7}}", "x" * 10_000, "\n" * 99, "\udcff", "<b>", "나쁜\u202e이름" * 500, ""])
AMOUNTS = st.none() | st.floats() | st.floats(0, 1e6)
BIG = st.integers(-(10**18), 10**18)


@given(st.data(), st.sampled_from(Language))
def test_nothing_that_is_known_of_a_start_breaks_the_limits(data: st.DataObject, language: Language) -> None:
    text, epoch = data.draw(HOSTILE), data.draw(st.none() | BIG)
    since_s = data.draw(st.floats())
    event = replace(
        AGAIN,
        run=RunRef("0198-run", text or "r", text),
        host=Host(text, text, text, text, 1, data.draw(st.none() | BIG), data.draw(AMOUNTS)),
        model=data.draw(st.none() | st.builds(ModelSize, BIG, BIG, st.just((text,) * 20))),
        resumed=Resumed(epoch, text, since_s, data.draw(AMOUNTS), data.draw(BIG), data.draw(st.booleans())),
        progress=Progress(
            epoch, 3, 9, METRICS, checkpoint=Checkpoint(text, epoch, 5, data.draw(st.sampled_from(Tier)))
        ),
    )

    message = said(event, language)

    assert message.rows  # the last resort has none: no template failed
    assert 0 < len(message.title) <= 120
    assert 0 < len(message.brief) <= 200
    assert len(message.body) <= 500
    (message.title + message.body + message.brief).encode()


@pytest.mark.parametrize("language", Language)
def test_the_new_variables_are_a_users_too(tmp_path: Path, language: Language) -> None:
    """Each is bounded text, a number or a truth value, and empty in an event that has nothing to say."""
    names = "model memory uptime next_epoch new_device saved_ago lost resumed_epoch checkpoint_tier checkpoint_proof"
    block = "|".join(f"{{{{ {name} }}}}" for name in [*names.split(), "resumed_step if resumed"])
    (tmp_path / "run_started.j2").write_text(f"{{% block title %}}>{block}{{% endblock %}}")
    renderer = Renderer(language, tmp_path)

    full, empty = (renderer.render(event).title for event in (replace(AGAIN, model=MODEL), RunStarted(**BASE)))

    assert empty == ">" + "|" * 10
    assert "||" not in full


def test_a_users_template_of_before_keeps_its_words(tmp_path: Path) -> None:
    """Such as one that includes our sentence on how to go on."""
    (tmp_path / "run_lost.j2").write_text("{% block body %}{% include 'en/_go_on.j2' %}{% endblock %}")

    message = Renderer(EN, tmp_path).render(_needing_help(after())[0])

    assert message.body == "Run the same cell again; it continues by itself from epoch 17."
