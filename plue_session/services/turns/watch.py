"""What one process knows of an open turn, and no row says."""

import time

from plue_session.rules.outcomes import ABORTED

#: Seconds by which what ends a turn may be told of late.
LATE = 1.0


class Watch:
    """Of the turn `turn_id`, whose answers have the parent `prompt_id`. Times are monotonic seconds.

    `sent`: when the server last may have been sent its prompt, None: not by this process; `lost`: when that counts as
    lost if nothing has come of it; `sends`: how often it was sent; `reading`: the call that reads its files now,
    `posting`: the one that sends it, `asking`: the one that waits for the end of a command; `failure`: what the server
    has said since, a `Failure`, `refusal`: what it has answered, one of our errors; `retry`: how it tries the model
    again; `idle`: since when the server is idle without what should follow; `renewed`: when the claim was last;
    `is_ours`: this process has claimed the turn; `has_begun`: an answer was seen.
    """

    __slots__ = (
        "turn_id",
        "claim_id",
        "prompt_id",
        "sent",
        "lost",
        "sends",
        "reading",
        "posting",
        "asking",
        "failure",
        "refusal",
        "retry",
        "idle",
        "renewed",
        "is_ours",
        "has_begun",
    )

    def __init__(self, turn):
        self.turn_id, self.claim_id, self.prompt_id = turn.id, turn.claim_id, turn.message_id
        self.sent = self.reading = self.posting = self.asking = None
        self.failure = self.refusal = self.retry = self.idle = None
        self.sends, self.lost, self.renewed = 0, 0.0, 0.0
        self.is_ours = self.has_begun = False

    def is_meant(self, failure):
        """Return whether a failure that was heard can be this turn's: the end of the one before it, which was aborted,
        may be told of late."""
        if failure.name == ABORTED:
            return self.sent is not None and time.monotonic() - self.sent > LATE
        return self.sent is not None or self.posting is not None

    def knows(self, message):
        """Return whether a message that was heard to begin is an answer of this turn."""
        return message.parent_id == self.prompt_id
