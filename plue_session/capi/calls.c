/*
 * Calls that Python answers: requests, lanes, and callers that wait with a deadline.
 *
 * A lane is a bounded queue of requests with library threads behind it. A request is PENDING until a library thread takes
 * it, then STARTED, then DONE. Its caller may leave at any time: a pending request is withdrawn as if it had never been
 * made; a started one is left behind (ABANDONED), and whoever finishes it throws the result away.
 */
#include "core.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "plue_tables.h"

enum { PENDING, STARTED, DONE, ABANDONED };
enum { CAPACITY = 4096, ABORT_GRACE_MS = 500, COMMIT_GRACE_MS = 10000 };
#define MS INT64_C(1000000)
#define LINGER_NS INT64_C(60000)

typedef struct request request;
struct request {
    plue_request view; /* first: Python sees this part */
    request *next, **link;
    pthread_cond_t ended;
    int lane, state;
    int leave_code;             /* why the caller is to go home at leave_at, when not for its deadline */
    int64_t deadline, leave_at; /* monotonic ns */
    int code;                   /* 0 or the error */
    char *message, *details, *text;
    uintptr_t handle;
    int number;
    char storage[]; /* copies of the texts */
};

typedef struct list {
    request *first, **last;
    int count;
} list;

typedef struct lane {
    pthread_mutex_t lock;
    pthread_cond_t arrived, emptied;
    list pending, started;
    atomic_int hint; /* something may have come: what a thread looks at while it lingers */
    int open, woken, threads, generation;
} lane;

static lane lanes[PLUE_LANE_COUNT];
static pthread_once_t lanes_once = PTHREAD_ONCE_INIT;
static atomic_int timeout_ms = 30000;
static const int lane_threads[PLUE_LANE_COUNT] = {1, 1, 2};

static void make_lanes(void)
{
    for (int i = 0; i < PLUE_LANE_COUNT; i++) {
        pthread_mutex_init(&lanes[i].lock, NULL);
        plue_cond_init(&lanes[i].arrived);
        plue_cond_init(&lanes[i].emptied);
        lanes[i].pending.last = &lanes[i].pending.first;
        lanes[i].started.last = &lanes[i].started.first;
        lanes[i].open = i == PLUE_LANE_CONTROL;
    }
}

static const char *name_of(int operation)
{
    return operation == PLUE_CONTROL_OPEN ? "plue_init" : operation < 0 ? "plue_shutdown" : plue_operations[operation].name;
}

/* ---- requests ---- */
static void append(list *to, request *added)
{
    added->next = NULL;
    added->link = to->last;
    *to->last = added;
    to->last = &added->next;
    to->count++;
}

static void detach(list *from, request *old)
{
    *old->link = old->next;
    if (old->next)
        old->next->link = old->link;
    else
        from->last = old->link;
    from->count--;
}

/* Tell the callers of a list to go home, at the latest at `at`. */
static void send_home(list *of, int code, int64_t at)
{
    for (request *each = of->first; each; each = each->next) {
        each->leave_code = code;
        each->leave_at = at;
        pthread_cond_signal(&each->ended);
    }
}

static void free_request(request *old)
{
    pthread_cond_destroy(&old->ended);
    free((char *)old->view.session);
    free(old->message);
    free(old->details);
    free(old->text);
    free(old);
}

static request *make_request(const plue_call *call)
{
    size_t room = 0;
    for (int i = 0; i < call->texts; i++)
        room += call->length[i] + 1;
    request *made = calloc(1, sizeof *made + room);
    if (!made)
        return NULL;
    plue_cond_init(&made->ended);
    made->view.operation = call->operation;
    made->view.session = call->session;
    char *to = made->storage;
    for (int i = 0; i < call->texts; i++) {
        if (call->text[i]) {
            memcpy(to, call->text[i], call->length[i]);
            made->view.text[i] = to;
            made->view.length[i] = call->length[i];
            to += call->length[i] + 1;
        }
    }
    return made;
}

