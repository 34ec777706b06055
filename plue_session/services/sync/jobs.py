"""Work behind the callers' backs: the queue of what is to be done, and the one thread that does it."""

import threading
import time

from plue_session import errors, threads
from plue_session.call import Call
from plue_session.model import Operation
from plue_session.rules import ids

#: kind: (seconds that it may take, how often it is tried; None: until it succeeds)
INTENT = "intent"
KINDS = {
    "reconcile": (30.0, 1),  # compare the store with the server; `Sync` sees to it that this is done again
    "history": (10.0, None),  # ask for events that were missed
    "wake": (3.0, 1),  # go on with events that waited for the one of an answer
    "reread": (3.0, 5),  # ask for a session: what was said of it may have been overtaken
    "transcript": (10.0, 5),  # read what was said: it may not have been heard
    "turn": (3.0, 5),  # see whether a turn has begun since the session was aborted
    "title": (3.0, None),  # settle whose title it is: the server may have replaced one that was set here (O-027)
    "take back": (3.0, None),  # delete a session that a failed call of ours has left on the server
    "asks": (10.0, None),  # see what turns wait for (services/turns/asks.py)
    "deadline": (10.0, None),  # answer what has waited for too long
    "withdraw": (5.0, 5),  # refuse on the server what ended turns had asked
    "todos": (3.0, 5),  # ask for a plan that was heard of, and could not be recorded
    INTENT: (3.0, None),  # see what has become of a change that the server was asked for, and that is not recorded
}
#: Seconds until what has failed is tried again: from the first time to the longest.
BACK_OFF = 2.0, 60.0


def postpone(transaction, kind, name, arguments="{}"):
    """Keep a job as a row, in the change that makes it necessary: if this process cannot do it, the next one does.
    `name` is a session's id, or the token of one whose id is not known. Returns the row's id.

    Jobs of the kinds "reread" and "turn" have no row: they follow from what the store and the server say.
    """
    session_id, subject = (name, None) if ids.is_id(name) else (None, name)
    now = transaction.now
    return transaction.store.put_operation(Operation(None, kind, session_id, subject, arguments, now, now))


class Job:
    """Work of a kind on a session, to be done at `due` (monotonic seconds); it has failed `tries` times."""

    __slots__ = ("kind", "session_id", "due", "tries")

    def __init__(self, kind, session_id, due):
        self.kind, self.session_id, self.due, self.tries = kind, session_id, due, 0


class Jobs:
    """The queue, by time. Thread-safe."""

    def __init__(self):
        self._changed = threading.Condition()
        self._jobs = {}  # (kind, session id): `Job`
        self._paused = self._reconciled = self._closed = False

    def add(self, kind, session_id=None, after=0.0):
        """Have something done in so many seconds. What waits already is done once, at the earlier time; what has failed
        keeps its time."""
        with self._changed:
            due = time.monotonic() + after
            job = self._jobs.setdefault((kind, session_id), Job(kind, session_id, due))
            if not job.tries:
                job.due = min(job.due, due)
            self._changed.notify()

    def drop(self, kind, session_id=None):
        """Forget what is no longer needed."""
        with self._changed:
            self._jobs.pop((kind, session_id), None)

    def pause(self, paused):
        """Do nothing but reconcile, while the server is away; or go on, at once also with what has failed."""
        with self._changed:
            self._paused = paused
            for job in self._jobs.values():
                if job.tries:
                    job.due = 0.0
            self._changed.notify()

    def waiting(self):
        """Return the jobs in the order in which they will be done. When both are due, reconciling and the rest
        alternate."""
        now = time.monotonic()

        def order(job):
            return max(job.due, now), (job.kind == "reconcile") == self._reconciled, job.due

        with self._changed:
            jobs = [job for job in self._jobs.values() if job.kind == "reconcile" or not self._paused]
        return sorted(jobs, key=order)

    def next(self):
        """Wait for something that is due, and take it; None once closed."""
        with self._changed:
            while not self._closed:
                jobs = self.waiting()
                left = jobs[0].due - time.monotonic() if jobs else None
                if jobs and left <= 0:
                    self._reconciled = jobs[0].kind == "reconcile"
                    return self._jobs.pop((jobs[0].kind, jobs[0].session_id))
                self._changed.wait(left)
            return None

    def retry(self, job, error):
        """Have what was taken, and has failed, done again, each time later, unless it was tried often enough. A locked
        store does not count."""
        job.tries += not isinstance(error, errors.Busy)
        if job.tries != KINDS[job.kind][1]:
            job.due = time.monotonic() + min(BACK_OFF[0] * 2 ** min(max(job.tries - 1, 0), 16), BACK_OFF[1])
            with self._changed:
                self._jobs[job.kind, job.session_id] = job

    def close(self):
        """Have nothing done any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Worker:
    """The thread. `works[kind](session_id, call)` does what is due; it tells `publisher` of what changes,
    and `link` how the server took it."""

    def __init__(self, jobs, works, link, publisher, log):
        self._jobs, self.works, self._link, self._publisher, self._log = jobs, works, link, publisher, log
        #: ends what is under way
        self.call = Call()
        self._thread = None

    def start(self):
        """Begin. Returns at once."""
        self._thread = threads.start(self._run, "plue-sync")

    def stop(self, error):
        """End what is under way with `error`, and the thread. Returns at once."""
        self._jobs.close()
        self.call.set(error)

    def join(self, seconds):
        """Wait for the thread's end, at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self):
        self._publisher.adopt()
        while (job := self._jobs.next()) is not None:
            self.do(job)

    def do(self, job):
        """Do a job that was taken."""
        try:
            self.works[job.kind](job.session_id, self.call.within(KINDS[job.kind][0]))
        except errors.NotFound:  # there is nothing left to be put right
            pass
        except errors.PlueError as error:
            if not isinstance(error, errors.Connection):  # that the server is away is told by `link`, once
                self._log.write("warning", error.message(f"sync {job.kind}"))
            self._jobs.retry(job, error)
            self._link.refused(error)
        except Exception as error:  # a defect of ours: it must be noticed, and not end the thread
            self._log.write("error", errors.known(error).message(f"sync {job.kind}"))
