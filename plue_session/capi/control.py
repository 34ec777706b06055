"""The thread that opens and closes the runtime. It lives as long as the process."""

import gc

from plue_session import errors
from plue_session.capi import bulk
from plue_session.capi.children import Children
from plue_session.capi.publish import Publisher
from plue_session.capi.refill import Refilling
from plue_session.capi.submissions import Submissions


def control(boundary, executor, generation):
    """Serve plue_init, plue_shutdown, and what C asks beside them."""
    lib, ffi = boundary.lib, boundary.ffi
    requests = ffi.new("core_request *[1]")
    works = {
        lib.CORE_CONTROL_OPEN: lambda request: open_runtime(boundary, request),
        lib.CORE_CONTROL_CLOSE: lambda request: close_runtime(
            boundary, "plue_shutdown", request.value, errors.NAMES.get(request.number, "OK")
        ),
        lib.CORE_CONTROL_PING: lambda request: None,
        lib.CORE_CONTROL_HANG_UP: lambda request: boundary.runtime.hang_up(),
        lib.CORE_CONTROL_FAREWELL: lambda request: say_farewell(boundary, request.until),
        lib.CORE_CONTROL_REFILL: lambda request: boundary.refilling.refill_until(request.until, False),
        lib.CORE_CONTROL_GAP: lambda request: boundary.refilling.refill_until(request.until, True),
    }
    while True:
        lib.core__wait(executor, generation)
        while lib.core__take(executor, generation, requests, 1):
            request = requests[0]
            opens = request.operation == lib.CORE_CONTROL_OPEN
            try:
                works[request.operation](request)
            except BaseException as error:
                boundary.refuse(request, "plue_init" if opens else "plue_shutdown", error)
            else:
                if (boundary.lib if opens else lib).core__finish_number(request, 0) and opens:
                    close_runtime(boundary)  # the caller of plue_init has given up meanwhile


def say_farewell(boundary, until):
    try:
        boundary.submissions.close(until)
    finally:
        boundary.runtime.farewell()


def open_runtime(boundary, request):
    from plue_session.runtime import Runtime

    lib, string, generation = boundary.lib, boundary.ffi.string, request.number
    config_json = string(request.text[0]).decode() if request.text[0] else None

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
            raise errors.StoreIo(
                "too many descriptors are to be closed in forked children", "End some of the agents that are attached."
            )

    def lead():
        return not lib.core__wake(lib.CORE_EXECUTOR_COMMIT, lib.CORE_SIGNAL_LEAD)

    places = [string(place()).decode("utf-8", "surrogateescape") for place in (lib.core__package_root, lib.core__site)]
    lib.core__adopt(generation)  # once its caller has given up, this start may no longer publish
    publisher = boundary.publisher = Publisher(boundary.ffi, lib, generation)
    runtime = boundary.runtime = Runtime(
        config_json,
        environment,
        publisher,
        string(lib.core__library_path()).decode("utf-8", "replace"),
        environ=environ,
        lifeline=lifeline,
        given_up=lambda: bool(lib.core__leaving()),
        places=places,
        children=Children(boundary.ffi, lib),
        lead=lead,
        cleaner=cleaner(boundary),
        began=request.value,
    )
    boundary.trace(runtime.log)
    runtime.batches = bulk.batches(boundary, runtime)
    boundary.submissions = Submissions(boundary, runtime)
    boundary.refilling = Refilling(boundary.ffi, lib, runtime)  # a new one: a thread left behind may still use the last
    try:
        lib.core__set_timeout(runtime.settings.request_timeout_ms)
        lib.core__set_ttl(runtime.cache_ttl_ns)
        lib.core__remote(runtime.remote)
        if runtime.remote:
            publisher.follow(runtime.store)
        for fd in runtime.store.lock_fds():
            lifeline(fd, True)
        lib.core__event_start(runtime.store.log_state()[1])
        watched = runtime.watched()
        if watched and lib.core__watch(*(part.encode("utf-8", "surrogateescape") for part in watched)):
            raise errors.StoreIo(
                "changes by other processes cannot be watched for: no descriptor, thread or memory is left",
                "Close some files, raise the limits (ulimit -n, -u), or free memory.",
            )
        runtime.greet()
        runtime.begin()
    except BaseException as error:
        close_runtime(boundary, "plue_init", request.value, errors.known(error).name)
        raise


def cleaner(boundary):
    """Return what has the host's cleaner run, if there is one, and returns its result."""

    def run(info):
        result = boundary.ffi.new("int *")
        boundary.lib.core__clean(info.encode("utf-8", "replace"), result)
        return result[0]

    return run


def close_runtime(boundary, *call):
    """Close what runs; `call` is as `Runtime.close` takes it."""
    runtime, boundary.runtime = boundary.runtime, None
    boundary.trace(None)
    boundary.held.clear()  # what these stood for ends with the runtime
    boundary.lib.core__watch_stop()  # also when whoever called plue_init has long given up
    if runtime:
        for fd in runtime.store.lock_fds():
            boundary.lib.core__keep_on_fork(fd)
        runtime.close(*call)
        del runtime
        gc.collect()  # a store in memory may be large, and is part of a cycle
