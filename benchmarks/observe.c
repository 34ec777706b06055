/*
 * Row 10: observers.
 *
 *     observe DATA_DIR replay EVENTS ROUNDS    milliseconds from plue_session_observe() with an old cursor until all
 * these events were handed out, and, in turns, those that plain SQLite takes to read and copy the same rows observe
 * DATA_DIR many OBSERVERS ROUNDS   bytes that each of so many observers of one session takes, and microseconds from a
 * change until each has handed it out observe DATA_DIR wake ROUNDS             microseconds from the return of a change
 * in another process until an observer that waits has it
 */
#include "bench.h"
#include "plue_session.h"

#include <dlfcn.h>
#include <sys/wait.h>

/* What plain SQLite is asked for: its header may not be there, its library is Python's. */
typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
static int (*sqlite3_open)(const char *, sqlite3 **), (*sqlite3_close)(sqlite3 *), (*sqlite3_step)(sqlite3_stmt *),
    (*sqlite3_prepare_v2)(sqlite3 *, const char *, int, sqlite3_stmt **, const char **),
    (*sqlite3_reset)(sqlite3_stmt *), (*sqlite3_finalize)(sqlite3_stmt *),
    (*sqlite3_bind_text)(sqlite3_stmt *, int, const char *, int, void (*)(void *)),
    (*sqlite3_bind_int64)(sqlite3_stmt *, int, int64_t), (*sqlite3_column_bytes)(sqlite3_stmt *, int),
    (*sqlite3_column_int)(sqlite3_stmt *, int);
static const unsigned char *(*sqlite3_column_text)(sqlite3_stmt *, int);
static const char *(*sqlite3_errmsg)(sqlite3 *);
enum { SQLITE_ROW = 100 };

