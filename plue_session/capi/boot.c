/*
 * The interpreter: found, checked, started isolated, never finalized.
 *
 * It lives on threads of the library. The first of them starts it and then serves the control lane for ever. Everything
 * that could kill or disturb a host is checked before the first call into Python that could fail: which libpython the
 * linker gave us, whether the process has another one, whether the runtime is there.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core.h"

#include <dlfcn.h>
#include <errno.h>
#include <libgen.h>
#include <link.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { UNBOOTED, BOOTING, BOOTED };
enum { ROOM = PATH_MAX + 64 }; /* for a path with a file name added */

static pthread_mutex_t boot_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t boot_done;
static pthread_once_t boot_once = PTHREAD_ONCE_INIT;
static int boot_state, started;
static atomic_int host_is_python;
static char boot_error[2048], library_path[PATH_MAX], package_root[PATH_MAX];

extern int core_python_serve(int lane, int generation);

static int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int fail(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(boot_error, sizeof boot_error, format, values);
    va_end(values);
    return -1;
}

const char *core__library_path(void)
{
    return library_path;
}

const char *core__package_root(void)
{
    return package_root;
}

void core__boot_failed(const char *message)
{
    fail("%s", message);
}

/* ---- which Python ---- */
static int find_library(void)
{
    Dl_info own;
    char scratch[PATH_MAX];
    if (!dladdr((void *)(uintptr_t)&core__library_path, &own) || !realpath(own.dli_fname, library_path))
        return fail("the library cannot find its own file. Load it by an absolute path.");
    /* The Python half of the library is the package that contains it: <root>/plue_session/lib/libplue_session.so. */
    snprintf(scratch, sizeof scratch, "%s", library_path);
    snprintf(package_root, sizeof package_root, "%s", dirname(dirname(dirname(scratch))));
    return 0;
}

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

static int check_libpython(void)
{
    char want[16];
    Dl_info python;
    const char *got = Py_GetVersion(); /* safe before initialization, in every version */
    memset(&python, 0, sizeof python);
    dladdr((void *)(uintptr_t)&Py_GetVersion, &python);
    const char *file = python.dli_fname && *python.dli_fname ? python.dli_fname : "the host program";
    snprintf(want, sizeof want, "%d.%d.", PY_MAJOR_VERSION, PY_MINOR_VERSION);
    if (strncmp(got, want, strlen(want)))
        return fail("the library was built for Python %d.%d, but this process runs Python %.12s (%s). Use a library built for that "
                    "Python (make PYTHON=...), or a process without it.", PY_MAJOR_VERSION, PY_MINOR_VERSION, got, file);
    void *global = dlopen(NULL, RTLD_LAZY), *other = global ? dlsym(global, "Py_GetVersion") : NULL;
    if (global)
        dlclose(global);
    if (other && other != (void *)(uintptr_t)&Py_GetVersion)
        return fail("this process already holds another Python (%.12s) beside the library's %.12s (%s); two in one process crash. "
                    "Use a library built for that Python (make PYTHON=...).", ((const char *(*)(void))(uintptr_t)other)(), got, file);
    /* Extension modules do not name libpython: a host that loaded us with RTLD_LOCAL has hidden it from them. */
    if (python.dli_fname && *python.dli_fname && !dlopen(python.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD) && !dlsym(RTLD_DEFAULT, "PyExc_SystemError"))
        return fail("%s cannot be made visible to Python's own modules: %s. Load the library with RTLD_GLOBAL.", file, dlerror());
    return 0;
}

static int exists(const char *format, const char *folder)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, format, folder, PY_MAJOR_VERSION, PY_MINOR_VERSION);
    return access(path, R_OK) == 0;
}

/* Beside the library (a bundle), then the environment that contains it, then where it was built. Sets home or executable. */
static int find_runtime(char home[ROOM], char executable[ROOM])
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
    return fail("no Python %d.%d runtime: none beside %s, none in a virtual environment around it, and %s, where it was built, is gone. "
                "Install the package again (pip install plue-session) with the Python that is to run it.",
                PY_MAJOR_VERSION, PY_MINOR_VERSION, library_path, CORE_PYTHON);
}

