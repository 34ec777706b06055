/* What finding and starting the interpreter share: find.c, start.c, host.c. */
#ifndef BOOT_H
#define BOOT_H

#include "core.h"

#include <limits.h>

enum { ROOM = PATH_MAX + 64 }; /* for a path with a file name added */

int core_boot_fail(const char *format, ...) __attribute__((format(printf, 1, 2))); /* notes why; returns -1 */
int core_find_library(void);    /* its own file, and the package around it; -1 with the reason noted */
int core_check_libpython(void); /* is the one in this process ours? */
int core_find_runtime(char home[ROOM], char executable[ROOM]); /* sets one of the two */
void core_import_threading_here(void); /* by a Python host's thread that holds the interpreter lock */

#endif
