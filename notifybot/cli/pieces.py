"""What `notifybot gallery` shows: the sample run's messages, and those that few runs bring about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from notifybot.cli.alert_texts import alert_texts
from notifybot.cli.samples import endings, samples
from notifybot.delivery.digest import digest_of
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event, RunEnded, RunRecovered, RunStarted
from notifybot.gallery.pieces import Listed, Piece, Scheduled, Told
from notifybot.policy import KST
from notifybot.rendering import Renderer
from notifybot.rendering.alert_text import checkpoint_damaged, checkpoint_not_copied, not_delivered, notice_words
from notifybot.store.held import Kept
from notifybot.types import Checkpoint, Language, Notice, Progress, Reason, Severity, Tier, uuid7

_OLDER = Reason("content", "checkpoint_epoch12_0.3962.pt")
_LISTED = {Language.EN: "What alerts say", Language.KO: "경고 문구 모음"}
_OTHER = "vit-tiny-cifar100"


def pieces(language: Language, now: datetime) -> list[Piece]:
    """Every kind of message, every ending among them, in an order that a run could live."""
    events = samples(language, now)
    told = {each.kind: each for each in events}
    start, epoch = told["run_started"], told["epoch_finished"]
    assert isinstance(start, RunStarted)
    assert isinstance(epoch, EpochFinished)
    running: list[Piece] = [Told(each.kind, each) for each in events if not isinstance(each, RunEnded)]
    rare = (*_variants(start, epoch, told["run_recovered"], told["checkpoint_saved"]), *_alerts(language, epoch))
    ended = [Told(f"{each.kind} {each.status}", each) for each in endings(language, now)]
    listed = Listed("alert texts", _LISTED[language], alert_texts(language))
    return [*running, *ended, *rare, *_digests(language, events, now), *_switch(start, epoch), listed]


def _variants(start: RunStarted, epoch: EpochFinished, recovered: Event, saved: Event) -> Iterator[Told]:
    """The same kinds, told otherwise."""
    yield Told("run_started first", _first(start))
    yield Told("epoch_finished folded", replace(epoch, id=_id(epoch), new_best=None), skipped=3)
    if isinstance(saved, CheckpointSaved):
        path = "/content/checkpoints/checkpoint_epoch12_0.3962.pt"
        here = replace(saved.checkpoint, path=path, tier=Tier.LOCAL, fleeting=True)
        yield Told("checkpoint_saved local", replace(saved, id=_id(saved), checkpoint=here))
    if isinstance(recovered, RunRecovered):
        yield Told("run_recovered stalled", replace(recovered, id=_id(recovered), was="stalled"))


def _alerts(language: Language, epoch: EpochFinished) -> Iterator[Told]:
    """What is told about ourselves."""
    damaged = checkpoint_damaged((_OLDER, replace(_OLDER, code="missing")), "checkpoint_epoch11_0.4317.pt")
    full = checkpoint_not_copied(Reason("disk", values={"name": "ENOSPC", "text": "No space left on device"}))
    yield Told("checkpoint damaged", _noticed(damaged, Severity.WARNING, language, epoch))
    yield Told("checkpoint not copied", _noticed(full, Severity.ERROR, language, epoch))
    dead = not_delivered("slack", Reason("slack.channel_not_found", values={"channel": "training"}))
    yield Told("dead letter", replace(_noticed(dead, Severity.WARNING, language, epoch), about="delivery"))


def _noticed(notice: Notice, severity: Severity, language: Language, epoch: EpochFinished) -> AlertRaised:
    words = notice_words(notice, language)
    return AlertRaised(
        id=_id(epoch), run=epoch.run, at=epoch.at, title=words.title, text=words.text, severity=severity,
        about="checkpoint", progress=epoch.progress, notice=notice,
    )  # fmt: skip


def _digests(language: Language, events: Iterable[Event], now: datetime) -> Iterator[Told]:
    """What was held back, of one run and of two."""
    told = {each.kind: each for each in events}
    epoch, urgent = told["epoch_finished"], tuple(told[kind] for kind in ("alert_raised", "run_lost", "run_recovered"))
    assert isinstance(epoch, EpochFinished)
    counts = {"epoch_finished": 9, "checkpoint_saved": 9, "alert_raised": 1, "run_lost": 1, "run_recovered": 1}
    one = Kept(counts=counts, urgent=urgent, epoch=epoch, runs=(epoch.run,))
    other = replace(epoch.run, id=_id(epoch), name=_OTHER)
    ended = replace(endings(language, now)[-1], run=other)
    two = replace(one, counts=counts | {"run_ended": 1}, urgent=(*urgent, ended), runs=(epoch.run, other))
    renderer = Renderer(language)
    for label, kept in (("digest", one), ("digest of several", two)):
        yield Told(label, digest_of(replace(epoch, id=_id(epoch)), kept, renderer, now=now, zone=KST))


def _switch(start: RunStarted, epoch: EpochFinished) -> Iterator[Scheduled]:
    """What Slack posts by itself, frozen at different moments of a run; and how that is taken back."""
    host = start.host
    saved = replace(epoch, progress=replace(epoch.progress, checkpoint=start.progress.checkpoint))
    nearby = Checkpoint("/content/checkpoints/checkpoint_epoch12_0.3962.pt", 12, 44_802_131, Tier.LOCAL, fleeting=True)
    local = replace(epoch, progress=replace(epoch.progress, checkpoint=nearby))
    yield Scheduled("dead man first epoch", _first(start), host)
    yield Scheduled("dead man no checkpoint", epoch, host)
    yield Scheduled("dead man checkpoint", saved, host)
    yield Scheduled("dead man local checkpoint", local, host)
    yield Scheduled("dead man resumed", start, host)
    yield Scheduled("dead man void", saved, host, "void")
    yield Scheduled("dead man perhaps void", saved, host, "void", sure=False)
    yield Scheduled("dead man stands", saved, host, "stands")


def _first(start: RunStarted) -> RunStarted:
    return replace(start, id=_id(start), attempt=1, resumed=None, progress=Progress(total=start.total))


def _id(event: Event) -> str:
    return uuid7(event.at.timestamp())
