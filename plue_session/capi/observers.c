/*
 * Observers: each a queue of its own that one handle stands for.
 *
 * An observer's memory is pooled and keeps its type for ever: who lost a race against plue_session_observer_close finds
 * under the lock that it is another handle's, and leaves. It goes back to the pool when nobody is inside any more.
 *
 * A queue is short, for there may be thousands: a reader that falls behind is refilled from the log by itself.
 */
#include "queues.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CAPACITY = 64, ROOMY = 256 /* while it is filled from the log */, AGAIN_MS = 50 };
#define MS INT64_C(1000000)
#define GRACE_NS (100 * MS) /* so soon a reader comes back that plue_shutdown waits for */

struct core_observer {
    core_queue queue;                           /* first */
    core_event *ring[CAPACITY];                 /* its queue has a larger one while it reads from the log */
    core_event *passing[CORE_PASSING_CAPACITY]; /* one of all sessions has a larger one */
    core_descriptor descriptor;
    core_observer *older; /* of all that were ever made; for good */
    /* under core_queues_lock */
    uintptr_t handle; /* whose it is; 0: it is closed */
    int references;   /* of its handle, and of who is inside */
    int64_t read_at;  /* when somebody has read from it last */
    int woken;        /* the next call that would wait does not */
    unsigned wakes;   /* a call that waits ends when this changes */
    char cursor[CORE_LONGEST_CURSOR + 1];
    core_observer *next_free;
    /* a bell that many sleep on */
    pthread_mutex_t bell_lock;
    pthread_cond_t bell_rang;
    atomic_uint rings;
    atomic_int waiting; /* readers that sleep, or are about to */
};

static _Atomic(core_observer *) newest;
static core_observer *pool; /* under core_queues_lock */
static atomic_int lives;    /* how often the library was started */
static int stopped;         /* under core_queues_lock: nothing is told any more */

/* ---- bells ---- */
static void ring(core_observer *of, int all)
{
    pthread_mutex_lock(&of->bell_lock);
    atomic_fetch_add(&of->rings, 1);
    if (all)
        pthread_cond_broadcast(&of->bell_rang);
    else
        pthread_cond_signal(&of->bell_rang);
    pthread_mutex_unlock(&of->bell_lock);
}

static void sleep_until(core_observer *of, unsigned heard, int64_t until)
{
    struct timespec at;
    core_deadline(&at, until);
    pthread_mutex_lock(&of->bell_lock);
    while (atomic_load(&of->rings) == heard)
        if (pthread_cond_timedwait(&of->bell_rang, &of->bell_lock, &at) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&of->bell_lock);
    atomic_fetch_sub(&of->waiting, 1);
}

/* ---- memory ---- */
static core_observer *take(void)
{
    pthread_mutex_lock(&core_queues_lock);
    core_observer *made = pool;
    if (made)
        pool = made->next_free;
    pthread_mutex_unlock(&core_queues_lock);
    if (made || !(made = calloc(1, sizeof *made)))
        return made;
    pthread_mutex_init(&made->bell_lock, NULL);
    if (core_cond_init(&made->bell_rang)) {
        free(made);
        return NULL;
    }
    atomic_init(&made->descriptor.fd, -1);
    made->older = atomic_load(&newest);
    while (!atomic_compare_exchange_weak(&newest, &made->older, made))
        ;
    return made;
}

/* Give a queue that is filled from the log a larger ring, and take it back when that is over. */
static void fit(core_observer *of)
{
    core_queue *queue = &of->queue;
    pthread_mutex_lock(&core_queues_lock);
    int grows = queue->behind && queue->ring == of->ring, shrinks = !queue->behind && queue->ring != of->ring;
    pthread_mutex_unlock(&core_queues_lock);
    core_event **other = grows ? malloc(ROOMY * sizeof *other) : NULL;
    if (!other && !shrinks)
        return;
    pthread_mutex_lock(&core_queues_lock);
    if (other && !queue->count && queue->behind && queue->ring == of->ring) {
        queue->ring = other;
        queue->capacity = ROOMY;
        queue->first = 0;
        other = NULL;
    } else if (shrinks && !queue->count && !queue->behind && queue->ring != of->ring) {
        other = queue->ring;
        queue->ring = of->ring;
        queue->capacity = CAPACITY;
        queue->first = 0;
    }
    pthread_mutex_unlock(&core_queues_lock);
    free(other);
}

