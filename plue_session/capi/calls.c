/*
 * Calls that Python answers, seen from the caller: collect the arguments, post a request, wait with a deadline.
 */
#include "executors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core_tables.h"

/* LONG_TEXT: longer texts take longer to check than to hand over, and would hold up the writer. */
enum { LONG_TEXT = 4096, CAPACITY = 4096, ABORT_GRACE_MS = 500 };

#define PING_NS INT64_C(100000000)

static atomic_int timeout_ms = 30000;
static request *spare; /* made by plue_init, so that the store can be closed when no memory is left to ask for it */

static const char *name_of(int operation)
{
    return operation == CORE_CONTROL_OPEN ? "plue_init"
           : operation < 0                ? "plue_shutdown"
                                          : core_operations[operation].name;
}

const char *core_call_subject(const core_call *call, char room[CORE_SUBJECT])
{
    snprintf(room, CORE_SUBJECT, "%s%s%s", name_of(call->operation), call->session ? " " : "",
             call->session ? call->session : "");
    return room;
}

static request *new_request(size_t room)
{
    request *made = calloc(1, sizeof *made + room);
    if (made && core_cond_init(&made->ended)) {
        free(made);
        return NULL;
    }
    return made;
}

static request *make_request(const core_call *call)
{
    size_t room = 0;
    for (int i = 0; i < call->texts; i++)
        room += call->length[i] + 1;
    request *made = new_request(room);
    if (!made && call->operation == CORE_CONTROL_CLOSE) {
        made = spare;
        spare = NULL;
    }
    if (!made)
        return NULL;
    if (call->operation >= 0 && core_operations[call->operation].opens && core_room_take(&made->room)) {
        core_request_free(made);
        return NULL;
    }
    made->view.operation = call->operation;
    made->view.session = call->session;
    made->view.number = call->number;
    made->view.value = call->value;
    char *to = made->storage;
    for (int i = 0; i < call->texts; i++) {
        if (call->text[i]) {
            memcpy(to, call->text[i], call->length[i]);
            made->view.text[i] = to;
            made->view.length[i] = call->length[i];
            to += call->length[i] + 1;
        }
    }
    if (call->operation >= 0 && core_operations[call->operation].exclusive)
        made->exclusive = call->session ? call->session : made->view.text[0];
    return made;
}

/* What a caller hears that leaves early: why, and what it can do. `pending`: its call has not begun. */
typedef struct reason {
    const char *pending, *begun;
} reason;
enum { LATE, ABORTED, SHUT, REASONS };
#define AGAIN "Make the call again if it is still wanted."
#define CHANGED "whether it took effect will be seen in the session's state."
#define SHUT_DOWN "the library shut down during the call"
#define INTERRUPTED                                                                                                    \
    {"plue_session_abort() interrupted it; nothing was changed. " AGAIN,                                               \
     "plue_session_abort() interrupted it; " CHANGED " " AGAIN}
#define STOPPED {SHUT_DOWN "; nothing was changed. Call plue_init() again.", SHUT_DOWN ". Call plue_init() again."}
#define NO_SERVER                                                                                                      \
    {"the server, or the calls before it, kept it waiting for as long as it may take; nothing was changed. Try "       \
     "again, or allow more time (requestTimeoutMs).",                                                                  \
     "the server gave no answer in time; " CHANGED " Try again, or allow more time (requestTimeoutMs)."}
#define LOCKED                                                                                                         \
    "the store was locked by another process, or overloaded, for as long as the call may take; nothing was changed. "  \
    "Try again, or raise requestTimeoutMs."
