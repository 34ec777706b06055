# ruff: noqa: F821 (names of capi/types.py)
"""Functions of tests alone."""

from __future__ import annotations

import weakref

from plue_session import errors
from plue_session.capi.surface.table import export
from plue_session.services.transaction import Transaction

OPEN, KEPT, SCANS, FAILED = weakref.WeakSet(), {}, [0], {}


class Held:
    """What a handle stands for here."""

    def __init__(self, name):
        self.name = name
        OPEN.add(self)

    def close(self):
        OPEN.discard(self)
        if self.name == "stubborn":
            raise errors.Unknown("it does not close", "Ask for another one.")


@export(time="local", executor="commit")
def plue_test_store(runtime, session: SessionHandle, name: Name, data: Bytes) -> Count:
    """Keep bytes under a name, and return how many.

    :param name: not empty.
    :param data: any bytes.
    :param length: how many.
    """
    KEPT[session, name] = data
    return len(data)


@export(time="local", executor="read")
def plue_test_load(runtime, session: SessionHandle, name: Name) -> OwnedBytes:
    """Return what is kept under a name.

    :param name: not empty.
    :param data: where they go.
    """
    if (session, name) not in KEPT:
        raise errors.NotFound("there is nothing of that name", "Ask for another one.")
    return KEPT[session, name]


@export(time="local", executor="read")
def plue_test_number(runtime, number: Number) -> Number:
    """Return the number; 13 fails."""
    if number == 13:
        raise errors.NotFound("it is 13", "Ask for another one.")
    return number


@export(time="local", executor="read")
def plue_test_identifier(runtime, id: Identifier) -> Identifier:
    """Return the id."""
    return id


@export(time="local", executor="read")
def plue_test_maybe(runtime, text: Text) -> MaybeText:
    """Return the text; nothing for "nothing"; "fail" fails."""
    if text == "fail":
        raise errors.NotFound("there is none", "Ask for another one.")
    return None if text == "nothing" else text


@export(time="local", executor="read")
def plue_test_observe(runtime, name: Name) -> Thing:
    """Make a thing."""
    return Held(name)


@export(time="waits", executor="read")
def plue_test_next(runtime, thing: Thing, timeout_ms: Milliseconds) -> MaybeText:
    """Return the thing's name; None with a time of 0."""
    return thing.name if timeout_ms else None


@export(time="local", executor="read")
def plue_test_fill(runtime, name: Name) -> Basket:
    """Make a basket."""
    return Held(name)


@export(time="local", executor="read")
def plue_test_weigh(runtime, basket: Basket, text: Text) -> OwnedText:
    """Return the basket's name and the text."""
    return basket.name + text


@export(time="local", executor="read")
def plue_test_open(runtime) -> Count:
    """Return how many things are open."""
    return len(OPEN)


@export(time="instant")
def plue_test_close(thing: Thing) -> Nothing:
    """Free a handle to a thing."""


@export(time="instant")
def plue_test_visit(count: Whole, visit: Visit, user_data: UserData) -> Ratio:
    """Call `visit` with each number below `count`, until it returns other than 0; return how far that was."""


@export(time="local", executor="read")
def plue_test_scans(runtime) -> Count:
    """Return how often the log was read for queues since the last call."""
    store = runtime.store
    if "events_after" not in vars(store):
        read = store.events_after

        def counted(*arguments):
            SCANS[0] += 1
            return read(*arguments)

        store.events_after = counted
    count, SCANS[0] = SCANS[0], 0
    return count


@export(time="local")
def plue_test_readers(count: Place) -> Status:
    """Have so many more queues that events go to."""


@export(time="local")
def plue_test_drain(reader: Place) -> Count:
    """Take out what waits in a queue; return how many events the reader has got in all, -1: they were out of order."""


@export(time="local")
def plue_test_waiting(reader: Place) -> Count:
    """Return how many events wait in a queue; -1: it is behind."""


@export(time="local")
def plue_test_gaps(reader: Place) -> Count:
    """Return how many gaps it has got."""


@export(time="local")
def plue_test_session(reader: Place) -> OwnedText:
    """Return the id that came with the last event a reader has got; "" without one."""


@export(time="local")
def plue_test_hungry() -> Nothing:
    """Have the queues refilled that are behind and empty."""


@export(time="local")
def plue_test_race(far: Place, near: Place) -> Count:
    """Drain two queues as fast as that goes until the near one has got something; return how many events the far one
    had got since by then."""


@export(time="local")
def plue_test_forget() -> Nothing:
    """End all these queues."""


@export(time="local", executor="read")
def plue_test_damage(runtime) -> Status:
    """Have the log be damaged from now on."""

    def fail(*_):
        raise errors.Integrity("the log is damaged", "See the doctor.")

    runtime.store.events_after = fail


@export(time="local", executor="read")
def plue_test_damage_for_all(runtime) -> Count:
    """Have the log be damaged for who hears of all sessions, or be whole again; return how often it was read so."""
    store, count = runtime.store, FAILED.pop("count", None)
    if count is not None:
        del store.events_after
        return count
    read, FAILED["count"] = store.events_after, 0

    def fail(after, limit, size=None, session_id=None):
        if session_id is None:
            FAILED["count"] += 1
            raise errors.Integrity("the log is damaged", "See the doctor.")
        return read(after, limit, size, session_id)

    store.events_after = fail
    return 0


@export(time="local", executor="commit")
def plue_test_follow(runtime, session: SessionHandle, name: Text) -> Status:
    """Have who observes the session observe the one of this id."""
    assert runtime.publisher._lib.core__observers_rename(session.encode(), name.encode()) == 0


@export(time="local", executor="commit")
def plue_test_name(runtime, session: SessionHandle, name: Text) -> Status:
    """Give a session another id as another process does: it is committed, and told here with the next change."""
    writer, store = runtime.writer, runtime.store
    with writer._lock:
        store.begin()
        transaction = Transaction(store, [], store.last_log_id())
        store.rename(session, name)
        record = store.load(name)
        record.aliased = True
        transaction.save(record, "session.updated", {"id": name, "aliases": [session]}, touch=False)
        transaction.log()
        store.commit()


@export(time="instant")
def plue_test_count_from(observer: Observer, number: Number) -> Nothing:
    """Have the next item of an observer be of that number."""


@export(time="local")
def plue_test_rename(before: SessionId, now: SessionId) -> Status:
    """Give a session another id, as when the server has made it that was away."""
