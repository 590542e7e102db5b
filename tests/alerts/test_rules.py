"""Rules about metrics: what each takes for an incident, told once, and when it is over."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot import alerts
from notifybot.alerts import Alert, AlertRule
from notifybot.alerts.base import Reading
from notifybot.alerts.evidence import Distance, EpochPace, Evidence, Finite, Gap, Limit, Reached
from notifybot.alerts.incidents import Incidents, incidents_of
from notifybot.clock import SYSTEM
from notifybot.errors import UsageError
from notifybot.events import EpochFinished, from_json, to_json
from notifybot.metric_names import direction_of
from notifybot.training.progress import ProgressTracker
from notifybot.types import Metric, Progress, RunRef, uuid7

NAN, INF = math.nan, math.inf
DIRECTIONS = {name: direction_of(name) for name in ("loss", "train_loss", "val_loss", "acc", "val_acc")}


def incidents(rule: AlertRule) -> Incidents:
    return incidents_of(rule, DIRECTIONS.get)


def told_of(rule: AlertRule, epochs: Sequence[Mapping[str, float]]) -> list[tuple[int, str, Evidence]]:
    """What is told, and in which epoch."""
    open_ones = incidents(rule)
    told: list[tuple[int, str, Evidence]] = []
    for epoch, values in enumerate(epochs):
        news = open_ones.see(Reading(values))
        told += [(epoch, "raised", evidence) for evidence in news.raised]
        told += [(epoch, "cleared", evidence) for evidence in news.cleared]
    return told


def course(name: str, values: Sequence[float]) -> list[dict[str, float]]:
    return [{name: value} for value in values]


# ── What each rule looks for ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_metric_that_is_no_number_is_told_with_its_last_good_value_and_clears() -> None:
    told = told_of(alerts.non_finite(), course("loss", [0.5, INF, -INF, 0.4]))

    assert told == [(1, "raised", Finite("loss", INF, 0.5)), (3, "cleared", Finite("loss", 0.4, 0.5))]


def test_a_metric_that_was_never_a_number_does_not_hide_the_next_one() -> None:
    """An F1 that is NaN from the start must not keep the loss from being told."""
    told = told_of(alerts.non_finite(), [{"f1": NAN, "loss": 1.0}, {"f1": NAN, "loss": NAN}])

    assert [(epoch, evidence.metric) for epoch, _, evidence in told if isinstance(evidence, Finite)] == [
        (0, "f1"),
        (1, "loss"),
    ]


def test_only_named_metrics_are_looked_at_for_nan_where_some_are_named() -> None:
    assert told_of(alerts.non_finite("loss"), [{"f1": NAN, "loss": 1.0}]) == []


def test_a_threshold_is_told_on_its_far_side_only() -> None:
    """The limit itself is allowed."""
    above = told_of(alerts.threshold("loss", above=5), course("loss", [5.0, 5.1, 6.0, 5.0, 7.0]))
    below = told_of(alerts.threshold("acc", below=0.5), course("acc", [0.5, 0.4, 0.6]))

    assert above == [
        (1, "raised", Limit("loss", 5.1, 5.0, "above")),
        (3, "cleared", Limit("loss", 5.0, 5.0, "above")),
        (4, "raised", Limit("loss", 7.0, 5.0, "above")),
    ]
    assert below == [
        (1, "raised", Limit("acc", 0.4, 0.5, "below")),
        (2, "cleared", Limit("acc", 0.6, 0.5, "below")),
    ]


def test_a_plateau_lasts_until_there_is_a_new_best() -> None:
    """A value that only comes near the best does not end it."""
    told = told_of(alerts.plateau("loss", patience=3), course("loss", [1.0, 0.8, 0.9, 0.8, 0.85, 0.81, 0.7, 0.7]))

    assert told == [(4, "raised", EpochPace("loss", 0.85, 0.8, 3)), (6, "cleared", EpochPace("loss", 0.7, 0.8, 4))]


def test_a_gain_too_small_to_count_is_no_progress() -> None:
    told = told_of(alerts.plateau("acc", patience=2, min_delta=0.1), course("acc", [0.5, 0.55, 0.6, 0.75]))

    assert told == [
        (2, "raised", EpochPace("acc", 0.6, 0.5, 2, 0.1)),
        (3, "cleared", EpochPace("acc", 0.75, 0.5, 2, 0.1)),
    ]


def test_a_name_may_say_which_way_it_is_good() -> None:
    told = told_of(alerts.plateau("reward:max", patience=1), course("reward", [1.0, 2.0, 1.5]))

    assert [(epoch, what) for epoch, what, _ in told] == [(2, "raised")]


def test_divergence_is_measured_from_the_best_so_far() -> None:
    by_ratio = told_of(alerts.divergence("loss", ratio=2), course("loss", [4.0, 1.0, 2.0, 2.1, 1.5]))
    by_distance = told_of(alerts.divergence("acc", by=0.25), course("acc", [0.5, 0.75, 0.5, 0.25]))

    assert by_ratio == [
        (3, "raised", Distance("loss", 2.1, 1.0, 2.0)),
        (4, "cleared", Distance("loss", 1.5, 1.0, 2.0)),
    ]
    assert by_distance == [(3, "raised", Distance("acc", 0.25, 0.75, 0.5))]


def test_a_score_diverges_downwards() -> None:
    told = told_of(alerts.divergence("acc", ratio=2), course("acc", [0.8, 0.4, 0.39]))

    assert told == [(2, "raised", Distance("acc", 0.39, 0.8, 0.4))]


def test_a_ratio_says_nothing_about_a_best_that_is_not_positive() -> None:
    assert told_of(alerts.divergence("loss"), course("loss", [0.0, 5.0])) == []
    assert told_of(alerts.divergence("loss"), course("loss", [-1.0, 5.0])) == []


def test_overfitting_needs_both_in_every_epoch_and_ends_below_the_turn() -> None:
    """One better epoch in between is noise; it is over when validation beats the value it rose from."""
    train = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    val = [1.0, 0.7, 0.8, 0.9, 0.85, 0.7, 0.6]
    epochs = [{"train_loss": one, "val_loss": other} for one, other in zip(train, val, strict=True)]

    told = told_of(alerts.overfitting(epochs=2), epochs)

    assert told == [
        (3, "raised", Gap("train_loss", "val_loss", 2, (0.9, 0.7), (0.7, 0.9))),
        (6, "cleared", Gap("train_loss", "val_loss", 0, (0.9, 0.4), (0.7, 0.6))),
    ]


def test_validation_that_rises_while_training_stands_still_is_no_overfitting() -> None:
    epochs = [{"train_loss": 0.5, "val_loss": 0.5 + step / 10} for step in range(6)]

    assert told_of(alerts.overfitting(epochs=2), epochs) == []


def test_epochs_without_validation_do_not_count_for_overfitting() -> None:
    """Validation every second epoch: the epochs between neither add to the streak nor break it."""
    epochs: list[dict[str, float]] = [
        {"train_loss": 1.0, "val_loss": 0.5},
        {"train_loss": 0.9},
        {"train_loss": 0.8, "val_loss": 0.6},
        {"train_loss": 0.7},
        {"train_loss": 0.6, "val_loss": 0.7},
    ]

    assert [(epoch, what) for epoch, what, _ in told_of(alerts.overfitting(epochs=2), epochs)] == [(4, "raised")]


def test_a_target_is_reached_once_for_good() -> None:
    told = told_of(alerts.target("acc", 0.9), course("acc", [0.8, 0.9, 0.7, 0.95]))

    assert told == [(1, "raised", Reached("acc", 0.9, 0.9))]
    assert told_of(alerts.target("loss", 0.1), course("loss", [0.2, 0.05])) == [
        (1, "raised", Reached("loss", 0.05, 0.1))
    ]


def test_a_rule_of_the_users_own_is_told_until_it_says_none_again() -> None:
    def low(progress: Progress) -> Alert | None:
        return Alert("low") if progress.done in (1, 2, 4) else None

    open_ones = incidents(low)
    told = [open_ones.see(Reading(progress=Progress(done=done))).raised for done in range(5)]

    assert told == [(), (Alert("low"),), (), (), (Alert("low"),)]


def test_a_rule_that_answers_anything_else_is_a_mistake_of_its_author() -> None:
    with pytest.raises(TypeError, match="a rule returns an Alert or None, not bool"):
        incidents(lambda progress: True).see(Reading(progress=Progress()))  # type: ignore[arg-type, return-value]


# ── What is a mistake ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: alerts.threshold("loss"), "give one of above=… and below=…"),
        (lambda: alerts.threshold("loss", above=1, below=0), "give one of"),
        (lambda: alerts.threshold("loss", above=NAN), "above is a finite number, not nan"),
        (lambda: alerts.threshold("", above=1), "takes the name of a metric"),
        (lambda: alerts.plateau("loss", patience=0), "patience is a whole number of at least 1, not 0"),
        (lambda: alerts.plateau("loss", patience=2.5), "patience is a whole number"),  # type: ignore[arg-type]
        (lambda: alerts.plateau("loss", min_delta=-1), "min_delta is at least 0"),
        (lambda: alerts.plateau(5), "takes the name of a metric"),  # type: ignore[arg-type]
        (lambda: alerts.divergence("loss", ratio=1), "ratio is more than 1"),
        (lambda: alerts.divergence("loss", ratio=2, by=1), "give one of ratio=… and by=…"),
        (lambda: alerts.divergence("loss", by=0), "by is more than 0"),
        (lambda: alerts.overfitting(epochs=0), "epochs is a whole number"),
        (lambda: alerts.slow_epoch(1), "factor is more than 1"),
        (lambda: alerts.slow_epoch("2"), "factor is a finite number, not '2'"),  # type: ignore[arg-type]
        (lambda: alerts.low_disk(percent=100), "percent is between 0 and 100"),
        (lambda: alerts.low_disk(percent=5, free_bytes=5), "give one of"),
        (lambda: alerts.low_disk(5), "takes the paths of folders, not 5"),  # type: ignore[arg-type]
        (lambda: alerts.gpu_idle(minutes=0), "minutes is more than 0"),
        (lambda: alerts.gpu_memory(percent=True), "percent is a finite number, not True"),
        (lambda: alerts.target("acc", INF), "value is a finite number, not inf"),
        (lambda: alerts.target("acc", 10**400), "value is a finite number"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(make: Callable[[], AlertRule], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make()


@pytest.mark.parametrize(
    "rule",
    [
        alerts.plateau("reward"),
        alerts.divergence("reward"),
        alerts.target("reward", 1),
        alerts.overfitting("loss", "reward"),
    ],
)
def test_a_metric_of_unknown_direction_is_refused_with_the_remedy(rule: AlertRule) -> None:
    with pytest.raises(UsageError, match="write 'reward:min' or 'reward:max'"):
        incidents(rule)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (alerts.non_finite(), r"takes a list of rules, such as \[alerts.non_finite\(\)\]"),
        ("non_finite", "takes a list of rules"),
        (None, "takes a list of rules"),
        (["nan"], r"a rule such as alerts.non_finite\(\), or a function of yours, not 'nan'"),
        ([alerts.plateau], r"alerts.plateau is to be called: alerts.plateau\(…\)"),
        ([Alert], "or a function of yours"),
    ],
)
def test_what_is_no_list_of_rules_is_refused(given: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        alerts.rules_of(given)


def test_rules_are_values() -> None:
    """They can be compared, used for several runs at once, and added to what is on by default."""
    rules = [*alerts.DEFAULT, alerts.plateau("loss")]

    assert alerts.rules_of(rules) == (alerts.non_finite(), alerts.plateau("loss", patience=10))
    assert incidents(rules[0]).see(Reading({"loss": INF})) == incidents(rules[0]).see(Reading({"loss": INF}))


# ── Whatever is logged ───────────────────────────────────────────────────────────────────────────────────────────────

NUMBERS = st.one_of(st.floats(), st.sampled_from([0.0, 0.5, 1.0, 2.0, NAN, INF]))
EPOCHS = st.lists(
    st.dictionaries(st.sampled_from(["train_loss", "val_loss", "loss", "acc"]), NUMBERS, max_size=4), max_size=50
)
RULES = st.sampled_from(
    [
        alerts.non_finite(),
        alerts.threshold("loss", above=1),
        alerts.threshold("acc", below=0.5),
        alerts.plateau("loss", patience=2),
        alerts.plateau("acc", patience=3, min_delta=0.1),
        alerts.divergence("loss", ratio=1.5),
        alerts.divergence("acc", by=0.5),
        alerts.overfitting(epochs=1),
        alerts.overfitting("loss", "acc", epochs=2),
        alerts.target("acc", 1),
    ]
)


@given(RULES, EPOCHS)
def test_an_incident_is_told_once_and_over_once(rule: AlertRule, epochs: list[dict[str, float]]) -> None:
    """For any course of any metrics, beginnings and ends of each subject take turns, a beginning first."""
    by_subject: dict[str, list[str]] = {}
    for _, what, evidence in told_of(rule, epochs):
        subject = evidence.metric if isinstance(evidence, Finite) else ""
        by_subject.setdefault(subject, []).append(what)

    for turns in by_subject.values():
        assert turns == [("raised", "cleared")[at % 2] for at in range(len(turns))]


@given(RULES, EPOCHS)
def test_only_the_rule_for_it_minds_what_is_not_finite(rule: AlertRule, epochs: list[dict[str, float]]) -> None:
    """NaN and infinity, anywhere, are as good as not logged to all the others."""
    finite = [{name: value for name, value in values.items() if math.isfinite(value)} for values in epochs]

    if rule != alerts.non_finite():
        assert told_of(rule, epochs) == told_of(rule, finite)


@given(EPOCHS)
def test_nobody_believes_all_is_well_while_a_metric_is_no_number(epochs: list[dict[str, float]]) -> None:
    """After each epoch every metric whose latest value is not finite is told, and not told as over."""
    open_now: set[str] = set()
    latest: dict[str, float] = {}
    open_ones = incidents(alerts.non_finite())
    for values in epochs:
        news = open_ones.see(Reading(values))
        open_now |= {each.metric for each in news.raised if isinstance(each, Finite)}
        open_now -= {each.metric for each in news.cleared if isinstance(each, Finite)}
        latest |= values

        assert open_now >= {name for name, value in latest.items() if not math.isfinite(value)}


def test_what_swings_about_its_limit_is_told_less_and_less_often() -> None:
    """Each end has to last twice as long as the one before: 1 epoch, then 2, then 4."""
    swings = [6.0, 1.0, 6.0, 1.0, 6.0, 1.0, 1.0, 6.0, 1.0, 1.0, 1.0, 1.0]

    told = told_of(alerts.threshold("loss", above=5), course("loss", swings))

    assert [(epoch, what) for epoch, what, _ in told] == [
        (0, "raised"), (1, "cleared"), (2, "raised"), (6, "cleared"), (7, "raised"), (11, "cleared"),
    ]  # fmt: skip


@given(RULES, EPOCHS)
def test_no_course_of_a_run_floods(rule: AlertRule, epochs: list[dict[str, float]]) -> None:
    """The messages about one subject grow with the logarithm of the epochs."""
    subjects = Counter(
        evidence.metric if isinstance(evidence, Finite) else "" for *_, evidence in told_of(rule, epochs)
    )

    assert all(many <= 2 * (math.log2(len(epochs)) + 1) for many in subjects.values())


@given(EPOCHS, st.dictionaries(st.text(min_size=1), NUMBERS, max_size=3), RULES)
def test_other_metrics_change_nothing(
    epochs: list[dict[str, float]], others: dict[str, float], rule: AlertRule
) -> None:
    """What nobody asked about is not looked at; asked about everything, a rule still tells the same of the rest."""
    strange = {f"other {name}": value for name, value in others.items()}

    alone = told_of(rule, epochs)
    beside = told_of(rule, [values | strange for values in epochs])

    rest = [one for one in beside if not str(getattr(one[2], "metric", "")).startswith("other ")]
    assert repr(rest) == repr(alone)  # NaN equals nothing: from Python 3.13 on, a dataclass that holds it neither


# ── Over a resume ────────────────────────────────────────────────────────────────────────────────────────────────────


def progress_after(epochs: Sequence[Mapping[str, float]]) -> Progress:
    """What a run's progress remembers after these epochs."""
    done = ProgressTracker(now_s=0.0)
    for epoch, values in enumerate(epochs):
        done.finish_epoch(epoch, values, now_s=float(epoch))
    return done.summary(0.0)