/* Post the call to its lane and wait for its end; NULL with the error set. The result is in the request. */
static request *perform(plue_call *call, int to, int64_t deadline)
{
    const char *operation = name_of(call->operation);
    request *made = make_request(call);
    if (!made) {
        free(call->session);
        plue_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
        return NULL;
    }
    lane *in = &lanes[to];
    made->lane = to;
    made->deadline = made->leave_at = deadline;
    pthread_mutex_lock(&in->lock);
    if (!in->open || in->pending.count >= CAPACITY) {
        int open = in->open;
        pthread_mutex_unlock(&in->lock);
        free_request(made);
        if (open)
            plue_fail(PLUE_ERROR_QUEUE_FULL, operation, "%d calls are waiting already. Try again when some have ended.", CAPACITY);
        else
            plue_fail(PLUE_ERROR_CLOSED, operation, "the library shut down during the call. Call plue_init() again.");
        return NULL;
    }
    append(&in->pending, made);
    atomic_store_explicit(&in->hint, 1, memory_order_relaxed);
    pthread_cond_signal(&in->arrived);

    while (made->state < DONE) {
        struct timespec at;
        plue_deadline(&at, made->leave_at);
        if (pthread_cond_timedwait(&made->ended, &in->lock, &at) != ETIMEDOUT || made->state == DONE || plue_monotonic_ns() < made->leave_at)
            continue;
        if (made->state == STARTED && to == PLUE_LANE_COMMIT && !made->leave_code && made->leave_at < deadline + COMMIT_GRACE_MS * MS) {
            /* A commit that has begun is not interrupted, and how it ended is worth a wait: the disk is slow. */
            made->leave_at = deadline + COMMIT_GRACE_MS * MS;
            continue;
        }
        int state = made->state, code = made->leave_code ? made->leave_code : state == PENDING ? PLUE_ERROR_BUSY : PLUE_ERROR_TIMEOUT;
        detach(state == PENDING ? &in->pending : &in->started, made);
        made->state = ABANDONED;
        pthread_mutex_unlock(&in->lock);
        if (state == PENDING)
            free_request(made);
        if (code == PLUE_ERROR_ABORTED)
            plue_fail(code, operation, "plue_session_abort() interrupted it; nothing was changed. Make the call again if it is still wanted.");
        else if (code == PLUE_ERROR_CLOSED)
            plue_fail(code, operation, "the library shut down during the call%s. Call plue_init() again.", state == PENDING ? "; nothing was changed" : "");
        else if (code == PLUE_ERROR_BUSY)
            plue_fail(code, operation, "the store was locked by another process, or overloaded, for as long as the call may take; nothing was changed. Try again, or raise requestTimeoutMs.");
        else
            plue_fail(code, operation, "no answer in time; whether it took effect will be seen in the session's state. Try again, or raise requestTimeoutMs.");
        return NULL;
    }
    pthread_mutex_unlock(&in->lock);
    if (made->code) {
        plue_fail_with(made->code, made->message ? made->message : "out of memory", made->details);
        free_request(made);
        return NULL;
    }
    return made;
}

/* ---- for shims ---- */
plue_call plue_begin(int operation)
{
    plue_call call = {.operation = operation};
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
    size_t length = text ? strlen(text) : 0;
    if (!text && required) {
        plue_fail(PLUE_ERROR_INVALID_PARAM, name_of(call->operation), "Invalid parameters: %s is NULL. Pass text.", name);
        call->failed = -1;
    } else if (!plue_is_utf8(text ? text : "", length)) {
        plue_fail(PLUE_ERROR_INVALID_PARAM, name_of(call->operation), "Invalid parameters: %s is not valid UTF-8. Convert it first.", name);
        call->failed = -1;
    }
    call->text[call->texts] = text;
    call->length[call->texts++] = length;
}

void plue_interrupt(plue_call *call)
{
    if (call->failed)
        return;
    for (int i = PLUE_LANE_COMMIT; i < PLUE_LANE_COUNT; i++) {
        pthread_mutex_lock(&lanes[i].lock);
        for (request *each = lanes[i].pending.first; each; each = each->next) {
            if (!each->leave_code && each->view.operation != call->operation && each->view.session && !strcmp(each->view.session, call->session)) {
                /* What is about to end anyway may: only a call that is really blocked is sent home. */
                int64_t soon = plue_monotonic_ns() + ABORT_GRACE_MS * MS;
                each->leave_code = PLUE_ERROR_ABORTED;
                each->leave_at = soon < each->leave_at ? soon : each->leave_at;
                pthread_cond_signal(&each->ended);
            }
        }
        pthread_mutex_unlock(&lanes[i].lock);
    }
}

