/*
 * Event queues.
 *
 * One lock guards all queues, so that what is pushed live and what is refilled from the log cannot pass each other. A
 * queue that is full is "behind": live events go past it, and once its reader has emptied it Python refills it from the
 * log, starting after the last event it got. When the refill has reached the newest published event, it is live again.
 *
 * Events that are not in the log ("passing") cannot be refilled. They have a small room of their own in each queue,
 * also while it is behind, and come after the log's event that was the newest when they were told. When that room is
 * full the oldest goes of which there is a newer one of the same kind, and the next one that is handed out says how
 * many went.
 *
 * plue_event_poll takes the lock, and is instant: memory, bells and everything that may wait is for before or after.
 */
#include "queues.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MARK = 96 }; /* what the sequence number and `dropped` add to an event's text, at most */
_Static_assert(PLUE_EVENT_GAP < 64, "kinds are bits of a word");

pthread_mutex_t core_queues_lock = PTHREAD_MUTEX_INITIALIZER;
static core_queue *queues;
static uint64_t last_token;
static int64_t published;

/* ---- bells ---- */
static struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rang;
    int rung;
} bells[CORE_BELLS];

void core_bells_prepare(void)
{
    for (int i = 0; i < CORE_BELLS; i++) {
        core_set_up(&bells[i].lock, &bells[i].rang);
    }
}

void core_bells_ring(uint64_t which)
{
    for (; which; which &= which - 1) {
        struct bell *each = &bells[__builtin_ctzll(which)];
        pthread_mutex_lock(&each->lock);
        each->rung = 1;
        pthread_cond_signal(&each->rang);
        pthread_mutex_unlock(&each->lock);
    }
}

void core_bell_wait(int bell, int ms)
{
    struct timespec at;
    core_deadline(&at, core_monotonic_ns() + ms * INT64_C(1000000));
    pthread_mutex_lock(&bells[bell].lock);
    while (!bells[bell].rung)
        if (ms < 0)
            pthread_cond_wait(&bells[bell].rang, &bells[bell].lock);
        else if (pthread_cond_timedwait(&bells[bell].rang, &bells[bell].lock, &at) == ETIMEDOUT)
            break;
    bells[bell].rung = 0;
    pthread_mutex_unlock(&bells[bell].lock);
}

/* ---- events ---- */
static core_event *make_event(int64_t id, int kind, const char *head, size_t head_length, const char *tail,
                              size_t tail_length)
{
    core_event *made = malloc(sizeof *made + head_length + tail_length + 1);
    if (made) {
        atomic_init(&made->references, 1);
        made->kind = kind;
        made->id = id;
        made->head = head_length;
        made->length = head_length + tail_length;
        made->dead = NULL;
        memcpy(made->text, head, head_length);
        memcpy(made->text + head_length, tail, tail_length);
        made->text[made->length] = 0;
    }
    return made;
}

/* Without the lock. */
static void drop_event(core_event *old)
{
    if (old && atomic_fetch_sub(&old->references, 1) == 1)
        free(old);
}

/* With the lock: what nobody refers to any more is freed after it. */
static void drop_event_locked(core_event *old, core_event **dead)
{
    if (atomic_fetch_sub(&old->references, 1) == 1) {
        old->dead = *dead;
        *dead = old;
    }
}

void core_queue_free_dead(core_event *dead)
{
    for (core_event *next; dead; dead = next) {
        next = dead->dead;
        free(dead);
    }
}

void core_event_print(core_event *of, const core_mark *mark, char *room)
{
    char added[MARK] = "";
    int length = 0;
    if (of->kind != PLUE_EVENT_GAP)
        length = snprintf(added, sizeof added, ",\"sequence\":%llu", (unsigned long long)mark->sequence);
    if (mark->dropped)
        length += snprintf(added + length, sizeof added - (size_t)length, ",\"dropped\":%llu",
                           (unsigned long long)mark->dropped);
    memcpy(room, of->text, of->head);
    memcpy(room + of->head, added, (size_t)length);
    memcpy(room + of->head + length, of->text + of->head, of->length - of->head + 1);
    drop_event(of);
}

/* ---- a queue ---- */
void core_queue_open_locked(core_queue *made, int bell)
{
    made->token = ++last_token;
    made->last = made->handed = published;
    made->bell = bell;
    made->next = queues;
    queues = made;
}

