"""What the store knows of the sessions of a server that the library would have to start: it stays as it is."""

import contextlib
import json
import os

from plue_session import errors
from plue_session.adapters.memory import MemoryStore
from plue_session.adapters.sqlite.store import SqliteStore
from plue_session.cli.host import Failure
from plue_session.rules import ids, outbox, parameters, queries, relay
from plue_session.rules.info import stale
from plue_session.rules.scopes import scope_of


class Known:
    """Reads sessions as a `Host` does."""

    def __init__(self, store):
        self._store = store

    def page(self, query):
        """Return a page of matching sessions."""
        parsed = queries.parse_query(query)
        infos, after = self._store.page(parsed)
        page = {"sessions": [json.loads(stale(info)) for info in infos]}
        return {**page, "nextCursor": queries.render_cursor(parsed, after)} if after else page

    def pending(self):
        """Return what waits for the server and what is in conflict, as `plue_session_sync_status` does."""
        return outbox.listed(self._store.all_outgoing(outbox.MOST))

    def attached(self):
        """Return what is attached to sessions, as the metrics tell that."""
        store = self._store
        return [
            relay.shown(session_id, each, each.owner is None or not store.is_owner_alive(each.owner))
            for session_id, each in store.read_attachments()
        ]

    def info(self, id_or_key):
        """Return a session's info as JSON."""
        name = parameters.id_or_key(id_or_key, "")
        session_id = (self._store.id_of_alias(name) or name) if ids.is_id(name) else self._store.id_of_key(name)
        found = session_id and self._store.info(session_id)
        if not found:
            raise errors.NotFound("the store knows no such session", "Ask the server: --fresh starts it.")
        return stale(found[1])


@contextlib.contextmanager
def known(settings):
    """Open the store for the sessions of the server that `settings` would have started."""
    scope = scope_of(settings.backend, os.environ)
    try:
        store = MemoryStore(scope) if settings.store == "memory" else SqliteStore(settings.data_dir, scope)
        with contextlib.closing(store):
            yield Known(store)
    except errors.PlueError as error:
        raise Failure.of(error) from None
