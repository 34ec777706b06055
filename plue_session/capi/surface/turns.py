"""Turns.

A turn is what was said to a session, answered by the model. With an OpenCode server, and in a session that an agent is attached
to (plue_session_relay_attach()), the library runs the turns: an input is stored in the session's queue, taken when the session is idle, sent once, and answered there; its text arrives in events while
the model writes it, and is kept here as messages. The next input waits for the end of the turn.

    plue_session_observer_t observer = plue_session_observe(session, NULL);
    plue_free_json(plue_session_enqueue(session, "{\\"text\\":\\"Hello\\"}"));
    while ((item = plue_session_observer_next(observer, 60000)) …   message.part.updated, … turn.finished

An input is {"text" or "parts" or "command","arguments"?,"id"?,"turnId"?,"ingress"?,"model"?,"agent"?}. parts: an array of {"type":"text","text"} and
{"type":"file","file":{"path"|"data" (base64)|"url","mimeType","name"?}}. command: one of plue_session_choices(), without a
slash, or "compact", which shortens the context; `arguments` is its text. model: {"providerId","modelId"}, else the session's
(plue_session_initialize()), else `defaultModel`, else the server's default; it is always sent. ingress: "nextTurn", or {"activeTurn":{"turnId","boundary":
"afterWork"|"beforeCompletion"}}: for the turn that runs; OpenCode takes nothing in the middle of one, and it is said after it, and so is what
names a turn that has ended. `id` is your own name for the input: the same once more with the same content is the same input, not a
second one. turnId is the id that the turn is to have.

Each input ends in a named state, also when this process, another one, or the server dies: "completed" (its turn has ended) or
"cancelled". A turn ends with an outcome: "finished"; or "stopped" with a reason: cancelled, incomplete (cut off: the server died,
or the answer reached its limit), invalid_input, max_turns, tool_failure, tool_error, provider_error (the model refuses or fails; `error` says why),
plugin_abort, runtime_error, submitted_error (the server did not take the input). `error` is {"code","message","status"?,"remedy"}, code
as of the errors: PROVIDER_AUTH, BUSY (rate limit), LIMIT_EXCEEDED (the context is full: send the command "compact"), …

The embedded backend has no model: without an agent what is enqueued waits for a host that claims it, messages are empty, and what
needs a model is UNSUPPORTED. An agent's command is what its user would type with a slash. While an agent is lost, inputs wait
for the next one.
"""

from __future__ import annotations

from plue_session.capi.surface.table import export


@export(time="local", executor="commit", in_bulk=True)
def plue_session_enqueue(runtime, session: SessionHandle, input_json: Input) -> OwnedText:
    """Put an input into the session's queue; it is on disk before this returns. Its turn begins when those before it have ended.

    {"inputId","sessionId","enqueueSeq","sourceKey"?,"ingress","state":"pending_active|deferred_next_turn|accepted|cancelled|completed",
    "enqueuedAt","input"}. enqueueSeq rises; sourceKey is "host:" and the `id`. pending_active: for a turn that has not ended. accepted: a turn has
    taken it. An input with an `id` that was enqueued before, with the same content, ingress and turnId, is returned as it stands now.
    Up to 64 inputs that wait and name the same model and agent make one turn; one that is a command, or names a turnId, has its own.
    The server is not asked, so that it may be away. At most 10,000 wait in a session. One queue.changed tells of it.

    :param input_json: an input, as above, of at most 16 Mi characters. Copied; files that go by a path are read when they are sent: one that is no regular file, has more than 20 MiB, or does not answer ends the turn (`invalid_input`).
    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM and JSON_PARSE (name the key); CONFLICT (the `id` is taken by another content: names its inputId; the turnId is
        taken); BAD_HANDLE; NOT_FOUND (deleted); QUEUE_FULL (10,000 wait); LIMIT_EXCEEDED (it is too long); BUSY; IO.
    """
    return runtime.inputs.enqueue(session, input_json)


@export(
    time="waits",
    executor="read",
    in_bulk=True,
    late="the turn has not ended in time; it goes on, and turn.finished will tell.",
    waits_here=True,
)
def plue_session_run_turn(runtime, session: SessionHandle, input_json: Input, timeout_ms: Milliseconds) -> OwnedText:
    """Enqueue an input that has a turn of its own, and wait for the end of that turn.

    {"turnId","outcome":"finished|stopped","reason"?,"error"?,"messages":[Message],"usage"}, messages and usage of this turn alone. Turns of one
    session run one at a time: those before it are waited for, too. However many threads wait here, they hold up no other call.
    An input whose `id` was enqueued before gets a turn of its own by this, unless a turn has taken it: then it is that one's end.

    :param timeout_ms: how long to wait; the turn goes on after that. 0: starts it, and returns {"turnId","inputId"} at once.
    :returns: free it with plue_free_json(); NULL on failure.
    :errors: as plue_session_enqueue(); INVALID_PARAM (negative: nothing waits for ever); TIMEOUT (it goes on); ABORTED (by
        plue_session_abort()); UNSUPPORTED (embedded backend, and no agent: the host runs turns, by claiming inputs); NOT_FOUND (deleted
        meanwhile).
    :opencode: POST /session/{id}/prompt_async
    """
    return runtime.turns.run(session, input_json, timeout_ms)


