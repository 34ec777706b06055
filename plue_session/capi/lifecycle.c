/* One library state per process: start and stop. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core_tables.h"

enum { NEEDED_FDS = 24 };
#define SECOND INT64_C(1000000000)
enum { STARTING_S = 5 }; /* so long plue_shutdown waits for a plue_init that runs */

atomic_int core_state = CORE_STOPPED;
atomic_int core_generation;
static pthread_mutex_t lifecycle_lock = PTHREAD_MUTEX_INITIALIZER; /* one plue_init or plue_shutdown at a time */
static atomic_int leaving; /* how many plue_shutdown wait for a plue_init that runs */

int core_ready(const char *operation)
{
    if (__builtin_expect(atomic_load_explicit(&core_forked, memory_order_relaxed), 0)) {
        core_fail(PLUE_ERROR_FORKED, operation, "this process is a forked child. Use the library in the parent, or exec first.");
        return -1;
    }
    if (__builtin_expect(atomic_load_explicit(&core_state, memory_order_acquire) != CORE_RUNNING, 0)) {
        core_fail(PLUE_ERROR_NOT_INITIALIZED, operation, "the library is not initialized. Call plue_init() first.");
        return -1;
    }
    return 0;
}

/* Does somebody wait for plue_init to end, to shut down? Then it need not wait for a server to start. */
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

/* Python and SQLite open files at every step, and neither always survives that it cannot: better not to begin. */
static int enough_descriptors(const char *operation)
{
    int fds[NEEDED_FDS], count = 0, enough;
    while (count < NEEDED_FDS && (fds[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        count++;
    enough = count == NEEDED_FDS;
    while (count)
        close(fds[--count]);
    if (!enough)
        core_fail(PLUE_ERROR_IO, operation, "less than %d file descriptors are left. Close some files, or raise the limit (ulimit -n).", NEEDED_FDS);
    return enough;
}

static int start_generation(const char *config_json, const char *operation)
{
    int generation = atomic_fetch_add(&core_generation, 1) + 1;
    int64_t deadline = core_monotonic_ns() + 30 * SECOND;
    if (core_control(CORE_CONTROL_OPEN, config_json, generation, deadline) == 0) {
        if (core_lanes_open(generation) == 0)
            return 0;
        core__watch_stop();
        core_control(CORE_CONTROL_CLOSE, NULL, 0, deadline);
        core_fail(PLUE_ERROR_IO, operation, "no thread can be started. Raise the limit on threads (ulimit -u) or free memory.");
    }
    core__watch_stop();
    core_events_close(0);
    atomic_fetch_add(&core_generation, 1);
    return -1;
}

static int start(const char *config_json)
{
    static const char *const operation = "plue_init";
    if (config_json && !core_is_utf8(config_json, strlen(config_json))) {
        core_fail(PLUE_ERROR_INVALID_PARAM, operation, "Invalid parameters: config_json is not valid UTF-8. Convert it first.");
        return -1;
    }
    if (!enough_descriptors(operation))
        return -1;
    /* A host that has closed 0-2 may still write to them: what is opened now and kept must not take their numbers. */
    int standins[3], count = 0, fd;
    while (count < 3 && (fd = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0) {
        standins[count++] = fd;
        if (fd > 2)
            break;
    }
    int failed = core_only_copy(operation) || core_boot(operation);
    if (!failed && (failed = core_events_open()))
        core_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
    if (!failed)
        failed = start_generation(config_json, operation);
    while (count)
        close(standins[--count]);
    return failed ? -1 : 0;
}

int plue_init(const char *config_json)
{
    if (atomic_load(&core_forked)) {
        core_fail(PLUE_ERROR_FORKED, "plue_init", "this process is a forked child. Use the library in the parent, or exec first.");
        return -1;
    }
    core_watch_forks();
    core_thread *thread = core_this_thread();
    int result = -1;
    core_visit visit = core_enter();
    int inside = thread && thread->subscription && atomic_load(&core_state) != CORE_STOPPED;
    if (!inside)
        pthread_mutex_lock(&lifecycle_lock);
    if (inside || atomic_load(&core_state) == CORE_RUNNING)
        core_fail(PLUE_ERROR_ALREADY_INITIALIZED, "plue_init", "the library is initialized. Call plue_shutdown() before another plue_init().");
    else {
        atomic_store(&core_state, CORE_STARTING);
        result = start(config_json);
        atomic_store(&core_state, result ? CORE_STOPPED : CORE_RUNNING);
    }
    if (!inside)
        pthread_mutex_unlock(&lifecycle_lock);
    core_leave(&visit);
    return result;
}

static void stop(void)
{
    int64_t begun = core_monotonic_ns();
    atomic_store(&core_state, CORE_STOPPING);
    core__watch_stop();
    /* Whoever waits for a server is let go, and a server of ours begins to stop, which takes up to 5 s: it is waited for at
       the end. What is committing ends, callers in flight go home; then the subscribers hear of it; then the store closes. */
    core_lanes_shut();
    if (atomic_load(&core_away))
        core_control(CORE_CONTROL_HANG_UP, NULL, 0, begun + SECOND / 2);
    core_lanes_end(begun + 3 * SECOND);
    core_control(CORE_CONTROL_FAREWELL, NULL, 0, begun + 3 * SECOND + SECOND / 2);
    int stuck_callback = core_events_close(begun + 4 * SECOND + SECOND / 2);
    core_control(CORE_CONTROL_CLOSE, NULL, 0, begun + 6 * SECOND + 3 * SECOND / 4);
    core__remote(0);
    core__set_ttl(-1);
    atomic_fetch_add(&core_generation, 1);
    core_drop_all_sessions();
    if (stuck_callback)
        core_fail(PLUE_ERROR_TIMEOUT, "plue_shutdown", "a callback of yours still runs. Let callbacks return soon.");
    atomic_store(&core_state, CORE_STOPPED);
}

void plue_shutdown(void)
{
    if (atomic_load(&core_forked)) {
        core_fail(PLUE_ERROR_FORKED, "plue_shutdown", "this process is a forked child. Use the library in the parent, or exec first.");
        return;
    }
    core_thread *thread = core_this_thread();
    if (thread && thread->subscription && atomic_load(&core_state) != CORE_STOPPED) {
        core_fail(PLUE_ERROR_IN_USE, "plue_shutdown", "it was called from a callback, which would wait for itself. Call it from another thread.");
        return;
    }
    core_visit visit = core_enter();
    int64_t begun = core_monotonic_ns();
    atomic_fetch_add(&leaving, 1);
    while (pthread_mutex_trylock(&lifecycle_lock)) { /* a start cannot be interrupted everywhere, but it can be left behind */
        if (atomic_load(&core_state) == CORE_STARTING)
            core_lanes_leave_start(begun + STARTING_S * SECOND);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    atomic_fetch_sub(&leaving, 1);
    if (atomic_load(&core_state) == CORE_RUNNING)
        stop();
    pthread_mutex_unlock(&lifecycle_lock);
    core_leave(&visit);
}
