"""What is to be done soon, once, behind the callers' backs, and again if it fails."""

import time

from plue_session import errors

#: How often a chore that fails is tried.
TRIES = 5
#: Seconds until one that has failed again is tried: from the second time to the longest.
BACK_OFF = 2.0, 60.0


class Jobs:
    """A queue by time. Not thread-safe: `Sync` has the lock, but for `do`, which its thread alone calls, without it.

    A chore is named by its kind and the session's id; its work is `work(session_id, deadline, cancel)`. One of a
    `retried` kind is tried for ever. What has failed waits until `bring_back`, and each time longer: the server may be
    there, and not answer this.
    """

    def __init__(self, log, retried):
        self._log, self._retried = log, retried
        self._waiting = {}  # name: (work, when it is due)
        self._doing = {}  # name: work
        self._failed = {}  # name: work
        self._tries, self._earliest = {}, {}

    def add(self, kind, session_id, work, after=0.0):
        """Have the work done in so many seconds; if it waits already, once, at the earlier time."""
        name = kind, session_id
        when = max(time.monotonic() + after, self._earliest.get(name, 0.0))
        self._waiting[name] = work, min(when, self._waiting.get(name, (work, when))[1])

    def drop(self, kind, session_id):
        """Forget a chore that is no longer needed."""
        name = kind, session_id
        for each in (self._waiting, self._tries, self._earliest):
            each.pop(name, None)

    def times(self):
        """Return when the chores are due, in monotonic seconds."""
        return [when for _, when in self._waiting.values()]

    def take(self, everything=False):
        """Return `{name: work}` of what is due, or of all: it is being done, until `done` or `give_back`."""
        now = time.monotonic()
        due = {name: work for name, (work, when) in self._waiting.items() if everything or when <= now}
        for name in due:
            del self._waiting[name]
        self._doing.update(due)
        return due

    def give_back(self, jobs):
        """Have what was taken done later: there was no time."""
        for name, work in jobs.items():
            del self._doing[name]
            self._waiting.setdefault(name, (work, 0.0))

    def bring_back(self):
        """Have what has failed done again."""
        self._waiting.update({name: (work, self._earliest.get(name, 0.0)) for name, work in self._failed.items()})
        self._failed.clear()

    def count(self, kind):
        """Return how many of a kind are yet to be done."""
        return sum(each == kind for each, _ in self._waiting.keys() | self._doing.keys() | self._failed.keys())

    def do(self, name, work, deadline, cancel):
        """Do a chore, and return whether it has to be tried again."""
        kind, session_id = name
        try:
            work(session_id, deadline, cancel)
        except errors.NotFound:  # there is nothing left to be put right
            again = False
        except errors.PlueError as error:
            self._log.write("warning", error.message(f"sync {kind}"))
            tries = self._tries[name] = self._tries.get(name, 0) + 1
            if tries > 1:
                self._earliest[name] = time.monotonic() + min(BACK_OFF[0] * 2 ** min(tries - 2, 16), BACK_OFF[1])
            again = kind in self._retried or self._tries[name] < TRIES
        except Exception as error:  # a defect of ours: it must be noticed, and not end the thread
            self._log.write("error", f"sync {kind}: internal error, {type(error).__name__}: {error}. Please report it.")
            again = False
        else:
            again = False
        if not again:
            self._tries.pop(name, None)
            self._earliest.pop(name, None)
        return again

    def done(self, name, again):
        """Note that a chore was done; `again`: that it has failed, and is kept for `bring_back`."""
        work = self._doing.pop(name)
        if again:
            self._failed[name] = work
