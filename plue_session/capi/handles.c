/*
 * Handles.
 *
 * A handle is a number: serial << 28 | slot << 4 | 9 + kind. The serial counts the lives of its slot, so that no value
 * is ever used twice, also across plue_shutdown; a slot whose serial is used up is retired. Slots live in chunks that
 * are never moved or freed, so a lookup needs no lock.
 *
 * A handle of the first kind stands for a session, one of the second for an observer (observers.c). Python keeps
 * nothing for them, and is not told when they go. A handle of another kind stands for an object of the Python half, by
 * the number that Python gave it. There Python is told: the slot waits in a list until Python has fetched the number,
 * so the release is instant and needs no memory. A slot is of one kind for good, because a reader that lost a race
 * against plue_session_destroy may still lock the session that it refers to; and so that a handle that was given once
 * can be told from one that never was.
 *
 * What a session's handle shows is its snapshot (snapshots.c). Readers copy a short one at once, into a block that they
 * have already; for a long one they count themselves as users, and get memory and copy outside of any lock.
 */
#include "snapshots.h"

#include <stdlib.h>
#include <string.h>

#include "core_tables.h"

enum { SESSION = CORE_KIND_SESSION, OBSERVER = CORE_KIND_OBSERVER, KINDS = sizeof core_kinds / sizeof *core_kinds };
enum { TAG = 9, SLOT_BITS = 24, CHUNK_BITS = 12, CHUNK = 1 << CHUNK_BITS, CHUNKS = 1 << (SLOT_BITS - CHUNK_BITS) };
/* Up to so many bytes, copying a snapshot takes no longer than counting its users. */
enum { SHORT = 4096 };
#define NO_SLOT UINT32_MAX
#define LAST_SERIAL (UINT64_MAX >> (SLOT_BITS + 4))

typedef struct slot {
    _Atomic(uintptr_t) handle; /* the live handle, or 0 */
    _Atomic(uintptr_t) object; /* the session, or the number of what it stands for */
    uint64_t serial;           /* of the last life; under slots_lock */
    uint64_t outdated;         /* of the last life before this library was started; under slots_lock */
    uint32_t kind;             /* of its handles; under slots_lock */
    uint32_t next;             /* of those that are free, or released; under slots_lock */
} slot;
_Static_assert(TAG + KINDS <= 16, "the kind has four bits, with the tag");

static _Atomic(slot *) chunks[CHUNKS];
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER; /* guards which slots are in use, and by which handle */
static uint32_t slots_used, free_slots[KINDS] = {[0 ... KINDS - 1] = NO_SLOT}, released_slot = NO_SLOT;

static slot *slot_at(uint32_t index)
{
    slot *chunk = atomic_load_explicit(&chunks[index >> CHUNK_BITS], memory_order_acquire);
    return chunk ? &chunk[index & (CHUNK - 1)] : NULL;
}

static uint32_t index_of(uintptr_t handle)
{
    return (uint32_t)(handle >> 4) & ((1u << SLOT_BITS) - 1);
}

static slot *slot_of(uintptr_t handle, int kind)
{
    return (handle & 15) == (uintptr_t)(TAG + kind) ? slot_at(index_of(handle)) : NULL;
}

static int wants_chunk_locked(int kind)
{
    return free_slots[kind] == NO_SLOT && slots_used < 1u << SLOT_BITS && !slot_at(slots_used);
}

static uint32_t take_slot_locked(int kind)
{
    uint32_t *free = &free_slots[kind], index = *free;
    if (index != NO_SLOT) {
        *free = slot_at(index)->next;
        return index;
    }
    return slots_used < 1u << SLOT_BITS && slot_at(slots_used) ? slots_used++ : NO_SLOT;
}

static void put_slot_locked(int kind, uint32_t index)
{
    slot *at = slot_at(index);
    if (at->serial < LAST_SERIAL) {
        at->next = free_slots[kind];
        free_slots[kind] = index;
    }
}

