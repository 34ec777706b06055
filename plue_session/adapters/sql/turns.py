"""Turns as rows. See ports/turns.py for what each method promises."""

from plue_session.adapters.sql import rows
from plue_session.model import Turn


class Turns:
    """Those of one scope. `change` and `read`: as for `Operations`."""

    def __init__(self, sql, scope, change, read):
        self._sql, self._scope, self._change, self._read = sql, scope, change, read

    def add_turn(self, turn):
        new = turn.copy()
        new.seq = None
        return self._change(self._sql["add_turn"], new.VALUES(new)).fetchall()[0][0]

    def keep_turn(self, turn):
        self._change(self._sql["keep_turn"], turn.VALUES(turn))

    def turn(self, number, id):
        return self._written("turn", number, id)

    def turn_of_message(self, number, message_id):
        return self._written("turn_of_message", number, message_id)

    def open_turn(self, number):
        return self._written("open_turn", number)

    def _written(self, name, *values):
        found = self._change(self._sql[name], values).fetchone()
        return found and Turn(*found)

    def read_turn(self, session_id, id):
        found = self._of(session_id, "read_turn", id)
        return Turn(*found[0]) if found else None

    def read_turns(self, session_id):
        return [Turn(*row) for row in self._of(session_id, "read_turns")]

    def read_open_turn(self, session_id):
        found = self._of(session_id, "read_open_turn")
        return Turn(*found[0]) if found else None

    def read_open_turns(self):
        found = self._read(self._sql["read_open_turns"], (self._scope,))
        return [(session_id, Turn(*row)) for session_id, *row in found]

    def _of(self, session_id, name, *values):
        return self._read(self._sql[name], (self._scope, session_id, rows.number_in(session_id), *values))
