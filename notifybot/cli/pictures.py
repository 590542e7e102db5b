"""What `notifybot test` needs to try pictures too: an outbox that nobody else uses, and a painter with patience."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from notifybot.cli.database import open_store
from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config, Switch
from notifybot.delivery.chart_renderer import Painter, Studio, has_curves, studio_for
from notifybot.errors import install
from notifybot.events import Event
from notifybot.store.outbox import Outbox
from notifybot.types import Language

_SQUARE = 1080


@dataclass(frozen=True, slots=True)
class Easel:
    """Where trial pictures are drawn. No `studio`: none can be, for the reason that `why_none` gives."""

    outbox: Outbox
    studio: Studio | None


@contextmanager
def easel(config: Config, clock: Clock = SYSTEM) -> Iterator[Easel]:
    """An outbox of its own: messages that wait in the real one would push a trial picture aside.

    Raises ConfigError where pictures are on and cannot be drawn.
    """
    with tempfile.TemporaryDirectory(prefix="notifybot-") as folder, open_store(Path(folder, "trial.db")) as store:
        drawn = studio_for(config, store.path, clock) is not None
        yield Easel(Outbox(store), _PatientStudio(store.path, clock=clock) if drawn else None)


def why_none(config: Config) -> str:
    """Why there is no studio, and what to do."""
    return _OFF[config.lang] if config.pictures is Switch.OFF else _CANNOT[config.lang]


def not_drawn(language: Language) -> str:
    """What to say where a picture was due and none came."""
    return _NOT_DRAWN[language]


class _PatientStudio(Studio):
    def painter(self, language: Language) -> Painter:
        return _PatientPainter(self._database, language, clock=self._clock)

    phone_painter = painter  # nothing was drawn in advance


class _PatientPainter(Painter):
    """Draws a phone's picture while its text waits, as long as it takes: a person looks on, and no training."""

    def square(self, event: Event) -> bytes | None:
        drawing = self._begin(event, _SQUARE, self._after_text_s) if has_curves(event) else None
        return drawing.png if drawing is not None and drawing.wait() else None


_OFF = {
    Language.EN: "Pictures were not tried: they are off (NOTIFYBOT_PICTURES).",
    Language.KO: "그림은 시험하지 않았습니다. NOTIFYBOT_PICTURES 설정이 꺼져 있습니다.",
}
_CANNOT = {
    Language.EN: "Pictures were not tried: matplotlib is not installed. For learning curves run, in "
    f"notifybot's folder, {install('pictures')}",
    Language.KO: "그림은 시험하지 않았습니다. matplotlib이 설치되어 있지 않습니다. 학습 곡선을 받으려면 "
    f"notifybot 폴더에서 다음과 같이 설치하세요: {install('pictures')}",
}
_NOT_DRAWN = {
    Language.EN: "it could not be drawn on this machine; texts are not affected",
    Language.KO: "이 컴퓨터에서 그림을 그리지 못했습니다. 글은 문제없이 전송됩니다",
}
