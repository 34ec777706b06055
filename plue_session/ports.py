"""What the services need from the world. Each port has a real adapter and an in-memory twin that pass the same tests.

These classes are documentation and a place to look things up; adapters need not inherit from them.
"""


class Store:
    """Durable state of one backend's sessions (`scope`), and the log of their events, in one file or in memory.

    Two sides. The *writer* side is used by one thread at a time, between `begin` and `commit` or `rollback`; what it
    reads includes what it has written. The *reader* side may be used by any thread at any time and sees only what is
    committed. Reading never waits for writing. Other processes may share the store.

    Failures are `errors.Busy` (locked for longer than is sane), `errors.StoreIo` (disk full, unreadable, read-only),
    `errors.Integrity` (damaged: names the file and `plue-session doctor --new-store`). A failed `commit` leaves the
    transaction rolled back.
    """

    #: "sqlite" or "memory"
    name = ""
    #: 8 lower-case hex digits, random, made with the store: part of every cursor
    store_id = ""

    # -- writer side ---------------------------------------------------------------------------------------------
    def begin(self):
        """Wait for this process's turn (fair between processes) and begin a write transaction."""

    def commit(self):
        """Make everything since `begin` durable, then let other processes in."""

    def rollback(self):
        """Drop everything since `begin`, then let other processes in. Harmless when nothing was begun."""

    def savepoint(self):
        """Begin a part that can be undone alone. Parts do not nest."""

    def release(self):
        """Keep what was done since `savepoint`."""

    def written(self):
        """Return a number that is another one after any method of the writer side has changed something."""

    def undo(self):
        """Drop what was done since `savepoint`."""

    def load(self, session_id):
        """Return the `Session` (a copy, the caller's own) with this id, or None."""

    def load_by_key(self, key):
        """Return the `Session` with this key, or None."""

    def load_by_role(self, role):
        """Return the session that holds this role and whose relay state is not CLEANED, or None."""

    def load_by_token(self, token):
        """Return the session whose create carried this token, or None. Of several (a server may have copied one
        session's metadata to another) the one created first."""

    def children(self, session_id):
        """Return the ids of the sessions whose parent is `session_id`, oldest first; not those that are `is_fork` from
        it."""

    def active_count(self):
        """Return how many sessions made here (not only `seen`) are not final (status active or suspended)."""

    def next_number(self, now_ms):
        """Return `max(now_ms, the largest number ever used + 1)`. Numbers are not reused, also after `erase`."""

    def insert(self, session):
        """Store a new record under `session.number`; a duplicate id, key or live role is `errors.AlreadyExists`."""

    def save(self, session):
        """Replace the record with this `id` (which exists)."""

    def erase(self, session_id):
        """Remove the record, its share, and its events from the log."""

    def share(self, session_id):
        """Return the session's `Share` or None. Also on the reader side."""

    def put_share(self, share):
        """Store or replace the session's share."""

    def drop_share(self, session_id):
        """Remove the session's share; harmless when there is none."""

    def last_log_id(self):
        """Return the id of the newest log row ever appended (0: none), as the writer sees it."""

    def append(self, row):
        """Append a `LogRow` whose id is `last_log_id() + 1`."""

    def trim(self, limit, older_than_ms, sessions, now_ms=None):
        """Trim the log: per session of `sessions` keep the newest `limit` rows; of all rows drop a bounded number of
        those with `time < older_than_ms`, or as far ahead of `now_ms`: the clock was set back. Old rows behind
        young ones may stay until those are old. The newest row of the whole log always stays. Remember the largest
        id trimmed, see `log_floor`."""

    # -- reader side ---------------------------------------------------------------------------------------------
    def info(self, session_id):
        """Return `(rev, info text)` of the session, or None."""

    def read(self, session_id):
        """Return the `Session` (a copy, the caller's own) with this id, or None: `find` for readers."""

    def read_children(self, session_id):
        """Return the ids of the sessions whose parent is `session_id`: `children` for readers."""

    def id_of_key(self, key):
        """Return the id of the session with this key, or None."""

    def ids(self):
        """Return `(id, directory)` of all sessions, in any order."""

    def infos(self):
        """Return the info of all sessions, with commas between them, in UTF-8 bytes, by (created, number) ascending.
        Bytes, not text: a long list is neither decoded nor encoded on its way from the store to the caller."""

    def infos_apart(self):
        """As `infos`, in memory that goes with it: a buffer. It takes a little longer, and leaves nothing with the
        allocator."""

    def page(self, query):
        """Return `(list of info texts, next)`: at most `query.limit` sessions that match, in order; `next` is the
        `(sort value, number)` to pass as `query.after` for the next page, or None when this is the last one.
        Costs the same however many sessions there are, if no filter discards most of them."""

    def count(self, query):
        """Return how many sessions match; sort, limit and after are ignored."""

    def events_after(self, log_id, limit, size=None):
        """Return at most `limit` `LogRow`s of this scope with an id above `log_id`, ascending, and none after those
        whose tails have `size` characters together. Ids are one sequence for all scopes in the file, so they may have
        gaps, and the newest id need not be a row of this scope."""

    def log_state(self):
        """Return `(floor, last)`: the largest id of this scope's that trimming removed (0: none), and the newest id of
        all scopes. `floor` does not count rows that `erase` removed."""

    def check(self):
        """Read everything and return a list of problems, as texts; empty when the store is sound. May be slow."""

    def wants_maintenance(self):
        """Return whether `maintain` is due. Cheap: call it after each commit."""

    def maintain(self):
        """Do housekeeping that no caller waits for (for SQLite: a passive checkpoint when the WAL is long)."""

    def lock_fds(self):
        """Return the descriptors of the lock files, which a forked child closes; none once closed."""

    def close(self):
        """Close all connections and locks; who is inside closes its own on the way out. Twice is harmless."""


