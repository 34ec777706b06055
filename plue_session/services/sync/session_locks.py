"""One change of ours at a time per session; what is heard of the session meanwhile waits until that is recorded.

Without it two renames could reach the server in one order and the store in the other, and the echo of a change could be
recorded, and told, before the change itself.
"""

import threading

from plue_session import errors
from plue_session.primitives import allocate_lock

#: Seconds that the end of a change waits for the store, to record what was heard meanwhile.
SETTLING = 1.0


class SessionLocks:
    """Thread-safe. A name is a session's id, `("key", key)`, or `("token", token)` of one that is being created."""

    def __init__(self):
        self._lock = allocate_lock()
        self._changed = threading.Condition(self._lock)
        self._held = {}  # name: what was heard meanwhile, with what applies it
        self.unnamed = 0  # creations under way whose session no token tells

    def hold(self, session_id, call, family=()):
        """Lock the session, for `with`; `TIMEOUT` at the call's deadline. What is heard of `family` waits too."""
        names = [session_id, *family]
        with self._lock:
            taken = self._take(names)
        if taken is None:
            taken = call.wait(self._changed, lambda: self._take(names))
        if taken is None:
            raise errors.Timeout(
                "other calls were busy with the session all the time; nothing was changed",
                "Try again.",
                session=session_id if isinstance(session_id, str) else None,
            )
        return _Held(self, taken, call)

    def expect(self, token, call):
        """Have what is heard of a session that carries `token` wait, for `with`: its creation is under way here
        (O-029). None: see `unnamed`."""
        with self._lock:
            self.unnamed += token is None
            names = [] if token is None else self._take([("token", token)]) or []
        return _Held(self, names, call, token is None)

    def defer(self, change, apply):
        """Keep a change for `apply(changes, call)` if its session is locked; return whether it is. `apply`
        must not fail, and is the same for all."""
        if not self._held:  # as most often; one that is locked from now on is locked after this change
            return False
        with self._lock:
            name = self._name(change.session_id, getattr(change.value, "token", None))
            if name is not None:
                self._held[name].append((change, apply))
        return name is not None

    def is_held(self, session_id, token=None):
        """Return whether the session, or the one with this token, is being changed here."""
        with self._lock:
            return self._name(session_id, token) is not None

    def _name(self, session_id, token):
        if session_id in self._held:
            return session_id
        return ("token", token) if token is not None and ("token", token) in self._held else None

    def _take(self, names):
        """Lock those that are free, and return them; None if the first is not."""
        if names[0] in self._held:
            return None
        taken = []
        for name in names:
            if name not in self._held:
                self._held[name] = []
                taken.append(name)
        return taken

    def let_go(self, names, call, unnamed):
        """Apply what was deferred, also what comes while doing so, and let the next one in."""
        with self._lock:
            self.unnamed -= unnamed
        while True:
            deferred = []
            with self._lock:
                for name in names:
                    deferred += self._held[name]
                    self._held[name] = []
                if not deferred:
                    for name in names:
                        del self._held[name]
                    self._changed.notify_all()
                    return
            apply = deferred[0][1]
            apply([change for change, _ in deferred], call.within(SETTLING))


class _Held:
    """Names that are locked, until the end of a `with`."""

    __slots__ = ("_locks", "_names", "_call", "_unnamed")

    def __init__(self, locks, names, call, unnamed=False):
        self._locks, self._names, self._call, self._unnamed = locks, names, call, unnamed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._locks.let_go(self._names, self._call, self._unnamed)
