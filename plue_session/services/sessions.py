"""Sessions: what changes them is an operation, to be run by whoever has the backend's executor; the rest is read here.

What comes in has passed rules/parameters.py.
"""

from plue_session.errors import NotFound, Unsupported, gone
from plue_session.model import Query
from plue_session.model.attachment import ACP
from plue_session.rules import ids, queries
from plue_session.rules.jsontext import quote
from plue_session.services.operations.create import Create, GetOrCreate
from plue_session.services.operations.end import Abort, Delete
from plue_session.services.operations.share import Share, Unshare
from plue_session.services.operations.update import Discard, Initialize, Update

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.services.backend import Backend

#: More sessions than a store has.
EVERYTHING = 1 << 40


class Sessions:
    """The sessions of one backend. Thread-safe."""

    def __init__(self, on: "Backend"):
        self._on, self._store = on, on.store

    # -- changing ------------------------------------------------------------------------------------------------------
    def create(self, parent_id=None):
        """Create a session, a child of `parent_id` unless that is None. Unknown parent: `NOT_FOUND`."""
        return Create(self._on, {} if parent_id is None else {"parent_id": parent_id})

    def create_with(self, fields):
        """Create a session with these fields. A taken key or live role is `ALREADY_EXISTS` naming its session."""
        if "agent" in fields:
            return self._on.agents.create_with(fields)
        return Create(self._on, fields)

    def get_or_create(self, key):
        """Return the session with this key, created if there is none."""
        return GetOrCreate(self._on, key)

    def update_title(self, session_id, title):
        """Set the title; any text is one, also an empty one."""
        return Update(self._on, session_id, {"title": title})

    def update(self, session_id, patch):
        """Apply a patch (rules/patches.py); `CONFLICT` when its `base` no longer holds. An empty one changes
        nothing."""
        return Update(self._on, session_id, patch)

    def initialize(self, session_id, provider_id, model_id):
        """Bind provider and model to the session."""
        return Initialize(self._on, session_id, provider_id, model_id)

    def abort(self, session_id):
        """Set the abort flag, and end what runs."""
        return Abort(self._on, session_id)

    def delete(self, session_id):
        """Erase the session and its descendants."""
        return Delete(self._on, session_id)

    def create_share(self, session_id):
        """Share the session."""
        return Share(self._on, session_id)

    def discard_pending(self, session_id, name):
        """Drop a change that waits for the server, or is in conflict."""
        return Discard(self._on, session_id, name)

    def unshare(self, session_id):
        """End the session's share."""
        return Unshare(self._on, session_id)

    def fork(self, session_id, message_id=None):
        """A transcript is the server's: `UNSUPPORTED`."""
        self._known(session_id)
        raise Unsupported(
            "the embedded backend has no transcript to fork",
            "Use the backend opencode, or create a session.",
            session=session_id,
        )

    def abort_turn(self, session_id, turn_id):
        """End one turn, if it runs: an agent's does here, any other is over."""
        session = self._on.known(session_id)
        return self._on.turns.abort_turn(session_id, turn_id) if session.relay_agent == ACP else None

    # -- reading -------------------------------------------------------------------------------------------------------
    def open(self, id_or_key):
        """Return the id of the existing session with this id or key. What begins like an id is an id."""
        if ids.is_id(id_or_key):
            return self._on.named(id_or_key, self._open)
        session_id = self._store.id_of_key(id_or_key)
        if session_id is None:
            raise NotFound(
                f"no session has the key {quote(id_or_key)}", "Create it, or list the sessions to see what there is."
            )
        return session_id

    def _open(self, session_id):
        self._info(session_id)
        return session_id

    def resolve(self, session_id):
        """Return the id that the session has by now."""
        return self._on.resolve(session_id)

    def get_info(self, session_id):
        """Return the session's info as JSON."""
        return self._known(session_id)[1]

    def _known(self, session_id):
        """Return `(rev, info)`, or fail with NOT_FOUND."""
        return self._on.named(session_id, self._info)

    def _info(self, session_id):
        found = self._store.info(session_id)
        if found is None:
            raise gone(session_id)
        return found

    def list(self, shown=None):
        """Return the info of every session, with commas between them, in UTF-8; `shown(info)`, if given, is how each is
        shown."""
        if shown is None:
            return self._store.infos()
        infos, _ = self._store.page(Query(sort="created", limit=EVERYTHING))
        return ",".join(map(shown, infos)).encode("utf-8", "replace")

    def query(self, query, shown=None):
        """Return a page of matching sessions: `{"sessions":[…],"nextCursor"?}`; the last page has no cursor. `shown` as
        for `list`."""
        infos, after = self._of_parent(query, self._store.page)
        texts = infos if shown is None else map(shown, infos)
        following = f',"nextCursor":{quote(queries.render_cursor(query, after))}' if after else ""
        return f'{{"sessions":[{",".join(texts)}]{following}}}'

    def count(self, query):
        """Return how many sessions match; takes what `query` takes, of which sort, limit and cursor do not matter."""
        return self._of_parent(query, self._store.count)

    def _of_parent(self, query, read):
        """Return what `read(query)` returns, a query for the children of a parent by the id that this has."""

        def ask(parent_id):
            asked = query
            if parent_id != query.parent_id:
                asked = query.copy()
                asked.parent_id = parent_id
            return read(asked)

        return self._on.named(query.parent_id, ask)
