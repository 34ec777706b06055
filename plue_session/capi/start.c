/*
 * The interpreter: started isolated, never finalized.
 *
 * It lives on threads of the library. The first of them starts it and then serves the control lane for ever. Everything
 * that could kill or disturb a host is checked before the first call into Python that could fail: which libpython the
 * linker gave us, whether the process has another one, whether the runtime is there.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "boot.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNBOOTED, BOOTING, BOOTED };

static pthread_mutex_t boot_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t boot_done;
static pthread_once_t boot_once = PTHREAD_ONCE_INIT;
static int boot_state, started;
static atomic_int host_is_python;
static char boot_error[2048];

extern int core_python_serve(int lane, int generation);

int core_boot_fail(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(boot_error, sizeof boot_error, format, values);
    va_end(values);
    return -1;
}

void core__boot_failed(const char *message)
{
    core_boot_fail("%s", message);
}

static int start_interpreter(void)
{
    char home[ROOM], executable[ROOM];
    PyPreConfig before;
    PyConfig config;
    if (core_find_runtime(home, executable))
        return -1;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1; /* whatever the host's locale is */
    PyStatus status = Py_PreInitialize(&before);
    if (PyStatus_Exception(status))
        return core_boot_fail("Python cannot be prepared: %s.", status.err_msg ? status.err_msg : "unknown cause");
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
        return core_boot_fail("Python at %s cannot start: %s%s%s. Install it again, or the package (pip install plue-session).", executable,
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
    core_boot_fail("%s: %s. Install the package again with its dependencies (pip install plue-session), using the Python that is to run it.", what, reason ? reason : "unknown cause");
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
        PyObject *path = PySys_GetObject("path"), *place = PyUnicode_DecodeFSDefault(CORE_SITE), *root = PyUnicode_DecodeFSDefault(core__package_root());
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
    if (core_find_library() || core_check_libpython())
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
        return boot_error[0] ? -1 : core_boot_fail("the library's Python half cannot start. Install the package again (pip install plue-session).");
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

int core_boot(const char *operation)
{
    pthread_once(&boot_once, prepare);
    pthread_mutex_lock(&boot_lock);
    if (boot_state == UNBOOTED) {
        boot_state = BOOTING;
        core_import_threading_here();
        if (core_spawn(interpreter_main, NULL)) {
            boot_state = UNBOOTED;
            core_boot_fail("no thread can be started. Raise the limit on threads (ulimit -u) or free memory.");
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
