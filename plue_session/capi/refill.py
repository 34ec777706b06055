"""Event queues that have fallen behind, filled again from the log."""

from time import monotonic_ns

from plue_session import errors
from plue_session.capi.publish import head_of
from plue_session.model import EVENT_NUMBER
from plue_session.primitives import allocate_lock
from plue_session.rules import cursors

#: Log rows read at a time, and characters of them after which no more is: a queue has room for 1 MiB.
PAGE, PAGE_SIZE = 256, 1 << 20
#: Queues there can be at most: the subscriptions and the default queue.
QUEUES = 65
#: No deadline.
FAR = 1 << 63


class Turn:
    """Of the threads that may refill one does: two at one queue would give it a gap twice, and what came after the gap
    again."""

    def __init__(self):
        self.lock, self.asked = allocate_lock(), False


class Refilling:
    """What the C side's queues get from the log of the runtime's store."""

    def __init__(self, ffi, lib, runtime, turn):
        self.ffi, self.lib, self.runtime, self.store, self.turn = ffi, lib, runtime, runtime.store, turn

    def refill(self):
        """Fill every queue that is behind, as far as it has room; or leave that to the thread that is at it, which then
        does so once more."""
        turn = self.turn
        turn.asked = True
        while turn.asked and turn.lock.acquire(False):
            try:
                turn.asked = False
                self.refill_all()
            finally:
                turn.lock.release()

    def refill_until(self, deadline, give_up):
        """Do so when the library stops, not beyond `deadline` (ns of the monotonic clock). With `give_up`, what a queue
        has not got by now becomes a gap."""
        if not self.turn.lock.acquire(True, max(0, (deadline - monotonic_ns()) / 1e9)):
            raise errors.Timeout("events could not be read in time: the store is slow", "Let callbacks return soon.")
        try:
            self.refill_all(deadline, self.hand_gap if give_up else self.refill_queue)
        finally:
            self.turn.lock.release()

    def refill_all(self, deadline=FAR, fill=None):
        tokens, after = self.ffi.new("uint64_t[]", QUEUES), self.ffi.new("int64_t[]", QUEUES)
        for place in range(self.lib.core__event_behind(tokens, after, QUEUES)):
            (fill or self.refill_queue)(tokens[place], after[place], deadline)

    def hand_gap(self, token, after, deadline):
        """Give one queue a gap in place of the events after log id `after`."""
        if monotonic_ns() < deadline:
            last = self.store.log_state()[1]
            tail = self.runtime.gap_tail(after, last, "unavailable") if last > after else None
            if not tail or not self.push(token, last, EVENT_NUMBER["gap"], None, tail):
                self.lib.core__event_refilled(token, last)

    def refill_queue(self, token, after, deadline):
        """Fill one queue, from the event after log id `after`; what was trimmed is a gap."""
        store, lib = self.store, self.lib
        while monotonic_ns() < deadline:
            newest = store.log_state()[1]  # of all scopes
            rows = store.events_after(after, PAGE, PAGE_SIZE)
            floor, last = store.log_state()  # after the rows: what was trimmed before they were read is below the floor
            if floor > after:
                if self.push(token, last, EVENT_NUMBER["gap"], None, self.runtime.gap_tail(after, last)):
                    return
                after = last
                continue
            for row in rows:
                if self.push(token, row.id, row.kind, row.session_id, row.tail):
                    return  # full again
                after = row.id
            after = after if rows else max(after, newest)  # up to there everything is another scope's
            if not rows and lib.core__event_refilled(token, after):
                return

    def push(self, token, log_id, kind, session_id, tail):
        """Append an event to the queue; returns whether that is full."""
        head = head_of(kind, session_id, cursors.render(self.store.store_id, log_id, session_id))
        tail = tail.encode("utf-8", "replace")
        return self.lib.core__event_refill(token, log_id, kind, head, len(head), tail, len(tail))
