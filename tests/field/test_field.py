"""Other people's shapes of training: as without us, told truly, saved whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.field.judge import judge
from tests.field.shapes import BY_NAME, IN_CI, SHAPES


def _cases() -> list[object]:
    """Each shape in each of its variants; what CI leaves to `make field` is marked so."""
    return [
        pytest.param(
            shape.name,
            variant,
            id=f"{shape.name}-{variant}",
            marks=[] if (shape.name, variant) in IN_CI else [pytest.mark.field],
        )
        for shape in SHAPES
        for variant in shape.variants
    ]


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("name", "variant"), _cases())
def test_a_training_is_what_it_would_be_without_us(
    name: str, variant: str, tmp_path: Path, shared_folder: Path
) -> None:
    """Exit code, output and losses are its own; each epoch is told once, the ending is true, the state saved whole."""
    found = judge(BY_NAME[name], variant, tmp_path, shared_folder)

    assert found == [], "\n".join(["", *found])
