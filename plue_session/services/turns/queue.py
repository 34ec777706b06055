"""The queue of a session's inputs, inside a transaction: who takes them, and how they end.

What changes it returns what is to be told of it, in the order of the inputs; of nothing, if it has changed nothing: a
change may run twice, and another process may have been first.
"""

from __future__ import annotations

from plue_session.model import Claim, Input, Turn
from plue_session.model.input import ACCEPTED, CANCELLED, COMPLETED, DEFERRED, PENDING
from plue_session.model.turn import ENDED
from plue_session.rules import inputs
from plue_session.rules.jsontext import dumps, loads

#: Inputs that make one turn, at most (L-098), and those that are read at a time, at most.
MOST, PAGE = 64, 64


def told(change, rows):
    """Return the event that says what has become of inputs, as `Transaction.save_told` takes it."""
    return "queue.changed", {"change": change, "kind": "input", "ids": [row.name for row in rows]}


def is_live(store, row, now):
    """Return the claim that somebody has on an input and that is still good, or None."""
    claim = None if row.claim_id is None else store.claim(row.claim_id)
    return claim if claim is not None and claim.expires > now else None


def take(transaction, session, owner, expires, message_id=None, most=MOST):
    """Take the inputs that make the session's next turn, claimed by `owner` until `expires` (ms); `message_id` is to be
    the user's message. Returns `(turn, claim, inputs)`, or None: nothing waits, a turn has not ended, or another one's
    claim is still good. The session's record and the events are left to the caller (`told("claimed", inputs)`)."""
    store, number = transaction.store, session.number
    if store.open_turn(number) is not None:
        return None
    taken = inputs.together(_waiting(transaction, number), most)
    if not taken:
        return None
    claim = Claim(number=number, owner=owner, expires=expires)
    claim.turn_id = _free_id(store, number, inputs.turn_id_of(taken[0]))
    claim.id = store.add_claim(claim)
    turn = Turn(number=number, id=claim.turn_id, message_id=message_id, claim_id=claim.id, started=transaction.now)
    turn.inputs = dumps([row.name for row in taken])
    turn.seq = store.add_turn(turn)
    for row in taken:
        row.state, row.claim_id, row.turn_id = ACCEPTED, claim.id, turn.id
        store.keep_input(row)
    if len(taken) > 1:
        defer(transaction, number, *map(inputs.turn_id_of, taken[1:]))  # these will not come
    return turn, claim, taken


def first(transaction, number):
    """Return the input that the session's next turn begins with, or None."""
    return next(_waiting(transaction, number), None)


def _waiting(transaction, number):
    """Yield the inputs that wait for the next turn, up to one that somebody has claimed. Few are read at first: they
    may be large, and the first ones make a turn."""
    store, after, rows, page = transaction.store, 0, True, 1
    while rows:
        rows = store.open_inputs(number, after, page)
        page = min(page * 2, PAGE)
        for row in rows:
            after = row.seq
            if row.state == ACCEPTED or is_live(store, row, transaction.now):
                return
            if row.state == DEFERRED:
                yield row


def _free_id(store, number, turn_id):
    """Return an id for a turn: this one, unless a caller has given it to another, before it was ours to give."""
    found, further = turn_id, 1
    while store.turn(number, found) is not None:
        further += 1
        found = f"{turn_id}_{further}"
    return found


def claim_of(transaction, turn):
    """Return the claim under which a turn runs, or None: it was given up, or the turn is another client's."""
    return None if turn.claim_id is None else transaction.store.claim(turn.claim_id)


def complete(transaction, turn):
    """End a turn's inputs and its claim, whatever has become of the turn (L-097). Returns the inputs that have ended by
    that. The turn itself is left to the caller, and so is what waited for it (`defer`)."""
    store, ended = transaction.store, []
    for row in inputs_of(store, turn):
        if row.state == ACCEPTED and row.turn_id == turn.id:
            row.state, row.claim_id = COMPLETED, None
            store.keep_input(row)
            ended.append(row)
    if turn.claim_id is not None:
        store.drop_claim(turn.claim_id)
    return ended


def inputs_of(store, turn):
    """Return the inputs that a turn answers, in order: those that are not vacuumed."""
    seqs = map(inputs.seq_of, loads(turn.inputs))
    return [row for seq in seqs if (row := store.input(turn.number, seq)) is not None]


def defer(transaction, number, *turn_ids):
    """Have the inputs wait for their own turn that were meant for one that has ended, or will not come, and that it has
    not taken (L-096). It is known by each of `turn_ids`: its own, and its message's, which may be None."""
    store, deferred = transaction.store, []
    for row in store.active_inputs(number):
        if inputs.turn_meant(row.ingress) in turn_ids:
            row.state, row.claim_id = DEFERRED, None
            store.keep_input(row)
            deferred.append(row)
    return deferred


def waits_for(store, number, turn_id, runs_here):
    """Return whether an input for this turn has something to wait for: it runs, or is to come. Where the server runs
    the turns (not `runs_here`), those to come are the ones of inputs; a host may begin any."""
    turn = store.turn(number, turn_id) or store.turn_of_message(number, turn_id)
    if turn is not None:
        return turn.state != ENDED
    return runs_here or _is_to_come(store, number, turn_id)


def _is_to_come(store, number, turn_id):
    if store.input_that_wants(number, turn_id) is not None:
        return True
    seq = inputs.seq_of_turn(turn_id)
    row = None if seq is None else store.input(number, seq)
    return row is not None and row.state in (PENDING, DEFERRED) and row.wanted is None


def cancel(transaction, row: Input):
    """Cancel an input unless it is taken or has ended; returns the outcome and the claim that it is under, or None
    (L-088, L-091, L-092)."""
    store = transaction.store
    if row.state == CANCELLED:
        return "already_cancelled", None
    if row.state == COMPLETED:
        return "already_completed", None
    claim = is_live(store, row, transaction.now)
    if row.state == ACCEPTED or claim is not None:
        return "already_claimed", claim
    row.state, row.claim_id = CANCELLED, None
    store.keep_input(row)
    return "cancelled", None
