"""Metrics as rows and lines."""

from __future__ import annotations

import math

from notifybot.rendering.format import best_line, changes_line, headings, metric_rows, values_line
from notifybot.types import Language, Metric, MetricRow, Progress

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


def test_nan_and_infinity_pass_as_themselves() -> None:
    metrics = {"loss": Metric(math.nan, 0.4, 0.4, 2, (0.5, 0.4, math.nan)), "grad": Metric(math.inf)}

    rows = metric_rows(Progress(epoch=3, metrics=metrics), Language.EN)

    assert rows == (MetricRow("loss", "NaN", "", "0.4 (epoch 2)", "█▁·"), MetricRow("grad", "∞"))


def test_a_tie_with_an_earlier_best_is_no_star() -> None:
    progress = Progress(epoch=3, metrics={"acc": Metric(0.9, 0.9, 0.9, 1)})

    assert metric_rows(progress, Language.EN)[0].best == "0.9 (epoch 1)"


def test_lines_hold_whole_items_only() -> None:
    rows = metric_rows(PROGRESS, Language.EN)

    assert changes_line(rows, 90) == "train_loss 0.412 (−0.021) ★ · val_acc 0.871 (+0.012) · lr 0.0001"
    assert values_line(rows, 40) == "train_loss 0.412 · val_acc 0.871"
    assert values_line(rows, 5) == "train_loss 0.412"
    assert values_line((), 40) == ""
    assert best_line(PROGRESS, Language.EN, 90) == "train_loss 0.412 (epoch 16) · val_acc 0.88 (epoch 14)"


def test_a_name_cannot_break_the_table() -> None:
    rows = metric_rows(Progress(metrics={"a\nb" + "x" * 10_000: Metric(1.0)}), Language.EN)

    assert rows[0].name.startswith("a bx")
    assert len(rows[0].name) == 40


def test_a_thousand_metrics_become_a_hundred_rows() -> None:
    assert len(metric_rows(Progress(metrics={str(x): Metric(x) for x in range(1000)}), Language.EN)) == 100
