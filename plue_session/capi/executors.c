/*
 * Executors: bounded queues of requests, and the library's threads that serve them. What a request goes through is in
 * requests.c.
 */
#include "executors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HANG_UP_MS = 300 }; /* by then a call to the server has ended, once Python has hung up */

executor core_executors[CORE_EXECUTOR_COUNT];
atomic_int core_away;
static int64_t leave_start_at; /* CONTROL: when the caller of a start leaves; 0: at its own deadline */
static pthread_once_t executors_once = PTHREAD_ONCE_INIT;

/*
 * COMMIT has one thread, which as a rule leads the writer. A commit that has begun is not interrupted, and as the disk
 * may be slow, its end is worth a wait. REMOTE has several threads, because each waits for an answer of the server's.
 * URGENT has many: an abort that waits for the server has set its flag and sent other callers home by then, and must
 * not keep back the next abort.
 */
const executor_kind core_executor_kinds[CORE_EXECUTOR_COUNT] = {
    [CORE_EXECUTOR_CONTROL] = {.name = "plue-control", .threads = 1, .lasting = 1, .late = PLUE_ERROR_BUSY},
    [CORE_EXECUTOR_COMMIT] = {.name = "plue-commit",
                              .threads = 1,
                              .is_interrupted = 1,
                              .lingers = 1,
                              .queues = 1,
                              .late = PLUE_ERROR_BUSY,
                              .grace_ns = 10000 * MS,
                              .patience_ns = 10 * MS},
    [CORE_EXECUTOR_READ] = {.name = "plue-read", .threads = 2, .is_interrupted = 1, .late = PLUE_ERROR_BUSY},
    [CORE_EXECUTOR_REMOTE] = {.name = "plue-remote",
                              .threads = 6,
                              .remote = 1,
                              .excludes = 1,
                              .is_interrupted = 1,
                              .late = PLUE_ERROR_TIMEOUT,
                              .patience_ns = 10 * MS},
    [CORE_EXECUTOR_URGENT] =
        {.name = "plue-urgent", .threads = 16, .remote = 1, .late = PLUE_ERROR_TIMEOUT, .patience_ns = 10 * MS},
};

static void make_executors(void)
{
    for (int i = 0; i < CORE_EXECUTOR_COUNT; i++) {
        core_set_up(&core_executors[i].lock, &core_executors[i].arrived);
        core_set_up(NULL, &core_executors[i].emptied);
        core_executors[i].pending.last = &core_executors[i].pending.first;
        core_executors[i].taken.last = &core_executors[i].taken.first;
        core_executors[i].started.last = &core_executors[i].started.first;
        core_executors[i].open = core_executor_kinds[i].lasting;
    }
}

void core_executors_prepare(void)
{
    pthread_once(&executors_once, make_executors);
}

/* ---- threads ---- */
static void executor_ended(int index, int generation)
{
    executor *in = &core_executors[index];
    pthread_mutex_lock(&in->lock);
    if (in->generation == generation && --in->threads == 0)
        pthread_cond_broadcast(&in->emptied);
    pthread_mutex_unlock(&in->lock);
}

/* Say whether sessions live on a server. To be called before core_executors_open(). */
void core__remote(int remote)
{
    atomic_store(&core_away, remote);
}

int core_executors_open(int generation)
{
    for (int i = CORE_EXECUTOR_COMMIT; i < CORE_EXECUTOR_COUNT; i++) {
        int threads = !core_executor_kinds[i].remote || atomic_load(&core_away) ? core_executor_kinds[i].threads : 0;
        pthread_mutex_lock(&core_executors[i].lock);
        core_executors[i].open = threads > 0;
        core_executors[i].generation = generation;
        core_executors[i].woken = CORE_SIGNAL_WAKE; /* others may have written while we started */
        core_executors[i].threads = 0;
        pthread_mutex_unlock(&core_executors[i].lock);
        for (int n = 0; n < threads; n++) {
            pthread_mutex_lock(&core_executors[i].lock);
            core_executors[i].threads++;
            pthread_mutex_unlock(&core_executors[i].lock);
            if (core_spawn_python(core_executor_kinds[i].name, i, generation, executor_ended)) {
                executor_ended(i, generation);
                core_executors_shut();
                core_executors_end(core_monotonic_ns() + 1000 * MS);
                return -1;
            }
        }
    }
    return 0;
}

