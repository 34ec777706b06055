/* Subscriptions, each with a thread that runs its callback; and the end of all readers of events. */
#include "queues.h"

#include <stdlib.h>

enum { SUBSCRIPTIONS = CORE_BELLS, AGAIN_MS = 50 };
#define GLANCE_NS INT64_C(2000000)
#define GAP_NS INT64_C(1000000000) /* so long before its deadline plue_shutdown stops handing out single events */

typedef struct subscription subscription;
struct subscription {
    core_queue queue;
    core_event *ring[CORE_QUEUE_CAPACITY], *passing[CORE_PASSING_CAPACITY + CORE_FINAL_CAPACITY];
    uint32_t id;
    plue_event_callback callback;
    void *user_data;
    subscription *waits_for;        /* whose end its callback is waiting for, in plue_event_unsubscribe */
    int closing, ended, references; /* closing 1: deliver what was told, then end; 2: end now */
};

/* All of this under core_queues_lock. */
static pthread_cond_t subscription_changed; /* it has ended, or its library stops and it waits to be refilled */
static pthread_once_t events_once = PTHREAD_ONCE_INIT;
static subscription *subscriptions[SUBSCRIPTIONS]; /* the place is the bell */
static uint32_t last_subscription;
static int accepting; /* between core_events_open and core_events_close */

static void prepare(void)
{
    core_set_up(NULL, &subscription_changed);
    core_bells_prepare();
    core_default_prepare();
}

/* ---- subscriptions ---- */
/* The subscription when that was the last reference: to be discarded after the lock is let go. */
static subscription *release_locked(subscription *old)
{
    return --old->references ? NULL : old;
}

static void discard(subscription *old)
{
    if (old) {
        core_queue_discard(&old->queue);
        free(old);
    }
}

/* Take it out of the table; its reference is the caller's now. */
static int unlist_locked(subscription *old)
{
    core_queue_close_locked(&old->queue);
    for (int i = 0; i < SUBSCRIPTIONS; i++)
        if (subscriptions[i] == old) {
            subscriptions[i] = NULL;
            return 1;
        }
    return 0;
}

/* Until here it is listed: whoever unsubscribes it, or shuts down, can wait for it. */
static void end_subscription(subscription *mine)
{
    pthread_mutex_lock(&core_queues_lock);
    if (unlist_locked(mine))
        mine->references--;
    mine->ended = 1;
    pthread_cond_broadcast(&subscription_changed);
    subscription *last = release_locked(mine);
    pthread_mutex_unlock(&core_queues_lock);
    discard(last);
}

static void *subscription_main(void *argument)
{
    subscription *mine = argument;
    char *text = NULL;
    size_t room = 0;
    core_this_thread()->subscription = mine;
    for (;;) {
        core_mark mark = {.need = 0};
        core_event *next = NULL;
        pthread_mutex_lock(&core_queues_lock);
        if (mine->closing < 2)
            next = core_queue_take_locked(&mine->queue, room, &mark);
        int hungry = core_queue_is_hungry_locked(&mine->queue), bell = mine->queue.bell;
        int over = mine->closing == 2 || (mine->closing && !mark.need && !mine->queue.behind);
        if (!mark.need && !over) {
            mine->queue.waits = 1;
            if (mine->closing)
                pthread_cond_broadcast(&subscription_changed);
        }
        pthread_mutex_unlock(&core_queues_lock);
        if (over)
            break;
        if (next) {
            int kind = next->kind;
            core_event_print(next, &mark, NULL, text);
            mine->callback((uint8_t)kind, text, mine->user_data);
        }
        free(text);
        text = mark.need && !next ? malloc(mark.need) : NULL;
        room = text ? mark.need : 0;
        if (next || text)
            continue;
        /* The bell rings for every event; a refill that could not be asked for, or memory that is short, is asked for
         * again. */
        if (hungry)
            core__wake(CORE_EXECUTOR_READ, CORE_SIGNAL_WAKE);
        core_bell_wait(bell, hungry || mark.need ? AGAIN_MS : -1);
    }
    free(text);
    end_subscription(mine);
    return NULL;
}

