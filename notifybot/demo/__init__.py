"""The whole story in about a minute, on real data, without an account: a training dies, is missed, and comes back."""

from notifybot.demo.story import main

__all__ = ["main"]
