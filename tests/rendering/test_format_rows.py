"""Metrics as rows and lines."""

from __future__ import annotations

import math

import pytest

from notifybot.rendering.format import best_text, headings, joined, metric_rows, row_text
from notifybot.types import Language, Metric, MetricRow, Progress

NAN, INF = math.nan, math.inf

PROGRESS = Progress(
    epoch=16,
    done=17,
    total=30,
    metrics={
        "train_loss": Metric(0.412, 0.433, 0.412, 16, (0.9, 0.433, 0.412)),
        "val_acc": Metric(0.871, 0.859, 0.88, 14, (0.5, 0.859, 0.871)),
        "lr": Metric(1e-4, 1e-4),
    },
)


def test_rows_stand_in_the_order_of_logging_beside_their_past() -> None:
    assert metric_rows(PROGRESS, Language.EN) == (
        MetricRow("train_loss", "0.412", "−0.021", "★", "█▁▁"),
        MetricRow("val_acc", "0.871", "+0.012", "0.88 (epoch 14)", "▁██"),
        MetricRow("lr", "0.0001", "±0", "", ""),
    )
    assert metric_rows(PROGRESS, Language.KO)[1].best == "0.88 (에포크 14)"
    assert headings(Language.EN) == ("Metric", "Value", "Change", "Best", "Trend")


@pytest.mark.parametrize(
    ("value", "previous", "expected"),
    [
        (0.412, 0.433, "−0.021"),
        (2.3, 1.0, "+1.3"),
        (1.0, 1.0, "±0"),
        (1.0, None, ""),
        (NAN, 1.0, ""),
        (1.0, NAN, ""),
        (INF, INF, ""),
        (1e308, -1e308, ""),
    ],
)
def test_a_change_is_signed_and_empty_where_it_says_nothing(
    value: float, previous: float | None, expected: str
) -> None:
    assert metric_rows(Progress(metrics={"loss": Metric(value, previous)}), Language.EN)[0].change == expected


def test_nan_and_infinity_pass_as_themselves() -> None:
    metrics = {"loss": Metric(math.nan, 0.4, 0.4, 2, (0.5, 0.4, math.nan)), "grad": Metric(math.inf)}

    rows = metric_rows(Progress(epoch=3, metrics=metrics), Language.EN)

    assert rows == (MetricRow("loss", "NaN", "", "0.4 (epoch 2)", "█▁·"), MetricRow("grad", "∞"))


def test_a_tie_with_an_earlier_best_is_no_star() -> None:
    progress = Progress(epoch=3, metrics={"acc": Metric(0.9, 0.9, 0.9, 1)})

    assert metric_rows(progress, Language.EN)[0].best == "0.9 (epoch 1)"


def test_a_row_in_words_has_what_changed_and_a_star() -> None:
    assert [row_text(row) for row in metric_rows(PROGRESS, Language.EN)] == [
        "train_loss 0.412 (−0.021) ★", "val_acc 0.871 (+0.012)", "lr 0.0001",
    ]  # fmt: skip


def test_a_best_value_names_its_epoch_where_it_is_known() -> None:
    assert best_text(PROGRESS.metrics["val_acc"], Language.KO) == "0.88 (에포크 14)"
    assert best_text(Metric(0.5, best=0.9), Language.EN) == "0.9"
    assert best_text(Metric(0.5), Language.EN) == ""


def test_lines_hold_whole_items_only() -> None:
    items = ["train_loss 0.412", "val_acc 0.871", "lr 0.0001"]

    assert joined(items, 90) == "train_loss 0.412 · val_acc 0.871 · lr 0.0001"
    assert joined(items, 40) == "train_loss 0.412 · val_acc 0.871"
    assert joined(items, 5) == "train_loss 0.412"
    assert joined((), 40) == ""
    assert joined("abcdefgh", 90) == "a · b · c · d · e · f"


def test_a_name_cannot_break_the_table() -> None:
    rows = metric_rows(Progress(metrics={"a\nb" + "x" * 10_000: Metric(1.0)}), Language.EN)

    assert rows[0].name.startswith("a bx")
    assert len(rows[0].name) == 40


def test_a_thousand_metrics_become_a_hundred_rows() -> None:
    assert len(metric_rows(Progress(metrics={str(x): Metric(x) for x in range(1000)}), Language.EN)) == 100
