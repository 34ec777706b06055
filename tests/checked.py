"""Services called with text, as a C caller calls the functions over them: what the boundary checks is checked on the
way, and what an operation means is done."""

from plue_session.capi.surface import TABLE
from plue_session.capi.types import TYPES

#: The functions over services whose methods have another name.
NAMES = {
    "validate": "validate_share",
    "cancel": "cancel_inputs",
    "cancel_from": "cancel_inputs_from",
    "page": "messages",
    "spawn": "relay_spawn",
    "heartbeat": "relay_heartbeat",
    "count_message": "relay_count_message",
    "terminate": "relay_terminate",
    "clean": "relay_clean",
    "get": "relay_get",
}


def parameters(name):
    """Return what a function takes: `(name, type)` of each, the session apart."""
    notes = TABLE[name][0].__annotations__
    return [
        (parameter, TYPES[note])
        for parameter, note in notes.items()
        if parameter != "return" and note != "SessionHandle"
    ]


class Checked:
    """`services` whose methods take text where the functions of the header do; `perform` does what they return."""

    def __init__(self, services, perform):
        self.services, self._perform = services, perform

    def __getattr__(self, name):
        method, function = getattr(self.services, name), f"plue_session_{NAMES.get(name, name)}"
        if function not in TABLE:
            return method
        taken, session = parameters(function), "SessionHandle" in TABLE[function][0].__annotations__.values()

        def call(*given, **more):
            texts = list(given[session:])
            texts += [None] * (len(taken) - len(texts))
            checked = [
                crossing.check(text, parameter) for text, (parameter, crossing) in zip(texts, taken, strict=False)
            ]
            return self._perform(method(*given[:session], *checked, *texts[len(taken) :], **more))

        return call
