"""The judge of the field suite is judged: each fault that notifybot once had, put back, is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.field.child.faults import FAULTS
from tests.field.judge import judge
from tests.field.shapes import BY_NAME

FOUND_IN = {
    "hook_leaves_while_called": ("own_hooks", "checkpoints"),
    "tensors_by_address": ("ema_swa", "checkpoints"),
    "epochs_iterate_once": ("tqdm_auto", "plain"),
    "late_values_raise": ("unready_names", "plain"),
    "ranks_by_variables": ("imagenet_spawn", "plain"),
    "pruned_is_failed": ("optuna_pruned", "plain"),
    "flags_are_forgotten": ("unfreeze_midway", "resumed"),
    "generators_move_on": ("two_generators", "resumed"),
    "database_costs_a_save": ("busy_neighbour", "checkpoints"),
    "epochs_are_counted_by_one": ("nanogpt", "resumed"),
    "copies_are_not_mute": ("spawned_workers", "plain"),
}
_IN_CI = {"tensors_by_address", "pruned_is_failed"}


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "fault",
    [pytest.param(each, marks=[] if each in _IN_CI else [pytest.mark.field]) for each in FAULTS],
)
def test_a_fault_that_is_put_back_is_found(fault: str, tmp_path: Path, shared_folder: Path) -> None:
    name, variant = FOUND_IN[fault]

    assert judge(BY_NAME[name], variant, tmp_path, shared_folder, fault=fault) != []
