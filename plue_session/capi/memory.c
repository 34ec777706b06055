/*
 * Text that belongs to the caller: which blocks those are, and what happens when one is freed.
 *
 * A block is in one of two tables, so that freeing a pointer that is not ours is ignored instead of a crash. Short
 * blocks are the allocator's. Their size is noted under their address, in tables of which only the touched pages exist:
 * a store to note it, a compare-and-swap to take it back, no lock, and no work that grows with their number. Long
 * blocks are mapped, so that all of them goes when they are freed; the allocator would keep some.
 *
 * Were an address handed out again at once, a double free would take a block away from its new owner. So what is freed
 * is kept aside for a while: short blocks by their thread, and by the process when the thread ends, long ones by the
 * process. The oldest that is kept may be used again: a caller that reads and frees in turn costs neither allocator nor
 * kernel anything. What is too long to be kept is mapped where nothing was before.
 *
 * Whoever makes a text asks here for the room (core_new_text), so that nothing can fail after the work was done. A
 * table under mutexes would be shorter, and cost get_info two more pairs of lock and unlock.
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__ /* it is to see each block's own life */
enum { KEPT_BYTES = 0 };
#define LONG SIZE_MAX
#else
enum { KEPT_BYTES = 16 * 1024 };
#define LONG ((size_t)5 * 1024)
#endif
enum { LEFT = 128, LEFT_BYTES = 16 * KEPT_BYTES, LONG_KEPT = 64, LONG_BYTES = 1024 * 1024, LONG_MOST = 4096 };

