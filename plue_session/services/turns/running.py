"""Turns as callers see them: run one and wait for its end, ask for the end of those that run."""

import math
import threading
import time
from functools import partial

from plue_session import errors
from plue_session.model import EVENT_NUMBER
from plue_session.model.attachment import ACP
from plue_session.model.input import CANCELLED, COMPLETED
from plue_session.model.turn import ENDED
from plue_session.rules import info, inputs, transcripts
from plue_session.rules.jsontext import quote
from plue_session.services.turns import queue, turn_rows
from plue_session.services.turns.inputs import Enqueue
from plue_session.services.turns.own import OwnTurns
from plue_session.services.turns.waits import FOR_NOW, LOOK, Waiter, Waits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.services.backend import Backend

_FINISHED, _DELETED = EVENT_NUMBER["turn.finished"], EVENT_NUMBER["session.deleted"]
_QUEUE, _UPDATED = EVENT_NUMBER["queue.changed"], EVENT_NUMBER["session.updated"]
_RELAY = EVENT_NUMBER["relay.changed"]
#: What the log says of inputs that were cancelled: they have no turn that could end.
_CANCELLED = '"change":"cancelled"'
#: And of a session whose agent is gone for good.
_CLEANED = '"event":"CLEAN"'


class Turns:
    """The turns that a server or attached agents run. Thread-safe."""

    def __init__(self, on: "Backend", publisher):
        self._on, self._finished = on, threading.Condition()
        self._waits, self._own = Waits(on, publisher), OwnTurns(publisher)
        for kind in (_FINISHED, _DELETED, _QUEUE, _RELAY):
            on.writer.hear(kind, self._told)
        on.writer.hear(_UPDATED, self._updated)

    # -- running -------------------------------------------------------------------------------------------------------
    def run(self, session_id, given, timeout_ms):
        """Enqueue an input that has a turn of its own, and return the end of that turn, as `Later`; for 0 its ids."""
        on = self._on
        is_attached = self._is_attached(session_id)
        if on.server is None and not is_attached:
            raise _runs_none(session_id)
        operation = Enqueue(on, session_id, given, alone=True)
        deadline = time.monotonic() + timeout_ms / 1000
        waiter = noted = None

        def change(transaction):
            nonlocal waiter, noted
            self._own.take_back(noted)  # it runs again, and the turn may get another id
            noted = None
            operation.preview(transaction)
            row = operation.row
            if row.state not in (COMPLETED, CANCELLED):
                noted = self._own.add(on.resolve(session_id), _turn_id_of(row), row.seq)
            if timeout_ms and row.state not in (COMPLETED, CANCELLED):
                named = transaction.load(on.resolve(session_id)).id
                waiter = self._waits.add(waiter, named, row.seq, _turn_id_of(row), deadline)

        with on.calls.begin("plue_session_run_turn", session_id, deadline if timeout_ms else math.inf) as call:
            try:
                on.writer.run(change, call.within(on.seconds))
            except BaseException:
                self._waits.drop(waiter)
                self._own.take_back(noted)
                raise
        if waiter is not None:
            self._waits.committed(waiter, partial(self._check, waiter))
        row = operation.row
        if not timeout_ms:
            return f'{{"turnId":{quote(_turn_id_of(row))},"inputId":{quote(row.name)}}}'
        if waiter is None:
            return on.named(session_id, lambda now: self._result(now, row, _turn_id_of(row)))
        if is_attached:
            on.agents.watch(on.resolve(session_id))
        return waiter.later

    def _is_attached(self, session_id):
        """Return whether the turns of a session are its agent's."""
        return self._on.known(session_id).relay_agent == ACP

    # -- of agents -----------------------------------------------------------------------------------------------------
    def abort(self, transaction, session, turn, known):
        """Return a `Later` that ends with an agent's turn, whose end was just asked for; `known` is the one that was
        returned when this change ran before, or None."""
        on = self._on
        row = next(iter(queue.inputs_of(transaction.store, turn)), None)
        if row is None:
            return None
        session_id, deadline = session.id, time.monotonic() + on.seconds
        waiter = known or Waiter(deadline, lambda: on.agents.hurry(session_id), is_abort=True)
        return self._waits.add(waiter, session_id, row.seq, _turn_id_of(row), deadline)

    def abort_turn(self, session_id, turn_id):
        """Ask for the end of one turn of an agent's; returns that as `Later`, or None: it is over."""
        waiter = None

        def change(transaction):
            nonlocal waiter
            session, store = transaction.load(self._on.resolve(session_id)), transaction.store
            found = store.turn(session.number, turn_id) or store.turn_of_message(session.number, turn_id)
            turn = found and turn_rows.cancel(transaction, session, found.id)
            waiter = self.abort(transaction, session, turn, waiter) if turn else None

        self._on.writer.run(change)
        return waiter and waiter.later

    def is_awaited(self, session_id):
        """Return whether somebody here waits for a turn of the session."""
        return any(self._on.resolve(each.session_id) == session_id for each in self._waits.all())

    def hurried(self, session_id):
        """Have whoever runs the session's turn see that it is to end."""
        if self._on.driver is not None:
            self._on.driver.hurried(session_id)
        self._on.agents.poke(session_id)

    # -- this process's own --------------------------------------------------------------------------------------------
    def mine(self, session_id, turn_id):
        """Note a turn that this process has begun: `cancel` ends it."""
        self._own.add(session_id, turn_id)

    def cancel(self, session_id):
        """Have the turns of the session that are this process's end: what waits is cancelled, what runs is aborted
        behind its caller's back (L-063). Its caller was told so: what cannot be done now is done as soon as it can."""
        work = partial(self._cancel, session_id, self._own.of(session_id))
        try:
            work()
        except FOR_NOW as error:
            self._on.log.write("warning", error.message("plue_session_cancel_turns"))
            self._waits.have_done(work)

    def _cancel(self, session_id, own):
        now = self._on.resolve(session_id)
        there = self._own.of(session_id, now)  # it is perhaps not heard yet that it has another id
        if own.isdisjoint(there):  # they have ended
            return
        self._on.writer.run(lambda transaction: turn_rows.cancel_all(transaction, now, own))
        self.hurried(now)

    def stop(self, session_id, turn, call, directory, seen=None):
        """Have a turn that is to end be ended, on the server if it is that's (see `Server.abort`), and return once that
        is recorded."""
        if turn.message_id is not None and not self._is_attached(session_id):
            self._on.server.abort(session_id, call, directory=directory, turn_id=turn.message_id, seen=seen)
        self.await_end(session_id, turn, call)

    def await_end(self, session_id, turn, call):
        """Return once a turn has ended, and that is recorded; `TIMEOUT`: it has not."""

        def ready():
            found = self._on.store.read_turn(session_id, turn.id)
            return True if found is None or found.state == ENDED else None

        self._on.agents.poke(session_id)
        while not call.within(LOOK).wait(self._finished, ready):
            if not call.left:
                raise errors.Timeout(
                    "the turn has not ended in time", "Try again; it is to end all the same.", session=session_id
                )
            self.hurried(session_id)
        self._on.writer.run(lambda transaction: None, call)  # what is committed may be yet to be told

    # -- ends ----------------------------------------------------------------------------------------------------------
    def aborted(self, session_id):
        """End the waits for turns of a session that is being aborted."""
        for each in self._waits.all():
            if each.is_abort or self._on.resolve(each.session_id) != session_id:
                continue
            self._waits.end(
                each,
                errors.Aborted(
                    "plue_session_abort() interrupted it; turn.finished tells how the turn ends",
                    "Make the call again if it is still wanted.",
                    session=session_id,
                ),
            )

    def close(self):
        """End all waits."""
        self._waits.close()

    def _told(self, row):
        """Hear what was committed; must not wait."""
        if row is not None and (
            row.kind == _QUEUE and _CANCELLED not in row.tail or row.kind == _RELAY and _CLEANED not in row.tail
        ):
            return
        with self._finished:
            self._finished.notify_all()
        if row is not None and row.session_id in self._own:
            if row.kind == _DELETED:
                self._own.gone(row.session_id)
            elif row.kind == _FINISHED:
                data = info.told_data(row)
                self._own.over(row.session_id, data["turnId"])
                self._own.over_with(row.session_id, data["inputIds"])  # should the turn not have got the id foreseen
            elif row.kind == _QUEUE:
                self._own.over_with(row.session_id, info.told_data(row)["ids"])
        if self._waits or row is None and self._own:
            self._waits.have_done(partial(self._see, row))

    def _updated(self, row):
        """Hear that a session has got the server's id in place of its own; must not wait."""
        if row is not None and (self._own or self._waits) and info.tells_alias(row):
            for before in info.told_data(row)["aliases"]:
                self._renamed(before, row.session_id)

    def _renamed(self, before, session_id):
        self._waits.renamed(before, session_id)
        self._own.renamed(before, session_id)

    def _compare(self):
        """See which turns of this process are still to end: not all of it was told."""
        known = self._own.all()
        self._on.writer.run(lambda transaction: None)  # what is known is committed then, or was given up
        for session_id, own in known.items():
            now, is_there, over = self._on.named(session_id, partial(self._ended_of, own))
            if now != session_id:
                self._renamed(session_id, now)
            if not is_there:
                self._own.gone(now)
            for turn_id in over:
                self._own.over(now, turn_id)

    def _ended_of(self, own, session_id):
        """Return a session's id, whether it is there, and which of its turns have ended."""
        store, over = self._on.store, []
        for turn_id, seq in list(own.items()):
            turn = store.read_turn(session_id, turn_id)
            waits = seq is not None and store.input_waits(session_id, seq, self._on.writer.clock())
            if turn.state == ENDED if turn is not None else not waits:
                over.append(turn_id)
        return session_id, store.info(session_id) is not None, over

    def _see(self, row):
        """See which waits have ended, by what was told."""
        if row is None:
            self._compare()
            waiters = self._waits.all()
        elif row.kind in (_DELETED, _RELAY):
            waiters = self._waits.of_session(row.session_id)
        else:
            data = info.told_data(row)
            waiters = self._waits.of_inputs(data["ids" if row.kind == _QUEUE else "inputIds"])
            if row.kind == _FINISHED:
                for each in waiters:
                    each.turn_id = data["turnId"]
        failure = None
        for each in waiters:
            try:
                self._check(each)
            except FOR_NOW as error:  # of this one, perhaps
                failure = error
            except Exception as error:
                self._waits.end(each, errors.known(error))
        if failure is not None:
            raise failure

    def _check(self, waiter):
        """End a wait if its input has ended."""
        outcome = self._on.named(waiter.session_id, partial(self._outcome, waiter))
        if outcome is not None:
            self._waits.end(waiter, outcome)

    def _outcome(self, waiter, session_id):
        """Return what a wait ends with, None: its input has not ended."""
        on = self._on
        if on.store.info(session_id) is None:
            return errors.gone(session_id)
        row = on.store.read_input(session_id, waiter.seq)
        if row is None and not waiter.is_committed:  # its change is under way
            waiter.is_doubtful = True
            return None
        if row is None or row.state in (COMPLETED, CANCELLED):
            return self._result(session_id, row, waiter.turn_id if row is None else _turn_id_of(row))
        if row.turn_id is None and on.server is None and not self._is_attached(session_id):  # it was cleaned
            return _runs_none(session_id)
        return None

    def _result(self, session_id, row, turn_id):
        """Return how the turn of an input that has ended was, as JSON. `row` is the input's; None: it was vacuumed."""
        store = self._on.store
        turn = None if row is not None and row.turn_id is None else store.read_turn(session_id, turn_id)
        if turn is None and row is not None and row.state == COMPLETED:  # by a delete that the server has refused
            raise errors.NotFound(
                "what is known of the turn was removed meanwhile",
                "See the messages of the session.",
                session=session_id,
            )
        if turn is None:  # it was cancelled, and never had one
            usage = transcripts.render_usage([])
            return (
                f'{{"turnId":{quote(turn_id)},"outcome":"stopped","reason":"cancelled","messages":[],"usage":{usage}}}'
            )
        messages, usage = transcripts.render_turn(store.read_turn_messages(session_id, turn.id))
        text = f'{{"turnId":{quote(turn.id)},"outcome":{quote(turn.outcome)}'
        if turn.reason is not None:
            text += f',"reason":{quote(turn.reason)}'
        if turn.error is not None:
            text += f',"error":{turn.error}'
        return f'{text},"messages":{messages},"usage":{usage}}}'


def _runs_none(session_id):
    """Return the error for a turn that neither a server nor an agent would run."""
    return errors.Unsupported(
        "the embedded backend has no model: the host runs turns",
        "Enqueue the input, and have the host claim it; attach an agent; or use the backend opencode.",
        session=session_id,
    )


def _turn_id_of(row):
    """Return the id of the turn that an input has, or is to have."""
    return row.turn_id or inputs.turn_id_of(row)
