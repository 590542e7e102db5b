"""What people may write about a notifier, what is refused, and with which words."""

from __future__ import annotations

import pickle
from datetime import time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot.config import Config, explain, load
from notifybot.delivery.build import notifiers_from, open_delivery, people_from
from notifybot.delivery.subscription import Subscription
from notifybot.errors import ConfigError
from notifybot.events import KINDS
from notifybot.preferences import (
    AUTO,
    FAILURES,
    NEVER,
    UNCHANGED,
    Every,
    Preferences,
    QuietHours,
    every_from,
    quiet_from,
    tables_from,
)
from notifybot.store.database import Store
from notifybot.testing import RecordingNotifier
from notifybot.types import Language, Severity
from tests.support.store_events import epoch

HOOK = "https://hooks.slack.com/services/T0CANARY/B0CANARY/not-a-real-secret"
TABLE = """
every = "5 epochs"
quiet = "22:00-06:00 Asia/Seoul"

[notifiers.slack]
events = ["run_started", "epoch_finished", "endings", "alert_raised:error"]
min_severity = "success"
every = "10 min"
quiet = "23:00-07:00 Asia/Seoul"
quiet_lets = ["run_lost"]
daily = 50
lang = "ko"
projects = ["vision-*"]
runs = "resnet*"
"""


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def error_of(**settings: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(settings)
    return str(caught.value)


def test_a_table_of_the_file_is_what_people_chose() -> None:
    Path("notifybot.toml").write_text(TABLE)

    config = load()

    assert config.notifiers.of("slack") == Preferences(
        events=frozenset({"run_started", "epoch_finished", "run_ended", "alert_raised:error"}),
        min_severity=Severity.SUCCESS,
        every=Every(seconds=600),
        quiet=QuietHours(time(23), time(7), ZoneInfo("Asia/Seoul")),
        quiet_lets=frozenset({"run_lost"}),
        daily=50,
        lang=Language.KO,
        projects=("vision-*",),
        runs=("resnet*",),
    )
    assert config.notifiers.of("kakao") == UNCHANGED
    assert config.every == Every(epochs=5)
    shown = {key: (source, value) for key, source, value in explain(config)}
    assert shown["notifiers"] == ("notifybot.toml", "slack")
    assert shown["quiet"] == ("notifybot.toml", "22:00-06:00 Asia/Seoul")


def test_variables_choose_where_there_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook has them; a table comes as JSON."""
    monkeypatch.setenv("NOTIFYBOT_EVERY", "5 epochs")
    monkeypatch.setenv("NOTIFYBOT_QUIET", "23:00-07:00 Asia/Seoul")
    monkeypatch.setenv("NOTIFYBOT_NOTIFIERS", '{"kakao": {"daily": 5}}')

    config = load()

    assert (config.every, config.notifiers.of("kakao").daily) == (Every(epochs=5), 5)
    assert config.quiet == quiet_from("23:00-07:00 Asia/Seoul")


def test_what_is_chosen_for_all_holds_where_a_table_is_silent() -> None:
    """But for the webhook: a program reads that, at any hour."""
    config = load({"every": "5 epochs", "quiet": "23:00-07:00 Asia/Seoul", "slack_webhook_url": HOOK})
    quiet_slack = load(
        {"quiet": "23:00-07:00 Asia/Seoul", "slack_webhook_url": HOOK, "notifiers": {"slack": {"quiet": "off"}}}
    )

    (slack,) = people_from(config)
    (exception,) = people_from(quiet_slack)

    assert slack.pace.every(epoch(0)) == Every(epochs=5)
    assert slack.pace.chosen.quiet == config.quiet
    assert exception.pace.chosen.quiet == NEVER


def test_the_webhook_is_told_everything_at_once_whatever_holds_for_people() -> None:
    """Only a table of its own makes it wait, or leaves epochs out."""
    for_all = {"every": "5 epochs", "quiet": "00:00-23:59 Asia/Seoul", "webhook_url": "https://example.com/hook"}

    (webhook,) = notifiers_from(load(for_all))
    (chosen,) = notifiers_from(load(for_all | {"notifiers": {"webhook": {"every": "10 min"}}}))

    assert (webhook.pace.every(epoch(0)), webhook.pace.chosen.quiet) == (AUTO, None)
    assert (chosen.pace.every(epoch(0)), chosen.pace.chosen.quiet) == (Every(seconds=600), None)


def test_nothing_chosen_leaves_a_notifier_as_it_is() -> None:
    (slack,) = people_from(load({"slack_webhook_url": HOOK}))

    assert not isinstance(slack, Subscription)
    assert slack.pace.chosen == UNCHANGED


def test_a_configuration_with_tables_is_a_value() -> None:
    """Compared, hashed, pickled and written as JSON like any other."""
    config = load({"notifiers": {"slack": {"quiet": "23:00-07:00 Asia/Seoul"}}})

    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(load({"notifiers": {"slack": {"quiet": "23:00 - 7:00 Asia/Seoul"}}}))
    assert '"notifiers":"slack"' in config.model_dump_json()


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"watchdog": {}}, "watchdog takes no settings: the watchdog is told everything"),
        ({"slack": "loud"}, "slack must be a table of settings"),
        ({"slack": {"qiet": "off"}}, "slack.qiet is not a setting of a notifier: did you mean quiet?"),
        ({"slack": {"colour": "red"}}, "slack.colour is not a setting of a notifier: there are events, min_severity,"),
        (
            {"slack": {"events": ["run_ende"]}},
            "slack.events holds a word that is no kind of event: did you mean run_ended?",
        ),
        (
            {"slack": {"events": ["xyz"]}},
            "slack.events holds a word that is no kind of event: the words are all, endings",
        ),
        ({"slack": {"events": []}}, "slack.events must name a kind of event"),
        ({"slack": {"events": 3}}, "slack.events must be a list of kinds of events"),
        ({"slack": {"min_severity": "high"}}, "slack.min_severity must be info, success, warning or error"),
        ({"slack": {"every": 5}}, 'slack.every must be like "5 epochs", "500 steps", "10 min" or "auto"'),
        ({"slack": {"every": "2.5 epochs"}}, 'slack.every must be like "5 epochs"'),
        ({"slack": {"every": "8 days"}}, 'slack.every must be like "5 epochs"'),
        ({"slack": {"quiet": "23:00-07:00"}}, "slack.quiet must be two times and a time zone, like"),
        ({"slack": {"quiet": "23:00-07:00 Seoul"}}, "slack.quiet names an unknown time zone: did you mean Asia/Seoul"),
        ({"slack": {"quiet": "23:00-07:00 /etc"}}, "slack.quiet names an unknown time zone: write Asia/Seoul, say"),
        ({"slack": {"quiet": "25:00-07:00 UTC"}}, "slack.quiet names a time of day that no clock shows"),
        ({"slack": {"quiet": "07:00-07:00 UTC"}}, "slack.quiet must leave a part of the day"),
        ({"slack": {"quiet": "07:00-24:30 UTC"}}, "slack.quiet must leave a part of the day"),
        ({"slack": {"daily": 0}}, "slack.daily must be a whole number of messages a day, 1 or more"),
        ({"slack": {"daily": True}}, "slack.daily must be a whole number"),
        ({"slack": {"lang": "fr"}}, "slack.lang must be ko or en"),
        ({"slack": {"projects": []}}, "slack.projects must be a list of names or patterns"),
    ],
)
def test_a_wrong_table_is_named_with_its_remedy(table: object, told: str) -> None:
    assert error_of(notifiers=table).startswith(f"the argument notifiers is wrong: {told}")


def test_an_error_names_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("notifybot.toml").write_text('[notifiers.kakao]\ndaily = "many"\n')
    assert "notifiers in notifybot.toml is wrong: kakao.daily must be" in error_of()

    monkeypatch.setenv("NOTIFYBOT_NOTIFIERS", "kakao")
    assert error_of().startswith("NOTIFYBOT_NOTIFIERS in the environment must be JSON")

    monkeypatch.setenv("NOTIFYBOT_NOTIFIERS", "{}")
    monkeypatch.setenv("NOTIFYBOT_QUIET", "nights")
    assert "NOTIFYBOT_QUIET in the environment must be two times" in error_of()


def test_a_table_for_nobody_is_refused_before_the_first_epoch(tmp_path: Path) -> None:
    """A notifier of one's own has settings by its name; a name that nobody has is a mistake."""
    own, config = RecordingNotifier("teams"), Config(notifiers={"teams": {"daily": 3}})
    with Store.open(tmp_path / "a.db") as store:
        delivery = open_delivery(store, config, notifiers=[own])
        assert delivery.notifiers[0].pace.daily_budget == 3
        with pytest.raises(ConfigError, match=r"notifiers\.teams \(argument\): no notifier has this name"):
            open_delivery(store, config, notifiers=[RecordingNotifier("mail")])


@pytest.mark.parametrize("name", ["slcak", "Slack", "kakaotalk", "web-hook"])
@pytest.mark.parametrize("set_up", [False, True])
def test_a_misspelt_table_is_refused_wherever_people_would_be_told(name: str, set_up: bool, tmp_path: Path) -> None:
    """With its file, its table and what was meant: in a training, and by every command that tells somebody."""
    Path("notifybot.toml").write_text(f'[notifiers.{name}]\nevery = "5 epochs"\n')
    config = load({"slack_webhook_url": HOOK} if set_up else {})
    told = rf"^\[notifiers\.{name}\] in notifybot\.toml: no notifier has this name; did you mean \w+\?$"

    with Store.open(tmp_path / "a.db") as store, pytest.raises(ConfigError, match=told):
        open_delivery(store, config)
    with pytest.raises(ConfigError, match=told):
        notifiers_from(config)


def test_a_notifier_of_ones_own_may_be_called_nearly_like_ours(tmp_path: Path) -> None:
    """Its name is known where it is given, so its table is no typing mistake."""
    own, config = RecordingNotifier("slack2"), Config(notifiers={"slack2": {"daily": 3}})

    with Store.open(tmp_path / "a.db") as store:
        assert open_delivery(store, config, notifiers=[own]).notifiers[0].pace.daily_budget == 3


def test_a_command_takes_a_table_that_only_the_trainings_code_knows() -> None:
    """The file is the same for both, and the command sees no code."""
    assert notifiers_from(Config(notifiers={"teams": {"daily": 3}})) == []


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("auto", AUTO),
        ("1 epoch", Every(epochs=1)),
        ("5에포크", Every(epochs=5)),
        ("500 steps", Every(epochs=500, unit="step")),
        ("1 step", Every(epochs=1, unit="step")),
        ("500스텝", Every(epochs=500, unit="step")),
        ("10 Rounds", Every(epochs=10, unit="round")),
        ("10라운드", Every(epochs=10, unit="round")),
        ("5 trials", Every(epochs=5, unit="trial")),
        ("5 트라이얼", Every(epochs=5, unit="trial")),
        ("90s", Every(seconds=90)),
        ("1.5 hours", Every(seconds=5400)),
        ("10분", Every(seconds=600)),
    ],
)
def test_how_often_is_a_number_with_its_unit(text: str, every: Every) -> None:
    """And what is shown of it reads back as the same."""
    assert every_from(text) == every
    assert every_from(str(every)) == every


def test_endings_and_failures_are_told_at_any_hour_by_default() -> None:
    """The process that has to tell of them is about to be gone. Every word of a group means a kind of event."""
    assert (
        Preferences().quiet_lets
        == tables_from({"slack": {"quiet_lets": ["endings", "failures"]}}).of("slack").quiet_lets
    )
    assert {each.partition(":")[0] for each in FAILURES} <= set(KINDS)


@given(st.text(max_size=40) | st.integers() | st.none() | st.lists(st.text(max_size=5)))
def test_anything_else_is_refused_by_the_same_kind_of_error(value: object) -> None:
    """Whatever is written, a person reads a sentence: no other exception comes out."""
    for key in ("events", "min_severity", "every", "quiet", "quiet_lets", "daily", "lang", "projects", "runs"):
        try:
            Config(notifiers={"slack": {key: value}})
        except ConfigError as error:
            told = str(error)
        else:
            told = f"slack.{key}"

        assert f"slack.{key}" in told
