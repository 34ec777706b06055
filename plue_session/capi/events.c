/* Who gets events: the default queue, and subscriptions, each with a thread that runs its callback. */
#include "queues.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { SUBSCRIPTIONS = 64 };

typedef struct subscription subscription;
struct subscription {
    core_queue queue; /* first */
    uint32_t id;
    plue_event_callback callback;
    void *user_data;
    subscription *waits_for; /* whose end its callback is waiting for, in plue_event_unsubscribe */
    int closing, ended, references; /* closing 1: deliver what is queued, then end; 2: end now */
};

/* All of this under core_queues_lock. */
static pthread_cond_t subscription_ended;
static pthread_once_t events_once = PTHREAD_ONCE_INIT;
static core_queue *default_queue;
static subscription *subscriptions[SUBSCRIPTIONS];
static uint32_t last_subscription;
static int accepting; /* between core_events_open and core_events_close */

static void prepare(void)
{
    core_cond_init(&subscription_ended);
}

/* ---- subscriptions ---- */
static void release_subscription_locked(subscription *old) /* core_queues_lock is held */
{
    if (--old->references == 0) {
        core_queue_close_locked(&old->queue);
        free(old);
    }
}

static void *subscription_main(void *argument)
{
    subscription *mine = argument;
    core_this_thread()->subscription = mine;
    pthread_mutex_lock(&core_queues_lock);
    while (mine->closing < 2) {
        uint64_t sequence;
        size_t room = core_queue_room_locked(&mine->queue);
        char *text = room ? malloc(room) : NULL; /* without memory the event stays in the queue */
        core_event *next = text ? core_queue_pop_locked(&mine->queue, &sequence) : NULL;
        /* The bell rings for every event; a refill that could not be asked for, or memory that is short, is asked for again. */
        int behind = mine->queue.behind, again = behind || mine->queue.count, signal = mine->queue.signal;
        if (!next && mine->closing)
            break;
        if (!next)
            core_queue_hush_locked(&mine->queue);
        pthread_mutex_unlock(&core_queues_lock);
        if (next) {
            int kind = next->kind;
            core_event_print(next, sequence, text);
            mine->callback((uint8_t)kind, text, mine->user_data);
            free(text);
        } else {
            struct pollfd bell = {.fd = signal, .events = POLLIN};
            if (behind)
                core__wake(CORE_LANE_READ, CORE_SIGNAL_WAKE);
            (void)poll(&bell, 1, again ? 50 : -1);
        }
        pthread_mutex_lock(&core_queues_lock);
    }
    /* Until here it is listed: whoever unsubscribes it, or shuts down, can wait for it. */
    for (int i = 0; i < SUBSCRIPTIONS; i++)
        if (subscriptions[i] == mine) {
            subscriptions[i] = NULL;
            mine->references--;
        }
    mine->ended = 1;
    pthread_cond_broadcast(&subscription_ended);
    release_subscription_locked(mine);
    pthread_mutex_unlock(&core_queues_lock);
    return NULL;
}

static uint32_t subscribe(const char *operation, plue_event_callback callback, void *user_data)
{
    subscription *made = calloc(1, sizeof *made);
    int signal = core_above_stdio(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), place = 0, open;
    uint32_t id = 0;
    if (!made || signal < 0) {
        core_fail(PLUE_ERROR_IO, operation, "%s. Close some files or free memory.", made ? strerror(errno) : "out of memory");
        free(made);
        if (signal >= 0)
            close(signal);
        return 0;
    }
    pthread_mutex_lock(&core_queues_lock);
    open = accepting;
    while (place < SUBSCRIPTIONS && subscriptions[place])
        place++;
    if (open && place < SUBSCRIPTIONS) {
        core_queue_open_locked(&made->queue, signal);
        made->callback = callback;
        made->user_data = user_data;
        made->references = 2; /* the table's and the thread's */
        made->id = ++last_subscription ? last_subscription : ++last_subscription;
        id = made->id;
        subscriptions[place] = made;
        if (core_spawn("plue-events", subscription_main, made)) {
            subscriptions[place] = NULL;
            core_queue_close_locked(&made->queue);
            signal = -1;
            id = 0;
        }
    }
    pthread_mutex_unlock(&core_queues_lock);
    if (!id) {
        if (signal >= 0)
            close(signal);
        free(made);
        if (!open)
            core_fail(PLUE_ERROR_CLOSED, operation, "the library shut down during the call. Call plue_init() again.");
        else if (place == SUBSCRIPTIONS)
            core_fail(PLUE_ERROR_LIMIT_EXCEEDED, operation, "there are %d subscriptions already. Unsubscribe one, or share one.", SUBSCRIPTIONS);
        else
            core_fail(PLUE_ERROR_IO, operation, "no thread can be started. Raise the limit on threads (ulimit -u) or free memory.");
    }
    return id;
}

