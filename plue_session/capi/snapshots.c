/*
 * Sessions that somebody holds a handle to, and their snapshots.
 *
 * A session is what all handles to one id share: its snapshot (the info JSON that Python published last) behind a lock
 * of its own. Session memory is pooled and keeps its type for ever: a reader that lost a race against
 * plue_session_destroy locks a session that may have become another one's, sees that its handle is gone, and leaves. So
 * does who walks over all of them.
 *
 * When its last handle goes, so does the snapshot. Python is not told, because it keeps nothing per handle; what it
 * publishes of a session that nobody holds is dropped.
 *
 * They are found by id in a table that grows by one bucket with each session (linear hashing): plue_session_destroy,
 * which is instant, takes the table's lock, and would wait for a whole table that is made anew.
 */
#include "snapshots.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST = 256, SEGMENTS = 40, MOST_ID = 100 };

struct core_fresh_for core_fresh_for = {-1};
static _Atomic(session *) newest; /* all that were ever made */

/* The table of sessions by id, and all references. */
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static session *first_segment[FIRST], **segments[SEGMENTS] = {first_segment}; /* each as large as all before it */
static size_t bucket_count = FIRST, session_count;
static session *pool;

void core_snapshot_drop(snapshot *old)
{
    if (old && atomic_fetch_sub(&old->references, 1) == 1)
        free(old);
}

/* ---- the table ---- */
static uint64_t hash_of(const char *id)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * UINT64_C(1099511628211);
    return hash ^ hash >> 29;
}

static size_t power_below(size_t count) /* or equal */
{
    return (size_t)1 << (63 - __builtin_clzll(count));
}

static int segment_of(size_t bucket)
{
    return bucket < FIRST ? 0 : 64 - __builtin_clzll(bucket / FIRST);
}

static session **bucket_locked(size_t at)
{
    int segment = segment_of(at);
    return &segments[segment][segment ? at - ((size_t)FIRST << (segment - 1)) : at];
}

static session **bucket_of_locked(uint64_t hash)
{
    size_t low = power_below(bucket_count), at = hash & (2 * low - 1);
    return bucket_locked(at < bucket_count ? at : at & (low - 1));
}

static session *find_locked(const char *id, uint64_t hash)
{
    session *found = *bucket_of_locked(hash);
    while (found && (found->hash != hash || strcmp(found->id, id)))
        found = found->next;
    return found;
}

/* Make one more bucket, of one of those there are; 0 when there is no memory for it yet. */
static int split_locked(void)
{
    size_t low = power_below(bucket_count), to = bucket_count;
    if (!segments[segment_of(to)])
        return 0;
    session **from = bucket_locked(to - low), **other = bucket_locked(to);
    bucket_count++;
    while (*from) {
        session *each = *from;
        if (each->hash & low) {
            *from = each->next;
            each->next = *other;
            *other = each;
        } else
            from = &each->next;
    }
    return 1;
}

/* Put it in; 0 when the table wants to grow and cannot. */
static int insert_locked(session *made, uint64_t hash)
{
    session **bucket = bucket_of_locked(hash);
    made->hash = hash;
    made->next = *bucket;
    *bucket = made;
    session_count++;
    int grows = 1;
    for (int i = 0; i < 2 && grows && session_count > bucket_count; i++) /* two: it catches up after it could not */
        grows = split_locked();
    return grows;
}

static void remove_locked(session *old)
{
    session **link = bucket_of_locked(old->hash);
    while (*link != old)
        link = &(*link)->next;
    *link = old->next;
    session_count--;
}

/* Without memory the buckets that there are get longer; the next session asks again. */
static void add_segment(void)
{
    pthread_mutex_lock(&table_lock);
    int segment = segment_of(bucket_count), missing = segment < SEGMENTS && !segments[segment];
    pthread_mutex_unlock(&table_lock);
    session **made = missing ? calloc((size_t)FIRST << (segment - 1), sizeof *made) : NULL;
    if (!made)
        return;
    pthread_mutex_lock(&table_lock);
    if (!segments[segment]) {
        segments[segment] = made;
        made = NULL;
    }
    pthread_mutex_unlock(&table_lock);
    free(made);
}

