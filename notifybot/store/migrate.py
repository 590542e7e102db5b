"""Bringing a database to the present schema, with Alembic."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import SQLAlchemyError

from notifybot.errors import StoreError, said

HEAD = "0005"
"""The newest revision under `migrations/versions`; a test holds it to Alembic's own answer."""


def upgrade(connection: Connection) -> None:
    """Bring the database to `HEAD`. Cheap when it is there already: Alembic is imported only for work.

    Raises StoreError when the file was written by a newer notifybot.
    """
    present = _revision(connection)
    if present == HEAD:
        return
    if present is not None and present > HEAD:
        raise StoreError(
            said(
                f"the database was written by a newer notifybot (schema {present}): "
                "upgrade notifybot or set another NOTIFYBOT_STATE_DIR",
                f"더 새로운 버전의 notifybot이 쓴 데이터베이스입니다(스키마 {present}). "
                "notifybot을 업그레이드하거나 NOTIFYBOT_STATE_DIR을 다른 폴더로 지정하세요",
            )
        )
    with _silence():  # its plugins speak while it is imported
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    connection.commit()


@contextmanager
def _silence() -> Iterator[None]:
    """Keep Alembic's account of its steps out of the log of a program that shows INFO, as Hydra's do."""
    alembic = logging.getLogger("alembic")
    before = alembic.level
    alembic.setLevel(max(alembic.getEffectiveLevel(), logging.WARNING))
    try:
        yield
    finally:
        alembic.setLevel(before)


def _revision(connection: Connection) -> str | None:
    try:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except SQLAlchemyError as error:
        raise StoreError(said("the database cannot be read", "데이터베이스를 읽을 수 없습니다")) from error
    return str(found) if found is not None else None
