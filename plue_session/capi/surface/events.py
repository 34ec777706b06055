"""Events.

{"type","number","sessionId"?,"cursor","sequence","dropped"?,"timestamp","correlationId","causeId"?,"data"}

An event tells of a change that is durable already, made by this process or by another one on the same store. Events of
one session come in the order of its changes. `sequence` counts the events of one subscription, or of the default queue,
from 0. `cursor` is opaque text. `correlationId` is common to the events of one operation.

No event is lost silently. Queues are bounded (1024 events, 1 MiB); a reader that falls behind is refilled from the store's log,
and if the log no longer holds what it needs (see `replay`), it gets one event of type "gap" with the current state in
its data, and goes on from there. Deleting a session removes its events from the log, all but session.deleted: a reader that
was behind, or in another process, may hear of the deletion alone.

sync.state, operation.*, library.* and log come to this process alone and are not in the log. Each queue has a small room for them (64 events,
64 KiB), beside the one for the others: they come in their place among these, however late. When it is full the oldest is let go of
which there is a newer one of its type, and the next one has "dropped": how many were. A gap for want of time, at
plue_shutdown(), has the reason "unavailable".

The last events of submissions have a room of their own (1024). While a reader has 512 of them before it, or 64 MiB,
plue_session_submit() answers QUEUE_FULL, so none is lost. A callback is such a reader, and an observer of all sessions from
when it is opened; the default queue has one only from the first plue_event_poll(), plue_event_wait() or plue_event_fd() on, so
a program that lives by callbacks is not held up. An observer or a default queue that is left so for 5 s is waited for no longer until
it is read again: as where nobody reads, the oldest are let go of ("dropped").

What `data` holds:
  session.created      {"id","parentId"?,"role"?}
  session.updated      {"id","aliases"?,"fields","title"?}
  session.deleted      {"id","aliases"?}
  session.shared       {"id","url"}
  session.unshared     {"id"}
  queue.changed        {"change":"enqueued|cancelled|claimed|completed","kind":"input","ids"}
  message.created      {"id","role",…}: the message, as plue_session_messages() has it; without `parts` if they have more than 64 KB
  message.updated      {"id","role",…}: the same
  message.part.updated  {"messageId","turnId"?,"partId","offset","delta"} while its text is written, and once it is whole
                       {"messageId","turnId"?,"part"}
  turn.started         {"turnId","inputIds"}
  turn.finished        {"turnId","inputIds","outcome":"finished|stopped","reason"?,"error"?}
  permission.asked     {"id","turnId"?,"action","title"?,"patterns"?,"tool"?,"deadline"}
  permission.replied   {"id","reply","by":"host|deadline|abort|other"}
  question.asked       {"id",…}: the question, as plue_session_questions() has it
  question.replied     {"id","answers"?,"by"}, without answers: it was rejected
  todo.updated         {"todos"}
  relay.changed        {"from","to","event":"SPAWN|ACTIVATE|TERMINATE|CLEAN","reason"?}: the relay state, see Agents
  turn.activity        {"turnId"?,"kind":"status|retry|step|tool","attempt"?,"next"?,"text"?}
  sync.state           {"connected","reason"?}
  operation.progress   {"operation","tag"?,"done","of"}
  operation.completed  {"operation","tag"?,"results":[{"ok"} or {"error"} each]}
  operation.failed     {"operation","tag"?,"results"}
  operation.cancelled  {"operation","tag"?,"results"}
  sync.conflict        {"operation","field","ours","theirs"}
  library.initialized  {"version"}
  library.shutdown     {}
  log                  {"level","message"}
  gap                  {"reason":"trimmed|unavailable","requestedCursor","latestCursor","latestRevision","sessions":[infos]}
`fields` names the keys of the info that changed, such as "title", "tags", "metadata", "aborted", "time.archived" or
"time.updated"; `aliases` is there when a session that was made while the server was away gets the server's id. sync.conflict: a
change that had waited met another client's of the same field. It was made over that one; or, if it had a `base`, it waits in
conflict (plue_session_sync_status()). Of the operations of a submission the `tag` in its progress is that of the one just done, in
its last event the first that there is; a text that is wrong as a whole has one result. session.shared and session.unshared alone
tell of `share`, and relay.changed alone of the relay state.
A piece of text comes at once, or with those of 40 ms; `offset` counts bytes (UTF-8) of the part's text. Pieces and turn.activity are
not stored, so not repeated either: who misses one has the whole part. A part that changes after that is told whole again. Of messages
that are read because somebody asks for old ones nothing is told.
With a server the session events also tell of what other clients of it do, and sync.state tells that it is away or back.
"""

from __future__ import annotations

from plue_session.capi.surface.table import export


@export(time="local")
def plue_event_subscribe(callback: EventCallback, user_data: UserData) -> Identifier:
    """Call `callback` for every event from now on.

    Each subscription has a thread of its own on which its callback runs, one event at a time, with no library lock held
    and all signals blocked. The callback may call any function but plue_shutdown(); `event_json` is valid during the
    call. A slow callback delays nobody else. It has to return: neither pthread_exit() nor a C++ exception may end it.

    plue_shutdown() has every callback hear what was told before, and library.shutdown last. What cannot be handed out within some
    3.5 s is one "gap"; a call that has not returned after 4.5 s is left behind.

    :param callback: must not be NULL.
    :param user_data: passed to each call; yours.
    :returns: an id for plue_event_unsubscribe(), > 0; 0 on failure.
    :errors: INVALID_PARAM (NULL callback); LIMIT_EXCEEDED (64 subscriptions); IO (no thread or memory left).
    """


@export(time="local")
def plue_event_unsubscribe(id: Identifier) -> Nothing:
    """End a subscription. After this returns the callback runs no more.

    Waits for a call that is running, for as long as that takes, so hold no lock that the callback takes; inside that very call it
    does not wait. An unknown id is ignored.
    """


@export(time="instant")
def plue_event_poll() -> OwnedText:
    """Return the next event of the default queue, which holds all events since plue_init().

    Each event goes to one reader among this and plue_event_wait().

    :returns: free it with plue_free_json(). NULL with plue_get_last_error_code() PLUE_OK: nothing yet; NULL with another
        code: failure.
    :errors: NOT_INITIALIZED; CLOSED (the library shut down meanwhile); IO (no memory).
    """


@export(time="waits")
def plue_event_wait(timeout_ms: Milliseconds) -> OwnedText:
    """Return the next event of the default queue, and wait for it if there is none yet.

    Any number of threads may wait. While plue_shutdown() runs, it hands out what is queued, library.shutdown last, and
    then fails with CLOSED; a reader that does not come back within 100 ms is left behind.

    :param timeout_ms: how long to wait; 0: not at all, as plue_event_poll().
    :returns: free it with plue_free_json(). NULL with plue_get_last_error_code() PLUE_OK: none came; NULL with another
        code: failure.
    :errors: INVALID_PARAM (negative time); CLOSED (the library shut down meanwhile); IO (no memory).
    """


@export(time="instant")
def plue_event_fd() -> Code:
    """Return a descriptor that is readable while plue_event_poll() would return an event, or an error: for poll(),
    epoll and the like. Made at the first call, and the same until plue_shutdown() closes it; take it out of your loop
    first. Never read or close it.

    It is level-triggered; with EPOLLET, poll until NULL. While the queue is refilled from the log it may be quiet: so
    is plue_event_poll().

    :returns: the descriptor, close-on-exec; -1 on failure.
    :errors: CLOSED (the library shut down meanwhile); IO (no descriptor left).
    """
