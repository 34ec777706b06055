"""Operations in bulk: one after the other, each with a result of its own, whatever becomes of the others."""

import threading
import time
from collections import deque

from plue_session import errors, threads
from plue_session.call import Call
from plue_session.rules import steps
from plue_session.services.alarms import Alarms
from plue_session.services.later import Later
from plue_session.services.operations import Operation
from plue_session.services.queued import Awaited

#: Batches that run side by side. One that begins with an abort runs in any case.
SIDE_BY_SIDE = 32
#: Characters of text that are looked at before there is a thread for them: that takes less than a millisecond, so that
#: hundreds keep back no abort.
SHORT = 1 << 12
#: Characters of all results together: what the library's own functions can read.
RESULTS = 64 << 20
#: How often the progress of a batch is told, at most.
TOLD = 50
#: Part of a call's time, and seconds at most, by which a batch ends before its caller leaves, who then hears what has
#: become of each operation.
HEAD_START, MOST_HEAD_START = 0.1, 0.1


class Batch:
    """Operations of one caller, who called `function`. `results` are JSON texts, in order; `has_run`: some operation
    was not refused; `is_cut`: some was stopped. `place` is that of the operation to be done next; `waited` is its
    outcome if it has been waited for, in a list."""

    function: str

    def __init__(self, text, deadline):
        self.text, self.deadline = text, deadline
        self.steps, self.results, self.has_run, self.is_cut = None, [], False, False
        self.place, self.waited = 0, ()
        self._lock, self._calls, self._stopped, self._size = threading.Lock(), (), None, 0

    def stop(self, error):
        """Have what runs end with `error`, and nothing more begin. Thread-safe."""
        with self._lock:
            if self._stopped is None:
                self._stopped = error
            calls = self._calls
        for call in calls:
            call.set(error)

    @property
    def stopped(self):
        """The error that it was stopped with, or None."""
        return self._stopped

    def under_way(self, calls):
        """Note the calls that are being made; they end when it is stopped."""
        with self._lock:
            self._calls, stopped = calls, self._stopped
        for call in calls if stopped else ():
            call.set(stopped)

    def add(self, result):
        """Take the next operation's result. Return whether there was room for it."""
        self._size += len(result)
        fits = self._size <= RESULTS
        if fits:
            self.results.append(result)
        else:
            self._size -= len(result)
        return fits

    # -- what its caller hears -----------------------------------------------------------------------------------------
    def shown(self, op, answer):
        """Return what it may hear of the answer of an operation."""
        return answer

    def refuse(self, error):
        """Hear that nothing of it can be run."""
        raise NotImplementedError

    def progress(self, step, done):
        """Hear that so many operations are done; `step` is the last one."""

    def end(self):
        """Hear that all operations have results."""
        raise NotImplementedError


class Awaiting(Batch):
    """A batch whose caller waits."""

    function = "plue_session_batch"

    def __init__(self, text, deadline):
        super().__init__(text, deadline)
        self.later = Later(deadline)

    def refuse(self, error):
        self.later.end(error)

    def end(self):
        self.later.end(f"[{','.join(self.results)}]")


class Wait:
    """An operation that is waited for, without a thread: its `Later`, the call that it is, until it ends, and what ends
    the call when its time is up."""

    __slots__ = ("later", "call", "alarm")

    def __init__(self, later, call, alarm):
        self.later, self.call, self.alarm = later, call, alarm


