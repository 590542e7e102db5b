"""Retention: the last ones and the best ones stay, ties and holes are decided, and two verified ones in any case."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifybot.checkpoints.directory import CheckpointDirectory
from notifybot.checkpoints.manifest import Manifest
from notifybot.checkpoints.retention import Retention
from notifybot.errors import UsageError
from tests.support.checkpoint_disks import manifest, save, spoil


def _history(*losses: float | None) -> list[Manifest]:
    """One checkpoint per value, in order; None where it was not logged."""
    return [
        manifest(number, metrics={} if loss is None else {"val_loss": loss})
        for number, loss in enumerate(losses, start=1)
    ]


def _numbers(names: set[str]) -> list[int]:
    return sorted(int(name.removeprefix("epoch").removesuffix(".pt")) for name in names)


@pytest.mark.parametrize(
    ("losses", "rule", "kept"),
    [
        ((3, 2, 1, 4, 5), Retention(2, 1, "val_loss"), [3, 4, 5]),
        ((3, 2, 1, 4, 5), Retention(2, 2, "val_loss", "max"), [4, 5]),
        ((5, 4, 3, 2, 1), Retention(2, 1, "val_loss", "max"), [1, 4, 5]),
        ((1, 2, 1, 2, 2), Retention(1, 1, "val_loss"), [3, 5]),
        ((math.nan, 2, math.nan), Retention(0, 3, "val_loss"), [2]),
        ((-math.inf, 2, math.inf), Retention(0, 1, "val_loss"), [2]),
        ((-math.inf, 2, math.inf), Retention(0, 1, "val_loss", "max"), [2]),
        ((None, 2, None), Retention(1, 2, "val_loss"), [2, 3]),
        ((1, 2, 3), Retention(1, 2, "accuracy"), [3]),
        ((1, 2, 3), Retention(1, 2), [3]),
        ((1, 2, 3), Retention(9, 9, "val_loss"), [1, 2, 3]),
        ((1, 2, 3), Retention(0, 0, "val_loss"), []),
        ((), Retention(), []),
    ],
    ids=[
        "last and best", "best among the last", "more is better", "of equals the newer", "NaN is never best",
        "infinity is never best", "nor with max", "not logged every epoch", "a metric never logged", "none watched",
        "fewer than allowed", "nothing asked for", "nothing there",
    ],
)  # fmt: skip
def test_which_are_kept(losses: tuple[float | None, ...], rule: Retention, kept: list[int]) -> None:
    """The order in which a folder happens to list them does not matter."""
    history = _history(*losses)

    assert _numbers(rule.which(history)) == kept
    assert _numbers(rule.which(reversed(history))) == kept


def test_ranking_is_from_the_best_on() -> None:
    history = _history(2, math.nan, 1, 2, None)

    assert [each.sequence for each in Retention(monitor="val_loss").ranked(history)] == [3, 4, 1]
    assert [each.sequence for each in Retention(monitor="val_loss", mode="max").ranked(history)] == [4, 1, 3]
    assert Retention().ranked(history) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"keep_last": -1}, "keep_last"), ({"keep_best": -2}, "keep_best"), ({"mode": "lowest"}, '"min" or "max"')],
)
def test_a_rule_without_meaning_is_refused_at_once(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Retention(**wrong)  # type: ignore[arg-type]


VALUES = st.sampled_from([0.0, 0.5, 1.0, math.nan, math.inf, -math.inf])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | VALUES, max_size=12), st.integers(0, 4), st.integers(0, 4), st.sampled_from(["min", "max"]))
def test_the_rule_holds_for_any_history(values: list[float | None], last: int, best: int, mode: str) -> None:
    """Never more than asked for; always the last; nothing dropped that is better than something kept as best."""
    history = _history(*values)
    rule = Retention(last, best, "val_loss", mode)  # type: ignore[arg-type]

    kept = _numbers(rule.which(history))

    newest = list(range(1, len(history) + 1))[-last:] if last else []
    assert set(newest) <= set(kept)
    assert len(kept) <= last + best
    sign = 1 if mode == "min" else -1
    rated = {each.sequence: sign * each.metrics["val_loss"] for each in history if each.metrics}
    rated = {number: value for number, value in rated.items() if math.isfinite(value)}
    for_their_value = [number for number in kept if number not in newest]
    dropped = [number for number in rated if number not in kept]
    assert all(number in rated for number in for_their_value)
    assert all((rated[one], -one) <= (rated[other], -other) for one in for_their_value for other in dropped)


@settings(max_examples=15, deadline=None)
@given(
    damaged=st.lists(st.booleans(), min_size=1, max_size=7),
    known=st.booleans(),
    last=st.integers(0, 3),
    best=st.integers(0, 2),
)
def test_pruning_never_leaves_fewer_than_two_that_are_whole(
    tmp_path_factory: pytest.TempPathFactory, damaged: list[bool], known: bool, last: int, best: int
) -> None:
    """Whatever is damaged, however little is to be kept, and whether this process saved them or finds them."""
    shelf = CheckpointDirectory(tmp_path_factory.mktemp("shelf"))
    for number, _ in enumerate(damaged):
        save(shelf, number, size_bytes=100, metrics={"val_loss": float(number % 3)})
    for number, hit in enumerate(damaged):
        if hit:
            spoil(shelf.folder / f"epoch{number}.pt")
    whole = {number for number, hit in enumerate(damaged) if not hit}

    (shelf if known else CheckpointDirectory(shelf.folder)).prune(Retention(last, best, "val_loss"))

    left = whole & {each.sequence for each in shelf.manifests()}
    assert len(left) >= min(2, len(whole))
    found, _ = CheckpointDirectory(shelf.folder).newest_verified("run-1")
    assert (found and found.sequence) == max(left, default=None)
