/*
 * How the queues of events are fed: live, as the log goes on, and from the log itself when they are behind.
 *
 * One lock guards all queues, so what is pushed live and what is refilled cannot pass each other. A refill names no
 * queue. A queue says after which id it wants to go on, and what was read from the log after an id goes to every queue
 * that has all up to there. So queues at one place share a reading, and those further along join when it gets to them.
 * A queue whose refill has reached the newest published event is live again.
 *
 * plue_event_poll takes the lock, and is instant: memory, bells and all that may wait come before or after.
 */
#include "queues.h"

pthread_mutex_t core_queues_lock = PTHREAD_MUTEX_INITIALIZER;
static core_queue *queues;
static int64_t published;

void core_queue_open_locked(core_queue *made, int bell)
{
    made->last = made->handed = published;
    made->bell = bell;
    made->next = queues;
    queues = made;
}

void core_queue_close_locked(core_queue *old)
{
    core_queue **link = &queues;
    core_queue_read_locked(old, 0);
    while (*link && *link != old)
        link = &(*link)->next;
    if (*link)
        *link = old->next;
}

int64_t core_published(void)
{
    pthread_mutex_lock(&core_queues_lock);
    int64_t id = published;
    pthread_mutex_unlock(&core_queues_lock);
    return id;
}

/* The bell to ring after the lock is let go, if the queue's reader waits. */
static uint64_t bell_locked(core_queue *of)
{
    int waits = of->waits;
    of->waits = 0;
    return waits ? core_bell(of->bell) : 0;
}

void core_readers_wake(uint64_t bells)
{
    core_bells_ring(bells);
    core_default_changed();
}

/* ---- live ---- */
static void offer_locked(core_queue *to, core_event *made, int stored, core_event **dead)
{
    if (to->closing)
        return;
    if (!stored)
        core_queue_push_passing_locked(to, made, dead);
    else if (!to->behind && made->id > to->last && core_queue_push_locked(to, made))
        to->behind = 1;
}

/* Hand an event to every queue that is not behind; id 0: it is not in the log, and goes to all. `session`: whose event
 * it is, or NULL. */
void core__event_publish(int64_t id, int kind, const char *session, const char *head, size_t head_length,
                         const char *tail, size_t tail_length)
{
    if (core_outdated())
        return;
    core_event *made = core_event_make(id, kind, session, head, head_length, tail, tail_length), *dead = NULL;
    uint64_t rung = 0;
    int last = kind == PLUE_EVENT_LIBRARY_SHUTDOWN;
    pthread_mutex_lock(&core_queues_lock);
    if (id)
        published = id;
    else if (made)
        made->id = last ? INT64_MAX : published;
    for (core_queue *each = queues; each; each = each->next) {
        int was_behind = each->behind;
        if (made)
            offer_locked(each, made, id != 0, &dead);
        else if (id) /* no memory: the log still has it */
            each->behind |= !each->closing;
        else
            each->dropped++;
        each->closing |= last; /* nothing is told after it */
        if (core_queue_next_locked(each) || (each->behind && !was_behind))
            rung |= bell_locked(each);
    }
    pthread_mutex_unlock(&core_queues_lock);
    core_event_drop(made);
    core_queue_free_dead(dead);
    core_readers_wake(rung);
}

/* Note an event that no queue is to get, because nobody reads or all readers are behind; 0: a queue is to get it. */
int core__event_pass(int64_t id)
{
    pthread_mutex_lock(&core_queues_lock);
    const core_queue *waits = queues;
    while (waits && (waits->closing || waits->behind))
        waits = waits->next;
    if (!waits && !core_outdated())
        published = id;
    pthread_mutex_unlock(&core_queues_lock);
    return !waits;
}

/* The log went on to `id` with rows of other scopes: queues that are not behind need not read those. */
void core__event_skip(int64_t id)
{
    if (core_outdated())
        return;
    pthread_mutex_lock(&core_queues_lock);
    published = id > published ? id : published;
    for (core_queue *each = queues; each; each = each->next)
        if (!each->behind && id > each->last)
            each->last = id;
    pthread_mutex_unlock(&core_queues_lock);
}

/* The log went on to `id` in a way that cannot be told event by event: every queue is refilled. */
void core__event_lost(int64_t id)
{
    uint64_t rung = 0;
    if (core_outdated())
        return;
    pthread_mutex_lock(&core_queues_lock);
    published = id;
    for (core_queue *each = queues; each; each = each->next) {
        each->behind = 1;
        rung |= bell_locked(each);
    }
    pthread_mutex_unlock(&core_queues_lock);
    core_readers_wake(rung);
}

