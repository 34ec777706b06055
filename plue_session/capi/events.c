/*
 * Event queues: the default queue, and one for each subscription with the thread that runs its callback.
 *
 * One lock guards all queues, so that what is pushed live and what is refilled from the log cannot pass each other. A
 * queue that is full is "behind": live events go past it, and once its reader has emptied it Python refills it from the
 * log, starting after the last event it got. When the refill has reached the newest published event, it is live again.
 */
#include "core.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { CAPACITY = 1024, SUBSCRIPTIONS = 64, GAP = PLUE_EVENT_GAP };

typedef struct event {
    atomic_int references;
    int kind;
    size_t head, length; /* the sequence number goes between head and tail */
    char text[];
} event;

typedef struct queue {
    event *ring[CAPACITY];
    unsigned first, count;
    uint64_t token;    /* names the queue towards Python; 0: not in use */
    uint64_t sequence;
    int64_t last;      /* log id of the last durable event it got */
    int behind;
    int signal;        /* eventfd, readable while something waits; -1: nobody waits */
} queue;

typedef struct subscription subscription;
struct subscription {
    queue queue; /* first */
    uint32_t id;
    plue_event_callback callback;
    void *user_data;
    subscription *waits_for; /* whose end its callback is waiting for, in plue_event_unsubscribe */
    int closing, ended, references; /* closing 1: deliver what is queued, then end; 2: end now */
};

static pthread_mutex_t events_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t subscription_ended;
static pthread_once_t events_once = PTHREAD_ONCE_INIT;
static queue *default_queue;
static subscription *subscriptions[SUBSCRIPTIONS];
static uint32_t last_subscription;
static uint64_t last_token;
static int64_t published;
static int accepting; /* between plue_events_open and plue_events_close */

static void prepare(void)
{
    plue_cond_init(&subscription_ended);
}

/* ---- queues; events_lock is held ---- */
static void drop_event(event *old)
{
    if (atomic_fetch_sub(&old->references, 1) == 1)
        free(old);
}

static void open_queue(queue *made, int signal)
{
    made->token = ++last_token;
    made->last = published;
    made->signal = signal;
}

static void clear_queue(queue *old)
{
    while (old->count) {
        drop_event(old->ring[old->first]);
        old->first = (old->first + 1) % CAPACITY;
        old->count--;
    }
    if (old->signal >= 0)
        close(old->signal);
    old->signal = -1;
    old->token = 0;
}

static void ring_bell(queue *of)
{
    uint64_t one = 1;
    if (of->signal >= 0 && write(of->signal, &one, sizeof one) < 0)
        return; /* an eventfd that is full is readable all the same */
}

static int push(queue *to, event *added, int64_t id)
{
    if (to->count == CAPACITY)
        return -1;
    atomic_fetch_add(&added->references, 1);
    to->ring[(to->first + to->count++) % CAPACITY] = added;
    if (id)
        to->last = id;
    if (to->count == 1)
        ring_bell(to);
    return 0;
}

static event *pop(queue *from, uint64_t *sequence)
{
    if (!from->count)
        return NULL;
    event *taken = from->ring[from->first];
    from->first = (from->first + 1) % CAPACITY;
    from->count--;
    *sequence = from->sequence;
    if (taken->kind != GAP && from->sequence != UINT64_MAX)
        from->sequence++;
    if (!from->count && from->signal >= 0) {
        uint64_t ignored;
        while (read(from->signal, &ignored, sizeof ignored) < 0 && errno == EINTR)
            ;
    }
    return taken;
}

static event *make_event(int kind, const char *head, size_t head_length, const char *tail, size_t tail_length)
{
    event *made = malloc(sizeof *made + head_length + tail_length + 1);
    if (made) {
        atomic_init(&made->references, 1);
        made->kind = kind;
        made->head = head_length;
        made->length = head_length + tail_length;
        memcpy(made->text, head, head_length);
        memcpy(made->text + head_length, tail, tail_length);
        made->text[made->length] = 0;
    }
    return made;
}

/* The event's JSON with its place in this queue. Takes over the reference. */
static char *print_event(event *of, uint64_t sequence)
{
    char number[48] = "";
    int digits = of->kind == GAP ? 0 : snprintf(number, sizeof number, ",\"sequence\":%llu", (unsigned long long)sequence);
    char *text = malloc(of->length + (size_t)digits + 1);
    if (text) {
        memcpy(text, of->text, of->head);
        memcpy(text + of->head, number, (size_t)digits);
        memcpy(text + of->head + digits, of->text + of->head, of->length - of->head + 1);
    }
    drop_event(of);
    return text;
}

