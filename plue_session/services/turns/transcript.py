"""What was said, in the store: recorded as the server tells it, and read from it where it was not heard.

Events and answers go through one merge (rules/transcripts.py) and change only what differs, so of all processes on a
store that hear the same the first one records it, and tells of it. A session that was made here has a whole transcript
from its first message on; of another one the newest page is read when somebody asks for it, and older ones then.
"""

from plue_session.rules import transcripts
from plue_session.services.sync.memory import remember
from plue_session.services.turns.recorder import Recorder, counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Server, Store

#: The kinds of changes that tell of a transcript.
KINDS = frozenset(("message", "part", "message.removed", "part.removed"))
#: Messages that are read at a time.
PAGE = 100


class Transcript(Recorder):
    """Thread-safe."""

    def __init__(self, server: "Server", writer, store: "Store", link, jobs):
        super().__init__()
        self._server, self._writer, self._store, self._link, self._jobs = server, writer, store, link, jobs
        # how often the stream has begun without telling what was missed; session id: when the newest was last read
        self._connection, self._read_in = 0, {}

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
            told.append(counted(session))
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
