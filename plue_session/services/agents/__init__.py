"""Agents that are attached to sessions. Nothing of them is loaded before there is one."""

from plue_session.model.attachment import ACP
from plue_session.primitives import allocate_lock
from plue_session.rules.jsontext import loads

#: The kind of the row that says that a process starts an agent for a session (claims.py).
START = "start"


class LazyAgents:
    """The agents of a process: `load()` makes its `Agents` (attachments.py), when they are first needed.
    Thread-safe."""

    def __init__(self, store, load=None):
        self._store, self._load, self._lock, self._agents = store, load, allocate_lock(), None

    def get(self):
        """Return the `Agents`."""
        if self._agents is None:
            with self._lock:
                if self._agents is None:
                    self._agents = self._load()
        return self._agents

    def attach(self, session_id, given):
        """Attach an agent; see `Agents.attach`."""
        return self.get().attach(session_id, given)

    def create_with(self, fields):
        """Create a session with an agent; see `Agents.create_with`."""
        return self.get().create_with(fields)

    def end(self, session_id, call):
        """End the session's agent, in whichever process it is, and return when nothing is left of it."""
        row = self._store.read_attachment(session_id)
        is_one = row is not None and row.kind == ACP or self._store.count_operations(START)
        if self._agents is not None or is_one:
            self.get().end(session_id, call)

    def choices(self, session_id):
        """Return what an input of the session may name."""
        return self.get().choices(session_id)

    def poke(self, session_id):
        """Have the session's agent see what has become of its session, if it is in this process."""
        if self._agents is not None:
            self._agents.poke(session_id)

    hurry = poke

    def aborted(self, session_id):
        """Have the start of the session's agent be ended, if it is in this process: the session is aborted."""
        if self._agents is not None:
            self._agents.aborted(session_id)

    def watch(self, session_id):
        """Have the session's turn be ended should the process that has its agent die."""
        self.get().orphans.watch(session_id)

    def settle(self, transaction, session):
        """See to what a process has left that had the session's agent, if it has died; return whether it has."""
        return self.get().orphans.settle(transaction, session)

    def settle_now(self, session_id):
        """The same, in a change of its own."""
        self.get().orphans.settle_now(session_id)

    def take_back_left(self, transaction, session):
        """If the process has died that was making the session with its agent, take that back; return whether it
        has."""
        is_claimed = transaction.store.operation(START, session.id) is not None
        return is_claimed and self.get().starts.claims.take_back_left(transaction, session.id)

    def describe(self):
        """Return what is known of the agents of this process, by session id."""
        return {} if self._agents is None else self._agents.describe()

    def settle_all(self):
        """See to what processes have left that had agents and died."""
        if not all(map(self._store.is_owner_alive, self._owners())):
            self.get().settle_all()

    def _owners(self):
        """Return the processes that have, or start, agents."""
        found = {row.owner for _, row in self._store.read_attachments() if row.owner is not None}
        if self._store.count_operations(START):
            rows = [row for row in self._store.operations(limit=1 << 30) if row.kind == START]
            found.update(loads(row.arguments)["owner"] for row in rows)
        return found

    def hang_up(self):
        """Begin to end all. Returns at once; twice is harmless."""
        if self._agents is not None:
            self._agents.hang_up()

    def close(self, seconds):
        """End all, and wait for that, at most so many seconds."""
        if self._agents is not None:
            self._agents.close(seconds)
