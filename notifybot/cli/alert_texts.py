"""What every alert of ours says, with believable evidence: for the gallery."""

from __future__ import annotations

import math

from notifybot.alerts.evidence import (
    DiskRoom,
    Distance,
    Duration,
    EpochPace,
    Evidence,
    Finite,
    Gap,
    GpuRoom,
    GpuUse,
    Limit,
    Reached,
)
from notifybot.rendering import alert_text
from notifybot.rendering.alarm_words import cleared, raised, unlogged
from notifybot.rendering.alert_text import AlertWords, notice_words
from notifybot.types import Language, Reason
from notifybot.watchdog import words as watchdog

_GB = 1024**3
_SEEN: tuple[tuple[Evidence, Evidence], ...] = (  # as it begins, and when it is over
    (Finite("train_loss", math.nan, 0.4213), Finite("train_loss", 0.4187)),
    (Limit("val_acc", 0.31, 0.5, "below"), Limit("val_acc", 0.5312, 0.5, "below")),
    (EpochPace("val_loss", 0.4102, 0.3962, waited=10), EpochPace("val_loss", 0.3841, 0.3962, waited=14)),
    (Distance("val_loss", 0.9134, 0.3962, 0.7924), Distance("val_loss", 0.4011, 0.3962, 0.7924)),
    (
        Gap("train_loss", "val_loss", 5, (0.4213, 0.3127), (0.4102, 0.5219)),
        Gap("train_loss", "val_loss", 1, (0.3127, 0.3015), (0.5219, 0.4987)),
    ),
    (Reached("val_acc", 0.9127, 0.9), Reached("val_acc", 0.9127, 0.9)),
    (Duration(212.0, 94.0, 2.0), Duration(96.0, 94.0, 2.0)),
    (
        DiskRoom("/content/drive/MyDrive", round(1.2 * _GB), 107 * _GB, 5 * _GB),
        DiskRoom("/content/drive/MyDrive", 31 * _GB, 107 * _GB, 5 * _GB),
    ),
    (GpuUse("Tesla T4", 4.0, 10.0, 600.0), GpuUse("Tesla T4", 86.0, 10.0, 600.0)),
    (
        GpuRoom("Tesla T4", round(14.2 * _GB), round(14.7 * _GB), 95.0),
        GpuRoom("Tesla T4", round(9.1 * _GB), round(14.7 * _GB), 95.0),
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
    alert_text.nothing_left(),
    alert_text.not_delivered("slack", Reason("slack.not_in_channel", values={"channel": "training"})),
)


def alert_texts(language: Language) -> dict[str, AlertWords]:
    """Return the words of every alert, by the kind of its evidence, its notice, or what it tells."""
    texts = {each.code: notice_words(each, language) for each in _NOTICES}
    for began, ended in _SEEN:
        kind = type(began).__name__
        texts[kind] = raised([began], language).words
        if over := cleared([ended], language):
            texts[f"{kind}, over"] = over.words
    two = watchdog.words_in(language)
    return texts | {
        "metrics not logged": unlogged(["val_acc"], ["train_loss", "lr"], language).words,
        "session superseded": alert_text.session_superseded("colab-t4", language),
        "session near its end": alert_text.session_near_its_end(12, 11 * 3600.0, language),
        "two sessions": AlertWords(two.two_title, two.two_text),
    }
