/*
 * Row 5: four processes that write on one store as fast as they can.
 *
 *     processes ours DATA_DIR SECONDS
 *     processes plain DATABASE RECORDED SECONDS NUMBER NUMBER NUMBER NUMBER
 *     processes turns DATABASE RECORDED SECONDS NUMBER NUMBER NUMBER NUMBER
 *
 * `plain` is SQLite as everybody uses it: WAL, synchronous FULL, busy_timeout, and the same statements as ours. `turns`
 * is the same behind a flock, as ours is: what fairness costs without us.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "bench.h"
#include "plue_session.h"
#include "replay.h"

enum { PROCESSES = 4 };

static struct shared {
    pthread_barrier_t start;
    double commits[PROCESSES], worst_ms[PROCESSES];
} *shared;

static replay *raw;
static plue_session_t handle;
static int turn_fd = -1;

static void prepare(int mine, char **argument)
{
    if (!strcmp(argument[1], "ours")) {
        char config[4096], key[16];
        snprintf(config, sizeof config, "{\"dataDir\":\"%s\"}", argument[2]);
        snprintf(key, sizeof key, "p%d", mine);
        if (plue_init(config) || !(handle = plue_session_get_or_create(key)))
            die("plue_init, plue_session_get_or_create", plue_get_last_error());
    } else {
        if (load_sqlite())
            die("libsqlite3.so.0", "is missing");
        raw = open_replay(argument[2], argument[3], "update_title",
                          "PRAGMA busy_timeout = 60000; PRAGMA synchronous = full;"
                          "PRAGMA wal_autocheckpoint = 4096; PRAGMA cache_size = -8192; PRAGMA temp_store = memory");
        char path[4096];
        snprintf(path, sizeof path, "%s.lock", argument[2]);
        if (!strcmp(argument[1], "turns") && (turn_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
            die(path, "cannot be opened");
    }
}

static void change(int64_t number, long step)
{
    char title[32];
    if (raw) {
        if (turn_fd >= 0)
            flock(turn_fd, LOCK_EX);
        run_replay(raw, number, 0, 1800000000000 + step);
        if (turn_fd >= 0)
            flock(turn_fd, LOCK_UN);
        return;
    }
    snprintf(title, sizeof title, "renamed %ld", step);
    if (plue_session_update_title(handle, title))
        die("plue_session_update_title", plue_get_last_error());
}

static void run(int mine, double seconds, int64_t number)
{
    int64_t worst = 0;
    long step = 0;
    change(number, step++);
    pthread_barrier_wait(&shared->start);
    int64_t before = now_ns(), until = before + (int64_t)(seconds * 1e9);
    while (before < until) {
        change(number, step++);
        int64_t after = now_ns();
        worst = after - before > worst ? after - before : worst;
        before = after;
    }
    shared->commits[mine] = (double)(step - 1);
    shared->worst_ms[mine] = (double)worst / 1e6;
}

int main(int count, char **argument)
{
    int ours = count == 4 && !strcmp(argument[1], "ours"), failed = 0;
    if (!ours && (count != 9 || (strcmp(argument[1], "plain") && strcmp(argument[1], "turns"))))
        die("usage", "processes ours DATA_DIR SECONDS | processes plain|turns DATABASE RECORDED SECONDS NUMBER...");
    double seconds = atof(argument[ours ? 3 : 4]);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&shared->start, &attributes, PROCESSES);
    for (int i = 0; i < PROCESSES; i++) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            alarm((unsigned)seconds + 60); /* should a sibling die before the barrier */
            prepare(i, argument);
            run(i, seconds, ours ? 0 : atoll(argument[5 + i]));
            if (ours)
                plue_shutdown();
            _exit(0);
        }
    }
    for (int i = 0, status; i < PROCESSES; i++)
        failed |= wait(&status) < 0 || status != 0;
    if (failed)
        die("processes", "one failed");
    printf("{");
    print_list("commits", shared->commits, PROCESSES);
    printf(",");
    print_list("worst_ms", shared->worst_ms, PROCESSES);
    printf(",\"seconds\":%g}\n", seconds);
    return 0;
}
