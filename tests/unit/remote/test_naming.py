"""A session gets the server's id in the middle of a read: whoever reads, by either id, misses nothing."""

import json
from itertools import count
from types import SimpleNamespace

import pytest

from plue_session import errors
from plue_session.rules import cursors
from plue_session.services.agents.actor import Actor
from plue_session.services.observations import Observations
from plue_session.services.relay.ids import Ids
from plue_session.services.relay.relay import Relay
from tests.remote_world import RemoteWorld

READERS = ("info", "id_of_alias", "observe", "window", "log_state", "page", "count")


class Named:
    """A world with a session that the server is yet to be told of. It has a child, and an input that waits."""

    def __init__(self):
        self.world = world = RemoteWorld()
        world.away()
        self.session = world.create(title="Offline")
        world.create(title="Child", parentId=self.session.id)
        world.do(lambda on: on.inputs.enqueue(self.session.id, '{"text":"Hello"}'))
        self.observations = Observations(world.store, 10, 60_000, lambda: world.now)
        self.backend = world.sessions._on
        (self.row,) = world.store.read_inputs(self.session.id, world.now)

    def rename(self):
        self.world.link.contact()
        self.world.replay()
        assert self.world.store.read(self.session.id) is None

    def rename_before(self, number):
        """Have the session be renamed before the store is read for this time, the first one being 0; the function
        returned tells whether it was."""
        store, place, is_renamed = self.world.store, count(), False

        def counted(real):
            def read(*arguments, **named):
                nonlocal is_renamed
                if not is_renamed and store._owner is None and next(place) == number:
                    is_renamed = True
                    self.rename()
                return real(*arguments, **named)

            return read

        for name in [name for name in dir(store) if name == "read" or name.startswith("read_") or name in READERS]:
            setattr(store, name, counted(getattr(store, name)))
        return lambda: is_renamed

    def do(self, work):
        return self.world.do(work, self.session.id)

    def text(self, part, name, *arguments):
        return json.loads(self.do(lambda on: getattr(getattr(on, part), name)(self.session.id, *arguments)))


def look(named):
    """A wait for the turn of the input goes on."""
    turns, ended = named.world.turns, []
    waiter = turns._waits.add(None, named.session.id, named.row.seq, "turn_1", 1e9)
    waiter.later.then(ended.append)
    turns._check(waiter)
    return ended == []


def compare(named):
    """So does that turn, also if nothing has told of the other id yet."""
    turns = named.world.turns
    named.world.writer._hearers.clear()
    turns._own.add(named.session.id, "turn_1", named.row.seq)
    turns._compare()
    return list(turns._own.all().values()) == [{"turn_1": named.row.seq}]


def clean(named):
    world, log = named.world, SimpleNamespace(trace=None)
    given = world.store, world.writer, Ids(lambda: "x"), lambda: world.now, lambda info: None, log
    made = Relay(*given, world.sessions.resolve)
    with pytest.raises(errors.InvalidTransition):
        made.clean(named.session.id)
    return True


def look_as_agent(named):
    on = SimpleNamespace(store=named.world.store, named=named.backend.named, renamed=lambda actor, now: None)
    parts = {name: SimpleNamespace() for name in ("_recording", "_asking", "_choosing")}
    actor = SimpleNamespace(session_id=named.session.id, _on=on, _is_deleted=False, **parts)
    return not Actor._is_lost(actor)


def observe_from(named):
    cursor = cursors.Cursor(named.world.store.store_id, 0, named.session.id)
    return named.observations.observe(named.session.id, cursor).reason is None


def queried(named, name):
    query = json.dumps({"parentId": named.session.id})
    return named.do(lambda on: getattr(on.sessions, name)(query))


#: What each is, and what is to come of it.
READS = {
    "observation": lambda named: len(json.loads(named.observations.observation(named.session.id))["queue"]) == 1,
    "observe": lambda named: named.observations.observe(named.session.id).reason is None,
    "observe_from": observe_from,
    "open": lambda named: named.do(lambda on: on.sessions.open(named.session.id)) is not None,
    "get_info": lambda named: named.text("sessions", "get_info")["title"] == "Offline",
    "query": lambda named: len(json.loads(queried(named, "query"))["sessions"]) == 1,
    "count": lambda named: queried(named, "count") == 1,
    "inputs": lambda named: len(named.text("inputs", "inputs")) == 1,
    "messages": lambda named: named.text("messages", "page", None) == {"messages": []},
    "usage": lambda named: named.text("messages", "usage")["models"] == [],
    "permissions": lambda named: named.text("asks", "permissions") == [],
    "questions": lambda named: named.text("asks", "questions") == [],
    "todos": lambda named: named.text("asks", "todos") == [],
    "diff": lambda named: named.text("asks", "diff", None) == {"files": []},
    "choices": lambda named: named.text("asks", "choices")["agents"] != [],
    "is_attached": lambda named: named.world.turns._is_attached(named.session.id) is False,
    "look": look,
    "compare": compare,
    "clean": clean,
    "look_as_agent": look_as_agent,
}


@pytest.mark.requirement("P-177")
@pytest.mark.parametrize("name", READS)
def test_who_reads_while_a_session_is_given_another_id_finds_it(name):
    for number in count():
        named = Named()
        was_renamed = named.rename_before(number)
        assert READS[name](named), number
        if not was_renamed():
            break
    assert number > 1
