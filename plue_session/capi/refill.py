"""Event queues that have fallen behind, filled again from the log."""

from time import monotonic_ns

from plue_session import errors
from plue_session.capi.publish import crossing
from plue_session.capi.translation import translate
from plue_session.primitives import allocate_lock
from plue_session.rules import cursors

#: Log rows read at a time, and characters of them after which no more is: a queue has room for 1 MiB.
PAGE, PAGE_SIZE = 256, 1 << 20
#: Milliseconds after which what could not be read is read again.
AGAIN_MS = 200
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
        self.lock, self.asked, self.noted = allocate_lock(), False, None

    def refill(self, again=False):
        """Fill every queue that is behind, as far as it has room; or leave that to the thread that is at it, which then
        does so once more. With `again`, also those for which that has failed."""
        if again:
            self.lib.core__event_retry()
        self.asked, failure = True, None
        while self.asked and self.lock.acquire(False):
            try:
                self.asked = False
                failure = self.visit(FAR, self.hand)
            except Exception as raised:  # of memory: nobody was passed over
                failure = raised
                self.ask_again()
            finally:
                self.lock.release()
        # It is logged once for as long as it lasts: that is an event, after which somebody may ask again at once.
        before = self.noted
        if again or failure is not None:
            self.noted = failure and str(failure)
        if failure is not None and self.noted != before:
            raise failure

    def refill_until(self, deadline, give_up):
        """Do so when the library stops, not beyond `deadline` (ns of the monotonic clock). With `give_up`, what a queue
        has not got by now becomes a gap."""
        if not self.lock.acquire(True, max(0, (deadline - monotonic_ns()) / 1e9)):
            raise errors.Timeout("events could not be read in time: the store is slow", "Let callbacks return soon.")
        try:
            self.lib.core__event_retry()
            failure = self.visit(deadline, self.hand_gap if give_up else self.hand)
        finally:
            self.lock.release()
        if failure is not None:
            raise failure

    def visit(self, deadline, hand):
        """Have `hand(session_id, after, reason, wanted)` give each queue what comes next for it. What fails for one
        leaves the others; the first failure is returned. Who is left is asked for a little later."""
        failure = None
        for session_id, after, reason, wanted in self.places(deadline):
            error, done = None, False
            try:
                done = hand(session_id, after, reason, wanted) >= 0
            except Exception as raised:
                error, failure = translate(raised), failure or raised
            if not done:
                self.refuse(session_id, after, reason, error)
                self.ask_again()
        return failure

    def ask_again(self):
        """Have `refill` be called again a little later."""
        self.lib.core__wake_again(self.lib.CORE_EXECUTOR_READ, AGAIN_MS)

    def places(self, deadline):
        """Yield where queues want to go on, the first ones first, until there are none: of which session (None: all),
        after which log id, the reason of the gap that comes first (None: there is none), and how many events there is
        room for."""
        after, session = self.ffi.new("int64_t *"), self.ffi.new("char[]", ID_SIZE)
        lapsed, wanted = self.ffi.new("int *"), self.ffi.new("int *")
        while monotonic_ns() < deadline and self.lib.core__event_behind(after, session, ID_SIZE, lapsed, wanted):
            yield self.ffi.string(session).decode() or None, after[0], REASONS[lapsed[0]], wanted[0]

    def hand_gap(self, session_id, after, reason, wanted):
        """Give a gap in place of the events that were not got."""
        to, gap = channel(session_id), self.runtime.observations.gap(session_id, after, reason or "unavailable")
        if gap is None and (renamed := self.renamed(session_id)):
            return self.follow(session_id, renamed)
        left = 0
        if gap is None:
            last = self.store.log_state()[1]
            self.lib.core__event_no_lapse(to, REASONS.index(reason))
            self.lib.core__event_refilled(to, after, last)
        elif reason:
            left = self.lib.core__event_lapse(to, REASONS.index(reason), *self.row(gap))
        else:
            left = self.lib.core__event_refill(to, after, *self.row(gap))
        if gap and left >= 0:
            self.lib.core__event_refilled(to, gap.id, gap.id)
        return left

    def hand(self, session_id, after, reason, wanted):
        """Give what the log has, or the gap that comes first."""
        if reason:
            return self.hand_lapse(session_id, reason)
        return self.refill_page(session_id, after, min(wanted, PAGE))

    def refuse(self, session_id, after, reason, error):
        """Have the observers that wait for what could not be read hear why (None: memory is short, so they wait), and
        the others be passed over."""
        number, message = 0, b""
        if error is not None:
            number, message = error.number, error.message("plue_session_observer_next").encode("utf-8", "replace")
            message = message.replace(b"\0", b"?")
        place = channel(session_id), after, REASONS.index(reason)
        self.lib.core__event_refuse(*place, number, message, len(message))

    def hand_lapse(self, session_id, reason):
        """Give the gap that they are to begin with to those who are to begin with one of this reason."""
        gap, lapsed = self.runtime.observations.gap(session_id, 0, reason), REASONS.index(reason)
        if gap is None and (renamed := self.renamed(session_id)):
            return self.follow(session_id, renamed)
        if gap is None:
            self.lib.core__event_no_lapse(channel(session_id), lapsed)
            return 0
        return self.lib.core__event_lapse(channel(session_id), lapsed, *self.row(gap))

    def hand_trimmed(self, session_id, after):
        """Give a gap to those who are at `after`, where the log was trimmed."""
        gap = self.runtime.observations.gap(session_id, after, "trimmed")
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
            return self.hand_trimmed(session_id, after)
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
