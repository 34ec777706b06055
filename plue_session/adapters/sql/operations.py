"""Pending operations as rows. See ports/operations.py for what each method promises."""

from plue_session.model import Operation

#: Later than any time.
_FAR = 1 << 62


class Operations:
    """Those of one scope. `change(sql, values)` runs a statement of the writer's and returns its cursor,
    `read(sql, values)` one of a reader's and returns its rows."""

    def __init__(self, sql, scope, change, read):
        self._sql, self._scope, self._change, self._read = sql, scope, change, read

    def put_operation(self, operation):
        name = self._scope, operation.kind, operation.name
        before = self._change(self._sql["replace_operation"], name).fetchall()
        due = min([operation.due, *[due for (due,) in before]])
        new = operation.copy()
        new.id, new.due = None, due
        return self._change(self._sql["add_operation"], (*new.VALUES(new), self._scope)).fetchall()[0][0]

    def operation(self, kind, name):
        found = self._change(self._sql["operation"], (self._scope, kind, name)).fetchone()
        return found and Operation(*found)

    def retry_operation(self, id, due):
        self._change(self._sql["retry_operation"], (due, id, self._scope))

    def drop_operation(self, kind, name, id=None):
        self._change(self._sql["drop_operation"], (self._scope, kind, name, id))

    def drop_operations_of(self, session_id):
        self._change(self._sql["drop_operations_of"], (self._scope, session_id))

    def operations(self, due=None, limit=100):
        found = self._read(self._sql["operations"], (self._scope, _FAR if due is None else due, limit))
        return [Operation(*row) for row in found]

    def count_operations(self, kind=None):
        return self._read(self._sql["count_operations"], (self._scope, kind))[0][0]
