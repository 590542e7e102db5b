"""Arguments of rules that make no sense."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from notifybot import alerts
from notifybot.alerts import AlertRule
from notifybot.errors import UsageError
from tests.support.alert_courses import INF, NAN


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: alerts.threshold("loss"), "give one of above=… and below=…"),
        (lambda: alerts.threshold("loss", above=1, below=0), "give one of"),
        (lambda: alerts.threshold("loss", above=NAN), "above is a finite number, not nan"),
        (lambda: alerts.plateau("loss", patience=0), "patience is a whole number of at least 1, not 0"),
        (lambda: alerts.plateau("loss", patience=2.5), "patience is a whole number"),  # type: ignore[arg-type]
        (lambda: alerts.plateau("loss", min_delta=-1), "min_delta is at least 0"),
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
