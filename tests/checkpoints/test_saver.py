"""The thread that writes checkpoints."""

from __future__ import annotations

import threading

from notifybot.checkpoints.saver import Saver


def test_jobs_from_several_threads_run_one_after_the_other() -> None:
    """None is dropped, none beside another, and `wait` waits for the last."""
    saver, running, most, done = Saver(), [0], [0], []

    def job(number: int) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        done.append(number)
        running[0] -= 1

    def submit(first: int) -> None:
        for number in range(first, first + 25):
            saver.submit(lambda number=number: job(number))  # type: ignore[misc]

    threads = [threading.Thread(target=submit, args=(first,)) for first in (0, 25, 50, 75)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert saver.wait(30)
    assert sorted(done) == list(range(100))
    assert most[0] == 1


def test_a_job_that_hangs_is_waited_for_no_longer_than_asked() -> None:
    saver, freed = Saver(), threading.Event()

    def hang() -> None:
        freed.wait(30)

    saver.submit(hang)

    assert not saver.wait(0.05)
    assert saver.busy
    freed.set()
    assert saver.wait(30)
    assert not saver.busy
