"""Sessions.

A plue_session_t is a token for a session, not its address: it may be stale, forged or NULL, and the call then fails
with BAD_HANDLE or INVALID_PARAM instead of crashing. Many handles may refer to one session; they see the same state.
Each is freed with plue_session_destroy(), which leaves the session alone; plue_session_delete() erases the session.
After that its handles answer NOT_FOUND for ever and are still yours to destroy.

Every change is durable before its call returns, visible through every handle at once, and told to other processes on
the same store within 50 ms. (Of a change that a server keeps, the server and a note on disk have it then, from which the
next process recovers it; its events follow its commit.) A failed call changes nothing and emits no event, but for what plue_session_abort() and
plue_session_delete() say. A parameter that is wrong by itself is refused at once, also while another process holds the
store, or the server does not answer.

With an OpenCode server (`backend` in plue_init()) a session is the server's, its id begins with "ses_", and the store keeps
what the server does not: keys, tags, descriptions, providers, shares of our own. What changes a session asks the server
first. Then each function marked "OpenCode:" may also fail with CONNECTION (the server is away), TIMEOUT (it gave no answer in
time), ACCESS_DENIED (it refuses our credentials) or SERVER (it failed, or answered what it should not). While it is away,
reads answer what was last known (`sync.state` is "stale"; with `offline` "fail" those that would ask it fail), and changes
are queued: create, create_with, get_or_create, update_title, update, delete and unshare are stored, shown (`sync.state`
"pending"), return success, and are sent in order when it is back; what it then refuses is taken back, with an event. At most
10,000 changes wait (QUEUE_FULL). The rest
fail with CONNECTION, and with `offline` "fail" all changes do. A session made so has an id like "session_1763640000000" until the server
gives it its own; one session.updated then carries both, and the first one stays valid as an alias (`aliases` in its info).
"""

from __future__ import annotations

from plue_session.capi.surface.table import export


@export(time="remote", executor="commit", in_bulk=True)
def plue_session_create(runtime, parent_id: ParentId) -> NewSession:
    """Create a session titled "Untitled", or as the server titles it.

    A create whose answer is lost is found again by a token that it carries, not made twice.

    :param parent_id: the id of an existing session to be its parent; NULL or "" for none.
    :returns: a handle for plue_session_destroy(), or NULL.
    :errors: INVALID_PARAM (malformed id); NOT_FOUND (no such parent); LIMIT_EXCEEDED; BUSY; IO.
    :opencode: POST /session
    """
    return runtime.sessions.create(parent_id or None)


@export(time="remote", executor="commit", in_bulk=True)
def plue_session_create_with(runtime, options_json: Options) -> NewSession:
    """Create a session with options.

    Keys, all optional: title; parentId; key (your own unique name for it, 1-200 characters, not beginning with
    "session_" or "ses_"); tags (array of strings, kept as a set in order); metadata (any JSON object of yours);
    description; role (the session starts with relay state CREATED; one live session per role); agent (one to be attached, as
    plue_session_relay_attach() has it, with its `worktree` in it, default the session's directory: role, default the session's id,
    plue_session_relay_spawn() and plue_session_relay_attach() in one call, which is undone as one, also if the process is
    killed meanwhile: by the next one to start); provider {"providerId","modelId"} (as plue_session_initialize()); directory (an existing
    folder, stored absolute and without symlinks). The server gets title, parentId, directory and metadata (in which
    "plue_session" is the library's own name); the rest is kept here.

    :param options_json: a JSON object, or NULL for plue_session_create(NULL).
    :returns: a handle for plue_session_destroy(), or NULL.
    :errors: INVALID_PARAM and JSON_PARSE (name the key); NOT_FOUND (parent); ALREADY_EXISTS (key or live role:
        names the session that has it); PROVIDER_INIT (the server has no such provider or model); LIMIT_EXCEEDED; BUSY; IO; and with an agent those
        of plue_session_relay_attach().
    :opencode: POST /session
    :takes: remote: may talk to the server, and waits for an agent to be ready; at most requestTimeoutMs. Embedded backend without one: as local.
    """
    return runtime.sessions.create_with(options_json)


