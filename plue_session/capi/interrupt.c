/*
 * SIGINT, while Python starts.
 *
 * Python's signal module installs a handler for SIGINT where there is none, whatever the configuration says, and a
 * host's thread may install its own at the same moment. So while Python starts, a stand-in is there that does what the
 * default does: Python leaves it alone. Whatever else is found in its place afterwards is the host's, and stays.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "boot.h"

#include <dlfcn.h>
#include <signal.h>

/* A handler of the host's that found this one in its place may call it, as its predecessor. That was the default: there
 * is nothing to call. */
static void stand_in(int number)
{
    struct sigaction now;
    if (sigaction(number, NULL, &now) || (now.sa_handler != stand_in && now.sa_handler != SIG_DFL))
        return;
    signal(number, SIG_DFL);
    raise(number); /* when this handler has returned */
}

static int is_default(const struct sigaction *action)
{
    return action->sa_handler == SIG_DFL;
}

/* The stand-in, or a handler of libpython's: a module of the environment may have asked for it. */
static int is_ours(const struct sigaction *action)
{
    Dl_info handler, python;
    if (action->sa_handler == stand_in)
        return 1;
    return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN &&
           dladdr((void *)(uintptr_t)action->sa_handler, &handler) &&
           dladdr((void *)(uintptr_t)&Py_GetVersion, &python) && handler.dli_fbase == python.dli_fbase;
}

/* Replace an action that is `expected`; what the host has installed since it was read is put back. */
static void replace(int (*expected)(const struct sigaction *), const struct sigaction *by)
{
    struct sigaction found, last = *by;
    if (sigaction(SIGINT, NULL, &found) || !expected(&found) || sigaction(SIGINT, by, &found) || expected(&found))
        return;
    for (;;) {
        struct sigaction displaced;
        if (sigaction(SIGINT, &found, &displaced) || displaced.sa_handler == last.sa_handler)
            return;
        last = found;
        found = displaced; /* newer than what was put back */
    }
}

void core_shield_interrupt(void)
{
    struct sigaction action = {.sa_handler = stand_in, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    replace(is_default, &action);
}

void core_unshield_interrupt(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigemptyset(&action.sa_mask);
    replace(is_ours, &action);
}
