/*
 * How the queues of events are fed: live, as the log goes on, and from the log itself when they are behind.
 *
 * One lock guards all queues (channels.c), so what is pushed live and what is refilled cannot pass each other. A refill
 * names no queue. A queue says after which id it wants to go on, and what was read from the log after an id goes to
 * every queue of its channel that has all up to there. So queues at one place share a reading, and those further along
 * join when it gets to them. A queue whose refill has reached the newest published event is live again.
 *
 * plue_event_poll takes the lock, and is instant: memory, bells and all that may wait come before or after.
 */
#include "channels.h"

#include <string.h>

static int64_t published;

core_channel *core_queue_open_at_locked(core_queue *made, const char *session, core_channel *room, int64_t after)
{
    made->last = made->handed = after;
    room = core_queue_join_locked(made, session, room);
    if (after < published)
        core_queue_behind_locked(made, 1);
    return room;
}

void core_queue_open_locked(core_queue *made, int bell)
{
    made->bell = bell;
    made->asked = 1;
    core_queue_open_at_locked(made, NULL, NULL, published);
}

int64_t core_published(void)
{
    pthread_mutex_lock(&core_queues_lock);
    int64_t id = published;
    pthread_mutex_unlock(&core_queues_lock);
    return id;
}

void core_readers_wake(uint64_t bells)
{
    core_bells_ring(bells);
    core_default_changed();
}

/* ---- live ---- */
static void offer(core_queue *to, core_delivery *with)
{
    int was_behind = to->behind, stored = with->id != 0;
    if (!with->made && stored && !to->closing) /* the log still has it */
        core_queue_behind_locked(to, 1);
    else if (!with->made)
        to->dropped += !stored;
    else if (!to->closing && !stored)
        core_queue_push_passing_locked(to, with->made, &with->dead);
    else if (!to->closing && !to->behind && with->id > to->last && core_queue_push_locked(to, with->made))
        core_queue_behind_locked(to, 1);
    to->closing |= with->last; /* nothing is told after it */
    if (core_queue_next_locked(to) || (to->behind && !was_behind))
        core_wake_later_locked(to, with);
}

/* Hand an event to every queue that is to hear of it and is not behind; id 0: it is not in the log, and goes to those
 * that are behind, too. `session`: whose event it is, or NULL. Readers are woken by `wake`. */
static void publish(core_delivery *with, int64_t id, int kind, const char *session, const char *head,
                    size_t head_length, const char *tail, size_t tail_length)
{
    core_event *made = core_event_make(id, kind, session, head, head_length, tail, tail_length);
    with->made = made;
    with->id = id;
    with->last = kind == PLUE_EVENT_LIBRARY_SHUTDOWN;
    pthread_mutex_lock(&core_queues_lock);
    if (id)
        published = id;
    else if (made)
        made->id = with->last ? INT64_MAX : published;
    core_visit_each_locked(core_channel_of_locked(NULL), offer, with);
    if (session)
        core_visit_each_locked(core_channel_of_locked(session), offer, with);
    pthread_mutex_unlock(&core_queues_lock);
    core_event_drop(made);
}

static void wake(core_delivery *with)
{
    pthread_mutex_lock(&core_queues_lock);
    core_tell_locked(with);
    pthread_mutex_unlock(&core_queues_lock);
    core_default_changed();
}

/* -1: there is no memory for it, and nobody gets it. */
int core__event_publish(int64_t id, int kind, const char *session, const char *head, size_t head_length,
                        const char *tail, size_t tail_length)
{
    core_delivery with = {.count = 0};
    if (core_outdated())
        return 0;
    publish(&with, id, kind, session, head, head_length, tail, tail_length);
    wake(&with);
    return with.made ? 0 : -1;
}

/* Hand on the events of one commit; readers are woken once. `texts` are, for each, its session's id with a NUL (alone:
 * it is no session's), its head and its tail. */
void core__events_publish(const core_told *told, size_t count, const char *texts)
{
    core_delivery with = {.count = 0};
    for (size_t i = 0; i < count && !core_outdated(); i++, told++) {
        const char *session = texts, *head = session + strlen(session) + 1, *tail = head + told->head;
        publish(&with, told->id, (int)told->kind, *session ? session : NULL, head, (size_t)told->head, tail,
                (size_t)told->tail);
        texts = tail + told->tail;
    }
    wake(&with);
}

static int is_heard_locked(void)
{
    const core_queue *each = core_channel_first_locked(core_channel_of_locked(NULL));
    while (each && (each->closing || each->behind))
        each = each->next;
    return each || core_has_channels_locked();
}

/* Note events up to this one that no queue is to get, because nobody reads or all readers are behind; 0: a queue may be
 * to get them. */
int core__event_pass(int64_t id)
{
    pthread_mutex_lock(&core_queues_lock);
    int waits = is_heard_locked();
    if (!waits && !core_outdated())
        published = id;
    pthread_mutex_unlock(&core_queues_lock);
    return !waits;
}

