"""Learning curves for the gallery, drawn here and now: nobody trains meanwhile who could be disturbed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from notifybot.charts.panels import Curve
from notifybot.delivery.chart_renderer import has_curves, subtitle
from notifybot.events import EpochFinished, Event
from notifybot.types import Language, Metric

_SQUARE_PX = 1080


@dataclass(frozen=True, slots=True)
class Finished:
    """A picture that is done already."""

    png: bytes | None

    def wait(self, until: Callable[[], bool]) -> bool:
        """It is done."""
        return True

    def cancel(self) -> None:
        """It is done."""


@dataclass(frozen=True, slots=True)
class Artist:
    """Draws what events themselves remember of their curves. Where matplotlib is missing there are no pictures."""

    language: Language

    def warm_up(self) -> None:
        """Nothing is prepared."""

    def begin(self, event: Event) -> Finished | None:
        """Draw, as high as need be."""
        png = self._draw(event, None)
        return Finished(png) if png else None

    def square(self, event: Event) -> bytes | None:
        """Draw for a phone."""
        return self._draw(event, _SQUARE_PX)

    def close(self) -> None:
        """Nothing is held open."""

    def _draw(self, event: Event, height_px: int | None) -> bytes | None:
        if not has_curves(event) or find_spec("matplotlib") is None:
            return None
        from notifybot.charts.png import Caption, Picture, png  # matplotlib: an optional dependency

        progress = event.progress
        last = progress.place
        return png(
            Picture(
                curves=tuple(_curve(name, each, last) for name, each in progress.metrics.items()),
                captions={each: Caption(event.run.name, subtitle(event, each)) for each in Language},
                language=self.language,
                focus=event.new_best if isinstance(event, EpochFinished) else None,
                height_px=height_px,
            )
        )


def _curve(name: str, metric: Metric, last: int) -> Curve:
    values = metric.history or (metric.value,)
    points = tuple((float(last - len(values) + 1 + number), value) for number, value in enumerate(values))
    known = metric.best is not None and metric.best_epoch is not None
    return Curve(name, points, (float(metric.best_epoch or 0), metric.best or 0.0) if known else None)
