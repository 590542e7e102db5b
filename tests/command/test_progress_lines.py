"""Progress read from lines, as the programs really print them."""

from __future__ import annotations

import re

import pytest

from notifybot.command.progress_lines import LineReading, ProgressParser, own_format


def told(printed: str, **options: object) -> list[tuple[str, int, int | None, dict[str, float]]]:
    parser = ProgressParser(**options)  # type: ignore[arg-type]
    found = [reading for line in printed.strip("\n").splitlines() for reading in parser.feed(line)]
    return [(each.unit, each.label, each.total, dict(each.metrics)) for each in found]


HUGGING_FACE_4 = """
{'loss': 4.0011, 'grad_norm': 3.21, 'learning_rate': 4.5e-05, 'epoch': 0.5}
{'loss': 3.5, 'grad_norm': 3.0, 'learning_rate': 4e-05, 'epoch': 1.0}
{'eval_loss': 3.2, 'eval_runtime': 0.1, 'eval_samples_per_second': 100.0, 'epoch': 1.0}
{'loss': 3.1, 'grad_norm': nan, 'learning_rate': 3e-05, 'epoch': 1.5}
{'train_runtime': 3.1, 'train_loss': 3.3, 'epoch': 2.0}
"""
HUGGING_FACE_5 = """
{'loss': '3.996', 'grad_norm': '1.2', 'learning_rate': '5e-05', 'epoch': '1'}
{'eval_loss': '3.9', 'eval_runtime': '0.02', 'epoch': '1'}
{'loss': '3.5', 'epoch': '2'}
"""
KERAS = """
Epoch 1/3
1/8 ━━━━━━━━━━━━━━━━━━━━ 5s 1s/step - accuracy: 0.1000 - loss: 2.4000
8/8 ━━━━━━━━━━━━━━━━━━━━ 1s 30ms/step - accuracy: 0.2500 - loss: 2.1000 - val_accuracy: 0.3000 - val_loss: 2.0000
Epoch 2/3
8/8 ━━━━━━━━━━━━━━━━━━━━ 0s 5ms/step - accuracy: 0.5000 - loss: 1.5e+00 - val_accuracy: 0.6000 - val_loss: nan
"""
LIGHTNING = """
Sanity Checking DataLoader 0: 100%|██████████| 2/2 [00:00<00:00, 90.1it/s]
Epoch 0: 100%|██████████| 8/8 [00:00<00:00, 90.1it/s, v_num=0, train_loss_step=1.20, val_loss=1.10]
Epoch 1:  50%|█████     | 4/8 [00:00<00:00, 91.0it/s, v_num=0, val_loss=1.10]
Epoch 1: 100%|██████████| 8/8 [00:00<00:00, 91.0it/s, v_num=0, val_loss=0.90]
`Trainer.fit` stopped: `max_epochs=2` reached.
"""
GENERIC = """
Loading data from /data/epoch 7
Epoch: 1/30, loss = 0.5, val_acc: 81.2%, time 3.1s
Epoch: 2/30, loss = 0.4, val_acc: 83.0%, time 3.0s
Epoch: 3/30, loss = 0.3, val_acc: 84.0%, time 3.0s
"""
NANOGPT = """
step 0: train loss 4.2221, val loss 4.2306
iter 0: loss 4.2177, time 27008.41ms, mfu -100.00%
iter 10: loss=3.9, time=12ms
"""
LIGHTGBM = """
[LightGBM] [Info] Total Bins 1020
[10]\ttraining's l2: 0.5\tvalid_0's l2: 0.6
[20]\ttraining's l2: 0.4\tvalid_0's l2: 0.5
[30]\ttraining's l2: 0.3\tvalid_0's l2: 0.4
"""
TWO_WORDS = """
Epoch [1/5] Train Loss: 0.9, Val Loss: 0.8 | Val Acc 41.00%
Epoch [2/5] Train Loss: 0.7, Val Loss: 0.6 | Val Acc 52.00%
Epoch [3/5] Train Loss: 0.5, Val Loss: 0.4 | Val Acc 63.00%
"""
XGBOOST = """
[0]\ttrain-rmse:2.1\tvalidation-rmse:2.2
[1]\ttrain-rmse:1.1\tvalidation-rmse:1.2
[2]\ttrain-rmse:0.9\tvalidation-rmse:1.0
"""
JSON_LINES = """
{"time": "2026-11-29T10:00:00", "step": 100, "loss": 0.5, "max_steps": 1000}
{"step": 200, "loss": 0.4, "max_steps": 1000}
{"step": 300, "loss": NaN, "max_steps": 1000}
"""


