"""The agents of one process: what is attached to its sessions, from the start of an agent to its end.

The row of an attachment says which process has the agent's pipes: its `owner`, a lock of the kernel's. What a process
has left that died is settled by whoever meets it: its turn ends, and the session can be attached again. Until there is
that row, a claim says which process starts the agent (claims.py).
"""

import contextlib
import os
import threading
import time

from plue_session import errors, threads
from plue_session.call import Call
from plue_session.model import EVENT_NUMBER, Attachment
from plue_session.model.attachment import ACP
from plue_session.rules import outcomes, relay
from plue_session.rules.jsontext import dumps, loads
from plue_session.services.agents import processes
from plue_session.services.agents.actor import Actor
from plue_session.services.agents.choosing import bound_model
from plue_session.services.agents.claims import Claims
from plue_session.services.agents.inbox import Inbox
from plue_session.services.agents.orphans import Orphans
from plue_session.services.agents.recording import told
from plue_session.services.later import Later

#: Seconds that an agent has to forget a deleted conversation, before it is ended.
FORGETTING = 5.0
#: Seconds that the end of an agent takes, and more: TERM, 5 s, KILL.
ENDING = 8.0
#: Seconds between two looks at what another process has.
LOOK = 0.05
#: Part of the caller's time, and seconds at most, by which a start ends before its caller leaves, who then hears why:
#: in half of that, what has failed is ended, or that is left to the background.
HEAD_START, MOST_HEAD_START = 0.1, 0.25
#: What `_claim` returns where an earlier start has failed, or its process has died, and its agent has not ended yet.
WAITS = object()
#: What becomes of a start that is no longer waited for.
BEYOND = "The start goes on, and relay.changed tells of its end."
#: What actors look at their rows for.
_WAKES = ("queue.changed", "session.updated", "session.deleted", "permission.replied", "relay.changed")


