/* One library state per process: start, stop, fork. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core_tables.h"

enum { STACK = 4 * 1024 * 1024, FDS = 16, NEEDED_FDS = 24 };
#define SECOND INT64_C(1000000000)
enum { STARTING_S = 5 }; /* so long plue_shutdown waits for a plue_init that runs */

atomic_int core_state = CORE_STOPPED;
atomic_int core_forked;
atomic_int core_generation;
static pthread_mutex_t lifecycle_lock = PTHREAD_MUTEX_INITIALIZER; /* one plue_init or plue_shutdown at a time */
static atomic_int leaving; /* how many plue_shutdown wait for a plue_init that runs */
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

int core_outdated(void)
{
    core_thread *thread = core_this_thread();
    return thread && thread->generation && thread->generation != atomic_load(&core_generation);
}

int core_above_stdio(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int higher = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    close(fd);
    return higher;
}

/* A thread of ours always has its core_thread: whose it is and whether it may publish must not depend on memory. */
struct spawned {
    core_thread thread; /* first: it ends with this */
    void *(*run)(void *);
    void *argument;
};

static void *spawned_main(void *argument)
{
    struct spawned *mine = argument;
    core_adopt_thread(&mine->thread);
    return mine->run(mine->argument);
}

int core_spawn(void *(*run)(void *), void *argument)
{
    struct spawned *made = calloc(1, sizeof *made);
    if (!made)
        return -1;
    made->run = run;
    made->argument = argument;
    /* The host's limits may be tiny and its signals are its own: a send to a closed socket must not kill it by SIGPIPE. */
    sigset_t all, before;
    pthread_attr_t attributes;
    pthread_t thread;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, &attributes, spawned_main, made);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (failed)
        free(made);
    return failed ? -1 : 0;
}

/* Does somebody wait for plue_init to end, to shut down? Then it need not wait for a server to start. */
int core__leaving(void)
{
    return atomic_load(&leaving) > 0;
}

const char *core__environment(const char *name)
{
    return getenv(name);
}

char **core__environment_block(void)
{
    return environ;
}

/* The calling thread, which is not a lane's, works for the library of this generation: see core_outdated(). */
void core__adopt(int generation)
{
    core_thread *thread = core_this_thread();
    if (thread)
        thread->generation = generation;
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
    pthread_once(&fork_once, register_fork);
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
