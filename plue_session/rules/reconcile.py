"""What a list of the server's sessions says of those that it lacks, and of the server: another one may run in its
place, and none of our sessions may be erased for that."""

#: What is known of the server. A call has not always found it right: it is WRONG for a minute at most.
RIGHT, LOST, WRONG = "right", "lost", "wrong"
#: Seconds for which a server that has none of our sessions is taken for the wrong one, before they are erased.
DOUBT = 60.0

#: What happens, and what is known of the server then.
STATES = {
    RIGHT: {"lost": LOST, "unreachable": LOST, "has some": RIGHT, "has none": LOST, "none found": WRONG, "done": RIGHT},
    LOST: {"lost": LOST, "unreachable": LOST, "has some": LOST, "has none": LOST, "none found": WRONG, "done": RIGHT},
    WRONG: {
        "lost": WRONG,
        "unreachable": LOST,
        "has some": LOST,
        "has none": WRONG,
        "none found": WRONG,
        "done": RIGHT,
    },
}
#: What is done about sessions that a list lacks. ASK: ask for them by name, and erase those that are gone. PROBE: the
#: same, but erase none if none is there. WAIT: nothing.
ASK, PROBE, WAIT = "ask", "probe", "wait"
#: By what is known of the server, and for a WRONG one whether the minute is over, when the list has none of our
#: sessions.
HAS_NONE = {(RIGHT, False): PROBE, (LOST, False): PROBE, (WRONG, False): WAIT, (WRONG, True): ASK}


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

    def lost(self, known):
        """Note that another server may be found from now on; `known` are the ids of all our sessions."""
        self._go_on("lost", known)

    def unreachable(self, known):
        """Note that a list could not be had: what is found after this may be another server, or the right one."""
        self._go_on("unreachable", known)

    def judge(self, known, found, now):
        """Return what to do about the missing, where of our sessions `known` a list has `found`; `now` in seconds."""
        base = known if self.base is None else known & self.base
        if len(base) < 2 and known.isdisjoint(found):
            base = known
        if len(base) < 2 or not base.isdisjoint(found):
            self._go_on("has some", base)
            return ASK
        action = HAS_NONE[self.state, self.state == WRONG and now - self.since >= DOUBT]
        self._go_on("has none", base)
        return action

    def none_found(self, now):
        """Note that none of those missing was there by name either."""
        self.state, self.since = STATES[self.state]["none found"], now

    def done(self, found):
        """Note that all missing were asked for; of ours the server has `found`."""
        self.state, self.base = STATES[self.state]["done"], found

    def _go_on(self, event, base):
        state = STATES[self.state][event]
        if self.state == RIGHT != state:
            self.base = base
        self.state = state
