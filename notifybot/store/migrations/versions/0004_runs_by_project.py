"""A run's id is its project's own: `runs.key` tells two of the same id apart, and the board finds who is in need.

What stands in the file keeps its place, under the new key. A process of an older version may still be recording into
the file at this moment: triggers give what it writes the right key, and the memories that it reads stay beside.
"""

from alembic import op
import sqlalchemy as sa


revision = '0004'
down_revision = '0003'

KEY = "{0}.project || char(31) || {0}.id"
OLDER = """
CREATE TRIGGER {table}_of_older_versions AFTER INSERT ON {table} WHEN instr(NEW.run_id, char(31)) = 0 BEGIN
  UPDATE {table} SET run_id = coalesce((SELECT "key" FROM runs WHERE runs.id = NEW.run_id LIMIT 1), run_id)
  WHERE id = NEW.id;
END
"""
BEGUN_BY_OLDER = """
CREATE TRIGGER runs_of_older_versions BEFORE INSERT ON runs WHEN NEW."key" IS NULL BEGIN
  INSERT INTO runs ("key", {columns}) VALUES (NEW.project || char(31) || NEW.id, {values});
  SELECT RAISE(IGNORE);
END
"""
NEED = "CASE WHEN status = 'lost' OR (status = 'running' AND stalled) THEN 2 WHEN status = 'running' THEN 1 ELSE 0 END"


def upgrade() -> None:
    connection = op.get_bind()
    cap = connection.exec_driver_sql("PRAGMA max_page_count").scalar()
    connection.exec_driver_sql("PRAGMA max_page_count = 1073741823")  # longer keys need room, also in a full file
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    connection.exec_driver_sql('ALTER TABLE runs RENAME COLUMN id TO "key"')
    connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN id VARCHAR(200) DEFAULT '' NOT NULL")
    connection.exec_driver_sql('UPDATE runs SET id = "key"')
    op.create_index('runs_by_id', 'runs', ['id'], unique=False)
    connection.exec_driver_sql(f'UPDATE runs SET "key" = {KEY.format("runs")}')
    for table in ("events", "deliveries"):
        connection.exec_driver_sql(
            f'UPDATE {table} SET run_id = coalesce((SELECT "key" FROM runs WHERE runs.id = {table}.run_id), run_id)'
        )
        connection.exec_driver_sql(OLDER.format(table=table))
    connection.exec_driver_sql(
        "INSERT OR IGNORE INTO memories (owner, scope, value, updated_at) "
        'SELECT owner, "key", value, updated_at FROM memories JOIN runs ON runs.id = memories.scope'
    )
    columns = [each["name"] for each in sa.inspect(connection).get_columns("runs") if each["name"] != "key"]
    values = ", ".join(f"NEW.{name}" for name in columns)
    connection.exec_driver_sql(BEGUN_BY_OLDER.format(columns=", ".join(columns), values=values))
    connection.exec_driver_sql(f"ALTER TABLE runs ADD COLUMN need INTEGER GENERATED ALWAYS AS ({NEED}) VIRTUAL")
    op.create_index('runs_by_need', 'runs', ['need', 'started_at'], unique=False)
    op.create_index('runs_by_project_and_need', 'runs', ['project', 'need', 'started_at'], unique=False)
    op.drop_index('runs_by_project', 'runs')
    connection.exec_driver_sql(f"PRAGMA max_page_count = {cap}")


def downgrade() -> None:
    raise NotImplementedError("two projects may have a run of the same id by now")
