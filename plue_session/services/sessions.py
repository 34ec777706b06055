"""Sessions: create, find, change, delete. What comes in has passed rules/parameters.py; nothing half-done is ever
seen."""

from plue_session.errors import AlreadyExists, Conflict, LimitExceeded, NotFound, Unsupported
from plue_session.model import Query, Session
from plue_session.rules import ids, patches, queries, turns
from plue_session.rules.jsontext import quote
from plue_session.services import descendants

#: More sessions than a store has.
EVERYTHING = 1 << 40


class Sessions:
    """The sessions of one store. `version` is the library's, kept in each session it makes. Thread-safe.

    Whatever changes is one change of `writer`: atomic also between processes, told once it is durable.
    """

    def __init__(self, writer, store, sharing, settings, version):
        self._writer = writer
        self._store = store
        self._sharing = sharing
        self._share_auto = settings.share.auto
        self._limit = settings.limits.active_sessions
        self._version = version

    # -- making ----------------------------------------------------------------------------------------------------
    def create(self, parent_id=None):
        """Create a session, a child of `parent_id` unless that is None, and return it. Unknown parent: `NOT_FOUND`."""
        return self._writer.run(lambda transaction: self._insert(transaction, parent_id=parent_id))

    def create_with(self, fields):
        """Create a session with these fields and return it. A taken key or live role is `ALREADY_EXISTS` naming its
        session."""
        return self._writer.run(lambda transaction: self._insert(transaction, **fields))

    def get_or_create(self, key):
        """Return the session with this key, created if there is none; raced, all callers get the same one."""
        return self._writer.run(
            lambda transaction: transaction.store.load_by_key(key) or self._insert(transaction, key=key)
        )

    def _insert(self, transaction, parent_id=None, key=None, role=None, **fields):
        store = transaction.store
        if parent_id is not None and store.load(parent_id) is None:
            raise NotFound(
                f"the parent session {parent_id} does not exist", "Pass the id of an existing session, or none."
            )
        check_room(store, self._limit, key, role)
        number = store.next_number(transaction.now)
        if role is not None:
            fields.update(role=role, relay_state="CREATED", relay_active=transaction.now)
        session = Session(
            number=number,
            id=f"session_{number}",
            key=key,
            parent_id=parent_id,
            version=self._version,
            created=transaction.now,
            updated=transaction.now,
            **fields,
        )
        transaction.insert(
            session, {"id": session.id} if parent_id is None else {"id": session.id, "parentId": parent_id}
        )
        if self._share_auto and parent_id is None:
            self._sharing.share_in(transaction, session)
        return session

    def fork(self, session_id, message_id=None):
        """A transcript is the server's: `UNSUPPORTED`."""
        self._known(session_id)
        raise Unsupported(
            "the embedded backend has no transcript to fork",
            "Use the backend opencode, or create a session.",
            session=session_id,
        )

    # -- finding ---------------------------------------------------------------------------------------------------
    def open(self, id_or_key):
        """Return the id of the existing session with this id or key. What begins like an id is an id."""
        if ids.is_id(id_or_key):
            self._known(id_or_key)
            return id_or_key
        session_id = self._store.id_of_key(id_or_key)
        if session_id is None:
            raise NotFound(f"no session has the key {quote(id_or_key)}", "Use get_or_create to create it.")
        return session_id

    def get_info(self, session_id):
        """Return the session's info as JSON."""
        return self._known(session_id)[1]

    def _known(self, session_id):
        """Return `(rev, info)`, or fail with NOT_FOUND."""
        found = self._store.info(session_id)
        if found is None:
            raise NotFound(
                "the session does not exist, or was deleted",
                "List the sessions to see what there is.",
                session=session_id,
            )
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
        infos, after = self._store.page(query)
        infos = infos if shown is None else map(shown, infos)
        following = f',"nextCursor":{quote(queries.render_cursor(query, after))}' if after else ""
        return f'{{"sessions":[{",".join(infos)}]{following}}}'

    def count(self, query):
        """Return how many sessions match; takes what `query` takes, of which sort, limit and cursor do not matter."""
        return self._store.count(query)

    # -- changing --------------------------------------------------------------------------------------------------
    def update_title(self, session_id, title):
        """Set the title; any text is one, also an empty one."""

        def change(transaction):
            session = transaction.load(session_id)
            session.title = title
            transaction.save(session, "session.updated", {"id": session_id, "title": title})

        self._writer.run(change)

    def update(self, session_id, patch):
        """Apply a patch (rules/patches.py); `CONFLICT` when its `base` no longer holds. An empty one changes
        nothing."""

        def change(transaction):
            session = transaction.load(session_id)
            if patches.apply_patch(session, patch, transaction.now):
                data = {"id": session_id}
                if "title" in patch:
                    data["title"] = session.title
                transaction.save(session, "session.updated", data)

        self._writer.run(change)

    def initialize(self, session_id, provider_id, model_id):
        """Bind provider and model to the session. The same pair again is fine; another one is `CONFLICT`."""

        def change(transaction):
            session = transaction.load(session_id)
            if is_free(session, provider_id, model_id):
                session.provider_id, session.model_id = provider_id, model_id
                transaction.save(session, "session.updated", {"id": session_id})

        self._writer.run(change)

    def abort(self, session_id):
        """Set the abort flag. It clears when the next turn starts; set already, nothing happens."""

        def change(transaction):
            session = transaction.load(session_id)
            session.abort_mark = turns.abort_mark(transaction.now)
            if session.aborted:
                transaction.store.save(session)
            else:
                session.aborted = True
                transaction.save(session, "session.updated", {"id": session_id})

        self._writer.run(change)

    def abort_turn(self, session_id, turn_id):
        """End one turn. None runs here: whichever it was, it is over."""
        self._known(session_id)

    def delete(self, session_id):
        """Erase the session and its descendants, children before parents, with one `session.deleted` each."""

        def change(transaction):
            transaction.load(session_id)
            descendants.erase(transaction, session_id)

        self._writer.run(change)


# -- what any backend asks ---------------------------------------------------------------------------------------------
def check_room(store, limit, key, role):
    """Fail if the key or the live role is taken (`ALREADY_EXISTS` names its session), or the limit reached
    (`LIMIT_EXCEEDED`)."""
    for what, name, find in (("key", key, store.load_by_key), ("role", role, store.load_by_role)):
        holder = name and find(name)
        if holder:
            raise AlreadyExists(
                f"the {what} {quote(name)} belongs to session {holder.id}",
                f"Open that session, or choose another {what}.",
                details={"sessionId": holder.id},
            )
    if limit is not None and store.active_count() >= limit:
        raise LimitExceeded(
            f"limits.activeSessions is {limit}, and so many sessions are active or suspended",
            "Complete, fail or delete one, or raise the limit.",
        )


def is_free(session, provider_id, model_id):
    """Return whether the session is bound to no pair yet, False if to this one; another one is `CONFLICT`."""
    call_context = session.provider_id, session.model_id
    if session.provider_id is not None and call_context != (provider_id, model_id):
        raise Conflict(
            f"the session is bound to {'/'.join(call_context)}, not {provider_id}/{model_id}",
            "Create another session for the other pair.",
            session=session.id,
        )
    return session.provider_id is None
