"""What is to be done soon, once, behind the callers' backs, and again if it fails; and the one thread that does it."""

import threading
import time

from plue_session import errors, threads
from plue_session.cancel import Cancel

#: kind: (seconds that it may take, how often it is tried; None: until it succeeds)
KINDS = {
    "reconcile": (30.0, 1),  # compare the store with the server; `Sync` has it done again at its time
    "reread": (3.0, 5),  # what was said of a session may have been overtaken
    "turn": (3.0, 5),  # one may have begun since the session was aborted
    "title": (3.0, 5),  # the server may have replaced a title that was set here (O-027)
    "unshare": (3.0, None),  # the server has a share that was withdrawn here
    "take back": (3.0, 5),  # the server has a session that a failed call of ours made
}
#: Seconds until one that has failed again is tried: from the second time to the longest.
BACK_OFF = 2.0, 60.0
#: When a job is due that is being done, or has failed and waits for `bring_back`.
NEVER = float("inf")
#: Seconds that the thread sleeps at most.
SLEEP = 3600.0


class Job:
    """Something of a kind that is to be done with a session; when it is `due`, and at the `earliest`, in monotonic
    seconds."""

    __slots__ = ("kind", "session_id", "due", "earliest", "tries")

    def __init__(self, kind, session_id):
        self.kind, self.session_id, self.due, self.earliest, self.tries = kind, session_id, NEVER, 0.0, 0


class Jobs:
    """The queue, by time. Thread-safe.

    What has failed waits until `bring_back`, and each time longer: the server may be there, and not answer this.
    """

    def __init__(self):
        self._changed = threading.Condition()
        self._jobs = {}  # (kind, session id): `Job`
        self._doing, self._after_reconcile, self._closed = None, False, False

    def add(self, kind, session_id=None, after=0.0):
        """Have something done in so many seconds; if it waits already, once, at the earlier time."""
        with self._changed:
            job = self._jobs.setdefault((kind, session_id), Job(kind, session_id))
            job.due = min(job.due, max(time.monotonic() + after, job.earliest))
            self._changed.notify()

    def drop(self, kind, session_id=None):
        """Forget what is no longer needed."""
        with self._changed:
            self._jobs.pop((kind, session_id), None)

    def count(self, kind):
        """Return how many of a kind are yet to be done."""
        with self._changed:
            return sum(job.kind == kind for job in self._jobs.values())

    def waiting(self):
        """Return what waits for its time, first things first. To reconcile and the rest alternate when both are due."""
        now = time.monotonic()

        def order(job):
            return max(job.due, now), (job.kind == "reconcile") == self._after_reconcile, job.due

        with self._changed:
            return sorted((job for job in self._jobs.values() if job.due < NEVER), key=order)

    def next(self):
        """Wait for something that is due, and return it; None once closed. `done` has to follow."""
        with self._changed:
            while not self._closed:
                left = SLEEP
                for job in self.waiting()[:1]:
                    left = job.due - time.monotonic()
                    if left <= 0:
                        return self.take(job)
                self._changed.wait(left)
            return None

    def take(self, job):
        """Note that a job is being done."""
        job.due, self._doing, self._after_reconcile = NEVER, job, job.kind == "reconcile"
        return job

    def done(self, job, failed):
        """Note that a job was done, or has failed and is kept for `bring_back`, unless it was tried often enough."""
        with self._changed:
            self._doing = None
            job.tries = job.tries + 1 if failed else 0
            again = failed and job.tries != KINDS[job.kind][1]
            wait = BACK_OFF[0] * 2 ** min(job.tries - 2, 16)
            job.earliest = time.monotonic() + min(wait, BACK_OFF[1]) if again and job.tries > 1 else 0.0
            if job.due < NEVER:  # asked for again meanwhile
                job.due = max(job.due, job.earliest)
            elif not again and self._jobs.get((job.kind, job.session_id)) is job:
                del self._jobs[job.kind, job.session_id]

    def bring_back(self):
        """Have what has failed done again."""
        with self._changed:
            for job in self._jobs.values():
                if job.due == NEVER and job is not self._doing:
                    job.due = job.earliest
            self._changed.notify()

    def close(self):
        """Have nothing done any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Worker:
    """The thread. `works[kind](session_id, deadline, cancel)` does what is due; it tells `publisher` of what
    changes."""

    def __init__(self, jobs, works, publisher, log):
        self._jobs, self.works, self._publisher, self._log = jobs, works, publisher, log
        #: ends what is under way
        self.cancel = Cancel()
        self._thread = None

    def start(self):
        """Begin. Returns at once."""
        self._thread = threads.start(self._run, "plue-sync")

    def stop(self, error):
        """End what is under way with `error`, and the thread. Returns at once."""
        self._jobs.close()
        self.cancel.set(error)

    def join(self, seconds):
        """Wait for the thread's end, at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self):
        self._publisher.adopt()
        while (job := self._jobs.next()) is not None:
            self.do(job)

    def do(self, job):
        """Do one job, and note what came of it."""
        failed = False
        try:
            self.works[job.kind](job.session_id, time.monotonic() + KINDS[job.kind][0], self.cancel)
        except errors.NotFound:  # there is nothing left to be put right
            pass
        except errors.PlueError as error:
            failed = True
            self._log.write("warning", error.message(f"sync {job.kind}"))
        except Exception as error:  # a defect of ours: it must be noticed, and not end the thread
            self._log.write("error", f"sync {job.kind}: {errors.internal(error).message('')}")
        self._jobs.done(job, failed)
