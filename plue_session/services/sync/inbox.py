"""What the server tells by itself. It waits while its session is locked, is left to whoever makes the session, or is
recorded, if it is news."""

import itertools
import time
from functools import partial

from plue_session import errors
from plue_session.rules.sequences import WHOLE, last
from plue_session.services.sync.memory import remember
from plue_session.services.turns.transcript import KINDS as TRANSCRIPT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Store

#: Seconds that whoever makes a session, here or in another process on the store, has to record it after we have heard
#: of it.
SIBLING = 0.5
#: The kinds of changes without a number that are of interest.
HEARD = frozenset(("created", "session", "deleted", *TRANSCRIPT))
#: Numbers by which a record's mark may lag behind: so many events of messages are asked for again after a restart.
LAG = 256


class Told:
    """What concerns a session's sequence and is no event. By `kind`: its "history" (`value` are the changes, or None
    when it could not be had), "missing" (the same, but a list tells the rest), or that it is time to "wake"."""

    __slots__ = ("kind", "session_id", "value")
    seq = -1  # it has a place among the events with a number

    def __init__(self, kind, session_id, value=None):
        self.kind, self.session_id, self.value = kind, session_id, value


class Inbox:
    """Thread-safe. First comes what can be decided without the store. The rest is one change of the writer for each
    session; the changes of all that was told together share commits."""

    def __init__(self, store: "Store", mirror, session_locks, transcript, jobs, numbers, unnumbered, log):
        self._store, self._mirror, self._session_locks, self._transcript = store, mirror, session_locks, transcript
        self._jobs, self._numbers, self._unnumbered, self._log = jobs, numbers, unnumbered, log
        #: who else hears of changes, once what they change is stored: `{kind: function of a change}`. None may wait
        self.hearers = {}
        #: who hears of them as they come, before that; as above
        self.arriving = {}
        self.asked = {}  # session id: the number from which on its history is to be asked for
        self._begun = {}  # messages that were heard to begin: each counts once

    def apply_all(self, changes):
        """Take in what the server has told, in this order."""
        heard, others = [], []
        for change in changes:
            _tell(self.arriving, change)
            (heard if change.seq is not None or change.kind in HEARD else others).append(change)
        self._record([change for change in heard if not self._waits(change)])
        for change in others:
            _tell(self.hearers, change)

    def wake(self, session_id, *_):
        """Go on with a session whose events have waited."""
        self.apply_all([Told("wake", session_id)])

    def _waits(self, change):
        is_said = change.kind in TRANSCRIPT and change.seq is None  # which no change of ours is about
        return not is_said and self._session_locks.defer(change, self._record)

    def _record(self, changes, call=None):
        """Record what was told. What cannot be is seen by the next comparison: this does not fail."""
        if not changes:
            return
        sessions, before = {}, {}
        try:
            for change in changes:
                if self._is_news(change):
                    sessions.setdefault(change.session_id, []).append(change)
            outcomes = self._mirror.run_all(
                [partial(self._change, session_id, each, before) for session_id, each in sessions.items()], call
            )
        except Exception as error:
            sessions = dict.fromkeys(change.session_id for change in changes)
            outcomes = [error] * len(sessions)
        for session_id, outcome in zip(sessions, outcomes, strict=True):
            if outcome is True:
                self._mirror.refreshed(session_id)
            elif outcome and not isinstance(outcome, errors.NotFound):  # which is heard of a session that has ended
                known = errors.known(outcome)
                self._log.write("error" if isinstance(known, errors.Unknown) else "warning", known.message("sync"))
                self._mirror.differs(session_id)
                if isinstance(known, errors.Busy):  # the store was locked by another process
                    self._jobs.add("reread", session_id)
        for change in changes:
            _tell(self.hearers, change)

    def _is_news(self, change):
        """Return whether the store may have to be changed."""
        if change.seq is not None or change.kind == "deleted":
            return not self._mirror.has_ended(change.session_id)
        if change.kind in TRANSCRIPT:
            return True
        return not self._unnumbered.is_echo(change.value)

    def _begins(self, message):
        """Return whether a message of the model's has begun, which was not heard of before."""
        if message.role != "assistant" or message.ended or message.id in self._begun:
            return False
        remember(self._begun, message.id, True)
        return True

    def _message_began(self, session):
        if session is not None and session.aborted:
            self._jobs.add("turn", session.id)

    def _change(self, session_id, changes, before, transaction):
        """Bring one session to what was told of it; return whether that is what the server has."""
        told = False
        for numbered, alike in itertools.groupby(changes, lambda change: change.seq is not None):
            if numbered:
                told = self._take_numbered(session_id, list(alike), before, transaction)
                continue
            for change in alike:
                if change.kind in TRANSCRIPT:
                    self._take_plain(session_id, change, transaction)
                    continue
                told = change.kind != "deleted"
                if told:
                    self._mirror.merge(transaction, change.value, heard=True, unknown=self._unknown(change))
                else:
                    self._mirror.erase(transaction, session_id)
        return told

    def _take_plain(self, session_id, change, transaction):
        """Record what was said, as a server without numbers tells it."""
        session = transaction.store.load(session_id)
        if change.kind == "message" and self._begins(change.value):
            self._message_began(session)
        told = None if session is None else self._transcript.record(transaction, session, change)
        if told is not None:
            is_overtaken = self._unnumbered.is_overtaken(session)
            self._mirror.save(transaction, session, told)
            if not is_overtaken:
                self._unnumbered.merged(session)

    def _unknown(self, change):
        """Return after how many seconds to ask for the session if it has no record; None: it gets one at once.

        What another process on the store, or a fork under way here, is about to record is left to them: they know its
        key, tags or source. An update without a number may come after its session was deleted (O-032).
        """
        token = change.value.token
        if token is not None and token.startswith(f"{self._store.store_id}-"):
            return SIBLING
        if change.kind == "created":
            return SIBLING if self._session_locks.unnamed else None
        return None if change.seq is not None else 0.0

    # -- by number -----------------------------------------------------------------------------------------------------
    def _take_numbered(self, session_id, changes, before, transaction):
        """Do what the sequence says; `before` is what was held of each session when the change was first run."""
        numbers, session = self._numbers, transaction.store.load(session_id)
        sequence = before.setdefault(session_id, numbers.sequence(session_id)).copy()
        mark, told, now = numbers.mark(session, session_id), None, time.monotonic()
        heard = said = False
        if numbers.is_overtaken(session, session_id):  # perhaps by an answer, whose event is to come here, too
            sequence.answered(mark, now)

        def shown(change):
            return session is not None and not self._mirror.would_change(session, change.value)

        for other, events in itertools.groupby(changes, lambda change: change if type(change) is Told else None):
            if other is None:
                step = sequence.hear(mark, events, shown, now)
            elif other.kind == "wake":
                step = sequence.wake(mark, shown, now)
            else:
                step = sequence.history(mark, other.value, shown, now)
            for change in step.apply:
                if change.kind == "deleted":
                    if told:
                        self._mirror.save(transaction, session, told)
                    self._mirror.erase(transaction, session_id)
                    numbers.forget(session_id)
                    return False
                if change.kind in TRANSCRIPT:
                    if change.kind == "message" and self._begins(change.value):
                        self._message_began(session)
                    events = session and self._transcript.record(transaction, session, change)
                    if events is not None:
                        said, told = True, told or []
                        told += events if events != told[-1:] else ()
                elif change.kind in WHOLE and session is None:
                    heard = True
                    session = self._mirror.found(transaction, change.value, change.seq, self._unknown(change))
                    if session is None:  # somebody else makes it
                        sequence.hold(step.apply)
                        numbers.keep(None, session_id, sequence, mark)
                        return False
                elif change.kind in WHOLE:
                    heard = True
                    events = self._mirror.bring(transaction, session, change.value, change.seq)
                    if events is not None:
                        told = told or []
                        told += events
            mark = step.mark
            is_missing = other is not None and other.kind != "wake" and other.value is None
            if session is not None and (step.read or is_missing):
                self._transcript.lose(transaction, session)
            self._follow(session_id, step, now, other is None or other.kind != "missing")
        # With what was said its number is stored: so nobody records it again, here or in another process.
        if session is not None and (said or _lags(session.remote_seq, mark)):
            session.remote_seq = mark
            told = told or []
        if told is not None:  # however many events there were, it is stored once
            self._mirror.save(transaction, session, told)
        numbers.keep(session, session_id, sequence, mark)
        return heard

    def _follow(self, session_id, step, now, read):
        """Have done what a step asks for besides."""
        if step.ask is not None:
            self.asked[session_id] = step.ask
            self._jobs.add("history")
        if step.wake is not None:
            self._jobs.add("wake", session_id, step.wake - now)
        if step.read and read:
            self._jobs.add("reread", session_id)


def _tell(hearers, change):
    hear = hearers.get(change.kind)
    if hear is not None:
        hear(change)


def _lags(recorded, mark):
    """Return whether a record is to be stored for its mark alone."""
    if recorded is None or mark is None:
        return recorded != mark
    return last(mark) - last(recorded) > LAG
