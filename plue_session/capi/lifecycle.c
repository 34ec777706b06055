/*
 * One library state per process: start and stop.
 *
 * A start or stop that finds another one under way waits for it, with a deadline. A start waits for whatever it finds;
 * a stop waits for the end of the start, or stop, that it found, and not for what was begun after that.
 */
#include "core.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core_tables.h"

enum { NEEDED_FDS = 24 };
#define SECOND INT64_C(1000000000)
/* How long plue_init() and plue_shutdown() may take, and how long the latter waits for a plue_init() before it leaves
 * that behind. */
enum { START_S = 30, STOP_S = 7, LEAVE_START_S = 5 };

atomic_int core_state = CORE_STOPPED; /* written under life_lock */
atomic_int core_generation;
static pthread_mutex_t life_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t life_changed;
static pthread_once_t life_once = PTHREAD_ONCE_INIT;
static int64_t starts;     /* how often it was started; under life_lock */
static atomic_int leaving; /* how many plue_shutdown wait for a plue_init that runs */

static void prepare(void)
{
    core_set_up(NULL, &life_changed);
    core_boot_leave(0);
    core_executors_leave_start(0);
    core_events_prepare();
    core_cleaner_prepare();
}

static void set_state_locked(int state)
{
    atomic_store(&core_state, state);
    pthread_cond_broadcast(&life_changed);
}

/* Wait while the state is `state`, of the start with this number (0: of any); -1: the deadline has come. */
static int await_change_locked(int state, int64_t number, int64_t deadline)
{
    struct timespec at;
    core_deadline(&at, deadline);
    while (atomic_load(&core_state) == state && (!number || starts == number))
        if (pthread_cond_timedwait(&life_changed, &life_lock, &at) == ETIMEDOUT && core_monotonic_ns() >= deadline)
            return -1;
    return 0;
}

int core_ready(const char *operation)
{
    if (core_forked())
        return core_refuse_fork(operation);
    if (__builtin_expect(atomic_load_explicit(&core_state, memory_order_acquire) != CORE_RUNNING, 0)) {
        core_fail(PLUE_ERROR_NOT_INITIALIZED, operation, "the library is not initialized. Call plue_init() first.");
        return -1;
    }
    return 0;
}

/* Does a plue_shutdown wait for the plue_init that runs? Then that need not wait for a server to start. */
int core__leaving(void)
{
    return atomic_load(&leaving) > 0;
}

const char *core__fingerprint(void)
{
    return CORE_FINGERPRINT;
}

const char *plue_get_version(void)
{
    return CORE_VERSION;
}

int plue_version_number(void)
{
    return PLUE_VERSION_NUMBER;
}

/* Python and SQLite open files at every step, and may not survive it when they cannot: better not to begin. */
static int enough_descriptors(const char *operation)
{
    int fds[NEEDED_FDS], count = 0, enough;
    while (count < NEEDED_FDS && (fds[count] = eventfd(0, EFD_CLOEXEC)) >= 0)
        count++;
    enough = count == NEEDED_FDS;
    while (count)
        close(fds[--count]);
    if (!enough)
        core_fail(PLUE_ERROR_IO, operation,
                  "less than %d file descriptors are left. Close some files, or raise the limit (ulimit -n).",
                  NEEDED_FDS);
    return enough;
}

/* Wait while anybody starts or stops; -1: the deadline has come. */
static int await_rest_locked(int64_t deadline)
{
    for (int state; (state = atomic_load(&core_state)) == CORE_STARTING || state == CORE_STOPPING;)
        if (await_change_locked(state, 0, deadline))
            return -1;
    return 0;
}

static int start_generation(const char *config_json, const char *operation, int64_t begun, int64_t deadline)
{
    int generation = atomic_fetch_add(&core_generation, 1) + 1;
    if (core_control_since(CORE_CONTROL_OPEN, config_json, generation, begun, deadline) == 0) {
        if (core_executors_open(generation) == 0) {
            core_submissions_open();
            core_cleaner_open();
            return 0;
        }
        core__watch_stop();
        core_control(CORE_CONTROL_CLOSE, NULL, 0, deadline);
        core_fail(PLUE_ERROR_IO, operation,
                  "no thread can be started. Raise the limit on threads (ulimit -u) or free memory.");
    }
    core__watch_stop();
    core_events_close(0);
    atomic_fetch_add(&core_generation, 1);
    return -1;
}

static int start(const char *config_json, int64_t begun, int64_t deadline)
{
    static const char *const operation = "plue_init";
    if (config_json && core_check_text(operation, NULL, "config_json", config_json, strlen(config_json)))
        return -1;
    if (!enough_descriptors(operation) || core_claim_process(operation))
        return -1;
    /* A host that has closed 0-2 may still write to them: what is opened now and kept must not take their numbers. */
    int standins[3], count = 0, fd;
    while (count < 3 && (fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) >= 0) {
        standins[count++] = fd;
        if (fd > 2)
            break;
    }
    int failed = core_boot(operation, deadline);
    if (!failed && (failed = core_events_open()))
        core_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
    if (!failed)
        failed = start_generation(config_json, operation, begun, deadline);
    while (count)
        close(standins[--count]);
    if (failed)
        core_drop_claim(CORE_CLAIM_LIFE);
    return failed ? -1 : 0;
}

