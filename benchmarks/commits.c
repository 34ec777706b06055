/*
 * Row 3: durable changes, against the disk and against SQLite alone.
 *
 *     commits FOLDER RECORDED NUMBER ROUNDS SLICE_MS
 *
 * FOLDER holds ours/ (our data folder) and raw/sessions.db (a copy of a store with the session NUMBER), both on the
 * disk that is probed. For create and for update_title: rounds of the probe (append 300 bytes, fdatasync), one caller
 * of ours, and SQLite alone; then rounds of the probe, one caller, and 64 callers; then 64 callers at one stretch, for
 * how long their calls take. For enqueue: rounds of the probe, one caller, and one caller of update_title.
 */
#include <fcntl.h>

#include "bench.h"
#include "plue_session.h"
#include "replay.h"

enum { CALLERS = 64, ROUNDS = 200, INPUTS = 5000 };
enum { PROBE, ONE, RAW, MANY, TITLE, SIDES };

static int creating, enqueuing, probe_fd;
static replay *raw;
static int64_t raw_session, raw_number, raw_place;
static plue_session_t handles[CALLERS];
static char text[300];

static void do_probe(void)
{
    if (write(probe_fd, text, sizeof text) != sizeof text || fdatasync(probe_fd))
        die("probe", "cannot write");
}

static void do_raw(void)
{
    raw_place++;
    if (creating) {
        raw_number++;
        run_replay(raw, raw_number, raw_place, raw_number);
    } else
        run_replay(raw, raw_session, raw_place, raw_number + raw_place);
}

/* A session takes 10,000 inputs that wait; now and then there is another one. */
static void do_enqueue(int caller, long step)
{
    if (step % INPUTS == INPUTS - 1) {
        plue_session_destroy(handles[caller]);
        if (!(handles[caller] = plue_session_create(NULL)))
            die("plue_session_create", plue_get_last_error());
    }
    char *record = plue_session_enqueue(handles[caller], "{\"text\":\"What is said in a line, as people do.\"}");
    if (!record)
        die("plue_session_enqueue", plue_get_last_error());
    plue_free(record);
}

static void do_ours(int side, int caller, long step)
{
    if (enqueuing && side != TITLE)
        do_enqueue(caller, step);
    else if (creating) {
        plue_session_t made = plue_session_create(NULL);
        if (!made)
            die("plue_session_create", plue_get_last_error());
        plue_session_destroy(made);
    } else {
        char title[32];
        snprintf(title, sizeof title, "renamed %ld", step);
        if (plue_session_update_title(handles[caller], title))
            die("plue_session_update_title", plue_get_last_error());
    }
}

typedef struct worker {
    pthread_t thread;
    int side, index;
    int64_t until;
    long step;
    samples took; /* microseconds per call */
} worker;

static pthread_barrier_t start;
static int64_t slice_ns, started;

static void work(worker *mine, int64_t from)
{
    int64_t before = from, until = from + slice_ns;
    while (before < until) {
        if (mine->side == PROBE)
            do_probe();
        else if (mine->side == RAW)
            do_raw();
        else
            do_ours(mine->side, mine->index, mine->step);
        int64_t after = now_ns();
        mine->step++;
        add_sample(&mine->took, (double)(after - before) / 1000);
        before = after;
    }
    mine->until = before;
}

static void *worker_main(void *argument)
{
    pthread_barrier_wait(&start);
    work(argument, now_ns());
    return NULL;
}

static worker workers[SIDES][CALLERS];

/* Run a slice and return its calls per second. */
static double slice(int side)
{
    int count = side == MANY ? CALLERS : 1;
    long before = 0, after = 0;
    int64_t to = 0;
    for (int i = 0; i < count; i++)
        before += workers[side][i].step;
    if (side == MANY) {
        pthread_barrier_init(&start, NULL, CALLERS + 1);
        for (int i = 0; i < CALLERS; i++)
            if (pthread_create(&workers[side][i].thread, NULL, worker_main, &workers[side][i]))
                die("pthread_create", "failed");
        pthread_barrier_wait(&start);
        started = now_ns();
        for (int i = 0; i < CALLERS; i++)
            pthread_join(workers[side][i].thread, NULL);
    } else {
        started = now_ns();
        work(&workers[side][0], started);
    }
    for (int i = 0; i < count; i++) {
        after += workers[side][i].step;
        to = workers[side][i].until > to ? workers[side][i].until : to;
    }
    return (double)(after - before) * 1e9 / (double)(to - started);
}