/* Nobody refers to it. */
static void put(core_observer *old)
{
    int fd = atomic_exchange(&old->descriptor.fd, -1);
    core_queue_discard(&old->queue);
    core_event_drop(old->queue.failure);
    if (old->queue.ring != old->ring)
        free(old->queue.ring);
    if (old->queue.passing != old->passing)
        free(old->queue.passing);
    if (fd >= 0)
        close(fd);
    old->descriptor.shown = old->descriptor.seen_empty = 0;
    pthread_mutex_lock(&core_queues_lock);
    old->queue = (core_queue){.capacity = 0};
    old->next_free = pool;
    pool = old;
    pthread_mutex_unlock(&core_queues_lock);
}

static void let_go(core_observer *of)
{
    pthread_mutex_lock(&core_queues_lock);
    int last = --of->references == 0;
    pthread_mutex_unlock(&core_queues_lock);
    if (last)
        put(of);
}

int core_observer_hold_locked(core_observer *of)
{
    int is_awaited = atomic_load(&of->waiting) || atomic_load(&of->descriptor.fd) >= 0;
    of->references += is_awaited;
    return is_awaited;
}

/* ---- what it says ---- */
/* Is there nothing more to come but an error? */
static int is_over_locked(const core_observer *of)
{
    return !of->handle || (of->queue.closing && !of->queue.behind && !core_queue_next_locked(&of->queue));
}

static int is_closed_locked(void *observer)
{
    return !((core_observer *)observer)->handle;
}

static int answer_locked(void *observer, int *hungry)
{
    core_observer *of = observer;
    *hungry = core_queue_is_hungry_locked(&of->queue);
    return is_over_locked(of) || core_queue_next_locked(&of->queue);
}

static void settle(core_observer *of)
{
    core_descriptor_settle(&of->descriptor, answer_locked, of);
}

void core_observer_changed(core_observer *of)
{
    if (atomic_load(&of->waiting))
        ring(of, 1);
    settle(of);
    let_go(of);
}

/* ---- for Python ---- */
/* Make an observer of a session, or (NULL) of all, from the log id `after` on; `lapsed`: it begins with a gap, of this
 * reason. 0: there is no memory, or the library was stopped. */
uintptr_t core__observer_open(const char *session, int64_t after, int lapsed, const char *cursor)
{
    enum { WIDE = CORE_PASSING_CAPACITY + CORE_FINAL_CAPACITY }; /* how submissions end is told to observers of all */
    core_channel *room = session ? core_channel_make(session) : NULL;
    core_event **wide = session ? NULL : malloc(WIDE * sizeof *wide);
    core_observer *made = strlen(cursor) > CORE_LONGEST_CURSOR || (session ? !room : !wide) ? NULL : take();
    uintptr_t handle = 0;
    if (!made) {
        core_channel_free(room);
        free(wide);
        return 0;
    }
    pthread_mutex_lock(&core_queues_lock);
    made->queue = (core_queue){.ring = made->ring,
                               .capacity = CAPACITY,
                               .passing = wide ? wide : made->passing,
                               .passing_capacity = wide ? WIDE : CORE_PASSING_CAPACITY,
                               .bell = CORE_NO_BELL,
                               .observer = made};
    made->references = 2;
    made->read_at = 0;
    made->woken = 0;
    made->handle = 0;
    strcpy(made->cursor, cursor);
    pthread_mutex_unlock(&core_queues_lock);
    handle = core__handle_make(CORE_KIND_OBSERVER, (uintptr_t)made);
    pthread_mutex_lock(&core_queues_lock);
    if (handle && !stopped) {
        made->handle = handle;
        made->queue.asked = !lapsed;
        core_queue_read_locked(&made->queue, 1);
        room = core_queue_open_at_locked(&made->queue, session, room, after);
        if (lapsed) {
            core_queue_behind_locked(&made->queue, 1);
            made->queue.lapsed = lapsed;
        }
    }
    int hungry = core_queue_is_hungry_locked(&made->queue), failed = !made->handle;
    pthread_mutex_unlock(&core_queues_lock);
    core_channel_free(room);
    if (failed && handle)
        core__handle_release(handle);
    else if (failed)
        let_go(made);
    if (hungry)
        core__wake(CORE_EXECUTOR_READ, CORE_SIGNAL_WAKE);
    let_go(made);
    return failed ? 0 : handle;
}

