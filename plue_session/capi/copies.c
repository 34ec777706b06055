/* Other copies of the library in this process. */
#include "core.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

struct copy {
    const char *own;
    char path[PATH_MAX];
};

static int is_copy(struct dl_phdr_info *object, size_t size, void *data)
{
    struct copy *other = data;
    const char *name = strrchr(object->dlpi_name, '/');
    (void)size;
    if (!name || strncmp(name, "/libplue_session.so", 19) || !strcmp(object->dlpi_name, other->own))
        return 0;
    snprintf(other->path, sizeof other->path, "%s", object->dlpi_name);
    return 1;
}

/* A package holds the library under two names, as two files: a process that has loaded both would have two of everything. */
int core_only_copy(const char *operation)
{
    Dl_info own;
    struct copy other = {.own = ""};
    if (dladdr((void *)(uintptr_t)&core_only_copy, &own))
        other.own = own.dli_fname;
    if (!dl_iterate_phdr(is_copy, &other))
        return 0;
    void *library = dlopen(other.path, RTLD_LAZY | RTLD_NOLOAD);
    char *(*describe)(void) = library ? (char *(*)(void))(uintptr_t)dlsym(library, "plue_get_app_info") : NULL;
    void (*release)(void *) = library ? (void (*)(void *))(uintptr_t)dlsym(library, "plue_free") : NULL;
    char *running = describe && release ? describe() : NULL;
    if (running) {
        release(running);
        core_fail(PLUE_ERROR_RUNTIME, operation, "this process has loaded the library twice, and started it from %s. Load it under one "
                  "name everywhere: libplue_session.so.0, as programs that are linked with it do.", other.path);
    }
    if (library)
        dlclose(library);
    return running ? -1 : 0;
}
