/* Forked children: every function is refused there, and locks that both processes would hold are given up. */
#include "core.h"

#include <unistd.h>

enum { FDS = 16 };

atomic_int core_forked;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static atomic_int fork_fds[FDS]; /* fd + 1: shared locks that a forked child must not keep alive */

static void in_forked_child(void)
{
    atomic_store(&core_forked, 1);
    for (int i = 0; i < FDS; i++) {
        int fd = atomic_exchange(&fork_fds[i], 0);
        if (fd)
            close(fd - 1);
    }
}

static void register_fork(void)
{
    (void)pthread_atfork(NULL, NULL, in_forked_child);
}

void core__close_on_fork(int fd)
{
    for (int i = 0; i < FDS; i++) {
        int none = 0;
        if (atomic_compare_exchange_strong(&fork_fds[i], &none, fd + 1))
            return;
    }
}

void core__keep_on_fork(int fd)
{
    for (int i = 0; i < FDS; i++) {
        int old = fd + 1;
        if (atomic_compare_exchange_strong(&fork_fds[i], &old, 0))
            return;
    }
}

void core_watch_forks(void)
{
    pthread_once(&fork_once, register_fork);
}
