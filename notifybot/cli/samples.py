"""Sample events: a believable one of each kind, and the text of every alert, to be seen before they matter.

`notifybot gallery` writes them all down, as each service shows them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypedDict

from notifybot.alerts import evidence
from notifybot.clock import SYSTEM, Clock
from notifybot.config import load
from notifybot.delivery.digest import digest_of
from notifybot.errors import UsageError, reader_text, system_words
from notifybot.events import (
    AlertRaised,
    CheckpointSaved,
    EpochFinished,
    Event,
    RunEnded,
    RunLost,
    RunRecovered,
    RunStalled,
    RunStarted,
)
from notifybot.gallery.page import pages
from notifybot.gallery.previews import AlarmSample, AlertListSample, MessageSample, Sample
from notifybot.i18n import text
from notifybot.metric_names import Direction
from notifybot.policy import KST
from notifybot.rendering import Renderer, alert_text
from notifybot.store.held import HeldBatch
from notifybot.training.progress import MonitoredMetric
from notifybot.types import (
    Checkpoint,
    Host,
    Language,
    Metric,
    ModelSize,
    Notice,
    Param,
    Progress,
    Reason,
    Resumed,
    RunRef,
    Severity,
    Status,
    Tier,
    Unit,
    uuid7,
)

NAME = "resnet18-cifar10"
_EPOCHS = 30
_EPOCH_S = 94.0
_PARAMS: dict[str, Param] = {"model": "resnet18", "lr": 0.1, "batch_size": 128, "optimizer": "SGD", "seed": 17}
_HOST = Host(
    name="colab-t4",
    platform="Linux-6.6 x86_64",
    python="3.12.11",
    device="Tesla T4",
    pid=1841,
    memory_bytes=13_609_451_520,
    up_s=260.0,
)
_MODEL = ModelSize(total=11_689_512, trainable=2_625_610, frozen=("conv1", "layer1", "layer2", "layer3"))
_FOLDER = f"/content/drive/MyDrive/{NAME}"
_FRAMES = """\
  File "train.py", line 48, in main
    loss = step(images.to(device), labels.to(device))
  File "train.py", line 31, in step
    logits = model(images)
  File "models/resnet.py", line 88, in forward
    out = self.layer3(out)"""
_ERROR = "OutOfMemoryError: CUDA out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of 14.74 GiB"
_STACK = """\
MainThread
  File "train.py", line 27, in main
    for images, labels in loader:
  File "torch/utils/data/dataloader.py", line 1448, in _get_data
    success, data = self._try_get_data()"""


class _Common(TypedDict):
    id: str
    run: RunRef
    at: datetime


def samples(language: Language, now: datetime, *, project: str = "default", name: str = NAME) -> list[Event]:
    """Return one event of each kind, in an order that a run could live, all about one new run."""
    run = RunRef(id=uuid7(now.timestamp()), name=name, project=project, session="sample")
    begun = now - timedelta(seconds=_EPOCH_S * _EPOCHS)
    before, saved = _checkpoint(11), _checkpoint(12)
    eleven, twelve = (replace(progress_at(each.epoch or 0), checkpoint=each) for each in (before, saved))
    resumed = Resumed(11, before.path, since_s=840.0, lost_s=720.0, new_machine=True)

    def at(epochs: float) -> _Common:
        moment = begun + timedelta(seconds=_EPOCH_S * epochs)
        return {"id": uuid7(moment.timestamp()), "run": run, "at": moment}

    return [
        RunStarted(
            **at(11),
            attempt=2,
            total=_EPOCHS,
            params=_PARAMS,
            host=_HOST,
            progress=eleven,
            resumed=resumed,
            model=_MODEL,
        ),
        EpochFinished(**at(12), progress=progress_at(12), new_best="val_acc"),
        CheckpointSaved(**at(12), checkpoint=saved, progress=twelve),
        AlertRaised(
            **at(12.1),
            title=text(language, "cli.samples.alert_title"),
            text=text(language, "cli.samples.alert_text"),
            severity=Severity.WARNING,
            progress=twelve,
        ),
        RunStalled(**at(17), silent_s=431.0, limit_s=420.0, stack=_STACK, host=_HOST, progress=twelve),
        RunLost(**at(18), silent_s=98.0, limit_s=90.0, host=_HOST, progress=twelve),
        RunRecovered(**at(19), was="lost", away_s=187.0, progress=twelve),
        _ending(at(_EPOCHS), Status.FINISHED),
    ]


def endings(language: Language, now: datetime, *, project: str = "default") -> list[RunEnded]:
    """Return the four endings that a run itself reports, each about a new run."""
    run = RunRef(id="", name=NAME, project=project, session="sample")
    return [
        _ending({"id": uuid7(now.timestamp()), "run": replace(run, id=uuid7(now.timestamp())), "at": now}, status)
        for status in (Status.FINISHED, Status.STOPPED, Status.INTERRUPTED, Status.FAILED)
    ]


def _ending(common: _Common, status: Status) -> RunEnded:
    done = _EPOCHS if status is Status.FINISHED else 12
    error, frames = (_ERROR, _FRAMES) if status is Status.FAILED else ("", "")
    progress = replace(progress_at(done), checkpoint=_checkpoint(done))
    return RunEnded(**common, status=status, progress=progress, error=error, frames=frames)


def _checkpoint(epoch: int) -> Checkpoint:
    """Return a checkpoint with the path and size of a real one on Drive."""
    loss = progress_at(epoch).metrics["val_loss"].value
    return Checkpoint(f"{_FOLDER}/checkpoint_epoch{epoch}_{loss:.4f}.pt", epoch, 44_802_131, Tier.REMOTE)


def progress_at(done: int) -> Progress:
    """Return the progress of the sample run after `done` of its epochs."""
    epochs, left = range(1, done + 1), _EPOCHS - done
    curves = {
        "train_loss": [2.1 * math.exp(-0.17 * epoch) + 0.05 for epoch in epochs],
        "val_loss": [1.9 * math.exp(-0.16 * epoch) + 0.12 + 0.01 * math.sin(epoch * 2.3) for epoch in epochs],
        "val_acc": [0.95 - 0.6 * math.exp(-0.19 * epoch) for epoch in epochs],
        "lr": [0.05 * (1 + math.cos(math.pi * epoch / _EPOCHS)) for epoch in epochs],
    }
    return Progress(
        epoch=done,
        done=done,
        total=_EPOCHS,
        metrics={name: _metric(name, curve) for name, curve in curves.items()},
        epoch_s=_EPOCH_S,
        elapsed_s=_EPOCH_S * done,
        eta_s=_EPOCH_S * left,
    )


def _metric(name: str, curve: list[float]) -> Metric:
    direction = MonitoredMetric().best_direction_for(name)
    value = None if direction is None else (min if direction is Direction.MIN else max)(curve)
    return Metric(
        value=curve[-1],
        previous=curve[-2] if len(curve) > 1 else None,
        best=value,
        best_epoch=None if value is None else curve.index(value) + 1,
        history=tuple(curve[-32:]),
    )


_OLDER = Reason("content", "checkpoint_epoch12_0.3962.pt")
_OTHER = "vit-tiny-cifar100"


def gallery_samples(language: Language, now: datetime) -> list[Sample]:
    """Every kind of message, every ending among them, in an order that a run could live."""
    events = samples(language, now)
    by_kind = {each.kind: each for each in events}
    start, epoch = by_kind["run_started"], by_kind["epoch_finished"]
    assert isinstance(start, RunStarted)
    assert isinstance(epoch, EpochFinished)
    running: list[Sample] = [MessageSample(each.kind, each) for each in events if not isinstance(each, RunEnded)]
    rare = (*_variants(start, epoch, by_kind["run_recovered"], by_kind["checkpoint_saved"]), *_alerts(language, epoch))
    ended = [MessageSample(f"{each.kind} {each.status}", each) for each in endings(language, now)]
    listed = AlertListSample("alert texts", text(language, "cli.samples.what_alerts_say"), alert_texts(language))
    rare = (*rare, *_other_units(start, by_kind["run_lost"]))
    return [*running, *ended, *rare, *_digests(language, events, now), *_switch(start, epoch), listed]


def _variants(start: RunStarted, epoch: EpochFinished, recovered: Event, saved: Event) -> Iterator[MessageSample]:
    """Yield other wordings of the same kinds."""
    yield MessageSample("run_started first", _first(start))
    yield MessageSample("epoch_finished folded", replace(epoch, id=_id(epoch), new_best=None), skipped=3)
    if isinstance(saved, CheckpointSaved):
        path = "/content/checkpoints/checkpoint_epoch12_0.3962.pt"
        here = replace(saved.checkpoint, path=path, tier=Tier.LOCAL, fleeting=True)
        yield MessageSample("checkpoint_saved local", replace(saved, id=_id(saved), checkpoint=here))
    if isinstance(recovered, RunRecovered):
        yield MessageSample("run_recovered stalled", replace(recovered, id=_id(recovered), was="stalled"))


_STEPS, _TRIALS = 20_000, 50


def _other_units(start: RunStarted, lost: Event) -> Iterator[MessageSample]:
    """Yield what is said of a run that counts steps, and of one that counts trials."""
    gpt = replace(start.run, id=_id(start), name="gpt2-small")
    saved = Checkpoint("/content/drive/MyDrive/gpt2/step_12500.pt", 12_500, 1_493_002_240, Tier.REMOTE)
    midway = _far("step", 12_500, _STEPS, saved)
    begun = replace(start, run=gpt, total=_STEPS, attempt=1, resumed=None, model=None)
    yield MessageSample(
        "run_started steps", replace(begun, id=_id(start), progress=Progress(total=_STEPS, unit="step"))
    )
    resumed = Resumed(12_500, saved.path, since_s=840.0, lost_s=720.0, next_epoch=12_501)
    again = replace(begun, id=_id(start), attempt=2, resumed=resumed, progress=midway)
    yield MessageSample("run_started steps resumed", again)
    common: _Common = {"id": _id(start), "run": gpt, "at": start.at}
    yield MessageSample("epoch_finished steps", EpochFinished(**common, progress=midway, new_best="val_loss"))
    yield MessageSample("checkpoint_saved steps", CheckpointSaved(**common, checkpoint=saved, progress=midway))
    if isinstance(lost, RunLost):
        yield MessageSample("run_lost steps", replace(lost, id=_id(start), run=gpt, progress=midway))
    note = "val_loss did not improve for 3,000 steps"
    yield MessageSample("run_ended steps early", RunEnded(**common, status=Status.FINISHED, progress=midway, note=note))
    common = {"id": _id(start), "run": replace(start.run, id=_id(start), name="lr-search"), "at": start.at}
    yield MessageSample("epoch_finished trials", EpochFinished(**common, progress=_far("trial", 17, _TRIALS)))
    ended = RunEnded(**common, status=Status.FINISHED, progress=_far("trial", _TRIALS, _TRIALS))
    yield MessageSample("run_ended trials", ended)


def _far(unit: Unit, done: int, total: int, checkpoint: Checkpoint | None = None) -> Progress:
    """Return the progress of a run that counts steps, with its part of the epochs, or trials."""
    labels = tuple(range(1, done + 1)) if unit == "trial" else tuple(range(500, done + 1, 500))
    losses = tuple(1.9 + 6.2 * math.exp(-4 * label / total) + 0.04 * math.sin(label * 2.3) for label in labels)
    best = min(zip(losses, labels, strict=True))
    name = "val_loss" if unit == "step" else "value"
    metric = Metric(losses[-1], losses[-2], best[0], best[1], history=losses[-32:], epochs=labels[-32:])
    rate_s = 0.31 if unit == "step" else 142.0
    return Progress(
        epoch=done, done=done, total=total, metrics={name: metric}, epoch_s=rate_s * (labels[-1] - labels[-2]),
        elapsed_s=rate_s * done, eta_s=rate_s * (total - done), checkpoint=checkpoint, unit=unit,
        part=2.31 if unit == "step" else None,
    )  # fmt: skip


def _alerts(language: Language, epoch: EpochFinished) -> Iterator[MessageSample]:
    """Yield the alerts about notifybot's own work: checkpoints and deliveries that failed."""
    damaged = alert_text.checkpoint_damaged((_OLDER, replace(_OLDER, code="missing")), "checkpoint_epoch11_0.4317.pt")
    full = alert_text.checkpoint_not_copied(_FULL)
    yield MessageSample("checkpoint damaged", _noticed(damaged, Severity.WARNING, language, epoch))
    yield MessageSample("checkpoint not copied", _noticed(full, Severity.ERROR, language, epoch))
    dead = alert_text.not_delivered("slack", Reason("slack.channel_not_found", values={"channel": "training"}))
    yield MessageSample("dead letter", replace(_noticed(dead, Severity.WARNING, language, epoch), about="delivery"))


