/* The C half of the functions of tests alone (functions.py). */
#include "queues.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 4096 };

static struct reader {
    core_queue *queue;
    int64_t last;
    int got, gaps, disordered;
    char session[128];
} readers[MOST];
static int count;

void plue_test_close(plue_thing_t thing)
{
    core_destroy((uintptr_t)thing, 2);
}

double plue_test_visit(int64_t below, int (*visit)(int64_t number, void *user_data), void *user_data)
{
    int64_t at = 0;
    while (at < below && !visit(at, user_data))
        at++;
    return (double)at / (double)below;
}

int plue_test_readers(int more)
{
    for (; more; more--) {
        enum { PASSING = CORE_PASSING_CAPACITY + CORE_FINAL_CAPACITY };
        core_queue *made = calloc(1, sizeof *made + (CORE_QUEUE_CAPACITY + PASSING) * sizeof *made->ring);
        made->ring = (core_event **)(made + 1);
        made->capacity = CORE_QUEUE_CAPACITY;
        made->passing = made->ring + CORE_QUEUE_CAPACITY;
        made->passing_capacity = PASSING;
        readers[count] = (struct reader){.queue = made};
        pthread_mutex_lock(&core_queues_lock);
        core_queue_open_locked(made, CORE_NO_BELL);
        pthread_mutex_unlock(&core_queues_lock);
        count++;
    }
    return 0;
}

int plue_test_drain(int which)
{
    struct reader *of = &readers[which];
    core_mark mark;
    core_event *next;
    do {
        pthread_mutex_lock(&core_queues_lock);
        next = core_queue_take_locked(of->queue, SIZE_MAX, &mark);
        pthread_mutex_unlock(&core_queues_lock);
        if (next) {
            of->disordered |= next->id < of->last || (next->id == of->last && next->kind == PLUE_EVENT_SESSION_UPDATED);
            of->last = next->id;
            of->got += next->kind == PLUE_EVENT_SESSION_UPDATED;
            of->gaps += next->kind == PLUE_EVENT_GAP;
            strcpy(of->session, next->session ? next->session : "");
            core_event_drop(next);
        }
    } while (next);
    return of->disordered ? -1 : of->got;
}

int plue_test_waiting(int which)
{
    pthread_mutex_lock(&core_queues_lock);
    int waiting = readers[which].queue->behind ? -1 : (int)readers[which].queue->count;
    pthread_mutex_unlock(&core_queues_lock);
    return waiting;
}

int plue_test_gaps(int which)
{
    return readers[which].gaps;
}

char *plue_test_session(int which)
{
    return core_own(readers[which].session, strlen(readers[which].session));
}

void plue_test_hungry(void)
{
    core__wake(CORE_EXECUTOR_READ, CORE_SIGNAL_WAKE);
}

int plue_test_race(int far, int near)
{
    int far_had = plue_test_drain(far), near_had = plue_test_drain(near);
    plue_test_hungry();
    while (plue_test_drain(near) == near_had) {
        plue_test_drain(far);
        plue_test_hungry();
    }
    return readers[far].got - far_had;
}

void plue_test_forget(void)
{
    for (; count; count--) {
        core_queue *old = readers[count - 1].queue;
        pthread_mutex_lock(&core_queues_lock);
        core_queue_close_locked(old);
        pthread_mutex_unlock(&core_queues_lock);
        core_queue_discard(old);
        free(old);
    }
}

void plue_test_count_from(plue_session_observer_t observer, uint64_t number)
{
    pthread_mutex_lock(&core_queues_lock);
    ((core_queue *)core_observer_at((uintptr_t)observer))->sequence = number; /* it comes first */
    pthread_mutex_unlock(&core_queues_lock);
}

int plue_test_rename(const char *before, const char *now)
{
    return core__session_rename(before, now);
}
