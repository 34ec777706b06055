/*
 * Text that belongs to the caller: which blocks those are, and what happens when one is freed.
 *
 * Every returned block is noted in a set, so that freeing a pointer that is not ours is ignored instead of a crash. The
 * set is a table of small buckets, each one cache line of atomic slots: one compare-and-swap to add, one to remove, no
 * lock. A bucket that is full overflows into a locked table, so any number of blocks may be outstanding.
 *
 * A freed block is kept aside by the thread that freed it until it has freed 16 more: were its address handed out again
 * at once, a double free would take a block away from its new owner. After that its thread may use it again itself, when
 * it fits: a caller that reads and frees in turn then costs the allocator nothing.
 */
#include "core.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BUCKETS = 2048, WAYS = 8, LARGE = 128 * 1024, HELD = 16 };
static _Alignas(64) _Atomic(uintptr_t) owned[BUCKETS][WAYS];

static pthread_mutex_t spill_lock = PTHREAD_MUTEX_INITIALIZER;
static uintptr_t *spill;          /* open addressing; 0 free, 1 removed */
static size_t spill_room, spill_used;
static atomic_size_t spill_live;

static size_t hash(uintptr_t block)
{
    return (size_t)((block >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 32);
}

static int spill_grow(void)
{
    size_t room = 1024;
    while (room < atomic_load(&spill_live) * 4)
        room *= 2;
    uintptr_t *bigger = calloc(room, sizeof *bigger);
    if (!bigger)
        return -1;
    size_t used = 0;
    for (size_t i = 0; i < spill_room; i++) {
        if (spill[i] > 1) {
            size_t at = hash(spill[i]) & (room - 1);
            while (bigger[at])
                at = (at + 1) & (room - 1);
            bigger[at] = spill[i];
            used++;
        }
    }
    free(spill);
    spill = bigger;
    spill_room = room;
    spill_used = used;
    return 0;
}

static int spill_add(uintptr_t block)
{
    pthread_mutex_lock(&spill_lock);
    int failed = spill_used * 2 >= spill_room && spill_grow();
    if (!failed) {
        size_t at = hash(block) & (spill_room - 1);
        while (spill[at] > 1)
            at = (at + 1) & (spill_room - 1);
        spill_used += spill[at] == 0;
        spill[at] = block;
        atomic_fetch_add(&spill_live, 1);
    }
    pthread_mutex_unlock(&spill_lock);
    return failed ? -1 : 0;
}

static int spill_remove(uintptr_t block)
{
    int found = 0;
    pthread_mutex_lock(&spill_lock);
    if (spill_room) {
        for (size_t at = hash(block) & (spill_room - 1); spill[at]; at = (at + 1) & (spill_room - 1)) {
            if (spill[at] == block) {
                spill[at] = 1;
                atomic_fetch_sub(&spill_live, 1);
                found = 1;
                break;
            }
        }
    }
    pthread_mutex_unlock(&spill_lock);
    return found;
}

int core_own_block(void *block)
{
    uintptr_t value = (uintptr_t)block;
    _Atomic(uintptr_t) *bucket = owned[hash(value) % BUCKETS];
    for (int way = 0; way < WAYS; way++) {
        uintptr_t none = 0;
        if (atomic_load_explicit(&bucket[way], memory_order_relaxed) == 0
            && atomic_compare_exchange_strong_explicit(&bucket[way], &none, value, memory_order_release, memory_order_relaxed))
            return 0;
    }
    return spill_add(value);
}

static int disown(void *block)
{
    uintptr_t value = (uintptr_t)block;
    _Atomic(uintptr_t) *bucket = owned[hash(value) % BUCKETS];
    for (int way = 0; way < WAYS; way++) {
        uintptr_t expected = value;
        if (atomic_load_explicit(&bucket[way], memory_order_relaxed) == value
            && atomic_compare_exchange_strong_explicit(&bucket[way], &expected, 0, memory_order_acquire, memory_order_relaxed))
            return 1;
    }
    return atomic_load_explicit(&spill_live, memory_order_acquire) > 0 && spill_remove(value);
}

static void *new_block(size_t size)
{
#ifndef __SANITIZE_ADDRESS__ /* it is to see each block's own life */
    core_thread *thread = core_known_thread;
    if (thread) {
        struct core_held *oldest = &thread->held[thread->next_held % HELD];
        if (oldest->size >= size && oldest->size <= 2 * size + 64) {
            void *block = oldest->block;
            oldest->block = NULL;
            oldest->size = 0;
            return block;
        }
    }
#endif
    return malloc(size);
}

char *core_own(const char *text, size_t length)
{
    char *copy = new_block(length + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = 0;
    if (core_own_block(copy)) {
        free(copy);
        return NULL;
    }
    return copy;
}

static inline void give_back(void *memory)
{
    /* In a forked child another thread may have held the allocator's or our lock: a leak there beats a hang. */
    if (!memory || core_forked() || !disown(memory))
        return;
    core_thread *thread = core_this_thread();
    if (!thread || !thread->ends) {
        free(memory);
        return;
    }
    size_t size = malloc_usable_size(memory);
    if (size >= LARGE) {
        /* Keep the address, give the pages back. */
        uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
        uintptr_t from = ((uintptr_t)memory + page - 1) & ~(page - 1), to = ((uintptr_t)memory + size) & ~(page - 1);
        if (to > from)
            (void)madvise((void *)from, to - from, MADV_DONTNEED);
    }
    struct core_held *oldest = &thread->held[thread->next_held++ % HELD];
    if (oldest->block)
        free(oldest->block);
    oldest->block = memory;
    oldest->size = size;
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
