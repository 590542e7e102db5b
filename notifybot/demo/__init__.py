"""Demo of about a minute on real data, without an account: a training dies, is reported lost, and comes back."""

from notifybot.demo.scenario import main

__all__ = ["main"]
