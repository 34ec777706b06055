"""What is attached to sessions, as rows. See ports/attachments.py for what each method promises."""

from plue_session.adapters.sql import rows
from plue_session.model import Attachment
from plue_session.rules.jsontext import dumps, loads


class Attachments:
    """Those of one scope. `change` and `read`: as for `Operations`."""

    def __init__(self, sql, scope, change, read):
        self._sql, self._scope, self._change, self._read = sql, scope, change, read

    def attachment(self, number):
        found = self._change(self._sql["attachment"], (number,)).fetchone()
        return found and _record(found)

    def keep_attachment(self, row):
        values = list(row.VALUES(row))
        values[_COMMAND] = dumps(row.command)
        self._change(self._sql["keep_attachment"], values)

    def drop_attachment(self, number):
        self._change(self._sql["erase_attachment"], (number,))

    def read_attachment(self, session_id):
        values = self._scope, session_id, rows.number_in(session_id)
        found = self._read(self._sql["read_attachment"], values)
        return _record(found[0]) if found else None

    def read_attachments(self):
        found = self._read(self._sql["read_attachments"], (self._scope,))
        return [(session_id, _record(row)) for session_id, *row in found]


_COMMAND = Attachment.__slots__.index("command")


def _record(row):
    found = Attachment(*row)
    found.command = loads(row[_COMMAND])
    return found