class Publisher:
    """Where committed changes are told: the C side's snapshots and event queues. Called by one thread at a time."""

    def known(self, session_id):
        """Return whether anybody holds a handle to this session."""

    def known_ids(self):
        """Return the ids of all sessions that somebody holds a handle to."""

    def snapshot(self, session_id, rev, info):
        """Replace the session's info for all its handles, unless theirs has a larger `rev`."""

    def gone(self, session_id):
        """The session was deleted: its handles answer NOT_FOUND for ever."""

    def event(self, row, store_id):
        """Hand a `LogRow` to every queue that is not behind, with a cursor of that store; rows come in the order of
        their ids."""

    def transient(self, kind, session_id, tail, cursor):
        """Hand an event that is not stored to every queue that is not behind."""

    def skip(self, log_id):
        """The log went on to `log_id` with rows of other scopes."""

    def lost(self, log_id):
        """The log went on to `log_id` in a way that cannot be told event by event: every queue is behind."""

    # -- with a server ---------------------------------------------------------------------------------------------
    def fresh(self, session_id):
        """What handles show of the session was confirmed by the server just now."""

    def away(self, flag):
        """The server is away: what handles show is "stale", until it is back. Any thread."""

    def adopt(self):
        """The calling thread, which is none of the boundary's, publishes from now on, for as long as the library
        runs."""


class Server:
    """A server that sessions live on: for one server and one directory, called and listened to. Thread-safe.

    Each call takes `deadline` (seconds of the monotonic clock) and `cancel` (a `cancel.Cancel` or None) and ends by
    then: with `errors.Timeout`, `errors.Connection` (away, or gone meanwhile; the details' `sent` says whether it may
    have been heard), the error of `cancel`, `errors.Closed`, or what the refusal means; its status and text are in the
    details. `directory` is a session's own when it is not the server's. A session comes as an object with `id`,
    `title`, `parent_id`, `directory`, `version`, `created`, `updated`, `archived`, `share_url`, `metadata` (a dict) and
    `token`; times in ms, None for what is absent; equal by value.
    """

    #: the directory that its lists are of
    directory = ""

    def begin(self):
        """Begin to start one of our own; returns at once."""

    def open(self, deadline, given_up=None):
        """See that it is there, or wait for one of our own."""

    def follow(self, listener):
        """Begin to listen; returns at once. Called on a thread of its own, one at a time: `listener.snapshot()` when
        what is known is out of date and must be read again (it raises when it cannot), `listener.apply(change)` for
        each change heard since (`kind`, `session_id`, `value`), and `listener.on_state(error)` when the connection is
        lost (once) or back (None)."""

    def where(self):
        """Return `{"url"?, "pid"?}`; nothing while one of our own is started anew."""

    def end(self):
        """Begin to end everything: calls under way within 200 ms, a server of our own within 5 s. It needs no thread.
        Twice is harmless."""

    def close(self, seconds):
        """End everything, and wait for that, at most so long. Twice is harmless."""

    def is_automatic(self, title):
        """Return whether the server may replace this title by itself."""

    def ahead(self):
        """Return by how many ms its clock is ahead of ours, as far as is known; what is less than a second counts as
        none."""

    # -- reading ---------------------------------------------------------------------------------------------------
    def get(self, session_id, deadline, cancel=None, directory=None):
        """Return the session. `NOT_FOUND` only if the server says so of this id."""

    def survey(self, before, deadline, cancel=None, directory=None):
        """Return what a list of all sessions says: `ids` and, compared with the survey `before` (None: the first),
        `changed`, `unreadable` are ids that cannot be used; `forget(ids)` makes the next one tell those anew."""

    def status(self, deadline, cancel=None, directory=None):
        """Return `{id: …}` of the sessions that run a turn."""

    def messages(self, session_id, deadline, cancel=None, directory=None, limit=100, before=None):
        """Return `([(message, parts), …], cursor)`, the newest ones, oldest first; a message has `id`, `role`,
        `created`, `completed`, `ended`."""

    def check_provider(self, provider_id, model_id, deadline, cancel=None):
        """Fail with `PROVIDER_INIT` unless it can run this model of this provider."""

    # -- changing --------------------------------------------------------------------------------------------------
    def create(self, token, deadline, cancel=None, directory=None, title=None, parent_id=None, metadata=None):
        """Create a session and return it; made once, also when the answer is lost: `token` finds it again."""

    def find_created(self, token, deadline, cancel=None, directory=None):
        """Return the session that was created with this token, or None."""

    def update(self, session_id, deadline, cancel=None, directory=None, **changes):
        """Change `title`, `metadata` (a dict; with it `token`) or `archived` (ms or None), and return the session as it
        then is."""

    def fork(self, session_id, deadline, cancel=None, directory=None, message_id=None):
        """Copy the session up to a message, all of it when None, and return the copy."""

    def share(self, session_id, deadline, cancel=None, directory=None):
        """Share the session and return it with its `share_url`; `UNSUPPORTED` when the server gives no link."""

    def unshare(self, session_id, deadline, cancel=None, directory=None):
        """Withdraw the server's share, if there is one, and return the session."""

    def delete(self, session_id, deadline, cancel=None, directory=None, elsewhere=()):
        """End what runs in the session and its descendants, of which some are `elsewhere` (directories), and delete
        them."""

    def abort(self, session_id, deadline, cancel=None, directory=None, turn_id=None, seen=None):
        """End the turn that runs, if it is the one named; return whether there was one, after its end.
        `seen(message_id)` is called with the model's newest message as of then, "" if there is none, where that is
        known."""