static queue *queue_by_token(uint64_t token)
{
    if (default_queue && default_queue->token == token)
        return default_queue;
    for (int i = 0; i < SUBSCRIPTIONS; i++)
        if (subscriptions[i] && subscriptions[i]->queue.token == token)
            return &subscriptions[i]->queue;
    return NULL;
}

static int outdated(void)
{
    plue_thread *thread = plue_this_thread();
    return thread && thread->generation && thread->generation != atomic_load(&plue_generation);
}

static void offer(queue *to, event *made, int64_t id)
{
    if (!to || to->behind || (id && id <= to->last))
        return;
    if (push(to, made, id) && id)
        to->behind = 1;
}

/* ---- for Python ---- */
/* Hand an event to every queue that is not behind; id 0: it is not in the log. */
void plue__event_publish(int64_t id, int kind, const char *head, size_t head_length, const char *tail, size_t tail_length)
{
    if (outdated())
        return;
    event *made = make_event(kind, head, head_length, tail, tail_length);
    pthread_mutex_lock(&events_lock);
    if (id)
        published = id;
    if (made) {
        offer(default_queue, made, id);
        for (int i = 0; i < SUBSCRIPTIONS; i++)
            if (subscriptions[i] && !subscriptions[i]->closing)
                offer(&subscriptions[i]->queue, made, id);
        drop_event(made);
    } else if (id) { /* no memory: the log still has it */
        if (default_queue)
            default_queue->behind = 1;
        for (int i = 0; i < SUBSCRIPTIONS; i++)
            if (subscriptions[i])
                subscriptions[i]->queue.behind = 1;
    }
    pthread_mutex_unlock(&events_lock);
}

/* The log went on to `id` in a way that cannot be told event by event: every queue has to look for itself. */
void plue__event_lost(int64_t id)
{
    pthread_mutex_lock(&events_lock);
    published = id;
    if (default_queue)
        default_queue->behind = 1;
    for (int i = 0; i < SUBSCRIPTIONS; i++)
        if (subscriptions[i]) {
            subscriptions[i]->queue.behind = 1;
            ring_bell(&subscriptions[i]->queue);
        }
    pthread_mutex_unlock(&events_lock);
}

/* The log stands at `id` when the library starts. */
void plue__event_start(int64_t id)
{
    pthread_mutex_lock(&events_lock);
    published = id;
    if (default_queue)
        default_queue->last = id;
    pthread_mutex_unlock(&events_lock);
}

int64_t plue_published(void)
{
    pthread_mutex_lock(&events_lock);
    int64_t id = published;
    pthread_mutex_unlock(&events_lock);
    return id;
}

/* List the queues that are behind and empty: their tokens, and the log id after which each wants to go on. */
int plue__event_behind(uint64_t *queues, int64_t *after, int room)
{
    int found = 0;
    pthread_mutex_lock(&events_lock);
    for (int i = -1; i < SUBSCRIPTIONS && found < room; i++) {
        queue *each = i < 0 ? default_queue : subscriptions[i] ? &subscriptions[i]->queue : NULL;
        if (each && each->behind && !each->count) {
            queues[found] = each->token;
            after[found++] = each->last;
        }
    }
    pthread_mutex_unlock(&events_lock);
    return found;
}

/* Put one event from the log (or a gap) into a queue that is behind; -1 when it is full or gone. */
int plue__event_refill(uint64_t token, int64_t id, int kind, const char *head, size_t head_length, const char *tail, size_t tail_length)
{
    event *made = make_event(kind, head, head_length, tail, tail_length);
    int failed = -1;
    pthread_mutex_lock(&events_lock);
    queue *to = queue_by_token(token);
    if (to && made && to->behind && !outdated())
        failed = id > to->last || kind == GAP ? push(to, made, id) : 0;
    pthread_mutex_unlock(&events_lock);
    if (made)
        drop_event(made);
    return failed;
}

/* Everything up to log id `last` has been refilled: 1 when the queue is live again, 0 when more was published meanwhile. */
int plue__event_refilled(uint64_t token, int64_t last)
{
    pthread_mutex_lock(&events_lock);
    queue *of = queue_by_token(token);
    int live = 1;
    if (of && of->behind) {
        of->last = last > of->last ? last : of->last;
        live = of->last >= published;
        of->behind = !live;
    }
    pthread_mutex_unlock(&events_lock);
    return live;
}

/* ---- subscriptions ---- */
static void release_subscription(subscription *old) /* events_lock is held */
{
    if (--old->references == 0) {
        clear_queue(&old->queue);
        free(old);
    }
}