/* A slot for one handle; NO_SLOT when memory or slots are used up. */
static uint32_t take_slot(int kind)
{
    slot *chunk = NULL;
    pthread_mutex_lock(&slots_lock);
    while (wants_chunk_locked(kind)) {
        if (chunk) {
            atomic_store_explicit(&chunks[slots_used >> CHUNK_BITS], chunk, memory_order_release);
            chunk = NULL;
            break;
        }
        pthread_mutex_unlock(&slots_lock); /* plue_session_destroy takes it, and memory may take long */
        chunk = calloc(CHUNK, sizeof *chunk);
        pthread_mutex_lock(&slots_lock);
        if (!chunk)
            break;
    }
    uint32_t index = take_slot_locked(kind);
    pthread_mutex_unlock(&slots_lock);
    free(chunk);
    return index;
}

/* A handle to the object, in a slot that was taken for it; 0 after the end of the library that it would be of. */
static uintptr_t make_handle(int kind, uint32_t index, uintptr_t object)
{
    slot *at = slot_at(index);
    uintptr_t handle = 0;
    pthread_mutex_lock(&slots_lock);
    if (core_outdated()) {
        put_slot_locked(kind, index);
    } else {
        handle = (uintptr_t)(++at->serial << (SLOT_BITS + 4) | (uint64_t)index << 4 | (uint64_t)(TAG + kind));
        at->kind = (uint32_t)kind;
        atomic_store_explicit(&at->object, object, memory_order_release); /* who sees it sees the old handle gone */
        atomic_store_explicit(&at->handle, handle, memory_order_release);
    }
    pthread_mutex_unlock(&slots_lock);
    return handle;
}

int core_room_take(core_room *room)
{
    room->slot = take_slot(SESSION);
    room->session = room->slot == NO_SLOT ? NULL : core_session_blank();
    if (room->session)
        return 0;
    if (room->slot != NO_SLOT) {
        pthread_mutex_lock(&slots_lock);
        put_slot_locked(SESSION, room->slot);
        pthread_mutex_unlock(&slots_lock);
    }
    return -1;
}

void core_room_leave(core_room *room)
{
    if (!room->session)
        return;
    pthread_mutex_lock(&slots_lock);
    put_slot_locked(SESSION, room->slot);
    pthread_mutex_unlock(&slots_lock);
    core_session_unused(room->session);
    room->session = NULL;
}

uintptr_t core_room_handle(core_room *room, const char *id)
{
    session *of = core_session_hold_or_name(id, room->session);
    uintptr_t handle = of ? make_handle(SESSION, room->slot, (uintptr_t)of) : 0;
    room->session = NULL;
    if (of && !handle)
        core_session_let_go(of);
    return handle;
}

/* ---- for Python ---- */
/* Make a handle to the object that Python knows by the number; 0 when memory or slots are used up. */
uintptr_t core__handle_make(int kind, uint64_t number)
{
    uint32_t index = take_slot(kind);
    return index == NO_SLOT ? 0 : make_handle(kind, index, number);
}

/* Any value is accepted; what is no live handle is ignored. */
void core__handle_release(uintptr_t handle)
{
    int kind = (int)(handle & 15) - TAG;
    slot *at = kind >= 0 && kind < KINDS ? slot_of(handle, kind) : NULL;
    uintptr_t object = 0;
    if (!at)
        return;
    pthread_mutex_lock(&slots_lock);
    if (atomic_load_explicit(&at->handle, memory_order_relaxed) == handle) {
        object = atomic_load_explicit(&at->object, memory_order_relaxed);
        atomic_store_explicit(&at->handle, 0, memory_order_release);
        if (kind <= OBSERVER)
            put_slot_locked(kind, index_of(handle));
        else {
            at->next = released_slot;
            released_slot = index_of(handle);
        }
    }
    pthread_mutex_unlock(&slots_lock);
    if (object && kind == SESSION)
        core_session_let_go((session *)object);
    else if (object && kind == OBSERVER)
        core_observer_release((void *)object);
    else if (object)
        core__wake(CORE_EXECUTOR_READ, CORE_SIGNAL_RELEASED);
}

