"""The rows of what turns ask, from their beginning to their end. Each function is a part of a change."""

from plue_session import errors
from plue_session.model.ask import PERMISSION
from plue_session.model.turn import RUNNING, WAITING
from plue_session.rules import asks as rules
from plue_session.rules import turns


def add(store, session, turn, ask):
    """Store what a turn (None: nobody knows which) asks, and show that it waits. The events are left to the caller
    (`rules.asks.asked`)."""
    store.drop_ended_asks(session.number, ask.turn_id)
    store.keep_ask(ask)
    if turn and turn.state != WAITING:
        _show(store, session, turn, WAITING)


def end(store, session, ask, by, given):
    """Note how an ask has ended, and return the event that tells so, for its caller to save with the session. With what
    an agent of ours has asked stays what it is to be told."""
    ask.ended, ask.answer = by, given if rules.is_local(ask.id) else None
    store.keep_ask(ask)
    turn = ask.turn_id and store.turn(session.number, ask.turn_id)
    if turn and turn.state == WAITING and not any(rules.is_of(each, turn) for each in store.asks(session.number)):
        _show(store, session, turn, RUNNING)
    return rules.replied(ask, given)


def end_all(transaction, session, turn, by):
    """End what a turn asks, in the change that ends it; returns the events that tell so, for its caller to save."""
    told = []
    for ask in transaction.store.asks(session.number):
        if rules.is_of(ask, turn):
            ask.ended, ask.answer = by, None
            transaction.store.keep_ask(ask)
            told.append(rules.replied(ask, None))
    return told


def reply(transaction, session_id, id, given):
    """Answer a permission that an agent of ours asks for, whichever process has that: it hears of it."""
    store, session = transaction.store, transaction.load(session_id)
    ask = store.ask(session.number, id)
    if ask is None:
        raise rules.unknown(PERMISSION, id)
    if ask.ended is not None:
        raise rules.over(ask)
    rules.check_offered(ask, given)
    attached = store.attachment(session.number)
    if attached is None or attached.owner is None or not store.is_owner_alive(attached.owner):
        raise errors.Conflict(
            f"nothing waits for the permission {id} any more: its agent is gone",
            "Attach the session again, and send the input once more.",
        )
    transaction.save_told(session, [end(store, session, ask, rules.HOST, given)])


def _show(store, session, turn, state):
    turn.state = state
    store.keep_turn(turn)
    session.turn = turns.shown(turn)
