"""A pump that stays behind a command, as a function."""

from __future__ import annotations

import os

from notifybot.command.left_pump import pump


def test_what_comes_is_passed_on_until_every_source_has_ended() -> None:
    (source, feeds), (passed, target) = os.pipe(), os.pipe()
    os.write(feeds, b"late\n")
    os.close(feeds)

    pump([f"{source}:{target}"])

    assert os.read(passed, 100) == b"late\n"
    for each in (source, passed, target):
        os.close(each)


def test_a_target_that_nobody_reads_ends_nothing() -> None:
    (first, feeds), (second, more) = os.pipe(), os.pipe()
    (passed, target), (unread, gone) = os.pipe(), os.pipe()
    os.close(unread)
    for each in (feeds, more):
        os.write(each, b"late\n")
        os.close(each)

    pump([f"{first}:{gone}", f"{second}:{target}"])

    assert os.read(passed, 100) == b"late\n"
    for each in (first, second, passed, target, gone):
        os.close(each)