/* ---- starting it ---- */
static int start_interpreter(void)
{
    char home[ROOM], executable[ROOM];
    PyPreConfig before;
    PyConfig config;
    if (find_runtime(home, executable))
        return -1;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1; /* whatever the host's locale is */
    PyStatus status = Py_PreInitialize(&before);
    if (PyStatus_Exception(status))
        return fail("Python cannot be prepared: %s.", status.err_msg ? status.err_msg : "unknown cause");
    PyConfig_InitIsolatedConfig(&config); /* no environment variables, no user site, no arguments */
    config.install_signal_handlers = 0;
    config.configure_c_stdio = 0;
    config.pathconfig_warnings = 0;
    config.write_bytecode = 0;
    config.site_import = 0; /* what the environment's own modules print is not for the host: see prepare_modules */
#if PY_VERSION_HEX >= 0x030B0000
    config.code_debug_ranges = 0;
#endif
    if (*home)
        status = PyConfig_SetBytesString(&config, &config.home, home);
    if (!PyStatus_Exception(status))
        status = PyConfig_SetBytesString(&config, &config.executable, executable);
    if (!PyStatus_Exception(status))
        status = PyConfig_SetBytesString(&config, &config.program_name, executable);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status))
        return fail("Python at %s cannot start: %s%s%s. Install it again, or the package (pip install plue-session).", executable,
                    status.func ? status.func : "", status.func ? ": " : "", status.err_msg ? status.err_msg : "it asked to exit");
    PyEval_SaveThread();
    return 0;
}

static int python_error(const char *what)
{
    PyObject *type = NULL, *value = NULL, *trace = NULL, *text = NULL;
    PyErr_Fetch(&type, &value, &trace);
    if (value)
        text = PyObject_Str(value);
    const char *reason = text ? PyUnicode_AsUTF8(text) : NULL;
    fail("%s: %s. Install the package again with its dependencies (pip install plue-session), using the Python that is to run it.", what, reason ? reason : "unknown cause");
    PyErr_Clear();
    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    return -1;
}

/* With the interpreter lock held: nothing here may print. */
static int prepare_modules(void)
{
    struct sigaction interrupt;
    int ours = !atomic_load(&host_is_python);
    if (ours) {
        /* Python's standard streams are bound to whatever the host has on 0, 1 and 2. site runs code of the environment's
           (.pth files, sitecustomize) which may print, and which complains about itself on stderr. */
        static const char quiet[] =
            "import io, sys\n"
            "sys.stdin = sys.__stdin__ = None\n"
            "sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = io.StringIO()\n"
            "try:\n"
            "    if 'site' not in sys.modules:\n"
            "        import site\n"
            "        site.main()\n"
            "finally:\n"
            "    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = None\n";
        PyObject *globals = PyModule_GetDict(PyImport_AddModule("__main__"));
        PyObject *done = PyRun_String(quiet, Py_file_input, globals, globals);
        if (!done)
            return python_error("the Python environment cannot be set up");
        Py_DECREF(done);
        /* Importing signal installs a SIGINT handler, whatever the configuration says, where there is none: do it now, and
           take it out again. A handler of the host's is left alone by Python, and so by us. */
        if (!sigaction(SIGINT, NULL, &interrupt) && interrupt.sa_handler == SIG_DFL) {
            Py_XDECREF(PyImport_ImportModule("_signal"));
            PyErr_Clear();
            sigaction(SIGINT, &interrupt, NULL);
        }
    }
    /* cffi would print and answer 0 to every call if its module were missing. A host's own Python may lack it: ours has it. */
    PyObject *module = PyImport_ImportModule("_cffi_backend");
    if (!module) {
        PyErr_Clear();
        PyObject *path = PySys_GetObject("path"), *place = PyUnicode_DecodeFSDefault(CORE_SITE), *root = PyUnicode_DecodeFSDefault(package_root);
        if (path && place && root && PyList_Append(path, root) == 0 && PyList_Append(path, place) == 0) {
            module = PyImport_ImportModule("_cffi_backend");
            PyObject *type, *value, *trace;
            PyErr_Fetch(&type, &value, &trace);
            Py_ssize_t end = PyList_GET_SIZE(path);
            PyList_SetSlice(path, end - 2, end, NULL);
            PyErr_Restore(type, value, trace);
        }
        Py_XDECREF(place);
        Py_XDECREF(root);
    }
    if (!module)
        return python_error("cffi cannot be imported");
    Py_DECREF(module);
    return 0;
}