def _noticed(notice: Notice, severity: Severity, language: Language, epoch: EpochFinished) -> AlertRaised:
    shown = alert_text.notice_words(notice, language)
    return AlertRaised(
        id=_id(epoch), run=epoch.run, at=epoch.at, title=shown.title, text=shown.text, severity=severity,
        about="checkpoint", progress=epoch.progress, notice=notice,
    )  # fmt: skip


def _digests(language: Language, events: Iterable[Event], now: datetime) -> Iterator[MessageSample]:
    """Yield the digests of deliveries that were held back: of one run, and of two."""
    by_kind = {each.kind: each for each in events}
    epoch = by_kind["epoch_finished"]
    urgent = tuple(by_kind[kind] for kind in ("alert_raised", "run_lost", "run_recovered"))
    assert isinstance(epoch, EpochFinished)
    counts = {"epoch_finished": 9, "checkpoint_saved": 9, "alert_raised": 1, "run_lost": 1, "run_recovered": 1}
    one = HeldBatch(counts=counts, urgent=urgent, epoch=epoch, runs=(epoch.run,))
    other = replace(epoch.run, id=_id(epoch), name=_OTHER)
    ended = replace(endings(language, now)[-1], run=other)
    two = replace(one, counts=counts | {"run_ended": 1}, urgent=(*urgent, ended), runs=(epoch.run, other))
    renderer = Renderer(language)
    for label, kept in (("digest", one), ("digest of several", two)):
        yield MessageSample(label, digest_of(replace(epoch, id=_id(epoch)), kept, renderer, now=now, zone=KST))


