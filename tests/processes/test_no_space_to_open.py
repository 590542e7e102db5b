"""A database that cannot be opened for want of space is not a damaged one."""

from __future__ import annotations

from tests.processes.conftest import Workplace

WITHOUT_SPACE = """
import resource, signal
from pathlib import Path
from notifybot.errors import StoreError
from notifybot.store.database import Store

Store.open(Path("state/notifybot.db")).close()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # a file may not grow, as on a full disk
try:
    Store.open(Path("state/notifybot.db"))
except StoreError as error:
    print("no database can be opened" in str(error))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(Store.open(Path("state/notifybot.db")).set_aside)
print([each.name for each in Path("state").iterdir() if "damaged" in each.name])
"""


def test_a_start_without_space_leaves_the_database_alone(workplace: Workplace) -> None:
    """All that waits in it is still there when there is space again."""
    done = workplace.run(WITHOUT_SPACE, PYTHONWARNINGS="ignore")

    assert done.out.splitlines() == ["True", "None", "[]"], done.err
