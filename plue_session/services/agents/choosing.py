"""The model and the mode of a session's agent: what an input names is chosen before it is said, and counts once the
agent has said so."""

from plue_session import errors
from plue_session.rules.jsontext import dumps, loads

#: What is chosen of an `Offer`, by our name for it: the field with all there are, that with the chosen one.
KINDS = {"model": ("models", "modelId"), "mode": ("modes", "name")}


def bound_model(session, offer):
    """Return the model that a session is bound to, or None: to none, or to one of another provider's than its agent."""
    if session.provider_id in [each["providerId"] for each in offer.models]:
        return {"providerId": session.provider_id, "modelId": session.model_id}
    return None


class Choosing:
    """Of one agent, by its actor's thread."""

    def __init__(self, on, session_id, agent, options):
        self._on, self.session_id, self._agent = on, session_id, agent
        self._chosen = {}  # what the agent has confirmed
        self._wanted = {}  # what an agent that was started anew is to be told again
        self._asked = self._error = None
        #: of what is being chosen
        self.ticket = None

    def restored(self, chosen):
        """Note what was chosen in a conversation that is taken up again, or None."""
        self._wanted = dict(chosen or {})

    def model(self, offer):
        """Return the id of the model that answers, as far as is known."""
        return self._chosen.get("model") or (offer and offer.model) or "default"

    def choose(self, says, offer):
        """Have chosen what an input names; return whether that is done. The agent's answer comes by `answered`; what it
        refuses, or does not offer, fails."""
        if self.ticket is not None:
            return False
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        wants = dict(self._wanted)
        given = says.get("model")
        if given is not None:
            wants["model"] = given["modelId"]
        if says.get("agent") is not None:
            wants["mode"] = says["agent"]
        for kind, id in wants.items():
            current = self._chosen.get(kind) or getattr(offer, kind)
            if id == current:
                self._wanted.pop(kind, None)
                continue
            self._check(kind, id, offer)
            self._asked = kind, id
            self.ticket = self._agent.choose(kind, id)
            return False
        return True

    def answered(self, error):
        """Hear what the agent says to a choice."""
        (kind, id), self.ticket = self._asked, None
        self._wanted.pop(kind, None)
        if error is not None:
            self._error = errors.ProviderInit(
                f"the agent does not take the {kind} {id}: {error.cause}", "Name one that plue_session_choices() lists."
            )
            return
        self._chosen[kind] = id
        self._on.writer.run_later(self._keep)

    def heard(self, offer):
        """Hear what the agent has changed by itself."""
        for kind in KINDS:
            if getattr(offer, kind) is not None:
                self._chosen[kind] = getattr(offer, kind)

    def _check(self, kind, id, offer):
        field, key = KINDS[kind]
        offered = [each[key] for each in getattr(offer, field)]
        if id not in offered:
            some = ", ".join(offered[:10]) or "none"
            raise errors.ProviderInit(
                f"the agent does not offer the {kind} {id}", f"Name one that plue_session_choices() lists: {some}."
            )

    def _keep(self, transaction):
        """Note what is chosen, for an agent that is attached after this one."""
        session = transaction.store.load(self.session_id)
        row = session and transaction.store.attachment(session.number)
        if row:
            row.options = dumps({**loads(row.options), "chosen": self._chosen})
            transaction.store.keep_attachment(row)
