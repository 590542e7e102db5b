"""Names for checkpoints: any template and any value make a name that every file system takes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from notifybot.checkpoints.naming import LIMIT_BYTES, check_template, loss_of, safe_stem
from notifybot.errors import UsageError

DEFAULT = "checkpoint_epoch{epoch}_{loss}"


@pytest.mark.parametrize(
    ("template", "epoch", "loss", "name"),
    [
        (DEFAULT, 3, 0.25, "checkpoint_epoch3_0.25"),
        (DEFAULT, 12, 0.123456789, "checkpoint_epoch12_0.123457"),
        (DEFAULT, 0, 1e-9, "checkpoint_epoch0_1e-09"),
        (DEFAULT, 0, math.nan, "checkpoint_epoch0_nan"),
        (DEFAULT, 0, -math.inf, "checkpoint_epoch0_-inf"),
        (DEFAULT, None, None, "checkpoint_epochnone_none"),
        ("{epoch:03d}-{loss:.2f}.pt", 7, 1.0, "007-1.00"),
        ("{loss:d}", 7, 0.5, "0.5"),
        ("{epoch:999999999}", 7, 0.5, "7"),
        ("acc={val/acc:.3f}", 1, None, "acc=0.875"),
        ("{top.1}", 1, None, "0.5"),
        ("{never_logged}", 1, None, "none"),
        ("{epoch.__class__}{loss[0]}", 1, 0.5, "nonenone"),
        ("실험1_에폭{epoch}", 4, None, "실험1_에폭4"),
        ("model", 4, None, "model"),
        ("a{{b}}", 4, None, "a_b_-b8a4b706"),
    ],
)
def test_names_from_templates(template: str, epoch: int | None, loss: float | None, name: str) -> None:
    """Fields are looked up whole, so a metric may be called anything and no text reaches into an object."""
    assert safe_stem(template, epoch, loss, {"val/acc": 0.875, "top.1": 0.5}) == name


@pytest.mark.parametrize(
    "hostile",
    [
        "../../etc/passwd", "/etc/passwd", "..", ".", "", " ", ".hidden", "-rf", "a\0b", "a\nb", "a\u202etp.b",
        "a\u200bb", "CON", "nul.txt", "com1", "a:b", "a*b?", "가" * 200, "\U0001f600" * 99, "\ud800", "x" * 5000,
        "a.", "a ", "{", "{0", "}",
    ],
    ids=ascii,
)  # fmt: skip
def test_hostile_text_becomes_a_harmless_name(hostile: str, tmp_path: Path) -> None:
    """The name is really taken by a file system, in the folder where it belongs, and listed as it was given."""
    name = safe_stem(hostile, 1, 0.5, {})

    (tmp_path / f"{name}.pt").write_text("x")

    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.pt"]
    assert name.isprintable()
    assert not name.startswith((".", "-"))
    assert len(name.encode()) <= LIMIT_BYTES


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
@example("a/b", "a_b")
@example("a" * 300, "a" * 301)
@example("a ", "a")
@example("a.pt", "a/pt")
def test_two_templates_never_make_one_name(one: str, other: str) -> None:
    """What had to be changed or cut carries a mark of what it was."""
    import unicodedata

    first, second = (safe_stem(each.replace("{", "").replace("}", ""), 1, 0.5, {}) for each in (one, other))

    written_alike = [
        unicodedata.normalize("NFC", each.replace("{", "").replace("}", "").removesuffix(".pt"))
        for each in (one, other)
    ]
    assert (first == second) == (written_alike[0] == written_alike[1])


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=60), st.integers() | st.none(), st.floats() | st.none(), st.dictionaries(st.text(), st.floats())
)
def test_no_value_makes_it_raise(
    template: str, epoch: int | None, loss: float | None, metrics: dict[str, float]
) -> None:
    """It is called when an epoch of hours is over."""
    name = safe_stem(template, epoch, loss, metrics)

    assert 0 < len(name.encode()) <= LIMIT_BYTES
    assert not set(name) & set("/\\\0\n")


@pytest.mark.parametrize("template", [DEFAULT, "에폭{epoch:03d}_{val/acc:.4f}", "plain", "{{literal}}", "{loss:+.3e}"])
def test_good_templates_are_taken(template: str) -> None:
    check_template(template)


@pytest.mark.parametrize("template", ["{", "}", "{}", "{loss!r}", "{loss:{epoch}}", "{loss:999999999}", "{epoch:%Y}"])
def test_a_template_that_cannot_work_is_refused_before_the_first_epoch(template: str) -> None:
    with pytest.raises(UsageError, match="template"):
        check_template(template)


@pytest.mark.parametrize(
    ("metrics", "monitor", "mode", "loss"),
    [
        ({"train_loss": 1.0, "val_loss": 2.0}, None, "min", 2.0),
        ({"train_loss": 1.0, "val_loss": 2.0}, "train_loss", "min", 1.0),
        ({"loss": 1.0, "val_acc": 0.5}, "val_acc", "max", 1.0),
        ({"val_acc": 0.5}, "val_acc", "max", None),
        ({"val_wer": 0.5, "acc": 1.0}, "val_wer", "min", 0.5),
        ({"acc": 0.5}, "val_loss", "min", None),
        ({"acc": 0.5}, None, "min", None),
    ],
)
def test_a_score_is_never_taken_for_a_loss(
    metrics: dict[str, float], monitor: str | None, mode: str, loss: float | None
) -> None:
    assert loss_of(metrics, monitor, mode) == loss
