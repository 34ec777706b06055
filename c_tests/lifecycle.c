/* Hosts that start and stop the library at bad moments, or with too little: argv[1] says how. */
#include "everything.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <fcntl.h>

#define REMOTE                                                                                                         \
    ",\"requestTimeoutMs\":5000,\"backend\":{\"kind\":\"opencode\",\"url\":\"http://127.0.0.1:1\",\"directory\":\"/"   \
    "\"}"

/* Threads that can be started still, by anybody in this process; -1: any number. */
static atomic_int threads_left = -1;

int pthread_create(pthread_t *made, const pthread_attr_t *attributes, void *(*function)(void *), void *argument)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real)
        real = (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))(uintptr_t)dlsym(
            RTLD_NEXT, "pthread_create");
    int left = atomic_load(&threads_left);
    while (left > 0 && !atomic_compare_exchange_weak(&threads_left, &left, left - 1))
        ;
    return left ? real(made, attributes, function, argument) : EAGAIN;
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static void *start_in_memory(void *unused)
{
    start(",\"store\":\"memory\"");
    return unused;
}

/* The host installs a handler for SIGINT argv[2] us after another thread has begun to start the library: it stays. */
static void handles_interrupts(char **arguments)
{
    struct sigaction mine = {.sa_handler = on_interrupt}, found;
    pthread_t starting;
    CHECK(pthread_create(&starting, NULL, start_in_memory, NULL) == 0);
    usleep((useconds_t)atoi(arguments[2]));
    CHECK(sigaction(SIGINT, &mine, NULL) == 0);
    CHECK(pthread_join(starting, NULL) == 0);
    CHECK(sigaction(SIGINT, NULL, &found) == 0 && found.sa_handler == on_interrupt);
    CHECK(raise(SIGINT) == 0 && interrupted);
    plue_shutdown();
    CHECK(sigaction(SIGINT, NULL, &found) == 0 && found.sa_handler == on_interrupt);
}

/* One that installs none is ended by SIGINT, also while the library starts. */
static void is_interrupted(char **arguments)
{
    pthread_t starting;
    CHECK(pthread_create(&starting, NULL, start_in_memory, NULL) == 0);
    usleep((useconds_t)atoi(arguments[2]));
    kill(getpid(), SIGINT);
    pause();
}

static atomic_int over;
static atomic_long cycles; /* of starts that worked */

static void *start_and_stop(void *unused)
{
    while (!atomic_load(&over)) {
        int result = try_start(",\"store\":\"memory\"");
        CHECK(result == 0 || plue_get_last_error_code() == PLUE_ERROR_CLOSED ||
              plue_get_last_error_code() == PLUE_ERROR_ALREADY_INITIALIZED);
        if (result == 0) {
            plue_shutdown();
            atomic_fetch_add(&cycles, 1);
        }
    }
    return unused;
}

/* Beside a thread that starts and stops the library without a pause, plue_shutdown() ends the start that it finds, and
 * no more. */
static void stops_beside_starts(char **unused)
{
    pthread_t threads[2];
    (void)unused;
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, start_and_stop, NULL) == 0);
    for (int i = 0; i < 200; i++) {
        long before = atomic_load(&cycles);
        double begun = seconds();
        plue_shutdown();
        CHECK(seconds() - begun < 7.5);
        CHECK(atomic_load(&cycles) - before < 50);
        usleep(1000);
    }
    atomic_store(&over, 1);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    plue_shutdown();
}

/* A configuration is a text like every other: at most 64 MiB. */
static void is_told_too_much(char **unused)
{
    size_t length = (64u << 20) + 1;
    char *config = malloc(length + 1);
    (void)unused;
    CHECK(config);
    memset(config, ' ', length);
    config[length] = 0;
    CHECK_ERROR(plue_init(config) == -1, PLUE_ERROR_LIMIT_EXCEEDED);
    config[0] = '{';
    config[length - 2] = '}';
    config[length - 1] = 0; /* 64 MiB - 1 of blanks between braces */
    CHECK(plue_init(config) == 0);
    plue_shutdown();
    free(config);
}

static int store_is_free(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/store.lock", data_dir());
    int fd = open(path, O_RDWR | O_CLOEXEC), is_free = fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (fd >= 0)
        close(fd);
    return is_free;
}

/* No thread can be started, from the first on, the second …: plue_init() says so, or works, and leaves nothing behind;
   and plue_shutdown() needs none. argv[2]: which backend. */
static void lacks_threads(char **arguments)
{
    const char *more = !strcmp(arguments[2], "opencode") ? REMOTE : "";
    int failed = 1;
    for (int threads_there = 0; failed; threads_there += threads_there < 8 ? 1 : 4) {
        CHECK(threads_there < 64);
        atomic_store(&threads_left, threads_there);
        failed = try_start(more) != 0;
        atomic_store(&threads_left, 0);
        if (failed) {
            if (plue_get_last_error_code() != PLUE_ERROR_IO && plue_get_last_error_code() != PLUE_ERROR_RUNTIME)
                fprintf(stderr, "with %d threads: %s\n", threads_there, plue_get_last_error());
            CHECK(plue_get_last_error_code() == PLUE_ERROR_IO || plue_get_last_error_code() == PLUE_ERROR_RUNTIME);
            CHECK_SAYS("thread");
        } else
            plue_shutdown();
        CHECK(store_is_free());
    }
    EVENTUALLY(threads() <= own_threads + 1);
    atomic_store(&threads_left, -1);
    start(more);
    plue_shutdown();
    CHECK(store_is_free());
}

/* The host's threads have small stacks by default: those of the library have their own size. */
static void has_small_stacks(char **unused)
{
    pthread_attr_t small;
    (void)unused;
    CHECK(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 48 * 1024) == 0 &&
          pthread_setattr_default_np(&small) == 0);
    start(REMOTE);
    CHECK(plue_session_create(NULL)); /* it waits for the server */
    CHECK_ERROR(plue_session_sync(5000) == -1, PLUE_ERROR_CONNECTION);
    plue_shutdown();
}

int main(int count, char **arguments)
{
    static const struct {
        const char *how;
        void (*run)(char **);
    } ways[] = {{"handles_interrupts", handles_interrupts},
                {"is_interrupted", is_interrupted},
                {"stops_beside_starts", stops_beside_starts},
                {"is_told_too_much", is_told_too_much},
                {"lacks_threads", lacks_threads},
                {"has_small_stacks", has_small_stacks}};
    for (size_t i = 0; count > 1 && i < sizeof ways / sizeof *ways; i++)
        if (!strcmp(arguments[1], ways[i].how)) {
            ways[i].run(arguments);
            return 0;
        }
    return 2;
}
