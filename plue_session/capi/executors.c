/*
 * Executors and the library's threads.
 *
 * A request is PENDING until a library thread takes it, then STARTED, then DONE. Its caller may leave at any time: a
 * pending request is withdrawn as if it had never been made; a started one is left behind (ABANDONED), and whoever
 * finishes it throws the result away.
 */
#include "executors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HANG_UP_MS = 300 }; /* a call to the server ends so soon after Python has hung up */

executor core_executors[CORE_EXECUTOR_COUNT];
atomic_int core_away;
static int64_t leave_start_at; /* of the control executor: when a start goes home, 0: at its own time */
static pthread_once_t executors_once = PTHREAD_ONCE_INIT;

/*
 * One thread writes. A commit that has begun is not interrupted, and how it ended is worth a wait: the disk is slow. A
 * server's answer is waited for: several at a time. An abort that waits for one has set its flag and sent others home
 * by then: so many can.
 */
const executor_kind core_executor_kinds[CORE_EXECUTOR_COUNT] = {
    [CORE_EXECUTOR_CONTROL] = {.name = "plue-control", .threads = 1, .lasting = 1, .late = PLUE_ERROR_BUSY},
    [CORE_EXECUTOR_COMMIT] = {.name = "plue-commit",
                              .threads = 1,
                              .is_interrupted = 1,
                              .lingers = 1,
                              .late = PLUE_ERROR_BUSY,
                              .grace_ns = 10000 * MS,
                              .patience_ns = 10 * MS},
    [CORE_EXECUTOR_READ] = {.name = "plue-read", .threads = 2, .is_interrupted = 1, .late = PLUE_ERROR_BUSY},
    [CORE_EXECUTOR_REMOTE] = {.name = "plue-remote",
                              .threads = 6,
                              .remote = 1,
                              .excludes = 1,
                              .is_interrupted = 1,
                              .late = PLUE_ERROR_TIMEOUT,
                              .patience_ns = 10 * MS},
    [CORE_EXECUTOR_URGENT] =
        {.name = "plue-urgent", .threads = 16, .remote = 1, .late = PLUE_ERROR_TIMEOUT, .patience_ns = 10 * MS},
};

static void make_executors(void)
{
    for (int i = 0; i < CORE_EXECUTOR_COUNT; i++) {
        core_set_up(&core_executors[i].lock, &core_executors[i].arrived);
        core_set_up(NULL, &core_executors[i].emptied);
        core_executors[i].pending.last = &core_executors[i].pending.first;
        core_executors[i].started.last = &core_executors[i].started.first;
        core_executors[i].open = core_executor_kinds[i].lasting;
    }
}

void core_executors_prepare(void)
{
    pthread_once(&executors_once, make_executors);
}

void core_list_append_locked(list *to, request *added)
{
    added->next = NULL;
    added->link = to->last;
    *to->last = added;
    to->last = &added->next;
    to->count++;
}

void core_list_detach_locked(list *from, request *old)
{
    *old->link = old->next;
    if (old->next)
        old->next->link = old->link;
    else
        from->last = old->link;
    from->count--;
}

void core_list_send_home_locked(list *of, int code, int64_t at)
{
    for (request *each = of->first; each; each = each->next) {
        each->leave_code = code;
        each->leave_at = at;
        pthread_cond_signal(&each->ended);
    }
}

void core_request_free(request *old)
{
    pthread_cond_destroy(&old->ended);
    free((char *)old->view.session);
    free(old->message);
    free(old->details);
    plue_free(old->text);
    free(old);
}

/* ---- for Python ---- */
static int closed_locked(const executor *in, int index, int generation)
{
    return !core_executor_kinds[index].lasting && (!in->open || in->generation != generation);
}

static int must_wait_locked(const executor *in, int index, const request *of)
{
    if (!core_executor_kinds[index].excludes || !of->exclusive)
        return 0;
    for (const request *each = in->started.first; each; each = each->next)
        if (each->exclusive && !strcmp(each->exclusive, of->exclusive))
            return 1;
    return 0;
}

/* The request that may be taken next, or NULL. */
static request *next_of_locked(const executor *in, int index)
{
    request *next = in->pending.first;
    while (next && must_wait_locked(in, index, next))
        next = next->next;
    return next;
}

