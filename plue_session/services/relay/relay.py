"""The relay of one backend's sessions: what callers ask for, and the halves of attaching that belong to a change."""

from plue_session import errors
from plue_session.model import Query
from plue_session.rules import relay as rules
from plue_session.rules.jsontext import dumps, loads, quote
from plue_session.services.naming import named
from plue_session.services.relay import changes
from plue_session.services.relay.cleaning import Cleaning
from plue_session.services.relay.idle import Idle
from plue_session.services.relay.metrics import Failures, Metrics
from plue_session.services.relay.rates import Rates
from plue_session.services.relay.records import Records

#: The states in which a session holds its role.
LIVE = tuple(state for state in rules.STATES if not rules.is_terminal(state))


class NoAgents:
    """Agents that the host runs, and nothing besides."""

    def end(self, session_id, call):
        """End the session's agent, in whichever process it is, and return when nothing is left of it."""

    def describe(self):
        """Return what is known of the agents of this process, by session id."""
        return {}


class Relay:
    """All of it. Thread-safe. Each dependency is given: `ids` makes new names (`Ids`), `clock()` tells ms,
    `cleaner(info)` cleans up after a session, whose info it gets, and returns None, 0, or what is wrong, `log` writes
    records; `resolve(id)` tells the id that a session has by now, and `seconds` how long cleaning may take."""

    def __init__(self, store, writer, ids, clock, cleaner, log, resolve=lambda session_id: session_id, seconds=30.0):
        given = {"store": store, "writer": writer, "ids": ids, "clock": clock, "cleaner": cleaner, "log": log}
        if missing := [name for name, each in given.items() if each is None]:
            raise errors.InvalidParam(f"the relay has no {', '.join(missing)}", "Give it one.")
        self.store, self.writer, self.ids, self.clock, self.log = store, writer, ids, clock, log
        self.resolve, self.seconds = resolve, seconds
        #: what ends agents; whoever has some puts itself here
        self.agents = NoAgents()
        self.failures, self.rates = Failures(), Rates()
        self._idle = Idle(self)
        self._cleaning = Cleaning(self, cleaner)
        self._metrics = Metrics(self)
        self._records = Records(self)

    # -- changing ------------------------------------------------------------------------------------------------------
    def spawn(self, session_id):
        """CREATED → SPAWNING."""
        return changes.Spawn(self, session_id)

    def heartbeat(self, session_id):
        """Note that the agent lives."""
        return changes.Heartbeat(self, session_id)

    def count_message(self, session_id):
        """Count a message of the agent's or to it."""
        return changes.CountMessage(self, session_id)

    def terminate(self, session_id, reason=None):
        """Begin the end; harmless where it has begun, and for a session that is not there."""
        return changes.Terminate(self, session_id, reason)

    def clean(self, session_id):
        """TERMINATING → CLEANED, once the agent has ended and the cleaner has run; returns that as `Later`, or None: it
        was CLEANED before."""
        return self._cleaning.begin(named(self.resolve, session_id, self._read))

    def _read(self, session_id):
        session = self.store.read(session_id)
        if session is None:
            raise changes.not_found(session_id)
        return session

    # -- reading -------------------------------------------------------------------------------------------------------
    def get(self, role):
        """Return the id of the live session that holds this role."""
        infos, _ = self.store.page(Query(role=role, relay_state=LIVE, limit=1))
        if not infos:
            raise errors.NotFound(
                f"no live session has the role {quote(role)}", "Create one, or query the sessions to see what there is."
            )
        return loads(infos[0])["id"]

    def metrics(self, format):
        """Return what is counted, as "json" or "prometheus" text."""
        return self._metrics.render(format)

    # -- what attaching is made of -------------------------------------------------------------------------------------
    def check_attach(self, transaction, session_id):
        """Return the session if something may be attached to it now, or fail: it is SPAWNING, or ACTIVE and has lost
        what was attached (R-028, R-077)."""
        session = changes.load(transaction, self.resolve(session_id))
        if not self._is_lost(transaction, session):
            changes.check(session, rules.ACTIVATE)
        return session

    def activate(self, transaction, session_id, attachment):
        """Store what is attached, and have the session be ACTIVE; `attachment.number` is set here. Fails as
        `check_attach` does: the session may have been terminated meanwhile (R-071)."""
        session = self.check_attach(transaction, session_id)
        attachment.number = session.number
        transaction.store.keep_attachment(attachment)
        session.relay_worktree, session.relay_agent = attachment.worktree, attachment.kind
        session.relay_active, session.relay_lost = transaction.now, False
        if rules.is_active(session.relay_state):
            changes.show(transaction, session)
        else:
            changes.move(transaction, session, rules.ACTIVATE)
        most = rules.read_options(attachment.options)["idleMs"]
        if most is not None:  # harmless, should this change not be made
            self._idle.watch(session.id, most)
        return session

    def lost(self, transaction, session_id, owner, error=None):
        """Note that the agent has gone that the process `owner` had, and why (a `PlueError`; None: it was to go). The
        session stays as it is, and something may be attached again. False: it is not that process's any more."""
        session = transaction.store.load(self.resolve(session_id))
        attachment = session and transaction.store.attachment(session.number)
        if not attachment or attachment.owner != owner:
            return False
        attachment.owner = attachment.pid = None
        if error is not None:
            attachment.lost = dumps({"code": error.name, "number": error.number, "message": error.message("agent")})
        transaction.store.keep_attachment(attachment)
        if rules.is_active(session.relay_state):
            session.relay_lost = True
            changes.show(transaction, session)
        return True

    def failed(self, place, session_id, error):
        """Log and count what was met in one of `metrics.PLACES` and is no call's."""
        self.failures.count(place, error)
        self.log.write("warning", errors.known(error).message(f"relay {place} {session_id}"))

    def _is_lost(self, transaction, session):
        if not rules.is_active(session.relay_state):
            return False
        attachment = transaction.store.attachment(session.number)
        return attachment is None or attachment.owner is None or not self.store.is_owner_alive(attachment.owner)

    def close(self, seconds):
        """End what is under way, and wait for it, at most so many seconds. Twice is harmless."""
        self._idle.close()
        self._cleaning.close(seconds)
