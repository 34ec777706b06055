"""One writer: runs changes in groups, commits once, and only then tells the world.

A change is a function of a `Transaction`. One that fails leaves no trace and does not disturb its neighbours; all of a
group become durable with one commit. Nobody hears of a change before that. A change may be run twice (see `_run_all`):
what it does beyond the unit must bear that.
"""

import os

from plue_session.errors import NotFound
from plue_session.model import EVENT_NUMBER, LogRow
from plue_session.primitives import allocate_lock, get_ident
from plue_session.rules import info
from plue_session.rules.jsontext import dumps, quote

#: Rows read from the log at a time when another process has written, and characters of them after which no more is.
TAIL_PAGE, TAIL_SIZE = 512, 4 << 20
#: Own events between two looks at what may be trimmed.
TRIM_EVERY = 256
#: Sessions whose events are counted between trims.
TRIM_SESSIONS = 4096


class Writer:
    """The writer of one store. Thread-safe: whoever calls `run` or `batch` is the writer for that long."""

    def __init__(self, store, publisher, clock, replay_limit=2048, replay_age_ms=120_000):
        self.store = store
        self.publisher = publisher
        self.clock = clock
        self._replay, self._many = (replay_limit, replay_age_ms), replay_limit // 8
        self._lock = allocate_lock()
        self._transaction = None
        self._owner = None
        self._last = 0
        self._published = store.log_state()[1]
        self._operations = 0
        self._process = os.urandom(5).hex()
        self._since_trim = 0
        self._missed = False  # something of the others' could not be read: compare everything when it can be
        self._counts, self._busy = {}, set()  # events of a session since its last trim; those with many

    @property
    def published(self):
        """The newest log id that was told here."""
        return self._published

    @property
    def told_since(self):
        """The log id after which all that the last group changed was told; None when something could not be."""
        return None if self._missed else self._last

    def run(self, change):
        """Run one change and return its result once it is durable. Inside a change of a batch it joins that one."""
        if self._owner == get_ident():
            return change(self._transaction)
        (outcome,) = self.batch([change])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def batch(self, jobs, take_more=None, durable=None):
        """Run `jobs` (each called with the unit), commit once, publish; return a result or an exception for each.

        `take_more`, when given, is called once the store is ours: jobs that arrived while we waited join the group.
        `durable`, when given, is called once the group is, before anybody hears of it; it must only take a note.
        """
        with self._lock:
            self._owner = get_ident()
            try:
                return self._batch(jobs, take_more, durable)
            finally:
                self._transaction = self._owner = None

    def catch_up(self):
        """Publish what other processes have committed since we last looked."""
        with self._lock:
            if self._missed or self.store.log_state()[1] > self._published:
                self._publish_foreign()

    def _batch(self, jobs, take_more, durable):
        outcomes = []
        effects = []
        store = self.store
        try:
            store.begin()
            if take_more:
                jobs = jobs + take_more()
            outcomes = self._run_all(jobs, effects, False)
            if outcomes is None:  # one has failed half-way: all again, each in a part that can be undone alone
                outcomes = []
                effects.clear()
                store.rollback()
                store.begin()
                outcomes = self._run_all(jobs, effects, True)
            last, foreign = self._last, self._last > self._published
            if effects:
                self._trim(len(effects))
            store.commit()
        except Exception as error:  # the whole group fails alike: nothing of it is stored
            store.rollback()
            count = max(len(jobs), len(outcomes), 1)
            return [old if isinstance(old, Exception) else error for old in outcomes] + [error] * (
                count - len(outcomes)
            )
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
        return outcomes

    def _miss(self, last):
        """Note that not all up to log id `last` could be told: it is made up for when everything is next compared."""
        self._missed = True
        self._published = last
        self.publisher.lost(last)

    def _run_all(self, jobs, effects, parts):
        """Run the jobs and return their outcomes. Without `parts` return None when one fails after it has written.

        Savepoints cost SQLite a copy of each page that a change touches; most changes that fail do so before they
        write.
        """
        store = self.store
        self._last = store.last_log_id()
        self._transaction = transaction = Transaction(self, effects, self._last)
        outcomes = []
        for job in jobs:
            mark, log_id = len(effects), transaction.log_id
            self._operations += 1
            transaction.begin(self.clock(), f"{self._process}{self._operations:x}")
            if parts:
                store.savepoint()
            else:
                written = store.written()
            try:
                outcome = job(transaction)
            except Exception as error:
                outcome = error
                if parts:
                    store.undo()
                    del effects[mark:]
                    transaction.log_id = log_id
                elif store.written() != written:
                    return None
            else:
                if parts:
                    store.release()
            outcomes.append(outcome)
        return outcomes

    def _trim(self, count):
        """Trim now and then: by age always, by number those sessions alone that can have passed the limit
        noticeably."""
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

    # -- telling ---------------------------------------------------------------------------------------------------
    def _publish(self, effects):
        publisher, store_id = self.publisher, self.store.store_id
        for row, rev_info in effects:
            if rev_info is None:
                publisher.gone(row.session_id)
            elif rev_info[1] is not None:
                publisher.snapshot(row.session_id, *rev_info)
            publisher.event(row, store_id)
            self._published = row.id
            if rev_info is None:
                self._counts.pop(row.session_id, None)
            else:
                self._counts[row.session_id] = events = self._counts.get(row.session_id, 0) + 1
                if events > self._many:
                    self._busy.add(row.session_id)

    def _publish_foreign(self, deadline=None):
        while True:
            newest = self.store.log_state()[1] if deadline is None else deadline
            rows = self.store.events_after(self._published, TAIL_PAGE, TAIL_SIZE)
            # The floor is read after the rows: what was trimmed before they were read is below it.
            if self._missed or self.store.log_state()[0] > self._published:
                self._resynchronise(deadline)
                return
            if deadline is not None:
                rows = [row for row in rows if row.id <= deadline]
            if not rows:
                if newest > self._published:  # up to there all is of other scopes
                    self._published = newest
                    self.publisher.skip(newest)
                return
            for row in rows:
                self._refresh(row.session_id)
                self.publisher.event(row, self.store.store_id)
                self._published = row.id

    def _resynchronise(self, deadline):
        """The log does not tell all that others did: compare every snapshot, and let the queues refill or gap."""
        last = self.store.log_state()[1] if deadline is None else deadline
        for session_id in self.publisher.known_ids():
            self._refresh(session_id)
        self.publisher.lost(last)
        self._published = last
        self._missed = False

    def _refresh(self, session_id):
        if session_id is not None and self.publisher.known(session_id):
            found = self.store.info(session_id)
            if found:
                self.publisher.snapshot(session_id, *found)
            else:
                self.publisher.gone(session_id)


