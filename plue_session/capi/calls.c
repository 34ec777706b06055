/*
 * Calls that Python answers, seen from the caller: collect the arguments, post a request, wait with a deadline.
 */
#include "lanes.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plue_tables.h"

#define NAP_NS INT64_C(120000)
#define AWAKE_NS INT64_C(300000)
enum { LONGEST_TEXT = 64 << 20, SUBJECT = 256, CAPACITY = 4096, ABORT_GRACE_MS = 500, COMMIT_GRACE_MS = 10000 };

static atomic_int timeout_ms = 30000;
static request *spare; /* made by plue_init: the store is closed also when there is no memory to ask for it */

static const char *name_of(int operation)
{
    return operation == PLUE_CONTROL_OPEN ? "plue_init" : operation < 0 ? "plue_shutdown" : plue_operations[operation].name;
}

/* What an error is about: the operation, and the session when the call named one. */
static const char *subject_of(const plue_call *call, char room[SUBJECT])
{
    snprintf(room, SUBJECT, "%s%s%s", name_of(call->operation), call->session ? " " : "", call->session ? call->session : "");
    return room;
}

static request *make_request(const plue_call *call)
{
    size_t room = 0;
    for (int i = 0; i < call->texts; i++)
        room += call->length[i] + 1;
    request *made = calloc(1, sizeof *made + room);
    if (!made && call->operation == PLUE_CONTROL_CLOSE) {
        made = spare;
        spare = NULL;
    }
    if (!made)
        return NULL;
    plue_cond_init(&made->ended);
    made->view.operation = call->operation;
    made->view.session = call->session;
    made->view.number = call->number;
    char *to = made->storage;
    for (int i = 0; i < call->texts; i++) {
        if (call->text[i]) {
            memcpy(to, call->text[i], call->length[i]);
            made->view.text[i] = to;
            made->view.length[i] = call->length[i];
            to += call->length[i] + 1;
        }
    }
    if (call->operation >= 0 && plue_operations[call->operation].turn)
        made->turn = call->session ? call->session : made->view.text[0];
    return made;
}

/* Why a caller leaves before the end of its call, and what it can do. */
static const char *reason(int code, int lane, int state)
{
    int begun = state != PENDING;
    if (lane == PLUE_LANE_CONTROL && code != PLUE_ERROR_CLOSED)
        return begun ? "it could not be ended in time: the disk or the server is slow. Try again."
                     : "an earlier plue_init() or plue_shutdown() is still at it. Try again.";
    begun = begun && lane != PLUE_LANE_READ; /* to read, or to parse what is to be written, changes nothing */
    if (code == PLUE_ERROR_ABORTED)
        return begun ? "plue_session_abort() interrupted it; whether it took effect will be seen in the session's state. Make the call again if it is still wanted."
                     : "plue_session_abort() interrupted it; nothing was changed. Make the call again if it is still wanted.";
    if (code == PLUE_ERROR_CLOSED)
        return begun ? "the library shut down during the call. Call plue_init() again."
                     : "the library shut down during the call; nothing was changed. Call plue_init() again.";
    if (lane == PLUE_LANE_READ && state != PENDING)
        return "no answer in time; nothing was changed. Try again, or raise requestTimeoutMs.";
    if (lane >= PLUE_LANE_REMOTE)
        return begun ? "the server gave no answer in time; whether it took effect will be seen in the session's state. Try again, or allow more time (requestTimeoutMs)."
                     : "the server, or the calls before it, kept it waiting for as long as it may take; nothing was changed. Try again, or allow more time (requestTimeoutMs).";
    return begun ? "no answer in time; whether it took effect will be seen in the session's state. Try again, or raise requestTimeoutMs."
                 : "the store was locked by another process, or overloaded, for as long as the call may take; nothing was changed. Try again, or raise requestTimeoutMs.";
}

/*
 * Waking a thread takes the kernel about as long as all that the library does around a commit, and takes it from both sides. So a
 * caller that waits for the writer alone sleeps for less than a commit takes and is then awake for a while, as it is when the
 * writer says that the end is near; after that it sleeps like everybody. It yields to whoever else wants the processor. A thread
 * with real-time priority would yield to nobody, and with one processor the writer would wait for it: neither stays awake.
 */
static int may_stay_awake(void)
{
    static atomic_int processors;
    int count = atomic_load_explicit(&processors, memory_order_relaxed), ordinary = 1;
#ifdef __linux__
    ordinary = sched_getscheduler(0) == SCHED_OTHER;
    cpu_set_t allowed;
    if (!count)
        count = sched_getaffinity(0, sizeof allowed, &allowed) ? 1 : CPU_COUNT(&allowed);
#endif
    if (!count)
        count = (int)sysconf(_SC_NPROCESSORS_ONLN);
    atomic_store_explicit(&processors, count, memory_order_relaxed);
    return count > 1 && ordinary;
}

