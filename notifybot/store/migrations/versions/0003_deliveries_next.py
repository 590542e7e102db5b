"""Find the next delivery without sorting all that wait: a long backlog costs no more than a short one."""

from alembic import op
import sqlalchemy as sa


revision = '0003'
down_revision = '0002'


def upgrade() -> None:

    with op.batch_alter_table('deliveries', schema=None) as batch_op:
        batch_op.add_column(sa.Column('rounds', sa.Integer(), server_default='0', nullable=False))
        batch_op.drop_index('deliveries_due')
        batch_op.create_index('deliveries_next', ['notifier', 'state', 'priority', 'rounds'], unique=False)


def downgrade() -> None:

    with op.batch_alter_table('deliveries', schema=None) as batch_op:
        batch_op.drop_index('deliveries_next')
        batch_op.create_index('deliveries_due', ['notifier', 'state', 'priority', 'due_at'], unique=False)
        batch_op.drop_column('rounds')
