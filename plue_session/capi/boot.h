/* What finding, starting and entering the interpreter share. */
#ifndef BOOT_H
#define BOOT_H

#include "core.h"

#include <limits.h>

enum { ROOM = PATH_MAX + 64 }; /* for a path with a file name added */

int core_boot_fail(const char *format, ...) __attribute__((format(printf, 1, 2))); /* notes why; returns -1 */
int core_find_library(void);    /* its own file, and the package around it; -1 with the reason noted */
int core_check_libpython(void); /* is the one in this process ours? */
int core_find_runtime(char home[ROOM], char executable[ROOM]); /* sets one of the two */
void core_import_threading_here(void);                         /* waits for the interpreter lock */
int core_watch_python(void);                                   /* from now on its end is noted; -1: that cannot be */
int core_python_join(
    void); /* the calling thread, one of ours, may run Python; -1 when memory is short. Waits for no lock of Python's */
void core_serve(int executor, int number); /* until the executor is closed, or the work is done */
void core_python_part(void);               /* it is about to end */
void core_shield_interrupt(void);          /* from now on Python finds SIGINT taken ... */
void core_unshield_interrupt(void);        /* ... and it is as it was, or as the host has set it meanwhile */

#endif