static void load_sqlite(void)
{
    void *library = dlopen("libsqlite3.so.0", RTLD_NOW | RTLD_LOCAL);
#define LOAD(name)                                                                                                     \
    if (!library || !(*(void **)&name = dlsym(library, #name)))                                                        \
    die("libsqlite3.so.0", "it cannot be loaded")
    LOAD(sqlite3_open);
    LOAD(sqlite3_close);
    LOAD(sqlite3_step);
    LOAD(sqlite3_prepare_v2);
    LOAD(sqlite3_reset);
    LOAD(sqlite3_finalize);
    LOAD(sqlite3_bind_text);
    LOAD(sqlite3_bind_int64);
    LOAD(sqlite3_column_bytes);
    LOAD(sqlite3_column_int);
    LOAD(sqlite3_column_text);
    LOAD(sqlite3_errmsg);
}

static plue_session_t session;

static void begin(const char *folder)
{
    char config[4096];
    snprintf(config, sizeof config, "{\"dataDir\":\"%s\",\"replay\":{\"limit\":1000000,\"ageMs\":86400000}}", folder);
    if (plue_init(config) || !(session = plue_session_get_or_create("observed")))
        die("plue_init", plue_get_last_error());
}

static void change(long number)
{
    char title[128];
    snprintf(title, sizeof title, "%ld, a title of a usual length, for a session that somebody looks at", number);
    if (plue_session_update_title(session, title))
        die("plue_session_update_title", plue_get_last_error());
}

static plue_session_observer_t observe(const char *cursor)
{
    plue_session_observer_t made = plue_session_observe(session, cursor);
    if (!made)
        die("plue_session_observe", plue_get_last_error());
    return made;
}

static void take(plue_session_observer_t from)
{
    char *item = plue_session_observer_next(from, 20000);
    if (!item)
        die("plue_session_observer_next", plue_get_last_error());
    plue_free(item);
}

static double read_plainly(sqlite3_stmt *rows, const char *id, long events)
{
    int64_t from = now_ns();
    sqlite3_reset(rows);
    sqlite3_bind_text(rows, 1, id, -1, NULL);
    sqlite3_bind_int64(rows, 2, 1);
    long count = 0;
    while (sqlite3_step(rows) == SQLITE_ROW) {
        size_t length = (size_t)sqlite3_column_bytes(rows, 2);
        char *copy = need(malloc(length + 1));
        memcpy(copy, sqlite3_column_text(rows, 2), length + 1);
        count += sqlite3_column_int(rows, 0) > 0 && sqlite3_column_int(rows, 1) >= 0;
        free(copy);
    }
    if (count != events)
        die("sqlite3", "it reads other events");
    return (double)(now_ns() - from) / 1e6;
}

static void replay(const char *folder, long events, int rounds)
{
    char path[4096];
    sqlite3 *plain;
    sqlite3_stmt *rows;
    load_sqlite();
    begin(folder);
    plue_session_observer_t from = observe(NULL);
    char *cursor = plue_session_observer_cursor(from), *id = plue_session_get_id(session);
    plue_session_observer_close(from);
    for (long i = 0; i < events; i++)
        change(i);
    snprintf(path, sizeof path, "%s/sessions.db", folder);
    if (sqlite3_open(path, &plain) ||
        sqlite3_prepare_v2(plain, "SELECT id, kind, tail FROM log WHERE session_id = ? AND id > ? ORDER BY id", -1,
                           &rows, NULL))
        die("sqlite3", sqlite3_errmsg(plain));
    samples ours = make_samples((size_t)rounds), theirs = make_samples((size_t)rounds);
    for (int i = 0; i < rounds; i++) {
        int64_t begun = now_ns();
        from = observe(cursor);
        for (long n = 0; n < events; n++)
            take(from);
        add_sample(&ours, (double)(now_ns() - begun) / 1e6);
        plue_session_observer_close(from);
        add_sample(&theirs, read_plainly(rows, id, events));
    }
    printf("{");
    print_list("ours", ours.value, rounds);
    printf(",");
    print_list("plain", theirs.value, rounds);
    printf("}\n");
    sqlite3_finalize(rows);
    sqlite3_close(plain);
    plue_free(cursor);
    plue_free(id);
}

static void many(const char *folder, int count, int rounds)
{
    begin(folder);
    plue_session_observer_t *all = need(calloc((size_t)count, sizeof *all));
    plue_session_observer_close(observe(NULL));
    double before = resident();
    for (int i = 0; i < count; i++)
        all[i] = observe(NULL);
    samples took = make_samples((size_t)rounds);
    double each = (resident() - before) / count;
    for (int i = 0; i < rounds; i++) {
        change(i);
        int64_t begun = now_ns();
        for (int n = 0; n < count; n++)
            take(all[n]);
        add_sample(&took, (double)(now_ns() - begun) / 1e3);
    }
    printf("{\"bytes\":%.0f,", each);
    print_list("took", took.value, rounds);
    printf("}\n");
    free(all);
}

static void wake(const char *folder, int rounds)
{
    int ready[2], told[2];
    int64_t returned;
    if (pipe(ready) || pipe(told))
        die("pipe", "none is left");
    pid_t child = fork(); /* before the library is there */
    begin(folder);
    if (child == 0) {
        char go;
        while (read(ready[0], &go, 1) == 1 && go) {
            sleep_ns(3000000); /* the other one waits by then */
            change(now_ns() % 1000000);
            returned = now_ns();
            if (write(told[1], &returned, sizeof returned) != sizeof returned)
                break;
        }
        plue_shutdown();
        _exit(0);
    }
    plue_session_observer_t from = observe(NULL);
    samples took = make_samples((size_t)rounds);
    for (int i = 0; i < rounds; i++) {
        if (write(ready[1], "+", 1) != 1)
            die("write", "the other process is gone");
        take(from);
        int64_t got = now_ns();
        if (read(told[0], &returned, sizeof returned) != sizeof returned)
            die("read", "the other process is gone");
        add_sample(&took, (double)(got - returned) / 1e3);
    }
    if (write(ready[1], "", 1) != 1 || waitpid(child, NULL, 0) != child)
        die("waitpid", "the other process is gone");
    printf("{");
    print_latency("took", &took);
    printf("}\n");
}

int main(int count, char **arguments)
{
    const char *how = count > 3 ? arguments[2] : "";
    if (!strcmp(how, "replay") && count == 5)
        replay(arguments[1], atol(arguments[3]), atoi(arguments[4]));
    else if (!strcmp(how, "many") && count == 5)
        many(arguments[1], atoi(arguments[3]), atoi(arguments[4]));
    else if (!strcmp(how, "wake") && count == 4)
        wake(arguments[1], atoi(arguments[3]));
    else
        die("usage", "observe DATA_DIR replay EVENTS ROUNDS | many OBSERVERS ROUNDS | wake ROUNDS");
    plue_shutdown();
    return 0;
}
