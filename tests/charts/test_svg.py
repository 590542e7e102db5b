"""Learning curves as SVG: whole markup, true numbers, whatever the history holds."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot.charts import HEIGHT, WIDTH, Curve, charts_of, curve_svg, ticks_between

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*curves: Curve) -> ElementTree.Element:
    return ElementTree.fromstring(curve_svg(curves, title="loss"))


def lines(root: ElementTree.Element) -> dict[str, str]:
    return {
        each.attrib["class"]: each.attrib["d"] for each in root.iter(f"{SVG}path") if each.attrib["class"] != "lost"
    }


def test_a_curve_runs_from_the_first_epoch_to_the_last() -> None:
    root = drawn(Curve("loss", ((1, 2.0), (2, 1.0), (3, 0.0))))

    assert lines(root) == {"s0": "M46.0 12.0L197.0 94.0L348.0 176.0"}
    assert [each.text for each in root.iter(f"{SVG}text")] == ["0", "0.5", "1", "1.5", "2", "1", "3"]
    assert root.attrib["aria-label"] == "loss: loss"


def test_a_value_that_is_no_number_leaves_a_gap_and_a_mark() -> None:
    root = drawn(Curve("loss", ((1, 1.0), (2, math.nan), (3, math.inf), (4, 0.5))))

    assert lines(root)["s0"].count("M") == 2
    assert [each.text for each in root.iter(f"{SVG}title")] == ["loss nan (2)", "loss inf (3)", "loss 0.5 (4)"]


@pytest.mark.parametrize("points", [(), ((1, math.nan),), ((1, 0.5),), ((5, 1.0), (6, 1.0)), ((1, 1e308), (2, -1e308))])
def test_there_is_a_picture_of_any_history(points: tuple[tuple[float, float], ...]) -> None:
    assert drawn(Curve("loss", points)).attrib["viewBox"] == f"0 0 {WIDTH} {HEIGHT}"


def test_a_long_history_keeps_its_spikes_and_its_end() -> None:
    points = [(float(at), 1.0) for at in range(10_000)]
    points[5_003] = (5003.0, 9.0)
    points[7_001] = (7001.0, math.nan)
    root = drawn(Curve("loss", tuple(points)))

    assert lines(root)["s0"].count("L") < 500
    assert " 28.4L" in lines(root)["s0"]  # nine on an axis of ten
    assert "loss nan (7001)" in [each.text for each in root.iter(f"{SVG}title")]
    assert "loss 1 (9999)" in [each.text for each in root.iter(f"{SVG}title")]


def test_names_are_text_and_never_markup() -> None:
    name = "<script>&\"'</script>"
    root = drawn(Curve(name, ((1, 1.0),)))

    assert root.attrib["aria-label"] == f"loss: {name}"
    assert not list(root.iter(f"{SVG}script"))


def test_the_splits_of_one_metric_share_a_chart() -> None:
    names = ["train_loss", "val_loss", "acc", "val/acc", "test.acc", "lr", "trainable_share"]
    charts = charts_of({name: [(1, 1.0)] for name in names})

    assert {chart.title: [each.name for each in chart.curves] for chart in charts} == {
        "loss": ["train_loss", "val_loss"],
        "acc": ["acc", "val/acc", "test.acc"],
        "lr": ["lr"],
        "trainable_share": ["trainable_share"],
    }
    assert charts[0].svg.startswith("<svg ")


def test_a_chart_holds_no_more_lines_than_colours() -> None:
    names = ["loss", "train_loss", "val_loss", "test_loss", "eval_loss"]

    assert [len(chart.curves) for chart in charts_of({name: [(1, 1.0)] for name in names})] == [4, 1]


_NUMBER = st.floats(allow_nan=False, allow_infinity=False)


@given(_NUMBER, _NUMBER)
def test_ticks_are_few_even_and_around_the_values(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    ticks = ticks_between(low, high)
    slack = (ticks[-1] - ticks[0]) * 1e-6 if math.isfinite(ticks[-1] - ticks[0]) else 0

    assert 2 <= len(ticks) <= 9
    assert list(ticks) == sorted(set(ticks))
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack


@given(st.lists(st.tuples(st.integers(0, 500), st.floats()), max_size=40))
def test_every_point_lies_inside_the_picture(points: list[tuple[int, float]]) -> None:
    root = drawn(Curve("loss", tuple(sorted(points, key=lambda point: point[0]))))

    for circle in root.iter(f"{SVG}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= WIDTH
        assert 0 <= float(circle.attrib["cy"]) <= HEIGHT


@pytest.mark.parametrize("values", [(0.0, 0.00075), (-1e-5, 1e-5), (1e9, 3e9), (-0.0125, -0.01), (0.1, 0.9)])
def test_no_label_of_the_axis_leaves_the_picture(values: tuple[float, float]) -> None:
    """A learning rate has many figures: `0.00075` needs more room than `0.5`."""
    svg = curve_svg([Curve("lr", tuple(enumerate(values)))], title="lr")
    labels = re.findall(r'<text class="axis" x="([\d.]+)" [^>]*text-anchor="end">([^<]+)</text>', svg)

    assert labels
    assert all(float(x) >= 6 * len(text) for x, text in labels)
