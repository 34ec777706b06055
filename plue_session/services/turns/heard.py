"""What was heard of, and changes the store without anybody waiting."""

from plue_session.services.queued import Queued

#: Seconds after which what could not be recorded is asked for.
AGAIN = 1.0


class Heard(Queued):
    """A change that somebody heard of and nobody waits for. `done(result)` is called once it is committed, with what it
    has returned; `failed(error)` makes up for one that cannot be made."""

    __slots__ = ("_failed", "_done")

    def __init__(self, change, failed, done=None):
        super().__init__(change)
        self._failed, self._done = failed, done

    def end(self):
        if isinstance(self.outcome, Exception):
            self._failed(self.outcome)
        elif self._done is not None:
            self._done(self.outcome)


def record(writer, change, failed, done=None):
    """Have a change written, from a thread that must not wait."""
    writer.queue(Heard(change, failed, done))
    writer.lead(patient=False)
