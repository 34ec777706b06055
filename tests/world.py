"""The services as the runtime builds them, over stores and keys in memory: what their tests act in."""

import itertools
import json
import queue

import pytest

from plue_session import config
from plue_session.adapters.memory import MemoryStore
from plue_session.adapters.share_key import ShareKeyMemory
from plue_session.services.backend import Backend
from plue_session.services.calls import Calls
from plue_session.services.later import Later
from plue_session.services.operations import Operation
from plue_session.services.relay.ids import Ids
from plue_session.services.relay.relay import Relay
from plue_session.services.sessions import Sessions
from plue_session.services.sharing import Sharing
from plue_session.services.turns.inputs import Inputs
from plue_session.services.turns.messages import Messages
from plue_session.services.turns.running import Turns
from plue_session.services.writer import Writer
from tests.checked import Checked
from tests.recording import RecordingLog, RecordingPublisher

START = 1_767_225_600_000


class World:
    """The services over a store (in memory unless one is given), a clock that stands still until it is moved, and a
    recording publisher."""

    def __init__(self, settings=None, store=None, keys=None):
        self.settings = config.load(None if settings is None else json.dumps(settings), {})
        self.now = START
        self.store = store or MemoryStore("embedded")
        self.told = RecordingPublisher()
        self.writer = Writer(self.store, self.told, lambda: self.now)
        self.keys = keys or ShareKeyMemory()
        sharing = Sharing(self.store, self.keys, lambda: self.now, self.settings)
        backend = Backend(self.store, self.writer, sharing, self.settings, "0.1.0")
        backend.calls, backend.turns = Calls(), Turns(backend, self.told)
        self.calls, self.turns = backend.calls, backend.turns
        self.sessions, self.sharing = Checked(Sessions(backend), self.perform), Checked(sharing, self.perform)
        self.inputs = Checked(Inputs(backend), self.perform)
        self.messages = Checked(Messages(backend), self.perform)
        self.log, self.cleaned = RecordingLog(), []
        self.relay = Checked(self.make_relay(), self.perform)

    def make_relay(self, **given):
        """Return the relay over what there is; what a test gives takes the place of that."""
        names = itertools.count(1)
        parts = {
            "store": self.store,
            "writer": self.writer,
            "ids": Ids(lambda: str(next(names))),
            "clock": lambda: self.now,
            "cleaner": lambda info: self.cleaned.append(json.loads(info)),
            "log": self.log,
        }
        return Relay(**{**parts, **given})

    def perform(self, work):
        """Do what a function of the services returned: the change of an operation, or nothing more. What is known later
        is waited for."""
        if isinstance(work, Later):
            known: queue.Queue = queue.Queue()
            work.then(known.put)
            work = known.get(timeout=30)
            if isinstance(work, Exception):
                raise work
        return self.writer.run(work.preview) if isinstance(work, Operation) else work

    def info(self, session):
        return json.loads(self.store.info(getattr(session, "id", session))[1])

    def set(self, session_id, **fields):
        """Change fields that no service sets yet."""

        def change(transaction):
            session = transaction.load(session_id)
            for name, value in fields.items():
                setattr(session, name, value)
            transaction.save(session, "session.state_changed", {})

        self.writer.run(change)
        self.told.take()

    def unchanged_by(self, error, call, *arguments, match=""):
        """Check that the call fails so, tells nobody anything and changes nothing; return the error."""
        before, _ = self.store.infos(), self.told.take()
        with pytest.raises(error, match=match or None) as caught:
            call(*arguments)
        assert self.store.infos() == before and self.told.calls == []
        return caught.value
