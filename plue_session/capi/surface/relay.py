"""Agents.

A session with a role (plue_session_create_with()) may have an agent attached, which runs its turns. Its relay state tells how far that
is: CREATED, SPAWNING while the agent is made ready, ACTIVE while it is attached, TERMINATING from its end on until all is cleaned
up, CLEANED. Then the role is free again.

    plue_session_t session = plue_session_create_with("{\\"role\\":\\"reviewer\\"}");
    plue_session_relay_spawn(session);
    plue_session_relay_attach(session, "{\\"worktree\\":\\"/work/tree\\",\\"agent\\":{\\"kind\\":\\"acp\\",\\"command\\":\\"codex-acp\\"}}");
    …   turns, as with a server
    plue_session_relay_terminate(id, "done");
    plue_session_relay_clean(id);

An agent of kind "acp" is a program that speaks the Agent Client Protocol on its standard streams: it is started in the worktree, and ends
with the host, however that ends. One of kind "host" is yours: the library keeps its state, and you run its turns. What is
refused is INVALID_TRANSITION and changes nothing; calls on a session without a role are, too. relay.changed tells of each change,
to every process on the store. A session whose agent has died stays ACTIVE, with "isLost":true in the relay of its info: session.updated
tells of that.
"""

from __future__ import annotations

from plue_session.capi.surface.table import export


@export(time="local", executor="commit")
def plue_session_relay_spawn(runtime, session: SessionHandle) -> Status:
    """Note that an agent is being made ready: CREATED to SPAWNING.

    :returns: 0, or -1.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); INVALID_TRANSITION; BUSY; IO.
    """
    return runtime.relay.spawn(session)


@export(
    time="remote",
    executor="read",
    away="read",
    late="the agent is not ready in time. See startMs, and what it needs to start; plue_session_get_info() tells the relay state.",
)
def plue_session_relay_attach(runtime, session: SessionHandle, agent_json: Agent) -> Status:
    """Attach an agent: SPAWNING to ACTIVE. An "acp" agent is started, and 0 says that it is ready.

    Also an ACTIVE session takes one whose agent has gone, or whose host has: it goes on where that was, if the agent can.
    Terminated meanwhile, the session stays so, and the agent is ended.

    agent_json: {"worktree","agent":{"kind","command"?,…}}:
      worktree    the absolute path of an existing directory; the agent is started there
      kind        "acp", or "host": yours
      command     of "acp": the program and its arguments, as an array; or a string, split into words as a shell would
      env         variables to be set beside the process's own: {"NAME":"value"}. Not stored, shown or logged
      files       "none" (default), "read" or "write": what the agent may ask the library to do with files of the worktree, and of nothing
                  outside it. What it does by itself is up to it
      startMs     how long it may take to be ready, default requestTimeoutMs
      silenceMs   a turn in which the agent says nothing for so long is cancelled, and the agent ended if that does not help; default
                  600000. Waiting for your answers does not count
      idleMs      the session is terminated when no turn ran, and nothing was noted, for so long; off by default
      messagesPerSecond  of more that are enqueued, or counted, the rest is refused with LIMIT_EXCEEDED; off by default. One of more than
                  1 MiB always is
      restore     true (default): a session that had a conversation gets it back, or the call fails; false begins a new one

    :param agent_json: a JSON object. Copied.
    :returns: 0, or -1.
    :errors: INVALID_PARAM and JSON_PARSE (name the key); INVALID_TRANSITION; IO (the command cannot be run); SERVER (it ended, or answered
        what it should not; its last words are in the message); PROVIDER_AUTH (it wants a login); TIMEOUT (it is not ready in time);
        UNSUPPORTED (it speaks another version, or cannot restore); IN_USE (another call is attaching one, or a turn runs); BAD_HANDLE;
        NOT_FOUND (deleted, or the agent has forgotten the conversation); ABORTED; BUSY.
    :takes: remote: waits for the agent to be ready; at most requestTimeoutMs. Kind "host": as local.
    """
    return runtime.agents.attach(session, agent_json)


@export(time="local", executor="commit")
def plue_session_relay_heartbeat(runtime, session: SessionHandle) -> Status:
    """Note that the agent lives: relay.lastActive in the info is now. In any relay state.

    :returns: 0, or -1.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); INVALID_TRANSITION (no role); BUSY; IO.
    """
    return runtime.relay.heartbeat(session)


@export(time="local", executor="commit")
def plue_session_relay_count_message(runtime, session: SessionHandle) -> Status:
    """Count a message to the agent or of its: relay.messageCount grows by one, and relay.lastActive is now. Of an
    agent of kind "acp" the library counts what is said to it.

    :returns: 0, or -1.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); INVALID_TRANSITION (no role); LIMIT_EXCEEDED
        (messagesPerSecond); BUSY; IO.
    """
    return runtime.relay.count_message(session)