static const reason reasons[CORE_EXECUTOR_COUNT][REASONS] = {
    [CORE_EXECUTOR_CONTROL] = {[LATE] = {"an earlier plue_init() or plue_shutdown() is still at it. Try again.",
                                         "it could not be ended in time: the disk or the server is slow. Try again."},
                               [SHUT] = STOPPED},
    [CORE_EXECUTOR_COMMIT] = {[LATE] = {LOCKED, "no answer in time; " CHANGED " Try again, or raise requestTimeoutMs."},
                              [ABORTED] = INTERRUPTED,
                              [SHUT] = STOPPED},
    /* To read, or to check what is to be written, changes nothing. */
    [CORE_EXECUTOR_READ] = {[LATE] = {LOCKED,
                                      "no answer in time; nothing was changed. Try again, or raise requestTimeoutMs."},
                            [ABORTED] = {"plue_session_abort() interrupted it; nothing was changed. " AGAIN,
                                         "plue_session_abort() interrupted it; nothing was changed. " AGAIN},
                            [SHUT] = {SHUT_DOWN "; nothing was changed. Call plue_init() again.",
                                      SHUT_DOWN "; nothing was changed. Call plue_init() again."}},
    [CORE_EXECUTOR_REMOTE] = {[LATE] = NO_SERVER, [ABORTED] = INTERRUPTED, [SHUT] = STOPPED},
    [CORE_EXECUTOR_URGENT] = {[LATE] = NO_SERVER, [ABORTED] = INTERRUPTED, [SHUT] = STOPPED},
};

/* Does a thread of the host's keep the interpreter lock from ours? A ping needs nothing else to be answered. */
static int is_locked_out(void)
{
    return core_python_is_hosts() && core_control(CORE_CONTROL_PING, NULL, 0, core_monotonic_ns() + PING_NS);
}

/* Set the error of a caller that leaves: `code`, or 0: its time is up. */
static void leave(const char *subject, int operation, int code, int executor, int begun)
{
    if (code == PLUE_ERROR_RUNTIME) {
        core_fail(code, subject,
                  "the Python interpreter that the library runs in was finalized (Py_Finalize) during the call. Only a "
                  "new process can use the library.");
        return;
    }
    const reason *why = &reasons[executor][code == PLUE_ERROR_CLOSED    ? SHUT
                                           : code == PLUE_ERROR_ABORTED ? ABORTED
                                                                        : LATE];
    const char *text = begun ? why->begun : why->pending;
    if (!code && begun && operation >= 0 && core_operations[operation].late)
        text = core_operations[operation].late;
    if (!code && !begun && operation >= 0 && is_locked_out()) {
        code = PLUE_ERROR_TIMEOUT;
        text = "a thread of this process held Python's interpreter lock for as long as the call may take; nothing was "
               "changed. Release it around long work, and try again.";
    }
    if (!code)
        code = begun ? PLUE_ERROR_TIMEOUT : core_executor_kinds[executor].late;
    core_fail(code, subject, "%s", text);
}

/* Have a reader take what is overdue. The lock is let go of meanwhile: locks are leaves. */
static void ask_reader_locked(executor *in)
{
    pthread_mutex_unlock(&in->lock);
    core__wake(CORE_EXECUTOR_READ, CORE_SIGNAL_CHECK);
    pthread_mutex_lock(&in->lock);
}

/* Decide who takes the request, and return when it is overdue for a check. */
static int64_t overdue_at(request *made, const core_call *call, int64_t now, int64_t deadline)
{
    const executor_kind *kind = &core_executor_kinds[made->executor];
    size_t length = 0;
    int given = 0;
    for (int i = 0; i < call->texts; i++) {
        length += call->length[i];
        given |= call->text[i] != NULL;
    }
    enum core_checked checked = call->operation < 0 || !given ? CORE_CHECKED_NEVER
                                                              : core_operations[call->operation].checked;
    if (!kind->patience_ns || checked == CORE_CHECKED_NEVER)
        return INT64_MAX;
    made->view.slow = made->overdue = kind->queues && (checked == CORE_CHECKED_AT_ONCE || length > LONG_TEXT);
    int64_t left = deadline - now;
    return made->view.slow ? INT64_MAX : now + (left / 2 < kind->patience_ns ? left / 2 : kind->patience_ns);
}