@pytest.mark.parametrize(
    ("printed", "readings"),
    [
        (
            HUGGING_FACE_4,
            [
                ("epoch", 0, None, {"loss": 4.0011}),
                ("epoch", 0, None, {"loss": 3.5}),
                ("epoch", 0, None, {"eval_loss": 3.2}),
                ("epoch", 1, None, {"loss": pytest.approx(float("nan"), nan_ok=True)}),
            ],
        ),
        (
            HUGGING_FACE_5,
            [
                ("epoch", 0, None, {"loss": 3.996}),
                ("epoch", 0, None, {"eval_loss": 3.9}),
                ("epoch", 1, None, {"loss": 3.5}),
            ],
        ),
        (
            KERAS,
            [
                ("epoch", 1, 3, {"accuracy": 0.1, "loss": 2.4}),
                ("epoch", 1, 3, {"accuracy": 0.25, "loss": 2.1, "val_accuracy": 0.3, "val_loss": 2.0}),
                (
                    "epoch",
                    2,
                    3,
                    {
                        "accuracy": 0.5,
                        "loss": 1.5,
                        "val_accuracy": 0.6,
                        "val_loss": pytest.approx(float("nan"), nan_ok=True),
                    },
                ),
            ],
        ),
        (
            LIGHTNING,
            [
                ("epoch", 0, None, {"train_loss_step": 1.2, "val_loss": 1.1}),
                ("epoch", 1, None, {"val_loss": 1.1}),
                ("epoch", 1, None, {"val_loss": 0.9}),
            ],
        ),
        (
            GENERIC,
            [
                ("epoch", 1, 30, {"loss": 0.5, "val_acc": 81.2}),
                ("epoch", 2, 30, {"loss": 0.4, "val_acc": 83.0}),
                ("epoch", 3, 30, {"loss": 0.3, "val_acc": 84.0}),
            ],
        ),
        (
            NANOGPT,
            [
                ("step", 0, None, {"train_loss": 4.2221, "val_loss": 4.2306}),
                ("step", 0, None, {"loss": 4.2177}),
                ("step", 10, None, {"loss": 3.9}),
            ],
        ),
        (
            LIGHTGBM,
            [
                ("round", 10, None, {"training_l2": 0.5, "valid_0_l2": 0.6}),
                ("round", 20, None, {"training_l2": 0.4, "valid_0_l2": 0.5}),
                ("round", 30, None, {"training_l2": 0.3, "valid_0_l2": 0.4}),
            ],
        ),
        (
            TWO_WORDS,
            [
                ("epoch", 1, 5, {"Train_Loss": 0.9, "Val_Loss": 0.8, "Val_Acc": 41.0}),
                ("epoch", 2, 5, {"Train_Loss": 0.7, "Val_Loss": 0.6, "Val_Acc": 52.0}),
                ("epoch", 3, 5, {"Train_Loss": 0.5, "Val_Loss": 0.4, "Val_Acc": 63.0}),
            ],
        ),
        (
            XGBOOST,
            [
                ("round", 1, None, {"train-rmse": 2.1, "validation-rmse": 2.2}),
                ("round", 2, None, {"train-rmse": 1.1, "validation-rmse": 1.2}),
                ("round", 3, None, {"train-rmse": 0.9, "validation-rmse": 1.0}),
            ],
        ),
        (
            JSON_LINES,
            [
                ("step", 100, 1000, {"loss": 0.5}),
                ("step", 200, 1000, {"loss": 0.4}),
                ("step", 300, 1000, {"loss": pytest.approx(float("nan"), nan_ok=True)}),
            ],
        ),
        ("::notifybot epoch=3 total=30 val_loss=0.2", [("epoch", 3, 30, {"val_loss": 0.2})]),
    ],
    ids=["HF 4", "HF 5", "Keras", "Lightning", "words", "nanoGPT", "LightGBM", "two words", "XGBoost", "JSON", "ours"],
)
def test_progress_is_read_from_the_lines_of(
    printed: str, readings: list[tuple[str, int, int | None, dict[str, float]]]
) -> None:
    assert told(printed) == readings


