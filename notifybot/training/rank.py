"""Which process of a distributed training speaks: rank 0, by the launcher's variables, without a collective."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

log = logging.getLogger("notifybot")

# Never LOCAL_RANK: it is 0 once on every machine.
VARIABLES = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")


def rank(environment: Mapping[str, str] | None = None) -> int:
    """Return the rank of this process; 0 where no launcher set one, or set something that is no number."""
    values = os.environ if environment is None else environment
    for name in VARIABLES:
        text = values.get(name, "").strip()
        if not text:
            continue
        if text.isdecimal():
            return int(text)
        log.warning("%s=%r is no rank: taken as 0, so this process reports", name, text)
        return 0
    return 0


def environment() -> Mapping[str, str]:
    """The process's environment, for libraries that keep their own settings there."""
    return os.environ


def in_loader_worker() -> bool:
    """True inside a DataLoader's worker process. Imports nothing: no torch, no worker."""
    module: Any = sys.modules.get("torch.utils.data")
    ask = getattr(module, "get_worker_info", None)  # absent while another thread imports torch
    return ask is not None and ask() is not None


def speaks() -> bool:
    """True when a run started in this process is to be reported."""
    return not in_loader_worker() and rank() == 0
