/*
 * Sessions that somebody holds a handle to, and their snapshots.
 *
 * A session is what all handles to one id share: its snapshot (the info JSON that Python published last) behind a lock of
 * its own. Session memory is pooled and keeps its type for ever: a reader that lost a race against plue_session_destroy locks
 * a session that may have become another one's, sees that its handle is gone, and leaves.
 */
#include "snapshots.h"

#include <stdlib.h>
#include <string.h>

struct core_fresh_for core_fresh_for = {-1};
pthread_mutex_t core_sessions_lock = PTHREAD_MUTEX_INITIALIZER;
static session **buckets, *pool;
static size_t bucket_count, session_count;

void core_snapshot_drop(snapshot *old)
{
    if (old && atomic_fetch_sub(&old->references, 1) == 1)
        free(old);
}

/* ---- the table of sessions by id; core_sessions_lock is held ---- */
static uint64_t hash_of(const char *id)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * UINT64_C(1099511628211);
    return hash ^ hash >> 29;
}

session *core_session_find_locked(const char *id)
{
    uint64_t hash = hash_of(id);
    if (!bucket_count)
        return NULL;
    session *found = buckets[hash & (bucket_count - 1)];
    while (found && (found->hash != hash || strcmp(found->id, id)))
        found = found->next;
    return found;
}

static int grow_buckets_locked(void)
{
    size_t count = bucket_count ? bucket_count * 2 : 256;
    session **bigger = calloc(count, sizeof *bigger);
    if (!bigger)
        return -1;
    for (size_t i = 0; i < bucket_count; i++) {
        for (session *each = buckets[i], *next; each; each = next) {
            next = each->next;
            each->next = bigger[each->hash & (count - 1)];
            bigger[each->hash & (count - 1)] = each;
        }
    }
    free(buckets);
    buckets = bigger;
    bucket_count = count;
    return 0;
}

session *core_session_make_locked(const char *id)
{
    if (session_count >= bucket_count && grow_buckets_locked() && !bucket_count)
        return NULL;
    session *made = pool;
    if (made)
        pool = made->next;
    else {
        made = calloc(1, sizeof *made);
        if (!made)
            return NULL;
        pthread_mutex_init(&made->lock, NULL);
    }
    made->id = strdup(id);
    if (!made->id) {
        made->next = pool;
        pool = made;
        return NULL;
    }
    made->hash = hash_of(id);
    made->references = 0;
    made->next = buckets[made->hash & (bucket_count - 1)];
    buckets[made->hash & (bucket_count - 1)] = made;
    session_count++;
    return made;
}

static void forget_session_locked(session *old)
{
    session **link = &buckets[old->hash & (bucket_count - 1)];
    while (*link != old)
        link = &(*link)->next;
    *link = old->next;
    session_count--;
    pthread_mutex_lock(&old->lock);
    core_snapshot_drop(old->info);
    free(old->id);
    old->info = NULL;
    old->id = NULL;
    old->rev = 0;
    old->refreshed = 0;
    old->gone = 0;
    pthread_mutex_unlock(&old->lock);
    old->next = pool;
    pool = old;
}

void core_session_unreference_locked(session *of)
{
    if (--of->references == 0)
        forget_session_locked(of);
}

/* ---- for Python ---- */
int core__session_known(const char *id)
{
    pthread_mutex_lock(&core_sessions_lock);
    int known = core_session_find_locked(id) != NULL;
    pthread_mutex_unlock(&core_sessions_lock);
    return known;
}

/* The ids of all sessions that somebody holds a handle to, one per line; for core__free. NULL when memory is short. */
char *core__session_ids(void)
{
    pthread_mutex_lock(&core_sessions_lock);
    size_t room = 1;
    for (size_t i = 0; i < bucket_count; i++)
        for (session *each = buckets[i]; each; each = each->next)
            room += strlen(each->id) + 1;
    char *ids = malloc(room), *to = ids;
    if (ids) {
        for (size_t i = 0; i < bucket_count; i++)
            for (session *each = buckets[i]; each; each = each->next) {
                to = stpcpy(to, each->id);
                *to++ = '\n';
            }
        *to = 0;
    }
    pthread_mutex_unlock(&core_sessions_lock);
    return ids;
}

void core__free(char *text)
{
    free(text);
}

/* A session is locked with the table's lock let go: others want to destroy meanwhile. */
static session *hold(const char *id)
{
    pthread_mutex_lock(&core_sessions_lock);
    session *of = core_session_find_locked(id);
    if (of)
        of->references++;
    pthread_mutex_unlock(&core_sessions_lock);
    return of;
}

static void let_go(session *of)
{
    pthread_mutex_lock(&core_sessions_lock);
    core_session_unreference_locked(of);
    pthread_mutex_unlock(&core_sessions_lock);
}

/* Set what every handle of the session shows, unless that is newer already. Without memory for it they show nothing, rather
   than what was before: see read_info(). */
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
    session *of = hold(id);
    if (of) {
        pthread_mutex_lock(&of->lock);
        if (!of->gone && rev >= of->rev && (copy || rev > of->rev)) {
            old = of->info;
            of->info = copy;
            of->rev = rev;
        }
        pthread_mutex_unlock(&of->lock);
        let_go(of);
    }
    core_snapshot_drop(old);
}

void core__session_gone(const char *id)
{
    if (core_outdated())
        return;
    session *of = hold(id);
    if (of) {
        pthread_mutex_lock(&of->lock);
        core_snapshot_drop(of->info);
        of->info = NULL;
        of->gone = 1;
        pthread_mutex_unlock(&of->lock);
        let_go(of);
    }
}

/* Note that the server was asked about the session at this time: its snapshot is as old as that. */
void core__session_fresh(const char *id, int64_t monotonic_ns)
{
    if (core_outdated())
        return;
    session *of = hold(id);
    if (of) {
        pthread_mutex_lock(&of->lock);
        if (monotonic_ns > of->refreshed)
            of->refreshed = monotonic_ns;
        pthread_mutex_unlock(&of->lock);
        let_go(of);
    }
}

void core__set_ttl(int64_t ns)
{
    atomic_store(&core_fresh_for.ns, ns);
}