/* Take the number of an object whose handle has gone; 0: there is none. */
int core__handle_released(uint64_t *number)
{
    pthread_mutex_lock(&slots_lock);
    uint32_t index = released_slot;
    slot *at = index == NO_SLOT ? NULL : slot_at(index);
    if (at) {
        *number = atomic_load_explicit(&at->object, memory_order_relaxed);
        released_slot = at->next;
        put_slot_locked((int)at->kind, index);
    }
    pthread_mutex_unlock(&slots_lock);
    return at != NULL;
}

/* ---- for callers ---- */
/* Copy the id of the session, whose lock is held, and let go of that. */
static void take_id(session *of, char id[CORE_LONGEST_ID + 1])
{
    strcpy(id, of->id);
    pthread_mutex_unlock(&of->lock);
}

static __attribute__((noinline)) void refuse_null(const char *operation)
{
    core_fail(PLUE_ERROR_INVALID_PARAM, operation,
              "Invalid parameters: Session handle is null. Pass what "
              "plue_session_create() or plue_session_open() returned, after checking it.");
}

static __attribute__((noinline)) void refuse_dead(plue_session_t handle, const char *operation)
{
    core_fail(PLUE_ERROR_BAD_HANDLE, operation,
              "%p is not a live session handle: destroyed, from before a shutdown, of another kind, or never one. Pass "
              "what plue_session_create() or plue_session_open() returned.",
              (void *)handle);
}

static __attribute__((noinline)) void refuse_gone(session *of,
                                                  const char *operation) /* locked, and no more afterwards */
{
    char id[CORE_LONGEST_ID + 1], subject[256];
    take_id(of, id);
    stpcpy(stpcpy(stpcpy(subject, operation), " "), id);
    core_fail(PLUE_ERROR_NOT_FOUND, subject, "session not found: %s. It was deleted; destroy this handle.", id);
}

/* Lock the session behind a handle; NULL with the error set. */
static inline __attribute__((always_inline)) session *enter(plue_session_t session_handle, const char *operation)
{
    uintptr_t handle = (uintptr_t)session_handle;
    slot *at = slot_of(handle, SESSION);
    if (__builtin_expect(at && atomic_load_explicit(&at->handle, memory_order_acquire) == handle, 1)) {
        session *of = (session *)atomic_load_explicit(&at->object, memory_order_relaxed);
        pthread_mutex_lock(&of->lock);
        while (__builtin_expect(of->successor != NULL, 0)) { /* one that has the handle's session for good: aliases.c */
            session *successor = of->successor;
            pthread_mutex_unlock(&of->lock);
            of = successor;
            pthread_mutex_lock(&of->lock);
        }
        if (__builtin_expect(atomic_load_explicit(&at->handle, memory_order_acquire) == handle, 1)) {
            if (__builtin_expect(!of->gone, 1))
                return of;
            refuse_gone(of, operation);
            return NULL;
        }
        pthread_mutex_unlock(&of->lock);
    }
    if (handle)
        refuse_dead(session_handle, operation);
    else
        refuse_null(operation);
    return NULL;
}

/* Must the server be asked about the session, whose lock is held? */
static inline int is_stale_locked(const session *of)
{
    int64_t most = atomic_load_explicit(&core_fresh_for.ns, memory_order_relaxed);
    return __builtin_expect(most >= 0, 0) && (!of->refreshed || core_monotonic_ns() - of->refreshed > most);
}

static char *no_memory(const char *operation)
{
    core_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
    return NULL;
}

/* With the session locked, which it is no more afterwards. */
static __attribute__((noinline)) char *ask_for_info(session *of, const char *operation)
{
    char room[CORE_LONGEST_ID + 1];
    take_id(of, room);
    char *id = strdup(room);
    return id ? core_ask_info(id) : no_memory(operation);
}

static __attribute__((noinline)) char *copy_slowly(session *of)
{
    snapshot *info = of->info;
    char *copy = NULL;
    if (info)
        atomic_fetch_add_explicit(&info->references, 1, memory_order_relaxed);
    pthread_mutex_unlock(&of->lock);
    if (info)
        copy = core_own(info->text, info->length);
    else
        core__wake(CORE_EXECUTOR_COMMIT, CORE_SIGNAL_SHOW); /* by the next try it is there, if there is memory */
    core_snapshot_drop(info);
    return copy;
}

