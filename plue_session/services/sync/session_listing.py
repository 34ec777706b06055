"""Lists of all sessions that the server has in a directory: one at a time, and who asks meanwhile shares the next."""

import threading
import time
from collections import deque

from plue_session.services.sync.link import Crowded


class SessionListing:
    """Thread-safe; in order, so that who lists again and again keeps nobody from another directory's list.

    `mirror` records what has changed, but for what `session_locks` holds.
    """

    def __init__(self, server, store, publisher, mirror, session_locks, log):
        self._server, self._store, self._publisher, self._log = server, store, publisher, log
        self._mirror, self._session_locks = mirror, session_locks
        self._changed = threading.Condition()
        self._busy, self._queue = False, deque()
        self._begun = {}  # directory: how many lists have begun
        self._done = {}  # directory: (the number of the last that has succeeded, the ids in it)
        self._last = {}  # directory: what that was told

    def refresh(self, deadline, cancel, directory=None):
        """List all sessions of one directory and record what has changed; return their ids.

        The library's own directory (None) is mirrored whole; of another one only the sessions that we know. What is
        returned was so after this call began: a list that is under way by then does not count, but the one after it is
        made for all who wait.
        """
        number, ids = self._wait(deadline, cancel, directory)
        if number is None:
            return ids
        try:
            ids = self._refresh(deadline, cancel, directory)
            with self._changed:
                self._done[directory] = number, ids
            return ids
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _wait(self, deadline, cancel, directory):
        """Wait for another's list that began after now: `(None, ids)`. Or for the right to make one: `(its number,
        None)`."""

        def wake():
            with self._changed:
                self._changed.notify_all()

        cancel.watch(wake)
        try:
            with self._changed:
                wanted, ticket = self._begun.get(directory, 0) + 1, object()
                self._queue.append(ticket)
                while True:
                    cancel.check()
                    number, ids = self._done.get(directory, (0, None))
                    if number >= wanted:
                        return None, ids
                    if not self._busy and self._queue[0] is ticket:
                        self._busy = True
                        self._begun[directory] = self._begun.get(directory, 0) + 1
                        return self._begun[directory], None
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise Crowded("other calls listed the sessions all the time", "Try again.")
                    self._changed.wait(left)
        finally:
            cancel.unwatch(wake)
            with self._changed:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def _refresh(self, deadline, cancel, directory):
        mirror, since, asked = self._mirror, self._mirror.now(), time.monotonic()
        differing = mirror.take_differing()
        for survey in self._last.values():
            survey.forget(differing)
        survey = self._server.survey(self._last.get(directory), deadline, cancel, directory)
        changed, survey.changed = survey.changed, []  # of thousands: they are not kept until the next list
        if directory is not None:
            changed = [each for each in changed if self._store.read(each.id)]
        held = [each.id for each in changed if self._session_locks.is_held(each.id, each.token)]
        failed, reason = mirror.take_all([each for each in changed if each.id not in held], since, asked)
        if held or failed:
            survey.forget(held + failed)
        self._last[directory] = survey
        for odd in survey.unreadable:
            self._log.write("warning", f"sync: the server's session {odd} cannot be read and is left out")
        behind = {*held, *failed}
        mirror.confirmed([each for each in self._publisher.known_ids() if each in survey.ids and each not in behind])
        if reason is not None:
            raise reason
        return survey.ids