@export(time="remote", executor="commit", exclusive=True)
def plue_session_get_or_create(runtime, key: Key) -> NewSession:
    """Return the session with this key, creating it if there is none: one session per key, also when threads and
    processes race. Keys are kept here: a server is asked only for what is new.

    :param key: 1-200 characters; no control characters, no slashes, not beginning with "session_" or "ses_".
    :returns: a handle for plue_session_destroy(), or NULL.
    :errors: INVALID_PARAM; LIMIT_EXCEEDED; BUSY; IO.
    :opencode: POST /session
    """
    return runtime.sessions.get_or_create(key)


@export(time="remote", executor="read")
def plue_session_open(runtime, id_or_key: IdOrKey) -> NewSession:
    """Return a new handle to an existing session; never creates one.

    A session of the server's that is not known here yet is fetched.

    :param id_or_key: a session's id, or its key.
    :returns: a handle for plue_session_destroy(), or NULL.
    :errors: INVALID_PARAM (malformed); NOT_FOUND; BUSY; IO.
    :opencode: GET /session/{id}
    """
    return runtime.sessions.open(id_or_key)


@export(time="remote", executor="read", in_bulk=True)
def plue_session_fork(runtime, session: SessionHandle, message_id: MessageId) -> NewSession:
    """Create a session that begins with a copy of this one's messages; its parentId is this one's id.

    It is a session of its own: deleting the source leaves it, and its parentId then names a session that is gone.

    :param message_id: only what is before this message is copied; NULL copies all.
    :returns: a handle for plue_session_destroy(), or NULL.
    :errors: INVALID_PARAM (NULL handle, empty id); BAD_HANDLE; NOT_FOUND (deleted, no such message); UNSUPPORTED
        (embedded backend); LIMIT_EXCEEDED; ABORTED; BUSY; IO.
    :opencode: POST /session/{id}/fork
    """
    return runtime.sessions.fork(session, message_id)


@export(time="remote", executor="read", shim=False, in_bulk=True)
def plue_session_get_info(runtime, session: SessionHandle) -> OwnedText:
    """Return what is known of the session, as JSON.

    {"id","aliases"?,"title","parentId"?,"time":{"created","updated","archived"?},"share"?:{"url","expiresAt"?},"version","key"?,
    "description"?,"tags":[],"metadata":{},"status":"active","aborted","backend":"embedded|opencode","directory"?,
    "provider"?:{"providerId","modelId"},"role"?,"relay"?:{"state":"CREATED","messageCount","lastActive"},"messageCount",
    "artifactCount","sync":{"state":"local|synced|stale|pending|conflict","pending"}}

    With the embedded backend the answer is always fresh and always instant, like plue_session_peek_info(). With a server
    it is instant until cacheTtlMs after the server was last heard about this session; then the server is asked. While it is
    away the answer is what was last known, with `sync.state` "stale".

    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); with a server BUSY and IO, too.
    :opencode: GET /session/{id}
    """
    return runtime.sessions.get_info(session)


@export(time="instant")
def plue_session_peek_info(session: SessionHandle) -> OwnedText:
    """Return what was last known of the session, in the form of plue_session_get_info(), without ever asking anybody.

    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted).
    """


@export(time="instant")
def plue_session_peek_id(session_id: SessionId) -> OwnedText:
    """As plue_session_peek_info(), by id: of a session that somebody in this process holds a handle to.

    :param session_id: a session's id, not its key.
    :returns: free it with plue_free_json(). NULL with plue_get_last_error_code() PLUE_OK: nobody here holds a handle to it, or it
        was deleted; NULL with another code: failure.
    :errors: INVALID_PARAM (NULL or malformed); IO (no memory).
    """


@export(time="instant")
def plue_session_get_id(session: SessionHandle) -> OwnedText:
    """Return the session's id, such as "session_1763640000000", or with a server "ses_1b2c3d4e5f6aBcDeFgHiJkLmNo".

    :returns: free it with plue_free_string(); NULL on failure.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted).
    """


