"""Children of the training process: they change nothing, hang on nothing, and may train by themselves."""

from __future__ import annotations

from typing import Any

import pytest

LOADERS = """
import os, sys, threading
import torch
from torch.utils.data import DataLoader, Dataset
from notifybot import notify_epoch

loop = None

class Samples(Dataset):
    def __len__(self):
        return 32

    def __getitem__(self, index):
        if loop is not None:  # forked: the parent's run is here
            loop.log(inside=1.0)
            loop.run.alert("from a worker")
            loop.run.log_epoch(99, {"x": 1.0})
            loop.log_checkpoint("x.pt")
        with notify_epoch(range(1), name="worker") as epochs:
            for epoch in epochs:
                epochs.log(loss=1.0)
        return torch.ones(1)

calls = 0

def busy(run, stop):
    global calls
    while not stop.is_set():
        run.alert("busy")
        calls += 1

def main():
    global loop
    stop = threading.Event()
    with notify_epoch(range(EPOCHS), name="parent") as loop:
        thread = threading.Thread(target=busy, args=(loop.run, stop))
        thread.start()
        for epoch in loop:
            loader = DataLoader(Samples(), batch_size=4, num_workers=4, multiprocessing_context=METHOD)
            total = sum(float(batch.sum()) for batch in loader)
            loop.log(total=total)
        stop.set()
        thread.join()
    print(loop.run.status, loop.run.faults, calls)

if __name__ == "__main__":
    main()
"""


# Workers that are not forked import torch first, which takes seconds.
@pytest.mark.parametrize(("method", "epochs"), [("fork", 5), ("forkserver", 1), ("spawn", 1)])
def test_loader_workers_neither_hang_nor_report(workplace: Any, method: str, epochs: int) -> None:
    source = LOADERS.replace("METHOD", repr(method)).replace("EPOCHS", str(epochs))
    outcome = workplace.run(source, timeout_s=120)

    assert outcome.code == 0, outcome.err
    events = workplace.events()
    assert {event["run"]["name"] for event in events} == {"parent"}
    assert {event.get("title") for event in events} <= {None, "busy"}
    assert workplace.endings == ["finished"]
    told = workplace.events("epoch_finished")
    assert [event["progress"]["metrics"]["total"]["value"] for event in told] == [32.0] * epochs
    assert "inside" not in events[-1]["progress"]["metrics"]
    assert outcome.out == f"finished {{}} {len(workplace.events('alert_raised'))}\n"


def test_a_forked_child_that_leaves_the_parents_loop_says_nothing(workplace: Any) -> None:
    outcome = workplace.run(
        """
        import os, sys
        from notifybot import notify_epoch
        with notify_epoch(range(3), name="parent") as epochs:
            for epoch in epochs:
                epochs.log(loss=1.0)
                child = os.fork() if epoch == 1 else None
                if child == 0:
                    break
                if child:
                    print("child", os.waitpid(child, 0)[1])
        sys.exit(5 if child == 0 else 0)
        """
    )

    assert (outcome.code, outcome.out) == (0, f"child {5 << 8}\n"), outcome.err
    assert workplace.endings == ["finished"]
    assert len(workplace.events("epoch_finished")) == 3


@pytest.mark.parametrize("body", ["raise ValueError('child')", "os.kill(os.getpid(), signal.SIGTERM)", "sys.exit(1)"])
def test_a_forked_child_that_dies_inside_the_block_says_nothing(workplace: Any, body: str) -> None:
    outcome = workplace.run(
        f"""
        import os, signal, sys
        from notifybot import notify_epoch
        with notify_epoch(range(2), name="parent") as epochs:
            for epoch in epochs:
                child = os.fork()
                if child == 0:
                    {body}
                os.waitpid(child, 0)
        """
    )

    assert outcome.code == 0, outcome.err
    assert workplace.endings == ["finished"]


def test_forked_children_leave_checkpoints_and_bar_to_their_parent(workplace: Any) -> None:
    """However they leave: they write nothing there, wait for nobody, and say nothing of a metric that is not logged."""
    outcome = workplace.run(
        r"""
        import os, sys
        import torch
        from notifybot import Checkpoints, notify_epoch
        parent = os.getpid()

        class Terminal:
            def __init__(self, stream): self.stream = stream
            def isatty(self): return True
            def write(self, text): return self.stream.write(text if os.getpid() == parent else "<child>" + text)
            def __getattr__(self, name): return getattr(self.stream, name)

        def watch(event, given):
            writes = event in ("os.rename", "os.remove") or (event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR))
            if os.getpid() != parent and writes and "kept" in str(given[0]):
                os.write(1, f"{event} {given}\n".encode())

        sys.stderr = Terminal(sys.stderr)
        sys.addaudithook(watch)
        kept = Checkpoints("kept", model=torch.nn.Linear(1, 1), monitor="val_loss", every=9)
        try:
            with notify_epoch(range(4), name="parent", checkpoints=kept) as epochs:
                for epoch in epochs:
                    epochs.log(loss=1.0)
                    if os.getpid() != parent:
                        continue
                    if child := os.fork():
                        os.waitpid(child, 0)
                    elif epoch == 0:
                        break
                    elif epoch == 1:
                        sys.exit(0)
                    elif epoch == 2:
                        raise ValueError("the child's own")
                    else:
                        continue
                    epochs.log(val_loss=1.0)
        finally:
            if os.getpid() != parent:
                sys.stderr.flush()
                os._exit(0)
        print("trained")
        """
    )

    assert (outcome.code, outcome.out) == (0, "trained\n"), outcome.err
    assert "<child>" not in outcome.err
    assert workplace.endings == ["finished"]


