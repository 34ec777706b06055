"""What turns ask and show on the embedded backend, where agents that are attached run some."""

from plue_session import errors
from plue_session.model.ask import PERMISSION, QUESTION
from plue_session.model.attachment import ACP
from plue_session.rules import asks as rules


class LocalAsks:
    """Thread-safe. `on` is the `Backend`."""

    def __init__(self, on):
        self._on = on

    def _known(self, session_id):
        return self._on.read(session_id)

    def permissions(self, session_id):
        """Return what the session's turns wait for leave to do, as JSON."""
        self._known(session_id)
        return f"[{','.join(ask.body for ask in self._on.store.read_asks(session_id, PERMISSION))}]"

    def questions(self, session_id):
        """Return that nothing waits."""
        self._known(session_id)
        return "[]"

    def todos(self, session_id):
        """Return the agent's plan as JSON."""
        self._known(session_id)
        transcript = self._on.store.read_transcript(session_id)
        return transcript and transcript.todos or "[]"

    def reply_permission(self, session_id, permission_id, reply):
        """Answer a permission that an agent asks for: whoever has it hears of that."""
        self._known(session_id)
        if not rules.is_local(permission_id):
            raise rules.unknown(PERMISSION, permission_id)
        from plue_session.services.turns import ask_rows

        self._on.writer.run(lambda transaction: ask_rows.reply(transaction, session_id, permission_id, reply))

    def reply_question(self, session_id, question_id, answers):
        """There is none."""
        self._known(session_id)
        raise rules.unknown(QUESTION, question_id)

    def diff(self, session_id, query):
        """No turn changes files here."""
        self._known(session_id)
        raise self._unsupported("has no turns whose changes could be read", session_id)

    def choices(self, session_id):
        """Return what an input may name: what the session's agent offers."""
        if self._known(session_id).relay_agent == ACP:
            return self._on.agents.choices(session_id)
        raise self._unsupported("has no models, agents and commands", session_id)

    @staticmethod
    def _unsupported(what, session_id):
        return errors.Unsupported(
            f"the embedded backend {what}",
            "Attach an agent, use the backend opencode, or run turns in the host: it claims the inputs.",
            session=session_id,
        )