@export(time="remote", executor="read", in_bulk=True)
def plue_session_list(runtime) -> OwnedArray:
    """Return every session as a JSON array of infos, by the time of their creation; [] when there are none.

    Takes about a millisecond per thousand sessions; plue_session_query() reads pages. A server is asked first for its
    sessions in the configured directory.

    :returns: free it with plue_free_json(); NULL on failure.
    :errors: BUSY; IO; INTEGRITY; LIMIT_EXCEEDED (it has more than 1 GB; the server's has more than 64 MB).
    :opencode: GET /session
    """
    return runtime.sessions.list()


@export(time="local", executor="read", in_bulk=True)
def plue_session_query(runtime, query_json: Query) -> OwnedText:
    """Return one page of the sessions that match: {"sessions":[…],"nextCursor"?}.

    Filters, all of which must hold: status ("active"), relayState ("CREATED"); role; key; parentId; tags (array of at most 100: all of them); createdAfter, updatedAfter (>=, ms); createdBefore, updatedBefore (<, ms);
    archived (true or false); text (found in title or description, ignoring case). Order: sort "updated" (default),
    "created" or "title"; order "asc" (default) or "desc". Page: limit 1-10000 (default 100); cursor, the
    nextCursor of the page before, together with the same query. A page costs the same however many sessions there are.
    No server is asked: this is what is known here.

    :param query_json: a JSON object, or NULL for the first 100 by time of update.
    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM and JSON_PARSE (name the key); BAD_CURSOR; BUSY; IO.
    """
    return runtime.sessions.query(query_json)


@export(time="local", executor="read")
def plue_session_count(runtime, query_json: Query) -> Count:
    """Return how many sessions match a query; sort, order, limit and cursor do not matter.

    :param query_json: as for plue_session_query(); NULL counts all.
    :returns: the number (>= 0), or -1.
    :errors: INVALID_PARAM and JSON_PARSE (name the key); BUSY; IO.
    """
    return runtime.sessions.count(query_json)


@export(time="remote", executor="commit", exclusive=True, in_bulk=True)
def plue_session_update_title(runtime, session: SessionHandle, title: Text) -> Status:
    """Set the session's title. It is kept byte for byte; "" is a title. A server's automatic title never replaces it.

    :param title: UTF-8; copied.
    :returns: 0, or -1.
    :errors: INVALID_PARAM (NULL, or not UTF-8); BAD_HANDLE; NOT_FOUND (deleted); ABORTED; BUSY; IO.
    :opencode: PATCH /session/{id}
    """
    return runtime.sessions.update_title(session, title)


@export(time="remote", executor="commit", exclusive=True, in_bulk=True)
def plue_session_update(runtime, session: SessionHandle, patch_json: Patch) -> Status:
    """Change some of the session's fields in one step; what the patch leaves out stays.

    Keys: title; description (null removes it); tags (replaces them), addTags, removeTags; metadata (replaces the object);
    archived (true or false); base: an object with the fields as you saw them (null: it was absent): the patch is applied
    only if they still hold. The server gets title, metadata and archived, and `base` is compared with what it has now.

    :param patch_json: a JSON object; {} changes nothing and emits nothing.
    :returns: 0, or -1.
    :errors: INVALID_PARAM and JSON_PARSE (name the key); CONFLICT (base no longer holds: names the fields); BAD_HANDLE;
        NOT_FOUND (deleted); ABORTED; BUSY; IO.
    :opencode: PATCH /session/{id}
    """
    return runtime.sessions.update(session, patch_json)


@export(time="remote", executor="commit", in_bulk=True)
def plue_session_initialize(runtime, session: SessionHandle, provider_id: Name, model_id: Name) -> Status:
    """Bind the session to a provider and a model: each of its turns names them. Runs nothing. A server is asked whether it
    has them.

    :param provider_id: such as "anthropic"; not empty.
    :param model_id: such as "claude-sonnet-4-5"; not empty.
    :returns: 0, also when it is bound to this pair already; -1.
    :errors: INVALID_PARAM; CONFLICT (bound to another pair); PROVIDER_INIT (the server has no such provider or model);
        BAD_HANDLE; NOT_FOUND (deleted); ABORTED; BUSY; IO.
    :opencode: GET /config/providers
    """
    return runtime.sessions.initialize(session, provider_id, model_id)


