"""Which numbered events of a session apply now, which wait, and what to ask the server. Pure.

OpenCode numbers the durable events of each session from 0 without a gap, and `/sync/history` repeats them. Its other
answers carry no number: what a PATCH, a GET or a list said is some event or other, which is found by its value. An
event of a session holds the whole session, so those before the one that the record shows already are superseded.

What a record shows is one number, its mark, which is committed with it:

| mark | state | the record shows |
|---|---|---|
| None | unknown | what a GET or a list said; none of its events was applied |
| n >= -1 | exact | what its events up to n say; -1: there is no record yet |
| -3 - n | ahead | an answer without a number, newer than event n; -2: of a create |

What is done with an event, by its number:

| state | up to n | n + 1 | later |
|---|---|---|---|
| exact | drop | apply | hold, ask from n |
| ahead | drop | once the record shows it, or one after it; else hold for 2 s, then ask from n | hold, ask from n |
| unknown | - | apply if the record shows it; else hold, ask from it | - |

With the history, what is held is applied in order. Where it lacks what was asked for, this is another database: the
session is read, and unknown. Where it cannot be had, the session is read; what is held is applied as it is, unless the
record shows an answer that may be newer: then it stays ahead, of what is held.
"""

#: Seconds for which the event of an answer is waited for: it comes within 1 ms of it, on either side (measured).
HOLD = 2.0
#: Events of one session that may be held; with more it is read instead.
MOST = 1000
#: The marks of a session without a record, and of one that an answer to its create has made.
ABSENT, CREATED = -1, -2
#: The kinds of events that hold the whole session.
WHOLE = ("created", "session")


def is_ahead(mark):
    """Return whether the record shows an answer that is newer than its last event."""
    return mark is not None and mark < ABSENT


def last(mark):
    """Return the number of the last event that was applied; -1 for none, None where it is not known."""
    return -3 - mark if is_ahead(mark) else mark


def ahead(mark):
    """Return the mark of a record that an answer without a number has changed."""
    return mark if mark is None or is_ahead(mark) else -3 - mark


class Step:
    """What is to be done: `apply` these events in order and keep `mark`, in one commit; then, unless `ask` is None, ask
    for the history from that number on and give it to `Sequence.history`; if `read`, read the session; unless `wake` is
    None, call `Sequence.wake` at that time."""

    __slots__ = ("mark", "apply", "ask", "read", "wake")

    def __init__(self, mark, apply=(), ask=None, read=False, wake=None):
        self.mark, self.apply, self.ask, self.read, self.wake = mark, apply, ask, read, wake


class Sequence:
    """What of one session is held, and whether its history is asked for. Kept in memory alone: after a restart the
    history tells. `mark` is the record's; `shown(event)` tells whether the record shows what an event of `WHOLE` says;
    `now` is in seconds. Not thread-safe."""

    __slots__ = ("_held", "_until", "_asked")

    def __init__(self):
        self._held = {}  # number: event
        self._until = 0.0  # until when the event of an answer is waited for
        self._asked = None  # while the history is asked for: (the mark then, after which number there was a hole)

    def copy(self):
        """Return a copy, for a change that may fail or be run again."""
        made = Sequence()
        made._held, made._until, made._asked = self._held.copy(), self._until, self._asked
        return made

    def is_idle(self, now):
        """Return whether nothing is lost by forgetting this."""
        return not self._held and self._asked is None and now >= self._until

    def answered(self, mark, now):
        """Note that the record shows an answer without a number, and return the new mark."""
        self._until = now + HOLD
        if self._asked is not None:
            self._asked = "another one", self._asked[1]
        return ahead(mark)

    def ask(self, mark):
        """Note that the history is asked for unprompted: after a reconnect, or because a list shows what the record
        does not. Return from which number on; None: it is not known, and nothing is asked for."""
        if mark is not None:
            self._asked = mark, None
        return last(mark)

    def hear(self, mark, events, shown, now):
        """Take events as they come, in whatever order; return a `Step`."""
        for event in events:
            if event.kind == "deleted":  # no session returns from that, whatever came before it
                self._held, self._asked = {}, None
                return Step(mark, [event])
            self._held.setdefault(event.seq, event)
        return self._settle(mark, shown, now, _NO_MORE if len(self._held) > MOST else _SOME)

    def hold(self, events):
        """Keep events that were to be applied, and could not be yet."""
        for event in events:
            self._held[event.seq] = event

    def wake(self, mark, shown, now):
        """Go on at the time of `Step.wake`; return a `Step`."""
        return self._settle(mark, shown, now, _SOME)

    def history(self, mark, events, shown, now):
        """Take all events from the number asked for on, or None when they could not be had; return a `Step`."""
        (asked, hole), self._asked = self._asked or (mark, None), None
        for event in events or ():
            self._held.setdefault(event.seq, event)
        # The event of an answer that was recorded since the question may be newer than the history.
        if events is not None and asked != mark and (mark is None or is_ahead(mark)):
            return self._settle(mark, shown, now, _SOME)
        step = self._settle(mark, shown, now, _NO_MORE if events is None else _ALL)
        if hole is not None and step.ask == hole:
            self._held, self._asked = {}, None
            return Step(None, read=True)
        return step

    def _settle(self, mark, shown, now, known):
        """Apply what can be applied of what is held."""
        done, held = last(mark), self._held
        for seq in [seq for seq in held if done is not None and seq <= done]:
            del held[seq]
        if not held:
            return Step(done if known is _ALL else mark, read=known is _NO_MORE)
        first = end = min(held) if done is None else done + 1
        while end in held:
            end += 1
        run = [held[seq] for seq in (sorted(held) if known is _NO_MORE else range(first, end))]
        hole, read, doubtful = len(run) < len(held), known is _NO_MORE, False
        if mark is None or is_ahead(mark):
            place = next((at for at, event in enumerate(run) if event.kind in WHOLE and shown(event)), None)
            if place is None and (known is _SOME or mark is None and hole and known is _ALL):
                if mark is not None and not hole and now < self._until:
                    return Step(mark, wake=self._until)
                return self._ask(mark, end - 1 if mark is None else done, hole)
            # Without an event of `WHOLE` the record is as old as the list that it comes from.
            read = read or mark is None and not any(event.kind in WHOLE for event in run)
            if place is None and known is _NO_MORE:  # nothing tells whether it is older than the record: reading does
                run, doubtful = [event for event in run if event.kind not in WHOLE], True
            run = [event for at, event in enumerate(run) if event.kind not in WHOLE or place is None or at > place]
        done = max(held) if known is _NO_MORE else end - 1
        for seq in [seq for seq in held if seq <= done]:
            del held[seq]
        return self._ask(done, done, hole, run) if hole else Step(ahead(done) if doubtful else done, run, read=read)

    def _ask(self, mark, number, hole, apply=()):
        """Return a step that asks for what comes after `number`, unless that is under way."""
        if self._asked is not None:
            return Step(mark, apply)
        self._asked = mark, number if hole else None
        return Step(mark, apply, number)


#: What is held: what was heard; all that there was at some time since the last answer; all that is to be had.
_SOME, _ALL, _NO_MORE = "some", "all", "no more"
