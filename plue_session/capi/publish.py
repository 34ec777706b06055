"""What is committed, told to the C side: snapshots for handles, events for queues."""

from time import monotonic_ns

from plue_session.model import EVENTS
from plue_session.primitives import allocate_lock
from plue_session.rules.cursors import render
from plue_session.rules.info import alias, stale

#: Bytes of ids that are fetched at a time.
IDS_SIZE = 1 << 16


def crossing(ffi, kind, session_id, cursor, tail):
    """Return an event as the C side takes it: its number, its session's id or NULL, and the texts before and after its
    sequence number, with their lengths."""
    head, tail = _head(kind, session_id, cursor), tail.encode("utf-8", "replace")
    return kind, session_id.encode() if session_id else ffi.NULL, head, len(head), tail, len(tail)


def _head(kind, session_id, cursor):
    """Return how the JSON of an event begins."""
    subject = f',"sessionId":"{session_id}"' if session_id else ""  # letters, digits and _ alone (rules/ids.py)
    return f'{{"type":"{EVENTS[kind]}","number":{kind}{subject},"cursor":"{cursor}"'.encode()


class Publisher:
    """The publisher port on the C side (ports.Publisher), for one generation of the library."""

    def __init__(self, ffi, lib, generation):
        self._ffi, self._lib, self._generation = ffi, lib, generation
        self._store = None  # with a server: what snapshots are read from again when it goes or comes back
        self._away = False
        self._showing = allocate_lock()

    def adopt(self):
        """Call this first on a thread of the runtime's that publishes: after a shutdown that has left it behind it
        cannot."""
        self._lib.core__adopt(self._generation)

    def known(self, session_id):
        return bool(self._lib.core__session_known(session_id.encode()))

    def known_ids(self):
        buffer, after = self._ffi.new("char[]", IDS_SIZE), self._ffi.new("uintptr_t *")
        while length := self._lib.core__session_ids(after, buffer, IDS_SIZE):
            yield from self._ffi.unpack(buffer, length).decode().split()

    def snapshot(self, session_id, rev, info, revive=False):
        with self._showing:
            if self._away:
                info = stale(info)
            name, data, before = session_id.encode(), info.encode("utf-8", "replace"), alias(session_id, info)
            if before is not None and self._lib.core__session_rename(before.encode(), name):
                raise MemoryError
            if revive:
                self._lib.core__session_revive(name)
            self._lib.core__session_publish(name, rev, data, len(data))

    def follow(self, store):
        """Sessions live on a server, of which the store holds what was last known."""
        self._store = store

    def away(self, flag):
        """The server is away, or back: show it in every session. Until it is back every snapshot says so."""
        with self._showing:
            changed, self._away = self._away != flag, flag
        if changed and self._store:
            for session_id in self.known_ids():
                found = self._store.info(session_id)
                if found:  # newer than what was shown before the change, or the same; the C side refuses an older one
                    self.snapshot(session_id, *found)

    def fresh(self, session_id):
        """The server was asked about the session just now."""
        self._lib.core__session_fresh(session_id.encode(), monotonic_ns())

    def gone(self, session_id, before=None):
        if before is not None:  # first: with the new id its observers are given the log to read, which tells of the end
            self._lib.core__session_gone(before.encode())
        if before is not None and self._lib.core__session_rename(before.encode(), session_id.encode()):
            raise MemoryError
        self._lib.core__session_gone(session_id.encode())

    def publish(self, rows, store_id):
        if self._lib.core__event_pass(rows[-1].id):  # nobody waits for them: they are not even put together
            return
        told, texts = [], []
        for row in rows:
            head, tail = _head(row.kind, row.session_id, render(store_id, row.id, row.session_id)), row.tail
            tail = tail.encode("utf-8", "replace")
            told.append((row.id, row.kind, len(head), len(tail)))
            texts += (row.session_id or "").encode(), b"\0", head, tail
        self._lib.core__events_publish(self._ffi.new("core_told[]", told), len(rows), b"".join(texts))

    def transient(self, kind, session_id, tail, cursor):
        return self._lib.core__event_publish(0, *crossing(self._ffi, kind, session_id, cursor, tail)) == 0

    def turns(self, session_id, count):
        if self._lib.core__turns_count(session_id.encode(), count):
            raise MemoryError

    def skip(self, log_id):
        self._lib.core__event_skip(log_id)

    def lost(self, log_id):
        self._lib.core__event_lost(log_id)
