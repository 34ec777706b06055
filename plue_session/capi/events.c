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
    plue_queue queue; /* first */
    uint32_t id;
    plue_event_callback callback;
    void *user_data;
    subscription *waits_for; /* whose end its callback is waiting for, in plue_event_unsubscribe */
    int closing, ended, references; /* closing 1: deliver what is queued, then end; 2: end now */
};

/* All of this under plue_queues_lock. */
static pthread_cond_t subscription_ended;
static pthread_once_t events_once = PTHREAD_ONCE_INIT;
static plue_queue *default_queue;
static subscription *subscriptions[SUBSCRIPTIONS];
static uint32_t last_subscription;
static int accepting; /* between plue_events_open and plue_events_close */

static void prepare(void)
{
    plue_cond_init(&subscription_ended);
}

/* ---- subscriptions ---- */
static void release_subscription(subscription *old) /* plue_queues_lock is held */
{
    if (--old->references == 0) {
        plue_queue_close(&old->queue);
        free(old);
    }
}

static void *subscription_main(void *argument)
{
    subscription *mine = argument;
    plue_this_thread()->subscription = mine;
    pthread_mutex_lock(&plue_queues_lock);
    while (mine->closing < 2) {
        uint64_t sequence;
        char *text = plue_queue_room(&mine->queue);
        plue_event *next = text ? plue_queue_pop(&mine->queue, &sequence) : NULL;
        /* The bell rings for every event; a refill that could not be asked for, or memory that is short, is asked for again. */
        int behind = mine->queue.behind, again = behind || mine->queue.count, signal = mine->queue.signal;
        if (!next && mine->closing)
            break;
        if (!next)
            plue_queue_hush(&mine->queue);
        pthread_mutex_unlock(&plue_queues_lock);
        if (next) {
            int kind = next->kind;
            plue_event_print(next, sequence, text);
            mine->callback((uint8_t)kind, text, mine->user_data);
            free(text);
        } else {
            struct pollfd bell = {.fd = signal, .events = POLLIN};
            if (behind)
                plue__wake(PLUE_LANE_READ, PLUE_SIGNAL_WAKE);
            (void)poll(&bell, 1, again ? 50 : -1);
        }
        pthread_mutex_lock(&plue_queues_lock);
    }
    /* Until here it is listed: whoever unsubscribes it, or shuts down, can wait for it. */
    for (int i = 0; i < SUBSCRIPTIONS; i++)
        if (subscriptions[i] == mine) {
            subscriptions[i] = NULL;
            mine->references--;
        }
    mine->ended = 1;
    pthread_cond_broadcast(&subscription_ended);
    release_subscription(mine);
    pthread_mutex_unlock(&plue_queues_lock);
    return NULL;
}

static uint32_t subscribe(const char *operation, plue_event_callback callback, void *user_data)
{
    subscription *made = calloc(1, sizeof *made);
    int signal = plue_above_stdio(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), place = 0, open;
    uint32_t id = 0;
    if (!made || signal < 0) {
        plue_fail(PLUE_ERROR_IO, operation, "%s. Close some files or free memory.", made ? strerror(errno) : "out of memory");
        free(made);
        if (signal >= 0)
            close(signal);
        return 0;
    }
    pthread_mutex_lock(&plue_queues_lock);
    open = accepting;
    while (place < SUBSCRIPTIONS && subscriptions[place])
        place++;
    if (open && place < SUBSCRIPTIONS) {
        plue_queue_open(&made->queue, signal);
        made->callback = callback;
        made->user_data = user_data;
        made->references = 2; /* the table's and the thread's */
        made->id = ++last_subscription ? last_subscription : ++last_subscription;
        id = made->id;
        subscriptions[place] = made;
        if (plue_spawn(subscription_main, made)) {
            subscriptions[place] = NULL;
            plue_queue_close(&made->queue);
            signal = -1;
            id = 0;
        }
    }
    pthread_mutex_unlock(&plue_queues_lock);
    if (!id) {
        if (signal >= 0)
            close(signal);
        free(made);
        if (!open)
            plue_fail(PLUE_ERROR_CLOSED, operation, "the library shut down during the call. Call plue_init() again.");
        else if (place == SUBSCRIPTIONS)
            plue_fail(PLUE_ERROR_LIMIT_EXCEEDED, operation, "there are %d subscriptions already. Unsubscribe one, or share one.", SUBSCRIPTIONS);
        else
            plue_fail(PLUE_ERROR_IO, operation, "no thread can be started. Raise the limit on threads (ulimit -u) or free memory.");
    }
    return id;
}