/* The log stands at `id` when the library starts. What was told before comes first. */
void core__event_start(int64_t id)
{
    if (core_outdated())
        return;
    pthread_mutex_lock(&core_queues_lock);
    published = id;
    for (core_queue *each = queues; each; each = each->next) {
        each->last = each->handed = id;
        for (unsigned i = 0; i < each->passing_count; i++)
            each->passing[i]->id = id;
    }
    pthread_mutex_unlock(&core_queues_lock);
}

/* ---- refills ---- */
static const core_queue *hindmost_locked(void)
{
    const core_queue *found = NULL;
    for (const core_queue *each = queues; each; each = each->next)
        if (each->behind && each->portion && (!found || each->last < found->last))
            found = each;
    return found;
}

/*
 * Say after which id the log is to be read next, the lowest that a queue waits for; 0: no queue does.
 *
 * In each round a queue that is behind and empty gets as much as it holds. So one that is far behind, with a fast
 * reader, does not keep the others waiting.
 *
 * Readers that sleep and were given something are woken here, once for all that was read together.
 */
int core__event_behind(int64_t *after)
{
    uint64_t rung = 0;
    pthread_mutex_lock(&core_queues_lock);
    for (core_queue *each = queues; each; each = each->next)
        if (each->behind && core_queue_next_locked(each))
            rung |= bell_locked(each);
    const core_queue *found = hindmost_locked();
    if (!found) {
        for (core_queue *each = queues; each; each = each->next)
            if (core_queue_is_hungry_locked(each))
                each->portion = CORE_QUEUE_CAPACITY;
        found = hindmost_locked();
    }
    if (found)
        *after = found->last;
    pthread_mutex_unlock(&core_queues_lock);
    core_readers_wake(rung);
    return found != NULL;
}

static void go_live_locked(core_queue *of)
{
    of->behind = 0;
    of->portion = 0;
}

/* Is what the log holds from `after` to `id` what the queue needs next? A gap is for queues that are just there. */
static int is_at_locked(const core_queue *of, int64_t after, int64_t id, int kind)
{
    return of->behind && (kind == PLUE_EVENT_GAP ? of->last == after : of->last >= after && of->last < id);
}

/*
 * Put the event that follows `after` in the log, or a gap, into every queue that is behind, has all up to there, and
 * has room. Returns how many of them want more in this round; -1: nobody got it, for lack of memory or because the
 * library has stopped.
 */
int core__event_refill(int64_t after, int64_t id, int kind, const char *session, const char *head, size_t head_length,
                       const char *tail, size_t tail_length)
{
    core_event *made = core_outdated() ? NULL
                                       : core_event_make(id, kind, session, head, head_length, tail, tail_length);
    uint64_t rung = 0;
    int waiting = 0;
    if (!made)
        return -1;
    pthread_mutex_lock(&core_queues_lock);
    for (core_queue *each = queues; each; each = each->next) {
        if (core_outdated() || !is_at_locked(each, after, id, kind))
            continue;
        if (each->closing && id > published && kind != PLUE_EVENT_GAP) {
            go_live_locked(each); /* others go on writing, but this library has told what it had to */
            rung |= bell_locked(each);
        } else if (core_queue_push_locked(each, made))
            each->portion = 0;
        else if (each->portion && --each->portion)
            waiting++;
    }
    pthread_mutex_unlock(&core_queues_lock);
    core_event_drop(made);
    core_readers_wake(rung);
    return waiting;
}

/* The log has nothing from `after` to `last`: a queue that is there is live again, unless more was published meanwhile.
 * */
void core__event_refilled(int64_t after, int64_t last)
{
    uint64_t rung = 0;
    pthread_mutex_lock(&core_queues_lock);
    for (core_queue *each = queues; each; each = each->next) {
        if (core_outdated() || !is_at_locked(each, after, last + 1, PLUE_EVENT_SESSION_CREATED))
            continue;
        each->last = last;
        if (last >= published)
            go_live_locked(each);
        rung |= core_queue_next_locked(each) || each->closing ? bell_locked(each) : 0;
    }
    pthread_mutex_unlock(&core_queues_lock);
    core_readers_wake(rung);
}
