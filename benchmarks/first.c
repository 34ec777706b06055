/*
 * Row 2: from nothing to the first session, against starting the same Python and doing nothing with it.
 *
 *     first ours LIBRARY DATA_DIR        dlopen, plue_init, plue_session_create
 *     first bare LIBPYTHON PYTHON        dlopen, Py_InitializeFromConfig (isolated)
 *
 * One process is one measurement: Python starts once in it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>

#include "bench.h"

static void *open_library(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        die(path, dlerror());
    return library;
}

static void *find(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (!found)
        die(name, "is not in the library");
    return found;
}

/* What of the network is there: modules that are imported, and the one whose shared object is mapped. */
static void print_network(void *libpython)
{
    static const char *const names[] = {"requests",    "urllib3", "ssl",     "_ssl",   "http",
                                        "http.client", "socket",  "_socket", "asyncio"};
    PyGILState_STATE (*ensure)(void) = (PyGILState_STATE (*)(void))find(libpython, "PyGILState_Ensure");
    void (*release)(PyGILState_STATE) = (void (*)(PyGILState_STATE))find(libpython, "PyGILState_Release");
    PyObject *(*modules)(void) = (PyObject * (*)(void)) find(libpython, "PyImport_GetModuleDict");
    PyObject *(*item)(PyObject *, const char *) = (PyObject * (*)(PyObject *, const char *))
        find(libpython, "PyDict_GetItemString");
    Py_ssize_t (*size)(PyObject *) = (Py_ssize_t (*)(PyObject *))find(libpython, "PyDict_Size");
    PyGILState_STATE state = ensure();
    printf(",\"modules\":%ld,\"network\":[", (long)size(modules()));
    const char *comma = "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (item(modules(), names[i])) {
            printf("%s\"%s\"", comma, names[i]);
            comma = ",";
        }
    release(state);
    static char maps[1 << 20];
    FILE *file = fopen("/proc/self/maps", "r");
    size_t length = file ? fread(maps, 1, sizeof maps - 1, file) : 0;
    maps[length] = 0;
    if (strstr(maps, "/_ssl") || strstr(maps, "libssl"))
        printf("%s\"libssl (mapped)\"", comma);
    printf("]");
}

static void ours(const char *path, const char *data_dir)
{
    char config[4096];
    snprintf(config, sizeof config, "{\"dataDir\":\"%s\"}", data_dir);
    double before = resident();
    int64_t from = now_ns();
    void *library = open_library(path);
    int (*init)(const char *) = (int (*)(const char *))find(library, "plue_init");
    void *(*create)(const char *) = (void *(*)(const char *))find(library, "plue_session_create");
    int64_t loaded = now_ns();
    int failed = init(config);
    int64_t started = now_ns();
    void *session = failed ? NULL : create(NULL);
    int64_t to = now_ns();
    if (!session)
        die("plue_init, plue_session_create", ((const char *(*)(void))find(library, "plue_get_last_error"))());
    double after = resident();
    printf("{\"ms\":%.4f,\"dlopen_ms\":%.4f,\"init_ms\":%.4f,\"create_ms\":%.4f,\"rss\":%.0f,\"rss_before\":%.0f",
           (double)(to - from) / 1e6, (double)(loaded - from) / 1e6, (double)(started - loaded) / 1e6,
           (double)(to - started) / 1e6, after, before);
    print_network(library); /* its dependencies' symbols are found through it */
    printf("}\n");
    ((void (*)(void))find(library, "plue_shutdown"))();
}

static void check(PyStatus status)
{
    if (status._type != 0)
        die("Python", status.err_msg ? status.err_msg : "cannot start");
}

static void bare(const char *path, const char *executable)
{
    PyPreConfig before_config;
    PyConfig config;
    double before = resident();
    int64_t from = now_ns();
    void *library = open_library(path);
    ((void (*)(PyPreConfig *))find(library, "PyPreConfig_InitIsolatedConfig"))(&before_config);
    before_config.utf8_mode = 1;
    check(((PyStatus (*)(const PyPreConfig *))find(library, "Py_PreInitialize"))(&before_config));
    ((void (*)(PyConfig *))find(library, "PyConfig_InitIsolatedConfig"))(&config);
    config.install_signal_handlers = 0;
    config.write_bytecode = 0;
    check(((PyStatus (*)(PyConfig *, wchar_t **, const char *))find(library, "PyConfig_SetBytesString"))(
        &config, &config.executable, executable));
    check(((PyStatus (*)(const PyConfig *))find(library, "Py_InitializeFromConfig"))(&config));
    int64_t to = now_ns();
    printf("{\"ms\":%.4f,\"rss\":%.0f,\"rss_before\":%.0f}\n", (double)(to - from) / 1e6, resident(), before);
}

int main(int count, char **argument)
{
    if (count == 4 && !strcmp(argument[1], "ours"))
        ours(argument[2], argument[3]);
    else if (count == 4 && !strcmp(argument[1], "bare"))
        bare(argument[2], argument[3]);
    else
        die("usage", "first ours LIBRARY DATA_DIR | first bare LIBPYTHON PYTHON");
    fflush(stdout);
    _exit(0); /* neither interpreter is finalized */
}
