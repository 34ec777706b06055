"""Observation.

An observation is how a session stands, and a cursor: the place in the log of events from which all that follows can be had.
An observer hands out what follows, one item at a time: stored events first, then live ones, none lost and none twice. Save
its cursor, and go on from there after a restart, in this process or in another one on the same store.

    plue_session_observer_t observer = plue_session_observe(session, saved_cursor);
    char *item = plue_session_observer_next(observer, 1000);

Items are events as in the section Events; `sequence` counts those of one observer from 0. An observer of a session gets the
events of that session alone; one of PLUE_ALL_SESSIONS gets all of them, and sync.state, library.* and log. These last ones carry
the observer's cursor.

A cursor is good for as long as the log has what follows it: of each session the newest `replay.limit` events (2048), none older
than `replay.ageMs` (two minutes). The newest cursor is always good. In place of what it can no longer have, an observer
gets one item of type "gap", and goes on from its latestCursor by itself:

  gap  {"reason":"trimmed|unavailable","requestedCursor","latestCursor","latestRevision","observation"}

"trimmed": the cursor is older than that; "unavailable": it is ahead of the log, or of another store (the store "memory" does not
survive a restart). `observation` is how things stand at latestCursor; the gap of an observer of all has "sessions", the infos,
in its place, and as latestRevision a number that rises with each change. A gap has no `sequence`.

A slow reader loses nothing: its queue (64 events, 1 MiB) is filled again from the log as it reads.
When the log cannot be read, plue_session_observer_next() says why once, and CLOSED from then on.
"""

from __future__ import annotations

from plue_session.capi.surface.table import export


@export(time="local", executor="read")
def plue_session_observation(runtime, session: SessionOrAll) -> OwnedText:
    """Return how a session stands, and the cursor that goes with it, read at one moment.

    {"cursor","revision","session":info,"messages","nextCursor"?,"usage","queue","permissions","questions","todos","turn"?}

    `messages` are the newest 100 that are known here, as plue_session_messages() has them, but that one with more than 64 KB of
    parts has no `parts`; nextCursor leads to older ones there. `queue` is what plue_session_inputs() returns. `revision` is the
    number of durable changes of the session. Lists are empty where there is nothing, not absent. Of
    PLUE_ALL_SESSIONS: {"cursor","sessions":[infos]}. While the server is away, infos say "stale".

    :param session: a session's handle, or PLUE_ALL_SESSIONS.
    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM (NULL); BAD_HANDLE; NOT_FOUND (deleted); INTEGRITY (the store is damaged).
    """
    return runtime.observations.observation(session)


@export(time="local", executor="read")
def plue_session_observe(runtime, session: SessionOrAll, cursor: Cursor) -> NewObserver:
    """Observe a session, or all of them, from a cursor on.

    Observers are cheap: a thousand in one process are no burden. When the session is deleted, its observer hands out
    session.deleted, and nothing after it.

    :param session: a session's handle, or PLUE_ALL_SESSIONS. The handle may be destroyed while the session is observed.
    :param cursor: a cursor of the session's events, observation or observers; for all sessions any cursor of this
        store. NULL: from now on.
    :returns: the observer, to be closed with plue_session_observer_close(); NULL on failure.
    :errors: INVALID_PARAM (NULL session); BAD_HANDLE; NOT_FOUND (deleted); BAD_CURSOR (malformed, or of another
        session: the message names both); INTEGRITY; IO (no memory).
    """
    return runtime.observations.observe(session, cursor)


@export(time="waits")
def plue_session_observer_next(observer: Observer, timeout_ms: Milliseconds) -> OwnedText:
    """Return the next item, and wait for it if there is none yet.

    With a timeout of 0 it is instant: it never waits for Python, disk or network. While the observer is filled from the log
    there is nothing yet. Any number of threads may wait; each item goes to one of them. While plue_shutdown() runs it
    hands out what is queued, to all-sessions observers library.shutdown last, and then fails with CLOSED.

    :param timeout_ms: how long to wait; 0: not at all.
    :returns: free it with plue_free_json(). NULL with plue_get_last_error_code() PLUE_OK: nothing came, or
        plue_session_observer_wake() was called; NULL with another code: failure.
    :errors: INVALID_PARAM (NULL observer, negative time); BAD_HANDLE; CLOSED (closed, or the library shut down); IO (no
        memory: the item stays); once, what the log could not be read for (INTEGRITY, IO, BUSY).
    """


@export(time="instant")
def plue_session_observer_fd(observer: Observer) -> Code:
    """Return a descriptor that is readable while plue_session_observer_next() would return an item, or an error: for
    poll(), epoll and the like. Made at the first call, so observers without one cost none. Never read or close it; take
    it out of your loop before plue_session_observer_close(), which closes it.

    It is level-triggered; with EPOLLET, read until NULL.

    :returns: the descriptor, close-on-exec; -1 on failure.
    :errors: INVALID_PARAM (NULL); BAD_HANDLE; CLOSED; IO (no descriptor left).
    """


@export(time="instant")
def plue_session_observer_cursor(observer: Observer) -> OwnedText:
    """Return where the observer is: the cursor of the last item that it has handed out (of a gap its latestCursor), at
    first the one that it was opened with, or of that moment.

    :returns: free it with plue_free_string(); NULL on failure.
    :errors: INVALID_PARAM (NULL); BAD_HANDLE; CLOSED; IO (no memory).
    """


@export(time="instant")
def plue_session_observer_wake(observer: Observer) -> Nothing:
    """Have the calls of plue_session_observer_next() that wait return NULL with PLUE_OK; if none does, the next one that
    would wait.

    :errors: INVALID_PARAM (NULL); BAD_HANDLE; CLOSED.
    """


@export(time="instant")
def plue_session_observer_close(observer: Observer) -> Nothing:
    """Close an observer. Calls of plue_session_observer_next() that wait return NULL with CLOSED, and so do later ones.

    NULL, what is no live observer, and one that is closed already are ignored. plue_shutdown() closes those that are left.
    """
