"""What the surface's functions are as operations in bulk, and the batches of a runtime."""

import time
from functools import partial

from plue_session.capi.surface import TABLE
from plue_session.capi.types import TYPES
from plue_session.errors import PlueError, damaged
from plue_session.rules import parameters
from plue_session.rules.jsontext import dumps, quote
from plue_session.rules.steps import Op, milliseconds
from plue_session.services.batches import Batches

PREFIX = "plue_session_"


class Function(Op):
    """A function of the surface as an operation: what `Batches` wants of one."""

    __slots__ = ("function", "is_change", "interrupt", "_kind", "_body", "_runtime", "_known")

    def __init__(self, body, attributes, runtime, interrupt, known):
        *taken, (_, result) = body.__annotations__.items()
        super().__init__(
            body.__name__.removeprefix(PREFIX),
            [(name, *_check(TYPES[note])) for name, note in taken],
            is_urgent=attributes["away"] == "urgent",
            limit=next((place for place, (_, note) in enumerate(taken) if TYPES[note].slot == "number"), None),
        )
        self._known = known
        self.function, self._kind, self._body, self._runtime = body.__name__, TYPES[result].kind, body, runtime
        self.is_change = attributes["executor"] == "commit"
        self.interrupt = interrupt if attributes["interrupts"] else None

    def begin(self, arguments):
        found = self._known and self._known(*arguments)
        return self._body(self._runtime, *arguments) if found is None else found

    def answer(self, result):
        """Return a result as JSON text: of what makes a session its info, of what only succeeds true."""
        if self._kind == "session":
            return result.info
        if self._kind == "status":
            return "true"
        if self._kind != "array":
            return result
        try:
            return f"[{str(result[:], 'utf-8')}]"
        except UnicodeDecodeError:
            raise damaged() from None


def _check(crossing):
    """Return the check of a parameter, and whether it is required."""
    if crossing.slot == "session":
        return parameters.session_id, True
    if crossing.slot == "number":
        return milliseconds, True
    return crossing.check, crossing.required


def functions(runtime, interrupt, fresh_info=None):
    """Return the operations that there are, by name; `interrupt(session_id)` sends home who waits for a session.
    `fresh_info(session_id)` is what C answers by itself, or None."""
    made = (
        Function(body, attributes, runtime, interrupt, None if attributes["shim"] else fresh_info)
        for body, attributes in TABLE.values()
        if attributes["in_bulk"]
    )
    return {each.name: each for each in made}


def batches(boundary, runtime):
    """Return the batches of a runtime that has just been opened."""
    lib, sessions, executor, fresh_info = boundary.lib, runtime.sessions, None, None
    if runtime.remote:
        executor = runtime.executor
        fresh_info = partial(sessions.fresh_info, age_ns=runtime.cache_ttl_ns)
    return Batches(
        functions(runtime, lambda each: lib.core__interrupt(sessions.resolve(each).encode()), fresh_info),
        runtime.writer,
        runtime.settings.request_timeout_ms / 1000,
        boundary.describe,
        runtime.publisher.adopt,
        executor,
        runtime.calls,
        sessions.resolve,
    )


def render(error, function, session_id):
    """Return an error as plue_get_last_error_json() does, without what is around it."""
    session_id = error.session or session_id
    message = PlueError(error.cause, error.remedy, session=session_id).message(function)
    details = f',"details":{dumps(error.details)}' if error.details else ""
    return (
        f'{{"code":"{error.name}","number":{error.number},"message":{quote(message)}{details},'
        f'"retryable":{"true" if error.retryable else "false"},"timestamp":{int(time.time() * 1000)}}}'
    )
