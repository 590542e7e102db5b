"""Where a run's numbers can be looked at, by a tracker that has pages for them: known once it is on-line."""

from __future__ import annotations

from notifybot.store.database import Store

_TRACKERS = ("wandb",)


def remember(store: Store, run_key: str, tracker: str, url: str) -> None:
    """Keep the address of a run's page, for messages that any process sends. Raises StoreError."""
    store.memory(f"tracker:{tracker}").put(run_key, {"url": url})


def page_of(store: Store, run_key: str) -> str | None:
    """The address of a run's page; None while no tracker has told of one. Raises StoreError."""
    kept = (store.memory(f"tracker:{each}").get(run_key).get("url") for each in _TRACKERS)
    return next((url for url in kept if isinstance(url, str) and url), None)