void core_observer_release(void *object)
{
    core_observer *of = object;
    pthread_mutex_lock(&core_queues_lock);
    core_channel *gone = core_queue_close_locked(&of->queue);
    of->handle = 0;
    pthread_mutex_unlock(&core_queues_lock);
    core_channel_free(gone);
    core_observer_changed(of);
}

/* ---- readers ---- */
static void refuse(uintptr_t handle, const char *operation, int closed)
{
    if (closed)
        core_fail(PLUE_ERROR_CLOSED, operation,
                  "the observer was closed, or the library was shut down. Open another one, with the cursor of this "
                  "one (plue_session_observe()).");
    else if (handle)
        core_fail(PLUE_ERROR_BAD_HANDLE, operation,
                  "%p is not a live observer handle: from before a shutdown, of another kind, or never one. Pass what "
                  "plue_session_observe() returned.",
                  (void *)handle);
    else
        core_fail(PLUE_ERROR_INVALID_PARAM, operation,
                  "Invalid parameters: the observer handle is NULL. Pass what plue_session_observe() returned, after "
                  "checking it.");
}

/* The observer, with a reference; NULL with the error set. */
static core_observer *enter(plue_session_observer_t observer, const char *operation)
{
    uintptr_t handle = (uintptr_t)observer;
    core_thread *thread = core_known_thread;
    int state = atomic_load(&core_state), life = atomic_load(&lives);
    if (core_forked() || state == CORE_STARTING ||
        (state == CORE_STOPPED && !(thread && thread->observes && thread->observes == life))) {
        (void)core_ready(operation);
        return NULL;
    }
    core_observer *of = state == CORE_STOPPED ? NULL : core_observer_at(handle);
    int given = of != NULL;
    if (of) {
        pthread_mutex_lock(&core_queues_lock);
        if (of->handle == handle)
            of->references++;
        else
            of = NULL;
        pthread_mutex_unlock(&core_queues_lock);
    }
    if (!of)
        refuse(handle, operation, given || state == CORE_STOPPED);
    else if (thread || (thread = core_this_thread()))
        thread->observes = life;
    return of;
}

/* The error that ended it, once. */
static int fail_once(core_observer *of, const char *operation)
{
    pthread_mutex_lock(&core_queues_lock);
    core_event *failure = of->queue.failure;
    of->queue.failure = NULL;
    pthread_mutex_unlock(&core_queues_lock);
    if (!failure)
        return 0;
    core_fail(failure->kind, operation, "%s", failure->text);
    core_event_drop(failure);
    return 1;
}

