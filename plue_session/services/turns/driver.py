"""The driver: it has the inputs of sessions answered, one turn of a session at a time.

One process of those on a store drives: the one that has a lock of the kernel's, which ends with the process. It takes a
session's next inputs, commits that, sends them under an id that it has chosen before, follows the turn and commits its
end. What the server tells are hints; what it answers is the proof. Between any two steps the process may die: the rows
say how far it has come, and the server whether it has the prompt.
"""

import contextlib
import os
import time

from plue_session import errors
from plue_session.call import Call
from plue_session.model import EVENT_NUMBER
from plue_session.model.attachment import ACP
from plue_session.rules.ids import is_given_here
from plue_session.rules.jsontext import loads
from plue_session.rules.outbox import is_waiting
from plue_session.services.turns import turn_rows
from plue_session.services.turns.following import Follower
from plue_session.services.turns.taking import Taker
from plue_session.services.turns.watch import Watch
from plue_session.services.work_queue import LOOK, WorkQueue

#: Seconds until a step that has failed is tried again, at first and at most.
AGAIN = 0.25, 8.0
#: Seconds that one step may take.
STEP = 30.0
#: Events after which a session may have something to do.
WAKES = "queue.changed", "turn.started", "turn.finished", "session.updated", "relay.changed"
_QUEUE, _STARTED, _UPDATED = map(EVENT_NUMBER.get, ("queue.changed", "turn.started", "session.updated"))
#: What events say: of another client's turn, of an abort, and of inputs that a step has taken.
_FOREIGN, _ABORTED, _TAKEN = '"inputIds":[]', '"aborted"', '"change":"claimed"'


