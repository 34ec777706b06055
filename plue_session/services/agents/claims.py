"""Claims of starts: while a process starts an agent for a session, a row says so, for all processes on the store.

Until the agent is attached nothing else tells of it, and who cleans the session would not wait for its end. A claim
lasts until nothing is left of a start that has failed. One whose process has died is settled by whoever meets it.
"""

from plue_session.model import Operation
from plue_session.rules.jsontext import dumps, loads
from plue_session.services.agents import START, processes


class Claims:
    """Those of one backend's sessions. Thread-safe. Each start has a `name`."""

    def __init__(self, backend):
        self._store, self._writer = backend.store, backend.writer
        self._held = set()  # names of this process's starts

    def put(self, transaction, session_id, name, guard=None):
        """Claim the session, or note which `guard` ends the agent."""
        self._held.add(name)  # before anybody can see the row
        row = Operation(kind=START, session_id=session_id, created=transaction.now, due=transaction.now)
        row.arguments = dumps({"owner": self._store.owner(), "name": name, "guard": guard})
        transaction.store.put_operation(row)

    def drop(self, transaction, session_id, name):
        """Drop a claim; harmless when it is gone."""
        if (claim := _read(transaction, session_id)) and claim["name"] == name:
            transaction.store.drop_operation(START, session_id)

    def let_go(self, name):
        """Note that this process has no such start any more. A claim that is still there is settled as a dead one's."""
        self._held.discard(name)

    def holder(self, transaction, session_id):
        """Return `(name, whether that start goes on)` of the session's claim, or None."""
        claim = _read(transaction, session_id)
        return claim and (claim["name"], self._goes_on(claim))

    def settle_now(self, session_id, call=None):
        """See to the claim of a process that has died, and return whether one is left that is to be waited for."""
        if not self._store.count_operations(START):
            return False
        return self._writer.run(lambda transaction: self._settle(transaction, session_id), call)

    def settle_all(self):
        """The same for all sessions."""
        for each in self._store.operations(limit=1 << 30):
            if each.kind == START:
                self.settle_now(each.session_id)

    def _goes_on(self, claim):
        if claim["owner"] == self._store.owner():
            return claim["name"] in self._held
        return self._store.is_owner_alive(claim["owner"])

    def _settle(self, transaction, session_id):
        claim = _read(transaction, session_id)
        if claim is None:
            return False
        if self._goes_on(claim):
            return True
        if processes.lives(claim["guard"]):  # it ends what the process has left
            return True
        transaction.store.drop_operation(START, session_id)
        return False


def _read(transaction, session_id):
    row = transaction.store.operation(START, session_id)
    return row and loads(row.arguments)
