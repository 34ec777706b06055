"""What one process knows of an open turn, and no row says."""


class Watch:
    """Of the turn `turn_id`. Times are monotonic seconds.

    `sent`: when its prompt was last sent, None: not by this process; `sends` how often, `refused` how often in vain;
    `failure`: what the server has said since, a `Failure`; `retry`: how it tries the model again; `idle`: since when
    the server is idle without what should follow; `renewed`: when the claim was last renewed.
    """

    __slots__ = (
        "turn_id", "claim_id", "prompt_id", "sent", "sends", "refused", "failure", "retry", "idle", "renewed", "ours",
        "sending", "begun", "refusal",
    )  # fmt: skip

    def __init__(self, turn):
        self.turn_id, self.claim_id, self.prompt_id = turn.id, turn.claim_id, turn.message_id
        self.sent = self.failure = self.retry = self.idle = self.sending = self.refusal = None
        self.sends = self.refused = 0
        self.renewed = 0.0
        self.ours = self.begun = False

    def knows(self, message):
        """Return whether a message that was heard to begin is an answer of this turn."""
        return message.parent_id == self.prompt_id