/*
 * Post the request to an executor and wait for its end; NULL with the error set. The result is in the request.
 *
 * As a rule the thread that carries a call out checks its texts, which costs it little. But while the writer waits for
 * another process, or all threads for a mute server, a bad parameter must not wait with them: a reader checks what has
 * been pending for the executor's patience. What takes long to check is the reader's from the start.
 */
static request *pass(request *made, const core_call *call, int to, int64_t deadline)
{
    char room[CORE_SUBJECT];
    const char *subject = core_call_subject(call, room); /* now, because the id is freed with the request */
    executor *in = &core_executors[to];
    const executor_kind *kind = &core_executor_kinds[to];
    int64_t now = core_monotonic_ns();
    made->executor = to;
    made->state = PENDING;
    made->deadline = made->leave_at = made->view.until = deadline;
    made->view.span = deadline - now;
    int64_t check_at = overdue_at(made, call, now, deadline);
    pthread_mutex_lock(&in->lock);
    /* A call from before the library's last start fails, too: its handle was of another one. */
    int open = in->open && (!call->generation || call->generation == in->generation);
    if (!open || in->pending.count + in->taken.count >= CAPACITY) {
        pthread_mutex_unlock(&in->lock);
        core_request_free(made);
        if (open)
            core_fail(PLUE_ERROR_QUEUE_FULL, subject, "%d calls are waiting already. Try again when some have ended.",
                      CAPACITY);
        else
            core_fail(PLUE_ERROR_CLOSED, subject, "the library shut down during the call. Call plue_init() again.");
        return NULL;
    }
    core_list_append_locked(&in->pending, made);
    core_leave_start_locked(made);
    if (made->view.slow) {
        ask_reader_locked(in);
    } else {
        atomic_store_explicit(&in->hint, 1, memory_order_relaxed);
        pthread_cond_signal(&in->arrived);
    }

    if (kind->lingers)
        core_awake_wait_locked(in, made, in->pending.count + in->taken.count + in->started.count == 1);
    while (made->state < DONE) {
        struct timespec at;
        int is_unchecked = made->state == PENDING && !made->leave_code && check_at < made->leave_at;
        core_deadline(&at, is_unchecked ? check_at : made->leave_at);
        if (core_awake_called_locked(made)) {
            core_awake_wait_locked(in, made, 0);
            continue;
        }
        if (pthread_cond_timedwait(&made->ended, &in->lock, &at) != ETIMEDOUT || made->state == DONE)
            continue;
        if (is_unchecked) {
            check_at = INT64_MAX;
            made->overdue = made->state == PENDING;
            if (made->overdue)
                ask_reader_locked(in);
            continue;
        }
        if (core_monotonic_ns() < made->leave_at)
            continue;
        int begun = made->state == STARTED, code = made->leave_code;
        if (begun && !code && made->leave_at < deadline + kind->grace_ns) {
            made->leave_at = deadline + kind->grace_ns;
            continue;
        }
        int is_mine = made->state == PENDING; /* nobody else knows it */
        core_list_detach_locked(is_mine ? &in->pending : begun ? &in->started : &in->taken, made);
        if (made->exclusive)
            pthread_cond_signal(&in->arrived); /* a request that waited for its lock may go on */
        made->state = ABANDONED;
        pthread_mutex_unlock(&in->lock);
        if (is_mine)
            core_request_free(made);
        leave(subject, call->operation, code, to, begun);
        return NULL;
    }
    pthread_mutex_unlock(&in->lock);
    if (made->code) {
        core_fail_with(made->code, made->message ? made->message : "out of memory", made->details);
        core_request_free(made);
        return NULL;
    }
    return made;
}

static request *perform(core_call *call, int to, int64_t deadline)
{
    char room[CORE_SUBJECT];
    request *made = make_request(call);
    if (made)
        return pass(made, call, to, deadline);
    core_fail(PLUE_ERROR_IO, core_call_subject(call, room), "out of memory. Free some and try again.");
    free(call->session);
    return NULL;
}

/* ---- for shims ---- */
core_call core_begin(int operation)
{
    core_call call = {.operation = operation};
    call.generation = atomic_load(&core_generation);
    call.failed = core_ready(name_of(operation));
    return call;
}

