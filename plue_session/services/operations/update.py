"""Changing what a session is: its title, what a patch may set, its provider and model."""

from plue_session.errors import Conflict, InUse, NotFound
from plue_session.model.outgoing import CONFLICT
from plue_session.rules import merge, outbox, patches
from plue_session.rules.jsontext import dumps, loads, quote
from plue_session.services.operations import Operation, unlocked
from plue_session.services.outgoing import withdraw
from plue_session.services.sync.jobs import INTENT, postpone

#: Fields of a patch that the server keeps as well.
SHARED_FIELDS = ("title", "metadata", "archived")


class Update(Operation):
    """Applies a patch, as `rules.patches.parse_patch` gives it. The server gets of it only what it keeps (P-121)."""

    is_queued = True

    def __init__(self, on, session, patch):
        self.on, self.session, self.patch = on, session, patch

    def preview(self, transaction):
        session, patch = transaction.load(self.session), self.patch
        if patches.apply_patch(session, patch, transaction.now):
            data = {"id": session.id}
            if "title" in patch:
                data["title"] = session.title
            transaction.save(session, "session.updated", data)
        return session

    # -- while the server is away --------------------------------------------------------------------------------------
    def queue(self, transaction, sent):
        """`base` is compared with what shows here now, and with what the server has when it is told."""
        session, patch, now = transaction.load(self.session), self.patch, transaction.now
        if not self._sets(session):
            return session
        conflicts = outbox.has_conflicts(session)
        base = outbox.before(session, patch, transaction.store.outgoing(session.id) if conflicts else ())
        own = {name: value for name, value in patch.items() if name not in (*SHARED_FIELDS, "base")}
        patches.apply_patch(session, own, now)
        if any(name in patch for name in SHARED_FIELDS):
            asked = {
                "patch": patch,
                "at": now,
                "own": {name: getattr(session, name) for name in outbox.OWN if name in base},
            }
            outbox.add(session, self.put(transaction, "update", session.id, sent, asked, base))
        if conflicts:
            self._settle(transaction)
            outbox.uncover(session)
            outbox.cover(session, transaction.store.outgoing(session.id))
        data = {"id": session.id}
        if "title" in patch:
            data["title"] = session.title
        transaction.save(session, "session.updated", data)
        return session

    def _sets(self, session):
        """Return whether the patch sets anything; `CONFLICT` when its `base` does not hold. Of fields in conflict a
        caller may have seen what the server has."""
        try:
            return patches.apply_patch(session.copy(), self.patch, 0)
        except Conflict:
            if not outbox.has_conflicts(session):
                raise
        there = session.copy()
        outbox.uncover(there)
        return patches.apply_patch(there, self.patch, 0)

    def _settle(self, transaction):
        """Forget the changes in conflict that this one settles, and of others what it replaces."""
        for row in transaction.store.outgoing(self.session):
            if row.state == CONFLICT and outbox.settle(self.patch, row):
                transaction.store.drop_outgoing(row.id)
            elif row.state == CONFLICT:
                transaction.store.keep_outgoing(row)

    # -- its intent ----------------------------------------------------------------------------------------------------
    def has_intent(self):
        """Only where the server's answer tells all that is to be recorded: that a title over an automatic one is
        defended, it does not tell."""
        patch, is_defended = self.patch, self.was_automatic and "title" in self.patch
        return self.known.outbox is None and not is_defended and not patch.keys() - {"base", *SHARED_FIELDS}

    def intend(self, transaction):
        """A title of ours is no title of the server's, though it is found there (see `Mirror`)."""
        asked = {"title": self.patch["title"]} if "title" in self.patch else {}
        return postpone(transaction, INTENT, self.session, dumps(asked))

    # -- with a server -------------------------------------------------------------------------------------------------
    def check(self, call):
        """`base` is compared with what the server has now (O-024): `CONFLICT` comes before anything is sent."""
        on, patch = self.on, self.patch
        self.known = session = on.read(self.session)
        self.was_automatic = on.server.is_automatic(session.title)
        if "base" in patch:
            with on.link.asking(session.id):
                since, found = on.mirror.now(), on.server.get(session.id, call, directory=session.directory)
            self.known = session = on.mirror.take(found, since, call)
            if not self._sets(session):
                self.patch = {}
        self.now = on.writer.clock()
        self.sent = {name: self.patch[name] for name in SHARED_FIELDS if name in self.patch}
        if "metadata" in self.sent:
            self.sent.update(metadata=loads(patch["metadata"]), token=session.token)
        if "archived" in self.sent:
            self.sent["archived"] = (session.archived or self.now) if patch["archived"] else None
        return bool(self.sent)

    def send(self, call):
        """OpenCode: PATCH /session/{id}."""
        return self.on.server.update(self.session, call, directory=self.known.directory, **self.sent)

    def record(self, transaction, answer):
        session, patch = transaction.load(self.session), self.patch
        if answer is not None and self.is_overtaken(session, answer):
            answer, patch = None, {name: value for name, value in patch.items() if name not in SHARED_FIELDS}
        if not patch.keys() - {"base"}:
            return session
        covered = session.outbox is not None
        told, before = session.title, shown(session) if session.rev != self.known.rev else None
        if covered:
            self._settle(transaction)
        if covered and answer is None:
            outbox.uncover(session)
            outbox.cover(session, transaction.store.outgoing(session.id))
        # A title over one that is defended is defended since that one: a turn that began in between found no automatic
        # title.
        defended = session.title_defended_at
        if not merge.is_defended(session, transaction.now):
            defended = transaction.now if self.was_automatic else None
        if "title" in patch:
            session.title_defended_at = None
        told_too = answer is not None and self.on.mirror.bring(transaction, session, answer) or ()
        patches.apply_patch(session, {name: value for name, value in patch.items() if name != "base"}, self.now)
        if "archived" in patch:
            session.archived = self.sent["archived"]
        data = {"id": session.id}
        if "title" in patch:
            session.title_defended_at = defended
        if "title" in patch or session.title != told:  # the answer may hold another client's
            data["title"] = session.title
        if before == shown(session):  # another process on the store has recorded it meanwhile, and told
            transaction.store.save(session)
        else:
            transaction.save(session, "session.updated", data)
        for kind, data in told_too:
            if kind != "session.updated":  # ours tells of that
                transaction.save(session, kind, data)
        return session


