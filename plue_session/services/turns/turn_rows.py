"""The rows of a turn, from its beginning to its end. Each function is a change, or a part of one: it may run twice, and
whoever comes second, of several processes on the store, finds it done and tells nothing."""

from plue_session.model import Claim, Turn
from plue_session.model.ask import PERMISSION, QUESTION
from plue_session.model.turn import ENDED, RETRYING, RUNNING, WAITING
from plue_session.rules import transcripts
from plue_session.rules.asks import is_of
from plue_session.rules.inputs import turn_id_of
from plue_session.rules.jsontext import dumps, loads
from plue_session.rules.turns import shown
from plue_session.services.turns import queue


class Begun:
    """A turn whose row was just made: the `turn`, and the `inputs` that it answers."""

    def __init__(self, turn, inputs):
        self.turn, self.inputs = turn, inputs


def is_held(session, now):
    """Return whether an abort holds back what waits to be said."""
    return session.held_until is not None and session.held_until > now


def begin(transaction, session_id, message_id, owner, ttl, first):
    """Have a turn take the next inputs, and return it as `Begun`; None: nothing waits, or may begin now, or by now it
    would not begin with the input `first` (its seq)."""
    now, session = transaction.now, transaction.load(session_id)
    if is_held(session, now):
        return None
    waiting = queue.first(transaction, session.number)
    if waiting is None or waiting.seq != first:
        return None
    taken = queue.take(transaction, session, owner, now + ttl, message_id)
    if taken is None:
        return None
    turn, _, inputs = taken
    told = _unaborted(session)
    session.turn = shown(turn)
    told.append(("turn.started", {"turnId": turn.id, "inputIds": [each.name for each in inputs]}))
    told.append(queue.told("claimed", inputs))
    transaction.save_told(session, told)
    return Begun(turn, inputs)


def _unaborted(session):
    """Clear the abort flag, for a turn begins (P-065), and return the events that tell so."""
    if not session.aborted:
        return []
    session.aborted, session.abort_mark = False, None
    return [("session.updated", {"id": session.id, "fields": ["aborted"]})]


def begin_foreign(transaction, session, message_id):
    """Note the turn of another client that answers this message, and return the events that tell of it, for the
    session to be saved with; none: it is of a turn that is known."""
    store = transaction.store
    if store.open_turn(session.number) is not None or store.turn_of_message(session.number, message_id) is not None:
        return []
    turn = Turn(
        number=session.number, id=message_id, message_id=message_id, state=RUNNING, started=transaction.now, inputs="[]"
    )
    turn.seq = store.add_turn(turn)
    told = [] if is_held(session, transaction.now) else _unaborted(session)
    session.turn = shown(turn)
    return [*told, ("turn.started", {"turnId": turn.id, "inputIds": []})]


def take_over(transaction, session_id, turn_id, owner, ttl):
    """Have a turn that another process has begun be ours, and return it; None: it has ended."""
    session, turn = _open(transaction, session_id, turn_id)
    if turn is None:
        return None
    store = transaction.store
    if turn.claim_id is not None:
        before = turn.claim_id
        claim = Claim(number=session.number, owner=owner, turn_id=turn.id, expires=transaction.now + ttl)
        turn.claim_id = store.add_claim(claim)
        store.drop_claim(before)
        for each in queue.inputs_of(store, turn):
            each.claim_id = turn.claim_id
            store.keep_input(each)
        store.keep_turn(turn)
    return turn


def renew(transaction, turn, ttl):
    """Have the claim of a turn be good for so many ms more; return whether it is ours still."""
    claim = transaction.store.claim(turn.claim_id)
    if claim is None:
        return False
    claim.expires = transaction.now + ttl
    transaction.store.keep_claim(claim)
    return True


