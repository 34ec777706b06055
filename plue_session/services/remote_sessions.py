"""Sessions that live on a server: the server first, then one commit, and only then the world.

The functions are those of `sessions.Sessions`, each for one call of a host's (its deadline, its right to go on). What
the server refuses changes nothing here.
"""

from plue_session import errors
from plue_session.rules import ids, info, merge, patches
from plue_session.rules.jsontext import loads
from plue_session.services import descendants
from plue_session.services.remote_making import Making
from plue_session.services.sessions import check_room, is_free

#: Fields of a patch that the server keeps as well.
SHARED_FIELDS = ("title", "metadata", "archived")


class RemoteSessions(Making):
    """The sessions of `remote`, for one `call`; None for what needs no server."""

    # -- making, by itself in `Making` ------------------------------------------------------------------------------
    def fork(self, session_id, message_id=None):
        """Copy the session up to a message (all of it when None); the copy's parent is the session (P-049)."""
        remote = self._remote
        source = remote.read(session_id)
        if remote.limit is not None:
            self._writer.run(lambda transaction: check_room(transaction.store, remote.limit, None, None))
        with remote.link.asking(session_id), remote.session_locks.expect(source.token):
            made = self._server.fork(session_id, **self._way, directory=source.directory, message_id=message_id)

            def record(transaction):
                session = transaction.store.load(made.id)
                known = session is not None
                if not known:
                    session = self._mirror.adopted(transaction, made)
                session.token, session.parent_id, session.is_fork, session.imported = None, session_id, True, False
                if known:
                    transaction.save(session, "session.updated", {"id": session.id})
                else:
                    self._mirror.insert(transaction, session)
                self._call.made(session)
                return session

            session = self._writer.run(record)
        self._mirror.refreshed(session.id)
        return session

    # -- finding ---------------------------------------------------------------------------------------------------
    def open(self, id_or_key):
        """Return the session with this id or key. An id that is not known here is asked for, wherever its directory is
        (O-023)."""
        remote = self._remote
        if not ids.is_id(id_or_key):
            return remote.local.open(id_or_key)
        if remote.store.info(id_or_key) is not None:
            return id_or_key
        if self._mirror.has_ended(id_or_key):
            raise errors.gone(id_or_key)
        since = self._mirror.now()
        with remote.link.asking():
            found = self._server.get(id_or_key, **self._way)
        return self._mirror.take(found, since)

    def get_info(self, session_id):
        """Ask the server for the session, record what it says, and return the info. Away: what was last known,
        "stale"."""
        remote = self._remote
        known = remote.read(session_id)
        if remote.answers_stale and not remote.link.connected:
            return self._stale(known)
        since = self._mirror.now()
        try:
            with remote.link.asking():
                found = self._server.get(session_id, **self._way, directory=known.directory)
        except errors.NotFound:
            remote.sync.missing(session_id)
            raise errors.gone(session_id) from None
        except (errors.Connection, errors.Timeout):
            if not remote.answers_stale:
                raise
            return self._stale(known)
        if remote.session_locks.is_held(session_id):  # a change of ours is on its way: its answer is the newer one
            return remote.read(session_id).info
        return self._mirror.take(found, since).info

    def _stale(self, known):
        self._remote.link.answered_stale()
        return info.stale(known.info)

    def list(self):
        """Return the infos of all sessions, after a look at the server's. Away: what was last known."""
        remote, shown = self._remote, info.stale
        if remote.link.connected or not remote.answers_stale:
            try:
                with remote.link.asking():
                    remote.sync.list(self._call.deadline, self._call.cancel)
                shown = None
            except (errors.Connection, errors.Timeout):
                if not remote.answers_stale:
                    raise
        if shown:
            remote.link.answered_stale()
        with remote.listing:
            return remote.store.infos_apart() if shown is None else remote.local.list(shown)

    def query(self, query):
        """Return a page of matching sessions, as the store knows them."""
        if not (connected := self._remote.link.connected):
            self._remote.link.answered_stale()
        return self._remote.local.query(query, None if connected else info.stale)

    def count(self, query):
        """Return how many sessions match, as the store knows them."""
        return self._remote.local.count(query)

    # -- changing --------------------------------------------------------------------------------------------------
    def update_title(self, session_id, title):
        """Set the title, here and on the server: it alone is sent (P-121)."""
        self._change(session_id, {"title": title})

    def update(self, session_id, patch):
        """Apply a patch; the server gets of it what it keeps. `base` is compared with what the server has now
        (O-024)."""
        if patch:
            self._change(session_id, patch)
        else:
            self._remote.read(session_id)

    def _change(self, session_id, patch):
        remote = self._remote
        with remote.session_locks.hold(session_id, self._call):
            session = as_read = remote.read(session_id)
            was_automatic = self._server.is_automatic(session.title)
            if "base" in patch:
                with remote.link.asking(session_id):
                    session = as_read = self._mirror.take(
                        self._server.get(session_id, **self._way, directory=session.directory)
                    )
                if not patches.apply_patch(session.copy(), patch, 0):  # CONFLICT comes before anything is sent
                    return
            now = self._writer.clock()
            sent = {name: patch[name] for name in SHARED_FIELDS if name in patch}
            if "metadata" in sent:
                sent.update(metadata=loads(patch["metadata"]), token=session.token)
            if "archived" in sent:
                sent["archived"] = (session.archived or now) if patch["archived"] else None
            answer = None
            if sent:
                with remote.link.asking(session_id):
                    answer = self._server.update(session_id, **self._way, directory=session.directory, **sent)

            def change(transaction):
                session = transaction.load(session_id)
                told, before = session.title, _shown(session) if session.rev != as_read.rev else None
                # Over one that is being defended: since then, for a turn that began meanwhile found no automatic title.
                title_defended_at = (
                    session.title_defended_at
                    if merge.is_defended(session, transaction.now)
                    else transaction.now
                    if was_automatic
                    else None
                )
                if "title" in patch:
                    session.title_defended_at = None
                if answer is not None:
                    for kind, data in self._mirror.bring(transaction, session, answer):
                        if kind != "session.updated":  # ours tells of the rest
                            transaction.save(session, kind, data)
                patches.apply_patch(session, {name: value for name, value in patch.items() if name != "base"}, now)
                if "archived" in sent:
                    session.archived = sent["archived"]
                data = {"id": session_id}
                if "title" in patch:
                    session.title_defended_at = title_defended_at
                if "title" in patch or session.title != told:  # the answer may hold another client's
                    data["title"] = session.title
                if before == _shown(session):  # another process on the store has heard of it meanwhile, and told
                    transaction.store.save(session)
                else:
                    transaction.save(session, "session.updated", data)
                return session

            changed = self._writer.run(change)
            if answer is not None:
                self._mirror.recorded(answer, changed)

    def initialize(self, session_id, provider_id, model_id):
        """Bind provider and model to the session, if the server can run them. The binding is ours: nothing is written
        there (P-014)."""
        if is_free(self._remote.read(session_id), provider_id, model_id):
            with self._remote.link.asking():
                self._server.check_provider(provider_id, model_id, **self._way)
            self._remote.local.initialize(session_id, provider_id, model_id)

    # -- ending ----------------------------------------------------------------------------------------------------
    def abort(self, session_id):
        """Set the flag, end the calls that are blocked on the session, and end its turn; returns after the turn's own
        end (T-01)."""
        remote = self._remote
        session = remote.read(session_id)
        remote.calls.begin_abort(session_id)
        try:
            remote.local.abort(session_id)
            seen = []
            with remote.link.asking(session_id):
                try:  # nothing is asked before it: whatever that met, the turn would run on
                    self._server.abort(session_id, **self._way, directory=session.directory, seen=seen.append)
                finally:  # a turn that may run on is no new one
                    remote.follow_ups.mark_abort(
                        session_id, **self._way, directory=session.directory, mark=seen[0] if seen else None
                    )
        finally:
            remote.calls.end_abort(session_id)

    def abort_turn(self, session_id, turn_id):
        """End the turn that this message of the user's began, if it runs; another turn is not touched."""
        session = self._remote.read(session_id)
        with self._remote.link.asking(session_id):
            self._server.abort(session_id, **self._way, directory=session.directory, turn_id=turn_id)

    def delete(self, session_id):
        """End what runs, delete on the server, then erase the session and its descendants in one commit (P-146)."""
        remote = self._remote
        session = remote.read(session_id)
        family = descendants.members(remote.store.read_children, session_id)
        elsewhere = {member.directory for each in family[1:] if (member := remote.store.read(each))} - {
            session.directory,
            None,
        }
        with remote.session_locks.hold(session_id, self._call, family):
            try:
                with remote.link.asking():
                    self._server.delete(
                        session_id, **self._way, directory=session.directory, elsewhere=sorted(elsewhere)
                    )
                self._mirror.end(session_id)
            except errors.NotFound:  # another client was faster: here too it is no more
                remote.sync.missing(session_id)
                raise errors.gone(session_id) from None
            except errors.PlueError:
                for member in family:  # what became of them is asked for, not guessed
                    remote.jobs.add("reread", member)
                raise


def _shown(session):
    """Return what a patch can change of a session."""
    return session.title, session.description, list(session.tags), session.metadata, session.archived