class Transaction:
    """What a change works with: the store's writer side, the time, and the events that tell of it."""

    def __init__(self, writer, effects, log_id):
        self.store = writer.store
        self.effects = effects
        self.log_id = log_id
        self.now = 0
        self.correlation = ""

    def begin(self, now, correlation):
        """Set the time (ms) and the correlation id of the operation that follows."""
        self.now, self.correlation = now, correlation

    def load(self, session_id):
        """Return the session, or fail with NOT_FOUND."""
        session = self.store.load(session_id)
        if session is None:
            raise NotFound(
                "the session does not exist, or was deleted",
                "List the sessions to see what there is.",
                session=session_id,
            )
        return session

    def insert(self, session, data):
        """Store a new session and record `session.created`."""
        row = self._event("session.created", session.id, data)
        session.rev = row.id
        session.info = info.render(session)
        self.store.insert(session)
        self.effects.append((row, (row.id, session.info)))

    def save(self, session, kind, data, touch=True):
        """Store a changed session and record the event that tells of the change; raises `updated` to now, if it is to
        `touch`."""
        if touch:
            session.updated = max(session.updated, self.now)
        row = self._event(kind, session.id, data)
        session.rev = row.id
        session.info = info.render(session)
        self.store.save(session)
        self.effects.append((row, (row.id, session.info)))

    def erase(self, session_id):
        """Erase the session and record `session.deleted`."""
        self.store.erase(session_id)
        self.effects.append((self._event("session.deleted", session_id, {"id": session_id}), None))

    def _event(self, kind, session_id, data):
        number = EVENT_NUMBER[kind]
        self.log_id += 1
        row = LogRow(
            self.log_id,
            session_id,
            number,
            self.now,
            f',"timestamp":{self.now},"correlationId":{quote(self.correlation)},"data":{dumps(data)}}}',
        )
        self.store.append(row)
        return row
