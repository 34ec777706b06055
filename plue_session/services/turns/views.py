"""What turns show besides text: the agent's plan, what they changed in files; and what an input may name."""

from functools import partial

from plue_session import errors
from plue_session.model import Transcript
from plue_session.model.attachment import ACP
from plue_session.rules import choices, ids
from plue_session.rules.jsontext import dumps, loads
from plue_session.services.agents import LazyAgents
from plue_session.services.naming import named
from plue_session.services.sync.memory import remember
from plue_session.services.turns.heard import AGAIN, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Server, Store

#: Of a plan that the server has told by itself.
HEARD = object()
#: Messages that are read at a time, to find those of the user's.
PAGE = 100


class Views:
    """Of one server's sessions. Thread-safe; `resolve` returns the id that a session has by now."""

    def __init__(self, server: "Server", store: "Store", writer, link, jobs, default_model):
        self._server, self._store, self._writer, self._link, self._jobs = server, store, writer, link, jobs
        self._default_model = default_model and {
            "providerId": default_model.provider_id,
            "modelId": default_model.model_id,
        }
        # how often the stream has begun without telling what was missed; session id: when the plan was last learned
        self._connection, self._read_in = 0, {}
        self.resolve = lambda session_id: session_id
        #: what is attached to the sessions; put here by who knows
        self.agents = LazyAgents(store)
        #: see `Inbox.hearers`
        self.hearers = {"todo.updated": self._heard}

    def _read(self, session_id):
        return named(self.resolve, session_id, self._there)

    def _there(self, session_id):
        session = self._store.read(session_id)
        if session is None:
            raise errors.gone(session_id)
        return session

    # -- the plan --------------------------------------------------------------------------------------------------
    def todos(self, session_id):
        """Return the agent's plan as JSON; where it is not known here, or may be another one by now, the server is
        asked, once."""
        return named(self.resolve, session_id, lambda now: self._todos(self._there(now)))

    def _todos(self, session):
        known = self._known_plan(session)
        if session.relay_agent == ACP:
            return known or "[]"
        if known is not None and (self._is_heard(session.id) or not self._link.connected):
            return known
        return "[]" if ids.is_given_here(session.id) else partial(self._ask_todos, session, known)

    def _known_plan(self, session):
        transcript = self._store.read_transcript(session.id)
        return None if transcript is None else transcript.todos

    def _is_heard(self, session_id):
        """Return whether each change of the plan was heard since it was learned."""
        return not self._link.is_deaf and self._read_in.get(session_id) == self._connection

    def _ask_todos(self, session, known, call):
        try:
            with self._link.asking(session.id):
                return self._ask_plan(session, known, call)
        except (errors.Connection, errors.Timeout):
            if known is None:
                raise
            return known

    def _ask_plan(self, session, known, call):
        """OpenCode: GET /session/{id}/todo."""
        connection = self._connection
        found = self._server.todos(session.id, call, session.directory)
        plan = self._writer.run(partial(record_plan, session.id, dumps(found), before=known), call)
        remember(self._read_in, session.id, connection)
        return plan

    def read_todos(self, session_id, call):
        """Ask for a plan of which something may have been missed. The work of a job."""
        session = self._read(session_id)
        self._ask_plan(session, self._known_plan(session), call)

    def missed(self):
        """Hear that the event stream begins, and that what was planned before it is not told: the plans of turns that
        run are read soon, others when they are asked for. May wait for the store."""
        self._connection += 1
        for session_id in {session_id for session_id, _ in self._store.read_open_turns()}:
            if self._read(session_id).relay_agent != ACP:
                self._jobs.add("todos", session_id)

    def _heard(self, change):
        remember(self._read_in, change.session_id, self._connection)
        plan = partial(record_plan, change.session_id, dumps(change.value))
        record(self._writer, plan, partial(self._missed, change.session_id))

    def _missed(self, session_id, error):
        if not isinstance(error, errors.NotFound):
            self._jobs.add("todos", session_id, AGAIN)

    # -- changes of files ------------------------------------------------------------------------------------------
    def diff(self, session_id, query):
        """Return what one turn changed, of which ("turnId" or "messageId", id) is known, or (None) all."""
        return partial(self._diff, session_id, query)

    def _diff(self, session_id, query, call):
        return named(self.resolve, session_id, lambda now: self._changed(self._there(now), query, call))

    def _changed(self, session, query, call):
        if query is None:
            found = []
            for turn_id, message_id in self._turns(session, call):
                found += [{**file, "turnId": turn_id} for file in self._changes(session, message_id, call)]
        else:
            name, id = query
            found = self._changes(session, self._prompt(session, name, id, call), call)
        return dumps({"files": found})

    def _changes(self, session, message_id, call):
        """OpenCode: GET /session/{id}/diff."""
        with self._link.asking(session.id):
            return self._server.diff(session.id, message_id, call, session.directory)

    def _prompt(self, session, name, id, call):
        """Return the user's message of a turn, which is named by its own id or by that of this message."""
        turn = self._store.read_turn(session.id, id)
        if turn is not None and turn.message_id is not None:
            return turn.message_id
        if turn is None and not ids.is_given_here(session.id) and ids.is_message_id(id):
            try:
                with self._link.asking(session.id):
                    if self._server.read_message(session.id, id, call, session.directory).role == "user":
                        return id
            except errors.NotFound:
                self._read(session.id)  # perhaps it is the session that is no more
        raise errors.NotFound(
            f"the session has no turn with the {name} {id}", "turn.started tells the ids.", session=session.id
        )

    def _turns(self, session, call):
        """Return `(turn id, id of its user's message)` of all turns, in order: where not all are known here, of all
        messages of the user's."""
        known = [(turn.id, turn.message_id) for turn in self._store.read_turns(session.id) if turn.message_id]
        transcript = self._store.read_transcript(session.id)
        if ids.is_given_here(session.id) or transcript is not None and transcript.complete:
            return known
        names = {message_id: turn_id for turn_id, message_id in known}
        prompts, before = [], None
        while True:
            with self._link.asking(session.id):
                page, before = self._server.messages(session.id, call, session.directory, limit=PAGE, before=before)
            prompts[:0] = [message.id for message, _ in page if message.role == "user"]
            if before is None:
                return [(names.get(prompt, prompt), prompt) for prompt in prompts]

    # -- what an input may name ------------------------------------------------------------------------------------
    def choices(self, session_id):
        """Return the models, agents and commands that an input may name."""
        session = self._read(session_id)
        if session.relay_agent == ACP:
            return self.agents.choices(session.id)
        return partial(self._choices, session_id)

    def _choices(self, session_id, call):
        """OpenCode: GET /config/providers, GET /config, GET /agent, GET /command."""
        session = self._read(session_id)
        with self._link.asking():
            found = self._server.choices(call, session.directory)
        bound = session.provider_id and {"providerId": session.provider_id, "modelId": session.model_id}
        return dumps(choices.offered(found, bound, self._default_model))


def record_plan(session_id, plan, transaction, before=HEARD):
    """Record the plan (JSON), and tell of it if it is another one; return what is known then. One that was asked for
    when another one was known than now (it was `before`) does not count; `HEARD`: it is the newest."""
    store, session = transaction.store, transaction.load(session_id)
    transcript = store.transcript(session.number) or Transcript(session.number, 0)
    known = transcript.todos
    if known == plan or before is not HEARD and known != before:
        return known
    transcript.todos = plan
    store.keep_transcript(transcript)
    if plan != (known or "[]"):
        transaction.save_told(session, [("todo.updated", {"todos": loads(plan)})])
    return plan
