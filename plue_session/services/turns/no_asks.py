"""What stands in for what turns ask and show where none runs: on the embedded backend."""

from plue_session import errors
from plue_session.model.ask import PERMISSION, QUESTION
from plue_session.rules import asks as rules


class NoAsks:
    """Thread-safe. `known(session_id)` fails if there is no such session."""

    def __init__(self, known):
        self._known = known

    def permissions(self, session_id):
        """Return that nothing waits."""
        self._known(session_id)
        return "[]"

    questions = todos = permissions

    def reply_permission(self, session_id, permission_id, reply):
        """There is none."""
        self._known(session_id)
        raise rules.unknown(PERMISSION, permission_id)

    def reply_question(self, session_id, question_id, answers):
        """There is none."""
        self._known(session_id)
        raise rules.unknown(QUESTION, question_id)

    def diff(self, session_id, query):
        """No turn changes files here."""
        self._known(session_id)
        raise self._unsupported("has no turns whose changes could be read", session_id)

    def choices(self, session_id):
        """There is no model here."""
        self._known(session_id)
        raise self._unsupported("has no models, agents and commands", session_id)

    @staticmethod
    def _unsupported(what, session_id):
        return errors.Unsupported(
            f"the embedded backend {what}",
            "Use the backend opencode, or run turns in the host: it claims the inputs.",
            session=session_id,
        )