@given(RULES, st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(DIRECTIONS, NUMBERS)), max_size=31), EPOCHS)
def test_a_resumed_run_tells_what_an_uninterrupted_one_would(
    rule: AlertRule, before: list[dict[str, float]], after: list[dict[str, float]]
) -> None:
    """While the memory of 32 epochs reaches back to the start, a kill between two epochs changes no alert."""
    whole = [each for each in told_of(rule, [*before, *after]) if each[0] >= len(before)]

    resumed = incidents(rule)
    resumed.take_up(progress_after(before))
    told = []
    for epoch, values in enumerate(after, len(before)):
        news = resumed.see(Reading(values))
        told += [(epoch, "raised", evidence) for evidence in news.raised]
        told += [(epoch, "cleared", evidence) for evidence in news.cleared]

    assert repr(told) == repr(whole)


def through_json(progress: Progress, *without: str) -> Progress:
    """As the store keeps it; `without` what an older version did not write."""
    told = EpochFinished(id=uuid7(), run=RunRef("r", "r", "p"), at=SYSTEM.now(), progress=progress)
    kept = json.loads(to_json(told))
    for metric in kept["progress"]["metrics"].values():
        for name in without:
            del metric[name]
    return from_json(json.dumps(kept)).progress


@pytest.mark.parametrize("sessions", [1, 3])
@pytest.mark.parametrize("name", ["val_acc", "acc", "reward:max", "train_loss:max"])
@pytest.mark.parametrize(
    ("rule_of", "past", "then"),
    [
        (lambda name: alerts.target(name, 0.9), [0.95] + [0.5] * 60, 0.96),
        (lambda name: alerts.plateau(name, patience=50), [0.9] + [0.5] * 60, 0.5),
        (lambda name: alerts.divergence(name, ratio=1.5), [0.9] + [0.5] * 60, 0.5),
        (lambda name: alerts.target(name, 0.9), [0.1, 0.95] + [0.5] * 60, 0.96),
    ],
)
def test_a_best_older_than_the_memory_is_not_told_again(
    rule_of: Callable[[str], AlertRule], name: str, past: list[float], then: float, sessions: int
) -> None:
    """A metric's best outlives its last 32 values, monitored or not, and with it what was told of it."""
    metric = name.partition(":")[0]
    progress = through_json(progress_after(course(metric, past)))
    for session in range(1, sessions):
        later = ProgressTracker(now_s=0.0, earlier=progress)
        later.begin(range(len(past) + session - 1, 200), total=None, now_s=0.0)
        later.finish_epoch(len(past) + session - 1, {metric: 0.5}, now_s=1.0)
        progress = through_json(later.summary(2.0))
    resumed = incidents(rule_of(name))
    resumed.take_up(progress)

    assert resumed.see(Reading({metric: then})).raised == ()