BARS = """
Epoch 1/3:  50%|█████     | 50/100 [00:05<00:05, 9.9it/s, loss=0.9]
Epoch 1/3: 100%|██████████| 100/100 [00:10<00:00, 9.9it/s, loss=0.8]
Epoch 1/3 val_loss: 0.7
Epoch 2/3: 100%|██████████| 100/100 [00:10<00:00, 9.9it/s, loss=0.6]
"""
COUNTING_BAR = """
training:   0%|          | 0/30 [00:00<?, ?it/s, loss=0.9]
training:  10%|█         | 3/30 [00:10<01:00, 3.3s/it, loss=0.9]
training:  13%|█▎        | 4/30 [00:13<01:00, 3.3s/it, loss=0.8]
Downloading: 50%|█████     | 50/100 [00:05<00:05, 9.9MB/s]
training:  17%|█▋        | 5/30 [00:16<01:00, 3.3s/it, loss=0.7]
epochs:  17%|█▋        | 5/30 [00:16<01:00, 3.3s/it, val_loss=0.5]
"""
STEPS_AND_EPOCHS = """
step 100/500 loss: 4.0
step 200/500 loss: 3.0
step 300/500 loss: 2.0
epoch 1 val_loss: 9.0
step 100/500 loss: 1.0
"""
HEADINGS = """
========== Epoch 1/2 ==========
step 100 loss: 4.0
step 200 loss: 3.0
step 300 loss: 2.0
2026-11-29 10:00:00,123 INFO Epoch 2/2:
step 100 loss: 1.0
"""
WITHIN = """
Epoch [1/10], Step [100/400], Loss: 0.5
Train Epoch: 1 [640/60000 (1%)]	Loss: 2.3
Epoch(train) [2][ 50/100]  lr: 1e-3  loss: 0.4
"""
SEVERAL = [
    (
        BARS,
        [
            ("epoch", 1, 3, 0.5, {"loss": 0.9}),
            ("epoch", 1, 3, 1.0, {"loss": 0.8}),
            ("epoch", 1, 3, None, {"val_loss": 0.7}),
            ("epoch", 2, 3, 1.0, {"loss": 0.6}),
        ],
    ),
    (
        COUNTING_BAR,
        [
            ("step", 3, 30, None, {"loss": 0.9}),
            ("step", 4, 30, None, {"loss": 0.8}),
            ("step", 5, 30, None, {"loss": 0.7}),
            ("epoch", 5, 30, None, {"val_loss": 0.5}),
        ],
    ),
    (
        STEPS_AND_EPOCHS,
        [
            ("step", 100, 500, None, {"loss": 4.0}),
            ("step", 200, 500, None, {"loss": 3.0}),
            ("step", 300, 500, None, {"loss": 2.0}),
            ("epoch", 1, None, None, {"val_loss": 9.0}),
            ("step", 100, 500, None, {"loss": 1.0}),
        ],
    ),
    (
        HEADINGS,
        [
            ("epoch", 1, 2, 0.0, {}),
            ("step", 100, None, None, {"loss": 4.0}),
            ("step", 200, None, None, {"loss": 3.0}),
            ("step", 300, None, None, {"loss": 2.0}),
            ("epoch", 2, 2, 0.0, {}),
            ("step", 100, None, None, {"loss": 1.0}),
        ],
    ),
    (
        WITHIN,
        [
            ("epoch", 1, 10, 0.25, {"Loss": 0.5}),
            ("epoch", 1, None, 640 / 60000, {"Loss": 2.3}),
            ("epoch", 2, None, 0.5, {"loss": 0.4}),
        ],
    ),
]


@pytest.mark.parametrize(("printed", "readings"), SEVERAL, ids=["bars", "one bar", "steps", "headings", "within"])
def test_a_program_may_print_steps_and_epochs(
    printed: str, readings: list[tuple[str, int, int | None, float | None, dict[str, float]]]
) -> None:
    parser = ProgressParser()
    found = [reading for line in printed.strip("\n").splitlines() for reading in parser.feed(line)]

    assert [(each.unit, each.label, each.total, each.part, dict(each.metrics)) for each in found] == readings