static request *run(plue_call *call)
{
    void *interpreter = NULL;
    if (call->failed) {
        free(call->session);
        return NULL;
    }
    int released = plue_release_interpreter(&interpreter);
    request *done = perform(call, plue_operations[call->operation].lane, plue_monotonic_ns() + atomic_load(&timeout_ms) * MS);
    if (released)
        plue_retake_interpreter(interpreter);
    return done;
}

plue_session_t plue_run_session(plue_call *call)
{
    request *done = run(call);
    plue_session_t handle = done ? (plue_session_t)done->handle : NULL;
    if (done)
        free_request(done);
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
        free_request(done);
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
        free_request(done);
    return number;
}

int plue_run_status(plue_call *call)
{
    return plue_run_count(call);
}

int plue_control(int operation, const char *text, int64_t deadline)
{
    plue_call call = {.operation = operation, .texts = 1, .text = {text}, .length = {text ? strlen(text) : 0}};
    pthread_once(&lanes_once, make_lanes);
    request *done = perform(&call, PLUE_LANE_CONTROL, deadline);
    if (done)
        free_request(done);
    return done ? 0 : -1;
}

/* ---- for Python ---- */
static int closed(const lane *in, int index, int generation)
{
    return index != PLUE_LANE_CONTROL && (!in->open || in->generation != generation);
}

/*
 * A caller that makes one change after the other posts the next a few microseconds after the last was finished: for that
 * long the writer stays awake, for the kernel takes longer to wake it. It yields to whoever else wants the processor.
 */
static void linger(lane *in)
{
    int64_t until = plue_monotonic_ns() + LINGER_NS;
    while (!atomic_load_explicit(&in->hint, memory_order_relaxed) && plue_monotonic_ns() < until)
        sched_yield();
}

/* Wait until there is something to do in the lane, and say what (PLUE_SIGNAL_*); 0: the lane is closed. */
int plue__wait(int index, int generation)
{
    lane *in = &lanes[index];
    pthread_once(&lanes_once, make_lanes);
    if (index == PLUE_LANE_COMMIT)
        linger(in);
    pthread_mutex_lock(&in->lock);
    while (!closed(in, index, generation) && !in->pending.first && !in->woken)
        pthread_cond_wait(&in->arrived, &in->lock);
    int what = closed(in, index, generation) ? 0 : (in->pending.first ? PLUE_SIGNAL_REQUESTS : 0) | in->woken;
    in->woken = 0;
    atomic_store_explicit(&in->hint, 0, memory_order_relaxed);
    pthread_mutex_unlock(&in->lock);
    return what;
}

/* Take what is pending, at most `room`; does not wait. */
int plue__take(int index, int generation, plue_request **requests, int room)
{
    lane *in = &lanes[index];
    int taken = 0;
    pthread_mutex_lock(&in->lock);
    while (!closed(in, index, generation) && taken < room && in->pending.first) {
        request *next = in->pending.first;
        detach(&in->pending, next);
        append(&in->started, next);
        next->state = STARTED;
        next->leave_code = 0; /* an abort that came while it was pending came too late */
        next->leave_at = next->deadline;
        requests[taken++] = &next->view;
    }
    pthread_mutex_unlock(&in->lock);
    return taken;
}

void plue__wake(int index, int signal)
{
    lane *in = &lanes[index];
    pthread_mutex_lock(&in->lock);
    in->woken |= signal;
    pthread_cond_signal(&in->arrived);
    pthread_mutex_unlock(&in->lock);
}

/* End a request that was taken. When the caller has left, its result has nowhere to go. */
static int finish(request *done)
{
    lane *in = &lanes[done->lane];
    pthread_mutex_lock(&in->lock);
    int abandoned = done->state == ABANDONED;
    if (!abandoned) {
        detach(&in->started, done);
        done->state = DONE;
        pthread_cond_signal(&done->ended);
    }
    pthread_mutex_unlock(&in->lock);
    if (abandoned) {
        plue__session_release(done->handle);
        free_request(done);
    }
    return abandoned ? -1 : 0;
}