@export(time="instant")
def plue_session_cancel_turns(session: SessionHandle) -> Code:
    """Ask the session's turns that this process has begun, or has waiting in plue_session_run_turn(), to end as stopped/cancelled.

    That is a request; the server is told in the background, and turn.finished tells of each. Other inputs stay in the queue. `aborted`
    does not change.

    :returns: how many turns were asked to; 0: none runs. -1 on failure.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted).
    """


@export(time="remote", executor="read")
def plue_session_messages(runtime, session: SessionHandle, query_json: MessageQuery) -> OwnedText:
    """Return a page of what was said: {"messages":[Message],"nextCursor"?}.

    Message: {"id","role":"user|assistant","turnId"?,"parts":[Part],"time":{"created","completed"?},"model"?,"error"?}. Part: {"id","type":
    "text|reasoning|tool|file|other","text"?,"tool"?:{"callId","name","state":"pending|running|completed|error","input","output"?},"file"?,"raw"?}; a file is as
    an input has it: its `data`, `path` or `url`, mimeType and name; `raw` is what the server has of another part. The first page has the
    newest, nextCursor leads to older ones; within a page they ascend. A page costs the same however many there are. A text that is
    being written is there as far as it was heard. What is known here is answered without the server, also while it is away; older pages than
    that are fetched, once, and the newest each time where the server's event stream does not come through.

    :param query_json: {"limit" 1-100 (100),"cursor","parts" (true)}, all optional; NULL for the newest 100.
    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM and JSON_PARSE (name the key); BAD_CURSOR (also another session's); BAD_HANDLE; NOT_FOUND (deleted);
        CONNECTION (they are not known here, and the server is away); ABORTED; BUSY; IO.
    :opencode: GET /session/{id}/message
    """
    return runtime.messages.page(session, query_json)


@export(time="local", executor="read")
def plue_session_permissions(runtime, session: SessionHandle) -> OwnedText:
    """Return the permissions that turns of the session wait for, in order: [{"id","turnId","action","title"?,"patterns"?,"tool"?,"replies"?,"deadline"}].

    `tool`: {"messageId","callId"}. `replies`: what an attached agent takes, of "once", "always" and "reject". Each ends by plue_session_reply_permission(), by another client, with its turn, or is rejected at
    `deadline` (permissions.deadlineMs). permission.asked announces it as it is listed, permission.replied {"id","reply","by":"host|deadline|abort|
    other"} tells its end; a reply that nobody knows counts as "reject". With `permissions.default` "allow" or "deny" those of turns that inputs
    from here began, and of the agents that these call, are answered at once, "once" or "reject", by "host". OpenCode runs most
    tools unasked by default: what it does not ask for is not held back.

    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); BUSY; IO.
    """
    return runtime.asks.permissions(session)


@export(time="remote", executor="read")
def plue_session_reply_permission(runtime, session: SessionHandle, permission_id: AskId, reply: Reply) -> Status:
    """Answer a permission. It counts as answered only when the server has taken it; that of an attached agent when it is committed, in
    whichever process the agent is.

    "always" is "once" for an agent that offers no more; another reply that it does not offer is refused.

    :param permission_id: as in permission.asked.
    :param reply: "once", "always" or "reject".
    :returns: 0, or -1.
    :errors: INVALID_PARAM (another reply, or one that the agent does not offer); BAD_HANDLE; NOT_FOUND (no such permission, answered
        already; session deleted); CONFLICT (it ended by its deadline or an abort, or its agent is gone); ABORTED; BUSY; IO.
    :opencode: POST /permission/{id}/reply
    """
    return runtime.asks.reply_permission(session, permission_id, reply)


@export(time="local", executor="read")
def plue_session_questions(runtime, session: SessionHandle) -> OwnedText:
    """Return the questions that turns of the session wait for, in order:
    [{"id","turnId","questions":[{"header","question","options":[{"label","description"}],"multiple","custom"}],"deadline"}].

    `custom`: other text is an answer, too. They end as permissions do, but for permissions.default. question.asked announces each, question.replied
    {"id","answers"?,"by"} tells its end; without answers it was rejected.

    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); BUSY; IO.
    """
    return runtime.asks.questions(session)


@export(time="remote", executor="read")
def plue_session_reply_question(runtime, session: SessionHandle, question_id: AskId, answers_json: Answers) -> Status:
    """Answer a question, or reject it. It counts as answered only when the server has taken it.

    :param answers_json: [["label",…],…]: one list of labels for each of its questions, in order; NULL rejects it.
    :returns: 0, or -1.
    :errors: INVALID_PARAM (not as many lists; several labels without `multiple`; other text without `custom`); JSON_PARSE; BAD_HANDLE;
        NOT_FOUND (no such question, answered already; session deleted); CONFLICT (it ended by its deadline or an abort); ABORTED; BUSY; IO.
    :opencode: POST /question/{id}/reply, POST /question/{id}/reject
    """
    return runtime.asks.reply_question(session, question_id, answers_json)


