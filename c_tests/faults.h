/* Allocations of the library that fail when a test wants it: the nth from now on, alone or with all that follow. */
#ifndef FAULTS_H
#define FAULTS_H

#include "check.h"

#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <dlfcn.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>

/* Where the library's calls of these functions go: its own table of addresses is changed, so nobody else's calls fail,
   not Python's, not SQLite's, and it works with sanitizers and valgrind, which have their own malloc. */
static atomic_long faults_left; /* allocations until one fails; 0: none does */
static atomic_int faults_stay, faults_met;
static _Atomic(void *) faults_at; /* who met the first one */

static inline int fault_here(void *caller)
{
    long left = atomic_load(&faults_left);
    while (left > 1 && !atomic_compare_exchange_weak(&faults_left, &left, left - 1))
        ;
    if (left != 1 || (!atomic_load(&faults_stay) && !atomic_compare_exchange_strong(&faults_left, &left, 0)))
        return 0;
    if (atomic_fetch_add(&faults_met, 1) == 0)
        atomic_store(&faults_at, caller);
    errno = ENOMEM;
    return 1;
}

#define FAULT fault_here(__builtin_return_address(0))

static void *faulty_malloc(size_t size)
{
    return FAULT ? NULL : malloc(size);
}

static void *faulty_calloc(size_t count, size_t size)
{
    return FAULT ? NULL : calloc(count, size);
}

static char *faulty_strdup(const char *of)
{
    return FAULT ? NULL : strdup(of);
}

static int faulty_asprintf(char **made, const char *format, ...)
{
    if (FAULT)
        return -1; /* and *made is undefined */
    va_list values;
    va_start(values, format);
    int length = vasprintf(made, format, values);
    va_end(values);
    return length;
}

static int faulty_pthread_create(pthread_t *made, const pthread_attr_t *attributes, void *(*function)(void *),
                                 void *argument)
{
    return FAULT ? EAGAIN : pthread_create(made, attributes, function, argument);
}

static void *faulty_mmap(void *wish, size_t size, int protection, int flags, int file, off_t offset)
{
    return FAULT ? MAP_FAILED : mmap(wish, size, protection, flags, file, offset);
}

static int faulty_pthread_cond_init(pthread_cond_t *made, const pthread_condattr_t *attributes)
{
    return FAULT ? ENOMEM : pthread_cond_init(made, attributes);
}
#ifndef MORE_FAULTS
#define MORE_FAULTS /* what a program wants to have redirected as well */
#endif

/* Every allocating function that the library may come to use: one that is not here must not be there either. */
static struct {
    const char *name;
    void *instead;
} faulty[] = {{"malloc", (void *)faulty_malloc},
              {"calloc", (void *)faulty_calloc},
              {"strdup", (void *)faulty_strdup},
              {"asprintf", (void *)faulty_asprintf},
              {"pthread_create", (void *)faulty_pthread_create},
              {"pthread_cond_init", (void *)faulty_pthread_cond_init},
              {"mmap", (void *)faulty_mmap},
              {"realloc", NULL},
              {"reallocarray", NULL},
              {"strndup", NULL},
              {"vasprintf", NULL},
              {"posix_memalign", NULL},
              {"aligned_alloc", NULL},
              {"fopen", NULL},
              {"opendir", NULL},
              {"open_memstream", NULL},
              {"getline", NULL},
              MORE_FAULTS};

static int faults_found;

static inline void redirect(ElfW(Addr) base, const ElfW(Rela) * each, size_t bytes, const ElfW(Sym) * symbols,
                            const char *names)
{
    for (const ElfW(Rela) *end = each + bytes / sizeof *each; each < end; each++) {
        const char *name = names + symbols[ELF64_R_SYM(each->r_info)].st_name;
        for (size_t i = 0; i < sizeof faulty / sizeof *faulty; i++)
            if (!strcmp(name, faulty[i].name)) {
                CHECK(faulty[i].instead != NULL);
                void **slot = (void **)(base + each->r_offset);
                uintptr_t page = (uintptr_t)slot & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
                CHECK(mprotect((void *)page, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE) == 0);
                *slot = faulty[i].instead;
                faults_found++;
            }
    }
}

static inline int redirect_library(struct dl_phdr_info *object, size_t size, void *unused)
{
    const ElfW(Sym) *symbols = NULL;
    const char *names = NULL;
    const ElfW(Rela) * tables[2] = {NULL, NULL};
    size_t bytes[2] = {0, 0};
    (void)size;
    (void)unused;
    if (!strstr(object->dlpi_name, "/libplue_session.so"))
        return 0;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        if (object->dlpi_phdr[i].p_type != PT_DYNAMIC)
            continue;
        for (const ElfW(Dyn) *each = (const ElfW(Dyn) *)(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
             each->d_tag != DT_NULL; each++) {
            void *at = (void *)each->d_un.d_ptr;
            switch (each->d_tag) {
            case DT_SYMTAB:
                symbols = at;
                break;
            case DT_STRTAB:
                names = at;
                break;
            case DT_JMPREL:
                tables[0] = at;
                break;
            case DT_PLTRELSZ:
                bytes[0] = each->d_un.d_val;
                break;
            case DT_RELA:
                tables[1] = at;
                break;
            case DT_RELASZ:
                bytes[1] = each->d_un.d_val;
                break;
            }
        }
    }
    CHECK(symbols && names);
    for (int i = 0; i < 2; i++)
        if (tables[i])
            redirect(object->dlpi_addr, tables[i], bytes[i], symbols, names);
    return 1;
}

/* Before prepare_faults: another function instead of the one that fails. */
static inline void redirect_to(const char *name, void *instead)
{
    for (size_t i = 0; i < sizeof faulty / sizeof *faulty; i++)
        if (!strcmp(faulty[i].name, name))
            faulty[i].instead = instead;
}

/* Once, before any other thread runs. */
static inline void prepare_faults(void)
{
    CHECK(dl_iterate_phdr(redirect_library, NULL) == 1 && faults_found >= 5);
}

static inline void arm(long nth, int stays)
{
    atomic_store(&faults_met, 0);
    atomic_store(&faults_stay, stays);
    atomic_store(&faults_left, nth);
}

/* No more faults; how many were met. */
static inline int disarm(void)
{
    atomic_store(&faults_left, 0);
    return atomic_load(&faults_met);
}

#endif
