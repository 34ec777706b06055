/* Bells: a reader of events sleeps on one, and is woken without a lock held. One that is rung in vain does no harm. */
#include "queues.h"

#include <errno.h>

static struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rang;
    int rung;
} bells[CORE_BELLS];

void core_bells_prepare(void)
{
    for (int i = 0; i < CORE_BELLS; i++) {
        core_set_up(&bells[i].lock, &bells[i].rang);
    }
}

void core_bells_ring(uint64_t which)
{
    for (; which; which &= which - 1) {
        struct bell *each = &bells[__builtin_ctzll(which)];
        pthread_mutex_lock(&each->lock);
        each->rung = 1;
        pthread_cond_signal(&each->rang);
        pthread_mutex_unlock(&each->lock);
    }
}

void core_bell_wait(int bell, int ms)
{
    struct timespec at;
    core_deadline(&at, core_monotonic_ns() + ms * INT64_C(1000000));
    pthread_mutex_lock(&bells[bell].lock);
    while (!bells[bell].rung)
        if (ms < 0)
            pthread_cond_wait(&bells[bell].rang, &bells[bell].lock);
        else if (pthread_cond_timedwait(&bells[bell].rang, &bells[bell].lock, &at) == ETIMEDOUT)
            break;
    bells[bell].rung = 0;
    pthread_mutex_unlock(&bells[bell].lock);
}
