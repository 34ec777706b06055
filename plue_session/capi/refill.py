"""Event queues that have fallen behind, filled again from the log."""

from time import monotonic_ns

from plue_session import errors
from plue_session.capi.publish import crossing
from plue_session.capi.translation import translate
from plue_session.primitives import allocate_lock
from plue_session.rules import cursors

#: Log rows read at a time, and characters of them after which no more is: a queue has room for 1 MiB.
PAGE, PAGE_SIZE = 256, 1 << 20
#: No deadline.
FAR = 1 << 63
#: Room for a session's id.
ID_SIZE = 128
#: Why a queue has to begin with a gap, by the number that the C side has for it (queues.h).
REASONS = (None, "trimmed", "unavailable")


def channel(session_id):
    """Return what the C side calls the queues that hear of this session, or (None) of all."""
    return (session_id or "").encode()


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
        """Yield where queues want to go on, the first ones first, until there are none: of which session (None: all),
        after which log id, the reason of the gap that comes first (None: there is none), and how many events there is
        room for."""
        after, session = self.ffi.new("int64_t *"), self.ffi.new("char[]", ID_SIZE)
        lapsed, wanted = self.ffi.new("int *"), self.ffi.new("int *")
        while monotonic_ns() < deadline and self.lib.core__event_behind(after, session, ID_SIZE, lapsed, wanted):
            yield self.ffi.string(session).decode() or None, after[0], REASONS[lapsed[0]], wanted[0]

    def hand_gaps(self, deadline):
        """Give each queue a gap in place of the events it has not got."""
        for session_id, after, reason, _ in self.places(deadline):
            to, gap = channel(session_id), self.runtime.observations.gap(session_id, after, reason or "unavailable")
            if gap is None and (renamed := self.renamed(session_id)):
                left = self.follow(session_id, renamed)
            elif gap is None:
                left, last = 0, self.store.log_state()[1]
                self.lib.core__event_no_lapse(to, REASONS.index(reason))
                self.lib.core__event_refilled(to, after, last)
            elif reason:
                left = self.lib.core__event_lapse(to, REASONS.index(reason), *self.row(gap))
            else:
                left = self.lib.core__event_refill(to, after, *self.row(gap))
            if left < 0:
                break
            if gap:
                self.lib.core__event_refilled(to, gap.id, gap.id)

    def refill_all(self, deadline):
        for session_id, after, reason, wanted in self.places(deadline):
            try:
                if reason:
                    left = self.hand_lapse(session_id, reason)
                else:
                    left = self.refill_page(session_id, after, min(wanted, PAGE))
            except Exception as error:
                self.refuse(session_id, translate(error))
                raise
            if left < 0:
                break

    def refuse(self, session_id, error):
        """Have the observers that wait for what could not be read hear why."""
        message = error.message("plue_session_observer_next").encode("utf-8", "replace").replace(b"\0", b"?")
        self.lib.core__event_refuse(channel(session_id), error.number, message, len(message))

    def hand_lapse(self, session_id, reason):
        """Give the gap that they are to begin with to those who are to begin with one of this reason."""
        gap, lapsed = self.runtime.observations.gap(session_id, 0, reason), REASONS.index(reason)
        if gap is None and (renamed := self.renamed(session_id)):
            return self.follow(session_id, renamed)
        if gap is None:
            self.lib.core__event_no_lapse(channel(session_id), lapsed)
            return 0
        return self.lib.core__event_lapse(channel(session_id), lapsed, *self.row(gap))

    def hand_gap(self, session_id, after, reason):
        """Give a gap to those who are at `after`."""
        gap = self.runtime.observations.gap(session_id, after, reason)
        if gap is None:
            return 0
        return self.lib.core__event_refill(channel(session_id), after, *self.row(gap))

    def refill_page(self, session_id, after, count):
        """Hand out so many events of the log, from the one after log id `after`; what was trimmed is a gap. A negative
        number is returned when nobody can be given anything."""
        newest = self.store.log_state()[1]  # of all scopes
        rows = self.store.events_after(after, count, PAGE_SIZE, session_id)
        # After the rows: what was trimmed before they were read is below the floor, and what was told of a session that
        # has another id by now is under that one.
        is_trimmed = self.store.log_state()[0] > after and self.runtime.observations.is_trimmed(session_id, after)
        if renamed := self.renamed(session_id):
            return self.follow(session_id, renamed)
        if is_trimmed:
            return self.hand_gap(session_id, after, "trimmed")
        if not rows:  # up to there everything is others'
            self.lib.core__event_refilled(channel(session_id), after, max(after, newest))
        for row in rows:
            waiting = self.lib.core__event_refill(channel(session_id), after, *self.row(row))
            if waiting < 1:
                return waiting
            after = row.id
        return 0

    def renamed(self, session_id):
        """Return the id that a session has in place of this one, None if it has this one."""
        return session_id and self.store.id_of_alias(session_id)

    def follow(self, session_id, renamed):
        """Have those who observe the session by its old id go on by the new one: whoever has given it that may not have
        been heard yet."""
        return self.lib.core__observers_rename(channel(session_id), channel(renamed))

    def row(self, row):
        """Return a row as the C side takes it."""
        cursor = cursors.render(self.store.store_id, row.id, row.session_id)
        return row.id, *crossing(self.ffi, row.kind, row.session_id, cursor, row.tail)