static void interrupt_locked(list *of, const char *session, int operation, int64_t at)
{
    for (request *each = of->first; each; each = each->next) {
        if (each->leave_code || each->view.operation == operation || !each->view.session ||
            strcmp(each->view.session, session))
            continue;
        each->leave_code = PLUE_ERROR_ABORTED;
        each->leave_at = at < each->leave_at ? at : each->leave_at;
        pthread_cond_signal(&each->ended);
    }
}

void core_executors_interrupt(const char *session, int operation, int64_t at)
{
    for (int i = 0; i < CORE_EXECUTOR_COUNT; i++) {
        if (!core_executor_kinds[i].is_interrupted)
            continue;
        pthread_mutex_lock(&core_executors[i].lock);
        interrupt_locked(&core_executors[i].pending, session, operation, at);
        interrupt_locked(&core_executors[i].taken, session, operation, at);
        pthread_mutex_unlock(&core_executors[i].lock);
    }
}

int core_executor_is_open(int index, int generation)
{
    executor *in = &core_executors[index];
    pthread_mutex_lock(&in->lock);
    int open = !core_executor_closed_locked(in, index, generation);
    pthread_mutex_unlock(&in->lock);
    return open;
}

void core_leave_start_locked(request *each)
{
    if (each->view.operation == CORE_CONTROL_OPEN && leave_start_at && leave_start_at < each->leave_at) {
        each->leave_code = PLUE_ERROR_CLOSED;
        each->leave_at = leave_start_at;
        pthread_cond_signal(&each->ended);
    }
}

void core_executors_leave_start(int64_t at)
{
    executor *in = &core_executors[CORE_EXECUTOR_CONTROL];
    core_executors_prepare();
    pthread_mutex_lock(&in->lock);
    leave_start_at = at;
    for (request *each = in->started.first; each; each = each->next)
        core_leave_start_locked(each);
    for (request *each = in->pending.first; each; each = each->next)
        core_leave_start_locked(each);
    pthread_mutex_unlock(&in->lock);
}

void core_executors_abandon(void)
{
    core_executors_prepare();
    for (int i = 0; i < CORE_EXECUTOR_COUNT; i++) {
        executor *in = &core_executors[i];
        pthread_mutex_lock(&in->lock);
        core_list_send_home_locked(&in->pending, PLUE_ERROR_RUNTIME, 0);
        core_list_send_home_locked(&in->taken, PLUE_ERROR_RUNTIME, 0);
        core_list_send_home_locked(&in->started, PLUE_ERROR_RUNTIME, 0);
        pthread_mutex_unlock(&in->lock);
    }
}

void core_executors_shut(void)
{
    for (int i = CORE_EXECUTOR_COMMIT; i < CORE_EXECUTOR_COUNT; i++) {
        executor *in = &core_executors[i];
        pthread_mutex_lock(&in->lock);
        in->open = 0;
        core_list_send_home_locked(&in->pending, PLUE_ERROR_CLOSED, 0);
        core_list_send_home_locked(&in->taken, PLUE_ERROR_CLOSED, 0);
        if (core_executor_kinds[i].remote)
            core_list_send_home_locked(&in->started, PLUE_ERROR_CLOSED, core_monotonic_ns() + HANG_UP_MS * MS);
        pthread_cond_broadcast(&in->arrived);
        pthread_mutex_unlock(&in->lock);
    }
}

int core_executors_end(int64_t deadline)
{
    int stuck = 0;
    struct timespec at;
    core_deadline(&at, deadline);
    for (int i = CORE_EXECUTOR_COMMIT; i < CORE_EXECUTOR_COUNT; i++) {
        executor *in = &core_executors[i];
        pthread_mutex_lock(&in->lock);
        while (in->threads && pthread_cond_timedwait(&in->emptied, &in->lock, &at) != ETIMEDOUT)
            ;
        stuck |= in->threads != 0;
        core_list_send_home_locked(&in->started, PLUE_ERROR_CLOSED, 0);
        pthread_mutex_unlock(&in->lock);
    }
    return stuck ? -1 : 0;
}
