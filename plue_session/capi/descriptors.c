/*
 * Descriptors that tell of a queue.
 *
 * One is an eventfd whose counter is above 0 while there is an answer for who reads the queue: an event, or an error.
 * Whoever has changed the queue settles it, after the lock of the queues is let go. One thread at a time does so; who
 * comes meanwhile leaves it to that one, so that readers, which are instant, wait for nobody. A reader that finds
 * nothing then clears it by itself.
 */
#include "queues.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MS INT64_C(1000000)

void core_descriptor_settle(core_descriptor *of, core_answer answer_locked, void *owner)
{
    uint64_t one = 1, old;
    int seen, cancel;
    if (atomic_load(&of->fd) < 0 || atomic_fetch_add(&of->changes, 1))
        return;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel); /* a thread that ended here would leave it to nobody */
    do {
        int hungry = 0;
        seen = atomic_load(&of->changes);
        pthread_mutex_lock(&core_queues_lock);
        int fd = atomic_load(&of->fd), answer = answer_locked(owner, &hungry);
        int rises = answer && (of->seen_empty || !of->shown);
        of->seen_empty = of->seen_empty && !answer;
        pthread_mutex_unlock(&core_queues_lock);
        if (fd >= 0 && rises)
            of->shown = write(fd, &one, sizeof one) > 0;
        else if (fd >= 0 && of->shown && !answer)
            of->shown = read(fd, &old, sizeof old) < 0 && errno != EAGAIN;
        if (hungry)
            core__wake(CORE_EXECUTOR_READ, CORE_SIGNAL_WAKE);
    } while (!atomic_compare_exchange_strong(&of->changes, &seen, 0));
    pthread_setcancelstate(cancel, NULL);
}

/*
 * Nothing was there, and a thread that settles has yet to say so: write() may cost it the processor, to the very reader
 * that it wakes. Without this the descriptor stayed readable for as long as that thread did not run, and the reader's
 * loop was woken thousands of times. What comes meanwhile is an edge again: no wake-up is lost.
 */
void core_descriptor_clear(core_descriptor *of, core_answer answer_locked, void *owner)
{
    uint64_t old;
    int cancel;
    if (!atomic_load(&of->changes))
        return;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    atomic_fetch_add(&of->clearing, 1);
    int fd = atomic_load(&of->fd);
    if (fd >= 0)
        (void)!read(fd, &old, sizeof old);
    atomic_fetch_sub(&of->clearing, 1);
    pthread_mutex_lock(&core_queues_lock);
    of->seen_empty = 1;
    pthread_mutex_unlock(&core_queues_lock);
    pthread_setcancelstate(cancel, NULL);
    core_descriptor_settle(of, answer_locked, owner);
}

int core_descriptor_get(core_descriptor *of, int (*is_over_locked)(void *owner), void *owner, int *over)
{
    int cancel, fd = atomic_load(&of->fd);
    *over = 0;
    if (fd >= 0)
        return fd;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    int made = core_above_stdio(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    pthread_mutex_lock(&core_queues_lock);
    *over = is_over_locked(owner);
    fd = *over ? -1 : atomic_load(&of->fd);
    if (!*over && made >= 0 && fd < 0) {
        atomic_store(&of->fd, fd = made);
        of->seen_empty = 1;
        made = -1;
    }
    pthread_mutex_unlock(&core_queues_lock);
    if (made >= 0)
        close(made);
    pthread_setcancelstate(cancel, NULL);
    return fd;
}

/* Not while a thread settles or clears it: that would write to, or read, whatever has its number by then. */
void core_descriptor_close(core_descriptor *of, int64_t deadline)
{
    int none = 0;
    while (!atomic_compare_exchange_strong(&of->changes, &none, 1)) {
        if (core_monotonic_ns() >= deadline) { /* that thread was stopped: the descriptor stays open */
            atomic_store(&of->fd, -1);
            return;
        }
        none = 0;
        nanosleep(&(struct timespec){0, MS}, NULL);
    }
    int fd = atomic_exchange(&of->fd, -1);
    of->shown = 0;
    while (fd >= 0 && atomic_load(&of->clearing))
        if (core_monotonic_ns() >= deadline)
            fd = -1; /* likewise */
        else
            nanosleep(&(struct timespec){0, MS}, NULL);
    if (fd >= 0)
        close(fd);
    atomic_store(&of->changes, 0);
}