static inline char *read_info(plue_session_t handle, const char *operation, int ask)
{
    if (core_ready(operation))
        return NULL;
    session *of = enter(handle, operation);
    if (!of)
        return NULL;
    if (ask && is_stale_locked(of))
        return ask_for_info(of, operation);
    snapshot *info = of->info;
    char *copy = NULL;
    if (__builtin_expect(info && info->length <= SHORT && (copy = core_spare_text(info->length + 1)), 1)) {
        memcpy(copy, info->text, info->length + 1);
        pthread_mutex_unlock(&of->lock);
    } else
        copy = copy_slowly(of);
    return __builtin_expect(copy != NULL, 1) ? copy : no_memory(operation);
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
    char id[CORE_LONGEST_ID + 1], *copy;
    session *of = enter(handle, operation);
    if (!of)
        return NULL;
    take_id(of, id);
    copy = strdup(id);
    return copy ? copy : no_memory(operation);
}

char *plue_session_get_id(plue_session_t handle)
{
    static const char *const operation = "plue_session_get_id";
    char id[CORE_LONGEST_ID + 1], *copy;
    session *of = core_ready(operation) ? NULL : enter(handle, operation);
    if (!of)
        return NULL;
    take_id(of, id);
    copy = core_own(id, strlen(id));
    return copy ? copy : no_memory(operation);
}

int core_object_of(uintptr_t handle, int kind, const char *operation, uint64_t *number)
{
    slot *at = slot_of(handle, kind);
    if (at && atomic_load_explicit(&at->handle, memory_order_acquire) == handle) {
        *number = atomic_load_explicit(&at->object, memory_order_acquire);
        if (atomic_load_explicit(&at->handle, memory_order_relaxed) == handle)
            return 0;
    }
    if (handle)
        core_fail(PLUE_ERROR_BAD_HANDLE, operation,
                  "%p is not a live %s handle: released, from before a shutdown, of another kind, or never one. Pass "
                  "what the library returned as one.",
                  (void *)handle, core_kinds[kind]);
    else
        core_fail(PLUE_ERROR_INVALID_PARAM, operation,
                  "Invalid parameters: the %s handle is NULL. Pass what the library returned, after checking it.",
                  core_kinds[kind]);
    return -1;
}

void *core_observer_at(uintptr_t handle)
{
    slot *at = slot_of(handle, OBSERVER);
    if (!at)
        return NULL;
    uint64_t serial = handle >> (SLOT_BITS + 4);
    pthread_mutex_lock(&slots_lock);
    int given = at->kind == OBSERVER && serial > at->outdated && serial <= at->serial;
    uintptr_t object = given ? atomic_load_explicit(&at->object, memory_order_relaxed) : 0;
    pthread_mutex_unlock(&slots_lock);
    return (void *)object;
}

void core_destroy(uintptr_t handle, int kind)
{
    /* A library that stops drops all handles itself, and is not in this one's way while it does. */
    if (!core_forked() && atomic_load(&core_state) == CORE_RUNNING && slot_of(handle, kind))
        core__handle_release(handle);
}

void plue_session_destroy(plue_session_t session)
{
    core_destroy((uintptr_t)session, SESSION);
}

void core_drop_all_handles(void)
{
    uint64_t gone;
    pthread_mutex_lock(&slots_lock); /* who makes a handle now has made it, or sees that it is of before the shutdown */
    uint32_t used = slots_used;
    pthread_mutex_unlock(&slots_lock);
    for (uint32_t index = 0; index < used; index++) {
        slot *at = slot_at(index);
        core__handle_release(atomic_load_explicit(&at->handle, memory_order_relaxed));
        pthread_mutex_lock(&slots_lock);
        at->outdated = at->serial;
        pthread_mutex_unlock(&slots_lock);
    }
    while (core__handle_released(&gone)) /* its object has gone with the library */
        ;
}