/* ---- sessions ---- */
static session *take_from_pool(void)
{
    pthread_mutex_lock(&table_lock);
    session *made = pool;
    if (made)
        pool = made->next;
    pthread_mutex_unlock(&table_lock);
    if (!made && (made = calloc(1, sizeof *made))) {
        pthread_mutex_init(&made->lock, NULL);
        made->older = atomic_load(&newest);
        while (!atomic_compare_exchange_weak(&newest, &made->older, made))
            ;
    }
    return made;
}

/* It is in no bucket, and nobody refers to it. */
static void put_into_pool(session *old)
{
    pthread_mutex_lock(&old->lock);
    snapshot *info = old->info;
    char *id = old->id;
    old->info = NULL;
    old->id = NULL;
    old->rev = 0;
    old->refreshed = 0;
    old->gone = 0;
    pthread_mutex_unlock(&old->lock);
    core_snapshot_drop(info);
    free(id);
    pthread_mutex_lock(&table_lock);
    old->next = pool;
    pool = old;
    pthread_mutex_unlock(&table_lock);
}

session *core_session_hold(const char *id)
{
    uint64_t hash = hash_of(id);
    pthread_mutex_lock(&table_lock);
    session *of = find_locked(id, hash);
    if (of)
        of->references++;
    pthread_mutex_unlock(&table_lock);
    return of;
}

session *core_session_blank(void)
{
    session *made = take_from_pool();
    char *id = made ? calloc(1, CORE_LONGEST_ID + 1) : NULL;
    if (made && !id) {
        core_session_unused(made);
        return NULL;
    }
    if (made) {
        pthread_mutex_lock(&made->lock);
        made->id = id;
        pthread_mutex_unlock(&made->lock);
    }
    return made;
}

void core_session_unused(session *blank)
{
    put_into_pool(blank);
}

session *core_session_hold_or_name(const char *id, session *blank)
{
    session *of = core_session_hold(id);
    if (of || strlen(id) > CORE_LONGEST_ID) {
        put_into_pool(blank);
        return of;
    }
    char *fitting = strdup(id), *roomy = blank->id; /* without memory it keeps the room for the longest */
    pthread_mutex_lock(&blank->lock);
    blank->id = fitting ? fitting : strcpy(roomy, id);
    pthread_mutex_unlock(&blank->lock);
    if (fitting)
        free(roomy);

    uint64_t hash = hash_of(id);
    int grows = 1;
    pthread_mutex_lock(&table_lock);
    of = find_locked(id, hash); /* somebody may have been faster */
    if (!of) {
        of = blank;
        of->references = 0;
        grows = insert_locked(of, hash);
    }
    of->references++;
    pthread_mutex_unlock(&table_lock);
    if (of != blank)
        put_into_pool(blank);
    if (!grows)
        add_segment();
    return of;
}

void core_session_let_go(session *of)
{
    pthread_mutex_lock(&table_lock);
    int last = --of->references == 0;
    if (last)
        remove_locked(of);
    pthread_mutex_unlock(&table_lock);
    if (last)
        put_into_pool(of);
}

/* ---- for callers ---- */
/* As rules/ids.py has it: an instant function cannot ask there. */
static int is_id(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", digits[] = "0123456789";
    size_t length = strnlen(text, MOST_ID + 1), numbered = !strncmp(text, "session_", 8);
    if (length > MOST_ID || !(numbered || !strncmp(text, "ses_", 4)))
        return 0;
    const char *at = text + (numbered ? 8 : 4);
    for (; *at && (strchr(digits, *at) || (!numbered && strchr(letters, *at))); at++)
        ;
    return !*at && length > (numbered ? 8 : 4);
}