@export(time="remote", executor="commit", exclusive=True, in_bulk=True)
def plue_session_delete(runtime, session: SessionHandle) -> Status:
    """Erase the session, its descendants and all that belongs to them, in one commit; one session.deleted each.

    All handles to them answer NOT_FOUND for ever. This handle stays yours to destroy. On a server their turns are aborted
    first (not those that another server on the same database runs: see plue_session_abort); should it then refuse, the
    sessions are as before, without these turns.

    :returns: 0, or -1 (nothing was erased).
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted before); ABORTED; BUSY; IO.
    :opencode: POST /session/{id}/abort, DELETE /session/{id}
    """
    return runtime.sessions.delete(session)


@export(time="remote", executor="commit", away="urgent", interrupts=True, in_bulk=True)
def plue_session_abort(runtime, session: SessionHandle) -> Status:
    """End what is in flight for the session.

    Sets `aborted` in its info (one session.updated; the start of the next turn clears it) and interrupts calls of other
    threads that are blocked on this session: those that have not finished half a second later return ABORTED, even if
    this call then fails itself. With nothing running, which is always so with the embedded backend, that is all. On a
    server the turn that it runs is ended; the flag shows even if the server cannot be told, and no
    other call to the server is waited for. While another process keeps the store locked the server is told all the same; the
    call fails with BUSY, and the flag follows. A turn of ours has ended, stopped/cancelled, and turn.finished was told when
    this returns; one that was not sent yet never is. Inputs in the queue stay, and go on from then on; until then none is sent, by no process.
    A server that has run no turn since it started ends its first one only when the model's message is there: that takes up to 10 s.
    What another server on the same database runs cannot be seen or ended from here: then 0 says only that this one is idle.

    :returns: 0 (the server's turn is known to have ended), or -1.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); BUSY; IO.
    :opencode: POST /session/{id}/abort
    """
    return runtime.sessions.abort(session)


@export(time="remote", executor="read", away="urgent", in_bulk=True)
def plue_session_abort_turn(runtime, session: SessionHandle, turn_id: TurnId) -> Status:
    """End this turn of the session and no other; what else is in flight goes on, and `aborted` stays as it is.

    :param turn_id: as in turn.started; or the id of the user's message that began the turn, such as "msg_…".
    :returns: 0, also when the turn is over already or unknown; -1.
    :errors: INVALID_PARAM (NULL handle, empty or malformed id); BAD_HANDLE; NOT_FOUND (session deleted); ABORTED; BUSY; IO.
    :opencode: POST /session/{id}/abort
    """
    return runtime.sessions.abort_turn(session, turn_id)


@export(time="remote", executor="commit", exclusive=True, in_bulk=True)
def plue_session_create_share(runtime, session: SessionHandle) -> OwnedText:
    """Share the session: {"url","secret"?,"link","expiresAt"?}. A shared session returns the same share again.

    `link` is `url` + "#" + `secret`: what a person pastes; the fragment keeps the secret out of server logs. The secret
    is in this answer and nowhere else: not in infos, lists, events, logs or the database. share.ttlMs after its creation
    the share expires: its secret is refused, info goes on showing its url and expiresAt, and the next call makes a new one.
    A server that shares gives a `url` of its own, which is the `link`: then there is neither secret nor end. One that does
    not share, or is away, leaves it to us.

    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); ABORTED; BUSY; IO (the share key's file).
    :opencode: POST /session/{id}/share
    """
    return runtime.sessions.create_share(session)


@export(time="remote", executor="commit", exclusive=True, in_bulk=True)
def plue_session_unshare(runtime, session: SessionHandle) -> Status:
    """Withdraw the session's share: its secret is refused at once. A server that cannot be told now is told later.

    :returns: 0, also when it was not shared; -1.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); ABORTED; BUSY; IO.
    :opencode: DELETE /session/{id}/share
    """
    return runtime.sessions.unshare(session)


