/*
 * Event queues.
 *
 * One lock guards all queues, so that what is pushed live and what is refilled from the log cannot pass each other. A
 * queue that is full is "behind": live events go past it, and once its reader has emptied it Python refills it from the
 * log, starting after the last event it got. When the refill has reached the newest published event, it is live again.
 */
#include "queues.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEQUENCE = 48 }; /* what the sequence number adds to an event's text, at most */

pthread_mutex_t core_queues_lock = PTHREAD_MUTEX_INITIALIZER;
static core_queue *queues;
static uint64_t last_token;
static int64_t published;

static void drop_event(core_event *old)
{
    if (atomic_fetch_sub(&old->references, 1) == 1)
        free(old);
}

void core_queue_open_locked(core_queue *made, int signal)
{
    made->token = ++last_token;
    made->last = published;
    made->signal = signal;
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
    while (old->count) {
        drop_event(old->ring[old->first]);
        old->first = (old->first + 1) % CORE_QUEUE_CAPACITY;
        old->count--;
    }
    if (old->signal >= 0)
        close(old->signal);
    old->signal = -1;
}

void core_queue_ring_locked(core_queue *of)
{
    uint64_t one = 1;
    if (of->signal >= 0 && write(of->signal, &one, sizeof one) < 0)
        return; /* an eventfd that is full is readable all the same */
}

static int push_locked(core_queue *to, core_event *added, int64_t id)
{
    if (to->count == CORE_QUEUE_CAPACITY || (to->count && to->bytes + added->length > CORE_QUEUE_BYTES))
        return -1;
    to->bytes += added->length;
    atomic_fetch_add(&added->references, 1);
    to->ring[(to->first + to->count++) % CORE_QUEUE_CAPACITY] = added;
    if (id)
        to->last = id;
    if (to->count == 1)
        core_queue_ring_locked(to);
    return 0;
}

void core_queue_hush_locked(core_queue *of)
{
    uint64_t ignored;
    while (of->signal >= 0 && read(of->signal, &ignored, sizeof ignored) < 0 && errno == EINTR)
        ;
}

size_t core_queue_room_locked(const core_queue *of)
{
    return of->count ? of->ring[of->first]->length + SEQUENCE + 1 : 0;
}

core_event *core_queue_pop_locked(core_queue *from, uint64_t *sequence)
{
    if (!from->count)
        return NULL;
    core_event *taken = from->ring[from->first];
    from->first = (from->first + 1) % CORE_QUEUE_CAPACITY;
    from->count--;
    from->bytes -= taken->length;
    *sequence = from->sequence;
    if (taken->kind != PLUE_EVENT_GAP && from->sequence != UINT64_MAX)
        from->sequence++;
    if (!from->count)
        core_queue_hush_locked(from);
    return taken;
}

static core_event *make_event(int kind, const char *head, size_t head_length, const char *tail, size_t tail_length)
{
    core_event *made = malloc(sizeof *made + head_length + tail_length + 1);
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

void core_event_print(core_event *of, uint64_t sequence, char *room)
{
    char number[SEQUENCE] = "";
    int digits = of->kind == PLUE_EVENT_GAP ? 0 : snprintf(number, sizeof number, ",\"sequence\":%llu", (unsigned long long)sequence);
    memcpy(room, of->text, of->head);
    memcpy(room + of->head, number, (size_t)digits);
    memcpy(room + of->head + digits, of->text + of->head, of->length - of->head + 1);
    drop_event(of);
}

static core_queue *queue_by_token_locked(uint64_t token)
{
    core_queue *found = queues;
    while (found && found->token != token)
        found = found->next;
    return found;
}

static void offer_locked(core_queue *to, core_event *made, int64_t id)
{
    if (to->closing || to->behind || (id && id <= to->last))
        return;
    if (push_locked(to, made, id) && id)
        to->behind = 1;
}

/* ---- for Python ---- */
/* Hand an event to every queue that is not behind; id 0: it is not in the log. */
void core__event_publish(int64_t id, int kind, const char *head, size_t head_length, const char *tail, size_t tail_length)
{
    if (core_outdated())
        return;
    core_event *made = make_event(kind, head, head_length, tail, tail_length);
    pthread_mutex_lock(&core_queues_lock);
    if (id)
        published = id;
    for (core_queue *each = queues; each; each = each->next) {
        if (made)
            offer_locked(each, made, id);
        else if (id) { /* no memory: the log still has it */
            each->behind = 1;
            core_queue_ring_locked(each);
        }
    }
    if (made)
        drop_event(made);
    pthread_mutex_unlock(&core_queues_lock);
}

/* Let the log go on to `id` with an event that no queue waits for: nobody reads, or whoever does is behind. 0: a queue does. */
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

/* The log went on to `id` with what is not for this library's queues: whoever has got all before it need not look there again. */
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
    pthread_mutex_lock(&core_queues_lock);
    published = id;
    for (core_queue *each = queues; each; each = each->next) {
        each->behind = 1;
        core_queue_ring_locked(each);
    }
    pthread_mutex_unlock(&core_queues_lock);
}

/* The log stands at `id` when the library starts. */
void core__event_start(int64_t id)
{
    pthread_mutex_lock(&core_queues_lock);
    published = id;
    for (core_queue *each = queues; each; each = each->next)
        each->last = id;
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
        if (each->behind && !each->count) {
            tokens[found] = each->token;
            after[found++] = each->last;
        }
    }
    pthread_mutex_unlock(&core_queues_lock);
    return found;
}

/* Put one event from the log (or a gap) into a queue that is behind; -1 when it is full or gone. */
int core__event_refill(uint64_t token, int64_t id, int kind, const char *head, size_t head_length, const char *tail, size_t tail_length)
{
    core_event *made = make_event(kind, head, head_length, tail, tail_length);
    int failed = -1;
    pthread_mutex_lock(&core_queues_lock);
    core_queue *to = queue_by_token_locked(token);
    if (to && made && to->behind && !core_outdated())
        failed = id > to->last || kind == PLUE_EVENT_GAP ? push_locked(to, made, id) : 0;
    pthread_mutex_unlock(&core_queues_lock);
    if (made)
        drop_event(made);
    return failed;
}

/* Everything up to log id `last` has been refilled: 1 when the queue is live again, 0 when more was published meanwhile. */
int core__event_refilled(uint64_t token, int64_t last)
{
    pthread_mutex_lock(&core_queues_lock);
    core_queue *of = queue_by_token_locked(token);
    int live = 1;
    if (of && of->behind) {
        of->last = last > of->last ? last : of->last;
        live = of->last >= published;
        of->behind = !live;
    }
    pthread_mutex_unlock(&core_queues_lock);
    return live;
}
