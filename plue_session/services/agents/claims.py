"""Claims of starts: while a process starts an agent for a session, a row says so, for all processes on the store.

Until the agent is attached nothing else tells of it: who cleans the session would not wait for its end, and a session
that is made with its agent would stay half made if the process is killed. A claim lasts until nothing is left of a
start that has failed. One whose process has died is settled by whoever meets it.
"""

from plue_session import errors
from plue_session.model import Operation
from plue_session.rules.jsontext import dumps, loads
from plue_session.services.agents import START, processes
from plue_session.services.operations.end import Delete
from plue_session.services.work_queue import LOOK


class Claims:
    """Those of one backend's sessions. Thread-safe. Each start has a `name`."""

    def __init__(self, backend):
        self._backend, self._store, self._writer = backend, backend.store, backend.writer
        self._held = set()  # names of this process's starts

    def put(self, transaction, session_id, name, is_made=False, guard=None, is_ending=False):
        """Claim the session, or note which `guard` ends the agent, or that the start has failed and what is left of it
        `is_ending`. `is_made`: the session is made with the agent, and goes if the start does not come to its end."""
        self._held.add(name)  # before anybody can see the row
        row = Operation(kind=START, session_id=session_id, created=transaction.now, due=transaction.now)
        claim = {"owner": self._store.owner(), "name": name, "isMade": is_made, "guard": guard, "isEnding": is_ending}
        row.arguments = dumps(claim)
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
        return claim and (claim["name"], self._goes_on(claim) and not claim["isEnding"])

    def settle_now(self, session_id, call=None):
        """See to the claim of a process that has died, and return whether one is left that is to be waited for."""
        if not self._store.count_operations(START):
            return False
        return self._writer.run(lambda transaction: self.settle(transaction, session_id), call)

    def settle_all(self):
        """See to the claims of processes that have died. What is left is seen to by whoever meets it."""
        for each in self._store.operations(limit=1 << 30):
            if each.kind != START:
                continue
            try:
                self._writer.run(lambda transaction, each=each: self._settle(transaction, each.session_id))
            except errors.PlueError as error:
                self._backend.log.write("warning", error.message(f"agent {each.session_id}"))

    def take_back_left(self, transaction, session_id):
        """Take a session back if the process has died that was making it; return whether it has."""
        claim = _read(transaction, session_id)
        is_left = claim is not None and claim["isMade"] and not self._goes_on(claim)
        return is_left and not self._settle(transaction, session_id)

    def take_back(self, transaction, session_id, name):
        """Delete a session of ours whose agent cannot be attached."""
        self.drop(transaction, session_id, name)
        self._delete(transaction, session_id)

    def _goes_on(self, claim):
        if claim["isEnding"] and claim["guard"] is not None:
            return processes.lives(claim["guard"])
        if claim["owner"] == self._store.owner():
            return claim["name"] in self._held
        return self._store.is_owner_alive(claim["owner"])

    def settle(self, transaction, session_id):
        """The same within a change, for who is to wait for the end of what a dead process was starting."""
        claim = _read(transaction, session_id)
        if claim is not None and not self._goes_on(claim) and processes.lives(claim["guard"]):
            return True
        return self._settle(transaction, session_id)

    def _settle(self, transaction, session_id):
        claim = _read(transaction, session_id)
        if claim is None:
            return False
        if self._goes_on(claim):
            return True
        if claim["isMade"]:
            self._delete(transaction, session_id)
        elif processes.lives(claim["guard"]):  # it ends what the process has left
            return True
        transaction.store.drop_operation(START, session_id)
        return False

    def _delete(self, transaction, session_id):
        """Delete a session, if it is there. A server is told of that when it can be."""
        on, delete = self._backend, Delete(self._backend, session_id)
        if transaction.store.load(session_id) is None:
            return
        if on.server is None:
            delete.preview(transaction)
        else:
            delete.queue(transaction, sent=False)
            on.outbox.poke(session_id, LOOK)  # once this is committed


def _read(transaction, session_id):
    row = transaction.store.operation(START, session_id)
    return row and loads(row.arguments)
