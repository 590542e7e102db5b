"""What the pages say of a run: where it stands, how to continue it, and what it rests on."""

from __future__ import annotations

import html
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from notifybot.types import (
    Checkpoint,
    KeptIn,
    Metric,
    ModelSize,
    Progress,
    Resumed,
    Tier,
)
from tests.support.watchdog_runs import Watchdog as Bench
from tests.support.watchdog_runs import trained


@pytest.mark.parametrize(
    ("tier", "english", "korean"),
    [
        (Tier.REMOTE, "it continues by itself from epoch 3.", "에포크 3에 이어서 자동으로 학습을 계속합니다."),
        (Tier.LOCAL, "disk remains, it continues from epoch 3.", "디스크가 남아 있을 때만 에포크 3에 이어서"),
        (Tier.UNPROVEN, "it can go on from the checkpoint of epoch 3.", "에포크 3 체크포인트부터 이어서 학습할 수"),
    ],
)
def test_how_to_go_on_promises_what_the_checkpoint_keeps(
    bench: Bench, local: TestClient, tier: Tier, english: str, korean: str
) -> None:
    process = trained(bench)
    progress = replace(process.progress, checkpoint=Checkpoint("/ck/3.pt", 3, 44_700_000, tier))
    process.send(replace(process.epoch(), progress=progress))
    bench.watch(180)

    assert english in html.unescape(local.get(f"/runs/{process.run.id}?lang=en").text)
    assert korean in local.get(f"/runs/{process.run.id}?lang=ko").text


@pytest.mark.parametrize(
    ("kept_in", "english", "korean"),
    [
        ("storage", "opened with load_if_exists=True, it goes on after them.", "load_if_exists=True로 열면 그다음부터"),
        ("backup", "it continues by itself from the framework's backup", "백업이 남아 있으면 거기서 자동으로"),
    ],
)
def test_what_a_framework_keeps_by_itself_is_gone_on_from(
    bench: Bench, local: TestClient, kept_in: KeptIn, english: str, korean: str
) -> None:
    """A study in a storage does not start from the beginning, although no checkpoint is known."""
    process = trained(bench)
    process.send(replace(process.epoch(), progress=replace(process.progress, checkpoint=None, kept_in=kept_in)))
    bench.watch(180)

    assert english in html.unescape(local.get(f"/runs/{process.run.id}?lang=en").text)
    assert korean in local.get(f"/runs/{process.run.id}?lang=ko").text


@pytest.mark.parametrize(
    ("resumed", "english", "korean"),
    [
        (
            Resumed(17, "/ck/17.pt", since_s=800.0, lost_s=720.0, new_machine=True),
            "from epoch 17 · on a new T4 · 12 min lost",
            "에포크 17에 이어서 · 새 T4에서 · 12분 분량 다시 학습",
        ),
        (
            Resumed(17, "/ck/17.pt", since_s=10_800.0, step=340),
            "in the middle of epoch 18, step 340 · saved 3 h before",
            "에포크 18 도중 340스텝에 이어서 · 3시간 전에 저장",
        ),
        (
            Resumed(None, "/ck/0.pt", since_s=60.0, lost_s=0.0),
            "from its last checkpoint · saved 1 min before",
            "마지막 체크포인트에 이어서 · 1분 전에 저장",
        ),
    ],
)
def test_a_resumed_run_says_from_where(
    bench: Bench, local: TestClient, resumed: Resumed, english: str, korean: str
) -> None:
    process = bench.running()
    bench.clock.advance(1)
    process.send(replace(process.started(2), resumed=resumed))

    for language, text, word in (("en", english, "continued"), ("ko", korean, "이어서 시작")):
        page = local.get(f"/runs/{process.run.id}?lang={language}").text
        assert page.count(text) == 2  # among the details, and in the history
        assert f">{word}</span>" in page


def test_a_runs_page_tells_its_machine_and_model(bench: Bench, local: TestClient) -> None:
    """The machine's time goes on counting while the run does."""
    process = bench.process()
    host = replace(process.host, memory_bytes=13_609_451_520, up_s=10_800.0)
    process.send(replace(process.started(), host=host, model=ModelSize(11_700_000, 1_200_000, ("backbone",))))
    bench.clock.advance(600)
    page = local.get(f"/runs/{process.run.id}?lang=en").text
    process.send(process.ended())

    assert "<dt>Memory</dt><dd>12.7 GB</dd>" in page
    assert "<dt>Machine up for</dt><dd>3 h 10 min</dd>" in page
    assert "<dt>Model</dt><dd>1.2 M of 11.7 M parameters learn · frozen: backbone</dd>" in page
    assert "Machine up for" not in local.get(f"/runs/{process.run.id}?lang=en").text


def test_a_stalled_run_shows_where_its_loop_stands(bench: Bench, local: TestClient) -> None:
    process = bench.running()
    process.send(process.epoch())
    process.beat()
    process.hangs = True
    bench.watch(900, process)

    assert "train.py:12 next(loader)" in local.get(f"/runs/{process.run.id}").text


def test_the_page_of_a_run_draws_its_curves(bench: Bench, local: TestClient) -> None:
    process = trained(bench)

    page = local.get(f"/runs/{process.run.id}").text
    assert page.count('<svg class="curve"') == 1
    assert "loss 0.25" in page


@pytest.mark.parametrize(
    ("language", "position", "taken", "axis", "event", "go_on"),
    [
        (
            "en", "step 1,500/20,000 (epoch 2.3)", "<dt>Per step</dt><dd>0.31 s</dd>", "· step</span>", "step reached",
            "it can go on from the checkpoint of step 1,500.",
        ),
        (
            "ko", "1,500/20,000 스텝(2.3에포크)", "<dt>스텝당</dt><dd>0.31초</dd>", "· 스텝</span>", "스텝 진행",
            "1,500 스텝 체크포인트부터 이어서 학습할 수 있습니다.",
        ),
    ],
)  # fmt: skip
def test_a_run_of_steps_is_shown_in_steps(
    bench: Bench, local: TestClient, language: str, position: str, taken: str, axis: str, event: str, go_on: str
) -> None:
    process = trained(bench)
    metrics = {"loss": Metric(0.2, best=0.2, best_epoch=1500), "samples_per_second": Metric(9.0, minor=True)}
    progress = Progress(
        1500, 1500, 20_000, metrics, epoch_s=155.0, elapsed_s=465.0, eta_s=5735.0, unit="step", part=2.31,
        checkpoint=Checkpoint("/ck/1500.pt", 1500),
    )  # fmt: skip
    bench.clock.advance(1)
    process.send(replace(process.epoch(), progress=progress))
    bench.watch(180)

    page = html.unescape(local.get(f"/runs/{process.run.id}?lang={language}").text)
    board = local.get(f"/?lang={language}").text
    assert [each for each in (position, taken, axis, event, go_on) if each not in page] == []
    assert position in board
    assert "samples_per_second" not in page + board
