"""The endings table, in programs of their own: what is recorded, and that the exit code is the program's own."""

from __future__ import annotations

import platform
import signal
import socket
import textwrap
import time
from typing import Any

import pytest

WITH = """
from notifybot import notify_epoch
{before}
with notify_epoch(range(3), name="r") as epochs:
    for epoch in epochs:
        epochs.log(loss=1.0 / (epoch + 1))
        {body}
{after}
"""
BARE = """
from notifybot import notify_epoch
{before}
epochs = notify_epoch(range(3), name="r")
for epoch in epochs:
    epochs.log(loss=1.0 / (epoch + 1))
    {body}
{after}
"""


def program(form: str, body: str = "pass", before: str = "", after: str = "") -> str:
    return form.format(body=body, before=textwrap.dedent(before), after=textwrap.dedent(after))


def quoted(event: dict[str, Any]) -> str:
    return f"{event['error']}\n{event['frames']}"


EXIT = "if epoch == 1: import sys; sys.exit"
KILL = "if epoch == 1: import os, signal; os.kill(os.getpid(), signal."

TABLE = [
    # in the loop, exit code, ending inside with, ending of a bare for, epochs told
    pytest.param("pass", 0, "finished", "finished", 3, id="runs out"),
    pytest.param("if epoch == 1: break", 0, "stopped", "stopped", 2, id="break"),
    pytest.param(f"{EXIT}(0)", 0, "stopped", "stopped", 2, id="exit 0"),
    pytest.param(f"{EXIT}()", 0, "stopped", "stopped", 2, id="exit"),
    pytest.param(f"{EXIT}(3)", 3, "failed", "stopped", None, id="exit 3"),
    pytest.param(f"{EXIT}('no')", 1, "failed", "stopped", None, id="exit text"),
    pytest.param("if epoch == 1: raise ValueError('boom')", 1, "failed", "failed", 1, id="exception"),
    pytest.param("if epoch == 1: raise KeyboardInterrupt", -2, "interrupted", "interrupted", 1, id="stop button"),
    pytest.param(f"{KILL}SIGINT)", -2, "interrupted", "interrupted", 1, id="SIGINT"),
    pytest.param(f"{KILL}SIGTERM)", -15, "interrupted", None, 1, id="SIGTERM"),
    pytest.param(f"{KILL}SIGHUP)", -1, "interrupted", None, 1, id="SIGHUP"),
    pytest.param(f"{KILL}SIGKILL)", -9, None, None, 1, id="SIGKILL"),
]


@pytest.mark.parametrize(("body", "code", "inside", "bare", "told"), TABLE)
def test_the_ending_inside_with(
    workplace: Any, body: str, code: int, inside: str | None, bare: str | None, told: int | None
) -> None:
    outcome = workplace.run(program(WITH, body))

    assert outcome.code == code, outcome.err
    assert workplace.endings == ([inside] if inside else [])
    assert told is None or len(workplace.events("epoch_finished")) == told


@pytest.mark.parametrize(("body", "code", "inside", "bare", "told"), TABLE)
def test_the_ending_of_a_bare_for(
    workplace: Any, body: str, code: int, inside: str | None, bare: str | None, told: int | None
) -> None:
    outcome = workplace.run(program(BARE, body))

    assert outcome.code == code, outcome.err
    assert workplace.endings == ([bare] if bare else [])
    assert told is None or len(workplace.events("epoch_finished")) == told


def test_a_task_that_another_ones_failure_cancelled_has_failed(workplace: Any) -> None:
    """A TaskGroup cancels the training; what people need to hear of is the failure. Ctrl-C remains an interruption."""
    outcome = workplace.run(
        """
        import asyncio
        from notifybot import notify_epoch

        async def train(began):
            with notify_epoch(range(99), progress=False) as epochs:
                for epoch in epochs:
                    epochs.log(loss=1.0)
                    began.set()
                    await asyncio.sleep(0.01)

        async def fail(began):
            await began.wait()
            raise ValueError("the actor died")

        async def main():
            began = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(train(began))
                group.create_task(fail(began))

        asyncio.run(main())
        """
    )

    assert outcome.code == 1, outcome.err
    assert workplace.endings[-1] == "failed"
    assert "ValueError: the actor died" in workplace.events("run_ended")[-1]["error"]


