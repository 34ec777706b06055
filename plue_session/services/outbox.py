"""The outbox: changes that were made while the server was away are sent when it is back, in order (P-170, P-173).

The changes of one session go one after the other, sessions side by side, so that one that the server is sick of holds
up no other. One process of those on a store sends. Between any two steps it may die: the row is there until the change
that records the answer drops it, an update, a delete and an unshare may be sent again, and a create is found by its
token.
"""

import threading
import time
from functools import partial

from plue_session import errors, threads
from plue_session.call import Call
from plue_session.services.outgoing import Sender, delay

#: Sessions that are replayed at a time.
WORKERS = 4
#: Seconds between two looks at what other processes have put there, while there is work; and for whether the one that
#: replays now has ended.
LOOK = 0.5


class Outbox:
    """What waits, by session, and the threads that send it: none while there is nothing to send. Thread-safe."""

    def __init__(self, on, publisher, settings):
        self._on, self._publisher = on, publisher
        self._retry, self._seconds = settings.retry, settings.request_timeout_ms / 1000
        self._call, self._changed = Call(), threading.Condition()
        self._due, self._busy = {}, set()  # session id: when, in monotonic seconds; sessions being replayed
        self._workers = self._idle = 0
        self._replays, self._closed = False, True  # until `begin`
        self._looked = 0.0
        self._sender = Sender(on, settings.request_timeout_ms)
        on.link.back, on.link.is_sending, on.mirror.hurry = self.hurry, self._sender.is_sending, self.added

    # -- life ------------------------------------------------------------------------------------------------------
    def begin(self):
        """Begin to send, first what an earlier process has left. Returns at once."""
        self._closed = False
        self.hurry()

    def end(self):
        """Stop: what is under way is cut, and sent again by the next process. Returns at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._call.set(errors.closed())

    def added(self, session_id):
        """Note that something of a session can be sent now."""
        with self._changed:
            self._due[session_id] = 0.0
        self._hire()

    def hurry(self, was_away=False):
        """Note that the server is there; if it was away, all is sent at once, but for what it was sick of."""
        with self._changed:
            if was_away:
                self._due.clear()
        self._look()
        self._hire()

    def _is_there(self):
        """Return whether the server is there, and known to be the right one."""
        return self._on.link.connected and self._on.sync.has_listed

    def is_sending(self, row):
        """Return whether a change is being sent, by this process or perhaps by another one."""
        if self._sender.is_sending(row.id):
            return True
        with self._changed:
            if self._replays:
                return False
            free = self._on.store.begin_replay()
            if free:
                self._on.store.end_replay()
            return not free

    # -- threads ---------------------------------------------------------------------------------------------------
    def _hire(self):
        """See that somebody does what is due."""
        with self._changed:
            wanted = self._due and not self._closed and self._is_there()
            hires = wanted and not self._idle and self._workers < WORKERS
            self._workers += bool(hires)
            self._changed.notify()
        if hires:
            try:
                threads.start(self._run, "plue-outbox")
            except errors.StoreIo as error:  # no thread is left: the next change, or comparison, asks again
                self._left()
                self._on.log.write("warning", error.message("outbox"))

    def _left(self):
        with self._changed:
            self._workers -= 1

    def _run(self):
        self._publisher.adopt()
        try:
            while (session_id := self._next()) is not None:
                self._hire()  # there may be more than one can do
                try:
                    self.replay(session_id, self._call.within(self._seconds))
                except Exception as error:
                    self._failed(session_id, errors.known(error))
                finally:
                    with self._changed:
                        self._busy.discard(session_id)
                        self._changed.notify()
        except BaseException:  # of `_next`: else that one has counted us out, in the moment in which nothing was due
            self._left()
            raise

    def _next(self):
        """Wait for a session whose time has come, and take it; None: there is nothing to wait for, or somebody else
        waits for it, and this thread is to leave."""
        while True:
            if time.monotonic() - self._looked > LOOK:
                self._look()
            with self._changed:
                if self._closed or not self._is_there() or not (self._due or self._busy):
                    self._rest()
                    self._workers -= 1
                    return None
                now = time.monotonic()
                due = [(at, each) for each, at in self._due.items() if each not in self._busy]
                at, first = min(due, default=(None, None))
                if first is not None and at <= now and self._may_replay():
                    del self._due[first]
                    self._busy.add(first)
                    return first
                if self._idle:
                    self._workers -= 1
                    return None
                self._rest()
                self._idle += 1
                wait = LOOK if first is None or at <= now else min(at - now, LOOK)
                self._changed.wait(wait)
                self._idle -= 1

    def _may_replay(self):
        """Return whether this process is the one that replays."""
        if not self._replays:
            self._replays = self._on.store.begin_replay()
            self._sender.begun()
        return self._replays

    def _rest(self):
        """Let another process replay, for nothing is to be done here now."""
        if self._replays and not self._busy:
            self._replays = False
            self._on.store.end_replay()

    def _look(self):
        """See what waits, also of other processes on the store."""
        self._looked = time.monotonic()
        with self._changed:
            before = set(self._due)
        try:
            waiting = self._on.store.due_outgoing()
        except errors.PlueError as error:
            if not self._closed:
                self._on.log.write("warning", error.message("outbox"))
            return
        now, clock = time.monotonic(), self._on.writer.clock()
        with self._changed:
            most = self._retry.max_ms  # the clock may have been set back since
            there = {
                session_id: now + min(max(due - clock, 0), most) / 1000 if due else 0.0 for session_id, due in waiting
            }
            for session_id, at in there.items():
                self._due.setdefault(session_id, at)
            for gone in before - there.keys():  # not what was added since
                self._due.pop(gone, None)

    # -- replaying -------------------------------------------------------------------------------------------------
    def replay(self, session_id, call):
        """Send what waits of a session, within a call; what fails is noted, and raised."""
        on, sender, fresh = self._on, self._sender, False
        while True:
            session_id = on.resolve(session_id)
            with on.session_locks.hold(session_id, call):
                row = on.store.next_outgoing(session_id)
                if row is None:
                    if on.resolve(session_id) == session_id:
                        return
                    continue
                call.check()
                try:
                    if not sender.send(row, call, fresh):
                        with self._changed:
                            self._due.setdefault(session_id, time.monotonic() + LOOK)
                        return
                    fresh = row.op in ("create", "update")
                except errors.PlueError as error:
                    on.link.refused(error)
                    if not isinstance(error, errors.Closed):
                        self._postpone(row, error)
                    raise

    def _postpone(self, row, error):
        """Note that a change was sent in vain, to be sent again each time later."""
        on = self._on
        pause = delay(row.attempts, self._retry)
        sick = not isinstance(error, (errors.Connection, errors.AccessDenied, errors.Busy))
        row.attempts += 1
        row.error, row.due = error.cause, on.writer.clock() + pause if sick else 0
        with self._changed:
            self._due[row.session_id] = time.monotonic() + pause / 1000
        on.writer.run_later(partial(_keep, row))

    def _failed(self, session_id, error):
        if self._closed:
            return
        self._on.log.write(
            "error" if isinstance(error, errors.Unknown) else "warning", error.message(f"outbox {session_id}")
        )
        with self._changed:
            self._due.setdefault(session_id, time.monotonic() + self._retry.base_ms / 1000)


def _keep(row, transaction):
    transaction.store.keep_outgoing(row)
