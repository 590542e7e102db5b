"""Digest of held deliveries: one message with the count of each kind, the urgent ones, and the newest epoch. Pure."""

from __future__ import annotations

from datetime import datetime, tzinfo

from notifybot.events import EPOCH_FINISHED, KINDS, AlertRaised, Event
from notifybot.i18n import text
from notifybot.policy import severity_of
from notifybot.rendering import Renderer
from notifybot.store.held import HeldBatch
from notifybot.types import Language, Progress, RunRef, Severity

LIMIT_TEXT = 1400  # characters: an alert's text is cut at 1,500
_ROOM_FOR_MORE = 30


def digest_of(event: Event, kept: HeldBatch, renderer: Renderer, *, now: datetime, zone: tzinfo) -> AlertRaised:
    """Return an alert about `event` and all that was held back with it; moments are shown in the time zone `zone`.

    It has the event's id, so that a repeat is known by it. About one run, it comes with that run's newest figures.
    """
    total = sum(kept.counts.values())
    severities = [severity_of(each) for each in kept.urgent]
    return AlertRaised(
        id=event.id,
        run=_run(event, kept, renderer.language),
        at=now,
        title=text(renderer.language, "delivery.digest.title", number=total),
        text=_text(kept, renderer, zone),
        severity=max(severities, key=lambda each: each.rank, default=Severity.INFO),
        about="delivery",
        progress=kept.epoch.progress if kept.epoch and len(kept.runs) == 1 else Progress(),
    )


def _run(event: Event, kept: HeldBatch, language: Language) -> RunRef:
    """Return the run itself; for several, a run with a common name."""
    if len(kept.runs) == 1:
        return event.run
    name = text(language, "delivery.digest.runs", number=len(kept.runs))
    return RunRef(id=f"digest-{event.id}", name=name, project=event.run.project)


def _text(kept: HeldBatch, renderer: Renderer, zone: tzinfo) -> str:
    """Return the counts, the newest epoch, and as many urgent events as there is room for, the latest first."""
    language = renderer.language
    names = {kind: text(language, f"delivery.kinds.{kind}") for kind in KINDS if kind in kept.counts}
    if EPOCH_FINISHED in names and kept.epoch is not None and kept.epoch.progress.unit != "epoch":
        names[EPOCH_FINISHED] = text(language, "delivery.digest.reports")
    counts = [f"{name} {kept.counts[kind]}" for kind, name in names.items()]
    lines = [" · ".join(counts)]
    if kept.epoch is not None:
        lines.append(renderer.render(kept.epoch).title)
    left, unlisted = LIMIT_TEXT - sum(map(len, lines)), len(kept.urgent) + kept.more_urgent
    for each in reversed(kept.urgent):
        line = f"{each.at.astimezone(zone):%H:%M} {renderer.render(each).title}"
        left -= len(line) + 1
        if left < _ROOM_FOR_MORE:
            break
        lines.append(line)
        unlisted -= 1
    if unlisted:
        lines.append(text(language, "delivery.digest.more", number=unlisted))
    return "\n".join(lines)