def test_return_out_of_the_loop_is_stopped(workplace: Any) -> None:
    outcome = workplace.run(
        """
        from notifybot import notify_epoch

        def inside():
            with notify_epoch(range(3)) as epochs:
                for epoch in epochs:
                    return "kept"

        def bare():
            for epoch in notify_epoch(range(3)):
                return "kept"

        print(inside(), bare())
        """
    )

    assert outcome.out.split() == ["kept", "kept"]
    assert workplace.endings == ["stopped", "stopped"]


@pytest.mark.parametrize("form", [WITH, BARE], ids=["with", "bare"])
def test_a_failure_names_the_exception_the_epoch_and_the_users_lines(workplace: Any, form: str) -> None:
    before = """
    def step(secret_local):
        return {}["missing"]
    """
    workplace.run(program(form, "if epoch == 1: step('never shown')", before))

    (ending,) = workplace.events("run_ended")
    assert ending["error"] == "KeyError: 'missing' [epoch 1]"
    assert 'train.py:5 in step\n    return {}["missing"]' in ending["frames"]
    assert "never shown" not in ending["frames"].replace("step('never shown')", "")
    assert "notifybot/" not in ending["frames"]
    assert ending["progress"]["metrics"]["loss"]["value"] == 1.0


def test_an_exception_after_the_loop_but_inside_with_is_a_failure(workplace: Any) -> None:
    outcome = workplace.run(
        """
        from notifybot import notify_epoch
        with notify_epoch(range(2)) as epochs:
            for epoch in epochs: pass
            raise RuntimeError("evaluation")
        """
    )

    assert outcome.code == 1
    assert workplace.endings == ["failed"]


def test_a_break_and_a_later_crash_elsewhere_leave_the_run_stopped(workplace: Any) -> None:
    after = """
    import threading
    threading.Event().wait(2.5)
    raise RuntimeError("plotting")
    """
    outcome = workplace.run(program(BARE, "if epoch == 1: break", after=after))

    assert outcome.code == 1
    assert workplace.endings == ["stopped"]


def test_an_exception_that_is_slow_to_surface_still_makes_a_failure(workplace: Any) -> None:
    outcome = workplace.run(
        """
        import threading
        from notifybot import notify_epoch
        try:
            for epoch in notify_epoch(range(3)):
                raise ValueError("boom")
        finally:
            threading.Event().wait(2.5)
        """
    )

    assert outcome.code == 1
    assert workplace.endings == ["stopped", "failed"]


def test_an_exception_that_the_program_handles_is_no_failure(workplace: Any) -> None:
    outcome = workplace.run(
        """
        from notifybot import notify_epoch
        try:
            for epoch in notify_epoch(range(3)):
                raise ValueError("handled")
        except ValueError:
            print("went on")
        """
    )

    assert (outcome.code, outcome.out) == (0, "went on\n")
    assert workplace.endings == ["stopped"]


def test_the_next_run_decides_on_the_one_before(workplace: Any) -> None:
    workplace.run(
        """
        from notifybot import notify_epoch
        for epoch in notify_epoch(range(3)):
            break
        for epoch in notify_epoch(range(2)):
            pass
        """
    )

    assert workplace.endings == ["stopped", "finished"]


def test_the_users_excepthook_is_called_and_given_back(workplace: Any) -> None:
    before = """
    import sys
    def mine(kind, error, traceback):
        print("mine saw", kind.__name__)
    sys.excepthook = mine
    """
    outcome = workplace.run(program(BARE, "if epoch == 1: raise ValueError('boom')", before))

    assert outcome.out == "mine saw ValueError\n"
    assert workplace.endings == ["failed"]

    after = "print(sys.excepthook is mine)"
    assert workplace.run(program(BARE, before=before, after=after)).out == "True\n"
    assert workplace.run(program(WITH, before=before, after=after)).out == "True\n"


HANDLER = """
import os, signal, sys
def handler(number, frame):
    print("mine")
    {action}
signal.signal(signal.SIGTERM, handler)
"""


