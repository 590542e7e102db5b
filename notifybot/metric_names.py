"""Metric names: the direction in which a metric is good, its data, and the one a misspelt name means. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache

_LESS = {
    "loss", "err", "error", "mae", "mse", "rmse", "ppl", "perplexity", "wer", "cer", "nll", "logloss", "mlogloss",
    "merror", "mape", "smape", "rmsle", "msle", "fid", "kid", "lpips", "epe", "eer", "crps", "bpb", "kl", "gap",
}  # fmt: skip
_MORE = {
    "acc", "accuracy", "accuracies", "f1", "auc", "auroc", "aucpr", "auprc", "precision", "recall", "iou", "miou",
    "map", "bleu", "chrf", "rouge", "dice", "r2", "psnr", "ssim", "score", "ndcg", "mrr", "hits", "mcc", "matthews",
    "pearson", "pearsonr", "spearman", "spearmanr", "kappa", "reward", "rewards", "return", "returns", "success",
}  # fmt: skip
_MORE_TOGETHER = {"exact", "match"}  # "match" alone is no measure
_NEITHER = {"std", "stdev", "stddev", "stderr", "rejected"}  # "acc_stderr" of a harness, "rewards/rejected" of DPO
_LESS_ALONE = re.compile(r"(\d+_)?l[12]")  # LightGBM's "valid_0 l2"; "lambda_l2" is a setting
_MORE_ALONE = re.compile(r"(\d+_)?top_?\d+")
_VALIDATION = {"val", "valid", "validation", "eval", "test", "dev", "holdout", "heldout"}
_VALIDATION_KO = ("검증", "테스트", "평가")
_TRAINING = {"train", "training"}  # "eval/train_loss" is measured on training data
_ADVERSARIAL = {
    "d", "g", "netd", "netg", "gen", "disc", "generator", "discriminator", "critic", "adv", "adversarial", "gan",
}  # fmt: skip
_SHORTEST = 3  # letters of an abbreviation: "acc", "val"
_DIMENSION = re.compile(r"\d[DdGg](?![A-Za-z])")  # in "iou_3d" the d is no discriminator


class Direction(Enum):
    """Direction in which a metric is good."""

    MIN = "min"
    MAX = "max"


def direction_of(name: str) -> Direction | None:
    """Return the direction that a metric's name shows; None if it shows none."""
    words, alone = words_of(name), _without_its_data(name)
    if words & _NEITHER:
        return None
    if words & _LESS or _LESS_ALONE.fullmatch(alone):  # "dice_loss" is a loss
        return Direction.MIN
    is_more = words & _MORE or words >= _MORE_TOGETHER or _MORE_ALONE.fullmatch(alone)
    return Direction.MAX if is_more else None


def _without_its_data(name: str) -> str:
    """Return a name in lower case without the words for the data it is measured on: "l2" for "valid/l2"."""
    parts = re.split(r"[^a-z0-9]+", name.lower())
    return "_".join(each for each in parts if each and each not in _VALIDATION | _TRAINING)


def monitored(monitor: str) -> tuple[str, Direction | None]:
    """Return a monitored metric's name and direction: from a suffix as in "reward:max", else from the name."""
    name, _, word = monitor.rpartition(":")
    if name and word in {each.value for each in Direction}:
        return name, Direction(word)
    return monitor, direction_of(monitor)


def has_best(name: str) -> bool:
    """True for a validation or test metric whose best value means something: not for one player's loss in a GAN."""
    words = words_of(name)
    if words & _TRAINING or words_of(_DIMENSION.sub(" ", name)) & _ADVERSARIAL:
        return False
    return bool(words & _VALIDATION) or any(word in name for word in _VALIDATION_KO)


def meant_by(name: str, there: Iterable[str]) -> str | None:
    """Return the metric that a name means in another spelling: "val_acc" for "validation_accuracy"; None for none."""
    return next((each for each in there if _same(_spelt(name), _spelt(each))), None)


def _spelt(name: str) -> list[str]:
    """Return the words of a name, sorted, with "val" for all words for validation data."""
    parts = re.findall(r"[a-z]+|\d+|[^\W\d_a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return sorted("val" if each in _VALIDATION - {"test"} else each for each in parts)


def _same(one: list[str], other: list[str]) -> bool:
    """True when each word equals the other's, or one is an abbreviation of the other."""
    return len(one) == len(other) and all(
        each == its or (min(len(each), len(its)) >= _SHORTEST and (each.startswith(its) or its.startswith(each)))
        for each, its in zip(one, other, strict=True)
    )


@lru_cache(maxsize=4096)  # the same names come at the end of each epoch
def words_of(name: str) -> frozenset[str]:
    """Return the words of a metric's name in lower case, each also without its trailing number."""
    name = name.replace("IoU", "Iou")  # the one common spelling with a capital at the end
    parts = re.split(r"[^A-Za-z0-9]+", name)
    parts += re.findall(r"[A-Z]?[a-z]+\d*|[A-Z]+(?![a-z])\d*", name)  # trainLoss, meanIoU
    lower = {part.lower() for part in parts if part}
    return frozenset(lower | {word.rstrip("0123456789") for word in lower})  # map50, bleu4