class Batches:
    """Runs batches, each on a thread, but while it waits. Thread-safe.

    `ops` has, by its name, each operation that there is: a `rules.steps.Op` that also has `function`, the name of its
    function, `begin(arguments)`, which returns a result or what makes one, `answer(result)`, which returns that as JSON
    text, `is_change`, and `interrupt(session_id)`, None or what comes first. `refusal(error, function, session_id)` is
    an error as JSON text; `adopt()` is called on each thread first. With a server `executor` runs operations, `calls`
    has those that are under way, and `resolve(session_id)` is the id that a session has by now.
    """

    def __init__(self, ops, writer, seconds, refusal, adopt, executor=None, calls=None, resolve=None):
        self._ops, self._writer, self._seconds, self._refusal, self._adopt = ops, writer, seconds, refusal, adopt
        self._executor, self._calls, self._resolve = executor, calls, resolve
        self._changed, self._reading = threading.Condition(), threading.Lock()
        self._open, self._waiting, self._running, self._closed = set(), deque(), 0, None
        self._alarms = Alarms(adopt)

    def run(self, text):
        """Begin a batch whose caller waits; return its `Later`."""
        span = self._seconds - min(HEAD_START * self._seconds, MOST_HEAD_START)
        batch = Awaiting(text, time.monotonic() + span)
        self.start(batch)
        return batch.later

    def start(self, batch):
        """Have a batch run, as soon as one may."""
        counts = not steps.is_urgent(batch.text[:SHORT], self._ops)
        if len(batch.text) <= SHORT and not self._read(batch):
            return
        with self._changed:
            closed = self._closed
            if not closed:
                self._open.add(batch)
                if counts and self._running == SIDE_BY_SIDE:
                    self._waiting.append(batch)
                    return
                self._running += counts
        if closed:
            batch.stop(closed)
            self._finish(batch)
            return
        try:
            threads.start(lambda: self._work(batch, counts), "plue-bulk")
        except errors.StoreIo as error:
            with self._changed:
                self._running -= counts
                self._open.discard(batch)
            batch.refuse(error)

    def stop(self, batch, error):
        """Have what runs of a batch end with `error`, and nothing more begin; one that waits ends at once."""
        batch.stop(error)
        with self._changed:
            if batch not in self._waiting:
                return
            self._waiting.remove(batch)
        self._finish(batch)

    def close(self, error, seconds):
        """Stop all batches with `error`, and refuse those to come; return those that have not ended in so many
        seconds."""
        until = time.monotonic() + seconds
        with self._changed:
            self._closed = error
            waiting, self._waiting = self._waiting, deque()
            everything = list(self._open)
        for batch in everything:
            batch.stop(error)
        for batch in waiting:
            if time.monotonic() < until:
                self._finish(batch)
        with self._changed:
            while self._open and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            return list(self._open)

    # -- on its thread -------------------------------------------------------------------------------------------------
    def _work(self, batch, counts):
        self._adopt()
        while batch:
            self._finish(batch)
            with self._changed:
                batch = self._waiting.popleft() if counts and self._waiting else None
                if counts and not batch:
                    self._running -= 1

    def _finish(self, batch):
        """Run a batch to its end, or up to what it waits for."""
        try:
            if batch.steps is None and batch.stopped:
                self._drop(batch)
            elif batch.steps is not None or self._read(batch):
                wait = self._run(batch)
                if wait:  # from then on it may be another thread's
                    wait.later.then(lambda outcome: self._resume(batch, wait, outcome))
                    return
                batch.end()
        except BaseException as error:  # of memory, most likely
            batch.refuse(error)
        with self._changed:
            self._open.discard(batch)
            self._changed.notify_all()

    def _drop(self, batch):
        """End a batch that was stopped before it was read; hundreds may be when the library stops."""
        batch.steps, batch.text = steps.unread(batch.text), ""
        rest = f'{{"error":{self._refusal(batch.stopped, batch.function, None)}}}'
        batch.results, batch.is_cut = [rest] * len(batch.steps), bool(batch.steps)
        batch.end()

    def _read(self, batch):
        """Read what a batch asks for; False: it was refused."""
        try:
            with self._reading:  # threads that read at one time gain nothing, and keep the interpreter from others
                batch.steps, batch.text = steps.read(batch.text, self._ops), ""
        except BaseException as error:
            batch.refuse(error)
            return False
        return True

    def _resume(self, batch, wait, outcome):
        """Have a batch go on whose wait has ended; whoever ended it does not wait. It has to have a place again if it
        may begin something."""
        self._over(batch, wait.call, wait.alarm)
        batch.is_cut |= outcome is batch.stopped
        if outcome is wait.call.error and type(outcome) in (errors.Timeout, errors.Aborted):
            outcome = type(outcome)(outcome.cause, wait.later.beyond)
        batch.waited = [outcome]
        begins = batch.place + 1 < len(batch.steps) and time.monotonic() < batch.deadline
        with self._changed:
            counts = begins and not batch.stopped  # looked at here: `stop` looks for it afterwards
            if counts and self._running == SIDE_BY_SIDE:
                self._waiting.append(batch)
                return
            self._running += counts
        try:
            threads.start(lambda: self._work(batch, counts), "plue-bulk")
        except errors.StoreIo as error:
            batch.stop(error)  # nothing of it begins any more: what is left to be done is to tell of it
            with self._changed:
                self._running -= counts
            self._finish(batch)

    def _run(self, batch):
        """Run what is left of a batch; returns a `Wait` if that has to be waited for, before it goes on."""
        every = -(-len(batch.steps) // TOLD)
        while batch.place < len(batch.steps):
            group = self._group(batch.steps, batch.place)
            if batch.waited:
                group, outcomes, batch.waited = group[:1], batch.waited, ()
            elif len(group) > 1:
                outcomes = self._run_together(batch, group)
            else:
                outcomes = [self._run_one(batch, group[0])]
            if type(outcomes[0]) is Wait:
                return outcomes[0]
            for step, outcome in zip(group, outcomes, strict=True):
                self._add(batch, step, outcome)
                batch.place += 1
                if not batch.stopped and (batch.place % every == 0 or batch.place == len(batch.steps)):
                    batch.progress(step, batch.place)
        return None

    def _group(self, every, place):
        """Return the next operations that can share a commit: without a server, all changes up to what only reads."""
        end = place
        while end < len(every) and self._executor is None and (every[end].error or every[end].op.is_change):
            end += 1
        return every[place : max(end, place + 1)]

    def _add(self, batch, step, outcome):
        if not isinstance(outcome, BaseException):
            try:
                if batch.add(f'{{"ok":{batch.shown(step.op, step.op.answer(outcome))}}}'):
                    return
                outcome = errors.LimitExceeded(
                    f"the results have more than {RESULTS >> 20} MiB; the operation was done",
                    "Ask for what it returns by itself.",
                )
            except BaseException as error:
                outcome = error
        batch.is_cut |= outcome is batch.stopped or isinstance(outcome, errors.Closed)
        function = step.op.function if step.op else batch.function
        text = f'{{"error":{self._refusal(outcome, function, step.session)}}}'
        if not batch.add(text):
            batch.results.append(text)

    def _deadline(self, batch, step):
        """Return the deadline of an operation that is about to begin; fails if it cannot begin any more."""
        if step.error:
            raise step.error
        if batch.stopped:
            raise batch.stopped
        now = time.monotonic()
        if now >= batch.deadline:
            raise errors.Timeout(
                "the operations before it took all the time of the batch; it has not begun",
                "Pass fewer at a time, or raise requestTimeoutMs.",
            )
        if step.timeout is None and step.op.limit is not None:
            return batch.deadline  # it says itself for how long it waits
        return min(batch.deadline, now + (self._seconds if step.timeout is None else step.timeout))

    def _prepare(self, batch, step, arguments=None):
        """Return what the function of an operation returns, once its arguments are checked."""
        arguments = arguments or step.arguments()
        batch.has_run = True
        if step.op.interrupt:
            step.op.interrupt(step.session)
        return step.op.begin(arguments)

    def _run_one(self, batch, step):
        try:
            if self._executor is None and (step.error or step.op.limit is None):
                return self._run_together(batch, [step])[0]
            deadline = self._deadline(batch, step)
            if step.op.limit is not None:
                return self._begin(batch, step, deadline)
            with self._calls.begin(step.op.function, self._resolve(step.session), deadline) as call:
                batch.under_way((call,))
                try:
                    work = self._prepare(batch, step)
                    if isinstance(work, Operation):
                        return awaited(self._executor.run(work, call), call)
                    return work(call) if callable(work) else work
                finally:
                    batch.under_way(())
        except BaseException as error:
            return error

    def _begin(self, batch, step, deadline):
        """Begin an operation that waits, and return a `Wait`, or its result if that is known. What ends it ends its
        call: that its time is up, that the batch is stopped, an abort, the shutdown."""
        arguments, limit, now = step.arguments(), step.op.limit, time.monotonic()
        if arguments[limit]:
            deadline = min(deadline, now + arguments[limit] / 1000)
            arguments[limit] = max(int((deadline - now) * 1000), 1)
        else:  # it begins only
            deadline = min(deadline, now + self._seconds)
        call, alarm, work = self._calls.begin(step.op.function, self._resolve(step.session), deadline), None, None
        try:
            batch.under_way((call,))
            alarm = self._alarms.set(deadline, lambda: call.set(errors.Timeout("it has not ended in time")))
            work = self._prepare(batch, step, arguments)
            if type(work) is not Later:
                return work
            call.watch(lambda: work.end(call.error))
            return Wait(work, call, alarm)
        finally:
            if type(work) is not Later:
                self._over(batch, call, alarm)

    def _over(self, batch, call, alarm):
        """Note that an operation that waited has ended."""
        batch.under_way(())
        self._alarms.drop(alarm)
        self._calls.end(call)

    def _run_together(self, batch, group):
        """Run operations in one commit, if it can be, and return a result or an exception for each."""
        outcomes: list = [None] * len(group)
        queued = []
        for place, step in enumerate(group):
            try:
                deadline = self._deadline(batch, step)
                work = self._prepare(batch, step)
                if isinstance(work, Operation):
                    queued.append((place, Awaited(work.preview), Call(deadline)))
                else:
                    outcomes[place] = work
            except BaseException as error:
                outcomes[place] = error
        if queued:
            batch.under_way([call for *_, call in queued])
            for _, change, _ in queued:
                self._writer.queue(change)
            self._writer.lead(until=queued[-1][1], patient=False)
            for place, change, call in queued:
                change.wait(self._writer, call)
                outcomes[place] = awaited(_locked(change.outcome), call)
            batch.under_way(())
        return outcomes


def awaited(outcome, call):
    """Return an outcome, once it is known if it is a `Later`; what ends the call ends that, too."""
    if type(outcome) is not Later:
        return outcome
    changed, found = threading.Condition(), []

    def tell(known):
        with changed:
            found.append(known)
            changed.notify()

    outcome.then(tell)
    try:
        call.wait(changed, lambda: found or None)
    except errors.PlueError as error:
        return error
    return found[0] if found else errors.Timeout("it has not ended in time", outcome.beyond)


def _locked(outcome):
    """Return the outcome of a change; one that could not begin is told of as its own call would be."""
    if type(outcome) is errors.Busy:
        return errors.Busy(
            "the store was locked by another process, or overloaded, for as long as the operation may take; it changed "
            "nothing",
            "Try again, or allow more time (timeoutMs, requestTimeoutMs).",
        )
    return outcome
