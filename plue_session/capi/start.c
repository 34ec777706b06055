/*
 * The interpreter: started isolated, never finalized.
 *
 * It lives on threads of the library. The first of them starts it and then serves the control executor for ever.
 * Everything that could kill or disturb a host is checked before the first call into Python that could fail: which
 * libpython the linker gave us, whether the process has another one, whether the runtime is there (find.c).
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "boot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core_bootstrap.h"

/* WAITING: for the caller of plue_init() to import threading, see there. */
enum { UNBOOTED, BOOTING, WAITING, BOOTED };
enum { OURS = 1, HOSTS };

static pthread_mutex_t boot_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t boot_done;
static pthread_once_t boot_once = PTHREAD_ONCE_INIT;
static int boot_state, started, host_is_python; /* the latter two are the booting thread's */
static int64_t leave_at;  /* under boot_lock: who waits for the boot goes home by then; 0: at the deadline */
static atomic_int booted; /* 0, or whose interpreter it is */
static char boot_error[2048];

extern int core_python_serve(int executor, int generation);

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
    config.site_import = 0; /* see bootstrap.py */
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
        return core_boot_fail(
            "Python at %s cannot start: %s%s%s. Install it again, or the package (pip install plue-session).",
            executable, status.func ? status.func : "", status.func ? ": " : "",
            status.err_msg ? status.err_msg : "it asked to exit");
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
    core_boot_fail("%s: %s. Install the package again with its dependencies (pip install plue-session), using the "
                   "Python that is to run it.",
                   what, reason ? reason : "unknown cause");
    PyErr_Clear();
    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    return -1;
}

/* Call a function of bootstrap.py; with the interpreter lock held. */
static int call(PyObject *functions, const char *name, const char *first, const char *second, const char *complaint)
{
    PyObject *function = PyDict_GetItemString(functions, name), *done = NULL;
    PyObject *arguments = first ? Py_BuildValue("(NN)", PyUnicode_DecodeFSDefault(first),
                                                PyUnicode_DecodeFSDefault(second))
                                : PyTuple_New(0);
    if (function && arguments)
        done = PyObject_CallObject(function, arguments);
    Py_XDECREF(arguments);
    if (!done)
        return python_error(complaint);
    Py_DECREF(done);
    return 0;
}

/* With the interpreter lock held. cffi would print and answer 0 to every call if its module were missing. */
static int prepare_modules(void)
{
    PyObject *functions = PyDict_New(), *done = NULL;
    if (functions && PyDict_SetItemString(functions, "__builtins__", PyEval_GetBuiltins()) == 0)
        done = PyRun_String(core_bootstrap, Py_file_input, functions, functions);
    int failed = !done ? python_error("the Python environment cannot be set up") : 0;
    if (!failed && !host_is_python)
        failed = call(functions, "set_up", NULL, NULL, "the Python environment cannot be set up");
    if (!failed)
        failed = call(functions, "load_cffi", core__package_root(), CORE_SITE, "cffi cannot be imported");
    Py_XDECREF(done);
    Py_XDECREF(functions);
    return failed;
}

/*
 * Start cffi's half. It guards a start of its own, which is not needed any more, with a spin lock: the version tag of
 * the type of capsules, which a look-up of any attribute of one sets for good. It is reset first, and the interpreter
 * lock kept until cffi has looked.
 */
static int start_cffi(void)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyType_Modified(&PyCapsule_Type);
    int failed = core__start_cffi();
    PyGILState_Release(state);
    return failed;
}

/*
 * A host that is Python itself and has not imported threading: the thread that does becomes its main thread, for which
 * its exit waits. That must not be one of ours, so the caller of plue_init() imports it; not before this thread has had
 * the interpreter lock, which shows that it can be had.
 */
static void have_threading(void)
{
    PyGILState_STATE state = PyGILState_Ensure();
    int known = PyDict_GetItemString(PyImport_GetModuleDict(), "threading") != NULL;
    PyGILState_Release(state);
    pthread_mutex_lock(&boot_lock);
    if (!known) {
        boot_state = WAITING;
        pthread_cond_broadcast(&boot_done);
    }
    while (boot_state == WAITING)
        pthread_cond_wait(&boot_done, &boot_lock);
    pthread_mutex_unlock(&boot_lock);
}

