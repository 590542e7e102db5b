"""Atomic model files with a checksum file beside them: `model.pt2`, `model.pt2.sha256`.

The checksum is a line that `sha256sum --check` reads, not a checkpoint's manifest: files with a manifest are pruned,
and a model that somebody put beside their checkpoints is theirs to remove.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from notifybot.checkpoints.durable_io import Files, temporary_name, write_bytes
from notifybot.errors import CheckpointError, reader_text

log = logging.getLogger("notifybot")


@contextmanager
def atomic_write_with_checksum(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write; when the block ends well it becomes `path`, durably, with a checksum.

    A block that raises leaves the former file unchanged. The old checksum is removed before the new file is put in
    place, and the new one written after: a kill in between leaves a file without a checksum, never with a wrong one.
    """
    files, temporary = Files(path.parent), temporary_name("payload")
    files.make()
    try:
        yield path.parent / temporary
        digest, _ = files.hash(temporary)
        files.sync_file(temporary)
        files.remove(_proof_of(path).name)
        files.replace(temporary, path.name)
    finally:
        files.discard(temporary)
    files.sync()
    write_bytes(_proof_of(path), f"{digest}  {path.name}\n".encode())


def verify(path: Path) -> None:
    """Compare a file with its checksum. Raises CheckpointError when the file is missing or differs.

    A file without a checksum passes: one from elsewhere never had any.
    """
    if not path.is_file():
        raise CheckpointError(reader_text("models.checksum.no_file", path=path))
    try:
        expected = _proof_of(path).read_bytes()[:64]
    except FileNotFoundError:
        log.info("model file without a proof path=%s", path)
        return
    real = path.resolve()  # unlike `Files`, follow a link: the user made it
    if Files(real.parent).hash(real.name)[0].encode() != expected:
        raise CheckpointError(reader_text("models.checksum.changed", path=path, proof=_proof_of(path).name))


def _proof_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
