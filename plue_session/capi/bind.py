"""The Python side of the boundary: library threads take requests from the C side, run the surface, and finish them.

There is one `Boundary` per process, made inside the embedded interpreter (build_ffi.py, INIT_CODE). Nothing that
happens here prints or escapes: a failure of any kind ends as the error of the call that met it.
"""

import gc
import sys
from itertools import count
from time import monotonic_ns

from plue_session import errors, threads
from plue_session.capi.children import Children
from plue_session.capi.held import Held
from plue_session.capi.publish import Publisher
from plue_session.capi.refill import Refilling
from plue_session.capi.surface import TABLE, fingerprint
from plue_session.capi.types import TYPES
from plue_session.rules.jsontext import dumps
from plue_session.services.later import Later

#: Requests that are taken at a time: with the callers that wait in threads, also the size of a group commit.
BATCH = 256
#: Calls whose checked texts are kept: as many as may wait for the writer. Those of one that is no longer here are
#: checked again.
PREPARED = 4096
#: What a call to the server ends before its caller goes home, ns: so the caller hears what the matter was.
HEAD_START = 100_000_000
#: What a caller is told when there is no room to put together what the matter is.
OUT_OF_MEMORY = b"out of memory. Free some and try again."


class Operation:
    """How to run one operation: its function, and how its values cross."""

    __slots__ = ("name", "function", "crossings", "texts", "kind")

    def __init__(self, function):
        *notes, (_, result) = function.__annotations__.items()
        self.name, self.function = function.__name__, function
        self.crossings = [(TYPES[note], name) for name, note in notes]
        self.texts = list(enumerate(crossing for crossing in self.crossings if crossing[0].check))
        self.kind = TYPES[result].kind


OPERATIONS = [Operation(function) for function, attributes in TABLE.values() if attributes["executor"]]


