"""Integrations with the places and frameworks that people train in. None is imported before it is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True, slots=True)
class Framework:
    """Framework that has a callback of ours: its packages as pip names them, and what to write.

    `least` is the version that the callback is written for; `page` the manual's page without its ending.
    """

    packages: tuple[str, ...]
    least: tuple[int, ...]
    imports: str
    line: str
    page: str

    def installed(self) -> tuple[str, str] | None:
        """Name and version of the package that is installed; None where none is."""
        for name in self.packages:
            try:
                return name, version(name)
            except PackageNotFoundError:
                continue
        return None

    def takes(self, installed: str) -> bool:
        """True for a version that is not too old."""
        return tuple(int(each) for each in re.findall(r"\d+", installed)[: len(self.least)]) >= self.least


_BROUGHT_BY = {"accelerate": "transformers", "pytorch-lightning": "lightning"}  # a package, and who may have brought it
_CALLBACK = 'callbacks=[NotifyCallback("exp_1")]'
FRAMEWORKS = (
    Framework(
        ("transformers",), (4, 47), "from notifybot.integrations.transformers import NotifyCallback",
        f"Trainer(…, {_CALLBACK})", "huggingface",
    ),
    Framework(
        ("lightning",), (2, 1), "from notifybot.integrations.lightning import NotifyCallback",
        f"Trainer(…, {_CALLBACK})", "lightning",
    ),
    Framework(
        ("pytorch-lightning",), (1, 8), "from notifybot.integrations.lightning import NotifyCallback",
        f"Trainer(…, {_CALLBACK})", "lightning",
    ),
    Framework(
        ("keras",), (3, 3), "from notifybot.integrations.keras import NotifyCallback", f"model.fit(…, {_CALLBACK})",
        "keras",
    ),
    Framework(
        ("ultralytics",), (8, 3), "from notifybot.integrations.ultralytics import add_to", 'add_to(model, "exp_1")',
        "ultralytics",
    ),
    Framework(
        ("optuna",), (3, 6), "from notifybot.integrations.optuna import notify_study",
        'with notify_study("exp_1") as notes: study.optimize(objective, n_trials=20, callbacks=[notes])', "optuna",
    ),
    Framework(
        ("pytorch-ignite",), (0, 5), "from notifybot.integrations.ignite import NotifyHandler",
        'NotifyHandler("exp_1").attach(trainer, evaluators={"val": evaluator})', "ignite",
    ),
    Framework(
        ("accelerate",), (0, 30), "from notifybot.integrations.accelerate import NotifyTracker",
        'Accelerator(log_with=[NotifyTracker("exp_1")])', "accelerate",
    ),
    Framework(
        ("xgboost", "xgboost-cpu"), (2, 0), "from notifybot.integrations.boosting import notify_rounds",
        'xgboost.train(…, callbacks=[notify_rounds("exp_1")])', "boosting",
    ),
    Framework(
        ("lightgbm",), (4, 0), "from notifybot.integrations.boosting import notify_rounds",
        'lightgbm.train(…, callbacks=[notify_rounds("exp_1")])', "boosting",
    ),
)  # fmt: skip


def present() -> Iterator[tuple[Framework, str, str]]:
    """Yield the frameworks that are installed, each with its package's name and version. Imports none of them.

    Accelerate comes with transformers, whose Trainer is then what trains, and Lightning's old name with its new one.
    """
    found = {each: there for each in FRAMEWORKS if (there := each.installed()) is not None}
    names = {name for name, _ in found.values()}
    for each, (name, number) in found.items():
        if _BROUGHT_BY.get(name) not in names:
            yield each, name, number