static void *subscription_main(void *argument)
{
    subscription *mine = argument;
    plue_thread *thread = plue_this_thread();
    if (thread)
        thread->subscription = mine;
    pthread_mutex_lock(&events_lock);
    while (mine->closing < 2) {
        uint64_t sequence;
        event *next = pop(&mine->queue, &sequence);
        int behind = mine->queue.behind, signal = mine->queue.signal;
        if (!next && mine->closing)
            break;
        pthread_mutex_unlock(&events_lock);
        if (next) {
            int kind = next->kind;
            char *text = print_event(next, sequence);
            if (text)
                mine->callback((uint8_t)kind, text, mine->user_data);
            free(text);
        } else {
            struct pollfd bell = {.fd = signal, .events = POLLIN};
            if (behind)
                plue__wake(PLUE_LANE_READ, PLUE_SIGNAL_WAKE);
            /* The bell rings for every event; a refill that could not be asked for now is asked for again. */
            (void)poll(&bell, 1, behind ? 50 : -1);
        }
        pthread_mutex_lock(&events_lock);
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
    pthread_mutex_unlock(&events_lock);
    return NULL;
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
    pthread_mutex_lock(&events_lock);
    open = accepting;
    while (place < SUBSCRIPTIONS && subscriptions[place])
        place++;
    if (open && place < SUBSCRIPTIONS) {
        open_queue(&made->queue, signal);
        made->callback = callback;
        made->user_data = user_data;
        made->references = 2; /* the table's and the thread's */
        made->id = ++last_subscription ? last_subscription : ++last_subscription;
        id = made->id;
        subscriptions[place] = made;
        if (plue_spawn(subscription_main, made)) {
            subscriptions[place] = NULL;
            id = 0;
        }
    }
    pthread_mutex_unlock(&events_lock);
    if (!id) {
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

/* Would `from`'s callback, were it to wait for `to`, wait for itself? */
static int in_circle(const subscription *from, const subscription *to)
{
    while (to && to != from)
        to = to->waits_for;
    return from && to == from;
}

void plue_event_unsubscribe(uint32_t id)
{
    if (plue_ready("plue_event_unsubscribe") || !id)
        return;
    plue_thread *thread = plue_this_thread();
    subscription *inside = thread ? thread->subscription : NULL;
    void *interpreter = NULL;
    int released = plue_release_interpreter(&interpreter);
    pthread_mutex_lock(&events_lock);
    for (int i = 0; i < SUBSCRIPTIONS; i++) {
        subscription *old = subscriptions[i];
        if (!old || old->id != id)
            continue;
        old->closing = 2;
        ring_bell(&old->queue);
        if (!in_circle(inside, old)) {
            old->references++;
            if (inside)
                inside->waits_for = old;
            while (!old->ended)
                pthread_cond_wait(&subscription_ended, &events_lock);
            if (inside)
                inside->waits_for = NULL;
            release_subscription(old);
        }
        break;
    }
    pthread_mutex_unlock(&events_lock);
    if (released)
        plue_retake_interpreter(interpreter);
}

char *plue_event_poll(void)
{
    static const char *const operation = "plue_event_poll";
    if (plue_ready(operation))
        return NULL;
    plue_clear_error();
    uint64_t sequence;
    pthread_mutex_lock(&events_lock);
    event *next = default_queue ? pop(default_queue, &sequence) : NULL;
    int behind = default_queue && default_queue->behind && !default_queue->count;
    pthread_mutex_unlock(&events_lock);
    if (behind)
        plue__wake(PLUE_LANE_READ, PLUE_SIGNAL_WAKE);
    if (!next)
        return NULL;
    char *text = print_event(next, sequence);
    if (!text || plue_own_block(text)) {
        free(text);
        plue_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
        return NULL;
    }
    return text;
}

/* ---- life ---- */
int plue_events_open(void)
{
    pthread_once(&events_once, prepare);
    queue *made = calloc(1, sizeof *made);
    if (!made)
        return -1;
    pthread_mutex_lock(&events_lock);
    open_queue(made, -1);
    default_queue = made;
    accepting = 1;
    pthread_mutex_unlock(&events_lock);
    return 0;
}

int plue_events_close(int64_t deadline)
{
    struct timespec at;
    int stuck = 0;
    plue_deadline(&at, deadline);
    pthread_mutex_lock(&events_lock);
    accepting = 0;
    for (int i = 0; i < SUBSCRIPTIONS; i++)
        if (subscriptions[i]) {
            subscriptions[i]->closing |= 1;
            ring_bell(&subscriptions[i]->queue);
        }
    for (int i = 0; i < SUBSCRIPTIONS; i++) {
        while (subscriptions[i] && pthread_cond_timedwait(&subscription_ended, &events_lock, &at) != ETIMEDOUT)
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
        clear_queue(default_queue);
        free(default_queue);
        default_queue = NULL;
    }
    pthread_mutex_unlock(&events_lock);
    return stuck;
}