@pytest.mark.parametrize(
    ("action", "body", "code", "ending"),
    [
        pytest.param("sys.exit(7)", "pass", 7, "interrupted", id="exits"),
        pytest.param("raise KeyboardInterrupt", "pass", -2, "interrupted", id="raises"),
        pytest.param("global stop; stop = True", "if 'stop' in globals(): break", 0, "interrupted", id="asks to break"),
        pytest.param("pass", "pass", 0, "finished", id="carries on"),
    ],
)
def test_a_handler_of_the_program_is_called_and_decides(
    workplace: Any, action: str, body: str, code: int, ending: str
) -> None:
    body = f"os.kill(os.getpid(), signal.SIGTERM) if epoch == 1 else None\n        {body}"
    after = "print(signal.getsignal(signal.SIGTERM) is handler)"
    outcome = workplace.run(program(WITH, body, HANDLER.format(action=action), after))

    assert outcome.code == code, outcome.err
    assert outcome.out.startswith("mine\n")
    assert code or outcome.out.endswith("True\n")
    assert workplace.endings == [ending]


def test_a_handler_put_over_ours_decides_and_is_told_as_an_interruption(workplace: Any) -> None:
    """As Lightning does: it calls ours from its own, saves at the batch's end and leaves with exit code 0."""
    before = """
    import os, signal, sys
    def compose():
        found = signal.getsignal(signal.SIGTERM)
        def composed(number, frame):
            global stop
            found(number, frame)
            stop = True
        signal.signal(signal.SIGTERM, composed)
    """
    body = "compose(); os.kill(os.getpid(), signal.SIGTERM); print('saved' if stop else ''); sys.exit(0)"
    outcome = workplace.run(program(WITH, body, before))

    assert (outcome.code, outcome.out) == (0, "saved\n")
    assert [(each["status"], each["error"]) for each in workplace.events("run_ended")] == [("interrupted", "SIGTERM")]


WARNED = """
import os, signal, torch
from notifybot import Checkpoints, notify_epoch
model = torch.nn.Linear(1, 1)
{before}
with notify_epoch(range(9), name="r", checkpoints=Checkpoints("ck", model=model), progress=False) as epochs:
    for epoch in epochs:
        epochs.log(loss=1.0)
        if epoch == 1: os.kill(os.getpid(), signal.SIGUSR1)
        print(epoch)
"""


@pytest.mark.parametrize(
    ("before", "setting", "code", "out", "told"),
    [
        pytest.param("", "USR1", -10, "0\n1\n", [("interrupted", "SIGUSR1")], id="asked for"),
        pytest.param("", "", -10, "0\n", [], id="off"),
        pytest.param(
            "signal.signal(signal.SIGUSR1, lambda *_: print('mine'))", "SIGUSR1", 0,
            "0\nmine\n" + "".join(f"{each}\n" for each in range(1, 9)), [("finished", "")], id="not over a handler",
        ),
    ],
)  # fmt: skip
def test_a_warning_is_followed_by_a_save_the_news_and_the_end(
    workplace: Any, before: str, setting: str, code: int, out: str, told: list[tuple[str, str]]
) -> None:
    """SLURM's `--signal=USR1@120`: the epoch is finished and saved first, and nothing happens in the handler."""
    outcome = workplace.run(WARNED.format(before=before), NOTIFYBOT_SAVE_SIGNAL=setting)

    assert (outcome.code, outcome.out) == (code, out), outcome.err
    assert [(each["status"], each["error"]) for each in workplace.events("run_ended")] == told
    if setting == "USR1":
        assert workplace.events("run_ended")[0]["progress"]["checkpoint"]["epoch"] == 1


def test_an_ignored_signal_stays_ignored(workplace: Any) -> None:
    before = """
    import os, signal
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    """
    outcome = workplace.run(program(WITH, "os.kill(os.getpid(), signal.SIGHUP)", before))

    assert outcome.code == 0
    assert workplace.endings == ["finished"]


