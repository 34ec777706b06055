"""One change of ours at a time per session, and what is heard of the session meanwhile waits until that is recorded.

Without it two renames could reach the server in one order and the store in the other, and the echo of a change could be
recorded, and told, before the change itself.
"""

import contextlib
import threading
import time

from plue_session import errors


class SessionLocks:
    """Thread-safe. `release(change)` is called with each thing deferred, once it may be applied; it must not fail."""

    def __init__(self, release):
        self._release = release
        self._changed = threading.Condition()
        self._held = {}  # session id, or ("token", token): what was heard meanwhile
        self.unnamed = 0  # how many creations are under way that no token tells

    @contextlib.contextmanager
    def hold(self, session_id, call, family=()):
        """Be alone with the session; wait for whoever is, `TIMEOUT` at the call's deadline. What is heard of `family`
        waits too."""

        def wake():
            with self._changed:
                self._changed.notify_all()

        call.cancel.watch(wake)
        try:
            with self._changed:
                while session_id in self._held:
                    call.cancel.check()
                    left = call.deadline - time.monotonic()
                    if left <= 0:
                        raise errors.Timeout(
                            "other calls were busy with the session all the time; nothing was changed",
                            "Try again.",
                            session=session_id if isinstance(session_id, str) else None,
                        )
                    self._changed.wait(left)
                mine = [name for name in {session_id, *family} if name not in self._held]
                for name in mine:
                    self._held[name] = []
        finally:
            call.cancel.unwatch(wake)
        try:
            yield
        finally:
            self._let_go(mine)

    @contextlib.contextmanager
    def expect(self, token):
        """Let what is heard of a session that carries `token` wait: its creation is under way here (O-029). None: see
        `unnamed`."""
        name = ("token", token)
        with self._changed:
            self.unnamed += token is None
            mine = [] if name in self._held or token is None else [name]
            for each in mine:
                self._held[each] = []
        try:
            yield
        finally:
            with self._changed:
                self.unnamed -= token is None
            self._let_go(mine)

    def defer(self, change):
        """Keep a change for later if its session is held; returns whether it did."""
        with self._changed:
            name = self._name(change.session_id, getattr(change.value, "token", None))
            if name is None:
                return False
            self._held[name].append(change)
            return True

    def is_held(self, session_id, token=None):
        """Return whether the session, or the one with this token, is being changed here."""
        with self._changed:
            return self._name(session_id, token) is not None

    def _name(self, session_id, token):
        if session_id in self._held:
            return session_id
        return ("token", token) if token is not None and ("token", token) in self._held else None

    def _let_go(self, names):
        """Apply what was deferred, also what comes while doing so, and let the next one in."""
        while True:
            with self._changed:
                deferred = [change for name in names for change in self._held[name]]
                for name in names:
                    self._held[name] = []
                if not deferred:
                    for name in names:
                        del self._held[name]
                    self._changed.notify_all()
                    return
            for change in deferred:
                self._release(change)