static int boot(void)
{
    if (!started)
        host_is_python = Py_IsInitialized() != 0; /* also where it is of another version */
    if (core_find_library() || core_check_libpython())
        return -1;
    if (!host_is_python)
        core_shield_interrupt(); /* a host's own Python has SIGINT as the host wants it */
    int failed = !started && !host_is_python ? start_interpreter()
                 : core_python_join()        ? core_boot_fail("out of memory. Free some and try again.")
                                             : 0;
    if (!failed && !started && core_watch_python())
        failed = core_boot_fail(
            "Python takes no more exit functions (Py_AtExit): 32 are set. The host has to use less of them.");
    if (failed)
        return -1;
    if (host_is_python)
        have_threading();
    started = 1;
    PyGILState_STATE state = PyGILState_Ensure();
    failed = prepare_modules();
    PyGILState_Release(state);
    if (failed)
        return -1;
    boot_error[0] = 0;
    if (start_cffi() || core_python_serve(CORE_EXECUTOR_NONE, 0))
        return boot_error[0] ? -1
                             : core_boot_fail("the library's Python half cannot start. Install the package again (pip "
                                              "install plue-session).");
    return 0;
}

static void *interpreter_main(void *unused)
{
    (void)unused;
    int failed = boot(), guest = host_is_python; /* a next try may set it again as soon as this one is over */
    if (!guest)
        core_unshield_interrupt();
    core_drop_claim(CORE_CLAIM_BOOT);
    pthread_mutex_lock(&boot_lock);
    boot_state = failed ? UNBOOTED : BOOTED; /* every step can be taken again */
    atomic_store(&booted, failed ? 0 : guest ? HOSTS : OURS);
    pthread_cond_broadcast(&boot_done);
    pthread_mutex_unlock(&boot_lock);
    if (!failed)
        core_serve(CORE_EXECUTOR_CONTROL, 0);
    else if (guest)
        core_python_part();
    return NULL;
}

static void prepare(void)
{
    core_set_up(NULL, &boot_done);
}

int core_python_is_hosts(void)
{
    return atomic_load(&booted) == HOSTS;
}

int core_booted(void)
{
    return atomic_load(&booted) != 0;
}

void core_boot_leave(int64_t at)
{
    pthread_once(&boot_once, prepare);
    pthread_mutex_lock(&boot_lock);
    leave_at = at;
    pthread_cond_broadcast(&boot_done);
    pthread_mutex_unlock(&boot_lock);
}

/* Wait for the booting thread, which may wait for an interpreter lock that a thread of the host's does not let go; 0:
 * it has ended. */
static int await_boot_locked(int64_t deadline)
{
    while (boot_state == BOOTING || boot_state == WAITING) {
        struct timespec at;
        int64_t until = leave_at && leave_at < deadline ? leave_at : deadline;
        core_deadline(&at, until);
        if (boot_state == WAITING) {
            pthread_mutex_unlock(&boot_lock);
            core_import_threading_here();
            pthread_mutex_lock(&boot_lock);
            boot_state = BOOTING;
            pthread_cond_broadcast(&boot_done);
        } else if (pthread_cond_timedwait(&boot_done, &boot_lock, &at) == ETIMEDOUT && core_monotonic_ns() >= until)
            return -1;
    }
    return 0;
}

int core_boot(const char *operation, int64_t deadline)
{
    pthread_once(&boot_once, prepare);
    pthread_mutex_lock(&boot_lock);
    if (boot_state == UNBOOTED) {
        boot_state = BOOTING;
        core_hold_claim(CORE_CLAIM_BOOT);
        if (core_spawn("plue-python", interpreter_main, NULL)) {
            boot_state = UNBOOTED;
            core_drop_claim(CORE_CLAIM_BOOT);
            core_boot_fail("no thread can be started. Raise the limit on threads (ulimit -u) or free memory.");
        }
    }
    int failed = await_boot_locked(deadline) ? -1 : boot_state != BOOTED;
    if (failed > 0)
        core_fail(PLUE_ERROR_RUNTIME, operation, "%s", boot_error);
    else if (failed && leave_at)
        core_fail(PLUE_ERROR_CLOSED, operation, "the library was shut down during the call. Call plue_init() again.");
    else if (failed)
        core_fail(PLUE_ERROR_TIMEOUT, operation,
                  "Python could not be entered in time: a thread of this process holds its interpreter lock. "
                  "Release it around long work, and try again.");
    pthread_mutex_unlock(&boot_lock);
    return failed ? -1 : 0;
}
