"""Lists of all sessions that the server has in a directory: one at a time, and who asks meanwhile shares the next."""

import threading
import time
from collections import deque

from plue_session.services.sync.link import Crowded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Publisher, Server, Store


class SessionListing:
    """Thread-safe; in order, so that who lists again and again keeps nobody from another directory's list.

    `mirror` records what has changed, but for what `session_locks` holds.
    """

    def __init__(self, server: "Server", store: "Store", publisher: "Publisher", mirror, session_locks, histories, log):
        self._server, self._store, self._publisher, self._log = server, store, publisher, log
        self._mirror, self._session_locks, self._histories = mirror, session_locks, histories
        self._changed = threading.Condition()
        self._busy, self._queue = False, deque()
        self._directories = {}

    def refresh(self, call, directory=None):
        """List all sessions of one directory and record what has changed; return their ids.

        The library's own directory (None) is mirrored whole; of another one only the sessions that we know. What is
        returned was so after this call began: a list that is under way by then does not count, but the one after it is
        made for all who wait.
        """
        ticket = object()
        with self._changed:
            known = self._directories.setdefault(directory, _Directory())
            wanted = known.begun + 1
            self._queue.append(ticket)

        def ready():
            """Return the ids in another's list, or `known` when it is for us to make one."""
            if known.done >= wanted:
                return known.survey.ids
            if self._busy or self._queue[0] is not ticket:
                return None
            self._busy = True
            known.begun += 1
            return known

        try:
            found = call.wait(self._changed, ready)
        finally:
            with self._changed:
                self._queue.remove(ticket)
                self._changed.notify_all()
        if found is None:
            raise Crowded("other calls listed the sessions all the time", "Try again.")
        if found is not known:
            return found
        try:
            self._refresh(known, call, directory)
            known.done = known.begun
            return known.survey.ids
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _refresh(self, known, call, directory):
        mirror, since, asked = self._mirror, self._mirror.now(), time.monotonic()
        differing = mirror.take_differing()
        for each in self._directories.values():
            if each.survey is not None:
                each.survey.forget(differing)
        survey = self._server.survey(known.survey, call, directory)
        changed, survey.changed = survey.changed, []  # of thousands: they are not kept until the next list
        if directory is not None:
            changed = [each for each in changed if self._store.read(each.id)]
        held = [each.id for each in changed if self._session_locks.is_held(each.id, each.token)]
        changed = [each for each in changed if each.id not in held]
        failed, reason = mirror.take_all(self._histories.listed(changed, call), since, call, asked)
        if held or failed:
            survey.forget(held + failed)
        known.survey = survey
        for odd in survey.unreadable:
            self._log.write("warning", f"sync: the server's session {odd} cannot be read and is left out")
        behind = {*held, *failed}
        for each in self._publisher.known_ids():
            if each in survey.ids and each not in behind:
                mirror.refreshed(each, listed=True)
        if reason is not None:
            raise reason


class _Directory:
    """How many lists of a directory have begun, the number of the last that was recorded, and what the last said."""

    __slots__ = ("begun", "done", "survey")

    def __init__(self):
        self.begun, self.done, self.survey = 0, 0, None
