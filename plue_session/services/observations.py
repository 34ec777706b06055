"""Observation: how things stand, and a place in the log from which all that follows can be had."""

from plue_session.errors import BadCursor, gone
from plue_session.model import EVENT_NUMBER, LogRow
from plue_session.rules import cursors, replay, transcripts
from plue_session.rules.inputs import queue_json
from plue_session.services.naming import named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Store


class Opening:
    """Where an observer begins: of which session (None: all), after which log id, with which cursor, and why it has to
    begin with a gap, if it has."""

    __slots__ = ("session_id", "after", "cursor", "reason")

    def __init__(self, session_id, after, cursor, reason=None):
        self.session_id, self.after, self.cursor, self.reason = session_id, after, cursor, reason


class Observations:
    """Thread-safe. `shown()` returns how infos are shown, a function, or None: as they are. `limit` and `age_ms` are
    the replay window."""

    def __init__(self, store: "Store", limit, age_ms, clock, shown=lambda: None):
        self._store, self._limit, self._age, self._clock, self._shown = store, limit, age_ms, clock, shown

    def observation(self, session_id):
        """Return the state of a session, or (None) of all, as JSON, with the cursor that goes with it."""
        if session_id is None:
            return self._all()[1]
        return named(self._now, session_id, self._one)

    def observe(self, session_id, cursor=None):
        """Return the `Opening` of an observer of a session, or (None) of all; `cursor` as cursors.py reads it, None:
        from now on. A cursor of another session is `BAD_CURSOR`."""
        return named(self._now, session_id, lambda now: self._opening(now, cursor))

    def _opening(self, session_id, cursor):
        if cursor is not None:
            self._check(session_id, cursor)
        if session_id is not None and self._store.info(session_id) is None:
            raise gone(session_id)
        if cursor is None:
            last = self._store.log_state()[1]
            return Opening(session_id, last, self._render(last, session_id))
        after = cursor.log_id
        window = self._store.window(after, session_id, self._limit)
        if cursor.store_id != self._store.store_id:
            reason = "unavailable"
        else:
            reason = replay.lapse(window, after, session_id, self._limit, self._clock() - self._age)
        return Opening(session_id, after if reason is None else window.last, cursors.render(*cursor), reason)

    def is_trimmed(self, session_id, after):
        """Return whether the log no longer has all events of a session, or (None) of all, after a log id."""
        return replay.is_trimmed(self._store.window(after, session_id, 0), after, session_id)

    def gap(self, session_id, after, reason):
        """Return the event that stands for what follows `after`, as a row of the log: its id is the one to go on from.
        None: the session is gone, and there is nothing to be observed."""
        if session_id is None:
            last, state = self._all()
            revision, said = last, f'"sessions":{state[state.index("[") : -1]}'
        else:
            found = self._observed(session_id)
            if found is None:
                return None
            last, revision, state = self._text(session_id, found)
            said = f'"observation":{state}'
        tail = (
            f',"timestamp":{self._clock()},"correlationId":"gap-{last:x}","data":{{"reason":"{reason}",'
            f'"requestedCursor":"{self._render(after, session_id)}","latestCursor":"{self._render(last, session_id)}",'
            f'"latestRevision":{revision},{said}}}}}'
        )
        return LogRow(last, session_id, EVENT_NUMBER["gap"], 0, tail)

    def _check(self, session_id, cursor):
        if session_id is not None and self._now(cursor.session_id) != session_id:
            theirs = "no one session" if cursor.session_id is None else f"the session {cursor.session_id}"
            raise BadCursor(
                f"the cursor belongs to {theirs}, not to {session_id}",
                "Pass one of its own, from its events, its observation or its observer.",
                session=session_id,
                details={"session": session_id, "cursorSession": cursor.session_id or "*"},
            )

    def _now(self, session_id):
        """Return the id that a session has now: it may have got another one than it was known by."""
        return session_id and (self._store.id_of_alias(session_id) or session_id)

    def _one(self, session_id):
        found = self._observed(session_id)
        if found is None:
            raise gone(session_id)
        return self._text(session_id, found)[2]

    def _observed(self, session_id):
        return self._store.observe(session_id, self._clock(), transcripts.MAX_LIMIT, transcripts.SMALL)

    def _text(self, session_id, found):
        shown = self._shown()
        info = shown(found.info) if shown else found.info
        text = (
            f'{{"cursor":"{self._render(found.last, session_id)}","revision":{found.revision},"session":{info},'
            f'{transcripts.render_observed(found)},"queue":{queue_json(found.inputs, session_id)},'
            f'"permissions":[{",".join(found.permissions)}],"questions":[{",".join(found.questions)}]'
        )
        return found.last, found.revision, text + ("}" if found.turn is None else f',"turn":{found.turn}}}')

    def _all(self):
        last, infos = self._store.observe_all()
        shown = self._shown()
        texts = map(shown, infos) if shown else infos
        return last, f'{{"cursor":"{self._render(last, None)}","sessions":[{",".join(texts)}]}}'

    def _render(self, log_id, session_id):
        return cursors.render(self._store.store_id, log_id, session_id)
