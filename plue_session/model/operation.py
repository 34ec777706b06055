"""What is still to be done."""

from __future__ import annotations

from plue_session.model.fields import Record


class Operation(Record):
    """Something that must still be sent to a server, or done later, and survives the process.

    Its name is the session it is about, or the `subject` where there is no session yet (such as the token of a create).
    """

    id: int  # given by the store with each `put_operation`, and never again
    kind: str
    session_id: str | None
    subject: str | None
    arguments: str = "{}"  # JSON
    created: int  # ms
    due: int  # ms: not to be tried before
    tries: int = 0  # how often it was tried, and failed

    @property
    def name(self):
        """The session it is about, or its subject. With the kind it is unique."""
        return self.subject if self.session_id is None else self.session_id