class Initialize(Operation):
    """Binds provider and model to a session. The binding is ours: the server is asked whether it can run them, and
    writes nothing (P-014). The same pair again is fine; another one is `CONFLICT`."""

    def __init__(self, on, session, provider_id, model_id):
        super().__init__(on, session)
        self.pair = provider_id, model_id

    def preview(self, transaction):
        session = transaction.load(self.session)
        if self._is_free(session):
            session.provider_id, session.model_id = self.pair
            transaction.save(session, "session.updated", {"id": session.id})

    def locks(self, call):
        return unlocked()

    def check(self, call):
        return self._is_free(self.on.read(self.session))

    def asks_unmade(self):
        return True

    def send(self, call):
        """OpenCode: GET /config/providers."""
        self.on.server.check_provider(*self.pair, call)

    def _is_free(self, session):
        """Return whether the session is bound to no pair yet; False if to this one, `CONFLICT` if to another."""
        bound = session.provider_id, session.model_id
        if session.provider_id is not None and bound != self.pair:
            raise Conflict(
                f"the session is bound to {'/'.join(bound)}, not {'/'.join(self.pair)}",
                "Create another session for the other pair.",
                session=session.id,
            )
        return session.provider_id is None


def shown(session):
    """Return what a patch can change of a session."""
    return session.title, session.description, list(session.tags), session.metadata, session.archived


class Discard(Operation):
    """Drops a change that waits for the server, or is in conflict, and what it shows."""

    def __init__(self, on, session, name):
        super().__init__(on, session)
        self.name = name

    def preview(self, transaction):
        on = self.on
        session_id = on.resolve(self.session)
        transaction.load(session_id)
        row = next((row for row in transaction.store.outgoing(session_id) if row.name == self.name), None)
        if row is None:
            raise NotFound(
                f"no change {quote(self.name)} of the session waits",
                "plue_session_sync_status() lists those that do.",
                session=session_id,
            )
        if on.outbox.is_sending(row):
            raise InUse(
                "the change is just being sent", "Wait for its end; it may be done by then.", session=session_id
            )
        withdraw(on, transaction, row)