static uint32_t subscribe(const char *operation, plue_event_callback callback, void *user_data)
{
    subscription *made = calloc(1, sizeof *made);
    int place = 0;
    if (!made) {
        core_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
        return 0;
    }
    made->queue.ring = made->ring;
    made->queue.capacity = CORE_QUEUE_CAPACITY;
    made->queue.passing = made->passing;
    made->queue.passing_capacity = CORE_PASSING_CAPACITY + CORE_FINAL_CAPACITY;
    made->callback = callback;
    made->user_data = user_data;
    made->references = 2; /* the table's and the thread's */
    pthread_mutex_lock(&core_queues_lock);
    int open = accepting;
    while (place < SUBSCRIPTIONS && subscriptions[place])
        place++;
    uint32_t id = 0;
    if (open && place < SUBSCRIPTIONS) {
        core_queue_open_locked(&made->queue, place);
        core_queue_read_locked(&made->queue, 1);
        id = made->id = ++last_subscription ? last_subscription : ++last_subscription;
        subscriptions[place] = made;
    }
    pthread_mutex_unlock(&core_queues_lock);
    if (id && !core_spawn("plue-events", subscription_main, made)) /* without the lock: to start a thread takes long */
        return id;
    if (id) {
        end_subscription(made);
        core_fail(PLUE_ERROR_IO, operation,
                  "no thread can be started. Raise the limit on threads (ulimit -u) or free memory.");
        return 0;
    }
    free(made);
    if (!open)
        core_fail(PLUE_ERROR_CLOSED, operation, "the library shut down during the call. Call plue_init() again.");
    else
        core_fail(PLUE_ERROR_LIMIT_EXCEEDED, operation,
                  "there are %d subscriptions already. Unsubscribe one, or share one.", SUBSCRIPTIONS);
    return 0;
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

/* Would `from`'s callback wait for itself if it waited for `to`? */
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
    subscription *inside = thread ? thread->subscription : NULL, *old = NULL, *last = NULL;
    uint64_t bell = 0;
    core_visit visit;
    core_enter_anyway(&visit);
    pthread_mutex_lock(&core_queues_lock);
    for (int i = 0; i < SUBSCRIPTIONS && !old; i++)
        if (subscriptions[i] && subscriptions[i]->id == id)
            old = subscriptions[i];
    if (old) {
        old->closing = 2;
        old->queue.closing = 1;
        bell = core_bell(old->queue.bell);
        if (in_circle_locked(inside, old))
            old = NULL;
        else {
            old->references++;
            if (inside)
                inside->waits_for = old;
        }
    }
    pthread_mutex_unlock(&core_queues_lock);
    core_bells_ring(bell);
    if (old) {
        pthread_mutex_lock(&core_queues_lock);
        while (!old->ended)
            pthread_cond_wait(&subscription_changed, &core_queues_lock);
        if (inside)
            inside->waits_for = NULL;
        last = release_locked(old);
        pthread_mutex_unlock(&core_queues_lock);
    }
    discard(last);
    core_leave(&visit);
}

/* ---- life ---- */
void core_events_prepare(void)
{
    pthread_once(&events_once, prepare);
}

int core_events_open(void)
{
    core_events_prepare();
    core__event_start(0); /* of the log that is about to be opened nothing was told yet */
    if (core_default_open())
        return -1;
    core_observers_open();
    pthread_mutex_lock(&core_queues_lock);
    accepting = 1;
    pthread_mutex_unlock(&core_queues_lock);
    return 0;
}

/* Where one stands who goes through the queues that are read: subscriptions, the default queue, observers. */
typedef struct readers {
    int place;
    core_observer *at;
    int64_t now;
} readers;

/* The next one; NULL: that was all. The default queue and observers count while somebody reads them. */
static core_queue *next_reader_locked(readers *in)
{
    core_queue *found = NULL;
    while (!found && in->place < SUBSCRIPTIONS) {
        subscription *each = subscriptions[in->place++];
        found = each ? &each->queue : NULL;
    }
    if (!found && in->place == SUBSCRIPTIONS) {
        in->place++;
        found = core_default_read_locked(in->now);
    }
    return found ? found : core_observer_read_locked(&in->at, in->now);
}

