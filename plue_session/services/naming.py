"""Reading by an id that may change: a session made while the server was away gets another one (P-177)."""

from plue_session.errors import PlueError


def named(resolve, session_id, read):
    """Return what `read(id)` returns for the id that the session has; `resolve(session_id)` tells that.

    A read is more than one look at the store, and in between the session may get its other id. By the old one nothing
    is there: no session, or one that lacks all that goes with it. So what was read, or failed, by an id that it has no
    longer is read again. It is given one once only.
    """
    while True:
        now = resolve(session_id)
        try:
            found = read(now)
        except PlueError:
            if resolve(now) == now:
                raise
        else:
            if resolve(now) == now:
                return found
