/*
 * Requests on their way through an executor.
 *
 * A request is PENDING until a library thread takes it, then STARTED, then DONE. One that changes the store is TAKEN in
 * between: it is prepared and waits in the writer's queue, and so is one that a reader checks.
 *
 * Its caller may leave at any time. What is not STARTED has then changed nothing: a PENDING request is freed at once, a
 * TAKEN one by the thread that has it. A STARTED one is left behind (ABANDONED), and whoever finishes it throws the
 * result away.
 */
#include "executors.h"

#include <stdlib.h>
#include <string.h>

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
    core_room_leave(&old->room);
    free(old);
}

/* ---- for Python ---- */
int core_executor_closed_locked(const executor *in, int index, int generation)
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
    while (next && (next->view.slow || must_wait_locked(in, index, next)))
        next = next->next;
    return next;
}

static request *next_overdue_locked(const executor *in)
{
    request *next = in->pending.first;
    while (next && !next->overdue)
        next = next->next;
    return next;
}

static void wait_until_locked(executor *in, int64_t until)
{
    struct timespec at;
    core_deadline(&at, until);
    pthread_cond_timedwait(&in->arrived, &in->lock, &at);
}

/* Wait until there is something to do in the executor, and say what (CORE_SIGNAL_*); 0: the executor is closed. */
int core__wait(int index, int generation)
{
    executor *in = &core_executors[index];
    core_executors_prepare();
    if (index == CORE_EXECUTOR_CONTROL)
        core_drop_claim(CORE_CLAIM_CONTROL); /* what an earlier caller left behind is done, too */
    if (core_executor_kinds[index].lingers)
        core_awake_linger(in);
    pthread_mutex_lock(&in->lock);
    while (!core_executor_closed_locked(in, index, generation) && !next_of_locked(in, index) && !in->woken)
        if (!in->again)
            pthread_cond_wait(&in->arrived, &in->lock);
        else if (core_monotonic_ns() < in->again)
            wait_until_locked(in, in->again);
        else
            in->woken = CORE_SIGNAL_AGAIN, in->again = 0;
    int what = core_executor_closed_locked(in, index, generation)
                   ? 0
                   : (next_of_locked(in, index) ? CORE_SIGNAL_REQUESTS : 0) | in->woken;
    in->woken = 0;
    atomic_store_explicit(&in->hint, 0, memory_order_relaxed);
    pthread_mutex_unlock(&in->lock);
    core_stay_if_gone();
    return what;
}

static void begin_locked(executor *in, request *next)
{
    core_list_append_locked(&in->started, next);
    next->state = STARTED;
    if (!core_executor_kinds[next->executor].remote) {
        next->leave_code = 0; /* an abort that came before came too late */
        next->leave_at = next->deadline;
    }
}

static int take(int index, int generation, core_request **requests, int room, int overdue)
{
    executor *in = &core_executors[index];
    int taken = 0, queues = overdue || core_executor_kinds[index].queues;
    pthread_mutex_lock(&in->lock);
    for (request *next; taken < room && !core_executor_closed_locked(in, index, generation) &&
                        (next = overdue ? next_overdue_locked(in) : next_of_locked(in, index));) {
        core_list_detach_locked(&in->pending, next);
        if (queues) {
            core_list_append_locked(&in->taken, next);
            next->state = TAKEN;
        } else {
            begin_locked(in, next);
        }
        requests[taken++] = &next->view;
    }
    if (taken && index == CORE_EXECUTOR_CONTROL)
        core_hold_claim(CORE_CLAIM_CONTROL);
    pthread_mutex_unlock(&in->lock);
    return taken;
}

/* Take what is pending, at most `room`; does not wait. */
int core__take(int index, int generation, core_request **requests, int room)
{
    return take(index, generation, requests, room, 0);
}

/* Take, to check it, what has been pending for too long. */
int core__take_overdue(int index, int generation, core_request **requests, int room)
{
    return take(index, generation, requests, room, 1);
}

/* Begin a request that was taken and queued; -1: its caller has left, and the request is freed. */
int core__begin(core_request *view)
{
    request *next = (request *)view;
    executor *in = &core_executors[next->executor];
    pthread_mutex_lock(&in->lock);
    int left = next->state == ABANDONED;
    if (!left) {
        core_list_detach_locked(&in->taken, next);
        begin_locked(in, next);
    }
    pthread_mutex_unlock(&in->lock);
    if (left)
        core_request_free(next);
    return left ? -1 : 0;
}

/* Give a request that was checked, and is sound, back to the threads that it waits for. */
void core__put_back(core_request *view)
{
    request *next = (request *)view;
    executor *in = &core_executors[next->executor];
    pthread_mutex_lock(&in->lock);
    int left = next->state == ABANDONED;
    if (!left) {
        core_list_detach_locked(&in->taken, next);
        core_list_append_locked(&in->pending, next);
        next->state = PENDING;
        next->overdue = 0;
        pthread_cond_signal(&in->arrived);
    }
    pthread_mutex_unlock(&in->lock);
    if (left)
        core_request_free(next);
}

/* Has the caller of a request that was taken left? */
int core__is_left(const core_request *view)
{
    const request *taken = (const request *)view;
    executor *in = &core_executors[taken->executor];
    pthread_mutex_lock(&in->lock);
    int left = taken->state == ABANDONED;
    pthread_mutex_unlock(&in->lock);
    return left;
}

/* Signal a thread of the executor; -1: it is closed, and may have no thread left. */
int core__wake(int index, int signal)
{
    executor *in = &core_executors[index];
    pthread_mutex_lock(&in->lock);
    int open = in->open;
    in->woken |= signal;
    pthread_cond_signal(&in->arrived);
    pthread_mutex_unlock(&in->lock);
    return open ? 0 : -1;
}

/* Signal a thread of the executor with CORE_SIGNAL_AGAIN, so many ms from now, or when that was asked for before. */
void core__wake_again(int index, int ms)
{
    executor *in = &core_executors[index];
    pthread_mutex_lock(&in->lock);
    if (!in->again)
        in->again = core_monotonic_ns() + ms * INT64_C(1000000);
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
            core_drop_claim(
                CORE_CLAIM_CONTROL); /* before its caller goes on, and lets go of what another copy may take at once */
        core_list_detach_locked(done->state == TAKEN ? &in->taken : &in->started, done);
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

/* Finish with a text; NULL: there is none, which is no error. `array`: the text is what stands between the brackets of
 * an array; they are set here, which saves a copy. */
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

/* Return a new handle to the session that the call opens or has made: there is room for it. 0 after the end of this
 * library. */
uintptr_t core__session_acquire(core_request *view, const char *id)
{
    return core_room_handle(&((request *)view)->room, id);
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
