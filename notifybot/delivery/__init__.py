"""Delivery: records events, and sends them to the notifiers and the watchdog; pictures, digests, subscriptions."""