def _switch(start: RunStarted, epoch: EpochFinished) -> Iterator[AlarmSample]:
    """Yield the dead man's alarms that Slack posts, scheduled at different moments of a run, and their corrections."""
    host = start.host
    saved = replace(epoch, progress=replace(epoch.progress, checkpoint=start.progress.checkpoint))
    nearby = Checkpoint("/content/checkpoints/checkpoint_epoch12_0.3962.pt", 12, 44_802_131, Tier.LOCAL, fleeting=True)
    local = replace(epoch, progress=replace(epoch.progress, checkpoint=nearby))
    yield AlarmSample("dead man first epoch", _first(start), host)
    yield AlarmSample("dead man no checkpoint", epoch, host)
    yield AlarmSample("dead man checkpoint", saved, host)
    yield AlarmSample("dead man local checkpoint", local, host)
    yield AlarmSample("dead man resumed", start, host)
    yield AlarmSample("dead man void", saved, host, "void")
    yield AlarmSample("dead man perhaps void", saved, host, "void", sure=False)
    yield AlarmSample("dead man stands", saved, host, "stands")


def _first(start: RunStarted) -> RunStarted:
    return replace(start, id=_id(start), attempt=1, resumed=None, progress=Progress(total=start.total))


def _id(event: Event) -> str:
    return uuid7(event.at.timestamp())


