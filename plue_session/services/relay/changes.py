"""The changes of a relay, each of one session. What is refused changes nothing (R-010)."""

from plue_session import errors
from plue_session.rules import relay as rules
from plue_session.rules.jsontext import quote
from plue_session.services.turns.inputs import Change

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.services.relay.relay import Relay


def load(transaction, session_id):
    """Return a session that has a relay state, or fail."""
    session = transaction.store.load(session_id)
    if session is None:
        raise not_found(session_id)
    return checked(session)


def not_found(session_id):
    """Return the error for a session that does not exist, or no longer does."""
    return errors.NotFound(
        f"session not found: {session_id}", "List the sessions to see what there is.", session=session_id
    )


def checked(session):
    """Return the session, or fail if it has no relay state."""
    if session.relay_state is None:
        raise errors.InvalidTransition(
            "the session has no relay state: it was made without a role",
            'Make one with plue_session_create_with("{\\"role\\":…}").',
            session=session.id,
        )
    return session


def check(session, event):
    """Return the state that follows by the event, or fail."""
    try:
        return rules.next_state(session.relay_state, event)
    except errors.InvalidTransition as error:
        error.session = session.id
        raise


def move(transaction, session, event, reason=None):
    """Bring a session to the state that follows by the event, and tell so; of what stays as it is nothing is told."""
    before, after = session.relay_state, check(session, event)
    if after == before:
        return
    session.relay_state, session.relay_active, session.relay_lost = after, transaction.now, False
    data = {"from": before, "to": after, "event": event}
    if reason:
        data["reason"] = reason
    transaction.save(session, "relay.changed", data)


def show(transaction, session):
    """Store and tell what of the relay has changed beside its state."""
    transaction.save(session, "session.updated", {"id": session.id}, touch=False)


class RelayChange(Change):
    """A change of a session's relay, made by `on`, a `Relay`."""

    def __init__(self, on: "Relay", session):
        super().__init__(on, session)  # type: ignore[arg-type]
        self.relay = on
        self._is_counted = False

    def preview(self, transaction):
        try:
            return self.change(transaction, load(transaction, self.on.resolve(self.session)))
        except errors.PlueError as error:
            if not self._is_counted:  # it may run again
                self._is_counted = True
                self.relay.failures.count("call", error)
            raise


class Spawn(RelayChange):
    """CREATED → SPAWNING."""

    def change(self, transaction, session):
        move(transaction, session, rules.SPAWN)


class Heartbeat(RelayChange):
    """Notes that the agent lives."""

    def change(self, transaction, session):
        session.relay_active = transaction.now
        show(transaction, session)


class CountMessage(RelayChange):
    """Counts a message of the agent's or to it."""

    _is_measured = False

    def change(self, transaction, session):
        self._measure(transaction, session)
        session.relay_messages += 1
        session.relay_active = transaction.now
        show(transaction, session)

    def _measure(self, transaction, session):
        """Refuse what comes faster than the attachment allows (R-075)."""
        if session.relay_agent is None or self._is_measured:
            return
        most = rules.read_options(transaction.store.attachment(session.number).options)["messagesPerSecond"]
        if most is not None:
            self.relay.rates.take(session.id, most, transaction.now)
            self._is_measured = True


class Terminate(RelayChange):
    """Any state but CLEANED → TERMINATING; harmless for a session that is CLEANED, or not there."""

    def __init__(self, on, session, reason):
        super().__init__(on, session)
        self.reason = reason
        self._is_noted = False

    def preview(self, transaction):
        session = transaction.store.load(self.on.resolve(self.session))
        if session is None:
            self._note("the session does not exist, or was deleted")
        elif session.relay_state == rules.CLEANED:
            self._note("the session is CLEANED already")
        else:
            super().preview(transaction)

    def change(self, transaction, session):
        move(transaction, session, rules.TERMINATE, self.reason)

    def _note(self, what):
        """Log that there is nothing to do; nothing is written, so nothing can be undone."""
        if not self._is_noted:
            self._is_noted = True
            reason = f" (reason {quote(self.reason)})" if self.reason else ""
            self.relay.log.write("info", f"relay terminate {self.session}: {what}{reason}")
