/*
 * Forked children: every function is refused there, and locks that both processes would hold are given up.
 *
 * A child knows itself by a page that the kernel empties for it, whichever way it was made: _Fork() and clone() call no
 * handlers. The handler is for kernels that cannot do that, and closes the descriptors at once.
 */
#include "core.h"

#include <sys/mman.h>
#include <unistd.h>

enum {
    FDS = 4096, /* two for each agent that is attached */
    LENGTH = 1  /* the kernel makes it a page */
};

static atomic_int always = 1;
_Atomic(atomic_int *) core_parent = &always;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int watched;              /* one of the two ways works */
static atomic_int fork_fds[FDS]; /* fd + 1: shared locks that a forked child must not keep alive */

static void close_shared(void)
{
    for (int i = 0; i < FDS; i++) {
        int fd = atomic_exchange(&fork_fds[i], 0);
        if (fd)
            close(fd - 1);
    }
}

static void in_forked_child(void)
{
    atomic_store(&always, 0);
    atomic_store(&core_parent, &always);
    close_shared();
    core_observers_forked();
}

static void watch_forks(void)
{
    watched = pthread_atfork(NULL, NULL, in_forked_child) == 0;
#ifdef MADV_WIPEONFORK
    void *page = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return;
    if (madvise(page, LENGTH, MADV_WIPEONFORK)) {
        (void)munmap(page, LENGTH);
        return;
    }
    atomic_store((atomic_int *)page, 1);
    atomic_store(&core_parent, page);
    watched = 1;
#endif
}

int core_watch_forks(void)
{
    pthread_once(&fork_once, watch_forks);
    return watched ? 0 : -1;
}

int core_refuse_fork(const char *operation)
{
    if (!core_forked())
        return 0;
    close_shared();
    core_fail(PLUE_ERROR_FORKED, operation,
              "this process is a forked child. Use the library in the parent, or exec first.");
    return -1;
}

/* -1: there is no room to note it. */
int core__close_on_fork(int fd)
{
    for (int i = 0; i < FDS; i++) {
        int none = 0;
        if (atomic_compare_exchange_strong(&fork_fds[i], &none, fd + 1))
            return 0;
    }
    return -1;
}

void core__keep_on_fork(int fd)
{
    for (int i = 0; i < FDS; i++) {
        int old = fd + 1;
        if (atomic_compare_exchange_strong(&fork_fds[i], &old, 0))
            return;
    }
}