void core_take_session(core_call *call, plue_session_t session)
{
    if (!call->failed && !(call->session = core_session_id_of(session, name_of(call->operation))))
        call->failed = -1;
}

void core_take_text(core_call *call, const char *name, const char *text, int required)
{
    if (call->failed)
        return;
    char room[CORE_SUBJECT];
    size_t length = text ? strlen(text) : 0;
    call->failed = -1;
    if (!text && required)
        core_fail(PLUE_ERROR_INVALID_PARAM, core_call_subject(call, room), "Invalid parameters: %s is NULL. Pass text.",
                  name);
    else
        call->failed = core_check_text(name_of(call->operation), call->session, name, text ? text : "", length);
    call->text[call->texts] = text;
    call->length[call->texts++] = length;
}

int core_check_timeout(const char *subject, const char *name, int milliseconds)
{
    if (milliseconds >= 0)
        return 0;
    core_fail(PLUE_ERROR_INVALID_PARAM, subject,
              "Invalid parameters: %s is %d, and nothing waits for ever. Pass milliseconds, or 0 to not wait.", name,
              milliseconds);
    return -1;
}

void core_take_timeout(core_call *call, const char *name, int milliseconds)
{
    char room[CORE_SUBJECT];
    if (call->failed)
        return;
    call->number = milliseconds;
    call->wait_ns = milliseconds * MS;
    call->failed = core_check_timeout(core_call_subject(call, room), name, milliseconds);
}

void core_interrupt(core_call *call)
{
    if (!call->failed)
        core__interrupt(call->session);
}

request *core_call_run(core_call *call)
{
    if (call->failed) {
        free(call->session);
        return NULL;
    }
    core_visit visit;
    if (core_enter(&visit, name_of(call->operation))) {
        free(call->session);
        return NULL;
    }
    int executor = atomic_load(&core_away) ? core_operations[call->operation].away
                                           : core_operations[call->operation].executor;
    int waits = call->wait_ns && (atomic_load(&core_away) || core_operations[call->operation].waits_here);
    int64_t span = waits ? call->wait_ns : atomic_load(&timeout_ms) * MS;
    request *done = perform(call, executor, core_monotonic_ns() + span);
    core_leave(&visit);
    return done;
}

int core_run_count(core_call *call)
{
    request *done = core_call_run(call);
    int count = done ? (int)done->number : -1;
    if (done)
        core_request_free(done);
    return count;
}

int core_control_since(int operation, const char *text, int number, int64_t begun, int64_t deadline)
{
    core_call call = {.operation = operation,
                      .number = number,
                      .value = (uint64_t)begun,
                      .texts = 1,
                      .text = {text},
                      .length = {text ? strlen(text) : 0}};
    core_executors_prepare();
    if (operation == CORE_CONTROL_OPEN && !spare && !(spare = new_request(0))) {
        core_fail(PLUE_ERROR_IO, name_of(operation), "out of memory. Free some and try again.");
        return -1;
    }
    request *done = perform(&call, CORE_EXECUTOR_CONTROL, deadline);
    if (done)
        core_request_free(done);
    return done ? 0 : -1;
}

int core_control(int operation, const char *text, int number, int64_t deadline)
{
    return core_control_since(operation, text, number, core_monotonic_ns(), deadline);
}

char *core_ask_info(char *session_id)
{
    core_call call = core_begin(CORE_OP_PLUE_SESSION_GET_INFO);
    call.session = session_id;
    return core_run_text(&call);
}

/* Send home the callers that wait for the session, but for those that abort it. Calls that are about to end get the
 * time to do so: only those that are really blocked are sent home. */
void core__interrupt(const char *session)
{
    core_executors_interrupt(session, CORE_OP_PLUE_SESSION_ABORT, core_monotonic_ns() + ABORT_GRACE_MS * MS);
}

void core__set_timeout(int milliseconds)
{
    atomic_store(&timeout_ms, milliseconds);
}
