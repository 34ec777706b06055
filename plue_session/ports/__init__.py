"""What the services need from the world. Each port has a real adapter and an in-memory twin that pass the same tests.

The ports are Protocols: adapters need not inherit from them, a test compares the signatures. Only type checkers and
tests import this package, so the library starts without it.
"""

from plue_session.ports.log import LogReader, LogWriter
from plue_session.ports.operations import OperationReader, OperationWriter
from plue_session.ports.publisher import Publisher
from plue_session.ports.server import Server
from plue_session.ports.sessions import SessionReader, SessionWriter
from plue_session.ports.shares import ShareKey, Shares
from plue_session.ports.store import Store
from plue_session.ports.transactions import Transactions

__all__ = [
    "LogReader",
    "LogWriter",
    "OperationReader",
    "OperationWriter",
    "Publisher",
    "Server",
    "SessionReader",
    "SessionWriter",
    "ShareKey",
    "Shares",
    "Store",
    "Transactions",
]