def test_a_forked_child_may_have_a_run_of_its_own(workplace: Any) -> None:
    outcome = workplace.run(
        """
        import multiprocessing
        from notifybot import notify_epoch, notify_run

        def child():
            with notify_epoch(range(2), name="child") as epochs:
                for epoch in epochs:
                    epochs.log(loss=1.0)

        with notify_run("parent") as run:
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
            process.join()
            run.log_epoch(0, loss=1.0)
        print(process.exitcode)
        """
    )

    assert outcome.out == "0\n", outcome.err
    assert [(event["run"]["name"], event["kind"]) for event in workplace.events()] == [
        ("parent", "run_started"),
        ("child", "run_started"),
        ("child", "epoch_finished"),
        ("child", "epoch_finished"),
        ("child", "run_ended"),
        ("parent", "epoch_finished"),
        ("parent", "run_ended"),
    ]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_of_multiprocessing_leaves_its_whole_run_behind(workplace: Any, method: str) -> None:
    """It ends by `os._exit`, while the database is busy and all that happened is still in memory."""
    workplace.write(
        """
        from notifybot import notify_epoch

        def train(opened, held):
            with notify_epoch(range(3), name="child", progress=False) as epochs:
                for epoch in epochs:
                    if epoch == 0:
                        opened.set()
                        held.wait()
                    epochs.log(loss=1.0)
        """,
        "work.py",
    )
    done = workplace.run(
        f"""
        import multiprocessing, os, sqlite3, time
        from work import train

        if __name__ == "__main__":
            context = multiprocessing.get_context("{method}")
            opened, held = context.Event(), context.Event()
            child = context.Process(target=train, args=(opened, held))
            child.start()
            opened.wait()
            database = os.path.join(os.environ["NOTIFYBOT_STATE_DIR"], "notifybot.db")
            lock = sqlite3.connect(database, timeout=30, isolation_level=None)
            lock.execute("BEGIN IMMEDIATE")
            held.set()
            time.sleep(0.8)
            lock.execute("COMMIT")
            child.join()
            print(child.exitcode)
        """
    )

    assert (done.code, done.out) == (0, "0\n"), done.err
    assert len(workplace.events("epoch_finished")) == 3
    assert workplace.endings == ["finished"]


FORKED_WHILE_WRITING = """
import os, sys, threading
from notifybot import notify_epoch

def train(name, epochs, wait=lambda epoch: None):
    with notify_epoch(range(epochs), name=name, progress=False) as loop:
        for epoch in loop:
            wait(epoch)
            loop.log(loss=1.0)

def write(store):
    with store.transaction():
        written.set()
        threading.Event().wait(0.3)

with notify_epoch(range(1), name="parent", progress=False) as loop:
    for epoch in loop:
        written = threading.Event()
        threading.Thread(target=write, args=(loop.run.session.shared.store,)).start()
        written.wait()
        here, there = os.pipe()
        if os.fork() == 0:
            os.close(there)
            train("child", 2, lambda epoch: epoch == 1 and os.read(here, 1))  # until its parent is gone
            os._exit(0)
        os.close(here)
        loop.log(loss=1.0)
train("after", 1)
"""


def test_a_child_forked_during_a_record_has_the_database_too(workplace: Any) -> None:
    """SQLite's locks are copied into it as they stand: one that is taken then would be taken there for ever."""
    code, _, err = workplace.run(FORKED_WHILE_WRITING)

    assert code == 0
    assert "no database can be opened" not in err
    assert workplace.endings == ["finished"] * 3
    assert len(workplace.events("epoch_finished")) == 4


FORKED_BY_TWO_THREADS = """
import os, threading, time

def linger():
    if threading.current_thread().name == "slow":
        time.sleep(1.5)

os.register_at_fork(before=linger)  # what is registered first is called last: ours has all at rest by then
from notifybot import notify_epoch

def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

with notify_epoch(range(2), name="two", progress=False) as loop:
    for epoch in loop:
        loop.log(loss=1.0)
        if epoch == 0:
            slow, quick = (threading.Thread(target=fork, name=name) for name in ("slow", "quick"))
            slow.start()
            time.sleep(0.2)
            quick.start()
            slow.join()
            quick.join()
"""


def test_two_threads_that_fork_at_once_give_back_what_each_of_them_held(workplace: Any) -> None:
    """The database and the console go on: neither stays with a thread whose fork was the longer one."""
    code, _, err = workplace.run(FORKED_BY_TWO_THREADS)

    assert code == 0
    assert "takes no record" not in err
    assert "finished" in err
    assert workplace.endings == ["finished"]
    assert len(workplace.events("epoch_finished")) == 2
