"""Counts, durations, the past of metrics, and the watched one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot.errors import UsageError
from notifybot.events import EpochFinished, Event, from_json, to_json
from notifybot.metric_names import Direction, direction_of
from notifybot.training.progress import HISTORY, MonitoredMetric, ProgressTracker, stride_of
from notifybot.training.resume import RunHistory, last_progress
from notifybot.types import Checkpoint, Metric, Progress, RunRef, uuid7

LESS, MORE = Direction.MIN, Direction.MAX


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        pytest.param(["train_loss", "val_acc", "val_loss"], "val_loss", id="validation loss"),
        pytest.param(["train_loss", "val_acc"], "val_acc", id="validation score"),
        pytest.param(["lr", "acc", "loss"], None, id="none of validation"),
        pytest.param(["val_d_loss", "val_lr", "test_acc"], "test_acc", id="neither a discriminator's nor unknown"),
        pytest.param(["lr"], None, id="none known"),
    ],
)
def test_the_watched_metric_is_chosen_by_name(epochs: list[str], expected: str | None) -> None:
    running = course()
    running.finish_epoch(0, dict.fromkeys(epochs, 0.5), now_s=101.0)

    assert running.watched == expected


def test_the_first_validation_metric_is_chosen_for_good() -> None:
    running = course()
    chosen = []
    for epoch, names in enumerate((["train_loss"], ["acc"], ["train_loss", "val_acc"], ["val_loss"])):
        running.finish_epoch(epoch, dict.fromkeys(names, 0.5), now_s=101.0)
        chosen.append(running.watched)

    assert chosen == [None, None, "val_acc", "val_acc"]


def test_a_monitor_may_say_which_way_is_better() -> None:
    running = course(monitor="entropy:max")
    running.finish_epoch(0, {"val_loss": 0.5}, now_s=101.0)

    assert (running.watched, MonitoredMetric("entropy:max").direction) == ("entropy", MORE)
    with pytest.raises(UsageError, match="'entropy:max'"):
        MonitoredMetric("entropy")


_TOLD = {
    LESS: "val_loss valLoss Loss/val eval/loss validation_0-rmse test_wer dev_ppl holdout_mae 검증_loss 테스트/loss",
    MORE: "val_acc test/f1 valid_iou val_iou_3d val_mIoU_2D eval_bleu4 val/mAP@50 top1-accuracy/val 평가_acc",
}
_UNTOLD = {
    "training": "loss train_loss trainLoss Loss/train acc train/acc box_loss kl_loss policy_loss eval/train_loss",
    "adversarial": "d_loss g_loss loss_D lossG errD val_d_loss val/loss_g valLossD test_disc_acc val_gan_loss "
    "val_critic_loss eval/generator/loss val_discriminator_acc val_loss_d1 val_adv_loss",
    "unknown": "lr val_lr val_time test_entropy 검증_손실",
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [(name, way) for way, names in _TOLD.items() for name in names.split()]
    + [(name, None) for names in _UNTOLD.values() for name in names.split()],
)
@pytest.mark.parametrize("monitor", [None, "other:max"])
def test_a_best_is_told_of_validation_metrics_and_else_of_what_is_monitored(
    name: str, expected: Direction | None, monitor: str | None
) -> None:
    def told(monitor: str | None, values: tuple[float, ...]) -> tuple[float | None, str | None]:
        running = course(monitor=monitor)
        for epoch, value in enumerate(values):
            progress, news = running.finish_epoch(epoch, {name: value}, now_s=101.0 + epoch)
        return progress.metrics[name].best, news

    best = None if expected is None else 2.0 if expected is LESS else 3.0
    assert told(monitor, (3.0, 2.0)) == (best, name if monitor is None and expected is LESS else None)
    assert told(name + ":min", (3.0, 2.0)) == (2.0, name)
    assert told(name + ":max", (2.0, 3.0)) == (3.0, name)


@pytest.mark.parametrize("name", " ".join(_UNTOLD.values()).split())
def test_an_alert_learns_a_direction_without_a_best(name: str) -> None:
    watch = MonitoredMetric()

    assert watch.direction_for(name) is direction_of(name)
    assert watch.best_direction_for(name) is None


def test_a_best_of_an_earlier_session_is_told_only_where_this_one_tells_it() -> None:
    """As of a version before, or where the `monitor` was another: what was the best then is found in the past."""
    earlier = Progress(
        epoch=2,
        done=3,
        metrics={
            "train_loss": Metric(0.3, best=0.1, best_epoch=1, history=(0.5, 0.1, 0.3), epochs=(0, 1, 2)),
            "entropy": Metric(6.0, history=(5.0, 9.0, math.nan, 6.0), epochs=(0, 1, 2, 3)),
        },
    )
    resumed = course(range(4, 9), earlier=earlier, monitor="entropy:max")
    progress, news = resumed.finish_epoch(4, {"train_loss": 0.2, "entropy": 7.0}, now_s=101.0)

    assert (progress.metrics["train_loss"].best, progress.metrics["train_loss"].best_epoch) == (None, None)
    assert (progress.metrics["entropy"].best, progress.metrics["entropy"].best_epoch, news) == (9.0, 1, None)


def course(
    epochs: object = None, *, earlier: Progress | None = None, total: int | None = None, monitor: str | None = None
) -> ProgressTracker:
    made = ProgressTracker(now_s=100.0, earlier=earlier, monitor=monitor)
    made.begin(range(3) if epochs is None else epochs, total=total, now_s=100.0)
    return made


@pytest.mark.parametrize(
    ("epochs", "total", "done", "expected_total"),
    [
        pytest.param(range(20), None, 0, 20, id="from 0"),
        pytest.param(range(1, 21), None, 0, 20, id="counted from 1"),
        pytest.param(range(5, 20), None, 5, 20, id="continued"),
        pytest.param(range(0, 100, 10), None, 0, 10, id="by tens"),
        pytest.param([7, 8, 9], None, 0, 3, id="list"),
        pytest.param((each for each in range(3)), None, 0, None, id="generator"),
        pytest.param(itertools.count(), None, 0, None, id="endless"),
        pytest.param(itertools.count(), 50, 0, 50, id="endless with a total"),
        pytest.param(range(0), None, 0, 0, id="empty"),
    ],
)
def test_done_and_total_of_a_new_run(
    epochs: Iterable[int], total: int | None, done: int, expected_total: int | None
) -> None:
    progress = course(epochs, total=total).summary(100.0)

    assert (progress.done, progress.total) == (done, expected_total)


@pytest.mark.parametrize(
    ("epochs", "last", "done", "expected"),
    [
        pytest.param(range(5, 20), 4, 5, (5, 20), id="from 0"),
        pytest.param(range(6, 21), 5, 5, (5, 20), id="counted from 1"),
        pytest.param(range(3, 20), 4, 5, (3, 20), id="two epochs again"),
        pytest.param(range(20), 4, 5, (0, 20), id="all again"),
        pytest.param((each for each in range(5, 20)), 4, 5, (5, None), id="generator"),
        pytest.param(range(200, 1000, 100), 100, 2, (2, 10), id="by hundreds"),
        pytest.param(range(900, 1000, 100), 800, 9, (9, 10), id="by hundreds, the last"),
        pytest.param(range(100, 1000, 100), 300, 4, (1, 10), id="by hundreds, some again"),
        pytest.param(range(7, 0, -1), 8, 3, (3, 10), id="counted down"),
        pytest.param([10, 20, 50], 5, 3, (3, 6), id="a list of its own"),
    ],
)
def test_done_and_total_of_a_resumed_run(
    epochs: Iterable[int], last: int, done: int, expected: tuple[int, int | None]
) -> None:
    progress = course(epochs, earlier=Progress(epoch=last, done=done)).summary(100.0)

    assert (progress.done, progress.total) == expected


def test_epoch_5_of_a_continued_range_reads_6_of_20() -> None:
    running = course(range(5, 20))
    progress, _ = running.finish_epoch(5, {}, now_s=101.0)

    assert (progress.epoch, progress.done, progress.total) == (5, 6, 20)


def test_the_eta_is_the_median_epoch_times_what_is_left() -> None:
    running = course(range(10))
    now_s = 100.0
    assert running.summary(now_s).eta_s is None
    for epoch, seconds in enumerate((60.0, 10.0, 10.0, 12.0)):
        now_s += seconds
        progress, _ = running.finish_epoch(epoch, {}, now_s=now_s)

    assert progress.epoch_s == 12.0
    assert progress.eta_s == 6 * 11.0
    assert progress.elapsed_s == 92.0


def test_a_slow_beginning_is_forgotten_by_the_eta() -> None:
    """Compilation, caches and a first download make the first epochs slow: they do not predict the rest."""
    running = course(range(30))
    now_s = 100.0
    for epoch, seconds in enumerate([600.0] * 8 + [10.0] * 7):
        now_s += seconds
        progress, _ = running.finish_epoch(epoch, {}, now_s=now_s)

    assert progress.eta_s == 15 * 10.0


def test_the_eta_is_unknown_without_a_total() -> None:
    running = course(itertools.count())
    progress, _ = running.finish_epoch(0, {}, now_s=110.0)

    assert progress.eta_s is None


def test_time_between_epochs_is_not_an_epochs_time() -> None:
    running = course()
    running.epoch_began_s = 150.0
    progress, _ = running.finish_epoch(0, {}, now_s=160.0)

    assert progress.epoch_s == 10.0


def test_a_metric_knows_its_past() -> None:
    running = course(range(4))
    for epoch, value in enumerate((3.0, 1.0, 2.0)):
        progress, _ = running.finish_epoch(epoch, {"val_loss": value, "lr": value}, now_s=101.0 + epoch)

    assert progress.metrics["val_loss"] == Metric(
        2.0, 1.0, 1.0, best_epoch=1, history=(3.0, 1.0, 2.0), epochs=(0, 1, 2), lowest=(1, 1.0), highest=(0, 3.0)
    )
    assert progress.metrics["lr"] == Metric(
        2.0, previous=1.0, history=(3.0, 1.0, 2.0), epochs=(0, 1, 2), lowest=(1, 1.0), highest=(0, 3.0)
    )


def test_history_keeps_the_latest_values() -> None:
    running = course(range(100))
    for epoch in range(100):
        progress, _ = running.finish_epoch(epoch, {"loss": float(epoch)}, now_s=101.0)

    assert progress.metrics["loss"].history == tuple(float(each) for each in range(100 - HISTORY, 100))


def test_an_epoch_tells_its_own_metrics_and_the_summary_all() -> None:
    running = course()
    running.finish_epoch(0, {"loss": 1.0, "val_acc": 0.5}, now_s=101.0)
    progress, _ = running.finish_epoch(1, {"loss": 0.5}, now_s=102.0)

    assert set(progress.metrics) == {"loss"}
    assert set(running.summary(103.0).metrics) == {"loss", "val_acc"}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_best(bad: float) -> None:
    running = course()
    running.finish_epoch(0, {"val_loss": bad, "val_acc": bad}, now_s=101.0)
    progress, news = running.finish_epoch(1, {"val_loss": 1.0, "val_acc": 0.5}, now_s=102.0)
    assert (progress.metrics["val_loss"].best, progress.metrics["val_acc"].best, news) == (1.0, 0.5, None)
    progress, news = running.finish_epoch(2, {"val_loss": bad, "val_acc": bad}, now_s=103.0)
    assert (progress.metrics["val_loss"].best, progress.metrics["val_acc"].best, news) == (1.0, 0.5, None)


def test_a_new_best_is_news_but_neither_the_first_value_nor_a_tie() -> None:
    running = course(range(5))
    news = [running.finish_epoch(e, {"val_loss": v}, now_s=101.0)[1] for e, v in enumerate((3.0, 2.0, 2.0, 2.5, 1.0))]

    assert news == [None, "val_loss", None, None, "val_loss"]


def after(values: list[float], **more: Any) -> Progress:
    running = course(range(100))
    for epoch, value in enumerate(values):
        running.finish_epoch(epoch, {"val_loss": value}, now_s=110.0 + epoch)
    return running.summary(200.0)


def test_a_resumed_run_carries_on_from_its_past() -> None:
    resumed = course(range(3, 6), earlier=after([3.0, 2.0, 1.0]))
    progress, news = resumed.finish_epoch(3, {"val_loss": 0.5}, now_s=130.0)

    assert progress.metrics["val_loss"] == Metric(
        0.5, 1.0, 0.5, 3, history=(3.0, 2.0, 1.0, 0.5), epochs=(0, 1, 2, 3), lowest=(3, 0.5), highest=(0, 3.0)
    )
    assert (news, progress.elapsed_s, progress.epoch_s) == ("val_loss", 130.0, 30.0)


def test_epochs_that_are_run_again_are_forgotten() -> None:
    resumed = course(range(2, 6), earlier=after([3.0, 2.0, 0.5]))
    progress, news = resumed.finish_epoch(2, {"val_loss": 1.0}, now_s=130.0)

    assert progress.metrics["val_loss"] == Metric(
        1.0, 2.0, 1.0, 2, history=(3.0, 2.0, 1.0), epochs=(0, 1, 2), lowest=(2, 1.0), highest=(0, 3.0)
    )
    assert news == "val_loss"


@pytest.mark.parametrize(("losses", "best"), [([0.5, *[1.0] * 50], (0, 0.5)), ([9.0, 2.0, 1.0, *[3.0] * 50], (2, 1.0))])
def test_a_best_outlives_the_values_after_it_that_are_all_forgotten(
    losses: list[float], best: tuple[int, float]
) -> None:
    """A run goes back by more epochs than the history holds."""
    resumed = course(range(5, 60), earlier=after(losses))
    progress, news = resumed.finish_epoch(5, {"val_loss": 4.0}, now_s=130.0)

    again = progress.metrics["val_loss"]
    assert (again.best_epoch, again.best) == best
    assert again.lowest == best
    assert news is None


def test_a_run_that_begins_again_has_no_past() -> None:
    resumed = course(range(6), earlier=after([3.0, 2.0, 0.5]))
    progress, _ = resumed.finish_epoch(0, {"val_loss": 4.0}, now_s=130.0)

    assert progress.metrics["val_loss"] == Metric(
        4.0, best=4.0, best_epoch=0, history=(4.0,), epochs=(0,), lowest=(0, 4.0), highest=(0, 4.0)
    )
    assert progress.done == 1


@pytest.mark.parametrize(("labels", "expected"), [([0, 1, 5], [1, 2, 6]), ([1, 2], [1, 2]), ([4, 5], [5, 6])])
def test_epochs_of_a_foreign_loop_are_counted_by_their_labels(labels: list[int], expected: list[int]) -> None:
    running = course(())

    assert [running.ordinal(label) for label in labels] == expected


def test_the_latest_checkpoint_is_part_of_the_progress() -> None:
    running = course()
    running.saved(Checkpoint("a.pt"))
    running.saved(Checkpoint("b.pt", epoch=1))

    assert running.summary(100.0).checkpoint == Checkpoint("b.pt", epoch=1)


NOON = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)

_labels = st.one_of(
    st.builds(lambda start, step, count: list(range(start, start + step * count, step)),
              st.integers(-5, 20), st.sampled_from([1, 2, 5, 100, -1, -3]), st.integers(2, 40)),
    st.lists(st.integers(0, 500), min_size=2, max_size=30, unique=True).map(sorted),
)  # fmt: skip
_deaths = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), max_size=4)


@given(
    labels=_labels,
    every=st.integers(1, 7),
    deaths=_deaths,
    values=st.randoms(use_true_random=False),
    placed=st.booleans(),
)
def test_every_value_stands_at_its_epoch_however_often_the_run_died(
    labels: list[int], every: int, deaths: list[tuple[int, int]], values: Random, placed: bool
) -> None:
    """Against a model: a mapping from label to value for each metric, whose later part a resumed run does again.

    `placed`: the place of the epochs ahead among all is known, as with checkpoints. Else uneven labels are without gaps
    only as far as one can see.
    """
    told: dict[str, dict[int, float]] = {}
    events: list[Event] = []
    even = len({later - earlier for earlier, later in pairwise(labels)}) <= 1
    start = 0
    for session, (lives, back) in enumerate([*deaths, (len(labels), 0)]):
        ahead = labels[start:]
        if not ahead:
            break
        falls = stride_of(ahead, last_progress(events) or Progress()) < 0  # as `Run` asks
        past = RunHistory(1, "r", last_progress(events), tuple(events)) if events else RunHistory()
        running = ProgressTracker(now_s=0.0, earlier=past.before(ahead[0], falls=falls))
        running.begin(ahead, total=None, now_s=0.0, done=start if placed else None)
        told = {name: {at: each for at, each in by.items() if at in labels[:start]} for name, by in told.items()}
        for label in ahead[:lives]:
            logged = {"val_loss": values.random()} | ({"val_acc": values.random()} if label % every == 0 else {})
            progress, _ = running.finish_epoch(label, logged, now_s=1.0)
            event = EpochFinished(id=uuid7(), run=RunRef("r", "r", "p", f"s{session}"), at=NOON, progress=progress)
            events.append(from_json(to_json(event)))
            for name, value in logged.items():
                told.setdefault(name, {})[label] = value
        reached = min(start + lives, len(labels))
        start = max(reached - back, 0)

        summary = running.summary(2.0)
        if placed or even or session == 0:
            assert (summary.done, summary.total) == (reached, len(labels))
        by_name = {name: by for name, by in told.items() if by}
        assert set(summary.metrics) == set(by_name)
        for name, by in by_name.items():
            metric = summary.metrics[name]
            best = min(by, key=lambda at: by[at]) if name == "val_loss" else max(by, key=lambda at: by[at])
            assert metric.points(Progress()) == tuple(by.items())[-HISTORY:]
            assert (metric.best, metric.best_epoch) == (by[best], best)
            least, greatest = min(by, key=lambda at: by[at]), max(by, key=lambda at: by[at])
            assert (metric.lowest, metric.highest) == ((least, by[least]), (greatest, by[greatest]))
