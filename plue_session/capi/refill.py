"""Event queues that have fallen behind, filled again from the log."""

from time import monotonic_ns

from plue_session import errors
from plue_session.capi.publish import crossing
from plue_session.model import EVENT_NUMBER
from plue_session.primitives import allocate_lock
from plue_session.rules import cursors

#: Log rows read at a time, and characters of them after which no more is: a queue has room for 1 MiB.
PAGE, PAGE_SIZE = 256, 1 << 20
#: No deadline.
FAR = 1 << 63


class Refilling:
    """What the C side's queues get from the log of the runtime's store.

    A page of the log is read once for all queues that want to go on there; the C side knows which these are (feed.c).
    """

    def __init__(self, ffi, lib, runtime):
        self.ffi, self.lib, self.runtime, self.store = ffi, lib, runtime, runtime.store
        #: One thread refills: two at one place would give a gap twice, and what came after the gap again.
        self.lock, self.asked = allocate_lock(), False

    def refill(self):
        """Fill every queue that is behind, as far as it has room; or leave that to the thread that is at it, which then
        does so once more."""
        self.asked = True
        while self.asked and self.lock.acquire(False):
            try:
                self.asked = False
                self.refill_all(FAR)
            finally:
                self.lock.release()

    def refill_until(self, deadline, give_up):
        """Do so when the library stops, not beyond `deadline` (ns of the monotonic clock). With `give_up`, what a queue
        has not got by now becomes a gap."""
        if not self.lock.acquire(True, max(0, (deadline - monotonic_ns()) / 1e9)):
            raise errors.Timeout("events could not be read in time: the store is slow", "Let callbacks return soon.")
        try:
            (self.hand_gaps if give_up else self.refill_all)(deadline)
        finally:
            self.lock.release()

    def places(self, deadline):
        """Yield the log ids after which queues want to go on, the lowest first, until there are none."""
        after = self.ffi.new("int64_t *")
        while monotonic_ns() < deadline and self.lib.core__event_behind(after):
            yield after[0]

    def hand_gaps(self, deadline):
        """Give each queue a gap in place of the events it has not got."""
        last = self.store.log_state()[1]
        for after in self.places(deadline):
            if after >= last or self.hand_gap(after, last, "unavailable") < 0:
                break
        self.lib.core__event_refilled(last, last)

    def hand_gap(self, after, last, *reason):
        return self.push(after, last, EVENT_NUMBER["gap"], None, self.runtime.gap_tail(after, last, *reason))

    def refill_all(self, deadline):
        for after in self.places(deadline):
            if self.refill_page(after) < 0:
                break

    def refill_page(self, after):
        """Hand out a page of the log, from the event after log id `after`; what was trimmed is a gap. A negative number
        is returned when nobody can be given anything."""
        newest = self.store.log_state()[1]  # of all scopes
        rows = self.store.events_after(after, PAGE, PAGE_SIZE)
        floor, last = (
            self.store.log_state()
        )  # after the rows: what was trimmed before they were read is below the floor
        if floor > after:
            return self.hand_gap(after, last)
        if not rows:  # up to there everything is another scope's
            self.lib.core__event_refilled(after, max(after, newest))
        for row in rows:
            waiting = self.push(after, row.id, row.kind, row.session_id, row.tail)
            if waiting < 1:
                return waiting
            after = row.id
        return 0

    def push(self, after, log_id, kind, session_id, tail):
        """Give the event that comes after `after` to all queues that are there; returns how many wait for the next."""
        cursor = cursors.render(self.store.store_id, log_id, session_id)
        return self.lib.core__event_refill(after, log_id, *crossing(self.ffi, kind, session_id, cursor, tail))
