"""What is attached to a session to run its turns."""

from __future__ import annotations

from plue_session.model.fields import Bit, Record, Texts

#: What an agent is: the host runs it and the session's turns, or the library does both over the Agent Client Protocol.
HOST, ACP = "host", "acp"


class Attachment(Record):
    """One session's agent. Its environment is not kept: there may be secrets in it."""

    number: int  # the session's
    kind: str
    command: Texts
    worktree: str
    options: str = "{}"  # JSON: what else was asked for (rules/relay.py)
    owner: int | None  # of the process that has the agent's pipes (`Store.owner`); None: none has, the agent is gone
    pid: int | None  # of the agent, and of its group
    conversation: str | None  # the agent's own name of what was said
    lost: str | None  # JSON: the error by which the agent was lost
    closing: Bit  # whoever has the agent is to end it
    attached: int  # ms