@export(time="local", executor="read")
def plue_session_usage(runtime, session: SessionHandle) -> OwnedText:
    """Return what the messages that are known here have used: {"tokens":{"input","output","reasoning","cacheRead","cacheWrite"},"cost","models":[{"providerId",
    "modelId","tokens","cost"}]}.

    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); BUSY; IO.
    """
    return runtime.messages.usage(session)


@export(time="local", executor="read", away="remote")
def plue_session_todos(runtime, session: SessionHandle) -> OwnedText:
    """Return the agent's plan: [{"content","status":"pending|in_progress|completed|cancelled","priority"}]; [] without one.

    Where the plan is not known here, or a change may have been missed, the server is asked, once; then todo.updated tells of each.

    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); CONNECTION and TIMEOUT (it is not known here, and the
        server is away); ABORTED; BUSY; IO.
    :opencode: GET /session/{id}/todo
    """
    return runtime.asks.todos(session)


@export(time="remote", executor="read")
def plue_session_diff(runtime, session: SessionHandle, query_json: DiffQuery) -> OwnedText:
    """Return what turns of the session have changed in its directory: {"files":[{"file","status","additions","deletions","patch","turnId"?}]}.

    :param query_json: {"turnId"} or {"messageId"} (the turn's user message); NULL or {}: of all turns in order, an entry for each turn and file.
    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM and JSON_PARSE (name the key); NOT_FOUND (no such turn; session deleted); UNSUPPORTED (embedded backend); BAD_HANDLE;
        ABORTED; BUSY; IO.
    :opencode: GET /session/{id}/diff
    """
    return runtime.asks.diff(session, query_json)


@export(time="remote", executor="read")
def plue_session_choices(runtime, session: SessionHandle) -> OwnedText:
    """Return what an input of the session may name: {"models":[{"providerId","modelId","name","contextLimit"?}],"agents":[{"name","description"}],
    "commands":[{"name","description"}],"default"?:{"providerId","modelId"}}. For an attached agent that is what it offers, its modes as
    agents, in the process that has it.

    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); UNSUPPORTED (embedded backend without an agent; the agent is
        lost, or another process's); ABORTED; BUSY; IO.
    :opencode: GET /config/providers, GET /agent, GET /command
    """
    return runtime.asks.choices(session)


@export(time="local", executor="read")
def plue_session_inputs(runtime, session: SessionHandle) -> OwnedText:
    """Return the inputs that wait, in order, as plue_session_enqueue() returns them: not those that a turn has taken, or that have ended.

    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); BUSY; IO.
    """
    return runtime.inputs.inputs(session)


@export(time="local", executor="commit", in_bulk=True)
def plue_session_cancel_inputs(runtime, session: SessionHandle, targets_json: Targets) -> OwnedText:
    """Cancel inputs that no turn has taken yet, all in one step: an array of {"outcome","inputId"?,"sourceKey"?,"turnId"?,"claim"?:{"claimId","owner",
    "expiresAt"},"input"?}, one for each target, in order.

    outcome: cancelled, already_claimed (its turn, `turnId`, can be ended with plue_session_abort_turn()), already_completed, already_cancelled,
    not_found. `input` is the record as it is now, as of plue_session_enqueue(). One queue.changed names those that were cancelled; it
    does not come when none was.

    :param targets_json: an array of {"inputId"} or {"sourceKey"}, at most 1000.
    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM and JSON_PARSE (name the key); BAD_HANDLE; NOT_FOUND (session deleted); BUSY; IO.
    """
    return runtime.inputs.cancel(session, targets_json)


@export(time="local", executor="commit")
def plue_session_cancel_inputs_from(runtime, session: SessionHandle, anchor_json: Target) -> OwnedText:
    """Cancel an input and all that were enqueued after it, in one step: outcomes as of plue_session_cancel_inputs(); [{"outcome":"anchor_not_found"}] when there is no
    such input.

    :param anchor_json: {"inputId"} or {"sourceKey"}.
    :returns: free it with plue_free_json(); NULL on failure.
    :errors: INVALID_PARAM and JSON_PARSE (name the key); BAD_HANDLE; NOT_FOUND (session deleted); BUSY; IO.
    """
    return runtime.inputs.cancel_from(session, anchor_json)


@export(time="local", executor="commit")
def plue_session_vacuum(runtime, session: SessionHandle) -> Count:
    """Forget the inputs that were cancelled or are completed; until then they are known by their `id`.

    :returns: how many (>= 0), or -1.
    :errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); BUSY; IO.
    """
    return runtime.inputs.vacuum(session)
