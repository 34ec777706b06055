"""The queue of inputs, for callers: what they put into it, see of it, and take back.

A server is asked for nothing here: each change is one of the store alone, and waits for no lock of its session's. Who
runs the turns hears of what was enqueued, by whichever process, once it is committed (`enqueued`).
"""

from plue_session import errors
from plue_session.model import EVENT_NUMBER, Input
from plue_session.model.attachment import ACP
from plue_session.model.input import DEFERRED, PENDING
from plue_session.rules import inputs, relay
from plue_session.rules.jsontext import quote
from plue_session.services.operations import Operation, unlocked
from plue_session.services.turns import queue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.services.backend import Backend

#: Inputs of a session that may be open, at most.
MOST = 10_000
#: What the log says of an input that was enqueued.
_ENQUEUED = '"change":"enqueued"'


class Inputs:
    """The queues of one backend's sessions. Thread-safe."""

    def __init__(self, on: "Backend"):
        self._on, self._store = on, on.store
        #: told the id of a session in whose queue an input was put, once that is committed, here or by another process
        #: on the store; None: perhaps in any. Set by who runs the turns. It must not wait, and not fail
        self.enqueued = lambda session_id: None
        on.writer.hear(EVENT_NUMBER["queue.changed"], self._heard)

    def enqueue(self, session_id, given, alone=False):
        """Put an input into the queue; with `alone` it shares its turn with no other."""
        return Enqueue(self._on, session_id, given, alone)

    def cancel(self, session_id, targets):
        """Cancel inputs that no turn has taken; one outcome for each."""
        return Cancel(self._on, session_id, targets)

    def cancel_from(self, session_id, anchor):
        """Cancel an input and all after it."""
        return CancelFrom(self._on, session_id, anchor)

    def vacuum(self, session_id):
        """Forget the inputs that were cancelled or are completed, and return how many."""
        return Vacuum(self._on, session_id)

    def inputs(self, session_id):
        """Return the inputs that wait as JSON, in order."""
        return self._on.named(session_id, self._inputs)

    def _inputs(self, session_id):
        self._on.read(session_id)
        return inputs.queue_json(self._store.read_inputs(session_id, self._on.writer.clock()), session_id)

    def _heard(self, row):
        if row is None:
            self.enqueued(None)
        elif _ENQUEUED in row.tail:
            self.enqueued(row.session_id)


class Change(Operation):
    """A change of the queue."""

    def locks(self, call):
        return unlocked()

    def check(self, call):
        return False

    def preview(self, transaction):
        on = self.on
        return self.change(transaction, transaction.load(on.resolve(self.session)))

    def change(self, transaction, session):
        """Make the change, and return the operation's result."""
        raise NotImplementedError


