/*
 * How a caller that waits for the writer alone, and the writer, avoid waking each other.
 *
 * Waking a thread takes the kernel about as long as all that the library does around a commit, and both sides need it.
 * So the writer stays awake for LINGER after each commit: a caller that makes one change after another posts the next a
 * few microseconds later. The caller sleeps for NAP, less than a commit takes. Then it is awake for at most AWAKE, as
 * it is when the writer says that the end is near; after that it sleeps like everybody. Both yield to whoever else
 * wants the processor.
 *
 * Measured with benchmarks/commits.c on 2 processors, each variant 10 times in turns: create of one caller, in units of
 * append + fdatasync of the same seconds, median (quartiles): 0.50 (0.44-0.55) as it is; 0.46 (0.42-0.46) when the
 * caller sleeps; 0.44 (0.41-0.46) when the writer does; 0.42 (0.37-0.46) when both do. On a busy machine, whose
 * processors are seldom idle, switched within one process each 15 ms, the fastest twentieth took 242, 256, 247 and 272
 * us; update_title gained nothing.
 */
#include "executors.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#define LINGER_NS INT64_C(60000)
#define NAP_NS INT64_C(120000)
#define AWAKE_NS INT64_C(300000)
enum { FAR, NEAR, OVER }; /* of a request's caller: asleep; awake, or called to be; done with waiting in this way */

atomic_int core_commits;

/* ---- the writer ---- */
void core_awake_linger(executor *in)
{
    int64_t until = core_monotonic_ns() + LINGER_NS;
    while (!atomic_load_explicit(&in->hint, memory_order_relaxed) && core_monotonic_ns() < until)
        sched_yield();
}

/* The group is committed, so what has begun is about to end: wake a lone caller that sleeps, while the library tells
 * what is new. */
void core__near(int index)
{
    executor *in = &core_executors[index];
    atomic_fetch_add_explicit(&core_commits, 1, memory_order_relaxed);
    pthread_mutex_lock(&in->lock);
    request *only = in->started.count == 1 ? in->started.first : NULL;
    if (only && atomic_load_explicit(&only->near, memory_order_relaxed) != NEAR) {
        atomic_store_explicit(&only->near, NEAR, memory_order_relaxed);
        pthread_cond_signal(&only->ended);
    }
    pthread_mutex_unlock(&in->lock);
}

void core_awake_over_locked(request *of)
{
    atomic_store_explicit(&of->near, OVER, memory_order_relaxed);
}

/* ---- its caller ---- */
int core_awake_called_locked(const request *of)
{
    return atomic_load_explicit(&of->near, memory_order_relaxed) == NEAR;
}

/* A thread with real-time priority yields to nobody, and on one processor the writer would wait for its caller: neither
 * stays awake. */
static int may_stay_awake(void)
{
    static atomic_int processors;
    int count = atomic_load_explicit(&processors, memory_order_relaxed), ordinary = 1;
#ifdef __linux__
    ordinary = sched_getscheduler(0) == SCHED_OTHER;
    cpu_set_t allowed;
    if (!count)
        count = sched_getaffinity(0, sizeof allowed, &allowed) ? 1 : CPU_COUNT(&allowed);
#endif
    if (!count)
        count = (int)sysconf(_SC_NPROCESSORS_ONLN);
    atomic_store_explicit(&processors, count, memory_order_relaxed);
    return count > 1 && ordinary;
}

static void stay_awake_locked(executor *in, request *of)
{
    if (may_stay_awake()) {
        int64_t until = core_monotonic_ns() + AWAKE_NS;
        atomic_store_explicit(&of->near, NEAR, memory_order_relaxed);
        pthread_mutex_unlock(&in->lock);
        while (atomic_load_explicit(&of->near, memory_order_relaxed) == NEAR && core_monotonic_ns() < until)
            sched_yield();
        pthread_mutex_lock(&in->lock);
    }
    atomic_store_explicit(&of->near, OVER, memory_order_relaxed);
}

void core_awake_wait_locked(executor *in, request *of, int alone)
{
    struct timespec at;
    if (core_awake_called_locked(of)) {
        stay_awake_locked(in, of);
        return;
    }
    if (!alone)
        return;
    core_deadline(&at, core_monotonic_ns() + NAP_NS);
    if (pthread_cond_timedwait(&of->ended, &in->lock, &at) == ETIMEDOUT && of->state == STARTED)
        stay_awake_locked(in, of);
}
