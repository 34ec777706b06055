"""What processes have left that had agents and died: turns that nobody runs, and attachments without an agent."""

import threading

from plue_session import errors, threads
from plue_session.model.attachment import ACP
from plue_session.rules import asks, outcomes
from plue_session.services.agents.recording import told
from plue_session.services.turns import ask_rows, turn_rows

#: Seconds between two looks for whether a process lives, while a turn of its agent's is waited for.
LOOK = 1.0


class Orphans:
    """Those of one store. Thread-safe. `relay` notes that an agent is lost, `recorder` ends what was being said,
    `turns` knows who waits for a turn."""

    def __init__(self, store, writer, publisher, relay, recorder, turns, log):
        self._store, self._writer, self._publisher, self._relay = store, writer, publisher, relay
        self._recorder, self._turns, self._log = recorder, turns, log
        self._changed = threading.Condition()
        self._watched, self._watches, self._closed = set(), False, False

    # -- settling ------------------------------------------------------------------------------------------------------
    def _is_one(self, row):
        return row is not None and row.owner is not None and not self._store.is_owner_alive(row.owner)

    def settle(self, transaction, session):
        """If the process has died that had the session's agent, end its turn, and note that the agent is lost. Returns
        whether that was so."""
        row = transaction.store.attachment(session.number)
        if not self._is_one(row):
            return False
        error = errors.Closed("the process that had the agent has ended", "Attach the session again.")
        if row.kind == ACP:  # else the host runs its turns
            self.end_turn(transaction, session.id, (outcomes.STOPPED, outcomes.INCOMPLETE, told(error)))
        self._relay.lost(transaction, session.id, row.owner, error)
        return True

    def settle_now(self, session_id):
        """The same, in a change of its own, if there is anything to be done."""

        def change(transaction):
            session = transaction.store.load(session_id)
            if session is not None:
                self.settle(transaction, session)

        if self._is_one(self._store.read_attachment(session_id)):
            self._writer.run(change)

    def settle_all(self):
        """The same for all sessions."""
        for session_id, _ in self._store.read_attachments():
            self.settle_now(session_id)

    def end_turn(self, transaction, session_id, outcome):
        """End a turn that nobody runs any more."""
        session = transaction.load(session_id)
        turn = transaction.store.open_turn(session.number)
        if turn is None:
            return

        def close(transaction, session, turn):
            by = asks.ABORT if outcome[1] == outcomes.CANCELLED else asks.OTHER
            said = self._recorder.close(transaction, session, turn.id, outcome)
            return [*said, *ask_rows.end_all(transaction, session, turn, by)]

        turn_rows.end(transaction, session_id, turn.id, turn.claim_id, outcome, close)

    # -- watching ------------------------------------------------------------------------------------------------------
    def watch(self, session_id):
        """Settle the session's turn should the process that has its agent die, for as long as somebody here waits for
        it."""
        with self._changed:
            if self._closed:
                return
            self._watched.add(session_id)
            starts, self._watches = not self._watches, True
        if starts:
            try:
                threads.start(self._watch, "plue-agents")
            except BaseException:
                self._watches = False
                raise

    def close(self):
        """Watch no more. Twice is harmless."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _watch(self):
        self._publisher.adopt()
        while watched := self._next():
            for session_id in watched:
                try:
                    if self._turns.is_awaited(session_id):
                        self.settle_now(session_id)
                    else:
                        self._forget(session_id)
                except errors.PlueError as error:
                    self._log.write("warning", error.message(f"agent {session_id}"))

    def _next(self):
        """Wait until it is time to look again; return at which sessions, none when there is nothing to be watched."""
        with self._changed:
            if self._watched and not self._closed:
                self._changed.wait(LOOK)
            if self._closed:
                self._watched.clear()
            self._watches = bool(self._watched)
            return set(self._watched)

    def _forget(self, session_id):
        with self._changed:
            self._watched.discard(session_id)
