/* One library state per process: start, stop, fork. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plue_tables.h"

enum { STACK = 4 * 1024 * 1024, FDS = 16, NEEDED_FDS = 24 };
#define SECOND INT64_C(1000000000)
enum { STARTING_S = 5 }; /* so long plue_shutdown waits for a plue_init that runs */

atomic_int plue_state = PLUE_STOPPED;
atomic_int plue_forked;
atomic_int plue_generation;
static pthread_mutex_t lifecycle_lock = PTHREAD_MUTEX_INITIALIZER; /* one plue_init or plue_shutdown at a time */
static atomic_int leaving; /* how many plue_shutdown wait for a plue_init that runs */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static atomic_int fork_fds[FDS]; /* fd + 1: shared locks that a forked child must not keep alive */

static void in_forked_child(void)
{
    atomic_store(&plue_forked, 1);
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

void plue__close_on_fork(int fd)
{
    for (int i = 0; i < FDS; i++) {
        int none = 0;
        if (atomic_compare_exchange_strong(&fork_fds[i], &none, fd + 1))
            return;
    }
}

void plue__keep_on_fork(int fd)
{
    for (int i = 0; i < FDS; i++) {
        int old = fd + 1;
        if (atomic_compare_exchange_strong(&fork_fds[i], &old, 0))
            return;
    }
}

int plue_ready(const char *operation)
{
    if (__builtin_expect(atomic_load_explicit(&plue_forked, memory_order_relaxed), 0)) {
        plue_fail(PLUE_ERROR_FORKED, operation, "this process is a forked child. Use the library in the parent, or exec first.");
        return -1;
    }
    if (__builtin_expect(atomic_load_explicit(&plue_state, memory_order_acquire) != PLUE_RUNNING, 0)) {
        plue_fail(PLUE_ERROR_NOT_INITIALIZED, operation, "the library is not initialized. Call plue_init() first.");
        return -1;
    }
    return 0;
}

int plue_outdated(void)
{
    plue_thread *thread = plue_this_thread();
    return thread && thread->generation && thread->generation != atomic_load(&plue_generation);
}

int plue_above_stdio(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int higher = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    close(fd);
    return higher;
}

/* A thread of ours always has its plue_thread: whose it is and whether it may publish must not depend on memory. */
struct spawned {
    plue_thread thread; /* first: it ends with this */
    void *(*run)(void *);
    void *argument;
};

static void *spawned_main(void *argument)
{
    struct spawned *mine = argument;
    plue_adopt_thread(&mine->thread);
    return mine->run(mine->argument);
}

int plue_spawn(void *(*run)(void *), void *argument)
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
int plue__leaving(void)
{
    return atomic_load(&leaving) > 0;
}

const char *plue__environment(const char *name)
{
    return getenv(name);
}

char **plue__environment_block(void)
{
    return environ;
}

/* The calling thread, which is not a lane's, works for the library of this generation: see plue_outdated(). */
void plue__adopt(int generation)
{
    plue_thread *thread = plue_this_thread();
    if (thread)
        thread->generation = generation;
}

const char *plue__fingerprint(void)
{
    return PLUE_FINGERPRINT;
}

const char *plue_get_version(void)
{
    return PLUE_VERSION;
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
        plue_fail(PLUE_ERROR_IO, operation, "less than %d file descriptors are left. Close some files, or raise the limit (ulimit -n).", NEEDED_FDS);
    return enough;
}

static int start_generation(const char *config_json, const char *operation)
{
    int generation = atomic_fetch_add(&plue_generation, 1) + 1;
    int64_t deadline = plue_monotonic_ns() + 30 * SECOND;
    if (plue_control(PLUE_CONTROL_OPEN, config_json, generation, deadline) == 0) {
        if (plue_lanes_open(generation) == 0)
            return 0;
        plue__watch_stop();
        plue_control(PLUE_CONTROL_CLOSE, NULL, 0, deadline);
        plue_fail(PLUE_ERROR_IO, operation, "no thread can be started. Raise the limit on threads (ulimit -u) or free memory.");
    }
    plue__watch_stop();
    plue_events_close(0);
    atomic_fetch_add(&plue_generation, 1);
    return -1;
}

static int start(const char *config_json)
{
    static const char *const operation = "plue_init";
    if (config_json && !plue_is_utf8(config_json, strlen(config_json))) {
        plue_fail(PLUE_ERROR_INVALID_PARAM, operation, "Invalid parameters: config_json is not valid UTF-8. Convert it first.");
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
    int failed = plue_only_copy(operation) || plue_boot(operation);
    if (!failed && (failed = plue_events_open()))
        plue_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
    if (!failed)
        failed = start_generation(config_json, operation);
    while (count)
        close(standins[--count]);
    return failed ? -1 : 0;
}

int plue_init(const char *config_json)
{
    if (atomic_load(&plue_forked)) {
        plue_fail(PLUE_ERROR_FORKED, "plue_init", "this process is a forked child. Use the library in the parent, or exec first.");
        return -1;
    }
    pthread_once(&fork_once, register_fork);
    plue_thread *thread = plue_this_thread();
    int result = -1;
    plue_visit visit = plue_enter();
    int inside = thread && thread->subscription && atomic_load(&plue_state) != PLUE_STOPPED;
    if (!inside)
        pthread_mutex_lock(&lifecycle_lock);
    if (inside || atomic_load(&plue_state) == PLUE_RUNNING)
        plue_fail(PLUE_ERROR_ALREADY_INITIALIZED, "plue_init", "the library is initialized. Call plue_shutdown() before another plue_init().");
    else {
        atomic_store(&plue_state, PLUE_STARTING);
        result = start(config_json);
        atomic_store(&plue_state, result ? PLUE_STOPPED : PLUE_RUNNING);
    }
    if (!inside)
        pthread_mutex_unlock(&lifecycle_lock);
    plue_leave(&visit);
    return result;
}

static void stop(void)
{
    int64_t begun = plue_monotonic_ns();
    atomic_store(&plue_state, PLUE_STOPPING);
    plue__watch_stop();
    /* Whoever waits for a server is let go, and a server of ours begins to stop, which takes up to 5 s: it is waited for at
       the end. What is committing ends, callers in flight go home; then the subscribers hear of it; then the store closes. */
    plue_lanes_shut();
    if (atomic_load(&plue_away))
        plue_control(PLUE_CONTROL_HANG_UP, NULL, 0, begun + SECOND / 2);
    plue_lanes_end(begun + 3 * SECOND);
    plue_control(PLUE_CONTROL_FAREWELL, NULL, 0, begun + 3 * SECOND + SECOND / 2);
    int stuck_callback = plue_events_close(begun + 4 * SECOND + SECOND / 2);
    plue_control(PLUE_CONTROL_CLOSE, NULL, 0, begun + 6 * SECOND + 3 * SECOND / 4);
    plue__remote(0);
    plue__set_ttl(-1);
    atomic_fetch_add(&plue_generation, 1);
    plue_drop_all_sessions();
    if (stuck_callback)
        plue_fail(PLUE_ERROR_TIMEOUT, "plue_shutdown", "a callback of yours still runs. Let callbacks return soon.");
    atomic_store(&plue_state, PLUE_STOPPED);
}

void plue_shutdown(void)
{
    if (atomic_load(&plue_forked)) {
        plue_fail(PLUE_ERROR_FORKED, "plue_shutdown", "this process is a forked child. Use the library in the parent, or exec first.");
        return;
    }
    plue_thread *thread = plue_this_thread();
    if (thread && thread->subscription && atomic_load(&plue_state) != PLUE_STOPPED) {
        plue_fail(PLUE_ERROR_IN_USE, "plue_shutdown", "it was called from a callback, which would wait for itself. Call it from another thread.");
        return;
    }
    plue_visit visit = plue_enter();
    int64_t begun = plue_monotonic_ns();
    atomic_fetch_add(&leaving, 1);
    while (pthread_mutex_trylock(&lifecycle_lock)) { /* a start cannot be interrupted everywhere, but it can be left behind */
        if (atomic_load(&plue_state) == PLUE_STARTING)
            plue_lanes_leave_start(begun + STARTING_S * SECOND);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    atomic_fetch_sub(&leaving, 1);
    if (atomic_load(&plue_state) == PLUE_RUNNING)
        stop();
    pthread_mutex_unlock(&lifecycle_lock);
    plue_leave(&visit);
}
