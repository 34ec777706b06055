/*
 * Queues of events: what waits for one reader.
 *
 * A queue that is full is "behind": live events go past it, and once its reader has emptied it, it is refilled from the
 * log (feed.c).
 *
 * Events that are not in the log ("passing") cannot be refilled. Each queue has a small room of its own for them, also
 * while it is behind. They come after the log's event that was the newest when they were told. When the room is full,
 * the oldest goes that has a newer one of its kind, and the next one handed out says how many went.
 *
 * How a submission has ended is told once, so these events ("final") have a room beside that one. At most
 * CORE_SUBMISSIONS are open at a time, and none is taken while a reader has as many final events before it: so the room
 * is never full for who reads. In a queue that nobody reads the oldest goes, also when all are large. Who reads is
 * known from when an observer or a subscription is opened: that is for somebody. The default queue is always there, so
 * only who reads from it or asks for its descriptor is a reader. Who leaves a queue full for LAPSE_NS is one no longer.
 */
#include "queues.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the sequence number, `dropped` and a reader's cursor add to an event's text, at most. */
enum { MARK = 96 };
/* A sequence number stays there, which readers of JSON can still take for a whole number. */
#define LAST_SEQUENCE ((uint64_t)INT64_MAX)
#define LAPSE_NS INT64_C(5000000000)
_Static_assert(PLUE_EVENT_TODO_UPDATED < 64, "kinds are bits of a word");

/* ---- events ---- */
/* The head ends with the cursor, in quotation marks. */
static void find_cursors(core_event *in)
{
    static const char requested[] = "\"requestedCursor\":\"";
    size_t end = in->head ? in->head - 1 : 0, from = end;
    while (from && in->text[from - 1] != '"')
        from--;
    in->cursor = from;
    in->cursor_length = end - from;
    in->requested = in->requested_length = 0;
    char *found = in->kind == PLUE_EVENT_GAP ? strstr(in->text + in->head, requested) : NULL;
    if (found) {
        found += sizeof requested - 1;
        in->requested = (size_t)(found - in->text);
        in->requested_length = strcspn(found, "\"");
    }
}

core_event *core_event_make(int64_t id, int kind, const char *session, const char *head, size_t head_length,
                            const char *tail, size_t tail_length)
{
    size_t length = head_length + tail_length, subject = session ? strlen(session) + 1 : 0;
    core_event *made = malloc(sizeof *made + length + 1 + subject);
    if (made) {
        atomic_init(&made->references, 1);
        made->kind = kind;
        made->passing = !id && kind != PLUE_EVENT_GAP;
        made->id = id;
        made->head = head_length;
        made->length = length;
        made->dead = NULL;
        memcpy(made->text, head, head_length);
        memcpy(made->text + head_length, tail, tail_length);
        made->text[length] = 0;
        made->session = session ? memcpy(made->text + length + 1, session, subject) : NULL;
        find_cursors(made);
    }
    return made;
}

void core_event_drop(core_event *old)
{
    if (old && atomic_fetch_sub(&old->references, 1) == 1)
        free(old);
}

/* What nobody refers to any more is freed after the lock is let go. */
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

/* Copy up to `at`, and something in place of what has that length there. */
static char *copy_until(char *to, const core_event *of, size_t *from, size_t at, size_t length, const char *instead)
{
    memcpy(to, of->text + *from, at - *from);
    to = stpcpy(to + (at - *from), instead);
    *from = at + length;
    return to;
}

void core_event_print(core_event *of, const core_mark *mark, const char *cursor, char *room)
{
    char added[MARK] = "";
    int length = 0;
    size_t from = 0;
    if (of->kind != PLUE_EVENT_GAP)
        length = snprintf(added, sizeof added, ",\"sequence\":%llu", (unsigned long long)mark->sequence);
    if (mark->dropped)
        length += snprintf(added + length, sizeof added - (size_t)length, ",\"dropped\":%llu",
                           (unsigned long long)mark->dropped);
    if (cursor && of->kind != PLUE_EVENT_GAP)
        room = copy_until(room, of, &from, of->cursor, of->cursor_length, cursor);
    room = copy_until(room, of, &from, of->head, 0, added);
    if (cursor && of->requested)
        room = copy_until(room, of, &from, of->requested, of->requested_length, cursor);
    memcpy(room, of->text + from, of->length - from + 1);
    core_event_drop(of);
}

/* ---- a queue ---- */
void core_queue_discard(core_queue *old)
{
    for (; old->count; old->count--, old->first++)
        core_event_drop(old->ring[old->first % old->capacity]);
    while (old->passing_count)
        core_event_drop(old->passing[--old->passing_count]);
}

int core_queue_push_locked(core_queue *to, core_event *added)
{
    if (to->count == to->capacity || (to->count && to->bytes + added->length > CORE_QUEUE_BYTES))
        return -1;
    to->bytes += added->length;
    atomic_fetch_add(&added->references, 1);
    to->ring[(to->first + to->count++) % to->capacity] = added;
    to->last = added->id;
    return 0;
}

static atomic_int full_queues;

static int is_final(const core_event *of)
{
    return of->kind == PLUE_EVENT_OPERATION_COMPLETED || of->kind == PLUE_EVENT_OPERATION_FAILED ||
           of->kind == PLUE_EVENT_OPERATION_CANCELLED;
}

