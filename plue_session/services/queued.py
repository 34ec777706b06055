"""Changes that wait for the writer, by who waits for them."""

from plue_session.errors import Busy, Unknown
from plue_session.primitives import allocate_lock

#: Seconds after which a caller whose time is up asks again whether the store is locked.
TICK = 0.05
#: The outcome of a change as long as there is no other.
NOT_WRITTEN = Unknown("the writer has failed", "Please report it.")


class Queued:
    """One change that waits to be written. Its `outcome` is what it returned, or the exception that ended it."""

    __slots__ = ("change", "outcome")
    #: whether its caller may be told before the commit, see `Early`
    is_early = False

    def __init__(self, change):
        self.change, self.outcome = change, NOT_WRITTEN

    def start(self):
        """Begin it, as its group does, and return whether it is still wanted."""
        return True

    def is_wanted(self):
        """Return whether it is still wanted by now."""
        return True

    def end(self):
        """Hear that the outcome is durable and told. Called once, by whoever led; must not fail."""


class Awaited(Queued):
    """A change whose thread waits for the end."""

    __slots__ = ("_begun", "_ended")

    def __init__(self, change):
        super().__init__(change)
        self._begun, self._ended = allocate_lock(), allocate_lock()
        self._ended.acquire()

    def start(self):
        return self._begun.acquire(False)

    def is_wanted(self):
        return not self._begun.locked()

    def end(self):
        self._ended.release()

    def wait(self, writer, call=None):
        """Return at the end. One that has not begun when its call ends, because others have locked the store, never
        will."""
        if call is None:
            self._ended.acquire()
        elif not self._ended.acquire(False):
            call.watch(self._leave)
            while not self._ended.acquire(timeout=call.left or TICK):
                if writer.is_waiting and self.start():
                    self.change = None  # it stays queued until the store is unlocked
                    self.outcome = Busy(
                        "another process kept the store locked; what the server has done is recorded later",
                        "See which process writes to it, and try again.",
                    )
                    break
            call.unwatch(self._leave)
            if self.outcome is NOT_WRITTEN:
                self.outcome = call.error

    def _leave(self):
        if self.start():
            self.end()


class Intent(Queued):
    """A note of what is about to be done elsewhere, of which what is not recorded here could be recovered."""

    __slots__ = ("is_durable",)

    def __init__(self, change):
        super().__init__(change)
        self.is_durable = False

    def end(self):
        self.is_durable = not isinstance(self.outcome, Exception)


class Early(Awaited):
    """A change whose caller is told by `tell(outcome)` before the commit, if `may_tell()`: its intent is on disk by
    then, so what the commit loses is recovered. Its thread waits for the end all the same."""

    __slots__ = ("is_told", "may_tell", "_tell")
    is_early = True

    def __init__(self, change, may_tell, tell):
        super().__init__(change)
        self.is_told, self.may_tell, self._tell = False, may_tell, tell

    def tell(self):
        """Tell the caller."""
        self.is_told = True
        self._tell(self.outcome)