def test_the_least_that_a_rule_waits_for_outlives_the_memory_too() -> None:
    progress = through_json(progress_after(course("train_loss", [0.1] + [0.5] * 60)))
    resumed = incidents(alerts.target("train_loss", 0.2))
    resumed.take_up(progress)

    assert resumed.see(Reading({"train_loss": 0.15})).raised == ()


def test_a_record_of_an_older_version_is_read_and_tells_the_best_it_has() -> None:
    progress = through_json(progress_after(course("val_acc", [0.95] + [0.5] * 60)), "lowest", "highest")
    resumed = incidents(alerts.target("val_acc", 0.9))
    resumed.take_up(progress)
    later = ProgressTracker(now_s=0.0, earlier=progress)
    later.begin(range(61, 70), total=None, now_s=0.0)

    assert resumed.see(Reading({"val_acc": 0.96})).raised == ()
    assert later.summary(0.0).metrics["val_acc"].highest == (0, 0.95)
    assert later.summary(0.0).metrics["val_acc"].lowest == (29, 0.5)


@given(st.lists(NUMBERS, min_size=1, max_size=90), NUMBERS, st.sampled_from(["loss:min", "loss:max"]), st.floats(-2, 2))
def test_a_target_is_told_once_however_long_ago_it_was_reached(
    past: list[float], then: float, name: str, value: float
) -> None:
    whole = incidents(alerts.target(name, value))
    resumed = incidents(alerts.target(name, value))
    for values in course("loss", past):
        whole.see(Reading(values))
    resumed.take_up(through_json(progress_after(course("loss", past))))

    assert resumed.see(Reading({"loss": then})).raised == whole.see(Reading({"loss": then})).raised


def test_a_rule_of_the_users_own_is_not_told_again_after_a_resume() -> None:
    def high(progress: Progress) -> Alert | None:
        return Alert("high") if progress.metrics["loss"].value > 1 else None

    resumed = incidents(high)
    resumed.take_up(progress_after(course("loss", [0.5, 2.0])))

    assert resumed.see(Reading(progress=Progress(metrics={"loss": Metric(2.5)}))).raised == ()
