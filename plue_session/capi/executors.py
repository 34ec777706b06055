"""What the library's threads do, one kind of them each: take requests, and what must be done beside them."""

from functools import partial

from plue_session.capi.control import control
from plue_session.capi.translation import describe
from plue_session.services.operations import Operation

#: Requests that are taken at a time.
BATCH = 256
#: Bytes of a session's id, with the NUL.
TURN_ID = 128
#: ns by which a call to the server ends before its caller leaves, so that the caller hears what went wrong.
HEAD_START = 100_000_000


def table(lib):
    """Return what serves each executor, by its number: `serve(boundary, executor, generation)`."""
    return {
        lib.CORE_EXECUTOR_CONTROL: control,
        lib.CORE_EXECUTOR_COMMIT: write,
        lib.CORE_EXECUTOR_READ: read,
        lib.CORE_EXECUTOR_REMOTE: ask,
        lib.CORE_EXECUTOR_URGENT: ask,
    }


def taker(boundary, executor, generation, size=BATCH, take=None):
    """Return a function that takes what is pending in the executor, as a list."""
    requests, take = boundary.ffi.new("core_request *[]", size), take or boundary.lib.core__take

    def taken():
        return list(requests[0 : take(executor, generation, requests, size)])

    return taken


def attend(boundary, executor, generation, duties):
    """Serve the executor until it is closed: `duties` are pairs of a signal and what it asks for. No failure ends the
    thread, which all depend on: a request that fails is refused; anything else is logged, and tried again the next
    time."""
    wait = boundary.lib.core__wait
    while signal := wait(executor, generation):
        for meant, work in duties:
            if signal & meant:
                boundary.guarded(work)


def tidy(lib, store):
    """Have a reader do the store's housekeeping if that is due."""
    if store.wants_maintenance():
        lib.core__wake(lib.CORE_EXECUTOR_READ, lib.CORE_SIGNAL_MAINTAIN)


def write(boundary, executor, generation):
    """Serve those who change the embedded backend's sessions: as a rule this thread leads the writer."""
    lib, runtime = boundary.lib, boundary.runtime
    writer, take = runtime.writer, taker(boundary, executor, generation)

    def gather():
        for request in take():
            boundary.queue(request)

    def change():
        gather()
        writer.lead(gather, partial(lib.core__near, executor))
        tidy(lib, runtime.store)

    def show():
        """Publish all snapshots again: for one of them there was no memory. Those that are not newer than what is shown
        are ignored."""
        for session_id in boundary.publisher.known_ids():
            found = runtime.store.info(session_id)
            if found:
                boundary.publisher.snapshot(session_id, *found)

    signals = lib.CORE_SIGNAL_REQUESTS | lib.CORE_SIGNAL_LEAD
    attend(
        boundary,
        executor,
        generation,
        ((signals, change), (lib.CORE_SIGNAL_WAKE, writer.catch_up), (lib.CORE_SIGNAL_SHOW, show)),
    )
    writer.lead()  # what others have left to this thread


def read(boundary, executor, generation):
    """Serve readers: lists, pages, opening. Also do what no caller waits for (refills, checkpoints), and check what has
    waited too long for other executors."""
    lib, runtime = boundary.lib, boundary.runtime
    take = taker(boundary, executor, generation, 1)
    overdue = {
        other: taker(boundary, other, generation, 1, lib.core__take_overdue)
        for other in (lib.CORE_EXECUTOR_COMMIT, lib.CORE_EXECUTOR_REMOTE, lib.CORE_EXECUTOR_URGENT)
    }

    def answer():
        for request in take():
            boundary.answer(request, boundary.prepare)

    def check():
        for other, take_overdue in overdue.items():
            while requests := take_overdue():
                if requests[0].slow:
                    runtime.writer.drop_unwanted()
                    boundary.queue(requests[0])
                    if lib.core__wake(other, lib.CORE_SIGNAL_LEAD):  # nobody is left there
                        runtime.writer.lead()
                else:
                    sound(requests[0])

    def cancel_turns():
        id = boundary.ffi.new("char[]", TURN_ID)
        while lib.core__turns_asked(id):  # each is asked for once: the failure of one must not keep others
            boundary.guarded(partial(runtime.turns.cancel, boundary.ffi.string(id).decode()), "cancel_turns")

    def refill_again():
        boundary.refilling.refill(again=True)

    def sound(request):
        try:
            boundary.export(request).read(request)
        except BaseException as error:
            boundary.finish(request, error)
        else:
            lib.core__put_back(request)

    attend(
        boundary,
        executor,
        generation,
        (
            (lib.CORE_SIGNAL_CHECK, check),
            (lib.CORE_SIGNAL_WAKE, boundary.refilling.refill),
            (lib.CORE_SIGNAL_AGAIN, refill_again),
            (lib.CORE_SIGNAL_REQUESTS, answer),
            (lib.CORE_SIGNAL_SUBMITTED, boundary.submissions.look),
            (lib.CORE_SIGNAL_TURNS, cancel_turns),
            (lib.CORE_SIGNAL_MAINTAIN, runtime.store.maintain),
            (lib.CORE_SIGNAL_RELEASED, boundary.held.collect),
        ),
    )


class Told:
    """The end of a request, which may come before that of its work."""

    __slots__ = ("_boundary", "_request")

    def __init__(self, boundary, request):
        self._boundary, self._request = boundary, request

    def tell(self, outcome):
        """Send the caller home with what its work is about to commit. The request is gone then."""
        request, self._request = self._request, None
        if request is not None:
            self._boundary.finish(request, outcome, True)

    def end(self, outcome):
        """End the request, if it has not ended; else a failure is a defect, or what follows the commit has failed."""
        if self._request is not None:
            self._boundary.finish(self._request, outcome)
        elif isinstance(outcome, BaseException):
            self._boundary.note("warning", f"after a call: {describe(outcome)}")


def ask(boundary, executor, generation):
    """Serve those whose calls may wait for the server."""
    lib, runtime, ffi = boundary.lib, boundary.runtime, boundary.ffi
    take = taker(boundary, executor, generation, 1)

    def answer():
        for request in take():
            told = Told(boundary, request)
            try:
                outcome = perform(request, told)
            except BaseException as error:
                outcome = error
            told.end(outcome)
        tidy(lib, runtime.store)

    def perform(request, told):
        session = ffi.string(request.session).decode() if request.session else None
        deadline = (request.until - min(HEAD_START, request.span // 10)) / 1e9
        since = (request.until - request.span) / 1e9
        with runtime.calls.begin(boundary.export(request).name, session, deadline, since) as call:
            work = boundary.prepare(request)
            if isinstance(work, Operation):
                return runtime.executor.run(work, call, told.tell)
            return work(call) if callable(work) else work

    attend(boundary, executor, generation, ((~0, answer),))
