"""The sample events."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from notifybot.cli.samples import endings, samples
from notifybot.events import KINDS, from_json, to_json
from notifybot.types import Language
from tests.support.cli_runs import NOW

runner = CliRunner()


@pytest.mark.parametrize("language", Language)
def test_samples_cover_every_kind(language: Language) -> None:
    """One of each, about one run, in the order of time, and each survives its JSON."""
    events = samples(language, NOW)

    assert sorted(each.kind for each in events) == sorted(KINDS)
    assert len({each.run.id for each in events}) == 1
    assert [each.at for each in events] == sorted(each.at for each in events)
    assert all(each.at <= NOW for each in events)
    assert [from_json(to_json(each)) for each in events] == events
    assert [each.status.value for each in endings(language, NOW)] == ["finished", "stopped", "interrupted", "failed"]
