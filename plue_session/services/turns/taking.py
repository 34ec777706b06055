"""Taking what waits: the next inputs of a session become a turn, which is sent."""

import time

from plue_session.model.input import DEFERRED
from plue_session.rules import turn_proof
from plue_session.rules.jsontext import loads
from plue_session.services.turns import prompt, turn_rows
from plue_session.services.turns.following import FULL

#: Seconds between two looks at a server that is busy with another client's turn: where events come, and where none do.
BUSY = 5.0, 0.5
#: Seconds until a session is looked at again whose inputs wait for a turn to come.
LATER = 30.0
#: Newest messages that are read at first, to see whose turn runs.
NEWEST = 4
#: Seconds for which the server's default model is believed.
DEFAULT = 60.0


class Taker:
    """Of one `driver`. Thread-safe: a session is in one step at a time."""

    def __init__(self, on, driver, settings):
        self._on, self._driver, self._settings = on, driver, settings
        self._default = None, 0.0

    def step(self, session, call):
        """Begin the next turn of a session that has none; see `Driver._step`."""
        on, session_id = self._on, session.id
        found = on.store.read_next_input(session_id, on.writer.clock())
        says = loads(found.content) if found is not None and found.state == DEFERRED else None
        follower, is_doubtful = self._driver.follower, session_id in self._driver.doubtful
        if says and follower.is_full and not is_doubtful and "command" in says:
            return FULL
        if says or is_doubtful:
            self._driver.doubtful.discard(session_id)
            if session_id in on.server.status(call, session.directory):
                self._foreign(session, call)
                return self._driver.park(session_id, BUSY[not on.link.streaming])
        if says is None:  # those that are for a turn to come are told of with that
            return self._driver.park(session_id, LATER) if found else None
        model = self.model(session, says, call)
        ttl, owner = self._driver.lease.ttl_ms, self._driver.owner
        message_id = prompt.message_id(on.writer.clock() + on.server.ahead())
        if prompt.Prompt([says]).is_compaction:  # the server chooses it
            message_id = None

        def begin(transaction):
            return turn_rows.begin(transaction, session_id, message_id, owner, ttl, found.seq)

        begun = on.writer.run(begin, call)
        if begun is None:  # an abort has begun, or others are next by now
            return 0.0
        watch = self._driver.watch(session_id, begun.turn)
        watch.is_ours, watch.renewed = True, time.monotonic()
        on.turns.mine(session_id, begun.turn.id)
        return follower.send(session, begun.turn, watch, prompt.of(begun.inputs), model, call)

    def model(self, session, says, call):
        """Return the model of an input, `(provider id, model id)`: always one is named (O-040)."""
        given = says.get("model")
        if given is not None:
            return given["providerId"], given["modelId"]
        if session.provider_id is not None:
            return session.provider_id, session.model_id
        default = self._settings.default_model
        if default is not None:
            return default.provider_id, default.model_id
        model, at = self._default
        if model is None or time.monotonic() - at > DEFAULT:
            model = self._on.server.default_model(call)
            self._default = model, time.monotonic()
        return model

    def _foreign(self, session, call):
        """Note whose turn runs, if it is another client's."""
        on = self._on
        page, _ = on.transcript.read(session, call, limit=NEWEST)
        prompt_id = turn_proof.running(page)
        if prompt_id is None:
            return
        known = on.store.read_turn(session.id, prompt_id)
        if known is None:

            def begin(transaction):
                found = transaction.load(session.id)
                told = turn_rows.begin_foreign(transaction, found, prompt_id)
                if told:
                    transaction.save_told(found, told)

            on.writer.run(begin, call)
            self._driver.poke(session.id)
        elif known.cancelled is not None:  # the prompt of a turn that was aborted has run all the same
            on.server.abort(session.id, call, directory=session.directory, turn_id=prompt_id)
            self._driver.poke(session.id)
