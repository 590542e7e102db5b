"""`python -m notifybot` is the command line."""

from __future__ import annotations

from notifybot.cli import main

main()