static void *map(void *wish, size_t bytes)
{
    void *made = mmap(wish, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return made == MAP_FAILED ? NULL : made;
}

/* ---- kept aside ---- */
static struct core_kept_block oldest_of(core_kept *in)
{
    struct core_kept_block oldest = in->blocks[in->first];
    in->first = (in->first + 1) % in->room;
    in->count--;
    in->bytes -= oldest.size;
    return oldest;
}

/* NULL: it is kept. Else what has to go first: free it with no lock held, and try again. */
static inline void *keep(core_kept *in, size_t most, struct core_kept_block added)
{
    if (in->count && (in->count == in->room || in->bytes + added.size > most))
        return oldest_of(in).block;
    in->blocks[(in->first + in->count++) % in->room] = added;
    in->bytes += added.size;
    return NULL;
}

/* ---- short blocks: by address / 16 twice its units of 16 bytes, and 1 if it is 8 past a multiple, as some allocators'
 * are ---- */
enum {
    UNIT = 16,
    MOST_UNITS = INT16_MAX,
    LEAF_BITS = 16,
    NODE_BITS = 14,
    UNIT_BITS = NODE_BITS + NODE_BITS + LEAF_BITS
};
static _Atomic(void *) nodes[1 << NODE_BITS];

/* What the link leads to; if that is nothing, so many new bytes (0: none). */
static inline void *follow(_Atomic(void *) *link, size_t bytes)
{
    void *found = atomic_load_explicit(link, memory_order_acquire);
    if (__builtin_expect(found || !bytes, 1))
        return found;
    void *made = map(NULL, bytes);
    if (!made || atomic_compare_exchange_strong(link, &found, made))
        return made;
    munmap(made, bytes); /* another thread was faster */
    return found;
}

static inline _Atomic(uint16_t) *place_of(const void *block, int make)
{
    uintptr_t at = (uintptr_t)block / UNIT;
    if (at >> UNIT_BITS || (uintptr_t)block % 8)
        return NULL;
    _Atomic(void *) *node = follow(&nodes[at >> (NODE_BITS + LEAF_BITS)], make ? sizeof(void *) << NODE_BITS : 0);
    if (!node)
        return NULL;
    _Atomic(uint16_t) *leaf = follow(&node[(at >> LEAF_BITS) % (1 << NODE_BITS)],
                                     make ? sizeof(uint16_t) << LEAF_BITS : 0);
    return leaf ? &leaf[at % (1 << LEAF_BITS)] : NULL;
}

/* Note that it is a caller's. NULL: there was no memory for the note, and it is freed. */
static inline char *note_short(void *block, size_t units)
{
    _Atomic(uint16_t) *place = place_of(block, 1);
    if (__builtin_expect(!place, 0)) {
        free(block);
        return NULL;
    }
    size_t note = (units < MOST_UNITS ? units : MOST_UNITS) * 2 + (uintptr_t)block / 8 % 2;
    atomic_store_explicit(place, (uint16_t)note, memory_order_release);
    return block;
}

char *core_spare_text(size_t size)
{
    size_t wanted = (size / UNIT + 1) * UNIT;
    core_kept *own = core_known_thread ? &core_known_thread->kept : NULL;
    if (!own || own->count < own->room)
        return NULL;
    size_t room = own->blocks[own->first].size;
    return room >= wanted && room <= 2 * wanted + 64 ? note_short(oldest_of(own).block, room / UNIT) : NULL;
}

static char *new_short(size_t size)
{
    size_t units = size / UNIT + 1;
    char *spare = core_spare_text(size);
    void *block = spare ? NULL : malloc(units * UNIT);
    return block ? note_short(block, units) : spare;
}

/* Take it out of the tables, and return its size; 0: it is none of ours. */
static inline size_t disown_short(const void *block)
{
    _Atomic(uint16_t) *place = place_of(block, 0);
    uint16_t note = place ? atomic_load_explicit(place, memory_order_relaxed) : 0;
    return note && note % 2 == (uintptr_t)block / 8 % 2 &&
                   atomic_compare_exchange_strong_explicit(place, &note, 0, memory_order_acquire, memory_order_relaxed)
               ? (size_t)note / 2 * UNIT
               : 0;
}

static pthread_mutex_t left_lock = PTHREAD_MUTEX_INITIALIZER;
static struct core_kept_block left_blocks[LEFT];
static core_kept left = {.blocks = left_blocks,
                         .room = LEFT}; /* by threads that have ended, or whose end nobody will notice */

static void leave(struct core_kept_block added)
{
    void *old;
    do {
        pthread_mutex_lock(&left_lock);
        old = keep(&left, LEFT_BYTES, added);
        pthread_mutex_unlock(&left_lock);
        free(old);
    } while (old);
}

void core_leave_kept(core_kept *of)
{
    while (of->count && !core_forked()) /* see give_back */
        leave(oldest_of(of));
}

static void free_short(struct core_kept_block freed)
{
    core_thread *thread = core_this_thread();
    if (__builtin_expect(freed.size > KEPT_BYTES, 0))
        free(freed.block);
    else if (__builtin_expect(!thread || !thread->ends, 0))
        leave(freed);
    else
        for (void *old; (old = keep(&thread->kept, KEPT_BYTES, freed));)
            free(old);
}

/* ---- long blocks: listed by address ---- */
enum { SHELVES = 1024, PAGE = 4096 /* or more: the kernel knows */ };
typedef struct long_block {
    struct long_block *next;
    size_t bytes;
    char text[];
} long_block;
static pthread_mutex_t long_lock = PTHREAD_MUTEX_INITIALIZER;
static long_block *shelves[SHELVES];
static struct core_kept_block long_blocks[LONG_KEPT];
static core_kept long_kept = {.blocks = long_blocks, .room = LONG_KEPT};
static atomic_int
    long_count; /* of mappings: a process may have some 65,000, and the stacks of its threads are among them */

static long_block **shelf_of(const void *block)
{
    return &shelves[((uintptr_t)block / PAGE * UINT64_C(0x9E3779B97F4A7C15) >> 32) % SHELVES];
}

/* The kernel would give the same place again. So each is asked for at a place that was not used before, until a part of
 * all addresses is used up. */
static void *map_elsewhere(size_t bytes)
{
    static _Atomic(uintptr_t) top, used;
    uintptr_t from = atomic_load(&top);
    if (from)
        return map((void *)(from - (atomic_fetch_add(&used, bytes) + bytes) % (from / 512)), bytes);
    void *first = map(NULL, bytes);
    if (first)
        atomic_compare_exchange_strong(&top, &from, (uintptr_t)first - (uintptr_t)first / 512);
    return first;
}

static void unmap(long_block *old)
{
    if (munmap(old, old->bytes) == 0)
        atomic_fetch_sub(&long_count, 1); /* else it stays, for good: no harm, there are few */
}

static char *new_long(size_t size)
{
    size_t bytes = (sizeof(long_block) + size) / PAGE * PAGE + PAGE;
    long_block *made = NULL;
    pthread_mutex_lock(&long_lock);
    if (long_kept.count >= LONG_KEPT / 4 || (long_kept.count && long_kept.bytes + bytes > LONG_BYTES)) {
        size_t room = long_blocks[long_kept.first].size;
        if (room >= bytes && room <= 2 * bytes)
            made = oldest_of(&long_kept).block;
    }
    if (!made) {
        pthread_mutex_unlock(&long_lock);
        if (atomic_fetch_add(&long_count, 1) >= LONG_MOST || !(made = map_elsewhere(bytes))) {
            atomic_fetch_sub(&long_count, 1);
            return NULL;
        }
        made->bytes = bytes;
        pthread_mutex_lock(&long_lock);
    }
    made->next = *shelf_of(made);
    *shelf_of(made) = made;
    pthread_mutex_unlock(&long_lock);
    return made->text;
}

static void free_long(void *text)
{
    long_block *freed = (long_block *)((uintptr_t)text - offsetof(long_block, text)), *old = freed;
    pthread_mutex_lock(&long_lock);
    long_block **link = shelf_of(freed);
    while (*link && *link != freed)
        link = &(*link)->next;
    if (!*link)
        old = NULL;
    else {
        *link = freed->next;
        if (freed->bytes <= LONG_BYTES)
            while ((old = keep(&long_kept, LONG_BYTES, (struct core_kept_block){freed, freed->bytes}))) {
                pthread_mutex_unlock(&long_lock);
                unmap(old);
                pthread_mutex_lock(&long_lock);
            }
    }
    pthread_mutex_unlock(&long_lock);
    if (old)
        unmap(old);
}

/* ---- given and taken back ---- */
char *core_new_text(size_t size)
{
    char *text = size < LONG ? NULL : new_long(size);
    return text
               ? text
               : new_short(size); /* beyond LONG_MOST, and when the kernel has mapped as much as it can for a process */
}

char *core_own(const char *text, size_t length)
{
    char *copy = core_new_text(length + 1);
    if (copy) {
        memcpy(copy, text, length);
        copy[length] = 0;
    }
    return copy;
}

static inline void give_back(void *memory)
{
    /* In a forked child another thread may have held the allocator's or our lock: a leak there beats a hang. */
    if (!memory || core_forked())
        return;
    size_t size = disown_short(memory);
    if (__builtin_expect(size > 0, 1))
        free_short((struct core_kept_block){memory, size});
    else
        free_long(memory);
}

void plue_free(void *memory)
{
    give_back(memory);
}

void plue_free_json(char *json)
{
    give_back(json);
}

void plue_free_string(char *text)
{
    give_back(text);
}
