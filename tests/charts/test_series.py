"""Which curves share a panel: one kind, one scale, few enough to be told apart."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from notifybot.charts.series import Curve, Panel, drawable, gaps_of, panels_of, pieces_of


def curve(name: str, *values: float) -> Curve:
    return Curve(name, tuple((float(epoch), value) for epoch, value in enumerate(values, 1)))


def names(panels: tuple[Panel, ...]) -> list[list[str]]:
    return [[each.name for each in panel.curves] for panel in panels]


def test_losses_stand_together_and_so_do_scores() -> None:
    """A reader compares train with val; a learning rate beside them would be a flat line."""
    curves = [curve("train_loss", 2, 1), curve("val_acc", 0.5, 0.6), curve("val_loss", 2, 2), curve("f1", 0.4, 0.5)]
    panels, left_out = panels_of([*curves, curve("lr", 0.1, 0.01)], focus=None, most=3)

    assert names(panels) == [["train_loss", "val_loss"], ["val_acc", "f1"], ["lr"]]
    assert left_out == 0


def test_curves_of_different_size_do_not_flatten_each_other() -> None:
    """A loss of hundreds gets a panel of its own; so do scores in percent beside shares."""
    curves = [curve("loss", 0.5, 0.4), curve("kl_loss", 900, 800), curve("acc", 0.5, 0.6), curve("top5", 88.0, 90.0)]

    panels, _ = panels_of(curves, focus=None, most=9)

    assert names(panels) == [["loss"], ["kl_loss"], ["acc"], ["top5"]]


def test_the_metric_in_focus_is_always_there() -> None:
    """Where there is room for one panel, it is the new best's."""
    curves = [curve("loss", 1), curve("acc", 0.1), curve("reward", 7), curve("entropy", 3)]

    panels, left_out = panels_of(curves, focus="reward", most=2)

    assert names(panels) == [["loss"], ["reward"]]
    assert left_out == 2


def test_a_second_panel_of_one_kind_waits_for_the_other_kinds() -> None:
    """Five losses do not push the accuracy out."""
    curves = [*(curve(f"loss_{number}", 1, 2) for number in range(5)), curve("acc", 0.5, 0.6)]

    panels, left_out = panels_of(curves, focus=None, most=2)

    assert names(panels) == [["loss_0", "loss_1", "loss_2", "loss_3"], ["acc"]]
    assert left_out == 1


def test_a_gap_parts_a_curve() -> None:
    """NaN, infinity and what no axis can show are gaps, and each is known."""
    broken = curve("loss", 1, math.nan, 2, 3, math.inf, 1e200, 4)

    assert pieces_of(broken) == [((1, 1),), ((3, 2), (4, 3)), ((7, 4),)]
    assert gaps_of(broken) == [2, 5, 6]


def test_wide_ranges_are_logarithmic_only_where_all_is_positive() -> None:
    assert Panel((curve("loss", 1000, 1),)).logarithmic
    assert not Panel((curve("loss", 1000, 0),)).logarithmic
    assert not Panel((curve("loss", 10, 1),)).logarithmic
    assert not Panel((curve("loss", math.nan),)).logarithmic


@given(st.lists(st.tuples(st.text(min_size=1, max_size=9), st.lists(st.floats(), min_size=1, max_size=5)), max_size=12))
def test_every_curve_is_in_one_panel_or_counted(given_curves: list[tuple[str, list[float]]]) -> None:
    """Whatever was logged: nothing is drawn twice, nothing is lost silently, no panel has more lines than colours."""
    curves = [curve(name, *values) for name, values in dict(given_curves).items()]

    panels, left_out = panels_of(curves, focus=None, most=3)

    shown = [each.name for panel in panels for each in panel.curves]
    assert len(shown) == len(set(shown)) == len(curves) - left_out
    assert all(len(panel.curves) <= 4 for panel in panels)
    assert all(drawable(value) for panel in panels for value in panel.values)