@export(time="local", executor="read")
def plue_session_validate_share(runtime, session_id: SessionId, secret: Text) -> Status:
    """Tell whether `secret` opens the session's share, in constant time.

    :param session_id: the id of the session that is said to be shared.
    :param secret: as plue_session_create_share() gave it.
    :returns: 0 when it does; -1.
    :errors: ACCESS_DENIED, with one and the same message whether the session is unknown, not shared, its share expired
        or withdrawn, or the secret wrong; INVALID_PARAM (NULL, malformed id); BUSY; IO.
    """
    return runtime.sharing.validate(session_id, secret)


@export(
    time="remote",
    executor="read",
    away="read",
    late="not all of the operations are done in time; what has begun may still take effect. Pass fewer at a time, or raise requestTimeoutMs.",
)
def plue_session_batch(runtime, operations_json: Operations) -> OwnedText:
    """Do many operations in one call, one after the other: an array of {"op",…} in, an array of one {"ok"} or {"error"}
    each out, in the same order. One that fails does not stop the others, and what came before it stays.

    `op` is a function's name without "plue_session_": create, create_with, fork, get_info, list, query, update_title, update,
    initialize, delete, abort, abort_turn, create_share, unshare, enqueue, cancel_inputs, run_turn. Its arguments stand beside it by
    the names of the function's parameters; `session` is a session's id; the value of a parameter that ends in "_json" may be a JSON
    object or array, or a string with its text; `timeout_ms` is a number. What is left out, or null, is NULL. `timeoutMs` limits
    one operation within the time of the call, which is requestTimeoutMs; `tag` (a string of at most 200 characters) is yours, for plue_session_submit().
    An example: [{"op":"create_with","options_json":{"title":"Parser"}},{"op":"update_title","session":"session_1","title":"b"}]

    `ok` is what the function returns; of those that return a handle the info of the session; of those that return 0 true.
    `error` is as in plue_get_last_error_json(): {"code","number","message","details"?,"retryable","timestamp"}. An
    operation that is wrong by itself (unknown, or with an argument that is missing, unknown or malformed) fails alone with
    INVALID_PARAM or JSON_PARSE; only what is no array, or has more than 1000 elements, fails as a whole, and then nothing is
    done. With the embedded backend neighbouring changes share a commit: a hundred take little longer than ten.

    run_turn waits for the end of its turn, and what stands behind it waits for that: at most `timeout_ms`, `timeoutMs` and the
    time of the call. Then its error is TIMEOUT; the turn goes on, and so do the operations. For a longer turn submit it, or pass 0.

    :param operations_json: a JSON array of at most 1000 objects; [] gives []. Copied.
    :returns: free it with plue_free_json(); NULL on failure. More than 64 MiB are not returned: an operation whose
        result would be beyond that was done, and has the error LIMIT_EXCEEDED.
    :errors: INVALID_PARAM (NULL, no array); JSON_PARSE; LIMIT_EXCEEDED (more than 1000 operations); TIMEOUT; IO.
    :opencode: as the functions that the operations name
    """
    return runtime.batches.run(operations_json)


@export(time="instant")
def plue_session_submit(operations_json: Text) -> Number:
    """Have operations done without waiting for them: as plue_session_batch(), but the results come as an event.

    Of each submission tell, to this process alone, operation.progress now and then, and in the end exactly one of
    operation.completed; operation.failed: nothing was done, because the text, or each of its operations, is wrong by itself;
    operation.cancelled: it was cut short by plue_session_cancel_operation() or plue_shutdown(). These may come before this function
    has returned. Submissions run side by side (32 of them; the next ones wait), the operations of one in their
    order; one that begins with an abort waits for none. One whose run_turn waits is not among the 32 meanwhile, nor is
    requestTimeoutMs its limit, but `timeout_ms` and `timeoutMs`; an abort of its session ends that wait (ABORTED).

    Nothing of it is durable before it is done: what is still open at plue_shutdown() is cancelled, and told before
    library.shutdown; what is open when the process dies is lost. An operation may take its `timeoutMs`, else requestTimeoutMs.
    The event of create_share has neither `secret` nor the `link` with it: plue_session_create_share() gives them.

    :param operations_json: as for plue_session_batch(); only whether it is UTF-8 is looked at here. Copied.
    :returns: the operation's id for plue_session_cancel_operation() and in its events, never used twice in a process; 0 on failure.
    :errors: INVALID_PARAM (NULL, not UTF-8); LIMIT_EXCEEDED (more than 64 MiB); QUEUE_FULL (512 submissions, or 64 MiB of
        them, are open, or a reader of events has not yet taken the last events of so many; a default queue or an observer that is
        left so for 5 s is not waited for, and loses the oldest; see Events for who is a reader); CLOSED; RUNTIME (a host's own Python is finalized); IO (no memory).
    """