class Start:
    """An agent that is being started for a session: the `call` that it has for that, and when at the latest (monotonic
    seconds) its caller is told by `end(None or an error)`. Where the session is made with it, `undo()` takes that back,
    and the session is claimed already, by `name`."""

    def __init__(self, session_id, call, latest, end, name, undo):
        self.session_id, self.call, self.latest, self.end, self.undo = session_id, call, latest, end, undo
        self.name = name or os.urandom(8).hex()
        self.guard, self.is_ending = None, False  # what ends the agent; whether it has failed, and the caller knows


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
        self._backend, self._relay, self._make = backend, relay, make
        self._seconds = settings.request_timeout_ms / 1000
        self._changed = threading.Condition()
        self._starts, self._actors, self._leaving = set(), {}, set()  # actors by session id; what is being ended
        self.claims = Claims(backend)
        #: what processes have left that died
        self.orphans = Orphans(self.store, self.writer, publisher, relay, recorder, backend.turns, log)
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
        self.start(session_id, given, later.end, later.deadline)
        return later

    def _attach_host(self, transaction, session_id, given):
        if self.claims.settle(transaction, session_id):
            raise _starting(session_id)
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

    def start(self, session_id, given, end, leaves, name=None, undo=None):
        """Begin to start an agent, for a caller that `leaves` then (monotonic seconds); see `Start`. With an `undo`, it
        has no longer than its caller waits."""
        options = {**relay.DEFAULTS, **given.options}
        head = min(HEAD_START * self._seconds, MOST_HEAD_START)
        deadline = leaves - head
        if options["startMs"] is not None:
            own = time.monotonic() + options["startMs"] / 1000
            deadline = own if undo is None else min(own, deadline)
        start = Start(session_id, Call(deadline), leaves - head / 2, end, name, undo)
        with self._changed:
            if self.is_closed:
                raise errors.closed()
            if self._start_of(session_id) is not None:
                raise _starting(session_id)
            self._starts.add(start)
        try:
            threads.start(lambda: self._run(start, given, options), "plue-actor")
        except BaseException:
            self._started(start)
            raise

    def _start_of(self, session_id):
        """Return the start of the session's agent that goes on, if it is in this process. The session may have got
        another id since."""
        going = [each for each in list(self._starts) if not each.is_ending]
        return next((each for each in going if self.resolve(each.session_id) == session_id), None)

    def _claimed(self, start):
        """Claim the session, if anything can be attached to it now, and return what was attached before."""
        while (known := self.writer.run(lambda transaction: self._claim(transaction, start), start.call)) is WAITS:
            self._wait(start.call)
            self.claims.settle_now(self.resolve(start.session_id), start.call)
        return known

    def _claim(self, transaction, start):
        session = self._relay.check_attach(transaction, start.session_id)
        holder = self.claims.holder(transaction, session.id)
        if holder is not None and holder[0] != start.name:
            if holder[1]:
                raise _starting(session.id)
            return WAITS
        self.orphans.settle(transaction, session)
        if transaction.store.open_turn(session.number) is not None:
            raise errors.InUse("a turn of the session runs", "Wait for its end, or abort it.", session=session.id)
        if holder is None:
            self.claims.put(transaction, session.id, start.name)
        return transaction.store.attachment(session.number)

    def _note(self, start, agent):
        """Note what ends the agent should this process be killed, for others to wait for."""
        start.guard = processes.guard(agent.pid)
        if start.guard is not None:
            self.writer.run(lambda transaction: self._put(transaction, start), start.call)

    def _put(self, transaction, start):
        session_id, is_made = self.resolve(start.session_id), start.undo is not None
        self.claims.put(transaction, session_id, start.name, is_made, start.guard, start.is_ending)

    def _run(self, start, given, options):
        """The thread of an attachment: start the agent, then be its actor."""
        self.publisher.adopt()
        inbox = Inbox()
        agent = actor = None
        try:
            self._await_departed(start)
            known = self._claimed(start)
            self._await_end(known, start.call)
            agent = self._make(given, inbox)
            inbox.go_on = agent.go_on
            agent.start(start.call, lambda: self._note(start, agent))
            earlier = known.conversation if known is not None and known.kind == ACP and options["restore"] else None
            conversation = agent.open(earlier, start.call)
            kept = _kept(known) if earlier is not None else {}
            actor = self._activated(start, given, options, agent, inbox, conversation, kept)
        except BaseException as failure:
            with self._leaving_with(start):
                self._fail(start, agent, errors.known(start.call.error or failure))
            return
        start.end(None)
        actor.run(None if earlier is None else kept)

    def _fail(self, start, agent, error):
        """End what has failed to start. Its caller is told when nothing is left of it, or in time."""
        is_gone = agent is None
        try:
            if agent is not None:
                agent.close()
            self._relay.failed("attach", start.session_id, error)
            if start.undo is not None:
                start.undo()
            is_gone = is_gone or agent.join(max(start.latest - time.monotonic(), 0))
        finally:
            if is_gone:
                self._over(start)
            else:
                self._let_wait(start)
            start.end(error)
            if not is_gone:
                self._over(start, agent.join(ENDING))

    def _let_wait(self, start):
        """Have who attaches an agent from now on wait for the end of this one."""
        start.is_ending = True
        if start.undo is None:
            self.writer.run_later(lambda transaction: self._put(transaction, start))

    def _over(self, start, is_gone=True):
        """A start that has failed is over; unless `is_gone`, its claim says what of it is left."""
        if is_gone and start.undo is None:
            self.writer.run_later(
                lambda transaction: self.claims.drop(transaction, self.resolve(start.session_id), start.name)
            )
        self._started(start)

    def _await_departed(self, start):
        """Wait for the end of what an agent has started that has ended itself: its turn was told to be over."""
        actor = self._actors.get(start.session_id)
        if actor is not None and not processes.runs(actor.agent.pid):
            start.call.wait(self._changed, lambda: self._actors.get(start.session_id) is not actor or None)
            start.call.check()

    def _await_end(self, known, call):
        """Wait until nothing is left of the agent that was attached before: it uses worktree and conversation."""
        while known is not None and processes.lives(_guard(known)):
            self._wait(call)

    def _wait(self, call):
        """Wait for a moment, until one looks again whether an earlier agent has ended."""
        if not call.left:
            raise errors.Timeout("the agent that was attached before has not ended yet", "Attach it again.")
        call.within(LOOK).wait(self._changed, lambda: None)

    def _activated(self, start, given, options, agent, inbox, conversation, kept):
        """Have the session be ACTIVE, if it may still be, and return the agent's actor."""
        start.call.check()
        with self._changed:
            if self.is_closed:
                raise errors.closed()
            session_id = self.resolve(start.session_id)
            actor = self._actors[session_id] = Actor(self, session_id, agent, inbox, options)
        more = {**kept, "guard": processes.guard(agent.pid)}
        attached = given._replace(options={**given.options, **{key: each for key, each in more.items() if each}})

        def change(transaction):
            session = self.activate(transaction, session_id, attached, agent.pid, conversation)
            self.claims.drop(transaction, session.id, start.name)

        try:
            self.writer.run(change, start.call)
        except BaseException:
            with self._changed:
                del self._actors[session_id]
            raise
        self._started(start)
        return actor

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

    def _started(self, start):
        self.claims.let_go(start.name)
        with self._changed:
            self._starts.discard(start)
            self._changed.notify_all()

    # -- what an actor asks for ----------------------------------------------------------------------------------------
    def began(self, session_id, turn_id):
        """Note that a turn of this process's begins."""
        self._backend.turns.mine(session_id, turn_id)

    def renamed(self, actor, session_id):
        """Note that an actor's session has got another id."""
        with self._changed:
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
        self._dismiss(actor.agent)
        with self._changed:
            if self._actors.get(actor.session_id) is actor:
                del self._actors[actor.session_id]
            self._changed.notify_all()

    def _dismiss(self, agent):
        """End an agent, and return when nothing is left of it."""
        with self._leaving_with(agent):
            agent.close()
            agent.join(ENDING)

    @contextlib.contextmanager
    def _leaving_with(self, what):
        """Have the library stay until this is done."""
        with self._changed:
            self._leaving.add(what)
        try:
            yield
        finally:
            with self._changed:
                self._leaving.discard(what)
                self._changed.notify_all()

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
        try:
            start = self._start_of(row.session_id)
        except errors.PlueError:  # then the start itself meets the state, at its end
            start = None
        if start is not None:
            error = self._ends(row)
            if error is not None:
                start.call.set(error)
        if row.kind == _UPDATED and '"aliases"' in row.tail:
            for each in list(self._actors.values()):
                each.poke()

    def _ends(self, row):
        """Return the error with which what was told of a session ends the start of its agent, or None."""
        if row.kind == _DELETED:
            return errors.gone(row.session_id)
        if row.kind == _RELAY and '"event":"TERMINATE"' in row.tail:
            return _terminated(row.session_id)
        if row.kind == _UPDATED and _FLAG in row.tail and _FLAG[1:-1] in _data(row)["fields"]:
            session = self.store.read(row.session_id)
            if session is not None and session.aborted:  # else the flag was cleared
                return _aborted(row.session_id)
        return None

    def aborted(self, session_id):
        """Hear that the session is aborted: no event tells that once its flag is set."""
        start = self._start_of(self.resolve(session_id))
        if start is not None:
            start.call.set(_aborted(session_id))

    def poke(self, session_id):
        """Have the session's actor look at its rows, if it is in this process."""
        actor = self._actors.get(session_id)
        if actor is not None:
            actor.poke()

    def settle_all(self):
        """See to what processes have left that died."""
        self.claims.settle_all()
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
        start = self._start_of(session_id)
        if start is not None:
            start.call.set(_terminated(session_id))
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
                is_over = row.owner is None and not processes.lives(_guard(row))
            is_over = not self.claims.settle_now(session_id, call) and is_over
            with self._changed:
                if is_over and session_id not in self._actors and self._start_of(session_id) is None:
                    return
            if not call.left:
                raise errors.Timeout("the agent has not ended in time", "Try again.", session=session_id)
            call.within(LOOK).wait(self._changed, lambda: None)

    def _close_later(self, transaction, session_id):
        """Note that whoever has the session's agent is to end it."""
        session = transaction.store.load(session_id)
        row = session and transaction.store.attachment(session.number)
        if row and row.owner is not None and not row.closing:
            row.closing = True
            transaction.store.keep_attachment(row)

    def hang_up(self):
        """Begin to end all agents. Returns at once."""
        with self._changed:
            self.is_closed = True
            starts, actors = list(self._starts), list(self._actors.values())
        self.orphans.close()
        for each in starts:
            each.call.set(errors.closed())
        for each in actors:
            each.close(errors.closed())

    def close(self, seconds):
        """Wait for the end of all agents, at most so long."""
        self.hang_up()
        until = time.monotonic() + seconds
        with self._changed:
            while (self._starts or self._actors or self._leaving) and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)


_UPDATED, _DELETED, _RELAY = map(EVENT_NUMBER.get, ("session.updated", "session.deleted", "relay.changed"))
#: What is told of a flag that was set or cleared; texts may say so, too.
_FLAG = '"aborted"'


def _kept(row):
    """Return what an earlier attachment has kept of its conversation, for the one that takes it up again."""
    options = loads(row.options)
    return {name: options[name] for name in ("chosen", "cost") if name in options}


def _data(row):
    return loads(row.tail[row.tail.index('"data":') + 7 : -1])


def _starting(session_id):
    return errors.InUse("an agent is being started for the session", "Wait for that.", session=session_id)


def _aborted(session_id):
    return errors.Aborted("plue_session_abort() interrupted the start", "Attach it again.", session=session_id)


def _terminated(session_id):
    """Return the error with which the end of a session ends the start of its agent (R-071)."""
    return errors.InvalidTransition(
        relay.REFUSAL % (relay.TERMINATING, relay.ACTIVATE, relay.REASONS[relay.TERMINATING]),
        "It was terminated while the agent started.",
        session=session_id,
    )


def _guard(row):
    """Return the name of the guard of what is attached, or None."""
    return loads(row.options).get("guard")