uint32_t plue_event_subscribe(plue_event_callback callback, void *user_data)
{
    static const char *const operation = "plue_event_subscribe";
    if (core_ready(operation))
        return 0;
    if (!callback) {
        core_fail(PLUE_ERROR_INVALID_PARAM, operation, "Invalid parameters: callback is NULL. Pass a function.");
        return 0;
    }
    core_visit visit;
    if (core_enter(&visit, operation))
        return 0;
    uint32_t id = subscribe(operation, callback, user_data);
    core_leave(&visit);
    return id;
}

/* Would `from`'s callback, were it to wait for `to`, wait for itself? */
static int in_circle_locked(const subscription *from, const subscription *to)
{
    while (to && to != from)
        to = to->waits_for;
    return from && to == from;
}

void plue_event_unsubscribe(uint32_t id)
{
    /* Also while the library shuts down: the caller is about to free what the callback uses. */
    if ((atomic_load(&core_state) == CORE_STOPPED || core_forked()) && core_ready("plue_event_unsubscribe"))
        return;
    core_thread *thread = core_this_thread();
    subscription *inside = thread ? thread->subscription : NULL;
    core_visit visit;
    if (core_enter(&visit, "plue_event_unsubscribe"))
        return;
    pthread_mutex_lock(&core_queues_lock);
    for (int i = 0; i < SUBSCRIPTIONS; i++) {
        subscription *old = subscriptions[i];
        if (!old || old->id != id)
            continue;
        old->closing = 2;
        old->queue.closing = 1;
        core_queue_ring_locked(&old->queue);
        if (!in_circle_locked(inside, old)) {
            old->references++;
            if (inside)
                inside->waits_for = old;
            while (!old->ended)
                pthread_cond_wait(&subscription_ended, &core_queues_lock);
            if (inside)
                inside->waits_for = NULL;
            release_subscription_locked(old);
        }
        break;
    }
    pthread_mutex_unlock(&core_queues_lock);
    core_leave(&visit);
}

char *plue_event_poll(void)
{
    static const char *const operation = "plue_event_poll";
    if (core_ready(operation))
        return NULL;
    core_clear_error();
    uint64_t sequence;
    pthread_mutex_lock(&core_queues_lock);
    size_t room = default_queue ? core_queue_room_locked(default_queue) : 0;
    /* It leaves the queue only when there is memory to give it away in. */
    char *text = room ? core_new_text(room) : NULL;
    core_event *next = text ? core_queue_pop_locked(default_queue, &sequence) : NULL;
    int short_of_memory = default_queue && !next && default_queue->count;
    int behind = default_queue && default_queue->behind && !default_queue->count;
    pthread_mutex_unlock(&core_queues_lock);
    if (behind)
        core__wake(CORE_LANE_READ, CORE_SIGNAL_WAKE);
    if (next)
        core_event_print(next, sequence, text);
    else if (short_of_memory)
        core_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
    return text;
}

/* ---- life ---- */
int core_events_open(void)
{
    pthread_once(&events_once, prepare);
    core_queue *made = calloc(1, sizeof *made);
    if (!made)
        return -1;
    pthread_mutex_lock(&core_queues_lock);
    core_queue_open_locked(made, -1);
    default_queue = made;
    accepting = 1;
    pthread_mutex_unlock(&core_queues_lock);
    return 0;
}

int core_events_close(int64_t deadline)
{
    struct timespec at;
    int stuck = 0;
    core_deadline(&at, deadline);
    pthread_mutex_lock(&core_queues_lock);
    accepting = 0;
    for (int i = 0; i < SUBSCRIPTIONS; i++)
        if (subscriptions[i]) {
            subscriptions[i]->closing |= 1;
            subscriptions[i]->queue.closing = 1;
            core_queue_ring_locked(&subscriptions[i]->queue);
        }
    for (int i = 0; i < SUBSCRIPTIONS; i++) {
        while (subscriptions[i] && pthread_cond_timedwait(&subscription_ended, &core_queues_lock, &at) != ETIMEDOUT)
            ;
        if (subscriptions[i]) { /* its callback does not return: leave it to its thread */
            subscription *old = subscriptions[i];
            old->closing = 2;
            subscriptions[i] = NULL;
            release_subscription_locked(old);
            stuck = -1;
        }
    }
    if (default_queue) {
        core_queue_close_locked(default_queue);
        free(default_queue);
        default_queue = NULL;
    }
    pthread_mutex_unlock(&core_queues_lock);
    return stuck;
}