/* Wait until every reader has ended (0), one wants to be refilled, if that is asked for (1), or the deadline (-1). */
static int wait_for_readers(int64_t deadline, int refills)
{
    struct timespec at;
    int left, hungry, silent;
    pthread_mutex_lock(&core_queues_lock);
    for (;;) {
        int64_t now = core_monotonic_ns();
        readers all = {.now = now};
        left = hungry = silent = 0;
        for (const core_queue *each; (each = next_reader_locked(&all));) {
            left = 1;
            hungry |= refills && core_queue_wants_locked(each);
            silent |= each->bell == CORE_NO_BELL;
        }
        if (!left || hungry || now >= deadline)
            break;
        /* Who reads the default queue, or an observer, tells nobody, and may leave. */
        core_deadline(&at, silent && deadline - now > GLANCE_NS ? now + GLANCE_NS : deadline);
        pthread_cond_timedwait(&subscription_changed, &core_queues_lock, &at);
    }
    pthread_mutex_unlock(&core_queues_lock);
    return !left ? 0 : hungry ? 1 : -1;
}

/* With the deadline near: what could not be handed out until now becomes a gap, and what is told last still comes. */
static void give_up(int64_t deadline)
{
    core_event *dead = NULL;
    core_queue *of;
    uint64_t bells = 0;
    int behind = 0;
    readers all = {.now = core_monotonic_ns()};
    pthread_mutex_lock(&core_queues_lock);
    while ((of = next_reader_locked(&all))) {
        core_queue_give_up_locked(of, &dead);
        behind |= of->behind;
    }
    pthread_mutex_unlock(&core_queues_lock);
    core_queue_free_dead(dead);
    if (behind)
        core_control(CORE_CONTROL_GAP, NULL, 0, deadline - GAP_NS / 4);
    all = (readers){.now = core_monotonic_ns()};
    pthread_mutex_lock(&core_queues_lock);
    while ((of = next_reader_locked(&all))) {
        if (core_queue_wants_locked(of))
            of->dropped++; /* there was no time, or no memory, even for a gap */
        core_queue_behind_locked(of, 0);
        bells |= core_bell(of->bell);
    }
    pthread_mutex_unlock(&core_queues_lock);
    core_readers_wake(bells);
    core_observers_stop();
}

int core_events_close(int64_t deadline)
{
    uint64_t bells = 0;
    int found, stuck = 0;
    subscription *last[SUBSCRIPTIONS] = {NULL};
    core_default_stop();
    core_observers_stop();
    pthread_mutex_lock(&core_queues_lock);
    accepting = 0;
    for (int i = 0; i < SUBSCRIPTIONS; i++)
        if (subscriptions[i]) {
            subscriptions[i]->closing |= 1;
            subscriptions[i]->queue.closing = 1;
            bells |= core_bell(i);
        }
    pthread_mutex_unlock(&core_queues_lock);
    core_bells_ring(bells);

    int64_t give_up_at = deadline - GAP_NS;
    while ((found = wait_for_readers(give_up_at, 1)) > 0 && core_monotonic_ns() < give_up_at &&
           core_control(CORE_CONTROL_REFILL, NULL, 0, give_up_at) == 0)
        ;
    if (found) {
        give_up(deadline);
        wait_for_readers(deadline, 0);
    }
    core_default_close(deadline);
    core_observers_close();
    pthread_mutex_lock(&core_queues_lock);
    for (int i = 0; i < SUBSCRIPTIONS; i++)
        if (subscriptions[i]) { /* its callback does not return: leave it to its thread */
            subscription *old = subscriptions[i];
            old->closing = 2;
            unlist_locked(old);
            last[i] = release_locked(old);
            stuck = -1;
        }
    pthread_mutex_unlock(&core_queues_lock);
    for (int i = 0; i < SUBSCRIPTIONS; i++)
        discard(last[i]);
    return stuck;
}