class Driver(WorkQueue):
    """The queue of sessions in which something is said, or is to be. Thread-safe."""

    name = "turns"

    def __init__(self, on, publisher, settings, tell):
        super().__init__(publisher, on.log)
        self._on, self._tell = on, tell
        self.owner, self.lease = os.urandom(8).hex(), settings.lease
        self._watches, self._failed = {}, {}  # session id: of its open turn; how often in a row a step has failed
        self._parked = set()  # sessions that wait for a change of theirs
        #: sessions in which something may run that is of no turn of ours
        self.doubtful = set()
        self.follower, self.taker = Follower(on, self), Taker(on, self, settings)
        back = on.link.back

        def hurry(was_away=False):
            back(was_away)
            self.look()

        on.link.back = hurry
        on.transcript.begins = self._begins
        for kind in WAKES:
            on.writer.hear(EVENT_NUMBER[kind], self._told)

    @contextlib.contextmanager
    def lasting(self, call):
        """Have a call end with the driver, for as long as it is used."""

        def close():
            call.set(errors.closed())

        self._call.watch(close)
        try:
            yield call
        finally:
            self._call.unwatch(close)

    def hurried(self, session_id):
        """Have a session looked at whose turn is to end: a prompt that is being read or sent all this time is cut
        off."""
        watch = self._watches.get(session_id)
        call = watch and (watch.posting or watch.reading)
        if call:
            call.set(errors.Aborted("the turn is to end", session=session_id))
        self.poke(session_id)

    # -- what is heard -------------------------------------------------------------------------------------------------
    def _told(self, row):
        """Hear what was committed, by whichever process. Must not wait."""
        if row is None:
            self._look_soon()
        elif self._is_news(row):
            self.poke(row.session_id)

    def _is_news(self, row):
        """Return whether an event says what the step that tells it, if one does, does not know."""
        session_id = row.session_id
        if row.kind == _UPDATED:
            return session_id in self._parked or session_id in self._watches and _ABORTED in row.tail
        if row.kind == _STARTED:
            return session_id not in self._busy or _FOREIGN in row.tail
        return session_id not in self._busy or row.kind != _QUEUE or _TAKEN not in row.tail

    def _begins(self, transaction, session, message):
        """Note the turn of another client's whose first answer begins; see `Transcript.begins`."""
        if message.parent_id is None or message.ended or session.relay_agent == ACP:
            return []
        return turn_rows.begin_foreign(transaction, session, message.parent_id)

    def hear(self, change):
        """Hear what the server tells of a session: hints. Must not wait."""
        session_id, watch = change.session_id, self._watches.get(change.session_id)
        if change.kind == "failed":
            if watch is not None and watch.failure is None and watch.is_meant(change.value):
                watch.failure = change.value  # the first one says why
                self.poke(session_id)
        elif change.kind == "message":
            message = change.value
            is_ours = watch is not None and watch.knows(message)
            if message.role == "assistant" and (message.ended or not is_ours or not watch.has_begun):
                if not (message.ended or is_ours):
                    self.doubtful.add(session_id)
                self.poke(session_id)
        elif change.kind == "status":
            if change.value["type"] == "retry":
                self._retries(session_id, watch, change.value)
            elif change.value["type"] == "busy" and watch is not None and watch.retry:
                watch.retry = None
                self.poke(session_id)
        elif watch is not None or session_id in self._parked:  # idle
            self.poke(session_id)

    def _retries(self, session_id, watch, status):
        """Tell that a turn tries the model again, whichever process follows it."""
        if watch is not None:
            watch.retry, turn_id = status, watch.turn_id
            self.poke(session_id)
        else:
            session = self._on.store.read(session_id)
            if session is None or session.turn is None:
                return
            turn_id = loads(session.turn)["turnId"]
        data = {"turnId": turn_id, "kind": "retry"}
        for name, key, of in (("attempt", "attempt", int), ("next", "next", int), ("message", "text", str)):
            if type(status.get(name)) is of:
                data[key] = status[name]
        self._tell(session_id, "turn.activity", data)

    def watch(self, session_id, turn):
        """Return what is known of an open turn here."""
        watch = self._watches.get(session_id)
        if watch is None or watch.turn_id != turn.id:
            watch = self._watches[session_id] = Watch(turn)
        return watch

    def has_work(self, session_ids):
        """Return whether something is said, or waits to be, in some of the sessions."""
        store = self._on.store
        said = {session_id for session_id, _ in store.read_open_turns()}
        return not said.union(store.sessions_with_inputs()).isdisjoint(session_ids)

    def forget(self, session_id):
        """Forget what was known of a session's turn."""
        self._watches.pop(session_id, None)

    # -- the queue -----------------------------------------------------------------------------------------------------
    def _is_ready(self):
        return self._on.link.connected and self._on.sync.has_listed

    def _find(self):
        there = {session_id for session_id, _ in self._on.store.read_open_turns()}
        there.update(self._on.store.sessions_with_inputs())
        return dict.fromkeys(there - self._parked, 0.0)

    def _take_lead(self):
        return self._on.store.begin_drive()

    def _leave_lead(self):
        self._on.store.end_drive()

    def _attend(self, session_id):
        self._parked.discard(session_id)
        after, error = None, None
        try:
            with self.lasting(Call(time.monotonic() + STEP)) as call:
                after = self._step(session_id, call)
        except Exception as failure:
            error = errors.known(failure)
        return self._next_step(session_id, after, error)

    def _next_step(self, session_id, after, error):
        """Return after how many seconds a session is due again, whose step has ended so."""
        if error is None:
            self._failed.pop(session_id, None)
            return after
        if isinstance(error, errors.NotFound):
            return None if self._on.store.info(session_id) is None else LOOK
        if self._closed:
            return LOOK
        if isinstance(error, errors.Aborted):
            return 0.0
        self._failed[session_id] = times = self._failed.get(session_id, 0) + 1
        self._on.link.refused(error)
        level = "error" if isinstance(error, errors.Unknown) else "warning"
        self._log.write(level, error.message(f"turn {session_id}"))
        return min(AGAIN[0] * 2 ** min(times - 1, 10), AGAIN[1])

    # -- a step --------------------------------------------------------------------------------------------------------
    def _step(self, session_id, call):
        """Do what can be done for a session now; return after how many seconds to look again, None: when something is
        heard."""
        on = self._on
        session = on.store.read(session_id)
        if session is None:
            self.forget(session_id)
            self.doubtful.discard(session_id)  # it is of no concern here, or deleted
            if (now := on.resolve(session_id)) != session_id:  # it was given another id
                self.poke(now)
            return None
        if session.relay_agent == ACP:  # that runs its turns
            self.forget(session_id)
            return None
        turn = on.store.read_open_turn(session_id)
        if turn is not None:
            return self.follower.step(session, turn, self.watch(session_id, turn), call)
        self.forget(session_id)
        if is_given_here(session_id) or is_waiting(session) or on.session_locks.is_held(session_id):
            return LOOK
        if turn_rows.is_held(session, on.writer.clock()):
            return LOOK  # what clears it tells nobody of other processes
        return self.taker.step(session, call)

    def park(self, session_id, seconds):
        """Have a session wait for a change of its own, or for an event of the server's, at most so long."""
        self._parked.add(session_id)
        return seconds