/* The next item, waited for until then; NULL: none came, or with the error set. */
static char *next(core_observer *of, uintptr_t handle, const char *operation, int64_t until)
{
    char *text = NULL, cursor[CORE_LONGEST_CURSOR + 1];
    unsigned wakes = 0;
    int begun = 0;
    core_clear_error();
    for (size_t room = 0;;) {
        core_mark mark = {.need = 0};
        int64_t now = core_monotonic_ns();
        pthread_mutex_lock(&core_queues_lock);
        core_queue *queue = &of->queue;
        int closed = of->handle != handle, over = closed || is_over_locked(of), hungry = 0, more = 0, waits = 0,
            unfit = 0;
        if (!over && !queue->is_read)
            core_queue_read_locked(queue, 1);
        core_event *taken = over ? NULL : core_queue_take_locked(queue, room, &mark);
        unsigned heard = atomic_load(&of->rings);
        if (taken) {
            of->read_at = now;
            queue->asked = atomic_load(&of->descriptor.fd) >= 0 || (until && queue->behind);
            strcpy(cursor, of->cursor);
            if (!taken->passing && taken->cursor_length <= CORE_LONGEST_CURSOR) {
                memcpy(of->cursor, taken->text + taken->cursor, taken->cursor_length);
                of->cursor[taken->cursor_length] = 0;
            }
            more = core_queue_next_locked(queue) != NULL;
            hungry = core_queue_is_hungry_locked(queue);
            of->woken |= begun &&
                         wakes != of->wakes; /* an item came as well: the next call ends in place of this one */
        } else if (!over && !mark.need) {
            of->read_at = now;
            of->descriptor.seen_empty = 1;
            queue->asked = 1;
            hungry = core_queue_is_hungry_locked(queue);
            unfit = queue->behind == (queue->ring == of->ring);
            if (!begun++)
                wakes = of->wakes;
            waits = now < until && wakes == of->wakes;
            if (waits && of->woken)
                waits = of->woken = 0;
            atomic_fetch_add(&of->waiting, waits);
        }
        pthread_mutex_unlock(&core_queues_lock);
        if (unfit)
            fit(of);
        if (hungry)
            core__wake(CORE_EXECUTOR_READ, CORE_SIGNAL_WAKE);
        if (taken) {
            int is_marked = taken->passing || taken->kind == PLUE_EVENT_GAP;
            core_event_print(taken, &mark, is_marked ? cursor : NULL, text);
            settle(of);
            if (more && until && atomic_load(&of->waiting))
                ring(of, 0);
            return text;
        }
        plue_free(text); /* another caller was faster */
        text = NULL;
        room = 0;
        if (waits) {
            int64_t again = now + AGAIN_MS * MS; /* a refill that could not be asked for is asked for again */
            sleep_until(of, heard, hungry && again < until ? again : until);
            continue;
        }
        if (over && (closed || !fail_once(of, operation)))
            refuse(handle, operation, 1);
        if (!mark.need) {
            if (!over)
                core_descriptor_clear(&of->descriptor, answer_locked, of);
            return NULL;
        }
        /* It leaves the queue only when there is memory to give it away in. */
        text = core_new_text(room = mark.need);
        if (!text) {
            core_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
            return NULL;
        }
    }
}

char *plue_session_observer_next(plue_session_observer_t observer, int timeout_ms)
{
    static const char *const operation = "plue_session_observer_next";
    core_visit visit;
    core_observer *of = enter(observer, operation);
    if (!of)
        return NULL;
    char *text = NULL;
    if (core_check_timeout(operation, "timeout_ms", timeout_ms) == 0) {
        if (!timeout_ms)
            text = next(of, (uintptr_t)observer, operation, 0);
        else if (core_enter(&visit, operation) == 0) {
            text = next(of, (uintptr_t)observer, operation, core_monotonic_ns() + timeout_ms * MS);
            core_leave(&visit);
        }
    }
    let_go(of);
    return text;
}