void plue__finish_text(plue_request *view, const char *text, size_t length)
{
    request *done = (request *)view;
    done->text = malloc(length + 1);
    if (done->text) {
        memcpy(done->text, text, length);
        done->text[length] = 0;
    }
    finish(done);
}

int plue__finish_number(plue_request *view, int number)
{
    request *done = (request *)view;
    done->number = number;
    return finish(done);
}

int plue__finish_session(plue_request *view, uintptr_t handle)
{
    request *done = (request *)view;
    done->handle = handle;
    return finish(done);
}

void plue__finish_error(plue_request *view, int code, const char *message, const char *details)
{
    request *done = (request *)view;
    done->code = code;
    done->message = strdup(message);
    done->details = details && *details ? strdup(details) : NULL;
    finish(done);
}

void plue__set_timeout(int milliseconds)
{
    atomic_store(&timeout_ms, milliseconds);
}

/* ---- threads ---- */
extern int plue_python_serve(int lane, int generation);

struct assignment {
    int lane, generation;
};

static void *lane_main(void *argument)
{
    struct assignment mine = *(struct assignment *)argument;
    free(argument);
    plue_thread *thread = plue_this_thread();
    if (thread)
        thread->generation = mine.generation;
    plue_python_serve(mine.lane, mine.generation);
    lane *in = &lanes[mine.lane];
    pthread_mutex_lock(&in->lock);
    if (in->generation == mine.generation && --in->threads == 0)
        pthread_cond_broadcast(&in->emptied);
    pthread_mutex_unlock(&in->lock);
    return NULL;
}

int plue_lanes_open(int generation)
{
    for (int i = PLUE_LANE_COMMIT; i < PLUE_LANE_COUNT; i++) {
        pthread_mutex_lock(&lanes[i].lock);
        lanes[i].open = 1;
        lanes[i].generation = generation;
        lanes[i].woken = PLUE_SIGNAL_WAKE; /* others may have written while we started */
        lanes[i].threads = 0;
        pthread_mutex_unlock(&lanes[i].lock);
        for (int n = 0; n < lane_threads[i]; n++) {
            struct assignment *mine = malloc(sizeof *mine);
            if (mine) {
                *mine = (struct assignment){i, generation};
                pthread_mutex_lock(&lanes[i].lock);
                lanes[i].threads++;
                pthread_mutex_unlock(&lanes[i].lock);
            }
            if (!mine || plue_spawn(lane_main, mine)) {
                if (mine) {
                    pthread_mutex_lock(&lanes[i].lock);
                    lanes[i].threads--;
                    pthread_mutex_unlock(&lanes[i].lock);
                }
                free(mine);
                plue_lanes_close(plue_monotonic_ns() + 1000 * MS);
                return -1;
            }
        }
    }
    return 0;
}

/* A thread died by a defect of ours: its lane takes no more calls, they fail at once instead of waiting. */
void plue__lane_failed(int index, int generation)
{
    lane *in = &lanes[index];
    pthread_mutex_lock(&in->lock);
    if (in->generation == generation) {
        in->open = 0;
        send_home(&in->started, PLUE_ERROR_CLOSED, 0);
        send_home(&in->pending, PLUE_ERROR_CLOSED, 0);
    }
    pthread_mutex_unlock(&in->lock);
}

int plue_lanes_close(int64_t deadline)
{
    int stuck = 0;
    struct timespec at;
    plue_deadline(&at, deadline);
    for (int i = PLUE_LANE_COMMIT; i < PLUE_LANE_COUNT; i++) {
        lane *in = &lanes[i];
        pthread_mutex_lock(&in->lock);
        in->open = 0;
        send_home(&in->pending, PLUE_ERROR_CLOSED, 0);
        pthread_cond_broadcast(&in->arrived);
        pthread_mutex_unlock(&in->lock);
    }
    for (int i = PLUE_LANE_COMMIT; i < PLUE_LANE_COUNT; i++) {
        lane *in = &lanes[i];
        pthread_mutex_lock(&in->lock);
        while (in->threads && pthread_cond_timedwait(&in->emptied, &in->lock, &at) != ETIMEDOUT)
            ;
        stuck |= in->threads != 0;
        send_home(&in->started, PLUE_ERROR_CLOSED, 0);
        pthread_mutex_unlock(&in->lock);
    }
    return stuck ? -1 : 0;
}