static void skip(core_queue *each, core_delivery *with)
{
    if (!each->behind && with->id > each->last)
        each->last = with->id;
}

/* The log went on to `id` with rows of other scopes: queues that are not behind need not read those. */
void core__event_skip(int64_t id)
{
    core_delivery with = {.id = id};
    if (core_outdated())
        return;
    pthread_mutex_lock(&core_queues_lock);
    published = id > published ? id : published;
    core_walk_locked(core_channel_of_locked(NULL), skip, &with);
    pthread_mutex_unlock(&core_queues_lock);
}

static void lose(core_queue *each, core_delivery *with)
{
    core_queue_behind_locked(each, 1);
    core_wake_later_locked(each, with);
}

/* The log went on to `id` in a way that cannot be told event by event: every queue is refilled. */
void core__event_lost(int64_t id)
{
    core_delivery with = {.id = id};
    if (core_outdated())
        return;
    pthread_mutex_lock(&core_queues_lock);
    published = id;
    core_walk_all_locked(lose, &with);
    pthread_mutex_unlock(&core_queues_lock);
    core_default_changed();
}

static void begin(core_queue *each, core_delivery *with)
{
    each->last = each->handed = with->id;
    for (unsigned i = 0; i < each->passing_count; i++)
        each->passing[i]->id = with->id;
}

/* The log stands at `id` when the library starts. What was told before comes first. */
void core__event_start(int64_t id)
{
    core_delivery with = {.id = id};
    if (core_outdated())
        return;
    pthread_mutex_lock(&core_queues_lock);
    published = id;
    core_walk_all_locked(begin, &with);
    pthread_mutex_unlock(&core_queues_lock);
}

/* ---- refills ---- */
static const core_queue *hindmost_locked(void)
{
    const core_queue *found = NULL;
    for (const core_queue *each = core_queues_behind_locked(); each; each = each->next_behind)
        if (each->portion &&
            (!found || each->lapsed > found->lapsed || (each->lapsed == found->lapsed && each->last < found->last)))
            found = each;
    return found;
}

static void wake_filled_locked(void)
{
    int more;
    do {
        core_delivery with = {.count = 0};
        more = 0;
        for (core_queue *each = core_queues_behind_locked(); each && !more; each = each->next_behind)
            if (!each->told && core_queue_next_locked(each)) {
                each->told = 1;
                core_wake_later_locked(each, &with);
                more = with.count == CORE_DELIVERY;
            }
        core_tell_locked(&with);
    } while (more);
}

/*
 * Say after which id the log is to be read next, of which session ("": of all), the lowest that a queue waits for; 0:
 * no queue does. `*lapsed`: it is to begin with a gap, of this reason. `*wanted`: how many events it has room for.
 *
 * In each round a queue that is behind and empty gets as much as it holds. So one that is far behind, with a fast
 * reader, does not keep the others waiting.
 *
 * Readers that sleep and were given something are woken here, once for all that was read together.
 */
int core__event_behind(int64_t *after, char *session, size_t room, int *lapsed, int *wanted)
{
    if (core_outdated())
        return 0;
    pthread_mutex_lock(&core_queues_lock);
    wake_filled_locked();
    const core_queue *found = hindmost_locked();
    if (!found) {
        for (core_queue *each = core_queues_behind_locked(); each; each = each->next_behind)
            if (core_queue_is_hungry_locked(each))
                each->portion = each->capacity;
        found = hindmost_locked();
    }
    if (found) {
        *after = found->last;
        *lapsed = found->lapsed;
        *wanted = (int)found->portion;
        strncpy(session, core_channel_session(found->channel), room - 1);
        session[room - 1] = 0;
    }
    pthread_mutex_unlock(&core_queues_lock);
    core_default_changed();
    return found != NULL;
}

/* Is what the log holds from `after` to `id` what the queue needs next? A gap is for queues that are just there. */
static int is_at_locked(const core_queue *of, const core_delivery *with)
{
    return of->behind && !of->lapsed &&
           (with->kind == PLUE_EVENT_GAP ? of->last == with->after : of->last >= with->after && of->last < with->id);
}

static void refill(core_queue *each, core_delivery *with)
{
    if (core_outdated() || !is_at_locked(each, with))
        return;
    if (each->closing && with->id > published && with->kind != PLUE_EVENT_GAP) {
        core_queue_behind_locked(each, 0); /* others go on writing, but this library has told what it had to */
        core_wake_later_locked(each, with);
    } else if (core_queue_push_locked(each, with->made))
        each->portion = 0;
    else {
        each->told = 0;
        if (each->portion && --each->portion)
            with->waiting++;
    }
}

static int deliver(const char *channel, core_visit_queue visit, core_delivery *with)
{
    if (!with->made)
        return -1;
    pthread_mutex_lock(&core_queues_lock);
    core_walk_locked(core_channel_of_locked(channel), visit, with);
    pthread_mutex_unlock(&core_queues_lock);
    core_event_drop(with->made);
    return with->waiting;
}

