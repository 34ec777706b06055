/*
 * Handles.
 *
 * A handle is a number: serial << 28 | slot << 4 | 9. The serial counts the lives of its slot, so that no value is ever
 * used twice, also across plue_shutdown; a slot whose serial is used up is retired. Slots live in chunks that are never
 * moved or freed, so a lookup needs no lock.
 *
 * What a handle shows is its session's snapshot (snapshots.c). Readers copy a short one at once; of a long one, which may be
 * megabytes, they count themselves as users and copy it outside of any lock.
 */
#include "snapshots.h"

#include <stdlib.h>
#include <string.h>

enum { TAG = 9, SLOT_BITS = 24, CHUNK_BITS = 12, CHUNK = 1 << CHUNK_BITS, CHUNKS = 1 << (SLOT_BITS - CHUNK_BITS) };
/* Bytes of a snapshot up to which a copy takes no longer than to count its users. */
enum { SHORT = 4096 };
#define LAST_SERIAL (UINT64_MAX >> (SLOT_BITS + 4))

typedef struct slot {
    _Atomic(uintptr_t) handle; /* the live handle, or 0 */
    _Atomic(session *) session;
    uint64_t serial;    /* of the last life; under core_sessions_lock */
    uint32_t next_free; /* under core_sessions_lock */
} slot;

static _Atomic(slot *) chunks[CHUNKS];
static uint32_t slots_used, free_slot = UINT32_MAX;

static slot *slot_at(uint32_t index)
{
    slot *chunk = atomic_load_explicit(&chunks[index >> CHUNK_BITS], memory_order_acquire);
    return chunk ? &chunk[index & (CHUNK - 1)] : NULL;
}

static slot *slot_of(uintptr_t handle)
{
    return (handle & 15) == TAG ? slot_at((uint32_t)(handle >> 4) & ((1u << SLOT_BITS) - 1)) : NULL;
}

static uint32_t take_slot_locked(void)
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

static void drop_slot_locked(slot *at, uint32_t index)
{
    session *of = atomic_load_explicit(&at->session, memory_order_relaxed);
    atomic_store_explicit(&at->handle, 0, memory_order_release);
    core_session_unreference_locked(of);
    if (at->serial < LAST_SERIAL) {
        at->next_free = free_slot;
        free_slot = index;
    }
}

/* ---- for Python ---- */
/* Make a handle to the session. It has no snapshot before the first publish; 0 when memory or slots are used up. */
uintptr_t core__session_acquire(const char *id)
{
    uintptr_t handle = 0;
    if (core_outdated())
        return 0;
    pthread_mutex_lock(&core_sessions_lock);
    session *of = core_session_find_locked(id);
    if (!of)
        of = core_session_make_locked(id);
    if (of) {
        uint32_t index = take_slot_locked();
        of->references++;
        if (index != UINT32_MAX) {
            slot *at = slot_at(index);
            handle = (uintptr_t)(++at->serial << (SLOT_BITS + 4) | (uint64_t)index << 4 | TAG);
            atomic_store_explicit(&at->session, of, memory_order_relaxed);
            atomic_store_explicit(&at->handle, handle, memory_order_release);
        } else
            core_session_unreference_locked(of);
    }
    pthread_mutex_unlock(&core_sessions_lock);
    return handle;
}

void core__session_release(uintptr_t handle)
{
    slot *at = slot_of(handle);
    if (!at)
        return;
    pthread_mutex_lock(&core_sessions_lock);
    if (handle && atomic_load_explicit(&at->handle, memory_order_relaxed) == handle)
        drop_slot_locked(at, (uint32_t)(handle >> 4) & ((1u << SLOT_BITS) - 1));
    pthread_mutex_unlock(&core_sessions_lock);
}

/* ---- for callers ---- */
/* Lock the session behind a handle; NULL with the error set. */
static session *enter(plue_session_t session_handle, const char *operation)
{
    uintptr_t handle = (uintptr_t)session_handle;
    if (!handle) {
        core_fail(PLUE_ERROR_INVALID_PARAM, operation, "Invalid parameters: Session handle is null. Pass what "
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
            core_fail(PLUE_ERROR_NOT_FOUND, subject, "the session was deleted. Destroy this handle.");
            return NULL;
        }
        pthread_mutex_unlock(&of->lock);
    }
    core_fail(PLUE_ERROR_BAD_HANDLE, operation, "%p is not a live session handle: destroyed, from before a shutdown, or never "
              "one. Pass what plue_session_create() or plue_session_open() returned.", (void *)session_handle);
    return NULL;
}

/* Must the server be asked about the session, whose lock is held? */
static inline int is_stale_locked(const session *of)
{
    int64_t most = atomic_load_explicit(&core_fresh_for.ns, memory_order_relaxed);
    return __builtin_expect(most >= 0, 0) && (!of->refreshed || core_monotonic_ns() - of->refreshed > most);
}

static inline char *read_info(plue_session_t handle, const char *operation, int ask)
{
    if (core_ready(operation))
        return NULL;
    session *of = enter(handle, operation);
    if (!of)
        return NULL;
    ask = ask && is_stale_locked(of);
    char *id = ask ? strdup(of->id) : NULL;
    snapshot *info = ask ? NULL : of->info;
    char *copy = id;
    int known = info != NULL;
    if (__builtin_expect(known && info->length <= SHORT, 1)) {
        copy = core_own(info->text, info->length);
        pthread_mutex_unlock(&of->lock);
    } else {
        if (info)
            atomic_fetch_add_explicit(&info->references, 1, memory_order_relaxed);
        pthread_mutex_unlock(&of->lock);
        if (info)
            copy = core_own(info->text, info->length);
        core_snapshot_drop(info);
    }
    if (!known && !ask)
        core__wake(CORE_LANE_COMMIT, CORE_SIGNAL_SHOW); /* by the next try it is there, if there is memory */
    if (!copy)
        core_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
    return copy && ask ? core_ask_info(copy) : copy;
}

char *plue_session_get_info(plue_session_t session)
{
    return read_info(session, "plue_session_get_info", 1);
}

char *plue_session_peek_info(plue_session_t session)
{
    return read_info(session, "plue_session_peek_info", 0);
}

char *core_session_id_of(plue_session_t handle, const char *operation)
{
    session *of = enter(handle, operation);
    if (!of)
        return NULL;
    char *id = strdup(of->id);
    pthread_mutex_unlock(&of->lock);
    if (!id)
        core_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
    return id;
}

char *plue_session_get_id(plue_session_t handle)
{
    if (core_ready("plue_session_get_id"))
        return NULL;
    char *id = core_session_id_of(handle, "plue_session_get_id"), *result = NULL;
    if (id && !(result = core_own(id, strlen(id))))
        core_fail(PLUE_ERROR_IO, "plue_session_get_id", "out of memory. Free some and try again.");
    free(id);
    return result;
}

void plue_session_destroy(plue_session_t session)
{
    if (!core_forked() && atomic_load(&core_state) != CORE_STOPPED)
        core__session_release((uintptr_t)session);
}

void core_drop_all_sessions(void)
{
    pthread_mutex_lock(&core_sessions_lock);
    for (uint32_t index = 0; index < slots_used; index++) {
        slot *at = slot_at(index);
        if (atomic_load_explicit(&at->handle, memory_order_relaxed))
            drop_slot_locked(at, index);
    }
    pthread_mutex_unlock(&core_sessions_lock);
}
