"""The outbox: changes that were made while the server was away are sent when it is back, in order (P-170, P-173).

The changes of one session go one after the other, sessions side by side, so that one that the server is sick of holds
up no other. When it is sick of many in a row, all rest, each time longer, and then one goes first. One process of those
on a store sends. Between any two steps it may die: the row is there until the change that records the answer drops it,
an update, a delete and an unshare may be sent again, and a create is found by its token.
"""

import time
from functools import partial

from plue_session import errors
from plue_session.model import EVENT_NUMBER
from plue_session.rules.ids import is_given_here
from plue_session.services.outgoing import Sender, delay
from plue_session.services.work_queue import WorkQueue

#: Sessions whose changes fail in a row, none succeeding, when it is the server that is sick and not they.
MANY = 8
#: Failures of this machine's, which say nothing of the server.
_OURS = errors.Busy, errors.StoreIo, errors.Integrity
#: What the log says of a session whose parent got another id.
_PARENT = '"parentId"'


class Outbox(WorkQueue):
    """The queue of sessions that have something to be sent. Thread-safe."""

    name = "outbox"
    keeps_lead = False

    def __init__(self, on, publisher, settings):
        super().__init__(publisher, on.log)
        self._on, self._retry, self._seconds = on, settings.retry, settings.request_timeout_ms / 1000
        self._sender = Sender(on, settings.request_timeout_ms)
        # Sessions that failed since the last success; of `MANY` how often all have rested since, and until when.
        self._failed, self._rests, self._rests_until = set(), 0, 0.0
        on.link.back, on.link.is_sending, on.mirror.hurry = self.hurry, self._sender.is_sending, self.poke
        on.writer.hear(EVENT_NUMBER["session.updated"], self._told)

    def hurry(self, was_away=False):
        """Note that the server is there; if it was away, all is sent at once, but for what it was sick of."""
        if was_away:
            self._succeeded()
            with self._changed:
                self._due.clear()
                for each in self._busy:
                    self._again.set(each, 0.0)
        self.look()

    def is_sending(self, row):
        """Return whether a change is being sent, by this process or perhaps by another one."""
        if self._sender.is_sending(row.id):
            return True
        with self._changed:
            if self._leads:
                return False
            free = self._on.store.begin_replay()
            if free:
                self._on.store.end_replay()
            return not free

    def _told(self, row):
        """Hear that the parent of one that is yet to be made was made, by whichever process. Must not wait."""
        if row is None:
            self._look_soon()
        elif is_given_here(row.session_id) and _PARENT in row.tail:
            self.poke(row.session_id)

    # -- the queue -----------------------------------------------------------------------------------------------------
    def _is_ready(self):  # and known to be the right one
        return self._on.link.connected and self._on.sync.has_listed

    def _find(self):
        waiting = self._on.store.due_outgoing()
        now, clock, most = time.monotonic(), self._on.writer.clock(), self._retry.max_ms
        # The clock may have been set back since.
        return {session_id: now + min(max(due - clock, 0), most) / 1000 if due else 0.0 for session_id, due in waiting}

    def _when(self, at):
        if len(self._failed) < MANY:
            return at
        return float("inf") if self._busy else max(at, self._rests_until)

    def _take_lead(self):
        taken = self._on.store.begin_replay()
        self._sender.begun()
        return taken

    def _leave_lead(self):
        self._on.store.end_replay()

    def _attend(self, session_id):
        self.replay(session_id, self._call.within(self._seconds))

    # -- replaying -------------------------------------------------------------------------------------------------
    def replay(self, session_id, call):
        """Send what waits of a session, within a call; what fails is noted, and raised. What cannot be sent yet is left
        to who makes that possible, or, if that one dies, to the store, which tells then that it is due."""
        on, sender, fresh = self._on, self._sender, False
        while True:
            if (name := on.resolve(session_id)) != session_id:  # what fails from now on is put off by that id
                self._rename(session_id, name)
                session_id = name
            with on.session_locks.hold(session_id, call):
                row = on.store.next_outgoing(session_id)
                if row is None:
                    if on.resolve(session_id) == session_id:
                        return
                    continue
                call.check()
                try:
                    if not sender.send(row, call, fresh):
                        return
                    self._succeeded()
                    fresh = row.op in ("create", "update")
                except errors.PlueError as error:
                    on.link.refused(error)
                    if not isinstance(error, errors.Closed):
                        self._keep_for_later(row, error)
                    raise

    def _keep_for_later(self, row, error):
        """Note that a change was sent in vain, to be sent again each time later."""
        on = self._on
        pause = delay(row.attempts, self._retry)
        sick = not isinstance(error, (errors.Connection, errors.AccessDenied, errors.Busy))
        row.attempts += 1
        row.error, row.due = error.cause, on.writer.clock() + pause if sick else 0
        self._postpone(row.session_id, pause / 1000)
        if not isinstance(error, _OURS):
            self._note_failure(row.session_id)
        on.writer.run_later(partial(_keep, row))

    def _note_failure(self, session_id):
        now = time.monotonic()
        with self._changed:
            self._failed.add(session_id)
            if len(self._failed) >= MANY and now >= self._rests_until:
                self._rests_until = now + delay(self._rests, self._retry) / 1000
                self._rests += 1

    def _succeeded(self):
        """Note that the server takes changes: whoever rests may go on."""
        with self._changed:
            self._failed.clear()
            self._rests, self._rests_until = 0, 0.0
            self._changed.notify()


def _keep(row, transaction):
    transaction.store.keep_outgoing(row)
