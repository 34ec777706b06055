"""What the services need from the world. Each port has a real adapter and an in-memory twin that pass the same tests.

The ports are Protocols: adapters need not inherit from them, a test compares the signatures. Only type checkers and
tests import this package, so the library starts without it.
"""

from plue_session.ports.channel import Channel
from plue_session.ports.publisher import Publisher
from plue_session.ports.server import Server
from plue_session.ports.shares import ShareKey
from plue_session.ports.store import Store

__all__ = ["Channel", "Publisher", "Server", "ShareKey", "Store"]