/* Wait until there is something to do in the executor, and say what (CORE_SIGNAL_*); 0: the executor is closed. */
int core__wait(int index, int generation)
{
    executor *in = &core_executors[index];
    core_executors_prepare();
    if (index == CORE_EXECUTOR_CONTROL)
        core_drop_claim(CORE_CLAIM_CONTROL); /* what was left behind is done, too */
    if (core_executor_kinds[index].lingers)
        core_awake_linger(in);
    pthread_mutex_lock(&in->lock);
    while (!closed_locked(in, index, generation) && !next_of_locked(in, index) && !in->woken)
        pthread_cond_wait(&in->arrived, &in->lock);
    int what = closed_locked(in, index, generation)
                   ? 0
                   : (next_of_locked(in, index) ? CORE_SIGNAL_REQUESTS : 0) | in->woken;
    in->woken = 0;
    atomic_store_explicit(&in->hint, 0, memory_order_relaxed);
    pthread_mutex_unlock(&in->lock);
    core_stay_if_gone();
    return what;
}

/* Take what is pending, at most `room`; does not wait. */
int core__take(int index, int generation, core_request **requests, int room)
{
    executor *in = &core_executors[index];
    int taken = 0;
    pthread_mutex_lock(&in->lock);
    for (request *next; taken < room && !closed_locked(in, index, generation) && (next = next_of_locked(in, index));) {
        core_list_detach_locked(&in->pending, next);
        core_list_append_locked(&in->started, next);
        next->state = STARTED;
        if (!core_executor_kinds[index].remote && !next->view.prepare) {
            next->leave_code = 0; /* an abort that came while it was pending came too late */
            next->leave_at = next->deadline;
        }
        requests[taken++] = &next->view;
    }
    if (taken && index == CORE_EXECUTOR_CONTROL)
        core_hold_claim(CORE_CLAIM_CONTROL);
    pthread_mutex_unlock(&in->lock);
    return taken;
}

void core__wake(int index, int signal)
{
    executor *in = &core_executors[index];
    pthread_mutex_lock(&in->lock);
    in->woken |= signal;
    pthread_cond_signal(&in->arrived);
    pthread_mutex_unlock(&in->lock);
}

/* End a request that was taken. When the caller has left, its result has nowhere to go. */
static int finish(request *done)
{
    executor *in = &core_executors[done->executor];
    pthread_mutex_lock(&in->lock);
    int abandoned = done->state == ABANDONED;
    if (!abandoned) {
        if (done->executor == CORE_EXECUTOR_CONTROL)
            core_drop_claim(CORE_CLAIM_CONTROL); /* before its caller goes on: what it then lets go of, another copy may
                                                    take at once */
        core_list_detach_locked(&in->started, done);
        done->state = DONE;
        core_awake_over_locked(done);
        pthread_cond_signal(&done->ended);
        if (done->exclusive)
            pthread_cond_signal(&in->arrived);
    }
    pthread_mutex_unlock(&in->lock);
    if (abandoned) {
        core__handle_release(done->handle);
        core_request_free(done);
    }
    return abandoned ? -1 : 0;
}

/* NULL: there is none, which is no failure. `array`: the text is what stands between the brackets of one; they are set
 * here, which copies it once less. */
void core__finish_text(core_request *view, const char *text, size_t length, int array)
{
    request *done = (request *)view;
    done->number = length;
    done->nothing = !text;
    if (text && (done->text = core_new_text(length + 3))) {
        char *to = done->text;
        if (array)
            *to++ = '[';
        memcpy(to, text, length);
        to += length;
        if (array)
            *to++ = ']';
        *to = 0;
    }
    finish(done);
}

int core__finish_number(core_request *view, uint64_t number)
{
    request *done = (request *)view;
    done->number = number;
    return finish(done);
}

int core__finish_handle(core_request *view, uintptr_t handle)
{
    request *done = (request *)view;
    done->handle = handle;
    return finish(done);
}

void core__finish_error(core_request *view, int code, const char *message, const char *details)
{
    request *done = (request *)view;
    done->code = code;
    done->message = strdup(message);
    done->details = details && *details ? strdup(details) : NULL;
    finish(done);
}

/* ---- threads ---- */
static void executor_ended(int index, int generation)
{
    executor *in = &core_executors[index];
    pthread_mutex_lock(&in->lock);
    if (in->generation == generation && --in->threads == 0)
        pthread_cond_broadcast(&in->emptied);
    pthread_mutex_unlock(&in->lock);
}

