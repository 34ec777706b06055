"""Creating a session with its agent: one call, which is undone as one."""

import math
import os
import time

from plue_session import errors
from plue_session.call import Call
from plue_session.model.attachment import ACP
from plue_session.rules import relay
from plue_session.services.later import Later
from plue_session.services.operations.create import Create
from plue_session.services.relay import changes

#: Seconds for which taking the session back waits for others to unlock the store; later it follows.
TAKE_BACK = 0.1


class CreateWithAgent(Create):
    """Creates a session, spawns, and attaches what `given` says. Its result is the session, once it is ACTIVE; where
    that fails, the session is deleted again, also if this process is killed: its claim says so (claims.py)."""

    is_queued = False  # an agent cannot wait for the server
    has_more = True  # type: ignore[assignment]

    def __init__(self, on, agents, fields, given):
        super().__init__(on, fields)
        self._agents, self._given, self._later = agents, given, None
        self._name = os.urandom(8).hex()  # of the start

    def has_intent(self):
        return False

    def preview(self, transaction):
        session = self._spawn(transaction, super().preview(transaction))
        return session if self._given.kind != ACP else self._attached(session)

    def record(self, transaction, answer):
        return self._spawn(transaction, super().record(transaction, answer))

    def done(self, call, result):
        return result if self._given.kind != ACP else self._attached(result, call.deadline)

    def _spawn(self, transaction, session):
        """Give the session a role, its id if none was asked for, and have it be SPAWNING."""
        if session.role is None:
            session.role, session.relay_state = session.id, relay.CREATED
        if self._given.worktree is None:
            self._given = self._given._replace(worktree=session.directory)
        if session.relay_state == relay.CREATED:
            changes.move(transaction, session, relay.SPAWN)
        if self._given.kind != ACP:
            self._agents.activate(transaction, session.id, self._given)
            return transaction.load(session.id)
        self._agents.starts.claims.put(transaction, session.id, self._name, is_made=True)
        return session

    def _attached(self, session, leaves=math.inf):
        """Return what ends once the agent of the session is attached; it is started when the session is committed."""
        if self._later is None:  # the change may run twice
            self._later = Later(min(leaves, time.monotonic() + self.on.seconds), begin=self._begin)
        self._made = session.id
        return self._later

    def _begin(self):
        try:
            self._agents.starts.begin(
                self._made, self._given, self._end, self._later.deadline, self._name, self._take_back
            )
        except BaseException as error:
            self._take_back()
            self._agents.starts.claims.let_go(self._name)
            self._end(errors.known(error))

    def _end(self, error):
        """The agent is attached, or (an error) cannot be."""
        try:
            self._later.end(self.on.read(self._made) if error is None else error)
        except errors.PlueError as failure:
            self._later.end(failure)

    def _take_back(self):
        """Delete the session again."""
        on = self.on

        def change(transaction):
            self._agents.starts.claims.take_back(transaction, self._made, self._name)

        try:
            on.writer.run(change, Call(time.monotonic() + TAKE_BACK))
        except errors.Busy:
            on.writer.run_later(change)
        except errors.PlueError as failure:  # the claim is left, and who meets it does so
            on.log.write("warning", failure.message(f"take back {self._made}"))
            return
        if on.server is not None:
            on.outbox.poke(self._made)
