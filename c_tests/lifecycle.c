/* Hosts that start and stop the library at bad moments, or with too little: argv[1] says how. */
#include "everything.h"

#include <stdatomic.h>
#include <sys/resource.h>

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
        CHECK(result == 0 || plue_get_last_error_code() == PLUE_ERROR_CLOSED || plue_get_last_error_code() == PLUE_ERROR_ALREADY_INITIALIZED);
        if (result == 0) {
            plue_shutdown();
            atomic_fetch_add(&cycles, 1);
        }
    }
    return unused;
}

/* Beside a thread that starts and stops the library without a pause, plue_shutdown() ends the start that it finds, and no more. */
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

int main(int count, char **arguments)
{
    static const struct {
        const char *how;
        void (*run)(char **);
    } ways[] = {{"handles_interrupts", handles_interrupts}, {"is_interrupted", is_interrupted}, {"stops_beside_starts", stops_beside_starts},
                {"is_told_too_much", is_told_too_much}};
    for (size_t i = 0; count > 1 && i < sizeof ways / sizeof *ways; i++)
        if (!strcmp(arguments[1], ways[i].how)) {
            ways[i].run(arguments);
            return 0;
        }
    return 2;
}
