/*
 * Channels: which queues hear of an event. One is for all events, and one for each session that is observed; a queue is
 * in one of them. So an event visits the queues that want it, however many others there are.
 *
 * One lock guards all of it. Who has something for each queue of a channel walks over them, and lets go of the lock now
 * and then: there may be thousands, and instant functions take that lock. A walk goes on with the next queue that is
 * still there. Queues that come meanwhile are not visited: they were opened later than what the walk brings.
 */
#include "channels.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1024, STEPS = 32 };

struct core_channel {
    core_queue *first;
    core_channel *next, **link, *after; /* in its bucket; and of all */
    core_channel **before;
    uint64_t hash;
    char session[128];
};

typedef struct walk {
    core_queue *next; /* to be visited */
    struct walk *other;
} walk;

pthread_mutex_t core_queues_lock = PTHREAD_MUTEX_INITIALIZER;
static core_channel everything, *buckets[BUCKETS], *channels;
static walk *walks;
static core_queue *behind;
static core_channel *next_channel; /* of the one walk over all of them */

static uint64_t hash_of(const char *id)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * UINT64_C(1099511628211);
    return hash ^ hash >> 29;
}

static core_channel *find_locked(const char *session, uint64_t hash)
{
    core_channel *found = buckets[hash % BUCKETS];
    while (found && (found->hash != hash || strcmp(found->session, session)))
        found = found->next;
    return found;
}

core_channel *core_channel_of_locked(const char *session)
{
    return session && *session ? find_locked(session, hash_of(session)) : &everything;
}

int core_has_channels_locked(void)
{
    return channels != NULL;
}

core_queue *core_channel_first_locked(const core_channel *of)
{
    return of ? of->first : NULL;
}

const char *core_channel_session(const core_channel *of)
{
    return of->session;
}

core_channel *core_channel_make(const char *session)
{
    core_channel *made = strlen(session) < sizeof made->session ? calloc(1, sizeof *made) : NULL;
    if (made) {
        strcpy(made->session, session);
        made->hash = hash_of(session);
    }
    return made;
}

void core_channel_free(core_channel *old)
{
    free(old);
}

static void list_channel_locked(core_channel *made)
{
    made->link = &buckets[made->hash % BUCKETS];
    made->next = *made->link;
    if (made->next)
        made->next->link = &made->next;
    *made->link = made;
    made->before = &channels;
    made->after = channels;
    if (channels)
        channels->before = &made->after;
    channels = made;
}

static void unlist_channel_locked(core_channel *old)
{
    if (next_channel == old)
        next_channel = old->after;
    *old->link = old->next;
    if (old->next)
        old->next->link = old->link;
    *old->before = old->after;
    if (old->after)
        old->after->before = old->before;
}

static void add_locked(core_channel *to, core_queue *made)
{
    made->channel = to;
    made->link = &to->first;
    made->next = to->first;
    if (made->next)
        made->next->link = &made->next;
    to->first = made;
}

static void remove_locked(core_queue *old)
{
    for (walk *each = walks; each; each = each->other)
        if (each->next == old)
            each->next = old->next;
    *old->link = old->next;
    if (old->next)
        old->next->link = old->link;
    old->channel = NULL;
}

core_channel *core_queue_join_locked(core_queue *made, const char *session, core_channel *room)
{
    core_channel *of = core_channel_of_locked(session);
    if (!of) {
        list_channel_locked(of = room);
        room = NULL;
    }
    add_locked(of, made);
    return room;
}

core_channel *core_queue_close_locked(core_queue *old)
{
    core_channel *of = old->channel;
    if (!of)
        return NULL;
    core_queue_read_locked(old, 0);
    core_queue_behind_locked(old, 0);
    remove_locked(old);
    if (of->first || of == &everything)
        return NULL;
    unlist_channel_locked(of);
    return of;
}

/* A session that was known by one id has another one: its observers follow, and read from the log what was told of it
 * by that one: who sleeps would else not hear of it. Whoever has followed already stays. -1: there is no memory, or the
 * library has stopped, and nothing has changed. */
int core__observers_rename(const char *old, const char *renamed)
{
    core_channel *made = core_outdated() ? NULL : core_channel_make(renamed), *gone = NULL;
    if (!made)
        return -1;
    pthread_mutex_lock(&core_queues_lock);
    core_channel *from = core_channel_of_locked(old), *to = core_channel_of_locked(renamed);
    if (from && from != to && from != &everything) {
        if (!to) {
            list_channel_locked(to = made);
            made = NULL;
        }
        for (core_queue *each; (each = from->first);) {
            remove_locked(each);
            add_locked(to, each);
            core_queue_behind_locked(each, 1);
        }
        unlist_channel_locked(gone = from);
    }
    pthread_mutex_unlock(&core_queues_lock);
    if (gone)
        core__wake(CORE_EXECUTOR_READ, CORE_SIGNAL_WAKE);
    free(gone);
    free(made);
    return 0;
}

/* ---- those that are behind ---- */
void core_queue_behind_locked(core_queue *of, int is_behind)
{
    if (is_behind && !of->behind && of->channel) {
        of->behind_link = &behind;
        of->next_behind = behind;
        if (behind)
            behind->behind_link = &of->next_behind;
        behind = of;
    } else if (!is_behind && of->behind) {
        *of->behind_link = of->next_behind;
        if (of->next_behind)
            of->next_behind->behind_link = of->behind_link;
        of->portion = 0;
        of->deferred = 0;
        of->lapsed = CORE_LAPSE_NONE;
    }
    of->behind = is_behind && of->channel;
}

core_queue *core_queues_behind_locked(void)
{
    return behind;
}

/* ---- walks ---- */
void core_tell_locked(core_delivery *with)
{
    core_event *dead = with->dead;
    uint64_t rung = with->rung;
    unsigned count = with->count;
    with->dead = NULL;
    with->rung = 0;
    with->count = 0;
    pthread_mutex_unlock(&core_queues_lock);
    core_queue_free_dead(dead);
    core_bells_ring(rung);
    for (unsigned i = 0; i < count; i++)
        core_observer_changed(with->observers[i]);
    pthread_mutex_lock(&core_queues_lock);
}

void core_wake_later_locked(core_queue *of, core_delivery *with)
{
    int waits = of->waits;
    of->waits = 0;
    with->rung |= waits ? core_bell(of->bell) : 0;
    if (with->count && with->observers[with->count - 1] == of->observer)
        return; /* for what came just before */
    if (of->observer && core_observer_hold_locked(of->observer))
        with->observers[with->count++] = of->observer;
}

void core_visit_each_locked(core_channel *over, core_visit_queue visit, core_delivery *with)
{
    walk mine = {.next = over ? over->first : NULL, .other = walks}, **link = &walks;
    walks = &mine;
    for (unsigned steps = 1; mine.next; steps++) {
        core_queue *each = mine.next;
        mine.next = each->next;
        visit(each, with);
        if (with->count == CORE_DELIVERY || steps % STEPS == 0)
            core_tell_locked(with);
    }
    while (*link != &mine)
        link = &(*link)->other;
    *link = mine.other;
}

void core_walk_locked(core_channel *over, core_visit_queue visit, core_delivery *with)
{
    core_visit_each_locked(over, visit, with);
    core_tell_locked(with);
}

void core_walk_all_locked(core_visit_queue visit, core_delivery *with)
{
    core_walk_locked(&everything, visit, with);
    next_channel = channels;
    for (core_channel *each; (each = next_channel);) {
        next_channel = each->after;
        core_walk_locked(each, visit, with);
    }
}
