"""Starting agents: from a call that attaches one to its session being ACTIVE, or to the end of what has failed.

Until the attachment has a row, a claim says which process starts the agent (claims.py).
"""

import os
import time

from plue_session import errors, threads
from plue_session.call import Call
from plue_session.model import EVENT_NUMBER
from plue_session.model.attachment import ACP
from plue_session.rules import info, relay
from plue_session.rules.jsontext import loads
from plue_session.services.agents import processes
from plue_session.services.agents.actor import Actor
from plue_session.services.agents.claims import Claims
from plue_session.services.agents.inbox import Inbox

#: Seconds that the end of an agent takes, and more: TERM, 5 s, KILL.
ENDING = 8.0
#: Seconds between two looks at what another process has.
LOOK = 0.05
#: Part of the caller's time, and seconds at most, by which a start ends before its caller leaves, who then hears why:
#: in half of that, what has failed is ended, or that is left to the background.
HEAD_START, MOST_HEAD_START = 0.1, 0.25
#: What `_claim` returns where an earlier start has failed, or its process has died, and its agent has not ended yet.
WAITS = object()
_UPDATED, _DELETED, _RELAY = map(EVENT_NUMBER.get, ("session.updated", "session.deleted", "relay.changed"))
#: What is told of a flag that was set or cleared; texts may say so, too.
_FLAG = '"aborted"'


class Start:
    """An agent that is being started for a session: the `call` that it has for that, and when at the latest (monotonic
    seconds) its caller is told by `end(None or an error)`. Where the session is made with it, `undo()` takes that back,
    and the session is claimed already, by `name`."""

    def __init__(self, session_id, call, latest, end, name, undo):
        self.session_id, self.call, self.latest, self.end, self.undo = session_id, call, latest, end, undo
        self.name = name or os.urandom(8).hex()
        self.guard, self.is_ending = None, False  # what ends the agent; whether it has failed, and the caller knows