_GB = 1024**3
_SEEN: tuple[tuple[evidence.Evidence, evidence.Evidence], ...] = (  # evidence when it begins, and when it is over
    (evidence.Finite("train_loss", math.nan, 0.4213), evidence.Finite("train_loss", 0.4187)),
    (evidence.Limit("val_acc", 0.31, 0.5, "below"), evidence.Limit("val_acc", 0.5312, 0.5, "below")),
    (
        evidence.EpochPace("val_loss", 0.4102, 0.3962, waited=10),
        evidence.EpochPace("val_loss", 0.3841, 0.3962, waited=14),
    ),
    (evidence.Distance("val_loss", 0.9134, 0.3962, 0.7924), evidence.Distance("val_loss", 0.4011, 0.3962, 0.7924)),
    (
        evidence.Gap("train_loss", "val_loss", 5, (0.4213, 0.3127), (0.4102, 0.5219)),
        evidence.Gap("train_loss", "val_loss", 1, (0.3127, 0.3015), (0.5219, 0.4987)),
    ),
    (evidence.Reached("val_acc", 0.9127, 0.9), evidence.Reached("val_acc", 0.9127, 0.9)),
    (evidence.Duration(212.0, 94.0, 2.0), evidence.Duration(96.0, 94.0, 2.0)),
    (
        evidence.DiskRoom("/content/drive/MyDrive", round(1.2 * _GB), 107 * _GB, 5 * _GB),
        evidence.DiskRoom("/content/drive/MyDrive", 31 * _GB, 107 * _GB, 5 * _GB),
    ),
    (evidence.GpuUse("Tesla T4", 4.0, 10.0, 600.0), evidence.GpuUse("Tesla T4", 86.0, 10.0, 600.0)),
    (
        evidence.GpuRoom("Tesla T4", round(14.2 * _GB), round(14.7 * _GB), 95.0),
        evidence.GpuRoom("Tesla T4", round(9.1 * _GB), round(14.7 * _GB), 95.0),
    ),
)
_EIO = {"name": "EIO", "text": "Input/output error"}
_FULL = Reason("disk", values={"name": "ENOSPC", "text": "No space left on device"})
_NOTICES = (
    alert_text.checkpoint_not_saved(_FULL),
    alert_text.checkpoint_not_copied(_FULL),
    alert_text.checkpoint_damaged([Reason("missing", "checkpoint_epoch12_0.3962.pt")], "checkpoint_epoch11_0.4317.pt"),
    alert_text.checkpoint_damaged([Reason("cut_short", "checkpoint_epoch1_1.7341.pt")], None),
    alert_text.checkpoint_damaged([Reason("no_state", "weights.pt")], None),
    alert_text.checkpoint_spared([Reason("disk", "checkpoint_epoch3_0.8126.pt", _EIO)], 44_802_131),
    alert_text.checkpoint_works_again(),
    alert_text.checkpoint_not_found("/content/runs/model.pt"),
    alert_text.checkpoint_unreadable(Reason("cut_short", "checkpoint-500/optimizer.pt")),
    alert_text.checkpoint_changed(Reason("content", "checkpoint-500")),
    alert_text.nothing_left(),
    alert_text.not_delivered("slack", Reason("slack.not_in_channel", values={"channel": "training"})),
)


