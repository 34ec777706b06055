"""What was said, as callers read it: pages of messages, and what they have used."""

from functools import partial

from plue_session import errors
from plue_session.rules import ids, transcripts
from plue_session.rules.jsontext import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.services.backend import Backend


class Messages:
    """Thread-safe."""

    def __init__(self, on: "Backend"):
        self._on, self._store = on, on.store

    def page(self, session_id, query):
        """Return a page, `{"messages":[…],"nextCursor"?}`; `query` as rules/transcripts.py reads it."""
        return self._on.named(session_id, lambda now: self._page(self._on.read(now), query))

    def _page(self, session, query):
        found, more = self._stored(session, query)
        return self._text(found, more, query)

    def usage(self, session_id):
        """Return what the messages that are known have used."""
        return self._on.named(session_id, self._usage)

    def _usage(self, session_id):
        return transcripts.render_usage(self._store.read_usage(self._on.read(session_id).id))

    def of_turn(self, session_id, turn_id):
        """Return the messages of a turn and what they have used, both as JSON."""
        found = self._on.named(session_id, lambda now: self._store.read_turn_messages(now, turn_id))
        return transcripts.render_turn(found)

    def _stored(self, session, query):
        """Return the page as it is in the store, and whether there is an older one."""
        limit, cursor, parts = query
        before = None if cursor is None else transcripts.parse_cursor(cursor, session.number)
        found = self._store.read_messages(session.id, limit, before, parts)
        return found, len(found) == limit and bool(
            self._store.read_messages(session.id, 1, transcripts.place(found[0][0]), False)
        )

    @staticmethod
    def _text(found, more, query):
        messages = ",".join([transcripts.render(message, parts if query[2] else None) for message, parts in found])
        after = f',"nextCursor":{quote(transcripts.render_cursor(found[0][0]))}' if more else ""
        return f'{{"messages":[{messages}]{after}}}'


class RemoteMessages(Messages):
    """Of sessions that live on a server: what is not known here is asked for. Thread-safe."""

    def __init__(self, on, transcript):
        super().__init__(on)
        self._transcript = transcript

    def _page(self, session, query):
        """Return a page, or a function of the call that does, if the server is to be asked."""
        if query[1] is None:
            self._transcript.asked(session)
        text = self._local(session, query)
        return partial(self._fetch, session.id, query) if text is None else text

    def _local(self, session, query, is_final=False):
        """Return the page if it can be answered without the server, or as well as that goes (`is_final`); None: it
        cannot be."""
        found, more = self._stored(session, query)
        extent = self._transcript.extent(session)
        if ids.is_given_here(session.id) or extent.is_complete and not self._transcript.is_behind(session):
            return self._text(found, more, query)
        is_newest = query[1] is None
        if is_newest and self._transcript.is_behind(session) and not is_final:
            return None
        if extent.is_complete:
            return self._text(found, more, query)
        since = extent.since
        known = [pair for pair in found if since is not None and transcripts.place(pair[0]) >= since]
        if len(known) == query[0] and known:
            return self._text(known, True, query)
        if not is_final:
            return None
        return self._text(found, True, query) if found else None

    def _fetch(self, session_id, query, call):
        """Ask for messages until the page is whole. Away: what is known, if anything is."""
        on = self._on
        while True:
            session, text = on.named(session_id, lambda now: self._read(on.read(now), query))
            if text is not None:
                return text
            if on.answers_stale and not on.link.connected:
                return self._stale(session, query, None)
            try:
                self._transcript.older(session, call)
            except errors.NotFound:
                on.sync.missing(session.id, call)
                raise errors.gone(session_id) from None
            except (errors.Connection, errors.Timeout) as error:
                if not on.answers_stale:
                    raise
                return self._stale(session, query, error)

    def _read(self, session, query):
        return session, self._local(session, query)

    def _stale(self, session, query, error):
        self._on.link.answered_stale()
        text = self._local(session, query, True)
        if text is None:
            raise error or errors.Connection(
                "the server is away, and these messages are not known here",
                "Try again when it is back; plue_session_sync_status() tells.",
                session=session.id,
            )
        return text
