/*
 * What a host's thread brings along when it waits here: its cancellation, and the interpreter lock of a host that is
 * Python itself. And what becomes of the library when that host ends its Python.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "boot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int
    gone; /* the interpreter that the library runs in was finalized: its threads are dead or asleep for ever */

/* ---- the interpreter's end ---- */
static void note_end(void)
{
    atomic_store(&gone, 1);
    core_executors_abandon();
}

int core_watch_python(void)
{
    return Py_AtExit(note_end); /* runs at the end of Py_Finalize() */
}

int core_python_gone(void)
{
    if (atomic_load(&gone))
        return 1;
#if PY_VERSION_HEX >= 0x030D0000
    return core_booted() && (Py_IsFinalizing() || !Py_IsInitialized());
#else
    return core_booted() && (_Py_IsFinalizing() || !Py_IsInitialized());
#endif
}

void core_stay_if_gone(void)
{
    while (core_python_gone())
        pause();
}

/* ---- the interpreter's lock ---- */
static PyThreadState *current_state(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyThreadState_GetUnchecked();
#else
    return _PyThreadState_UncheckedGet();
#endif
}

/*
 * Is it this thread's, although of another interpreter? Up to Python 3.11 `state` is whoever holds the lock, in any
 * thread, who may end at this moment: its memory is read as a debugger would.
 */
static int is_of_this_thread(PyThreadState *state)
{
#if PY_VERSION_HEX >= 0x030C0000
    return state != NULL;
#else
    unsigned long thread = 0;
    struct iovec here = {&thread, sizeof thread}, there = {&state->thread_id, sizeof thread};
    return state && process_vm_readv(getpid(), &here, 1, &there, 1, 0) == sizeof thread &&
           thread == PyThread_get_thread_ident();
#endif
}

/* A host that is Python itself: the thread that imports threading first is its main thread; its exit waits for it. */
void core_import_threading_here(void)
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

/*
 * A thread that is cancelled (pthread_cancel) ends where it waits, and would leave the lock that it waits with locked:
 * so it cannot be cancelled while it is here. And a host that is Python itself may call us with its interpreter lock
 * held: waiting for a library thread would never end.
 */
static PyThreadState *let_go_of_lock(PyThreadState *holder)
{
    return holder && is_of_this_thread(holder) ? PyEval_SaveThread() : NULL;
}

void core_enter_anyway(core_visit *visit)
{
    *visit = (core_visit){.interpreter = NULL};
    if (!core_python_gone() && Py_IsInitialized())
        visit->interpreter = let_go_of_lock(current_state());
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &visit->cancel);
}

int core_refuse_gone(const char *operation)
{
    if (!core_python_gone())
        return 0;
    core_fail(PLUE_ERROR_RUNTIME, operation,
              "the Python interpreter that the library runs in was finalized (Py_Finalize), or is just ending. "
              "Call plue_shutdown() before that; afterwards only a new process can use the library.");
    return -1;
}

int core_enter(core_visit *visit, const char *operation)
{
    *visit = (core_visit){.interpreter = NULL};
    if (core_refuse_gone(operation))
        return -1;
    if (Py_IsInitialized()) {
        /* Not PyGILState_Check(): that is always true once the host has made a sub-interpreter. */
        PyThreadState *mine = PyGILState_GetThisThreadState(), *holder = current_state();
        if (holder && mine != holder && is_of_this_thread(holder)) {
            core_fail(PLUE_ERROR_RUNTIME, operation,
                      "the calling sub-interpreter holds Python's lock, which the library's threads need. "
                      "Call it through ctypes.CDLL (not PyDLL) or from the main interpreter.");
            return -1;
        }
        if (mine && mine == holder)
            visit->interpreter = PyEval_SaveThread();
    }
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &visit->cancel);
    return 0;
}

void core_leave(core_visit *visit)
{
    if (visit->interpreter)
        PyEval_RestoreThread(visit->interpreter);
    pthread_setcancelstate(visit->cancel, NULL);
}

/* ---- the host's environment ---- */
const char *core__environment(const char *name)
{
    return getenv(name);
}

char **core__environment_block(void)
{
    return environ;
}