static int boot(void)
{
    if (find_library() || check_libpython())
        return -1;
    if (!started)
        atomic_store(&host_is_python, Py_IsInitialized() != 0);
    struct sigaction interrupt;
    int ours = !atomic_load(&host_is_python), failed = 0;
    sigaction(SIGINT, NULL, &interrupt);
    if (!started && ours)
        failed = start_interpreter();
    if (!failed) {
        started = 1;
        PyGILState_STATE state = PyGILState_Ensure();
        failed = prepare_modules();
        PyGILState_Release(state);
    }
    if (ours && interrupt.sa_handler == SIG_DFL) /* what the environment's own modules import may have brought in signal */
        sigaction(SIGINT, &interrupt, NULL);
    if (failed)
        return -1;
    boot_error[0] = 0;
    if (core__start_cffi() || core_python_serve(CORE_LANE_NONE, 0))
        return boot_error[0] ? -1 : fail("the library's Python half cannot start. Install the package again (pip install plue-session).");
    return 0;
}

static void *interpreter_main(void *unused)
{
    (void)unused;
    int failed = boot();
    pthread_mutex_lock(&boot_lock);
    boot_state = failed ? UNBOOTED : BOOTED; /* every step can be taken again */
    pthread_cond_broadcast(&boot_done);
    pthread_mutex_unlock(&boot_lock);
    if (!failed)
        core_python_serve(CORE_LANE_CONTROL, 0);
    return NULL;
}

static void prepare(void)
{
    core_cond_init(&boot_done);
}

/* A host that is Python itself: whichever thread imports threading first is its main thread, which its exit waits for. */
static void import_threading_here(void)
{
    char want[16];
    snprintf(want, sizeof want, "%d.%d.", PY_MAJOR_VERSION, PY_MINOR_VERSION);
    if (strncmp(Py_GetVersion(), want, strlen(want)) || !Py_IsInitialized() || !PyGILState_GetThisThreadState())
        return;
    PyGILState_STATE state = PyGILState_Ensure();
    Py_XDECREF(PyImport_ImportModule("threading"));
    PyErr_Clear();
    PyGILState_Release(state);
}

int core_boot(const char *operation)
{
    pthread_once(&boot_once, prepare);
    pthread_mutex_lock(&boot_lock);
    if (boot_state == UNBOOTED) {
        boot_state = BOOTING;
        import_threading_here();
        if (core_spawn(interpreter_main, NULL)) {
            boot_state = UNBOOTED;
            fail("no thread can be started. Raise the limit on threads (ulimit -u) or free memory.");
        }
        while (boot_state == BOOTING)
            pthread_cond_wait(&boot_done, &boot_lock);
    }
    int failed = boot_state != BOOTED;
    if (failed)
        core_fail(PLUE_ERROR_RUNTIME, operation, "%s", boot_error);
    pthread_mutex_unlock(&boot_lock);
    return failed ? -1 : 0;
}

/*
 * A thread that is cancelled (pthread_cancel) ends where it waits, and would take the lock that it waits with along: while it is
 * here, it is not. And a host that is Python itself may call us with its interpreter lock held: waiting for a library thread
 * would never end.
 */
core_visit core_enter(void)
{
    core_visit visit = {.interpreter = NULL};
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &visit.cancel);
    if (!Py_IsInitialized())
        return visit;
    /* Not PyGILState_Check(): that is always true once the host has made a sub-interpreter. */
    PyThreadState *mine = PyGILState_GetThisThreadState();
#if PY_VERSION_HEX >= 0x030D0000
    PyThreadState *holder = PyThreadState_GetUnchecked();
#else
    PyThreadState *holder = _PyThreadState_UncheckedGet();
#endif
    if (mine && mine == holder)
        visit.interpreter = PyEval_SaveThread();
    return visit;
}

void core_leave(core_visit *visit)
{
    if (visit->interpreter)
        PyEval_RestoreThread(visit->interpreter);
    pthread_setcancelstate(visit->cancel, NULL);
}
