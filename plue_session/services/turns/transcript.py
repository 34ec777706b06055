"""What was said, in the store: recorded as the server tells it, and read from it where it was not heard.

Events and answers go through one merge (rules/transcripts.py) and change only what differs, so of all processes on a
store that hear the same the first one records it, and tells of it. A session that was made here has a whole transcript
from its first message on; of another one the newest page is read when somebody asks for it, and older ones then.
"""

from plue_session.model import Part
from plue_session.rules import outcomes, transcripts
from plue_session.rules.jsontext import dumps
from plue_session.services.sync.memory import remember

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Server, Store

#: The kinds of changes that tell of a transcript.
KINDS = frozenset(("message", "part", "message.removed", "part.removed"))
#: Parts that mark the steps of a turn, which are told as its activity: nothing is said in them.
STEPS = frozenset(("step-start", "step-finish", "snapshot"))
#: Messages that are read at a time.
PAGE = 100


class Transcript:
    """Thread-safe. A change of a transcript is made within one of its session's: `record`, `close`."""

    def __init__(self, server: "Server", writer, store: "Store", link, jobs):
        self._server, self._writer, self._store, self._link, self._jobs = server, writer, store, link, jobs
        # how often the stream has begun without telling what was missed; session id: when the newest was last read
        self._connection, self._read_in = 0, {}
        #: what was heard of a message's parts that grow, `{part id: part as callers get it}`; set by whoever hears it
        self.heard = lambda message_id: {}
        #: called before a message of the model's is recorded that begins, with (transaction, session, message): the
        #: events to be told before it. Set by whoever keeps the turns
        self.begins = lambda transaction, session, said: []

    # -- what is heard -------------------------------------------------------------------------------------------------
    def record(self, transaction, session, change):
        """Record what the server has told of a session's transcript. Return the events that tell of it, for the
        session to be saved with; None: it changes nothing."""
        told: list = []
        count, take = session.message_count, _TAKES[change.kind]
        if not take(self, transaction, session, change.value, told, True):
            return None
        if self._is_copied(transaction.store, session, change):
            return [] if session.message_count == count else [_counted(session)]
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
        """Note that something may have been said that was not heard: the newest messages are to be read."""
        row = transcripts.Extent(transaction.store.transcript(session.number), _is_ours(session)).lost(session.number)
        if row is not None:
            transaction.store.keep_transcript(row)
            self._jobs.add("transcript", session.id)

    # -- reading -------------------------------------------------------------------------------------------------------
    def read(self, session, call, limit=PAGE, before=None):
        """Read the newest messages from the server, or those before a cursor of its, and record them; return `(page,
        cursor)` as `Server.messages` does."""
        since, connection = self._writer.published, self._connection
        newest = self._store.read_messages(session.id, 1, parts=False)
        place = transcripts.place(newest[0][0]) if newest else None
        with self._link.asking():
            page, cursor = self._server.messages(session.id, call, session.directory, limit=limit, before=before)
        self._writer.run(
            lambda transaction: self._record_page(transaction, session.id, page, before, cursor, since, place), call
        )
        if before is None:
            remember(self._read_in, session.id, connection)
        return page, cursor

    def older(self, session, call, limit=PAGE):
        """Read from the server what is missed of a session: the newest messages, or those before the oldest from which
        on nothing is missing."""
        before = None if self.is_behind(session) else self.extent(session).cursor
        self.read(session, call, limit, before)

    def catch_up(self, session_id, call):
        """Read what was said and not heard, if anything may have been. The work of a job."""
        self._writer.run(lambda transaction: None, call)  # who has asked for it may be yet to commit why
        session = self._store.read(session_id)
        if session is not None and self.is_behind(session):
            self.read(session, call)

    def extent(self, session):
        """Return how much of a session's transcript is in the store (rules/transcripts.py)."""
        return transcripts.Extent(self._store.read_transcript(session.id), _is_ours(session))

    def is_behind(self, session):
        """Return whether something newer than what is known may have been said."""
        return self.extent(session).is_behind or not (
            self._server.numbered and not self._link.is_deaf or self._read_in.get(session.id) == self._connection
        )

    def asked(self, session):
        """Hear that somebody asks for what is newest: where nothing tells of that, it is to be read each time."""
        if self._link.is_deaf:
            self._read_in.pop(session.id, None)

    def missed(self, session_ids):
        """Hear that the event stream begins, and what was said before it is not told: that is read of these sessions
        soon, of others when they are asked for."""
        self._connection += 1
        for session_id in session_ids:
            self._jobs.add("transcript", session_id)

    def _record_page(self, transaction, session_id, page, before, cursor, since, place):
        """Record a page. Told are changes of what was known, and messages newer than `place`, which none of those was;
        what was said before that is shown to those who ask for it."""
        session, store = transaction.load(session_id), transaction.store
        count, told, changed, is_newer = session.message_count, [], False, session.rev <= since
        first = 0 if _is_ours(session) else _running(page)
        for at, (said, parts) in enumerate(page):
            is_news = at >= first if place is None else transcripts.place(said) > place
            changed |= self._take(transaction, session, said, parts, told, is_newer, is_news)
        row = transcripts.Extent(store.transcript(session.number), _is_ours(session)).read(
            session.number, before, transcripts.place(page[0][0]) if page else None, cursor, place
        )
        if row is not None:
            store.keep_transcript(row)
        if session.message_count != count and not told:
            told.append(_counted(session))
        if told:
            transaction.save_told(session, told)
        elif changed:
            store.save(session)

    def _take(self, transaction, session, said, parts, told, is_newer, is_news):
        """Record one message of a page; return whether that changes anything. Unless it `is_news`, a message that was
        not known is not told of."""
        changed = False
        if transaction.store.message(session.number, said.id) is None:
            told = told if is_news else []
            begun = said._replace(completed=None, failure=None, ended=False) if is_news else said
            changed = self._message(transaction, session, begun, told, is_newer, is_news)
        for part in parts:
            changed |= self._part(transaction, session, part, told, is_newer)
        return self._message(transaction, session, said, told, is_newer) or changed

    # -- recording -----------------------------------------------------------------------------------------------------
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
        told.append(_counted(session))
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
    "message": Transcript._message,
    "part": Transcript._part,
    "message.removed": Transcript._message_removed,
    "part.removed": Transcript._part_removed,
}


def _counted(session):
    """Return the event that tells that a session has more messages, or fewer, than before."""
    return "session.updated", {"id": session.id, "fields": ["messageCount"]}


def _is_ours(session):
    """Return whether a session was made here, so that all that was said in it was heard."""
    return not session.imported and not session.is_fork


def _running(page):
    """Return where in a page the turn begins that goes on; its length if none does."""
    if not page:
        return 0
    last = page[-1][0]
    if last.ended:
        return len(page)
    asked = last.id if last.role == "user" else last.parent_id
    return next(at for at, (said, _) in enumerate(page) if asked in (said.id, said.parent_id))
