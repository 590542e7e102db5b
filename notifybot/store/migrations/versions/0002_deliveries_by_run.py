"""Find a run's deliveries without looking at everybody's: folding asks for them with every epoch."""

from alembic import op


revision = '0002'
down_revision = '0001'


def upgrade() -> None:

    with op.batch_alter_table('deliveries', schema=None) as batch_op:
        batch_op.create_index('deliveries_by_run', ['run_id', 'notifier', 'priority', 'state'], unique=False)


def downgrade() -> None:

    with op.batch_alter_table('deliveries', schema=None) as batch_op:
        batch_op.drop_index('deliveries_by_run')