/* Does the library talk to a server? To be said before the executors are opened. */
void core__remote(int remote)
{
    atomic_store(&core_away, remote);
}

int core_executors_open(int generation)
{
    for (int i = CORE_EXECUTOR_COMMIT; i < CORE_EXECUTOR_COUNT; i++) {
        int threads = !core_executor_kinds[i].remote || atomic_load(&core_away) ? core_executor_kinds[i].threads : 0;
        pthread_mutex_lock(&core_executors[i].lock);
        core_executors[i].open = threads > 0;
        core_executors[i].generation = generation;
        core_executors[i].woken = CORE_SIGNAL_WAKE; /* others may have written while we started */
        core_executors[i].threads = 0;
        pthread_mutex_unlock(&core_executors[i].lock);
        for (int n = 0; n < threads; n++) {
            pthread_mutex_lock(&core_executors[i].lock);
            core_executors[i].threads++;
            pthread_mutex_unlock(&core_executors[i].lock);
            if (core_spawn_python(core_executor_kinds[i].name, i, generation, executor_ended)) {
                executor_ended(i, generation);
                core_executors_shut();
                core_executors_end(core_monotonic_ns() + 1000 * MS);
                return -1;
            }
        }
    }
    return 0;
}

int core_executor_is_open(int index, int generation)
{
    executor *in = &core_executors[index];
    pthread_mutex_lock(&in->lock);
    int open = !closed_locked(in, index, generation);
    pthread_mutex_unlock(&in->lock);
    return open;
}

void core_leave_start_locked(request *each)
{
    if (each->view.operation == CORE_CONTROL_OPEN && leave_start_at && leave_start_at < each->leave_at) {
        each->leave_code = PLUE_ERROR_CLOSED;
        each->leave_at = leave_start_at;
        pthread_cond_signal(&each->ended);
    }
}

void core_executors_leave_start(int64_t at)
{
    executor *in = &core_executors[CORE_EXECUTOR_CONTROL];
    core_executors_prepare();
    pthread_mutex_lock(&in->lock);
    leave_start_at = at;
    for (request *each = in->started.first; each; each = each->next)
        core_leave_start_locked(each);
    for (request *each = in->pending.first; each; each = each->next)
        core_leave_start_locked(each);
    pthread_mutex_unlock(&in->lock);
}

void core_executors_abandon(void)
{
    core_executors_prepare();
    for (int i = 0; i < CORE_EXECUTOR_COUNT; i++) {
        executor *in = &core_executors[i];
        pthread_mutex_lock(&in->lock);
        core_list_send_home_locked(&in->pending, PLUE_ERROR_RUNTIME, 0);
        core_list_send_home_locked(&in->started, PLUE_ERROR_RUNTIME, 0);
        pthread_mutex_unlock(&in->lock);
    }
}

void core_executors_shut(void)
{
    for (int i = CORE_EXECUTOR_COMMIT; i < CORE_EXECUTOR_COUNT; i++) {
        executor *in = &core_executors[i];
        pthread_mutex_lock(&in->lock);
        in->open = 0;
        core_list_send_home_locked(&in->pending, PLUE_ERROR_CLOSED, 0);
        if (core_executor_kinds[i].remote)
            core_list_send_home_locked(&in->started, PLUE_ERROR_CLOSED, core_monotonic_ns() + HANG_UP_MS * MS);
        pthread_cond_broadcast(&in->arrived);
        pthread_mutex_unlock(&in->lock);
    }
}

int core_executors_end(int64_t deadline)
{
    int stuck = 0;
    struct timespec at;
    core_deadline(&at, deadline);
    for (int i = CORE_EXECUTOR_COMMIT; i < CORE_EXECUTOR_COUNT; i++) {
        executor *in = &core_executors[i];
        pthread_mutex_lock(&in->lock);
        while (in->threads && pthread_cond_timedwait(&in->emptied, &in->lock, &at) != ETIMEDOUT)
            ;
        stuck |= in->threads != 0;
        core_list_send_home_locked(&in->started, PLUE_ERROR_CLOSED, 0);
        pthread_mutex_unlock(&in->lock);
    }
    return stuck ? -1 : 0;
}