def test_a_handler_set_inside_the_loop_is_left_alone(workplace: Any) -> None:
    before = """
    import os, signal
    def handler(number, frame): print("late")
    """
    body = "signal.signal(signal.SIGTERM, handler)"
    outcome = workplace.run(program(WITH, body, before, "os.kill(os.getpid(), signal.SIGTERM)"))

    assert (outcome.code, outcome.out) == (0, "late\n")


def test_signals_at_random_moments_never_hang_or_lose_the_ending(workplace: Any) -> None:
    source = """
    from notifybot import notify_epoch
    with notify_epoch(range(10**9)) as epochs:
        for epoch in epochs:
            epochs.log(loss=1.0)
            if epoch == 0: print("go")
    """
    for delay_s in (0.0, 0.003, 0.017, 0.05):
        before = len(workplace.endings)
        with workplace.start(textwrap.dedent(source)) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay_s)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
        assert process.returncode == -signal.SIGTERM
        assert workplace.endings[before:] == ["interrupted"]


SLOW_DISK = """
    import os, threading, time, torch
    from notifybot import Checkpoints, notify_epoch

    sync = os.fsync
    slow = threading.Event()

    def fsync(fd):
        if slow.is_set() and threading.current_thread() is not threading.main_thread():
            time.sleep(60)
        sync(fd)

    os.fsync = fsync
    checkpoints = Checkpoints("checkpoints", model=torch.nn.Linear(2, 1), every={every}, grace_s={grace_s})
    loop = notify_epoch(range(3), name="r", checkpoints=checkpoints, progress=False)
    with loop:
        for epoch in loop:
            loop.log(loss=1.0)
            if epoch == {every} - 1:
                slow.set()
            elif epoch == {every}:
                print("busy", flush=True)
    """


@pytest.mark.parametrize(
    ("signals", "code", "error"),
    [
        pytest.param([signal.SIGINT], -signal.SIGINT, "", id="Ctrl-C"),
        pytest.param([signal.SIGTERM, signal.SIGTERM], -signal.SIGTERM, "SIGTERM", id="SIGTERM twice"),
        pytest.param([signal.SIGTERM, signal.SIGINT], -signal.SIGINT, "", id="SIGTERM, then Ctrl-C"),
    ],
)
def test_who_will_not_wait_for_the_last_checkpoint_ends_the_run_at_once_and_it_is_told(
    workplace: Any, signals: list[int], code: int, error: str
) -> None:
    """The disk takes a minute, and the first SIGTERM may wait for half of it."""
    with workplace.start(textwrap.dedent(SLOW_DISK.format(every=3, grace_s=30))) as process:
        assert process.stderr is not None
        while "waiting for the last checkpoint" not in process.stderr.readline():
            assert process.poll() is None
        for each in signals:
            process.send_signal(each)
            time.sleep(0.3)  # two that wait for one process are one
        process.communicate(timeout=25)

    assert process.returncode == code
    assert [(each["status"], each["error"]) for each in workplace.events("run_ended")] == [("interrupted", error)]


def test_a_sigterm_is_not_kept_waiting_by_the_save_before(workplace: Any) -> None:
    """A machine that is taken away leaves half a minute; an epoch waits for the save before it for a whole one."""
    with workplace.start(textwrap.dedent(SLOW_DISK.format(every=1, grace_s=0.5))) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "busy\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=25)

    assert process.returncode == -signal.SIGTERM
    assert [(each["status"], each["error"]) for each in workplace.events("run_ended")] == [("interrupted", "SIGTERM")]


@pytest.mark.parametrize(
    ("leave", "code"),
    [pytest.param("break", 0, id="break"), pytest.param("raise SystemExit(0)", 0, id="exit")],
)
def test_a_bare_loop_whose_program_ends_has_its_state_saved_and_is_told(workplace: Any, leave: str, code: int) -> None:
    outcome = workplace.run(f"""
        import torch
        from notifybot import Checkpoints, notify_epoch

        checkpoints = Checkpoints("checkpoints", model=torch.nn.Linear(2, 1), every=3, template="epoch{{epoch}}")
        epochs = notify_epoch(range(9), name="r", checkpoints=checkpoints)
        for epoch in epochs:
            epochs.log(loss=1.0)
            if epoch == 4:
                {leave}
        """)

    assert outcome.code == code, outcome.err
    assert workplace.endings == ["stopped"]
    assert {each["checkpoint"]["epoch"] for each in workplace.events("checkpoint_saved")} == {2, 4}
    assert (workplace.folder / "checkpoints" / "epoch4.pt").exists()