static void count_final_locked(core_queue *of, const core_event *added, const core_event *gone)
{
    of->finals += (added != NULL) - (gone != NULL);
    of->final_bytes += (added ? added->length : 0) - (gone ? gone->length : 0);
    int is_full = of->is_read && (of->finals >= CORE_SUBMISSIONS || of->final_bytes > CORE_FINAL_BYTES);
    if (is_full && !of->is_full)
        of->full_at = core_monotonic_ns();
    atomic_fetch_add(&full_queues, is_full - of->is_full);
    of->is_full = is_full;
}

void core_queue_read_locked(core_queue *of, int is_read)
{
    of->is_read = is_read;
    count_final_locked(of, NULL, NULL);
}

void core_queue_lapse_locked(core_queue *of, int64_t read_at, int64_t now)
{
    int64_t since = read_at > of->full_at ? read_at : of->full_at; /* before that there was perhaps nothing to read */
    if (of->is_full && now - since > LAPSE_NS)
        core_queue_read_locked(of, 0);
}

int core_queues_are_full(void)
{
    if (atomic_load(&full_queues) > 0)
        core_default_lapse();
    if (atomic_load(&full_queues) > 0)
        core_observers_lapse();
    return atomic_load(&full_queues) > 0;
}

static core_event *pull_passing_locked(core_queue *from, unsigned place)
{
    core_event *pulled = from->passing[place];
    if (is_final(pulled))
        count_final_locked(from, NULL, pulled);
    else
        from->passing_bytes -= pulled->length;
    from->passing_count--;
    memmove(from->passing + place, from->passing + place + 1, (from->passing_count - place) * sizeof *from->passing);
    return pulled;
}

/* The place of the oldest passing event that has a newer one of its kind; -1: there is none. `newer`: kinds (bits) that
 * are about to come. Final ones are left alone. */
static int stale_passing_locked(const core_queue *of, uint64_t newer)
{
    int oldest = -1;
    for (int i = (int)of->passing_count - 1; i >= 0; i--) {
        uint64_t bit = UINT64_C(1) << of->passing[i]->kind;
        if (newer & bit && !is_final(of->passing[i]))
            oldest = i;
        newer |= bit;
    }
    return oldest;
}

static void push_final_locked(core_queue *to, core_event *added, core_event **dead)
{
    unsigned most = to->passing_capacity - CORE_PASSING_CAPACITY;
    while (to->finals && (to->finals == most || (!to->is_read && to->final_bytes + added->length > CORE_FINAL_BYTES))) {
        unsigned oldest = 0;
        while (!is_final(to->passing[oldest]))
            oldest++;
        drop_event_locked(pull_passing_locked(to, oldest), dead);
        to->dropped++;
    }
    count_final_locked(to, added, NULL);
}

void core_queue_push_passing_locked(core_queue *to, core_event *added, core_event **dead)
{
    int old, final = is_final(added);
    if (final)
        push_final_locked(to, added, dead);
    while (!final &&
           (to->passing_count - to->finals == CORE_PASSING_CAPACITY ||
            to->passing_bytes + added->length > CORE_PASSING_BYTES) &&
           (old = stale_passing_locked(to, UINT64_C(1) << added->kind)) >= 0) {
        drop_event_locked(pull_passing_locked(to, (unsigned)old), dead);
        to->dropped++;
    }
    if (!final && to->passing_count - to->finals == CORE_PASSING_CAPACITY) { /* never: there are fewer kinds */
        to->dropped++;
        return;
    }
    if (!final)
        to->passing_bytes += added->length;
    atomic_fetch_add(&added->references, 1);
    to->passing[to->passing_count++] = added;
}

core_event *core_queue_next_locked(const core_queue *of)
{
    core_event *stored = of->count ? of->ring[of->first] : NULL, *passing = of->passing_count ? of->passing[0] : NULL;
    if (stored && (!passing || stored->id <= passing->id))
        return stored;
    return passing && (stored || !of->behind || of->last >= passing->id) ? passing : NULL;
}

core_event *core_queue_take_locked(core_queue *from, size_t room, core_mark *mark)
{
    core_event *taken = core_queue_next_locked(from);
    *mark = (core_mark){.sequence = from->sequence, .need = 0};
    if (taken)
        mark->need = taken->length + MARK + (from->observer ? CORE_LONGEST_CURSOR : 0) + 1;
    if (!taken || mark->need > room)
        return NULL;
    if (from->count && taken == from->ring[from->first]) {
        from->first = (from->first + 1) % from->capacity;
        from->count--;
        from->bytes -= taken->length;
        from->handed = taken->id;
    } else {
        pull_passing_locked(from, 0);
        mark->dropped = from->dropped;
        from->dropped = 0;
    }
    if (taken->kind != PLUE_EVENT_GAP && from->sequence < LAST_SEQUENCE)
        from->sequence++;
    return taken;
}

int core_queue_wants_locked(const core_queue *of)
{
    return of->behind && !of->count && of->asked;
}

int core_queue_is_hungry_locked(const core_queue *of)
{
    return core_queue_wants_locked(of) && !of->deferred;
}

void core_queue_give_up_locked(core_queue *of, core_event **dead)
{
    for (int old; (old = stale_passing_locked(of, 0)) >= 0; of->dropped++)
        drop_event_locked(pull_passing_locked(of, (unsigned)old), dead);
    if (!of->count && !of->behind)
        return;
    of->asked = 1;
    for (; of->count; of->count--, of->first = (of->first + 1) % of->capacity)
        drop_event_locked(of->ring[of->first], dead);
    of->bytes = 0;
    of->last = of->handed;
    core_queue_behind_locked(of, 1);
}
