"""Permissions and questions as rows. See ports/asks.py for what each method promises."""

from plue_session.adapters.sql import rows
from plue_session.model import Ask


class Asks:
    """Those of one scope. `change` and `read`: as for `Operations`."""

    def __init__(self, sql, scope, change, read):
        self._sql, self._scope, self._change, self._read = sql, scope, change, read

    def ask(self, number, id):
        found = self._change(self._sql["ask"], (number, id)).fetchone()
        return found and Ask(*found)

    def keep_ask(self, ask):
        self._change(self._sql["keep_ask"], ask.VALUES(ask))

    def asks(self, number):
        return [Ask(*row) for row in self._change(self._sql["asks"], (number,)).fetchall()]

    def drop_ended_asks(self, number, turn_id):
        self._change(self._sql["drop_ended_asks"], (number, turn_id))

    def read_ask(self, session_id, id):
        found = self._of(session_id, "read_ask", id)
        return Ask(*found[0]) if found else None

    def read_asks(self, session_id, kind):
        return [Ask(*row) for row in self._of(session_id, "read_asks", kind)]

    def open_asks(self):
        found = self._read(self._sql["open_asks"], (self._scope,))
        return [(session_id, Ask(*row)) for session_id, *row in found]

    def _of(self, session_id, name, *values):
        return self._read(self._sql[name], (self._scope, session_id, rows.number_in(session_id), *values))
