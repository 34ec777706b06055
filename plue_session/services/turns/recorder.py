"""What was said, recorded: messages and their parts, as whoever tells of them does, and the events that tell of them.

It is learned more than once, by whichever process hears it, and goes through one merge (rules/transcripts.py) that
changes only what differs: the first one records it, and tells of it.
"""

from plue_session.model import Part
from plue_session.rules import outcomes, transcripts
from plue_session.rules.jsontext import dumps

#: Parts that mark the steps of a turn, which are told as its activity: nothing is said in them.
STEPS = frozenset(("step-start", "step-finish", "snapshot"))


class Recorder:
    """Thread-safe. A change of a transcript is made within one of its session's: `record`, `close`."""

    def __init__(self):
        #: what was heard of a message's parts that grow, `{part id: part as callers get it}`; set by whoever hears it
        self.heard = lambda message_id: {}
        #: called before a message of the model's is recorded that begins, with (transaction, session, message): the
        #: events to be told before it. Set by whoever keeps the turns
        self.begins = lambda transaction, session, said: []

    def record(self, transaction, session, change):
        """Record what the server has told of a session's transcript. Return the events that tell of it, for the
        session to be saved with; None: it changes nothing."""
        told: list = []
        count, take = session.message_count, _TAKES[change.kind]
        if not take(self, transaction, session, change.value, told, True):
            return None
        if self._is_copied(transaction.store, session, change):
            return [] if session.message_count == count else [counted(session)]
        return told

    @staticmethod
    def _is_copied(store, session, change):
        """Return whether a fork was given this of its source: what was said before there was the session is not told
        as if it were said now."""
        if change.kind == "message":
            return change.value.created < session.created
        if change.kind != "part":
            return False
        message = store.message(session.number, change.value.message_id)
        return message is not None and message.created < session.created

    def close(self, transaction, session, turn_id, outcome):
        """End what of a turn that is over has no end: its parts keep what was heard of them, its messages say why.
        `outcome` is `(outcome, reason, error)`. Return the events, for the session to be saved with."""
        told: list = []
        for message in transaction.store.messages_of_turn(session.number, turn_id):
            if not transcripts.has_ended(message):
                message.error = dumps(outcome[2] or outcomes.cut_off(outcome[1]))
                self._ended(transaction.store, message, told)
        return told

    def lose(self, transaction, session):
        """Note that something may have been said that was not heard."""

    def _message(self, transaction, session, said, told, is_newer, is_told=True):
        store, number = transaction.store, session.number
        known = store.message(number, said.id)
        new = transcripts.message_of(number, said, self._turn_id(store, number, said))
        if known is None:
            if is_told and said.role == "assistant":
                told += self.begins(transaction, session, said)
                new.turn_id = self._turn_id(store, number, said)
            session.message_count += 1
            store.keep_message(new)
            self._count(store, None, new)
            told.append(("message.created", transcripts.render(new, [])))
            return True
        new = transcripts.merged(known, new, is_newer)
        if new is None:
            return False
        self._count(store, known, new)
        if transcripts.has_ended(new) and not transcripts.has_ended(known):
            self._ended(store, new, told)
        else:
            store.keep_message(new)
            if transcripts.is_shown(known, new):
                told.append(("message.updated", transcripts.render_small(new, store.parts(number, new.id))))
        return True

    def _ended(self, store, message, told):
        """Store a message that has ended, and end its parts with it."""
        heard, parts = self.heard(message.id), store.parts(message.number, message.id)
        known = {part.id for part in parts}
        for part_id, body in heard.items():
            if part_id not in known and body["text"]:
                parts.append(Part(message.number, message.id, part_id, False, dumps(body)))
        for part in parts:
            if not part.finished:
                part.finished, part.body = True, transcripts.closed(part.body, heard.get(part.id))
                store.keep_part(part)
                told.append(("message.part.updated", transcripts.render_part(message, part)))
        store.keep_message(message)
        told.append(("message.updated", transcripts.render_small(message, parts)))

    def _part(self, transaction, session, said, told, is_newer):
        if said.source in STEPS:
            return False
        store, number = transaction.store, session.number
        message = store.message(number, said.message_id)
        if message is None:  # it began before we listened
            self.lose(transaction, session)
            return False
        known = store.part(number, said.message_id, said.id)
        new = transcripts.part_merged(number, known, said, is_newer, transcripts.has_ended(message))
        if new is None:
            return False
        store.keep_part(new)
        if new.finished:
            told.append(("message.part.updated", transcripts.render_part(message, new)))
        return True

    def _message_removed(self, transaction, session, message_id, told, is_newer):
        store, number = transaction.store, session.number
        known = store.message(number, message_id)
        if known is None:
            return False
        store.drop_message(number, message_id)
        self._count(store, known, None)
        session.message_count = max(session.message_count - 1, 0)
        told.append(counted(session))
        return True

    def _part_removed(self, transaction, session, names, told, is_newer):
        store, number = transaction.store, session.number
        message = store.message(number, names[0])
        if message is None or store.part(number, *names) is None:
            return False
        store.drop_part(number, *names)
        told.append(("message.updated", transcripts.render_small(message, store.parts(number, message.id))))
        return True

    @staticmethod
    def _turn_id(store, number, said):
        """Return the id of the turn that a message belongs to: for another client's that of the user's message."""
        asked = said.id if said.role == "user" else said.parent_id
        turn = asked and store.turn_of_message(number, asked)
        return turn.id if turn else asked

    @staticmethod
    def _count(store, before, after):
        """Count what a message has used, and no more what it had before."""
        for message, sign in ((before, -1), (after, 1)):
            if message is not None and message.usage is not None and message.model is not None:
                sums = store.usage_of(message.number, message.model)
                store.keep_usage(message.number, message.model, transcripts.usage_added(sums, message.usage, sign))


_TAKES = {
    "message": Recorder._message,
    "part": Recorder._part,
    "message.removed": Recorder._message_removed,
    "part.removed": Recorder._part_removed,
}


def counted(session):
    """Return the event that tells that a session has more messages, or fewer, than before."""
    return "session.updated", {"id": session.id, "fields": ["messageCount"]}
