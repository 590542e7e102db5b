"""`notifybot test --explain`: who is told of what, when and why, without a message sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from notifybot.cli import app
from notifybot.cli.explain import Fate, examples, fate_of, merged, summary
from notifybot.config import load
from notifybot.events import KINDS, Event, RunStarted
from notifybot.policy import Pace, PaceFacts, Unwanted
from notifybot.preferences import Preferences, tables_from
from notifybot.sandbox.server import Sandbox
from notifybot.types import Language, Severity, Status
from tests.support.store_events import alert, ended, epoch, started

NOON = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
NIGHT = datetime(2026, 11, 23, 16, 0, tzinfo=UTC)  # 01:00 in Korea
EN, KO = Language.EN, Language.KO
runner = CliRunner()


def chosen(**settings: object) -> Preferences:
    return tables_from({"slack": settings}).of("slack")


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    """Slack by webhook in the sandbox, with a settings file that chooses, on a narrow terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    Path("notifybot.toml").write_text(
        '[notifiers.slack]\nevery = "5 epochs"\nmin_severity = "warning"\ndaily = 50\nquiet = "off"\n'
    )
    with Sandbox() as opened:
        monkeypatch.setenv("NOTIFYBOT_SLACK_WEBHOOK_URL", opened.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"])
        yield opened


def test_every_kind_is_explained_and_nothing_sent(sandbox: Sandbox) -> None:
    done = runner.invoke(app, ["test", "--explain"])

    assert done.exit_code == 0
    assert all(kind in done.output for kind in KINDS)
    assert done.output.startswith("slack  every = 5 epochs · quiet = off · 50 of 50 left today\n")
    rows = {cells[0]: cells[1:] for line in done.output.splitlines() if len(cells := line.split(maxsplit=2)) == 3}
    rows = {name: [cell.strip() for cell in cells] for name, cells in rows.items()}
    assert rows["run_ended"] == ["yes", "up to 50 a day"]
    assert rows["alert_raised:info"] == ["no", "below its `min_severity`"]
    assert sandbox.requests == []


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_table_is_readable_in_eighty_columns(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    """No row is broken in two, in either language."""
    monkeypatch.setenv("NOTIFYBOT_LANG", language)

    lines = runner.invoke(app, ["test", "--explain"]).output.splitlines()

    assert max(cell_len(line.rstrip()) for line in lines) <= 80
    assert not [line for line in lines if line.startswith("      ") and line.strip()]


def test_one_kind_or_one_notifier_can_be_asked_about(sandbox: Sandbox) -> None:
    done = runner.invoke(app, ["test", "--explain", "-n", "slack", "-k", "run_lost"])

    assert "run_lost" in done.output
    assert "run_started" not in done.output
    assert runner.invoke(app, ["test", "--explain", "-n", "pigeon"]).exit_code != 0


@pytest.mark.parametrize(
    ("settings", "now", "fate"),
    [
        ({}, NOON, Fate("now", "at most every 1 min")),
        ({"every": "5 epochs"}, NOON, Fate("now", "every 5 epochs")),
        ({"every": "50 epochs"}, NOON, Fate("now", "every 50 epochs")),
        ({"quiet": "23:00-07:00 Asia/Seoul"}, NOON, Fate("now", "at most every 1 min, waits in quiet hours")),
        (
            {"quiet": "23:00-07:00 Asia/Seoul"},
            NIGHT,
            Fate("later", "at 07:00, with all that waits (quiet hours)"),
        ),
        ({"events": ["endings"]}, NOON, Fate("never", "not in its `events`")),
        ({"projects": ["vision"]}, NOON, Fate("never", "the run is not among its `projects`")),
        ({"runs": ["x"], "projects": ["*"]}, NOON, Fate("never", "the run is not among its `runs`")),
        ({"min_severity": "warning"}, NOON, Fate("never", "below its `min_severity`")),
        ({"daily": 10, "every": "auto"}, NOON, Fate("now", "at most every 1 min, up to 6 a day")),
    ],
)
def test_an_epoch_fares_as_people_chose(settings: dict[str, object], now: datetime, fate: Fate) -> None:
    pace = Pace(progress_gap_s=60).with_preferences(chosen(**settings))

    assert fate_of(pace, epoch(2), PaceFacts(), now, EN) == fate


def test_a_spent_day_is_seen() -> None:
    """What is left today decides; urgent messages have a part of their own."""
    pace = Pace(daily_budget=20, reserved=8)

    assert fate_of(pace, started(), PaceFacts(today=12), NOON, KO) == Fate(
        "later", "00:00에 모아서 보냄 (오늘 건수 소진)"
    )
    assert fate_of(pace, ended(), PaceFacts(today=12), NOON, KO) == Fate("now", "하루 20건까지")
    assert summary(pace, PaceFacts(today=12, left=5), KO) == "오늘 20건 중 5건 남음"
    assert summary(pace, PaceFacts(today=25), EN) == "0 of 20 left today"


def test_details_that_fare_alike_are_one_row() -> None:
    """A failure that passes at night has a row of its own; by day all endings fare alike."""
    same, other = Fate("now", "at once"), Fate("later", "at 07:00")
    failed = ended(status=Status.FAILED)

    assert merged([(ended(), same), (failed, same), (alert(), other)]) == [("run_ended", same), ("alert_raised", other)]
    assert merged([(ended(), other), (failed, same)]) == [("run_ended:finished", other), ("run_ended:failed", same)]


def test_every_status_and_severity_has_its_example() -> None:
    events = list(examples(load(), NOON))

    assert {each.status for each in events if each.kind == "run_ended"} == {each for each in Status if each.ended}
    assert {each.severity for each in events if each.kind == "alert_raised"} == set(Severity)
    assert {each.kind for each in events} == set(KINDS)


@pytest.mark.parametrize("reason", Unwanted)
def test_each_reason_has_words_in_both_languages(reason: Unwanted) -> None:
    """The words are not the same ones twice."""
    settings: dict[Unwanted, dict[str, object]] = {
        Unwanted.ROUTE: {"runs": ["x"]},
        Unwanted.KIND: {"events": ["run_lost"]},
        Unwanted.SEVERITY: {"min_severity": "error"},
        Unwanted.CHECKPOINT: {},
        Unwanted.HELD: {},
        Unwanted.JOINED: {},
    }
    pace = Pace(wants_checkpoints=False).with_preferences(chosen(**settings[reason]))
    (checkpoint,) = [each for each in examples(load(), NOON) if each.kind == "checkpoint_saved"]
    (start, *_) = [each for each in examples(load(), NOON) if isinstance(each, RunStarted)]
    events: dict[Unwanted, Event] = {
        Unwanted.HELD: replace(alert(), held=True),
        Unwanted.JOINED: replace(start, joins=True),
    }
    event = events.get(reason, checkpoint)

    korean, english = (fate_of(pace, event, PaceFacts(), NOON, language) for language in (KO, EN))

    assert korean.when == english.when == "never"
    assert korean.why != english.why


def test_an_alert_is_said_to_be_told_once_in_ten_minutes() -> None:
    """As the hook does with alerts of one title."""
    told = {language: fate_of(Pace(), alert(), PaceFacts(), NOON, language) for language in (EN, KO)}

    assert told == {EN: Fate("now", "one title at most every 10 min"), KO: Fate("now", "같은 제목은 최소 10분 간격")}


def test_samples_are_sent_in_each_notifiers_language(sandbox: Sandbox) -> None:
    """The settings' language is English, Slack's is Korean."""
    Path("notifybot.toml").write_text('[notifiers.slack]\nlang = "ko"\n')

    assert runner.invoke(app, ["test", "-k", "run_ended"]).exit_code == 0

    assert "완료" in str(json.loads(sandbox.requests[0].body))


ROUTED = """
[notifiers.slack]
projects = ["nlp", "vision-*"]
runs = ["*-final"]
"""


@pytest.mark.parametrize(
    ("arguments", "told", "lines"),
    [
        (
            [],
            "no",
            ["`projects`: “default” fits none of nlp, vision-*", "`runs`: “resnet18-cifar10” fits none of *-final"],
        ),
        (
            ["--project", "vision-7", "--run", "a-final"],
            "yes",
            ["`projects`: “vision-7” fits vision-*", "`runs`: “a-final” fits *-final"],
        ),
        (
            ["--project", "vision-7", "--run", "first"],
            "no",
            ["`projects`: “vision-7” fits vision-*", "`runs`: “first” fits none of *-final"],
        ),
        (["--project", "vision-*", "--run", "*-final"], "yes", ["`projects`: “vision-*” fits vision-*"]),
    ],
    ids=["as it is", "both", "one", "patterns"],
)
def test_a_run_can_be_named_and_the_rule_that_decides_is_shown(
    sandbox: Sandbox, arguments: list[str], told: str, lines: list[str]
) -> None:
    """Routes go by the run's project and name, so the answer depends on them."""
    Path("notifybot.toml").write_text(ROUTED)

    done = runner.invoke(app, ["test", "--explain", *arguments])

    assert done.exit_code == 0, done.output
    for line in lines:
        assert line in done.output
    rows = [line.split() for line in done.output.splitlines() if line.strip().startswith("run_lost")]
    assert [row[1] for row in rows] == [told]
    assert sandbox.requests == []


def test_the_run_that_was_asked_about_is_named(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """In both languages, and that others can be asked about."""
    monkeypatch.setenv("NOTIFYBOT_LANG", "ko")
    first = runner.invoke(app, ["test", "--explain", "--run", "a"]).output.splitlines()[0]
    monkeypatch.setenv("NOTIFYBOT_LANG", "en")
    second = runner.invoke(app, ["test", "--explain", "--project", "p"]).output.splitlines()[0]

    assert first == "프로젝트 “default”의 실행 “a” 기준 (바꾸려면 --project, --run)"
    assert second == "For a run “resnet18-cifar10” of project “p” (others: --project, --run)"


def test_samples_go_by_the_routes_of_the_run_that_is_named(sandbox: Sandbox) -> None:
    """What --explain says of it is what happens."""
    Path("notifybot.toml").write_text(ROUTED)
    chosen = ["test", "-k", "run_ended", "--project", "vision-7", "--run"]

    assert "nobody is told" in runner.invoke(app, [*chosen, "first"]).output
    assert runner.invoke(app, [*chosen, "a-final"]).exit_code == 0

    (request,) = sandbox.requests
    assert "a-final" in request.body.decode()


def test_a_table_that_no_notifier_here_is_meant_by_is_told(sandbox: Sandbox) -> None:
    """It may be for a notifier that only the training's code knows; a misspelt one is an error."""
    Path("notifybot.toml").write_text('[notifiers.teams]\nevery = "5 epochs"\n')
    done = runner.invoke(app, ["test", "--explain"])
    assert done.exit_code == 0
    assert "[notifiers.teams]: no notifier is called so here" in done.output

    Path("notifybot.toml").write_text('[notifiers.slcak]\nevery = "5 epochs"\n')
    done = runner.invoke(app, ["test", "--explain"])
    assert done.exit_code != 0
    assert "did you mean slack?" in str(done.exception)


def test_a_message_that_nobody_is_told_of_is_said_so(sandbox: Sandbox) -> None:
    """Chosen away, nothing is sent, and that is no fault; where to learn why is named."""
    done = runner.invoke(app, ["test", "-k", "run_started"])

    assert done.exit_code == 0
    assert done.output == "By the settings nobody is told of this. Why: notifybot test --explain\n"
    assert sandbox.requests == []
