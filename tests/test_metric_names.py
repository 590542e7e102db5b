"""The direction that a metric's name shows, and other spellings of it."""

from __future__ import annotations

import pytest

from notifybot.metric_names import Direction, direction_of, meant_by, monitored

LESS, MORE = Direction.MIN, Direction.MAX

_DIRECTIONS = {
    LESS: "loss train_loss Loss/train valLoss val.loss dice_loss error_rate MAE rmse val_ppl WER loss_1 loss1 logloss "
    "mlogloss binary_logloss val-mlogloss mape sMAPE RMSLE fid FID50k lpips val_epe eer crps val_bpb kl approx_kl "
    "train_val_gap kid l1 L2 val_l1 valid_0/l2 valid_0-l2 l2/test top1_error accuracy_gap",
    MORE: "acc val_acc Accuracy/val top1-accuracy f1 val_F1 auc mIoU meanIoU mAP map50 mAP@50 bleu4 rougeL r2 psnr "
    "aucpr auroc ndcg@10 ndcg valid_0/ndcg@5 recall@5 Recall@20 mrr MRR@10 hits@10 Hits@1 top1 top5 val/top1 "
    "eval_top-5 exact_match ExactMatch mcc matthews_correlation eval_pearson spearmanr cohen_kappa chrf chrF++ reward "
    "mean_reward eval/rewards rewards/accuracies episode_return mean_returns success success_rate",
    None: "lr epoch_time lossless grad_norm accelerator 손실 lambda_l2 l1_ratio l2_norm top1_margin top top_p match "
    "reward_std rewards/rejected acc_stderr klein gaps_ms fidelity",
}


@pytest.mark.parametrize(
    ("name", "expected"), [(name, way) for way, names in _DIRECTIONS.items() for name in names.split()]
)
def test_the_name_tells_which_way_is_better(name: str, expected: Direction | None) -> None:
    assert direction_of(name) is expected


@pytest.mark.parametrize(
    ("name", "there", "expected"),
    [
        ("val_accuracy", "train_acc val_acc", "val_acc"),
        ("validation_loss", "loss val_loss", "val_loss"),
        ("eval/loss", "train/loss val/loss", "val/loss"),
        ("valLoss", "val_loss", "val_loss"),
        ("acc_val", "val_acc", "val_acc"),
        ("los", "loss", "loss"),
        ("정확도", "손실", None),
        ("val_loss", "train_loss loss val_acc", None),
        ("val_map", "val_mae", None),
        ("test_acc", "val_acc", None),
        ("acc", "val_acc", None),
    ],
)
def test_another_spelling_of_a_metric_is_known(name: str, there: str, expected: str | None) -> None:
    """What is measured on other data, or is merely written alike, is another metric: its turn may yet come."""
    assert meant_by(name, there.split()) == expected


@pytest.mark.parametrize(
    ("monitor", "expected"),
    [
        ("reward:max", ("reward", MORE)),
        ("val_acc:min", ("val_acc", LESS)),
        ("val_loss", ("val_loss", LESS)),
        ("reward", ("reward", MORE)),
        ("ndcg@10:min", ("ndcg@10", LESS)),
        ("entropy", ("entropy", None)),
        (":max", (":max", None)),
    ],
)
def test_a_monitors_own_direction_comes_before_its_names(monitor: str, expected: tuple[str, Direction | None]) -> None:
    assert monitored(monitor) == expected