def alert_texts(language: Language) -> dict[str, alert_text.AlertWords]:
    """Return the text of every alert, by the kind of its evidence, its notice, or its subject."""
    texts = {each.code: alert_text.notice_words(each, language) for each in _NOTICES}
    for began, ended in _SEEN:
        kind = alert_text.KINDS[type(began)]
        texts[kind] = alert_text.raised([began], language).words
        if over := alert_text.cleared([ended], language):
            texts[f"{kind}, over"] = over.words
    two = (text(language, f"watchdog.superseded.{each}") for each in ("title", "text"))
    return texts | {
        "unlogged": alert_text.unlogged(["val_acc"], ["train_loss", "lr"], language).words,
        "session_superseded": alert_text.session_superseded("colab-t4", language),
        "session_near_its_end": alert_text.session_near_its_end(12, 11 * 3600.0, language),
        "two_sessions": alert_text.AlertWords(*two),
    }


def write_gallery(out: Path, clock: Clock = SYSTEM) -> int:
    """Write the gallery's pages, and print the path of their index. UsageError when the folder cannot be written."""
    reader = load().lang
    path = out / "index.html"
    try:
        for name, html in pages({each: gallery_samples(each, clock.now()) for each in Language}, clock, reader):
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(html, encoding="utf-8")
    except OSError as error:
        why = system_words(error)
        raise UsageError(reader_text("cli.gallery.cannot_be_written", path=path, why=why)) from None
    print(text(reader, "cli.gallery.is_written", path=out / "index.html"))
    return 0
