/*
 * Which Python: where the library's own file is, which libpython the linker gave it, which runtime belongs to it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "boot.h"

#include <dlfcn.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char library_path[PATH_MAX], package_root[PATH_MAX];

const char *core__library_path(void)
{
    return library_path;
}

const char *core__package_root(void)
{
    return package_root;
}

/* The folder of what the library needs, cffi and requests, in the environment that it was built in. */
const char *core__site(void)
{
    return CORE_SITE;
}

int core_find_library(void)
{
    Dl_info own;
    char scratch[PATH_MAX];
    if (!dladdr((void *)(uintptr_t)&core__library_path, &own) || !realpath(own.dli_fname, library_path))
        return core_boot_fail("the library cannot find its own file. Load it by an absolute path.");
    /* The Python half of the library is the package that contains it: <root>/plue_session/lib/libplue_session.so. */
    snprintf(scratch, sizeof scratch, "%s", library_path);
    snprintf(package_root, sizeof package_root, "%s", dirname(dirname(dirname(scratch))));
    return 0;
}

int core_check_libpython(void)
{
    char want[16];
    Dl_info python;
    const char *got = Py_GetVersion(); /* safe before initialization, in every version */
    memset(&python, 0, sizeof python);
    dladdr((void *)(uintptr_t)&Py_GetVersion, &python);
    const char *file = python.dli_fname && *python.dli_fname ? python.dli_fname : "the host program";
    snprintf(want, sizeof want, "%d.%d.", PY_MAJOR_VERSION, PY_MINOR_VERSION);
    if (strncmp(got, want, strlen(want)))
        return core_boot_fail("the library was built for Python %d.%d, but this process runs Python %.12s (%s). Use a "
                              "library built for that "
                              "Python (make PYTHON=...), or a process without it.",
                              PY_MAJOR_VERSION, PY_MINOR_VERSION, got, file);
    void *global = dlopen(NULL, RTLD_LAZY), *other = global ? dlsym(global, "Py_GetVersion") : NULL;
    if (global)
        dlclose(global);
    if (other && other != (void *)(uintptr_t)&Py_GetVersion)
        return core_boot_fail("this process already holds another Python (%.12s) beside the library's %.12s (%s); two "
                              "in one process crash. "
                              "Use a library built for that Python (make PYTHON=...).",
                              ((const char *(*)(void))(uintptr_t)other)(), got, file);
    /* Extension modules do not name libpython: a host that loaded us with RTLD_LOCAL has hidden it from them. */
    if (python.dli_fname && *python.dli_fname && !dlopen(python.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD) &&
        !dlsym(RTLD_DEFAULT, "PyExc_SystemError"))
        return core_boot_fail(
            "%s cannot be made visible to Python's own modules: %s. Load the library with RTLD_GLOBAL.", file,
            dlerror());
    return 0;
}

static int exists(const char *format, const char *folder)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, format, folder, PY_MAJOR_VERSION, PY_MINOR_VERSION);
    return access(path, R_OK) == 0;
}

/* Beside the library (a bundle), then the environment that contains it, then where it was built. Sets home or
 * executable. */
int core_find_runtime(char home[ROOM], char executable[ROOM])
{
    char folder[PATH_MAX];
    *home = *executable = 0;
    snprintf(folder, sizeof folder, "%s", library_path);
    dirname(folder);
    snprintf(home, ROOM, "%s/python", folder);
    if (exists("%s/lib/python%d.%d/encodings/__init__.py", home) || exists("%s/lib/python%d%d.zip", home)) {
        snprintf(executable, ROOM, "%s/python/bin/python3", folder);
        return 0;
    }
    *home = 0;
    while (strlen(folder) > 1) {
        if (exists("%s/pyvenv.cfg", folder) && exists("%s/bin/python%d.%d", folder)) {
            snprintf(executable, ROOM, "%s/bin/python%d.%d", folder, PY_MAJOR_VERSION, PY_MINOR_VERSION);
            return 0;
        }
        if (exists("%s/bin/python%d.%d", folder) && exists("%s/lib/python%d.%d/encodings/__init__.py", folder)) {
            snprintf(executable, ROOM, "%s/bin/python%d.%d", folder, PY_MAJOR_VERSION, PY_MINOR_VERSION);
            return 0;
        }
        dirname(folder);
    }
    if (access(CORE_PYTHON, X_OK) == 0) {
        snprintf(executable, ROOM, "%s", CORE_PYTHON);
        return 0;
    }
    return core_boot_fail("no Python %d.%d runtime: none beside %s, none in a virtual environment around it, and %s, "
                          "where it was built, is gone. "
                          "Install the package again (pip install plue-session) with the Python that is to run it.",
                          PY_MAJOR_VERSION, PY_MINOR_VERSION, library_path, CORE_PYTHON);
}