/*
 * Put the event that follows `after` in the log, or a gap, into every queue of the channel (a session's, or "") that is
 * behind, has all up to there, and has room. Returns how many of them want more in this round; -1: nobody got it, for
 * lack of memory or because the library has stopped.
 */
int core__event_refill(const char *channel, int64_t after, int64_t id, int kind, const char *session, const char *head,
                       size_t head_length, const char *tail, size_t tail_length)
{
    core_delivery with = {.after = after, .id = id, .kind = kind};
    if (!core_outdated())
        with.made = core_event_make(id, kind, session, head, head_length, tail, tail_length);
    return deliver(channel, refill, &with);
}

static void lapse(core_queue *each, core_delivery *with)
{
    if (core_outdated() || !each->behind || each->lapsed != with->last || !each->portion)
        return;
    if (core_queue_push_locked(each, with->made) == 0) {
        each->told = 0;
        each->lapsed = CORE_LAPSE_NONE;
        if (each->last >= published)
            core_queue_behind_locked(each, 0);
        core_wake_later_locked(each, with);
    }
    each->portion = 0;
}

/* The same for those that are to begin with a gap of this reason, wherever they are. */
int core__event_lapse(const char *channel, int lapsed, int64_t id, int kind, const char *session, const char *head,
                      size_t head_length, const char *tail, size_t tail_length)
{
    core_delivery with = {.last = lapsed, .id = id, .kind = kind};
    if (!core_outdated())
        with.made = core_event_make(id, kind, session, head, head_length, tail, tail_length);
    return deliver(channel, lapse, &with);
}

static void forget_lapse(core_queue *each, core_delivery *with)
{
    if (each->lapsed == with->last)
        each->lapsed = CORE_LAPSE_NONE;
}

/* Of the session there is nothing to be observed any more: its queues get what is left of it. */
void core__event_no_lapse(const char *channel, int lapsed)
{
    core_delivery with = {.last = lapsed};
    pthread_mutex_lock(&core_queues_lock);
    core_walk_locked(core_channel_of_locked(channel), forget_lapse, &with);
    pthread_mutex_unlock(&core_queues_lock);
}

static void refilled(core_queue *each, core_delivery *with)
{
    if (core_outdated() || !is_at_locked(each, with))
        return;
    each->last = with->id - 1;
    if (each->last >= published)
        core_queue_behind_locked(each, 0);
    if (core_queue_next_locked(each) || each->closing)
        core_wake_later_locked(each, with);
}

/* The log has nothing for the channel from `after` to `last`: a queue that is there is live again, unless more was
 * published meanwhile. */
void core__event_refilled(const char *channel, int64_t after, int64_t last)
{
    core_delivery with = {.after = after, .id = last + 1, .kind = PLUE_EVENT_SESSION_CREATED};
    pthread_mutex_lock(&core_queues_lock);
    core_walk_locked(core_channel_of_locked(channel), refilled, &with);
    pthread_mutex_unlock(&core_queues_lock);
    core_default_changed();
}

/* Is it one of those that the place stands for that core__event_behind has named? */
static int is_meant_locked(const core_queue *of, const core_delivery *with)
{
    return of->behind && of->portion && of->lapsed == with->last && (of->lapsed || of->last == with->after);
}

static void refuse(core_queue *each, core_delivery *with)
{
    if (core_outdated() || !is_meant_locked(each, with))
        return;
    each->portion = 0;
    each->deferred = 1;
    if (!with->made || !each->observer || each->failure)
        return;
    atomic_fetch_add(&with->made->references, 1);
    each->failure = with->made;
    core_queue_behind_locked(each, 0);
    each->closing = 1;
    core_wake_later_locked(each, with);
}

/* What follows `after` in the log, or the gap, cannot be read, or there is no memory for it (`code` 0). The queues that
 * want it get nothing before core__event_retry; others go on. Observers hear why, and are over. */
void core__event_refuse(const char *channel, int64_t after, int lapsed, int code, const char *message, size_t length)
{
    core_delivery with = {.after = after, .last = lapsed, .kind = code};
    if (code && !core_outdated())
        with.made = core_event_make(0, code, NULL, "", 0, message, length);
    pthread_mutex_lock(&core_queues_lock);
    core_walk_locked(core_channel_of_locked(channel), refuse, &with);
    pthread_mutex_unlock(&core_queues_lock);
    core_event_drop(with.made);
}

/* Those that were refused are refilled again. */
void core__event_retry(void)
{
    if (core_outdated())
        return;
    pthread_mutex_lock(&core_queues_lock);
    for (core_queue *each = core_queues_behind_locked(); each; each = each->next_behind)
        each->deferred = 0;
    pthread_mutex_unlock(&core_queues_lock);
}