@export(time="local", executor="commit")
def plue_session_relay_terminate(runtime, session_id: SessionId, reason: Reason) -> Status:
    """Begin the end of a session's agent: to TERMINATING, from any relay state but CLEANED. Its turn is cancelled, no other begins; the
    agent itself is ended by plue_session_relay_clean().

    :param session_id: an id, not a handle: whoever terminates need not have one.
    :param reason: told in relay.changed and logged; at most 1000 characters; NULL: none.
    :returns: 0, also when it is TERMINATING or CLEANED already, or there is no such session; -1.
    :errors: INVALID_PARAM (NULL or malformed id; reason); INVALID_TRANSITION (no role); BUSY; IO.
    """
    return runtime.relay.terminate(session_id, reason)


@export(
    time="waits",
    executor="read",
    late="the session is still being cleaned. That goes on, and relay.changed tells of its end; call it again to wait for it.",
)
def plue_session_relay_clean(runtime, session_id: SessionId) -> Status:
    """End a terminated session's agent and what is left of it: TERMINATING to CLEANED.

    The agent's pipes are closed, then its process group gets SIGTERM, and after 5 s SIGKILL; in whichever process it is. Then the
    cleaner runs (plue_session_set_cleaner()), once, however many threads and processes call this; if it fails, that is logged.
    The worktree stays as it is. Should the process die in between, the next call begins anew.

    :returns: 0 (CLEANED, also if it was before), or -1.
    :errors: INVALID_PARAM (NULL or malformed id); NOT_FOUND; INVALID_TRANSITION (not terminated: nothing was done); TIMEOUT; BUSY; IO.
    :takes: waits, for the agent's end and the cleaner, at most requestTimeoutMs.
    """
    return runtime.relay.clean(session_id)


@export(time="local", executor="read")
def plue_session_relay_get(runtime, role: Role) -> NewSession:
    """Open the session that holds a role.

    :param role: as plue_session_create_with() was given it.
    :returns: a new handle, to be destroyed by you; NULL on failure.
    :errors: INVALID_PARAM (NULL or empty role); NOT_FOUND (no session has it, or it is CLEANED); BUSY; IO.
    """
    return runtime.relay.get(role)


@export(time="instant")
def plue_session_relay_next_state(state: Word, event: Word) -> StaticText:
    """Tell which relay state follows another by an event, and change nothing.

    Works at any time: without plue_init(), after plue_shutdown(), and in a forked child.

    States: CREATED, SPAWNING, ACTIVE, TERMINATING, CLEANED. Events: SPAWN, ACTIVATE, TERMINATE, CLEAN.

    @RELAY@

    :returns: the state, which belongs to the library; NULL when there is none.
    :errors: INVALID_TRANSITION (the message has the state, the event and the reason; an unknown state or event, too); INVALID_PARAM
        (NULL, not UTF-8).
    """


@export(time="local")
def plue_session_set_cleaner(cleaner: Cleaner, user_data: UserData) -> Code:
    """Have `cleaner` called for each session that plue_session_relay_clean() cleans in this process, after its agent has ended.

    It gets the session's info, valid during the call, on a thread of the library's, with no library lock held and all signals blocked, and
    may call any function but plue_shutdown(); plue_session_relay_clean() of the same session would wait for the cleaner itself, until
    TIMEOUT. Sessions that are cleaned at the same time have calls at the same time. Any result but 0 says that it has failed: that is
    logged, and the session is CLEANED all the same. It has to return: neither pthread_exit() nor a C++ exception may end it.

    Once this has returned, no call of the cleaner that was set before begins, and none runs: it waits for those that do, so hold no lock
    that the cleaner takes. Called by a cleaner, it waits for none. plue_shutdown() removes it.

    :param cleaner: NULL removes it: then cleaning goes without.
    :param user_data: passed to each call; yours.
    :returns: 0, or -1.
    :errors: CLOSED (the library shuts down).
    """


@export(time="local", executor="read")
def plue_session_metrics(runtime, format: MetricsFormat) -> OwnedText:
    """Return what is counted: sessions by relay state, agents attached and lost, changes, errors by reason, and how long cleaned sessions
    lived and how many messages they had.

    States and agents are those of the store, of all processes on it; the rest is what this process has done since plue_init().

    :param format: "json": {"relay":{"states","transitions","durationSeconds","messagesPerSession","errors"},"agents":{"attached","lost",
        "memoryBytes","sessions":[{"session","kind","command","worktree","isLost","pid"?,"error"?}]}}; or "prometheus": its text format, version 0.0.4, names beginning with plue_session_.
    :returns: free it with plue_free_string(); NULL on failure.
    :errors: INVALID_PARAM (NULL, another format); BUSY; IO.
    """
    return runtime.relay.metrics(format)
