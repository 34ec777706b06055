"""What was heard of, and changes the store without anybody waiting."""

from plue_session.services.writer import Queued

#: Seconds after which what could not be recorded is asked for.
AGAIN = 1.0


class Heard(Queued):
    """A change that somebody heard of and nobody waits for; `failed(error)` makes up for one that cannot be made."""

    __slots__ = ("_failed",)

    def __init__(self, change, failed):
        super().__init__(change)
        self._failed = failed

    def end(self):
        if isinstance(self.outcome, Exception):
            self._failed(self.outcome)


def record(writer, change, failed):
    """Have a change written, from a thread that must not wait."""
    writer.queue(Heard(change, failed))
    writer.lead(patient=False)