int plue_init(const char *config_json)
{
    static const char *const operation = "plue_init";
    int64_t begun = core_monotonic_ns(), deadline = begun + START_S * SECOND;
    core_visit visit;
    int result = -1;
    if (core_refuse_fork(operation))
        return -1;
    core_thread *thread = core_this_thread();
    pthread_once(&life_once, prepare);
    if (core_watch_forks() || !core_is_set_up()) {
        core_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
        return -1;
    }
    if (core_enter(&visit, operation))
        return -1;
    int inside = core_in_callback(thread) && atomic_load(&core_state) != CORE_STOPPED;
    pthread_mutex_lock(&life_lock);
    if (inside || atomic_load(&core_state) == CORE_RUNNING)
        core_fail(PLUE_ERROR_ALREADY_INITIALIZED, operation,
                  "the library is initialized. Call plue_shutdown() before another plue_init().");
    else if (await_rest_locked(deadline))
        core_fail(PLUE_ERROR_TIMEOUT, operation, "another plue_init() or plue_shutdown() is still at it. Try again.");
    else if (atomic_load(&core_state) != CORE_STOPPED)
        core_fail(PLUE_ERROR_ALREADY_INITIALIZED, operation,
                  "another thread has initialized the library. Call plue_shutdown() before another plue_init().");
    else {
        starts++;
        core_boot_leave(0);
        core_executors_leave_start(0);
        set_state_locked(CORE_STARTING);
        pthread_mutex_unlock(&life_lock);
        result = start(config_json, begun, deadline);
        pthread_mutex_lock(&life_lock);
        set_state_locked(result ? CORE_STOPPED : CORE_RUNNING);
    }
    pthread_mutex_unlock(&life_lock);
    core_leave(&visit);
    return result;
}

/* Each step may use a part of the time that is left. */
static void stop(int64_t called, int64_t deadline)
{
    int64_t begun = core_monotonic_ns(), part = (deadline - begun) / 28;
    core__watch_stop();
    /* First whoever waits for a server is let go, and a server of ours begins to stop, which takes up to 5 s: it is
     * waited for at the end. Then what is committing ends and callers go home; then the subscribers hear how what was
     * submitted has ended, and of the shutdown; then the store closes. */
    core_submissions_shut();
    core_cleaner_shut();
    core_executors_shut();
    if (!core_python_gone()) {
        if (atomic_load(&core_away))
            core_control(CORE_CONTROL_HANG_UP, NULL, 0, begun + 2 * part);
        core_executors_end(begun + 12 * part);
        core_control(CORE_CONTROL_FAREWELL, NULL, 0, begun + 14 * part);
    }
    core_submissions_close();
    core_turns_close();
    int stuck_callback = core_events_close(begun + 18 * part);
    stuck_callback = core_cleaner_close(begun + 19 * part) || stuck_callback;
    if (!core_python_gone())
        core_control_since(CORE_CONTROL_CLOSE, NULL, stuck_callback ? PLUE_ERROR_TIMEOUT : 0, called,
                           begun + 27 * part);
    core__remote(0);
    core__set_ttl(-1);
    atomic_fetch_add(&core_generation, 1);
    core_drop_all_handles();
    core_drop_claim(CORE_CLAIM_LIFE);
    if (stuck_callback)
        core_fail(PLUE_ERROR_TIMEOUT, "plue_shutdown", "a callback of yours still runs. Let callbacks return soon.");
}

void plue_shutdown(void)
{
    static const char *const operation = "plue_shutdown";
    int64_t begun = core_monotonic_ns(), deadline = begun + STOP_S * SECOND;
    core_visit visit;
    if (core_refuse_fork(operation))
        return;
    core_thread *thread = core_this_thread();
    if (core_in_callback(thread) && atomic_load(&core_state) != CORE_STOPPED) {
        core_fail(PLUE_ERROR_IN_USE, operation,
                  "it was called from a callback, which would wait for itself. Call it from another thread.");
        return;
    }
    pthread_once(&life_once, prepare);
    core_enter_anyway(&visit);
    pthread_mutex_lock(&life_lock);
    int64_t number = starts;
    int late = 0;
    if (atomic_load(&core_state) ==
        CORE_STARTING) { /* a start cannot be interrupted everywhere, but it can be left behind */
        atomic_fetch_add(&leaving, 1);
        core_boot_leave(begun + LEAVE_START_S * SECOND);
        core_executors_leave_start(begun + LEAVE_START_S * SECOND);
        late = await_change_locked(CORE_STARTING, number, deadline);
        atomic_fetch_sub(&leaving, 1);
    }
    late = late || await_change_locked(CORE_STOPPING, number, deadline);
    if (!late && starts == number && atomic_load(&core_state) == CORE_RUNNING) {
        set_state_locked(CORE_STOPPING);
        pthread_mutex_unlock(&life_lock);
        stop(begun, deadline);
        pthread_mutex_lock(&life_lock);
        set_state_locked(CORE_STOPPED);
    }
    pthread_mutex_unlock(&life_lock);
    if (late)
        core_fail(PLUE_ERROR_TIMEOUT, operation, "another plue_init() or plue_shutdown() is still at it. Try again.");
    core_leave(&visit);
}