int plue_session_observer_fd(plue_session_observer_t observer)
{
    static const char *const operation = "plue_session_observer_fd";
    core_observer *of = enter(observer, operation);
    int over;
    if (!of)
        return -1;
    int fd = core_descriptor_get(&of->descriptor, is_closed_locked, of, &over);
    if (fd >= 0) {
        pthread_mutex_lock(&core_queues_lock);
        of->queue.asked = 1; /* who waits for it will not ask before */
        pthread_mutex_unlock(&core_queues_lock);
    }
    settle(of);
    if (over)
        refuse((uintptr_t)observer, operation, 1);
    else if (fd < 0)
        core_fail(PLUE_ERROR_IO, operation,
                  "no descriptor is left. Close some, or raise the limit on open files (ulimit -n).");
    let_go(of);
    return fd;
}

char *plue_session_observer_cursor(plue_session_observer_t observer)
{
    static const char *const operation = "plue_session_observer_cursor";
    char cursor[CORE_LONGEST_CURSOR + 1];
    core_observer *of = enter(observer, operation);
    if (!of)
        return NULL;
    pthread_mutex_lock(&core_queues_lock);
    strcpy(cursor, of->cursor);
    pthread_mutex_unlock(&core_queues_lock);
    let_go(of);
    char *copy = core_own(cursor, strlen(cursor));
    if (!copy)
        core_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
    return copy;
}

void plue_session_observer_wake(plue_session_observer_t observer)
{
    core_observer *of = enter(observer, "plue_session_observer_wake");
    if (!of)
        return;
    pthread_mutex_lock(&core_queues_lock);
    int waiting = atomic_load(&of->waiting) > 0;
    of->wakes += (unsigned)waiting;
    of->woken = !waiting;
    pthread_mutex_unlock(&core_queues_lock);
    if (waiting)
        ring(of, 1);
    let_go(of);
}

void plue_session_observer_close(plue_session_observer_t observer)
{
    core_destroy((uintptr_t)observer, CORE_KIND_OBSERVER);
}

/* ---- life ---- */
void core_observers_open(void)
{
    pthread_mutex_lock(&core_queues_lock);
    stopped = 0;
    atomic_fetch_add(&lives, 1);
    pthread_mutex_unlock(&core_queues_lock);
}

void core_observers_lapse(void)
{
    int64_t now = core_monotonic_ns();
    pthread_mutex_lock(&core_queues_lock);
    for (core_observer *each = atomic_load(&newest); each; each = each->older)
        if (!atomic_load(&each->waiting))
            core_queue_lapse_locked(&each->queue, each->read_at, now);
    pthread_mutex_unlock(&core_queues_lock);
}

core_queue *core_observer_read_locked(core_observer **at, int64_t now)
{
    core_observer *each = *at ? (*at)->older : atomic_load(&newest);
    for (; each; each = each->older) {
        int holds = each->handle && (core_queue_next_locked(&each->queue) || each->queue.behind);
        if (holds && (atomic_load(&each->waiting) || now - each->read_at < GRACE_NS))
            break;
    }
    if (each)
        *at = each;
    return each ? &each->queue : NULL;
}

/* Have each end, at once or when it has given out what it has. */
static void end_all(int at_once)
{
    for (core_observer *each = atomic_load(&newest); each; each = each->older) {
        core_channel *gone = NULL;
        pthread_mutex_lock(&core_queues_lock);
        int is_open = each->handle != 0;
        if (is_open) {
            each->queue.closing = 1;
            each->references++;
            if (at_once)
                gone = core_queue_close_locked(&each->queue);
            if (at_once)
                each->handle = 0;
        }
        pthread_mutex_unlock(&core_queues_lock);
        core_channel_free(gone);
        if (is_open)
            core_observer_changed(each);
    }
}

void core_observers_stop(void)
{
    end_all(0);
}

void core_observers_close(void)
{
    pthread_mutex_lock(&core_queues_lock);
    stopped = 1;
    pthread_mutex_unlock(&core_queues_lock);
    end_all(1);
}

void core_observers_forked(void)
{
    for (core_observer *each = atomic_load(&newest); each; each = each->older) {
        int fd = atomic_exchange(&each->descriptor.fd, -1);
        if (fd >= 0)
            close(fd);
    }
}
