"""The user's own templates: they stand in front of ours, and never cost a message."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from notifybot.errors import ConfigError
from notifybot.events import EpochFinished, Event, RunEnded
from notifybot.rendering import Renderer
from notifybot.types import Language, Metric, Progress, RunRef, Status

BASE: dict[str, Any] = {
    "id": "01900000-0000-7000-8000-00000000abcd",
    "run": RunRef("0198-run", "resnet", "bootcamp"),
    "at": datetime(2026, 11, 23, 3, tzinfo=UTC),
}
EPOCH = EpochFinished(**BASE, progress=Progress(3, 3, 30, {"loss": Metric(0.4)}))


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["epoch_finished.j2", "en/epoch_finished.j2"])
def test_a_users_block_replaces_ours_and_the_others_stay(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "{% block title %}{{ name }}: {{ rows[0].value }} at {{ epoch }}{% endblock %}")

    message = Renderer(Language.EN, tmp_path).render(EPOCH)

    assert message.title == "resnet: 0.4 at 3"
    assert message.brief.startswith("📈 resnet · epoch 3/30")


def test_the_file_of_the_language_goes_before_the_common_one(tmp_path: Path) -> None:
    write(tmp_path, "epoch_finished.j2", "{% block title %}common{% endblock %}")
    write(tmp_path, "ko/epoch_finished.j2", "{% block title %}한국어{% endblock %}")

    assert Renderer(Language.KO, tmp_path).render(EPOCH).title == "한국어"
    assert Renderer(Language.EN, tmp_path).render(EPOCH).title == "common"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("{% block title %}\n{{ name }\n{% endblock %}", "line 2", id="syntax"),
        pytest.param("{% block title %}{{ name | nosuch }}{% endblock %}", "nosuch", id="unknown filter"),
        pytest.param("{{ name }} done", "none of the blocks title, body, brief", id="no block"),
        pytest.param("\udcff", "UTF-8", id="not UTF-8"),
    ],
)
def test_a_broken_template_is_loud_at_the_start(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run_lost.j2"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(ConfigError) as caught:
        Renderer(Language.EN, tmp_path)

    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_folder_that_is_not_there_is_loud_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="templates_dir"):
        Renderer(Language.EN, tmp_path / "nowhere")


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param("{{ no_such_thing }}", id="unknown variable"),
        pytest.param("{{ 1 / 0 }}", id="error"),
        pytest.param("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}", id="endless"),
        pytest.param("{{ name.__class__.__mro__ }}", id="forbidden"),
        pytest.param("{{ rows.append(1) }}", id="changes things"),
        pytest.param("{% include 'nowhere.j2' %}", id="missing include"),
        pytest.param("{{ self.title() }}", id="calls itself"),
        pytest.param("   ", id="says nothing"),
    ],
)
def test_a_template_that_fails_gives_way_to_ours(tmp_path: Path, inside: str, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "epoch_finished.j2", f"{{% block title %}}{inside}{{% endblock %}}")
    renderer = Renderer(Language.EN, tmp_path)

    with caplog.at_level(logging.WARNING, "notifybot"):
        messages = [renderer.render(EPOCH) for _ in range(3)]

    assert {message.title for message in messages} == {"📈 resnet · epoch 3/30"}
    assert len(caplog.records) == 1
    assert "epoch_finished" in caplog.text


def test_what_no_template_can_tell_is_told_in_bare_words(caplog: pytest.LogCaptureFixture) -> None:
    """A plugin may hand over nonsense; people still learn that the run failed."""
    nonsense = Progress(metrics={"loss": cast("Metric", "no metric")})
    event: Event = RunEnded(**BASE, status=Status.FAILED, progress=nonsense, error="ValueError: no data")

    message = Renderer(Language.KO).render(event, link="https://example.org")

    assert message.title == "resnet · 실패"
    assert message.brief == "resnet · 실패\nValueError: no data"
    assert message.link == "https://example.org"


def test_a_users_text_survives_markup_and_is_cut_to_the_limits(tmp_path: Path) -> None:
    """Templates make plain text: nothing is escaped here, each notifier does it for its own service."""
    block = "{{% block {} %}}<b>{{{{ name }}}}</b> {}{{% endblock %}}"
    write(tmp_path, "epoch_finished.j2", "".join(block.format(name, "x" * 9000) for name in ("title", "body", "brief")))

    message = Renderer(Language.EN, tmp_path).render(EPOCH)

    assert message.title.startswith("<b>resnet</b> x")
    assert [len(text) for text in (message.title, message.body, message.brief)] == [120, 4000, 200]
