"""What a list of the server's sessions says of those that it lacks, and of the server: another one may run in its
place, and none of our sessions may be erased for that."""

#: What is known of the server: it is the RIGHT one; or was LOST and not found again; or is a WRONG one, as far as its
#: list tells.
RIGHT, LOST, WRONG = "right", "lost", "wrong"
#: Seconds for which a server that has none of our sessions is taken for the wrong one, before they are erased.
DOUBT = 60.0

#: What is known of the server after something has happened, by what was known. A list that has none of our sessions
#: counts as "lost"; when none of them is found by name either, the server is WRONG; when all missing were asked for,
#: RIGHT.
STATES = {
    "lost": {RIGHT: LOST, LOST: LOST, WRONG: WRONG},
    "unreachable": {RIGHT: LOST, LOST: LOST, WRONG: LOST},
    "has some": {RIGHT: RIGHT, LOST: LOST, WRONG: LOST},
}
#: What is done about sessions that a list lacks. ASK: ask for them by name, and erase those that are gone. PROBE: the
#: same, but erase none if none is there. WAIT: nothing.
ASK, PROBE, WAIT = "ask", "probe", "wait"
#: The same, when the list has none of our sessions: by what was known of the server, and whether the minute is over.
HAS_NONE = {
    (RIGHT, False): PROBE,
    (LOST, False): PROBE,
    (WRONG, False): WAIT,
    (WRONG, True): ASK,
}


class Trust:
    """Whether the server is the right one, by the ids of sessions that it should have: those it had in the last list,
    or that were known when it was lost. What became known since may be the wrong one's."""

    __slots__ = ("state", "base", "since")

    def __init__(self):
        self.state, self.base, self.since = RIGHT, None, None

    @property
    def in_doubt(self):
        """Whether it is not known: that the server lacks a session says nothing."""
        return self.state != RIGHT

    def heard(self, event, known):
        """Note that the server is "lost", or was "unreachable" when a list was asked for; `known` are all our ids."""
        state = STATES[event][self.state]
        if self.state == RIGHT != state:
            self.base = known
        self.state = state

    def judge(self, known, found, now):
        """Return what to do about those missing, of which a list has `found`; `now` in seconds."""
        base = known if self.base is None else known & self.base
        if len(base) < 2 and known.isdisjoint(found):
            base = known
        if len(base) < 2 or not base.isdisjoint(found):
            self.heard("has some", base)
            return ASK
        state = self.state
        action = HAS_NONE[state, state == WRONG and now - self.since >= DOUBT]
        self.heard("lost", base)
        return action

    def none_found(self, now):
        """Note that none of those missing was there by name either."""
        self.state, self.since = WRONG, now

    def done(self, found):
        """Note that all missing were asked for; of ours the server has `found`."""
        self.state, self.base = RIGHT, found
