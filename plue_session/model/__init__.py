"""The nouns: records that services, rules and stores pass to each other. Plain data, one table of fields each."""

from plue_session.model.event import EVENT_NUMBER, EVENTS, LogRow
from plue_session.model.operation import Operation
from plue_session.model.outgoing import Outgoing
from plue_session.model.query import Query
from plue_session.model.session import Session
from plue_session.model.share import Share

__all__ = ["EVENTS", "EVENT_NUMBER", "LogRow", "Operation", "Outgoing", "Query", "Session", "Share"]