static void stay_awake(request *made, lane *in)
{
    if (may_stay_awake()) {
        int64_t until = plue_monotonic_ns() + AWAKE_NS;
        atomic_store_explicit(&made->near, NEAR, memory_order_relaxed);
        pthread_mutex_unlock(&in->lock);
        while (atomic_load_explicit(&made->near, memory_order_relaxed) == NEAR && plue_monotonic_ns() < until)
            sched_yield();
        pthread_mutex_lock(&in->lock);
    }
    atomic_store_explicit(&made->near, OVER, memory_order_relaxed);
}

static void nap(request *made, lane *in)
{
    struct timespec at;
    plue_deadline(&at, plue_monotonic_ns() + NAP_NS);
    if (pthread_cond_timedwait(&made->ended, &in->lock, &at) == ETIMEDOUT && made->state == STARTED)
        stay_awake(made, in);
}

/* Post the request to a lane and wait for its end; NULL with the error set. The result is in the request. */
static request *pass(request *made, const plue_call *call, int to, int64_t deadline)
{
    char room[SUBJECT];
    const char *operation = subject_of(call, room);
    lane *in = &plue_lanes[to];
    made->lane = to;
    made->state = PENDING;
    made->deadline = made->leave_at = made->view.until = deadline;
    made->view.span = deadline - plue_monotonic_ns();
    pthread_mutex_lock(&in->lock);
    /* A call that is older than the library's last start fails, too: its handle and its lane were of another one. */
    int open = in->open && (!call->generation || call->generation == in->generation);
    if (!open || in->pending.count >= CAPACITY) {
        pthread_mutex_unlock(&in->lock);
        plue_request_free(made);
        if (open)
            plue_fail(PLUE_ERROR_QUEUE_FULL, operation, "%d calls are waiting already. Try again when some have ended.", CAPACITY);
        else
            plue_fail(PLUE_ERROR_CLOSED, operation, "the library shut down during the call. Call plue_init() again.");
        return NULL;
    }
    plue_list_append(&in->pending, made);
    atomic_store_explicit(&in->hint, 1, memory_order_relaxed);
    pthread_cond_signal(&in->arrived);

    if (to == PLUE_LANE_COMMIT && in->pending.count + in->started.count == 1)
        nap(made, in);
    while (made->state < DONE) {
        struct timespec at;
        plue_deadline(&at, made->leave_at);
        if (atomic_load_explicit(&made->near, memory_order_relaxed) == NEAR) {
            stay_awake(made, in);
            continue;
        }
        if (pthread_cond_timedwait(&made->ended, &in->lock, &at) != ETIMEDOUT || made->state == DONE || plue_monotonic_ns() < made->leave_at)
            continue;
        if (made->state == STARTED && to == PLUE_LANE_COMMIT && !made->leave_code && made->leave_at < deadline + COMMIT_GRACE_MS * MS) {
            /* A commit that has begun is not interrupted, and how it ended is worth a wait: the disk is slow. */
            made->leave_at = deadline + COMMIT_GRACE_MS * MS;
            continue;
        }
        int state = made->state, code = made->leave_code ? made->leave_code : state == PENDING && to < PLUE_LANE_REMOTE ? PLUE_ERROR_BUSY : PLUE_ERROR_TIMEOUT;
        plue_list_detach(state == PENDING ? &in->pending : &in->started, made);
        if (made->turn)
            pthread_cond_signal(&in->arrived); /* whose turn is next may have a thread of its own */
        made->state = ABANDONED;
        pthread_mutex_unlock(&in->lock);
        if (state == PENDING)
            plue_request_free(made);
        plue_fail(code, operation, "%s", reason(code, to, state));
        return NULL;
    }
    pthread_mutex_unlock(&in->lock);
    if (made->code) {
        plue_fail_with(made->code, made->message ? made->message : "out of memory", made->details);
        plue_request_free(made);
        return NULL;
    }
    return made;
}

static request *perform(plue_call *call, int to, int64_t deadline)
{
    char room[SUBJECT];
    request *made = make_request(call);
    if (!made) {
        plue_fail(PLUE_ERROR_IO, subject_of(call, room), "out of memory. Free some and try again.");
        free(call->session);
        return NULL;
    }
    if (to == PLUE_LANE_COMMIT && plue_operations[call->operation].parsed) {
        made->view.parse = 1;
        if (!pass(made, call, PLUE_LANE_READ, deadline))
            return NULL;
        made->view.parse = 0;
        made->view.parsed = made->number;
    }
    return pass(made, call, to, deadline);
}

/* ---- for shims ---- */
plue_call plue_begin(int operation)
{
    plue_call call = {.operation = operation};
    call.generation = atomic_load(&plue_generation);
    call.failed = plue_ready(name_of(operation));
    return call;
}

void plue_take_session(plue_call *call, plue_session_t session)
{
    if (!call->failed && !(call->session = plue_session_id_of(session, name_of(call->operation))))
        call->failed = -1;
}