char *plue_session_peek_id(const char *session_id)
{
    static const char *const operation = "plue_session_peek_id";
    if (core_ready(operation))
        return NULL;
    if (!session_id || !is_id(session_id)) {
        core_fail(
            PLUE_ERROR_INVALID_PARAM, operation,
            "Invalid parameters: session_id is %s. Ids look like session_1767225600000 or ses_7fK2, of at most %d "
            "characters.",
            session_id ? "malformed" : "NULL", MOST_ID);
        return NULL;
    }
    session *of = core_session_hold(session_id);
    core_clear_error();
    if (!of)
        return NULL;
    pthread_mutex_lock(&of->lock);
    snapshot *info = of->info;
    int missing = !info && !of->gone && of->rev; /* else nothing was shown yet, or nothing is any more */
    if (info)
        atomic_fetch_add(&info->references, 1);
    pthread_mutex_unlock(&of->lock);
    char *copy = info ? core_own(info->text, info->length) : NULL;
    if (missing)
        core__wake(CORE_EXECUTOR_COMMIT, CORE_SIGNAL_SHOW);
    if (missing || (info && !copy))
        core_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
    core_snapshot_drop(info);
    core_session_let_go(of);
    return copy;
}

/* ---- for Python ---- */
int core__session_known(const char *id)
{
    uint64_t hash = hash_of(id);
    pthread_mutex_lock(&table_lock);
    int known = find_locked(id, hash) != NULL;
    pthread_mutex_unlock(&table_lock);
    return known;
}

/*
 * Put ids of sessions that somebody holds a handle to into `to`, each with a line feed, as many as there is room for;
 * returns their length, 0: that was all. `*after` is where it goes on, at first 0. A session that comes or goes
 * meanwhile may be left out, or be named once more. It takes no lock but each session's own: there may be very many.
 */
size_t core__session_ids(uintptr_t *after, char *to, size_t room)
{
    size_t used = 0;
    session *each = *after ? ((session *)*after)->older : atomic_load(&newest);
    for (; each && used + CORE_LONGEST_ID + 1 <= room; each = each->older) {
        pthread_mutex_lock(&each->lock);
        size_t length = each->id ? strlen(each->id) : 0;
        if (length)
            memcpy(to + used, each->id, length);
        pthread_mutex_unlock(&each->lock);
        if (length) {
            used += length;
            to[used++] = '\n';
        }
        *after = (uintptr_t)each;
    }
    return used;
}

/* Set what every handle of the session shows, unless that is newer already. Without memory for it they show nothing,
   rather than what was before: see read_info(). */
void core__session_publish(const char *id, int64_t rev, const char *info, size_t length)
{
    if (core_outdated())
        return;
    snapshot *copy = malloc(sizeof *copy + length + 1), *old = copy;
    if (copy) {
        atomic_init(&copy->references, 1);
        copy->length = length;
        memcpy(copy->text, info, length);
        copy->text[length] = 0;
    }
    session *of = core_session_hold(id);
    if (of) {
        pthread_mutex_lock(&of->lock);
        if (!of->gone && rev >= of->rev && (copy || rev > of->rev)) {
            old = of->info;
            of->info = copy;
            of->rev = rev;
        }
        pthread_mutex_unlock(&of->lock);
        core_session_let_go(of);
    }
    core_snapshot_drop(old);
}

void core__session_gone(const char *id)
{
    if (core_outdated())
        return;
    session *of = core_session_hold(id);
    if (of) {
        pthread_mutex_lock(&of->lock);
        snapshot *old = of->info;
        of->info = NULL;
        of->gone = 1;
        pthread_mutex_unlock(&of->lock);
        core_snapshot_drop(old);
        core_session_let_go(of);
    }
}

/* Note that the server was asked about the session at this time: its snapshot is as old as that. */
void core__session_fresh(const char *id, int64_t monotonic_ns)
{
    if (core_outdated())
        return;
    session *of = core_session_hold(id);
    if (of) {
        pthread_mutex_lock(&of->lock);
        if (monotonic_ns > of->refreshed)
            of->refreshed = monotonic_ns;
        pthread_mutex_unlock(&of->lock);
        core_session_let_go(of);
    }
}

void core__set_ttl(int64_t ns)
{
    atomic_store(&core_fresh_for.ns, ns);
}
