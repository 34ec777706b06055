"""What one process knows of the turn that its agent runs, and no row says."""

import time

from plue_session import errors
from plue_session.rules import outcomes
from plue_session.services.agents.recording import told

#: Seconds without a sign of the agent after which one that was asked to end its turn is ended, and in all.
GRACE, MOST_GRACE = 5.0, 30.0
#: Seconds between two looks at the turn's row: not everything that concerns it is told.
LOOK = 0.5


class Turn:
    """Times are monotonic seconds.

    `row` is the turn's; `says` what its first input says, `parts` what all of them do. `is_said`: the prompt was sent,
    and its answer has the `ticket`; `sign`: when the agent last said something; `cancelled`: since when it is to end,
    `error` says why, None: somebody wants that. `outcome` and `tokens`: how it ended, once that is known.
    """

    def __init__(self, row, parts, says, options):
        self.row, self.id, self.parts, self.says = row, row.id, parts, says
        self._silence = options["silenceMs"] / 1000
        self.sign = self.renewal = time.monotonic()
        self.ticket = self.cancelled = self.error = self.outcome = self.tokens = None
        self.is_said = False

    def cancel(self, now, error):
        """Note that it is to end."""
        self.cancelled, self.error, self.sign = now, error, now

    def failed(self, error):
        """Note that its prompt was answered with an error, or will never be."""
        self.outcome = outcomes.STOPPED, reason_of(error), told(error)

    def final(self):
        """Return `(outcome, reason, error)`: for one that was to end that is why, whatever the agent has made of it."""
        if self.cancelled is None or self.outcome[0] == outcomes.FINISHED:
            return self.outcome
        if self.error is None:
            return outcomes.STOPPED, outcomes.CANCELLED, None
        return outcomes.STOPPED, outcomes.INCOMPLETE, told(self.error)

    def is_silent(self, now, waits):
        """Return whether nothing has come for too long, while nobody (`waits`) is asked for leave."""
        if waits:
            self.sign = now
        return self.cancelled is None and now - self.sign >= self._silence

    def is_overdue(self, now):
        """Return whether it was to end long ago."""
        return self.cancelled is not None and (now - self.sign >= GRACE or now - self.cancelled >= MOST_GRACE)

    def due(self, now, waits):
        """Return in how many seconds to look at it again."""
        if waits or self.cancelled is not None:
            return LOOK
        return min(LOOK, max(self.sign + self._silence - now, 0.0))


def reason_of(error):
    """Return the reason that a turn stops for whose prompt fails so."""
    if isinstance(error, errors.Closed) or "exit" in error.details:
        return outcomes.INCOMPLETE  # it is gone
    return outcomes.SUBMITTED_ERROR if isinstance(error, errors.ProviderInit) else outcomes.PROVIDER_ERROR
