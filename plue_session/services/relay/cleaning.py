"""Cleaning: the agent is ended, the host's cleaner runs, then the session is CLEANED (R-056).

Whoever cleans a session has a row that says so: its process, and which attempt. So the cleaner runs once, however many
threads and processes ask; who comes second waits for the first, and takes over should that process die.
"""

import threading
import time
from collections import deque

from plue_session import errors, threads
from plue_session.call import Call
from plue_session.model import EVENT_NUMBER, Operation
from plue_session.rules import relay as rules
from plue_session.rules.jsontext import dumps, loads
from plue_session.services.later import Later
from plue_session.services.relay import changes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.services.relay.relay import Relay

#: Sessions that are cleaned at a time; the others wait.
MOST = 16
#: Seconds that a cleaning has at least, whoever waits for it: the end of an agent takes 5.
LEAST = 10.0
#: Seconds between two looks at what another process cleans, should nothing tell of its end.
LOOK = 0.5
#: What becomes of a cleaning that is no longer waited for.
BEYOND = "It goes on; relay.changed tells of its end."
#: The kind of the row.
CLAIM = "clean"


class Cleaning:
    """What is cleaned in this process. Thread-safe."""

    def __init__(self, relay: "Relay", cleaner):
        self._relay, self._cleaner = relay, cleaner
        self._changed = threading.Condition()
        self._waiters: dict = {}  # session id: `Later` of each who waits for it
        self._queue, self._running, self._closed = deque(), set(), False
        self._ran = set()  # sessions whose cleaner has run, and whose end could not be recorded yet
        self._told = 0  # how often a relay was heard to have changed
        self._call = Call()
        relay.writer.hear(EVENT_NUMBER["relay.changed"], self._heard)

    def begin(self, session):
        """Have a session (its record) cleaned; returns that as `Later`, or None: it is CLEANED. One that is not
        TERMINATING is refused before anything is done."""
        session_id = session.id
        if changes.checked(session).relay_state == rules.CLEANED:
            return None
        changes.check(session, rules.CLEAN)
        later = Later(time.monotonic() + self._relay.seconds, BEYOND)
        with self._changed:
            if self._closed:
                raise errors.closed()
            is_new = session_id not in self._waiters
            self._waiters.setdefault(session_id, []).append(later)
            if is_new:
                self._queue.append(session_id)
            starts = is_new and len(self._running) < MOST
            thread = object()
            if starts:
                self._running.add(thread)
        if starts:
            try:
                threads.start(lambda: self._work(thread), "plue-clean")
            except errors.StoreIo as error:
                self._left(thread, error)
        return later

    def close(self, seconds):
        """Begin nothing more, and wait for the end of what runs, at most so many seconds."""
        with self._changed:
            self._closed = True
            waiting = list(self._queue)
            self._queue.clear()
        for session_id in waiting:
            self._end(session_id, errors.closed())
        self._call.set(errors.closed())
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._running and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)

    def _left(self, thread, error):
        """There is no thread: whoever works does what waits, or nobody does."""
        with self._changed:
            self._running.discard(thread)
            waiting = [] if self._running else list(self._queue)
            if waiting:
                self._queue.clear()
        for session_id in waiting:
            self._end(session_id, error)

    def _work(self, thread):
        try:
            self._relay.writer.publisher.adopt()
            while (session_id := self._next(thread)) is not None:
                try:
                    outcome = self._clean(session_id, self._call.within(max(self._relay.seconds, LEAST)))
                except Exception as error:
                    outcome = errors.known(error)
                    self._relay.failures.count("clean", outcome)
                self._end(session_id, outcome)
        finally:
            with self._changed:
                self._running.discard(thread)
                self._changed.notify_all()

    def _next(self, thread):
        with self._changed:
            if self._queue:
                return self._queue.popleft()
            self._running.discard(thread)  # under the lock: who comes from now on starts another
            self._changed.notify_all()
            return None

    def _end(self, session_id, outcome):
        with self._changed:
            waiters = self._waiters.pop(session_id, [])
        for each in waiters:
            each.end(outcome)

    # -- one session ---------------------------------------------------------------------------------------------------
    def _clean(self, session_id, call):
        """Clean a session, or wait until another process has."""
        relay = self._relay
        while (attempt := relay.writer.run(lambda transaction: self._claim(transaction, session_id), call)) is None:
            seen = self._told
            call.within(LOOK).wait(self._changed, lambda seen=seen: self._told != seen or None)
            if not call.left:
                raise errors.Timeout(
                    "another process is cleaning the session, and has not come to an end", BEYOND, session=session_id
                )
        if attempt == rules.CLEANED:
            return
        try:
            relay.agents.end(session_id, call)
        except BaseException:
            relay.writer.run_later(lambda transaction: self._release(transaction, session_id, attempt))
            raise
        if session_id not in self._ran:
            self._run_cleaner(session_id)
            self._ran.add(session_id)
        relay.writer.run(lambda transaction: self._finish(transaction, session_id, attempt))
        self._ran.discard(session_id)

    def _claim(self, transaction, session_id):
        """Return a name for this attempt, which is the one that cleans; CLEANED: that is done; None: another process is
        at it."""
        session = changes.load(transaction, session_id)
        if session.relay_state == rules.CLEANED:
            return rules.CLEANED
        changes.check(session, rules.CLEAN)
        store = transaction.store
        known, owner = store.operation(CLAIM, session_id), store.owner()
        claim = known and loads(known.arguments)
        if claim and claim["owner"] != owner and store.is_owner_alive(claim["owner"]):
            return None
        attempt = self._relay.ids.new("clean_", lambda name: claim and name == claim["attempt"])
        row = Operation(kind=CLAIM, session_id=session_id, created=transaction.now, due=transaction.now)
        row.arguments = dumps({"owner": owner, "attempt": attempt})
        store.put_operation(row)
        return attempt

    def _is_ours(self, transaction, session_id, attempt):
        known = transaction.store.operation(CLAIM, session_id)
        return known is not None and loads(known.arguments)["attempt"] == attempt

    def _release(self, transaction, session_id, attempt):
        if self._is_ours(transaction, session_id, attempt):
            transaction.store.drop_operation(CLAIM, session_id)

    def _finish(self, transaction, session_id, attempt):
        """Note that the session is CLEANED; what was attached is gone only now (R-033)."""
        if not self._is_ours(transaction, session_id, attempt):
            return
        transaction.store.drop_operation(CLAIM, session_id)
        session = transaction.store.load(session_id)
        if session is None:  # erased meanwhile
            return
        transaction.store.drop_attachment(session.number)
        session.relay_agent = None
        changes.move(transaction, session, rules.CLEAN)

    def _run_cleaner(self, session_id):
        found = self._relay.store.info(session_id)
        if found is None:
            return
        try:
            result = self._cleaner(found[1])
            reason, cause = "RESULT", result and f"it returned {result}"
        except Exception as error:
            reason, cause = errors.known(error).name, errors.known(error).cause
        if cause:
            self._relay.failures.count("cleaner", reason)
            self._relay.log.write("warning", f"relay clean {session_id}: the cleaner failed: {cause}")

    def _heard(self, row):
        """What was committed may be what somebody waits for; must not wait."""
        if self._running:
            with self._changed:
                self._told += 1
                self._changed.notify_all()