void core_queue_close_locked(core_queue *old)
{
    core_queue **link = &queues;
    while (*link && *link != old)
        link = &(*link)->next;
    if (*link)
        *link = old->next;
}

void core_queue_discard(core_queue *old)
{
    for (; old->count; old->count--, old->first++)
        drop_event(old->ring[old->first % CORE_QUEUE_CAPACITY]);
    while (old->passing_count)
        drop_event(old->passing[--old->passing_count]);
}

static int push_locked(core_queue *to, core_event *added)
{
    if (to->count == CORE_QUEUE_CAPACITY || (to->count && to->bytes + added->length > CORE_QUEUE_BYTES))
        return -1;
    to->bytes += added->length;
    atomic_fetch_add(&added->references, 1);
    to->ring[(to->first + to->count++) % CORE_QUEUE_CAPACITY] = added;
    to->last = added->id;
    return 0;
}

static core_event *pull_passing_locked(core_queue *from, unsigned place)
{
    core_event *pulled = from->passing[place];
    from->passing_bytes -= pulled->length;
    from->passing_count--;
    memmove(from->passing + place, from->passing + place + 1, (from->passing_count - place) * sizeof *from->passing);
    return pulled;
}

/* The place of the oldest passing event of which there is a newer one of its kind; -1: of none. `newer`: kinds of which
 * one comes (bits). */
static int stale_passing_locked(const core_queue *of, uint64_t newer)
{
    int oldest = -1;
    for (int i = (int)of->passing_count - 1; i >= 0; i--) {
        uint64_t bit = UINT64_C(1) << of->passing[i]->kind;
        if (newer & bit)
            oldest = i;
        newer |= bit;
    }
    return oldest;
}

static void push_passing_locked(core_queue *to, core_event *added, core_event **dead)
{
    int old;
    while ((to->passing_count == CORE_PASSING_CAPACITY || to->passing_bytes + added->length > CORE_PASSING_BYTES) &&
           (old = stale_passing_locked(to, UINT64_C(1) << added->kind)) >= 0) {
        drop_event_locked(pull_passing_locked(to, (unsigned)old), dead);
        to->dropped++;
    }
    if (to->passing_count == CORE_PASSING_CAPACITY) { /* as many kinds as that there are not */
        to->dropped++;
        return;
    }
    to->passing_bytes += added->length;
    atomic_fetch_add(&added->references, 1);
    to->passing[to->passing_count++] = added;
}

/* What its reader gets next, or NULL: a passing event waits for those of the log that were told before it. */
static core_event *next_locked(const core_queue *of)
{
    core_event *stored = of->count ? of->ring[of->first] : NULL, *passing = of->passing_count ? of->passing[0] : NULL;
    if (stored && (!passing || stored->id <= passing->id))
        return stored;
    return passing && (stored || !of->behind || of->last >= passing->id) ? passing : NULL;
}

core_event *core_queue_take_locked(core_queue *from, size_t room, core_mark *mark)
{
    core_event *taken = next_locked(from);
    *mark = (core_mark){.sequence = from->sequence, .need = taken ? taken->length + MARK + 1 : 0};
    if (!taken || mark->need > room)
        return NULL;
    if (from->count && taken == from->ring[from->first]) {
        from->first = (from->first + 1) % CORE_QUEUE_CAPACITY;
        from->count--;
        from->bytes -= taken->length;
        from->handed = taken->id;
    } else {
        pull_passing_locked(from, 0);
        mark->dropped = from->dropped;
        from->dropped = 0;
    }
    if (taken->kind != PLUE_EVENT_GAP && from->sequence != UINT64_MAX)
        from->sequence++;
    return taken;
}

int core_queue_is_hungry_locked(const core_queue *of)
{
    return of->behind && !of->count;
}

void core_queue_give_up_locked(core_queue *of, core_event **dead)
{
    for (int old; (old = stale_passing_locked(of, 0)) >= 0; of->dropped++)
        drop_event_locked(pull_passing_locked(of, (unsigned)old), dead);
    if (!of->count && !of->behind)
        return;
    for (; of->count; of->count--, of->first = (of->first + 1) % CORE_QUEUE_CAPACITY)
        drop_event_locked(of->ring[of->first], dead);
    of->bytes = 0;
    of->last = of->handed;
    of->behind = 1;
}

