"""Previews of a message: in every place where it can be read, under a name in the reader's language."""

from __future__ import annotations

import json
import re

import pytest

from notifybot.cli.samples import gallery_samples
from notifybot.gallery.previews import AlertListSample, MessageSample, PreviewCharts, Sample, previews
from notifybot.services import SERVICES
from notifybot.testing import FakeClock
from notifybot.types import Language


def samples(language: Language = Language.EN) -> list[Sample]:
    return gallery_samples(language, FakeClock().now())


def test_every_service_has_its_place() -> None:
    """One that is written tomorrow hangs there from its row on: as text, until it has a preview of its own."""
    message = next(each for each in samples() if each.label == "run_started")
    places = " ".join(each.place.lower() for each in previews(message, Language.EN, FakeClock()))

    assert [each.name for each in SERVICES if each.name not in places] == []


@pytest.mark.parametrize("language", Language)
def test_each_of_the_listed_alerts_has_a_title_in_the_readers_language(language: Language) -> None:
    (listed,) = (each for each in samples(language) if isinstance(each, AlertListSample))
    captions = [each.place for each in previews(listed, language, FakeClock())]

    assert len(set(captions)) == len(listed.alerts)
    assert [each for each in captions if each.startswith("gallery.alert.")] == []
    assert [each for each in captions if bool(re.search("[가-힣]", each)) != (language is Language.KO)] == []


def test_a_webhook_is_shown_as_the_json_that_a_program_gets() -> None:
    epoch = next(each for each in samples() if each.label == "epoch_finished")

    shown = {each.place: each.content for each in previews(epoch, Language.EN, FakeClock())}

    assert json.loads(shown["webhook"])["type"] == "epoch_finished"


def test_a_picture_is_drawn_of_the_values_that_an_event_carries_or_not_at_all() -> None:
    pytest.importorskip("matplotlib")
    events = {each.label: each.event for each in samples() if isinstance(each, MessageSample)}
    charts = PreviewCharts(Language.EN)

    drawn = charts.begin(events["epoch_finished"])

    assert drawn is not None
    assert drawn.png is not None
    assert drawn.png.startswith(b"\x89PNG")
    assert charts.begin(events["run_started"]) is None