def describe(error):
    """Say what an unexpected exception was and where it came from."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})" if trace else ""
    return f"{type(error).__name__}: {error}{place}"


def translate(error):
    """Return the `PlueError` that a C caller gets for any exception."""
    if isinstance(error, errors.PlueError):
        return error
    if isinstance(error, MemoryError) or isinstance(error, RuntimeError) and str(error) == "can't allocate lock":
        return errors.StoreIo("out of memory", "Free some and try again.")
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return errors.StoreIo("no thread can be started", "Raise the limit on threads (ulimit -u) or free memory.")
    if isinstance(error, OSError):
        return errors.StoreIo(
            f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}",
            "Check the file, its permissions and the free space, and try again.",
        )
    return errors.Unknown(f"internal error, {describe(error)}", "Please report it.")


class Boundary:
    """What the library's threads do, executor by executor, for one process."""

    def __init__(self, ffi, lib):
        if ffi.string(lib.core__fingerprint()).decode() != fingerprint():
            raise RuntimeError("the library and the Python package beside it are of different builds")
        self.ffi, self.lib = ffi, lib
        self.runtime = self.publisher = self.refilling = None
        self.held = Held(ffi, lib, self.guarded)
        self.works = {}  # what threads are about to do, by number
        threads.make = self.start_thread
        self.prepared, self.numbers = (
            {},
            count(1),
        )  # checked texts of calls, with the time when nobody waits for them any more
        self.serve = {
            lib.CORE_EXECUTOR_CONTROL: self.control,
            lib.CORE_EXECUTOR_COMMIT: self.commit,
            lib.CORE_EXECUTOR_READ: self.read,
            lib.CORE_EXECUTOR_REMOTE: self.remote,
            lib.CORE_EXECUTOR_URGENT: self.remote,
        }

    def run(self, executor, generation):
        """Serve an executor until it is closed, and return 0; -1 when that failed: it is to be called again."""
        if executor == self.lib.CORE_EXECUTOR_NONE:
            return 0
        work = (
            self.works.pop(generation)
            if executor == self.lib.CORE_EXECUTOR_WORK
            else lambda: self.serve[executor](executor, generation)
        )
        threading = sys.modules.get("threading")  # importing it takes 6 ms of the start: locks come from _thread
        if threading and threading.gettrace():  # as threading.Thread does: debuggers and coverage see our threads too
            sys.settrace(threading.gettrace())
        try:
            work()
        except BaseException as error:  # not a call's failure: memory is short, or a defect here
            self.note("error", f"a library thread: {describe(error)}")
            return 0 if executor == self.lib.CORE_EXECUTOR_WORK else -1
        return 0

    def start_thread(self, name, work):
        """Have a thread of the library do `work`."""
        number = next(self.numbers)
        self.works[number] = work
        if self.lib.core__start_thread(name.encode(), number):
            del self.works[number]
            raise RuntimeError("can't start new thread")

    # -- requests --------------------------------------------------------------------------------------------------
    def taker(self, executor, generation, size=BATCH):
        """Return a function that takes what is pending in the executor, as a list."""
        requests = self.ffi.new("core_request *[]", size)
        take, lane_number = self.lib.core__take, executor

        def taken():
            return list(requests[0 : take(lane_number, generation, requests, size)])

        return taken

    def call(self, request):
        """Run the operation of a request and return its result. A session comes with a handle: `(handle, session)`."""
        operation = OPERATIONS[request.operation]
        result = operation.function(self.runtime, *self.arguments(request, operation))
        if operation.kind == "session":
            return self.acquire(result), result
        return result

    def arguments(self, request, operation):
        kept = request.prepared and self.prepared.get(request.prepared)
        texts = iter(kept[1] if kept else self.checked(request, operation))
        session = self.ffi.string(request.session).decode() if request.session else None
        return [
            next(texts) if each.check else session if each.slot == "session" else self.number(request, each.slot)
            for each, _ in operation.crossings
        ]

    def number(self, request, slot):
        """Return an argument that is a number, or the object behind one."""
        return self.held[request.value] if slot == "held" else getattr(request, slot)

    def checked(self, request, operation):
        """Return what the services take for the texts of a request, or fail as the first that is bad."""
        ffi, text = self.ffi, request.text
        return [
            each.check(
                ffi.unpack(text[place], request.length[place])
                if each.slot == "bytes"
                else ffi.string(text[place]).decode()
                if text[place]
                else None,
                name,
            )
            for place, (each, name) in operation.texts
        ]

    def prepare(self, request):
        """Check the texts of a request, and keep what comes of them under a number for the thread that gets the request
        next."""
        try:
            checked = self.checked(request, OPERATIONS[request.operation])
        except BaseException as error:
            self.finish(request, error)
            return
        number = next(self.numbers)
        self.prepared[number] = request.until, checked
        self.guarded(self.forget_prepared)
        self.lib.core__finish_number(request, number)

    def forget_prepared(self):
        """Forget what nobody was given: its caller has left."""
        now = monotonic_ns()
        for number, (deadline, _) in list(self.prepared.items()):
            if deadline > now and len(self.prepared) <= PREPARED:
                break
            self.prepared.pop(number, None)

    def acquire(self, session):
        """Make a handle, before anything of this commit is published: so it misses nothing."""
        handle = self.lib.core__session_acquire((session if isinstance(session, str) else session.id).encode())
        if not handle:
            raise errors.StoreIo("no memory, or no handle, is left", "Destroy handles that are not needed.")
        return handle

    def hold(self, handles, session):
        """Make a handle for `handles`, a dict by session id, unless it has one: a change may run twice."""
        if session.id not in handles:
            handles[session.id] = self.acquire(session)

    def finish(self, request, outcome, shown=None):
        """End a request with its result, or with the error that `outcome` is. A session that was changed after log id
        `shown` has been shown to its handles already. What is `Later` is told when it is known: the call takes up no
        thread until then. Never raises: what cannot be delivered is an error of the request."""
        try:
            if type(outcome) is Later:
                outcome.then(lambda known: self.finish(request, known, shown))
            else:
                self.deliver(request, outcome, shown)
        except BaseException as error:  # so C has not got it yet: with that, what is below would end it a second time
            self.refuse(request, OPERATIONS[request.operation].name, error)

    def deliver(self, request, outcome, shown):
        lib = self.lib
        operation = OPERATIONS[request.operation]
        if request.prepared:
            self.prepared.pop(request.prepared, None)
        if isinstance(outcome, BaseException):
            self.refuse(request, operation.name, outcome)
        elif operation.kind == "maybe" and outcome is None:
            lib.core__finish_text(request, self.ffi.NULL, 0, 0)
        elif operation.kind in ("text", "array", "maybe", "bytes"):
            data = outcome.encode("utf-8", "replace") if type(outcome) is str else self.ffi.from_buffer(outcome)
            raw = type(outcome) is not str and operation.kind != "bytes"  # it comes from the store as it is
            if raw and not lib.core_is_utf8(data, len(data)):
                self.refuse(
                    request,
                    operation.name,
                    errors.Integrity(
                        "the store is damaged: what it holds of a session is not UTF-8",
                        "`plue-session doctor` says more; keep a copy of the store.",
                    ),
                )
                return
            lib.core__finish_text(request, data, len(data), operation.kind == "array")
        elif operation.kind == "session":
            handle, session = outcome
            if shown is None or session.rev <= shown:
                self.guarded(lambda: self.publisher.snapshot(session.id, session.rev, session.info), "show")
            runtime = self.runtime
            if runtime and runtime.remote:
                self.guarded(
                    lambda: lib.core__session_fresh(session.id.encode(), runtime.refreshed(session.id)), "show"
                )
            lib.core__finish_handle(request, handle)
        elif type(operation.kind) is int:
            lib.core__finish_handle(request, self.held.handle(operation.kind, outcome))
        else:
            lib.core__finish_number(request, outcome if operation.kind == "count" else 0)

    def refuse(self, request, name, error):
        """End a request with an error. Never raises."""
        try:
            error = translate(error)
            # It may be the error of others too, that were to be committed together: it is left as it is.
            session = error.session or (self.ffi.string(request.session).decode() if request.session else None)
            message = errors.PlueError(error.cause, error.remedy, session=session).message(name)
            if error.number == errors.Unknown.number:
                self.note("error", message)
            number, text = error.number, message.encode("utf-8", "replace").replace(b"\0", b"\xef\xbf\xbd")
            details = dumps(error.details).encode() if error.details else b""
        except Exception:  # of memory, most likely: this needs none
            number, text, details = errors.StoreIo.number, OUT_OF_MEMORY, b""
        self.lib.core__finish_error(request, number, text, details)

    # -- executors -----------------------------------------------------------------------------------------------------
    def control(self, executor, generation):
        """Open and close the runtime, for ever."""
        lib, string = self.lib, self.ffi.string
        take = self.taker(executor, generation, 1)
        while True:
            lib.core__wait(executor, generation)
            for request in take():
                try:
                    if request.operation == lib.CORE_CONTROL_OPEN:
                        self.open(string(request.text[0]).decode() if request.text[0] else None, request.number)
                    elif request.operation == lib.CORE_CONTROL_PING:
                        pass
                    elif request.operation == lib.CORE_CONTROL_HANG_UP:
                        self.runtime.hang_up()
                    elif request.operation == lib.CORE_CONTROL_FAREWELL:
                        self.runtime.farewell()
                    elif request.operation in (lib.CORE_CONTROL_REFILL, lib.CORE_CONTROL_GAP):
                        self.refilling.refill_until(request.until, request.operation == lib.CORE_CONTROL_GAP)
                    else:
                        self.close()
                except BaseException as error:
                    self.refuse(
                        request, "plue_init" if request.operation == lib.CORE_CONTROL_OPEN else "plue_shutdown", error
                    )
                else:
                    opened = request.operation == lib.CORE_CONTROL_OPEN
                    if lib.core__finish_number(request, 0) and opened:
                        self.close()  # the caller of plue_init has given up meanwhile

    def open(self, config_json, generation):
        from plue_session.runtime import Runtime

        lib, string = self.lib, self.ffi.string

        def environment(name):
            value = lib.core__environment(name.encode())
            return string(value).decode("utf-8", "surrogateescape") if value else None

        def environ():
            block, whole = lib.core__environment_block(), {}
            while block and block[0]:
                name, _, value = string(block[0]).decode("utf-8", "surrogateescape").partition("=")
                whole.setdefault(name, value)
                block += 1
            return whole

        def lifeline(fd, open):
            if not open:
                lib.core__keep_on_fork(fd)
            elif lib.core__close_on_fork(fd):
                raise RuntimeError("too many descriptors are to be closed in forked children")

        places = [
            string(place()).decode("utf-8", "surrogateescape") for place in (lib.core__package_root, lib.core__site)
        ]
        lib.core__adopt(generation)  # once its caller has given up, this start may no longer publish
        self.publisher = Publisher(self.ffi, lib, generation)
        self.runtime = Runtime(
            config_json,
            environment,
            self.publisher,
            string(lib.core__library_path()).decode("utf-8", "replace"),
            environ=environ,
            lifeline=lifeline,
            given_up=lambda: bool(lib.core__leaving()),
            places=places,
            children=Children(self.ffi, lib),
        )
        self.refilling = Refilling(self.ffi, lib, self.runtime)
        try:
            lib.core__set_timeout(self.runtime.settings.request_timeout_ms)
            lib.core__set_ttl(self.runtime.cache_ttl_ns)
            lib.core__remote(self.runtime.remote)
            if self.runtime.remote:
                self.publisher.follow(self.runtime.store)
            for fd in self.runtime.store.lock_fds():
                lifeline(fd, True)
            lib.core__event_start(self.runtime.store.log_state()[1])
            watched = self.runtime.watched()
            if watched and lib.core__watch(*(part.encode("utf-8", "surrogateescape") for part in watched)):
                raise errors.StoreIo(
                    "changes by other processes cannot be watched for: no descriptor, thread or memory is left",
                    "Close some files, raise the limits (ulimit -n, -u), or free memory.",
                )
            self.runtime.greet()
            self.runtime.begin()
        except BaseException:
            self.close()
            raise

    def close(self):
        runtime, self.runtime = self.runtime, None
        self.refilling = None
        self.prepared.clear()
        self.held.clear()  # what these stood for ends with the runtime
        self.lib.core__watch_stop()  # also when whoever called plue_init has long given up
        if runtime:
            for fd in runtime.store.lock_fds():
                self.lib.core__keep_on_fork(fd)
            runtime.close()
            del runtime
            gc.collect()  # a store in memory may be large, and is part of a cycle

    def attend(self, executor, generation, duties):
        """Do what the executor is for until it is closed: `duties` are pairs of a signal and of what is then to be
        done. None of that ends the thread, which all depend on: a request that fails is refused, what else fails is
        logged and tried again the next time."""
        wait = self.lib.core__wait
        while signal := wait(executor, generation):
            for meant, work in duties:
                if signal & meant:
                    self.guarded(work)

    def commit(self, executor, generation):
        """The writer: everything that is pending when the store is ours becomes one commit."""
        lib, runtime = self.lib, self.runtime
        writer, take = runtime.writer, self.taker(executor, generation)

        def near():
            lib.core__near(executor)

        def change():
            requests, handles = [], []

            def jobs():
                requests.extend(take())
                return [lambda transaction, request=request: self.joined(request, handles) for request in requests]

            try:
                outcomes = writer.batch([], jobs, near)
            except Exception as error:
                outcomes = [error]
            if len(outcomes) != len(requests):  # the store could not even be locked
                requests.extend(take())
                outcomes = outcomes[-1:] * len(requests)
            kept = {outcome[0] for outcome in outcomes if isinstance(outcome, tuple)}
            for handle in handles:
                if handle not in kept:
                    lib.core__handle_release(handle)
            for request, outcome in zip(requests, outcomes):
                self.finish(request, outcome, writer.told_since)
            if self.prepared:
                self.guarded(self.forget_prepared)
            self.guarded(lambda: self.look_after(runtime.store), "maintain")

        self.attend(
            executor,
            generation,
            (
                (lib.CORE_SIGNAL_REQUESTS, change),
                (lib.CORE_SIGNAL_WAKE, writer.catch_up),
                (lib.CORE_SIGNAL_SHOW, self.show),
            ),
        )

    def look_after(self, store):
        """Have a reader do what the store wants done after many commits."""
        if store.wants_maintenance():
            self.lib.core__wake(self.lib.CORE_EXECUTOR_READ, self.lib.CORE_SIGNAL_MAINTAIN)

    def show(self):
        """Publish every snapshot that somebody may read again: for one there was no memory. An older one than is shown
        is ignored."""
        for session_id in self.publisher.known_ids():
            found = self.runtime.store.info(session_id)
            if found:
                self.publisher.snapshot(session_id, *found)

    def joined(self, request, handles):
        result = self.call(request)
        if type(result) is tuple:
            handles.append(result[0])
        return result

    def read(self, executor, generation):
        """A reader: lists, pages, opening; also what no caller waits for: refilling queues, checkpoints."""
        lib, runtime = self.lib, self.runtime
        take, refilling = self.taker(executor, generation, 1), self.refilling

        def answer():
            for request in take():
                if request.prepare:
                    self.prepare(request)
                    continue
                try:
                    outcome = (
                        self.opened(self.call(request))
                        if OPERATIONS[request.operation].kind == "session"
                        else self.call(request)
                    )
                except BaseException as error:
                    outcome = error
                self.finish(request, outcome)

        def maintain():
            runtime.store.maintain()

        self.attend(
            executor,
            generation,
            (
                (lib.CORE_SIGNAL_WAKE, refilling.refill),
                (lib.CORE_SIGNAL_REQUESTS, answer),
                (lib.CORE_SIGNAL_MAINTAIN, maintain),
                (lib.CORE_SIGNAL_RELEASED, self.held.collect),
            ),
        )

    def remote(self, executor, generation):
        """One of the threads that may wait for the server."""
        runtime, take = self.runtime, self.taker(executor, generation, 1)

        def answer():
            for request in take():
                self.ask(runtime, request)
                self.guarded(lambda: self.look_after(runtime.store), "maintain")

        self.attend(executor, generation, ((~0, answer),))

    def ask(self, runtime, request):
        """Run the operation of a request that may ask the server, and finish it."""
        operation, handles = OPERATIONS[request.operation], {}
        try:
            session = self.ffi.string(request.session).decode() if request.session else None
            deadline = (request.until - min(HEAD_START, request.span // 10)) / 1e9
            with runtime.call(operation.name, session, deadline, lambda made: self.hold(handles, made)) as call_context:
                outcome = operation.function(call_context, *self.arguments(request, operation))
            if operation.kind == "session":
                handle = handles.pop(outcome if isinstance(outcome, str) else outcome.id, None)
                outcome = (handle, outcome) if handle else self.opened((self.acquire(outcome), outcome))
        except BaseException as error:
            outcome = error
        for handle in handles.values():  # to what was undone
            self.lib.core__handle_release(handle)
        self.finish(request, outcome)

    def opened(self, outcome):
        """Read the session again now that its handle exists: a change in between would have missed it."""
        from plue_session.model import Session

        handle, session = outcome
        session_id = session if isinstance(session, str) else session.id
        try:
            found = self.runtime.store.info(session_id)
            if not found:
                raise errors.NotFound(
                    "the session was deleted meanwhile", "List the sessions to see what there is.", session=session_id
                )
        except BaseException:
            self.lib.core__handle_release(handle)
            raise
        return handle, Session(id=session_id, rev=found[0], info=found[1])

    def guarded(self, work, name=None):
        """Do work that no caller waits for; its failure is logged, and it is tried again the next time."""
        try:
            work()
        except Exception as error:
            self.note("warning", lambda: translate(error).message(name or work.__name__))

    def note(self, level, message):
        """Log a message, or what a function returns, if that can be done: never raises."""
        runtime = self.runtime
        try:
            if runtime and runtime.log:
                runtime.log.write(level, message if isinstance(message, str) else message())
        except Exception:  # of memory, most likely; what is lost is a line of the log
            return
