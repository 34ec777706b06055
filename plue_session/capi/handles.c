/*
 * Handles and snapshots.
 *
 * A handle is a number: serial << 28 | slot << 4 | 9. The serial counts the lives of its slot, so that no value is ever
 * used twice, also across plue_shutdown; a slot whose serial is used up is retired. Slots live in chunks that are never
 * moved or freed, so a lookup needs no lock.
 *
 * A session is what all handles to one id share: its snapshot (the info JSON that Python published last) behind a lock of
 * its own. Readers copy a short one at once; of a long one, which may be megabytes, they count themselves as users and copy
 * it outside of any lock. Session memory is pooled and keeps its type for ever: a reader that lost a race against
 * plue_session_destroy locks a session that may have become another one's, sees that its handle is gone, and leaves.
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

enum { TAG = 9, SLOT_BITS = 24, CHUNK_BITS = 12, CHUNK = 1 << CHUNK_BITS, CHUNKS = 1 << (SLOT_BITS - CHUNK_BITS) };
/* Bytes of a snapshot up to which a copy takes no longer than to count its users. */
enum { SHORT = 4096 };
#define LAST_SERIAL (UINT64_MAX >> (SLOT_BITS + 4))

typedef struct snapshot {
    atomic_uint references;
    size_t length;
    char text[];
} snapshot;

typedef struct session session;
struct session {
    pthread_mutex_t lock;
    snapshot *info; /* NULL until the first snapshot, after the session is gone, and when there was no memory for the newest */
    int64_t rev;
    int64_t refreshed; /* monotonic ns: when a server last said that this is so; 0: never */
    int gone;
    /* under sessions_lock */
    char *id;
    uint64_t hash;
    uint32_t references;
    session *next; /* in its bucket, or in the pool */
};

typedef struct slot {
    _Atomic(uintptr_t) handle; /* the live handle, or 0 */
    _Atomic(session *) session;
    uint64_t serial;    /* of the last life; under sessions_lock */
    uint32_t next_free; /* under sessions_lock */
} slot;

/* How many ns a snapshot is as good as the server's word; -1: for ever. Read by every reader: in a cache line of its own. */
static struct {
    _Alignas(64) atomic_llong ns;
} fresh_for = {-1};

static _Atomic(slot *) chunks[CHUNKS];
static pthread_mutex_t sessions_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t slots_used, free_slot = UINT32_MAX;
static session **buckets, *pool;
static size_t bucket_count, session_count;

static slot *slot_at(uint32_t index)
{
    slot *chunk = atomic_load_explicit(&chunks[index >> CHUNK_BITS], memory_order_acquire);
    return chunk ? &chunk[index & (CHUNK - 1)] : NULL;
}

static slot *slot_of(uintptr_t handle)
{
    return (handle & 15) == TAG ? slot_at((uint32_t)(handle >> 4) & ((1u << SLOT_BITS) - 1)) : NULL;
}

static void drop_snapshot(snapshot *old)
{
    if (old && atomic_fetch_sub(&old->references, 1) == 1)
        free(old);
}

/* ---- the table of sessions by id; sessions_lock is held ---- */
static uint64_t hash_of(const char *id)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * UINT64_C(1099511628211);
    return hash ^ hash >> 29;
}

static session *lookup(const char *id, uint64_t hash)
{
    if (!bucket_count)
        return NULL;
    session *found = buckets[hash & (bucket_count - 1)];
    while (found && (found->hash != hash || strcmp(found->id, id)))
        found = found->next;
    return found;
}

static int grow_buckets(void)
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

static session *make_session(const char *id, uint64_t hash)
{
    if (session_count >= bucket_count && grow_buckets() && !bucket_count)
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
    made->hash = hash;
    made->references = 0;
    made->next = buckets[hash & (bucket_count - 1)];
    buckets[hash & (bucket_count - 1)] = made;
    session_count++;
    return made;
}

