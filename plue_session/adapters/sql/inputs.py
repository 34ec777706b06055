"""The queue of inputs as rows. See ports/inputs.py for what each method promises."""

from plue_session.adapters.sql import rows
from plue_session.model import Claim, Input
from plue_session.model.input import ENDED

#: More rows than there are.
ALL = -1


class Inputs:
    """Those of one scope. `change` and `read`: as for `Operations`."""

    def __init__(self, sql, scope, change, read):
        self._sql, self._scope, self._change, self._read = sql, scope, change, read

    def add_input(self, row):
        self._change(self._sql["add_input"], (row.state in ENDED, *row.VALUES(row)))

    def input(self, number, seq):
        found = self._change(self._sql["input"], (number, seq)).fetchone()
        return found and Input(*found)

    def input_of_key(self, number, source_key):
        found = self._change(self._sql["input_of_key"], (number, source_key)).fetchone()
        return found and Input(*found)

    def input_that_wants(self, number, turn_id):
        found = self._change(self._sql["input_that_wants"], (number, turn_id)).fetchone()
        return found and Input(*found)

    def inputs_from(self, number, seq):
        return [Input(*row) for row in self._change(self._sql["inputs_from"], (number, seq)).fetchall()]

    def open_inputs(self, number, after=0, limit=None):
        values = number, after, ALL if limit is None else limit
        return [Input(*row) for row in self._change(self._sql["open_inputs"], values).fetchall()]

    def bare_inputs(self, number):
        return [Input(*row) for row in self._change(self._sql["bare_inputs"], (number,)).fetchall()]

    def active_inputs(self, number):
        return [Input(*row) for row in self._change(self._sql["active_inputs"], (number,)).fetchall()]

    def inputs_have_room(self, number, most):
        return bool(self._change(self._sql["inputs_have_room"], (number, most)).fetchone()[0])

    def keep_input(self, row):
        closed, place = row.state in ENDED, (row.number, row.seq)
        values = closed, row.alone, row.ingress, row.state, row.claim_id, row.turn_id, *place
        self._change(self._sql["keep_input"], values)

    def vacuum_inputs(self, number):
        return self._change(self._sql["vacuum_inputs"], (number,)).rowcount

    def add_claim(self, claim):
        new = claim.copy()
        new.id = None
        return self._change(self._sql["add_claim"], new.VALUES(new)).fetchall()[0][0]

    def claim(self, id):
        found = self._change(self._sql["claim"], (id,)).fetchone()
        return found and Claim(*found)

    def keep_claim(self, claim):
        self._change(self._sql["keep_claim"], (claim.expires, claim.id))

    def drop_claim(self, id):
        self._change(self._sql["drop_claim"], (id,))

    def read_inputs(self, session_id, now):
        values = self._scope, session_id, rows.number_in(session_id), now
        return [Input(*row) for row in self._read(self._sql["read_inputs"], values)]

    def read_next_input(self, session_id, now):
        values = self._scope, session_id, rows.number_in(session_id), now
        return next((Input(*row) for row in self._read(self._sql["read_next_input"], values)), None)

    def input_waits(self, session_id, seq, now):
        values = self._scope, session_id, rows.number_in(session_id), now, seq
        return any(self._read(self._sql["input_waits"], values))

    def read_input(self, session_id, seq):
        found = self._read(self._sql["read_input"], (self._scope, session_id, rows.number_in(session_id), seq))
        return Input(*found[0]) if found else None

    def sessions_with_inputs(self):
        return [row[0] for row in self._read(self._sql["sessions_with_inputs"], (self._scope,))]
