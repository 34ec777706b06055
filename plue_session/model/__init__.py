"""The nouns: records that services, rules and stores pass to each other. Plain data, one table of fields each."""

from plue_session.model.ask import Ask
from plue_session.model.attachment import Attachment
from plue_session.model.event import EVENT_NUMBER, EVENTS, LogRow
from plue_session.model.input import Claim, Input
from plue_session.model.message import Message, Part, Transcript
from plue_session.model.observed import Observed
from plue_session.model.operation import Operation
from plue_session.model.outgoing import Outgoing
from plue_session.model.query import Query
from plue_session.model.session import Session
from plue_session.model.share import Share
from plue_session.model.turn import Turn

__all__ = [
    "EVENTS",
    "EVENT_NUMBER",
    "Ask",
    "Attachment",
    "Claim",
    "Input",
    "LogRow",
    "Message",
    "Observed",
    "Operation",
    "Outgoing",
    "Part",
    "Query",
    "Session",
    "Share",
    "Transcript",
    "Turn",
]
