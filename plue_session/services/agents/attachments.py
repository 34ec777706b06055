"""The agents of one process: what is attached to its sessions, from when it is (starting.py) to its end.

The row of an attachment says which process has the agent's pipes: its `owner`, a lock of the kernel's. What a process
has left that died is settled by whoever meets it: its turn ends, and the session can be attached again.
"""

import contextlib
import threading
import time

from plue_session import errors
from plue_session.call import Call
from plue_session.model import EVENT_NUMBER, Attachment
from plue_session.model.attachment import ACP
from plue_session.rules import outcomes
from plue_session.rules.jsontext import dumps
from plue_session.services.agents import processes
from plue_session.services.agents.choosing import bound_model
from plue_session.services.agents.orphans import Orphans
from plue_session.services.agents.recording import told
from plue_session.services.agents.starting import ENDING, LOOK, Starts, guard_of, terminated
from plue_session.services.later import Later

#: Seconds that an agent has to forget a deleted conversation, before it is ended.
FORGETTING = 5.0
#: What becomes of a start that is no longer waited for.
BEYOND = "The start goes on, and relay.changed tells of its end."
#: What actors look at their rows for.
_WAKES = ("queue.changed", "session.updated", "session.deleted", "permission.replied", "relay.changed")


class Agents:
    """Thread-safe. `backend` is the one whose sessions they are attached to, `relay` decides on their states;
    `make(given, ear)` makes an agent, `recorder` and `streams` are those of the process."""

    def __init__(self, backend, relay, publisher, settings, log, recorder, streams, make):
        self.store, self.writer, self.resolve, self.read = backend.store, backend.writer, backend.resolve, backend.read
        self.named = backend.named
        self.publisher, self.settings, self.log, self.recorder, self.streams = (
            publisher,
            settings,
            log,
            recorder,
            streams,
        )
        self._backend, self._relay = backend, relay
        self._seconds = settings.request_timeout_ms / 1000
        self.changed = threading.Condition()
        self._actors, self._leaving = {}, set()  # by session id; what is being ended
        #: what processes have left that died
        self.orphans = Orphans(self.store, self.writer, publisher, relay, recorder, backend.turns, log)
        self.starts = Starts(self, backend, relay, make)
        self.is_closed = False
        for kind in _WAKES:
            self.writer.hear(EVENT_NUMBER[kind], self._told)

    # -- attaching -----------------------------------------------------------------------------------------------------
    def attach(self, session_id, given):
        """Attach what `rules.relay.parse_agent` has read; returns a `Later` that ends once the session is ACTIVE. The
        state is checked first, and nothing is started if that is wrong."""
        session_id = self.resolve(session_id)
        if given.kind != ACP:
            self.writer.run(lambda transaction: self._attach_host(transaction, session_id, given))
            return None
        later = Later(time.monotonic() + self._seconds, BEYOND)
        self.starts.begin(session_id, given, later.end, later.deadline)
        return later

    def _attach_host(self, transaction, session_id, given):
        self.starts.settle(transaction, session_id)
        self.activate(transaction, session_id, given)

    def create_with(self, fields):
        """Create a session with an agent: `fields` as for `Sessions.create_with`, `agent` is a `Given`."""
        from plue_session.services.agents.creating import CreateWithAgent

        fields = dict(fields)
        given = fields.pop("agent")
        if given.worktree is None and self._backend.server is None and "directory" not in fields:
            raise errors.InvalidParam(
                "agent.worktree is missing, and the session has no directory",
                "Name the directory that the agent works in.",
            )
        return CreateWithAgent(self._backend, self, fields, given)

    def activate(self, transaction, session_id, given, pid=None, conversation=None):
        """Have a session be ACTIVE with what is attached to it, and return it."""
        session = self._relay.check_attach(transaction, session_id)
        self.orphans.settle(transaction, session)
        attached = Attachment(
            number=session.number,
            kind=given.kind,
            command=given.command,
            worktree=given.worktree,
            options=dumps(given.options),
            owner=self.store.owner(),
            pid=pid,
            conversation=conversation,
            attached=transaction.now,
        )
        return self._relay.activate(transaction, session_id, attached)

    # -- what starts and actors ask for --------------------------------------------------------------------------------
    def actor_of(self, session_id):
        """Return the actor of the session's agent, if that is in this process."""
        return self._actors.get(session_id)

    def enrol(self, actor):
        """Note an actor whose session is about to be ACTIVE; `CLOSED` when the library is shutting down."""
        with self.changed:
            if self.is_closed:
                raise errors.closed()
            self._actors[actor.session_id] = actor

    def strike(self, actor):
        """Note that an actor has no agent any more."""
        with self.changed:
            if self._actors.get(actor.session_id) is actor:
                del self._actors[actor.session_id]
            self.changed.notify_all()

    def began(self, session_id, turn_id):
        """Note that a turn of this process's begins."""
        self._backend.turns.mine(session_id, turn_id)

    def renamed(self, actor, session_id):
        """Note that an actor's session has got another id."""
        with self.changed:
            self._actors.pop(actor.session_id, None)
            self._actors[session_id] = actor

    def lost(self, transaction, session_id, error, was_wanted):
        """Record that an agent of this process is gone."""
        self._relay.lost(transaction, session_id, self.store.owner(), None if was_wanted else error)

    def failed(self, session_id, error):
        """Log and count that an agent of this process has gone by itself."""
        self._relay.failed("agent", session_id, error)

    def forget(self, agent):
        """Have an agent forget its conversation, for its session was deleted."""
        try:
            agent.forget(Call(time.monotonic() + FORGETTING))
        except errors.PlueError as error:
            self.log.write("warning", error.message("agent"))

    def left(self, actor):
        """Hear that an actor's work is done."""
        with self.staying(actor):
            actor.agent.close()
            actor.agent.join(ENDING)
        self.strike(actor)

    @contextlib.contextmanager
    def staying(self, what):
        """Have the library stay until what is being ended has ended."""
        with self.changed:
            self._leaving.add(what)
        try:
            yield
        finally:
            with self.changed:
                self._leaving.discard(what)
                self.changed.notify_all()

    def fail(self, actor, error):
        """End the turn of an actor that has failed, and have its agent be lost: both are of no use any more."""

        def change(transaction):
            session = transaction.store.load(actor.session_id)
            if session is not None:
                self.orphans.end_turn(transaction, session.id, (outcomes.STOPPED, "runtime_error", told(error)))
                self._relay.lost(transaction, session.id, self.store.owner(), error)

        self.writer.run_later(change)

    # -- what is heard -------------------------------------------------------------------------------------------------
    def _told(self, row):
        """Hear what was committed, by whichever process. Must not wait."""
        if row is None:
            for each in list(self._actors.values()):
                each.poke()
            return
        actor = self._actors.get(row.session_id)
        if actor is not None:
            actor.poke()
        self.starts.told(row)
        if row.kind == EVENT_NUMBER["session.updated"] and '"aliases"' in row.tail:
            for each in list(self._actors.values()):
                each.poke()

    def aborted(self, session_id):
        """Hear that the session is aborted: no event tells that once its flag is set."""
        self.starts.aborted(self.resolve(session_id))

    def poke(self, session_id):
        """Have the session's actor look at its rows, if it is in this process."""
        actor = self._actors.get(session_id)
        if actor is not None:
            actor.poke()

    def settle_all(self):
        """See to what processes have left that died."""
        self.starts.claims.settle_all()
        self.orphans.settle_all()

    # -- what others ask -----------------------------------------------------------------------------------------------
    def choices(self, session_id):
        """Return what an input may name."""
        actor = self._actors.get(self.resolve(session_id))
        if actor is None:
            raise errors.Unsupported(
                "the session's agent is not in this process, or is gone",
                "Ask in the process that has attached it, or attach it again.",
                session=session_id,
            )
        offer, default = actor.agent.offer(), None
        found = {"models": offer.models, "agents": offer.modes, "commands": offer.commands}
        bound = bound_model(self.named(session_id, self.read), offer)
        model = bound["modelId"] if bound else offer.model
        default = next((each for each in offer.models if each["modelId"] == model), None)
        if default is not None:
            found["default"] = {"providerId": default["providerId"], "modelId": default["modelId"]}
        return dumps(found)

    def describe(self):
        """Return `{session id: {"pid","name","memoryBytes"?}}` of this process's agents."""
        found = {}
        for session_id, actor in list(self._actors.items()):
            pid = actor.agent.pid
            found[session_id] = {"pid": pid, "name": actor.agent.name, **processes.memory(pid)}
        return found

    # -- ending --------------------------------------------------------------------------------------------------------
    def end(self, session_id, call):
        """End the session's agent, in whichever process it is, and return when nothing is left of it."""
        session_id = self.resolve(session_id)
        self.starts.stop(session_id, terminated(session_id))
        actor = self._actors.get(session_id)
        if actor is not None:
            actor.close(errors.Closed("the session was terminated"))
        self.writer.run(lambda transaction: self._close_later(transaction, session_id), call)
        while True:
            session_id = self.resolve(session_id)  # it may have got another one
            row = self.store.read_attachment(session_id)
            if row is None or row.kind != ACP:
                is_over = True
            else:
                self.orphans.settle_now(session_id)
                is_over = row.owner is None and not processes.lives(guard_of(row))
            is_over = not self.starts.claims.settle_now(session_id, call) and is_over
            with self.changed:
                if is_over and session_id not in self._actors and self.starts.of(session_id) is None:
                    return
            if not call.left:
                raise errors.Timeout("the agent has not ended in time", "Try again.", session=session_id)
            call.within(LOOK).wait(self.changed, lambda: None)

    def _close_later(self, transaction, session_id):
        """Note that whoever has the session's agent is to end it."""
        session = transaction.store.load(session_id)
        row = session and transaction.store.attachment(session.number)
        if row and row.owner is not None and not row.closing:
            row.closing = True
            transaction.store.keep_attachment(row)

    def hang_up(self):
        """Begin to end all agents. Returns at once."""
        with self.changed:
            self.is_closed = True
            actors = list(self._actors.values())
        self.orphans.close()
        self.starts.hang_up()
        for each in actors:
            each.close(errors.closed())

    def close(self, seconds):
        """Wait for the end of all agents, at most so long."""
        self.hang_up()
        until = time.monotonic() + seconds
        with self.changed:
            while (self.starts.going or self._actors or self._leaving) and (left := until - time.monotonic()) > 0:
                self.changed.wait(left)