class Starts:
    """Those of the agents of one process, an `Agents`. Thread-safe: changed under its lock."""

    def __init__(self, agents, backend, relay, make):
        self._agents, self._relay, self._make = agents, relay, make
        self._store, self._writer, self._resolve = backend.store, backend.writer, backend.resolve
        self._changed, self._seconds = agents.changed, agents.settings.request_timeout_ms / 1000
        self.going = set()  # those that nothing is left of are not there any more
        self.claims = Claims(backend)

    def begin(self, session_id, given, end, leaves, name=None, undo=None):
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
            if self._agents.is_closed:
                raise errors.closed()
            if self.of(session_id) is not None:
                raise _starting(session_id)
            self.going.add(start)
        try:
            threads.start(lambda: self._run(start, given, options), "plue-actor")
        except BaseException:
            self._started(start)
            raise

    def of(self, session_id):
        """Return the start of the session's agent that goes on, if it is in this process. The session may have got
        another id since."""
        going = [each for each in list(self.going) if not each.is_ending]
        return next((each for each in going if self._resolve(each.session_id) == session_id), None)

    def _claimed(self, start):
        """Claim the session, if anything can be attached to it now, and return what was attached before."""
        while (known := self._writer.run(lambda transaction: self._claim(transaction, start), start.call)) is WAITS:
            self._wait(start.call)
            self.claims.settle_now(self._resolve(start.session_id), start.call)
        return known

    def _claim(self, transaction, start):
        session = self._relay.check_attach(transaction, start.session_id)
        holder = self.claims.holder(transaction, session.id)
        if holder is not None and holder[0] != start.name:
            if holder[1]:
                raise _starting(session.id)
            return WAITS
        self._agents.orphans.settle(transaction, session)
        if transaction.store.open_turn(session.number) is not None:
            raise errors.InUse("a turn of the session runs", "Wait for its end, or abort it.", session=session.id)
        if holder is None:
            self.claims.put(transaction, session.id, start.name)
        return transaction.store.attachment(session.number)

    def _note(self, start, agent):
        """Note what ends the agent should this process be killed, for others to wait for."""
        start.guard = processes.guard(agent.pid)
        if start.guard is not None:
            self._writer.run(lambda transaction: self._put(transaction, start), start.call)

    def _put(self, transaction, start):
        session_id, is_made = self._resolve(start.session_id), start.undo is not None
        self.claims.put(transaction, session_id, start.name, is_made, start.guard, start.is_ending)

    def _run(self, start, given, options):
        """The thread of an attachment: start the agent, then be its actor."""
        self._agents.publisher.adopt()
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
            with self._agents.staying(start):
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
            self._writer.run_later(lambda transaction: self._put(transaction, start))

    def _over(self, start, is_gone=True):
        """A start that has failed is over; unless `is_gone`, its claim says what of it is left."""
        if is_gone and start.undo is None:
            self._writer.run_later(
                lambda transaction: self.claims.drop(transaction, self._resolve(start.session_id), start.name)
            )
        self._started(start)

    def _await_departed(self, start):
        """Wait for the end of what an agent has started that has ended itself: its turn was told to be over."""
        actor = self._agents.actor_of(start.session_id)
        if actor is not None and not processes.runs(actor.agent.pid):
            start.call.wait(self._changed, lambda: self._agents.actor_of(start.session_id) is not actor or None)
            start.call.check()

    def _await_end(self, known, call):
        """Wait until nothing is left of the agent that was attached before: it uses worktree and conversation."""
        while known is not None and processes.lives(guard_of(known)):
            self._wait(call)

    def _wait(self, call):
        """Wait for a moment, until one looks again whether an earlier agent has ended."""
        if not call.left:
            raise errors.Timeout("the agent that was attached before has not ended yet", "Attach it again.")
        call.within(LOOK).wait(self._changed, lambda: None)

    def _activated(self, start, given, options, agent, inbox, conversation, kept):
        """Have the session be ACTIVE, if it may still be, and return the agent's actor."""
        start.call.check()
        session_id = self._resolve(start.session_id)
        actor = Actor(self._agents, session_id, agent, inbox, options)
        self._agents.enrol(actor)
        more = {**kept, "guard": processes.guard(agent.pid)}
        attached = given._replace(options={**given.options, **{key: each for key, each in more.items() if each}})

        def change(transaction):
            session = self._agents.activate(transaction, session_id, attached, agent.pid, conversation)
            self.claims.drop(transaction, session.id, start.name)

        try:
            self._writer.run(change, start.call)
        except BaseException:
            self._agents.strike(actor)
            raise
        self._started(start)
        return actor

    def _started(self, start):
        self.claims.let_go(start.name)
        with self._changed:
            self.going.discard(start)
            self._changed.notify_all()

    def settle(self, transaction, session_id):
        """See to what a dead process has left of a start; `IN_USE`: one goes on, or has not ended yet."""
        if self.claims.settle(transaction, session_id):
            raise _starting(session_id)

    # -- what ends them ------------------------------------------------------------------------------------------------
    def stop(self, session_id, error):
        """Have the start of the session's agent fail so, if it is in this process."""
        start = self.of(session_id)
        if start is not None:
            start.call.set(error)

    def hang_up(self):
        """Have all of them fail: the library shuts down."""
        for each in list(self.going):
            each.call.set(errors.closed())

    def aborted(self, session_id):
        """Hear that the session is aborted."""
        self.stop(session_id, _aborted(session_id))

    def told(self, row):
        """Hear what was committed, by whichever process. Must not wait."""
        try:
            start = self.of(row.session_id)
        except errors.PlueError:  # then the start itself meets the state, at its end
            return
        if start is not None:
            error = self._ends(row)
            if error is not None:
                start.call.set(error)

    def _ends(self, row):
        """Return the error with which what was told of a session ends the start of its agent, or None."""
        if row.kind == _DELETED:
            return errors.gone(row.session_id)
        if row.kind == _RELAY and '"event":"TERMINATE"' in row.tail:
            return terminated(row.session_id)
        if row.kind == _UPDATED and _FLAG in row.tail and _FLAG[1:-1] in info.told_data(row)["fields"]:
            session = self._store.read(row.session_id)
            if session is not None and session.aborted:  # else the flag was cleared
                return _aborted(row.session_id)
        return None


def _kept(row):
    """Return what an earlier attachment has kept of its conversation, for the one that takes it up again."""
    options = loads(row.options)
    return {name: options[name] for name in ("chosen", "cost") if name in options}


def _starting(session_id):
    return errors.InUse("an agent is being started for the session", "Wait for that.", session=session_id)


def _aborted(session_id):
    return errors.Aborted("plue_session_abort() interrupted the start", "Attach it again.", session=session_id)


def terminated(session_id):
    """Return the error with which the end of a session ends the start of its agent (R-071)."""
    return errors.InvalidTransition(
        relay.REFUSAL % (relay.TERMINATING, relay.ACTIVATE, relay.REASONS[relay.TERMINATING]),
        "It was terminated while the agent started.",
        session=session_id,
    )


def guard_of(row):
    """Return the name of the guard of what is attached, or None."""
    return loads(row.options).get("guard")