@export(time="instant")
def plue_session_cancel_operation(operation: Number) -> Code:
    """Ask that a submission end: what it has not begun is not done, and what waits for the server is cut short.

    That is a request. Its last event says what has become of it: operation.cancelled, whose results tell of each operation
    whether it was done (those that were not have ABORTED); or operation.completed, if all was done by then. A run_turn is no longer
    waited for (ABORTED); its turn goes on: plue_session_abort_turn() and plue_session_cancel_turns() end it.

    :param operation: what plue_session_submit() returned.
    :returns: 0, also when it was asked before; -1.
    :errors: NOT_FOUND (it has ended, or there never was one with this id).
    """


@export(
    time="waits",
    executor="read",
    late="the synchronisation is not done in time; it goes on. See plue_session_sync_status().",
)
def plue_session_sync(runtime, timeout_ms: Milliseconds) -> Status:
    """Synchronise with the server now: every session of the configured directory, as it is there.

    That happens by itself when the library starts, every syncIntervalMs, and when the server is back. Embedded backend:
    0 at once.

    However many threads wait here, they hold up no other call.

    :param timeout_ms: how long to wait for the end; requestTimeoutMs does not matter. 0 begins one and returns 0 at once.
    :returns: 0, or -1.
    :errors: INVALID_PARAM (negative: nothing waits for ever); TIMEOUT (it goes on); CONNECTION; ACCESS_DENIED; SERVER; BUSY; IO.
    :opencode: GET /session
    """
    return runtime.sync.run(timeout_ms)


@export(time="local", executor="read")
def plue_session_sync_status(runtime) -> OwnedText:
    """Tell how things stand with the server: {"connected","lastSync"?,"pending","operations":[],"conflicts":[],"server"?}.

    `server`: {"url"?,"pid"?,"events","error"?}; `pid` of a server of our own; `events`: it tells of changes by
    itself, else they are seen when it is asked; `error`: why it is away, or what the last synchronisation failed with.

    `lastSync` is when the last full synchronisation ended. `operations` are the changes that the server has yet to be told, at
    most 10,000, in order: {"id","session","op":"create|update|delete|unshare","state":"pending|sending","since","error"?}; `pending` is
    how many, `error` why one was sent in vain. `conflicts` are updates whose `base` no longer held when they were sent: the same with
    "fields":[{"field","ours","theirs"}]. An update with the new `base`, or one that sets the same fields, settles one, and so does
    plue_session_discard_pending(). Embedded backend: {"connected":false,"pending":0,"operations":[],"conflicts":[]}.

    :returns: free it with plue_free_json(); NULL on failure.
    :errors: BUSY; IO.
    """
    return runtime.sync.status()


@export(time="local", executor="commit")
def plue_session_discard_pending(runtime, session: SessionHandle, operation_id: Name) -> Status:
    """Drop a change that waits for the server, or is in conflict, and what it shows, with an event: session.updated; of a
    create session.deleted, and all that depends on it goes, too.

    :param operation_id: as in plue_session_sync_status(), such as "op_7".
    :returns: 0, or -1.
    :errors: INVALID_PARAM (NULL or empty); BAD_HANDLE; NOT_FOUND (no such change of this session, or it was sent; session
        deleted); IN_USE (it is being sent, or another process on the store is sending); BUSY; IO.
    """
    return runtime.sessions.discard_pending(session, operation_id)


@export(time="instant")
def plue_session_destroy(session: SessionHandle) -> Nothing:
    """Free a handle. The session stays, and so do other handles to it.

    NULL, a handle that was destroyed before, any other value, and a call before plue_init() are ignored.
    """
