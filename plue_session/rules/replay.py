"""Which events an observer can still be given that goes on from an earlier place in the log, and when it gets a gap."""

from collections import namedtuple

#: What the log says, at one moment, of the events after a place, those of one session or all of the scope's: the
#: largest id that trimming removed, the newest id of all scopes, how many there are of the session that has the most
#: (beyond a limit they are not counted), when the first of them was (None: there is none). And of a session alone:
#: whether the log has an event of its from up to there, the kind of its first one, and the id of its last (None: it was
#: erased).
Window = namedtuple("Window", ("floor", "last", "count", "since", "before", "first_kind", "rev"))

CREATED = 0


def is_trimmed(window, after, session_id):
    """Return whether events after the log id `after` were trimmed: of the session, or of any (None)."""
    if window.floor <= after:
        return False
    if session_id is None:
        return True
    if window.rev is None or window.rev <= after:  # what is left of an erased one is its end
        return False
    return not window.before and window.first_kind != CREATED


def lapse(window, after, session_id, limit, oldest_ms):
    """Return why the events after `after` cannot be had, "trimmed" or "unavailable", or None.

    What is outside of the replay window counts as trimmed, whether or not it is yet: more than `limit` events of one
    session, or one of before `oldest_ms`.
    """
    if after > window.last:
        return "unavailable"
    is_outside = window.since is not None and (window.count > limit or window.since < oldest_ms)
    return "trimmed" if is_outside or is_trimmed(window, after, session_id) else None
