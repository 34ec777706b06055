/*
 * A host with an allocator of its own: malloc, free, calloc and realloc, and no more. What its blocks look like from
 * outside is its business: before each stands a text of its own, which glibc's malloc_usable_size takes for a size.
 */
#include "check.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

enum { ROOM = 1 << 30, LEAST = 5, CLASSES = 28, NEIGHBOUR = 4 << 20 };

/* Its blocks are of 2^n bytes and aligned to 8, not 16: they begin 8 bytes after such an address. */
struct head {
    size_t kind;  /* n */
    size_t words; /* what stands before the block: a size of 3 MB for who knows glibc's blocks and asks */
};

static char *arena, *next_free;
static struct head *free_lists[CLASSES + 1];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_long strange;

static void *take(size_t size)
{
    size_t kind = LEAST;
    while (((size_t)1 << kind) < size + sizeof(struct head) + 8)
        kind++;
    if (kind > CLASSES) {
        errno = ENOMEM;
        return NULL;
    }
    pthread_mutex_lock(&lock);
    if (!arena) {
        arena = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (arena == MAP_FAILED)
            _exit(3);
        next_free = arena + 8;
    }
    struct head *made = free_lists[kind];
    if (made)
        memcpy(&free_lists[kind], made + 1, sizeof made);
    else if ((size_t)(arena + ROOM - next_free) > (size_t)2 << kind) {
        made = (struct head *)next_free;
        next_free += (size_t)1 << kind;
    }
    pthread_mutex_unlock(&lock);
    if (!made) {
        errno = ENOMEM;
        return NULL;
    }
    made->kind = kind;
    made->words = (3 << 20) | 2;
    return made + 1;
}

static size_t room_of(const void *block)
{
    return ((size_t)1 << ((const struct head *)block - 1)->kind) - sizeof(struct head) - 8;
}

void free(void *block)
{
    if (!block)
        return;
    if ((char *)block < arena || (char *)block >= arena + ROOM) {
        atomic_fetch_add(&strange, 1); /* of posix_memalign and the like: those are the system's */
        return;
    }
    struct head *old = (struct head *)block - 1;
    pthread_mutex_lock(&lock);
    memcpy(block, &free_lists[old->kind], sizeof old);
    free_lists[old->kind] = old;
    pthread_mutex_unlock(&lock);
}

void *malloc(size_t size)
{
    return take(size);
}

void *calloc(size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        return NULL;
    void *made = take(count * size);
    return made ? memset(made, 0, count * size) : NULL;
}

void *realloc(void *block, size_t size)
{
    if (!block)
        return take(size);
    if (room_of(block) >= size)
        return block;
    void *made = take(size);
    if (made) {
        memcpy(made, block, room_of(block));
        free(block);
    }
    return made;
}

static char *texts[4000];

int main(void)
{
    start(",\"store\":\"memory\"");
    plue_session_t session = plue_session_create(NULL);
    CHECK(session != NULL);
    char *id = plue_session_get_id(session), *buffer = malloc(NEIGHBOUR);
    CHECK(id && id > arena && id < arena + ROOM && ((uintptr_t)id & 15) == 8);
    CHECK(buffer > id && buffer + NEIGHBOUR < arena + ROOM);
    memset(buffer, 'h', NEIGHBOUR);
    for (int i = -16; i < 40; i++)
        if (i)
            plue_free(id + i); /* what is not ours stays so when addresses are only eight apart */
    CHECK(!strncmp(id, "session_", 8));
    plue_free(id);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        CHECK((texts[i] = i % 2 ? plue_session_get_info(session) : plue_json_quote("short")) != NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        plue_free(texts[i]);
    for (int i = 0; i < 20; i++) {
        id = plue_session_get_id(session);
        plue_free(id);
        plue_free(id);
        plue_free(plue_session_list());
    }
    for (size_t i = 0; i < NEIGHBOUR; i++)
        CHECK(buffer[i] == 'h' || !"a buffer of the host's was changed");
    plue_session_destroy(session);
    plue_shutdown();
    free(buffer);
    return 0;
}
