/*
 * Allocations that fail anywhere in the process, also in libpython and in threads that are just beginning: the nth
 * while the library starts, serves a call and stops, for n = 1, 2, 3 … until a run meets no fault. Python has run
 * before: its own start is its own matter. Each call succeeds or says that memory is short, and then all works again.
 */
#include "everything.h"

#include <errno.h>
#include <link.h>

extern void *__libc_malloc(size_t size), *__libc_calloc(size_t count, size_t size),
    *__libc_realloc(void *of, size_t size);

static atomic_long left; /* allocations until one fails; 0: none does */
static atomic_int met;

/* Who is spared: the loader, which ends the process itself when a thread's data of a module cannot be allocated; and
 * SQLite, which asks for memory thousands of times a start, and whose own tests let each of them fail. */
static struct {
    const char *name;
    uintptr_t from, to;
} spared[] = {{"/ld-linux", 0, 0}, {"/libsqlite3", 0, 0}};

static int find_spared(struct dl_phdr_info *object, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    for (size_t n = 0; n < sizeof spared / sizeof *spared; n++) {
        if (!strstr(object->dlpi_name, spared[n].name))
            continue;
        for (int i = 0; i < object->dlpi_phnum; i++) {
            uintptr_t end = object->dlpi_addr + object->dlpi_phdr[i].p_vaddr + object->dlpi_phdr[i].p_memsz;
            spared[n].to = object->dlpi_phdr[i].p_type == PT_LOAD && end > spared[n].to ? end : spared[n].to;
        }
        spared[n].from = object->dlpi_addr;
    }
    return 0;
}

static int fault_for(uintptr_t caller)
{
    for (size_t n = 0; n < sizeof spared / sizeof *spared; n++)
        if (caller >= spared[n].from && caller < spared[n].to)
            return 0;
    long now = atomic_load(&left);
    while (now > 0 && !atomic_compare_exchange_weak(&left, &now, now - 1))
        ;
    if (now != 1)
        return 0;
    atomic_store(&met, 1);
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size)
{
    return fault_for((uintptr_t)__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fault_for((uintptr_t)__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *of, size_t size)
{
    return fault_for((uintptr_t)__builtin_return_address(0)) ? NULL : __libc_realloc(of, size);
}

static long walked;

static void may_fail(int failed, const char *call)
{
    int code = plue_get_last_error_code();
    if (!failed || code == PLUE_ERROR_IO || code == PLUE_ERROR_RUNTIME)
        return;
    fprintf(stderr, "%s, allocation %ld: %d %s\n", call, walked, code, plue_get_last_error());
    _exit(1);
}

static int round_of(void)
{
    atomic_store(&met, 0);
    atomic_store(&left, walked);
    int failed = try_start(",\"store\":\"memory\"");
    may_fail(failed, "plue_init");
    if (!failed) {
        plue_session_t session = plue_session_create(NULL);
        may_fail(!session, "plue_session_create");
        plue_session_destroy(session);
        plue_shutdown();
    }
    atomic_store(&left, 0);
    start(",\"store\":\"memory\"");
    CHECK(plue_session_create(NULL));
    plue_shutdown();
    return atomic_load(&met);
}

int main(void)
{
    for (int i = 0; i < 3; i++) { /* what is cached is cached */
        start(",\"store\":\"memory\"");
        use_everything(NULL);
        plue_shutdown();
    }
    dl_iterate_phdr(find_spared, NULL);
    CHECK(spared[0].to);
    int step = 100 / part(100);
    for (walked = 1; round_of(); walked += step)
        CHECK(walked < 100000);
    CHECK(walked > 20);
    return 0;
}
