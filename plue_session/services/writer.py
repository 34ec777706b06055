"""One writer that any thread may join: changes are queued, run in groups, committed once, and only then told.

A change is a function of a `Transaction`. One that fails leaves no trace and does not disturb its neighbours. All of a
group become durable with one commit, and nobody hears of a change before that; but for the caller of an `Early` one
(queued.py), which is recovered should it be lost. Whoever finds the writer idle leads: it writes what is queued, its
own and the others'. A change may run twice (see `_run_all`), so it touches nothing but its transaction, or bears doing
so twice.
"""

import os
from collections import deque

from plue_session.model import EVENT_NUMBER
from plue_session.primitives import allocate_lock
from plue_session.rules import info
from plue_session.services.queued import NOT_WRITTEN, Awaited, Queued
from plue_session.services.transaction import GONE, Transaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Publisher, Store

#: Changes that one group has at most.
GROUP = 256
#: Rows read from the log at a time when another process has written, and characters of them after which no more is.
TAIL_PAGE, TAIL_SIZE = 512, 4 << 20
#: Own events between two trims of the log.
TRIM_EVERY = 256
#: Sessions whose events are counted between trims.
TRIM_SESSIONS = 4096
CREATED = EVENT_NUMBER["session.created"]


class Writer:
    """The writer of one store. Thread-safe.

    `wake()`, when given, has another thread call `lead`, and returns whether it will. A thread that came with a change
    of its own then leaves to that one what others have queued meanwhile.
    """

    def __init__(
        self, store: "Store", publisher: "Publisher", clock, replay_limit=2048, replay_age_ms=120_000, wake=None
    ):
        self.store = store
        self.publisher = publisher
        self.clock = clock
        self._wake = wake
        self._replay, self._many = (replay_limit, replay_age_ms), replay_limit // 8
        self._queue = deque()
        #: add a `Queued` change; call `lead` afterwards
        self.queue = self._queue.append
        self._lock = allocate_lock()  # held by whoever leads
        self._published = self._last = store.log_state()[1]  # `_last`: as of when the last group began
        self._told = 0  # the newest log id that a handle shows: none is given again, should its commit fail
        #: whether other processes may have locked the store
        self.is_waiting = False
        self._operations = 0
        self._process = os.urandom(5).hex()
        self._correlation = f'"correlationId":"{self._process}'
        self._since_trim = 0
        self._missed = False  # what others wrote could not be read: compare every snapshot when it can be
        #: called with rows of the log before they are told; must not fail, nor wait
        self.telling = lambda rows: None
        self._early = []  # of the group: each `Early` change that has run, with its effects
        self._counts, self._busy = {}, set()  # events of a session since its last trim; those with many
        self._hearers = {}  # who hears of an event, by its kind

    @property
    def published(self):
        """The newest log id that was told here."""
        return self._published

    def is_newest(self, session):
        """Return whether nothing was written, and nothing of others told, since the group that has changed this."""
        return session.rev > self._last

    def is_ours(self, row):
        """Return whether a row of the log was written here, not by another process."""
        return self._correlation in row.tail

    def hear(self, kind, hearer):
        """Have `hearer(row)` hear of each event of a kind (its number), a `LogRow`, once it is told, whichever process
        has written it; `hearer(None)`: there may have been some that the log does not tell of any more. A hearer does
        not wait, and does not fail."""
        self._hearers.setdefault(kind, []).append(hearer)

    # -- joining -------------------------------------------------------------------------------------------------------
    def run(self, change, call=None):
        """Have one change written, and return its result once it is durable and told. With a `call`, it waits no longer
        than that for others to unlock the store."""
        (outcome,) = self.run_all([change], call)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def run_later(self, change):
        """Have one change written, and do not wait where others have locked the store. Return it, for its outcome to be
        read once a later change of the caller's has ended."""
        queued = Queued(change)
        self._queue.append(queued)
        self.lead(patient=False)
        return queued

    def run_all(self, changes, call=None):
        """Have changes written, in their order and in as few groups as possible; return a result or an exception for
        each. `call`: see `run`."""
        queued = [Awaited(change) for change in changes]
        self._join(queued, call)
        return [each.outcome for each in queued]

    def run_early(self, early, call):
        """Have an `Early` change written; see `run`."""
        self._join([early], call)
        if isinstance(early.outcome, Exception):
            raise early.outcome
        return early.outcome

    def _join(self, queued, call):
        self._queue.extend(queued)
        if queued:
            self.lead(until=queued[-1], patient=call is None)
            for each in queued:
                each.wait(self, call)

    def run_beside(self, queued):
        """Have another thread write a change; without one, whoever comes next does."""
        self._queue.append(queued)
        if self._wake:
            self._wake()

    def lead(self, more=None, durable=None, until=None, patient=True):
        """Write what is queued, group by group. Does nothing while another thread leads: that one writes it, too.

        `more()`, when given, is called once the store is ours, so that what arrived while we waited joins the group.
        `durable()` is called after each commit, before anybody hears of it; it must only take a note. With `until`, a
        `Queued` of the caller's, the rest is left to another thread once that is written. Unless `patient`, all is left
        to it, or (no `until`) to whoever comes next, where other processes have locked the store.
        """
        while self._queue and self._lock.acquire(False):
            group = []
            try:
                if patient or not self.store.is_locked():
                    self._write(group, more, durable)
            finally:
                self.store.keep()
                self._lock.release()
                for each in group:
                    each.end()
            if not (group or patient):
                if self._wake and self._wake() or until is None:
                    return
                patient = True
            elif until in group and self._queue and self._wake and self._wake():
                return

    def drop_unwanted(self):
        """Drop what is queued and no longer wanted: the store may be locked for long. Call `lead` afterwards."""
        for _ in range(len(self._queue)):
            try:
                queued = self._queue.popleft()
            except IndexError:  # a group has begun
                return
            if queued.is_wanted():
                self._queue.append(queued)
            else:
                queued.start()

    def catch_up(self):
        """Publish what other processes have committed since we last asked."""
        try:
            with self._lock:
                if self._missed or self.store.log_state()[1] > self._published:
                    self._publish_foreign()
        finally:
            self.lead()  # who came meanwhile has left it to this thread

    def _write(self, group, more, durable):
        """Write what is queued, at most `GROUP` changes; `group` gets those that were wanted, with their outcomes."""
        effects = []
        store = self.store
        try:
            self._begin()
            if more:
                more()
            self._take(group)
            if not self._run_all(group, effects, False):  # all again, each in a savepoint
                effects.clear()
                store.rollback()
                self._begin()
                self._run_all(group, effects, True)
            last, foreign = self._last, self._last > self._published
            if effects:
                self._trim(len(effects))
            if self._early:
                self._tell_early()
            store.commit()
        except Exception as error:  # the whole group fails alike: nothing of it is stored
            store.rollback()
            if not group:
                self._take(group)
            for each in group:
                if each.outcome is NOT_WRITTEN or not isinstance(each.outcome, Exception):
                    each.outcome = error
            return
        if durable:
            durable()
        if foreign or self._missed:
            try:
                self._publish_foreign(last)
            except Exception:  # ours is committed and must be told all the same
                self._miss(last)
        try:
            self._publish(effects)
        except Exception:  # no memory, most likely: what is committed stays acknowledged
            self._miss(effects[-1][0].id)

    def _tell_early(self):
        """Show, and tell their callers of, what has run and has its intent on disk. Its events follow the commit."""
        early, self._early = self._early, []
        for each, effects in early:
            if each.may_tell():
                self.store.promise()
                self._told = max([self._told, *(row.id for row, _ in effects)])
                self._show(effects)
                each.tell()

    def _begin(self):
        self.is_waiting = True
        try:
            self.store.begin()
        finally:
            self.is_waiting = False

    def _take(self, group):
        queue = self._queue
        while queue and len(group) < GROUP:
            queued = queue.popleft()
            if queued.start():
                group.append(queued)

    def _miss(self, last):
        """Note that something up to log id `last` could not be told; `_resynchronise` makes up for it."""
        self._missed = True
        self._published = last
        self.publisher.lost(last)

    def _run_all(self, group, effects, parts):
        """Run the changes and set their outcomes. With `parts` each is in a savepoint and undone alone. Without, return
        False when one fails after it has written.

        Savepoints cost SQLite a copy of each page that a change touches, and most changes that fail do so before they
        write.
        """
        store = self.store
        self._last, self._early = store.last_log_id(), []
        transaction = Transaction(self.store, effects, max(self._last, self._told))
        for each in group:
            mark, log_id = len(effects), transaction.log_id
            self._operations += 1
            transaction.now, transaction.correlation = self.clock(), f"{self._process}{self._operations:x}"
            if parts:
                store.savepoint()
            else:
                written = store.written()
            try:
                each.outcome = each.change(transaction)
                if parts:
                    transaction.log()
            except Exception as error:
                each.outcome = error
                if parts:
                    store.undo()
                elif store.written() != written:
                    return False
                transaction.forget(mark, log_id)
            else:
                if parts:
                    store.release()
                if each.is_early:
                    self._early.append((each, effects[mark:]))
        try:
            transaction.log()
        except Exception:
            if not parts:
                return False
            raise
        return True

    def _trim(self, count):
        """Trim now and then: by age all events, by number those of sessions that may be well over the limit."""
        self._since_trim += count
        if self._since_trim < TRIM_EVERY:
            return
        self._since_trim = 0
        limit, age = self._replay
        busy, self._busy = self._busy, set()
        for session_id in busy:
            self._counts.pop(session_id, None)
        if len(self._counts) > TRIM_SESSIONS:  # the quieter half is left to its age
            self._counts = dict(sorted(self._counts.items(), key=lambda item: item[1])[len(self._counts) // 2 :])
        now = self.clock()
        self.store.trim(limit, now - age, list(busy), now)

    # -- telling -------------------------------------------------------------------------------------------------------
    def _publish(self, effects):
        """Tell what was committed: first how each session is now, so that no handle shows less than an event tells."""
        counts = self._counts
        self._show(effects)
        for row, snapshot in effects:
            if snapshot is GONE:
                counts.pop(row.session_id, None)
            else:
                counts[row.session_id] = events = counts.get(row.session_id, 0) + 1
                if events > self._many:
                    self._busy.add(row.session_id)
        if effects:
            self._tell([row for row, _ in effects])

    def _show(self, effects):
        """Have handles show what was changed."""
        publisher, back = self.publisher, {row.session_id for row, _ in effects if row.kind == CREATED}
        snapshots = {row.session_id: snapshot for row, snapshot in effects if snapshot}
        ends = {row.session_id: row for row, snapshot in effects if snapshot is GONE}
        for session_id, snapshot in snapshots.items():
            if snapshot is GONE:
                publisher.gone(session_id, info.alias_told([ends[session_id]]))
            else:
                rev, shown = snapshot
                publisher.snapshot(session_id, rev, shown, session_id in back)

    def _publish_foreign(self, last=None):
        while True:
            newest = self._last = self.store.log_state()[1] if last is None else last
            rows = self.store.events_after(self._published, TAIL_PAGE, TAIL_SIZE)
            # The floor is read after the rows: what was trimmed before they were read is below it.
            if self._missed or self.store.log_state()[0] > self._published:
                self._resynchronise(last)
                return
            if last is not None:
                rows = [row for row in rows if row.id <= last]
            if not rows:
                if newest > self._published:  # up to there all is of other scopes
                    self._published = newest
                    self.publisher.skip(newest)
                return
            told: dict = {}
            for row in rows:
                told.setdefault(row.session_id, []).append(row)
            for session_id, of in told.items():
                self._refresh(session_id, of)
            self._tell(rows)

    def _tell(self, rows):
        self.telling(rows)
        self.publisher.publish(rows, self.store.store_id)
        self._published = rows[-1].id
        if self._hearers:
            for row in rows:
                for hearer in self._hearers.get(row.kind, ()):
                    hearer(row)

    def _resynchronise(self, last):
        """The log does not tell all that others did: compare every snapshot, and let the queues refill or gap."""
        last = self.store.log_state()[1] if last is None else last
        for session_id in self.publisher.known_ids():
            self._refresh(session_id)
        self.publisher.lost(last)
        self._published = last
        self._missed = False
        for hearer in [each for of in self._hearers.values() for each in of]:
            hearer(None)

    def _refresh(self, session_id, told=()):
        """Show what the store holds of a session; rows of the log tell of it, perhaps that it was given another id, or
        is there again."""
        if session_id is not None and (self.publisher.known(session_id) or any(map(info.tells_alias, told))):
            found = self.store.info(session_id)
            if not found and (other := self.store.id_of_alias(session_id)):  # it was given another id
                session_id, found = other, self.store.info(other)
            if found:
                self.publisher.snapshot(session_id, *found, any(row.kind == CREATED for row in told))
            else:
                self.publisher.gone(session_id, info.alias_told(told))