def test_a_decorated_function_keeps_its_value_and_reports_its_exception(workplace: Any) -> None:
    outcome = workplace.run(
        """
        import asyncio
        from notifybot import notify_run

        @notify_run("plain")
        def plain(x):
            "Doubles."
            return 2 * x

        @notify_run("async")
        async def later(x):
            await asyncio.sleep(0)
            return 3 * x

        @notify_run("bad")
        def bad():
            raise OSError("disk")

        print(plain(2), plain.__name__, plain.__doc__, asyncio.run(later(2)))
        try:
            bad()
        except OSError as error:
            print(error)
        with notify_run("block") as run:
            run.log_epoch(0, {"loss": 1.0})
            run.log_epoch(1, {"loss": 0.5})
        """
    )

    assert outcome.out == "4 plain Doubles. 6\ndisk\n", outcome.err
    assert workplace.endings == ["finished", "finished", "failed", "finished"]
    assert [event["progress"]["done"] for event in workplace.events("epoch_finished")] == [1, 2]


LATE = """
import atexit, threading, time
from notifybot import notify_epoch

begun = threading.Event()

def train(name, until=lambda: None):
    with notify_epoch(range(2), name=name) as epochs:
        for epoch in epochs:
            epochs.log(loss=1.0)
            begun.set()
            until()
    print(name, epochs.run.status, epochs.run.faults, flush=True)

def behind():
    train("across", threading.main_thread().join)
    train("behind")

atexit.register(train, "at exit")
threading.Thread(target=behind).start()
begun.wait()
"""


def test_a_training_that_outlives_the_main_thread_is_recorded_whole(workplace: Any) -> None:
    """Begun before the main thread was over, after that, or at exit, where some versions of Python start no thread."""
    outcome = workplace.run(LATE, PYTHONWARNINGS="error")

    assert outcome.out == "across finished {}\nbehind finished {}\nat exit finished {}\n", outcome.err
    assert workplace.endings == ["finished"] * 3
    told = [event["run"]["name"] for event in workplace.events("epoch_finished")]
    assert told == ["across", "across", "behind", "behind", "at exit", "at exit"]


def test_a_receiver_that_never_answers_adds_at_most_two_seconds(workplace: Any) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        hook = f"http://127.0.0.1:{silent.getsockname()[1]}/services/T0/B0/canary-not-a-token"
        timed = "import time, atexit\nbegan = time.monotonic()\n"
        after = "print('trained')"
        for body, code in (("pass", 0), ("if epoch == 1: raise ValueError('boom')", 1)):
            for last in (False, False, True):  # a busy machine may hold one of two processes up, but not each time
                began_s = time.monotonic()
                plain = workplace.run(program(WITH, body, timed, after))
                plain_s = time.monotonic() - began_s
                outcome = workplace.run(program(WITH, body, timed, after), NOTIFYBOT_SLACK_WEBHOOK_URL=hook)
                took_s = time.monotonic() - began_s - plain_s

                assert outcome.code == plain.code == code
                assert "canary-not-a-token" not in outcome.err + outcome.out
                late = took_s - plain_s >= 2.0 + max(1.0, plain_s)  # Slack's client is imported as well
                assert not (late and last)
                if not late:
                    break