def named(transaction, session_id, turn_id, message_id):
    """Note which message of the user's a turn answers, which the server has chosen. What was recorded as another
    client's is the turn's by now."""
    store, told = transaction.store, []
    session, turn = _open(transaction, session_id, turn_id)
    if turn is None or turn.message_id == message_id:
        return
    turn.message_id = message_id
    store.keep_turn(turn)
    for message in store.messages_of_turn(session.number, message_id):
        message.turn_id = turn.id
        store.keep_message(message)
        told.append(("message.updated", transcripts.render_small(message, store.parts(session.number, message.id))))
    if told:
        transaction.save_told(session, told)


def state_of(status, store, session_id):
    """Return whether a turn runs, tries the model again, or waits for an answer, by the server's status and what is
    asked."""
    if status.get("type") == "retry":
        return RETRYING
    return WAITING if any(store.read_asks(session_id, kind) for kind in (PERMISSION, QUESTION)) else RUNNING


def set_state(transaction, session_id, turn_id, state):
    """Note and show whether a turn runs, tries the model again, or waits for an answer."""
    session, turn = _open(transaction, session_id, turn_id)
    if turn is not None and state != RETRYING:  # what is asked may be another by now
        state = WAITING if any(is_of(ask, turn) for ask in transaction.store.asks(session.number)) else RUNNING
    if turn is None or turn.state == state:
        return
    turn.state = state
    transaction.store.keep_turn(turn)
    if session.turn != shown(turn):
        session.turn = shown(turn)
        transaction.save(session, "session.updated", {"id": session.id}, touch=False)


def cancel(transaction, session, turn_id=None):
    """Ask for the end of the turn that is open, and return that; None: there is none, or it is not the one named."""
    turn = transaction.store.open_turn(session.number)
    if turn is None or turn_id not in (None, turn.id):
        return None
    if turn.cancelled is None:
        turn.cancelled = transaction.now
        transaction.store.keep_turn(turn)
    return turn


def cancel_all(transaction, session_id, own):
    """Have turns end whose ids are in `own`: the inputs of those that wait are cancelled, the end of the one that is
    open is asked for."""
    store, session = transaction.store, transaction.load(session_id)
    turn = store.open_turn(session.number)
    if turn is not None and turn.id in own:
        cancel(transaction, session)
    ended = []
    for row in store.bare_inputs(session.number):
        if row.alone and turn_id_of(row) in own and queue.cancel(transaction, row)[0] == "cancelled":
            ended.append(row)
    if not ended:
        return
    queue.defer(transaction, session.number, *map(turn_id_of, ended))
    told = [queue.told("cancelled", ended)]
    for row in ended:
        data = {"turnId": turn_id_of(row), "inputIds": [row.name], "outcome": "stopped", "reason": "cancelled"}
        told.append(("turn.finished", data))
    transaction.save_told(session, told)


def end(transaction, session_id, turn_id, claim_id, outcome, close=lambda *_: []):
    """Note the end of a turn, and of the inputs that it answered. False: it has ended, or is another process's by now.
    `outcome` is `(outcome, reason, error)`; `close(transaction, session, turn)` ends what else of it has no end, and
    returns the events that tell so."""
    session, turn = _open(transaction, session_id, turn_id)
    if turn is None or turn.claim_id != claim_id:
        return False
    store, now = transaction.store, transaction.now
    turn.outcome, turn.reason, error = outcome
    turn.error = error and dumps(error)
    turn.state, turn.ended = ENDED, now
    store.keep_turn(turn)
    ended = queue.complete(transaction, turn)
    queue.defer(transaction, session.number, turn.id, turn.message_id)
    session.turn = None
    data = {"turnId": turn.id, "inputIds": loads(turn.inputs), "outcome": turn.outcome}
    if turn.reason:
        data["reason"] = turn.reason
    if error:
        data["error"] = error
    events = [*close(transaction, session, turn), ("turn.finished", data)]
    if ended:
        events.append(queue.told("completed", ended))
    transaction.save_told(session, events)
    return True


def _open(transaction, session_id, turn_id):
    session = transaction.load(session_id)
    turn = transaction.store.turn(session.number, turn_id)
    return session, turn if turn is not None and turn.state != ENDED else None
