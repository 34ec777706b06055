"""The outbox as rows. See ports/outbox.py for what each method promises."""

from plue_session.adapters.sql import rows
from plue_session.model import Outgoing

#: What names a session beside its record.
_RENAMED = "rename_share", "rename_operations", "rename_outgoing", "rename_log"


class Outbox:
    """That of one scope. `change` and `read`: as for `Operations`."""

    def __init__(self, sql, scope, change, read):
        self._sql, self._scope, self._change, self._read = sql, scope, change, read

    def put_outgoing(self, row):
        new = row.copy()
        new.id = None
        return self._change(self._sql["add_outgoing"], (*new.VALUES(new), self._scope)).fetchall()[0][0]

    def has_room(self, most):
        return bool(self._change(self._sql["outgoing_has_room"], (most, self._scope)).fetchall()[0][0])

    def has_outgoing(self, row):
        return bool(self._change(self._sql["has_outgoing"], (row.id, self._scope, row.session_id)).fetchall())

    def keep_outgoing(self, row):
        values = row.arguments, row.base, row.state, row.attempts, row.due, row.error, row.id, self._scope
        self._change(self._sql["keep_outgoing"], values)

    def drop_outgoing(self, id):
        return bool(self._change(self._sql["drop_outgoing"], (id, self._scope)).rowcount)

    def drop_outgoing_of(self, session_id):
        self._change(self._sql["drop_outgoing_of"], (self._scope, session_id))

    def outgoing(self, session_id):
        found = self._change(self._sql["outgoing"], (self._scope, session_id)).fetchall()
        return [Outgoing(*row) for row in found]

    def all_outgoing(self, limit):
        return [Outgoing(*row) for row in self._read(self._sql["all_outgoing"], (self._scope, limit))]

    def next_outgoing(self, session_id):
        found = self._read(self._sql["next_outgoing"], (self._scope, session_id))
        return Outgoing(*found[0]) if found else None

    def is_being_deleted(self, session_id):
        return bool(self._read(self._sql["is_being_deleted"], (self._scope, session_id)))

    def due_outgoing(self):
        return self._read(self._sql["due_outgoing"], (self._scope,))

    def count_outgoing(self, state=None):
        return self._read(self._sql["count_outgoing"], (self._scope, state))[0][0]

    def rename(self, old, new):
        self._change(self._sql["rename_session"], (new, self._scope, old, rows.number_in(old)))
        for name in _RENAMED:
            self._change(self._sql[name], (new, self._scope, old))