uint32_t plue_event_subscribe(plue_event_callback callback, void *user_data)
{
    static const char *const operation = "plue_event_subscribe";
    if (plue_ready(operation))
        return 0;
    if (!callback) {
        plue_fail(PLUE_ERROR_INVALID_PARAM, operation, "Invalid parameters: callback is NULL. Pass a function.");
        return 0;
    }
    plue_visit visit = plue_enter();
    uint32_t id = subscribe(operation, callback, user_data);
    plue_leave(&visit);
    return id;
}

/* Would `from`'s callback, were it to wait for `to`, wait for itself? */
static int in_circle(const subscription *from, const subscription *to)
{
    while (to && to != from)
        to = to->waits_for;
    return from && to == from;
}

void plue_event_unsubscribe(uint32_t id)
{
    /* Also while the library shuts down: the caller is about to free what the callback uses. */
    if ((atomic_load(&plue_state) == PLUE_STOPPED || atomic_load(&plue_forked)) && plue_ready("plue_event_unsubscribe"))
        return;
    plue_thread *thread = plue_this_thread();
    subscription *inside = thread ? thread->subscription : NULL;
    plue_visit visit = plue_enter();
    pthread_mutex_lock(&plue_queues_lock);
    for (int i = 0; i < SUBSCRIPTIONS; i++) {
        subscription *old = subscriptions[i];
        if (!old || old->id != id)
            continue;
        old->closing = 2;
        old->queue.closing = 1;
        plue_queue_ring(&old->queue);
        if (!in_circle(inside, old)) {
            old->references++;
            if (inside)
                inside->waits_for = old;
            while (!old->ended)
                pthread_cond_wait(&subscription_ended, &plue_queues_lock);
            if (inside)
                inside->waits_for = NULL;
            release_subscription(old);
        }
        break;
    }
    pthread_mutex_unlock(&plue_queues_lock);
    plue_leave(&visit);
}

char *plue_event_poll(void)
{
    static const char *const operation = "plue_event_poll";
    if (plue_ready(operation))
        return NULL;
    plue_clear_error();
    uint64_t sequence;
    pthread_mutex_lock(&plue_queues_lock);
    char *text = default_queue ? plue_queue_room(default_queue) : NULL;
    if (text && plue_own_block(text)) {
        free(text);
        text = NULL;
    }
    /* It leaves the queue only when there is memory to give it away in. */
    plue_event *next = text ? plue_queue_pop(default_queue, &sequence) : NULL;
    int short_of_memory = default_queue && !next && default_queue->count;
    int behind = default_queue && default_queue->behind && !default_queue->count;
    pthread_mutex_unlock(&plue_queues_lock);
    if (behind)
        plue__wake(PLUE_LANE_READ, PLUE_SIGNAL_WAKE);
    if (next)
        plue_event_print(next, sequence, text);
    else if (short_of_memory)
        plue_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
    return text;
}

/* ---- life ---- */
int plue_events_open(void)
{
    pthread_once(&events_once, prepare);
    plue_queue *made = calloc(1, sizeof *made);
    if (!made)
        return -1;
    pthread_mutex_lock(&plue_queues_lock);
    plue_queue_open(made, -1);
    default_queue = made;
    accepting = 1;
    pthread_mutex_unlock(&plue_queues_lock);
    return 0;
}

int plue_events_close(int64_t deadline)
{
    struct timespec at;
    int stuck = 0;
    plue_deadline(&at, deadline);
    pthread_mutex_lock(&plue_queues_lock);
    accepting = 0;
    for (int i = 0; i < SUBSCRIPTIONS; i++)
        if (subscriptions[i]) {
            subscriptions[i]->closing |= 1;
            subscriptions[i]->queue.closing = 1;
            plue_queue_ring(&subscriptions[i]->queue);
        }
    for (int i = 0; i < SUBSCRIPTIONS; i++) {
        while (subscriptions[i] && pthread_cond_timedwait(&subscription_ended, &plue_queues_lock, &at) != ETIMEDOUT)
            ;
        if (subscriptions[i]) { /* its callback does not return: leave it to its thread */
            subscription *old = subscriptions[i];
            old->closing = 2;
            subscriptions[i] = NULL;
            release_subscription(old);
            stuck = -1;
        }
    }
    if (default_queue) {
        plue_queue_close(default_queue);
        free(default_queue);
        default_queue = NULL;
    }
    pthread_mutex_unlock(&plue_queues_lock);
    return stuck;
}
