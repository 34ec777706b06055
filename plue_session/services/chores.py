"""What is to be done soon, once, behind the callers' backs, and again if it fails."""

import time

from plue_session import errors

#: How often a chore that fails is tried.
TRIES = 5


class Chores:
    """A queue by time. Not thread-safe: `Sync` has the lock, but for `do`, which its thread alone calls, without it.

    A chore is named by its kind and the session's id; its work is `work(session_id, until, cancel)`. One of a `stubborn` kind is
    tried for ever. What has failed waits until `bring_back`.
    """

    def __init__(self, log, stubborn):
        self._log, self._stubborn = log, stubborn
        self._waiting = {}  # name: (work, when it is due)
        self._failed = {}  # name: work
        self._tries = {}

    def add(self, kind, session_id, work, after=0.0):
        """Have the work done in so many seconds; if it waits already, once, at the earlier time."""
        when, name = time.monotonic() + after, (kind, session_id)
        self._waiting[name] = work, min(when, self._waiting.get(name, (work, when))[1])

    def drop(self, kind, session_id):
        """Forget a chore that is no longer needed."""
        self._waiting.pop((kind, session_id), None)

    def times(self):
        """Return when the chores are due, in monotonic seconds."""
        return [when for _, when in self._waiting.values()]

    def take(self, everything=False):
        """Return `{name: work}` of what is due, or of all, and forget it."""
        now = time.monotonic()
        due = {name: work for name, (work, when) in self._waiting.items() if everything or when <= now}
        for name in due:
            del self._waiting[name]
        return due

    def bring_back(self):
        """Have what has failed done again."""
        self._waiting.update({name: (work, 0.0) for name, work in self._failed.items()})
        self._failed.clear()

    def count(self, kind):
        """Return how many of a kind are yet to be done."""
        return sum(each == kind for each, _ in self._waiting.keys() | self._failed.keys())

    def do(self, name, work, until, cancel):
        """Do a chore, and return whether it has to be tried again."""
        kind, session_id = name
        try:
            work(session_id, until, cancel)
        except errors.NotFound:  # there is nothing left to be put right
            again = False
        except errors.PlueError as error:
            self._log.write("warning", error.message(f"sync {kind}"))
            self._tries[name] = self._tries.get(name, 0) + 1
            again = kind in self._stubborn or self._tries[name] < TRIES
        else:
            again = False
        if not again:
            self._tries.pop(name, None)
        return again

    def postpone(self, name, work):
        """Keep a chore that has failed for `bring_back`."""
        self._failed[name] = work
