"""The Python side of the boundary: what a request asks for, and how it ends.

There is one `Boundary` per process, made inside the embedded interpreter (embedded.py). Nothing that happens here
prints or escapes: a failure of any kind ends as the error of the call that met it.
"""

import sys
from itertools import count

from plue_session import errors, threads
from plue_session.capi import bulk, executors
from plue_session.capi.held import Held
from plue_session.capi.refill import REASONS
from plue_session.capi.surface import TABLE, fingerprint
from plue_session.capi.translation import describe, translate
from plue_session.capi.types import TYPES
from plue_session.rules.jsontext import dumps
from plue_session.rules.parameters import plain
from plue_session.services.later import Later
from plue_session.services.operations import Operation
from plue_session.services.queued import NOT_WRITTEN, Queued

#: What a caller is told when there is no room to put together what the matter is.
OUT_OF_MEMORY = b"out of memory. Free some and try again."


class Export:
    """One exported function: its name, its body, the kind of its result. `read(request)` returns the checked arguments
    of a request, or fails as the first bad one does."""

    __slots__ = ("name", "body", "kind", "read")

    def __init__(self, body, ffi, held):
        *parameters, (_, result) = body.__annotations__.items()
        self.name, self.body, self.kind = body.__name__, body, TYPES[result].kind

        def read(request):
            self.read = reader(parameters, ffi, held)
            return self.read(request)

        self.read = read


#: Where a request has an argument, by its slot.
_SLOTS = {
    "session": "string(request.session).decode()",
    "session or all": "string(request.session).decode() if request.session else None",
    "text": "string(text[{place}]).decode() if text[{place}] else None",
    "bytes": "unpack(text[{place}], request.length[{place}])",
    "held": "held[request.value]",
    "number": "request.number",
    "value": "request.value",
}


def reader(parameters, ffi, held):
    """Return a function that reads these parameters, `(name, type)` each, from a request. It runs in each call, so its
    code is spelled out; it is compiled by the first call, because a start has no time for it."""
    scope, values, place = {"string": ffi.string, "unpack": ffi.unpack, "held": held}, [], 0
    for name, note in parameters:
        crossing = TYPES[note]
        value = _SLOTS[crossing.slot].format(place=place)
        place += crossing.slot in ("text", "bytes")
        if crossing.check not in (None, plain):
            scope[f"check_{name}"] = crossing.check
            value = f"check_{name}({value}, {name!r})"
        values.append(value)
    exec(f"def read(request): text = request.text; return [{', '.join(values)}]", scope)
    return scope["read"]


class Posted(Queued):
    """The change of a caller that waits in C."""

    __slots__ = ("boundary", "request")

    def __init__(self, change, boundary, request):
        self.change, self.outcome, self.boundary, self.request = change, NOT_WRITTEN, boundary, request

    def start(self):
        return not self.boundary.lib.core__begin(self.request)

    def is_wanted(self):
        return not self.boundary.lib.core__is_left(self.request)

    def end(self):
        self.boundary.finish(self.request, self.outcome)