class Enqueue(Change):
    """Puts an input, a `rules.inputs.Given`, into the queue; its result is the input's record as JSON. What was
    enqueued before under the same name is returned as it is now (L-084, L-085)."""

    #: the row, once it is stored
    row = None
    _is_measured = False

    def __init__(self, on, session, given, alone=False):
        super().__init__(on, session)
        self.given, self.alone = given, alone or given.alone

    def change(self, transaction, session):
        store, given = transaction.store, self.given
        known = given.source_key and store.input_of_key(session.number, given.source_key)
        if known:
            self._same(known, session)
            if self.alone and not known.alone and known.state in (PENDING, DEFERRED):
                known.alone = True  # or its turn could be that of another input, by another id
                store.keep_input(known)
        else:
            known = self._new(transaction, session)
            transaction.emit(*_event("enqueued", session, [known]))
        self.row = known
        return inputs.render(known, session.id)

    def _check_relayed(self, transaction, session):
        """Refuse what is too large for an agent, or comes faster than its attachment allows (R-074, R-075)."""
        relay.check_message(len(self.given.content.encode()), session.id)
        attachment = transaction.store.attachment(session.number)
        most = attachment and relay.read_options(attachment.options)["messagesPerSecond"]
        if most is not None and not self._is_measured:
            self.on.rates.take(session.id, most, transaction.now)
            self._is_measured = True  # it may run again

    def _same(self, known, session):
        given = self.given
        if (known.content, known.ingress, known.wanted) != (given.content, given.ingress, given.turn_id):
            raise errors.Conflict(
                f"the id {quote(known.source_key.partition(':')[2])} was given to {known.name}, which says or wants "
                "something else",
                "Give each input an id of its own, and repeat one only as it was.",
                session=session.id,
                details={"inputId": known.name},
            )

    def _new(self, transaction, session):
        store, given, number = transaction.store, self.given, session.number
        if session.relay_agent is not None:
            self._check_relayed(transaction, session)
        if not store.inputs_have_room(number, MOST):
            raise errors.QueueFull(
                f"{MOST:,} inputs of the session wait already",
                "Wait until turns have taken some, or cancel some.",
                session=session.id,
            )
        if given.turn_id is not None and _is_taken(store, number, given.turn_id):
            raise errors.Conflict(
                f"the turn id {quote(given.turn_id)} is taken",
                "Leave turnId out, or give each turn another one.",
                session=session.id,
            )
        meant = inputs.turn_meant(given.ingress)
        row = Input(
            seq=transaction.log_id + 1,  # of the event that tells of it, which is the next
            number=number,
            source_key=given.source_key,
            ingress=given.ingress,
            state=DEFERRED,
            enqueued=transaction.now,
            content=given.content,
            alone=self.alone,
            wanted=given.turn_id,
        )
        runs_here = self.on.server is None and session.relay_agent != ACP
        if meant is not None and queue.waits_for(store, number, meant, runs_here):
            row.state = PENDING
        store.add_input(row)
        return row


class Cancel(Change):
    """Cancels inputs, `("inputId" or "sourceKey", text)` each; its result is an outcome for each as JSON (L-089)."""

    def __init__(self, on, session, targets):
        super().__init__(on, session)
        self.targets = targets

    def change(self, transaction, session):
        found = [(_find(transaction.store, session.number, target), target) for target in self.targets]
        seen = {}  # a target may be named twice: it is one row
        return _cancel(transaction, session, [(row and seen.setdefault(row.seq, row), target) for row, target in found])


class CancelFrom(Change):
    """Cancels an input and all that were enqueued after it; its result is as that of `Cancel` (L-090)."""

    def __init__(self, on, session, anchor):
        super().__init__(on, session)
        self.anchor = anchor

    def change(self, transaction, session):
        anchor = _find(transaction.store, session.number, self.anchor)
        if anchor is None:
            return f"[{inputs.render_outcome('anchor_not_found', self.anchor)}]"
        rows = transaction.store.inputs_from(session.number, anchor.seq)
        return _cancel(transaction, session, [(row, None) for row in rows])


class Vacuum(Change):
    """Removes the tombstones; its result is their number. Nobody is told: they were told of the ends."""

    def change(self, transaction, session):
        return transaction.store.vacuum_inputs(session.number)


def _cancel(transaction, session, found):
    """Cancel `(row or None, target)`, and tell of those that are cancelled by this (L-176)."""
    outcomes, gone = [], []
    for row, target in found:
        outcome, claim = ("not_found", None) if row is None else queue.cancel(transaction, row)
        if outcome == "cancelled":
            gone.append(row)
        outcomes.append(inputs.render_outcome(outcome, target, row, session.id, claim))
    if gone:
        queue.defer(transaction, session.number, *{inputs.turn_id_of(row) for row in gone})  # those will not come
        transaction.emit(*_event("cancelled", session, gone))
    return f"[{','.join(outcomes)}]"


def _event(change, session, rows):
    kind, data = queue.told(change, rows)
    return kind, session, data


def _find(store, number, target):
    """Return the input that a target names, or None."""
    key, text = target
    if key == "sourceKey":
        return store.input_of_key(number, text)
    seq = inputs.seq_of(text)
    return None if seq is None else store.input(number, seq)


def _is_taken(store, number, turn_id):
    """Return whether a turn has this id or is to have it."""
    if store.turn(number, turn_id) is not None or store.input_that_wants(number, turn_id) is not None:
        return True
    seq = inputs.seq_of_turn(turn_id)
    row = None if seq is None else store.input(number, seq)
    return row is not None and row.wanted is None