def test_wrong_settings_are_told_before_the_first_epoch(workplace: Any) -> None:
    outcome = workplace.run(program(WITH, "print(epoch)"), NOTIFYBOT_LANG="fr")

    assert outcome.code == 1
    assert outcome.out == ""
    assert "NOTIFYBOT_LANG in the environment must be ko or en" in outcome.err


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"])
def test_other_ranks_run_the_same_code_and_say_nothing(workplace: Any, variable: str) -> None:
    after = """
    import threading
    print(epochs.run.status, epochs.tensorboard, [t.name for t in threading.enumerate()])
    epochs.run.alert("nobody hears")
    epochs.log_checkpoint("model.pt")
    """
    outcome = workplace.run(program(WITH, after=after), **{variable: "1"})

    assert outcome.code == 0, outcome.err
    assert outcome.out == "running None ['MainThread']\n"
    assert outcome.err.count("\n") == 1
    assert "this is rank 1" in outcome.err
    assert "NOTIFYBOT_RANKS=each" in outcome.err
    assert not workplace.database.exists()


def test_each_rank_reports_where_that_is_asked_for(workplace: Any) -> None:
    """`srun -n 4 python train.py --fold $SLURM_PROCID` is four trainings."""
    outcome = workplace.run(program(WITH), SLURM_PROCID="3", NOTIFYBOT_RANKS="each")

    assert outcome.code == 0, outcome.err
    assert workplace.endings == ["finished"]


RANKS = """
import os, subprocess, sys, time
from notifybot import notify_epoch
rank = int(os.environ.setdefault("RANK", "0"))
other = None if rank else subprocess.Popen([sys.executable, __file__], env=os.environ | {{"RANK": "1"}})
with notify_epoch(range(3), name="r", progress=False) as epochs:
    for epoch in epochs:
        if rank and epoch == 1:
            raise RuntimeError("CUDA error on rank 1")
        if other and epoch == 2:
            other.wait()
            {then}
"""


@pytest.mark.parametrize(
    ("then", "rank1"),
    [
        pytest.param("os.kill(os.getpid(), 15)", True, id="terminated by the launcher"),
        pytest.param("raise RuntimeError('gloo: Connection closed by peer')", True, id="lost its peer"),
        pytest.param("raise RuntimeError('my own')", False, id="a failure of its own"),
    ],
)
def test_what_another_rank_died_of_is_told_by_rank_0(workplace: Any, then: str, rank1: bool) -> None:
    """torchrun terminates the others when one fails: that is no preemption. The epoch is the one that rank was in."""
    workplace.run(RANKS.format(then=then), TORCHELASTIC_RUN_ID="job-7", WORLD_SIZE="2")

    (ending,) = workplace.events("run_ended")
    assert ending["status"] == "failed"
    told = "rank 1: RuntimeError: CUDA error on rank 1 [epoch 1]" if rank1 else "RuntimeError: my own [epoch 2]"
    assert ending["error"] == told
    assert ("CUDA error on rank 1" in ending["frames"]) == rank1


def test_a_terminated_training_is_interrupted_where_no_rank_failed(workplace: Any) -> None:
    workplace.run(program(WITH, f"{KILL}SIGTERM)"), TORCHELASTIC_RUN_ID="job-7", WORLD_SIZE="2", RANK="0")

    assert workplace.endings == ["interrupted"]


def test_a_training_that_the_launcher_restarts_is_the_same_run(workplace: Any) -> None:
    """`torchrun --max-restarts`: no id and no checkpoint says so. A second run of the process is one of its own."""
    twice = program(WITH) + "\n" + program(WITH)
    for restart in ("0", "1"):
        workplace.run(twice, TORCHELASTIC_RUN_ID="none", TORCHELASTIC_RESTART_COUNT=restart)

    runs = [(each["run"]["id"], each["attempt"]) for each in workplace.events("run_started")]
    ids = list(dict.fromkeys(run for run, _ in runs))
    assert [(ids.index(run), attempt) for run, attempt in runs] == [(0, 1), (1, 1), (0, 2), (2, 1)]


def test_a_rank_of_another_machine_sends_its_failure_itself(workplace: Any) -> None:
    """Rank 0 cannot read there what it died of."""
    workplace.run(program(WITH, "raise RuntimeError('CUDA error')"), RANK="9", GROUP_RANK="1", WORLD_SIZE="16")

    (alert,) = workplace.events("alert_raised")
    assert alert["title"] == f"Rank 9 on {platform.node()} failed: RuntimeError: CUDA error [epoch 0]"
    assert (alert["severity"], workplace.events("run_started"), workplace.endings) == ("error", [], [])