static void forget_session(session *old)
{
    session **link = &buckets[old->hash & (bucket_count - 1)];
    while (*link != old)
        link = &(*link)->next;
    *link = old->next;
    session_count--;
    pthread_mutex_lock(&old->lock);
    drop_snapshot(old->info);
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

static void unreference(session *of)
{
    if (--of->references == 0)
        forget_session(of);
}

static uint32_t take_slot(void)
{
    uint32_t index = free_slot;
    if (index != UINT32_MAX) {
        free_slot = slot_at(index)->next_free;
        return index;
    }
    if (slots_used == 1u << SLOT_BITS)
        return UINT32_MAX;
    if (!slot_at(slots_used)) {
        slot *chunk = calloc(CHUNK, sizeof *chunk);
        if (!chunk)
            return UINT32_MAX;
        atomic_store_explicit(&chunks[slots_used >> CHUNK_BITS], chunk, memory_order_release);
    }
    return slots_used++;
}

static void drop_slot(slot *at, uint32_t index)
{
    session *of = atomic_load_explicit(&at->session, memory_order_relaxed);
    atomic_store_explicit(&at->handle, 0, memory_order_release);
    unreference(of);
    if (at->serial < LAST_SERIAL) {
        at->next_free = free_slot;
        free_slot = index;
    }
}

/* ---- for Python ---- */
/* Make a handle to the session. It has no snapshot before the first publish; 0 when memory or slots are used up. */
uintptr_t plue__session_acquire(const char *id)
{
    uint64_t hash = hash_of(id);
    uintptr_t handle = 0;
    if (plue_outdated())
        return 0;
    pthread_mutex_lock(&sessions_lock);
    session *of = lookup(id, hash);
    if (!of)
        of = make_session(id, hash);
    if (of) {
        uint32_t index = take_slot();
        if (index != UINT32_MAX) {
            slot *at = slot_at(index);
            of->references++;
            handle = (uintptr_t)(++at->serial << (SLOT_BITS + 4) | (uint64_t)index << 4 | TAG);
            atomic_store_explicit(&at->session, of, memory_order_relaxed);
            atomic_store_explicit(&at->handle, handle, memory_order_release);
        } else if (of->references == 0)
            forget_session(of);
    }
    pthread_mutex_unlock(&sessions_lock);
    return handle;
}

void plue__session_release(uintptr_t handle)
{
    slot *at = slot_of(handle);
    if (!at)
        return;
    pthread_mutex_lock(&sessions_lock);
    if (handle && atomic_load_explicit(&at->handle, memory_order_relaxed) == handle)
        drop_slot(at, (uint32_t)(handle >> 4) & ((1u << SLOT_BITS) - 1));
    pthread_mutex_unlock(&sessions_lock);
}

int plue__session_known(const char *id)
{
    pthread_mutex_lock(&sessions_lock);
    int known = lookup(id, hash_of(id)) != NULL;
    pthread_mutex_unlock(&sessions_lock);
    return known;
}

/* The ids of all sessions that somebody holds a handle to, one per line; for plue__free. NULL when memory is short. */
char *plue__session_ids(void)
{
    pthread_mutex_lock(&sessions_lock);
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
    pthread_mutex_unlock(&sessions_lock);
    return ids;
}

void plue__free(char *text)
{
    free(text);
}

/* A session is locked with the table's lock let go: others want to destroy meanwhile. */
static session *hold(const char *id)
{
    pthread_mutex_lock(&sessions_lock);
    session *of = lookup(id, hash_of(id));
    if (of)
        of->references++;
    pthread_mutex_unlock(&sessions_lock);
    return of;
}

static void let_go(session *of)
{
    pthread_mutex_lock(&sessions_lock);
    unreference(of);
    pthread_mutex_unlock(&sessions_lock);
}

/* Set what every handle of the session shows, unless that is newer already. Without memory for it they show nothing, rather
   than what was before: see read_info(). */
void plue__session_publish(const char *id, int64_t rev, const char *info, size_t length)
{
    if (plue_outdated())
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
    drop_snapshot(old);
}

void plue__session_gone(const char *id)
{
    if (plue_outdated())
        return;
    session *of = hold(id);
    if (of) {
        pthread_mutex_lock(&of->lock);
        drop_snapshot(of->info);
        of->info = NULL;
        of->gone = 1;
        pthread_mutex_unlock(&of->lock);
        let_go(of);
    }
}

/* Note that the server was asked about the session at this time: its snapshot is as old as that. */
void plue__session_fresh(const char *id, int64_t monotonic_ns)
{
    if (plue_outdated())
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

void plue__set_ttl(int64_t ns)
{
    atomic_store(&fresh_for.ns, ns);
}

/* ---- for callers ---- */
/* Lock the session behind a handle; NULL with the error set. */
static session *enter(plue_session_t session_handle, const char *operation)
{
    uintptr_t handle = (uintptr_t)session_handle;
    if (!handle) {
        plue_fail(PLUE_ERROR_INVALID_PARAM, operation, "Invalid parameters: Session handle is null. Pass what "
                  "plue_session_create() or plue_session_open() returned, after checking it.");
        return NULL;
    }
    slot *at = slot_of(handle);
    if (at && atomic_load_explicit(&at->handle, memory_order_acquire) == handle) {
        session *of = atomic_load_explicit(&at->session, memory_order_relaxed);
        pthread_mutex_lock(&of->lock);
        if (__builtin_expect(atomic_load_explicit(&at->handle, memory_order_acquire) == handle, 1)) {
            if (__builtin_expect(!of->gone, 1))
                return of;
            char id[128] = "", subject[256];
            strncat(id, of->id, sizeof id - 1);
            pthread_mutex_unlock(&of->lock);
            stpcpy(stpcpy(stpcpy(subject, operation), " "), id);
            plue_fail(PLUE_ERROR_NOT_FOUND, subject, "the session was deleted. Destroy this handle.");
            return NULL;
        }
        pthread_mutex_unlock(&of->lock);
    }
    plue_fail(PLUE_ERROR_BAD_HANDLE, operation, "%p is not a live session handle: destroyed, from before a shutdown, or never "
              "one. Pass what plue_session_create() or plue_session_open() returned.", (void *)session_handle);
    return NULL;
}

/* Must the server be asked about the session, whose lock is held? */
static inline int is_stale(const session *of)
{
    int64_t most = atomic_load_explicit(&fresh_for.ns, memory_order_relaxed);
    return __builtin_expect(most >= 0, 0) && (!of->refreshed || plue_monotonic_ns() - of->refreshed > most);
}

static inline char *read_info(plue_session_t handle, const char *operation, int ask)
{
    if (plue_ready(operation))
        return NULL;
    session *of = enter(handle, operation);
    if (!of)
        return NULL;
    ask = ask && is_stale(of);
    char *id = ask ? strdup(of->id) : NULL;
    snapshot *info = ask ? NULL : of->info;
    char *copy = id;
    int known = info != NULL;
    if (__builtin_expect(known && info->length <= SHORT, 1)) {
        copy = plue_own(info->text, info->length);
        pthread_mutex_unlock(&of->lock);
    } else {
        if (info)
            atomic_fetch_add_explicit(&info->references, 1, memory_order_relaxed);
        pthread_mutex_unlock(&of->lock);
        if (info)
            copy = plue_own(info->text, info->length);
        drop_snapshot(info);
    }
    if (!known && !ask)
        plue__wake(PLUE_LANE_COMMIT, PLUE_SIGNAL_SHOW); /* by the next try it is there, if there is memory */
    if (!copy)
        plue_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
    return copy && ask ? plue_ask_info(copy) : copy;
}

char *plue_session_get_info(plue_session_t session)
{
    return read_info(session, "plue_session_get_info", 1);
}

char *plue_session_peek_info(plue_session_t session)
{
    return read_info(session, "plue_session_peek_info", 0);
}

char *plue_session_id_of(plue_session_t handle, const char *operation)
{
    session *of = enter(handle, operation);
    if (!of)
        return NULL;
    char *id = strdup(of->id);
    pthread_mutex_unlock(&of->lock);
    if (!id)
        plue_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
    return id;
}

char *plue_session_get_id(plue_session_t handle)
{
    if (plue_ready("plue_session_get_id"))
        return NULL;
    char *id = plue_session_id_of(handle, "plue_session_get_id"), *result = NULL;
    if (id && !(result = plue_own(id, strlen(id))))
        plue_fail(PLUE_ERROR_IO, "plue_session_get_id", "out of memory. Free some and try again.");
    free(id);
    return result;
}

void plue_session_destroy(plue_session_t session)
{
    if (!atomic_load(&plue_forked) && atomic_load(&plue_state) != PLUE_STOPPED)
        plue__session_release((uintptr_t)session);
}

void plue_drop_all_sessions(void)
{
    pthread_mutex_lock(&sessions_lock);
    for (uint32_t index = 0; index < slots_used; index++) {
        slot *at = slot_at(index);
        if (atomic_load_explicit(&at->handle, memory_order_relaxed))
            drop_slot(at, index);
    }
    pthread_mutex_unlock(&sessions_lock);
}
