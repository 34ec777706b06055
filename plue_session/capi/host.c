/* What a host's thread brings along when it waits here: its cancellation, and the interpreter lock of a host that is Python itself. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "boot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A host that is Python itself: whichever thread imports threading first is its main thread, which its exit waits for. */
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

const char *core__environment(const char *name)
{
    return getenv(name);
}

char **core__environment_block(void)
{
    return environ;
}