class Boundary:
    """What the library's threads take from C and give back, for one process. Thread-safe."""

    def __init__(self, ffi, lib):
        if ffi.string(lib.core__fingerprint()).decode() != fingerprint():
            raise RuntimeError("the library and the Python package beside it are of different builds")
        self.ffi, self.lib, self._lib = ffi, lib, lib
        self.runtime = self.publisher = self.refilling = self.submissions = None
        self.held = Held(ffi, lib, self.guarded)
        self.works, self.numbers = {}, count(1)  # what threads are about to do, by number
        self.exports = [Export(body, ffi, self.held) for body, attributes in TABLE.values() if attributes["executor"]]
        threads.make = self.start_thread  # type: ignore[assignment]
        self.serve = executors.table(lib)

    def run(self, executor, generation):
        """Serve an executor until it is closed, and return 0. -1: that failed, and this is to be called again."""
        if executor == self.lib.CORE_EXECUTOR_NONE:
            return 0
        is_work = executor == self.lib.CORE_EXECUTOR_WORK
        threading = sys.modules.get("threading")  # importing it takes 6 ms of the start: locks come from _thread
        if threading:  # as threading.Thread does: debuggers, coverage and profilers see our threads, too
            sys.settrace(threading.gettrace())
            sys.setprofile(threading.getprofile())
        try:
            if is_work:
                self.works.pop(generation)()
            else:
                self.serve[executor](self, executor, generation)
        except BaseException as error:  # not a call's failure: memory is short, or a defect here
            self.note("error", f"a library thread: {describe(error)}")
            return 0 if is_work else -1
        return 0

    def trace(self, log):
        """Have a log hear of each call that ends, if it wants to; None: nobody, which costs nothing."""
        self.lib = self._lib
        if log and log.trace:
            from plue_session.capi.traced import Traced

            self.lib = Traced(self.ffi, self._lib, self.exports, log)

    def start_thread(self, name, work):
        """Have a thread of the library do `work`."""
        number = next(self.numbers)
        self.works[number] = work
        if self.lib.core__start_thread(name.encode(), number):
            del self.works[number]
            raise RuntimeError("can't start new thread")

    # -- what is asked for ---------------------------------------------------------------------------------------------
    def export(self, request):
        """Return the function that a request calls."""
        return self.exports[request.operation]

    def prepare(self, request):
        """Read and check the arguments of a request, and return what the function's body makes of them: a result, a
        `Later`, an operation, or a function of the call. What is bad by itself is refused here."""
        export = self.exports[request.operation]
        return export.body(self.runtime, *export.read(request))

    def queue(self, request):
        """Prepare what a request asks for. A change is queued with the writer, and the caller of this calls `lead`
        afterwards; anything else is finished here."""
        try:
            work = self.prepare(request)
            if isinstance(work, Operation):
                self.runtime.writer.queue(Posted(work.preview, self, request))
                return
        except BaseException as error:
            work = error
        self.finish(request, work)

    # -- how it ends ---------------------------------------------------------------------------------------------------
    def answer(self, request, work):
        """End a request with what `work(request)` returns, or the error that it raises."""
        try:
            outcome = work(request)
        except BaseException as error:
            outcome = error
        self.finish(request, outcome)

    def finish(self, request, outcome, newest=False):
        """End a request with its result, or with the error that `outcome` is; with a `Later`, when that is known.
        `newest`: a session is as the transaction has it that is about to be committed. Never raises: what cannot be
        delivered becomes an error of the request."""
        try:
            if type(outcome) is Later:
                outcome.then(lambda known: self.finish(request, known))
            else:
                self.deliver(request, self.exports[request.operation], outcome, newest)
        except BaseException as error:  # C has not got the outcome, so the request is still to be ended
            self.refuse(request, self.exports[request.operation].name, error)

    def deliver(self, request, export, outcome, newest=False):
        lib = self.lib
        if isinstance(outcome, BaseException):
            self.refuse(request, export.name, outcome)
        elif export.kind == "maybe" and outcome is None:
            lib.core__finish_text(request, self.ffi.NULL, 0, 0)
        elif export.kind in ("text", "array", "maybe", "bytes"):
            data = outcome.encode("utf-8", "replace") if type(outcome) is str else self.ffi.from_buffer(outcome)
            raw = type(outcome) is not str and export.kind != "bytes"  # it comes from the store as it is
            if raw and not lib.core_is_utf8(data, len(data)):
                raise errors.damaged()
            lib.core__finish_text(request, data, len(data), export.kind == "array")
        elif export.kind == "session":
            lib.core__finish_handle(request, self.open_handle(request, outcome, newest))
        elif export.kind == "observer":
            lib.core__finish_handle(request, self.open_observer(outcome))
        elif type(export.kind) is int:
            lib.core__finish_handle(request, self.held.handle(export.kind, outcome))
        else:
            lib.core__finish_number(request, outcome if export.kind == "count" else 0)

    def open_handle(self, request, outcome, newest=False):
        """Return a new handle of a session, given as a record or by its id, and publish its snapshot. The session is
        read after the handle exists, if it may have changed: later changes are published to it, and what was read has
        the earlier ones. One that the call has made gets its handle in any case: the call has not failed."""
        lib, runtime, made = self.lib, self.runtime, None if type(outcome) is str else outcome
        session_id = made.id if made else outcome
        handle = lib.core__session_acquire(request, session_id.encode())
        if not handle:
            raise errors.closed()
        try:
            is_newest = newest or made and not runtime.remote and runtime.writer.is_newest(made)
            found = (made.rev, made.info) if is_newest else runtime.store.info(session_id)
            if not found and (other := runtime.store.id_of_alias(session_id)):  # the server has given it its own id
                session_id, found = other, runtime.store.info(other)
            if not found:
                raise errors.NotFound(
                    "the session was deleted meanwhile", "List the sessions to see what there is.", session=session_id
                )
        except BaseException as error:
            if not made:
                lib.core__handle_release(handle)
                raise
            if isinstance(error, errors.NotFound):
                self.publisher.gone(session_id)
            found = made.rev, made.info
        self.guarded(lambda: self.publisher.snapshot(session_id, *found), "show")
        if runtime.remote:
            self.guarded(lambda: lib.core__session_fresh(session_id.encode(), runtime.refreshed(session_id)), "show")
        return handle

    def describe(self, error, name, session_id):
        """Return an error, of any kind, of an operation in bulk as JSON text; a defect is logged."""
        error = translate(error)
        if error.number == errors.Unknown.number:
            self.note("error", error.message(name))
        return bulk.render(error, name, session_id)

    def open_observer(self, opening):
        """Return a new handle of an observer that begins there, and have it filled if it is behind."""
        session = self.ffi.NULL if opening.session_id is None else opening.session_id.encode()
        reason = REASONS.index(opening.reason)
        handle = self.lib.core__observer_open(session, opening.after, reason, opening.cursor.encode())
        if not handle:
            raise errors.StoreIo("no memory, or no handle, is left", "Close observers that are not needed.")
        renamed = opening.session_id and self.runtime.store.id_of_alias(opening.session_id)
        if renamed and self.lib.core__observers_rename(session, renamed.encode()):  # it got that id just now
            raise MemoryError
        return handle

    def refuse(self, request, name, error):
        """End a request with an error. Never raises."""
        try:
            error = translate(error)
            # It may be the error of other calls of the same group, too: it is left as it is.
            session = error.session or (self.ffi.string(request.session).decode() if request.session else None)
            message = errors.PlueError(error.cause, error.remedy, session=session).message(name)
            if error.number == errors.Unknown.number:
                self.note("error", message)
            number, text = error.number, message.encode("utf-8", "replace").replace(b"\0", b"\xef\xbf\xbd")
            details = dumps(error.details).encode() if error.details else b""
        except Exception:  # of memory, most likely: this needs none
            number, text, details = errors.StoreIo.number, OUT_OF_MEMORY, b""
        self.lib.core__finish_error(request, number, text, details)

    # -- what nobody waits for -----------------------------------------------------------------------------------------
    def guarded(self, work, name=None):
        """Do work that no caller waits for; its failure is logged, and it is tried again the next time."""
        try:
            work()
        except Exception as error:
            message = translate(error).message(name or work.__name__)
            self.note("warning", message)

    def note(self, level, message):
        """Log a message if that can be done: never raises."""
        runtime = self.runtime
        try:
            if runtime and runtime.log:
                runtime.log.write(level, message)
        except Exception:  # of memory, most likely; what is lost is a line of the log
            return