static void rounds_of(const char *what, const char *operation, const int *sides, const char *const *names, int count,
                      int rounds)
{
    double rate[3][ROUNDS];
    for (int n = 0; n < count; n++) { /* warm up; its samples do not count */
        slice(sides[n]);
        slice(sides[n]);
        for (int i = 0; i < CALLERS; i++)
            workers[sides[n]][i].took.count = 0;
    }
    for (int i = 0; i < rounds; i++)
        for (int n = 0; n < count; n++) {
            int next = (n + i) %
                       count; /* each is after each other in turn: what one leaves to the disk hits all alike */
            rate[next][i] = slice(sides[next]);
        }
    printf("{\"what\":\"%s\",\"operation\":\"%s\"", what, operation);
    for (int n = 0; n < count; n++) {
        samples all = make_samples(CALLERS * workers[sides[n]][0].took.room);
        for (int i = 0; i < CALLERS; i++)
            for (size_t s = 0; s < workers[sides[n]][i].took.count; s++)
                add_sample(&all, workers[sides[n]][i].took.value[s]);
        char name[64];
        printf(",");
        print_list(names[n], rate[n], rounds);
        snprintf(name, sizeof name, "%s_us", names[n]);
        printf(",");
        print_latency(name, &all);
        free(all.value);
    }
    printf("}\n");
}

/* 64 callers for as long as all rounds: in a slice of theirs the start of 64 threads is a good part of the calls. */
static void steady(const char *operation, int rounds)
{
    int64_t usual = slice_ns;
    samples all = make_samples(CALLERS * workers[MANY][1].took.room + workers[MANY][0].took.room);
    for (int i = 0; i < CALLERS; i++)
        workers[MANY][i].took.count = 0;
    slice_ns = usual * rounds;
    slice(MANY);
    slice_ns = usual;
    for (int i = 0; i < CALLERS; i++)
        for (size_t s = 0; s < workers[MANY][i].took.count; s++)
            add_sample(&all, workers[MANY][i].took.value[s]);
    printf("{\"what\":\"steady\",\"operation\":\"%s\",", operation);
    print_latency("many_us", &all);
    printf("}\n");
    free(all.value);
}

int main(int count, char **argument)
{
    if (count != 6)
        die("usage", "commits FOLDER RECORDED NUMBER ROUNDS SLICE_MS");
    char config[4096], path[4096];
    int rounds = atoi(argument[4]) > ROUNDS ? ROUNDS : atoi(argument[4]);
    slice_ns = atoll(argument[5]) * 1000000;
    memset(text, 'x', sizeof text);
    snprintf(path, sizeof path, "%s/probe", argument[1]);
    if ((probe_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0)
        die(path, "cannot be opened");
    snprintf(config, sizeof config, "{\"dataDir\":\"%s/ours\"}", argument[1]);
    if (plue_init(config))
        die("plue_init", plue_get_last_error());
    for (int i = 0; i < CALLERS; i++)
        if (!(handles[i] = plue_session_create(NULL)))
            die("plue_session_create", plue_get_last_error());
    for (int side = 0; side < SIDES; side++)
        for (int i = 0; i < CALLERS; i++)
            workers[side][i] = (worker){.side = side, .index = i, .took = make_samples(i ? 8192 : 65536)};
    int has_raw = load_sqlite() == 0;
    raw_session = raw_number = atoll(argument[3]);
    raw_place = 1000000;
    for (creating = 1; creating >= 0; creating--) {
        const char *operation = creating ? "create" : "update_title";
        static const int alone[] = {PROBE, ONE, RAW}, together[] = {PROBE, ONE, MANY};
        static const char *const alone_names[] = {"probe", "ours", "raw"}, *const together_names[] = {"probe", "one",
                                                                                                      "many"};
        if (has_raw) {
            snprintf(path, sizeof path, "%s/raw/sessions.db", argument[1]);
            raw = open_replay(
                path, argument[2], operation,
                "PRAGMA synchronous = full; PRAGMA wal_autocheckpoint = 4096;"
                "PRAGMA journal_size_limit = 16777216; PRAGMA cache_size = -8192; PRAGMA temp_store = memory");
        }
        rounds_of("alone", operation, alone, alone_names, has_raw ? 3 : 2, rounds);
        rounds_of("together", operation, together, together_names, 3, rounds);
        steady(operation, rounds);
    }
    static const int queued[] = {PROBE, ONE, TITLE};
    static const char *const queued_names[] = {"probe", "ours", "titled"};
    creating = 0, enqueuing = 1;
    rounds_of("alone", "enqueue", queued, queued_names, 3, rounds);
    plue_shutdown();
    return 0;
}
