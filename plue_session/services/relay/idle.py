"""Agents that nobody uses are terminated, where that was asked for (R-075)."""

import time

from plue_session.errors import known
from plue_session.primitives import allocate_lock
from plue_session.rules import relay as rules
from plue_session.services.alarms import Alarms
from plue_session.services.relay import changes
from plue_session.services.turns import heard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.services.relay.relay import Relay

#: Why a session is terminated.
REASON = "idle"
#: Seconds until what could not be seen is looked at again.
AGAIN = 5.0


class Idle:
    """Watches what this process has attached. Thread-safe. There is no thread unless something is watched."""

    def __init__(self, relay: "Relay"):
        self._relay, self._alarms = relay, Alarms(relay.writer.publisher.adopt)
        self._lock, self._set, self._closed = allocate_lock(), {}, False

    def watch(self, session_id, ms):
        """Look at a session in so many ms. Twice is harmless, also for what is not attached: what is to be done is read
        then."""
        with self._lock:
            self._alarms.drop(self._set.pop(session_id, None))
            if not self._closed:
                at = time.monotonic() + ms / 1000
                self._set[session_id] = self._alarms.set(at, lambda: self._look(session_id))

    def close(self):
        """Watch nothing any more. Twice is harmless."""
        with self._lock:
            self._closed = True
            for alarm in self._set.values():
                self._alarms.drop(alarm)
            self._set.clear()

    def _look(self, session_id):
        with self._lock:
            self._set.pop(session_id, None)
            if self._closed:
                return

        def failed(error):
            self._relay.log.write("warning", known(error).message(f"relay idle {session_id}"))
            self.watch(session_id, AGAIN * 1000)

        def done(left):
            if left is not None:
                self.watch(session_id, left)

        heard.record(self._relay.writer, lambda transaction: self._terminate(transaction, session_id), failed, done)

    def _terminate(self, transaction, session_id):
        """Terminate the session if it is idle; return in how many ms it will be, None: never."""
        session = transaction.store.load(session_id)
        if session is None or session.relay_state is None or not rules.is_active(session.relay_state):
            return None
        attachment = transaction.store.attachment(session.number)
        most = attachment and rules.read_options(attachment.options)["idleMs"]
        if most is None or attachment.owner != transaction.store.owner():
            return None
        left = most if session.turn is not None else session.relay_active + most - transaction.now
        if left > 0:
            return min(left, most)  # the clock may have been set back
        changes.move(transaction, session, rules.TERMINATE, REASON)
        return None
