"""`notifybot demo`: the story of a training that dies, or of the dead man's switch."""

from __future__ import annotations

from notifybot.cli.options import extra
from notifybot.config import load
from notifybot.types import Language


def run_deadman(*, language: Language | None) -> int:
    """Play the dead man's switch in the asked language, or the configured one."""
    with extra("demo"):
        from notifybot.demo.deadman import main

        return main(load({"lang": language}).lang)


def run(*, real: bool, language: Language | None) -> int:
    """Play the demo in the asked language, or the configured one."""
    with extra("demo"):
        from notifybot.demo import main

        return main(real=real, language=load({"lang": language}).lang)