def test_an_epoch_that_others_number_from_0_is_the_open_one() -> None:
    """A program's own line counts epochs, and a library's JSON beside it counts them otherwise."""
    printed = "".join(f'epoch {n}/9 loss: {n}.5\n{{"epoch": {n - 1}, "acc": {n}.0}}\n' for n in range(1, 4))

    assert [(label, [*metrics]) for _, label, _, metrics in told(printed)] == [
        (label, [name]) for label in range(1, 4) for name in ("loss", "acc")
    ]


@pytest.mark.parametrize(
    ("printed", "labels"),
    [
        ("epoch 1 loss: 0.5\nepoch 2 loss: 0.4", [1, 2]),
        ("[1] a: 3\n[2] b: 4", []),
        ("epoch 1/2 loss: 0.5", []),
        ("Epoch 1:  50%|█████     | 50/100 [00:05<00:05, 9.9it/s, loss=0.9]", []),
    ],
)
def test_of_a_short_training_the_end_tells_that_it_was_one(printed: str, labels: list[int]) -> None:
    """Two lines may be chance while it runs; those of a bar that is not full are of no epoch that is over."""
    parser = ProgressParser()
    for line in printed.splitlines():
        parser.feed(line)

    assert [each.label for each in parser.close()] == labels


@pytest.mark.parametrize(
    "printed",
    [
        "Epoch 1: starting\nEpoch 2: starting\nEpoch 3: starting",
        "Epoch 1/3\nEpoch 2/3\nEpoch 3/3",
        "Epoch 1/3:  40%|▍| 8/20 [00:00<00:00, 30.1it/s, loss=0.1",
        "Epoch 1/3, loss=1:  40%|▍",
        "epoch 1 loss: 0.5\nepoch 2 loss: 0.4",
        "step 1 of the recipe: x=1\nthe 3 epochs took 3.0 s\nepochs=3",
        "{'loss': 0.5}\n{'loss': 0.4}\n{'loss': 0.3}\n{broken\n{}\n{1: 2}",
        "[1] a\n[2] b\n[3] c",
        "2026-11-29 10:00:00 INFO started\n" * 4,
        '{"epoch": null, "loss": 1}\n' * 3 + '{"epoch": -1, "loss": 1}\n' * 3,
    ],
)
def test_a_line_without_position_or_number_tells_nothing(printed: str) -> None:
    assert told(printed) == []


def test_the_first_format_that_fits_is_the_programs_own() -> None:
    """A line of another kind afterwards is not its progress."""
    printed = "epoch 1 loss: 0.5\nepoch 2 loss: 0.4\nepoch 3 loss: 0.3\nstep 900 loss: 7\n[9] l2: 7\nepoch 4 loss: 0.2"

    assert [label for _, label, _, _ in told(printed)] == [1, 2, 3, 4]


def test_a_users_own_patterns_are_read() -> None:
    printed = "(7) err 0.25 | score=3\nquality is 0.9\n(8) err 0.2 | score=4"
    metrics = {"err": re.compile(r"err (\S+)"), "quality": re.compile(r"quality is (\S+)")}

    assert told(printed, formats=[own_format(r"^\((?P<step>\d+)\)")], metrics=metrics) == [
        ("step", 7, None, {"score": 3.0}),
        ("step", 7, None, {"err": 0.25}),
        ("step", 7, None, {"quality": 0.9}),
        ("step", 8, None, {"score": 4.0}),
        ("step", 8, None, {"err": 0.2}),
    ]


def test_a_pattern_without_a_group_is_refused() -> None:
    with pytest.raises(ValueError, match="epoch"):
        own_format("epoch")


def test_a_hostile_line_costs_no_time() -> None:
    """Lines are bounded; of such a one, no pattern takes more than linear time."""
    parser = ProgressParser()
    for line in (
        " 1%|" * 2000 + "|" * 100 + " 1/2 [",
        "epoch " + "[" * 4000,
        "Epoch 3 " + "━" * 8000,
        "=" * 8000 + "epoch 1",
        "a" * 8192,
        "epoch 1 " + "a.b/c-" * 1300,
        "{" * 8192 + "}",
        "epoch " * 1300,
        "[1] " + "x:" * 4000,
    ):
        assert all(isinstance(each, LineReading) for each in parser.feed(line))
