"""Pictures for phones: a PNG of the right size from any history, in letters that the machine's fonts have."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image

from notifybot.charts.fonts import LATIN, Fonts, lettering
from notifybot.charts.png import COLOURS, LOST, Caption, Picture, png
from notifybot.charts.series import Curve
from notifybot.types import Language

CAPTIONS = {Language.EN: Caption("resnet", "epoch 3/3"), Language.KO: Caption("감정 분류", "에포크 3/3 · 완료")}
LATIN_ONLY = Fonts((LATIN,), (Path(font_manager.findfont(LATIN)),))


@pytest.fixture(scope="module")
def fonts() -> Fonts:
    chosen = lettering()
    if not chosen.has_hangul:
        pytest.skip("no font with Hangul on this machine")
    return chosen


def curve(*values: float, name: str = "loss", best: tuple[float, float] | None = None) -> Curve:
    return Curve(name, tuple((float(epoch), value) for epoch, value in enumerate(values, 1)), best)


def pixels(picture: Picture, fonts: Fonts = LATIN_ONLY) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(png(picture, fonts))).convert("RGB"))


def has(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], colour: str) -> int:
    """How many pixels have exactly this colour."""
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return int((image == wanted).all(axis=2).sum())


@pytest.mark.parametrize("epochs", [1, 2, 3, 40, 2000])
@pytest.mark.parametrize("metrics", [1, 3, 9])
def test_a_picture_is_as_wide_as_a_phone_shows(epochs: int, metrics: int) -> None:
    """1080 pixels wide and on white, whatever the length of the run and the number of its metrics."""
    names = ["train_loss", "val_loss", "val_acc", "lr", "f1", "reward", "kl_loss", "grad_norm", "perplexity"]
    curves = tuple(curve(*(1 / (at + 1) for at in range(epochs)), name=name) for name in names[:metrics])

    image = pixels(Picture(curves, CAPTIONS))

    assert image.shape[1] == 1080
    assert 500 <= image.shape[0] <= 1600
    assert tuple(image[2, 2]) == (255, 255, 255)
    assert has(image, COLOURS[0])


@pytest.mark.parametrize("metrics", [1, 8])
def test_kakao_gets_a_square(metrics: int) -> None:
    curves = tuple(curve(1, 2, name=f"metric{number}") for number in range(metrics))

    assert pixels(Picture(curves, CAPTIONS, height_px=1080)).shape == (1080, 1080, 3)


@pytest.mark.parametrize(
    "values",
    [(math.nan,), (math.inf, -math.inf), (1e308, -1e308), (0.0, 0.0), (1e-300, 1e-300), (1.0, math.nan, 1e90)],
)
def test_there_is_a_picture_of_any_values(values: tuple[float, ...]) -> None:
    assert pixels(Picture((curve(*values),), CAPTIONS)).shape[1] == 1080


def test_without_a_point_there_is_no_picture() -> None:
    assert png(Picture((), CAPTIONS), LATIN_ONLY) == b""
    assert png(Picture((Curve("loss", ()),), CAPTIONS), LATIN_ONLY) == b""


def test_what_is_no_number_is_marked_and_not_bridged() -> None:
    """The cross appears with the NaN, and the line has less ink than one drawn through it would have."""
    whole = pixels(Picture((curve(1, 1, 1, 1, 1),), CAPTIONS))
    broken = pixels(Picture((curve(1, 1, math.nan, 1, 1),), CAPTIONS))

    assert has(whole, LOST) == 0 < has(broken, LOST)
    assert has(broken, COLOURS[0]) < has(whole, COLOURS[0]) * 0.8


def test_the_best_value_is_marked() -> None:
    plain = Picture((curve(3, 1, 2),), CAPTIONS)
    marked = replace(plain, curves=(curve(3, 1, 2, best=(2.0, 1.0)),))

    assert has(pixels(marked), COLOURS[0]) > has(pixels(plain), COLOURS[0])


def test_the_begin_of_a_resumed_session_is_marked() -> None:
    plain = Picture((curve(3, 1, 2),), CAPTIONS)

    assert (pixels(replace(plain, resumed=(2.0,))) != pixels(plain)).any()


def test_a_spike_in_a_long_history_is_drawn() -> None:
    """Of 5,000 epochs the one that exploded is still there: the picture reaches as high as it."""
    values = [1.0] * 5000
    values[3333] = 9.0

    flat, spiked = (pixels(Picture((curve(*each),), CAPTIONS)) for each in ([1.0] * 5000, values))

    assert _ink_rows(spiked) > 3 * _ink_rows(flat)


def _ink_rows(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> int:
    wanted = [int(COLOURS[0][at : at + 2], 16) for at in (1, 3, 5)]
    return int((image[180:] == wanted).all(axis=2).any(axis=1).sum())


def test_korean_is_written_where_a_font_has_it(fonts: Fonts) -> None:
    """With such a font both languages have pictures of their own, and a Korean run keeps its name."""
    picture = Picture((curve(3, 1, 2),), CAPTIONS, language=Language.KO)

    assert fonts.language(Language.KO) is Language.KO
    assert fonts.readable("감정 분류", 40) == "감정 분류"
    assert (pixels(picture, fonts) != pixels(replace(picture, language=Language.EN), fonts)).any()


def test_without_such_a_font_labels_are_english_and_nothing_is_an_empty_box(recwarn: pytest.WarningsRecorder) -> None:
    """matplotlib warns of each glyph that no font has; not one such warning is raised."""
    korean = Picture((curve(3, 1, 2, name="손실"),), CAPTIONS, language=Language.KO)
    english = replace(korean, language=Language.EN)

    assert LATIN_ONLY.language(Language.KO) is Language.EN
    assert (pixels(korean) == pixels(english)).all()
    assert [str(each.message) for each in recwarn if "missing from" in str(each.message)] == []


def test_a_name_is_text_and_no_formula() -> None:
    """A metric named like TeX is written as it is: a formula that does not parse would cost the picture."""
    assert pixels(Picture((curve(1, 2, name="$\\bad{"), curve(1, 2, name="_hidden")), CAPTIONS)).shape[1] == 1080