void plue_take_text(plue_call *call, const char *name, const char *text, int required)
{
    if (call->failed)
        return;
    char room[SUBJECT];
    size_t length = text ? strlen(text) : 0;
    call->failed = -1;
    if (!text && required)
        plue_fail(PLUE_ERROR_INVALID_PARAM, subject_of(call, room), "Invalid parameters: %s is NULL. Pass text.", name);
    else if (length > LONGEST_TEXT)
        plue_fail(PLUE_ERROR_LIMIT_EXCEEDED, subject_of(call, room), "%s has %zu bytes, a text may have %d. Shorten it.", name, length, LONGEST_TEXT);
    else if (!plue_is_utf8(text ? text : "", length))
        plue_fail(PLUE_ERROR_INVALID_PARAM, subject_of(call, room), "Invalid parameters: %s is not valid UTF-8. Convert it first.", name);
    else
        call->failed = 0;
    call->text[call->texts] = text;
    call->length[call->texts++] = length;
}

void plue_take_timeout(plue_call *call, const char *name, int milliseconds)
{
    char room[SUBJECT];
    if (call->failed)
        return;
    call->number = milliseconds;
    call->wait_ns = milliseconds * MS;
    call->failed = milliseconds < 0 ? -1 : 0;
    if (call->failed)
        plue_fail(PLUE_ERROR_INVALID_PARAM, subject_of(call, room), "Invalid parameters: %s is %d, and nothing waits for ever. "
                  "Pass milliseconds, or 0 to not wait.", name, milliseconds);
}

void plue_interrupt(plue_call *call)
{
    if (call->failed)
        return;
    for (int i = PLUE_LANE_COMMIT; i <= PLUE_LANE_REMOTE; i++) { /* in the urgent lane there are only aborts */
        pthread_mutex_lock(&plue_lanes[i].lock);
        for (request *each = plue_lanes[i].pending.first; each; each = each->next) {
            if (!each->leave_code && each->view.operation != call->operation && each->view.session && !strcmp(each->view.session, call->session)) {
                /* What is about to end anyway may: only a call that is really blocked is sent home. */
                int64_t soon = plue_monotonic_ns() + ABORT_GRACE_MS * MS;
                each->leave_code = PLUE_ERROR_ABORTED;
                each->leave_at = soon < each->leave_at ? soon : each->leave_at;
                pthread_cond_signal(&each->ended);
            }
        }
        pthread_mutex_unlock(&plue_lanes[i].lock);
    }
}

static request *run(plue_call *call)
{
    if (call->failed) {
        free(call->session);
        return NULL;
    }
    plue_visit visit = plue_enter();
    int lane = atomic_load(&plue_away) ? plue_operations[call->operation].away : plue_operations[call->operation].lane;
    int64_t span = lane == PLUE_LANE_REMOTE && call->wait_ns ? call->wait_ns : atomic_load(&timeout_ms) * MS;
    request *done = perform(call, lane, plue_monotonic_ns() + span);
    plue_leave(&visit);
    return done;
}

plue_session_t plue_run_session(plue_call *call)
{
    request *done = run(call);
    plue_session_t handle = done ? (plue_session_t)done->handle : NULL;
    if (done)
        plue_request_free(done);
    return handle;
}

char *plue_run_text(plue_call *call)
{
    const char *operation = name_of(call->operation);
    request *done = run(call);
    char *text = NULL;
    if (done) {
        text = done->text;
        done->text = NULL;
        plue_request_free(done);
        if (!text || plue_own_block(text)) {
            free(text);
            text = NULL;
            plue_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
        }
    }
    return text;
}

int plue_run_count(plue_call *call)
{
    request *done = run(call);
    int number = done ? done->number : -1;
    if (done)
        plue_request_free(done);
    return number;
}

int plue_run_status(plue_call *call)
{
    return plue_run_count(call);
}

int plue_control(int operation, const char *text, int number, int64_t deadline)
{
    plue_call call = {.operation = operation, .number = number, .texts = 1, .text = {text}, .length = {text ? strlen(text) : 0}};
    plue_lanes_prepare();
    if (operation == PLUE_CONTROL_OPEN && !spare && !(spare = calloc(1, sizeof *spare))) {
        plue_fail(PLUE_ERROR_IO, name_of(operation), "out of memory. Free some and try again.");
        return -1;
    }
    request *done = perform(&call, PLUE_LANE_CONTROL, deadline);
    if (done)
        plue_request_free(done);
    return done ? 0 : -1;
}

char *plue_ask_info(char *session_id)
{
    plue_call call = plue_begin(PLUE_OP_PLUE_SESSION_GET_INFO);
    call.session = session_id;
    return plue_run_text(&call);
}

void plue__set_timeout(int milliseconds)
{
    atomic_store(&timeout_ms, milliseconds);
}