static core_queue *queue_by_token_locked(uint64_t token)
{
    core_queue *found = queues;
    while (found && found->token != token)
        found = found->next;
    return found;
}

/* The bell of the queue's reader if that waits, to be rung after the lock is let go. */
static uint64_t bell_locked(core_queue *of)
{
    int waits = of->waits;
    of->waits = 0;
    return waits ? core_bell(of->bell) : 0;
}

static void offer_locked(core_queue *to, core_event *made, int stored, core_event **dead)
{
    if (to->closing)
        return;
    if (!stored)
        push_passing_locked(to, made, dead);
    else if (!to->behind && made->id > to->last && push_locked(to, made))
        to->behind = 1;
}

/* ---- for Python ---- */
/* Hand an event to every queue that is not behind; id 0: it is not in the log, and goes to all. */
void core__event_publish(int64_t id, int kind, const char *head, size_t head_length, const char *tail,
                         size_t tail_length)
{
    if (core_outdated())
        return;
    core_event *made = make_event(id, kind, head, head_length, tail, tail_length), *dead = NULL;
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
        if (next_locked(each) || (each->behind && !was_behind))
            rung |= bell_locked(each);
    }
    pthread_mutex_unlock(&core_queues_lock);
    drop_event(made);
    core_queue_free_dead(dead);
    core_bells_ring(rung);
}

/* Let the log go on to `id` with an event that no queue waits for: nobody reads, or whoever does is behind. 0: a queue
 * does. */
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

/* The log went on to `id` with what is not for this library's queues: whoever has got all before it need not look there
 * again. */
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

/* The log went on to `id` in a way that cannot be told event by event: every queue has to look for itself. */
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
    core_bells_ring(rung);
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

int64_t core_published(void)
{
    pthread_mutex_lock(&core_queues_lock);
    int64_t id = published;
    pthread_mutex_unlock(&core_queues_lock);
    return id;
}

/* List the queues that are behind and empty: their tokens, and the log id after which each wants to go on. */
int core__event_behind(uint64_t *tokens, int64_t *after, int room)
{
    int found = 0;
    pthread_mutex_lock(&core_queues_lock);
    for (core_queue *each = queues; each && found < room; each = each->next) {
        if (core_queue_is_hungry_locked(each)) {
            tokens[found] = each->token;
            after[found++] = each->last;
        }
    }
    pthread_mutex_unlock(&core_queues_lock);
    return found;
}

/* Put one event from the log (or a gap) into a queue that is behind; -1 when it is full, gone, or ends before it. */
int core__event_refill(uint64_t token, int64_t id, int kind, const char *head, size_t head_length, const char *tail,
                       size_t tail_length)
{
    core_event *made = make_event(id, kind, head, head_length, tail, tail_length);
    uint64_t rung = 0;
    int failed = -1;
    pthread_mutex_lock(&core_queues_lock);
    core_queue *to = queue_by_token_locked(token);
    if (to && made && to->behind && !core_outdated()) {
        if (to->closing && id > published && kind != PLUE_EVENT_GAP)
            to->behind = 0; /* others go on writing, but this library has told what it had to */
        else
            failed = id > to->last || kind == PLUE_EVENT_GAP ? push_locked(to, made) : 0;
        rung = next_locked(to) || to->closing ? bell_locked(to) : 0;
    }
    pthread_mutex_unlock(&core_queues_lock);
    drop_event(made);
    core_bells_ring(rung);
    return failed;
}

/* Everything up to log id `last` has been refilled: 1 when the queue is live again, 0 when more was published
 * meanwhile. */
int core__event_refilled(uint64_t token, int64_t last)
{
    uint64_t rung = 0;
    pthread_mutex_lock(&core_queues_lock);
    core_queue *of = queue_by_token_locked(token);
    int live = 1;
    if (of && of->behind && !core_outdated()) {
        of->last = last > of->last ? last : of->last;
        live = of->last >= published;
        of->behind = !live;
        rung = next_locked(of) || of->closing ? bell_locked(of) : 0;
    }
    pthread_mutex_unlock(&core_queues_lock);
    core_bells_ring(rung);
    return live;
}
